"""Recurrences through time with the recurrent kernel kept on the chip.

What the compiler does with the plain form: a loop that starts two or three kernels a step, each of which reads U again;
at a few microseconds a start that is ten times what a step computes.

The form chosen: one kernel for all steps. A program takes a few sequences of the batch; it reads U into shared memory
once, where 224 KiB of float32 hold a GRU's of up to 128 features and an LSTM's of up to 104, and keeps the states of
its sequences in registers. A step's product is F multiply-adds a lane and gate, in float32: batches of training are too
small for tensor cores to pay, and nothing is rounded to TF32.

The way back is a second kernel of the same kind with Uᵀ. Only states are saved. The products h U of all steps are taken
once more, as one, outside; the gradients of U and of its bias are one product each, also outside; the gates' own
derivative is JAX' of the same `mix` that the way forward runs. Its floor is shared memory's rate: 128 bytes a cycle,
3 · 128 · 128 numbers, 1536 cycles or some 0.9 µs a step of a GRU with 128 features.

It has no forward mode, since a kernel has no tangent of its own: `kernels.recurrence` has both.

Measured by `python -m benchmarks --only recurrent --device gpu`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore._typing import Array
from dlcore.backprop import _gates
from dlcore.kernels.mosaic.launch import SHARED_BYTES, lanes, launch, scratch
from dlcore.kernels.recurrence import Kernels, State

__all__ = ["Mix", "fits", "gru_mix", "lstm_mix", "resident_recurrence"]

# How many rows of U are multiplied between two tests of the loop's counter: enough loads on their way to hide theirs.
ROWS = 8
# Sequences a program takes at most, and how many programs a GPU runs at once, about.
SEQUENCES, PROGRAMS = 8, 128


class Mix(NamedTuple):
    """A cell but for its products.

    Attributes:
      gates: G, how many blocks of features the products have.
      apply: (state, blocks of x W + b, blocks of h U + c) -> the next state; elementwise.
    """

    gates: int
    apply: Callable[[State, list[Array], list[Array]], State]


def _gru(state: State, inputs: list[Array], products: list[Array]) -> State:
    return (_gates.gru_mix(state[0], inputs, products)[0],)


def _lstm(state: State, inputs: list[Array], products: list[Array]) -> State:
    return _gates.lstm_mix((state[0], state[1]), [i + m for i, m in zip(inputs, products, strict=True)])[0]


gru_mix, lstm_mix = Mix(3, _gru), Mix(4, _lstm)


def fits(mix: Mix, features: int) -> bool:
    """Whether U, in float32, and the states of a program's sequences fit into shared memory."""
    return _bytes(mix.gates, features, SEQUENCES) <= SHARED_BYTES


def _bytes(gates: int, features: int, sequences: int) -> int:
    return 4 * lanes(features) * gates * (_whole(features) + sequences)


