"""Softmax attention of long sequences, a few queries at a time: the scores of all are never there at once.

What the plain form costs: scores, exponentials, weights and their gradients are (heads, T, S) each, 34 MB apiece for 32
heads of 512 steps, written to and read from memory; and where only keys up to the query are seen, half of them are
computed to be thrown away. Its product over queries, pᵀ dy, is one whose first operand XLA's CPU backend has to
turn, which takes three times as long as the others.

The floor is six products, two forward and four backward, of what is seen; this form has seven, since the gradient
computes scores again. The form chosen: a few heads at a time (`lax.map`); in each, blocks of queries against the keys
that any of them sees, so narrow that scores stay in the cache. Blocks are unrolled into a few bands, whose keys end
where the band does; bands of several blocks are a loop again. Scores lie with keys first, (S, block), so that maximum
and sum run over rows and each product has its large operand the way it lies.

To keep forward mode and Hessians, the rule is a `custom_jvp` for one block, whose tangent's transpose is the backward
pass that is wanted. `jax.checkpoint` around each body of a loop saves y and two numbers for each query, of which the
gradient computes the weights of a block, and none of the weights.

Below 128 queries or 256 keys the plain form is as fast, unless there are so many heads that their scores leave the
cache. On other platforms all heads are computed at once, block by
block; that has not been measured on a GPU.

Measured by `python -m benchmarks --only attention`, forward and backward on two cores that nobody else uses: 2 to 4
times as fast as the plain form, 0.9 to 1.4 times as fast as PyTorch's where causal and 0.9 to 1 times where all keys
are seen; more where others use the cores too. Temporary memory is a fifth of the plain form's for (4, 512, 8, 32). It
takes one to two seconds to compile, the plain form 0.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from dlcore._typing import Array
from dlcore.kernels.softmax import plain_softmax

__all__ = ["attention", "plain_attention", "worthwhile"]

# What one block of scores should hold, two megabytes of float32; how wide it is at least and at most.
SCORES, NARROWEST, WIDEST = 2**19, 64, 512
# What the heads that are computed side by side should hold of scores, keys and values: several keep two cores busy.
TOGETHER = 5 * 2**17
# More bands skip more of what nobody sees, and take longer to compile.
BANDS = 4
# So many scores are as well computed a few heads at a time, however short the sequences.
MANY = 2**21
SAVED = "dlcore.kernels.attention"


def plain_attention(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """The reference: softmax(q kᵀ) v, (*batch, T, N, E), of q (*batch, T, N, D), k (*batch, S, M, D), v."""
    group = q.shape[-2] // k.shape[-2]
    k, v = (jnp.repeat(part, group, -2) for part in (k, v))
    scores = jnp.einsum("...tnd,...snd->...nts", q, k)
    if causal:
        key, query = (lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - axis) for axis in (1, 2))
        scores = jnp.where(key <= query, scores, -np.inf)
    return jnp.einsum("...nts,...sne->...tne", plain_softmax(scores), v)


def worthwhile(q: Array, k: Array, v: Array) -> bool:
    """Whether sequences are long enough for `attention`, or many and not quite short."""
    t, s = q.shape[-3], k.shape[-3]
    if not (q.size and v.size):
        return False
    return (t >= 128 and s >= 256) or (min(t, s) >= 64 and q.size // q.shape[-1] * s >= MANY)


def attention(q: Array, k: Array, v: Array, causal: bool, block: int | None = None) -> Array:
    """`plain_attention`, `block` queries at a time; all in one dtype, float32 or wider."""
    *batch, t, n, d = q.shape
    s, m, e = v.shape[-3:]
    # Heads to the front, those that share a key head beside each other; operands as the products want them.
    q = jnp.transpose(q.reshape(-1, t, m, n // m, d), (0, 2, 3, 4, 1)).reshape(-1, n // m, d, t)
    k, v = (
        jnp.swapaxes(part.reshape(-1, s, m, part.shape[-1]), 1, 2).reshape(-1, s, part.shape[-1]) for part in (k, v)
    )
    bands = _bands(t, s, causal, block)

    def head(q: Array, k: Array, k_turned: Array, v: Array, v_turned: Array) -> Array:
        def attend(band: _Band, start: Any, queries: Array) -> Array:
            keys = slice(band.keys)
            known = band.start if causal and band.start < band.keys else None
            return _block(queries, k[keys], k_turned[:, keys], v[keys], v_turned[:, keys], start, known)[0]

        return jnp.concatenate([_over_blocks(partial(attend, band), band, q) for band in bands], -1)

    once = _computed_again(head)
    most = max(1, TOGETHER // max(1, s * (bands[0].width + d + e)))
    # A divisor: a rest would be compiled once more.
    together = max(number for number in range(1, most + 1) if len(q) % number == 0)
    y = lax.platform_dependent(
        q, k, jnp.swapaxes(k, 1, 2), v, jnp.swapaxes(v, 1, 2),
        cpu=lambda *whole: lax.map(lambda part: once(*part), whole, batch_size=together if together > 1 else None),
        default=jax.vmap(once),
    )  # fmt: skip
    return jnp.transpose(y.reshape(-1, m, n // m, e, t), (0, 4, 1, 2, 3)).reshape(*batch, t, n, e)


def _computed_again(function: Callable[..., Array]) -> Callable[..., Array]:
    """`function`, for the body of a loop, of which only y and two numbers a query are saved for the gradient."""
    policy = jax.checkpoint_policies.save_only_these_names(SAVED)
    return jax.checkpoint(function, prevent_cse=False, policy=policy)


class _Band(NamedTuple):
    """`blocks` blocks of `width` queries from `start` on, which see none but the first `keys` keys."""

    start: int
    blocks: int
    width: int
    keys: int


def _bands(t: int, s: int, causal: bool, block: int | None) -> list[_Band]:
    if block is None:
        most = _ceil(t, BANDS) if causal else t
        widest = max(NARROWEST, min(WIDEST, SCORES // s, most))
        # Equally wide, but for the last; a multiple of what the processor takes at once.
        block = _ceil(_ceil(t, _ceil(t, widest)), 16) * 16
    width = min(block, t)
    whole = t // width
    each = _ceil(whole, BANDS) if causal else whole
    pieces = [(start * width, min(each, whole - start), width) for start in range(0, whole, each)]
    if t % width:
        pieces.append((whole * width, 1, t % width))
    return [_Band(*piece, min(s, piece[0] + piece[1] * piece[2]) if causal else s) for piece in pieces]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _over_blocks(attend: Callable[[Any, Array], Array], band: _Band, q: Array) -> Array:
    """(G, E, count · width) of q (G, D, T)."""
    group, d, _ = q.shape
    start, count, width = band[:3]
    part = q[:, :, start : start + count * width]
    if group * count == 1:
        return attend(start, part[0])[None]
    blocks = jnp.swapaxes(part.reshape(group, d, count, width), 1, 2).reshape(group * count, d, width)
    starts = np.tile(start + width * np.arange(count, dtype=np.int32), group)
    once = _computed_again(attend)
    y = lax.map(lambda each: once(*each), (jnp.asarray(starts), blocks))
    return jnp.swapaxes(y.reshape(group, count, -1, width), 1, 2).reshape(group, -1, count * width)


# custom_jvp: see the top of the file. It saves y and the numbers of which the weights are computed again, in the dtype
# in which all is computed. k and v come twice, once turned: it is `k` and `v` whose tangents count.
@partial(jax.custom_jvp, nondiff_argnums=(6,))
def _block(
    q: Array, k: Array, k_turned: Array, v: Array, v_turned: Array, start: Any, known: int | None
) -> tuple[Array, Array, Array]:
    """y (E, width) of q (D, width), k (S, D) and v (S, E); and of each query's scores the maximum and what it lacks of
    the logarithm of the sum of exponentials.

    The first query is number `start`, and sees no later key; keys before `known` are seen by all of them, and where it
    is None, so is every key.
    """
    scores = _scores(k, q, start, known)
    top = scores.max(0, keepdims=True, initial=-np.inf)
    e = _exponentials(scores, top)
    total = e.sum(0, keepdims=True)
    total = jnp.where(total == 0, 1, total)
    return v_turned @ e / total, top, jnp.log(total)


def _block_jvp(known: int | None, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    q, k, k_turned, v, _, start = primals
    dq, dk, _, dv, _, _ = tangents
    y, top, rest = (checkpoint_name(part, SAVED) for part in _block(*primals, known))
    p = _exponentials(_scores(k, q, start, known), top, rest)
    # In this order of operands and axes the transposes of these products are fast: da kᵀ as kᵀ da, and so on.
    da = p * (_product(dq, k_turned).T + dk @ q)
    mean = da.sum(0, keepdims=True)
    dy = _product(da, v).T - mean * y + _product(dv, p)
    # The maximum is a constant; the logarithm of the sum of exponentials changes by `mean`.
    return (y, top, rest), (dy, jnp.zeros_like(top), mean)


_block.defjvp(_block_jvp)


def _product(a: Array, b: Array) -> Array:
    """aᵀ b."""
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())))


def _scores(k: Array, q: Array, start: Any, known: int | None) -> Array:
    scores = k @ q
    if known is None:
        return scores
    # Written into place: the rest is left alone.
    latest = scores[known:]
    key, query = (lax.broadcasted_iota(jnp.int32, latest.shape, axis) for axis in (0, 1))
    return lax.dynamic_update_slice(scores, jnp.where(known + key <= start + query, latest, -np.inf), (known, 0))


def _exponentials(scores: Array, top: Array, rest: Any = 0.0) -> Array:
    """exp(scores − top − rest) of scores ≤ top; a score of +inf that is the maximum gives 1, one of −inf gives 0."""
    largest = jnp.finfo(scores.dtype).max
    below = scores - jnp.clip(top, -largest, largest)
    # Scores that are computed again may be rounded otherwise than their maximum was. `where`, not `minimum`, whose
    # derivative is a half where both are equal.
    return jnp.exp(jnp.where(below > 0, 0, below) - rest)
