"""How the cost grows with batch, width, length and classes: sizes that double, and the power of the size that fits.

    python -m benchmarks.sweeps [--quick] [--out FOLDER]

dlcore, one peer on JAX and PyTorch, forward and backward or an epoch of training, as in the race's rows: values and
gradients are compared at each size before it is timed. Stores benchmarks/results/sweeps_<device>.json and .png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.rows import attention, convolution, dropout, losses, normalization, pooling, recurrent, training
from benchmarks.suite import report
from benchmarks.suite.allocator import settle
from benchmarks.suite.machine import Machine
from benchmarks.suite.measure import WrongValueError, measure
from benchmarks.suite.row import DLCORE, Row
from benchmarks.timing import RESULTS
from dlcore.app.versions import versions

__all__ = ["Power", "Sweep", "fit", "sweeps"]

AXES = ("batch", "width", "length", "classes")
TORCH = "PyTorch"


class Sweep(NamedTuple):
    """One kind of work at many sizes.

    Attributes:
      work: what is done.
      axis: one of `AXES`.
      unit: what there are so many of.
      sizes: how many.
      make: the row of one size.
    """

    work: str
    axis: str
    unit: str
    sizes: list[int]
    make: Callable[[int], Row]


class Power(NamedTuple):
    """time = coefficient · size^exponent, from `start` on."""

    exponent: float
    coefficient: float
    start: int


def fit(sizes: Sequence[float], milliseconds: Sequence[float]) -> Power:
    """Least squares in the logarithms; of the upper half, where what every call costs no longer counts."""
    first = len(sizes) // 2 if len(sizes) > 3 else 0
    slope, height = np.polyfit(np.log(sizes[first:]), np.log(milliseconds[first:]), 1)
    return Power(float(slope), float(np.exp(height)), first)


def sweeps() -> list[Sweep]:
    """The largest size of each takes some tens of milliseconds."""

    def doubling(first: int, count: int) -> list[int]:
        return [first * 2**power for power in range(count)]

    return [
        Sweep("max pool 3 × 3, stride 2, of (n, 28, 28, 32)", "batch", "examples", doubling(2, 8),
              lambda n: pooling.case("max", (n, 28, 28, 32), 3, 2)),
        Sweep("dropout, rate 0.1, of (n,)", "batch", "values", doubling(2**13, 9),
              lambda n: dropout.case((n,), 0.1)),
        Sweep("layer norm of (512, n)", "width", "features", doubling(32, 8),
              lambda n: normalization.layer_norm_case((512, n))),
        Sweep("depthwise convolution 3 × 3 of (8, 14, 14, n)", "width", "channels", doubling(8, 7),
              lambda n: convolution.case((8, 14, 14, n), 3, n, n, 1)),
        Sweep("epoch of an MLP 64–n–n–10, 56 steps of 32", "width", "units", doubling(16, 7), training.mlp),
        Sweep("causal attention of (2, n, 4, 32)", "length", "steps", doubling(16, 7),
              lambda n: attention.case(True, (2, n, 4, 32), n, 4)),
        Sweep("GRU of (16, n, 64) → 64", "length", "steps", doubling(8, 7),
              lambda n: recurrent.gru_case(16, n, 64, 64)),
        Sweep("linear head and its cross-entropy, 512 × 64 × n", "classes", "classes", doubling(512, 7),
              lambda n: losses.head_case(512, 64, n)),
        Sweep("softmax cross-entropy of (512, n)", "classes", "classes", doubling(128, 8),
              lambda n: losses.logits_case(512, n)),
    ]  # fmt: skip


def run(sweep: Sweep, *, rounds: int) -> dict[str, Any]:
    """One sweep: each contestant's milliseconds by size, and what fits them."""
    times: dict[str, list[float]] = {}
    for size in sweep.sizes:
        row = sweep.make(size)
        names = [name for name in row.enter if name != DLCORE and not name.startswith(TORCH)][:1]
        names += [name for name in row.enter if name == TORCH]
        enter = {name: row.enter[name] for name in row.enter if name in (*names, DLCORE)}
        line = measure(row._replace(enter=enter, floor=None), Machine(1.0, 1.0), rounds=rounds)
        for name, entry in line["contestants"].items():
            times.setdefault(name, []).append(entry["milliseconds"])
    contestants = {}
    for name in sorted(times, key=lambda name: name != DLCORE):
        power = fit(sweep.sizes, times[name])
        contestants[name] = {"milliseconds": times[name], **power._asdict()}
    fitted = ", ".join(f"{name} n^{found['exponent']:.2f}" for name, found in contestants.items())
    print(f"{sweep.work}: {fitted}", flush=True)
    return {"work": sweep.work, "axis": sweep.axis, "unit": sweep.unit, "sizes": sweep.sizes,
            "contestants": contestants}  # fmt: skip


def picture(record: dict[str, Any], path: Path) -> None:
    """A panel a sweep: points, and over the sizes that it is fitted to the line that fits."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(record["sweeps"]) // 3)
    figure, panels = pyplot.subplots(rows, 3, figsize=(12, 3.4 * rows), layout="constrained", squeeze=False)
    for axes, sweep in zip(panels.flat, record["sweeps"], strict=False):
        for number, (name, found) in enumerate(sweep["contestants"].items()):
            fitted = np.array(sweep["sizes"][found["start"] :])
            line = found["coefficient"] * fitted ** found["exponent"]
            axes.plot(sweep["sizes"], found["milliseconds"], "o", markersize=4, color=f"C{number}",
                      label=f"{name}: ∝ n^{found['exponent']:.2f}")  # fmt: skip
            axes.plot(fitted, line, linewidth=1, color=f"C{number}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel(f"n {sweep['unit']}")
        axes.set_ylabel("ms")
        axes.set_title(sweep["work"], fontsize=9)
        axes.legend(fontsize=7)
        axes.grid(linewidth=0.3)
    for axes in list(panels.flat)[len(record["sweeps"]) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a sweep an axis, of two sizes: are all values right?")
    parser.add_argument("--out", default="", help="a folder for JSON and picture; benchmarks/results for a whole run")
    options = parser.parse_args(arguments)
    settle()
    chosen = sweeps()
    if options.quick:
        firsts = [next(sweep for sweep in chosen if sweep.axis == axis) for axis in AXES]
        chosen = [sweep._replace(sizes=sweep.sizes[:2]) for sweep in firsts]
    start = time.perf_counter()
    try:
        found = [run(sweep, rounds=1 if options.quick else 9) for sweep in chosen]
    except WrongValueError as error:
        sys.exit(f"Wrong value: {error}")
    device = str(jax.devices()[0].device_kind)
    record = {
        "measured_with": {**versions(), **report.peers_versions()}, "device": device,
        "seconds": round(time.perf_counter() - start), "sweeps": found,
    }  # fmt: skip
    folder = Path(options.out) if options.out else None if options.quick else RESULTS
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"sweeps_{report.slug(jax.default_backend(), device)}"
        stem.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        picture(record, stem.with_suffix(".png"))


if __name__ == "__main__":
    main()
