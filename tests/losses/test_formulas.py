"""Every loss against its formula, written out in NumPy and float64, in every dtype and with every option."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses
from tests.tolerance import FLOATS, assert_close

SHAPE = (6, 4)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def log_softmax(z):
    return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def own(rows, labels):
    return np.take_along_axis(rows, labels[..., None], -1)[..., 0]


def others(rows, labels):
    return np.arange(rows.shape[-1]) != labels[..., None]


def smoothed(y, s):
    return (1 - s) * y + s / 2


def cross_entropy(z, y, label_smoothing=0.0, positive_weight=1.0):
    y = smoothed(y, label_smoothing)
    return -positive_weight * y * np.log(sigmoid(z)) - (1 - y) * np.log(sigmoid(-z))


def focal(z, y, gamma=2.0, alpha=None, label_smoothing=0.0):
    y, p = smoothed(y, label_smoothing), sigmoid(z)
    factor = 1 if alpha is None else y * alpha + (1 - y) * (1 - alpha)
    return factor * (1 - y * p - (1 - y) * (1 - p)) ** gamma * cross_entropy(z, y)


def multi_margin(s, y, p=1, margin=1.0, class_weights=None, reduce="sum"):
    terms = np.maximum(0, margin - own(s, y)[..., None] + s) ** p * others(s, y)
    values = terms.sum(-1) / s.shape[-1] if reduce == "sum" else terms.max(-1)
    return values if class_weights is None else values * np.asarray(class_weights)[y]


def multilabel_margin(s, y):
    pairs = np.maximum(0, 1 - s[..., :, None] + s[..., None, :]) * y[..., :, None] * (1 - y[..., None, :])
    return pairs.sum((-2, -1)) / s.shape[-1]


def multilabel_soft_margin(s, y, class_weights=None):
    return (cross_entropy(s, y) * (1 if class_weights is None else np.asarray(class_weights))).mean(-1)


def triplet(a, like, n, margin=1.0, epsilon=1e-6, swap=False, p=2):
    d = lambda x, y: np.linalg.norm(x - y + epsilon, ord=p, axis=-1)
    far = np.minimum(d(a, n), d(like, n)) if swap else d(a, n)
    return np.maximum(0, d(a, like) - far + margin)


def circle(x, labels, gamma=80.0, margin=0.4):
    cosines, values = unit(x) @ unit(x).T, []
    for i, row in enumerate(cosines):
        alike = np.delete(row, i)[np.delete(labels, i) == labels[i]]
        apart = row[labels != labels[i]]
        positive = np.exp(-gamma * np.maximum(0, 1 + margin - alike) * (alike - 1 + margin)).sum()
        values.append(np.log1p(positive * np.exp(gamma * np.maximum(0, apart + margin) * (apart - margin)).sum()))
    return np.asarray(values)


def dice(p, y, axis=None, epsilon=1e-7):
    return 1 - 2 * (p * y).sum(axis) / (p.sum(axis) + y.sum(axis) + epsilon)


def tversky(p, y, alpha=0.5, beta=0.5, axis=None, epsilon=1e-7):
    overlap = (p * y).sum(axis)
    return 1 - overlap / (overlap + alpha * (p * (1 - y)).sum(axis) + beta * ((1 - p) * y).sum(axis) + epsilon)


def poisson(a, y, log_input=True, full=False, epsilon=1e-8):
    values = np.exp(a) - y * a if log_input else a - y * np.log(a + epsilon)
    large = np.maximum(y, 1.0)
    stirling = large * np.log(large) - large + np.log(2 * math.pi * large) / 2
    return values + np.where(y > 1, stirling, 0) * full


def gaussian(a, y, v, full=False):
    return (np.log(v) + (a - y) ** 2 / v) / 2 + full * math.log(2 * math.pi) / 2


def categorical(z, p, label_smoothing=0.0, class_weights=None):
    p = (1 - label_smoothing) * p + label_smoothing / z.shape[-1]
    return -((1 if class_weights is None else np.asarray(class_weights)) * p * log_softmax(z)).sum(-1)


def ctc(z, ends, labels, label_ends):
    """All paths, one by one."""
    values = []
    for i, row in enumerate(log_softmax(z)):
        frames, wanted = int((1 - ends[i]).sum()), list(labels[i][: int((1 - label_ends[i]).sum())])
        total = 0.0
        for path in np.ndindex(*(z.shape[-1],) * frames):
            merged = [c for t, c in enumerate(path) if c != 0 and (t == 0 or path[t - 1] != c)]
            total += np.exp(sum(row[t, c] for t, c in enumerate(path))) if merged == wanted else 0.0
        values.append(-np.log(total))
    return np.asarray(values)


def draw(rng, *shape):
    return 2 * rng.standard_normal(shape or SHAPE)


def share(rng):
    return rng.uniform(0.05, 0.95, SHAPE)


def sign(rng, *shape):
    return rng.choice([-1.0, 1.0], shape or SHAPE)


def label(rng):
    return rng.integers(0, SHAPE[-1], SHAPE[:-1])


def zero_one(rng):
    return rng.integers(0, 2, SHAPE)


def distribution(rng):
    """Rows that do not sum to one, with zeros."""
    return rng.uniform(0, 1, SHAPE) * rng.integers(0, 2, SHAPE)


def frames(rng):
    return np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


W = (0.5, 2.0, 0.0, 1.0)
# name: (arguments, formula, option sets)
FORMULAS = {
    "absolute_error": ((draw, draw), lambda a, y: abs(a - y), ({},)),
    "absolute_percentage_error": (
        (draw, draw),
        lambda a, y, epsilon=1e-7: 100 * abs(a - y) / np.maximum(abs(y), epsilon),
        ({}, {"epsilon": 1.0}),
    ),
    "squared_logarithmic_error": (
        (draw, draw),
        lambda a, y: (np.log1p(np.maximum(a, 0)) - np.log1p(np.maximum(y, 0))) ** 2,
        ({},),
    ),
    "log_cosh": ((draw, draw), lambda a, y: np.log(np.cosh(a - y)), ({},)),
    "huber": (
        (draw, draw),
        lambda a, y, delta=1.0: np.where(abs(a - y) <= delta, (a - y) ** 2 / 2, delta * (abs(a - y) - delta / 2)),
        ({}, {"delta": 0.25}, {"delta": 5.0}),
    ),
    "smooth_l1": (
        (draw, draw),
        lambda a, y, beta=1.0: np.where(abs(a - y) < beta, (a - y) ** 2 / (2 * (beta or 1)), abs(a - y) - beta / 2),
        ({}, {"beta": 0.25}, {"beta": 0.0}),
    ),
    "quantile": (
        (draw, draw),
        lambda a, y, q: np.maximum(q * (y - a), (q - 1) * (y - a)),
        ({"q": 0.5}, {"q": 0.9}, {"q": 0.0}, {"q": 1.0}),
    ),
    "poisson_nll": (
        (share, lambda rng: rng.poisson(2.0, SHAPE).astype(float)),
        poisson,
        ({}, {"full": True}, {"log_input": False}, {"log_input": False, "full": True, "epsilon": 0.5}),
    ),
    "gaussian_nll": ((draw, draw, share), gaussian, ({}, {"full": True})),
    "cosine_distance": ((draw, draw), lambda a, b: 1 - (unit(a) * unit(b)).sum(-1), ({},)),
    "binary_cross_entropy": (
        (draw, share),
        cross_entropy,
        ({}, {"label_smoothing": 0.25}, {"label_smoothing": 1.0}, {"positive_weight": 3.0}, {"positive_weight": 0.0}),
    ),
    "binary_focal_cross_entropy": (
        (draw, share),
        focal,
        ({}, {"gamma": 0.5}, {"gamma": 0.0}, {"alpha": 0.25}, {"alpha": 0.75, "label_smoothing": 0.25}),
    ),
    "binary_cross_entropy_probabilities": (
        (share, share),
        lambda p, y: -y * np.log(p) - (1 - y) * np.log1p(-p),
        ({},),
    ),
    "softmax_cross_entropy_probabilities": (
        (draw, distribution),
        categorical,
        ({}, {"label_smoothing": 0.25}, {"class_weights": W}, {"class_weights": W, "label_smoothing": 1.0}),
    ),
    "softmax_focal_cross_entropy": (
        (draw, label),
        lambda z, y, gamma=2.0, alpha=1.0: (
            -np.broadcast_to(alpha, 4)[y] * (1 - np.exp(own(log_softmax(z), y))) ** gamma * own(log_softmax(z), y)
        ),
        ({}, {"gamma": 0.5}, {"gamma": 0.0}, {"alpha": 0.25}, {"alpha": W}),
    ),
    "generalized_cross_entropy": (
        (draw, label),
        lambda z, y, q=0.7: (1 - np.exp(q * own(log_softmax(z), y))) / q,
        ({}, {"q": 0.1}, {"q": 1.0}),
    ),
    "nll": (
        (draw, label),
        lambda logs, y, class_weights=(1.0,) * 4: -np.asarray(class_weights)[y] * own(logs, y),
        ({}, {"class_weights": W}),
    ),
    "kl_divergence": (
        (draw, share),
        lambda logs, p, log_target=False: (
            (np.exp(p) * (p - logs)).sum(-1) if log_target else (p * (np.log(p) - logs)).sum(-1)
        ),
        ({}, {"log_target": True}),
    ),
    "perplexity": ((draw,), np.exp, ({},)),
    "hinge": ((draw, sign), lambda s, t: np.maximum(0, 1 - t * s), ({},)),
    "squared_hinge": ((draw, sign), lambda s, t: np.maximum(0, 1 - t * s) ** 2, ({},)),
    "soft_margin": ((draw, sign), lambda s, t: np.log1p(np.exp(-t * s)), ({},)),
    "categorical_hinge": (
        (draw, label),
        lambda s, y: np.maximum(0, 1 - own(s, y) + (others(s, y) * s).max(-1)),
        ({},),
    ),
    "multi_margin": (
        (draw, label),
        multi_margin,
        ({}, {"p": 2}, {"margin": 0.25}, {"class_weights": W}, {"reduce": "max"}, {"reduce": "max", "p": 2}),
    ),
    "multilabel_margin": ((draw, zero_one), multilabel_margin, ({},)),
    "multilabel_soft_margin": ((draw, zero_one), multilabel_soft_margin, ({}, {"class_weights": W})),
    "margin_ranking": (
        (draw, draw, sign),
        lambda a, b, t, margin=0.0: np.maximum(0, margin - t * (a - b)),
        ({}, {"margin": 0.5}, {"margin": -0.5}),
    ),
    "hinge_embedding": (
        (draw, sign),
        lambda d, t, margin=1.0: np.where(t == 1, d, np.maximum(0, margin - d)),
        ({}, {"margin": 0.25}),
    ),
    "cosine_embedding": (
        (draw, draw, lambda rng: sign(rng, *SHAPE[:-1])),
        lambda a, b, t, margin=0.0: np.where(
            t == 1, 1 - (unit(a) * unit(b)).sum(-1), np.maximum(0, (unit(a) * unit(b)).sum(-1) - margin)
        ),
        ({}, {"margin": 0.5}, {"margin": -0.5}),
    ),
    "triplet_margin": (
        (draw, draw, draw),
        triplet,
        ({}, {"margin": 3.0}, {"p": 1}, {"p": 3}, {"p": math.inf}, {"swap": True}, {"epsilon": 0.5}),
    ),
    "circle": ((draw, label), circle, ({"gamma": 2.0}, {"gamma": 4.0, "margin": 0.25})),
    "dice": ((share, zero_one), dice, ({}, {"axis": -1}, {"axis": (0,), "epsilon": 0.5})),
    "tversky": ((share, zero_one), tversky, ({}, {"alpha": 0.25, "beta": 2.0}, {"axis": (0, 1), "alpha": 0.0})),
    "ctc": (
        (
            lambda rng: draw(rng, 2, 4, 3),
            frames,
            lambda rng: np.array([[1, 1], [2, 1]]),
            lambda rng: np.array([[0.0, 0.0], [0.0, 1.0]]),
        ),
        ctc,
        ({},),
    ),
}
CASES = [(name, options) for name, (_, _, sets) in FORMULAS.items() for options in sets]
# What is summed or squared in a loss is rounded as often as its terms.
TERMS = 32


def test_every_loss_has_a_formula():
    reductions = {"mean", "sum_and_weight"}
    elsewhere = {"squared_error", "softmax_cross_entropy", "linear_softmax_cross_entropy"}
    assert set(losses.__all__) == set(FORMULAS) | reductions | elsewhere


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: value if isinstance(value, str) else None)
def test_values_are_those_of_the_formula_in_every_dtype(rng, name, options, x64):
    makers, formula, _ = FORMULAS[name]
    drawn = [maker(rng) for maker in makers]
    given = {
        key: jnp.asarray(value) if isinstance(value, tuple) and key != "axis" else value
        for key, value in options.items()
    }
    if "axis" in given and isinstance(given["axis"], tuple):
        given["axis"] = given["axis"] if len(given["axis"]) > 1 else given["axis"][0]
    run = jax.jit(lambda *args: getattr(losses, name)(*args, **given))
    for dtype in FLOATS:
        # Rounded first: the formula sees what the loss does.
        args = [jnp.asarray(x, dtype) if x.dtype.kind == "f" else jnp.asarray(x, jnp.int32) for x in drawn]
        exact = [np.asarray(x).astype(np.float64) if x.dtype.kind != "i" else np.asarray(x) for x in args]
        value, expected = run(*args), formula(*exact, **options)
        assert value.dtype == dtype
        assert_close(value, expected, length=TERMS)
