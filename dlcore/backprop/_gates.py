"""One step of a gated recurrence, from the product with x on, and a GRU's way back through it; all in one dtype.

A step takes the recurrent kernel U (F, G · F) and its bias c (G · F,), the gates side by side, what x W + b is, and the
state before it. Errors are gradients of the loss. Those of all steps together are multiplied with what they came from
outside of the loop over time, as one matrix product.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array

__all__ = [
    "GRUGates",
    "LSTMGates",
    "blocks",
    "gru_kernel_errors",
    "gru_mix",
    "gru_step",
    "gru_step_back",
    "lstm_mix",
    "lstm_step",
    "outer",
]


class GRUGates(NamedTuple):
    """What a step computes on its way, each (*batch, F).

    h is the state before the step. `mixed` is what the reset gate and the kernel make between them: h U_n + c_n where
    the gate acts after the kernel, r · h where it acts before.
    """

    h: Array
    reset: Array
    update: Array
    new: Array
    mixed: Array


def gru_step(kernel: Array, bias: Array, h: Array, inputs: Array, reset_after: bool) -> tuple[Array, GRUGates]:
    """h', and the gates: reset, update, new."""
    f = kernel.shape[0]
    bias = broadcast_to_rank(bias, inputs.ndim)
    if reset_after:
        return gru_mix(h, blocks(inputs, 3), blocks(h @ kernel + bias, 3))
    i_r, i_z, i_n = blocks(inputs, 3)
    m_r, m_z = blocks(h @ kernel[:, : 2 * f] + bias[..., : 2 * f], 2)
    reset, update = sigmoid(i_r + m_r), sigmoid(i_z + m_z)
    mixed = reset * h
    new = jnp.tanh(i_n + mixed @ kernel[:, 2 * f :] + bias[..., 2 * f :])
    return (1 - update) * new + update * h, GRUGates(h, reset, update, new, mixed)


def gru_mix(h: Array, inputs: list[Array], products: list[Array]) -> tuple[Array, GRUGates]:
    """The same from x W + b and h U + c, block by block, where the reset gate acts after the kernel; elementwise."""
    (i_r, i_z, i_n), (m_r, m_z, mixed) = inputs, products
    reset, update = sigmoid(i_r + m_r), sigmoid(i_z + m_z)
    new = jnp.tanh(i_n + reset * mixed)
    return (1 - update) * new + update * h, GRUGates(h, reset, update, new, mixed)


def gru_step_back(turned: Array, gates: GRUGates, dh: Array, reset_after: bool) -> tuple[Array, tuple[Array, Array]]:
    """The error of h; those of x W + b (*batch, 3F), and of what the new gate has of the kernel (*batch, F).

    Args:
      turned: Uᵀ, (3F, F).
      gates: of the step.
      dh: the error of h'.
    """
    h, reset, update, new, mixed = gates
    f = h.shape[-1]
    d_new = dh * (1 - update) * (1 - new**2)
    d_update = dh * (h - new) * update * (1 - update)
    if reset_after:
        late, d_reset = d_new * reset, d_new * mixed * reset * (1 - reset)
        before = dh * update + _side_by_side([d_reset, d_update, late]) @ turned
    else:
        late, d_mixed = d_new, d_new @ turned[2 * f :]  # in r · h
        d_reset = d_mixed * h * reset * (1 - reset)
        before = dh * update + d_mixed * reset + _side_by_side([d_reset, d_update]) @ turned[: 2 * f]
    return before, (_side_by_side([d_reset, d_update, d_new]), late)


def gru_kernel_errors(gates: GRUGates, errors: tuple[Array, Array], reset_after: bool) -> tuple[Array, Array]:
    """dU and dc, summed over all leading axes."""
    inputs, late = errors
    early = inputs[..., : 2 * gates.h.shape[-1]]
    kernel = _side_by_side([outer(gates.h, early), outer(gates.h if reset_after else gates.mixed, late)])
    return kernel, _side_by_side([_total(early), _total(late)])


class LSTMGates(NamedTuple):
    """What a step computes on its way, each (*batch, F): h and c stood before it, `squashed` is tanh(c')."""

    h: Array
    memory: Array
    input: Array
    forget: Array
    cell: Array
    output: Array
    squashed: Array


def lstm_step(
    kernel: Array, bias: Array, state: tuple[Array, Array], inputs: Array
) -> tuple[tuple[Array, Array], LSTMGates]:
    """(h', c'), and the gates: input, forget, cell, output."""
    return lstm_mix(state, blocks(inputs + state[0] @ kernel + broadcast_to_rank(bias, inputs.ndim), 4))


def lstm_mix(state: tuple[Array, Array], arguments: list[Array]) -> tuple[tuple[Array, Array], LSTMGates]:
    """The same from x W + b + h U + c, block by block; elementwise."""
    (h, memory), (a_i, a_f, a_g, a_o) = state, arguments
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), jnp.tanh(a_g), sigmoid(a_o)
    after = f * memory + i * g
    squashed = jnp.tanh(after)
    return (o * squashed, after), LSTMGates(h, memory, i, f, g, o, squashed)


def outer(a: Array, b: Array) -> Array:
    """Σ aᵀ b over all leading axes."""
    count = math.prod(a.shape[:-1])
    return a.reshape(count, a.shape[-1]).T @ b.reshape(count, b.shape[-1])


def _total(errors: Array) -> Array:
    return errors.sum(tuple(range(errors.ndim - 1)))


def blocks(x: Array, gates: int) -> list[Array]:
    """The gates that stand side by side on the last axis."""
    if x.dtype == jnp.float64:
        # Slices, whose transposes are sums: a concatenation of products, as in a split's gradient, may come out wrong
        # in float64 from jaxlib 0.9.2 on CPU. In float32 it does not, and is faster.
        size = x.shape[-1] // gates
        return [lax.slice_in_dim(x, gate * size, (gate + 1) * size, axis=-1) for gate in range(gates)]
    return jnp.split(x, gates, -1)


def _side_by_side(parts: list[Array]) -> Array:
    """Joined along the last axis; as a sum in float64, for the reason above."""
    if parts[0].dtype != jnp.float64:
        return jnp.concatenate(parts, -1)
    whole = sum(part.shape[-1] for part in parts)
    total, start = jnp.zeros((*parts[0].shape[:-1], whole), parts[0].dtype), 0
    for part in parts:
        margins = [(0, 0, 0)] * (part.ndim - 1) + [(start, whole - start - part.shape[-1], 0)]
        total, start = total + lax.pad(part, jnp.zeros((), part.dtype), margins), start + part.shape[-1]
    return total
