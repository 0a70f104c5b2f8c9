"""Losses against Keras: values and gradients."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.conformance.compare import Comparison, check_all
from tests.conformance.keras_layers import keras
from tests.conformance.ours import losses

SUITE = "Keras"


def draw_sparse_cross_entropy(d):
    classes, ignored = d.size(2, 5), d.cycle(None, 1)
    arrays = {"logits": d.normal(2, 3, classes), "labels": d.rng.integers(0, classes, (2, 3))}

    def theirs(logits, labels):
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True, ignore_class=ignored)

    ours = lambda logits, labels: losses.softmax_cross_entropy(logits, labels, ignore_label=ignored)
    return Comparison(ours, theirs, arrays, d.dtype, {"ignore_label": ignored})


def draw_smoothed_cross_entropy(d):
    classes, smoothing = d.size(2, 5), d.cycle(0.0, 0.1, 0.5)
    arrays = {"logits": d.normal(2, 3, classes), "labels": d.rng.integers(0, classes, (2, 3))}

    def theirs(logits, labels):
        one_hot = keras.ops.one_hot(labels, classes, dtype="float64")
        return keras.losses.categorical_crossentropy(one_hot, logits, from_logits=True, label_smoothing=smoothing)

    ours = lambda logits, labels: losses.softmax_cross_entropy(logits, labels, label_smoothing=smoothing)
    return Comparison(ours, theirs, arrays, d.dtype, {"label_smoothing": smoothing})


def over_features(function, theirs, positive=False, choices=(({}, {}),)):
    """A loss for each element, of which Keras takes the mean over the last axis; it puts the targets first."""

    def draw(d):
        ours_options, their_options = d.cycle(*choices)
        values = lambda: abs(d.normal(3, 4)) + 0.1 if positive else d.normal(3, 4)
        return Comparison(
            lambda predictions, targets: jnp.mean(
                getattr(losses, function)(predictions, targets, **ours_options), axis=-1
            ),
            lambda predictions, targets: getattr(keras.losses, theirs)(targets, predictions, **their_options),
            {"predictions": values(), "targets": values()},
            d.dtype,
            ours_options,
        )

    return draw


def log_cosh(targets, predictions):
    """Keras' with the logarithm of 2 in all digits: it rounds it to float32, in float64 too."""
    values = keras.losses.log_cosh(targets, predictions)
    return values + (float(np.float32(math.log(2))) - math.log(2)) if values.dtype == torch.float64 else values


def compared(ours, theirs, make, fixed=(), choices=(({}, {}),)):
    """`ours(*arrays, **options)` and `theirs(*arrays, **options)`, arrays in the order in which they are made."""

    def draw(d):
        ours_options, their_options = d.cycle(*choices)
        arrays = make(d)
        return Comparison(
            lambda **given: ours(*(given[name] for name in arrays), **ours_options),
            lambda **given: theirs(*(given[name] for name in arrays), **their_options),
            arrays,
            d.dtype,
            ours_options,
            fixed=fixed,
        )

    return draw


def mean_of(function):
    return lambda *args, **options: jnp.mean(getattr(losses, function)(*args, **options), axis=-1)


def targets_first(name):
    return lambda predictions, targets, **options: getattr(keras.losses, name)(targets, predictions, **options)


def one_hot_first(name):
    def run(scores, labels, **options):
        one_hot = keras.ops.one_hot(labels, scores.shape[-1], dtype="float64")
        return getattr(keras.losses, name)(one_hot, scores, **options)

    return run


def shares(d, *shape):
    x = abs(d.normal(*shape)) + 0.1
    return x / x.sum(-1, keepdims=True)


def signed(d):
    return {"scores": d.normal(3, 4), "signs": d.rng.choice([-1.0, 1.0], (3, 4))}


def of_classes(d):
    classes = d.size(2, 5)
    return {"scores": d.normal(2, 3, classes), "labels": d.rng.integers(0, classes, (2, 3))}


def yes_or_no(d):
    return {"logits": d.normal(3, 4), "labels": d.rng.random((3, 4))}


def regions(d):
    return {"predictions": d.rng.random((3, 4)), "targets": d.rng.integers(0, 2, (3, 4)).astype(float)}


def groups(d):
    return {"embeddings": d.normal(6, 3), "labels": d.rng.integers(0, 3, 6)}


def frames(d):
    return {"logits": d.normal(2, 6, 4), "labels": d.rng.integers(1, 4, (2, 2))}


def generalized(scores, labels, **options):
    rows = torch.softmax(scores, -1).reshape(-1, scores.shape[-1])
    return keras.losses.categorical_generalized_cross_entropy(labels.reshape(-1), rows, **options).reshape(labels.shape)


