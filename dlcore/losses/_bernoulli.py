"""The cross-entropy of a yes or no, which binary and multi-label losses share."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._log1p import log1p_unit
from dlcore._typing import Array

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
    return _mixed(y if weight is None else y * weight, 1 - y, z)


# custom_jvp: both softplus share one logarithm, log(1 + exp(−|z|)), and their slopes one sigmoid, which differentiation
# through |z| would not find. It saves its arguments.
@jax.custom_jvp
def _mixed(yes: Array, no: Array, z: Array) -> Array:
    down, up = _costs(z)
    return _times(yes, down) + _times(no, up)


@_mixed.defjvp
def _mixed_jvp(primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]) -> tuple[Array, Any]:
    yes, no, z = primals
    dyes, dno, dz = tangents
    down, up = _costs(z)
    slope = no * jax.nn.sigmoid(z) - yes * jax.nn.sigmoid(-z)
    # A share of 0 has the slope of what it makes nothing of, 0.
    none = jnp.isinf(down) & (yes == 0), jnp.isinf(up) & (no == 0)
    other = jnp.where(none[0], 0, down) * dyes + jnp.where(none[1], 0, up) * dno
    return _times(yes, down) + _times(no, up), slope * dz + other


def _costs(z: Array) -> tuple[Array, Array]:
    """softplus(−z) and softplus(z)."""
    tail = log1p_unit(jnp.exp(-jnp.abs(z)))
    return jnp.maximum(-z, 0) + tail, jnp.maximum(z, 0) + tail


def _times(share: Array, cost: Array) -> Array:
    return share * jnp.where((share == 0) & (cost == np.inf), 0, cost)
