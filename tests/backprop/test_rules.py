"""Every rule against jax.vjp of its plain equation, and against the function of dlcore that it belongs to."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import backprop, nn
from tests.backprop.table import FIRST, RULES_UNDER_TEST, as_arrays, is_floating, is_key
from tests.tolerance import assert_close

# Compiling is what these tests spend their time on.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
every = pytest.mark.parametrize("case", RULES_UNDER_TEST, ids=lambda case: case.id)
first = pytest.mark.parametrize("case", FIRST, ids=lambda case: case.rule)


def fresh(args):
    """Keys may be used again: here the same mask is what is wanted."""
    return jax.tree.map(lambda a: jax.random.clone(a) if is_key(a) else a, args)


def pulled_by_jax(f, args, dy):
    """y, and one gradient for each argument: None where it is no floating one."""
    args = fresh(args)
    live = [i for i, arg in enumerate(args) if all(map(is_floating, jax.tree.leaves(arg)))]

    def of_live(*chosen):
        whole = list(args)
        for place, arg in zip(live, chosen, strict=True):
            whole[place] = arg
        return f(*whole)

    y, pull = jax.vjp(of_live, *(args[i] for i in live))
    grads = dict(zip(live, pull(dy), strict=True))
    return y, tuple(grads.get(i) for i in range(len(args)))


def by_rule(case, args, dy):
    y, residuals = case.fwd(*fresh(args))
    return y, case.bwd(residuals, dy)


def output_like(case, args, rng):
    """A random dy for the shapes of y."""
    shapes = jax.eval_shape(lambda *args: case.fwd(*args)[0], *args)
    return jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype), shapes)


def compare(actual, expected, tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        assert a.shape == e.shape
        a, e = np.asarray(a), np.asarray(e)
        finite = np.abs(e[np.isfinite(e)])
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance * (finite.max() if finite.size else 1))


@every
def test_value_and_gradients_are_those_of_the_plain_equation_and_of_dlcores_function(case, rng, x64):
    @quickly
    def run(args, dy):
        results = {
            "rule": by_rule(case, args, dy),
            "plain": pulled_by_jax(lambda *a: case.plain(*a, **case.options), args, dy),
        }
        if case.reference is not None:
            results["dlcore"] = pulled_by_jax(lambda *a: case.reference(*a, **case.options), args, dy)
        return results

    for _ in range(2):
        args = as_arrays(case.make(rng), jnp.float64)
        found = run(args, output_like(case, args, rng))
        assert len(found["rule"][1]) == len(args)
        compare(found["rule"], found["plain"], 1e-12)
        if "dlcore" in found:
            compare(found["rule"], found["dlcore"], 1e-12)


@pytest.mark.slow(one_in=2)
@first
def test_as_custom_vjp_in_single_and_half_precision_it_is_near_float64_and_keeps_the_dtype(case, rng, x64):
    drawn = case.make(rng)
    dtypes = ("float32", "bfloat16")
    narrow = {dtype: as_arrays(drawn, dtype) for dtype in dtypes}
    wide = {dtype: jax.tree.map(lambda a: a.astype(float) if is_floating(a) else a, narrow[dtype]) for dtype in dtypes}
    shape = output_like(case, narrow["float32"], rng)
    dys = {dtype: jax.tree.map(lambda a, dtype=dtype: a.astype(dtype), shape) for dtype in dtypes}

    @quickly
    def run(narrow, wide, dys):
        found = {dtype: pulled_by_jax(case.custom(), narrow[dtype], dys[dtype]) for dtype in dtypes}
        widened = jax.tree.map(lambda a: a.astype(float), dys)
        expected = {
            dtype: pulled_by_jax(lambda *a: case.plain(*a, **case.options), wide[dtype], widened[dtype])
            for dtype in dtypes
        }
        return found, expected

    found, expected = run(narrow, wide, dys)
    for dtype in dtypes:
        assert jax.tree.structure(found[dtype]) == jax.tree.structure(expected[dtype])
        for a, e in zip(jax.tree.leaves(found[dtype]), jax.tree.leaves(expected[dtype]), strict=True):
            assert a.dtype == dtype
            # A gradient is summed in float32, so that half precision adds the result's own rounding alone.
            size = max(case.size, np.abs(np.asarray(e)).max(initial=0))
            assert_close(a, e, length=case.length if dtype == "float32" else 1, scale=size)


@pytest.mark.slow(one_in=2)
@first
def test_vmap_is_a_scan_and_residuals_may_leave_it(case, rng):
    lanes = [as_arrays(case.make(rng), jnp.float32) for _ in range(3)]
    args = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)
    dys = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[output_like(case, lane, rng) for lane in lanes])

    @quickly
    def run(args, dys):
        # Two maps, so that residuals are stacked pytrees between them, as a scan makes them.
        y, residuals = jax.vmap(case.fwd)(*fresh(args))
        step = lambda _, now: (None, by_rule(case, *now))
        return (y, jax.vmap(case.bwd)(residuals, dys)), jax.lax.scan(step, None, (args, dys))[1]

    together, one_by_one = run(args, dys)
    for a, e in zip(jax.tree.leaves(together), jax.tree.leaves(one_by_one), strict=True):
        assert a.dtype == e.dtype
        assert_close(a, e, length=case.length, scale=max(case.size, float(jnp.abs(e).max())))


@pytest.mark.parametrize("case", [case for case in FIRST if case.batched], ids=lambda case: case.rule)
def test_an_empty_batch_gives_empty_results_and_zeros_for_parameters(case, rng):
    args = list(as_arrays(case.make(rng), jnp.float32))
    for place in case.batched:
        args[place] = args[place][:0]
    y, grads = quickly(lambda args: by_rule(case, args, jax.tree.map(jnp.ones_like, case.fwd(*fresh(args))[0])))(args)
    assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(y))
    for place, (arg, grad) in enumerate(zip(args, grads, strict=True)):
        if grad is None:
            assert not all(map(is_floating, jax.tree.leaves(arg)))
            continue
        assert jax.tree.map(lambda a: (a.shape, a.dtype), grad) == jax.tree.map(lambda a: (a.shape, a.dtype), arg)
        if place not in case.batched:
            assert not any(leaf.any() for leaf in jax.tree.leaves(grad))


@first
def test_a_wrong_dy_is_refused_by_name(case, rng):
    y, residuals = jax.eval_shape(case.fwd, *as_arrays(case.make(rng), jnp.float32))
    name = rf"dlcore.backprop.{case.rule}_bwd.*`dy"
    alike = lambda change: jax.tree.map(lambda a: jax.ShapeDtypeStruct(*change(a)), y)
    with pytest.raises(ValueError, match=name):
        jax.eval_shape(case.bwd, residuals, alike(lambda a: ((*a.shape, 1), a.dtype)))
    for dtype in (jnp.bfloat16, jnp.int32):
        with pytest.raises(TypeError, match=name):
            jax.eval_shape(case.bwd, residuals, alike(lambda a, dtype=dtype: (a.shape, dtype)))


@first
def test_residuals_in_the_wrong_place_or_of_another_rule_are_refused(case, rng):
    other = FIRST[(FIRST.index(case) + 1) % len(FIRST)]
    y, residuals = jax.eval_shape(case.fwd, *as_arrays(case.make(rng), jnp.float32))
    _, others = jax.eval_shape(other.fwd, *as_arrays(other.make(rng), jnp.float32))
    for wrong, dy in ((others, y), (y, residuals)):
        with pytest.raises(TypeError, match=rf"dlcore.backprop.{case.rule}_bwd.*`residuals`"):
            case.bwd(wrong, dy)


def test_every_rule_stands_in_the_table_with_both_halves():
    forward = {name.removesuffix("_fwd") for name in backprop.__all__ if name.endswith("_fwd")}
    backward = {name.removesuffix("_bwd") for name in backprop.__all__ if name.endswith("_bwd")}
    assert forward == backward == {case.rule for case in RULES_UNDER_TEST}
    assert set(nn.activations.__all__) <= forward
    functions = [getattr(backprop, f"{name}_{half}") for name in forward for half in ("fwd", "bwd")]
    assert all(map(inspect.isfunction, functions))


def test_options_are_those_of_dlcores_activations():
    for name in nn.activations.__all__:
        ours = inspect.signature(getattr(backprop, f"{name}_fwd")).parameters
        theirs = inspect.signature(getattr(nn, name)).parameters
        assert list(ours) == list(theirs)
        assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]


def test_the_table_of_rules_by_name_holds_the_functions_of_these_names():
    for name, rule in backprop.RULES.items():
        assert rule == (getattr(backprop, f"{name}_fwd"), getattr(backprop, f"{name}_bwd"))
    assert {case.rule for case in FIRST} >= set(backprop.RULES)
