"""The dense layer, y = x W + b."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, DType, Key, Params
from dlcore.nn import initializers
from dlcore.nn._affine import add_bias, float_dtype

__all__ = ["dense", "dense_init"]


def dense_init(
    key: Key,
    in_features: int,
    out_features: int,
    *,
    use_bias: bool = True,
    kernel_init: initializers.Initializer = initializers.lecun_normal(),
    bias_init: initializers.Initializer = initializers.zeros,
    dtype: DType = jnp.float32,
) -> dict[str, Array]:
    """The parameters of `dense`.

    Args:
      key: a typed PRNG key.
      in_features: D, the width of the input.
      out_features: F, the width of the output.
      use_bias: whether there is a `bias` leaf.
      kernel_init: draws the kernel; by default variance 1 / D, which keeps the variance of the input
        (LeCun et al. 1998). Before a ReLU, `initializers.he_normal()` makes up for the half it drops.
      bias_init: draws the bias; zeros by default.
      dtype: of the parameters.

    Returns:
      `{"kernel": (D, F), "bias": (F,)}`.

    Raises:
      ValueError, TypeError: if a width is below 1, `dtype` is not floating, or `key` is not one typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> jax.tree.map(lambda leaf: leaf.shape, nn.dense_init(jax.random.key(0), 4, 3))
      {'bias': (3,), 'kernel': (4, 3)}

    Source: LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.6.
    """
    key = _checks.key("nn.dense_init", key)
    d = _checks.integer("nn.dense_init", "in_features", in_features, low=1)
    f = _checks.integer("nn.dense_init", "out_features", out_features, low=1)
    dtype = float_dtype("nn.dense_init", dtype)
    kernel_key, bias_key = jax.random.split(key)
    params = {"kernel": kernel_init(kernel_key, (d, f), dtype)}
    if use_bias:
        params["bias"] = bias_init(bias_key, (f,), dtype)
    return params


def dense(params: Params, x: ArrayLike) -> Array:
    """An affine map of the last axis.

        y = x W + b

    Args:
      params: `{"kernel": W (D, F)}`, perhaps with `"bias": b (F,)`, in the dtype of `x`.
      x: (*batch, D), floating.

    Returns:
      y: (*batch, F), in the dtype of `x`.

    Raises:
      ValueError: if the last axis of `x` is not D, or the leaves do not fit each other.
      TypeError: if the dtypes of `x` and `params` differ or are not floating.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> params = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "bias": jnp.array([0.0, 1.0])}
      >>> nn.dense(params, jnp.array([[1.0, 1.0]]))
      Array([[4., 7.]], dtype=float32)

    Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors", eq. 1.
    """
    params = _checks.params("nn.dense", params, required=["kernel"], optional=["bias"])
    x = _checks.floating("nn.dense", "x", x)
    kernel = _checks.array("nn.dense", "params['kernel']", params["kernel"])
    if kernel.ndim != 2:
        raise _checks.value_error(
            "nn.dense",
            "params['kernel']",
            f"shape {kernel.shape}",
            "(in, out)",
            "A convolution's goes to nn.conv.",
        )
    _checks.same_dtype("nn.dense", x, "params['kernel']", kernel)
    _checks.feature_axis("nn.dense", x, kernel.shape[0], "params['kernel']")
    return add_bias("nn.dense", params, x @ kernel)
