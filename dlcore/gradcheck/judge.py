"""The verdict on one leaf of the arguments, from several directions.

A leaf is wrong if any direction says so. It passes if each quantity was resolved in some direction in which all
elements move, or in every element alone: every output for forward mode, weighted sums of the outputs for reverse mode.
Everything else is inconclusive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dlcore.gradcheck.comparison import Comparison, compare
from dlcore.gradcheck.differences import Floats, remainder_order
from dlcore.gradcheck.lines import Line, View, by_output
from dlcore.gradcheck.problem import Leaf, Problem
from dlcore.gradcheck.report import LeafReport, Verdict, worst

__all__ = ["judge_leaf"]

DIRECTIONS = 3
# A leaf of up to so many numbers is also checked one by one, so that no element hides behind larger ones.
ELEMENTS = 32
# With up to so many outputs, reverse mode is asked for each of them, and not for sums alone.
ROWS = 16
SUMS = 2
# How far beside a kink, in units of each argument, a second look is taken.
NUDGE = 1e-3


class _Direction(NamedTuple):
    v: Floats
    name: str
    # the place of the only argument that moves
    element: int | None = None


class _Sight(NamedTuple):
    """Where something was seen: in which direction, in which quantity."""

    error: float
    direction: _Direction
    place: int
    seen: Comparison


@dataclass
class _Mode:
    """What one mode has shown in all directions so far."""

    infinite: bool
    seen: list[tuple[_Direction, Comparison]] = field(default_factory=list)
    order: float = math.nan

    def add(self, line: Line, view: View, direction: _Direction, comparison: Comparison) -> None:
        self.seen.append((direction, comparison))
        if direction.element is None and math.isnan(self.order):
            self.order = _order(line, view, comparison)

    def unresolved(self) -> int:
        """How many quantities neither a random direction resolved nor the elements' own lines together."""
        random = [seen.resolved for direction, seen in self.seen if direction.element is None]
        single = [seen.resolved for direction, seen in self.seen if direction.element is not None]
        resolved = np.any(random, axis=0) | (np.all(single, axis=0) if single else False)
        return int((~resolved).sum())

    def faults(self) -> list[_Sight]:
        """The worst wrong quantity of each direction."""
        # Where an output or the derivative itself is infinite, what a rule makes of 0 · inf beside it is not judged.
        singular = self.infinite or any(seen.singular.any() for _, seen in self.seen)
        found = []
        for direction, seen in self.seen:
            wrong = seen.wrong & (np.isfinite(seen.rule) | (not singular))
            if wrong.any():
                place = int(np.where(wrong, seen.error, -1.0).argmax())
                found.append(_Sight(_relative(seen, place), direction, place, seen))
        return found

    def largest(self) -> _Sight:
        """The largest difference of all that was resolved."""
        sights = [(float(seen.error.max()), direction, int(seen.error.argmax()), seen) for direction, seen in self.seen]
        return _Sight(*max(sights, key=lambda sight: sight[0]))

    def doubt(self) -> float:
        """The relative error of the differences, where each quantity was seen best."""
        return float(np.min([seen.doubt for _, seen in self.seen], axis=0).max())

    def visible(self) -> float:
        """The smallest relative error that would have been noticed in every quantity."""
        return float(np.min([seen.visible for _, seen in self.seen], axis=0).max())

    def verdict(self) -> Verdict:
        return "wrong" if self.faults() else "inconclusive" if self.unresolved() else "pass"


class _Shown(NamedTuple):
    """What all directions through one point have shown."""

    problem: Problem
    modes: dict[str, _Mode]
    U: Floats
    gradients: Floats | None
    transposed: bool

    def wrong(self) -> bool:
        return not self.transposed or any(mode.faults() for mode in self.modes.values())


