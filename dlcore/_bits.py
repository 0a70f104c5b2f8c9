"""Random masks of a given rate from nine random bits a value, 32 values at a time.

What the plain form costs: one 32-bit word of Threefry a value, which takes ten times as long as the dropout it is drawn
for; its floor would be one read and one write of the data.

A value is dropped where a uniform number U is below the rate p. Compared from the front, most of U's bits are never
looked at: bit i decides unless all before it agree with p's. So the bits of 32 values are packed into words, one word
for each of the first 8 places, and U < p is 8 logical operations on words. The one value in 256 whose 8 bits all agree
is decided by 24 bits more, which 32 values share: the rate is exact to 2⁻³², and two values depend on each other only
where both come to that, by a covariance of at most 2⁻¹⁸. Rates of few binary places, 1/2 or 3/4, draw no more than
these.

Value e of a mask is bit e // W of word e mod W, so that a register's words are shifted by one number.

Measured by `python -m benchmarks --only dropout`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore._typing import Array, Key

__all__ = ["below", "packed_below", "plain_below"]

# Places of U with a bit for each value; the other 24 are shared by the values of a word.
PLACES = 8


def plain_below(key: Key, threshold: Any, shape: tuple[int, ...]) -> Array:
    """The reference: U < threshold with U in [0, 2³²) put together for each value."""
    size = math.prod(shape)
    places, shared = _draw(key, size, PLACES)
    ones = (places[:, None] >> lax.iota(jnp.uint32, 32)[None, :, None]) & 1
    powers = jnp.asarray(2 ** np.arange(31, 31 - PLACES, -1), jnp.uint32)
    u = (ones * powers[:, None, None]).sum(0, dtype=jnp.uint32) | (shared >> PLACES)[None]
    return (u < jnp.asarray(threshold, jnp.uint32)).reshape(-1)[:size].reshape(shape)


def below(key: Key, threshold: int | Array, shape: tuple[int, ...]) -> Array:
    """True with probability `threshold` / 2³², a mask of the given shape.

    Args:
      key: a typed key.
      threshold: in [0, 2³²), an int or a traced uint32; both give the same mask.
      shape: the mask's.
    """
    size = math.prod(shape)
    words = packed_below(key, threshold, size)
    bits = (words[None] >> lax.iota(jnp.uint32, 32)[:, None]) & 1
    return (bits != 0).reshape(-1)[:size].reshape(shape)


def packed_below(key: Key, threshold: int | Array, size: int) -> Array:
    """The words of such a mask of so many values, W = ⌈size / 32⌉: bit b of word w is value b · W + w."""
    count = PLACES
    if isinstance(threshold, int):
        count = min(max((place + 1 for place in range(32) if threshold >> (31 - place) & 1), default=0), PLACES)
    places, shared = _draw(key, size, count)
    threshold = jnp.asarray(threshold, jnp.uint32)
    # For each place of p, from the last to the first: 32 ones or none.
    ones = jnp.zeros((), jnp.uint32) - (threshold >> jnp.arange(32 - count, 32, dtype=jnp.uint32) & 1)

    def compare(words: Array, place: tuple[Array, Array]) -> tuple[Array, None]:
        # With a 1 in p, U is below if its bit is 0 or the rest is below; with a 0, if both.
        bits, one = place
        return (~bits & (words | one)) | (words & one), None

    tail = threshold & (2 ** (32 - PLACES) - 1)
    words = jnp.where(shared >> PLACES < tail, jnp.uint32(2**32 - 1), jnp.uint32(0))
    # A loop, since compilers would repeat all of it for each of a word's 32 values.
    return lax.scan(compare, words, (places[::-1], ones))[0]


def _draw(key: Key, size: int, places: int) -> tuple[Array, Array]:
    """(places, W) words for the first places, and (W,) for all the others."""
    # The shared word comes first, so that each word is the same however many places are drawn.
    words = jax.random.bits(key, (1 + places, -(-size // 32)), jnp.uint32)
    return words[1:], words[0]
