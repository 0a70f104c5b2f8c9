"""The one validator that every loss shares: exact shapes, floating dtypes, labels and signs."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike

__all__ = [
    "Labels", "classes", "many", "memberships", "pair", "per_class", "poison", "settle", "signs", "weigh",
]  # fmt: skip


def many(name: str, **arrays: ArrayLike) -> tuple[list[Array], Any]:
    """Floating arrays of one shape, in the dtype to compute in, and the dtype to return: the first one's."""
    found = {argument: _checks.floating(name, argument, value) for argument, value in arrays.items()}
    first, *others = found
    for other in others:
        _checks.same_shape(name, first, found[first], other, found[other])
    kept = found[first].dtype
    return [value.astype(compute_dtype(kept)) for value in found.values()], kept


def pair(name: str, first: str, a: ArrayLike, second: str, b: ArrayLike) -> tuple[Array, Array, Any]:
    """Two floating arrays of one shape, in the dtype to compute in, and the dtype to return: the first one's."""
    (x, y), kept = many(name, **{first: a, second: b})
    return x, y, kept


def classes(name: str, argument: str, value: ArrayLike) -> tuple[Array, Any]:
    """Scores with at least one class on the last axis, in the dtype to compute in, and the dtype to return."""
    scores = _checks.floating(name, argument, value)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise _checks.value_error(
            name, argument, _checks.describe(scores), "at least one class on the last axis", "Shape: (batch, classes)."
        )
    return scores.astype(compute_dtype(scores.dtype)), scores.dtype


class Labels(NamedTuple):
    """Integer labels, looked at.

    Attributes:
      which: the class, 0 where the label is none.
      valid: whether it is a class, or is to be ignored.
      ignored: whether it is to be ignored; None where nothing is.
    """

    which: Array
    valid: Array
    ignored: Array | None

    @classmethod
    def of(
        cls, name: str, value: Any, shape: tuple[int, ...], source: str, count: int, ignore_label: Any = None
    ) -> Labels:
        """Labels of `shape`, that of `source` without its last axis, in [0, count)."""
        y = _checks.labels(name, "labels", value, shape, source)
        valid = inside = (y >= 0) & (y < count)
        ignored = None
        if ignore_label is not None:
            chosen = _checks.integer(name, "ignore_label", ignore_label, low=-(2**63))
            bounds = np.iinfo(y.dtype)
            # A number that the labels' dtype cannot hold is no label; cast to it, it would be another one.
            ignored = y == chosen if bounds.min <= chosen <= bounds.max else jnp.zeros(y.shape, bool)
            valid = inside | ignored
            inside = inside & ~ignored
        return cls(jnp.where(inside, y, 0).astype(jnp.int32), valid, ignored)

    def quiet(self, rows: Array) -> Array:
        """`rows`, (*batch, …), with zeros in those that are ignored: 0 · NaN is NaN, in the gradient too."""
        if self.ignored is None:
            return rows
        return jnp.where(self.ignored.reshape(self.ignored.shape + (1,) * (rows.ndim - self.ignored.ndim)), 0, rows)

    def chosen(self, rows: Array) -> Array:
        """Which entries of (*batch, K) are of the example's own class."""
        return jax.lax.broadcasted_iota(jnp.int32, rows.shape, rows.ndim - 1) == self.which[..., None]

    def pick(self, rows: Array) -> Array:
        """The entry of each example's own class, (*batch,), from (*batch, K)."""
        return jnp.take_along_axis(rows, self.which[..., None], axis=-1)[..., 0]

    def weighted(self, values: Array, weights: Array | None) -> Array:
        """`values` times their classes' weights; weight 0 is as good as no example."""
        if weights is None:
            return values
        own = jnp.where(self.valid, weights[self.which], jnp.nan)
        return jnp.where(own == 0, 0, own * jnp.where(own == 0, 0, values))


def settle(values: Array, labels: Labels, kept: Any) -> Array:
    """The losses in their dtype: 0 for what is ignored, NaN for what is no label."""
    if labels.ignored is not None:
        values = jnp.where(labels.ignored, 0, values)
    return poison(values, labels.valid).astype(kept)


def poison(values: Array, valid: Array) -> Array:
    """NaN where an entry is not valid: a product, so that the gradient is NaN too and nobody trains past it."""
    return values * jnp.where(valid, 1, jnp.nan).astype(values.dtype)


def per_class(
    name: str, value: ArrayLike | None, count: int, dtype: Any, *, argument: str = "class_weights"
) -> Array | None:
    """One weight for each class, or None."""
    if value is None:
        return None
    weights = _checks.floating(name, argument, value)
    if weights.shape != (count,):
        raise _checks.value_error(
            name, argument, f"shape {weights.shape}", f"({count},), one for each class", "Reshape them."
        )
    return weights.astype(dtype)


def weigh(terms: Array, weights: Array | None) -> Array:
    """Each class's term times its weight; a weight of 0 makes an infinite term nothing."""
    if weights is None:
        return terms
    w = broadcast_to_rank(weights, terms.ndim)
    return jnp.where(w == 0, 0, w * jnp.where(w == 0, 0, terms))


def signs(name: str, value: ArrayLike, source: str, like: Array) -> Array:
    """Signs, −1 or +1, in the shape and dtype of `like`, which is called `source`; others are refused, or NaN."""
    found = _entries(
        name, "signs", value, source, like, (-1, 1), "−1 and +1", "For labels that are 0 and 1: 2 * labels - 1."
    )
    return jnp.where(abs(found) == 1, found, jnp.nan)


def memberships(name: str, value: ArrayLike, source: str, like: Array) -> Array:
    """0 or 1 for each class, in the shape and dtype of `like`; others are refused, or NaN."""
    found = _entries(
        name, "labels", value, source, like, (0, 1), "0 and 1, whether an example is of the class",
        "For class numbers: jax.nn.one_hot(labels, classes).",
    )  # fmt: skip
    return jnp.where((found == 0) | (found == 1), found, jnp.nan)


def _entries(
    name: str, argument: str, value: Any, source: str, like: Array, allowed: tuple[int, int], words: str, mend: str
) -> Array:
    """Numbers that are one of two; looked at where they are known, which they are not under `jit`."""
    found = _checks.array(name, argument, value)
    numbers = jnp.issubdtype(found.dtype, np.floating) or jnp.issubdtype(found.dtype, np.integer)
    if not numbers and (allowed != (0, 1) or found.dtype != np.bool_):
        raise _checks.type_error(name, argument, _checks.describe(found), words, mend)
    _checks.same_shape(name, source, like, argument, found)
    if not isinstance(found, jax.core.Tracer):
        seen = np.unique(np.asarray(found).astype(np.float64))
        wrong = seen[~np.isin(seen, allowed)]
        if wrong.size:
            raise _checks.value_error(name, argument, f"{wrong[0]:g} among them", words, mend)
    return found.astype(like.dtype)