def judge_leaf(problem: Problem, leaf: Leaf, modes: tuple[str, ...], rng: np.random.Generator) -> LeafReport:
    """Judges the derivative of the function in one leaf of its arguments."""
    if leaf.stop == leaf.start or problem.y.size == 0:
        what = "no elements" if leaf.stop == leaf.start else "no outputs"
        return LeafReport(leaf.path, "pass", dict.fromkeys(modes, "pass"), note=what)
    unit = _unit(problem)
    here = _look(problem, modes, unit, _random(problem, leaf, unit, rng) + _elements(leaf, unit), rng)
    kink = any(seen.kink.any() for mode in here.modes.values() for _, seen in mode.seen)
    if kink:
        # At a kink a sum of many outputs or elements leaves so much open that an error elsewhere could hide in it.
        beside = problem.at(problem.x + NUDGE * unit * _away_from_0(rng, unit.size))
        if np.isfinite(beside.y).all():
            there = _look(beside, modes, unit, _random(beside, leaf, unit, rng), rng)
            if not here.wrong() and there.wrong():
                return _leaf_report(there, leaf, kink, "at a distance of 1e-3 from the kink")
    return _leaf_report(here, leaf, kink, "")


def _look(
    problem: Problem, modes: tuple[str, ...], unit: Floats, directions: list[_Direction], rng: np.random.Generator
) -> _Shown:
    first = Line(problem, directions[0].v)
    U = _weights(problem, first, rng)
    gradients = np.stack([problem.reverse(u) for u in U]) if "reverse" in modes else None
    shown = {mode: _Mode(not first.finite.all()) for mode in modes}
    scale = np.zeros(problem.y.size)
    transposed = True
    for direction in directions:
        line = first if direction is directions[0] else Line(problem, direction.v)
        scale = np.maximum(scale, by_output(problem.outputs, line.outputs.found.size))
        tangent = None
        if "forward" in modes:
            tangent = np.where(line.finite, problem.forward(direction.v), 0.0)
            seen = compare(line, line.outputs, tangent, scale, unit, rng)
            shown["forward"].add(line, line.outputs, direction, seen)
        if gradients is not None:
            # Over the elements that move: an infinite derivative in another one is none of this line's business.
            moving = direction.v != 0
            with np.errstate(invalid="ignore", over="ignore"):
                rule = gradients[:, moving] @ direction.v[moving]
            view = line.sums(U)
            seen = compare(line, view, rule, np.abs(U) @ scale, unit, rng)
            shown["reverse"].add(line, view, direction, seen)
            if tangent is not None and direction.element is None:
                transposed &= _adjoint(problem, view, tangent, gradients, rule, direction.v)
    return _Shown(problem, shown, U, gradients, transposed)


def _unit(problem: Problem) -> Floats:
    """The natural step of each argument: its own size, or where that is 0 its leaf's."""
    result = np.ones_like(problem.x)
    for leaf in problem.inputs:
        part = np.abs(problem.x[leaf.start : leaf.stop])
        usual = _root_mean_square(part)
        # Numbers that processors flush to 0 count as 0.
        usual = usual if usual > 1e-290 else 1.0
        result[leaf.start : leaf.stop] = np.where((part > 1e-290) & np.isfinite(part), part, usual)
    return result


def _root_mean_square(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max(initial=0.0))
    return largest * float(np.sqrt(np.mean((finite / largest) ** 2))) if largest > 0 else 0.0


def _random(problem: Problem, leaf: Leaf, unit: Floats, rng: np.random.Generator) -> list[_Direction]:
    here = slice(leaf.start, leaf.stop)
    size = leaf.stop - leaf.start
    # Steps by each element's own size, which a pole or a logarithm needs, and by one size for all.
    even = np.full(size, max(1.0, _root_mean_square(problem.x[here])))
    found = []
    for i in range(DIRECTIONS):
        v = np.zeros_like(problem.x)
        # No entry near 0, where an element would not be seen, and no two of a size, where kinks would cancel.
        v[here] = (even if i % 2 else unit[here]) * _away_from_0(rng, size)
        found.append(_Direction(v, f"random {i + 1}"))
    return found


