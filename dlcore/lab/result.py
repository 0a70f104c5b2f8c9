"""What an experiment hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """The answer to one of the notes' questions.

    Attributes:
      name: the experiment's.
      question: what was asked.
      verdict: what the numbers say, made from them.
      numbers: everything that was measured, of lists, dicts, strings and numbers alone, so that it is JSON.
      columns, rows: the table.
    """

    name: str
    question: str
    verdict: str
    numbers: dict[str, Any]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    draw: Callable[[Any], None] = field(repr=False)

    def table(self) -> str:
        """The rows as text, one column under the other.

        Returns:
          Lines, the first of which names the columns.
        """
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    def plot(self, path: str | Path) -> Path:
        """The picture, written to a file in the format that its name says.

        Args:
          path: where to, "penalty_path.png" for example.

        Returns:
          The path.

        Raises:
          ModuleNotFoundError: if matplotlib, of the extra `app`, is not installed.
        """
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        self.draw(figure)
        figure.savefig(path)
        return Path(path)
