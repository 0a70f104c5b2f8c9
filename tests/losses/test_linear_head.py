"""The linear head fused with its loss against the two functions that it stands for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses, nn
from tests.tolerance import FLOATS, assert_close

W = [0.5, 2.0, 0.0, 1.0, 0.25, 3.0, 1.5]


@partial(jax.jit, static_argnames=("smoothing", "ignored"))
def plain(params, x, labels, g, smoothing=0.0, weights=None, ignored=None):
    def run(params, x):
        return losses.softmax_cross_entropy(
            nn.dense(params, x), labels, label_smoothing=smoothing, class_weights=weights, ignore_label=ignored
        )

    value, pull = jax.vjp(run, params, x)
    return value, *pull(g)


@partial(jax.jit, static_argnames=("smoothing", "ignored", "chunk"))
def fused(params, x, labels, g, smoothing=0.0, weights=None, ignored=None, chunk=None):
    def run(params, x):
        return losses.linear_softmax_cross_entropy(
            params, x, labels, label_smoothing=smoothing, class_weights=weights, ignore_label=ignored, chunk=chunk
        )

    value, pull = jax.vjp(run, params, x)
    return value, *pull(g)


def draw(rng, batch=(5,), inside=3, classes=7, bias=True, dtype="float32"):
    make = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)
    params = {"kernel": make(inside, classes)} | ({"bias": make(classes)} if bias else {})
    labels = jnp.asarray(rng.integers(0, classes, batch), jnp.int32)
    return params, make(*batch, inside), labels, make(*batch)


def same(found, expected, length=32):
    for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert got.dtype == wanted.dtype
        scale = max(1.0, np.abs(np.asarray(wanted).astype(float)).max(initial=0))
        assert_close(got, np.asarray(wanted).astype(float), length=length, scale=scale)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100, None])
def test_it_is_dense_and_softmax_cross_entropy_whatever_the_chunk(rng, chunk):
    data = draw(rng)
    same(fused(*data, chunk=chunk), plain(*data))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.125, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_options_are_those_of_the_plain_loss(rng, bias, smoothing, weighted):
    params, x, labels, g = draw(rng, batch=(2, 3), bias=bias)
    labels = labels.at[0, 1].set(-1)
    x = x.at[0, 1].set(jnp.nan)
    options = {"smoothing": smoothing, "ignored": -1, "weights": jnp.asarray(W) if weighted else None}
    found, expected = fused(params, x, labels, g, chunk=3, **options), plain(params, x, labels, g, **options)
    assert found[0][0, 1] == 0
    assert not found[2][0, 1].any()
    # The plain form's product meets the NaN of the row that is ignored: 0 · NaN in the kernel's gradient.
    assert np.isnan(expected[1]["kernel"]).any()
    same((found[0], found[2]), (expected[0], jnp.where(jnp.isnan(expected[2]), 0, expected[2])))
    clean = plain(params, x.at[0, 1].set(0), labels, g, **options)
    same(found[1], clean[1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_is_kept_and_near_float64(rng, dtype, x64):
    params, x, labels, g = draw(rng, dtype=dtype)
    found = fused(params, x, labels, g, smoothing=0.125, chunk=3)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (params, x, g))
    expected = plain(wide[0], wide[1], labels, wide[2], smoothing=0.125)
    for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert got.dtype == dtype
        assert_close(got, wanted, length=32, scale=max(1.0, np.abs(wanted).max()))


def test_classes_that_fill_up_a_round_number_are_left_out_by_a_bias_of_minus_infinity(rng):
    params, x, labels, g = draw(rng, classes=5)
    labels = labels % 5
    full = {
        "kernel": jnp.pad(params["kernel"], ((0, 0), (0, 3))),
        "bias": jnp.pad(params["bias"], (0, 3), constant_values=-jnp.inf),
    }
    for smoothing, weights in ((0.0, None), (0.25, jnp.asarray([1.0] * 5 + [0.0] * 3))):
        found = fused(full, x, labels, g, smoothing=smoothing, weights=weights, chunk=3)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
        assert not found[1]["kernel"][:, 5:].any()
        assert not found[1]["bias"][5:].any()
        # The share of smoothing is spread over all eight.
        expected = plain(full, x, labels, g, smoothing=smoothing, weights=weights)
        same(found[0], expected[0])
        same(found[2], expected[2])


def test_a_wrong_label_poisons_its_own_row_and_the_parameters(rng):
    params, x, labels, g = draw(rng)
    for wrong in (-1, 7):
        value, gradient, dx = fused(params, x, labels.at[2].set(wrong), g, chunk=2)
        assert np.isnan(value).tolist() == [False, False, True, False, False]
        assert np.isnan(dx).all(-1).tolist() == [False, False, True, False, False]
        assert np.isnan(gradient["kernel"]).all()


def test_logits_of_any_size_do_not_overflow():
    params = {"kernel": jnp.array([[3e38, -3e38, 0.0, 1e30]])}
    x, labels = jnp.ones((2, 1)), jnp.array([0, 2])
    value, gradient, dx = fused(params, x, labels, jnp.ones(2), chunk=2)
    np.testing.assert_allclose(value, [0, 3e38], rtol=1e-6)
    assert np.isfinite(gradient["kernel"]).all()
    assert np.isfinite(dx).all()


def test_no_example_and_no_features(rng):
    params, x, labels, g = draw(rng, batch=(0,))
    value, gradient, _ = fused(params, x, labels, g, chunk=3)
    assert value.shape == (0,)
    assert not gradient["kernel"].any()


def test_weights_of_the_classes_have_their_gradient(rng):
    params, x, labels, g = draw(rng)
    weights = jnp.asarray(W) + 0.5
    gradients = [
        jax.grad(lambda w, run=run: (run(params, x, labels, g, smoothing=0.25, weights=w)[0] * g).sum())(weights)
        for run in (partial(fused, chunk=3), plain)
    ]
    assert_close(gradients[0], np.asarray(gradients[1]), length=32, scale=4)


def test_the_second_derivative_in_reverse_mode_is_the_plain_ones(rng):
    params, x, labels, g = draw(rng)

    def curvature(run):
        gradient = jax.grad(lambda params: (run(params, x, labels, g)[0] * g).sum())
        v = jax.tree.map(jnp.cos, params)
        return jax.grad(
            lambda p: sum((a * b).sum() for a, b in zip(*map(jax.tree.leaves, (gradient(p), v)), strict=True))
        )

    same(curvature(partial(fused, chunk=3))(params), curvature(plain)(params))


def test_forward_mode_is_refused_as_the_docstring_says(rng):
    params, x, labels, _ = draw(rng)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda x: losses.linear_softmax_cross_entropy(params, x, labels), (x,), (x,))


def test_memory_is_at_most_a_quarter_of_the_plain_forms():
    rows, inside, classes = 1024, 256, 32_000
    params = {"kernel": jax.ShapeDtypeStruct((inside, classes), jnp.float32)}
    x, labels = jax.ShapeDtypeStruct((rows, inside), jnp.float32), jax.ShapeDtypeStruct((rows,), jnp.int32)

    def temporary(loss):
        gradient = jax.value_and_grad(lambda params, x, labels: loss(params, x, labels).mean(), argnums=(0, 1))
        return jax.jit(gradient).lower(params, x, labels).compile().memory_analysis().temp_size_in_bytes

    whole = temporary(lambda params, x, labels: losses.softmax_cross_entropy(nn.dense(params, x), labels))
    assert whole >= 4 * rows * classes
    assert temporary(losses.linear_softmax_cross_entropy) <= whole / 4
    for chunk in (1000, 4096):
        assert temporary(partial(losses.linear_softmax_cross_entropy, chunk=chunk)) <= whole / 4
