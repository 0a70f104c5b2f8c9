"""The race itself: it finds a wrong value, leaves nobody out in silence, and computes its figures right."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import readme
from benchmarks.rows._learners import Trainer, whole_run
from benchmarks.rows._networks import halves, make_task, network
from benchmarks.suite import report
from benchmarks.suite.command import FILES
from benchmarks.suite.machine import Machine
from benchmarks.suite.measure import WrongValueError, measure, same
from benchmarks.suite.row import DLCORE, Contestant, Floor, Row, Unavailable
from benchmarks.sweeps import AXES, fit, sweeps

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
    # By turns, but all of them.
    learners = {name for row in record["rows"] if row["file"] == "training" for name in row["contestants"]}
    assert {"Flax", "Flax, scanned", "Flax NNX", "Equinox", "Haiku", "Keras", "PyTorch"} <= learners
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
    same_memory = measure(
        Row("sum", "()", {"Peer": contestant(1.0), DLCORE: contestant(1.0)}), Machine(1.0, 1.0), rounds=1
    )
    assert same_memory["memory_ratio"] == 1.0
    assert line["floor_milliseconds"] == 5.0
    assert 0.2 < line["contestants"][DLCORE]["share_of_floor"] <= 0.5
    assert line["absent"] == {"Gone": "not installed"}
    total = report.summary([line, {**line, "best_ratio": 0.5, "torch_ratio": line["torch_ratio"] * 4}])
    assert math.isclose(total["geometric_mean_torch"], 2 * line["torch_ratio"], rel_tol=0.01)
    assert total["behind"] == ["sum (): 0.5 × PyTorch"]
    assert len(total["more_memory"]) == 2


def test_the_power_is_that_of_the_upper_half():
    sizes = [1, 2, 4, 8, 16, 32]
    found = fit(sizes, [100, 100, 100, 3 * 8**2, 3 * 16**2, 3 * 32**2])
    assert math.isclose(found.exponent, 2.0)
    assert math.isclose(found.coefficient, 3.0)
    assert sizes[found.start] == 8
    assert math.isclose(fit(sizes[:2], [3.0, 6.0]).exponent, 1.0)


def test_the_power_is_found_in_noise_and_behind_a_fixed_cost():
    sizes = 2.0 ** np.arange(8)
    for power in (0.0, 0.5, 1.0, 2.0):
        noise = np.random.default_rng(int(10 * power)).uniform(0.97, 1.03, 8)
        assert abs(fit(sizes, (0.02 + sizes**power) * noise).exponent - power) < 0.05


def test_a_quick_sweep_of_each_axis_and_what_the_readme_makes_of_it(tmp_path, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sweeps", "--quick", "--out", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "sweeps_cpu.png").stat().st_size > 10_000
    record = json.loads((tmp_path / "sweeps_cpu.json").read_text())
    assert [sweep["axis"] for sweep in record["sweeps"]] == list(AXES) == list(dict.fromkeys(s.axis for s in sweeps()))
    for sweep in record["sweeps"]:
        assert len(sweep["contestants"]) == 3, sweep["work"]
        for found in sweep["contestants"].values():
            fitted = found["coefficient"] * np.array(sweep["sizes"], float) ** found["exponent"]
            np.testing.assert_allclose(fitted, found["milliseconds"], rtol=1e-6)
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    assert readme.sweeps().count("\n| ") == 1 + len(AXES)
    monkeypatch.setattr(readme, "RESULTS", tmp_path / "nothing")
    assert readme.sweeps() == "Not measured yet."


def test_a_whole_run_starts_anew_and_fails_below_its_goal():
    accuracies = iter([0.2, 0.9, 0.8, 0.7])
    calls = []
    trainer = Trainer(
        lambda: calls.append("epoch") or [2.0, 1.0], lambda: None, np.asarray, lambda: calls.append("restart"),
        lambda: next(accuracies),
    )  # fmt: skip
    task = make_task(network("lenet"), halves(32)[0], batch=32, rate=1e-3, epochs=2)
    entered = whole_run(lambda task: trainer, task, 0.8)
    for expected in (0.9, 0.8):
        losses, mean, accuracy = entered.results(entered.run())
        assert (losses.tolist(), mean, accuracy) == ([2.0, 1.0], 1.5, expected)
    assert calls == ["epoch", *2 * ["restart", "epoch", "epoch"]]
    with pytest.raises(AssertionError, match=r"70\.00 % are right after 2 epochs, not 80 %"):
        entered.run()


def test_a_side_that_misses_the_goal_fails_the_row():
    def never():
        raise AssertionError("97.9 %")

    row = Row("time to 98 %", "()", {DLCORE: contestant(1.0), "Slow": lambda: Contestant(never, list, None, 0.0)})
    with pytest.raises(WrongValueError, match=r"Slow: 97\.9 %"):
        measure(row, Machine(1.0, 1.0), rounds=3)


def test_remarks_stand_below_the_table():
    row = Row("time to 98 %", "()", {DLCORE: contestant(1.0), "Slow": contestant(1.0)},
              remark=lambda found: f"{found[0]:.0f} epochs")  # fmt: skip
    line = measure(row, Machine(1.0, 1.0), rounds=3)
    text = report.table({"rows": [line], "summary": report.summary([line])})
    assert "Time to 98 %: dlcore 1 epochs; Slow 1 epochs." in text


def test_the_command_teaches():
    code = "import sys; from dlcore.cli import main; sys.argv = ['dlcore', 'bench', '--rounds', 'x']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert "invalid int value" in done.stderr
