"""Batch normalisation in NumPy, in float64, and data for it."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import nn

EPSILON = 1e-5


def oracle(scale, offset, x, dy, *, epsilon=EPSILON):
    """Values, statistics and gradients of (scale, offset, x) for rows (n, C), in float64."""
    scale, offset, x, dy = (np.asarray(a).astype(np.float64) for a in (scale, offset, x, dy))
    n = len(x)
    mean = x.sum(0) / n
    var = ((x - mean) ** 2).sum(0) / n
    normal = (x - mean) / np.sqrt(var + epsilon)
    dnormal = dy * scale
    dx = (dnormal - dnormal.mean(0) - normal * (dnormal * normal).mean(0)) / np.sqrt(var + epsilon)
    return scale * normal + offset, mean, var * n / max(n - 1, 1), ((dy * normal).sum(0), dy.sum(0), dx)


def on_host(tree):
    """As NumPy arrays, whose indexing compiles nothing."""
    return jax.tree.map(np.asarray, tree)


def draw(rng, shape, dtype=jnp.float32, mean=0.0):
    """Parameters, a state, a batch and a cotangent."""
    c = shape[-1]
    params = {"scale": jnp.asarray(rng.uniform(0.5, 2, c), dtype), "offset": jnp.asarray(rng.standard_normal(c), dtype)}
    wide = jnp.float64 if dtype == "float64" else jnp.float32
    state = nn.BatchNormState(jnp.asarray(rng.standard_normal(c), wide), jnp.asarray(rng.uniform(1, 2, c), wide))
    x = jnp.asarray(rng.standard_normal(shape) + mean, dtype)
    return params, state, x, jnp.asarray(rng.standard_normal(shape), dtype)
