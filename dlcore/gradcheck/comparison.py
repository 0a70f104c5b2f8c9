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
# To pass, an error of this size (or what a narrow dtype can show at best) would have been noticed.
VISIBLE = 5e-4
# The neighbourhoods that are sampled, relative to the largest.
SCALES = (1.0, 1 / 64, 1 / 4096)


class Comparison(NamedTuple):
    """What one direction shows of each quantity.

    wrong: the rule's value is none that the differences leave open. resolved: it is one, and they leave little open.
    kink: several values are open. unclear: the function jumps, or the matter could not be settled. singular: neither
    the rule nor the differences are finite. error, doubt: the relative difference between the two, where it is
    resolved, and the relative error of the differences. visible: the smallest relative error that would be called
    wrong.
    """

    wrong: Booleans
    resolved: Booleans
    kink: Booleans
    unclear: Booleans
    singular: Booleans
    error: Floats
    doubt: Floats
    visible: Floats
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
    margin += max(1e-7, 0.1 * rounding**0.45) * np.maximum(found.size, rule_size) + rounding**0.6 * scale + 1e-290
    # 0 to within the same margin, and the rule says so too: both may have lost digits to what cancels inside.
    nothing = finite & (np.abs(found.nearest(np.zeros(1))) <= 4 * found.error)
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
        # A rule this far from a derivative anywhere in the interval is beyond the margin on the interval's other side.
        certain = margin + 2 * found.error
        visible = np.where(nothing | (size == 0), 0.0, certain / np.maximum(found.size, 1e-3 * scale))
        error = np.abs(rule - found.nearest(rule)) / size
        error = np.where(wrong & ~finite, np.inf, np.where(nothing | kink | (size == 0), 0.0, error))
    resolved = found.resolved & finite & ~unclear & ~wrong & (nothing | (visible <= max(VISIBLE, rounding**0.3)))
    if view.weights is None:
        resolved |= ~line.finite
        doubt, visible = np.where(line.finite, [doubt, visible], 0.0)
    judged = np.where(resolved | wrong, error, 0.0)
    return Comparison(wrong, resolved, kink, unclear, ~finite & ~found.resolved, judged, doubt, visible, rule, found)


def _excused(
    line: Line, view: View, wrong: Booleans, rule: Floats, margin: Floats, unit: Floats, rng: np.random.Generator
) -> tuple[Booleans, Booleans]:
    """Which values that look wrong are a choice of sides where kinks meet, and of which nothing can be said.

    One line shows only the sum of all kinks that meet in the point: relu(a) − relu(b) at (0, 0), say, or a sum over
    outputs of which each has its own.
    """
    U, found = view.weights, view.found
    meeting, unclear = np.zeros_like(wrong), np.zeros_like(wrong)
    gap = np.where(wrong, np.maximum(found.low - rule, rule - found.high) - margin, 0.0)
    # The two sides agree: then it is smooth, or kinks cancel by chance, which only a closer look can tell.
    alike = ~found.kink & (found.sides <= 0.5 * gap)
    if U is not None and line.outputs.found.kink.any():
        low, high = line.bounds(U)
        meeting = wrong & (rule >= low - margin) & (rule <= high + margin)
    for points, most in SAMPLES:
        left = np.flatnonzero(wrong & ~meeting & ~unclear)
        if left.size == 0:
            break
        # The worst first; if there are more that only a closer look can settle, nothing is said of them.
        left = left[np.argsort(-gap[left])]
        left, unclear[left[most:]] = left[:most], True
        seen = _through_scales(line, view, left, rule, margin, gap, unit, rng, points)
        meeting[left[seen.inside & seen.kinks]] = True
        unclear[left[~seen.outside & ~(seen.inside & seen.kinks) & ~alike[left]]] = True
        if (seen.outside & ~seen.kinks).any():
            unclear[left[seen.outside & seen.kinks & ~seen.inside]] = True
            break
    return meeting, unclear


class _Scales(NamedTuple):
    """Where a rule's value lies among the slopes beside the point.

    inside: within their spread on some scale. outside: beyond it on some. kinks: the slope turns by as much on a small
    scale as on a large one, unlike that of a smooth function.
    """

    inside: Booleans
    outside: Booleans
    kinks: Booleans


def _through_scales(
    line: Line,
    view: View,
    places: npt.NDArray[np.int64],
    rule: Floats,
    margin: Floats,
    gap: Floats,
    unit: Floats,
    rng: np.random.Generator,
    points: int,
) -> _Scales:
    rule, margin, gap = rule[places], margin[places], gap[places]
    inside, outside, jumps = (np.zeros(places.size, bool) for _ in range(3))
    first, last, scales = np.full(places.size, np.nan), np.zeros(places.size), np.zeros(places.size, np.int64)
    for scale in SCALES:
        spread = line.spread(places, view, unit, rng, reach=line.problem.rounding**0.36 * scale, points=points)
        # Where rounding alone moves the slopes about, the scale is too small to show anything.
        clear = spread.noise <= 0.1 * gap
        if not clear.any():
            break
        within = (rule >= spread.low - margin) & (rule <= spread.high + margin)
        inside |= clear & within & ~spread.jumps
        outside |= clear & ~within & ~spread.jumps
        jumps |= clear & spread.jumps
        first = np.where(np.isnan(first) & clear, spread.turning, first)
        last = np.where(clear, spread.turning, last)
        scales += clear
    kinks = (scales >= 2) & (last >= 0.5 * first) & (last > 0.1 * gap) & ~jumps
    return _Scales(inside & ~jumps, outside & ~jumps, kinks)
