"""Training runs, end to end: from the parameters before the first step to those after the last."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TypeAlias

import numpy as np

from benchmarks.rows._learners import looped, ours, scanned
from benchmarks.rows._networks import Task, check_epoch, digits, make_task, network, waves
from benchmarks.rows._peers import lazily
from benchmarks.rows._ports import eqx, hk, linen
from benchmarks.rows._trainers import ks, nnx, pytorch
from benchmarks.suite.row import DLCORE, Contestant, Enter, Row

__all__ = ["rows"]

Check: TypeAlias = Callable[[list[np.ndarray], list[np.ndarray]], None]


def rows(size: str) -> list[Row]:
    n = None if size == "full" else 128
    images = 898 if size == "full" else 64
    sequences = 10_000 if size == "full" else 300

    def mlp() -> Task:
        return make_task(network("mlp"), digits(n), batch=32, rate=1e-3)

    def convnet(dropout: float) -> Task:
        return make_task(network("convnet", dropout=dropout), digits(images, image=True), batch=32, rate=2e-3)

    def series(kind: str) -> Task:
        return make_task(network(kind), waves(sequences), batch=100, rate=1e-2)

    count = 1797 if n is None else n
    steps = sequences // 100
    return [
        _row("epoch of an MLP", f"64–128–128–10, {count // 32} steps of 32", mlp),
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


def _row(
    name: str, shape: str, make: Callable[[], Task],
    check: Callable[[Callable[[], Task]], Check] = check_epoch, without: tuple[str, ...] = (),
) -> Row:  # fmt: skip
    task = cache(make)

    def from_task(enter: Callable[[Task], Contestant]) -> Enter:
        return lambda: enter(task())

    enter = {
        # First, since it is what the others are compared with, and some have no parameters to compare.
        DLCORE: from_task(ours),
        "Flax": lazily(lambda: looped(linen, task())),
        "Flax, scanned": lazily(lambda: scanned(linen, task())),
        "Flax NNX": from_task(nnx),
        "Equinox": lazily(lambda: looped(eqx, task())),
        "Haiku": lazily(lambda: looped(hk, task())),
        "Keras": from_task(ks),
        "PyTorch": lazily(lambda: pytorch(task())),
        "PyTorch compiled": lazily(lambda: pytorch(task(), compiled=True)),
    }
    return Row(
        name=name,
        shape=shape,
        enter={label: one for label, one in enter.items() if label not in without},
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
