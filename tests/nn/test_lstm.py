import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn import recurrent_oracle
from tests.nn.recurrent_oracle import draw, lstm_step, normal
from tests.tolerance import FLOATS, assert_close


def check(rng, params, x, state, *, exact=True, lengths=None, **options):
    def run(params, x, state, lengths):
        ys, (h, c) = nn.lstm(params, x, initial_state=state, lengths=lengths, **options)
        return ys, h, c

    return recurrent_oracle.check(rng, run, lstm_step, params, x, state, lengths=lengths, exact=exact, **options)


# The input's product is taken outside of the loop where it is wider than the state: both sides of that.
@pytest.mark.parametrize(
    ("lead", "steps", "d", "bias", "options"),
    [
        ((2,), 3, 2, True, {}),
        ((), 3, 3, False, {"reverse": True}),
        ((3,), 3, 3, True, {"lengths": np.array([2, 0, 3]), "reverse": True}),
        ((2, 2), 2, 1, True, {"lengths": np.array([[-5, 1], [100, 2]])}),
        ((2,), 0, 3, True, {"lengths": np.array([0, 3])}),
    ],
)
def test_values_states_and_gradients_are_the_oracles(rng, lead, steps, d, bias, options):
    params, x = draw(rng, 4, lead, steps, d, 2, bias=bias)
    check(rng, params, x, (normal(rng, (*lead, 2)), normal(rng, (*lead, 2))), **options)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    params, x = draw(rng, 4, (2,), 2, 3, 2, dtype=dtype)
    state = normal(rng, (2, 2), dtype), normal(rng, (2, 2), dtype)
    check(rng, params, x, state, exact=dtype in ("float32", "float64"))


def test_a_loop_of_cells_is_the_layer_and_its_state_starts_at_zero(rng):
    params, x = draw(rng, 4, (2,), 3, 2, 3)
    cell = jax.jit(nn.lstm_cell)
    state, outputs = (jnp.zeros((2, 3)), jnp.zeros((2, 3))), []
    for t in range(3):
        state = cell(params, state, np.asarray(x)[:, t])
        outputs.append(np.asarray(state[0]))
    ys, last = jax.jit(nn.lstm)(params, x)
    assert_close(ys, np.stack(outputs, 1), length=8)
    for found, want in zip(last, state, strict=True):
        assert_close(found, want, length=8)


@pytest.mark.parametrize("reverse", [False, True])
def test_what_stands_past_the_lengths_reaches_neither_values_nor_gradients(rng, reverse):
    params, x = draw(rng, 4, (3,), 3, 2, 3)
    lengths, state = jnp.array([1, 0, 2]), (normal(rng, (3, 3)), normal(rng, (3, 3)))
    past = np.arange(3) >= np.asarray(lengths)[:, None]

    @jax.jit
    def run(params, x, state):
        def value(params, x, state):
            ys, last = nn.lstm(params, x, initial_state=state, lengths=lengths, reverse=reverse)
            return sum((part * part).sum() for part in (ys, *last)), (ys, last)

        return jax.grad(value, argnums=(0, 1, 2), has_aux=True)(params, x, state)

    clean = run(params, x, state)
    for rubbish in (np.nan, np.inf, -np.inf, 3e38):
        poisoned = run(params, jnp.where(past[..., None], rubbish, x), state)
        jax.tree.map(np.testing.assert_array_equal, poisoned, clean)
    for part in (0, 1):  # nor does a state that no step reads
        broken = run(params, x, tuple(s.at[1].set(np.inf) if i == part else s for i, s in enumerate(state)))
        jax.tree.map(np.testing.assert_array_equal, broken[0][0], clean[0][0])


def test_gates_stand_in_the_order_input_forget_cell_output():
    kernels = {"input_kernel": jnp.zeros((1, 4)), "recurrent_kernel": jnp.zeros((1, 4))}

    def run(*gates):
        biases = {"input_bias": jnp.array(gates), "recurrent_bias": jnp.zeros(4)}
        return nn.lstm_cell(kernels | biases, (jnp.zeros(1), jnp.array([0.5])), jnp.zeros(1))

    for gates, memory in (((40.0, -40, 0.3, 40), np.tanh(0.3)), ((-40.0, 40, 0.3, 40), 0.5)):
        h, c = run(*gates)
        assert_close(c, [memory])
        assert_close(h, [np.tanh(memory)])
    assert_close(run(40.0, 40, 0.3, -40)[0], [0], scale=1)


def test_the_memory_is_float32_between_steps_in_half_precision():
    """Each step adds 2⁻¹⁰ or so to a memory near 1: in bfloat16, which has eight bits, it would never move at all."""
    params = {"input_kernel": jnp.zeros((1, 4), jnp.bfloat16), "recurrent_kernel": jnp.zeros((1, 4), jnp.bfloat16)}
    params |= {"input_bias": jnp.array([-7, 40, 40, 40], jnp.bfloat16), "recurrent_bias": jnp.zeros(4, jnp.bfloat16)}
    state = jnp.ones(1, jnp.bfloat16), jnp.ones(1, jnp.bfloat16)
    _, (h, c) = nn.lstm(params, jnp.zeros((1000, 1), jnp.bfloat16), initial_state=state)
    want = 1 + 1000 / (1 + np.exp(7.0))
    assert_close(c, [want])
    assert_close(h, [np.tanh(want)])


@pytest.mark.parametrize("forget_bias", [1.0, 0.0, -2.5])
def test_a_fresh_layer_has_the_forget_bias_in_its_input_bias(key, forget_bias):
    params = nn.lstm_init(key, 3, 2, forget_bias=forget_bias, bias_init=nn.initializers.ones, dtype=jnp.bfloat16)
    f = 1 + forget_bias
    assert params["input_bias"].tolist() == [1, 1, f, f, 1, 1, 1, 1]
    assert params["recurrent_bias"].tolist() == [1] * 8
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype(jnp.bfloat16)}
    for block in np.split(np.asarray(params["recurrent_kernel"], np.float64), 4, 1):
        np.testing.assert_allclose(block @ block.T, np.eye(2), atol=0.02)


def test_without_biases_there_is_none_to_be_added_to(key):
    params = nn.lstm_init(key, 3, 2, use_bias=False)
    assert sorted(params) == ["input_kernel", "recurrent_kernel"]
    assert params["input_kernel"].shape == (3, 8)


def test_the_loop_carries_nothing_but_output_and_memory(rng):
    params, x = draw(rng, 4, (2,), 3, 2, 3)
    jaxpr = jax.make_jaxpr(nn.lstm)(params, x)
    (scan,) = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    assert scan.params["num_carry"] == 2
