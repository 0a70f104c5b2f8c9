"""The rows that a GPU has beside those of every machine, with its kernels in Pallas' interpreter."""

from functools import partial

import pytest

from benchmarks.rows import _mosaic, normalization, recurrent
from benchmarks.suite.machine import Machine
from benchmarks.suite.measure import measure
from benchmarks.suite.row import DLCORE
from dlcore.kernels.mosaic import recurrence, residual_norm


@pytest.fixture
def hopper(monkeypatch):
    for module, name in ((recurrence, "resident_recurrence"), (residual_norm, "residual_norm")):
        monkeypatch.setattr(module, name, partial(getattr(module, name), interpret=True))
    monkeypatch.setattr(_mosaic, "_hopper", lambda: True)


def test_elsewhere_there_are_none():
    rows = [*recurrent.rows("full"), *normalization.rows("full")]
    assert not [row.name for row in rows if _mosaic.KERNEL in row.enter]


@pytest.mark.parametrize(("rows", "count"), [(recurrent.rows, 2), (normalization.rows, 1)], ids=["loops", "norms"])
def test_kernels_compute_what_the_public_functions_do(hopper, rows, count):
    found = [row for row in rows("quick") if _mosaic.KERNEL in row.enter]
    assert len(found) == count
    for row in found:
        enter = {name: row.enter[name] for name in (_mosaic.KERNEL, DLCORE)}
        line = measure(row._replace(enter=enter), Machine(1.0, 1.0), rounds=1)
        assert set(line["contestants"]) == set(enter)


def test_what_does_not_fit_is_not_entered(hopper):
    assert [_mosaic.KERNEL in row.enter for row in recurrent.rows("full")] == [True, True, True, False, True, True]
