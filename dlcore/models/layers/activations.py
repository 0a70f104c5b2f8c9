"""Activations, lifted; the options are those of the equation of the same name in `dlcore.nn`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp

from dlcore import nn
from dlcore._typing import Key, Params, State
from dlcore.models.layer import Layer, lift
from dlcore.models.layers._lifting import pure, width

__all__ = [
    "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "log_sigmoid", "log_softmax", "maxout", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "soft_sign", "softmax", "softplus", "sparsemax", "squareplus", "tanh", "tanh_shrink",
    "thresholded_relu",
]  # fmt: skip


def prelu(*, per_channel: bool = False, slope: float = 0.25) -> Layer:
    """The layer of `nn.prelu`: one learned slope, or one a channel, starting at `slope`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.prelu().init(jax.random.key(0), jnp.ones((2, 4)))[0]
      {'slope': Array(0.25, dtype=float32)}
    """

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        features, dtype = width("models.prelu", x_spec)
        return {"slope": jnp.full((features,) if per_channel else (), slope, dtype)}, ()

    return pure(init, lambda params, x: nn.prelu(x, params["slope"]))


def softmax(*, axis: int = -1, temperature: float = 1.0) -> Layer:
    """The layer of `nn.softmax`. A classifier that trains ends in logits instead: the loss has the softmax."""
    return lift(partial(nn.softmax, axis=axis, temperature=temperature))


def log_softmax(*, axis: int = -1, temperature: float = 1.0) -> Layer:
    """The layer of `nn.log_softmax`."""
    return lift(partial(nn.log_softmax, axis=axis, temperature=temperature))


def sparsemax(*, axis: int = -1) -> Layer:
    """The layer of `nn.sparsemax`."""
    return lift(partial(nn.sparsemax, axis=axis))


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
