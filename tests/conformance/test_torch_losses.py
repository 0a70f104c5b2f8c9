"""Losses against PyTorch: values, their reductions, and gradients."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conformance.compare import Comparison, check_all
from tests.conformance.ours import losses

SUITE = "PyTorch"


def shape_of(d):
    return d.pick((), (3,), (2, 3))


def draw_cross_entropy(d):
    """Every option, unreduced and under each of PyTorch's reductions."""
    examples, classes = d.pick((), (5,), (2, 4), (2, 2, 3)), d.size(2, 5)
    reduction = d.cycle("none", "mean", "sum")
    smoothing = d.pick(0.0, 0.1, 1.0)
    ignored = d.cycle(None, -100, 0)
    labels = d.rng.integers(0, classes, examples)
    if ignored is not None:
        labels = np.where(d.rng.random(examples) < 0.3, ignored, labels)
        # One that counts, since PyTorch's mean of nothing is NaN.
        labels = np.where(np.arange(labels.size).reshape(examples) == 0, classes - 1, labels)
    arrays = {"logits": d.normal(*examples, classes) * 3, "labels": labels}
    arrays |= {"weights": d.rng.random(classes) + 0.1} if d.flag() else {}
    options = {"label_smoothing": smoothing, "ignore_label": ignored}

    def ours(logits, labels, weights=None):
        values = losses.softmax_cross_entropy(logits, labels, class_weights=weights, **options)
        if reduction == "none":
            return values
        if reduction == "sum":
            return losses.sum_and_weight(values)[0].astype(values.dtype)
        counted = jnp.ones(labels.shape, bool) if ignored is None else jnp.asarray(labels != ignored)
        if weights is None:
            return losses.mean(values, where=counted)
        # PyTorch divides the weighted losses by the weights of their labels.
        own = jnp.where(counted, weights[jnp.where(counted, labels, 0)], 0)
        return losses.mean(values / jnp.where(counted, own, 1), weights=own)

    def theirs(logits, labels, weights=None):
        ignore = {} if ignored is None else {"ignore_index": ignored}
        rows = logits.reshape(-1, classes)
        values = F.cross_entropy(
            rows, labels.reshape(-1), weights, reduction=reduction, label_smoothing=smoothing, **ignore
        )
        return values.reshape(labels.shape) if reduction == "none" else values

    shown = options | {"reduction": reduction}
    return Comparison(ours, theirs, arrays, d.dtype, shown, fixed=("weights",) if "weights" in arrays else ())


def test_softmax_cross_entropy(tally, rng, draws):
    check_all(tally("softmax_cross_entropy"), rng, 2 * draws, draw_cross_entropy)


def pair(d):
    shape = shape_of(d)
    return {"predictions": d.normal(*shape) * 2, "targets": d.normal(*shape)}


def signs(d, shape):
    return d.rng.choice([-1.0, 1.0], shape)


def unreduced(function, **fixed):
    return lambda *arrays, **options: function(*arrays, reduction="none", **fixed, **options)


def per_element(name, theirs, make=pair, choices=((), ()), fixed=()):
    """A loss whose arrays are the arguments of both sides, in order. choices: pairs of options, ours and theirs."""

    def draw(d):
        ours_options, their_options = d.cycle(*choices) if choices[0] else ({}, {})
        arrays = make(d)
        # `jit` hands keywords over in the order of the alphabet.
        return Comparison(
            lambda **given: getattr(losses, name)(*(given[argument] for argument in arrays), **ours_options),
            lambda **given: theirs(*(given[argument] for argument in arrays), **their_options),
            arrays,
            d.dtype,
            ours_options,
            fixed=fixed,
        )

    return draw


def same(name, *values):
    return tuple(({name: value}, {name: value}) for value in values)


def rows(d, *more):
    batch, features = d.size(1, 4), d.size(1, 4)
    return tuple(d.normal(batch, features) for _ in range(2 + len(more)))


def probabilities(d, *shape):
    x = abs(d.normal(*shape)) + 0.1
    return x / x.sum(-1, keepdims=True)


def triplets(d):
    anchor, positive, negative = rows(d, 1)
    return {"anchor": anchor, "positive": positive, "negative": negative}


def class_scores(d, classes=4):
    batch = d.size(1, 4)
    return {"scores": d.normal(batch, classes), "labels": d.rng.integers(0, classes, batch)}


def binary(d):
    shape = shape_of(d)
    return {"logits": d.normal(*shape) * 3, "labels": d.rng.random(shape)}


def divergence(d, log):
    batch = d.size(1, 4)
    targets = probabilities(d, batch, 3)
    return {
        "log_predictions": torch.log_softmax(torch.from_numpy(d.normal(batch, 3)), -1).numpy(),
        "targets": torch.from_numpy(targets).log().numpy() if log else targets,
    }


