"""Attention: two products, with a softmax between them."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike
from dlcore.kernels import attention as kernel
from dlcore.kernels.softmax import softmax_rows

__all__ = ["attend", "dot_product_attention"]


def dot_product_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    causal: bool = False,
    scale: float | Array | None = None,
    softcap: float | None = None,
) -> Array:
    """Each query's mean of the values, weighted by how well it fits their keys.

        y_t = Σ_s p_ts v_s,   p_t = softmax_s(c · tanh(scale · q_t · k_s / c) + bias_ts)

    Args:
      q: queries, (*batch, T, N, D), floating.
      k: keys, (*batch, S, M, D), in the dtype of `q`. M divides N: head n looks at key head n // (N / M), so that M = N
        is one for each, and M = 1 one for all.
      v: values, (*batch, S, M, E), in the dtype of `q`.
      bias: added to the scores; it broadcasts to (*batch, N, T, S) by NumPy's rules, so that (T, S) serves all heads
        and (N, T, S) all examples. In the dtype of `q`, or in float32 for half precision. −inf leaves a key out.
      mask: booleans of such a shape, True where query t may look at key s. One for each example needs its axis of
        heads: `mask[:, None]` for (B, T, S), `valid[:, None, None, :]` for keys (B, S) that are padding.
      causal: query t sees keys 0 to t alone: the first query is aligned with the first key, as in JAX and PyTorch.
        Where the last query belongs to the last key (decoding after a cache), pass
        `mask=jnp.tri(T, S, S - T, dtype=bool)[None, None]`.
      scale: a number or a traced scalar, 1 / √D by default.
      softcap: c > 0, a soft bound of the scores, which comes before bias and mask; no bound, and no tanh, by default.

    Returns:
      y: (*batch, T, N, E), in the dtype of `q`; computed in float32 or wider. A query that may look nowhere, by the
      mask or because there is no key, gives zeros. A key that no query may look at, and a query that may look nowhere,
      may hold anything, NaN too; what some queries of a head see must be finite, for 0 · NaN is NaN in the others.

    Raises:
      ValueError: if batches, heads, sizes, `bias` or `mask` do not fit, or an option is out of range.
      TypeError: if dtypes differ or are not floating, `mask` is not boolean, or an option is of the wrong kind.

    Gradient: smooth; zero, never NaN, in keys and values that no query sees, and for queries that may look nowhere.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> q, k, v = jnp.zeros((2, 1, 1)), jnp.zeros((2, 1, 1)), jnp.array([1.0, 3.0]).reshape(2, 1, 1)
      >>> nn.dot_product_attention(q, k, v, causal=True).ravel()
      Array([1., 2.], dtype=float32)

    Source: Vaswani et al. 2017, "Attention is all you need", eq. 1; shared heads: Ainslie et al. 2023, "GQA"; softcap:
    Gemma Team 2024, "Gemma 2", section 2. PyTorch and ONNX put heads before time, and ONNX says 0 for no softcap.
    """
    return attend(
        "nn.dot_product_attention", q, k, v,
        bias=bias, mask=mask, causal=causal, scale=scale, softcap=softcap,
    )  # fmt: skip


def attend(
    name: str,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    bias: ArrayLike | None,
    mask: ArrayLike | None,
    causal: bool,
    scale: float | Array | None,
    softcap: float | None,
) -> Array:
    """`dot_product_attention`, whose errors say `name`."""
    queries, keys, values = (
        _checks.floating(name, argument, array) for argument, array in (("q", q), ("k", k), ("v", v))
    )
    _check(name, queries, keys, values)
    *batch, t, n, d = queries.shape
    s, m = keys.shape[-3:-1]
    whole = (*batch, n, t, s)
    extra = None if bias is None else _bias(name, bias, whole, queries)
    allowed = None if mask is None else _fits(name, "mask", _checks.booleans(name, "mask", mask), whole)
    factor = 1 / math.sqrt(max(d, 1)) if scale is None else _checks.scalar(name, "scale", scale)
    cap = None if softcap is None else _checks.number(name, "softcap", softcap, above=0.0)
    if not isinstance(causal, bool):
        raise _checks.type_error(name, "causal", _checks.describe(causal), "True or False", "It must be static.")

    if causal and s > t:
        # No query sees the keys behind the last of them.
        s = t
        keys, values = keys[..., :s, :, :], values[..., :s, :, :]
        extra, allowed = (part if part is None else part[..., :s] for part in (extra, allowed))
    plain = extra is None and allowed is None and cap is None
    kept, dtype = queries.dtype, compute_dtype(queries.dtype)
    if plain and kernel.worthwhile(queries, keys, values):
        wide = queries.astype(dtype) * jnp.asarray(factor, dtype)
        return kernel.attention(wide, keys.astype(dtype), values.astype(dtype), causal).astype(kept)
    if causal:
        rows, columns = (lax.broadcasted_iota(jnp.int32, (t, s), axis) for axis in (0, 1))
        below = (columns <= rows).reshape((1,) * (len(whole) - 2) + (t, s))
        allowed = below if allowed is None else below & allowed
    if mask is not None and allowed is not None:
        # In what nobody looks at, nothing may lie that spoils a product with 0.
        queries = jnp.where(_column(allowed.any(-1)), queries, 0)
        seen = _column(_shared(allowed.any(-2), m))
        keys, values = jnp.where(seen, keys, 0), jnp.where(seen, values, 0)

    # Scaled before the product: compilers fuse a later multiplication with the subtraction of the maximum, in which it
    # is rounded otherwise than in the maximum itself.
    queries = queries.astype(dtype) * jnp.asarray(factor, dtype)
    # The heads that share a key head stand one after another along the time axis, so that one product serves all forms.
    queries, keys, values = _fold(queries, m), keys.astype(dtype), values.astype(dtype)
    scores = jnp.einsum("...tnd,...snd->...nts", queries, keys).reshape(*batch, n, t, s)
    if cap is not None:
        scores = cap * jnp.tanh(scores / cap)
    if extra is not None:
        scores = scores + extra.astype(dtype)
    if allowed is not None:
        scores = jnp.where(allowed, scores, -np.inf)
    p = softmax_rows(scores).reshape(*batch, m, n // m * t, s)
    y = jnp.einsum("...nts,...sne->...tne", p, values)
    return _unfold(y, t, n).astype(kept)


def _fold(x: Array, heads: int) -> Array:
    """(*batch, T, M · G, D) as (*batch, G · T, M, D)."""
    *batch, t, n, d = x.shape
    if n == heads:
        return x
    return jnp.moveaxis(x.reshape(*batch, t, heads, n // heads, d), -2, -4).reshape(*batch, n // heads * t, heads, d)


def _unfold(y: Array, time: int, heads: int) -> Array:
    """(*batch, G · T, M, E) as (*batch, T, M · G, E)."""
    *batch, _, m, e = y.shape
    if m == heads:
        return y
    return jnp.moveaxis(y.reshape(*batch, heads // m, time, m, e), -4, -2).reshape(*batch, time, heads, e)


def _shared(seen: Array, heads: int) -> Array:
    """What a group sees, (*batch, M, S), from what each of its heads sees, (*batch, N or 1, S)."""
    *batch, n, s = seen.shape
    return seen if n == 1 else seen.reshape(*batch, heads, n // heads, s).any(-2)


def _column(chosen: Array) -> Array:
    """(*batch, heads, time) as (*batch, time, heads, 1), to lie over queries or keys."""
    return jnp.swapaxes(chosen, -1, -2)[..., None]


def _check(name: str, q: Array, k: Array, v: Array) -> None:
    for argument, array in (("q", q), ("k", k), ("v", v)):
        if array.ndim < 3:
            raise _checks.value_error(
                name, argument, _checks.describe(array), "(*batch, time, heads, features)",
                "One head is an axis of size 1.",
            )  # fmt: skip
        _checks.same_dtype(name, q, argument, array)
    n, d = q.shape[-2:]
    s, m = k.shape[-3:-1]
    if k.shape != (*q.shape[:-3], s, m, d):
        raise _checks.value_error(
            name, "k", f"shape {k.shape}", f"{(*q.shape[:-3], 'S', 'M', d)}, the batch and features of `q`",
            "Nothing is broadcast; axes are (*batch, time, heads, features).",
        )  # fmt: skip
    if n == 0 or m == 0 or n % m:
        raise _checks.value_error(
            name, "k", f"{m} heads for {n} query heads", "a number of heads that divides that of `q`",
            "Axes are (*batch, time, heads, features), time before heads.",
        )  # fmt: skip
    if v.shape[:-1] != k.shape[:-1]:
        raise _checks.value_error(
            name, "v", f"shape {v.shape}", f"{(*k.shape[:-1], 'E')}, one value for each key", "Nothing is broadcast."
        )


def _bias(name: str, bias: Any, whole: tuple[int, ...], q: Array) -> Array:
    extra = _checks.floating(name, "bias", bias)
    # Half precision data may have a bias with more digits, which are used; others would lose theirs.
    if extra.dtype not in (q.dtype, compute_dtype(q.dtype)):
        _checks.same_dtype(name, q, "bias", extra)
    return _fits(name, "bias", extra, whole)


def _fits(name: str, argument: str, value: Array, whole: tuple[int, ...]) -> Array:
    shape = (1,) * (len(whole) - value.ndim) + value.shape
    if len(shape) != len(whole) or any(a not in (1, b) for a, b in zip(shape, whole, strict=True)):
        raise _checks.value_error(
            name, argument, f"shape {value.shape}",
            f"one that broadcasts to {whole}, (*batch, heads, query time, key time)",
            f"Add axes of size 1 where they are missing: {argument}[:, None, None, :] for (batch, key time).",
        )  # fmt: skip
    return value.reshape(shape)
