import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.tolerance import FLOATS, assert_close

fold = jax.jit(nn.fold_batch_norm, static_argnames="epsilon")


def draw(rng, shape, dtype=jnp.float32, *, bias=True, leaves=("scale", "offset")):
    """A layer, and the parameters and state of the normalisation after it."""
    normal = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)
    layer = {"kernel": normal(*shape)} | ({"bias": normal(shape[-1])} if bias else {})
    state = nn.BatchNormState(normal(shape[-1]), jnp.asarray(rng.uniform(0.5, 2.0, shape[-1]), dtype))
    return layer, {name: normal(shape[-1]) for name in leaves}, state


def oracle(layer, bn_params, state, epsilon=1e-5):
    """Output by output, in float64."""
    wide = lambda leaf: np.asarray(leaf).astype(np.float64)
    kernel = wide(layer["kernel"]).copy()
    out = kernel.shape[-1]
    bias = wide(layer.get("bias", np.zeros(out))).copy()
    scale, offset = wide(bn_params.get("scale", np.ones(out))), wide(bn_params.get("offset", np.zeros(out)))
    for f in range(out):
        factor = scale[f] / np.sqrt(wide(state.var)[f] + epsilon)
        kernel[..., f] *= factor
        bias[f] = (bias[f] - wide(state.mean)[f]) * factor + offset[f]
    return kernel, bias


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leaves", [("scale", "offset"), ("scale",), ("offset",), ()])
def test_kernel_and_bias_are_the_closed_forms(rng, bias, leaves):
    args = draw(rng, (3, 4), bias=bias, leaves=leaves)
    folded = fold(*args, epsilon=1e-3)
    assert set(folded) == {"kernel", "bias"}
    for leaf, wanted in zip((folded["kernel"], folded["bias"]), oracle(*args, epsilon=1e-3), strict=True):
        assert_close(leaf, wanted)


@pytest.mark.parametrize(("shape", "groups"), [((3, 4), None), ((3, 2, 5), 1), ((2, 3, 2, 4), 2), ((1, 2, 2, 3, 4), 1)])
def test_the_folded_layer_is_the_layer_and_its_normalisation(rng, shape, groups, x64):
    layer, bn_params, state = draw(rng, shape, jnp.float64)
    x = jnp.asarray(rng.standard_normal((2, *(5,) * (len(shape) - 2), shape[-2] * (groups or 1))))
    apply = nn.dense if groups is None else lambda params, x: nn.conv(params, x, groups=groups)
    for params in (layer, {"kernel": layer["kernel"]}):
        y = nn.batch_norm_eval(bn_params, state, apply(params, x))
        np.testing.assert_allclose(apply(fold(params, bn_params, state), x), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_dtype_is_the_kernels_and_half_precision_is_rounded_once(rng, dtype, x64):
    layer, bn_params, state = draw(rng, (3, 4), dtype)
    wide = jnp.float64 if dtype == "float64" else jnp.float32
    bn_params, state = jax.tree.map(lambda leaf: leaf.astype(wide), (bn_params, state))
    folded = fold(layer, bn_params, state)
    for leaf, wanted in zip((folded["kernel"], folded["bias"]), oracle(layer, bn_params, state), strict=True):
        assert leaf.dtype == dtype
        assert_close(leaf, wanted)


def test_widths_that_differ_are_refused(rng):
    layer, bn_params, state = draw(rng, (3, 4))
    _, other_params, other_state = draw(rng, (3, 3))
    for args, argument in (
        ((layer, bn_params, other_state), "bn_state"),
        ((layer, other_params, state), r"bn_params\['scale'\]"),
        ((layer, {"offset": other_params["offset"]}, state), r"bn_params\['offset'\]"),
        ((layer | {"bias": jnp.ones(3)}, bn_params, state), r"params\['bias'\]"),
    ):
        with pytest.raises(ValueError, match=f"`{argument}` came as"):
            nn.fold_batch_norm(*args)


def test_it_is_differentiable_in_every_leaf(rng, x64):
    args = draw(rng, (3, 4), jnp.float64)
    total = lambda *args: sum(leaf.sum() for leaf in jax.tree.leaves(nn.fold_batch_norm(*args)))
    grads = jax.grad(total, argnums=(0, 1, 2))(*args)
    step = 1e-6
    for path, leaf in jax.tree_util.tree_leaves_with_path(args):
        for index in range(leaf.size):
            moved = [
                jax.tree_util.tree_map_with_path(
                    lambda p, a, s=sign, index=index, path=path: (
                        a.at[np.unravel_index(index, a.shape)].add(s * step) if p == path else a
                    ),
                    args,
                )
                for sign in (1, -1)
            ]
            slope = (float(total(*moved[0])) - float(total(*moved[1]))) / (2 * step)
            grad = dict(jax.tree_util.tree_leaves_with_path(grads))[path]
            np.testing.assert_allclose(grad.ravel()[index], slope, rtol=1e-6, atol=1e-8)
