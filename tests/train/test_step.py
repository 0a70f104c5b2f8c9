from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from dlcore import losses, models, penalties, train
from dlcore._tree import paths
from tests.tolerance import assert_close

LINEAR = models.dense(2)
SGD = optax.sgd(0.1)
SPEC = jax.ShapeDtypeStruct((5, 3), jnp.float32)


def lenient(optimizer):
    """Optax' own arithmetic promotes dtypes; dlcore's stays under the strict rule."""

    def init(params):
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.init(params)

    def update(gradients, state, params):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state, params)
        return jax.tree.map(lambda leaf, param: leaf.astype(param.dtype), updates, params), state

    return optax.GradientTransformation(init, update)


def batch_of(rng, n=5, dtype="float32"):
    return jnp.asarray(rng.standard_normal((n, 3)), dtype), jnp.asarray(rng.standard_normal((n, 2)), dtype)


def avals(tree):
    return jax.tree.structure(tree), [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]


def same_bits(a, b):
    """Two states are equal to the bit, keys included."""
    a, b = (state._replace(key=jax.random.key_data(state.key)) for state in (a, b))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def masks():
    """A model whose state, after a step on ones, is the dropout mask that it drew."""
    return models.serial(drop=models.dropout(rate=0.5), look=models.tap(jnp.sign))


def zero_loss(predictions, targets):
    return 0 * predictions


# the state


def test_a_state_begins_at_step_zero_with_the_models_and_the_optimizers_parts(key):
    model = models.serial(fc=models.dense(2), norm=models.batch_norm())
    optimizer = optax.sgd(0.1, momentum=0.9)
    state = train.make_state(key, model, optimizer, SPEC)
    assert (state.step.dtype, state.step.shape, int(state.step)) == (jnp.int32, (), 0)
    assert state.params["fc"]["kernel"].shape == (3, 2)
    assert avals(state.opt_state) == avals(optimizer.init(state.params))
    assert state.model_state["norm"].var.shape == (2,)
    assert not any(leaf.weak_type for leaf in map(jax.typeof, jax.tree.leaves(state)))


def test_the_same_seed_gives_the_same_state_bit_for_bit_and_another_seed_another(seed):
    def make(seed):
        return train.make_state(jax.random.key(seed), models.dense(2), optax.sgd(0.1), SPEC)

    first = make(seed)
    same_bits(first, make(seed))
    other = make(seed + 1)
    assert not np.array_equal(first.params["kernel"], other.params["kernel"])
    assert not np.array_equal(jax.random.key_data(first.key), jax.random.key_data(other.key))


def test_a_state_is_made_of_arrays_or_specs_alike_and_under_eval_shape(key):
    make = partial(train.make_state, model=LINEAR, optimizer=SGD)
    state = make(key, inputs=SPEC)
    same_bits(state, make(jax.random.clone(key), inputs=np.ones((5, 3))))
    shapes = jax.eval_shape(lambda key: make(key, inputs=SPEC), key)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_the_runs_key_is_not_the_key_that_drew_the_parameters(key):
    state = train.make_state(key, LINEAR, SGD, SPEC)
    redrawn, _ = LINEAR.init(state.key, SPEC)
    assert not np.array_equal(redrawn["kernel"], state.params["kernel"])


