"""What `check` says of right and wrong rules, of kinks, precisions and pytrees; and what it refuses."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from dlcore import gradcheck, losses, nn


def with_gradient(f, gradient):
    """f with a reverse rule alone: gradient(x, dy)."""
    wrong = jax.custom_vjp(f)
    wrong.defvjp(lambda x: (f(x), x), lambda x, dy: (gradient(x, dy),))
    return wrong


def with_tangent(f, tangent):
    """f with a forward rule tangent(x, dx), linear in dx; reverse mode is its transpose."""
    wrong = jax.custom_jvp(f)
    wrong.defjvp(lambda primals, tangents: (wrong(*primals), tangent(primals[0], tangents[0])))
    return wrong


def normal(rng, *shape):
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def test_a_right_gradient_passes_leaf_by_leaf_with_second_order_remainders(rng):
    params = {"kernel": normal(rng, 4, 3), "bias": normal(rng, 3)}
    loss = lambda params, x, labels: losses.softmax_cross_entropy(nn.dense(params, nn.tanh(x)), labels)
    report = gradcheck.check(loss, params, normal(rng, 5, 4), jnp.array([0, 2, 1, 1, 0]))
    assert list(report.leaves) == ["params/bias", "params/kernel", "x"]
    assert report.verdict == "pass"
    assert report.passed
    assert report.precision == "float64"
    for leaf in report.leaves.values():
        assert leaf.verdict == "pass"
        assert dict(leaf.modes) == {"reverse": "pass", "forward": "pass"}
        assert leaf.error < 1e-9
        assert leaf.difference_error < 1e-9
        assert leaf.order == pytest.approx(2, abs=0.1)
        assert not leaf.kink


def test_a_wrong_element_is_named_with_both_values(rng):
    bad = with_tangent(jnp.sin, lambda x, dx: jnp.cos(x).at[1, 2].multiply(1.001) * dx)
    x = normal(rng, 3, 4)
    leaf = gradcheck.check(bad, x).leaves["x"]
    assert leaf.verdict == "wrong"
    assert "result[1, 2] by x[1, 2]" in leaf.worst_element
    expected = np.cos(np.float64(x[1, 2]))
    assert leaf.direction == "its own"
    words = leaf.values.replace(",", " ").split()
    assert float(words[words.index("gives") + 1]) == pytest.approx(1.001 * expected, rel=1e-6)
    assert float(words[-1]) == pytest.approx(expected, rel=1e-6)
    assert leaf.error == pytest.approx(1e-3, rel=0.01)
    assert leaf.order == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("size", [5, 20_000])
def test_the_wrong_element_is_found_among_many(size, rng):
    place = int(rng.integers(size))
    bad = with_gradient(lambda x: jnp.sin(x).sum(), lambda x, dy: dy * jnp.cos(x).at[place].multiply(1.01))
    leaf = gradcheck.check(bad, jnp.asarray(rng.uniform(0.2, 1.2, size)), modes=("reverse",)).leaves["x"]
    assert leaf.verdict == "wrong"
    assert f"x[{place}]" in leaf.worst_element


def test_one_wrong_mode_is_told_from_the_other(rng):
    x = normal(rng, 6)

    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    # linear_call is right ahead and wrong back
    @f.defjvp
    def _(primals, tangents):
        ahead = lambda c, t: c * t
        back = lambda c, ct: 1.01 * c * ct
        return f(*primals), jax.custom_derivatives.linear_call(ahead, back, jnp.cos(primals[0]), tangents[0])

    leaf = gradcheck.check(f, x).leaves["x"]
    assert dict(leaf.modes) == {"reverse": "wrong", "forward": "pass"}
    assert "transpose" in leaf.note
    assert gradcheck.check(f, x, modes=("forward",)).passed


def test_an_all_zero_derivative_of_many_outputs_is_wrong(rng):
    """jax#3130: `check_grads` scales its tolerance with the output."""
    assert gradcheck.check(with_tangent(jnp.sin, lambda x, dx: 0 * dx), normal(rng, 3000)).verdict == "wrong"


