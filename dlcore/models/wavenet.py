"""The WaveNet as a layer: tokens in, logits of the next tokens out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore import _checks, nn
from dlcore._typing import Array, DType, Key, Params, State
from dlcore.models.layer import Layer
from dlcore.nn._affine import float_dtype
from dlcore.nn.wavenet.config import check_config

__all__ = ["wavenet"]


def wavenet(config: nn.WaveNetConfig, *, dtype: DType = jnp.float32) -> Layer:
    """The layer of `nn.wavenet`, to be trained on next tokens.

        y = wavenet(tokens),   loss = softmax_cross_entropy(y[…, t, :], token t + 1)

    Its parameters are those of `nn.wavenet_init`, so that `nn.wavenet_generate` takes them as they are.

    Args:
      config: the sizes, a `nn.WaveNetConfig`.
      dtype: of the parameters, and so of the logits.

    Returns:
      A `Layer` from tokens (*batch, time) to logits (*batch, time, classes). Where the config has conditions, its input
      is a dict: `{"tokens": …, "global": (*batch, global_features), "local": (*batch, time, local_features)}`, with
      those that the config has. To train, inputs are tokens[…, :-1] and targets tokens[…, 1:].

    Raises:
      ValueError: if a size of the config is out of range; when applied, if the input does not fit the config.
      TypeError: if `config` is no `WaveNetConfig`, or `dtype` is not floating.

    Gradient: see `nn.wavenet`.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> from dlcore import models
      >>> model = models.wavenet(nn.WaveNetConfig(classes=16, stacks=1, layers_per_stack=3))
      >>> tokens = jnp.zeros((2, 5), int)
      >>> params, state = model.init(jax.random.key(0), tokens)
      >>> model.apply(params, state, tokens, key=None, train=False)[0].shape
      (2, 5, 16)

    Source: van den Oord et al. 2016, "WaveNet: a generative model for raw audio".
    """
    name = "models.wavenet"
    check_config(name, config)
    kind = float_dtype(name, dtype)
    conditions = [
        label for label, width in (("global", config.global_features), ("local", config.local_features)) if width
    ]

    def split(x: Any) -> tuple[Any, dict[str, Any] | None]:
        """The tokens, and the condition as `nn.wavenet` takes it."""
        if not conditions and not isinstance(x, Mapping):
            return x, None
        wanted = ["tokens", *conditions]
        if not isinstance(x, Mapping) or set(x) != set(wanted):
            raise _checks.value_error(
                name, "x", f"a dict with {list(x)}" if isinstance(x, Mapping) else _checks.describe(x),
                f"a dict with {wanted}" if conditions else "tokens alone",
                "The config says which conditions there are.",
            )  # fmt: skip
        return x["tokens"], {label: x[label] for label in conditions}

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        split(x_spec)
        return nn.wavenet_init(key, config, dtype=kind), ()

    def apply(params: Any, state: State, x: Any, *, key: Key | None, train: bool) -> tuple[Array, State]:
        tokens, condition = split(x)
        return nn.wavenet(params, tokens, config, condition=condition), state

    return Layer(init, apply)
