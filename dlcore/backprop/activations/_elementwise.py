"""The chain rule of a function that acts on each element by itself: dx = dy · f′(x).

Every elementwise unit saves its input, in the input's own dtype: f′ is computed from it in float32 or wider, so that
half precision does not round a saturated unit's small slope to zero, as 1 − y from a rounded y would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.backprop._boundary import cotangent, saved, widen

__all__ = ["UnitResiduals", "backward", "forward", "rounded", "saturated"]


@partial(jax.tree_util.register_dataclass, data_fields=["x"], meta_fields=["unit", "options"])
@dataclass(frozen=True)
class UnitResiduals:
    """What an elementwise unit saves: its input; whose it is, and with which options."""

    x: Array
    unit: str
    options: tuple[Any, ...] = ()


def forward(unit: str, x: ArrayLike, formula: Callable[..., Array], *options: Any) -> tuple[Array, UnitResiduals]:
    """y = formula(x, *options), computed wide, in the dtype of `x`."""
    values = _checks.floating(f"backprop.{unit}_fwd", "x", x)
    return formula(widen(values), *options).astype(values.dtype), UnitResiduals(values, unit, options)


def backward(unit: str, residuals: UnitResiduals, dy: ArrayLike, formula: Callable[..., Array]) -> tuple[Array]:
    """dx = formula(x, dy, *options), computed wide, in the dtype of x."""
    name = f"backprop.{unit}_bwd"
    x = saved(name, residuals, UnitResiduals, unit).x
    dx = formula(widen(x), cotangent(name, dy, x.shape, x.dtype), *residuals.options)
    return (dx.astype(x.dtype),)


def rounded(threshold: float, x: Array) -> float:
    """A kink's place in the dtype of `x`, so that the `x` nearest to it stands on it."""
    return float(np.asarray(threshold).astype(x.dtype))


def saturated(x: Array, bound: float, below: Array | float, function: Callable[[Array], Array], above: Array) -> Array:
    """`function` between −bound and bound, `below` and `above` outside: its limits there.

    Without it, x = −∞ times a gate of 0 would be NaN. The inner where keeps `function` from seeing what overflows.
    """
    outside = (x > bound) | (x < -bound)
    return jnp.where(x > bound, above, jnp.where(x < -bound, below, function(jnp.where(outside, 0, x))))
