"""Recurrent networks, lifted: from a sequence (*batch, time, features) to the outputs of all its steps.

Both directions are two of them side by side:

    models.parallel(lambda a, b: jnp.concatenate([a, b], -1), ahead=models.gru(8), back=models.gru(8, reverse=True))

What needs lengths or the final state calls the equation, as `models.gru_classifier` does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from dlcore import nn
from dlcore._typing import Array, Key, Params, State
from dlcore.models.layer import Layer
from dlcore.models.layers._lifting import pure, width
from dlcore.nn.initializers import Initializer

__all__ = ["gru", "lstm", "rnn"]


def rnn(
    features: int,
    *,
    activation: str | Callable[[Array], Array] = "tanh",
    use_bias: bool = True,
    reverse: bool = False,
    unroll: int = 1,
    input_kernel_init: Initializer = nn.initializers.lecun_normal(),
    recurrent_kernel_init: Initializer = nn.initializers.orthogonal(),
    bias_init: Initializer = nn.initializers.zeros,
) -> Layer:
    """The layer of `nn.rnn`: the outputs of all steps."""
    make = partial(
        nn.rnn_init, features=features, use_bias=use_bias, input_kernel_init=input_kernel_init,
        recurrent_kernel_init=recurrent_kernel_init, bias_init=bias_init,
    )  # fmt: skip
    return _outputs("models.rnn", make, partial(nn.rnn, activation=activation, reverse=reverse, unroll=unroll))


def gru(
    features: int,
    *,
    use_bias: bool = True,
    reverse: bool = False,
    reset_after: bool = True,
    unroll: int = 1,
    input_kernel_init: Initializer = nn.initializers.lecun_normal(),
    recurrent_kernel_init: Initializer = nn.initializers.orthogonal(),
    bias_init: Initializer = nn.initializers.zeros,
) -> Layer:
    """The layer of `nn.gru`: the outputs of all steps.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> net = models.gru(8)
      >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 5, 3)))
      >>> net.apply(params, state, jnp.ones((2, 5, 3)), key=None, train=False)[0].shape
      (2, 5, 8)
    """
    make = partial(
        nn.gru_init, features=features, use_bias=use_bias, input_kernel_init=input_kernel_init,
        recurrent_kernel_init=recurrent_kernel_init, bias_init=bias_init,
    )  # fmt: skip
    return _outputs("models.gru", make, partial(nn.gru, reverse=reverse, reset_after=reset_after, unroll=unroll))


def lstm(
    features: int,
    *,
    use_bias: bool = True,
    forget_bias: float = 1.0,
    reverse: bool = False,
    unroll: int = 1,
    input_kernel_init: Initializer = nn.initializers.lecun_normal(),
    recurrent_kernel_init: Initializer = nn.initializers.orthogonal(),
    bias_init: Initializer = nn.initializers.zeros,
) -> Layer:
    """The layer of `nn.lstm`: the outputs of all steps."""
    make = partial(
        nn.lstm_init, features=features, use_bias=use_bias, forget_bias=forget_bias,
        input_kernel_init=input_kernel_init, recurrent_kernel_init=recurrent_kernel_init, bias_init=bias_init,
    )  # fmt: skip
    return _outputs("models.lstm", make, partial(nn.lstm, reverse=reverse, unroll=unroll))


def _outputs(function: str, make: Callable[..., Any], run: Callable[..., tuple[Array, Any]]) -> Layer:
    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        inputs, dtype = width(function, x_spec)
        return make(key, inputs, dtype=dtype), ()

    return pure(init, lambda params, x: run(params, x)[0])
