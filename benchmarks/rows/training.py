"""Training runs, end to end: from the parameters before the first step to those after the last."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TypeAlias

import numpy as np

from benchmarks.rows._learners import Trainer, one_epoch
from benchmarks.rows._networks import Task, check_epoch, digits, make_task, network, waves
from benchmarks.rows._trainers import TRAINERS
from benchmarks.suite.row import Enter, Row

__all__ = ["mlp", "rows"]

Check: TypeAlias = Callable[[list[np.ndarray], list[np.ndarray]], None]


def rows(size: str) -> list[Row]:
    n = None if size == "full" else 128
    images = 898 if size == "full" else 64
    sequences = 10_000 if size == "full" else 300

    def convnet(dropout: float) -> Task:
        return make_task(network("convnet", dropout=dropout), digits(images, image=True), batch=32, rate=2e-3)

    def series(kind: str) -> Task:
        return make_task(network(kind), waves(sequences), batch=100, rate=1e-2)

    steps = sequences // 100
    return [
        mlp(128, n),
        _row(
            "epoch of a convnet with dropout", f"8 × 8 digits, {images // 32} steps of 32", partial(convnet, 0.5),
            # Each library drops other values, which is all that is left to differ: the next row compares the rest.
            check=lambda task: _same_mean(0.25),
            # As slow as in the next row, some seconds an epoch.
            without=("Flax, scanned",),
        ),
        _row(
            "epoch of a convnet", f"8 × 8 digits, {images // 32} steps of 32", partial(convnet, 0.0),
            # Starting parameters changed by 1e-6 of themselves end up to 10 % of the way apart, dlcore's own too: where
            # another input wins in a pool or a ReLU turns, Adam's first steps are as long as any.
            check=partial(check_epoch, early=2e-2, way=0.15),
        ),
        _row(
            "epoch of a 1-D convnet", f"(40, 1), 3 × 25 channels, {steps} steps of 100", partial(series, "conv1d"),
            # So do a hundred steps at this rate, and where gradients vanish it counts where Adam's ε stands.
            check=partial(check_epoch, way=0.15),
        ),
        _row(
            "epoch of a bidirectional GRU", f"(40, 1), 2 × 6 units, {steps} steps of 100", partial(series, "gru"),
            # Flax and Equinox have one bias where the others have the sum of two, which moves twice as fast.
            check=partial(check_epoch, mean=0.05),
        ),
    ]  # fmt: skip


def mlp(width: int, n: int | None = None) -> Row:
    """Of two hidden layers of this width, on the first `n` digits."""
    return _row(
        "epoch of an MLP", f"64–{width}–{width}–10, {(n or 1797) // 32} steps of 32",
        lambda: make_task(network("mlp", widths=(width, width, 10)), digits(n), batch=32, rate=1e-3),
    )  # fmt: skip


def _row(
    name: str, shape: str, make: Callable[[], Task],
    check: Callable[[Callable[[], Task]], Check] = check_epoch, without: tuple[str, ...] = (),
) -> Row:  # fmt: skip
    task = cache(make)

    def enter(make: Callable[[Task], Trainer]) -> Enter:
        return lambda: one_epoch(make, task())

    return Row(
        name=name,
        shape=shape,
        enter={label: enter(make) for label, make in TRAINERS.items() if label not in without},
        check=check(task),
        kind="whole",
        bound="the order of the examples is drawn inside, 0.2 ms; the peers get theirs from NumPy",
    )


def _same_mean(band: float) -> Check:
    """Compares the mean losses alone."""

    def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
        far = float(np.abs(found[1] / expected[1] - 1))
        assert far <= band, f"the mean loss is {far:.1e} away, not {band}"

    return check