# ---- kinks


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_any_value_between_the_one_sided_derivatives_passes_and_it_says_kink(slope):
    relu = with_tangent(lambda x: jnp.maximum(x, 0), lambda x, dx: jnp.where(x > 0, 1, jnp.where(x < 0, 0, slope)) * dx)
    report = gradcheck.check(relu, jnp.array([0.0, 1.0, -1.0]))
    assert report.verdict == "pass"
    assert report.leaves["x"].kink
    assert "kink" in str(report)


@pytest.mark.parametrize("slope", [-0.01, 1.01, 2.0])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_value_outside_of_them_is_wrong(slope, size):
    relu = with_gradient(
        lambda x: jnp.maximum(x, 0), lambda x, dy: jnp.where(x > 0, 1, jnp.where(x < 0, 0, slope)) * dy
    )
    assert gradcheck.check(relu, jnp.zeros(size), modes=("reverse",)).verdict == "wrong"


def test_an_error_elsewhere_does_not_hide_behind_kinks(rng):
    weights = jnp.asarray(rng.uniform(0.5, 1, 1000))
    bad = with_gradient(
        lambda x: (jnp.maximum(x, 0) * weights).sum(), lambda x, dy: dy * jnp.where(x > 0, 1.001, 0.0) * weights
    )
    x = jnp.asarray(rng.standard_normal(1000) * (rng.random(1000) < 0.5))
    assert gradcheck.check(bad, x, modes=("reverse",)).verdict == "wrong"


def test_kinks_that_meet_with_both_signs_are_no_error(rng):
    W = jnp.asarray(rng.standard_normal((4, 8)))
    V = jnp.asarray(rng.standard_normal((8, 2)))
    for f, args in (
        (lambda a, b: nn.relu(a) - nn.relu(b), (jnp.zeros(3), jnp.zeros(3))),
        (lambda x: nn.relu(x @ W) @ V, (jnp.zeros((2, 4)),)),
        (lambda x: nn.max_pool(x, (2, 2)), (jnp.zeros((1, 4, 4, 2)),)),
        (lambda x: nn.relu(x).sum() - 2 * nn.relu(-x).sum(), (jnp.zeros(40),)),
    ):
        assert gradcheck.check(f, *args).verdict == "pass"


def test_a_gradient_that_is_wrong_because_kinks_cancel_is_wrong():
    """relu(x) − relu(−x) is x; with 0 chosen at both kinks its derivative comes out as 0 instead of 1."""
    report = gradcheck.check(lambda x: nn.relu(x) - nn.relu(-x), jnp.zeros(2))
    assert report.verdict == "wrong"


@pytest.mark.parametrize("distance", [1e-3, 1e-5, -1e-5, 1e-8, -1e-8, 1e-9, 1e-12, -1e-12])
def test_a_kink_nearby_is_no_error(distance):
    assert gradcheck.check(nn.relu, jnp.asarray(np.full(5, distance))).verdict == "pass"


def test_nan_in_the_gradient_is_wrong_and_infinity_in_both_is_inconclusive():
    norm = gradcheck.check(lambda x: jnp.sqrt((x**2).sum()), jnp.zeros(3))
    assert norm.verdict == "wrong"
    assert "the rule gives nan" in norm.leaves["x"].values
    root = gradcheck.check(jnp.sqrt, jnp.zeros(3))
    assert root.verdict == "inconclusive"
    assert "not finite" in root.leaves["x"].note
    both_sides = gradcheck.check(lambda x: jnp.where(x > 0, 1.0, jnp.where(x < 0, -1.0, 0.0)) * 1.0, jnp.zeros(2))
    assert both_sides.verdict == "inconclusive"


# ---- pytrees, dtypes and keys


