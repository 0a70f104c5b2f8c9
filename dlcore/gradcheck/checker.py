"""`check` and `assert_gradients`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from dlcore import _checks
from dlcore._typing import Key
from dlcore.gradcheck.judge import judge_leaf
from dlcore.gradcheck.problem import Problem, second_order, settings
from dlcore.gradcheck.report import LeafReport, Report
from dlcore.gradcheck.setting_up import set_up

__all__ = ["assert_gradients", "check"]

MODES = ("reverse", "forward")


def check(
    f: Callable[..., Any],
    *args: Any,
    modes: Sequence[str] = MODES,
    order: int = 1,
    key: Key | None = None,
) -> Report:
    """Compares a function's derivatives, as JAX gives them, with finite differences of its values.

        ⟨u, J v⟩ = ⟨Jᵀ u, v⟩ = d/dt ⟨u, f(x + t v)⟩ at t = 0,   J = ∂f/∂x

    In three random directions v for each floating leaf of the arguments, and along each element of a small one, the
    values on a ladder of steps give an interval that contains the derivative (Richardson's extrapolation, with the
    rounding of f measured on the way; see `dlcore/gradcheck/differences.py`). Forward mode's J v is compared in every
    output; reverse mode's Jᵀ u for random weights u, and for each output where there are few; the two with each other.
    A derivative outside of the interval is wrong, however little it is outside; where the interval stays too wide to
    say, the verdict is "inconclusive".

    Args:
      f: any function of arrays and pytrees that JAX differentiates, with rules of its own or not.
      args: its arguments. Floating and complex leaves are differentiated; integers, booleans, keys and whatever is no
        array are handed on as they are. Empty leaves pass.
      modes: "reverse", "forward" or both. A mode that the function does not have (a `custom_vjp` has no forward mode)
        is named in the report's notes, and refused if it is the only one.
      order: 1; or 2, and then the derivatives of the gradient are checked as well: Hessian-vector products.
      key: draws directions and weights; `jax.random.key(0)` unless given. The report shows its data.

    Returns:
      A `Report`: for each leaf a verdict, the error, what the differences could see, the order of Taylor's remainder,
      and the worst element. Everything runs in float64 whatever dtype the arguments have, without touching JAX' global
      settings. A function that refuses float64, or computes in a narrower dtype inside, is judged by what that dtype
      can show; `report.precision` and the notes say so.

    Raises:
      TypeError: if no argument or no output is floating.
      ValueError: if the function gives NaN at this point, is not deterministic, gives other values when compiled, or
        has none of the modes.

    Gradient: at a kink, any value between the one-sided derivatives is right, and where several kinks meet, any that
    a choice of sides gives; the report says "kink". A NaN where the function is finite is wrong.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import gradcheck
      >>> @jax.custom_jvp
      ... def cube(x):
      ...     return x**3
      >>> @cube.defjvp
      ... def cube_jvp(primals, tangents):
      ...     return cube(*primals), 2.99 * primals[0] ** 2 * tangents[0]
      >>> report = gradcheck.check(cube, jnp.array([0.5, 2.0]))
      >>> report.verdict, f"{report.leaves['x'].error:.4f}"
      ('wrong', '0.0033')
      >>> gradcheck.check(jnp.sin, jnp.ones(3), order=2).verdict
      'pass'

    Source: Richardson 1911 and Ridders 1982 (differences and their error); Griewank & Walther 2008, "Evaluating
    derivatives", chapter 3 (the adjoint identity).
    """
    name = "gradcheck.check"
    if isinstance(modes, str) or not isinstance(modes, Sequence) or not modes:
        raise _checks.type_error(name, "modes", _checks.describe(modes), "a tuple of modes", f"For example {MODES}.")
    wanted = tuple(dict.fromkeys(_checks.one_of(name, "modes", mode, MODES) for mode in modes))
    _checks.integer(name, "order", order, low=1)
    words = jax.random.key_data(_checks.key(name, jax.random.key(0) if key is None else key))
    seed = tuple(int(word) for word in np.ravel(words))
    rng = np.random.default_rng(seed)
    problem, x64, reason = set_up(f, args)
    notes = [f"not in float64: {reason}"] if reason else []
    leaves: dict[str, LeafReport] = {}
    with settings(x64), np.errstate(all="ignore"):
        for current in range(1, order + 1):
            here = _present(problem, wanted, notes, current)
            for leaf in problem.inputs:
                path = leaf.path if current == 1 else f"{leaf.path}, order {current}"
                leaves[path] = dataclasses.replace(judge_leaf(problem, leaf, here, rng), path=path)
            if current < order:
                mode = "reverse" if "reverse" in here else "forward"
                size = problem.y.size if mode == "reverse" else problem.x.size
                problem = second_order(problem, rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size), mode)
    return Report(leaves, problem.precision.name, seed, tuple(notes))


def _present(problem: Problem, wanted: tuple[str, ...], notes: list[str], order: int) -> tuple[str, ...]:
    reasons = {mode: problem.absent(mode) for mode in wanted}
    here = tuple(mode for mode, reason in reasons.items() if not reason)
    missing = [f"no {mode} mode: {reason}" for mode, reason in reasons.items() if reason]
    if not here:
        raise _checks.value_error(
            "gradcheck.check", "modes", f"{wanted}, but the function has none of them ({'; '.join(missing)})",
            "a mode that the function has", f"There are {MODES}; order {order} differentiates the derivative again.",
        )  # fmt: skip
    notes += [note for note in missing if note not in notes]
    return here


def assert_gradients(
    f: Callable[..., Any],
    *args: Any,
    modes: Sequence[str] = MODES,
    order: int = 1,
    key: Key | None = None,
) -> None:
    """Raises unless `check` proves every derivative; for tests.

    Args:
      f, args, modes, order, key: as for `check`.

    Returns:
      Nothing.

    Raises:
      AssertionError: if a leaf is wrong or inconclusive, with the report's table.
      TypeError, ValueError: as `check`.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import gradcheck, nn
      >>> gradcheck.assert_gradients(nn.softmax, jnp.array([0.3, -1.0, 2.0]))
    """
    report = check(f, *args, modes=modes, order=order, key=key)
    if not report.passed:
        raise AssertionError(f"dlcore.gradcheck: the gradients of {_name(f)} are not proven\n{report}")


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__qualname__", None) or repr(f)
