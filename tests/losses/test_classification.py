from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses
from tests.tolerance import FLOATS, assert_close

INF, NAN = np.inf, np.nan


def oracle(logits, labels, dy, *, label_smoothing=0.0, class_weights=None):
    """Values and the gradient in the logits, for finite logits and good labels, in float64."""
    z, dy = (np.asarray(a).astype(np.float64) for a in (logits, dy))
    k = z.shape[-1]
    top = z.max(-1, keepdims=True)
    log_p = z - top - np.log(np.exp(z - top).sum(-1, keepdims=True))
    q = (1 - label_smoothing) * (np.asarray(labels)[..., None] == np.arange(k)) + label_smoothing / k
    q = q * (1 if class_weights is None else np.asarray(class_weights).astype(np.float64))
    return -(q * log_p).sum(-1), (np.exp(log_p) * q.sum(-1, keepdims=True) - q) * dy[..., None]


@partial(jax.jit, static_argnames=("label_smoothing", "ignore_label"))
def run(logits, labels, dy=None, **options):
    value, pull = jax.vjp(lambda z: losses.softmax_cross_entropy(z, labels, **options), logits)
    return value, pull(jnp.ones_like(value) if dy is None else dy)[0]


def on_host(tree):
    """As NumPy arrays, whose indexing compiles nothing."""
    return jax.tree.map(np.asarray, tree)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5,), {}),
        ((6, 4), {}),
        ((2, 3, 5), {"label_smoothing": 0.1}),
        ((6, 4), {"label_smoothing": 1.0}),
        ((6, 4), {"class_weights": [0.5, 0.0, 2.0, 1.0]}),
        ((6, 4), {"class_weights": [0.5, 0.0, 2.0, 1.0], "label_smoothing": 0.3}),
        ((6, 4), {"class_weights": [0.5, 0.0, 2.0, 1.0], "label_smoothing": 1.0}),
        ((3, 1), {}),
        ((0, 4), {"label_smoothing": 0.1}),
    ],
)
def test_values_and_gradients_are_the_closed_forms(rng, shape, options):
    check(rng, "float32", shape, options)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    check(rng, dtype, (6, 4), {"class_weights": [0.5, 0.0, 2.0, 1.0], "label_smoothing": 0.3})


def check(rng, dtype, shape, options):
    logits, dy = jnp.asarray(3 * rng.standard_normal(shape), dtype), jnp.asarray(rng.uniform(1, 2, shape[:-1]), dtype)
    labels = rng.integers(0, shape[-1], shape[:-1])
    given = dict(options)
    if "class_weights" in options:
        given["class_weights"] = jnp.asarray(options["class_weights"], dtype)
    value, gradient = run(logits, jnp.asarray(labels), dy, **given)
    want, want_gradient = oracle(logits, labels, dy, **options)
    assert value.dtype == gradient.dtype == dtype
    assert_close(value, want, length=shape[-1], scale=10)
    assert_close(gradient, want_gradient, length=shape[-1], scale=4)


@pytest.mark.parametrize(
    ("k", "dtype"),
    [(128, "int8"), (300, "int8"), (256, "uint8"), (300, "uint8"), (300, "int16"), (300, "uint32"), (300, "int64")],
)
def test_labels_of_every_integer_dtype_name_the_same_classes(rng, dtype, k, x64):
    logits = jnp.asarray(rng.standard_normal((4, k)), jnp.float32)
    labels = np.array([0, 1, 2, min(k - 1, np.iinfo(dtype).max)], dtype)
    value, gradient = run(logits, jnp.asarray(labels))
    want, want_gradient = oracle(logits, labels.astype(int), np.ones(4))
    assert_close(value, want, length=k)
    assert_close(gradient, want_gradient, length=k)


@pytest.mark.parametrize(
    ("dtype", "labels", "ignored"), [("uint8", [0, 156, 2], -100), ("int8", [0, -1, 2], 255), ("int8", [0, 0, 2], 256)]
)
def test_an_ignore_label_that_the_dtype_cannot_hold_is_no_other_label(dtype, labels, ignored):
    labels = jnp.array(labels, dtype)
    value, _ = run(jnp.zeros((3, 4)), labels, ignore_label=ignored)
    inside = (np.asarray(labels) >= 0) & (np.asarray(labels) < 4)
    assert_close(value, np.where(inside, np.log(4), NAN))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"class_weights": jnp.array([0.0, 1.0, 2.0])}])