def test_integers_keys_texts_and_none_are_left_alone_and_empty_leaves_pass(key, rng):
    def f(key, mode, tree, ids, count, nothing):
        assert mode == "sum"
        assert isinstance(count, int)
        x = nn.dropout(key, tree["a"][0], rate=0.5)
        return {"value": x[ids] * count + tree["b"], "ids": ids, "empty": tree["empty"]}

    tree = {"a": [normal(rng, 5)], "b": 2.5, "empty": jnp.zeros((0, 3))}
    report = gradcheck.check(f, key, "sum", tree, jnp.array([0, 1, 1, 4]), 3, None)
    assert list(report.leaves) == ["tree/a/0", "tree/b", "tree/empty"]
    assert report.verdict == "pass"
    assert "no elements" in report.leaves["tree/empty"].note


def test_numbers_numpy_arrays_and_complex_numbers_are_differentiated(rng):
    assert gradcheck.check(lambda a, b: a * b**2, 2.0, 3.0).passed
    assert gradcheck.check(lambda x: x @ x, rng.standard_normal(4)).passed
    z = jnp.asarray(rng.standard_normal(4) + 1j * rng.standard_normal(4))
    assert gradcheck.check(lambda z: jnp.fft.fft(z) * z, z, order=2).passed
    bad = with_gradient(lambda z: z**2, lambda z, dy: 2 * jnp.conj(z) * dy)
    report = gradcheck.check(bad, z, modes=("reverse",))
    assert report.verdict == "wrong"
    assert "z[" in report.leaves["z"].worst_element


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_everything_runs_in_float64_without_touching_the_settings(dtype):
    before = dict(jax.config.values)
    seen = []

    def f(x):
        seen.append(x.dtype)
        return jnp.sin(x) * jnp.ones(3, jnp.float32)  # promotes to float64 inside, strict settings or not

    report = gradcheck.check(f, jnp.ones(3, dtype))
    assert report.passed
    assert report.precision == "float64"
    assert set(seen) == {jnp.dtype("float64")}
    assert jnp.zeros(1).dtype == jnp.float32
    assert {name: value for name, value in jax.config.values.items() if before[name] != value} == {}


@pytest.mark.parametrize(("dtype", "seen"), [("float32", 1e-3), ("float16", 0.05), ("bfloat16", 0.3)])
@pytest.mark.parametrize("how", ["refuses", "casts"])
def test_what_cannot_run_in_float64_is_judged_at_its_own_precision_and_says_so(dtype, seen, how):
    def f(x):
        if how == "refuses" and x.dtype != jnp.dtype(dtype):
            raise TypeError("this kernel takes its own dtype alone")
        return jnp.sin(x.astype(dtype)) * 2

    x = jnp.asarray([0.3, -0.5, 1.0, 0.7], dtype)
    report = gradcheck.check(f, x)
    assert report.precision == dtype
    assert report.verdict in ("pass", "inconclusive")
    assert ("takes its own dtype" in str(report)) if how == "refuses" else (f"computes in {dtype}" in str(report))
    assert report.leaves["x"].difference_error < seen
    negative = with_gradient(f, lambda x, dy: (-2 * jnp.cos(x.astype(dtype)) * dy).astype(x.dtype))
    assert gradcheck.check(negative, x, modes=("reverse",)).verdict == "wrong"


def test_a_cast_that_carries_no_derivative_does_not_count():
    f = lambda x: x * jax.nn.one_hot(jnp.argmax(x), 3, dtype=jnp.float32) + jax.random.normal(jax.random.key(0), (3,))
    assert gradcheck.check(f, jnp.array([1.0, 3.0, 2.0])).precision == "float64"
    scan = lambda x: jax.lax.scan(lambda c, _: (c.astype(jnp.float32).astype(c.dtype) * 2, None), x, None, 2)[0]
    assert gradcheck.check(scan, jnp.array([1.0, 3.0])).precision == "float32"


def test_a_function_that_looks_at_values_runs_uncompiled():
    report = gradcheck.check(lambda x: jnp.sin(x) if x > 0 else x, 1.0)
    assert report.passed


