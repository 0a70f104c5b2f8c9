"""Timing side by side: everything in one process, on the same arrays, in turns."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.app.versions import versions

__all__ = ["RESULTS", "race", "store"]

RESULTS = Path(__file__).parent / "results"


def race(rivals: dict[str, Callable[..., Any]], arguments: tuple[Any, ...], *, rounds: int = 15) -> dict[str, Any]:
    """Median milliseconds of each rival, and the quartiles, taken in turns after one call that compiles."""
    for rival in rivals.values():
        jax.block_until_ready(rival(*arguments))
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, rival in rivals.items():
            start = time.perf_counter()
            jax.block_until_ready(rival(*arguments))
            times[name].append(1e3 * (time.perf_counter() - start))
    return {
        name: dict(
            zip(("low", "median", "high"), np.round(np.percentile(series, (25, 50, 75)), 3).tolist(), strict=True)
        )
        for name, series in times.items()
    }


def store(name: str, rows: Any) -> None:
    """Writes the rows, and what they were measured on, to benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    record = {"measured_with": versions(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(rows, indent=1, ensure_ascii=False))
