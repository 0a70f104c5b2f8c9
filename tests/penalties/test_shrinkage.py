import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from dlcore import penalties
from tests.tolerance import FLOATS, assert_close

STRENGTHS = [0.0, 1e-3, 40.0]


def draw(rng, dtype=jnp.float32):
    return {
        "conv1": {"kernel": jnp.asarray(rng.standard_normal((2, 3)), dtype), "bias": jnp.ones(3, dtype)},
        "norm": {"scale": jnp.asarray([1.0, np.nan], dtype), "offset": jnp.asarray([-0.0, np.inf], dtype)},
        "cells": [{"recurrent_kernel": jnp.full(2, 3.0, dtype)}, {"input_kernel": jnp.full((1, 2), -2.0, dtype)}],
    }


def weights(params):
    """The leaves of `draw` that multiply data, in float64."""
    leaves = params["conv1"]["kernel"], params["cells"][0]["recurrent_kernel"], params["cells"][1]["input_kernel"]
    return [np.asarray(leaf).astype(np.float64) for leaf in leaves]


def bits(leaf):
    return np.asarray(leaf).tobytes(), leaf.dtype, leaf.shape


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_l2_is_the_strength_times_the_sum_of_squares(rng, dtype, strength, x64):
    params = {"a": jnp.asarray(rng.standard_normal((3, 4)), dtype), "b": [jnp.asarray(2.0, dtype), jnp.ones(0, dtype)]}
    value, gradient = jax.jit(jax.value_and_grad(penalties.l2(strength).value))(params)
    wide = np.asarray(params["a"]).astype(np.float64)
    assert value.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
    assert_close(value, strength * ((wide**2).sum() + 4), length=13)
    assert gradient["a"].dtype == dtype
    assert_close(gradient["a"], 2 * strength * wide)
    assert_close(gradient["b"][0], 4 * strength)


@pytest.mark.parametrize("step", [0.0, 0.3])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_proximal_operator_of_l2_solves_its_own_problem(rng, strength, step, x64):
    x = rng.standard_normal(5)
    penalty = penalties.l2(strength)
    objective = jax.jit(lambda p: 0.5 * ((p - x) ** 2).sum() + step * penalty.value({"w": p}))
    slope = jax.jit(jax.grad(objective))
    found = penalty.prox({"w": jnp.asarray(x)}, step)["w"]
    solved = minimize(
        lambda p: float(objective(p)), np.zeros(5), jac=lambda p: np.asarray(slope(p)), method="BFGS",
        options={"gtol": 1e-10},
    )  # fmt: skip
    assert solved.success
    np.testing.assert_allclose(found, solved.x, atol=1e-9)
    assert objective(found) <= objective(jnp.asarray(solved.x)) + 1e-15
    # And the oracle by hand: x / (1 + 2 t λ).
    assert_close(found, x / (1 + 2 * step * strength))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_proximal_operator_keeps_the_dtype_and_rounds_once(rng, dtype, x64):
    x = jnp.asarray(rng.standard_normal(9), dtype)
    found = penalties.l2(0.3).prox({"w": x}, 0.7)["w"]
    assert found.dtype == dtype
    assert_close(found, np.asarray(x).astype(np.float64) / (1 + 2 * 0.3 * 0.7))


def test_large_and_half_precision_weights_are_summed_in_float32():
    params = {"w": jnp.full(40_001, 300.0, jnp.float16)}  # a square is beyond float16
    assert_close(penalties.l2(1.0).value(params), 40_001 * 9e4, length=40_001)


def test_l2_of_no_weights_is_zero_and_of_nan_is_nan():
    assert penalties.l2(1.0).value({}) == 0
    assert np.isnan(penalties.l2(1.0).value({"w": jnp.array([1.0, np.nan])}))


def test_the_strength_may_be_traced_and_mapped_over(rng):
    params = {"kernel": jnp.asarray(rng.standard_normal(6), jnp.float32)}
    wide = np.asarray(params["kernel"], np.float64)
    strengths = jnp.array(STRENGTHS)

    def both(strength):
        penalty = penalties.on(penalties.l2(strength))
        return penalty.value(params), jax.grad(penalty.value)(params), penalty.prox(params, 0.5)

    values, gradients, moved = jax.jit(jax.vmap(both))(strengths)
    for lane, strength in enumerate(np.asarray(strengths, np.float64)):
        assert_close(values[lane], strength * (wide**2).sum(), length=6)
        assert_close(gradients["kernel"][lane], 2 * strength * wide)
        assert_close(moved["kernel"][lane], wide / (1 + strength))


def test_the_step_may_be_traced(rng):
    x = rng.standard_normal(4)
    prox = jax.jit(lambda w, step: penalties.l2(2.0).prox({"w": w}, step)["w"])
    for step in (0.0, 0.25):
        assert_close(prox(jnp.asarray(x, jnp.float32), jnp.asarray(step)), x / (1 + 4 * step))


