"""The chain rule through attention: two products, with a softmax between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.backprop._boundary import cotangent, saved, widen
from dlcore.backprop.softmax import probabilities, softmax_pullback

__all__ = ["AttentionResiduals", "dot_product_attention_bwd", "dot_product_attention_fwd"]


@partial(jax.tree_util.register_dataclass, data_fields=["q", "k", "v", "p"], meta_fields=["scale"])
@dataclass(frozen=True)
class AttentionResiduals:
    """What attention saves: its arguments, and the weights p, (*batch, N, T, S), in float32 or wider."""

    q: Array
    k: Array
    v: Array
    p: Array
    scale: float


def dot_product_attention_fwd(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, causal: bool = False, scale: float | None = None
) -> tuple[Array, AttentionResiduals]:
    """Each query's mean of the values, weighted by how well it fits their keys.

        y_t = Σ_s p_ts v_s,   p_t = softmax_s(scale · q_t · k_s)

    Args:
      q: queries, (*batch, T, N, D), floating.
      k: keys, (*batch, S, N, D), in the dtype of `q`.
      v: values, (*batch, S, N, E), in the dtype of `q`.
      causal: query t sees keys 0 to t alone: the first query is aligned with the first key.
      scale: 1 / √D if `None`.

    Returns: y, (*batch, T, N, E), in the dtype of `q`, and the residuals: the arguments and the weights p, which take
    T · S numbers a head: this is the derivation; a fast kernel computes them again, block by block.

    Raises: ValueError if batches, heads, or sizes do not fit (fewer key heads than query heads are not shared here);
    TypeError if dtypes differ or are not floating.

    Gradient: smooth; zero in a key and value that no query may see.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> q, k, v = jnp.zeros((1, 1, 1)), jnp.zeros((2, 1, 1)), jnp.array([1.0, 3.0]).reshape(2, 1, 1)
      >>> y, residuals = backprop.dot_product_attention_fwd(q, k, v)
      >>> dq, dk, dv = backprop.dot_product_attention_bwd(residuals, jnp.ones((1, 1, 1)))
      >>> dv.ravel()
      Array([0.5, 0.5], dtype=float32)

    Source: Vaswani et al. 2017, "Attention is all you need", eq. 1.
    """
    name = "backprop.dot_product_attention_fwd"
    queries, keys, values = (
        _checks.floating(name, argument, array) for argument, array in (("q", q), ("k", k), ("v", v))
    )
    _check(name, queries, keys, values)
    factor = 1 / math.sqrt(max(queries.shape[-1], 1)) if scale is None else _checks.number(name, "scale", scale)
    scores = factor * jnp.einsum("...tnd,...snd->...nts", widen(queries), widen(keys))
    if causal:
        t, s = scores.shape[-2:]
        sees = np.arange(s)[None, :] <= np.arange(t)[:, None]
        scores = jnp.where(sees.reshape((1,) * (scores.ndim - 2) + (t, s)), scores, -np.inf)
    p, _ = probabilities(scores, -1)
    y = jnp.einsum("...nts,...sne->...tne", p, widen(values))
    return y.astype(queries.dtype), AttentionResiduals(queries, keys, values, p, factor)


def dot_product_attention_bwd(residuals: AttentionResiduals, dy: ArrayLike) -> tuple[Array, Array, Array]:
    """The gradient of `dot_product_attention_fwd`; scores a_ts = scale · q_t · k_s.

        dv_s = Σ_t p_ts dy_t,   dp_ts = dy_t · v_s
        da_ts = p_ts (dp_ts − Σ_s p_ts dp_ts)
        dq_t = scale · Σ_s da_ts k_s,   dk_s = scale · Σ_t da_ts q_t

    Args:
      residuals: those that `dot_product_attention_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dq, dk, dv)`, in the shapes and dtypes of the three arguments.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `dot_product_attention_fwd`.

    Source: Dao, Fu, Ermon, Rudra & Ré 2022, "FlashAttention", appendix B.2.
    """
    name = "backprop.dot_product_attention_bwd"
    kept = saved(name, residuals, AttentionResiduals)
    q, k, v, p = kept.q, kept.k, kept.v, kept.p
    pulled = cotangent(name, dy, (*q.shape[:-1], v.shape[-1]), q.dtype)
    dv = jnp.einsum("...nts,...tne->...sne", p, pulled)
    dp = jnp.einsum("...tne,...sne->...nts", pulled, widen(v))
    da = kept.scale * softmax_pullback(p, dp, -1)
    dq = jnp.einsum("...nts,...snd->...tnd", da, widen(k))
    dk = jnp.einsum("...nts,...tnd->...snd", da, widen(q))
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)


def _check(name: str, q: Array, k: Array, v: Array) -> None:
    for argument, array in (("q", q), ("k", k), ("v", v)):
        if array.ndim < 3:
            raise _checks.value_error(
                name,
                argument,
                _checks.describe(array),
                "(*batch, time, heads, features)",
                "One head is an axis of size 1.",
            )
        _checks.same_dtype(name, q, argument, array)
    if k.shape[-2] != q.shape[-2]:
        raise _checks.value_error(
            name,
            "k",
            f"{k.shape[-2]} heads for {q.shape[-2]} query heads",
            "as many heads as `q` has",
            "Shared heads: repeat them first, jax.numpy.repeat(k, groups, axis=-2), and so for v.",
        )
    if k.shape != (*q.shape[:-3], k.shape[-3], *q.shape[-2:]):
        raise _checks.value_error(
            name,
            "k",
            f"shape {k.shape}",
            f"{(*q.shape[:-3], 'S', *q.shape[-2:])}, the batch, heads and features of `q`",
            "Nothing is broadcast.",
        )
    if v.shape[:-1] != k.shape[:-1]:
        raise _checks.value_error(
            name, "v", f"shape {v.shape}", f"{(*k.shape[:-1], 'E')}, one value for each key", "Nothing is broadcast."
        )
