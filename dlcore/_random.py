"""Random masks and noise, drawn in one place, so that a layer and its derivation agree on them bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import _checks
from dlcore._bits import below
from dlcore._precision import compute_dtype
from dlcore._typing import Array, DType, Key

__all__ = ["gumbel", "keep_mask", "kept_share", "normal", "permutation", "shared_shape", "traced"]


def keep_mask(function: str, key: Key, rate: Any, shape: tuple[int, ...]) -> Array | bool:
    """True where a value stays, each dropped with probability `rate`; a Python bool where that is certain.

    A number and a traced scalar of the same value give the same mask.
    """
    if traced(function, rate):
        p = jnp.asarray(rate, compute_dtype(rate.dtype))
        # Beyond [0, 1], and for NaN, a conversion to integers would not be defined.
        threshold = jnp.round(jnp.where(p > 0, jnp.minimum(p, 1), 0) * 2.0**32)
        none = threshold >= 2.0**32
        drops = jnp.where(none, 0, threshold).astype(jnp.uint32)
        return ~(below(key, drops, shape) | none)
    share = _checks.fraction(function, "rate", rate)
    number = round(share * 2**32)
    if number in (0, 2**32):
        return number == 0
    return ~below(key, number, shape)


def traced(function: str, rate: Any) -> bool:
    """Whether the rate is a scalar array, whose value cannot be looked at, rather than a number."""
    if not isinstance(rate, (jax.Array, np.ndarray)):
        return False
    if rate.shape != () or not jnp.issubdtype(rate.dtype, np.floating):
        raise _checks.type_error(
            function, "rate", _checks.describe(rate), "one floating number", "Use jax.vmap for several rates."
        )
    return True


def kept_share(rate: Any, dtype: DType) -> float | Array:
    """1 − rate: in double precision for a Python number, since 1 − 0.999 has lost digits in single; else in `dtype`."""
    return 1 - jnp.asarray(rate, dtype) if isinstance(rate, (jax.Array, np.ndarray)) else 1.0 - float(rate)


def normal(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
    """Standard normal noise, the same for every dtype, compiled or not.

    `jax.random.normal` draws other numbers in float64, and rounds float32 ones as the compiler likes. Here the uniform
    number is an odd multiple of 2⁻²⁴ in (−1, 1), exact in float32, and only its transform is rounded, in `dtype`.
    """
    whole = (jax.random.bits(key, shape, jnp.uint32) >> 8).astype(jnp.int32)
    uniform = (2 * whole + (1 - 2**24)).astype(dtype) * 2.0**-24
    return lax.erf_inv(uniform) * np.sqrt(2).item()


def gumbel(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
    """Gumbel noise −log(−log(1 − v)), the same for every dtype, compiled or not, between −2.9 and 22.9.

    v is exact in float32, with 24 digits wherever it is small: events of probability 2⁻³² come at their rate, which
    `jax.random.gumbel` has only from two draws a number.
    """
    v = (jax.random.bits(key, shape, jnp.uint32).astype(jnp.float32) + 0.5) * 2.0**-32
    return -jnp.log(-jnp.log1p(-jnp.minimum(v, 1 - 2.0**-24).astype(dtype)))


def permutation(key: Key, n: int) -> Array:
    """The numbers 0 to n − 1 in random order, int32.

    `jax.random.permutation` sorts pairs of a key and an index, twice; compilers for CPU have a fast sort of single
    numbers alone, five times as fast. Here the index takes the last bits of its key. Two that have the same first bits
    stay in order: with at least 20 of these, or a second round, the odds of a pair are even to 2⁻¹⁶ and better.
    """
    places = max(n - 1, 1).bit_length()
    if places > 24:
        return jax.random.permutation(key, n).astype(jnp.int32)
    rounds = 1 if places <= 12 else 2
    draws = jax.random.bits(key, (rounds, n), jnp.uint32) >> places << places
    order = jnp.arange(n, dtype=jnp.uint32)
    for draw in draws:
        order = order[jnp.sort(draw | jnp.arange(n, dtype=jnp.uint32)) & (2**places - 1)]
    return order.astype(jnp.int32)


def shared_shape(function: str, x: Array, axes: Sequence[int]) -> tuple[int, ...]:
    """The shape of the draws for `x`, of which one is shared along each of the `broadcast_axes`."""
    if not isinstance(axes, Sequence):
        raise _checks.type_error(
            function, "broadcast_axes", _checks.describe(axes), "a tuple of ints", "For one axis: (-2,)."
        )
    shape = list(x.shape)
    for axis in axes:
        index = _checks.integer(function, "broadcast_axes", axis, low=-x.ndim)
        if index >= x.ndim:
            raise _checks.value_error(
                function, "broadcast_axes", axes, f"axes of x, which has {x.ndim}", "Count from the end."
            )
        shape[index] = 1
    return tuple(shape)
