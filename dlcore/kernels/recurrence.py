"""Gated recurrences through time, by one derivative rule.

What the compiler does with the plain form: the loop backward multiplies and adds up the gradients of both kernels and
of x at every step, small products that read and write all of those gradients, and the loop forward writes out
whatever its derivative asks for, 14 arrays a step for an LSTM.

The floor is three times the forward products. The form chosen: gates and states are all that is saved; the tangent's
loop carries the state's tangent alone, and what the tangents of x and of the parameters add to it is one product each
over all steps, outside of the loop. Reverse mode is JAX' own transpose of that: a loop that carries the state's error
and hands out those of the gates, and after it one product for each gradient; forward mode and Hessians exist. 1.2 to
1.4 times as fast from some ten features on; below, what is around the loop costs more than it saves.

Whether the inputs' product x W is taken for all steps at once, outside of the loop, or inside of it is a matter of
shapes: outside it writes and reads gates · F numbers a step, inside D. Outside takes 0.65 to 0.9 of inside's time at
(batch, time, D, F) = (8, 64, 512, 64) and (32, 64, 256, 128), but 1.5 times as long at (128, 32, 32, 256): so it goes
outside where D > F.

Measured by `python -m benchmarks --only recurrent`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, PyTree
from dlcore._varying import varying
from dlcore.backprop import _gates

__all__ = ["Cell", "Kernels", "State", "gru_cell", "lstm_cell", "plain_recurrence", "recurrence", "rnn_cell"]

# The first array is what is handed out.
State: TypeAlias = tuple[Array, ...]


class Kernels(NamedTuple):
    """W (D, G · F), U (F, G · F), and the biases b and c that belong to them, (G · F,)."""

    input: Array
    recurrent: Array
    input_bias: Array
    recurrent_bias: Array


class Cell(NamedTuple):
    """One step, and its tangent.

    Attributes:
      step: (U, c, state, x W + b) -> the next state, and what the tangent needs of this step.
      split: (that of all steps, tangents of x W + b, of U and of c) -> what of them `push` gets: each a product over
        all steps, in which no state's tangent takes part.
      push: (Uᵀ, what `step` kept, the state's tangent, a step of what `split` gave) -> the next state's tangent.
    """

    step: Callable[[Array, Array, State, Array], tuple[State, PyTree]]
    split: Callable[[Any, Array, Array, Array], PyTree]
    push: Callable[[Array, Any, State, Any], State]


def rnn_cell(activation: Callable[[Array], Array]) -> Cell:
    """a(x W + b + h U + c); a cell for good, since what is compiled is looked up by it."""

    def step(kernel: Array, bias: Array, state: State, inputs: Array) -> tuple[State, PyTree]:
        argument = inputs + state[0] @ kernel + broadcast_to_rank(bias, inputs.ndim)
        return (activation(argument),), (state[0], argument)

    def split(kept: tuple[Array, Array], inputs: Array, kernel: Array, bias: Array) -> Array:
        return inputs + _affine(kept[0], kernel, bias)

    def push(turned: Array, kept: tuple[Array, Array], state: State, now: Array) -> State:
        return (jax.jvp(activation, (kept[1],), (now + _times(state[0], turned),))[1],)

    return Cell(step, split, push)


def gru_cell(reset_after: bool) -> Cell:
    """A gated recurrent unit, whose reset gate acts after the recurrent kernel or before it."""
    return _GRU[reset_after]


def _gru(reset_after: bool) -> Cell:
    def step(kernel: Array, bias: Array, state: State, inputs: Array) -> tuple[State, PyTree]:
        h, gates = _gates.gru_step(kernel, bias, state[0], inputs, reset_after)
        return (h,), gates

    def split(gates: _gates.GRUGates, inputs: Array, kernel: Array, bias: Array) -> tuple[Array, Array]:
        f = gates.h.shape[-1]
        if reset_after:
            whole = _affine(gates.h, kernel, bias)
            early, late = whole[..., : 2 * f], whole[..., 2 * f :]
        else:
            early = _affine(gates.h, kernel[:, : 2 * f], bias[: 2 * f])
            late = _affine(gates.mixed, kernel[:, 2 * f :], bias[2 * f :])
        # Padded, since the transpose is then a slice.
        margins = [(0, 0, 0)] * (early.ndim - 1) + [(0, f, 0)]
        return inputs + lax.pad(early, jnp.zeros((), early.dtype), margins), late

    def push(turned: Array, gates: _gates.GRUGates, state: State, now: tuple[Array, Array]) -> State:
        def back(dh: Array) -> tuple[Array, tuple[Array, Array]]:
            return _gates.gru_step_back(turned, gates, dh, reset_after)

        # The tangent of a step is the transpose of its way back.
        return tuple(jax.linear_transpose(back, gates.h)((state[0], now)))

    return Cell(step, split, push)


def _lstm_step(kernel: Array, bias: Array, state: State, inputs: Array) -> tuple[State, PyTree]:
    return _gates.lstm_step(kernel, bias, (state[0], state[1]), inputs)


def _lstm_split(gates: _gates.LSTMGates, inputs: Array, kernel: Array, bias: Array) -> Array:
    return inputs + _affine(gates.h, kernel, bias)


def _lstm_push(turned: Array, gates: _gates.LSTMGates, state: State, now: Array) -> State:
    _, memory, i, f, g, o, squashed = gates
    d_i, d_f, d_g, d_o = _gates.blocks(now + _times(state[0], turned), 4)
    after = f * state[1] + memory * f * (1 - f) * d_f + g * i * (1 - i) * d_i + i * (1 - g**2) * d_g
    return squashed * o * (1 - o) * d_o + o * (1 - squashed**2) * after, after


_GRU = {after: _gru(after) for after in (True, False)}
lstm_cell = Cell(_lstm_step, _lstm_split, _lstm_push)


def _affine(x: Array, kernel: Array, bias: Array) -> Array:
    """x W + b of all steps: of two axes, so that its transposes are products without copies."""
    y = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
    return y.reshape(*x.shape[:-1], -1) if x.size else jnp.zeros((*x.shape[:-1], bias.size), y.dtype)


def _times(h: Array, turned: Array) -> Array:
    """h U, from Uᵀ: so that the way back, which goes through the transpose, multiplies by a matrix as it lies."""
    return lax.dot_general(h, turned, (((h.ndim - 1,), (1,)), ((), ())))


def plain_recurrence(
    cell: Cell, reverse: bool, unroll: int, kernels: Kernels, state: State, x: Array, on: Array | None
) -> tuple[Array, State]:
    """The reference: a scan over x (T, *batch, D), all in one dtype; the outputs of all steps, and the last state.

    Args:
      cell: the step.
      reverse: from the last step to the first.
      unroll: how many steps are one turn of the compiled loop.
      kernels: the parameters.
      state: before the first step, (*batch, F) each.
      on: which steps count, (T, *batch, 1) booleans; the others leave the state alone. All for None.
    """
    return _forward(cell, reverse, unroll, kernels, state, x, on)[0]


# custom_jvp: see the top of the file. It saves x, the gates and states of all steps, in the dtype of x.
@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def recurrence(
    cell: Cell, reverse: bool, unroll: int, kernels: Kernels, state: State, x: Array, on: Array | None
) -> tuple[Array, State]:
    """`plain_recurrence`, with fast gradients."""
    return plain_recurrence(cell, reverse, unroll, kernels, state, x, on)


@recurrence.defjvp
def _recurrence_jvp(
    cell: Cell, reverse: bool, unroll: int, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[tuple[Array, State], tuple[Array, State]]:
    kernels, state, x, on = primals
    d_kernels, d_state, dx, _ = tangents
    results, kept = _forward(cell, reverse, unroll, kernels, state, x, on)
    inputs = _affine(x, d_kernels.input, d_kernels.input_bias) + _affine(
        dx, kernels.input, jnp.zeros_like(kernels.input_bias)
    )
    turned = kernels.recurrent.T

    # Checkpointed, so that what depends on the gates alone is computed on the way back and not written out before.
    @partial(jax.checkpoint, prevent_cse=False)
    def push(before: State, now: tuple[PyTree, PyTree, Array | None]) -> State:
        given, gates, on = now
        if on is None:
            return cell.push(turned, gates, before, given)
        after = cell.push(turned, gates, tuple(jnp.where(on, part, 0) for part in before), given)
        return tuple(jnp.where(on, new, old) for new, old in zip(after, before, strict=True))

    def body(before: State, now: tuple[PyTree, PyTree, Array | None]) -> tuple[State, Array]:
        after = push(before, now)
        return after, after[0]

    def run(first: State, given: PyTree) -> tuple[Array, State]:
        last, dys = lax.scan(body, first, (given, kept, on), reverse=reverse, unroll=unroll)
        return dys, last

    given = cell.split(kept, inputs, d_kernels.recurrent, d_kernels.recurrent_bias)
    linear = varying(d_state, (d_state, given, kept)), given
    # `run` is linear, and its own derivative; but only what differentiation made of a scan can be transposed.
    return results, jax.jvp(run, jax.tree.map(jnp.zeros_like, linear), linear)[1]


def _forward(
    cell: Cell, reverse: bool, unroll: int, kernels: Kernels, state: State, x: Array, on: Array | None
) -> tuple[tuple[Array, State], PyTree]:
    width, features = kernels.input.shape[0], kernels.recurrent.shape[0]

    def affine(x: Array) -> Array:
        return _affine(x, kernels.input, kernels.input_bias)

    def body(state: State, now: tuple[Array, Array | None]) -> tuple[State, tuple[Array, PyTree]]:
        inputs, on = now
        inputs = inputs if width > features else affine(inputs)
        if on is None:
            after, kept = cell.step(kernels.recurrent, kernels.recurrent_bias, state, inputs)
            return after, (after[0], kept)
        # A step that does not count is taken from zeros, so that nothing in it overflows, not even in its derivative.
        zeroed = tuple(jnp.where(on, part, 0) for part in state)
        taken, kept = cell.step(kernels.recurrent, kernels.recurrent_bias, zeroed, inputs)
        after = tuple(jnp.where(on, new, old) for new, old in zip(taken, state, strict=True))
        return after, (after[0], kept)

    inputs = affine(x) if width > features else x
    state = varying(state, (state, kernels, inputs, on))
    last, (ys, kept) = lax.scan(body, state, (inputs, on), reverse=reverse, unroll=unroll)
    return (ys, last), kept
