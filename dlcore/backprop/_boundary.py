"""What every rule checks where it is called, and the dtype in which it computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array

__all__ = ["cotangent", "leaves", "saved", "widen"]

Kind = TypeVar("Kind")


def widen(x: Array) -> Array:
    """`x` in the dtype to compute in: float32 or wider. The sum of a gradient has no digits to lose."""
    return x.astype(compute_dtype(x.dtype))


def saved(function: str, value: Any, kind: type[Kind], made_by: str = "") -> Kind:
    """The residuals that the forward pass made, and no others: arguments in the wrong order are noticed."""
    forward = function.removesuffix("_bwd") + "_fwd"
    if not isinstance(value, kind) or (made_by and getattr(value, "unit", made_by) != made_by):
        came = f"those of dlcore.backprop.{value.unit}_fwd" if isinstance(value, kind) else _checks.describe(value)  # type: ignore[attr-defined]
        raise _checks.type_error(
            function,
            "residuals",
            came,
            f"the residuals that dlcore.{forward} returns",
            f"y, residuals = {forward}(...), then {function}(residuals, dy), in this order.",
        )
    return value


def cotangent(function: str, dy: Any, shape: Sequence[int], dtype: Any, *, argument: str = "dy") -> Array:
    """∂L/∂y, which has the shape and dtype of y, in the dtype to compute in."""
    value = _checks.floating(function, argument, dy)
    if isinstance(dy, (int, float)):
        value = value.astype(dtype)
    if value.shape != tuple(shape):
        raise _checks.value_error(
            function,
            argument,
            f"shape {value.shape}",
            f"the shape of y, {tuple(shape)}: L depends on each element of y by itself",
            "Nothing is broadcast: for the gradient of y.sum() pass jax.numpy.ones_like(y).",
        )
    if value.dtype != np.dtype(dtype):
        raise _checks.type_error(
            function, argument, f"{value.dtype}", f"{dtype}, the dtype of y", f"Cast it: {argument}.astype(y.dtype)."
        )
    return widen(value)


def leaves(function: str, value: Any, *, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """The parameters of one layer, as a plain dict, so that residuals and gradients are one too."""
    return dict(_checks.params(function, value, required=required, optional=optional))
