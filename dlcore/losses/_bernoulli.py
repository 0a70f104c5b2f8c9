"""The cross-entropy of a yes or no, which binary and multi-label losses share."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array
from dlcore.nn.activations.smooth import softplus

__all__ = ["mixture", "truth"]


def truth(name: str, source: str, z: Array, labels: Any, argument: str = "labels") -> Array:
    """Labels in the shape and dtype of `z`: numbers as they are, integers 0 or 1 (others NaN), booleans."""
    y = _checks.array(name, argument, labels)
    whole = jnp.issubdtype(y.dtype, np.integer)
    if not (whole or y.dtype == np.bool_):
        y = _checks.floating(name, argument, y)
    _checks.same_shape(name, source, z, argument, y)
    return jnp.where((y == 0) | (y == 1), y.astype(z.dtype), np.nan) if whole else y.astype(z.dtype)


def mixture(y: Array, z: Array, weight: Any = None) -> Array:
    """w y softplus(−z) + (1 − y) softplus(z), where a share of 0 makes an infinite loss nothing."""
    return _share(y if weight is None else y * weight, -z) + _share(1 - y, z)


def _share(share: Array, z: Array) -> Array:
    nothing = (share == 0) & (z == np.inf)
    return share * softplus(jnp.where(nothing, 0, z))
