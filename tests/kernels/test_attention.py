from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from dlcore.kernels.attention import attention, plain_attention, worthwhile
from tests.tolerance import assert_close

INF, NAN = np.inf, np.nan
# batch, T, heads, D, S, key heads, E, causal, block
CASES = {
    "blocks and a rest": ((2,), 7, 2, 3, 7, 2, 4, True, 3),
    "bands of two blocks": ((1,), 13, 2, 4, 13, 2, 3, True, 2),
    "nothing is hidden": ((2,), 7, 2, 3, 5, 2, 4, False, 3),
    "shared key heads, causal": ((2,), 6, 4, 3, 6, 2, 2, True, 3),
    "shared key heads": ((), 5, 6, 2, 4, 1, 3, False, 2),
    "more queries than keys": ((2, 1), 9, 1, 3, 4, 1, 2, True, 4),
    "one query": ((2,), 1, 2, 3, 6, 2, 4, False, 3),
    "one block": ((1,), 5, 1, 2, 5, 1, 1, True, 8),
}


def draw(rng, case, dtype=jnp.float32):
    lead, t, n, d, s, m, e, *_ = case
    shapes = ((*lead, t, n, d), (*lead, s, m, d), (*lead, s, m, e), (*lead, t, n, e))
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def forms(case):
    causal, block = case[-2:]
    return lambda q, k, v: attention(q, k, v, causal, block), lambda q, k, v: plain_attention(q, k, v, causal)


def both(function):
    """Values and gradients, compiled."""

    def run(q, k, v, dy):
        y, pull = jax.vjp(function, q, k, v)
        return y, *pull(dy)

    return jax.jit(run)


def compare(found, expected, **tolerance):
    for actual, wanted in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert actual.dtype == wanted.dtype
        assert_close(actual, wanted, length=64, **tolerance)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_equals_the_plain_form_with_its_derivatives_in_both_modes(rng, case):
    q, k, v, dy = draw(rng, case)
    steps = draw(rng, case)[:3]

    def everything(function):
        def run(q, k, v, dy):
            y, pull = jax.vjp(function, q, k, v)
            tangent = jax.jvp(function, (q, k, v), tuple(steps))[1]
            return y, pull(dy), tangent

        return jax.jit(run)(q, k, v, dy)

    ours, plain = forms(case)
    compare(everything(ours), everything(plain), scale=4)


def test_the_hessian_equals_the_plain_form_and_is_symmetric(rng, x64):
    case = ((), 3, 2, 2, 3, 1, 1, True, 2)
    q, k, v, dy = draw(rng, case, jnp.float64)
    found, expected = (
        jax.jit(jax.hessian(lambda k, v, f=f: (f(q, k, v) * dy).sum(), argnums=(0, 1)))(k, v) for f in forms(case)
    )
    compare(found, expected)
    square = np.asarray(found[0][0]).reshape(6, 6)
    assert_close(square, square.T, dtype="float64", scale=1)
    assert square.any()


def test_a_gradient_of_a_gradient_by_reverse_mode_alone_inside_a_scan(rng):
    case = ((), 4, 1, 2, 3, 1, 1, True, 2)
    q, k, v, dy = draw(rng, case)

    def slopes(function):
        def loss(q, k, v):
            step = lambda total, scale: (total + ((function(scale * q, k, v) * dy) ** 2).sum(), None)
            return jax.lax.scan(step, jnp.zeros(()), jnp.array([1.0, 0.5]))[0]

        first = jax.grad(loss, argnums=(0, 1, 2))
        second = jax.grad(lambda *data: sum((g**2).sum() for g in first(*data)), argnums=(0, 1, 2))
        return jax.jit(lambda *data: (first(*data), second(*data)))

    ours, plain = forms(case)
    (first, second), (first_plain, second_plain) = slopes(ours)(q, k, v), slopes(plain)(q, k, v)
    compare(first, first_plain, scale=8)
    compare(second, second_plain, scale=100)


@pytest.mark.slow(one_in=2)
@pytest.mark.parametrize("over", [(0, 0, 0), (0, None, None), (None, 0, 0)])
def test_vmap_over_any_argument_is_a_loop(rng, over):
    case = CASES["shared key heads, causal"]
    ours, plain = forms(case)
    lanes = [draw(rng, case) for _ in range(3)]
    stacked = [jnp.stack(parts) for parts in zip(*lanes, strict=True)]
    data = [part if axis == 0 else part[0] for part, axis in zip(stacked, over, strict=False)]
    found = jax.jit(jax.vmap(both(ours), in_axes=(*over, None)))(*data, lanes[0][3])
    one = both(plain)
    for lane in range(3):
        args = [part[lane] if axis == 0 else part for part, axis in zip(data, over, strict=True)]
        compare([part[lane] for part in found], one(*args, lanes[0][3]), scale=4)


