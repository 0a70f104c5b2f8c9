"""The main job, five seeds: test accuracy, and the seconds of the whole command with its compilation.

python -m benchmarks.digits
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import store

SEEDS = range(5)
COMMAND = [sys.executable, "-c", "from dlcore.cli import main; main()", "train", "--json"]


def main() -> None:
    runs: list[dict[str, Any]] = []
    curve: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in SEEDS:
            folder = Path(scratch) / f"seed{seed}"
            start = time.perf_counter()
            done = subprocess.run(
                [*COMMAND, "--seed", str(seed), "--out", str(folder)], capture_output=True, text=True, check=True
            )
            result = json.loads(done.stdout)
            result["command_seconds"] = round(time.perf_counter() - start, 2)
            result["seed"] = seed
            result.pop("folder")
            lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            curve = curve or [round(line["test_accuracy"], 5) for line in lines]
            runs.append(result)
            print(f"seed {seed}: {100 * result['test_accuracy']:.2f} %, {result['command_seconds']} s")
    rows = {
        "median_test_accuracy": statistics.median(run["test_accuracy"] for run in runs),
        "median_command_seconds": statistics.median(run["command_seconds"] for run in runs),
        "test_accuracy_by_epoch_seed_0": curve,
        "runs": runs,
    }
    store("digits", rows)


if __name__ == "__main__":
    main()
