import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import losses, models, penalties, train

SGD = optax.sgd(0.1, momentum=0.9)
MODEL = models.serial(
    fc=models.dense(4), norm=models.batch_norm(), act=models.relu(), drop=models.dropout(rate=0.3), out=models.dense(2)
)
STEP = train.make_step(MODEL, losses.squared_error, SGD, penalty=penalties.l2(0.01))


def data_of(rng, n=11):
    return jnp.asarray(rng.standard_normal((n, 3)), jnp.float32), jnp.asarray(rng.standard_normal((n, 2)), jnp.float32)


def make_state(key, model=MODEL, optimizer=SGD):
    return train.make_state(jax.random.clone(key), model, optimizer, jax.ShapeDtypeStruct((4, 3), jnp.float32))


def same_bits(a, b):
    """Two states are equal to the bit, keys included."""
    a, b = (state._replace(key=jax.random.key_data(state.key)) for state in (a, b))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def showing(step):
    """A step that also reports its batch, so that a test sees what an epoch fed it."""

    def wrapped(state, batch):
        after, metrics = step(state, batch)
        return after, {**metrics, "inputs": batch[0], "targets": batch[1]}

    return wrapped


def idle(state, batch):
    """A step that only counts, and shows its batch."""
    return state._replace(step=state.step + 1), {"loss": jnp.zeros(()), "inputs": batch[0], "targets": batch[1]}


def counting(key):
    return train.TrainState({}, (), (), jax.random.clone(key), jnp.zeros((), jnp.int32))


def test_an_epoch_is_a_loop_of_compiled_steps_bit_for_bit(key, rng):
    data, state, twin = data_of(rng), make_state(key), make_state(key)
    epoch, step = train.make_epoch(showing(STEP), batch_size=4), jax.jit(STEP)
    for _ in range(2):
        state, metrics = epoch(state, data)
        looped = []
        for batch in zip(metrics["inputs"], metrics["targets"], strict=True):
            twin, reported = step(twin, batch)
            looped.append(reported["loss"])
        same_bits(state, twin)
        np.testing.assert_array_equal(metrics["loss"], looped)


def test_an_epoch_takes_full_batches_and_each_example_at_most_once(key):
    data = (jnp.arange(11.0), jnp.arange(11) * 10)
    _, seen = train.make_epoch(idle, batch_size=4)(counting(key), data)
    assert seen["inputs"].shape == (2, 4)
    assert seen["loss"].shape == (2,)
    assert len(np.unique(seen["inputs"])) == 8
    assert set(np.ravel(seen["inputs"])) <= set(range(11))
    np.testing.assert_array_equal(seen["inputs"] * 10, seen["targets"])


def test_inputs_may_be_trees_and_stay_beside_their_targets(key):
    data = ({"a": jnp.arange(6.0), "b": np.arange(12).reshape(6, 2)}, np.arange(6))
    _, seen = train.make_epoch(idle, batch_size=3)(counting(key), data)
    np.testing.assert_array_equal(seen["inputs"]["a"], seen["targets"])
    np.testing.assert_array_equal(seen["inputs"]["b"][..., 1], 2 * seen["targets"] + 1)


def orders(key, epochs, n=7, size=3):
    epoch, state, found = train.make_epoch(idle, batch_size=size), counting(key), []
    for _ in range(epochs):
        state, seen = epoch(state, (jnp.arange(n), jnp.arange(n)))
        found.append(np.ravel(seen["inputs"]))
    return np.array(found)


def test_the_order_differs_between_epochs_and_runs_and_is_the_same_for_the_same_seed(key, seed):
    first = orders(key, 4)
    assert len({order.tobytes() for order in first}) == 4
    np.testing.assert_array_equal(first, orders(jax.random.key(seed), 4))
    assert not np.array_equal(first, orders(jax.random.key(seed + 1), 4))


def test_over_many_epochs_each_example_is_left_out_and_comes_first_equally_often(key):
    n, epochs = 5, 400
    found = orders(key, epochs, n=n, size=2)
    left_out = epochs - np.bincount(found.ravel(), minlength=n)
    first = np.bincount(found[:, 0], minlength=n)
    spread = 5 * (epochs * (1 / n) * (1 - 1 / n)) ** 0.5
    assert np.abs(left_out - epochs / n).max() < spread
    assert np.abs(first - epochs / n).max() < spread


def test_two_epochs_are_one_trace_and_leave_every_aval_alone(key, rng):
    traces = []

    def counted(state, batch):
        traces.append(None)
        return STEP(state, batch)

    epoch, data, state = train.make_epoch(counted, batch_size=4), data_of(rng), make_state(key)
    before = list(map(jax.typeof, jax.tree.leaves(state)))
    for _ in range(3):
        state, _ = epoch(state, data)
        assert list(map(jax.typeof, jax.tree.leaves(state))) == before
    assert len(traces) == 1
    assert int(state.step) == 6


def test_the_states_buffers_are_given_away_without_a_warning_and_the_datas_are_kept(key, rng):
    data, state = data_of(rng), make_state(key)
    after, _ = train.make_epoch(STEP, batch_size=4)(state, data)
    jax.block_until_ready(after)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.model_state, state.opt_state)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((data, after)))


