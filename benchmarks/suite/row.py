"""What a row of the race is: arrays, contestants, and the least that the work can cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

__all__ = ["DLCORE", "ONE_RESULT", "Arrays", "Contestant", "Enter", "Floor", "Row", "Unavailable"]

DLCORE = "dlcore"
# What bounds many a row on CPU.
ONE_RESULT = "XLA makes no loop with several results on CPU"
Arrays: TypeAlias = tuple[np.ndarray, ...]


class Unavailable(Exception):  # noqa: N818 - it is an answer, not a fault
    """A contestant that cannot take part, and why."""


class Floor(NamedTuple):
    """The least that must be moved and computed.

    Attributes:
      bytes: read and written, each array once.
      flops: multiplications and additions of matrix products; 0 where there are none worth counting.
    """

    bytes: float
    flops: float = 0.0


class Contestant(NamedTuple):
    """One way to do the work, ready to run.

    Attributes:
      run: does it once and waits until it is done.
      results: what `run` returned, as arrays in dlcore's layout, for comparison.
      temporary_bytes: what it holds beside arguments and results, or None where nobody tells.
      compile_seconds: until it was ready.
    """

    run: Callable[[], Any]
    results: Callable[[Any], list[np.ndarray]]
    temporary_bytes: int | None
    compile_seconds: float


Enter: TypeAlias = Callable[[], Contestant]


class Row(NamedTuple):
    """One line of the table.

    Attributes:
      name: what is done.
      shape: to what.
      enter: contestants by name; the peers, and "dlcore".
      floor: see `Floor`; None where it says nothing, as in a whole training run.
      check: compares results with the first contestant's and raises AssertionError; None takes `measure.same`.
      kind: "layer", or "whole" for what is end to end.
      bound: what keeps dlcore from being faster, where a peer is; said only then.
      remark: of a contestant's results, what is to be said beside its time.
    """

    name: str
    shape: str
    enter: dict[str, Enter]
    floor: Floor | None = None
    check: Callable[[list[np.ndarray], list[np.ndarray]], None] | None = None
    kind: str = "layer"
    bound: str = ""
    remark: Callable[[list[np.ndarray]], str] | None = None
