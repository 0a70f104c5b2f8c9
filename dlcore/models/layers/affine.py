"""Dense layers, embeddings and convolutions, lifted: widths come from the input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp

from dlcore import nn
from dlcore._typing import DType, Key, Padding, Params, Spatial, State
from dlcore.models.layer import Layer
from dlcore.models.layers._lifting import pure, width
from dlcore.nn.initializers import Initializer

__all__ = ["conv", "conv_transpose", "dense", "embedding"]


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
        inputs, dtype = width("models.dense", x_spec)
        made = nn.dense_init(
            key, inputs, features, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype
        )
        return made, ()

    return pure(init, nn.dense)


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

    return pure(init, nn.embedding)


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
        inputs, dtype = width("models.conv", x_spec)
        made = nn.conv_init(
            key, window, inputs, features, groups=groups, use_bias=use_bias,
            kernel_init=kernel_init, bias_init=bias_init, dtype=dtype,
        )  # fmt: skip
        return made, ()

    return pure(
        init,
        partial(nn.conv, strides=strides, padding=padding, padding_mode=padding_mode, dilation=dilation, groups=groups),
    )


def conv_transpose(
    features: int,
    window: int | Sequence[int],
    *,
    strides: Spatial = 1,
    padding: Padding = "SAME",
    output_padding: Spatial = 0,
    dilation: Spatial = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: Initializer = nn.initializers.lecun_normal(),
    bias_init: Initializer = nn.initializers.zeros,
) -> Layer:
    """The layer of `nn.conv_transpose`, in the dtype of its input. An int for `window` is one spatial axis.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> up = models.conv_transpose(3, (2, 2), strides=2)
      >>> params, state = up.init(jax.random.key(0), jnp.ones((1, 4, 4, 8)))
      >>> up.apply(params, state, jnp.ones((1, 4, 4, 8)), key=None, train=False)[0].shape
      (1, 8, 8, 3)
    """

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        inputs, dtype = width("models.conv_transpose", x_spec)
        made = nn.conv_transpose_init(
            key, window, inputs, features, groups=groups, use_bias=use_bias,
            kernel_init=kernel_init, bias_init=bias_init, dtype=dtype,
        )  # fmt: skip
        return made, ()

    equation = partial(
        nn.conv_transpose, strides=strides, padding=padding, output_padding=output_padding, dilation=dilation,
        groups=groups,
    )  # fmt: skip
    return pure(init, equation)
