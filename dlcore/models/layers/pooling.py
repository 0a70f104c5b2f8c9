"""Pooling, lifted. An int for a window is one spatial axis, as in `dlcore.nn`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from dlcore import _checks, nn
from dlcore._typing import Array, Padding, Spatial
from dlcore.models.layer import Layer, lift

__all__ = [
    "adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "flatten", "global_avg_pool", "global_max_pool", "lp_pool",
    "max_pool",
]  # fmt: skip


def max_pool(
    window: int | Sequence[int],
    *,
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    dilation: Spatial = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The layer of `nn.max_pool`. An int for `window` is one spatial axis.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import models
      >>> models.max_pool((2, 2)).apply({}, (), jnp.ones((1, 8, 8, 3)), key=None, train=False)[0].shape
      (1, 4, 4, 3)
    """
    return lift(
        partial(nn.max_pool, window=window, strides=strides, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    )


def avg_pool(
    window: int | Sequence[int],
    *,
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
    count_include_padding: bool = False,
    dilation: Spatial = 1,
) -> Layer:
    """The layer of `nn.avg_pool`. An int for `window` is one spatial axis.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import models
      >>> models.avg_pool((2, 2)).apply({}, (), jnp.ones((1, 8, 8, 3)), key=None, train=False)[0].shape
      (1, 4, 4, 3)
    """
    return lift(
        partial(
            nn.avg_pool, window=window, strides=strides, padding=padding, ceil_mode=ceil_mode,
            count_include_padding=count_include_padding, dilation=dilation,
        )
    )  # fmt: skip


def lp_pool(
    window: int | Sequence[int],
    *,
    p: float = 2,
    strides: Spatial | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
    dilation: Spatial = 1,
) -> Layer:
    """The layer of `nn.lp_pool`."""
    return lift(
        partial(
            nn.lp_pool, window=window, p=p, strides=strides, padding=padding, ceil_mode=ceil_mode, dilation=dilation
        )
    )


def global_avg_pool(*, axes: int | Sequence[int] = (-3, -2)) -> Layer:
    """The layer of `nn.global_avg_pool`; by default over an image's height and width.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import models
      >>> models.global_avg_pool().apply({}, (), jnp.ones((1, 8, 8, 3)), key=None, train=False)[0].shape
      (1, 3)
    """
    return lift(partial(nn.global_avg_pool, axes=axes))


def global_max_pool(*, axes: int | Sequence[int] = (-3, -2)) -> Layer:
    """The layer of `nn.global_max_pool`; by default over an image's height and width."""
    return lift(partial(nn.global_max_pool, axes=axes))


def adaptive_avg_pool(output_size: int | Sequence[int | None]) -> Layer:
    """The layer of `nn.adaptive_avg_pool`."""
    return lift(partial(nn.adaptive_avg_pool, output_size=output_size))


def adaptive_max_pool(output_size: int | Sequence[int | None]) -> Layer:
    """The layer of `nn.adaptive_max_pool`."""
    return lift(partial(nn.adaptive_max_pool, output_size=output_size))


def flatten(*, batch_axes: int = 1) -> Layer:
    """Joins all axes behind the first `batch_axes` into one.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import models
      >>> models.flatten().apply({}, (), jnp.ones((2, 8, 8, 1)), key=None, train=False)[0].shape
      (2, 64)
    """
    count = _checks.integer("models.flatten", "batch_axes", batch_axes, low=0)

    def run(x: Array) -> Array:
        if x.ndim < count:
            raise _checks.value_error(
                "models.flatten", "x", _checks.describe(x), f"at least {count} axes", "Lower batch_axes."
            )
        return x.reshape((*x.shape[:count], math.prod(x.shape[count:])))

    return lift(run)