# Each by api.md's signature; theirs is PyTorch's, without reduction.
LOSSES = {
    "squared_error": per_element("squared_error", unreduced(F.mse_loss)),
    "absolute_error": per_element("absolute_error", unreduced(F.l1_loss)),
    "huber": per_element("huber", unreduced(F.huber_loss), choices=same("delta", 1.0, 0.5)),
    "smooth_l1": per_element("smooth_l1", unreduced(F.smooth_l1_loss), choices=same("beta", 1.0, 0.5)),
    "poisson_nll": per_element(
        "poisson_nll",
        unreduced(F.poisson_nll_loss),
        lambda d: {"predictions": abs(d.normal(3, 2)), "targets": d.rng.poisson(3.0, (3, 2)).astype(float)},
        [
            ({"log_input": log, "full": full}, {"log_input": log, "full": full})
            for log in (True, False)
            for full in (False, True)
        ],
        fixed=("targets",),
    ),
    "gaussian_nll": per_element(
        "gaussian_nll",
        unreduced(F.gaussian_nll_loss),
        lambda d: {"predictions": d.normal(3, 2), "targets": d.normal(3, 2), "variance": abs(d.normal(3, 2)) + 0.1},
        same("full", False, True),
    ),
    "cosine_distance": per_element(
        "cosine_distance",
        lambda a, b: 1 - F.cosine_similarity(a, b, dim=-1),
        lambda d: dict(zip(("predictions", "targets"), rows(d), strict=True)),
    ),
    "binary_cross_entropy": per_element(
        "binary_cross_entropy",
        lambda z, y, positive=None: F.binary_cross_entropy_with_logits(
            z, y, reduction="none", pos_weight=None if positive is None else torch.tensor(positive, dtype=z.dtype)
        ),
        binary,
        [({}, {}), ({"positive_weight": 2.5}, {"positive": 2.5})],
    ),
    "binary_cross_entropy_probabilities": per_element(
        "binary_cross_entropy_probabilities",
        unreduced(F.binary_cross_entropy),
        lambda d: {"probabilities": d.rng.random((3, 2)) * 0.9 + 0.05, "labels": d.rng.random((3, 2))},
        fixed=("labels",),
    ),
    "softmax_cross_entropy_probabilities": per_element(
        "softmax_cross_entropy_probabilities",
        unreduced(F.cross_entropy),
        lambda d: {"logits": d.normal(4, 3), "probabilities": probabilities(d, 4, 3)},
    ),
    "nll": per_element(
        "nll",
        lambda logs, labels, **options: F.nll_loss(logs, labels, reduction="none", **options),
        lambda d: dict(zip(("log_probabilities", "labels"), class_scores(d).values(), strict=True)),
        [({}, {}), ({"ignore_label": 1}, {"ignore_index": 1})],
    ),
    "kl_divergence": per_element(
        "kl_divergence", lambda p, q: F.kl_div(p, q, reduction="none").sum(-1), lambda d: divergence(d, log=False)
    ),
    "kl_divergence, of logarithms": per_element(
        "kl_divergence",
        lambda p, q, log_target: F.kl_div(p, q, reduction="none", log_target=log_target).sum(-1),
        lambda d: divergence(d, log=True),
        same("log_target", True),
    ),
    "hinge_embedding": per_element(
        "hinge_embedding",
        unreduced(F.hinge_embedding_loss),
        lambda d: {"distances": abs(d.normal(3, 2)), "signs": signs(d, (3, 2))},
        same("margin", 1.0, 0.5),
        fixed=("signs",),
    ),
    "margin_ranking": per_element(
        "margin_ranking",
        unreduced(F.margin_ranking_loss),
        lambda d: {"first": d.normal(3, 2), "second": d.normal(3, 2), "signs": signs(d, (3, 2))},
        same("margin", 0.0, 0.5),
        fixed=("signs",),
    ),
    "soft_margin": per_element(
        "soft_margin",
        unreduced(F.soft_margin_loss),
        lambda d: {"scores": d.normal(3, 2), "signs": signs(d, (3, 2))},
        fixed=("signs",),
    ),
    "multilabel_soft_margin": per_element(
        "multilabel_soft_margin",
        unreduced(F.multilabel_soft_margin_loss),
        lambda d: {"scores": d.normal(3, 4), "labels": d.rng.integers(0, 2, (3, 4)).astype(float)},
        fixed=("labels",),
    ),
    "multi_margin": per_element(
        "multi_margin",
        unreduced(F.multi_margin_loss),
        class_scores,
        [({"p": p, "margin": m}, {"p": p, "margin": m}) for p in (1, 2) for m in (1.0, 0.5)],
    ),
    "cosine_embedding": per_element(
        "cosine_embedding",
        unreduced(F.cosine_embedding_loss),
        # Large, since PyTorch adds 10⁻¹² to squared norms.
        lambda d: {"first": 1e3 * d.normal(4, 3), "second": 1e3 * d.normal(4, 3), "signs": signs(d, 4)},
        same("margin", 0.0, 0.3),
        fixed=("signs",),
    ),
    "triplet_margin": per_element(
        "triplet_margin",
        unreduced(F.triplet_margin_loss),
        triplets,
        [({"p": p, "swap": swap}, {"p": float(p), "swap": swap}) for p in (2, 1) for swap in (False, True)],
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name, tally, rng, draws):
    check_all(tally(name), rng, min(draws, 12), LOSSES[name])
