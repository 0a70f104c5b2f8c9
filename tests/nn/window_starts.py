"""Where the windows of an axis start: the oracle that the pooling tests share."""

import math

__all__ = ["starts"]


def starts(n, k, s, d, padding, ceil_mode):
    """Where each window of an axis starts, and where counted padding begins and ends."""
    extent = (k - 1) * d + 1
    if padding in ("SAME", "SAME_LOWER"):
        total = max((math.ceil(n / s) - 1) * s + extent - n, 0)
        low, high = total // 2, total - total // 2
        low, high = (low, high) if padding == "SAME" else (high, low)
    else:
        low, high = {"VALID": (0, 0), "CAUSAL": (extent - 1, 0)}.get(padding, padding)
    result, start = [], -low
    while True:
        ended = start - s + extent >= n + high and result  # the window before reached the end already
        if ended or (start >= n if ceil_mode else start + extent > n + high):
            return result, -low, n + high
        result.append(start)
        start += s
