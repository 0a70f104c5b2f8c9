"""The notes' questions as experiments: numbers, a table, a picture, and a verdict that is made from the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlcore import _checks
from dlcore.lab.penalty_path import QUESTION, penalty_path
from dlcore.lab.result import Result

__all__ = ["NAMES", "Result", "run"]

EXPERIMENTS: dict[str, tuple[str, Callable[..., Result]]] = {"penalty-path": (QUESTION, penalty_path)}
# Every experiment, and what it asks.
NAMES: dict[str, str] = {name: question for name, (question, _) in EXPERIMENTS.items()}


def run(name: str, **options: Any) -> Result:
    """Runs an experiment.

    Args:
      name: one of `NAMES`: "penalty-path".
      **options: those of the experiment: `points` for "penalty-path".

    Returns:
      A `Result`: `numbers`, `table()`, `plot(path)` and a `verdict`.

    Raises:
      ValueError, TypeError: if there is no such experiment, or an option does not fit.
      ModuleNotFoundError: if a package of the extra `app` is missing.

    Example:
      >>> from dlcore import lab
      >>> print(lab.run("penalty-path").table().splitlines()[0])
      λ          feature  under L1 it  weights that are not zero
    """
    _checks.one_of("lab.run", "name", name, tuple(EXPERIMENTS))
    return EXPERIMENTS[name][1](**options)
