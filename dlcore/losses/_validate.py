"""The one validator and the one way of rounding that every loss shares."""

from __future__ import annotations

from typing import Any

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike

__all__ = ["pair"]


def pair(name: str, first: str, a: ArrayLike, second: str, b: ArrayLike) -> tuple[Array, Array, Any]:
    """Two floating arrays of one shape, in the dtype to compute in, and the dtype to return: the first one's."""
    x, y = _checks.floating(name, first, a), _checks.floating(name, second, b)
    _checks.same_shape(name, first, x, second, y)
    dtype = compute_dtype(x.dtype)
    return x.astype(dtype), y.astype(dtype), x.dtype
