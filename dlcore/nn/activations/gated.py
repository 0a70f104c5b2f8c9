"""Units of several inputs: products with a gate, and the largest of several pieces."""

from __future__ import annotations

import jax
from jax import lax

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore._windows import resolve_windows
from dlcore.kernels.windows import window_max

__all__ = ["geglu", "glu", "maxout", "swiglu"]


def glu(x: ArrayLike, *, axis: int = -1) -> Array:
    """The gated linear unit: one half of the features, gated by the other.

        y = a · σ(b),   x = [a, b]

    Args:
      x: any shape, floating, of even size along `axis`.
      axis: along which it is split.

    Returns:
      y in the dtype of `x`, half as long along `axis`.

    Raises:
      ValueError: if `axis` is none of `x`, or its size is odd.
      TypeError: if `x` is not floating.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.glu(jnp.array([2.0, 0.0]))
      Array([1.], dtype=float32)

    Source: Dauphin, Fan, Auli & Grangier 2017, "Language modeling with gated convolutional networks".
    """
    x = _checks.floating("nn.glu", "x", x)
    index = _checks.integer("nn.glu", "axis", axis, low=-x.ndim)
    if index >= x.ndim or x.shape[index] % 2:
        raise _checks.value_error(
            "nn.glu",
            "x",
            _checks.describe(x),
            f"an even size along axis {axis}",
            "It is split into two halves.",
        )
    half = x.shape[index] // 2
    # Slices, whose transposes are sums; jax.nn.glu splits, and the concatenation in its gradient comes out wrong in
    # float64 from jaxlib 0.9.2 on CPU.
    a, b = (lax.slice_in_dim(x, start, start + half, axis=index) for start in (0, half))
    return a * jax.nn.sigmoid(b)


def swiglu(a: ArrayLike, b: ArrayLike) -> Array:
    """A linear unit gated by a silu.

        y = silu(a) · b

    Args:
      a: the gate, any shape, floating.
      b: the values, in the shape and dtype of `a`.

    Returns:
      y in the shape and dtype of `a`.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if one is not floating, or the dtypes differ.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.swiglu(jnp.array([0.0]), jnp.array([3.0]))
      Array([0.], dtype=float32)

    Source: Shazeer 2020, "GLU variants improve transformer", eq. 5.
    """
    gate, values = _pair("nn.swiglu", a, b)
    return jax.nn.silu(gate) * values


def geglu(a: ArrayLike, b: ArrayLike) -> Array:
    """A linear unit gated by a gelu.

        y = gelu(a) · b

    Args:
      a: the gate, any shape, floating; its gelu is the tanh form, the default of `gelu`.
      b: the values, in the shape and dtype of `a`.

    Returns:
      y in the shape and dtype of `a`.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if one is not floating, or the dtypes differ.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.geglu(jnp.array([0.0]), jnp.array([3.0]))
      Array([0.], dtype=float32)

    Source: Shazeer 2020, "GLU variants improve transformer", eq. 5.
    """
    gate, values = _pair("nn.geglu", a, b)
    return jax.nn.gelu(gate) * values


def maxout(x: ArrayLike, pieces: int) -> Array:
    """The largest of each run of `pieces` neighbouring features.

        y_i = max_{j < pieces} x_{i · pieces + j}

    Args:
      x: (*batch, D), floating.
      pieces: how many features compete; it divides D.

    Returns:
      y: (*batch, D // pieces), in the dtype of `x`.

    Raises:
      ValueError: if `pieces` does not divide D.
      TypeError: if `x` is not floating, or `pieces` not an int.

    Gradient: goes to the first maximal piece.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.maxout(jnp.array([1.0, 3.0, 2.0, 0.0]), 2)
      Array([3., 2.], dtype=float32)

    Source: Goodfellow, Warde-Farley, Mirza, Courville & Bengio 2013, "Maxout networks".
    """
    x = _checks.floating("nn.maxout", "x", x)
    count = _checks.integer("nn.maxout", "pieces", pieces, low=1)
    if x.ndim == 0 or x.shape[-1] == 0 or x.shape[-1] % count:
        raise _checks.value_error(
            "nn.maxout",
            "pieces",
            count,
            f"a divisor of the last axis of x, {x.shape[-1:]}",
            "Widen the layer before.",
        )
    axes = resolve_windows("nn.maxout", x.shape[-1:], (count,), count, "VALID", 1, limit="none")
    return window_max(x[..., None], axes)[..., 0]


def _pair(name: str, a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    gate, values = _checks.floating(name, "a", a), _checks.floating(name, "b", b)
    _checks.same_shape(name, "a", gate, "b", values)
    _checks.same_dtype(name, gate, "b", values)
    return gate, values