@pytest.mark.parametrize("wrong", [-1, -100, 3, 2**31 - 1, -(2**31)])
def test_a_wrong_label_gives_nan_in_its_own_row_only(rng, wrong, options):
    logits = jnp.asarray(rng.standard_normal((4, 3)), jnp.float32)
    good = np.array([0, 1, 1, 2])
    value, gradient = run(logits, jnp.asarray(good).at[1].set(wrong), **options)
    want, want_gradient = oracle(logits, good, np.ones(4), **options)
    want[1], want_gradient[1] = NAN, NAN
    assert_close(value, want)
    assert_close(gradient, want_gradient, scale=2)


@pytest.mark.parametrize("ignored", [-100, -1, 1, 3])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2, "class_weights": jnp.array([0.0, 1.0, 2.0])}])
def test_an_ignored_row_costs_nothing_whatever_its_logits(rng, ignored, options):
    logits = rng.standard_normal((3, 3)).astype(np.float32)
    want, want_gradient = oracle(logits, [0, 0, 2], np.ones(3), **options)
    want[1], want_gradient[1] = 0, 0
    for rubbish in (NAN, INF, -INF, 3e38, 0.0):
        logits[1] = rubbish
        value, gradient = run(jnp.asarray(logits), jnp.array([0, ignored, 2]), ignore_label=ignored, **options)
        assert_close(value, want)
        assert_close(gradient, want_gradient, scale=2)


def test_a_mean_over_rows_that_count_equals_the_mean_without_the_others(rng):
    logits = jnp.asarray(rng.standard_normal((5, 3)), jnp.float32).at[1].set(NAN)
    labels = jnp.array([0, -100, 2, 1, -100])

    def mean(logits):
        values = losses.softmax_cross_entropy(logits, labels, ignore_label=-100)
        return losses.mean(values, where=labels != -100)

    rows = np.array([0, 2, 3])
    want, want_gradient = oracle(np.asarray(logits)[rows], np.asarray(labels)[rows], np.full(3, 1 / 3))
    value, gradient = on_host(jax.jit(jax.value_and_grad(mean))(logits))
    assert_close(value, want.mean(), length=3, scale=4)
    assert_close(gradient[rows], want_gradient)
    assert not gradient[np.array([1, 4])].any()


@pytest.mark.parametrize(
    ("logits", "label", "value", "gradient"),
    [
        ([1e30, -1e30, 0], 0, 0, [0, 0, 0]),
        ([1e30, -1e30, 0], 1, 2e30, [1, -1, 0]),
        ([-1e30, -1e30, -1e30], 2, np.log(3), [1 / 3, 1 / 3, -2 / 3]),
        ([INF, 0, 0], 0, 0, [0, 0, 0]),
        ([INF, 0, 0], 1, INF, None),
        ([INF, -INF, 0], 0, 0, [0, 0, 0]),
        ([-INF, 0, 0], 1, np.log(2), [0, -0.5, 0.5]),
        ([-INF, 0, 0], 0, INF, [-1, 0.5, 0.5]),
        ([-INF, -INF, 5], 2, 0, [0, 0, 0]),
        ([INF, INF, 0], 0, np.log(2), None),
        ([1000, 0, 0], 0, 0, [0, 0, 0]),
        ([0, 1000, 0], 0, 1000, [-1, 1, 0]),
        ([0, 0, 0], 0, np.log(3), [-2 / 3, 1 / 3, 1 / 3]),
        ([0, NAN, 0], 0, NAN, None),
    ],
)
def test_the_limit_is_reached_where_there_is_one(logits, label, value, gradient):
    # Beside a row of its own, which it must not touch.
    found, slope = on_host(run(jnp.array([logits, [0.0, 0, 0]], jnp.float32), jnp.array([label, 1])))
    assert_close(found[0], value)
    assert_close(found[1], np.log(3))
    if gradient is not None:
        assert_close(slope[0], gradient, scale=1)
    assert_close(slope[1], [1 / 3, -2 / 3, 1 / 3])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("label", [0, 1])
