"""One set of parameters, a share of the examples on each device: the gradients are those of one device."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from dlcore import nn
from dlcore.nn.recurrent._steps import WIDE
from tests.tolerance import assert_close


def _weights(p, gates):
    """Of a recurrent layer, as wide as has a derivative rule of its own."""
    wide = [jnp.sin(jnp.arange(rows * gates * WIDE, dtype=p.dtype)).reshape(rows, -1) for rows in (8, WIDE)]
    return {"input_kernel": p * wide[0], "recurrent_kernel": p * wide[1]}


# name: (layer of its parameter and x, the parameter's shape)
LAYERS = {
    "convolution": (lambda p, x: nn.conv({"kernel": p}, x), (3, 3, 8, 4)),
    "depthwise convolution": (lambda p, x: nn.conv({"kernel": p}, x, groups=8), (3, 3, 1, 8)),
    "grouped convolution": (lambda p, x: nn.conv({"kernel": p}, x, groups=2), (3, 3, 4, 4)),
    "transposed convolution": (lambda p, x: nn.conv_transpose({"kernel": p}, x), (3, 3, 4, 8)),
    "layer norm": (lambda p, x: nn.layer_norm({"scale": p}, x), (8,)),
    "RMS norm": (lambda p, x: nn.rms_norm({"scale": p}, x), (8,)),
    "group norm": (lambda p, x: nn.group_norm({"scale": p}, x, groups=2), (8,)),
    "instance norm": (lambda p, x: nn.instance_norm({"scale": p}, x), (8,)),
    "GRU": (lambda p, x: nn.gru(_weights(p, 3), x[..., 0, :])[0], ()),
    "LSTM": (lambda p, x: nn.lstm(_weights(p, 4), x[..., 0, :])[0], ()),
    "max and average pooling": (lambda p, x: nn.avg_pool(nn.max_pool(p * x, (2, 2)), (2, 2)), ()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradients_are_those_of_one_device(rng, name):
    layer, shape = LAYERS[name]
    mesh = jax.make_mesh((2,), ("device",), axis_types=(AxisType.Auto,))
    parameter = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    x = jnp.asarray(rng.standard_normal((4, 6, 5, 8)), jnp.float32)
    gradient = jax.grad(lambda p, x: (layer(p, x) ** 2).sum(), argnums=(0, 1))
    whole, share = PartitionSpec(), PartitionSpec("device")
    apart = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=(whole, share), out_specs=(whole, share)))
    for found, expected in zip(apart(parameter, x), jax.jit(gradient)(parameter, x), strict=True):
        assert_close(found, expected, length=x.size)
