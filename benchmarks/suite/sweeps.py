"""How the cost grows: the same work at sizes that double, and the exponent that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.rows import attention, convolution, dropout, losses, normalization, pooling, recurrent
from benchmarks.suite.machine import Machine
from benchmarks.suite.measure import measure
from benchmarks.suite.row import DLCORE, Row

__all__ = ["exponent", "sweep"]


def sweep(*, quick: bool) -> list[dict[str, Any]]:
    """One entry a sweep: sizes, and each contestant's milliseconds and exponent. Values are compared, too."""
    return [_measured(*entry, quick=quick) for entry in _sweeps(quick)]


def exponent(sizes: Sequence[float], milliseconds: Sequence[float]) -> float:
    """The slope of log time over log size, by least squares; of the upper half, where fixed costs are over."""
    start = len(sizes) // 2 if len(sizes) > 3 else 0
    return float(np.polyfit(np.log(sizes[start:]), np.log(milliseconds[start:]), 1)[0])


def _sweeps(quick: bool) -> list[tuple[str, str, list[int], Callable[[int], Row]]]:
    def sizes(first: int, count: int) -> list[int]:
        return [first * 2**power for power in range(2 if quick else count)]

    least = 2 if quick else 1
    return [
        ("max pool over the batch", "examples", sizes(4, 6), lambda n: pooling.case("max", (n, 28, 28, 32), 3, 2)),
        ("depthwise convolution over the width", "channels", sizes(8, 6),
         lambda n: convolution.case((8 // least, 14, 14, n), 3, n, n, 1)),
        ("dropout over the size", "values", sizes(2**12, 8), lambda n: dropout.case((n,), 0.1)),
        ("layer norm over the width", "features", sizes(32, 7),
         lambda n: normalization.layer_norm_case((512 // least, n))),
        ("causal attention over the length", "steps", sizes(32, 6),
         lambda n: attention.case(True, (2, n, 4, 32), n, 4)),
        ("GRU over the length", "steps", sizes(8, 6), lambda n: recurrent.gru_case(16, n, 64, 64)),
        ("linear head over the classes", "classes", sizes(512, 7), lambda n: losses.head_case(512 // least, 64, n)),
    ]  # fmt: skip


def _measured(name: str, over: str, sizes: list[int], make: Callable[[int], Row], *, quick: bool) -> dict[str, Any]:
    rate = Machine(1.0, 1.0)
    times: dict[str, list[float]] = {}
    for size in sizes:
        row = make(size)
        # One peer on JAX and one on PyTorch show how it grows.
        eager = "PyTorch"
        names = [n for n in row.enter if n != DLCORE and not n.startswith(eager)][:1]
        names += [*(n for n in row.enter if n == eager), DLCORE]
        line = measure(row._replace(enter={n: row.enter[n] for n in names}, floor=None), rate,
                       rounds=3 if quick else 9)  # fmt: skip
        for contestant, entry in line["contestants"].items():
            times.setdefault(contestant, []).append(entry["milliseconds"])
    return {
        "name": name, "over": over, "sizes": sizes,
        "contestants": {
            contestant: {"milliseconds": series, "exponent": round(exponent(sizes, series), 3)}
            for contestant, series in times.items()
            if len(series) == len(sizes)
        },
    }  # fmt: skip
