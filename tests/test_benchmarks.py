"""The race itself: it finds a wrong value, leaves nobody out in silence, and computes its figures right."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suite import report
from benchmarks.suite.command import FILES
from benchmarks.suite.machine import Machine
from benchmarks.suite.measure import WrongValueError, measure, same
from benchmarks.suite.row import DLCORE, Contestant, Floor, Row, Unavailable
from benchmarks.suite.sweeps import exponent

ROOT = Path(__file__).parent.parent
# Who does not take part, and why; nobody else may be missing.
ABSENT = {
    "Haiku: its GRU resets before the product, which is another function",
    "Haiku: Haiku's GRU applies the reset gate before the recurrent kernel",
    "Flax NNX: Flax NNX' GRU lacks a bias",
}


def contestant(value, milliseconds=0.0, bytes_=0):
    import time

    def run():
        time.sleep(milliseconds / 1e3)
        return value

    return lambda: Contestant(run, lambda found: [np.asarray(found)], bytes_, 0.0)


def test_the_quick_suite_agrees_in_all_values(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "suite_cpu.json").read_text())
    assert {row["file"] for row in record["rows"]} == set(FILES)
    for row in record["rows"]:
        assert DLCORE in row["contestants"], row["name"]
        assert len(row["contestants"]) >= 2, row["name"]
        assert {f"{who}: {why}" for who, why in row.get("absent", {}).items()} <= ABSENT
        assert row["best_ratio"] > 0
    assert (tmp_path / "suite_cpu.png").stat().st_size > 10_000
    assert record["summary"]["rows"] == len(record["rows"])
    assert record["measured_with"]["flax"] != "not installed"


def test_a_wrong_value_stops_a_row():
    row = Row("sum", "()", {"right": contestant(1.0), DLCORE: contestant(1.01)})
    with pytest.raises(WrongValueError, match="dlcore and right differ"):
        measure(row, Machine(1.0, 1.0), rounds=1)


def test_a_shape_and_a_nan_are_wrong_values():
    for found, expected in ((np.ones(2), np.ones((2, 1))), (np.array([np.nan]), np.ones(1))):
        with pytest.raises(AssertionError):
            same([found], [expected])
    same([np.array([1.0, 1e6])], [np.array([1.1, 1e6])])


def test_ratios_floor_and_who_is_not_there():
    def missing():
        raise Unavailable("not installed")

    enter = {"Slow": contestant(1.0, 30, 8), "PyTorch": contestant(1.0, 20, 5), "Gone": missing,
             DLCORE: contestant(1.0, 10, 10)}  # fmt: skip
    line = measure(Row("sum", "()", enter, Floor(bytes=50.0, flops=1.0)), Machine(1e4, 1.0e9), rounds=3)
    assert line["best_peer"] == line["torch_peer"] == "PyTorch"
    assert line["jax_peer"] == "Slow"
    assert 1.2 < line["torch_ratio"] < 2.4 < line["jax_ratio"] < 3.6
    assert line["memory_ratio"] == 0.5
    assert line["floor_milliseconds"] == 5.0
    assert 0.2 < line["contestants"][DLCORE]["share_of_floor"] <= 0.5
    assert line["absent"] == {"Gone": "not installed"}
    total = report.summary([line, {**line, "best_ratio": 0.5, "torch_ratio": line["torch_ratio"] * 4}])
    assert math.isclose(total["geometric_mean_torch"], 2 * line["torch_ratio"], rel_tol=0.01)
    assert total["behind"] == ["sum (): 0.5 × PyTorch"]
    assert len(total["more_memory"]) == 2


def test_the_exponent_is_the_slope_of_the_upper_half():
    sizes = [1, 2, 4, 8, 16, 32]
    assert math.isclose(exponent(sizes, [100, 100, 100, 64, 256, 1024]), 2.0)
    assert math.isclose(exponent(sizes[:2], [3.0, 6.0]), 1.0)


def test_the_command_teaches():
    code = "import sys; from dlcore.cli import main; sys.argv = ['dlcore', 'bench', '--rounds', 'x']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert "invalid int value" in done.stderr