def test_a_pallas_kernel_with_a_rule_of_its_own_is_judged(rng):
    def body(x_ref, y_ref):
        y_ref[...] = jnp.tanh(x_ref[...])

    def kernel(x):
        return pl.pallas_call(body, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=True)(x)

    right = with_gradient(kernel, lambda x, dy: dy * (1 - jnp.tanh(x) ** 2))
    wrong = with_gradient(kernel, lambda x, dy: dy * (1 - jnp.tanh(x)))
    assert gradcheck.check(right, normal(rng, 8)).verdict == "pass"
    assert gradcheck.check(wrong, normal(rng, 8)).verdict == "wrong"


def test_outputs_that_are_infinite_are_left_out():
    f = lambda x: nn.log_softmax(x, where=jnp.array([True, False, True]))
    assert gradcheck.check(f, jnp.array([1.0, 2.0, 3.0])).passed


def test_a_gradient_that_is_nan_because_the_output_is_infinite_is_not_called_wrong():
    report = gradcheck.check(jnp.exp, jnp.array([800.0, 1.0]))
    assert report.verdict == "inconclusive"
    assert "infinite" in report.leaves["x"].note


@pytest.mark.parametrize("size", [0.0, 1e-310, 1e-200, 1e-30, 1e30, 1e100])
def test_no_size_of_the_arguments_is_an_alarm(size):
    assert gradcheck.check(lambda x: x * jnp.array([2.0, -3.0]), np.full(2, size)).passed


def test_settings_of_the_user_do_not_matter():
    for setting in (jax.disable_jit(), jax.checking_leaks(), jax.debug_nans(True), jax.enable_x64(True)):
        with setting:
            assert gradcheck.check(jnp.log, jnp.array([1e-3, 1.0])).passed


@pytest.mark.slow
def test_many_outputs_are_summed_in_groups_and_an_error_in_one_is_still_found(rng):
    size = 200_003
    x = jnp.asarray(rng.uniform(0.5, 1.0, 3))
    f = lambda x: jnp.sin(jnp.arange(size) * 1e-3)[:, None] * x[None]
    assert gradcheck.check(f, x, modes=("forward",)).passed
    bad = with_tangent(f, lambda x, dx: f(dx).at[12_345].multiply(1.01))
    leaf = gradcheck.check(bad, x, modes=("forward",)).leaves["x"]
    assert leaf.verdict == "wrong"
    assert "after it by" in leaf.worst_element


# ---- modes and orders


def test_a_mode_that_does_not_exist_is_named_and_refused_only_if_it_is_the_only_one():
    square = with_gradient(lambda x: x**2, lambda x, dy: 2 * x * dy)
    report = gradcheck.check(square, jnp.ones(2))
    assert report.passed
    assert list(report.leaves["x"].modes) == ["reverse"]
    assert "no forward mode" in str(report)
    with pytest.raises(ValueError, match=r"has none of them .*custom_vjp"):
        gradcheck.check(square, jnp.ones(2), modes=("forward",))
    loop = lambda x: jax.lax.while_loop(lambda c: c[1] < 3, lambda c: (jnp.sin(c[0]), c[1] + 1), (x, 0))[0]
    report = gradcheck.check(loop, jnp.ones(2))
    assert report.passed
    assert list(report.leaves["x"].modes) == ["forward"]


def test_an_error_inside_a_rule_is_raised_and_not_taken_for_a_missing_mode():
    @jax.custom_vjp
    def f(x):
        return x**2

    f.defvjp(lambda x: (x**2, x), lambda x, dy: (x @ dy[:, None] @ x,))
    with pytest.raises((TypeError, ValueError)) as caught:
        gradcheck.check(f, jnp.ones((2, 3)), modes=("reverse",))
    assert any("rule for reverse mode" in note for note in caught.value.__notes__)