def our_ctc(logits, labels):
    return losses.ctc(logits, jnp.zeros(logits.shape[:2]), labels, jnp.zeros(labels.shape))


def swapped(predictions, targets, alpha, beta, **options):
    """Keras multiplies the misses by `alpha`, and the false alarms by `beta`, against its documentation."""
    return keras.losses.tversky(targets, predictions, alpha=beta, beta=alpha, **options)


def both(*sets):
    return tuple((options, options) for options in sets)


LOSSES = {
    "sparse_categorical_crossentropy": draw_sparse_cross_entropy,
    "categorical_crossentropy": draw_smoothed_cross_entropy,
    "mean_squared_error": over_features("squared_error", "mean_squared_error"),
    "mean_absolute_error": over_features("absolute_error", "mean_absolute_error"),
    "mean_squared_logarithmic_error": over_features(
        "squared_logarithmic_error", "mean_squared_logarithmic_error", True
    ),
    "huber": over_features("huber", "huber", choices=[({"delta": v}, {"delta": v}) for v in (1.0, 0.5)]),
    "log_cosh": compared(
        mean_of("log_cosh"),
        lambda predictions, targets: log_cosh(targets, predictions),
        lambda d: {"predictions": d.normal(3, 4), "targets": d.normal(3, 4)},
    ),
    "mean_absolute_percentage_error": over_features(
        "absolute_percentage_error", "mean_absolute_percentage_error", positive=True
    ),
    "poisson": over_features(
        "poisson_nll", "poisson", positive=True, choices=[({"log_input": False, "epsilon": 1e-7}, {})]
    ),
    "kl_divergence": compared(
        losses.kl_divergence,
        lambda logs, targets: keras.losses.kl_divergence(targets, torch.exp(logs)),
        lambda d: {"logs": np.log(shares(d, 3, 4)), "targets": shares(d, 3, 4)},
        fixed=("targets",),
    ),
    "cosine_similarity": compared(
        lambda predictions, targets: losses.cosine_distance(predictions, targets) - 1,
        targets_first("cosine_similarity"),
        lambda d: {"predictions": d.normal(3, 4), "targets": d.normal(3, 4)},
    ),
    "hinge": compared(mean_of("hinge"), targets_first("hinge"), signed, fixed=("signs",)),
    "squared_hinge": compared(mean_of("squared_hinge"), targets_first("squared_hinge"), signed, fixed=("signs",)),
    "categorical_hinge": compared(losses.categorical_hinge, one_hot_first("categorical_hinge"), of_classes),
    "binary_crossentropy": compared(
        mean_of("binary_cross_entropy"),
        lambda z, y, **options: keras.losses.binary_crossentropy(y, z, from_logits=True, **options),
        yes_or_no,
        fixed=("labels",),
        choices=both({}, {"label_smoothing": 0.2}),
    ),
    "binary_focal_crossentropy": compared(
        mean_of("binary_focal_cross_entropy"),
        lambda z, y, **options: keras.losses.binary_focal_crossentropy(y, z, from_logits=True, **options),
        yes_or_no,
        fixed=("labels",),
        choices=[
            ({}, {}),
            ({"gamma": 3.0, "alpha": 0.25}, {"gamma": 3.0, "alpha": 0.25, "apply_class_balancing": True}),
            ({"label_smoothing": 0.2}, {"label_smoothing": 0.2}),
        ],
    ),
    "categorical_focal_crossentropy": compared(
        losses.softmax_focal_cross_entropy,
        lambda z, y, **options: one_hot_first("categorical_focal_crossentropy")(z, y, from_logits=True, **options),
        of_classes,
        choices=[({"alpha": 0.25}, {}), ({"alpha": 1.0, "gamma": 3.0}, {"alpha": 1.0, "gamma": 3.0})],
    ),
    "categorical_generalized_cross_entropy": compared(
        losses.generalized_cross_entropy, generalized, of_classes, choices=both({"q": 0.75}, {"q": 0.25})
    ),
    "dice": compared(losses.dice, targets_first("dice"), regions, fixed=("targets",), choices=both({}, {"axis": (1,)})),
    "tversky": compared(
        losses.tversky,
        swapped,
        regions,
        fixed=("targets",),
        choices=both({"alpha": 0.5, "beta": 0.5}, {"alpha": 0.25, "beta": 2.0, "axis": (1,)}),
    ),
    "circle": compared(
        losses.circle,
        lambda x, y, **options: keras.losses.circle(y, torch.nn.functional.normalize(x), **options),
        groups,
        choices=both({"gamma": 2.0, "margin": 0.25}, {"gamma": 4.0}),
    ),
    "ctc": compared(our_ctc, targets_first("ctc"), frames),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name, tally, rng, draws):
    check_all(tally(f"losses.{name}"), rng, min(draws, 12), LOSSES[name])
