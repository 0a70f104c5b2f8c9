from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn import recurrent_oracle
from tests.nn.recurrent_oracle import draw, normal, rnn_step
from tests.tolerance import FLOATS, assert_close


def check(rng, params, x, h, *, exact=True, lengths=None, **options):
    def run(params, x, state, lengths):
        return nn.rnn(params, x, initial_state=state[0], lengths=lengths, **options)

    return recurrent_oracle.check(rng, run, rnn_step, params, x, (h,), lengths=lengths, exact=exact, **options)


# The input's product is taken outside of the loop where it is wider than the state: both sides of that.
@pytest.mark.parametrize(
    ("lead", "steps", "d", "bias", "options"),
    [
        ((2,), 3, 2, True, {}),
        ((), 3, 4, False, {"activation": "relu", "reverse": True}),
        ((3,), 3, 4, True, {"lengths": np.array([2, 0, 3]), "reverse": True}),
        ((2, 2), 2, 1, True, {"activation": "relu", "lengths": np.array([[-5, 1], [100, 2]])}),
        ((2,), 0, 4, True, {"lengths": np.array([0, 3])}),
    ],
)
def test_values_states_and_gradients_are_the_oracles(rng, lead, steps, d, bias, options):
    params, x = draw(rng, 1, lead, steps, d, 3, bias=bias)
    check(rng, params, x, normal(rng, (*lead, 3)), **options)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    params, x = draw(rng, 1, (2,), 3, 2, 3, dtype=dtype)
    check(rng, params, x, normal(rng, (2, 3), dtype), exact=dtype in ("float32", "float64"))


@pytest.mark.parametrize("activation", ["tanh", "relu", jnp.arctan, nn.silu])
def test_a_loop_of_cells_is_the_layer(rng, activation):
    params, x = draw(rng, 1, (2,), 3, 2, 3)
    cell = jax.jit(partial(nn.rnn_cell, activation=activation))
    h, states = jnp.zeros((2, 3)), []
    for t in range(3):
        h = cell(params, h, np.asarray(x)[:, t])
        states.append(np.asarray(h))
    ys, last = jax.jit(partial(nn.rnn, activation=activation))(params, x)
    assert_close(ys, np.stack(states, 1), length=8)
    np.testing.assert_array_equal(last, ys[:, -1])


def test_an_activation_of_the_user_is_applied_to_float32_and_differentiated():
    kinds = []

    def square(x):
        kinds.append(x.dtype)
        return x * x

    params = {"input_kernel": jnp.ones((1, 1), jnp.bfloat16), "recurrent_kernel": jnp.ones((1, 1), jnp.bfloat16)}
    run = lambda x: nn.rnn(params, x, activation=square)[1][0]
    x = jnp.array([[2.0], [1.0]], jnp.bfloat16)
    value, gradient = jax.value_and_grad(run)(x)
    assert value == 25  # (2² + 1)²
    assert gradient.ravel().tolist() == [40, 10]
    assert set(kinds) == {jnp.dtype(jnp.float32)}


def test_the_gradient_at_the_kink_of_relu_is_zero():
    params = {"input_kernel": jnp.zeros((1, 1)), "recurrent_kernel": jnp.ones((1, 1))}
    run = lambda h: nn.rnn(params, jnp.zeros((1, 1)), initial_state=h, activation="relu")[1].sum()
    assert [jax.grad(run)(jnp.array([h])).item() for h in (-1.0, 0.0, 1.0)] == [0, 0, 1]


@pytest.mark.parametrize("activation", ["relu", jnp.exp])
def test_what_stands_past_the_lengths_does_no_harm_even_where_one_more_step_would_overflow(rng, activation):
    params = {"input_kernel": jnp.ones((1, 1)), "recurrent_kernel": jnp.full((1, 1), 10.0)}
    lengths, x = jnp.array([1, 0]), jnp.array([[[9.0], [np.nan]], [[np.inf], [-np.inf]]])

    def value(params, x, h):
        ys, last = nn.rnn(params, x, initial_state=h, lengths=lengths, activation=activation)
        return ys.sum() + last.sum(), (ys, last)

    h = jnp.array([[0.0], [3e38]])
    (dparams, dx, dh), (ys, last) = jax.jit(jax.grad(value, argnums=(0, 1, 2), has_aux=True))(params, x, h)
    reached = 9.0 if activation == "relu" else np.exp(9.0)
    slope = 1.0 if activation == "relu" else reached
    assert_close(ys, [[[reached], [0]], [[0], [0]]])
    assert_close(last, [[reached], [3e38]])
    assert_close(dx, [[[2 * slope], [0]], [[0], [0]]])
    assert_close(dh, [[20 * slope], [1]])
    assert_close(dparams["input_kernel"], [[18 * slope]])
    assert_close(dparams["recurrent_kernel"], [[0]])


def test_init_is_orthogonal_between_steps_and_keeps_the_inputs_variance():
    params = nn.rnn_init(jax.random.key(2), 300, 20)
    kernel = np.asarray(params["recurrent_kernel"], np.float64)
    assert_close(params["recurrent_kernel"] @ params["recurrent_kernel"].T, np.eye(20), length=20)
    assert np.abs(kernel).max() < 1
    assert abs(np.asarray(params["input_kernel"]).var() * 300 - 1) < 0.1
    assert {name: leaf.shape for name, leaf in params.items()} == {
        "input_kernel": (300, 20), "recurrent_kernel": (20, 20), "input_bias": (20,), "recurrent_bias": (20,)
    }  # fmt: skip


def test_biases_are_drawn_apart(key):
    params = nn.rnn_init(key, 2, 8, bias_init=nn.initializers.normal())
    assert np.abs(np.asarray(params["input_bias"]) - np.asarray(params["recurrent_bias"])).max() > 0
