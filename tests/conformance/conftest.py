"""Counting: `tally(name)` is a line of the table; a test fails after all its cases ran."""

import pytest

from tests.conformance.table import COUNTS, Tally


@pytest.fixture
def tally(request):
    """`tally(name)` opens a line of the table for the test's suite."""
    lines = []

    def open_line(name):
        lines.append(Tally(request.module.SUITE, name))
        return lines[-1]

    open_line.lines = lines
    return open_line


def lines_of(item):
    return getattr(item.funcargs.get("tally"), "lines", [])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """After the test, the verdict on its cases."""
    result = yield
    for line in lines_of(pyfuncitem):
        line.judge()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """The counts travel with the report, from pytest-xdist's workers too."""
    report = yield
    if call.when == "call":
        setattr(report, COUNTS, [line.record() for line in lines_of(item)])
    return report


@pytest.fixture
def draws(request):
    """How many configurations to draw for a function: four for each of `--examples`."""
    return 4 * request.config.getoption("--examples")
