import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses, models, train
from tests.tolerance import assert_close

MODEL = models.dense(2)
N = 11
METRICS = {"loss": losses.softmax_cross_entropy, "accuracy": train.accuracy}


def data_of(rng, n=N):
    return jnp.asarray(rng.standard_normal((n, 3)), jnp.float32), jnp.asarray(rng.integers(0, 2, n), jnp.int32)


def params_of(rng):
    return {
        "kernel": jnp.asarray(rng.standard_normal((3, 2)), jnp.float32),
        "bias": jnp.asarray(rng.standard_normal(2), jnp.float32),
    }


def logits_by_hand(params, x):
    return np.asarray(x, np.float64) @ np.asarray(params["kernel"], np.float64) + np.asarray(params["bias"], np.float64)


def index(predictions, targets):
    """A metric that is the example's own number: exact in float32 whatever the order of the sum."""
    return targets.astype(jnp.float32)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10, 11, 12, 256])
def test_the_means_are_exact_whatever_the_size_of_a_batch(size, rng):
    params, (x, y) = params_of(rng), data_of(rng)
    found = train.evaluate(MODEL, params, (), (x, y), metrics=METRICS, batch_size=size)
    z = logits_by_hand(params, x)
    shifted = z - z.max(-1, keepdims=True)
    expected = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(N), np.asarray(y)]
    assert_close(found["loss"], expected.mean(), length=N)
    assert found["accuracy"] == np.float32((z.argmax(-1) == np.asarray(y)).sum()) / np.float32(N)
    assert {(value.shape, value.dtype.name) for value in found.values()} == {((), "float32")}


@pytest.mark.parametrize("size", [1, 3, 7, 8, 64])
def test_what_fills_the_last_batch_counts_nothing_and_nothing_is_left_out(size, rng):
    data = jnp.ones((64 - 1, 3)), jnp.arange(63)
    assert train.evaluate(MODEL, params_of(rng), (), data, metrics={"i": index}, batch_size=size)["i"] == 31.0


def test_a_metric_of_each_element_is_averaged_over_all_of_them(rng):
    params, (x, _) = params_of(rng), data_of(rng)
    y = jnp.asarray(rng.standard_normal((N, 2)), jnp.float32)
    found = train.evaluate(MODEL, params, (), (x, y), metrics={"e": losses.squared_error}, batch_size=4)
    assert_close(found["e"], ((logits_by_hand(params, x) - np.asarray(y, np.float64)) ** 2).mean(), length=2 * N)


def test_half_precision_metrics_are_summed_in_float32(rng):
    data = jnp.ones((3001, 3)), jnp.zeros(3001)
    half = lambda predictions, targets: jnp.full(predictions.shape[:1], 1.5, jnp.bfloat16)
    found = train.evaluate(MODEL, params_of(rng), (), data, metrics={"half": half}, batch_size=1000)
    assert (found["half"], found["half"].dtype) == (1.5, jnp.float32)


def test_evaluation_has_the_models_evaluation_behaviour_and_needs_no_key(rng, key):
    model = models.serial(drop=models.dropout(rate=0.9), norm=models.batch_norm(decay=0.0), look=models.dense(2))
    x = jnp.asarray(rng.standard_normal((N, 3)), jnp.float32) + 5
    params, state = model.init(key, x)
    expected = logits_by_hand(params["look"], np.asarray(x, np.float64) / np.sqrt(1 + 1e-5))
    assert_close(train.predict(model, params, state, x, batch_size=4), expected, length=3)
    first = lambda predictions, targets: predictions
    found = train.evaluate(model, params, state, (x, x), metrics={"first": first}, batch_size=4)["first"]
    assert_close(found, expected.mean(), length=6 * N, scale=np.abs(expected).max())


def test_nothing_is_changed_or_given_away(rng):
    params, data = params_of(rng), data_of(rng)
    train.evaluate(MODEL, params, (), data, metrics=METRICS)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((params, data)))


def test_inputs_and_targets_may_be_trees_of_numpy_arrays(rng):
    model = models.lift(lambda tree: tree["a"] + tree["b"])
    data = {"a": np.arange(5.0), "b": np.ones(5)}, (np.arange(5), np.zeros(5))
    metric = lambda predictions, targets: predictions - targets[0].astype(predictions.dtype)
    assert train.evaluate(model, {}, (), data, metrics={"m": metric}, batch_size=2)["m"] == 1.0


def test_evaluation_is_compiled_once_for_a_model_and_metrics(rng):
    traces = []

    def metric(predictions, targets):
        traces.append(None)
        return train.accuracy(predictions, targets)

    for _ in range(3):
        train.evaluate(MODEL, params_of(rng), (), data_of(rng), metrics={"a": metric}, batch_size=4)
    assert len(traces) == 1


