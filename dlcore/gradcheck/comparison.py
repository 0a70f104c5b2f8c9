"""One mode's derivative beside the differences, in one direction: right, wrong, or not to be said."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dlcore.gradcheck.differences import Derivative, Floats
from dlcore.gradcheck.lines import Line, View

__all__ = ["Comparison", "compare"]

Booleans = npt.NDArray[np.bool_]

# How finely lines beside the point are sampled, and for how many quantities: at first, and where that shows kinks but
# does not settle the matter.
SAMPLES = ((129, 1 << 17), (4097, 256))


class Comparison(NamedTuple):
    """What one direction shows of each quantity.

    wrong: the rule's value is none that the differences leave open. resolved: it is one, and they leave little open.
    kink: several values are open. unclear: the function jumps, or the matter could not be settled. singular: neither
    the rule nor the differences are finite. error, doubt: the relative difference between the two, where it is
    resolved, and the relative error of the differences.
    """

    wrong: Booleans
    resolved: Booleans
    kink: Booleans
    unclear: Booleans
    singular: Booleans
    error: Floats
    doubt: Floats
    rule: Floats
    found: Derivative


def compare(line: Line, view: View, rule: Floats, scale: Floats, unit: Floats, rng: np.random.Generator) -> Comparison:
    """Compares the values that a rule gives for the quantities of a view with their differences.

    scale: (quantities,), the largest derivative that quantities of this kind have; what is small beside it need not be
    resolved by itself. unit: the natural step of each argument.
    """
    found, rounding = view.found, line.problem.rounding
    finite = np.isfinite(rule)
    rule_size = np.where(finite, np.abs(rule), 0.0)
    size = np.maximum(found.size, scale)
    # Three times the estimated error more than the interval, for it is an estimate; and the rule's own rounding.
    margin = np.where(found.resolved, 3 * found.error, 0.0)
    margin += rounding**0.45 * np.maximum(found.size, rule_size) + rounding**0.6 * scale + 1e-290
    # 0 to within rounding, and the rule says so too: both may have lost digits to what cancels inside.
    nothing = finite & (np.abs(found.nearest(np.zeros(1))) <= found.error)
    nothing &= np.maximum(found.error, rule_size) <= rounding**0.55 * view.size
    with np.errstate(invalid="ignore"):
        outside = np.maximum(found.low - rule, rule - found.high) > margin
        wrong = found.resolved & ((outside & ~nothing) | ~finite)
    kink, unclear = found.kink & ~wrong, np.zeros_like(wrong)
    if (wrong & finite).any():
        meeting, unclear = _excused(line, view, wrong & finite, rule, margin, unit, rng)
        kink, wrong = kink | meeting, wrong & ~meeting & ~unclear

    with np.errstate(divide="ignore", invalid="ignore"):
        doubt = np.where(nothing | (found.error == 0), 0.0, found.error / size)
        error = np.abs(rule - found.nearest(rule)) / size
        error = np.where(wrong & ~finite, np.inf, np.where(nothing | kink | (size == 0), 0.0, error))
    resolved = found.resolved & finite & ~unclear & ~wrong & (nothing | (doubt <= rounding**0.3))
    if view.weights is None:
        resolved |= ~line.finite
        doubt = np.where(line.finite, doubt, 0.0)
    judged = np.where(resolved | wrong, error, 0.0)
    return Comparison(wrong, resolved, kink, unclear, ~finite & ~found.resolved, judged, doubt, rule, found)


def _excused(
    line: Line, view: View, wrong: Booleans, rule: Floats, margin: Floats, unit: Floats, rng: np.random.Generator
) -> tuple[Booleans, Booleans]:
    """Which values that look wrong are a choice of sides where kinks meet, and of which nothing can be said.

    One line shows only the sum of all kinks that meet in the point: relu(a) − relu(b) at (0, 0), say, or a sum over
    outputs of which each has its own.
    """
    U = view.weights
    meeting, unclear = np.zeros_like(wrong), np.zeros_like(wrong)
    if U is not None and line.outputs.found.kink.any():
        low, high = line.bounds(U)
        meeting = wrong & (rule >= low - margin) & (rule <= high + margin)
    gap = np.where(wrong, np.maximum(view.found.low - rule, rule - view.found.high) - margin, 0.0)
    for points, most in SAMPLES:
        left = np.flatnonzero(wrong & ~meeting & ~unclear)
        if left.size == 0:
            break
        # The worst first; if there are more that only a closer look can settle, nothing is said of them.
        left = left[np.argsort(-gap[left])]
        left, unclear[left[most:]] = left[:most], True
        spread = line.spread(left, U, unit, rng, points=points)
        inside = (rule[left] >= spread.low - margin[left]) & (rule[left] <= spread.high + margin[left])
        unclear[left[spread.jumps]] = True
        meeting[left[inside & ~spread.jumps]] = True
        settled = ~inside & ~spread.jumps & ~spread.bent
        if settled.any():
            unclear[left[~inside & ~spread.jumps & spread.bent]] = True
            break
    return meeting, unclear
