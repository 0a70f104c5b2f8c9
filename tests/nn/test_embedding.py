import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close


def run(table, ids, dy):
    y, pull = jax.vjp(lambda params: nn.embedding(params, ids), {"kernel": table})
    return y, pull(dy)[0]["kernel"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (2, 3), (0,)])
def test_it_reads_rows_and_sums_their_cotangents(rng, dtype, shape, x64):
    table = jnp.asarray(rng.standard_normal((5, 3)), dtype)
    ids = rng.integers(0, 5, shape)
    dy = jnp.asarray(rng.standard_normal((*shape, 3)), dtype)
    y, grad = jax.jit(run)(table, jnp.asarray(ids), dy)
    assert y.dtype == grad.dtype == dtype
    np.testing.assert_array_equal(y, np.asarray(table)[ids])
    want = np.zeros((5, 3))
    np.add.at(want, ids, np.asarray(dy).astype(np.float64))
    assert_close(grad, want, length=max(1, ids.size), scale=3)


@pytest.mark.parametrize("wrong", [-1, -5, -100, 5, 6, 2**31 - 1, -(2**31)])
def test_an_id_outside_the_table_gives_nan_and_no_gradient(wrong):
    table = jnp.arange(10.0).reshape(5, 2)
    y, grad = jax.jit(run)(table, jnp.array([4, wrong, 0]), jnp.ones((3, 2)))
    np.testing.assert_array_equal(y, [[8, 9], [np.nan, np.nan], [0, 1]])
    np.testing.assert_array_equal(grad, [[1, 1], [0, 0], [0, 0], [0, 0], [1, 1]])


def test_even_a_nan_cotangent_of_an_outside_id_reaches_no_row():
    table = jnp.ones((3, 2))
    grad = jax.grad(lambda table: (nn.embedding({"kernel": table}, jnp.array([2, 3])) ** 2).sum())(table)
    np.testing.assert_array_equal(grad, [[0, 0], [0, 0], [2, 2]])


def test_a_nan_row_reaches_its_own_uses_only():
    table = jnp.ones((3, 2)).at[0].set(jnp.nan)
    np.testing.assert_array_equal(nn.embedding({"kernel": table}, jnp.array([0, 1])), [[np.nan] * 2, [1] * 2])


@pytest.mark.parametrize(
    ("vocabulary", "dtype"),
    [(128, "int8"), (300, "int8"), (256, "uint8"), (300, "uint8"), (300, "int16"), (300, "uint32"), (300, "uint16")],
)
def test_ids_of_every_integer_dtype_name_the_same_rows(vocabulary, dtype):
    table = jnp.arange(2.0 * vocabulary).reshape(vocabulary, 2)
    ids = np.array([0, 2, min(vocabulary - 1, np.iinfo(dtype).max)], dtype)
    y = jax.jit(nn.embedding)({"kernel": table}, jnp.asarray(ids))
    np.testing.assert_array_equal(y, np.asarray(table)[ids])


def test_narrow_ids_outside_the_table_still_give_nan():
    table = jnp.ones((200, 1))
    assert np.isnan(nn.embedding({"kernel": table}, jnp.array([-1, -128], jnp.int8))).all()
    assert np.isnan(nn.embedding({"kernel": table}, jnp.array([200, 255], jnp.uint8))).all()


def test_many_ids_are_right_in_jit_and_eagerly(rng):
    table = jnp.asarray(rng.standard_normal((32_771, 3)), jnp.float32)
    ids = rng.integers(0, 32_771, 40_001)
    want = np.asarray(table)[ids]
    np.testing.assert_array_equal(nn.embedding({"kernel": table}, jnp.asarray(ids)), want)
    np.testing.assert_array_equal(jax.jit(nn.embedding)({"kernel": table}, jnp.asarray(ids)), want)
    grad = jax.jit(run)(table, jnp.asarray(ids), jnp.ones((40_001, 3)))[1]
    np.testing.assert_array_equal(grad[:, 0], np.bincount(ids, minlength=32_771))


def test_vmap_over_tables_and_over_ids(rng):
    tables = jnp.asarray(rng.standard_normal((2, 4, 3)), jnp.float32)
    ids = jnp.array([[0, 3], [2, -1]])
    y = np.asarray(jax.jit(jax.vmap(lambda table, ids: nn.embedding({"kernel": table}, ids)))(tables, ids))
    tables = np.asarray(tables)
    np.testing.assert_array_equal(y[0], tables[0, [0, 3]])
    np.testing.assert_array_equal(y[1, 0], tables[1, 2])
    assert np.isnan(y[1, 1]).all()


def test_a_default_row_has_length_about_one(key):
    table = nn.embedding_init(key, 4000, 64)["kernel"]
    assert table.shape == (4000, 64)
    # Σ over 64 squares of variance 1/64: mean 1, deviation √(2/64) a row, √(2/64/4000) of the mean.
    assert abs(float((table**2).sum(-1).mean()) - 1) < 5 * (2 / 64 / 4000) ** 0.5


def test_params_are_drawn_in_the_asked_dtype_and_by_the_asked_initialiser(key):
    params = nn.embedding_init(key, 3, 2, dtype=jnp.float16, kernel_init=nn.initializers.constant(2.0))
    assert list(params) == ["kernel"]
    assert params["kernel"].dtype == jnp.float16
    assert (params["kernel"] == 2).all()


@pytest.mark.parametrize(
    ("params", "ids", "error", "words"),
    [
        ({"kernel": jnp.ones((3, 2))}, jnp.array([1.0]), TypeError, "ids"),
        ({"kernel": jnp.ones((3, 2))}, jnp.array([True]), TypeError, "ids"),
        ({"kernel": jnp.ones((3, 2))}, [0, 1], TypeError, "ids"),
        ({"kernel": jnp.ones((3, 2, 1))}, jnp.array([1]), ValueError, "kernel"),
        ({"kernel": jnp.ones((3, 2), int)}, jnp.array([1]), TypeError, "kernel"),
        ({"table": jnp.ones((3, 2))}, jnp.array([1]), ValueError, "table"),
        (jnp.ones((3, 2)), jnp.array([1]), TypeError, "params"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(params, ids, error, words):
    with pytest.raises(error, match=f"nn.embedding.*{words}"):
        nn.embedding(params, ids)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((None, 3, 2), {}, ValueError, "key"),
        ((np.zeros(2, np.uint32), 3, 2), {}, TypeError, "key"),
        ((jax.random.key(0), 0, 2), {}, ValueError, "vocabulary"),
        ((jax.random.key(0), 3, 2.0), {}, TypeError, "features"),
        ((jax.random.key(0), 3, 2), {"dtype": "int32"}, TypeError, "dtype"),
    ],
)
def test_an_init_that_makes_no_sense_is_refused_by_name(arguments, options, error, words):
    with pytest.raises(error, match=f"nn.embedding_init.*{words}"):
        nn.embedding_init(*arguments, **options)
