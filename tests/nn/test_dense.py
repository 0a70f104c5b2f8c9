import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (0,)])
def test_it_is_x_w_plus_b(rng, dtype, batch, x64):
    x, w, b = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((*batch, 7), (7, 4), (4,)))
    y = nn.dense({"kernel": w, "bias": b}, x)
    assert y.dtype == dtype
    assert_close(
        y, np.asarray(x, np.float64) @ np.asarray(w, np.float64) + np.asarray(b, np.float64), length=7, scale=3
    )


def test_without_bias_there_is_no_bias_leaf(key):
    params = nn.dense_init(key, 3, 2, use_bias=False)
    assert list(params) == ["kernel"]
    assert nn.dense(params, jnp.ones(3)).shape == (2,)


def test_the_default_kernel_keeps_the_variance(key):
    params = nn.dense_init(key, 1000, 500)
    assert jnp.std(params["kernel"]) == pytest.approx(1000**-0.5, rel=0.01)
    assert not params["bias"].any()


def test_gradients_are_the_outer_product_and_the_sum(rng):
    x, w = jnp.asarray(rng.standard_normal((5, 3)), jnp.float32), jnp.asarray(rng.standard_normal((3, 2)), jnp.float32)
    dy = jnp.asarray(rng.standard_normal((5, 2)), jnp.float32)
    _, vjp = jax.vjp(nn.dense, {"kernel": w, "bias": jnp.zeros(2)}, x)
    grads, dx = vjp(dy)
    assert_close(grads["kernel"], np.asarray(x, np.float64).T @ dy, length=5, scale=3)
    assert_close(grads["bias"], np.asarray(dy, np.float64).sum(0), length=5, scale=3)
    assert_close(dx, np.asarray(dy, np.float64) @ np.asarray(w).T, length=2, scale=3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_gradient_of_a_bias_is_summed_over_a_long_batch_in_float32(dtype):
    x = jnp.zeros((10_002, 1), dtype)
    params = {"kernel": jnp.zeros((1, 2), dtype), "bias": jnp.zeros(2, dtype)}
    dy = jnp.full((10_002, 2), 0.01, dtype)
    gradient = jax.jit(lambda params: jax.vjp(lambda params: nn.dense(params, x), params)[1](dy)[0])(params)["bias"]
    assert gradient.dtype == dtype
    expected = 10_002 * float(dy[0, 0])
    assert float(gradient[0]) == pytest.approx(expected, rel=float(jnp.finfo(dtype).eps))