# the update


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_are_the_gradient_descent_that_one_writes_by_hand(momentum, key, rng, x64):
    strength, rate = 0.03, 0.1
    optimizer = optax.sgd(rate, momentum=momentum)
    step = jax.jit(train.make_step(LINEAR, losses.squared_error, optimizer, penalty=penalties.l2(strength)))
    first = batch_of(rng, dtype="float64")
    state = train.make_state(key, LINEAR, optimizer, first[0])
    w, b = np.asarray(state.params["kernel"]), np.asarray(state.params["bias"])
    dw, db = np.zeros_like(w), np.zeros_like(b)
    for batch in (first, batch_of(rng, dtype="float64"), batch_of(rng, dtype="float64")):
        x, y = map(np.asarray, batch)
        residual = x @ w + b - y
        loss, penalty = (residual**2).mean(), strength * (w**2).sum()
        dw = momentum * dw + 2 * x.T @ residual / residual.size + 2 * strength * w
        db = momentum * db + 2 * residual.sum(0) / residual.size
        w, b = w - rate * dw, b - rate * db
        state, metrics = step(state, batch)
        assert_close(state.params["kernel"], w, length=5)
        assert_close(state.params["bias"], b, length=5)
        assert_close(metrics["loss"], loss + penalty, length=10)
        assert_close(metrics["penalty"], penalty, length=6)
    assert int(state.step) == 3


def test_a_penalty_can_be_put_on_other_leaves(key, rng):
    zero = jnp.zeros((5, 3)), jnp.ones((5, 2))
    step = train.make_step(LINEAR, zero_loss, SGD, penalty=penalties.l2(1.0), penalty_on="bias$")
    state = train.make_state(key, LINEAR, SGD, SPEC)
    state = state._replace(params={**state.params, "bias": jnp.array([1.0, 2.0])})
    after, metrics = step(state, zero)
    assert_close(after.params["bias"], [0.8, 1.6])
    np.testing.assert_array_equal(after.params["kernel"], state.params["kernel"])
    assert metrics["penalty"] == 5.0


def test_metrics_are_means_before_the_update(key, rng):
    metrics = {"error": losses.squared_error, "first": lambda predictions, targets: predictions[:, 0]}
    step = train.make_step(LINEAR, losses.squared_error, SGD, metrics=metrics)
    state, (x, y) = train.make_state(key, LINEAR, SGD, SPEC), batch_of(rng)
    predictions = LINEAR.apply(state.params, (), x, key=None, train=True)[0]
    _, reported = step(state, (x, y))
    assert sorted(reported) == ["error", "first", "loss"]
    assert all(value.shape == () for value in reported.values())
    assert_close(reported["first"], np.asarray(predictions)[:, 0].astype(np.float64).mean(), length=5)
    assert_close(reported["error"], reported["loss"])


def test_gradients_reach_all_parameters(key, rng):
    model = models.serial(
        conv=models.conv(2, (2, 2)),
        norm=models.batch_norm(),
        act=models.prelu(),
        flat=models.flatten(),
        out=models.dense(2),
    )
    x = jnp.asarray(rng.standard_normal((5, 3, 3, 1)), jnp.float32)
    state = train.make_state(key, model, SGD, x)
    after, _ = jax.jit(train.make_step(model, losses.squared_error, SGD))(state, (x, batch_of(rng)[1]))
    before, now = paths(state.params), paths(after.params)
    assert [path for path in before if np.array_equal(before[path], now[path])] == []


def test_batch_norms_state_is_threaded_from_step_to_step(key, rng):
    model = models.batch_norm(decay=0.5)
    batches = [batch_of(rng)[0] + 3 for _ in range(3)]
    state = train.make_state(key, model, optax.sgd(0.0), SPEC)
    step = jax.jit(train.make_step(model, zero_loss, optax.sgd(0.0)))
    mean, var = np.zeros(3), np.ones(3)
    for x in batches:
        state, _ = step(state, (x, x))
        x = np.asarray(x, np.float64)
        mean, var = 0.5 * mean + 0.5 * x.mean(0), 0.5 * var + 0.5 * x.var(0, ddof=1)
    assert_close(state.model_state.mean, mean, length=5)
    assert_close(state.model_state.var, var, length=5)


