"""Sums and maxima along the last axis, and sums over all axes before it, in blocks.

What compilers for CPU do with the plain form: a loop that adds to one number, element by element, since the order of
a sum is not theirs to change; and for long rows the operand is written out first. Here eight blocks of a row are added
as wholes, which is one vectorised pass, and an eighth is left. Three to eight times as fast on rows of 512 to 8,192
(`python -m benchmarks --only norm`), and more exact. Fewer blocks where an eighth would be less than 2¹⁵ numbers: so
many XLA's CPU backend sums apart, by a library, where fewer become part of a loop that is not vectorised; a layer norm
of (256, 512) takes a quarter of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore._typing import Array

__all__ = ["block_sum", "blocks", "column_sum", "row_max", "row_sum", "stack_sum"]

# So many at most, a power of two; and so many numbers are to be left.
BLOCKS, LEFT = 8, 2**15
# Shorter rows are left as they are.
LEAST = 32


def blocks(size: int) -> int:
    """How many parts of `size` numbers are to be added as wholes before the compiler sums what is left."""
    count = BLOCKS
    while count > 1 and size < count * LEFT:
        count //= 2
    # A little more than is left: as little as possible then; but below that, parts cost more than they save.
    return BLOCKS if count == 1 and size > LEFT else count


def block_sum(x: Array) -> Array:
    """Σ over the last axis, kept with size one: linear, made of slices and sums alone."""
    return _in_blocks(x, jnp.add, lambda part: part.sum(-1, keepdims=True))


# custom_jvp: the transpose of slices would be pads; that of the plain sum is a broadcast. It saves nothing.
@jax.custom_jvp
def row_sum(x: Array) -> Array:
    """Σ over the last axis, kept with size one."""
    return block_sum(x)


@row_sum.defjvp
def _row_sum_jvp(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Any]:
    return row_sum(primals[0]), tangents[0].sum(-1, keepdims=True)


def column_sum(x: Array) -> Array:
    """Σ over all axes but the last, (C,): eight stacks of rows added as wholes, then what is left. Linear, as above."""
    return stack_sum(x.reshape(1, math.prod(x.shape[:-1]), x.shape[-1]))[0]


def stack_sum(x: Array) -> Array:
    """Σ over the middle one of three axes, in the same way."""
    rows, count = x.shape[1], blocks(x.size)
    height = rows // count
    if height < count:
        return x.sum(1)
    stacks = (lax.slice_in_dim(x, i * height, (i + 1) * height, axis=1) for i in range(count))
    total = reduce(jnp.add, stacks).sum(1)
    return total + lax.slice_in_dim(x, count * height, rows, axis=1).sum(1) if rows % count else total


def row_max(x: Array) -> Array:
    """The maximum over the last axis, kept with size one; −inf for none. A constant to the gradient."""
    return _in_blocks(lax.stop_gradient(x), jnp.maximum, lambda part: jnp.max(part, -1, keepdims=True, initial=-np.inf))


def _in_blocks(x: Array, join: Callable[[Array, Array], Array], fold: Callable[[Array], Array]) -> Array:
    size, count = x.shape[-1], blocks(x.size)
    if size < LEAST:
        return fold(x)
    width = size // count
    folded = fold(reduce(join, (lax.slice_in_dim(x, i * width, (i + 1) * width, axis=-1) for i in range(count))))
    rest = lax.slice_in_dim(x, count * width, size, axis=-1)
    return join(folded, fold(rest)) if size % count else folded
