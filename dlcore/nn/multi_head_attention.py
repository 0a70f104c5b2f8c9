"""Multi-head attention: attention between projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, DType, Key, Params
from dlcore.nn import initializers
from dlcore.nn._affine import float_dtype
from dlcore.nn.attention import attend
from dlcore.nn.dense import dense, dense_init
from dlcore.nn.rotary_embedding import turn

__all__ = ["multi_head_attention", "multi_head_attention_init"]

PARTS = ("query", "key", "value", "out")
LEAVES = ("kernel", "bias")


def multi_head_attention_init(
    key: Key,
    features: int,
    *,
    heads: int,
    key_heads: int | None = None,
    head_features: int | None = None,
    context_features: int | None = None,
    out_features: int | None = None,
    use_bias: bool = True,
    kernel_init: initializers.Initializer = initializers.lecun_normal(),
    bias_init: initializers.Initializer = initializers.zeros,
    dtype: DType = jnp.float32,
) -> dict[str, dict[str, Array]]:
    """The parameters of `multi_head_attention`.

    Args:
      key: a typed PRNG key.
      features: D, the width of x.
      heads: N, how many heads the queries have.
      key_heads: M, how many keys and values have; it divides N, which it is by default.
      head_features: H, the width of a head; D // N by default, and then N must divide D.
      context_features: C, the width of the sequence that is looked at; D by default.
      out_features: F, the width of the output; D by default.
      use_bias: whether the four maps have a `bias` leaf.
      kernel_init: draws the kernels; by default variance 1 over the width of what is mapped.
      bias_init: draws the biases; zeros by default.
      dtype: of the parameters.

    Returns:
      `{"query": {"kernel": (D, N·H), "bias": (N·H,)}, "key": {"kernel": (C, M·H), …}, "value": {"kernel": (C, M·H), …},
      "out": {"kernel": (N·H, F), …}}`: four times the parameters of `dense`, heads one after another.

    Raises:
      ValueError, TypeError: if a size is below 1, heads do not divide, `dtype` is not floating, or `key` is not one
        typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> params = nn.multi_head_attention_init(jax.random.key(0), 8, heads=4, key_heads=2, use_bias=False)
      >>> jax.tree.map(lambda leaf: leaf.shape, params)
      {'key': {'kernel': (8, 4)}, 'out': {'kernel': (8, 8)}, 'query': {'kernel': (8, 8)}, 'value': {'kernel': (8, 4)}}

    Source: Vaswani et al. 2017, "Attention is all you need", section 3.2.2.
    """
    name = "nn.multi_head_attention_init"
    key = _checks.key(name, key)
    d = _checks.integer(name, "features", features, low=1)
    n, m = _heads(name, heads, key_heads)
    if head_features is None and d % n:
        raise _checks.value_error(
            name, "heads", n, f"a divisor of the {d} features", "Or give head_features, the width of one head."
        )
    h = d // n if head_features is None else _checks.integer(name, "head_features", head_features, low=1)
    c = d if context_features is None else _checks.integer(name, "context_features", context_features, low=1)
    f = d if out_features is None else _checks.integer(name, "out_features", out_features, low=1)
    sizes = ((d, n * h), (c, m * h), (c, m * h), (n * h, f))
    dtype = float_dtype(name, dtype)
    return {
        part: dense_init(child, *size, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype)
        for part, size, child in zip(PARTS, sizes, jax.random.split(key, 4), strict=True)
    }


def multi_head_attention(
    params: Params,
    x: ArrayLike,
    *,
    heads: int,
    key_heads: int | None = None,
    context: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    causal: bool = False,
    scale: float | Array | None = None,
    softcap: float | None = None,
    positions: ArrayLike | None = None,
    base: float = 10_000.0,
    interleaved: bool = False,
) -> Array:
    """Attention in several heads, each between maps of its own: of a sequence to itself, or to a second one.

        y = attention(x W_q, z W_k, z W_v) W_o,   z = x, or the context

    Args:
      params: `{"query": W_q, "key": W_k, "value": W_v, "out": W_o}`, each the parameters of `dense`, with or without a
        bias, as `multi_head_attention_init` makes them. The kernels' widths say how wide a head is; the values' may be
        of another width than the keys'. The keys' bias adds as much to all scores of a query: it changes nothing unless
        positions or a softcap are given.
      x: (*batch, T, D), floating.
      heads: N; it divides the width of the queries.
      key_heads: M, how many heads keys and values have, N by default.
      context: what is looked at, (*batch, S, C), in the dtype of `x`; `x` itself by default.
      bias, mask, causal, scale, softcap: those of `dot_product_attention`; what broadcasts to (*batch, N, T, S).
      positions: turns queries and keys by `rotary_embedding`: those of the steps of x, (T,) or (*batch, T); without
        them attention knows nothing of the order, and with a context they are refused.
      base, interleaved: those of `rotary_embedding`.

    Returns:
      y: (*batch, T, F), in the dtype of `x`. A query that may look nowhere gives the bias of "out", or zeros.

    Raises:
      ValueError: if widths, heads or batches do not fit, or an option is out of range.
      TypeError: if dtypes differ or are not floating, or an option is of the wrong kind.

    Gradient: smooth.

    Example:
      >>> import jax, jax.numpy as jnp, dlcore.nn as nn
      >>> params = nn.multi_head_attention_init(jax.random.key(0), 8, heads=2)
      >>> nn.multi_head_attention(params, jnp.ones((3, 5, 8)), heads=2, causal=True).shape
      (3, 5, 8)

    Source: Vaswani et al. 2017, "Attention is all you need", section 3.2.2. PyTorch's `in_proj_weight` holds the first
    three kernels, transposed, one after another.
    """
    name = "nn.multi_head_attention"
    params = _checks.params(name, params, required=PARTS)
    values = _sequence(name, "x", x)
    n, m = _heads(name, heads, key_heads)
    looked = values
    if context is not None:
        looked = _sequence(name, "context", context)
        _checks.same_dtype(name, values, "context", looked)
        if looked.shape[:-2] != values.shape[:-2]:
            raise _checks.value_error(
                name, "context", f"shape {looked.shape}", f"{(*values.shape[:-2], 'S', 'C')}, the batch of `x`",
                "Nothing is broadcast: jax.numpy.broadcast_to(context, …).",
            )  # fmt: skip
        if positions is not None:
            raise _checks.value_error(
                name, "positions", "an array beside a context", "none: x and its context have no common order",
                "Compose nn.dense, nn.rotary_embedding and nn.dot_product_attention.",
            )  # fmt: skip
    source = "x" if context is None else "context"
    q = _split(name, "heads", n, _map(name, params, "query", "x", values))
    k = _split(name, "key_heads", m, _map(name, params, "key", source, looked))
    v = _split(name, "key_heads", m, _map(name, params, "value", source, looked))
    if q.shape[-1] != k.shape[-1]:
        raise _checks.value_error(
            name, "key_heads", f"{m}, which makes heads of width {k.shape[-1]}",
            f"heads as wide as the queries', {q.shape[-1]}", "Say heads and key_heads as the init was told.",
        )  # fmt: skip
    if positions is not None:
        q, k = (turn(name, part, positions, base=base, interleaved=interleaved) for part in (q, k))
    y = attend(name, q, k, v, bias=bias, mask=mask, causal=causal, scale=scale, softcap=softcap)
    return _map(name, params, "out", "x", y.reshape(*y.shape[:-2], n * y.shape[-1]))


def _heads(name: str, heads: Any, key_heads: Any) -> tuple[int, int]:
    n = _checks.integer(name, "heads", heads, low=1)
    m = n if key_heads is None else _checks.integer(name, "key_heads", key_heads, low=1)
    if n % m:
        raise _checks.value_error(name, "key_heads", m, f"a divisor of the {n} heads", "1 shares one key head by all.")
    return n, m


def _sequence(name: str, argument: str, value: Any) -> Array:
    x = _checks.floating(name, argument, value)
    if x.ndim < 2:
        raise _checks.value_error(
            name, argument, _checks.describe(x), "(*batch, time, features)", "One step is an axis of size 1."
        )
    return x


def _map(name: str, params: Mapping[str, Any], part: str, argument: str, x: Array) -> Array:
    """`dense` with one of the four, whose errors say which."""
    leaves = params[part]
    if not isinstance(leaves, Mapping) or "kernel" not in leaves or not set(leaves) <= {"kernel", "bias"}:
        came = f"a dict with {list(leaves)}" if isinstance(leaves, Mapping) else _checks.describe(leaves)
        raise _checks.value_error(
            name, f"params['{part}']", came, "a dict with 'kernel' and perhaps 'bias'",
            "nn.multi_head_attention_init makes them.",
        )  # fmt: skip
    kernel, *bias = (
        _checks.array(name, f"params['{part}']['{leaf}']", leaves[leaf]) for leaf in LEAVES if leaf in leaves
    )
    if kernel.ndim != 2:
        raise _checks.value_error(
            name, f"params['{part}']['kernel']", f"shape {kernel.shape}", "(in, out)",
            "Flax' kernels have heads on an axis of their own: reshape them.",
        )  # fmt: skip
    _checks.same_dtype(name, x, f"params['{part}']['kernel']", kernel)
    if part == "out" and kernel.shape[0] != x.shape[-1]:
        raise _checks.value_error(
            name, "params['out']['kernel']", f"shape {kernel.shape}", f"({x.shape[-1]}, F), as the heads are wide",
            "Make all four with one init, and say its heads.",
        )  # fmt: skip
    _checks.feature_axis(name, x, kernel.shape[0], f"params['{part}']['kernel']", argument=argument)
    for leaf in bias:
        if leaf.shape != kernel.shape[1:]:
            raise _checks.value_error(
                name,
                f"params['{part}']['bias']",
                f"shape {leaf.shape}",
                f"{kernel.shape[1:]}",
                "Make both with one init.",
            )
        _checks.same_dtype(name, x, f"params['{part}']['bias']", leaf)
    return dense(leaves, x)


def _split(name: str, argument: str, heads: int, y: Array) -> Array:
    """(*batch, time, heads · width) as (*batch, time, heads, width)."""
    if y.shape[-1] % heads:
        raise _checks.value_error(
            name, argument, heads, f"a divisor of {y.shape[-1]}, the width of the kernel",
            "Heads are an option, since params hold no configuration: say those that the init was told.",
        )  # fmt: skip
    return y.reshape(*y.shape[:-1], heads, y.shape[-1] // heads)
