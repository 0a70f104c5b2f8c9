"""The geometry of sliding windows: sizes, strides, dilation and padding, resolved once, one axis at a time.

Convolution and every pooling share it, so that "SAME" means one thing and a window that does not fit is
refused by one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from dlcore import _checks
from dlcore._typing import Padding, Spatial

__all__ = ["PaddingLimit", "WindowAxis", "resolve_transposed_windows", "resolve_windows"]

PADDINGS = ("VALID", "SAME", "SAME_LOWER", "CAUSAL")

# How far padding may reach: as far as it likes ("none"), as long as every window holds an input ("window"), or
# half a window besides ("half").
PaddingLimit = Literal["none", "window", "half"]


class WindowAxis(NamedTuple):
    """Windows along one axis: output o reads inputs o · stride + j · dilation − low for j in [0, size)."""

    inputs: int
    outputs: int
    size: int
    stride: int
    dilation: int
    low: int
    high: int

    @property
    def extent(self) -> int:
        """The distance from a window's first tap to one past its last."""
        return (self.size - 1) * self.dilation + 1

    @property
    def used(self) -> int:
        """How many padded positions the windows reach; ceil mode reaches past `low + inputs + high`."""
        return (self.outputs - 1) * self.stride + self.extent

    def taps(self) -> np.ndarray:
        """The input position that each tap of each output reads, (outputs, size); outside [0, inputs) is padding."""
        starts = np.arange(self.outputs)[:, None] * self.stride - self.low
        return starts + np.arange(self.size)[None, :] * self.dilation


def resolve_windows(
    function: str,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Spatial,
    padding: Padding,
    dilation: Spatial,
    *,
    limit: PaddingLimit,
    ceil_mode: bool = False,
) -> tuple[WindowAxis, ...]:
    """The windows of every spatial axis.

    Args:
      function: the public function's name, for messages.
      sizes: the spatial sizes of the input.
      window: the window's size on each spatial axis.
      strides, padding, dilation: as the public function received them.
      limit: how far padding may reach.
      ceil_mode: the last window may reach past the padded input, as long as it starts inside the input
        or its left padding.
    """
    count = len(window)
    step = _checks.spatial(function, "strides", strides, count)
    spread = _checks.spatial(function, "dilation", dilation, count)
    extents = [(k - 1) * d + 1 for k, d in zip(window, spread, strict=True)]
    pairs = _pairs(function, padding, sizes, extents, step)

    result = []
    for n, k, s, d, extent, (low, high) in zip(sizes, window, step, spread, extents, pairs, strict=True):
        room = n + low + high - extent
        outputs = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (outputs - 1) * s >= n + low:
            outputs -= 1
        if n < 1 or outputs < 1:
            raise _checks.value_error(
                function,
                "x",
                f"spatial sizes {tuple(sizes)}",
                f"at least the window {tuple(window)}, which reaches over {tuple(extents)} with dilation "
                f"{spread}, once padding {tuple(pairs)} is added",
                "Use a smaller window or dilation, more padding, or pool less before this layer.",
            )
        axis = WindowAxis(n, outputs, k, s, d, low, high)
        _refuse_wide_padding(function, padding, axis, limit)
        result.append(axis)
    return tuple(result)


