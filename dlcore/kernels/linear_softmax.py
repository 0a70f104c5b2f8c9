"""Softmax cross-entropy of a linear layer, a few classes at a time: the logits of all are never there at once.

What the plain form costs: logits, their exponentials and their gradient are (examples, classes) each, 131 MB apiece for
1,024 examples and 32,000 classes in float32, while the layer's own parameters are a quarter of that.

The floor is three matrix products; this form has four, since the gradient computes the logits of a chunk again, from
the saved logarithm of the sum. It makes up for the fourth by what stays in the cache. Where all classes are one chunk,
its logits are kept and there are three. Chunks are columns of the kernel, read where they lie; each column's gradient
is written once, in place. The more features, the less that is: with 256 it is still ahead, with 512 the fourth product
costs more than the cache saves, and what is left is the memory.

It has no forward mode: a `custom_jvp` would leave it to the compiler to save every chunk's probabilities, which is what
the form is there to avoid.

Measured by `python -m benchmarks.linear_softmax`; figures: benchmarks/results/linear_softmax.json.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore._shift import below, peak, shift
from dlcore._typing import Array
from dlcore._varying import summed, varying

__all__ = ["Head", "linear_softmax", "plain_linear_softmax"]

T = TypeVar("T")


class Head(NamedTuple):
    """What the costs are computed of.

    Attributes:
      x: (N, D).
      kernel: (D, K).
      bias: (K,), or None.
      own: (N,), how much the cost of the example's class counts.
      spread: (K,), how much the cost of each class counts, in every example; or None.
    """

    x: Array
    kernel: Array
    bias: Array | None
    own: Array
    spread: Array | None


def plain_linear_softmax(head: Head, index: Array) -> Array:
    """The reference: Σ_k weight_k · −log softmax(x W + b)_k, (N,), in the dtype of `head.own`."""
    z = _logits(head, 0, head.kernel.shape[1])
    top = peak(z, -1)
    total = jnp.exp(shift(z, top)).sum(-1, keepdims=True)
    costs = jnp.log(jnp.where(total == 0, 1, total)) - shift(z, top)
    picked = jnp.take_along_axis(costs, index[:, None], -1)[:, 0]
    values = _product(head.own, picked)
    return values if head.spread is None else values + _product(head.spread, costs).sum(-1)


def linear_softmax(head: Head, index: Array, chunk: int) -> Array:
    """`plain_linear_softmax`, `chunk` classes at a time."""
    return _linear_softmax(head, index, min(chunk, head.kernel.shape[1]))


# custom_vjp: see the top of the file. It saves its arguments and three numbers for each example, in the dtype of
# `head.own`; and the logits where all of them are one chunk.
@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _linear_softmax(head: Head, index: Array, chunk: int) -> Array:
    return _forward(head, index, chunk)[0]


def _forward(head: Head, index: Array, chunk: int) -> tuple[Array, tuple[Any, ...]]:
    wide = head.own.dtype
    rows = head.x.shape[0]

    kept = _logits(head, 0, chunk) if chunk == head.kernel.shape[1] else None

    def step(carry: tuple[Any, ...], start: Any, width: int) -> tuple[Any, ...]:
        top, total, picked, spread = carry
        z = _logits(head, start, width) if kept is None else kept
        higher = jnp.maximum(top, peak(z, -1))
        faded = jnp.exp(below(top, higher))
        total = total * faded + jnp.exp(below(z, higher)).sum(-1, keepdims=True)
        local = index - start
        here = (local >= 0) & (local < width)
        own = jnp.take_along_axis(z, jnp.where(here, local, 0)[:, None], -1)[:, 0]
        picked = jnp.where(here, own, picked)
        if head.spread is not None:
            # Of the classes that count, whose sum of weights the logarithm is multiplied with.
            weights = lax.dynamic_slice_in_dim(head.spread, start, width)
            spread = spread + _product(weights[None], z).sum(-1)
        return higher, total, picked, spread

    begin: tuple[Any, ...] = (
        jnp.full((rows, 1), -np.inf, wide),
        jnp.zeros((rows, 1), wide),
        jnp.zeros(rows, wide),
        jnp.zeros(rows, wide),
    )
    top, total, picked, spread = _over_chunks(step, varying(begin, (head, index)), head.kernel.shape[1], chunk)
    log_total = jnp.log(jnp.where(total == 0, 1, total))
    costs = (log_total - shift(picked[:, None], top))[:, 0]
    values = _product(head.own, costs)
    if head.spread is not None:
        finite = jnp.where(jnp.isinf(top), 0, top)
        values = values + head.spread.sum() * (log_total + finite)[:, 0] - spread
    return values, (head, index, top, log_total, costs, kept)


def _backward(chunk: int, kept: tuple[Any, ...], g: Array) -> tuple[Head, np.ndarray]:
    head, index, top, log_total, costs, all_logits = kept
    wide = head.own.dtype
    columns = head.kernel.shape[1]
    share = g * head.own
    whole = share if head.spread is None else share + g * head.spread.sum()
    # Turned once, outside the loop, where the compiler would turn it in every product.
    x_turned = head.x.astype(wide).T

    def step(carry: tuple[Any, ...], start: Any, width: int) -> tuple[Any, ...]:
        dx, dkernel, dbias, dspread = carry
        z = _logits(head, start, width) if all_logits is None else all_logits
        dz = whole[:, None] * jnp.exp(below(z, top) - log_total)
        mine = lax.broadcasted_iota(jnp.int32, z.shape, 1) == (index - start)[:, None]
        dz = dz - jnp.where(mine, share[:, None], 0)
        if head.spread is not None:
            weights = lax.dynamic_slice_in_dim(head.spread, start, width)
            dz = dz - g[:, None] * weights[None]
            cost = _product(g[:, None], log_total - shift(z, top)).sum(0)
            dspread = lax.dynamic_update_slice_in_dim(dspread, cost, start, 0)
        part = lax.dynamic_slice_in_dim(head.kernel, start, width, 1).astype(wide)
        dx = dx + dz @ part.T
        dkernel = lax.dynamic_update_slice_in_dim(dkernel, (x_turned @ dz).astype(dkernel.dtype), start, 1)
        if dbias is not None:
            dbias = lax.dynamic_update_slice_in_dim(dbias, dz.sum(0).astype(dbias.dtype), start, 0)
        return dx, dkernel, dbias, dspread

    begin: tuple[Any, ...] = (
        jnp.zeros(head.x.shape, wide),
        jnp.zeros_like(head.kernel),
        None if head.bias is None else jnp.zeros_like(head.bias),
        None if head.spread is None else jnp.zeros_like(head.spread),
    )
    dx, dkernel, dbias, dspread = _over_chunks(step, varying(begin, (head, index, g)), columns, chunk)
    gradient = Head(dx.astype(head.x.dtype), dkernel, dbias, _product(g, costs), dspread)
    return summed(gradient, head), np.zeros(index.shape, jax.dtypes.float0)


_linear_softmax.defvjp(_forward, _backward)


def _over_chunks(step: Callable[[T, Any, int], T], begin: T, columns: int, chunk: int) -> T:
    """`step` over all whole chunks in a loop, and over what is left once: no class is added to fill a chunk."""
    whole = columns // chunk
    carry = begin
    if whole == 1:
        carry = step(carry, 0, chunk)
    elif whole:
        starts = chunk * jnp.arange(whole, dtype=jnp.int32)
        carry, _ = lax.scan(lambda carry, start: (step(carry, start, chunk), None), carry, starts)
    return step(carry, whole * chunk, columns % chunk) if columns % chunk else carry


def _logits(head: Head, start: Any, width: int) -> Array:
    wide = head.own.dtype
    part = lax.dynamic_slice_in_dim(head.kernel, start, width, 1).astype(wide)
    z = head.x.astype(wide) @ part
    return z if head.bias is None else z + lax.dynamic_slice_in_dim(head.bias, start, width).astype(wide)[None]


def _product(weights: Array, costs: Array) -> Array:
    """Weights times costs; a weight of 0 makes an infinite cost nothing."""
    weights = weights.reshape((1,) * (costs.ndim - weights.ndim) + weights.shape)
    nothing = weights == 0
    return jnp.where(nothing, 0, weights * jnp.where(nothing, 0, costs))