def test_a_class_of_probability_zero_costs_infinity_where_it_has_a_share(label, smoothing):
    value, _ = run(jnp.array([[-INF, 0.0, 0.0]]), jnp.array([label]), label_smoothing=smoothing)
    assert_close(value, [INF if smoothing or label == 0 else np.log(2)])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_class_of_weight_zero_costs_nothing_even_at_infinity(smoothing):
    weights = jnp.array([0.0, 1.0, 1.0])
    value, gradient = run(
        jnp.array([[-INF, 0.0, 0.0]]), jnp.array([0]), class_weights=weights, label_smoothing=smoothing
    )
    share = 2 * smoothing / 3
    assert_close(value, [share * np.log(2)])
    assert_close(gradient, [[0, share / 2 - smoothing / 3, share / 2 - smoothing / 3]], scale=smoothing)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_many_classes_are_summed_in_float32(rng, dtype):
    k = 32_771
    logits = jnp.asarray(rng.standard_normal((3, k)), dtype)
    labels = jnp.array([0, 17, k - 1])
    value, gradient = run(logits, labels, label_smoothing=0.1)
    want, want_gradient = oracle(logits, labels, np.ones(3), label_smoothing=0.1)
    length = k if dtype == "float32" else 1  # half precision adds the result's own rounding alone
    assert_close(value, want, length=length)
    assert_close(gradient, want_gradient, length=length)


def test_many_rows_of_odd_size_are_right_in_jit_and_eagerly(rng):
    logits, labels = jnp.asarray(rng.standard_normal((32_771, 3)), jnp.float32), rng.integers(0, 3, 32_771)
    want, want_gradient = oracle(logits, labels, np.ones(32_771))
    value, gradient = run(logits, jnp.asarray(labels))
    assert_close(value, want)
    assert_close(gradient, want_gradient)
    assert_close(losses.softmax_cross_entropy(logits, jnp.asarray(labels)), want)


def test_the_hessian_is_that_of_log_sum_exp(rng):
    z = rng.standard_normal(4)
    p = np.exp(z) / np.exp(z).sum()
    hessian = jax.jit(jax.hessian(lambda z: losses.softmax_cross_entropy(z, jnp.array(2))))(jnp.asarray(z, jnp.float32))
    assert_close(hessian, np.diag(p) - np.outer(p, p), length=4)


def test_a_certain_and_right_prediction_has_a_gradient_of_zero():
    value, gradient = run(jnp.array([[60.0, -60.0]]), jnp.array([0]))
    assert value == 0
    assert np.abs(gradient).max() < 1e-30


@pytest.mark.parametrize(
    ("logits", "labels", "options", "error", "words"),
    [
        (jnp.ones((4, 3)), jnp.ones((4, 1), int), {}, ValueError, "labels"),
        (jnp.ones((4, 3)), jnp.ones((4, 3), int), {}, ValueError, "labels"),
        (jnp.ones((4, 3)), jnp.ones((), int), {}, ValueError, "labels"),
        (jnp.ones((4, 3)), jnp.ones(4), {}, TypeError, "labels"),
        (jnp.ones((4, 3)), jnp.ones(4, bool), {}, TypeError, "labels"),
        (jnp.ones((4, 3), int), jnp.ones(4, int), {}, TypeError, "logits"),
        (jnp.ones((4, 0)), jnp.ones(4, int), {}, ValueError, "logits"),
        (jnp.ones(()), jnp.ones((), int), {}, ValueError, "logits"),
        (jnp.ones((4, 3)), jnp.ones(4, int), {"label_smoothing": 1.5}, ValueError, "label_smoothing"),
        (jnp.ones((4, 3)), jnp.ones(4, int), {"class_weights": jnp.ones(4)}, ValueError, "class_weights"),
        (jnp.ones((4, 3)), jnp.ones(4, int), {"class_weights": jnp.ones((1, 3))}, ValueError, "class_weights"),
        (jnp.ones((4, 3)), jnp.ones(4, int), {"class_weights": jnp.ones(3, int)}, TypeError, "class_weights"),
        (jnp.ones((4, 3)), jnp.ones(4, int), {"ignore_label": -1.0}, TypeError, "ignore_label"),
    ],
)
def test_nothing_is_broadcast_or_cast(logits, labels, options, error, words):
    with pytest.raises(error, match=f"losses.softmax_cross_entropy.*`{words}`"):
        losses.softmax_cross_entropy(logits, labels, **options)
