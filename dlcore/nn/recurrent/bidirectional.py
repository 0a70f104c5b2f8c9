"""Two recurrent layers, one in each direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, Params

__all__ = ["bidirectional"]


def bidirectional(
    run: Callable[..., tuple[Array, Any]], forward_params: Params, backward_params: Params, x: ArrayLike, **options: Any
) -> tuple[Array, tuple[Any, Any]]:
    """Runs a recurrent layer from either end and joins the outputs.

        ys_t = [forward_t, backward_t],   forward, backward = run(…, x), run(…, x, reverse=True)

    Args:
      run: `nn.rnn`, `nn.gru`, `nn.lstm`, or a function like them: `run(params, x, *, reverse, …) -> (ys, state)`.
      forward_params: those of the layer from the first step to the last.
      backward_params: those of the layer from the last step that counts to the first.
      x: (*batch, T, D), floating.
      options: those of `run`, such as `lengths`, for both layers; but `initial_state` is a pair, (forward, backward).

    Returns:
      `(ys, (forward, backward))`: the outputs joined on features, forward first, (*batch, T, 2F) where both layers have
      F, and the last states as `run` returns them. The backward layer's last state is the one that has read step 0.

    Raises:
      ValueError: if `options` hold `reverse`; and as `run` does.
      TypeError: if `run` cannot be called, or `initial_state` is not a pair; and as `run` does.

    Gradient: that of `run`.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> forward, backward = (nn.gru_init(key, 4, 3) for key in jax.random.split(jax.random.key(0)))
      >>> ys, states = nn.bidirectional(nn.gru, forward, backward, jnp.ones((2, 5, 4)), lengths=jnp.array([5, 2]))
      >>> ys.shape, states[1].shape
      ((2, 5, 6), (2, 3))

    Source: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".
    """
    name = "nn.bidirectional"
    if not callable(run):
        raise _checks.type_error(
            name,
            "run",
            _checks.describe(run),
            "a recurrent layer",
            "nn.rnn, nn.gru or nn.lstm; it comes before params.",
        )
    if "reverse" in options:
        raise _checks.value_error(
            name, "reverse", options["reverse"], "no such option", "One layer runs forward and the other backward."
        )
    states = options.pop("initial_state", None)
    if states is not None and (not isinstance(states, tuple | list) or len(states) != 2):
        came = f"{len(states)} states" if isinstance(states, tuple | list) else _checks.describe(states)
        raise _checks.type_error(
            name, "initial_state", came, "a pair (forward, backward)", "(state, state) starts both alike."
        )
    values = _checks.floating(name, "x", x)
    outputs, last = [], []
    for params, state, reverse in zip(
        (forward_params, backward_params), states or (None, None), (False, True), strict=True
    ):
        ys, final = run(
            params, values, reverse=reverse, **options, **({} if state is None else {"initial_state": state})
        )
        outputs.append(ys)
        last.append(final)
    return jnp.concatenate(outputs, -1), (last[0], last[1])
