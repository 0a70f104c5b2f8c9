"""A window at a time: the oracle that the tests of pooling with places and norms share."""

import itertools

import numpy as np

from tests.nn.window_starts import starts

__all__ = ["pooled", "windows_of"]


def windows_of(sizes, window, *, strides=None, padding="VALID", dilation=1, ceil_mode=False):
    """The number of windows on each axis, and the flat positions of the inputs of each, both in row-major order."""
    count = 1 if isinstance(window, int) else len(window)
    strides = window if strides is None else strides
    window, strides, dilation = (np.broadcast_to(option, count) for option in (window, strides, dilation))
    axes = []
    for axis, (n, k, s, d) in enumerate(zip(sizes, window, strides, dilation, strict=True)):
        firsts = starts(n, k, s, d, padding if isinstance(padding, str) else padding[axis], ceil_mode)[0]
        axes.append([[i for i in (first + j * d for j in range(k)) if 0 <= i < n] for first in firsts])
    members = [
        [int(np.ravel_multi_index(i, sizes)) for i in itertools.product(*rows)] for rows in itertools.product(*axes)
    ]
    return tuple(map(len, axes)), members


def pooled(x, sizes, shape, members, one):
    """`one(values of a window) -> numbers`, for each window and channel; the leading axes are one batch."""
    flat = np.asarray(x).reshape(-1, int(np.prod(sizes)), x.shape[-1])
    found = np.array([[[one(flat[b, m, c]) for c in range(x.shape[-1])] for m in members] for b in range(len(flat))])
    return found.reshape(*x.shape[: -1 - len(sizes)], *shape, x.shape[-1], *found.shape[3:])
