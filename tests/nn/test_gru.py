from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn import recurrent_oracle
from tests.nn.recurrent_oracle import draw, gru_step, normal, through_time, wide
from tests.tolerance import FLOATS, assert_close

INF, NAN = np.inf, np.nan


def check(rng, params, x, h, **options):
    def run(params, x, state, lengths):
        return nn.gru(params, x, initial_state=state[0], lengths=lengths, **options)

    lengths = options.pop("lengths", None)
    return recurrent_oracle.check(rng, run, gru_step, params, x, (h,), lengths=lengths, **options)


# The input's product is taken outside of the loop where it is wider than the state: both sides of that.
@pytest.mark.parametrize(
    ("lead", "steps", "d", "bias", "options"),
    [
        ((2,), 3, 2, True, {}),
        ((2,), 4, 4, False, {"reset_after": False, "reverse": True}),
        ((), 3, 4, True, {"reset_after": False}),
        ((), 2, 1, False, {"lengths": np.array(1)}),
        ((4,), 3, 2, True, {"lengths": np.array([2, 0, 3, 1]), "reverse": True}),
        ((2, 2), 3, 4, True, {"lengths": np.array([[-5, 1], [100, 2]])}),
        ((1, 2), 1, 3, True, {"reset_after": False, "lengths": np.array([[1, 0]]), "reverse": True}),
        ((2,), 0, 4, True, {"lengths": np.array([0, 3]), "reverse": True}),
    ],
)
def test_values_states_and_gradients_are_the_oracles(rng, lead, steps, d, bias, options):
    params, x = draw(rng, 3, lead, steps, d, 3, bias=bias)
    check(rng, params, x, normal(rng, (*lead, 3)), **options)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    params, x = draw(rng, 3, (2,), 3, 2, 3, dtype=dtype)
    recurrent_oracle.check(
        rng,
        lambda params, x, state, lengths: nn.gru(params, x, initial_state=state[0]),
        gru_step, params, x, (normal(rng, (2, 3), dtype),), exact=dtype in ("float32", "float64"),
    )  # fmt: skip


@pytest.mark.parametrize("after", [True, False])
def test_a_loop_of_cells_is_the_layer(rng, after):
    params, x = draw(rng, 3, (2,), 3, 2, 3)
    cell = jax.jit(partial(nn.gru_cell, reset_after=after))
    h, states = jnp.zeros((2, 3)), []
    for t in range(3):
        h = cell(params, h, np.asarray(x)[:, t])
        states.append(np.asarray(h))
    ys, last = jax.jit(partial(nn.gru, reset_after=after))(params, x)
    assert_close(ys, np.stack(states, 1), length=8)
    np.testing.assert_array_equal(last, ys[:, -1])


def test_lengths_are_as_good_as_cutting_and_reverse_starts_at_the_last_step_that_counts(rng):
    params, x = draw(rng, 3, (3,), 4, 2, 3)
    lengths = [4, 1, 2]
    run = jax.jit(nn.gru, static_argnames="reverse")
    for reverse in (False, True):
        ys, h = map(np.asarray, run(params, x, lengths=jnp.array(lengths), reverse=reverse))
        for row, length in enumerate(lengths):
            cut, last = run(params, np.asarray(x)[row, :length], reverse=reverse)
            assert_close(ys[row, :length], cut, length=8)
            assert not ys[row, length:].any()
            assert_close(h[row], last, length=8)
            np.testing.assert_array_equal(h[row], ys[row, 0 if reverse else length - 1])


def test_reverse_is_forward_on_the_flipped_sequence_flipped_back(rng):
    params, x = draw(rng, 3, (2,), 4, 2, 3)
    ys, h = nn.gru(params, x, reverse=True)
    flipped, last = nn.gru(params, np.flip(x, 1))
    assert_close(ys, np.flip(flipped, 1))
    assert_close(h, last)


@pytest.mark.parametrize(("reverse", "d"), [(False, 2), (True, 4)])
def test_what_stands_past_the_lengths_reaches_neither_values_nor_gradients(rng, reverse, d):
    params, x = draw(rng, 3, (3,), 3, d, 3)
    lengths, h = jnp.array([1, 0, 2]), normal(rng, (3, 3))
    past = np.arange(3) >= np.asarray(lengths)[:, None]

    @jax.jit
    def run(params, x, h):
        def value(params, x, h):
            ys, last = nn.gru(params, x, initial_state=h, lengths=lengths, reverse=reverse)
            return (jnp.sin(ys).sum() + (last * last).sum()), (ys, last)

        return jax.grad(value, argnums=(0, 1, 2), has_aux=True)(params, x, h)

    clean = run(params, x, h)
    for rubbish in (NAN, INF, -INF, 3e38):
        poisoned = run(params, jnp.where(past[..., None], rubbish, x), h)
        jax.tree.map(np.testing.assert_array_equal, poisoned, clean)
    # Nor does a poisoned state that no step reads.
    broken = run(params, x, h.at[1].set(NAN))
    jax.tree.map(np.testing.assert_array_equal, broken[0][0], clean[0][0])
    assert np.isfinite(broken[0][1]).all()


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64"])
def test_lengths_are_integers_of_any_kind_and_are_clamped(rng, dtype, x64):
    params, x = draw(rng, 3, (3,), 2, 2, 3)
    limits = np.iinfo(dtype)
    lengths = np.array([limits.min, 1, limits.max], dtype)
    ys, h = jax.jit(nn.gru)(params, x, lengths=lengths)
    wanted, last = through_time(gru_step, *wide((params, x)), (np.zeros((3, 3)),), lengths=lengths)
    assert_close(ys, wanted, length=8)
    assert_close(h, last[0], length=8)
    assert not h[0].any()