def resolve_transposed_windows(
    function: str,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Spatial,
    padding: Padding,
    dilation: Spatial,
    output_padding: Spatial,
) -> tuple[WindowAxis, ...]:
    """The windows of the convolution that a transposed one goes back through: its outputs are the `sizes` at hand.

    `inputs` is what the transposed convolution returns. With `output_padding` at or beyond the stride (and below the
    dilation) that convolution would have more outputs than there are; `high` crops them.
    """
    count = len(window)
    step = _checks.spatial(function, "strides", strides, count)
    spread = _checks.spatial(function, "dilation", dilation, count)
    extra = _checks.spatial(function, "output_padding", output_padding, count, low=0)
    extents = [(k - 1) * d + 1 for k, d in zip(window, spread, strict=True)]
    pairs = _pairs(function, padding, [n * s for n, s in zip(sizes, step, strict=True)], extents, step)
    sized = isinstance(padding, str) and padding != "VALID"
    if sized and any(extra):
        raise _checks.value_error(
            function, "output_padding", f"{extra} with padding={padding!r}",
            f"0, since {padding!r} has a size of its own, input · stride",
            'Give the padding as (low, high) pairs, or use "VALID".',
        )  # fmt: skip
    if any(more >= max(s, d) for more, s, d in zip(extra, step, spread, strict=True)):
        raise _checks.value_error(
            function, "output_padding", extra, f"less than the stride {step} or the dilation {spread}",
            "It chooses among the sizes that one strided convolution maps to the same size.",
        )  # fmt: skip

    result = []
    for n, k, s, d, extent, (low, high), more in zip(sizes, window, step, spread, extents, pairs, extra, strict=True):
        used = (n - 1) * s + extent
        returned = n * s if sized else used - low - high + more
        if n < 1 or returned < 1:
            raise _checks.value_error(
                function, "x", f"spatial sizes {tuple(sizes)}",
                f"sizes that leave something once padding {tuple(pairs)} is taken away", "Pad less.",
            )  # fmt: skip
        result.append(WindowAxis(returned, n, k, s, d, low, used - returned - low))
    return tuple(result)


def _pairs(
    function: str, padding: Padding, sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        _checks.one_of(function, "padding", padding, PADDINGS)
        if padding == "VALID":
            return [(0, 0)] * len(sizes)
        if padding == "CAUSAL":
            if len(sizes) != 1:
                raise _checks.value_error(
                    function, "padding", f"'CAUSAL' with {len(sizes)} spatial axes", "one spatial axis, time",
                    "Give (low, high) pairs for more axes.",
                )  # fmt: skip
            return [(extents[0] - 1, 0)]
        needed = []
        for n, extent, s in zip(sizes, extents, strides, strict=True):
            total = max((-(-n // s) - 1) * s + extent - n, 0)
            less, more = total // 2, total - total // 2
            needed.append((less, more) if padding == "SAME" else (more, less))
        return needed
    if not isinstance(padding, Sequence) or not all(isinstance(p, tuple | list) and len(p) == 2 for p in padding):
        raise _checks.type_error(
            function, "padding", _checks.describe(padding),
            f"one of {PADDINGS} or a (low, high) pair for each spatial axis",
            "For one pixel all round an image: padding=((1, 1), (1, 1)).",
        )  # fmt: skip
    if len(padding) != len(sizes):
        raise _checks.value_error(
            function, "padding", f"{len(padding)} pairs", f"{len(sizes)}, one for each spatial axis",
            "The number of spatial axes is that of the window.",
        )  # fmt: skip
    pairs = [tuple(_checks.integer(function, "padding", margin, low=0) for margin in pair) for pair in padding]
    return [(pair[0], pair[1]) for pair in pairs]


def _refuse_wide_padding(function: str, padding: Padding, axis: WindowAxis, limit: PaddingLimit) -> None:
    if limit == "none":
        return
    taps = axis.taps()
    empty = not ((taps >= 0) & (taps < axis.inputs)).any(axis=1).all()
    # "CAUSAL" and "SAME" pad as much as they need, and their windows always end on or hold an input.
    over = limit == "half" and not isinstance(padding, str) and max(axis.low, axis.high) > axis.extent // 2
    if empty or over:
        most = f"at most half the window, {axis.extent // 2}, so" if limit == "half" else "so little"
        raise _checks.value_error(
            function,
            "padding",
            f"{(axis.low, axis.high)} for a window that reaches over {axis.extent} positions",
            f"{most} that no window lies wholly in padding",
            "Pad less, or widen the window.",
        )
