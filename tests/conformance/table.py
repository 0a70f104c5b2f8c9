"""What was compared, counted: a plugin of pytest that sums the tests' own counts in the terminal summary.

It is loaded by tests/conftest.py, because with pytest-xdist the process that prints the summary collects no test. It
imports nothing but pytest, so that other test runs pay nothing for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

# The attribute of a test's report that holds its counts.
COUNTS = "conformance"
# Each suite and the package whose answers it compares with.
SUITES = {"ONNX": "onnx", "PyTorch": "torch", "Keras": "keras"}
# Modules of dlcore in which a missing function fails the run; in the others it is counted as "not yet".
COMPLETE: tuple[str, ...] = ()


class NotYetError(Exception):
    """A function that dlcore is to have, and has not yet."""


@dataclass
class Tally:
    """The cases of one operator or function."""

    suite: str
    name: str
    passed: int = 0
    failed: list[tuple[str, BaseException]] = field(default_factory=list)
    # Reasons and names, each with how many cases it concerns.
    partly: Counter[str] = field(default_factory=Counter)
    inexpressible: Counter[str] = field(default_factory=Counter)
    not_yet: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def case(self, label: str) -> Iterator[list[str]]:
        """Counts one comparison; a failure is kept, so that the others run as well.

        Yields a list for the reasons why the comparison is not of the whole result, where there are any.
        """
        notes: list[str] = []
        try:
            yield notes
        except NotYetError as missing:
            if str(missing).split(".")[0] in COMPLETE:
                self.failed.append((label, missing))
            else:
                self.not_yet[str(missing)] += 1
        # What is not an Exception (an interrupt, an exit) ends the run.
        except Exception as error:
            self.failed.append((label, error))
        else:
            self.passed += 1
            self.partly.update(notes)

    def skip(self, reason: str, cases: int = 1) -> None:
        """Counts cases that dlcore cannot express."""
        self.inexpressible[reason] += cases

    def record(self) -> dict:
        """Plain types, which pytest-xdist hands from the worker to the process that prints."""
        counts = {name: dict(getattr(self, name)) for name in ("partly", "inexpressible", "not_yet")}
        return {"suite": self.suite, "name": self.name, "passed": self.passed, "failed": len(self.failed)} | counts

    def judge(self) -> None:
        """Raises where a case failed, naming all of them."""
        if self.failed:
            lines = [f"{label}:\n    {_brief(error)}" for label, error in self.failed]
            total = self.passed + len(self.failed)
            raise AssertionError(
                f"{len(self.failed)} of {total} cases of {self.suite}'s {self.name} failed:\n" + "\n".join(lines)
            ) from self.failed[0][1]


def _brief(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: " + "\n    ".join(lines[:12])


def _sums(terminalreporter) -> dict[str, dict[str, Tally]]:
    sums: dict[str, dict[str, Tally]] = {suite: {} for suite in SUITES}
    for reports in list(terminalreporter.stats.values()):
        for report in reports:
            for record in getattr(report, COUNTS, ()):
                line = sums[record["suite"]].setdefault(record["name"], Tally(record["suite"], record["name"]))
                line.passed += record["passed"]
                line.failed += [("", Exception())] * record["failed"]
                for counted in ("partly", "inexpressible", "not_yet"):
                    getattr(line, counted).update(record[counted])
    return sums


def _columns(lines: list[Tally]) -> list[int]:
    counts = [
        (line.passed + len(line.failed), line.passed, line.partly, line.inexpressible, line.not_yet) for line in lines
    ]
    ran, passed = sum(c[0] for c in counts), sum(c[1] for c in counts)
    return [ran, passed, *(sum(sum(c[i].values()) for c in counts) for i in (2, 3, 4))]


def pytest_terminal_summary(terminalreporter) -> None:
    """Prints a line for each operator or function, and beneath it why cases were left out."""
    write = terminalreporter.write_line
    for suite, lines in _sums(terminalreporter).items():
        if not lines:
            continue
        try:
            release = version(SUITES[suite])
        except PackageNotFoundError:
            release = ""
        terminalreporter.section(f"conformance with {suite} {release}".strip())
        width = max(len(name) for name in lines) + 2
        write(
            " " * width
            + "".join(f"{head:>17}" for head in ("ran", "passed", "of them partly", "inexpressible", "not yet"))
        )
        for name in sorted(lines):
            line = lines[name]
            write(f"{name:<{width}}" + "".join(f"{count or '·':>17}" for count in _columns([line])))
            for kind, reasons in (("partly", line.partly), ("inexpressible", line.inexpressible)):
                for reason, count in sorted(reasons.items()):
                    write(f"    {kind}, {count}: {reason}")
        write(f"{'all':<{width}}" + "".join(f"{count:>17}" for count in _columns(list(lines.values()))))
        missing: Counter[str] = sum((line.not_yet for line in lines.values()), Counter())
        if missing:
            write("not yet in dlcore: " + ", ".join(f"{name} ({count})" for name, count in sorted(missing.items())))
