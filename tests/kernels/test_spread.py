"""The gradient of windows, in blocks, against one padded copy for each tap."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore._windows import resolve_windows
from dlcore.kernels.spread import plain_spread, spread

# spatial sizes, window, strides, padding, dilation
CASES = {
    "side by side": ((6, 8), (2, 2), (2, 2), "VALID", 1),
    "something left over": ((7, 9), (2, 3), (2, 3), "VALID", 1),
    "overlapping": ((9, 8), (3, 3), (2, 2), "SAME", 1),
    "at every place": ((5, 6), (3, 2), (1, 1), ((1, 1), (0, 1)), 1),
    "with gaps between windows": ((11,), (2,), (4,), "VALID", 1),
    "with gaps inside": ((12, 9), (3, 2), (2, 3), ((2, 1), (0, 3)), (2, 3)),
    "one output": ((4,), (4,), (1,), "VALID", 1),
    "one tap": ((5,), (1,), (1,), "VALID", 1),
    "padding beyond": ((3,), (2,), (3,), ((2, 4),), 1),
    "three axes": ((4, 5, 3), (2, 3, 2), (2, 1, 1), "SAME", 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_it_is_the_reference(case, ceil_mode):
    sizes, window, strides, padding, dilation = CASES[case]
    axes = resolve_windows("test", sizes, window, strides, padding, dilation, limit="none", ceil_mode=ceil_mode)
    rng = np.random.default_rng(0)
    shape = (2, *(w.outputs for w in axes), 3)
    dy = jnp.asarray(rng.integers(-9, 10, shape), jnp.float32)
    index = jnp.asarray(rng.integers(0, np.prod(window), shape), jnp.uint8)
    # Sums of small integers are exact in any order.
    for chosen in (None, index):
        found = spread(dy, axes, chosen)
        assert found.shape == (2, *sizes, 3)
        np.testing.assert_array_equal(found, plain_spread(dy, axes, chosen))
