"""Shapes that a seed draws: in bounds, the same for the same seed, and right in value."""

import pytest

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
    seed = request.config.getoption("--seed") or 0
    for kind in ("depthwise", "max pool", "layer norm"):
        (row,) = (row for _, row in drawn(1, seed, [kind]))
        peer = "Flax"
        line = measure(row, Machine(1.0, 1.0), rounds=1, only=frozenset({peer}))
        assert set(line["contestants"]) == {peer, DLCORE}