def test_dropout_draws_another_mask_at_each_step_and_the_same_one_at_a_replay(key):
    x, model = jnp.ones((20, 20)), masks()
    state = train.make_state(key, model, SGD, x)
    step = jax.jit(train.make_step(model, zero_loss, SGD))
    seen = []
    for _ in range(3):
        before = state
        state, _ = step(state, (x, x))
        seen.append(np.asarray(state.model_state["look"]))
    replayed, _ = step(before, (x, x))
    assert np.array_equal(replayed.model_state["look"], seen[2])
    assert all(set(np.unique(mask)) == {0.0, 1.0} for mask in seen)
    assert not any(np.array_equal(a, b) for a, b in ((seen[0], seen[1]), (seen[1], seen[2]), (seen[0], seen[2])))
    np.testing.assert_array_equal(*(jax.random.key_data(s.key) for s in (before, state)))


OPTIMIZERS = {
    "sgd": SGD,
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adamw with a schedule": lenient(optax.adamw(optax.linear_schedule(0.1, 0.0, 9))),
    "clipping": lenient(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))),
    "injected": lenient(optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)),
}


@pytest.mark.parametrize(("name", "dtype"), [*((name, "float32") for name in OPTIMIZERS), ("injected", "bfloat16")])
def test_steps_leave_structure_shapes_dtypes_and_weak_types_alone_and_trace_once(name, dtype, key, rng):
    optimizer = OPTIMIZERS[name]
    traces = []

    def loss(predictions, targets):
        traces.append(None)
        return losses.squared_error(predictions, targets)

    model = models.serial(fc=models.dense(2), norm=models.batch_norm(), drop=models.dropout(rate=0.1))
    state = train.make_state(key, model, optimizer, jax.ShapeDtypeStruct((5, 3), dtype))
    step = jax.jit(train.make_step(model, loss, optimizer, penalty=penalties.l2(0.1)))
    before = avals(state)
    for _ in range(3):
        state, _ = step(state, batch_of(rng, dtype=dtype))
        assert avals(state) == before
    assert len(traces) == 1


def test_a_model_that_records_something_weakly_typed_is_traced_once(key, rng):
    model = models.serial(look=models.tap(lambda x: jnp.where(x > 0, 1.0, 0.0)), fc=models.dense(2))
    state = train.make_state(key, model, SGD, SPEC)
    step = jax.jit(train.make_step(model, losses.squared_error, SGD))
    for _ in range(3):
        state, _ = step(state, batch_of(rng))
    assert step._cache_size() == 1


def test_an_optimizer_that_asks_for_the_value_gets_it(key, rng):
    optimizer = optax.polyak_sgd()
    state = train.make_state(key, LINEAR, optimizer, SPEC)
    step = jax.jit(train.make_step(LINEAR, losses.squared_error, optimizer))
    batch, found = batch_of(rng), []
    for _ in range(30):
        state, metrics = step(state, batch)
        found.append(float(metrics["loss"]))
    assert found[-1] < found[0]


def test_one_program_trains_several_models_at_once(key, rng):
    batch = batch_of(rng)
    step = train.make_step(LINEAR, losses.squared_error, SGD)
    states = jax.vmap(lambda key: train.make_state(key, LINEAR, SGD, SPEC))(jax.random.split(key, 3))
    together, metrics = jax.jit(jax.vmap(step, in_axes=(0, None)))(states, batch)
    assert metrics["loss"].shape == (3,)
    for i in range(3):
        alone, _ = jax.jit(step)(jax.tree.map(lambda leaf, i=i: leaf[i], states), batch)
        assert_close(together.params["kernel"][i], alone.params["kernel"], length=5)


def test_one_program_trains_with_several_strengths_of_the_penalty_at_once(key, rng):
    state, batch = train.make_state(key, LINEAR, SGD, SPEC), batch_of(rng)

    def penalised(strength):
        step = train.make_step(LINEAR, losses.squared_error, SGD, penalty=penalties.l2(strength))
        return step(state, batch)[1]["penalty"]

    values = jax.vmap(penalised)(jnp.array([0.0, 1.0, 2.0]))
    assert_close(
        values, np.array([0.0, 1.0, 2.0]) * (np.asarray(state.params["kernel"], np.float64) ** 2).sum(), length=6
    )


