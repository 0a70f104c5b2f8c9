"""Activations, softmax and dense layers against PyTorch: values and gradients, and the gradient at every kink."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conformance.compare import Comparison, check_all
from tests.conformance.ours import layouts, nn

SUITE = "PyTorch"

# Function -> (PyTorch's, [(our options, theirs)]).
ACTIVATIONS = {
    "celu": (F.celu, [({"alpha": a}, {"alpha": a}) for a in (1.0, 0.5, 3.0)]),
    "elu": (F.elu, [({"alpha": a}, {"alpha": a}) for a in (1.0, 0.5, 3.0)]),
    "gelu": (F.gelu, [({}, {"approximate": "tanh"}), ({"approximate": False}, {})]),
    "glu": (F.glu, [({}, {}), ({"axis": 0}, {"dim": 0})]),
    "hard_shrink": (F.hardshrink, [({}, {}), ({"threshold": 1.25}, {"lambd": 1.25})]),
    # PyTorch's own hardsigmoid keeps 1 / 6 in float32 for its gradient in float64, 3e-8 off; this is the same function.
    "hard_sigmoid": (lambda x: F.relu6(x + 3) / 6, [({}, {})]),
    "hard_silu": (F.hardswish, [({}, {})]),
    "hard_tanh": (F.hardtanh, [({}, {})]),
    "leaky_relu": (F.leaky_relu, [({"negative_slope": s}, {"negative_slope": s}) for s in (0.01, 0.25, -0.5)]),
    "log_sigmoid": (F.logsigmoid, [({}, {})]),
    "log_softmax": (F.log_softmax, [({}, {"dim": -1}), ({"axis": 0}, {"dim": 0})]),
    "mish": (F.mish, [({}, {})]),
    "relu": (F.relu, [({}, {})]),
    "relu6": (F.relu6, [({}, {})]),
    "selu": (F.selu, [({}, {})]),
    "sigmoid": (F.sigmoid, [({}, {})]),
    "silu": (F.silu, [({}, {})]),
    "soft_shrink": (F.softshrink, [({}, {}), ({"threshold": 1.25}, {"lambd": 1.25})]),
    "soft_sign": (F.softsign, [({}, {})]),
    "softmax": (F.softmax, [({}, {"dim": -1}), ({"axis": 0}, {"dim": 0})]),
    # Beyond its threshold PyTorch's softplus is the identity, 2e-9 off at 20; the threshold is moved out of the way.
    "softplus": (F.softplus, [({}, {"threshold": 1000.0})]),
    "tanh": (F.tanh, [({}, {})]),
    "tanh_shrink": (F.tanhshrink, [({}, {})]),
    "thresholded_relu": (F.threshold, [({"threshold": t}, {"threshold": t, "value": 0.0}) for t in (1.0, 0.0, -0.5)]),
}
INEXPRESSIBLE = {
    "gumbel_softmax": "the noise is PyTorch's generator's",
    "rrelu": "the slopes are drawn by PyTorch's generator",
    "softplus's threshold": "dlcore's softplus is exact everywhere",
    "threshold's value other than 0": "no activation jumps to another constant",
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name, tally, rng, draws):
    theirs, choices = ACTIVATIONS[name]

    def draw(d):
        ours_options, their_options = d.cycle(*choices)
        scale = d.rng.choice([0.01, 1.0, 4.0, 30.0], (6, 1))
        return Comparison(
            lambda x: getattr(nn, name)(x, **ours_options),
            lambda x: theirs(x, **their_options),
            {"x": d.normal(6, 10) * scale},
            d.dtype,
            ours_options,
        )

    # Every option in every dtype; more values in the same shape would compile nothing new.
    check_all(tally(name), rng, min(draws, 12), draw)


def test_prelu(tally, rng, draws):
    def draw(d):
        shape = d.pick((5,), (2, 5), (2, 3, 5), (2, 3, 4, 5))
        one = len(shape) == 1 or d.flag()
        swap = (lambda x: x) if len(shape) == 1 else (lambda x: x.movedim(-1, 1))
        back = (lambda x: x) if len(shape) == 1 else (lambda x: x.movedim(1, -1))
        return Comparison(
            lambda x, slope: nn.prelu(x, slope[0] if one else slope),
            lambda x, slope: back(F.prelu(swap(x), slope)),
            {"x": d.normal(*shape), "slope": d.normal(1 if one else 5)},
            d.dtype,
        )

    check_all(tally("prelu"), rng, min(draws, 12), draw)


def test_dense(tally, rng, draws):
    def draw(d):
        batch, inside, out, bias = d.pick((), (3,), (2, 3)), d.size(1, 5), d.size(1, 5), d.flag()
        arrays = {"x": d.normal(*batch, inside), "weight": d.normal(out, inside)}
        arrays |= {"bias": d.normal(out)} if bias else {}
        return Comparison(
            lambda x, weight, **bias: nn.dense({"kernel": layouts.dense_kernel_from_torch(weight)} | bias, x),
            lambda x, weight, bias=None: F.linear(x, weight, bias),
            arrays,
            d.dtype,
        )

    check_all(tally("dense"), rng, draws, draw)


def test_dense_after_an_image(tally, rng, draws):
    """PyTorch flattens (channels, height, width), dlcore (height, width, channels): the rows of the kernel move."""

    def draw(d):
        image = d.size(1, 3), d.size(1, 3), d.size(1, 3)
        size = image[0] * image[1] * image[2]

        def ours(x, weight):
            kernel = layouts.dense_kernel_from_torch(weight, flattened=image)
            return nn.dense({"kernel": kernel}, layouts.channels_last(x).reshape(2, size))

        arrays = {"x": d.normal(2, *image), "weight": d.normal(3, size)}
        return Comparison(ours, lambda x, weight: F.linear(x.flatten(1), weight), arrays, d.dtype)

    check_all(tally("dense, of a flattened image"), rng, min(draws, 12), draw)


def test_embedding(tally, rng, draws):
    def draw(d):
        shape, rows = d.pick((), (4,), (2, 3)), d.size(1, 6)
        arrays = {"kernel": d.normal(rows, d.size(1, 5)), "ids": d.rng.integers(0, rows, shape)}
        return Comparison(
            lambda kernel, ids: nn.embedding({"kernel": kernel}, ids),
            lambda kernel, ids: F.embedding(ids, kernel),
            arrays,
            d.dtype,
        )

    line = tally("embedding")
    check_all(line, rng, draws, draw)
    line.skip("padding_idx: mask the gradient of that row, or the loss of that token")
    line.skip("max_norm, scale_grad_by_freq: the table is not changed while it is read, nor its gradient")


# Function -> [(options, PyTorch's, at)]: where the function or its slope jumps.
KINKS = {
    "elu": [({"alpha": 0.5}, lambda x: F.elu(x, alpha=0.5), [0.0])],
    "hard_shrink": [({}, F.hardshrink, [-0.5, 0.5])],
    "hard_sigmoid": [({}, F.hardsigmoid, [-3.0, 3.0])],
    "hard_silu": [({}, F.hardswish, [-3.0, 3.0])],
    "hard_tanh": [({}, F.hardtanh, [-1.0, 1.0])],
    "leaky_relu": [({"negative_slope": 0.25}, lambda x: F.leaky_relu(x, 0.25), [0.0])],
    "relu": [({}, F.relu, [0.0])],
    "relu6": [({}, F.relu6, [0.0, 6.0])],
    "selu": [({}, F.selu, [0.0])],
    "soft_shrink": [({}, F.softshrink, [-0.5, 0.5])],
    "soft_sign": [({}, F.softsign, [0.0])],
    "thresholded_relu": [({"threshold": 1.0}, lambda x: F.threshold(x, 1.0, 0.0), [1.0])],
}
# Where the gradients differ: (function, at) -> (dlcore's, PyTorch's).
DIFFERENT_AT_KINKS: dict[tuple[str, float], tuple[float, float]] = {}


@pytest.mark.parametrize("name", KINKS)
def test_gradient_at_a_kink(name, tally):
    """The same subgradient, value for value; where dlcore's is another, both are written down."""
    line = tally(f"{name}, at its kinks")
    for (options, theirs, points), dtype in itertools.product(KINKS[name], ("float32", "bfloat16")):
        for at in points:
            with line.case(f"{dtype} {at}") as notes:
                x = jnp.asarray(at, dtype)
                found = float(jax.grad(lambda x, options=options: getattr(nn, name)(x, **options))(x))
                tensor = torch.tensor(at, dtype=getattr(torch, dtype), requires_grad=True)
                (right,) = torch.autograd.grad(theirs(tensor), tensor)
                pair = found, float(right)
                if (name, at) in DIFFERENT_AT_KINKS:
                    np.testing.assert_allclose(pair, DIFFERENT_AT_KINKS[name, at], rtol=1e-6)
                    notes.append(f"at {at} the gradient is {pair[0]:g}, PyTorch's {pair[1]:g}")
                else:
                    np.testing.assert_allclose(*pair, rtol=1e-2 if dtype == "bfloat16" else 1e-6)


def test_what_cannot_be_expressed(tally):
    for name, reason in INEXPRESSIBLE.items():
        tally(name).skip(reason)
