"""The command: which rows run, and where what they say goes."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.suite.allocator import settle
from benchmarks.suite.row import DLCORE, Row

__all__ = ["FILES", "main"]

FILES = (
    "pooling", "convolution", "dropout", "normalization", "attention", "losses", "recurrent", "optimizers", "training",
    "training_sweep", "time_to_accuracy", "startup",
)  # fmt: skip
DESCRIPTION = (
    "Race dlcore against Flax, Equinox, Haiku, Keras on JAX and PyTorch: the same work on the same arrays in one "
    "process, in turns, after comparing values and gradients. Exit status 1 where values differ; times never fail."
)
# A quick run has no more contestants in what is end to end.
MANY = 4
RESULTS = Path(__file__).parent.parent / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the rows, prints the table, stores JSON and pictures; exits with 1 where values differ."""
    options = _parser().parse_args(arguments)
    if options.device:
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda,cpu"}.get(options.device, options.device)
    settled = settle()
    # After the platform is chosen, since it is read at the first import.
    import jax

    from benchmarks.rows.drawn import drawn
    from benchmarks.suite import report
    from benchmarks.suite.machine import measure_machine
    from benchmarks.suite.measure import WrongValueError, measure
    from dlcore.app.versions import versions

    if options.device and jax.default_backend() != options.device:
        sys.exit(f"dlcore bench: asked for {options.device}, but JAX found {jax.default_backend()} only.")
    size = "quick" if options.quick else "full"
    chosen = [name.strip() for name in options.only.split(",") if name.strip()]
    peers = frozenset(name.strip() for name in options.peers.split(",") if name.strip())
    machine = measure_machine(*((8, 256) if options.quick else (256, 2048)))
    start = time.perf_counter()
    lines: list[dict[str, Any]] = []
    wrong: list[str] = []
    stopped = False
    try:
        rows = drawn(options.drawn, options.seed, chosen) if options.drawn else _rows(size, chosen)
        for name, row in rows:
            if options.no_compile or options.quick:
                row = row._replace(enter={k: v for k, v in row.enter.items() if "PyTorch compiled" not in k})
            if options.quick and row.kind == "whole" and len(row.enter) > MANY:
                # Every learner compiles for seconds in each of these rows: every other one, by turns.
                names = [name for name in row.enter if name != DLCORE][len(lines) % 2 :: 2]
                row = row._replace(enter={name: row.enter[name] for name in (*names, DLCORE)})
            try:
                line = measure(row, machine, rounds=1 if options.quick else options.rounds, only=peers)
            except WrongValueError as error:
                wrong.append(str(error))
                print(f"WRONG VALUE: {error}", file=sys.stderr, flush=True)
                continue
            lines.append({**line, "file": name})
            # Shapes of a quick run are so small that its times say nothing.
            print(f"{row.name}, {row.shape}: all agree" if options.quick else report.one_line(line), flush=True)
    except KeyboardInterrupt:
        # What has been measured is worth a table; but it is no whole run, and does not take a whole run's place.
        stopped = True
        print("Stopped: the table has the rows until here.", file=sys.stderr)
    device = str(jax.devices()[0].device_kind)
    record: dict[str, Any] = {
        "measured_with": {**versions(), **report.peers_versions()},
        "device": device,
        "allocator_settled": settled,
        "bytes_per_second": float(f"{machine.bytes_per_second:.4g}"),
        "flops_per_second": float(f"{machine.flops_per_second:.4g}"),
        **({"drawn": options.drawn, "seed": options.seed} if options.drawn else {}),
        "seconds": round(time.perf_counter() - start),
        "summary": report.summary(lines),
        "rows": lines,
    }
    print(f"{len(lines)} rows agree, {len(wrong)} do not." if options.quick else report.table(record))
    folder = Path(options.out) if options.out else None
    if folder is None and not (options.quick or chosen or peers or stopped):
        folder = RESULTS
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{'drawn' if options.drawn else 'suite'}_{report.slug(jax.default_backend(), device)}"
        (folder / f"{stem}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        report.picture(record, folder / f"{stem}.png")
    if stopped:
        sys.exit(130)
    if wrong:
        sys.exit(f"{len(wrong)} rows have wrong values: " + "; ".join(wrong))


def _rows(size: str, chosen: list[str]) -> Iterator[tuple[str, Row]]:
    for name in FILES:
        for row in import_module(f"benchmarks.rows.{name}").rows(size):
            if not chosen or any(word in name or word in row.name for word in chosen):
                yield name, row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dlcore bench", description=DESCRIPTION)
    parser.add_argument("--quick", action="store_true", help="tiny shapes: are all values right? Times mean nothing.")
    parser.add_argument("--only", default="", help="words, by commas: rows or files of rows whose name has one of them")
    parser.add_argument("--drawn", type=int, default=0, metavar="N", help="N shapes of each layer, drawn from --seed")
    parser.add_argument("--seed", type=int, default=0, help="for --drawn")
    parser.add_argument("--peers", default="", help="names, by commas: only these beside dlcore")
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"), help="where to compute; JAX' choice by default")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each contestant")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which takes long to begin")
    parser.add_argument("--out", default="", help="a folder for JSON and pictures; benchmarks/results for a whole run")
    return parser
