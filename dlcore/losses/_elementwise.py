"""Losses of one number, the error, with their slope written out."""

from __future__ import annotations

from collections.abc import Callable

import jax

from dlcore._typing import Array

__all__ = ["sloped"]


def sloped(value: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`value`, elementwise, whose derivative is `slope`: both may be written as is best for large and small numbers.

    The derivative of a form that is exact at every size would pass through 0 · ∞ at some. Derivatives of higher order
    are those of `slope`.
    """

    @jax.custom_jvp
    def loss(error: Array) -> Array:
        return value(error)

    @loss.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (error,), (moved,) = primals, tangents
        return loss(error), slope(error) * moved

    return loss