@pytest.mark.slow(one_in=2)
@pytest.mark.parametrize("size", [1e10, 1e17, 3e38])
def test_huge_scores_choose_the_largest(rng, size):
    case = CASES["blocks and a rest"]
    q, k, v, dy = draw(rng, case)
    # Of scores so far apart one takes all the weight, whatever rounding does.
    data = (jnp.sign(q) * np.sqrt(size) * (1 + jnp.abs(q)), jnp.sign(k) * np.sqrt(size) * (1 + jnp.abs(k)), v)
    ours, plain = forms(case)
    found, expected = both(ours)(*data, dy), both(plain)(*data, dy)
    assert all(np.isfinite(part).all() for part in found)
    if size < 1e38:  # beyond, products overflow: the order of summation decides between inf and NaN
        compare((found[0], found[3]), (expected[0], expected[3]))


def test_equal_huge_scores_share_the_weight():
    q, k = jnp.full((4, 1, 1), 1e9), jnp.full((4, 1, 1), 1e9)
    v = jnp.arange(4.0).reshape(4, 1, 1)
    y, _, _, dv = both(lambda q, k, v: attention(q, k, v, False, 2))(q, k, v, jnp.ones((4, 1, 1)))
    assert y.ravel().tolist() == [1.5] * 4
    assert dv.ravel().tolist() == [1.0] * 4


def test_infinite_scores_have_their_limits():
    # Scores: +inf beside finite ones; −inf beside a finite one; −inf alone.
    q = jnp.array([1.0, -1.0, 2.0]).reshape(3, 1, 1)
    v = jnp.array([5.0, 7.0, 11.0]).reshape(3, 1, 1)
    run = lambda k: both(lambda q, k, v: attention(q, k, v, False, 2))(q, k, v, jnp.ones((3, 1, 1)))[0].ravel()
    y = run(jnp.array([INF, 0.0, 0.0]).reshape(3, 1, 1))
    assert_close(y, [5.0, 9.0, 5.0])
    y = run(jnp.full((3, 1, 1), -INF))
    assert_close(y[1], 23 / 3)
    assert y[::2].tolist() == [0.0, 0.0]


@pytest.mark.slow(one_in=2)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_stays_in_its_own_example_and_group_of_heads(rng, place):
    case = CASES["shared key heads, causal"]
    data = draw(rng, case)
    ours, _ = forms(case)
    run = both(ours)
    clean = run(*data)
    data[place] = data[place].at[1, 3, 1].set(NAN)
    y, dq, dk, dv = run(*data)
    for found, wanted in zip((y, dq, dk, dv), clean, strict=True):
        np.testing.assert_array_equal(found[0], wanted[0])
    own = [1] if place == 0 else [2, 3]
    others = [head for head in range(4) if head not in own]
    np.testing.assert_array_equal(y[1][:, others], clean[0][1][:, others])
    assert np.isnan(y[1][3, own]).all()


# ---- as the public function takes it


def test_long_sequences_take_it_and_agree_with_a_bias_of_zeros_which_does_not(rng):
    # Not a multiple of any block; traced scale.
    q, k, v, dy = draw(rng, ((1,), 261, 2, 4, 259, 1, 3))
    assert worthwhile(q, k, v)
    for causal in (False, True):
        run = lambda scale, q, k, v, causal=causal, **options: nn.dot_product_attention(
            q, k, v, scale=scale, causal=causal, **options
        )

        def slopes(f, *data):
            y, pull = jax.vjp(f, jnp.array(0.7), *data)
            return y, pull(dy)

        found = jax.jit(partial(slopes, run))(q, k, v)
        expected = jax.jit(partial(slopes, partial(run, bias=jnp.zeros((1, 1)))))(q, k, v)
        for actual, wanted in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            assert_close(actual, wanted, length=259)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_rounding_of_float64(rng, dtype, x64):
    data = draw(rng, ((), 128, 1, 4, 256, 1, 3), dtype)
    run = both(partial(nn.dot_product_attention, causal=False))
    for actual, wanted in zip(run(*data), run(*(part.astype(jnp.float64) for part in data)), strict=True):
        assert actual.dtype == dtype
        assert_close(actual, wanted)


def test_scores_of_a_long_sequence_are_never_there_at_once(rng):
    t = 2048
    data = [jax.ShapeDtypeStruct((1, t, 1, 8), jnp.float32)] * 4
    memory = both(partial(nn.dot_product_attention, causal=True)).lower(*data).compile().memory_analysis()
    assert memory is not None, "this backend does not tell its memory"
    assert memory.temp_size_in_bytes < 4 * t * t


def test_many_short_sequences_take_it_and_few_do_not(rng):
    def heads(batch, t):
        return [jax.ShapeDtypeStruct((batch, t, 8, 4), jnp.float32)] * 3

    assert worthwhile(*heads(64, 80))
    assert not worthwhile(*heads(16, 80))
    assert not worthwhile(*heads(640, 32))
    q, k, v, dy = draw(rng, ((512,), 66, 2, 2, 65, 1, 1))
    assert worthwhile(q, k, v)
    found, pull = jax.vjp(partial(nn.dot_product_attention, scale=1.0, causal=True), q, k, v)
    expected, plain = jax.vjp(partial(plain_attention, causal=True), q, k, v)
    for actual, wanted in zip((found, *pull(dy)), (expected, *plain(dy)), strict=True):
        assert_close(actual, wanted, length=66)