def test_the_state_of_an_optimizer_that_keeps_the_first_parameters_can_be_given_away(key, rng):
    keeper = optax.GradientTransformation(
        lambda params: {"first": params}, lambda gradients, state, params: (gradients, state)
    )
    state = make_state(key, optimizer=keeper)
    first = np.asarray(state.params["fc"]["kernel"]).copy()
    after, _ = train.make_epoch(train.make_step(MODEL, losses.squared_error, keeper), batch_size=4)(state, data_of(rng))
    np.testing.assert_array_equal(after.opt_state["first"]["fc"]["kernel"], first)


def test_the_same_seed_trains_to_the_same_bits_twice(seed, rng):
    data = data_of(rng)

    def trained():
        model = models.serial(fc=models.dense(4), drop=models.dropout(rate=0.5), out=models.dense(2))
        epoch = train.make_epoch(train.make_step(model, losses.squared_error, SGD), batch_size=4)
        state = make_state(jax.random.key(seed), model)
        for _ in range(2):
            state, _ = epoch(state, data)
        return state

    same_bits(trained(), trained())


def test_an_epoch_compiled_ahead_of_time_is_the_same_epoch(key, rng):
    data, epoch = data_of(rng), train.make_epoch(STEP, batch_size=4)
    ahead = epoch.lower(make_state(key), data).compile()
    same_bits(ahead(make_state(key), data)[0], epoch(make_state(key), data)[0])


def test_augmentation_changes_inputs_alone_with_another_key_at_each_step_and_epoch(key):
    def jitter(key, inputs):
        return inputs + jax.random.uniform(key, inputs.shape)

    n = 8
    epoch = train.make_epoch(idle, batch_size=4, augment=jitter)
    state, found = counting(key), []
    for _ in range(2):
        state, seen = epoch(state, (jnp.arange(float(n)), jnp.arange(n)))
        np.testing.assert_array_equal(np.floor(seen["inputs"]), seen["targets"])
        found += list(np.asarray(seen["inputs"] % 1))
    assert len({noise.tobytes() for noise in found}) == 4
    assert len(np.unique(np.concatenate(found))) == 16


def test_augmentation_gets_neither_the_runs_key_nor_the_one_that_the_step_draws_with(key):
    n, size = 64, 32

    def noise(key):
        return jax.random.uniform(key, (size,))

    def step(state, batch):
        after, seen = idle(state, batch)
        return after, {**seen, "step": noise(jax.random.fold_in(state.key, state.step))}

    epoch = train.make_epoch(step, batch_size=size, augment=lambda key, inputs: noise(key))
    _, seen = epoch(counting(key), (jnp.arange(n), jnp.arange(n)))
    drawn = [np.asarray(row).tobytes() for name in ("inputs", "step") for row in seen[name]]
    assert len({*drawn, np.asarray(noise(key)).tobytes()}) == 5


def test_as_many_examples_as_a_batch_are_one_step(key):
    state, seen = train.make_epoch(idle, batch_size=3)(counting(key), (jnp.arange(3), jnp.arange(3)))
    assert sorted(np.ravel(seen["inputs"])) == [0, 1, 2]
    assert int(state.step) == 1


def test_an_epoch_goes_on_from_the_step_it_is_given(key):
    data = (jnp.arange(9), jnp.arange(9))
    epoch = train.make_epoch(idle, batch_size=3)
    state, _ = epoch(counting(key), data)
    later, again = epoch(state, data)
    resumed = counting(key)._replace(step=jnp.asarray(3, jnp.int32))
    np.testing.assert_array_equal(epoch(resumed, data)[1]["inputs"], again["inputs"])
    assert int(later.step) == 6


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("step", None, TypeError),
        ("step", 3, TypeError),
        ("step", MODEL, TypeError),
        ("augment", 3, TypeError),
        ("augment", MODEL, TypeError),
        ("batch_size", 0, ValueError),
        ("batch_size", -1, ValueError),
        ("batch_size", 2.0, TypeError),
        ("batch_size", None, TypeError),
    ],
)
def test_a_wrong_argument_is_refused_when_the_epoch_is_made(argument, value, error):
    with pytest.raises(error, match=rf"dlcore\.train\.make_epoch: `{argument}` came as"):
        train.make_epoch(**{"step": idle, "batch_size": 2, argument: value})


ONES = np.ones((4, 3), np.float32)


@pytest.mark.parametrize(
    "data",
    [
        (ONES, ONES[:3]), (ONES[:0], ONES[:0]), (ONES, np.ones(())), ONES, (ONES,), (ONES, ONES, ONES),
        {"inputs": ONES, "targets": ONES}, None, ((), ()), ({"a": ONES, "b": ONES[:2]}, ONES),
        ([1.0, 2.0], [1.0, 2.0]), (ONES, 3),
    ],
    ids=["unequal", "empty", "no axis", "an array", "inputs alone", "three", "a dict", "None", "no arrays",
         "unequal inside", "lists", "a number"],
)  # fmt: skip
def test_data_that_are_no_pair_of_equally_many_examples_are_refused(data, key):
    with pytest.raises((ValueError, TypeError), match=r"dlcore\.train\.make_epoch: `data` came as"):
        train.make_epoch(idle, batch_size=2)(counting(key), data)


def test_a_batch_larger_than_the_data_is_refused(key):
    with pytest.raises(ValueError, match=r"dlcore\.train\.make_epoch: `batch_size` came as 5.*examples, 4"):
        train.make_epoch(idle, batch_size=5)(counting(key), (ONES, ONES))
