"""Normalisation against PyTorch: values, running statistics and gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conformance.compare import Comparison, channels_first, channels_last, check_all
from tests.conformance.ours import nn

SUITE = "PyTorch"


def params_of(d, *shape, offset=True):
    """Both, one or none of scale and offset."""
    found = {"scale": d.normal(*shape)} if d.cycle(True, True, False) else {}
    return found | ({"offset": d.normal(*shape)} if offset and d.cycle(True, False) else {})


def draw_batch_norm_train(d):
    channels, shape = d.size(1, 4), (d.size(2, 4), *(d.size(1, 3) for _ in range(d.size(0, 3))))
    shape = (shape[0] + 2, *shape[1:])
    momentum, epsilon = d.pick(0.1, 0.5, 1.0, 0.0), d.pick(1e-5, 1e-2)

    def ours(x, mean, var, **params):
        state = nn.BatchNormState(mean, var)
        y, state = nn.batch_norm_train(params, state, x, decay=1 - momentum, epsilon=epsilon)
        return y, state.mean, state.var

    def theirs(x, mean, var, scale=None, offset=None):
        mean, var = mean.clone(), var.clone()
        y = F.batch_norm(channels_first(x), mean, var, scale, offset, training=True, momentum=momentum, eps=epsilon)
        return channels_last(y), mean, var

    arrays = {"x": d.normal(*shape, channels) * 2 + 3, "mean": d.normal(channels), "var": d.normal(channels) ** 2}
    options = {"momentum": momentum, "epsilon": epsilon}
    return Comparison(ours, theirs, arrays | params_of(d, channels), d.dtype, options, fixed=("mean", "var"))


def draw_batch_norm_eval(d):
    channels, shape = d.size(1, 4), (d.size(1, 4), *(d.size(1, 3) for _ in range(d.size(0, 3))))
    epsilon = d.pick(1e-5, 1e-2)
    arrays = {"x": d.normal(*shape, channels), "mean": d.normal(channels), "var": d.normal(channels) ** 2 + 0.1}
    return Comparison(
        lambda x, mean, var, **params: nn.batch_norm_eval(params, nn.BatchNormState(mean, var), x, epsilon=epsilon),
        lambda x, mean, var, scale=None, offset=None: channels_last(
            F.batch_norm(channels_first(x), mean, var, scale, offset, training=False, eps=epsilon)
        ),
        arrays | params_of(d, channels),
        d.dtype,
        {"epsilon": epsilon},
        fixed=("mean", "var"),
    )


def over_last_axes(d):
    """A batch, and so many last axes to normalise over, of three entries or more."""
    count = d.size(1, 3)
    batch, axes = tuple(d.size(1, 3) for _ in range(d.size(0, 2))), tuple(d.size(1, 4) for _ in range(count))
    axes = (*axes[:-1], axes[-1] + 2)
    return batch, axes, tuple(range(-count, 0))


def draw_layer_norm(d):
    batch, axes, axis = over_last_axes(d)
    epsilon = d.pick(1e-5, 1e-2)
    return Comparison(
        lambda x, **params: nn.layer_norm(params, x, axis=axis, epsilon=epsilon),
        lambda x, scale=None, offset=None: F.layer_norm(x, axes, scale, offset, epsilon),
        {"x": d.normal(*batch, *axes) * 2 + 3} | params_of(d, *axes),
        d.dtype,
        {"axis": axis, "epsilon": epsilon},
    )


def draw_rms_norm(d):
    batch, axes, axis = over_last_axes(d)
    epsilon = d.pick(1e-5, 1e-2)
    return Comparison(
        lambda x, **params: nn.rms_norm(params, x, axis=axis, epsilon=epsilon),
        lambda x, scale=None: F.rms_norm(x, axes, scale, epsilon),
        {"x": d.normal(*batch, *axes)} | params_of(d, *axes, offset=False),
        d.dtype,
        {"axis": axis, "epsilon": epsilon},
    )


def draw_group_norm(d):
    groups, space = d.size(1, 3), tuple(d.size(1, 3) for _ in range(d.size(0, 3)))
    channels = groups * (d.size(1, 3) if math.prod(space) > 2 else 3)
    epsilon = d.pick(1e-5, 1e-2)

    def theirs(x, scale=None, offset=None):
        # PyTorch 2.13 cannot differentiate an offset without a scale.
        scale = torch.ones_like(offset) if scale is None and offset is not None else scale
        return channels_last(F.group_norm(channels_first(x), groups, scale, offset, epsilon))

    return Comparison(
        lambda x, **params: nn.group_norm(params, x, groups=groups, epsilon=epsilon),
        theirs,
        {"x": d.normal(d.size(1, 3), *space, channels) * 2 + 3} | params_of(d, channels),
        d.dtype,
        {"groups": groups, "epsilon": epsilon},
    )


def draw_instance_norm(d):
    space, channels = (3, *(d.size(1, 3) for _ in range(d.size(0, 2)))), d.size(1, 3)
    epsilon = d.pick(1e-5, 1e-2)
    return Comparison(
        lambda x, **params: nn.instance_norm(params, x, epsilon=epsilon),
        lambda x, scale=None, offset=None: channels_last(
            F.instance_norm(channels_first(x), weight=scale, bias=offset, eps=epsilon)
        ),
        {"x": d.normal(d.size(1, 3), *space, channels) * 2 + 3} | params_of(d, channels),
        d.dtype,
        {"epsilon": epsilon},
    )


def draw_local_response_norm(d):
    options = {"size": d.size(1, 5), "alpha": d.pick(1e-4, 1.0), "beta": d.pick(0.75, 0.5, 1.0), "k": d.pick(1.0, 2.0)}
    space = tuple(d.size(1, 3) for _ in range(d.size(1, 3)))
    return Comparison(
        lambda x: nn.local_response_norm(x, **options),
        lambda x: channels_last(F.local_response_norm(channels_first(x), **options)),
        {"x": d.normal(2, *space, d.size(1, 6)) * 3},
        d.dtype,
        options,
    )


DRAWS = {
    "batch_norm_eval": draw_batch_norm_eval,
    "batch_norm_train": draw_batch_norm_train,
    "group_norm": draw_group_norm,
    "instance_norm": draw_instance_norm,
    "layer_norm": draw_layer_norm,
    "local_response_norm": draw_local_response_norm,
    "rms_norm": draw_rms_norm,
}


@pytest.mark.parametrize("name", DRAWS)
def test_norm(name, tally, rng, draws):
    check_all(tally(name), rng, draws, DRAWS[name])


def test_what_cannot_be_expressed(tally):
    tally("batch_norm_train").skip("momentum=None, a mean over all batches: pass decay=n / (n + 1) for the nth batch")
    tally("instance_norm").skip("track_running_stats: it is the same in training and evaluation")