def test_unrolling_changes_nothing(rng):
    params, x = draw(rng, 3, (2,), 5, 2, 3)
    run = jax.jit(partial(nn.gru, lengths=jnp.array([4, 5]), reverse=True), static_argnames="unroll")
    want = run(params, x)
    for unroll in (2, 7):
        for found, other in zip(run(params, x, unroll=unroll), want, strict=True):
            assert_close(found, other)
    assert run(params, jnp.zeros((2, 0, 2)), unroll=2)[0].shape == (2, 0, 3)


def test_the_state_is_float32_between_steps_in_half_precision():
    """z = σ(8) holds on to most of the state: in bfloat16, which has eight bits, it would never move at all."""
    params = {"input_kernel": jnp.zeros((1, 3), jnp.bfloat16), "recurrent_kernel": jnp.zeros((1, 3), jnp.bfloat16)}
    params |= {"input_bias": jnp.array([0, 8, 0], jnp.bfloat16), "recurrent_bias": jnp.zeros(3, jnp.bfloat16)}
    ys, h = nn.gru(params, jnp.zeros((1000, 1), jnp.bfloat16), initial_state=jnp.ones(1, jnp.bfloat16))
    z = 1 / (1 + np.exp(-8.0))
    assert_close(h, [z**1000])
    assert_close(ys[::100, 0], z ** np.arange(1, 1001, 100))


def test_gates_stand_in_the_order_reset_update_new():
    kernels = {"input_kernel": jnp.zeros((1, 3)), "recurrent_kernel": jnp.array([[0.0, 0.0, 2.0]])}
    run = lambda *gates: nn.gru_cell(
        kernels | {"input_bias": jnp.array(gates), "recurrent_bias": jnp.zeros(3)}, jnp.array([0.5]), jnp.zeros(1)
    )
    assert_close(run(0.0, 40.0, 9.0), [0.5])  # z = 1 keeps the state
    assert_close(run(-40.0, -40.0, 0.3), [np.tanh(0.3)])  # z = 0, r = 0: the state is forgotten
    assert_close(run(40.0, -40.0, 0.3), [np.tanh(1.3)])  # r = 1


def test_each_gates_recurrent_kernel_starts_orthogonal_and_biases_at_zero():
    params = nn.gru_init(jax.random.key(3), 400, 4)
    assert {name: leaf.shape for name, leaf in params.items()} == {
        "input_kernel": (400, 12), "recurrent_kernel": (4, 12), "input_bias": (12,), "recurrent_bias": (12,)
    }  # fmt: skip
    # The variance of the input is kept.
    assert abs(np.asarray(params["input_kernel"]).var() * 400 - 1) < 0.1
    blocks = np.split(np.asarray(params["recurrent_kernel"]), 3, 1)
    for block in blocks:
        assert_close(block @ block.T, np.eye(4), length=4)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1
    assert not params["input_bias"].any()
    assert not params["recurrent_bias"].any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_init_draws_each_gate_by_itself_in_any_dtype(dtype, x64, key):
    shapes = []

    def init(key, shape, dtype):
        shapes.append(shape)
        return jnp.full(shape, len(shapes), dtype)

    params = nn.gru_init(key, 5, 4, input_kernel_init=init, recurrent_kernel_init=init, use_bias=False, dtype=dtype)
    assert shapes == [(5, 4)] * 3 + [(4, 4)] * 3
    assert sorted(params) == ["input_kernel", "recurrent_kernel"]
    assert {str(leaf.dtype) for leaf in params.values()} == {dtype}
    assert params["recurrent_kernel"][0].tolist() == [4] * 4 + [5] * 4 + [6] * 4


@pytest.mark.parametrize("d", [2, 4])
def test_the_loop_carries_nothing_but_the_state(rng, d):
    params, x = draw(rng, 3, (2,), 3, d, 3)
    jaxpr = jax.make_jaxpr(nn.gru)(params, x)
    (scan,) = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    assert scan.params["num_carry"] == 1


def test_sequences_of_different_batches_are_mapped_and_scanned_over(rng):
    params, x = draw(rng, 3, (2, 3), 3, 2, 3)
    lengths = jnp.array([[1, 2, 3], [3, 0, 2]])
    one = lambda x, length: nn.gru(params, x, lengths=length)
    whole, mapped, scanned = jax.jit(
        lambda *data: (
            one(*data),
            jax.vmap(jax.vmap(one))(*data),
            jax.lax.scan(lambda carry, xs: (carry, one(*xs)), None, data)[1],
        )
    )(x, lengths)
    for results in (mapped, scanned):
        for found, want in zip(results, whole, strict=True):
            assert_close(found, want, length=8)


def test_forward_mode_and_hessians_agree_with_reverse_mode(rng, x64):
    params, x = draw(rng, 3, (2,), 2, 1, 2, dtype=jnp.float64)

    def value(h):
        return (nn.gru(params, x, initial_state=h.reshape(2, 2), lengths=jnp.array([2, 1]))[0] ** 2).sum()

    forward, reverse, hessian, twice = jax.jit(
        lambda h: (jax.jacfwd(value)(h), jax.grad(value)(h), jax.hessian(value)(h), jax.jacrev(jax.grad(value))(h))
    )(normal(rng, (4,), jnp.float64))
    assert_close(forward, reverse, length=8)
    assert_close(hessian, twice, length=8)
    assert_close(hessian, np.asarray(hessian).T, length=8)
