"""Compares a row's contestants, then times them in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.suite.machine import Machine
from benchmarks.suite.row import DLCORE, Contestant, Row, Unavailable

__all__ = ["WrongValueError", "measure", "same"]

# Peers whose name begins otherwise run on JAX.
TORCH = "PyTorch"
# A measurement lasts at least so long, many calls if need be, and a row at most so long.
LEAST, MOST = 2e-3, 20.0
# Threads of one library go on waiting in a loop for a while, at the cost of whoever comes next.
PAUSE = 5e-3
# Calls until the allocator has found its places; but none where one takes so many seconds that it does not matter.
WARM, LONG = 5, 0.2


class WrongValueError(AssertionError):
    """A contestant computes something else than the others."""


def same(found: list[np.ndarray], expected: list[np.ndarray], *, tolerance: float = 2e-4) -> None:
    """Equal but for rounding, measured against the largest number of each array."""
    assert len(found) == len(expected), f"{len(found)} arrays, not {len(expected)}"
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape, f"array {number} has shape {a.shape}, not {b.shape}"
        scale = max(float(np.abs(b).max(initial=0)), 1e-30)
        far = float(np.abs(a - b).max(initial=0)) / scale
        assert far <= tolerance, f"array {number} is {far:.1e} of its largest number away"


def measure(row: Row, machine: Machine, *, rounds: int = 15, most: float = MOST, only: frozenset[str] = frozenset()
) -> dict[str, Any]:  # fmt: skip
    """One line of the table: checks first, and raises `WrongValueError`; then times.

    Args:
      rounds: how often each is measured.
      most: seconds after which no further round begins (three there are always).
      only: contestants to leave out all others; none named is all.
    """
    ready: dict[str, Contestant] = {}
    absent: dict[str, str] = {}
    for name, enter in row.enter.items():
        if only and name != DLCORE and name not in only:
            continue
        try:
            ready[name] = enter()
        except Unavailable as reason:
            absent[name] = str(reason)
    try:
        remarks = _compare(row, ready)
        times = _race(ready, rounds, most)
    except AssertionError as error:
        raise WrongValueError(f"{row.name}, {row.shape}: {error}") from error

    floor = None if row.floor is None else machine.seconds(row.floor) * 1e3
    entries: dict[str, dict[str, Any]] = {}
    for name, series in times.items():
        low, median, high = np.percentile(series, (25, 50, 75))
        entries[name] = {
            "milliseconds": _round(median), "quartiles": [_round(low), _round(high)],
            "temporary_bytes": ready[name].temporary_bytes,
            "compile_seconds": round(ready[name].compile_seconds, 2),
        }  # fmt: skip
        if floor:
            entries[name]["share_of_floor"] = round(floor / median, 3)
        if name in remarks:
            entries[name]["remark"] = remarks[name]
    line: dict[str, Any] = {"name": row.name, "shape": row.shape, "kind": row.kind, "contestants": entries}
    if row.bound:
        line["bound"] = row.bound
    if absent:
        line["absent"] = absent
    if floor:
        line["floor_milliseconds"] = _round(floor)
    line.update(_ratios(entries))
    return line


def _compare(row: Row, ready: dict[str, Contestant]) -> dict[str, str]:
    """Runs each and compares it with the first; returns what is to be remarked of each."""
    reference: list[np.ndarray] | None = None
    remarks = {}
    for name, contestant in ready.items():
        try:
            found = contestant.results(contestant.run())
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        if row.remark is not None:
            remarks[name] = row.remark(found)
        if reference is None:
            first, reference = name, found
            continue
        try:
            (row.check or same)(found, reference)
        except AssertionError as error:
            raise AssertionError(f"{name} and {first} differ: {error}") from error
    return remarks


def _race(ready: dict[str, Contestant], rounds: int, most: float) -> dict[str, list[float]]:
    """Milliseconds a call, in turns whose order is drawn anew: who ran before decides what is in the cache."""
    repeats, warm = dict.fromkeys(ready, 1), dict.fromkeys(ready, False)
    # Of one round nobody wants the time: whether all agree is known already.
    for name, contestant in ready.items() if rounds > 1 else ():
        contestant.run()
        warm[name] = _seconds(contestant.run) < LONG
        for _ in range(WARM if warm[name] else 0):
            contestant.run()
        repeats[name] = max(1, round(LEAST / max(_seconds(contestant.run), 1e-7))) if warm[name] else 1
    times: dict[str, list[float]] = {name: [] for name in ready}
    order = np.random.default_rng(0)
    end = time.perf_counter() + most
    for number in range(rounds):
        if number >= 3 and time.perf_counter() > end:
            break
        for name in order.permutation(list(ready)).tolist():
            run = ready[name].run
            time.sleep(PAUSE)
            # Once untimed: after the pause threads sleep and caches are another's, which a loop of steps never sees.
            if warm[name]:
                run()
            times[name].append(1e3 * _seconds(run, repeats[name]) / repeats[name])
    return times


def _seconds(run: Callable[[], Any], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return time.perf_counter() - start


def _ratios(entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How many times as long as dlcore's the best peer's time is, and how much memory dlcore takes beside the best."""
    ours = entries.get(DLCORE)
    peers = {name: entry for name, entry in entries.items() if name != DLCORE}
    found: dict[str, Any] = {}
    groups = {
        "best": peers,
        "jax": {name: entry for name, entry in peers.items() if not name.startswith(TORCH)},
        "torch": {name: entry for name, entry in peers.items() if name.startswith(TORCH)},
    }
    if ours is None:
        return found
    for group, members in groups.items():
        if members:
            name = min(members, key=lambda name: members[name]["milliseconds"])
            found[f"{group}_peer"] = name
            found[f"{group}_ratio"] = round(members[name]["milliseconds"] / ours["milliseconds"], 3)
    told = [entry["temporary_bytes"] for entry in peers.values() if entry["temporary_bytes"] is not None]
    if told and ours["temporary_bytes"] is not None:
        found["least_peer_bytes"] = min(told)
        # Nothing beside nothing is as much.
        found["memory_ratio"] = round(max(min(told), 1) / max(ours["temporary_bytes"], 1), 3)
    return found


def _round(milliseconds: float) -> float:
    return float(f"{milliseconds:.4g}")
