"""One table of tolerances: units in the last place of each dtype, times the square root of what was summed."""

import jax.numpy as jnp
import numpy as np

EPSILON = {
    "float64": 2.3e-16,
    "float32": 1.2e-7,
    "bfloat16": 7.9e-3,
    "float16": 9.8e-4,
}
FLOATS = tuple(EPSILON)
# A few operations, each rounded once, then the reduction.
OPERATIONS = 8


def relative(dtype, length=1):
    """The relative tolerance of a result in `dtype` that sums `length` terms."""
    return OPERATIONS * EPSILON[jnp.dtype(dtype).name] * max(1, length) ** 0.5


def assert_close(actual, expected, *, dtype=None, length=1, scale=None):
    """`actual` equals the oracle's float64 `expected`, up to the tolerance of its dtype.

    scale: the size of the terms that were summed, where cancellation makes the result smaller; by default the largest
    finite |expected|, at least one unit of it.
    """
    dtype = jnp.dtype(dtype or actual.dtype)
    actual, expected = np.asarray(actual).astype(np.float64), np.asarray(expected).astype(np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    finite = np.abs(expected[np.isfinite(expected)])
    scale = scale if scale is not None else (finite.max() if finite.size else 1.0)
    np.testing.assert_allclose(
        actual, expected, rtol=relative(dtype, length), atol=relative(dtype, length) * scale, equal_nan=True
    )
