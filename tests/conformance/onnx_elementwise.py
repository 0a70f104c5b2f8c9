"""Adapters of ONNX' operators to dlcore: activations, softmax, dense, embedding, dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tests.conformance.ours import nn


def celu(a, x):
    return nn.celu(x, alpha=a.get("alpha", 1.0))


def clip(a, x, low=None, high=None):
    """Between two bounds: the hard tanh, moved and stretched; beyond one bound: a relu."""
    if low is None and high is None:
        raise ValueError("nothing to compute")
    if low is None:
        return high - nn.relu(high - x)
    if high is None:
        return low + nn.relu(x - low)
    if float(low) >= float(high):
        raise ValueError("the bounds are crossed")
    radius, centre = (high - low) / 2, (high + low) / 2
    return centre + radius * nn.hard_tanh((x - centre) / radius)


def dropout(a, x, ratio=None, training=None):
    """Evaluation leaves dropout out: a rate of 0, of which nothing is dropped."""
    rate = 0.0
    if training is not None and bool(training):
        rate = 0.5 if ratio is None else float(ratio)
    y = nn.dropout(jax.random.key(a.get("seed", 0)), x, rate=rate)
    return y, (y != 0) | (x == 0)


def elu(a, x):
    return nn.elu(x, alpha=a.get("alpha", 1.0))


def gather(a, data, indices):
    """Rows of a table: the axis to gather from comes first, the others are the features."""
    axis = a.get("axis", 0)
    table = jnp.moveaxis(data, axis, 0)
    rows = nn.embedding({"kernel": table.reshape(table.shape[0], -1)}, indices)
    rows = rows.reshape(indices.shape + table.shape[1:])
    places = range(axis, axis + indices.ndim)
    return jnp.moveaxis(rows, range(indices.ndim), places)


def gelu(a, x):
    return nn.gelu(x, approximate=a.get("approximate", "none") == "tanh")


def gemm(a, x, kernel, c=None):
    """A dense layer; a bias with a row for each example makes a layer for each example."""
    x = x.T if a.get("transA") else x
    kernel = a.get("alpha", 1.0) * (kernel.T if a.get("transB") else kernel)
    if c is None:
        return nn.dense({"kernel": kernel}, x)
    bias = a.get("beta", 1.0) * c
    if bias.ndim == 2 and bias.shape[0] > 1:
        return jax.vmap(lambda bias, x: nn.dense({"kernel": kernel, "bias": bias}, x))(bias, x)
    return nn.dense({"kernel": kernel, "bias": jnp.broadcast_to(bias.reshape(-1), kernel.shape[-1:])}, x)


def hard_sigmoid(a, x):
    return nn.hard_sigmoid(x, slope=a.get("alpha", 0.2), offset=a.get("beta", 0.5))


def hard_swish(a, x):
    return nn.hard_silu(x)


def leaky_relu(a, x):
    return nn.leaky_relu(x, negative_slope=a.get("alpha", 0.01))


def log_softmax(a, x):
    return nn.log_softmax(x, axis=a.get("axis", -1))


def matmul(a, x, y):
    """A dense layer without bias for each matrix of the broadcast batch."""
    kernel = y[:, None] if y.ndim == 1 else y
    rows = x[None] if x.ndim == 1 else x
    batch = jnp.broadcast_shapes(rows.shape[:-2], kernel.shape[:-2])
    rows, kernel = (jnp.broadcast_to(m, batch + m.shape[-2:]).reshape(-1, *m.shape[-2:]) for m in (rows, kernel))
    out = jax.vmap(lambda kernel, x: nn.dense({"kernel": kernel}, x))(kernel, rows)
    out = out.reshape(batch + out.shape[1:])
    out = out[..., 0] if y.ndim == 1 else out
    return out[..., 0, :] if x.ndim == 1 < y.ndim else out[..., 0] if x.ndim == 1 else out


def mish(a, x):
    return nn.mish(x)


def prelu(a, x, slope):
    """A slope for each channel; one for each element makes a channel of each element."""
    if slope.ndim > 1:
        return nn.prelu(x.reshape(-1), slope.reshape(-1)).reshape(x.shape)
    return nn.prelu(x, slope)


def relu(a, x):
    return nn.relu(x)


def selu(a, x):
    """With constants of one's own it is a scaled elu."""
    if "alpha" in a or "gamma" in a:
        return a["gamma"] * nn.elu(x, alpha=a["alpha"])
    return nn.selu(x)


def shrink(a, x):
    threshold, bias = a.get("lambd", 0.5), a.get("bias", 0.0)
    if bias not in (0.0, threshold):
        raise ValueError("neither hard nor soft")
    return (nn.soft_shrink if bias else nn.hard_shrink)(x, threshold=threshold)


def sigmoid(a, x):
    return nn.sigmoid(x)


def softmax(a, x):
    return nn.softmax(x, axis=a.get("axis", -1))


def softplus(a, x):
    return nn.softplus(x)


def soft_sign(a, x):
    return nn.soft_sign(x)


def swiglu(a, gate, values):
    """silu(α x) / α is the swish with a slope α."""
    alpha = a.get("alpha", 1.0)
    return nn.swiglu(gate * alpha, values / alpha)


def swish(a, x):
    alpha = a.get("alpha", 1.0)
    return nn.silu(x * alpha) / alpha


def tanh(a, x):
    return nn.tanh(x)


def thresholded_relu(a, x):
    return nn.thresholded_relu(x, threshold=a.get("alpha", 1.0))


ADAPTERS = {
    "Celu": celu,
    "Clip": clip,
    "Dropout": dropout,
    "Elu": elu,
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": log_softmax,
    "MatMul": matmul,
    "Mish": mish,
    "PRelu": prelu,
    "Relu": relu,
    "Selu": selu,
    "Shrink": shrink,
    "Sigmoid": sigmoid,
    "Softmax": softmax,
    "Softplus": softplus,
    "Softsign": soft_sign,
    "SwiGLU": swiglu,
    "Swish": swish,
    "Tanh": tanh,
    "ThresholdedRelu": thresholded_relu,
}
