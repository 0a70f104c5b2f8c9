import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import models
from dlcore.models.layer import spec_of


def test_a_lifted_function_is_a_layer_without_parameters_or_state(key):
    layer = models.lift(jnp.square)
    assert isinstance(layer, models.Layer)
    assert layer.init(key, jax.ShapeDtypeStruct((2,), jnp.float32)) == ({}, ())
    y, state = layer.apply({}, (), jnp.array([1.0, -3.0]), key=None, train=True)
    np.testing.assert_array_equal(y, [1.0, 9.0])
    assert state == ()


def test_a_lifted_function_may_take_and_return_trees():
    swap = models.lift(lambda pair: pair[::-1])
    assert swap.apply({}, (), (1, 2), key=None, train=False)[0] == (2, 1)


def test_the_gradient_of_a_lifted_function_is_the_functions():
    layer = models.lift(jnp.sin)
    slope = jax.grad(lambda x: layer.apply({}, (), x, key=None, train=True)[0])(0.5)
    assert slope == jnp.cos(0.5)


@pytest.mark.parametrize("value", [None, 3, "relu", models.layers.relu()])
def test_lift_refuses_what_cannot_be_called(value):
    with pytest.raises(TypeError, match=r"dlcore\.models\.lift: `function` came as"):
        models.lift(value)


@pytest.mark.parametrize("missing", ["key", "train"])
def test_key_and_train_must_be_said(missing):
    said = {"key": None, "train": False}
    del said[missing]
    with pytest.raises(TypeError, match=missing):
        models.relu().apply({}, (), jnp.ones(2), **said)


def test_a_layer_can_be_static_in_a_compiled_function():
    run = jax.jit(lambda layer, x: layer.apply({}, (), x, key=None, train=False)[0], static_argnums=0)
    np.testing.assert_array_equal(run(models.lift(lambda x: x + 1), jnp.zeros(2)), [1.0, 1.0])


@pytest.mark.parametrize(
    "x", [np.ones((2, 3), np.float32), jnp.ones((2, 3)), jax.ShapeDtypeStruct((2, 3), jnp.float32)]
)
def test_spec_of_takes_arrays_and_specs(x):
    assert spec_of("f", x) == jax.ShapeDtypeStruct((2, 3), jnp.float32)


def test_spec_of_takes_tracers():
    seen = []
    jax.jit(lambda x: seen.append(spec_of("f", x)))(jnp.ones(3))
    assert seen == [jax.ShapeDtypeStruct((3,), jnp.float32)]


def test_spec_of_sees_dtypes_as_jax_will():
    tree = {"x": np.ones((2,)), "ids": np.ones((3,), np.int64)}
    narrow = {"x": jax.ShapeDtypeStruct((2,), np.float32), "ids": jax.ShapeDtypeStruct((3,), np.int32)}
    assert spec_of("f", tree) == narrow


def test_spec_of_keeps_float64_where_it_is_enabled(x64):
    assert spec_of("f", np.ones(2)).dtype == np.float64


def test_spec_of_keeps_the_dtype_of_keys(key):
    assert spec_of("f", key) == jax.ShapeDtypeStruct((), key.dtype)


@pytest.mark.parametrize("x", [3, 2.0, "x", (np.ones(2), 3), [1.0]])
def test_spec_of_refuses_what_has_neither_shape_nor_dtype(x):
    with pytest.raises(TypeError, match=r"dlcore\.models\.mine: `x_spec` came as .*ShapeDtypeStruct"):
        spec_of("models.mine", x)
