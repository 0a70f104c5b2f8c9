"""The WaveNet, all time steps at once: parameters, and logits of known tokens.

Layers of equal dilation have equal shapes, and so do whole stacks: parameters of all layers lie in one array, and the
stacks are a `lax.scan`, so that the compiler sees the layers of one stack alone and an optimiser a dozen leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, DType, Key, Params, PyTree
from dlcore._varying import varying
from dlcore.nn._affine import float_dtype
from dlcore.nn.activations.rectified import relu
from dlcore.nn.activations.sigmoidal import sigmoid, tanh
from dlcore.nn.convolution import conv
from dlcore.nn.dense import dense
from dlcore.nn.embedding import embedding
from dlcore.nn.wavenet.config import Conditions, WaveNetConfig, check_condition, check_config

__all__ = ["check_params", "check_tokens", "gated", "head", "network", "wavenet", "wavenet_init"]

# Of every group of parameters, the shape of its kernel and whether it has a bias.
Groups: TypeAlias = dict[str, tuple[tuple[int, ...], bool]]
# The standard deviation of a normal distribution that is cut at two of its own.
TRUNCATED = 0.8796256610342398
# Those with one kernel for each layer.
LAYERED = ("dilated", "residual", "skip", "global", "local")


def wavenet_init(key: Key, config: WaveNetConfig, *, dtype: DType = jnp.float32) -> dict[str, dict[str, Array]]:
    """The parameters of `wavenet`.

    Args:
      key: a typed PRNG key.
      config: a `WaveNetConfig`, with the letters that its docstring gives to the sizes.
      dtype: of the parameters.

    Returns:
      A dict of dicts of `kernel` and `bias`: `embedding` (K, R); `dilated` (S, L, k, R, 2 D), the filter's D outputs
      first, the gate's behind them; `residual` (S, L, D, R); `skip` (S, L, D, skip channels); `hidden` and `logits`;
      and, where configured, `global` (S, L, G, 2 D) and `local` (S, L, F, 2 D). `embedding` and the conditions have no
      bias. The last layer's `residual` is not used, and its gradient is zero.

      Kernels keep the variance of what they read: 1 / fan-in, for `hidden` 2 / fan-in, since a ReLU drops half, and for
      `skip` 1 / (fan-in · S · L), so that the sum over layers keeps it too. Entries of `embedding` have variance 1. All
      are normal, cut at two deviations; biases are zeros.

    Raises:
      ValueError, TypeError: if a size is out of range, `dtype` is not floating, or `key` is not one typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> params = nn.wavenet_init(jax.random.key(0), nn.WaveNetConfig(stacks=2, global_features=5))
      >>> params["dilated"]["kernel"].shape, params["global"]["kernel"].shape
      ((2, 10, 2, 32, 64), (2, 10, 5, 64))

    Source: van den Oord et al. 2016, "WaveNet", section 2; variances: LeCun et al. 1998, He et al. 2015.
    """
    name = "nn.wavenet_init"
    key = _checks.key(name, key)
    check_config(name, config)
    return _draw(key, config=config, dtype=float_dtype(name, dtype))


# One draw for all kernels, in one program: of what an initialisation compiles, a draw takes longest.
@partial(jax.jit, static_argnames=("config", "dtype"))
def _draw(key: Key, *, config: WaveNetConfig, dtype: DType) -> dict[str, dict[str, Array]]:
    groups = _groups(config)
    fans = {group: math.prod(shape[2:-1] if group in LAYERED else shape[:-1]) for group, (shape, _) in groups.items()}
    variances = {group: 1 / fan for group, fan in fans.items()}
    variances |= {"embedding": 1.0, "hidden": 2 / fans["hidden"]}
    variances["skip"] /= config.stacks * config.layers_per_stack
    sizes = [math.prod(shape) for shape, _ in groups.values()]
    normal = jax.random.truncated_normal(key, -2, 2, (sum(sizes),), compute_dtype(dtype)) / TRUNCATED
    params = {}
    for (group, (shape, has_bias)), part in zip(groups.items(), lax.split(normal, sizes), strict=True):
        params[group] = {"kernel": (part.reshape(shape) * math.sqrt(variances[group])).astype(dtype)}
        if has_bias:
            params[group]["bias"] = jnp.zeros(_bias_shape(group, shape), dtype)
    return params


def wavenet(
    params: Params,
    tokens: ArrayLike,
    config: WaveNetConfig,
    *,
    condition: ArrayLike | Mapping[str, ArrayLike] | None = None,
) -> Array:
    """The logits of every next token, by gated dilated causal convolutions.

        x⁰[t] = E[token t]
        zˡ = tanh(W_f ∗ xˡ + V_f h) · σ(W_g ∗ xˡ + V_g h),   (W ∗ x)[t] = Σ_j W[j] x[t − (k − 1 − j) dˡ] + b
        xˡ⁺¹ = xˡ + zˡ W_residual + b,   s = Σ_l (zˡ W_skip + b)
        logits = relu(relu(s) W_hidden + b) W_logits + b

    dˡ is 1, 2, 4, … and starts again in every stack; before the first token every layer sees zeros. The front layer is
    a row of a table for each token, a 1×1 convolution of one-hot tokens: the paper's causal convolution of 2 in its
    place would make the receptive field larger by one.

    Args:
      params: what `wavenet_init` returns, in one dtype.
      tokens: (*batch, time) integers in [0, K), at least one time step; any batch axes, or none.
      config: the `WaveNetConfig` that the params were made for; static.
      condition: h, in the dtype of the params: (*batch, global_features) for a global one, (*batch, time,
        local_features) for a local one, whose row t conditions the logits at t, and so token t + 1. Where the config
        has both, `{"global": …, "local": …}`.

    Returns:
      logits: (*batch, time, K), in the dtype of the params, those at t for token t + 1. A token outside of the classes
      makes the logits NaN wherever it is in the receptive field, and nowhere else.

    Raises:
      ValueError: if shapes do not fit the config, or a condition is missing or not configured.
      TypeError: if tokens are not integers, or dtypes differ.

    Gradient: smooth but for `relu` in the two layers of the head; see there for its kink.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> config = nn.WaveNetConfig(classes=16, stacks=1, layers_per_stack=3)
      >>> params = nn.wavenet_init(jax.random.key(0), config)
      >>> nn.wavenet(params, jnp.zeros((2, 5), int), config).shape
      (2, 5, 16)

    Source: van den Oord et al. 2016, "WaveNet: a generative model for raw audio", sections 2.1 to 2.5.
    """
    name = "nn.wavenet"
    check_config(name, config)
    leaves = check_params(name, params, config)
    ids = check_tokens(name, "tokens", tokens)
    *batch, time = ids.shape
    like = leaves["embedding"]["kernel"]
    conditions = check_condition(name, condition, config, tuple(batch), time, like)
    x = embedding(leaves["embedding"], ids.reshape(math.prod(batch), time))
    logits, _ = network(leaves, x, config, conditions)
    return logits.reshape(*batch, time, config.classes)


# Compiled here too: a scan outside of `jit` is compiled anew in each call.
@partial(jax.jit, static_argnames=("config", "keep"))
def network(
    params: Params, x: Array, config: WaveNetConfig, conditions: Conditions, *, keep: bool = False
) -> tuple[Array, list[Array]]:
    """Logits (B, T, K) of embedded tokens x (B, T, R), and what a generation goes on from.

    With `keep`, that is for each dilation d the last (k − 1) d inputs of its layers, (S, B, (k − 1) d, R), zeros where
    the sequence begins later; an empty list without.
    """
    batch, time, _ = x.shape
    wide = compute_dtype(x.dtype)

    def stack(carry: tuple[Array, Array], params: Params) -> tuple[tuple[Array, Array], list[Array]]:
        x, total = carry
        kept = []
        for index, layer in enumerate(_layers(params, config.layers_per_stack)):
            dilation = 2**index
            if keep:
                reach = (config.kernel_size - 1) * dilation
                kept.append(lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (reach - time, 0, 0), (0, 0, 0)]))
            a = conv(layer["dilated"], x, padding="CAUSAL", dilation=dilation)
            if conditions.whole is not None:
                a += dense(layer["global"], conditions.whole)[:, None]
            if conditions.local is not None:
                a += _pointwise(layer["local"], conditions.local)
            z = gated(a)
            # In half precision, the sum over many layers is kept in float32.
            total += _pointwise(layer["skip"], z).astype(wide)
            x += _pointwise(layer["residual"], z)
        return (x, total), kept

    per_layer = {group: params[group] for group in LAYERED if group in params}
    begin = varying((x, jnp.zeros((batch, time, config.skip_channels), wide)), (x, per_layer, conditions))
    (_, total), kept = lax.scan(stack, begin, per_layer)
    return head(params, total), kept


def gated(a: Array) -> Array:
    """The gated unit: the first half of the last axis is the filter, the second the gate."""
    half = a.shape[-1] // 2
    # Slices, whose transposes are sums; a split's, a concatenation of products, comes out wrong in float64 from jaxlib
    # 0.9.2 on CPU.
    filters, gates = (lax.slice_in_dim(a, start, start + half, axis=-1) for start in (0, half))
    return tanh(filters) * sigmoid(gates)


def head(params: Params, total: Array) -> Array:
    """Logits (…, K) from the sum of the skips."""
    hidden = _pointwise(params["hidden"], relu(total).astype(params["hidden"]["kernel"].dtype))
    return _pointwise(params["logits"], relu(hidden))


def check_params(function: str, params: Any, config: WaveNetConfig) -> dict[str, dict[str, Array]]:
    """The parameters, every leaf of the shape that `config` says, and all of one floating dtype."""
    groups = _groups(config)
    _checks.params(function, params, required=list(groups))
    found: dict[str, dict[str, Array]] = {}
    for group, (shape, has_bias) in groups.items():
        shapes = {"kernel": shape} | ({"bias": _bias_shape(group, shape)} if has_bias else {})
        leaves = _checks.params(function, params[group], required=list(shapes))
        found[group] = {}
        for leaf, wanted in shapes.items():
            argument = f"params['{group}']['{leaf}']"
            value = _checks.floating(function, argument, leaves[leaf])
            if value.shape != wanted:
                raise _checks.value_error(
                    function, argument, f"shape {value.shape}", f"{wanted}, as the config says",
                    "Make the params with nn.wavenet_init and the same config.",
                )  # fmt: skip
            found[group][leaf] = value
            _checks.same_dtype(function, found["embedding"]["kernel"], argument, value)
    return found


def check_tokens(function: str, argument: str, tokens: ArrayLike) -> Array:
    """Integers with a last axis, time, of at least one step."""
    ids = _checks.integers(
        function, argument, tokens, "Tokens are classes: nn.mu_law_encode makes them of samples in [−1, 1]."
    )
    if ids.ndim == 0 or ids.shape[-1] == 0:
        raise _checks.value_error(
            function, argument, _checks.describe(ids), "(*batch, time) with at least one time step",
            "Start a sequence with any one token.",
        )  # fmt: skip
    return ids


def _groups(config: WaveNetConfig) -> Groups:
    layers = (config.stacks, config.layers_per_stack)
    r, d, s = config.residual_channels, config.dilation_channels, config.skip_channels
    groups: Groups = {
        "embedding": ((config.classes, r), False),
        "dilated": ((*layers, config.kernel_size, r, 2 * d), True),
        "residual": ((*layers, d, r), True),
        "skip": ((*layers, d, s), True),
        "hidden": ((s, s), True),
        "logits": ((s, config.classes), True),
    }
    if config.global_features:
        groups["global"] = ((*layers, config.global_features, 2 * d), False)
    if config.local_features:
        groups["local"] = ((*layers, config.local_features, 2 * d), False)
    return groups


def _bias_shape(group: str, kernel: tuple[int, ...]) -> tuple[int, ...]:
    return (*(kernel[:2] if group in LAYERED else ()), kernel[-1])


def _layers(stacked: PyTree, count: int) -> list[PyTree]:
    """Trees with the entries of the leaves' first axis: one split each, whose transpose is one concatenation."""
    leaves, structure = jax.tree.flatten(stacked)
    parts = zip(*(lax.split(leaf, [1] * count, axis=0) for leaf in leaves), strict=True)
    return [jax.tree.unflatten(structure, [part[0] for part in layer]) for layer in parts]


def _pointwise(params: Params, x: Array) -> Array:
    """`dense` with all axes before the last in one: matrix products of rank 2 compile to the faster code on CPU."""
    y = dense(params, x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
    return y.reshape(*x.shape[:-1], y.shape[-1])
