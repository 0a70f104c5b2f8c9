"""The controls are what they say they are, and the checker tells the planted errors from the right functions.

A control is shown to be wrong where it says, and right elsewhere. By default that and the checker run over a third of
each kind, another one with each base seed; with --all over all, as `python -m benchmarks.gradcheck` does.
"""

import collections
import functools
import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from benchmarks.gradient_controls.correct import correct, kinds
from benchmarks.gradient_controls.planted import KINDS, controls, plant
from dlcore import gradcheck

# One in so many of each kind is taken by default.
SHARE = 5
# Up to here a Jacobian is taken whole; beyond, some of its rows or columns, with the one that the tables spoil.
WHOLE, SPOILT = 2000, 4321
# What may stay open of a kind: a tenth, and one more.
OPEN = 10


def sample(cases, config):
    """A fifth of them, another one with each base seed; or all."""
    rng = np.random.default_rng(zlib.crc32(f"{config.getoption('--seed')} {cases[0].kind}".encode()))
    share = 1 if config.getoption("--all") else SHARE
    return [cases[i] for i in sorted(rng.permutation(len(cases))[: math.ceil(len(cases) / share)])]


# In float32 inside, whose differences do not show a part in a thousand.
HIDDEN = ("scaled where differences are hard: tanh in float32 × 1.001",)


def arrays(args, dtype=np.float64):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), args)


def units(size):
    """Unit vectors as rows: all of them, or some."""
    places = np.arange(size) if size <= WHOLE else np.append(np.arange(0, size, size // 50), SPOILT)
    return np.equal(places[:, None], np.arange(size)).astype(float)


def values_and_jacobian(function, args, mode):
    """The values, and rows (reverse) or columns (forward) of the Jacobian, everything raveled."""
    x, unravel = ravel_pytree(args)

    def flat(x):
        return ravel_pytree(function(*unravel(x)))[0]

    @jax.jit
    def both(x, units):
        if mode == "forward":
            return flat(x), jax.vmap(lambda t: jax.jvp(flat, (x,), (t,))[1])(units)
        y, pull = jax.vjp(flat, x)
        return y, jax.vmap(lambda c: pull(c)[0])(units)

    size = x.size if mode == "forward" else jax.eval_shape(flat, x).size
    return map(np.asarray, both(x, units(size)))


@functools.cache
def right(function, leaves, mode):
    """Many controls share one right function and its arguments, here the identity of those."""
    args = next(each.args for each in controls() if id(each.args) == leaves)
    return tuple(values_and_jacobian(function, arrays(args), mode))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_planted_derivatives_differ_and_values_do_not(kind, request, x64):
    for control in sample([each for each in controls() if each.kind == kind], request.config):
        assert set(control.modes) in ({"reverse", "forward"}, {"reverse"})
        # Where both modes are wrong, they are one linear map and its transpose.
        for mode in ("reverse",) if control.mode_wrong == "both" else control.modes:
            values, found = values_and_jacobian(control.function, arrays(control.args), mode)
            expected_values, expected = right(control.truth, id(control.args), mode)
            np.testing.assert_allclose(values, expected_values, rtol=1e-9, atol=1e-12 * np.abs(expected_values).max())
            # An entry that is rounding alone is none that a checker could see.
            entries = np.maximum(np.abs(found), np.abs(expected)) > 1e-6 * np.abs(expected).max()
            difference = (np.abs(found - expected) / np.maximum(np.abs(found), np.abs(expected)).clip(1e-300))[entries]
            if control.mode_wrong in ("both", mode):
                assert difference.max() >= 5e-4, f"{control.name}: the {mode} derivative is right"
            else:
                assert difference.max() <= 1e-8, f"{control.name}: the {mode} derivative is wrong too"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_controls_compile_in_either_dtype(dtype):
    with jax.enable_x64(dtype == "float64"):
        for control in [each for each in controls() if "tanh" in each.name][::2]:
            args = arrays(control.args, dtype)

            @jax.jit
            def both(*args, control=control):
                y, pull = jax.vjp(control.function, *args)
                tangent = jax.jvp(control.function, args, args)[1] if "forward" in control.modes else y
                return y, pull(y), tangent

            for leaf in jax.tree.leaves(both(*args)):
                assert leaf.dtype == dtype, control.name
                assert jnp.isfinite(leaf).all(), control.name


def test_a_planted_rule_serves_some_of_the_arguments_and_a_batch(x64):
    def twice(primals, cotangent):
        return 2.0 * cotangent * primals[1], 3.0 * cotangent * primals[0]

    f = plant(jnp.multiply, vjp_rule=twice)
    x, y = jnp.array([2.0, 5.0]), jnp.array([7.0, 11.0])
    grad = jax.grad(f, argnums=1)
    assert grad(x[0], y[0]) == 6.0
    assert jax.vmap(grad)(x, y).tolist() == [6.0, 15.0]
    assert jax.vmap(grad, in_axes=(None, 0))(x[0], y).tolist() == [6.0, 6.0]
    assert jax.jvp(f, (x, y), (x, y))[1].tolist() == [28.0, 110.0]


def test_there_are_enough_and_their_names_differ():
    planted, right = controls(), correct()
    by_kind = collections.Counter(each.kind for each in planted)
    assert set(by_kind) == set(KINDS)
    assert min(by_kind.values()) >= 5, by_kind
    assert len(planted) >= 150
    at_kinks = [each for each in right if "kink" in each.kind or "end of a domain" in each.kind]
    assert len(at_kinks) >= 60
    assert len(right) - len(at_kinks) >= 220
    names = [each.name for each in (*planted, *right)]
    assert len(set(names)) == len(names)


def verdicts(cases):
    found = collections.defaultdict(list)
    for case in cases:
        found[
            gradcheck.check(case.function, *case.args, modes=getattr(case, "modes", ("reverse", "forward"))).verdict
        ] += [case.name]
    return found


def test_an_error_that_its_own_precision_hides_is_smaller_than_what_the_report_says_is_visible():
    (case,) = [each for each in controls() if each.name in HIDDEN]
    report = gradcheck.check(case.function, *case.args, modes=case.modes)
    assert report.precision == "float32"
    assert report.verdict != "pass" or max(leaf.visible for leaf in report.leaves.values()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_every_planted_error_is_found(kind, request):
    cases = sample([each for each in controls() if each.kind == kind and each.name not in HIDDEN], request.config)
    found = verdicts(cases)
    assert len(found["wrong"]) == len(cases), {verdict: found[verdict] for verdict in ("pass", "inconclusive")}


@pytest.mark.slow(one_in=2)
@pytest.mark.parametrize("kind", kinds())
def test_no_right_function_is_called_wrong(kind, request):
    cases = sample([each for each in correct() if each.kind == kind], request.config)
    found = verdicts(cases)
    print(f"{kind}: {len(found['inconclusive'])} of {len(cases)} inconclusive {found['inconclusive']}")
    assert not found["wrong"]
    assert len(found["inconclusive"]) <= 1 + len(cases) // OPEN, found["inconclusive"]