def test_evaluation_maps_over_several_models_and_differentiates(rng):
    data = data_of(rng)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params_of(rng) for _ in range(3)))

    def loss(params):
        return train.evaluate(MODEL, params, (), data, metrics=METRICS, batch_size=4)["loss"]

    together = jax.vmap(loss)(stacked)
    assert_close(together, [loss(jax.tree.map(lambda leaf, i=i: leaf[i], stacked)) for i in range(3)], length=N)
    assert all(leaf.any() for leaf in jax.tree.leaves(jax.grad(lambda tree: jax.vmap(loss)(tree).sum())(stacked)))


def test_no_metric_is_no_mean(rng):
    assert train.evaluate(MODEL, params_of(rng), (), data_of(rng), metrics={}) == {}


@pytest.mark.parametrize("size", [1, 4, 11, 99])
def test_predictions_come_in_the_order_of_the_inputs_and_none_too_many(size, rng):
    params, (x, _) = params_of(rng), data_of(rng)
    found = train.predict(MODEL, params, (), x, batch_size=size)
    assert_close(found, logits_by_hand(params, x), length=3)


def test_predictions_have_the_models_shape_and_dtype(rng):
    ids = train.predict(models.lift(lambda x: x[:, None].astype(jnp.int32)), {}, (), np.arange(5), batch_size=2)
    np.testing.assert_array_equal(ids, np.arange(5)[:, None])
    assert ids.dtype == jnp.int32


# accuracy


def test_accuracy_is_one_where_the_first_largest_logit_is_the_labels():
    logits = jnp.array([[1.0, 2.0, 0.0], [2.0, 2.0, 1.0], [0.0, 3.0, 3.0], [-1.0, -2.0, -3.0]])
    found = train.accuracy(logits, jnp.array([1, 1, 1, 0]))
    np.testing.assert_array_equal(found, [1.0, 0.0, 1.0, 1.0])
    assert found.dtype == jnp.float32


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_accuracy_takes_any_batch_axes(batch):
    assert train.accuracy(jnp.ones((*batch, 4), jnp.bfloat16), jnp.zeros(batch, jnp.int32)).shape == batch


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "uint32", "int64"])
def test_accuracy_takes_labels_of_any_integer_dtype(dtype, x64):
    logits = jnp.eye(300)[jnp.array([3, 290, 34])]
    found = train.accuracy(logits, jnp.array([3, 2, 34], dtype))
    np.testing.assert_array_equal(found, [1.0, 0.0, 1.0])


@pytest.mark.parametrize("label", [-1, 3, 100])
def test_a_label_that_is_no_class_is_never_right(label):
    assert train.accuracy(jnp.ones(3), jnp.asarray(label)) == 0


@pytest.mark.parametrize(
    ("predictions", "targets", "argument", "error"),
    [
        (np.ones((4, 3)), np.ones((4, 1), int), "targets", ValueError),
        (np.ones((4, 3)), np.ones(3, int), "targets", ValueError),
        (np.ones((4, 3)), np.ones(4), "targets", TypeError),
        (np.ones((4, 3), int), np.ones(4, int), "predictions", TypeError),
        (np.ones(()), np.ones((), int), "predictions", ValueError),
    ],
)
def test_accuracy_refuses_what_does_not_fit(predictions, targets, argument, error):
    with pytest.raises(error, match=rf"dlcore\.train\.accuracy: `{argument}` came as"):
        train.accuracy(predictions, targets)


# what is refused

X, Y = np.ones((4, 3), np.float32), np.zeros(4, np.int32)


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("model", models.dense, TypeError),
        ("model", None, TypeError),
        ("data", (X, Y[:3]), ValueError),
        ("data", (X[:0], Y[:0]), ValueError),
        ("data", X, ValueError),
        ("data", ([1.0, 2.0], [1, 2]), (ValueError, TypeError)),
        ("batch_size", 0, ValueError),
        ("batch_size", 2.0, TypeError),
        ("metrics", [train.accuracy], TypeError),
        ("metrics", {"accuracy": 0.5}, TypeError),
        ("metrics", {"reduced": lambda p, t: losses.mean(losses.softmax_cross_entropy(p, t))}, ValueError),
        ("metrics", {"counted": lambda p, t: p.argmax(-1) == t}, TypeError),
    ],
)
def test_a_wrong_argument_of_evaluate_is_refused(argument, value, error, rng):
    right = {"model": MODEL, "params": params_of(rng), "model_state": (), "data": (X, Y), "metrics": METRICS}
    with pytest.raises(error, match=rf"dlcore\.train\.evaluate: `{argument}` came as"):
        train.evaluate(**{**right, argument: value})


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("model", models.dense, TypeError),
        ("inputs", X[:0], ValueError),
        ("inputs", np.ones(()), ValueError),
        ("inputs", [1.0, 2.0], (ValueError, TypeError)),
        ("batch_size", 0, ValueError),
    ],
)
def test_a_wrong_argument_of_predict_is_refused(argument, value, error, rng):
    right = {"model": MODEL, "params": params_of(rng), "model_state": (), "inputs": X}
    with pytest.raises(error, match=rf"dlcore\.train\.predict: `{argument}` came as"):
        train.predict(**{**right, argument: value})
