"""What a check found, leaf by leaf, and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["LeafReport", "Report", "Verdict"]

Verdict: TypeAlias = Literal["pass", "inconclusive", "wrong"]
# The worst of several is the last of these.
SEVERITY: tuple[Verdict, ...] = ("pass", "inconclusive", "wrong")


def worst(verdicts: list[Verdict]) -> Verdict:
    """The gravest of some verdicts; "pass" of none."""
    return max(verdicts, key=SEVERITY.index, default="pass")


@dataclass(frozen=True)
class LeafReport:
    """The derivative in one leaf of the arguments.

    Attributes:
      path: where the leaf stands, "params/kernel"; from the second order on, "params/kernel, order 2".
      verdict: "pass", "wrong" or "inconclusive".
      modes: the verdict of each mode that was checked.
      error: the largest relative difference between the rule and the differences.
      difference_error: the estimated relative error of the differences themselves.
      visible: the smallest relative error of the rule that would have been called wrong: some times the differences'
        own error, and what rounding allows the rule.
      order: the measured order of Taylor's remainder: 2 for a right rule, 1 for a wrong one; NaN where the remainder
        is rounding alone, as for a linear function.
      kink: the one-sided derivatives differ at this point, and the rule gives a value between them.
      worst_element: the output and input element, and the mode, in which the rule differs most.
      direction: in which direction that was seen: "random 2", or "its own", along the element itself.
      values: what the rule gives for it and what the differences do, where it is wrong.
      note: what else there is to say.
    """

    path: str
    verdict: Verdict
    modes: Mapping[str, Verdict]
    error: float = 0.0
    difference_error: float = 0.0
    visible: float = 0.0
    order: float = math.nan
    kink: bool = False
    worst_element: str = ""
    direction: str = ""
    values: str = ""
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The result of `check`; `str(report)` is a table.

    Attributes:
      leaves: a `LeafReport` for every floating leaf of the arguments, by its path.
      precision: the dtype in which the function computes, "float64" wherever it can.
      seed: the key's data; `jax.random.wrap_key_data` makes the key of it again.
      notes: what holds for the whole function.
    """

    leaves: Mapping[str, LeafReport]
    precision: str
    seed: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of all leaves."""
        return worst([leaf.verdict for leaf in self.leaves.values()])

    @property
    def passed(self) -> bool:
        """Whether every leaf passed."""
        return self.verdict == "pass"

    def table(self) -> str:
        """The leaves as lines of text, then what holds for all of them."""
        header = ("leaf", "verdict", "error", "visible", "order", "modes", "worst element", "direction", "")
        rows = [
            (
                leaf.path,
                leaf.verdict,
                _scientific(leaf.error),
                _scientific(leaf.visible),
                "exact" if math.isnan(leaf.order) else f"{leaf.order:.2f}",
                " ".join(mode if v == leaf.verdict else f"{mode}: {v}" for mode, v in leaf.modes.items()),
                leaf.worst_element,
                leaf.direction,
                "; ".join(filter(None, ("kink" if leaf.kink else "", leaf.note))),
            )
            for leaf in self.leaves.values()
        ]
        table = [header, *rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(header))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
        lines += [f"{leaf.worst_element}: {leaf.values}" for leaf in self.leaves.values() if leaf.values]
        seed = ", ".join(map(str, self.seed))
        lines.append(f"{self.verdict}, in {self.precision}; key data ({seed})")
        return "\n".join([*lines, *self.notes])

    def __str__(self) -> str:
        return self.table()


def _scientific(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1e}"
