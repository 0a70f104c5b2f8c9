"""`dlcore.nn` lifted to layers: widths come from the input, everything else from the arguments.

The options are those of the equation of the same name in `dlcore.nn`; its docstring has the formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp

from dlcore import _checks, nn
from dlcore._precision import compute_dtype
from dlcore._typing import Array, DType, Key, Padding, Params, Spatial, State
from dlcore.models.layer import Init, Layer, lift, spec_of
from dlcore.nn.initializers import Initializer

__all__ = [
    "avg_pool", "batch_norm", "celu", "conv", "dense", "dropout", "elu", "embedding", "flatten", "gelu",
    "global_avg_pool", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid",
    "log_softmax", "max_pool", "maxout", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "soft_sign", "softmax", "softplus", "squareplus", "tanh", "tanh_shrink", "thresholded_relu",
]  # fmt: skip


def dense(
    features: int,
    *,
    use_bias: bool = True,
    kernel_init: Initializer = nn.initializers.lecun_normal(),
    bias_init: Initializer = nn.initializers.zeros,
) -> Layer:
    """The layer of `nn.dense`, in the dtype of its input.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.dense(3).init(jax.random.key(0), jnp.ones((2, 4)))[0]["kernel"].shape
      (4, 3)
    """

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        width, dtype = _width("models.dense", x_spec)
        made = nn.dense_init(
            key, width, features, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype
        )
        return made, ()

    return _pure(init, nn.dense)


def embedding(
    vocabulary: int, features: int, *, kernel_init: Initializer | None = None, dtype: DType = jnp.float32
) -> Layer:
    """The layer of `nn.embedding`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.embedding(100, 8).init(jax.random.key(0), jnp.zeros((2, 5), int))[0]["kernel"].shape
      (100, 8)
    """

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        return nn.embedding_init(key, vocabulary, features, kernel_init=kernel_init, dtype=dtype), ()

    return _pure(init, nn.embedding)


def conv(
    features: int,
    window: int | Sequence[int],
    *,
    strides: Spatial = 1,
    padding: Padding = "SAME",
    padding_mode: str = "zeros",
    dilation: Spatial = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: Initializer = nn.initializers.lecun_normal(),
    bias_init: Initializer = nn.initializers.zeros,
) -> Layer:
    """The layer of `nn.conv`, in the dtype of its input. An int for `window` is one spatial axis.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.conv(16, (3, 3)).init(jax.random.key(0), jnp.ones((2, 8, 8, 1)))[0]["kernel"].shape
      (3, 3, 1, 16)
    """

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        width, dtype = _width("models.conv", x_spec)
        made = nn.conv_init(
            key, window, width, features, groups=groups, use_bias=use_bias,
            kernel_init=kernel_init, bias_init=bias_init, dtype=dtype,
        )  # fmt: skip
        return made, ()

    return _pure(
        init,
        partial(nn.conv, strides=strides, padding=padding, padding_mode=padding_mode, dilation=dilation, groups=groups),
    )


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


def global_avg_pool(*, axes: int | Sequence[int] = (-3, -2)) -> Layer:
    """The layer of `nn.global_avg_pool`; by default over an image's height and width.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import models
      >>> models.global_avg_pool().apply({}, (), jnp.ones((1, 8, 8, 3)), key=None, train=False)[0].shape
      (1, 3)
    """
    return lift(partial(nn.global_avg_pool, axes=axes))


def batch_norm(*, decay: float = 0.9, epsilon: float = 1e-5, axis_name: str | None = None) -> Layer:
    """The layer of `nn.batch_norm_train` while training and of `nn.batch_norm_eval` otherwise.

    Parameters and running statistics are float32 (float64 for float64 input), for half precision data too.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.batch_norm().init(jax.random.key(0), jnp.ones((2, 4)))[1].var
      Array([1., 1., 1., 1.], dtype=float32)
    """

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        width, dtype = _width("models.batch_norm", x_spec)
        return nn.batch_norm_init(width, dtype=compute_dtype(dtype))

    def apply(params: Params, state: State, x: Array, *, key: Key | None, train: bool) -> tuple[Array, State]:
        if train:
            return nn.batch_norm_train(params, state, x, decay=decay, epsilon=epsilon, axis_name=axis_name)
        return nn.batch_norm_eval(params, state, x, epsilon=epsilon), state

    return Layer(init, apply)


def dropout(*, rate: float, broadcast_axes: Sequence[int] = ()) -> Layer:
    """The layer of `nn.dropout` while training, the identity otherwise. Training without a key raises.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import models
      >>> models.dropout(rate=0.5).apply({}, (), jnp.ones(3), key=None, train=False)[0]
      Array([1., 1., 1.], dtype=float32)
    """
    _checks.fraction("models.dropout", "rate", rate)

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        return {}, ()

    def apply(params: Params, state: State, x: Array, *, key: Key | None, train: bool) -> tuple[Array, State]:
        if not train:
            return x, state
        return nn.dropout(_checks.key("models.dropout", key), x, rate=rate, broadcast_axes=broadcast_axes), state

    return Layer(init, apply)


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


def prelu(*, per_channel: bool = False, slope: float = 0.25) -> Layer:
    """The layer of `nn.prelu`: one learned slope, or one a channel, starting at `slope`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.prelu().init(jax.random.key(0), jnp.ones((2, 4)))[0]
      {'slope': Array(0.25, dtype=float32)}
    """

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        width, dtype = _width("models.prelu", x_spec)
        return {"slope": jnp.full((width,) if per_channel else (), slope, dtype)}, ()

    return _pure(init, lambda params, x: nn.prelu(x, params["slope"]))


def softmax(*, axis: int = -1, temperature: float = 1.0) -> Layer:
    """The layer of `nn.softmax`. A classifier that trains ends in logits instead: the loss has the softmax."""
    return lift(partial(nn.softmax, axis=axis, temperature=temperature))


def log_softmax(*, axis: int = -1, temperature: float = 1.0) -> Layer:
    """The layer of `nn.log_softmax`."""
    return lift(partial(nn.log_softmax, axis=axis, temperature=temperature))


def relu() -> Layer:
    """The layer of `nn.relu`."""
    return lift(nn.relu)


def relu6() -> Layer:
    """The layer of `nn.relu6`."""
    return lift(nn.relu6)


def leaky_relu(*, negative_slope: float = 0.01) -> Layer:
    """The layer of `nn.leaky_relu`."""
    return lift(partial(nn.leaky_relu, negative_slope=negative_slope))


def thresholded_relu(*, threshold: float) -> Layer:
    """The layer of `nn.thresholded_relu`."""
    return lift(partial(nn.thresholded_relu, threshold=threshold))


def elu(*, alpha: float = 1.0) -> Layer:
    """The layer of `nn.elu`."""
    return lift(partial(nn.elu, alpha=alpha))


def selu() -> Layer:
    """The layer of `nn.selu`."""
    return lift(nn.selu)


def celu(*, alpha: float = 1.0) -> Layer:
    """The layer of `nn.celu`."""
    return lift(partial(nn.celu, alpha=alpha))


def gelu(*, approximate: bool = True) -> Layer:
    """The layer of `nn.gelu`."""
    return lift(partial(nn.gelu, approximate=approximate))


def silu() -> Layer:
    """The layer of `nn.silu`."""
    return lift(nn.silu)


def mish() -> Layer:
    """The layer of `nn.mish`."""
    return lift(nn.mish)


def softplus() -> Layer:
    """The layer of `nn.softplus`."""
    return lift(nn.softplus)


def squareplus(*, b: float = 4.0) -> Layer:
    """The layer of `nn.squareplus`."""
    return lift(partial(nn.squareplus, b=b))


def soft_sign() -> Layer:
    """The layer of `nn.soft_sign`."""
    return lift(nn.soft_sign)


def sigmoid() -> Layer:
    """The layer of `nn.sigmoid`."""
    return lift(nn.sigmoid)


def log_sigmoid() -> Layer:
    """The layer of `nn.log_sigmoid`."""
    return lift(nn.log_sigmoid)


def tanh() -> Layer:
    """The layer of `nn.tanh`."""
    return lift(nn.tanh)


def hard_tanh() -> Layer:
    """The layer of `nn.hard_tanh`."""
    return lift(nn.hard_tanh)


def hard_sigmoid(*, slope: float = 1 / 6, offset: float = 0.5) -> Layer:
    """The layer of `nn.hard_sigmoid`."""
    return lift(partial(nn.hard_sigmoid, slope=slope, offset=offset))


def hard_silu() -> Layer:
    """The layer of `nn.hard_silu`."""
    return lift(nn.hard_silu)


def hard_shrink(*, threshold: float = 0.5) -> Layer:
    """The layer of `nn.hard_shrink`."""
    return lift(partial(nn.hard_shrink, threshold=threshold))


def soft_shrink(*, threshold: float = 0.5) -> Layer:
    """The layer of `nn.soft_shrink`."""
    return lift(partial(nn.soft_shrink, threshold=threshold))


def tanh_shrink() -> Layer:
    """The layer of `nn.tanh_shrink`."""
    return lift(nn.tanh_shrink)


def glu(*, axis: int = -1) -> Layer:
    """The layer of `nn.glu`."""
    return lift(partial(nn.glu, axis=axis))


def maxout(pieces: int) -> Layer:
    """The layer of `nn.maxout`."""
    return lift(partial(nn.maxout, pieces=pieces))


def _pure(init: Init, equation: Callable[[Any, Array], Array]) -> Layer:
    """A layer that has parameters, but neither state nor randomness."""

    def apply(params: Any, state: State, x: Array, *, key: Key | None, train: bool) -> tuple[Array, State]:
        return equation(params, x), state

    return Layer(init, apply)


def _width(function: str, x_spec: Any) -> tuple[int, Any]:
    spec = spec_of(function, x_spec)
    if not hasattr(spec, "shape") or len(spec.shape) == 0:
        raise _checks.value_error(
            function, "x_spec", _checks.describe(spec), "at least one axis, features last", "Include the batch axes."
        )
    return spec.shape[-1], spec.dtype
