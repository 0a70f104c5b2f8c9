"""Adapters of ONNX' operators to dlcore: normalisation."""

from __future__ import annotations

import jax.numpy as jnp

from tests.conformance.onnx_cases import first, last
from tests.conformance.ours import nn


def batch_norm(a, x, scale, offset, mean, var):
    """ONNX keeps the biased variance as the running one; dlcore, as PyTorch, the unbiased, n / (n − 1) times it."""
    params, state, epsilon = {"scale": scale, "offset": offset}, nn.BatchNormState(mean, var), a.get("epsilon", 1e-5)
    if not a.get("training_mode"):
        return first(nn.batch_norm_eval(params, state, last(x), epsilon=epsilon))
    decay = a.get("momentum", 0.9)
    y, after = nn.batch_norm_train(params, state, last(x), decay=decay, epsilon=epsilon)
    n = x.size // x.shape[1]
    return first(y), after.mean, decay * var + (after.var - decay * var) * ((n - 1) / n)


def group_norm(a, x, scale, offset):
    params = {"scale": scale, "offset": offset}
    return first(nn.group_norm(params, last(x), groups=a["num_groups"], epsilon=a.get("epsilon", 1e-5)))


def instance_norm(a, x, scale, offset):
    return first(nn.instance_norm({"scale": scale, "offset": offset}, last(x), epsilon=a.get("epsilon", 1e-5)))


def layer_norm(a, x, scale, offset=None):
    params = {"scale": scale} | ({} if offset is None else {"offset": offset})
    y = nn.layer_norm(params, x, axis=from_axis(a, x), epsilon=a.get("epsilon", 1e-5))
    return y, None, None


def rms_norm(a, x, scale):
    return nn.rms_norm({"scale": scale}, x, axis=from_axis(a, x), epsilon=a.get("epsilon", 1e-5))


def from_axis(a, x):
    """The axes from `axis` to the last."""
    axis = a.get("axis", -1)
    return tuple(range(axis - x.ndim if axis >= 0 else axis, 0))


def local_response_norm(a, x):
    y = nn.local_response_norm(
        last(x), size=a["size"], alpha=a.get("alpha", 1e-4), beta=a.get("beta", 0.75), k=a.get("bias", 1.0)
    )
    return first(y)


def mean_variance_norm(a, x):
    """A batch normalisation without params, over the axes named; ONNX divides by σ + 1e-9, here √(σ² + 1e-18)."""
    axes = a.get("axes", [0, 2, 3])
    rows = jnp.moveaxis(x, axes, range(len(axes)))
    features = rows[(0,) * len(axes)].size
    state = nn.BatchNormState(jnp.zeros(features), jnp.ones(features))
    y, _ = nn.batch_norm_train({}, state, rows.reshape(-1, features), epsilon=1e-18)
    return jnp.moveaxis(y.reshape(rows.shape), range(len(axes)), axes)


ADAPTERS = {
    "BatchNormalization": batch_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "LRN": local_response_norm,
    "LayerNormalization": layer_norm,
    "MeanVarianceNormalization": mean_variance_norm,
    "RMSNormalization": rms_norm,
}