def _elements(leaf: Leaf, unit: Floats) -> list[_Direction]:
    found = []
    if leaf.stop - leaf.start <= ELEMENTS:
        for place in range(leaf.start, leaf.stop):
            v = np.zeros_like(unit)
            v[place] = unit[place]
            found.append(_Direction(v, "its own", place))
    return found


def _away_from_0(rng: np.random.Generator, size: int) -> Floats:
    return rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)


def _weights(problem: Problem, line: Line, rng: np.random.Generator) -> Floats:
    """Cotangents (rows, outputs) that let small outputs count as much as large ones, as far as they are resolved."""
    found = line.outputs.found
    error = np.where(found.resolved, found.error, 0.0)
    largest = by_output(problem.outputs, found.size)
    # A derivative that is 0 but for rounding must not be blown up to the size of the others.
    usual = found.size + 1e-3 * largest + 1e4 * error
    usual += 1e-4 * by_output(problem.outputs, line.outputs.size)
    usual = np.where(usual > 0, np.maximum(usual, 1e-290), 1.0)
    rows = [line.finite * _away_from_0(rng, usual.size) / usual for _ in range(SUMS)]
    if found.kink.any():
        # What the kinks leave open must hide nothing elsewhere, nor add up with changing signs to room for anything.
        middle = np.where(found.resolved, found.nearest(np.full(1, np.inf)) + found.nearest(np.full(1, -np.inf)), 0.0)
        rows += [np.where(found.kink, 0.0, rows[0]), np.where(found.kink, np.sign(middle) * np.abs(rows[0]), 0.0)]
    if usual.size <= ROWS:
        rows += list(np.eye(usual.size)[line.finite])
    return np.stack(rows)


def _order(line: Line, view: View, seen: Comparison) -> float:
    """The order of Taylor's remainder: over all that is smooth and right, or of the worst that is wrong."""
    keep = seen.resolved & ~seen.kink & ~seen.found.kink
    if seen.wrong.any():
        keep = np.zeros_like(keep)
        keep[int(np.where(seen.wrong, seen.error, -1.0).argmax())] = True
    keep &= np.isfinite(seen.rule)
    if not keep.any():
        return math.nan
    weight = 1 / np.maximum(seen.found.size, 1e-3 * seen.found.size.max())[keep] if seen.found.size.max() > 0 else 1.0
    return remainder_order(
        line.steps, view.ahead[:, keep], view.here[keep], seen.rule[keep], seen.found.rounding[keep], np.asarray(weight)
    )


def _adjoint(problem: Problem, view: View, tangent: Floats, gradients: Floats, rule: Floats, v: Floats) -> bool:
    """⟨u, J v⟩ = ⟨Jᵀ u, v⟩ to within rounding, at kinks too, since both modes are to be one linear map."""
    U, rounding = view.weights, problem.rounding
    assert U is not None
    with np.errstate(invalid="ignore", over="ignore"):
        terms = np.abs(U) @ np.abs(tangent) + np.abs(gradients) @ np.abs(v)
        off = np.abs(U @ tangent - rule) > rounding**0.45 * terms + rounding**0.55 * view.size + 1e-290
    return not off.any()  # what is not finite is judged by the differences


def _relative(seen: Comparison, place: int) -> float:
    rule = float(seen.rule[place])
    near = float(seen.found.nearest(seen.rule)[place])
    return abs(rule - near) / max(abs(rule), abs(near)) if math.isfinite(rule) else math.inf


