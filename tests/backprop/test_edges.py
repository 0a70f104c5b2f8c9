"""Rules where numbers are large, infinite or NaN, what residuals hold, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import backprop, losses, nn
from tests.backprop import plain
from tests.backprop.table import ACTIVATIONS
from tests.tolerance import FLOATS, assert_close

INF, NAN = np.inf, np.nan
UNITS = [case for case in ACTIVATIONS if len(case.make(np.random.default_rng(0))) == 1 and case.rule != "maxout"]
UNITS = [case for case in UNITS if case.rule != "glu"]
FAR = [-INF, -3e38, -1e30, -1e4, -100.0, -30.0, 30.0, 100.0, 1e4, 1e30, 3e38, INF]


@pytest.fixture(scope="module")
def far_out():
    """All units at the far points and at NaN, in one compilation: y and dx of the rule, and of dlcore.nn."""
    x = jnp.array([*FAR, NAN], jnp.float32)

    def run(x):
        found = {}
        for case in UNITS:
            y, residuals = case.fwd(x)
            theirs, pull = jax.vjp(case.reference, x)
            dy = jnp.ones_like(x)
            found[case.id] = (y, case.bwd(residuals, dy)[0], theirs, pull(dy)[0])
        return found

    return jax.tree.map(np.asarray, jax.jit(run)(x))


@pytest.mark.parametrize("case", UNITS, ids=lambda case: case.id)
def test_far_out_values_and_gradients_have_their_limits_where_dlcores_function_has_them(far_out, case):
    y, dx, theirs, gradient = (a[:-1] for a in far_out[case.id])
    # One of dlcore.nn's sums may overflow at the largest float32 where these halves do not.
    known = np.isfinite(theirs) | np.isinf(FAR)
    np.testing.assert_allclose(y[known], theirs[known], rtol=1e-6, atol=1e-6)
    known = np.isfinite(gradient)
    np.testing.assert_allclose(dx[known], gradient[known], rtol=1e-6, atol=1e-6)
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("case", UNITS, ids=lambda case: case.id)
def test_nan_gives_nan(far_out, case):
    assert np.isnan(far_out[case.id][0][-1])


def test_half_precision_keeps_the_small_slopes_of_saturated_units(x64):
    """Saving y, rounded to 1, would leave none."""
    x = jnp.array([-9.0, 6.0, 8.0], jnp.bfloat16)
    wide = np.asarray(x).astype(float)
    s = 1 / (1 + np.exp(-wide))
    for name, slope in (("sigmoid", s * (1 - s)), ("tanh", 1 / np.cosh(wide) ** 2), ("log_sigmoid", 1 - s)):
        _, residuals = getattr(backprop, f"{name}_fwd")(x)
        (dx,) = getattr(backprop, f"{name}_bwd")(residuals, jnp.ones_like(x))
        np.testing.assert_allclose(np.asarray(dx).astype(float), slope, rtol=2**-8)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["hard_shrink", "thresholded_relu"])
def test_a_threshold_is_rounded_as_dlcores_function_rounds_it(name, dtype, x64):
    """0.3 is no number of bfloat16: the one next to it stands on the jump in both."""
    x = jnp.nextafter(jnp.asarray(0.3, dtype), jnp.asarray([0.0, 0.3, 1.0], dtype))
    y, residuals = getattr(backprop, f"{name}_fwd")(x, threshold=0.3)
    np.testing.assert_array_equal(y, getattr(nn, name)(x, threshold=0.3))
    assert getattr(backprop, f"{name}_bwd")(residuals, jnp.ones_like(x))[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "x",
    [
        [-INF, 0, 0], [-INF, -INF, 3], [1e30, -1e30, 0], [1e30, 1e30, 1e30], [0, INF, 0], [-INF, -INF, -INF],
        [INF, 0, INF], [INF, -INF, 0],
    ],
)  # fmt: skip
def test_softmax_and_its_kin_have_limits_and_no_gradient_is_nan(x):
    x, dy = jnp.array(x, jnp.float32), jnp.array([1.0, 2.0, 4.0])
    for name in ("softmax", "log_softmax"):
        y, residuals = getattr(backprop, f"{name}_fwd")(x)
        np.testing.assert_allclose(y, getattr(nn, name)(x), rtol=1e-6)
        (dx,) = getattr(backprop, f"{name}_bwd")(residuals, dy)
        assert np.isfinite(dx).all()
        if not np.isposinf(x).any():  # where dlcore.nn takes the slice for a constant
            _, pull = jax.vjp(getattr(nn, name), x)
            assert_close(dx, pull(dy)[0], scale=4)
    for label in range(3):
        value, residuals = backprop.softmax_cross_entropy_fwd(x, jnp.array(label))
        np.testing.assert_allclose(value, losses.softmax_cross_entropy(x, jnp.array(label)), rtol=1e-6)
        dz, none = backprop.softmax_cross_entropy_bwd(residuals, jnp.ones(()))
        assert none is None
        assert np.isfinite(dz).all()


@pytest.mark.parametrize("label", [-1, 3, -100, 2**31 - 1])
def test_a_label_that_is_no_class_gives_nan_in_value_and_gradient_of_its_own_row(label):
    value, residuals = backprop.softmax_cross_entropy_fwd(jnp.zeros((2, 3)), jnp.array([label, 0]))
    dz, _ = backprop.softmax_cross_entropy_bwd(residuals, jnp.ones(2))
    assert np.isnan(value).tolist() == [True, False]
    assert np.isnan(dz).all(1).tolist() == [True, False]


def test_narrow_labels_tell_many_classes_apart():
    _, residuals = backprop.softmax_cross_entropy_fwd(jnp.zeros((1, 300)), jnp.array([5], jnp.uint8))
    dz, _ = backprop.softmax_cross_entropy_bwd(residuals, jnp.ones(1))
    assert (np.asarray(dz) < 0).nonzero()[1].tolist() == [5]


def test_normalisation_keeps_its_digits_where_the_mean_is_much_larger_than_the_deviation(rng, x64):
    x64bit = jnp.asarray(1e4 + rng.standard_normal((64, 3)))
    x = x64bit.astype(jnp.float32)
    dy = jnp.asarray(rng.standard_normal(x.shape), jnp.float32)
    for name, axes in (("batch_norm", (0,)), ("layer_norm", -1)):
        y, residuals = getattr(backprop, f"{name}_fwd")({}, x)
        _, dx = getattr(backprop, f"{name}_bwd")(residuals, dy)
        wide, pull = jax.vjp(lambda x, axes=axes: plain.norm({}, x, axes), x.astype(float))
        assert_close(y, wide, length=64, scale=3)
        assert_close(dx, pull(dy.astype(float))[0], length=64, scale=float(residuals.inverse.max()) * 3)


def test_a_constant_batch_gives_the_offset_and_finite_gradients():
    y, residuals = backprop.batch_norm_fwd({"scale": jnp.ones(2), "offset": jnp.full(2, 7.0)}, jnp.full((4, 2), 3.0))
    assert (y == 7).all()
    grads, dx = backprop.batch_norm_bwd(residuals, jnp.ones((4, 2)))
    assert not dx.any()
    assert not grads["scale"].any()


def test_scale_and_offset_may_be_wider_than_the_data(x64):
    x = jnp.arange(6.0).reshape(3, 2).astype(jnp.bfloat16)
    params = {"scale": jnp.ones(2, jnp.float32), "offset": jnp.ones(2, jnp.float64)}
    for name in ("batch_norm", "layer_norm"):
        y, residuals = getattr(backprop, f"{name}_fwd")(params, x)
        grads, dx = getattr(backprop, f"{name}_bwd")(residuals, y)
        assert y.dtype == dx.dtype == jnp.bfloat16
        assert (grads["scale"].dtype, grads["offset"].dtype) == (jnp.float32, jnp.float64)


def test_targets_keep_a_dtype_of_their_own(x64):
    y, residuals = backprop.squared_error_fwd(jnp.ones(2, jnp.bfloat16), jnp.zeros(2, jnp.float32))
    dp, dt = backprop.squared_error_bwd(residuals, y)
    assert (y.dtype, dp.dtype, dt.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)


def test_a_dropped_value_has_gradient_zero_even_where_it_or_its_error_is_infinite(key):
    x = jnp.full(101, INF)
    y, residuals = backprop.dropout_fwd(key, x, rate=0.5)
    assert set(np.unique(y)) == {0, INF}
    _, dx = backprop.dropout_bwd(residuals, x)
    np.testing.assert_array_equal(dx, y)


def test_the_index_of_a_pooling_takes_a_byte_as_long_as_it_can():
    for taps, dtype in ((9, jnp.uint8), (256, jnp.uint8), (257, jnp.int32)):
        x = jax.ShapeDtypeStruct((taps, 1), jnp.float32)
        _, residuals = jax.eval_shape(partial(backprop.max_pool_fwd, window=taps), x)
        assert residuals.index.dtype == dtype
        x = jax.ShapeDtypeStruct((2, taps), jnp.float32)
        assert jax.eval_shape(partial(backprop.maxout_fwd, pieces=taps), x)[1].index.dtype == dtype


def test_the_last_of_many_pieces_can_win():
    y, residuals = backprop.maxout_fwd(jnp.arange(600.0), pieces=300)
    assert y.tolist() == [299, 599]
    assert np.flatnonzero(backprop.maxout_bwd(residuals, jnp.ones(2))[0]).tolist() == [299, 599]


def test_maxout_takes_nan_for_the_largest_and_the_first_of_equals():
    y, residuals = backprop.maxout_fwd(jnp.array([1.0, NAN, NAN, 0.0, 0.0, -0.0]), pieces=3)
    assert np.isnan(y[0])
    assert backprop.maxout_bwd(residuals, jnp.ones(2))[0].tolist() == [0, 1, 0, 1, 0, 0]


def test_an_infinite_value_above_the_kink_leaves_prelus_slope_its_gradient():
    _, residuals = backprop.prelu_fwd(jnp.array([-2.0, INF]), jnp.array(0.5))
    dx, dslope = backprop.prelu_bwd(residuals, jnp.ones(2))
    assert dx.tolist() == [0.5, 1]
    assert dslope == -2


def test_the_initial_state_of_a_gru_has_a_gradient_of_its_own(rng, x64):
    params = {"input_kernel": (2, 9), "recurrent_kernel": (3, 9), "input_bias": (9,), "recurrent_bias": (9,)}
    params = {name: jnp.asarray(rng.standard_normal(shape)) for name, shape in params.items()}
    x, h = jnp.asarray(rng.standard_normal((4, 3, 2))), jnp.asarray(rng.standard_normal((4, 3)))
    dy = jnp.asarray(rng.standard_normal((4, 3, 3))), jnp.asarray(rng.standard_normal((4, 3)))

    @jax.jit
    def run(params, x, h, dy):
        _, residuals = backprop.gru_fwd(params, x, initial_state=h)
        return tuple(backprop.gru_gradients(residuals, dy)), jax.vjp(plain.gru, params, x, h)[1](dy)

    for a, e in zip(*map(jax.tree.leaves, run(params, x, h, dy)), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-12)


def test_a_gru_of_no_steps_hands_its_state_through():
    params = {"input_kernel": jnp.ones((2, 9)), "recurrent_kernel": jnp.ones((3, 9))}
    (ys, h), residuals = backprop.gru_fwd(params, jnp.ones((4, 0, 2)), initial_state=jnp.ones((4, 3)))
    assert ys.shape == (4, 0, 3)
    assert (h == 1).all()
    grads = backprop.gru_gradients(residuals, (ys, h))
    assert (grads.initial_state == 1).all()
    assert not grads.params["input_kernel"].any()


def test_a_causal_query_pulls_at_no_later_key(rng):
    q, k, v = (jnp.asarray(rng.standard_normal((5, 2, 3)), jnp.float32) for _ in range(3))
    y, residuals = backprop.dot_product_attention_fwd(q, k, v, causal=True)
    dy = jnp.zeros_like(y).at[1].set(1)
    dq, dk, dv = backprop.dot_product_attention_bwd(residuals, dy)
    assert np.flatnonzero(np.abs(dq).sum((1, 2))).tolist() == [1]
    assert np.flatnonzero(np.abs(dk).sum((1, 2))).tolist() == [0, 1]
    assert np.flatnonzero(np.abs(dv).sum((1, 2))).tolist() == [0, 1]


def test_attention_to_huge_scores_is_certain():
    q, k = jnp.full((1, 1, 1), 1e20), jnp.array([1e15, -1e15]).reshape(2, 1, 1)
    y, residuals = backprop.dot_product_attention_fwd(q, k, jnp.array([3.0, 5.0]).reshape(2, 1, 1))
    assert y.ravel().tolist() == [3]
    grads = backprop.dot_product_attention_bwd(residuals, y)
    assert all(np.isfinite(leaf).all() for leaf in grads)


X, KEY = jnp.ones((2, 5, 6, 4)), jax.random.key(0)
KERNEL = {"kernel": jnp.ones((3, 3, 4, 2))}
GRU = {"input_kernel": jnp.ones((4, 6)), "recurrent_kernel": jnp.ones((2, 6))}
HEADS = jnp.ones((5, 2, 3))


@pytest.mark.parametrize(
    ("name", "arguments", "options", "error", "words"),
    [
        *(
            ("relu", (x,), {}, TypeError, "`x`")
            for x in (jnp.arange(3), [1.0], None, "x", jnp.ones(2, complex), KEY, jnp.ones(2, bool))
        ),
        ("leaky_relu", (jnp.ones(2),), {"negative_slope": NAN}, ValueError, "`negative_slope`"),
        ("thresholded_relu", (jnp.ones(2),), {"threshold": INF}, ValueError, "`threshold`"),
        ("thresholded_relu", ([1.0],), {"threshold": 1.0}, TypeError, "`x`"),
        ("elu", (jnp.ones(2),), {"alpha": jnp.ones(())}, TypeError, "`alpha`"),
        ("celu", (jnp.ones(2),), {"alpha": 0.0}, ValueError, "`alpha`"),
        ("squareplus", (jnp.ones(2),), {"b": -1.0}, ValueError, "`b`"),
        ("hard_sigmoid", (jnp.ones(2),), {"slope": INF}, ValueError, "`slope`"),
        ("hard_sigmoid", (jnp.ones(2),), {"offset": NAN}, ValueError, "`offset`"),
        ("hard_shrink", (jnp.ones(2),), {"threshold": -1.0}, ValueError, "`threshold`"),
        ("soft_shrink", (jnp.ones(2),), {"threshold": "x"}, TypeError, "`threshold`"),
        ("prelu", (jnp.ones((2, 3)), jnp.ones(2)), {}, ValueError, "`slope`"),
        ("prelu", (jnp.ones((2, 3)), jnp.ones(3, jnp.float16)), {}, TypeError, "slope"),
        ("glu", (jnp.ones(3),), {}, ValueError, "`x`"),
        ("glu", (jnp.ones((2, 4)),), {"axis": 2}, ValueError, "axis"),
        ("swiglu", (jnp.ones(3), jnp.ones((3, 1))), {}, ValueError, "`b`"),
        ("geglu", (jnp.ones(3), jnp.ones(3, jnp.float16)), {}, TypeError, "b"),
        ("maxout", (jnp.ones((2, 5)),), {"pieces": 2}, ValueError, "`pieces`"),
        ("maxout", (jnp.ones((2, 4)),), {"pieces": 0}, ValueError, "`pieces`"),
        ("dense", (X, KERNEL), {}, TypeError, "`params`.*order"),
        ("dense", (KERNEL, X), {}, ValueError, "kernel"),
        ("dense", ({"kernel": jnp.ones((3, 2))}, X), {}, ValueError, "`x`"),
        ("dense", ({"kernel": jnp.ones((4, 2), jnp.float16)}, X), {}, TypeError, "kernel"),
        ("dense", ({"kernel": jnp.ones((4, 2)), "bias": jnp.ones((1, 2))}, X), {}, ValueError, "bias"),
        ("dense", ({"kernel": jnp.ones((4, 2)), "scale": jnp.ones(2)}, X), {}, ValueError, "scale"),
        ("squared_error", (jnp.ones(3), jnp.ones((3, 1))), {}, ValueError, "`targets`"),
        ("squared_error", (jnp.ones(3), jnp.ones(3, int)), {}, TypeError, "`targets`"),
        ("softmax", (jnp.ones(3),), {"axis": 1}, ValueError, "`axis`"),
        ("log_softmax", (jnp.ones(()),), {}, ValueError, "`axis`"),
        ("softmax_cross_entropy", (jnp.ones((2, 3)), jnp.ones(2)), {}, TypeError, "`labels`"),
        ("softmax_cross_entropy", (jnp.ones((2, 3)), jnp.ones((2, 1), int)), {}, ValueError, "`labels`"),
        ("softmax_cross_entropy", (jnp.ones((2, 0)), jnp.ones(2, int)), {}, ValueError, "`logits`"),
        ("conv", (KERNEL, X[..., :3]), {}, ValueError, "`x`"),
        ("conv", (KERNEL, X[0, 0]), {}, ValueError, "spatial"),
        ("conv", ({"kernel": jnp.ones((4, 2))}, X), {}, ValueError, "dense_fwd"),
        ("conv", (KERNEL | {"bias": jnp.ones(3)}, X), {}, ValueError, "bias"),
        ("conv", (KERNEL, X), {"padding": "same"}, ValueError, "`padding`"),
        ("conv", (KERNEL, X.astype(jnp.float16)), {}, TypeError, "kernel"),
        ("max_pool", (X,), {"window": ()}, TypeError, "`window`"),
        ("max_pool", (X,), {"window": (7, 7)}, ValueError, "`x`"),
        ("max_pool", (X,), {"window": (2, 2), "padding": ((2, 0), (0, 0))}, ValueError, "`padding`"),
        ("max_pool", (X.astype(int),), {"window": (2, 2)}, TypeError, "`x`"),
        ("avg_pool", (jnp.ones(3),), {"window": (2, 2)}, ValueError, "`x`"),
        ("global_avg_pool", (X,), {"axes": -1}, ValueError, "`axes`"),
        ("global_avg_pool", (X[:, :0],), {"axes": (-3, -2)}, ValueError, "`x`"),
        ("batch_norm", ({}, jnp.ones((1, 3))), {}, ValueError, "`x`.*two values"),
        ("batch_norm", ({"scale": jnp.ones(2)}, jnp.ones((4, 3))), {}, ValueError, "scale"),
        ("layer_norm", ({}, jnp.ones(3)), {"epsilon": 0.0}, ValueError, "`epsilon`"),
        ("layer_norm", ({}, jnp.ones(())), {}, ValueError, "`x`"),
        ("rms_norm", ({"offset": jnp.ones(3)}, jnp.ones(3)), {}, ValueError, "offset"),
        ("dropout", (None, X), {"rate": 0.5}, ValueError, "`key`"),
        ("dropout", (np.zeros(2, np.uint32), X), {"rate": 0.5}, TypeError, "`key`"),
        ("dropout", (jax.random.key(1), X), {"rate": 1.5}, ValueError, "`rate`"),
        ("gru_cell", (GRU, jnp.ones((3, 2)), jnp.ones((2, 4))), {}, ValueError, "`h`"),
        ("gru_cell", (GRU, jnp.ones((3, 2)), jnp.ones((3, 5))), {}, ValueError, "`x`"),
        ("gru", (GRU | {"input_bias": jnp.ones(6)}, jnp.ones((3, 4))), {}, ValueError, "`params`.*both"),
        ("gru", (GRU | {"input_kernel": jnp.ones((4, 8))}, jnp.ones((3, 4))), {}, ValueError, "input_kernel"),
        ("gru", (GRU | {"recurrent_kernel": jnp.ones(6)}, jnp.ones((3, 4))), {}, ValueError, "recurrent_kernel"),
        ("gru", (GRU, jnp.ones(4)), {}, ValueError, "`x`"),
        ("gru", (GRU, jnp.ones((3, 4))), {"initial_state": jnp.ones((1, 2))}, ValueError, "`initial_state`"),
        ("gru", (GRU, jnp.ones((3, 4), jnp.float16)), {}, TypeError, "kernel"),
        ("dot_product_attention", (HEADS, HEADS[:, :1], HEADS[:, :1]), {}, ValueError, "`k`.*heads.*repeat"),
        ("dot_product_attention", (HEADS, HEADS[None], HEADS), {}, ValueError, "`k`"),
        ("dot_product_attention", (HEADS, HEADS, HEADS[:4]), {}, ValueError, "`v`"),
        ("dot_product_attention", (HEADS[0], HEADS, HEADS), {}, ValueError, "`q`"),
        ("dot_product_attention", (HEADS, HEADS, HEADS.astype(jnp.float16)), {}, TypeError, "v"),
        ("dot_product_attention", (HEADS, HEADS, HEADS), {"scale": NAN}, ValueError, "`scale`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, arguments, options, error, words):
    with pytest.raises(error, match=f"dlcore.backprop.{name}_fwd.*{words}"):
        getattr(backprop, f"{name}_fwd")(*arguments, **options)


def test_cotangents_of_a_gru_are_a_pair():
    (ys, _), residuals = backprop.gru_fwd(GRU, jnp.ones((3, 4)))
    for dy in (ys, (ys,), None):
        with pytest.raises(TypeError, match=r"backprop.gru_bwd.*`dy`.*pair"):
            backprop.gru_bwd(residuals, dy)
    with pytest.raises(ValueError, match=r"backprop.gru_bwd.*`dy\[1\]`"):
        backprop.gru_bwd(residuals, (ys, ys))


def test_a_python_number_is_a_cotangent_of_a_scalar():
    _, residuals = backprop.tanh_fwd(jnp.zeros((), jnp.bfloat16))
    assert backprop.tanh_bwd(residuals, 1.0)[0] == 1