def _whole(features: int) -> int:
    return -(-features // ROWS) * ROWS


class _Plan(NamedTuple):
    """Who does what, and how arrays are laid out for it: features padded to lanes, the batch to whole programs."""

    mix: Mix
    steps: int
    batch: int
    features: int
    reverse: bool
    sequences: int
    programs: int

    @classmethod
    def of(cls, mix: Mix, steps: int, count: int, features: int, reverse: bool) -> _Plan:
        sequences = min(SEQUENCES, -(-count // PROGRAMS))
        return cls(mix, steps, count, features, reverse, sequences, -(-count // sequences))

    def rows(self, *steps: int, blocks: int = 1) -> jax.ShapeDtypeStruct:
        """A result: `blocks` rows for each sequence, of each step if there are steps."""
        return jax.ShapeDtypeStruct(
            (*steps, self.programs * self.sequences * blocks, lanes(self.features)), jnp.float32
        )

    def padded(self, part: Array, blocks: int = 1) -> Array:
        """(..., B, blocks · F) as such rows."""
        rows = part.reshape(*part.shape[:-2], self.batch * blocks, self.features)
        wanted = self.rows(blocks=blocks).shape
        margins = [(0, 0)] * (rows.ndim - 2) + [
            (0, new - old) for new, old in zip(wanted, rows.shape[-2:], strict=True)
        ]
        return jnp.pad(rows, margins)

    def kernel(self, kernel: Array) -> Array:
        """(F, blocks · F) as rows: input after input, block after block."""
        blocks = kernel.reshape(self.features, -1, self.features)
        margins = ((0, _whole(self.features) - self.features), (0, 0), (0, lanes(self.features) - self.features))
        return jnp.pad(blocks, margins).reshape(-1, lanes(self.features))

    def shared(self, blocks: int) -> list[Any]:
        """U, and the rows that a step multiplies with it, `blocks` for each sequence."""
        width = lanes(self.features)
        return [
            scratch((_whole(self.features) * self.mix.gates, width), jnp.float32),
            scratch((self.sequences * blocks, width), jnp.float32),
        ]

    def own(self, program: Any) -> list[Any]:
        """The sequences of a program."""
        first = program * self.sequences
        return [first + r for r in range(self.sequences)]

    def through(self, body: Callable[[Any, Any], Any], first: Any) -> Any:
        """`body(t, carry)` at all steps in order."""

        def step(turn: Any, carry: Any) -> Any:
            return body(self.steps - 1 - turn if self.reverse else turn, carry)

        return lax.fori_loop(0, self.steps, step, first)


def _fill(target: Any, source: Any) -> None:
    def copy(row: Any, _: None) -> None:
        target[row] = source[row]

    lax.fori_loop(0, source.shape[0], copy, None)


def _add_products(
    plan: _Plan, first: list[list[Array]], row: Callable[[Any, int], Array], factor: Callable[[int, Any], Array]
) -> list[list[Array]]:
    """first[r][g] + Σ_k factor(r, k) · row(k, g)."""

    def turn(turns: Any, sums: list[list[Array]]) -> list[list[Array]]:
        for ahead in range(ROWS):
            k = turns * ROWS + ahead
            rows = [row(k, gate) for gate in range(len(first[0]))]
            sums = [
                [total + factor(r, k) * each for total, each in zip(own, rows, strict=True)]
                for r, own in enumerate(sums)
            ]
        return sums

    sums: list[list[Array]] = lax.fori_loop(0, _whole(plan.features) // ROWS, turn, first)
    return sums


def _ahead(plan: _Plan, program: Any, kernel: Any, bias: Any, *refs: Any) -> None:
    """All steps of the program's sequences; `refs`: state, inputs, the states behind each step, and what is shared."""
    parts = (len(refs) - 3) // 2
    state, inputs, results, (matrix, before) = refs[:parts], refs[parts], refs[parts + 1 : -2], refs[-2:]
    gates, own = plan.mix.gates, plan.own(program)
    _fill(matrix, kernel)
    biases = [bias[gate] for gate in range(gates)]

    def step(t: Any, states: list[State]) -> list[State]:
        for r, now in enumerate(states):
            before[r] = now[0]
        given = [[inputs[t, row * gates + gate] for gate in range(gates)] for row in own]
        products = _add_products(
            plan, [biases] * len(own), lambda k, gate: matrix[k * gates + gate], lambda r, k: before[r, k]
        )
        after = [plan.mix.apply(*each) for each in zip(states, given, products, strict=True)]
        for row, now in zip(own, after, strict=True):
            for result, part in zip(results, now, strict=True):
                result[t, row] = part
        return after

    plan.through(step, [tuple(part[row] for part in state) for row in own])


def _row(matrix: Any, start: int, k: Any, _: int) -> Array:
    row: Array = matrix[start + k]
    return row


def _factor(rows: Any, blocks: int, block: int, r: int, k: Any) -> Array:
    number: Array = rows[r * blocks + block, k]
    return number


def _back(plan: _Plan, parts: int, program: Any, turned: Any, *refs: Any) -> None:
    """The errors of the states behind all steps, and of the first; `refs`: those of the last state, the step's partial
    derivatives, the outputs' errors, the results, and what is shared."""
    dlast, (slopes, dys), refs = refs[:parts], refs[parts : parts + 2], refs[parts + 2 :]
    dstates, dfirst, (matrix, errors) = refs[:parts], refs[parts:-2], refs[-2:]
    gates, own = plan.mix.gates, plan.own(program)
    sources = parts + gates
    _fill(matrix, turned)

    def step(t: Any, carried: list[State]) -> list[State]:
        direct = []
        for r, (row, dstate) in enumerate(zip(own, carried, strict=True)):
            dstate = (dstate[0] + dys[t, row], *dstate[1:])
            for result, part in zip(dstates, dstate, strict=True):
                result[t, row] = part
            pulled = [
                sum(slopes[t, (row * parts + into) * sources + source] * part for into, part in enumerate(dstate))
                for source in range(sources)
            ]
            for gate in range(gates):
                errors[r * gates + gate] = pulled[parts + gate]
            direct.append(pulled[:parts])
        sums = [[each[0]] for each in direct]
        for gate in range(gates):
            start = gate * _whole(plan.features)
            sums = _add_products(plan, sums, partial(_row, matrix, start), partial(_factor, errors, gates, gate))
        return [(dh, *each[1:]) for (dh,), each in zip(sums, direct, strict=True)]

    first = plan.through(step, [tuple(part[row] for part in dlast) for row in own])
    for row, dstate in zip(own, first, strict=True):
        for result, part in zip(dfirst, dstate, strict=True):
            result[row] = part


def resident_recurrence(
    mix: Mix, reverse: bool, kernels: Kernels, state: State, x: Array, *, interpret: bool = False
) -> tuple[Array, State]:
    """`kernels.recurrence.plain_recurrence` of the cell that `mix` belongs to, all in float32, `fits` provided.

    Args:
      mix: the cell.
      reverse: from the last step to the first.
      kernels: the parameters.
      state: before the first step, (*batch, F) each.
      x: (T, *batch, D).
      interpret: in Pallas' interpreter, on any machine.
    """
    steps, *batch, width = x.shape
    count, features = math.prod(batch), kernels.recurrent.shape[0]
    if not steps or not count:
        return jnp.zeros((steps, *batch, features), x.dtype), state
    inputs = x.reshape(steps * count, width) @ kernels.input + kernels.input_bias[None]
    flat = tuple(part.reshape(count, features) for part in state)
    ys, last = _through(
        mix, reverse, interpret, kernels.recurrent, kernels.recurrent_bias, flat, inputs.reshape(steps, count, -1)
    )
    return ys.reshape(steps, *batch, features), tuple(part.reshape(*batch, features) for part in last)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _through(
    mix: Mix, reverse: bool, interpret: bool, kernel: Array, bias: Array, state: State, inputs: Array
) -> tuple[Array, State]:
    """All outputs (T, B, F) and the last state, of what x W + b is, (T, B, G · F)."""
    return _forward(mix, reverse, interpret, kernel, bias, state, inputs)[0]


def _forward(
    mix: Mix, reverse: bool, interpret: bool, kernel: Array, bias: Array, state: State, inputs: Array
) -> tuple[tuple[Array, State], Any]:
    steps, (count, features) = inputs.shape[0], state[0].shape
    plan = _Plan.of(mix, steps, count, features, reverse)
    states = launch(
        partial(_ahead, plan),
        "recurrence",
        plan.programs,
        [plan.rows(steps)] * len(state),
        plan.shared(1),
        interpret,
        plan.kernel(kernel),
        jnp.pad(bias.reshape(mix.gates, features), ((0, 0), (0, lanes(features) - features))),
        *(plan.padded(part) for part in state),
        plan.padded(inputs, mix.gates),
    )
    after = tuple(part[:, :count, :features] for part in states)
    last = tuple(part[0 if reverse else -1] for part in after)
    return (after[0], last), (kernel, bias, state, inputs, after)


def _backward(mix: Mix, reverse: bool, interpret: bool, saved: Any, errors: tuple[Array, State]) -> tuple[Any, ...]:
    kernel, bias, state, inputs, after = saved
    dys, dlast = errors
    steps, (count, features) = inputs.shape[0], state[0].shape
    plan = _Plan.of(mix, steps, count, features, not reverse)

    def shifted(start: Array, part: Array) -> Array:
        return jnp.concatenate([part[1:], start[None]] if reverse else [start[None], part[:-1]])

    before = tuple(shifted(start, part) for start, part in zip(state, after, strict=True))
    products = before[0].reshape(steps * count, features) @ kernel + bias[None]
    # The step's derivative, but for the product: elementwise, so that its partial derivatives are arrays.
    apart = jnp.split(inputs, mix.gates, -1), jnp.split(products.reshape(inputs.shape), mix.gates, -1)
    _, pull = jax.vjp(mix.apply, before, *apart)
    slopes = []
    for part in range(len(state)):
        direct, _, late = pull(tuple(jnp.full_like(one, other == part) for other, one in enumerate(before)))
        slopes += [*direct, *late]
    turned = jnp.concatenate([plan.kernel(block.T) for block in jnp.split(kernel, mix.gates, 1)])
    results = launch(
        partial(_back, plan, len(state)),
        "recurrence_back",
        plan.programs,
        [plan.rows(steps)] * len(state) + [plan.rows()] * len(state),
        plan.shared(mix.gates),
        interpret,
        turned,
        *(plan.padded(part) for part in dlast),
        plan.padded(jnp.concatenate(slopes, -1), len(slopes)),
        plan.padded(dys),
    )
    results = [result[..., :count, :features] for result in results]
    _, d_inputs, d_products = pull(tuple(results[: len(state)]))
    d_products = jnp.concatenate(d_products, -1)
    dkernel = _gates.outer(before[0], d_products)
    return dkernel, d_products.sum((0, 1)), tuple(results[len(state) :]), jnp.concatenate(d_inputs, -1)


_through.defvjp(_forward, _backward)
