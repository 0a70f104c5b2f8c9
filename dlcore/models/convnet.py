"""The convolutional network for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlcore import _checks, nn
from dlcore._typing import Array
from dlcore.models import layers
from dlcore.models.combinators import serial
from dlcore.models.layer import Layer, lift

__all__ = ["convnet"]


def convnet(
    classes: int,
    *,
    channels: Sequence[int] = (32, 64),
    convolutions: int = 2,
    activation: Callable[[Array], Array] = nn.relu,
    dropout: float = 0.5,
    input_dropout: float = 0.0,
) -> Layer:
    """Blocks of convolution, batch normalisation, activation and max pooling, then dropout and a dense layer.

        block(x) = max_pool_2×2(φ(BN(W_c ∗ … φ(BN(W_1 ∗ x)))))
        y = dropout(flatten(block_n(… block_1(x)))) W + b

    Args:
      classes: K, the width of the output.
      channels: one entry a block; each block halves height and width, odd ones rounded up.
      convolutions: how many 3×3 convolutions a block has. They need no bias: batch normalisation has one.
      activation: φ. Kernels are drawn as He et al. 2015 for ReLU.
      dropout: the rate of dropout before the last layer.
      input_dropout: the rate of dropout on the input.

    Returns:
      A `Layer` from (B, H, W, C) to logits (B, K).

    Raises:
      ValueError: if `channels` is empty, or a width or rate is out of range.
      TypeError: if a width is not an int.

    Gradient: the chain rule; max pooling's goes to the first maximum.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> params, state = models.convnet(10, channels=(8,)).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
      >>> params["out"]["kernel"].shape
      (128, 10)

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition"; batch normalisation
    before the activation: Ioffe & Szegedy 2015; pairs of 3×3: Simonyan & Zisserman 2015.
    """
    name = "models.convnet"
    k = _checks.integer(name, "classes", classes, low=1)
    if not isinstance(channels, Sequence) or not channels:
        raise _checks.value_error(
            name, "channels", _checks.describe(channels), "the widths of one block or more", "For example (32, 64)."
        )
    repeats = _checks.integer(name, "convolutions", convolutions, low=1)
    if not callable(activation):
        raise _checks.type_error(
            name, "activation", _checks.describe(activation), "a function of x", "For example jax.numpy.tanh."
        )
    chain: dict[str, Layer] = {}
    if _checks.fraction(name, "input_dropout", input_dropout):
        chain["drop_input"] = layers.dropout(rate=input_dropout)
    for block, width in enumerate(channels, 1):
        _checks.integer(name, "channels", width, low=1)
        for index in range(1, repeats + 1):
            tag = f"{block}_{index}" if repeats > 1 else f"{block}"
            chain[f"conv{tag}"] = layers.conv(width, (3, 3), use_bias=False, kernel_init=nn.initializers.he_normal())
            chain[f"norm{tag}"] = layers.batch_norm()
            chain[f"act{tag}"] = lift(activation)
        chain[f"pool{block}"] = layers.max_pool((2, 2), padding="SAME")
    chain["flatten"] = layers.flatten()
    if _checks.fraction(name, "dropout", dropout):
        chain["drop"] = layers.dropout(rate=dropout)
    chain["out"] = layers.dense(k)
    return serial(**chain)
