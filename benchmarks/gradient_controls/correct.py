"""Functions whose derivatives are right: what a checker rejects of them is a false alarm.

`correct()` is the whole list. The rows stand in three files: scales.py, special.py and kinks.py.
"""

from __future__ import annotations

import functools

from benchmarks.gradient_controls.kinks import kinks
from benchmarks.gradient_controls.scales import Correct, scaled
from benchmarks.gradient_controls.special import special

__all__ = ["Correct", "correct", "kinds"]


@functools.cache
def correct() -> tuple[Correct, ...]:
    """Every right function; names are unique."""
    return (*scaled(), *special(), *kinks())


def kinds() -> tuple[str, ...]:
    """The groups, in order."""
    return tuple(dict.fromkeys(each.kind for each in correct()))
