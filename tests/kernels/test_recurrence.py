"""Recurrences by one derivative rule, against the plain scan: values, both modes, second derivatives, and proven."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import gradcheck, nn
from dlcore.kernels.recurrence import Kernels, gru_cell, lstm_cell, plain_recurrence, recurrence, rnn_cell
from dlcore.nn.recurrent._steps import WIDE
from tests.tolerance import assert_close

# name: (cell, gates, arrays of the state)
CELLS = {
    "rnn": (rnn_cell(jnp.tanh), 1, 1),
    "gru": (gru_cell(True), 3, 1),
    "gru, reset before": (gru_cell(False), 3, 1),
    "lstm": (lstm_cell, 4, 2),
}
# (steps, batch, D, F), which steps count, reverse, unroll: the input's product inside of the loop, and outside of it.
SHAPES = {
    "inside": ((4, (3,), 2, 5), False, False, 1),
    "outside, backwards, with lengths": ((5, (2,), 6, 3), True, True, 1),
    "two batch axes, unrolled, with lengths": ((4, (2, 2), 3, 3), True, False, 2),
    "no batch": ((3, (), 2, 4), False, True, 1),
    "no step": ((0, (2,), 2, 3), False, False, 1),
}


def drawn(rng, gates, states, shape, masked):
    steps, batch, d, f = shape

    def normal(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    kernels = Kernels(normal(d, gates * f) / 2, normal(f, gates * f) / 2, normal(gates * f), normal(gates * f))
    ends = rng.integers(0, steps + 1, batch)
    on = jnp.asarray(np.arange(steps).reshape(-1, *(1,) * len(batch)) < ends)[..., None] if masked else None
    return (kernels, tuple(normal(*batch, f) for _ in range(states)), normal(steps, *batch, d)), on


@pytest.mark.slow(one_in=2)
@pytest.mark.parametrize(
    ("cell", "shape"),
    # What a cell does not see is shown by one of them.
    [(cell, shape) for cell in CELLS for shape in SHAPES if cell == "lstm" or "no" not in shape.split()],
)
def test_it_equals_the_plain_scan_with_all_derivatives(rng, cell, shape):
    name, (cell, gates, states), (shape, masked, reverse, unroll) = shape, CELLS[cell], SHAPES[shape]
    own, on = drawn(rng, gates, states, shape, masked)
    tangents, _ = drawn(rng, gates, states, shape, masked)
    errors = jax.tree.map(
        lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype),
        jax.eval_shape(lambda *own: plain_recurrence(cell, reverse, unroll, *own, on), *own),
    )

    def everything(run):
        def function(*own):
            return run(cell, reverse, unroll, *own, on)

        def slope(*own):
            return jax.vjp(function, *own)[1](errors)

        def go(own, tangents):
            y, pushed = jax.jvp(function, own, tangents)
            pulled, second = jax.jvp(slope, own, tangents)
            if name != "inside":  # reverse over reverse compiles for long, and is of the same pieces in every shape
                return y, pushed, pulled, second
            again = jax.grad(lambda *own: sum((g**2).sum() for g in jax.tree.leaves(slope(*own))), (0, 1, 2))(*own)
            return y, pushed, pulled, second, again

        return jax.jit(go)(own, tangents)

    found, expected = map(everything, (recurrence, plain_recurrence))
    for actual, wanted in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert actual.dtype == wanted.dtype
        assert_close(actual, np.asarray(wanted, np.float64), length=2000, scale=float(np.abs(wanted).max(initial=0)))


@pytest.mark.parametrize("layer", [nn.rnn, nn.gru, nn.lstm], ids=["rnn", "gru", "lstm"])
def test_wide_layers_are_proven(rng, layer):
    gates = {nn.rnn: 1, nn.gru: 3, nn.lstm: 4}[layer]
    params = {
        "input_kernel": jnp.asarray(rng.standard_normal((2, gates * WIDE))),
        "recurrent_kernel": jnp.asarray(rng.standard_normal((WIDE, gates * WIDE)) / 4),
        "input_bias": jnp.asarray(rng.standard_normal(gates * WIDE)),
        "recurrent_bias": jnp.asarray(rng.standard_normal(gates * WIDE)),
    }
    x = jnp.asarray(rng.standard_normal((2, 3, 2)))
    report = gradcheck.check(lambda params, x: layer(params, x, lengths=jnp.array([3, 2])), params, x)
    assert report.verdict == "pass", report


@pytest.mark.parametrize("layer", [nn.rnn, nn.gru, nn.lstm], ids=["rnn", "gru", "lstm"])
def test_narrow_and_wide_layers_are_one_function(rng, layer, monkeypatch):
    """The width decides how gradients are computed, and nothing else."""
    init = {nn.rnn: nn.rnn_init, nn.gru: nn.gru_init, nn.lstm: nn.lstm_init}[layer]
    params = init(jax.random.key(0), 3, 4)
    x = jnp.asarray(rng.standard_normal((2, 5, 3)), jnp.bfloat16)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)

    def slopes():
        def loss(params, x):
            ys, last = layer(params, x, lengths=jnp.array([5, 3]))
            return sum((leaf.astype(jnp.float32) ** 2).sum() for leaf in jax.tree.leaves((ys, last)))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)

    narrow = slopes()
    monkeypatch.setattr("dlcore.nn.recurrent._steps.WIDE", 1)
    for actual, wanted in zip(*map(jax.tree.leaves, (slopes(), narrow)), strict=True):
        assert actual.dtype == wanted.dtype
        assert_close(actual, np.asarray(wanted, np.float64), length=20, scale=float(np.abs(wanted).max()))


def test_what_stands_past_the_lengths_reaches_nothing(rng):
    x = jnp.asarray(rng.standard_normal((2, 6, 3)), jnp.float32)
    bad = x.at[0, 4:].set(jnp.nan).at[1, 2:].set(jnp.inf)
    params = nn.lstm_init(jax.random.key(0), 3, WIDE)

    def slopes(x):
        def loss(params, x):
            ys, (h, c) = nn.lstm(params, x, lengths=jnp.array([4, 2]))
            return (ys**2).sum() + (h * c).sum()

        return jax.value_and_grad(loss, (0, 1))(params, x)

    for actual, wanted in zip(*map(jax.tree.leaves, map(jax.jit(slopes), (bad, x))), strict=True):
        np.testing.assert_array_equal(actual, wanted)
