"""A function along a straight line through the point: what differences say of its derivative there."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dlcore.gradcheck.differences import Derivative, Floats, derivative, ladder
from dlcore.gradcheck.problem import Leaf, Problem

__all__ = ["Line", "Spread", "View", "by_output"]


class View(NamedTuple):
    """Some quantities along a line: the outputs, or weighted sums of them.

    ahead, behind: (steps, quantities); here: (quantities,); size: what a derivative's rounding is relative to, the size
    of what `here` is a sum of and how far that moves; found: the derivatives; weights: (quantities, outputs), None for
    the outputs themselves.
    """

    ahead: Floats
    here: Floats
    behind: Floats
    size: Floats
    found: Derivative
    weights: Floats | None


class Spread(NamedTuple):
    """How slopes vary in a small neighbourhood, where kinks that meet in one point come apart.

    low, high: what the slopes of any choice of sides can add up to. turning: all changes of slope together. jumps: the
    function itself jumps. noise: what rounding does to a slope.
    """

    low: Floats
    high: Floats
    turning: Floats
    jumps: npt.NDArray[np.bool_]
    noise: Floats


class Line:
    """y(x + t v) at t = 0 and ± each step of the ladder. An output that is infinite at the point counts as 0."""

    def __init__(self, problem: Problem, v: Floats) -> None:
        self.problem, self.v = problem, v
        self.steps = ladder(problem.rounding)
        self.finite = np.isfinite(problem.y)
        self._here = self._combined(problem.y[None], None)[0]
        self._ahead, self._behind = np.split(problem.along(v, np.concatenate([self.steps, -self.steps])), 2)

    @cached_property
    def outputs(self) -> View:
        """Every output."""
        return self._view(None, np.abs(self._here), by_output(self.problem.outputs, self._here))

    def sums(self, U: Floats) -> View:
        """U y, for weights U of (rows, outputs)."""
        size = np.abs(U) @ np.abs(self._here)
        return self._view(U, size, size)

    def _view(self, U: Floats | None, size: Floats, scale: Floats) -> View:
        ahead, behind = self._combined(self._ahead, U), self._combined(self._behind, U)
        here = self._combined(self._here[None], U)[0]
        rounding = self.problem.rounding
        found = derivative(self.steps, ahead, here, behind, rounding=rounding, size=size, scale=scale)
        # Not by the largest steps, which may lead into another region.
        moved = np.abs(np.concatenate([ahead[2:], behind[2:]]) - here)
        moved = moved.max(0, where=np.isfinite(moved), initial=0.0)
        # Where all cancels, as in x − x, what is left of a derivative is some roundings of terms of size one.
        terms = 64 * rounding**0.45 * np.abs(self.v).max() * (1.0 if U is None else np.abs(U).sum(1))
        return View(ahead, here, behind, size + moved + terms, found, U)

    def _combined(self, values: Floats, U: Floats | None) -> Floats:
        with np.errstate(invalid="ignore", over="ignore"):
            values = np.where(self.finite, values, 0.0)
            return values if U is None else values @ U.T

    def bounds(self, U: Floats) -> tuple[Floats, Floats]:
        """Between which values U y's derivative lies if every output takes a side of its own at a kink."""
        found = self.outputs.found
        low, high = (np.where(found.resolved, bound, 0.0) for bound in (found.low, found.high))
        up, down = np.maximum(U, 0.0), np.minimum(U, 0.0)
        return up @ low + down @ high, up @ high + down @ low

    def spread(
        self,
        places: npt.NDArray[np.int64],
        view: View,
        unit: Floats,
        rng: np.random.Generator,
        *,
        reach: float,
        points: int,
    ) -> Spread:
        """The slopes of some quantities beside the point, on lines that pass it at a small distance.

        places: which of the view's quantities. unit: the natural step of each argument. reach: how long and how far
        aside the lines are, in units. points: how finely they are sampled; kinks that fall between the same two are not
        told apart.
        """
        U = view.weights
        pick = (lambda y: y[:, places]) if U is None else (lambda y: self._combined(y, U[places]))
        grid = np.linspace(-reach, reach, points)
        noise = 8 * view.found.rounding[places] / (grid[1] - grid[0])
        # Aside by about as much as the line is long, so that each kink is met at a place of its own; and by less, for
        # kinks that lie nearly along it.
        aside = reach * np.where(self.v == 0, unit, np.abs(self.v))
        low, high, turning, jumps = np.inf, -np.inf, np.float64(0), np.bool_(False)
        for share in (0.9, 0.2, 0.04, 0.008):
            beside = self.problem.x + share * aside * rng.uniform(-1, 1, unit.size)
            values = self.problem.along(self.v, grid, start=beside, pick=pick)
            with np.errstate(invalid="ignore", over="ignore"):
                slopes = np.diff(values, axis=0) / np.diff(grid)[:, None]
                turns = np.diff(slopes, axis=0)
                turns = np.where(np.abs(turns) > noise, turns, 0.0)
                up, down = np.maximum(turns, 0.0).sum(0), np.minimum(turns, 0.0).sum(0)
                usual = np.maximum(np.quantile(np.abs(slopes), 0.9, axis=0), np.abs(slopes[[0, -1]]).max(0))
                low, high = np.minimum(low, slopes[0] + down), np.maximum(high, slopes[0] + up)
                turning = np.maximum(turning, up - down)
                # A kink turns the slope by about its own size; a jump, divided by so small a step, by far more.
                jumps = jumps | ~np.isfinite(slopes).all(0) | (np.abs(turns).max(0) > (usual + noise) / reach**0.5)
        return Spread(np.asarray(low), np.asarray(high), np.asarray(turning), np.asarray(jumps), noise)


def by_output(outputs: tuple[Leaf, ...], values: Floats) -> Floats:
    """For every place of the output, the largest |value| in its leaf."""
    result = np.zeros_like(values)
    for leaf in outputs:
        result[leaf.start : leaf.stop] = np.abs(values[leaf.start : leaf.stop]).max(initial=0.0)
    return result
