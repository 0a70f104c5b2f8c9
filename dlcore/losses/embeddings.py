"""Losses on distances and directions of embeddings."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._shift import peak, shift
from dlcore._typing import Array, ArrayLike
from dlcore.losses._validate import many, pair, poison
from dlcore.losses._validate import signs as checked_signs
from dlcore.losses._vectors import cosine_distance_of, direction, length
from dlcore.nn.activations.rectified import relu
from dlcore.nn.activations.smooth import softplus

__all__ = ["circle", "cosine_distance", "cosine_embedding", "hinge_embedding", "margin_ranking", "triplet_margin"]


def cosine_distance(predictions: ArrayLike, targets: ArrayLike, *, axis: int = -1) -> Array:
    """One minus the cosine of the angle between two vectors.

        L = 1 − ŷ · y / (‖ŷ‖ ‖y‖) = ½ ‖ŷ / ‖ŷ‖ − y / ‖y‖‖²

    Args:
      predictions: ŷ, at least one axis, floating.
      targets: y, in the shape of `predictions`; nothing is broadcast.
      axis: that of the vectors' components.

    Returns:
      L in the shape of `predictions` without `axis`, in its dtype: 0 for one direction, 2 for opposite ones; computed
      in float32 or wider, by the second form, which is exact where the vectors are nearly parallel. A zero vector has
      no direction: L is 1, as at a right angle. Keras' `cosine_similarity` is L − 1.

    Raises:
      ValueError: if the shapes differ, or `axis` is not one of them.
      TypeError: if one is not floating.

    Gradient: orthogonal to the vector, and exactly 0 where the directions are equal; 0, never NaN, for a zero vector.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.cosine_distance(jnp.array([[3.0, 4.0], [1.0, 0.0]]), jnp.array([[6.0, 8.0], [0.0, 1.0]]))
      Array([0., 1.], dtype=float32)

    Source: Salton, Wong & Yang 1975, "A vector space model for automatic indexing".
    """
    name = "losses.cosine_distance"
    x, y, dtype = pair(name, "predictions", predictions, "targets", targets)
    return cosine_distance_of(x, y, _axis(name, axis, x)).astype(dtype)


def cosine_embedding(first: ArrayLike, second: ArrayLike, signs: ArrayLike, *, margin: float = 0.0) -> Array:
    """Pulls pairs of like embeddings into one direction, and pushes those of unlike ones apart.

        L = 1 − cos(a, b) where t = 1,   max(0, cos(a, b) − margin) where t = −1

    Args:
      first, second: a and b, (*batch, features), floating, of one shape.
      signs: t, (*batch,), −1 or +1, floating or integers.
      margin: in [−1, 1].

    Returns:
      L: (*batch,), in the dtype of `first`; computed in float32 or wider. The cosine with a zero vector counts as 0.

    Raises:
      ValueError: if shapes differ, `margin` is out of range, or a sign that is known is neither −1 nor +1.
      TypeError: if embeddings are not floating, or `signs` no numbers.

    Gradient: that of `cosine_distance`, with the other sign where t = −1; 0 at the margin, and for a zero vector.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> a, b = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[2.0, 0.0], [2.0, 0.0]])
      >>> losses.cosine_embedding(a, b, jnp.array([1, -1]), margin=0.5)
      Array([0. , 0.5], dtype=float32)

    Source: the PyTorch documentation of `CosineEmbeddingLoss`; Hadsell, Chopra & LeCun 2006, "Dimensionality reduction
    by learning an invariant mapping", for the idea.
    """
    name = "losses.cosine_embedding"
    a, b, dtype = pair(name, "first", first, "second", second)
    bound = _checks.number(name, "margin", margin, low=-1.0)
    if bound > 1:
        raise _checks.value_error(name, "margin", margin, "a number in [−1, 1], a cosine", "Lower it.")
    distance = cosine_distance_of(a, b, _axis(name, -1, a, "first"))
    t = checked_signs(name, signs, "first[..., 0]", distance)
    return poison(jnp.where(t == 1, distance, relu((1 - bound) - distance)), ~jnp.isnan(t)).astype(dtype)


def hinge_embedding(distances: ArrayLike, signs: ArrayLike, *, margin: float = 1.0) -> Array:
    """Makes distances of like pairs small, and those of unlike ones at least a margin.

        L_i = d_i where t_i = 1,   max(0, margin − d_i) where t_i = −1

    Args:
      distances: d, any shape, floating.
      signs: t, −1 or +1, in the shape of `distances`, floating or integers.
      margin: a number.

    Returns:
      L in the shape and dtype of `distances`, one value per element; computed in float32 or wider. A sign other than −1
      and +1 gives NaN under `jit`, and is refused elsewhere.

    Raises:
      ValueError: if the shapes differ, or a sign that is known is neither −1 nor +1.
      TypeError: if `distances` are not floating, or `signs` no numbers.

    Gradient: 1 where t = 1; −1 where t = −1 and d < margin; 0 elsewhere, at the margin too.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.hinge_embedding(jnp.array([0.25, 0.25, 3.0]), jnp.array([1, -1, -1]))
      Array([0.25, 0.75, 0.  ], dtype=float32)

    Source: Hadsell, Chopra & LeCun 2006, "Dimensionality reduction by learning an invariant mapping", unsquared.
    """
    name = "losses.hinge_embedding"
    (d,), dtype = many(name, distances=distances)
    t = checked_signs(name, signs, "distances", d)
    width = _checks.number(name, "margin", margin)
    return poison(jnp.where(t == 1, d, relu(width - d)), ~jnp.isnan(t)).astype(dtype)


def margin_ranking(first: ArrayLike, second: ArrayLike, signs: ArrayLike, *, margin: float = 0.0) -> Array:
    """Puts the first of two scores above the second, or below it, by a margin.

        L_i = max(0, margin − t_i (a_i − b_i))

    Args:
      first, second: a and b, any shape, floating, of one shape.
      signs: t, in that shape, floating or integers: +1 if the first should be above, −1 if below.
      margin: a number.

    Returns:
      L in the shape and dtype of `first`, one value per element; computed in float32 or wider. A sign other than −1 and
      +1 gives NaN under `jit`, and is refused elsewhere.

    Raises:
      ValueError: if shapes differ, or a sign that is known is neither −1 nor +1.
      TypeError: if scores are not floating, or `signs` no numbers.

    Gradient: −t in a and t in b, where t (a − b) < margin, and 0 elsewhere, at the margin too.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> losses.margin_ranking(jnp.array([2.0, 2.0]), jnp.array([1.0, 1.0]), jnp.array([1, -1]), margin=0.5)
      Array([0. , 1.5], dtype=float32)

    Source: Herbrich, Graepel & Obermayer 2000, "Large margin rank boundaries for ordinal regression".
    """
    name = "losses.margin_ranking"
    a, b, dtype = pair(name, "first", first, "second", second)
    t = checked_signs(name, signs, "first", a)
    return relu(_checks.number(name, "margin", margin) - t * (a - b)).astype(dtype)


def triplet_margin(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    margin: float = 1.0,
    p: float = 2,
    epsilon: float = 1e-6,
    swap: bool = False,
) -> Array:
    """Puts an anchor nearer to its like than to another, by a margin.

        L = max(0, d(a, p) − d(a, n) + margin),   d(x, y) = ‖x − y + ε‖_p

    Args:
      anchor, positive, negative: a, p and n, (*batch, features), floating, of one shape.
      margin: a number.
      p: of the norm, at least 1; `math.inf` for the largest difference.
      epsilon: ε, added to every difference, as in PyTorch, so that distances of equal vectors are not 0.
      swap: takes the smaller of d(a, n) and d(p, n) for the distance to the negative.

    Returns:
      L: (*batch,), in the dtype of `anchor`; computed in float32 or wider.

    Raises:
      ValueError: if shapes differ, or an option is out of range.
      TypeError: if one is not floating, or `swap` not boolean.

    Gradient: that of the norms; 0 at the margin, and 0, never NaN, where x − y + ε is zero.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> a, p, n = jnp.array([[0.0, 0.0]]), jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0]])
      >>> losses.triplet_margin(a, p, n, epsilon=0.0)
      Array([4.], dtype=float32)

    Source: Schroff, Kalenichenko & Philbin 2015, "FaceNet", section 3.1, without the squares; the swap: Balntas et al.
    2016, "Learning local feature descriptors with triplets and shallow convolutional neural networks".
    """
    name = "losses.triplet_margin"
    (a, like, other), dtype = many(name, anchor=anchor, positive=positive, negative=negative)
    _axis(name, -1, a, "anchor")
    width = _checks.number(name, "margin", margin)
    extra = _checks.number(name, "epsilon", epsilon, low=0.0)
    power = math.inf if p == math.inf else _checks.number(name, "p", p, low=1.0)
    if not isinstance(swap, bool):
        raise _checks.type_error(name, "swap", _checks.describe(swap), "True or False", "It must be static.")
    near, far = length(a - like + extra, power), length(a - other + extra, power)
    if swap:
        between = length(like - other + extra, power)
        far = jnp.where(between < far, between, far)
    return relu(near - far + width).astype(dtype)


def circle(embeddings: ArrayLike, labels: ArrayLike, *, gamma: float = 80.0, margin: float = 0.4) -> Array:
    """Pulls the embeddings of a batch together where labels are equal, and apart where they differ.

        L_i = softplus(lse_p(−γ α_p (s_p − 1 + m)) + lse_n(γ α_n (s_n − m)))
        α_p = max(0, 1 + m − s_p),   α_n = max(0, s_n + m)

    with the cosines s_p to the other examples of the same label, s_n to those of other labels, and lse the logarithm of
    the sum of exponentials.

    Args:
      embeddings: (B, features), floating, of any length: only directions count.
      labels: (B,) integers; any numbers, equal or not.
      gamma: γ > 0, how sharp the loss is.
      margin: m in [0, 1].

    Returns:
      L: (B,), in the dtype of `embeddings`; computed in float32 or wider. An example without another of its label, or
      without one of another label, costs 0. A zero vector has the cosine 0 with all.

    Raises:
      ValueError: if shapes do not fit, or an option is out of range.
      TypeError: if `embeddings` are not floating, or `labels` not integers.

    Gradient: that of the formula, through the weights α too, as Keras' (the paper holds them constant); 0 at their
    kinks, and for a zero vector.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> x = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
      >>> losses.circle(x, jnp.array([0, 0, 1]), gamma=1.0).round(3)
      Array([0.546, 0.546, 0.   ], dtype=float32)

    Source: Sun et al. 2020, "Circle loss: a unified perspective of pair similarity optimization", eq. 6.
    """
    name = "losses.circle"
    (x,), dtype = many(name, embeddings=embeddings)
    if x.ndim != 2:
        raise _checks.value_error(
            name, "embeddings", _checks.describe(x), "(batch, features)", "Examples are compared in one batch."
        )
    y = _checks.labels(name, "labels", labels, x.shape[:1], "embeddings")
    sharp = _checks.number(name, "gamma", gamma, above=0.0)
    m = _checks.fraction(name, "margin", margin)
    u, _ = direction(x, -1)
    cosines = u @ u.T
    alike = y[:, None] == y[None, :]
    itself = jnp.eye(len(y), dtype=bool)
    near = _log_sum(-sharp * relu(1 + m - cosines) * (cosines - 1 + m), alike & ~itself)
    far = _log_sum(sharp * relu(cosines + m) * (cosines - m), ~alike)
    # −∞ where there is nobody to compare with.
    alone = jnp.isneginf(near) | jnp.isneginf(far)
    return jnp.where(alone, 0, softplus(jnp.where(alone, 0, near + far))).astype(dtype)


def _log_sum(scores: Array, where: Array) -> Array:
    """log Σ exp of the chosen entries of each row; −∞ where there is none."""
    kept = jnp.where(where, scores, -np.inf)
    top = peak(kept, -1)
    total = jnp.exp(shift(kept, top)).sum(-1)
    return jnp.where(total == 0, -np.inf, jnp.log(jnp.where(total == 0, 1, total)) + top[..., 0])


def _axis(name: str, axis: int, x: Array, argument: str = "predictions") -> int:
    """The one axis of the vectors' components."""
    if x.ndim == 0:
        raise _checks.value_error(name, argument, "a scalar", "vectors, with an axis of components", "Add an axis.")
    return _checks.distinct_axes(name, "axis", _checks.integer(name, "axis", axis, low=-x.ndim), x.ndim)[0]
