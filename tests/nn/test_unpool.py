import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS

unpool = jax.jit(nn.max_unpool, static_argnums=2)


@jax.jit
def pulled(x, indices, dy):
    return jax.vjp(lambda x: nn.max_unpool(x, indices, dy.shape[1:-1]), x)[1](dy)[0]


def oracle(x, indices, sizes):
    """One value after another, each at its place; who stands there at the end."""
    flat, places = (np.asarray(a).reshape(len(x), -1, x.shape[-1]) for a in (x, indices))
    y, owner = (np.zeros((len(x), int(np.prod(sizes)), x.shape[-1])) for _ in range(2))
    owner -= 1
    for b, p, c in np.ndindex(flat.shape):
        y[b, places[b, p, c], c], owner[b, places[b, p, c], c] = flat[b, p, c], p
    return y.reshape(len(x), *sizes, x.shape[-1]), owner


@pytest.mark.parametrize(
    ("space", "sizes"), [((3,), (7,)), ((2, 3), (5, 4)), ((2, 1, 2), (3, 2, 4)), ((9,), (4,)), ((1, 1), (1, 1))]
)
def test_values_return_to_their_places_and_the_last_of_several_stays(rng, space, sizes):
    x = rng.standard_normal((3, *space, 2)).astype(np.float32)
    indices = rng.integers(0, np.prod(sizes), x.shape).astype(np.int32)
    dy = rng.standard_normal((3, *sizes, 2)).astype(np.float32)
    y, owner = oracle(x, indices, sizes)
    np.testing.assert_array_equal(unpool(x, indices, sizes), y)
    flat = dy.reshape(3, -1, 2)
    want = np.zeros((3, x[0, ..., 0].size, 2))
    for b, q, c in np.ndindex(flat.shape):
        if owner[b, q, c] >= 0:
            want[b, int(owner[b, q, c]), c] = flat[b, q, c]
    np.testing.assert_array_equal(pulled(x, indices, dy), want.reshape(x.shape))


@pytest.mark.parametrize(
    ("lead", "sizes", "window", "options"),
    [
        ((2,), (7,), 2, {}),
        ((), (6, 5), (2, 3), {"padding": "SAME"}),
        ((2, 1), (5, 5), (3, 3), {"strides": 1, "padding": "SAME"}),
        ((1,), (3, 4, 2), (2, 2, 1), {"ceil_mode": True}),
    ],
)
def test_the_maxima_return_to_where_they_were_found(rng, lead, sizes, window, options):
    x = jnp.asarray(rng.standard_normal((*lead, *sizes, 3)), jnp.float32)
    y, indices = nn.max_pool_with_indices(x, window, **options)
    back = np.asarray(unpool(y, indices, sizes))
    there = back != 0
    np.testing.assert_array_equal(back[there], np.asarray(x)[there])
    flat = there.reshape(*lead, -1, 3)
    for index in np.ndindex(*lead, 3):
        places = np.asarray(indices).reshape(*lead, -1, 3)[(*index[:-1], slice(None), index[-1])]
        assert set(np.flatnonzero(flat[(*index[:-1], slice(None), index[-1])])) == set(places.tolist())


@pytest.mark.parametrize("wrong", [-1, 12, 2**31 - 1, -(2**31)])
def test_an_index_outside_makes_its_own_channel_nan_and_has_no_gradient(wrong):
    x = jnp.arange(1.0, 9.0).reshape(2, 2, 2)
    indices = jnp.array([[[0, 1], [wrong, 3]], [[4, 5], [6, 7]]], jnp.int32)
    y = np.asarray(unpool(x, indices, 12))
    assert np.isnan(y[0, :, 0]).all()
    assert np.isfinite(y[0, :, 1]).all()
    assert y[1, [4, 6], 0].tolist() == [5, 7]
    dx = np.asarray(pulled(x, indices, jnp.ones((2, 12, 2))))
    assert dx.tolist() == [[[0, 1], [0, 1]], [[1, 1], [1, 1]]]


def test_integers_leave_out_what_has_no_place():
    y = unpool(jnp.array([[3], [4]], jnp.int8), jnp.array([[2], [-1]], jnp.int32), 3)
    assert y.dtype == jnp.int8
    assert y.ravel().tolist() == [0, 0, 3]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_every_dtype_of_values_and_indices(dtype, kind, x64):
    x = jnp.asarray([[1.5], [-2.0]], dtype)
    y = nn.max_unpool(x, np.array([[200], [3]], kind), (255,))
    assert y.dtype == x.dtype
    assert {int(i): float(y[i, 0]) for i in jnp.flatnonzero(y)} == {200: 1.5, 3: -2.0}
    if kind == "int64":
        assert jnp.isnan(nn.max_unpool(x, np.array([[2**32], [3]]), (255,))).all()


def test_infinite_and_nan_values_stay_at_their_place():
    y = unpool(jnp.array([[jnp.inf], [jnp.nan]]), jnp.array([[2], [0]]), 4)
    np.testing.assert_array_equal(y.ravel(), [np.nan, 0, np.inf, 0])


def test_forward_mode_and_vmap(rng):
    x = jnp.asarray(rng.standard_normal((4, 3, 2)), jnp.float32)
    indices = jnp.asarray(rng.integers(0, 5, (4, 3, 2)), jnp.int32)
    f = lambda x, indices: nn.max_unpool(x, indices, 5)
    pushed = jax.jit(lambda x, t: jax.jvp(lambda x: f(x, indices), (x,), (t,))[1])(x, 2 * x)
    np.testing.assert_array_equal(pushed, 2 * f(x, indices))
    np.testing.assert_array_equal(jax.jit(jax.vmap(f))(x, indices), f(x, indices))
    assert unpool(x[:0], indices[:0], 5).shape == (0, 5, 2)