def test_devices_that_fold_their_number_into_the_key_draw_different_masks(key):
    x, model = jnp.ones((4 * 8, 16)), masks()
    state = train.make_state(key, model, SGD, x[:8])
    step = train.make_step(model, zero_loss, SGD)
    everywhere, rows = PartitionSpec(), PartitionSpec("data")

    def on_each(state, x):
        own = jax.random.fold_in(state.key, lax.axis_index("data"))
        return step(state._replace(key=own), (x, x))[0].model_state["look"]

    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    seen = jax.shard_map(on_each, mesh=mesh, in_specs=(everywhere, rows), out_specs=rows)(state, x)
    drawn = np.asarray(seen).reshape(4, 8, 16)
    assert all(set(np.unique(mask)) == {0.0, 1.0} for mask in drawn)
    assert len({mask.tobytes() for mask in drawn}) == 4


# what is refused

RIGHT = {"model": LINEAR, "loss": losses.squared_error, "optimizer": SGD}


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("model", models.dense, TypeError),
        ("model", (1, 2), TypeError),
        ("model", None, TypeError),
        ("optimizer", optax.sgd, TypeError),
        ("optimizer", LINEAR, TypeError),
        ("optimizer", None, TypeError),
        ("loss", None, TypeError),
        ("loss", jnp.ones(()), TypeError),
        ("penalty", 0.1, TypeError),
        ("penalty", penalties.l2, TypeError),
        ("penalty_on", 3, TypeError),
        ("penalty_on", "(", ValueError),
        ("metrics", [train.accuracy], TypeError),
        ("metrics", {"loss": losses.squared_error}, ValueError),
        ("metrics", {"penalty": losses.squared_error}, ValueError),
    ],
)
def test_a_wrong_argument_is_refused_when_the_step_is_made(argument, value, error):
    with pytest.raises(error, match=rf"dlcore\.train\.make_step: `{argument}` came as"):
        train.make_step(**{"penalty": penalties.l2(0.1), **RIGHT, argument: value})


def test_a_metric_that_cannot_be_called_is_refused_by_its_name():
    with pytest.raises(TypeError, match=r"dlcore\.train\.make_step: `metrics` came as dict \{'accuracy': 0\.5\}"):
        train.make_step(**RIGHT, metrics={"accuracy": 0.5})


def test_a_penalty_that_finds_no_leaf_is_refused_when_the_step_is_traced(key, rng):
    step = train.make_step(**RIGHT, penalty=penalties.l2(0.1), penalty_on="kernl")
    with pytest.raises(ValueError, match=r"`pattern` came as 'kernl'.*'kernel'"):
        step(train.make_state(key, LINEAR, SGD, SPEC), batch_of(rng))


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("key", None, ValueError),
        ("key", 0, TypeError),
        ("key", jax.random.PRNGKey(0), TypeError),
        ("model", models.dense, TypeError),
        ("optimizer", 0.1, TypeError),
        ("optimizer", optax.sgd, TypeError),
    ],
)
def test_a_wrong_argument_of_make_state_is_refused(argument, value, error, key):
    right = {"key": key, "model": LINEAR, "optimizer": SGD, "inputs": SPEC}
    with pytest.raises(error, match=rf"dlcore\.train\.make_state: `{argument}` came as"):
        train.make_state(**{**right, argument: value})


def test_targets_of_another_shape_are_refused_and_never_broadcast(key, rng):
    step = train.make_step(models.dense(1), losses.squared_error, SGD)
    state = train.make_state(key, models.dense(1), SGD, SPEC)
    with pytest.raises(ValueError, match=r"dlcore\.losses\.squared_error: `targets` .*\(5,\).*\(5, 1\)"):
        step(state, (jnp.ones((5, 3)), jnp.ones(5)))
