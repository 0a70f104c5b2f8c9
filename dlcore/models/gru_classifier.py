"""The recurrent classifier of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import _checks, nn
from dlcore._typing import Array, Key, Params, State
from dlcore.models.layer import Layer, spec_of

__all__ = ["gru_classifier"]


def gru_classifier(
    classes: int, *, features: Sequence[int] = (64,), bidirectional: bool = False, dropout: float = 0.0
) -> Layer:
    """Gated recurrent units, one above another, and a dense layer on the last state.

        ys_0 = x,   ys_l, h_l = gru(θ_l, ys_{l−1}),   y = dropout(h_L) W + b

    With `bidirectional`, each level runs ahead and back, and hands on both side by side.

    Args:
      classes: K, the width of the output.
      features: the widths of the levels.
      bidirectional: whether each level has a second unit that reads the sequence from its end.
      dropout: the rate of dropout before the dense layer.

    Returns:
      A `Layer` from x (B, T, D), or from a pair (x, lengths (B,)) where sequences end earlier than T, to logits (B, K).

    Raises:
      ValueError: if `features` is empty, or a width or rate is out of range.
      TypeError: if a width is not an int.

    Gradient: backpropagation through time; steps past an example's length have none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> net = models.gru_classifier(10, features=(16,), bidirectional=True)
      >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 8, 8)))
      >>> params["out"]["kernel"].shape
      (32, 10)

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder"; both directions: Schuster &
    Paliwal 1997.
    """
    name = "models.gru_classifier"
    k = _checks.integer(name, "classes", classes, low=1)
    if not isinstance(features, Sequence) or not features:
        raise _checks.value_error(
            name, "features", _checks.describe(features), "the widths of one level or more", "For example (64,)."
        )
    widths = [_checks.integer(name, "features", width, low=1) for width in features]
    rate = _checks.fraction(name, "dropout", dropout)
    directions = 2 if bidirectional else 1

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        spec, _ = _sequence_and_lengths(spec_of(name, x_spec))
        if len(spec.shape) < 2:
            raise _checks.value_error(
                name, "x_spec", f"shape {spec.shape}", "(batch, time, features)", "Include the batch axis."
            )
        keys = iter(jax.random.split(_checks.key(name, key), directions * len(widths) + 1))
        inputs, params = spec.shape[-1], {}
        for level, width in enumerate(widths, 1):
            made = [nn.gru_init(next(keys), inputs, width, dtype=spec.dtype) for _ in range(directions)]
            params[f"gru{level}"] = {"forward": made[0], "backward": made[1]} if bidirectional else made[0]
            inputs = directions * width
        params["out"] = nn.dense_init(next(keys), inputs, k, dtype=spec.dtype)
        return params, ()

    def apply(params: Any, state: State, x: Any, *, key: Key | None, train: bool) -> tuple[Array, State]:
        ys, lengths = _sequence_and_lengths(x)
        last = ys
        for level in range(1, len(widths) + 1):
            unit = params[f"gru{level}"]
            if bidirectional:
                ys, final = nn.bidirectional(nn.gru, unit["forward"], unit["backward"], ys, lengths=lengths)
                last = jnp.concatenate(final, axis=-1)
            else:
                ys, last = nn.gru(unit, ys, lengths=lengths)
        if train and rate:
            last = nn.dropout(_checks.key(name, key), last, rate=rate)
        return nn.dense(params["out"], last), state

    return Layer(init, apply)


def _sequence_and_lengths(x: Any) -> tuple[Any, Any]:
    return x if isinstance(x, tuple) else (x, None)
