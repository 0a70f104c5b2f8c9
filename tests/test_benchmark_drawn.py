"""Shapes that a seed draws: in bounds, the same for the same seed, and right in value."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import readme
from benchmarks.rows.drawn import KINDS, drawn
from benchmarks.suite.machine import Machine
from benchmarks.suite.measure import measure
from benchmarks.suite.row import DLCORE, Floor

# What the largest call of any kind may move and compute.
BYTES, FLOPS = 5e8, 4e10


def shapes(count, seed, chosen=()):
    return [(kind, row.name, row.shape) for kind, row in drawn(count, seed, list(chosen))]


def test_a_seed_says_all():
    found = shapes(3, 5)
    assert found == shapes(3, 5)
    assert found != shapes(3, 6)
    assert len(found) == 3 * len(KINDS)
    # Each kind draws for itself: what else is asked for changes nothing.
    assert shapes(3, 5, ["depthwise"]) == [each for each in found if each[0] == "depthwise"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_ends_soon(kind):
    rows = [row for _, row in drawn(5, 1, [kind])]
    assert len({row.shape for row in rows}) >= 4
    for row in rows:
        assert isinstance(row.floor, Floor)
        assert row.floor.bytes <= BYTES
        assert row.floor.flops <= FLOPS


def test_all_agree_at_shapes_of_no_table(request):
    seed, peer = request.config.getoption("--seed"), "Flax"
    for kind in ("depthwise", "max pool", "layer norm"):
        (row,) = (row for _, row in drawn(1, seed, [kind]))
        line = measure(row, Machine(1.0, 1.0), rounds=1, only=frozenset({peer}))
        assert set(line["contestants"]) == {peer, DLCORE}


def test_the_command_stores_them_apart_and_the_readme_tells_them(tmp_path, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--drawn", "2", "--seed", "4", "--only", "Huber", "--peers", "Optax",
         "--rounds", "1", "--out", str(tmp_path)],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "drawn_cpu.json").read_text())
    assert (record["drawn"], record["seed"]) == (2, 4)
    assert [row["file"] for row in record["rows"]] == 2 * ["Huber"]
    assert not list(tmp_path.glob("suite*"))
    for row, ratio in zip(record["rows"], (2.0, 8.0), strict=True):
        row["jax_ratio"] = ratio
    record["summary"]["geometric_mean_torch"] = 1.5
    (tmp_path / "drawn_cpu.json").write_text(json.dumps(record))
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    assert f"| Huber | 4.00 × | 2.00 × at {record['rows'][0]['shape']} | – | – |" in readme.drawn()
    monkeypatch.setattr(readme, "RESULTS", tmp_path / "nothing")
    assert readme.drawn() == "Not measured yet."