def test_the_second_order_finds_what_the_first_cannot_see():
    """A gradient that is right, whose own derivative is not: the rule's residual is detached."""
    f = with_gradient(lambda x: x**3, lambda x, dy: 3 * jax.lax.stop_gradient(x) ** 2 * dy)
    assert gradcheck.check(f, jnp.array([0.5, 2.0]), modes=("reverse",)).passed
    report = gradcheck.check(f, jnp.array([0.5, 2.0]), modes=("reverse",), order=2)
    assert report.leaves["x"].verdict == "pass"
    assert report.leaves["x, order 2"].verdict == "wrong"
    assert gradcheck.check(lambda x, y: jnp.sin(x) * y**2, jnp.ones(2), 0.5, order=2).passed


def test_the_key_decides_the_directions_and_is_shown():
    first, again, other = (gradcheck.check(jnp.sin, jnp.ones(3), key=jax.random.key(seed)) for seed in (5, 5, 6))
    assert first == again
    assert first.leaves["x"].error != other.leaves["x"].error
    assert "key data (0, 5)" in str(first)


# ---- refusals


def test_a_function_without_floating_output_is_refused_by_name():
    with pytest.raises(TypeError, match=r"`f` came as a function that returns int64 of shape \(\)"):
        gradcheck.check(jnp.argmax, jnp.ones(3))
    with pytest.raises(TypeError, match="a function that returns NoneType"):
        gradcheck.check(lambda x: None, jnp.ones(3))


def test_a_function_that_returns_nan_is_refused_by_name():
    with pytest.raises(ValueError, match=r"returns NaN at this point, in 1 of 2 outputs, the first result\[1\]"):
        gradcheck.check(jnp.log, jnp.array([1.0, -1.0]))


def test_a_function_that_is_not_deterministic_is_refused_by_name(rng):
    calls = []

    def counting(x):
        calls.append(1)
        return x * len(calls)

    for f in (counting, lambda x: x + rng.standard_normal()):
        with pytest.raises(ValueError, match="not deterministic: two calls with the same arguments differ"):
            gradcheck.check(f, jnp.ones(2))


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(TypeError, match="at least one floating argument"):
        gradcheck.check(lambda x: x * 1.0, jnp.arange(3))
    with pytest.raises(TypeError, match="`f` came as int 3; expected a function"):
        gradcheck.check(3, 1.0)
    with pytest.raises(TypeError, match="`modes` came as str 'reverse'"):
        gradcheck.check(jnp.sin, 1.0, modes="reverse")
    with pytest.raises(ValueError, match="`modes` came as str 'backward'"):
        gradcheck.check(jnp.sin, 1.0, modes=("backward",))
    with pytest.raises(ValueError, match="`order` came as 0"):
        gradcheck.check(jnp.sin, 1.0, order=0)
    with pytest.raises(TypeError, match="`key` came as a raw key"):
        gradcheck.check(jnp.sin, 1.0, key=jnp.zeros(2, jnp.uint32))
    with pytest.raises(ZeroDivisionError):
        gradcheck.check(lambda x: x / 0 if isinstance(x, float) else 1 / 0, jnp.ones(2))


def test_assert_gradients_raises_with_the_table_unless_everything_is_proven():
    assert gradcheck.assert_gradients(jnp.tanh, jnp.ones(3)) is None
    bad = with_tangent(jnp.tanh, lambda x, dx: 1.01 * (1 - jnp.tanh(x) ** 2) * dx)
    with pytest.raises(AssertionError, match=r"tanh are not proven\n[\s\S]*wrong"):
        gradcheck.assert_gradients(bad, jnp.ones(3))
    with pytest.raises(AssertionError, match="inconclusive"):
        gradcheck.assert_gradients(jnp.sqrt, jnp.zeros(1))


def test_it_stands_alone():
    """No layer, loss or model comes with it: it is for anyone's functions."""
    code = (
        "import sys, dlcore.gradcheck; "
        "print([name for name in sys.modules if name.startswith('dlcore.') and not name.startswith("
        "('dlcore._', 'dlcore.gradcheck'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
