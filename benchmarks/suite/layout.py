"""In which order of axes a contestant takes its arrays and returns its result, beside dlcore's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.suite.row import Arrays

__all__ = ["Layout", "Order", "layout"]

Order: TypeAlias = Sequence[int] | None


class Layout(NamedTuple):
    """Between dlcore's order of axes and a contestant's own.

    Attributes:
      slopes: how many arrays, from the first, take gradients.
      turn: for each array the order of axes in which the contestant wants it; None is dlcore's.
      out: the order of axes in which it returns its result, of dlcore's.
    """

    slopes: int
    turn: tuple[Order, ...]
    out: Order

    def own(self, arrays: Arrays) -> list[np.ndarray]:
        """The arrays as the contestant takes them."""
        return [_turned(array, order) for array, order in zip(arrays, self.turn, strict=True)]

    def incoming(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """The gradient that comes in, the same for all, for a result that the contestant returns in this shape."""
        back = range(len(shape)) if self.out is None else np.argsort(self.out)
        dy = np.random.default_rng(7).standard_normal([shape[axis] for axis in back]).astype(dtype)
        return _turned(dy, self.out)

    def results(self, y: np.ndarray, gradients: Iterable[np.ndarray]) -> list[np.ndarray]:
        """What the contestant computed, as dlcore returns it."""
        orders = (self.out, *self.turn[: self.slopes])
        return [_turned(array, None if order is None else np.argsort(order))
                for array, order in zip((y, *gradients), orders, strict=True)]  # fmt: skip


def layout(arrays: Arrays, slopes: int | None, turn: Sequence[Order] | None, out: Order) -> Layout:
    """With the defaults: all arrays of floating dtype take gradients, and nothing is turned."""
    count = sum(np.issubdtype(array.dtype, np.floating) for array in arrays) if slopes is None else slopes
    return Layout(count, tuple(turn or [None] * len(arrays)), out)


def _turned(array: np.ndarray, order: Any) -> np.ndarray:
    return array if order is None else np.ascontiguousarray(array.transpose(order))
