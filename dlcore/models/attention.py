"""Multi-head attention of a sequence to itself, lifted to a layer."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from dlcore import _checks, nn
from dlcore._typing import Array, Key, Params, State
from dlcore.models.layer import Layer, spec_of
from dlcore.nn.initializers import Initializer

__all__ = ["multi_head_attention"]


def multi_head_attention(
    heads: int,
    *,
    key_heads: int | None = None,
    head_features: int | None = None,
    out_features: int | None = None,
    use_bias: bool = True,
    causal: bool = False,
    scale: float | None = None,
    softcap: float | None = None,
    rotary: bool = False,
    base: float = 10_000.0,
    interleaved: bool = False,
    kernel_init: Initializer = nn.initializers.lecun_normal(),
    bias_init: Initializer = nn.initializers.zeros,
) -> Layer:
    """The layer of `nn.multi_head_attention`, of a sequence to itself and in the dtype of its input.

    Attention to a second sequence, and under a mask, needs more than one input: call the equation, in a layer of your
    own or in a function.

    Args:
      heads: N, how many heads the queries have.
      key_heads: how many keys and values have; N by default.
      head_features: the width of a head; the input's, divided by N, by default.
      out_features: the width of the output; the input's by default.
      use_bias: whether the four maps have a bias.
      causal: whether a step sees itself and those before it alone.
      scale: what multiplies the scores; 1 over the root of a head's width by default.
      softcap: a soft bound of the scores; none by default.
      rotary: whether queries and keys are turned by their positions 0, 1, …; without it the layer knows no order.
      base, interleaved: those of `nn.rotary_embedding`.
      kernel_init: draws the kernels.
      bias_init: draws the biases.

    Returns:
      A `Layer` from (*batch, T, D) to (*batch, T, F), with the params of `nn.multi_head_attention_init`.

    Raises:
      ValueError, TypeError: when it is made, if an option of its own is out of range or of the wrong kind; when it is
        initialised, as `nn.multi_head_attention_init`.

    Gradient: smooth.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> params, state = models.multi_head_attention(4).init(jax.random.key(0), jnp.ones((2, 5, 8)))
      >>> params["query"]["kernel"].shape
      (8, 8)

    Source: Vaswani et al. 2017, "Attention is all you need", section 3.2.2.
    """
    name = "models.multi_head_attention"
    n = _checks.integer(name, "heads", heads, low=1)
    for argument, flag in (("causal", causal), ("rotary", rotary), ("interleaved", interleaved)):
        if not isinstance(flag, bool):
            raise _checks.type_error(name, argument, _checks.describe(flag), "True or False", "It must be static.")
    _checks.number(name, "base", base, low=1.0)
    if softcap is not None:
        _checks.number(name, "softcap", softcap, above=0.0)

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        spec = spec_of(name, x_spec)
        if not hasattr(spec, "shape") or len(spec.shape) < 2:
            raise _checks.value_error(
                name, "x_spec", _checks.describe(spec), "(*batch, time, features)", "Include the batch axes."
            )
        made = nn.multi_head_attention_init(
            key, spec.shape[-1], heads=n, key_heads=key_heads, head_features=head_features,
            out_features=out_features, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init,
            dtype=spec.dtype,
        )  # fmt: skip
        return made, ()

    def apply(params: Params, state: State, x: Array, *, key: Key | None, train: bool) -> tuple[Array, State]:
        positions = jnp.arange(x.shape[-2], dtype=jnp.int32) if rotary else None
        y = nn.multi_head_attention(
            params, x, heads=n, key_heads=key_heads, causal=causal, scale=scale, softcap=softcap,
            positions=positions, base=base, interleaved=interleaved,
        )  # fmt: skip
        return y, state

    return Layer(init, apply)
