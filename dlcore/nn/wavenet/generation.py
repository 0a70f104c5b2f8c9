"""Sampling from a WaveNet: one step a token, with every layer's past inputs kept.

Run anew for each token, the network computes its whole receptive field, whose length doubles with every layer, to read
one row of logits. Kept in rings, the inputs of each layer make a step cost a few small matrix products a layer,
whatever the dilation.

The floor on CPU is the number of separate operations a layer, each of about half a microsecond. The form chosen has
five: one product for all taps of the filter and the gate, the gated unit, the residual product, its sum, and the write
into the ring. A ring has one slot more than what a layer looks back, and is written before it is read: read first, the
old ring would have to be copied. The skips of all layers are one product, behind the last.

Measured beside the naive form by `python -m benchmarks.wavenet_generation`; figures:
benchmarks/results/wavenet_generation.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._shift import peak, shift
from dlcore._typing import Array, ArrayLike, Key, Params
from dlcore._varying import varying
from dlcore.nn.embedding import embedding
from dlcore.nn.wavenet.config import Conditions, WaveNetConfig, check_condition, check_config
from dlcore.nn.wavenet.network import check_params, check_tokens, gated, head, network

__all__ = ["Cache", "Weights", "advance", "draw", "empty", "prepare", "prime", "wavenet_generate"]


class Cache(NamedTuple):
    """What a generation carries from step to step: an ordinary pytree, whose shapes and dtypes never change.

    Attributes:
      step: how many tokens were read since the cache was made, an int32 scalar.
      rings: of each layer the inputs that it looks back on, ((k − 1) d + 1, B, R). At step n, tap j is in slot
        (n + j d) mod ((k − 1) d + 1), the newest, j = k − 1, too.
    """

    step: Array
    rings: tuple[Array, ...]


class Weights(NamedTuple):
    """Parameters as one step multiplies them, made once: lists have an entry for each layer."""

    params: Params
    dilated: list[Array]
    offsets: list[Array]
    residual: list[tuple[Array, Array]]
    skip: Array
    skip_bias: Array
    local: Array | None


def wavenet_generate(
    key: Key,
    params: Params,
    config: WaveNetConfig,
    length: int,
    *,
    prompt: ArrayLike,
    temperature: float | Array = 1.0,
    condition: ArrayLike | Mapping[str, ArrayLike] | None = None,
) -> Array:
    """Draws tokens one after another, each from the softmax of the logits behind those before it.

        token[t + 1] ~ softmax(logits[t] / τ),   logits = wavenet(params, tokens[0 … t], config)

    Args:
      key: a typed PRNG key; the n-th new token is drawn with `fold_in(key, n)`, so that fewer tokens are the beginning
        of more.
      params: what `wavenet_init` returns.
      config: the `WaveNetConfig` that the params were made for; static.
      length: how many new tokens; static.
      prompt: (*batch, time) integers, the tokens to go on from, at least one; it is read in parallel.
      temperature: τ ≥ 0, a number or a traced scalar: large makes the draws even; 0 takes the most probable token,
        and draws among those that tie.
      condition: as for `wavenet`, over all tokens that are read: a local one is (*batch, time + length − 1,
        local_features), since the last new token is not read. It conditions
        `wavenet(params, concatenate([prompt, new], -1)[..., :-1], config, condition=condition)` in the same way.

    Returns:
      The new tokens alone, (*batch, length), int32. Where logits are NaN, because a token of the prompt is outside of
      the classes, say, or parameters are NaN, the token is −1, and so are all after it. Probabilities are told apart
      down to 2⁻²³, or 2⁻⁵² in float64.

    Raises:
      ValueError: if shapes do not fit the config, `temperature` is negative, or a condition is missing or not
        configured.
      TypeError: if the prompt is not made of integers, or dtypes differ.

    Gradient: none; the result is made of integers.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> config = nn.WaveNetConfig(classes=4, stacks=1, layers_per_stack=2)
      >>> params = nn.wavenet_init(jax.random.key(0), config)
      >>> nn.wavenet_generate(jax.random.key(1), params, config, 6, prompt=jnp.zeros((2, 1), int)).shape
      (2, 6)

    Source: van den Oord et al. 2016, "WaveNet", section 2; with cached activations: Le Paine et al. 2016, "Fast WaveNet
    generation algorithm".
    """
    name = "nn.wavenet_generate"
    key = _checks.key(name, key)
    check_config(name, config)
    leaves = check_params(name, params, config)
    steps = _checks.integer(name, "length", length, low=0)
    ids = check_tokens(name, "prompt", prompt)
    tau = _checks.scalar(name, "temperature", temperature, low=0.0)
    *batch, time = ids.shape
    like = leaves["embedding"]["kernel"]
    conditions = check_condition(name, condition, config, tuple(batch), time + steps - 1, like)
    # As 32 bits, an id outside of the classes must not become one of them.
    ids = jnp.where((ids >= 0) & (ids < config.classes), ids, -1).astype(jnp.int32).reshape(math.prod(batch), time)
    return _generate(key, leaves, ids, conditions, tau, config=config, steps=steps).reshape(*batch, steps)


# Compiled here too: a scan outside of `jit` is compiled anew in each call.
@partial(jax.jit, static_argnames=("config", "steps"))
def _generate(
    key: Key, params: Params, ids: Array, conditions: Conditions, tau: Any, *, config: WaveNetConfig, steps: int
) -> Array:
    weights = prepare(params, config, conditions.whole)
    last = ids.shape[1] - 1
    now = None
    if conditions.local is not None:
        now = jnp.moveaxis(conditions.local[:, last:], 1, 0)
        conditions = conditions._replace(local=conditions.local[:, :last])

    def step(carry: tuple[Cache, Array], now: Array | None) -> tuple[tuple[Cache, Array], Array]:
        cache, token = carry
        own = jax.random.fold_in(key, cache.step)
        cache, logits = advance(weights, cache, token, config, now)
        token = draw(own, logits, tau)
        return (cache, token), token

    begin = (prime(params, ids[:, :-1], config, conditions), ids[:, -1])
    begin = varying(begin, (key, params, ids, conditions, tau, now))
    _, tokens = lax.scan(step, begin, now, steps)
    return jnp.moveaxis(tokens, 0, 1)


def prepare(params: Params, config: WaveNetConfig, whole: Array | None = None) -> Weights:
    """The weights of one step; the global condition (B, G) is an offset like the bias."""
    count, r, d = config.stacks * config.layers_per_stack, config.residual_channels, config.dilation_channels
    wide = compute_dtype(params["embedding"]["kernel"].dtype)
    local = None
    if config.local_features:
        kernel = params["local"]["kernel"].reshape(count, config.local_features, 2 * d)
        local = jnp.moveaxis(kernel, 0, 1).reshape(config.local_features, count * 2 * d)
    kernels = params["dilated"]["kernel"].reshape(count, config.kernel_size * r, 2 * d)
    offsets = params["dilated"]["bias"].reshape(count, 1, 2 * d)
    if whole is not None:
        kernel = params["global"]["kernel"].reshape(count, config.global_features, 2 * d)
        offsets = offsets + jnp.einsum("bg,lgc->lbc", whole, kernel)
    residual = (params["residual"]["kernel"].reshape(count, d, r), params["residual"]["bias"].reshape(count, 1, r))
    return Weights(
        params=params,
        dilated=list(kernels),
        offsets=list(offsets),
        residual=list(zip(*residual, strict=True)),
        skip=params["skip"]["kernel"].reshape(count * d, config.skip_channels),
        skip_bias=params["skip"]["bias"].astype(wide).sum((0, 1))[None],
        local=local,
    )


def empty(params: Params, config: WaveNetConfig, batch: int) -> Cache:
    """The cache before the first token: every layer has seen zeros."""
    dtype = params["embedding"]["kernel"].dtype
    slots = [(config.kernel_size - 1) * dilation + 1 for dilation in _dilations(config)]
    return Cache(jnp.int32(0), tuple(jnp.zeros((n, batch, config.residual_channels), dtype) for n in slots))


def prime(params: Params, tokens: Array, config: WaveNetConfig, conditions: Conditions) -> Cache:
    """The cache behind tokens (B, time), perhaps none, from one run of the parallel network."""
    if tokens.shape[1] == 0:
        return empty(params, config, tokens.shape[0])
    _, kept = network(params, embedding(params["embedding"], tokens), config, conditions, keep=True)
    # One slot more, the first to be written.
    rings = [jnp.pad(jnp.moveaxis(past, 2, 1), ((0, 0), (0, 1), (0, 0), (0, 0))) for past in kept]
    return Cache(jnp.int32(0), tuple(ring[stack] for stack in range(config.stacks) for ring in rings))


def advance(
    weights: Weights, cache: Cache, token: Array, config: WaveNetConfig, local: Array | None = None
) -> tuple[Cache, Array]:
    """Reads one token (B,) with its local condition (B, F): the next cache, and the logits (B, K)."""
    x = embedding(weights.params["embedding"], token)
    dilations = _dilations(config)
    added = None
    if weights.local is not None and local is not None:
        added = (local @ weights.local).reshape(local.shape[0], len(dilations), 2 * config.dilation_channels)
    rings, units = [], []
    for layer, dilation in enumerate(dilations):
        slots = (config.kernel_size - 1) * dilation + 1

        def slot(tap: int, dilation: int = dilation, slots: int = slots) -> Array:
            return lax.rem(cache.step + tap * dilation, np.int32(slots))

        ring = lax.dynamic_update_index_in_dim(cache.rings[layer], x, slot(config.kernel_size - 1), 0)
        taps = [lax.dynamic_index_in_dim(ring, slot(tap), 0, keepdims=False) for tap in range(config.kernel_size - 1)]
        a = jnp.concatenate([*taps, x], axis=-1) @ weights.dilated[layer] + weights.offsets[layer]
        if added is not None:
            a += added[:, layer]
        z = gated(a)
        kernel, bias = weights.residual[layer]
        x += z @ kernel + bias
        rings.append(ring)
        units.append(z)
    wide = weights.skip_bias.dtype
    total = jnp.matmul(jnp.concatenate(units, axis=-1), weights.skip, preferred_element_type=wide) + weights.skip_bias
    return Cache(cache.step + 1, tuple(rings)), head(weights.params, total)


def draw(key: Key, logits: Array, temperature: Any) -> Array:
    """Tokens (B,) from the softmax of logits (B, K), by the inverse of their distribution function; −1 for NaN.

    One uniform number a token: a Gumbel number for each class would take as long as ten layers.
    """
    scores = logits.astype(compute_dtype(logits.dtype))
    shifted = shift(scores, peak(scores, -1))
    tau = jnp.asarray(temperature, scores.dtype)
    # At τ = 0, the largest stay 0.
    e = jnp.exp(jnp.where(shifted == 0, 0, shifted / tau))
    # A class without probability is never drawn, whatever rounding does to the sums.
    below = jnp.where(e > 0, jnp.cumsum(e, -1), 0)
    total = below.max(-1)
    level = jax.random.uniform(key, total.shape, total.dtype) * total
    token = jnp.argmax(below > level[:, None], axis=-1).astype(jnp.int32)
    return jnp.where((total > 0) & (tau >= 0), token, -1)


def _dilations(config: WaveNetConfig) -> list[int]:
    return [2**index for index in range(config.layers_per_stack)] * config.stacks
