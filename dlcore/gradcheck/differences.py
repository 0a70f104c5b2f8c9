"""Derivatives along a line from values alone, each with an estimate of its own error.

Given y(t) at t = 0 and ± h for a ladder of steps h, three sequences approach the derivative at 0:

    central   (y(h) − y(−h)) / 2h = y′ + O(h²)
    forward   (y(h) − y(0)) / h   = y′₊ + O(h)
    backward  (y(0) − y(−h)) / h  = y′₋ + O(h)

and Richardson's extrapolation removes their leading errors one after another. A large step errs by what the
extrapolation leaves, a small one by rounding: η / h, where η is the rounding of y. Which entry is best is decided by
Lepski's rule: going up from the smallest step, each entry gives the interval entry ± c · η / h; they are intersected
until the next one no longer fits, for there the step's own error begins. So large steps never vote against small ones:
a function with a kink, a pole or a fine structure near the point is judged on the scale on which it is smooth.

η is not known either, since a function may lose digits inside. It starts at the unit in the last place of y, and is
raised until a run of `RUN` steps agrees; at `rounding^0.55 · |y|` it is given up, and the derivative is unresolved.

Pure NumPy in float64; nothing here knows of JAX. Sources: Richardson 1911; Ridders 1982, "Accurate computation of
F'(x)"; Lepski 1991; Moré & Wild 2012, "Estimating derivatives of noisy simulations".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Derivative", "Floats", "derivative", "ladder", "remainder_order"]

Floats = npt.NDArray[np.float64]

# Neighbouring steps; not a power of two, so that a periodic function does not meet its own period at several steps.
RATIO = 0.4
LARGEST = 0.4
# Over six steps, a factor of a hundred, a chance agreement is out of the question.
RUN = 6
COLUMNS = 3


class Derivative(NamedTuple):
    """One derivative for each component: any value in [low, high] is one; at a smooth point they differ by rounding.

    error: half the width of what rounding leaves unknown; inf where nothing was resolved.
    kink: the one-sided derivatives differ, and [low, high] lies between them.
    sides: how far apart the one-sided derivatives may be: 0 at the end of a domain, inf where one is unresolved.
    rounding: the η that was found.
    """

    low: Floats
    high: Floats
    error: Floats
    kink: npt.NDArray[np.bool_]
    sides: Floats
    rounding: Floats

    @property
    def resolved(self) -> npt.NDArray[np.bool_]:
        """Where there is a derivative at all."""
        return np.isfinite(self.error)

    @property
    def size(self) -> Floats:
        """The largest |derivative| that is possible; 0 where nothing was resolved."""
        return np.where(self.resolved, np.maximum(np.abs(self.low), np.abs(self.high)), 0.0)

    def nearest(self, value: Floats) -> Floats:
        """The possible derivative that is nearest to a value: at a smooth point, the middle."""
        with np.errstate(invalid="ignore"):
            middle = np.where(self.resolved, (self.low + self.high) / 2, 0.0)
            return np.where(self.kink, np.clip(value, self.low, self.high), middle)


class _Limit(NamedTuple):
    value: Floats
    error: Floats
    rounding: Floats


def ladder(rounding: float) -> Floats:
    """Steps from 0.4 down to rounding^0.6, below which differences hold no digits."""
    count = 1 + int(np.ceil(np.log(rounding**0.6 / LARGEST) / np.log(RATIO)))
    return np.asarray(LARGEST * RATIO ** np.arange(count), np.float64)


def derivative(
    steps: Floats, ahead: Floats, here: Floats, behind: Floats, *, rounding: float, size: Floats, scale: Floats
) -> Derivative:
    """The derivative at 0 of each component.

    Args:
      steps: (levels,), falling.
      ahead, behind: (levels, components), y(h) and y(−h); here: (components,), y(0).
      rounding: the unit in the last place, relative.
      size: (components,), what each component's own rounding is relative to: |y|, or for a sum the sum of |terms|.
      scale: (components,), what rounding is relative to at most: the largest |y| of its kind.
    """
    h = steps[:, None]
    with np.errstate(all="ignore"):
        both_sides = np.stack([ahead, behind])
        both_sides = np.where(np.isfinite(both_sides), np.abs(both_sides), 0.0).max(0)
        # A value far from the point may be 1e6 times as large, and says nothing about the rounding near it; what moves
        # within the middle steps is what the rounding of intermediate values can be relative to.
        least = 2 * rounding * np.maximum(size, both_sides[len(steps) // 2 :].max(0))
        most = np.maximum(rounding**0.55 * np.maximum(scale, both_sides[2:].max(0)), least)
        central = _limit(steps, (ahead - behind) / (2 * h), 1.0, 2, least, most)
        forward = _limit(steps, (ahead - here) / h, 2.0, 1, least, most)
        backward = _limit(steps, (here - behind) / h, 2.0, 1, least, most)

        both = np.isfinite(forward.error) & np.isfinite(backward.error)
        size_of = np.maximum(np.abs(forward.value), np.abs(backward.value))
        gap = np.where(both, np.abs(forward.value - backward.value), 0.0)
        ends = ~np.isfinite(ahead[-RUN:]).any(0) | ~np.isfinite(behind[-RUN:]).any(0)
        sides = np.where(both, gap + forward.error + backward.error, np.where(ends, 0.0, np.inf))
        kink = both & (gap > 10 * (forward.error + backward.error) + rounding**0.45 * size_of)

        # At a smooth point all three agree, and the tightest is taken.
        errors = np.stack([central.error, forward.error, backward.error])
        best = errors.argmin(0)[None]
        value = np.take_along_axis(np.stack([central.value, forward.value, backward.value]), best, 0)[0]
        error = np.take_along_axis(errors, best, 0)[0]
        error = np.where(kink, np.maximum(forward.error, backward.error), error)
        low = np.where(kink, np.minimum(forward.value, backward.value), value) - error
        high = np.where(kink, np.maximum(forward.value, backward.value), value) + error
        unresolved = ~np.isfinite(error)
        noise = np.take_along_axis(np.stack([central.rounding, forward.rounding, backward.rounding]), best, 0)[0]
    return Derivative(
        np.where(unresolved, -np.inf, low),
        np.where(unresolved, np.inf, high),
        np.where(unresolved, np.inf, error),
        kink,
        sides,
        noise,
    )


def _limit(steps: Floats, first: Floats, amplification: float, power: int, least: Floats, most: Floats) -> _Limit:
    """The limit of one sequence, whose error begins with h^power and goes on by h^power (central) or by h."""
    components = first.shape[1]
    columns, factors = [first], [amplification]
    for column in range(1, COLUMNS):
        gain = RATIO ** -(power * column)
        previous = columns[-1]
        extrapolated = np.full_like(previous, np.nan)
        # Entry k uses the steps k and the next larger one.
        extrapolated[1:] = (gain * previous[1:] - previous[:-1]) / (gain - 1)
        columns.append(extrapolated)
        factors.append(factors[-1] * (gain + RATIO) / (gain - 1))

    value = np.full(components, np.nan)
    error = np.full(components, np.inf)
    rounding = least.copy()
    waiting = np.arange(components)
    noise = least.copy()
    while waiting.size:
        for entries, factor in zip(columns, factors, strict=True):
            width = factor * noise[waiting] / steps[:, None]
            found, doubt, run = _intersect(entries[:, waiting], width)
            better = (run >= min(RUN, len(steps) - 1)) & (doubt < error[waiting])
            chosen = waiting[better]
            value[chosen], error[chosen], rounding[chosen] = found[better], doubt[better], noise[chosen]
        waiting = waiting[~np.isfinite(error[waiting]) & (noise[waiting] < most[waiting])]
        # A component that is exactly 0 so far still has to start somewhere.
        noise[waiting] = np.minimum(np.maximum(4 * noise[waiting], 1e-300), most[waiting])
    return _Limit(value, error, rounding)


def _intersect(entries: Floats, width: Floats) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Lepski's rule from the smallest step up: (value, error, how many steps agree)."""
    components = entries.shape[1]
    low, high = np.full(components, -np.inf), np.full(components, np.inf)
    last = np.full(components, np.inf)
    run = np.zeros(components, np.int64)
    going = np.ones(components, bool)
    for entry, margin in zip(entries[::-1], width[::-1], strict=True):
        new_low, new_high = np.maximum(low, entry - margin), np.minimum(high, entry + margin)
        going = going & (new_low <= new_high)  # False for NaN too
        low, high = np.where(going, new_low, low), np.where(going, new_high, high)
        last = np.where(going, margin, last)
        run += going
        if not going.any():
            break
    # The last step that fitted may already err by as much as its interval is wide.
    return (low + high) / 2, (high - low) / 2 + 2 * last, run


def remainder_order(steps: Floats, ahead: Floats, here: Floats, slope: Floats, noise: Floats, weight: Floats) -> float:
    """The order of Taylor's remainder |y(h) − y(0) − h · slope|: 2 for a right slope, 1 for a wrong one.

    Measured over the smallest steps at which the remainder stands clear of rounding; NaN where there are none, as for
    a linear function, whose remainder is rounding alone.
    """
    with np.errstate(all="ignore"):
        remainder = np.abs(ahead - here - steps[:, None] * slope) * weight
        remainder = np.where(np.isfinite(remainder), remainder, 0.0).max(1, initial=0.0)
        floor = 50 * np.max(noise * weight, initial=0.0)
    clear = np.flatnonzero(remainder > floor)
    if clear.size == 0:
        return float("nan")
    last = int(clear[-1])
    first = max(last - 3, 0)
    if last - first < 2 or not (remainder[first : last + 1] > floor).all():
        return float("nan")
    slopes = np.diff(np.log(remainder[first : last + 1])) / np.log(RATIO)
    # No power at all, as where the steps reach over a kink, beyond which a piecewise linear function bends.
    return float(slopes.mean()) if np.ptp(slopes) < 0.3 else float("nan")
