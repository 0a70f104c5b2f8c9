"""Softmax and its logarithm along the last axis by derivative rules of their own.

What the compiler does with the derivative of the plain form: the quotient, the exponential and the choices at infinity
are differentiated one by one, and what they saved is read again: twice the passes that

    dx = p · (dy − Σ_k p_k dy_k)

needs, which is all of it; the logarithm's is dy − p · Σ_k dy_k. The floor is x read and p written, p and dy read and dx
written. The rules are made of plain operations, so that they serve both modes, and Hessians too.

Measured by `python -m benchmarks --only attention`, of whose short sequences it is the form.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._rows import row_sum
from dlcore._shift import below, peak, shift
from dlcore._typing import Array

__all__ = ["log_softmax_rows", "plain_log_softmax", "plain_softmax", "softmax_rows"]


def plain_softmax(x: Array) -> Array:
    """The reference: exp(x − top) / Σ exp(x − top); zeros for a row of −inf, and the limit for one that holds +inf."""
    e = jnp.exp(shift(x, peak(x, -1)))
    total = e.sum(-1, keepdims=True)
    return e / jnp.where(total == 0, 1, total)


# custom_jvp: see the top of the file. It saves p, in the dtype of x.
@jax.custom_jvp
def softmax_rows(x: Array) -> Array:
    """`plain_softmax`; a row that holds +inf has slope 0."""
    return _forward(x)[0]


@softmax_rows.defjvp
def _softmax_rows_jvp(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Any]:
    p, top = _forward(primals[0])
    moving = p * (top < np.inf).astype(p.dtype)
    weighted = moving * tangents[0]
    return p, weighted - moving * weighted.sum(-1, keepdims=True)


def plain_log_softmax(x: Array) -> Array:
    """The reference: x − top − log Σ exp(x − top); −inf for a row of −inf, and the limit for one that holds +inf."""
    shifted = shift(x, peak(x, -1))
    total = jnp.exp(shifted).sum(-1, keepdims=True)
    return shifted - jnp.log(jnp.where(total == 0, 1, total))


# custom_jvp: see the top of the file. It saves log p, in the dtype of x.
@jax.custom_jvp
def log_softmax_rows(x: Array) -> Array:
    """`plain_log_softmax`; a row that holds +inf has slope 0."""
    return _log_forward(x)[0]


@log_softmax_rows.defjvp
def _log_softmax_rows_jvp(primals: tuple[Array], tangents: tuple[Any]) -> tuple[Array, Any]:
    y, top = _log_forward(primals[0])
    moving = tangents[0] * (top < np.inf).astype(y.dtype)
    return y, moving - (jnp.exp(y) * moving).sum(-1, keepdims=True)


def _log_forward(x: Array) -> tuple[Array, Array]:
    top = peak(x, -1)
    shifted = shift(x, top)
    total = row_sum(jnp.exp(shifted))
    return shifted - jnp.log(jnp.where(total == 0, 1, total)), top


def _forward(x: Array) -> tuple[Array, Array]:
    top = peak(x, -1)
    e = jnp.exp(below(x, top))
    total = row_sum(e)
    return e / jnp.where(total == 0, 1, total), top