@pytest.mark.parametrize("dtype", FLOATS)
def test_on_sees_kernels_alone_and_leaves_the_others_bit_for_bit(rng, dtype, x64):
    params = draw(rng, dtype)
    penalty = penalties.on(penalties.l2(0.25))
    value, gradient = jax.jit(jax.value_and_grad(penalty.value))(params)
    assert_close(value, 0.25 * sum((w**2).sum() for w in weights(params)), dtype="float32", length=10)
    for found, want in zip(weights(gradient), weights(params), strict=True):
        assert_close(jnp.asarray(found, dtype), 0.5 * want)
    for group, leaf in (("conv1", "bias"), ("norm", "scale"), ("norm", "offset")):
        assert not gradient[group][leaf].any()
    for prox in (penalty.prox, jax.jit(penalty.prox)):
        moved = prox(params, 2.0)
        assert jax.tree.structure(moved) == jax.tree.structure(params)
        for found, want in zip(weights(moved), weights(params), strict=True):
            assert_close(jnp.asarray(found, dtype), want / 2)
        for group, leaf in (("conv1", "bias"), ("norm", "scale"), ("norm", "offset")):
            assert bits(moved[group][leaf]) == bits(params[group][leaf])


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("^conv1/", {"conv1/kernel", "conv1/bias"}),
        ("cells/1", {"cells/1/input_kernel"}),
        ("recurrent", {"cells/0/recurrent_kernel"}),
        ("(bias|kernel)$", {"conv1/kernel", "conv1/bias", "cells/0/recurrent_kernel", "cells/1/input_kernel"}),
    ],
)
def test_a_pattern_is_searched_for_in_the_path(rng, pattern, chosen):
    params = draw(rng)
    moved = penalties.on(penalties.l2(0.5), pattern).prox(params, 1.0)
    changed = set()
    for (path, before), after in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(moved), strict=True):
        if bits(before) != bits(after):
            changed.add(jax.tree_util.keystr(path, simple=True, separator="/"))
            assert_close(after, np.asarray(before, np.float64) / 2)
    assert changed == chosen


def test_integer_leaves_may_stand_beside_those_that_pay():
    params = {"kernel": jnp.array([2.0]), "steps": jnp.array(7)}
    penalty = penalties.on(penalties.l2(1.0))
    assert penalty.value(params) == 4
    assert penalty.prox(params, 0.5)["steps"] == 7
    with pytest.raises(TypeError, match=r"penalties.l2.*steps"):
        penalties.l2(1.0).value(params)
    with pytest.raises(TypeError, match=r"penalties.l2.*steps"):
        penalties.l2(1.0).prox(params, 0.5)


def test_a_pattern_that_finds_nothing_lists_the_leaves(rng):
    params = draw(rng)
    penalty = penalties.on(penalties.l2(1.0), "kernal$")
    for use in (penalty.value, jax.jit(penalty.value), jax.grad(penalty.value), lambda p: penalty.prox(p, 1.0)):
        with pytest.raises(ValueError, match=r"penalties.on.*kernal.*conv1/bias.*conv1/kernel"):
            use(params)


def test_on_may_be_nested_and_both_patterns_must_match(rng):
    params = draw(rng)
    penalty = penalties.on(penalties.on(penalties.l2(1.0), "kernel$"), "^cells/0")
    assert_close(penalty.value(params), (weights(params)[1] ** 2).sum())
    moved = penalty.prox(params, 0.5)
    assert_close(moved["cells"][0]["recurrent_kernel"], weights(params)[1] / 2)
    assert bits(moved["conv1"]["kernel"]) == bits(params["conv1"]["kernel"])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: penalties.l2(-1.0), ValueError, "penalties.l2.*strength"),
        (lambda: penalties.l2(np.inf), ValueError, "penalties.l2.*strength"),
        (lambda: penalties.l2(np.nan), ValueError, "penalties.l2.*strength"),
        (lambda: penalties.l2("1"), TypeError, "penalties.l2.*strength"),
        (lambda: penalties.l2(jnp.ones(2)), TypeError, "penalties.l2.*strength"),
        (lambda: penalties.l2(1.0).prox({"w": jnp.ones(1)}, -1.0), ValueError, "penalties.l2.*step"),
        (lambda: penalties.on(lambda params: 0.0), TypeError, "penalties.on.*penalty"),
        (lambda: penalties.on(penalties.l2(1.0), 3).value({"w": jnp.ones(1)}), TypeError, "penalties.on.*pattern"),
        (lambda: penalties.on(penalties.l2(1.0), "(").value({"w": jnp.ones(1)}), ValueError, "penalties.on.*pattern"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, error, words):
    with pytest.raises(error, match=words):
        make()
