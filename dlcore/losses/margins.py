"""Margin losses: what is right by less than a margin costs, what is right by more does not."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.losses._bernoulli import mixture, truth
from dlcore.losses._validate import Labels, classes, many, memberships, per_class, poison, settle, weigh
from dlcore.losses._validate import signs as checked_signs
from dlcore.nn.activations.rectified import relu
from dlcore.nn.activations.smooth import softplus

__all__ = [
    "categorical_hinge", "hinge", "multi_margin", "multilabel_margin", "multilabel_soft_margin", "soft_margin",
    "squared_hinge",
]  # fmt: skip


def hinge(scores: ArrayLike, signs: ArrayLike) -> Array:
    """The hinge loss of each score: that of support vector machines.

        L_i = max(0, 1 − t_i s_i)

    Args:
      scores: s, any shape, floating.
      signs: t, −1 or +1, in the shape of `scores`, floating or integers; nothing is broadcast.

    Returns:
      L in the shape and dtype of `scores`, one value per element; computed in float32 or wider. A sign other than −1
      and +1 gives NaN under `jit`, in the gradient too, and is refused elsewhere: 0/1 labels are `2 * labels - 1`.

    Raises:
      ValueError: if the shapes differ, or a sign that is known is neither −1 nor +1.
      TypeError: if `scores` are not floating, or `signs` no numbers.

    Gradient: −t where t s < 1, and 0 elsewhere, at the kink t s = 1 too.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.hinge(jnp.array([0.25, 3.0, 3.0]), jnp.array([1, 1, -1]))
      Array([0.75, 0.  , 4.  ], dtype=float32)

    Source: Cortes & Vapnik 1995, "Support-vector networks".
    """
    margins, dtype = _margins("losses.hinge", scores, signs)
    return relu(1 - margins).astype(dtype)


def squared_hinge(scores: ArrayLike, signs: ArrayLike) -> Array:
    """The square of the hinge loss of each score.

        L_i = max(0, 1 − t_i s_i)²

    Args:
      scores: s, any shape, floating.
      signs: t, −1 or +1, in the shape of `scores`, floating or integers; nothing is broadcast.

    Returns:
      L in the shape and dtype of `scores`, one value per element; computed in float32 or wider. A sign other than −1
      and +1 gives NaN under `jit`, in the gradient too, and is refused elsewhere: 0/1 labels are `2 * labels - 1`.

    Raises:
      ValueError: if the shapes differ, or a sign that is known is neither −1 nor +1.
      TypeError: if `scores` are not floating, or `signs` no numbers.

    Gradient: −2 t max(0, 1 − t s); there is no kink.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.squared_hinge(jnp.array([0.5, 3.0, 3.0]), jnp.array([1, 1, -1]))
      Array([ 0.25,  0.  , 16.  ], dtype=float32)

    Source: Chang, Hsieh & Lin 2008, "Coordinate descent method for large-scale L2-loss linear support vector machines".
    """
    margins, dtype = _margins("losses.squared_hinge", scores, signs)
    return (relu(1 - margins) ** 2).astype(dtype)


def soft_margin(scores: ArrayLike, signs: ArrayLike) -> Array:
    """The logistic loss of each score: cross-entropy of two classes, by signs.

        L_i = log(1 + exp(−t_i s_i))

    Args:
      scores: s, any shape, floating.
      signs: t, −1 or +1, in the shape of `scores`, floating or integers; nothing is broadcast.

    Returns:
      L in the shape and dtype of `scores`, one value per element; computed in float32 or wider. A sign other than −1
      and +1 gives NaN under `jit`, in the gradient too, and is refused elsewhere: 0/1 labels are `2 * labels - 1`.

    Raises:
      ValueError: if the shapes differ, or a sign that is known is neither −1 nor +1.
      TypeError: if `scores` are not floating, or `signs` no numbers.

    Gradient: −t σ(−t s); smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.soft_margin(jnp.array([0.0, 1000.0]), jnp.array([1, -1]))
      Array([6.931472e-01, 1.000000e+03], dtype=float32)

    Source: Cox 1958, "The regression analysis of binary sequences".
    """
    margins, dtype = _margins("losses.soft_margin", scores, signs)
    return softplus(-margins).astype(dtype)


def _margins(name: str, scores: ArrayLike, signs: ArrayLike) -> tuple[Array, np.dtype]:
    """t s, and the dtype to return."""
    (s,), kept = many(name, scores=scores)
    return checked_signs(name, signs, "scores", s) * s, kept


def categorical_hinge(scores: ArrayLike, labels: ArrayLike) -> Array:
    """The hinge of several classes, as Keras has it: between the label's score and the best other one, or 0.

        L = max(0, 1 − s_y + max(0, max_{k ≠ y} s_k))

    The inner 0 is Keras' own (its maximum is over the scores times what is not the label). Without it, it is the loss
    of Crammer & Singer: `multi_margin(scores, labels, reduce="max")`.

    Args:
      scores: s, (*batch, K), floating.
      labels: y, (*batch,) integers in [0, K).

    Returns:
      L: (*batch,), in the dtype of `scores`; computed in float32 or wider. A label outside [0, K) gives NaN, in the
      gradient too.

    Raises:
      ValueError: if shapes differ.
      TypeError: if `scores` are not floating, or `labels` not integers.

    Gradient: −1 for s_y and 1 for the best other score, if it is positive; ties go to the first, and at the kink all
    are 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.categorical_hinge(jnp.array([[2.0, 1.5, 0.0], [2.0, 1.5, 0.0]]), jnp.array([0, 2]))
      Array([0.5, 3. ], dtype=float32)

    Source: Crammer & Singer 2001, "On the algorithmic implementation of multiclass kernel-based vector machines"; the
    Keras documentation of `CategoricalHinge`.
    """
    name = "losses.categorical_hinge"
    s, kept = classes(name, "scores", scores)
    y = Labels.of(name, labels, s.shape[:-1], "scores", s.shape[-1])
    others = jnp.where(y.chosen(s), 0, s)
    return settle(relu(1 - y.pick(s) + _first_largest(others)), y, kept)


def multi_margin(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    p: int = 1,
    margin: float = 1.0,
    class_weights: ArrayLike | None = None,
    reduce: str = "sum",
) -> Array:
    """The hinge of several classes: the label's score should be above each other one by a margin.

        L = (1 / K) Σ_{k ≠ y} w_y max(0, margin − s_y + s_k)^p,   or, with `reduce="max"`, the largest term alone

    Args:
      scores: s, (*batch, K), floating.
      labels: y, (*batch,) integers in [0, K).
      p: 1 or 2.
      margin: a number.
      class_weights: w, (K,), floating; ones if `None`. An example counts as much as its label's.
      reduce: "sum", over the other classes, divided by K, as in PyTorch (and by Weston & Watkins without it); or "max",
        the largest, undivided, by Crammer & Singer.

    Returns:
      L: (*batch,), in the dtype of `scores`; computed in float32 or wider; 0 where there is one class alone. A label
      outside [0, K) gives NaN, in the gradient too.

    Raises:
      ValueError: if shapes differ, `p` is not 1 or 2, or there is no such `reduce`.
      TypeError: if `scores` are not floating, or `labels` not integers.

    Gradient: that of the formula; 0 at the margin, and of equal largest terms the first has it.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> scores, labels = jnp.array([[2.0, 1.5, 1.5, 0.0]]), jnp.array([0])
      >>> losses.multi_margin(scores, labels), losses.multi_margin(scores, labels, reduce="max")
      (Array([0.25], dtype=float32), Array([0.5], dtype=float32))

    Source: Weston & Watkins 1999, "Support vector machines for multi-class pattern recognition"; Crammer & Singer 2001,
    "On the algorithmic implementation of multiclass kernel-based vector machines".
    """
    name = "losses.multi_margin"
    s, kept = classes(name, "scores", scores)
    k = s.shape[-1]
    y = Labels.of(name, labels, s.shape[:-1], "scores", k)
    power = _checks.integer(name, "p", p, low=1)
    if power > 2:
        raise _checks.value_error(name, "p", p, "1 or 2", "Raise losses of `reduce='max'` to other powers yourself.")
    width = _checks.number(name, "margin", margin)
    weights = per_class(name, class_weights, k, s.dtype)
    _checks.one_of(name, "reduce", reduce, ("sum", "max"))
    terms = jnp.where(y.chosen(s), 0, relu(width + (s - y.pick(s)[..., None])))
    # A square of the largest is the largest of the squares.
    values = (terms**power).sum(-1) / k if reduce == "sum" else _first_largest(terms) ** power
    return settle(y.weighted(values, weights), y, kept)


def multilabel_margin(scores: ArrayLike, labels: ArrayLike) -> Array:
    """The hinge of examples of several classes each: every class they are of should be above every other one by 1.

        L = (1 / K) Σ_{j: y_j = 1} Σ_{k: y_k = 0} max(0, 1 − s_j + s_k)

    Args:
      scores: s, (*batch, K), floating.
      labels: y, in the shape of `scores`: 0 or 1, floating, integers or booleans. PyTorch lists the classes instead,
        and ends the list with −1.

    Returns:
      L: (*batch,), in the dtype of `scores`; computed in float32 or wider, from K² differences for each example. A
      label other than 0 and 1 gives NaN under `jit`, in the gradient too, and is refused elsewhere.

    Raises:
      ValueError: if the shapes differ, or a label that is known is neither 0 nor 1.
      TypeError: if `scores` are not floating, or `labels` no numbers.

    Gradient: −1 / K and 1 / K for the pairs within the margin; 0 at the margin.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.multilabel_margin(jnp.array([[0.1, 0.2, 0.4, 0.8]]), jnp.array([[1, 0, 0, 1]]))
      Array([0.85], dtype=float32)

    Source: Elisseeff & Weston 2001, "A kernel method for multi-labelled classification".
    """
    name = "losses.multilabel_margin"
    s, kept = classes(name, "scores", scores)
    y = memberships(name, labels, "scores", s)
    pairs = (y[..., :, None] == 1) & (y[..., None, :] == 0)
    terms = relu(1 - (s[..., :, None] - s[..., None, :]))
    values = jnp.where(pairs, terms, 0).sum((-2, -1)) / s.shape[-1]
    return poison(values, ~jnp.isnan(y).any(-1)).astype(kept)


def multilabel_soft_margin(scores: ArrayLike, labels: ArrayLike, *, class_weights: ArrayLike | None = None) -> Array:
    """The mean over the classes of their binary cross-entropies.

        L = −(1 / K) Σ_k w_k (y_k log σ(s_k) + (1 − y_k) log σ(−s_k))

    Args:
      scores: s, (*batch, K), floating.
      labels: y, in the shape of `scores`: in [0, 1], floating, or integers 0 and 1, or booleans.
      class_weights: w, (K,), floating; ones if `None`.

    Returns:
      L: (*batch,), in the dtype of `scores`; computed in float32 or wider. An integer label other than 0 and 1 gives
      NaN, in the gradient too.

    Raises:
      ValueError: if shapes differ.
      TypeError: if `scores` are not floating, or `labels` no numbers.

    Gradient: w_k ((1 − y_k) σ(s_k) − y_k σ(−s_k)) / K; smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.multilabel_soft_margin(jnp.zeros((1, 3)), jnp.array([[1, 0, 1]]))
      Array([0.6931472], dtype=float32)

    Source: Nam et al. 2014, "Large-scale multi-label text classification: revisiting neural networks", section 3.
    """
    name = "losses.multilabel_soft_margin"
    s, kept = classes(name, "scores", scores)
    weights = per_class(name, class_weights, s.shape[-1], s.dtype)
    return weigh(mixture(truth(name, "scores", s, labels), s), weights).mean(-1).astype(kept)


def _first_largest(rows: Array) -> Array:
    """The largest of each row, with the whole gradient to the first of equals."""
    return jnp.take_along_axis(rows, jnp.argmax(rows, -1)[..., None], -1)[..., 0]
