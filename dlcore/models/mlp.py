"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlcore import _checks, nn
from dlcore._typing import Array
from dlcore.models import layers
from dlcore.models.combinators import serial
from dlcore.models.layer import Layer, lift

__all__ = ["mlp"]


def mlp(
    features: Sequence[int],
    *,
    activation: Callable[[Array], Array] = nn.relu,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
) -> Layer:
    """Dense layers with an activation between them.

        h_0 = x,   h_l = φ(h_{l−1} W_l + b_l),   y = h_{L−1} W_L + b_L

    Args:
      features: the widths, the last being the output's: `(128, 128, 10)`.
      activation: φ, between the layers; the output has none. Kernels are drawn as He et al. 2015 for ReLU.
      dropout: the rate of dropout before the last layer.
      input_dropout: the rate of dropout on the input.

    Returns:
      A `Layer` from (B, …) to (B, features[-1]); all axes but the first are flattened.

    Raises:
      ValueError: if `features` is empty, or a width or rate is out of range.
      TypeError: if a width is not an int.

    Gradient: the chain rule; see `nn.relu` for its kink.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> params, state = models.mlp((32, 10)).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
      >>> params["fc1"]["kernel"].shape, params["out"]["kernel"].shape
      ((64, 32), (32, 10))

    Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors".
    """
    name = "models.mlp"
    if not isinstance(features, Sequence) or not features:
        raise _checks.value_error(
            name, "features", _checks.describe(features), "the widths of one layer or more", "For example (128, 10)."
        )
    widths = [_checks.integer(name, "features", width, low=1) for width in features]
    if not callable(activation):
        raise _checks.type_error(
            name, "activation", _checks.describe(activation), "a function of x", "For example jax.numpy.tanh."
        )
    chain: dict[str, Layer] = {"flatten": layers.flatten()}
    if _checks.fraction(name, "input_dropout", input_dropout):
        chain["drop_input"] = layers.dropout(rate=input_dropout)
    for index, width in enumerate(widths[:-1], 1):
        chain[f"fc{index}"] = layers.dense(width, kernel_init=nn.initializers.he_normal())
        chain[f"act{index}"] = lift(activation)
    if _checks.fraction(name, "dropout", dropout):
        chain["drop"] = layers.dropout(rate=dropout)
    chain["out"] = layers.dense(widths[-1])
    return serial(**chain)
