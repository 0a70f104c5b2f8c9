"""Where a loss is least, where its slope jumps, and where its arguments are without bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses

INF, NAN = np.inf, np.nan
F16_SAFE = [0.25, -1.5, 3.0, 0.0]
UNLIKE = [[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]]

# name: (arguments, of which the first is differentiated; options; the least value): there the gradient is exactly 0.
MINIMA = {
    "squared_error": ((F16_SAFE, F16_SAFE), {}, 0),
    "absolute_error": ((F16_SAFE, F16_SAFE), {}, 0),
    "absolute_percentage_error": ((F16_SAFE, F16_SAFE), {"epsilon": 0.5}, 0),
    "squared_logarithmic_error": (([0.25, 3.0, 0.0], [0.25, 3.0, 0.0]), {}, 0),
    "log_cosh": ((F16_SAFE, F16_SAFE), {}, 0),
    "huber": ((F16_SAFE, F16_SAFE), {"delta": 0.5}, 0),
    "smooth_l1": ((F16_SAFE, F16_SAFE), {"beta": 0.5}, 0),
    "quantile": ((F16_SAFE, F16_SAFE), {"q": 0.75}, 0),
    "cosine_distance": ((UNLIKE, [[2.0, -4.0, 1.0], [0.5, 8.0, -2.0]]), {}, 0),
    "cosine_embedding": ((UNLIKE, UNLIKE, [1, 1]), {}, 0),
    "binary_cross_entropy": (([INF, -INF], [1, 0]), {}, 0),
    "binary_focal_cross_entropy": (([INF, -INF], [1, 0]), {}, 0),
    "binary_cross_entropy_probabilities": (([0.0, 1.0], [0, 1]), {}, 0),
    "softmax_cross_entropy_probabilities": (([[INF, 0.0], [0.0, -INF]], [[1.0, 0.0], [1.0, 0.0]]), {}, 0),
    "softmax_focal_cross_entropy": (([[INF, 0.0], [0.0, -INF]], [0, 0]), {}, 0),
    "generalized_cross_entropy": (([[INF, 0.0], [0.0, -INF]], [0, 0]), {}, 0),
    "hinge": (([1.0, 2.0, -1.0, INF], [1, 1, -1, 1]), {}, 0),
    "squared_hinge": (([1.0, 2.0, -1.0, INF], [1, 1, -1, 1]), {}, 0),
    "soft_margin": (([INF, -INF], [1, -1]), {}, 0),
    "categorical_hinge": (([[2.0, 1.0], [3.0, 0.0]], [0, 0]), {}, 0),
    "multi_margin": (([[2.0, 1.0, 0.0], [0.0, 0.0, 5.0]], [0, 2]), {}, 0),
    "multilabel_margin": (([[2.0, 1.0, 3.0]], [[1, 0, 1]]), {}, 0),
    "margin_ranking": (([1.0, 1.0, 3.0], [1.0, 2.0, 2.0], [1, -1, 1]), {}, 0),
    "hinge_embedding": (([1.0, 3.0], [-1, -1]), {}, 0),
    "triplet_margin": (([[1.0, 0.0]], [[1.0, 1.0]], [[1.0, 2.0]]), {"epsilon": 0.0}, 0),
    "poisson_nll": (([0.0, 0.0], [1.0, 1.0]), {}, 1),
    "gaussian_nll": ((F16_SAFE, F16_SAFE, [1.0] * 4), {}, 0),
}
# name: (arguments, of which the first is differentiated; options; values; gradients)
POINTS = {
    # kinks
    "absolute_percentage_error": (([2.0, 1.0], [1.0, 0.0]), {}, [100, 1e9], [100, 1e9]),
    "huber": (([1.0, -1.0, 2.0, INF, -INF], [0.0] * 5), {}, [0.5, 0.5, 1.5, INF, INF], [1, -1, 1, 1, -1]),
    "smooth_l1": (([2.0, -2.0, INF], [0.0] * 3), {"beta": 2.0}, [1, 1, INF], [1, -1, 1]),
    "smooth_l1 without a square": (([0.0, -2.0], [0.0] * 2), {"beta": 0.0}, [0, 2], [0, -1]),
    "quantile": (([INF, -INF, 1.0], [0.0, 0.0, 1.0]), {"q": 0.25}, [INF, INF, 0], [0.75, -0.25, 0]),
    "quantile at its end": (([INF, -INF], [0.0, 0.0]), {"q": 1.0}, [0, INF], [0, -1]),
    "squared_logarithmic_error": (([-5.0, 0.0, INF], [0.0, 0.0, 0.0]), {}, [0, 0, INF], [0, 0, 0]),
    "log_cosh": (([1e30, -1e30, INF, 1e-15], [0.0] * 4), {}, [1e30, 1e30, INF, 5e-31], [1, -1, 1, 1e-15]),
    "absolute_error": (([1e30, -INF], [0.0, 0.0]), {}, [1e30, INF], [1, -1]),
    "poisson_nll": (([INF, -INF, -INF], [2.0, 0.0, 2.0]), {}, [INF, 0, INF], [INF, 0, -2]),
    "poisson_nll of rates": (([INF, 0.0], [2.0, 0.0]), {"log_input": False}, [INF, 0], [1, 1]),
    "gaussian_nll": (([1e30], [0.0], [1e30]), {}, [5e29 + np.log(1e30) / 2], [1]),
    "cosine_distance": (([[0.0, 0.0], [1e30, 0.0], [1e-30, 0.0]], [[1.0, 2.0]] + [[-1.0, 0.0]] * 2), {}, [1, 2, 2], 0),
    "binary_cross_entropy": (([INF, -INF, 1e30, -1e30], [0, 1, 0, 1]), {}, [INF, INF, 1e30, 1e30], [1, -1, 1, -1]),
    "binary_focal_cross_entropy": (([INF, -INF, 1e30], [0, 1, 0]), {}, [INF, INF, 1e30], [1, -1, 1]),
    "binary_cross_entropy_probabilities": (([1.0, 0.0, 0.25], [0.0, 1.0, 0.25]), {}, [100, 100, 0.562335], [0, 0, 0]),
    "softmax_cross_entropy_probabilities": (([[-INF, 0.0], [1e30, 0.0]], [[1.0, 0.0], [0.0, 1.0]]), {}, [INF, 1e30],
        None),
    "softmax_focal_cross_entropy": (([[-INF, 0.0], [1e30, 0.0]], [0, 1]), {}, [INF, 1e30], [[-1, 1], [1, -1]]),
    "generalized_cross_entropy": (([[-INF, 0.0]], [0]), {"q": 0.5}, [2], 0),
    "kl_divergence": (([[-INF, 0.0], [-INF, 0.0]], [[0.0, 1.0], [1.0, 0.0]]), {}, [0, INF], [[0, -1], [-1, 0]]),
    "kl_divergence of logarithms": (
        ([[-INF, 0.0]], [[-INF, 0.0]]), {"log_target": True}, [0], [[0, -1]],
    ),
    "nll": (([[-INF, 0.0]], [0]), {}, [INF], [[-1, 0]]),
    "hinge": (([1e30, -1e30, -INF], [1, 1, 1]), {}, [0, 1e30, INF], [0, -1, -1]),
    "soft_margin": (([-1e30, -INF], [1, 1]), {}, [1e30, INF], [-1, -1]),
    "categorical_hinge": (([[1.0, 2.0, 2.0], [0.0, -1.0, -2.0]], [0, 0]), {}, [2, 1], [[-1, 1, 0], [-1, 0, 0]]),
    "multi_margin": (([[0.0, 1.0, 1.0]], [0]), {"reduce": "max"}, [2], [[-1, 1, 0]]),
    "multi_margin of one class": (([[3.0]], [0]), {}, [0], 0),
    "cosine_embedding": (([[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0]] * 2, [1, -1]), {}, [1, 0], 0),
    "triplet_margin": (([[0.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]), {"epsilon": 0.0}, [1], 0),
    "triplet_margin of large vectors": (([[3e30, 4e30]], [[0.0, 0.0]], [[0.0, 4e30]]), {}, [2e30], [[-0.4, 0.8]]),
    "circle": (([[1.0, 0.0], [0.0, 0.0]], [0, 1]), {}, [0, 0], 0),
    "dice": (([0.0, 0.0], [0.0, 0.0]), {}, 1, None),
    "dice without epsilon": (([0.0, 0.0], [0, 0]), {"epsilon": 0.0}, 0, 0),
    "tversky": (([1.0, 0.0], [1, 0]), {"epsilon": 0.0}, 0, None),
}  # fmt: skip


def arrays(args, dtype="float32"):
    whole = [jnp.asarray(args[0], dtype)]
    for arg in args[1:]:
        kind = np.asarray(arg).dtype.kind
        whole.append(jnp.asarray(arg, dtype if kind == "f" else jnp.int32))
    return whole


def run(name, args, options):
    first, *rest = args
    value, pull = jax.vjp(lambda x: getattr(losses, name)(x, *rest, **options), first)
    return value, pull(jnp.ones_like(value))[0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", MINIMA)
def test_at_the_least_value_the_gradient_is_exactly_zero(name, dtype):
    args, options, least = MINIMA[name]
    value, gradient = run(name, arrays(args, dtype), options)
    assert (value == least).all(), value
    assert not gradient.any(), gradient


@pytest.mark.parametrize("case", POINTS)
def test_values_and_gradients_at_kinks_and_without_bound(case):
    args, options, values, gradients = POINTS[case]
    value, gradient = run(case.split()[0], arrays(args), options)
    np.testing.assert_allclose(value, values, rtol=2e-6)
    if gradients is None:
        assert np.isfinite(gradient).all()
    else:
        np.testing.assert_allclose(gradient, np.broadcast_to(np.asarray(gradients, float), gradient.shape), rtol=2e-6)


@pytest.mark.parametrize(
    "name", ["absolute_error", "squared_error", "log_cosh", "huber", "smooth_l1", "squared_logarithmic_error", "hinge"]
)
def test_no_loss_is_below_its_least(name, rng):
    scores = jnp.asarray(rng.standard_normal(4096) * 10.0 ** rng.integers(-20, 20, 4096), jnp.float32)
    targets = jnp.sign(scores[::-1]) if name == "hinge" else scores[::-1]
    assert (jax.jit(getattr(losses, name))(scores, targets) >= 0).all()


def test_nearly_parallel_vectors_have_a_distance_that_is_not_rounding(rng):
    x = rng.standard_normal((64, 8))
    y = x + 1e-4 * rng.standard_normal((64, 8))
    u, v = (z / np.linalg.norm(z, axis=-1, keepdims=True) for z in (x.astype("f4").astype(float), y.astype("f4")))
    value = losses.cosine_distance(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    assert (value >= 0).all()
    # 1 − cos would have no digit left: it is about 10⁻⁸.
    np.testing.assert_allclose(value, ((u - v) ** 2).sum(-1) / 2, rtol=0.02)


@pytest.mark.parametrize("name", ["cosine_distance", "cosine_embedding", "triplet_margin"])
def test_nan_is_no_vector_of_zeros(name):
    x, y = jnp.array([[jnp.nan, 1.0], [1.0, 2.0]]), jnp.array([[1.0, 1.0], [2.0, 1.0]])
    rest = {"cosine_embedding": (y, jnp.ones(2)), "triplet_margin": (y, y)}
    value = getattr(losses, name)(x, *rest.get(name, (y,)), **({"p": 3} if name == "triplet_margin" else {}))
    assert np.isnan(value).tolist() == [True, False]


SIGNED = {
    "hinge": 1, "squared_hinge": 1, "soft_margin": 1, "hinge_embedding": 1, "margin_ranking": 2, "cosine_embedding": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNED)
def test_signs_that_are_none_are_refused_or_nan_under_jit(name):
    shape = (2, 3) if name == "cosine_embedding" else (2,)
    data = [jnp.full(shape, 0.5)] * SIGNED[name]
    loss = getattr(losses, name)
    for wrong in (0, 2):
        with pytest.raises(ValueError, match=f"losses.{name}.*`signs`.*2 \\* labels - 1"):
            loss(*data, jnp.array([1, wrong]))
        value, gradient = jax.jit(
            lambda first, *rest: (loss(first, *rest), jax.grad(lambda x: loss(x, *rest).sum())(first))
        )(*data, jnp.array([1, wrong]))
        assert np.isfinite(value[0])
        assert np.isnan(value[1])
        assert np.isnan(gradient[1]).all()
    for dtype in (jnp.int8, jnp.float16, jnp.float32):
        np.testing.assert_array_equal(loss(*data, jnp.array([1, -1], dtype)), loss(*data, jnp.array([1.0, -1.0])))


@pytest.mark.parametrize("name", ["softmax_focal_cross_entropy", "generalized_cross_entropy", "nll"])
def test_ignored_rows_cost_nothing_and_wrong_labels_are_nan(name):
    logits = jnp.array([[NAN, INF, 0.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    run = lambda z: getattr(losses, name)(z, jnp.array([-1, 2, 3]), ignore_label=-1)
    value, pull = jax.vjp(run, logits)
    gradient = pull(jnp.ones(3))[0]
    assert value[0] == 0
    assert not gradient[0].any()
    assert np.isfinite(value[1])
    assert np.isfinite(gradient[1]).all()
    assert np.isnan(value[2])
    assert np.isnan(gradient[2]).any()


@pytest.mark.parametrize("name", ["binary_cross_entropy", "multilabel_soft_margin", "multilabel_margin"])
def test_integer_labels_are_zero_or_one(name):
    loss = jax.jit(getattr(losses, name))
    z = jnp.array([[0.5, -1.0], [2.0, 0.25]])
    same = [loss(z, jnp.array([[1, 0], [0, 1]], dtype)) for dtype in (bool, jnp.int32, jnp.float32)]
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[2])
    wrong = np.asarray(loss(z, jnp.array([[1, 0], [2, 1]])))
    assert np.isfinite(wrong[0]).all()
    assert np.isnan(wrong[1]).any()


def test_focal_losses_keep_the_digits_of_what_is_nearly_right():
    # 1 − p is exp(−20), which is 0 beside 1; the loss is its cube.
    z = jnp.array([20.0])
    expected = np.exp(-20.0) ** 3
    np.testing.assert_allclose(losses.binary_focal_cross_entropy(z, jnp.ones(1)), [expected], rtol=1e-5)
    rows = jnp.array([[20.0, 0.0]])
    value = losses.softmax_focal_cross_entropy(rows, jnp.array([0]))
    # The softmax' own sum, 1 + exp(−20), is rounded to 1: the loss is 0, and never below.
    assert 0 <= value[0] <= 2 * expected


def test_ctc_counts_no_alignment_as_infinite_and_refuses_blanks_as_labels():
    nothing = jnp.zeros((1, 2))
    z = jnp.zeros((1, 2, 3))
    # Two equal labels need a blank between them, and three frames.
    assert losses.ctc(z, nothing, jnp.array([[1, 1]]), nothing)[0] > 1e4
    assert np.isnan(losses.ctc(z, nothing, jnp.array([[1, 0]]), nothing)[0])
    assert np.isnan(losses.ctc(z, nothing, jnp.array([[1, 3]]), nothing)[0])
    padded = losses.ctc(z, nothing, jnp.array([[1, 3]]), jnp.array([[0.0, 1.0]]))
    assert np.isfinite(padded[0])
