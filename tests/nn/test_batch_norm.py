import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.batch_norm_oracle import EPSILON, draw, on_host, oracle
from tests.tolerance import FLOATS, assert_close

train = jax.jit(nn.batch_norm_train, static_argnames=("decay", "epsilon", "axis_name"))


@jax.jit
def run(params, state, x, dy, where=None):
    """y, the new state, and the gradients in params and x."""
    y, pull, state = jax.vjp(
        lambda params, x: nn.batch_norm_train(params, state, x, where=where), params, x, has_aux=True
    )
    return y, state, *pull(dy)


@jax.jit
def evaluate(params, state, x, dy):
    y, pull = jax.vjp(lambda x: nn.batch_norm_eval(params, state, x), x)
    return y, pull(dy)[0]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 2), (2, 1)])
def test_values_state_and_gradients_are_the_closed_forms(rng, dtype, shape, x64):
    params, state, x, dy = draw(rng, shape, dtype, mean=3.0)
    y, new, grads, dx = on_host(run(params, state, x, dy))
    rows, dy_rows = (a.reshape(-1, shape[-1]) for a in (x, dy))
    want, mean, var, (dscale, doffset, want_dx) = oracle(params["scale"], params["offset"], rows, dy_rows)
    n = len(rows)
    assert y.dtype == dx.dtype == grads["scale"].dtype == dtype
    assert new.mean.dtype == new.var.dtype == state.mean.dtype
    assert_close(y, want.reshape(shape), length=n)
    assert_close(dx, want_dx.reshape(shape), length=n, scale=10)
    assert_close(grads["scale"], dscale, length=n, scale=10)
    assert_close(grads["offset"], doffset, length=n, scale=10)
    assert_close(new.mean, 0.9 * np.asarray(state.mean, np.float64) + 0.1 * mean, length=n)
    assert_close(new.var, 0.9 * np.asarray(state.var, np.float64) + 0.1 * var, length=n)


@pytest.mark.parametrize("decay", [0.0, 0.99, 1.0])
def test_decay_is_the_weight_of_the_old_running_value_and_its_variance_is_unbiased(decay):
    state = nn.BatchNormState(jnp.array([5.0]), jnp.array([7.0]))
    _, new = train({}, state, jnp.array([[1.0], [3.0]]), decay=decay)
    assert_close(new.mean, [decay * 5 + (1 - decay) * 2])
    assert_close(new.var, [decay * 7 + (1 - decay) * 2])  # (1 + 1) / (2 − 1), not / 2


@pytest.mark.parametrize("names", [(), ("scale",), ("offset",)])
def test_scale_and_offset_may_be_left_out(rng, names):
    params, state, x, dy = draw(rng, (6, 2))
    some = {name: params[name] for name in names}
    want = oracle(some.get("scale", np.ones(2)), some.get("offset", np.zeros(2)), x, dy)[0]
    assert_close(train(some, state, x)[0], want, length=6)


@pytest.mark.parametrize("epsilon", [1e-3, 10.0])
def test_epsilon_is_added_to_the_variance_in_training_and_evaluation(rng, epsilon):
    params, state, x, dy = draw(rng, (6, 2))
    want = oracle(params["scale"], params["offset"], x, dy, epsilon=epsilon)[0]
    assert_close(train(params, state, x, epsilon=epsilon)[0], want, length=6)
    mean, var, scale, offset = (np.asarray(a, np.float64) for a in (*state, params["scale"], params["offset"]))
    want = scale * (np.asarray(x, np.float64) - mean) / np.sqrt(var + epsilon) + offset
    assert_close(nn.batch_norm_eval(params, state, x, epsilon=epsilon), want)


@pytest.mark.parametrize("first_masked", [False, True])
@pytest.mark.parametrize("n", [1001, 32_771])
def test_a_mean_far_above_the_deviation_costs_no_digits(rng, n, first_masked):
    params, state, x, dy = draw(rng, (n, 3), mean=1e4)
    kept = slice(1 if first_masked else 0, None)
    where = (jnp.arange(n) >= 1) if first_masked else None
    y, new, _, dx = on_host(run(params, state, x, dy, where))
    want, mean, var, (_, _, want_dx) = oracle(
        params["scale"], params["offset"], np.asarray(x)[kept], np.asarray(dy)[kept]
    )
    # No square root of n: deviations are taken from the data, so nothing large is summed.
    assert_close(y[kept], want)
    assert_close(dx[kept], want_dx)
    assert_close(new.mean, 0.9 * np.asarray(state.mean, np.float64) + 0.1 * mean)
    assert_close(new.var, 0.9 * np.asarray(state.var, np.float64) + 0.1 * var, length=n)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e20])
