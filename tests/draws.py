"""What a property draws: shapes, batch axes, windows and options, small ones first.

The simplest draw, which Hypothesis tries first and shrinks towards, is a plain case of medium size (one batch axis,
three features, windows of two): a run of few examples always has it, and the others vary from it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

__all__ = ["Draws", "Windows", "seeds"]

# Odd sizes, one, and those around a power of two; 3 is the simplest.
SIZES = (3, 1, 2, 4, 5, 6, 7)


class Windows(NamedTuple):
    """The sizes of the spatial axes, a window that fits them, and the options that go with it."""

    sizes: tuple[int, ...]
    window: tuple[int, ...]
    options: dict[str, Any]


class Draws:
    """Drawing for one example of one entry.

    Args:
      draw: Hypothesis' own.
      lead: the leading batch axes, where a property fixes them; drawn where it is None.
      largest: no other axis is longer.
    """

    def __init__(self, draw: Any, *, lead: tuple[int, ...] | None = None, largest: int = 7):
        self._draw = draw
        self._lead = lead
        self._largest = largest
        self._leads = 0

    def choose(self, *values: Any) -> Any:
        """One of the values; the first is the simplest."""
        return self._draw(st.sampled_from(values))

    def flag(self) -> bool:
        return self.choose(False, True)

    def size(self, *, most: int = 7) -> int:
        return self.choose(*(size for size in SIZES if size <= min(most, self._largest)))

    def shape(self, least: int, most: int) -> tuple[int, ...]:
        """The sizes of `least` to `most` axes."""
        return tuple(self.size() for _ in range(self.choose(*range(least, most + 1))))

    def lead(self, *, most: int = 2) -> tuple[int, ...]:
        """One leading batch axis, none, or two."""
        lead = self._lead
        if lead is None:
            count = self.choose(*(count for count in (1, 0, 2) if count <= most))
            lead = tuple(self.choose(2, 3, 1, 5) for _ in range(count))
        self._leads = len(lead)
        return lead

    def batched(self, *positions: int) -> tuple[int, ...]:
        """These positions, if the last `lead` has a batch axis at all."""
        return positions if self._leads else ()

    def options(self, **choices: tuple[Any, ...]) -> dict[str, Any]:
        """Each option left out, or at one of its values.

        Numbers should have few binary digits: half precision then holds them exactly, and a kink or jump stands where
        float64 has it.
        """
        drawn = {name: self.choose(None, *range(len(values))) for name, values in choices.items()}
        return {name: choices[name][index] for name, index in drawn.items() if index is not None}

    def windows(self, *, pooling: bool) -> Windows:
        """Windows along one to three axes that fit: no draw is refused."""
        count = self.choose(2, 1, 3)
        room, widest = {1: (5, 4), 2: (3, 3), 3: (1, 2)}[count]
        room = min(room, self._largest)
        window = tuple(self.choose(*range(2, widest + 1), 1) for _ in range(count))
        strides = tuple(self.choose(1, 2, 3) for _ in range(count))
        dilation = tuple(self.choose(1, 2, 3) for _ in range(count))
        extra = tuple(self.choose(*range(1, room + 1), 0) for _ in range(count))
        kinds = ("SAME", "VALID", "SAME_LOWER", "explicit", *(("CAUSAL",) if count == 1 else ()))
        kind = self.choose(*kinds)
        ceil_mode = pooling and self.flag()

        pairs, sizes, spread = [], [], []
        for k, s, d, more in zip(window, strides, dilation, extra, strict=True):
            extent = (k - 1) * d + 1
            pair = (0, 0)
            if kind == "explicit":
                # Pooling takes padding of at most half the window; convolution any.
                most = extent // 2 if pooling else 3
                pair = (self.choose(*range(most + 1)), self.choose(*range(most, -1, -1)))
            needed = extent - sum(pair) if kind in ("VALID", "explicit") else 1
            n = max(needed, 1) + more
            if pooling and not _holds_inputs(n, k, s, d, kind, pair, ceil_mode):
                # Spread taps can straddle a small input; those of a dense window cannot.
                d, pair = 1, tuple(min(side, k // 2) for side in pair)
            pairs.append(pair)
            sizes.append(n)
            spread.append(d)

        options: dict[str, Any] = {"padding": tuple(pairs) if kind == "explicit" else kind}
        options |= {"strides": _short(strides), "dilation": _short(tuple(spread))}
        if pooling and self.choose(False, True):
            options["ceil_mode"] = ceil_mode
        return Windows(tuple(sizes), window, options)


def seeds() -> st.SearchStrategy[int]:
    """The seed of an example's values.

    Two small numbers instead of a large one: Hypothesis mixes constants of whatever modules are loaded into large
    ranges, and then a test alone would draw other values than the same test in the whole run.
    """
    return st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda pair: 100 * pair[0] + pair[1])


def _holds_inputs(n, k, s, d, kind, pair, ceil_mode):
    """Whether every window has a tap on the input."""
    extent = (k - 1) * d + 1
    low, high = pair
    if kind == "CAUSAL":
        low = extent - 1
    elif kind in ("SAME", "SAME_LOWER"):
        total = max((math.ceil(n / s) - 1) * s + extent - n, 0)
        low, high = (total // 2, total - total // 2)[:: 1 if kind == "SAME" else -1]
    starts = np.arange(-low, n + high, s)
    taps = starts[:, None] + d * np.arange(k)
    kept = (starts + extent <= n + high) | (ceil_mode & (starts < n))
    return bool(((taps >= 0) & (taps < n)).any(1)[kept].all())


def _short(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number where all axes agree: the other way to say it."""
    return sizes[0] if len(set(sizes)) == 1 else sizes