def _leaf_report(look: _Shown, leaf: Leaf, kink: bool, where: str) -> LeafReport:
    problem, shown, U, gradients, transposed = look
    verdicts = {mode: state.verdict() for mode, state in shown.items()}
    notes = [where] if where else []
    if not transposed:
        notes.append("forward and reverse mode are not each other's transpose")
        if "wrong" not in verdicts.values():
            verdicts = dict.fromkeys(verdicts, "wrong")
    verdict = worst(list(verdicts.values()))
    mode = max(shown, key=lambda name: (verdicts[name] == verdict, len(shown[name].faults()), shown[name].largest()[0]))
    state = shown[mode]
    comparisons = [seen for each in shown.values() for _, seen in each.seen]
    if verdict == "inconclusive":
        if any(seen.unclear.any() for seen in comparisons):
            notes.append("the function jumps at this point, or too many kinks meet in it")
        elif state.infinite:
            notes.append("outputs are infinite at this point, and their derivative is not judged")
        elif any(seen.singular.any() for seen in comparisons):
            notes.append("the derivative is not finite here")
        else:
            what = "outputs" if mode == "forward" else "weighted sums of outputs"
            notes.append(f"{state.unresolved()} of {state.seen[0][1].resolved.size} {what} not resolved")
    # An element's own line says most; among several, the largest difference.
    faults = state.faults()
    sight = max(faults, key=lambda fault: (fault.direction.element is not None, fault.error), default=state.largest())
    element, values = _describe(problem, leaf, mode, sight, bool(faults), U, gradients)
    return LeafReport(
        path=leaf.path,
        verdict=verdict,
        modes=verdicts,
        error=sight.error,
        difference_error=max(each.doubt() for each in shown.values()),
        visible=max(each.visible() for each in shown.values()),
        order=state.order,
        kink=kink,
        worst_element=element,
        direction=sight.direction.name,
        values=values,
        note="; ".join(notes),
    )


def _describe(
    problem: Problem, leaf: Leaf, mode: str, sight: _Sight, wrong: bool, U: Floats, gradients: Floats | None
) -> tuple[str, str]:
    """Where the largest difference is; and between which values, if they are derivatives in one element."""
    element = sight.direction.element
    if mode == "forward":
        target = _element(problem.outputs, sight.place)
    else:
        row = np.flatnonzero(U[sight.place])
        target = _element(problem.outputs, int(row[0])) if row.size == 1 else "weighted outputs"
    if element is None and wrong:
        element = _locate(problem, leaf, sight.direction.v, mode, sight.place, U, gradients)
    source = leaf.path if element is None else _element(problem.inputs, element)
    where = f"{target} by {source}, {mode}"
    if not wrong or element is None or element != sight.direction.element:
        return where, ""
    found, step = sight.seen.found, float(sight.direction.v[element])
    low, high = sorted(float(bound[sight.place]) / step for bound in (found.low, found.high))
    shown = f"{low:.9g} to {high:.9g}" if found.kink[sight.place] else f"{(low + high) / 2:.9g}"
    return where, f"the rule gives {float(sight.seen.rule[sight.place]) / step:.9g}, differences {shown}"


def _element(leaves: tuple[Leaf, ...], place: int) -> str:
    return next(leaf.element(place) for leaf in leaves if leaf.start <= place < leaf.stop)


def _locate(problem: Problem, leaf: Leaf, v: Floats, mode: str, place: int, U: Floats, gradients: Floats | None) -> int:
    """The element whose derivative is most wrong, by halving the direction and following the larger difference."""
    h = problem.rounding**0.3
    u = U[place] if mode == "reverse" else np.eye(1, problem.y.size, place)[0]

    def off(low: int, high: int) -> float:
        part = np.zeros_like(v)
        part[low:high] = v[low:high]
        if mode == "reverse" and gradients is not None:
            rule = float(gradients[place, low:high] @ v[low:high])
        else:
            rule = float(problem.forward(part)[place])
        values = problem.along(part, np.array([h, -h, h / 2, -h / 2]))
        values = np.where(np.isfinite(problem.y), values, 0.0) @ u
        coarse, fine = (values[0] - values[1]) / (2 * h), (values[2] - values[3]) / h
        gap = abs(rule - float(fine + (fine - coarse) / 3))
        return gap if math.isfinite(gap) else math.inf

    low, high = leaf.start, leaf.stop
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if off(low, middle) >= off(middle, high) else (middle, high)
    return low