def test_constant_input_gives_the_offset_and_no_gradient(value):
    params = {"scale": jnp.array([2.0]), "offset": jnp.array([0.5])}
    state = nn.BatchNormState(jnp.zeros(1), jnp.ones(1))
    y, new, grads, dx = on_host(run(params, state, jnp.full((5, 1), value), jnp.ones((5, 1))))
    assert y.ravel().tolist() == [0.5] * 5
    assert not dx.any()
    assert not grads["scale"].any()
    assert_close(new.var, [0.9])


def test_what_where_leaves_out_is_as_good_as_removed(rng):
    params, state, x, dy = draw(rng, (4, 5, 3), mean=2.0)
    where = rng.random((4, 5)) < 0.6
    where[0, 0] = False
    x = jnp.where(jnp.asarray(where)[..., None], x, jnp.nan)
    y, new, grads, dx = on_host(run(params, state, x, dy, jnp.asarray(where)))
    kept_y, mean, var, (dscale, doffset, kept_dx) = oracle(
        params["scale"], params["offset"], np.asarray(x)[where], np.asarray(dy)[where]
    )
    n = int(where.sum())
    assert_close(y[where], kept_y, length=n, scale=5)
    assert_close(dx[where], kept_dx, length=n, scale=5)
    assert not y[~where].any()
    assert not dx[~where].any()
    assert_close(grads["scale"], dscale, length=n, scale=10)
    assert_close(grads["offset"], doffset, length=n, scale=10)
    assert_close(new.mean, 0.9 * np.asarray(state.mean, np.float64) + 0.1 * mean, length=n, scale=2)
    assert_close(new.var, 0.9 * np.asarray(state.var, np.float64) + 0.1 * var, length=n, scale=2)


@pytest.mark.parametrize("shape", [(4, 1), (1, 5), (4, 1, 1), (1, 1, 3), (4, 5, 3)])
def test_a_mask_with_axes_of_size_one_equals_the_whole_mask(rng, shape):
    params, state, x, _ = draw(rng, (4, 5, 3))
    where = rng.random(shape) < 0.7
    where[(0,) * len(shape)] = True
    whole = np.broadcast_to(where if where.ndim == 3 else where[..., None], x.shape)
    y, new = on_host(train(params, state, x, where=jnp.asarray(where)))
    for c in range(3):
        rows = np.asarray(x, np.float64)[..., c][whole[..., c]]
        want = np.zeros((4, 5))
        want[whole[..., c]] = rows
        if len(rows):
            scale, offset = (float(params[name][c]) for name in ("scale", "offset"))
            want[whole[..., c]] = scale * (rows - rows.mean()) / np.sqrt(rows.var() + EPSILON) + offset
        assert_close(y[..., c], want, length=20, scale=5)
        mean = 0.9 * float(state.mean[c]) + 0.1 * rows.mean() if len(rows) else state.mean[c]
        assert_close(new.mean[c], mean, length=20, scale=2)


@pytest.mark.parametrize("n", [0, 4])
def test_a_batch_with_nothing_in_it_leaves_the_state_alone(rng, n):
    params, state, x, dy = draw(rng, (n, 3))
    where = jnp.zeros(n, bool) if n else None
    y, new, grads, dx = on_host(run(params, state, x, dy, where))
    assert y.shape == dx.shape == (n, 3)
    assert not y.any()
    assert not dx.any()
    assert not any(leaf.any() for leaf in grads.values())
    np.testing.assert_array_equal(new.mean, state.mean)
    np.testing.assert_array_equal(new.var, state.var)


def test_half_precision_statistics_are_kept_in_float32():
    x = jnp.asarray([[1000.0], [1001.0]] * 5000, jnp.float16)  # the sum overflows, and so does that of squares
    y, new = train({}, nn.BatchNormState(jnp.zeros(1), jnp.ones(1)), x, decay=0.0)
    assert y.dtype == jnp.float16
    assert new.mean.dtype == jnp.float32
    assert_close(new.mean, [1000.5])
    assert_close(new.var, [0.25 * 10_000 / 9_999])
    assert_close(y[:2], [[-1], [1]])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 5, 3)])
def test_evaluation_uses_the_state_for_any_batch_and_is_linear_in_x(rng, dtype, shape, x64):
    params, state, x, dy = draw(rng, shape, dtype)
    y, dx = evaluate(params, state, x, dy)
    mean, var, scale, offset = (np.asarray(a).astype(np.float64) for a in (*state, params["scale"], params["offset"]))
    slope = scale / np.sqrt(var + EPSILON)
    assert y.dtype == dtype
    assert_close(y, slope * (np.asarray(x).astype(np.float64) - mean) + offset, scale=10)
    assert_close(dx, slope * np.asarray(dy).astype(np.float64))


def test_a_single_value_is_refused_in_training():
    params, state = nn.batch_norm_init(2)
    for shape in ((2,), (1, 2), (1, 1, 2)):
        with pytest.raises(ValueError, match=r"batch_norm_train.*two values.*batch_norm_eval"):
            nn.batch_norm_train(params, state, jnp.ones(shape))


PARAMS, STATE = {"scale": np.ones(2, np.float32)}, nn.BatchNormState(np.zeros(2, np.float32), np.ones(2, np.float32))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((PARAMS, STATE, jnp.ones((4, 3))), {}, ValueError, "x"),
        ((PARAMS, STATE, jnp.ones((4, 2), jnp.int32)), {}, TypeError, "x"),
        (({"scale": jnp.ones(3)}, STATE, jnp.ones((4, 2))), {}, ValueError, "scale"),
        (({"kernel": jnp.ones(2)}, STATE, jnp.ones((4, 2))), {}, ValueError, "kernel"),
        ((PARAMS, jnp.ones((4, 2)), STATE), {}, TypeError, "state"),
        ((PARAMS, STATE._replace(var=np.ones(3, np.float32)), jnp.ones((4, 2))), {}, ValueError, "state"),
        ((PARAMS, STATE._replace(mean=np.zeros((1, 2), np.float32)), jnp.ones((4, 2))), {}, ValueError, "state"),
        ((PARAMS, STATE._replace(mean=np.zeros(2, int)), jnp.ones((4, 2))), {}, TypeError, "state"),
        ((PARAMS, STATE, jnp.ones((4, 2))), {"decay": 1.5}, ValueError, "decay"),
        ((PARAMS, STATE, jnp.ones((4, 2))), {"epsilon": 0.0}, ValueError, "epsilon"),
        ((PARAMS, STATE, jnp.ones((4, 2))), {"where": jnp.ones(4)}, TypeError, "where"),
        ((PARAMS, STATE, jnp.ones((4, 2))), {"where": jnp.ones(3, bool)}, ValueError, "where"),
        ((PARAMS, STATE, jnp.ones((4, 5, 2))), {"where": jnp.ones(4, bool)}, ValueError, "where"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, options, error, words):
    with pytest.raises(error, match=f"nn.batch_norm_train.*{words}"):
        nn.batch_norm_train(*arguments, **options)


def test_a_fresh_state_is_standard_and_params_are_the_identity():
    params, state = nn.batch_norm_init(3, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in (*params.values(), *state)} == {jnp.dtype(jnp.bfloat16)}
    assert (params["scale"] == 1).all()
    assert not params["offset"].any()
    assert not state.mean.any()
    assert (state.var == 1).all()
    with pytest.raises(ValueError, match="features"):
        nn.batch_norm_init(0)


def test_one_value_that_counts_moves_the_running_mean_and_leaves_the_variance():
    params, state = nn.batch_norm_init(1)
    where = jnp.array([True, False])
    _, new = nn.batch_norm_train(params, state, jnp.array([[3.0], [7.0]]), where=where)
    assert_close(new.mean, [0.3])
    assert_close(new.var, [1.0])


@pytest.mark.parametrize("where", [None, np.ones(3, bool)], ids=["all", "masked"])
def test_no_channel_is_no_error(where):
    state = nn.BatchNormState(jnp.zeros(0), jnp.ones(0))
    y, after = nn.batch_norm_train({}, state, jnp.ones((3, 0)), where=where)
    assert y.shape == (3, 0)
    assert after.mean.shape == after.var.shape == (0,)
