"""From a function and its arguments to a `Problem`: which leaves, which precision, and whether it can be judged."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, PyTree
from dlcore.gradcheck.differences import Floats
from dlcore.gradcheck.precision import digits, narrowest_float, real_dtype
from dlcore.gradcheck.problem import Leaf, Problem, settings

__all__ = ["set_up"]

NAME = "gradcheck.check"
# A leaf of more outputs is summed in groups, with weights, so that a ladder of values fits into memory.
MOST_OUTPUTS = 1 << 17
TRACING_ERRORS = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


def set_up(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Problem, bool | None, str]:
    """The problem; the width in which it must be run (for `settings`); and why that is not float64, if so."""
    if not callable(f):
        raise _checks.type_error(NAME, "f", _checks.describe(f), "a function", "Pass the function itself, uncalled.")
    arguments = _Arguments(f, args)
    reason = ""
    x64: bool | None = True
    with settings(True):
        try:
            point = arguments.leaves(np.dtype(np.float64))
            first = f(*arguments.filled(point.x, point.inputs))
        except Exception as error:
            # Perhaps it takes no float64; then the call below works, or raises what the user's own call raises.
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            reason, x64 = f"on float64 it raises {said if len(said) < 160 else said[:157] + '...'}", None
    if reason:
        with settings(None):
            point = arguments.leaves(None)
            first = f(*arguments.filled(point.x, point.inputs))
    with settings(x64):
        second = f(*arguments.filled(point.x, point.inputs))
        outputs = _outputs(first)
        y = np.asarray(_gather(first, outputs), np.float64)
        _refuse_nan(y, outputs)
        _refuse_noise(y, np.asarray(_gather(second, outputs), np.float64), outputs)

        def function(x: Array) -> Array:
            return _gather(f(*arguments.filled(x, point.inputs)), outputs)

        compiled, precision = True, np.dtype(np.float64)
        try:
            precision = narrowest_float(jax.make_jaxpr(function)(jnp.asarray(point.x)))
        except TRACING_ERRORS:
            compiled = False  # it looks at values, and is run uncompiled
        if reason:
            narrow = [leaf.dtype for leaf in point.inputs if leaf.dtype != np.float64]
            precision = min([precision, *(real_dtype(dtype) for dtype in narrow)], key=digits)
        elif precision != np.float64:
            reason = f"it computes in {precision} inside"
        problem = Problem(function, point.x, point.inputs, outputs, precision, compiled=compiled)
        _refuse_other_values(y, problem)
    return problem, x64, reason


class _Point(NamedTuple):
    x: Floats
    inputs: tuple[Leaf, ...]


class _Arguments:
    """The arguments' leaves: which are floating, what they are called, and how to put others in their place."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.names = _names(f, len(args))
        found, self.structure = jax.tree_util.tree_flatten_with_path(args)
        self.values = [value for _, value in found]
        self.paths = [
            "/".join(
                filter(None, (self.names[path[0].idx], jax.tree_util.keystr(path[1:], simple=True, separator="/")))
            )
            for path, _ in found
        ]
        self.floating = [index for index, value in enumerate(self.values) if _is_floating(value)]
        if not self.floating:
            raise _checks.type_error(
                NAME, "args", ", ".join(_checks.describe(value) for value in self.values) or "no arrays",
                "at least one floating argument to differentiate",
                "Integers, booleans and keys have no gradient: pass floats, such as x.astype(jax.numpy.float32).",
            )  # fmt: skip

    def leaves(self, dtype: np.dtype[Any] | None) -> _Point:
        """All floating leaves as one vector; they become `dtype` (or its complex companion), or stay what they are."""
        parts, inputs, start = [], [], 0
        for index in self.floating:
            # Through JAX, for which bfloat16 is a float; a Python number keeps 64 bits.
            value = np.asarray(self.values[index])
            complex_ = np.issubdtype(value.dtype, np.complexfloating)
            numbers = value.astype(np.complex128).view(np.float64) if complex_ else value.astype(np.float64)
            parts.append(np.ravel(numbers) if value.size else np.zeros(0))
            own = jax.dtypes.canonicalize_dtype(value.dtype)  # what JAX makes of it at the present width
            target = own if dtype is None else np.dtype(np.complex128) if complex_ else dtype
            inputs.append(Leaf(self.paths[index], value.shape, target, start, start + parts[-1].size))
            start += parts[-1].size
        return _Point(np.concatenate(parts), tuple(inputs))

    def filled(self, x: Array | Floats, inputs: Sequence[Leaf]) -> PyTree:
        values = list(self.values)
        vector = jnp.asarray(x)
        for index, leaf in zip(self.floating, inputs, strict=True):
            part = vector[leaf.start : leaf.stop]
            if np.issubdtype(leaf.dtype, np.complexfloating):
                pairs = part.reshape((*leaf.shape, 2))
                part = jax.lax.complex(pairs[..., 0], pairs[..., 1])
            values[index] = part.reshape(leaf.shape).astype(leaf.dtype)
        return jax.tree_util.tree_unflatten(self.structure, values)


def _names(f: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = [
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return [named[i] if i < len(named) else f"args[{i}]" for i in range(count)]


def _is_floating(value: Any) -> bool:
    if isinstance(value, float | complex):
        return True
    return isinstance(value, jax.Array | np.ndarray | np.generic) and bool(jnp.issubdtype(value.dtype, np.inexact))


def _outputs(result: PyTree) -> tuple[Leaf, ...]:
    leaves, start = [], 0
    found = jax.tree_util.tree_leaves_with_path(result)
    for path, value in found:
        if not _is_floating(value):
            continue
        array = np.asarray(value)
        size = array.size * (2 if np.issubdtype(array.dtype, np.complexfloating) else 1)
        group = -(-size // MOST_OUTPUTS) or 1
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "result"
        leaves.append(Leaf(name, array.shape, array.dtype, start, start + -(-size // group), group))
        start = leaves[-1].stop
    if not leaves:
        kinds = ", ".join(_checks.describe(value) for _, value in found) or _checks.describe(result)
        raise _checks.type_error(
            NAME, "f", f"a function that returns {kinds}", "floating output, for there is no gradient of anything else",
            "Return the floating values, or cast inside f before anything is rounded.",
        )  # fmt: skip
    return tuple(leaves)


def _gather(result: PyTree, outputs: Sequence[Leaf]) -> Array:
    """The floating leaves of a result as one real vector."""
    parts = []
    for value, leaf in zip([v for v in jax.tree.leaves(result) if _is_floating(v)], outputs, strict=True):
        array = jnp.asarray(value)
        if jnp.issubdtype(array.dtype, np.complexfloating):
            array = jnp.stack([array.real, array.imag], -1)
        part = array.reshape(-1).astype(jnp.zeros(0).dtype)
        if leaf.group > 1:
            # Positive weights, none like its neighbour, so that errors in a group do not cancel.
            weights = np.random.default_rng(0).uniform(0.5, 1.5, part.size)
            short = (leaf.stop - leaf.start) * leaf.group - part.size
            part = jnp.pad(part * weights, (0, short)).reshape(-1, leaf.group).sum(1)
        parts.append(part)
    return jnp.concatenate(parts)


def _place(outputs: Sequence[Leaf], wrong: Any) -> str:
    position = int(np.flatnonzero(wrong)[0])
    return next(leaf.element(position) for leaf in outputs if leaf.start <= position < leaf.stop)


def _refuse_nan(y: Floats, outputs: Sequence[Leaf]) -> None:
    wrong = np.isnan(y)
    if wrong.any():
        raise _checks.value_error(
            NAME, "f", f"a function that returns NaN at this point, in {wrong.sum()} of {y.size} outputs, the first "
            f"{_place(outputs, wrong)}", "finite values",
            "There is no gradient of NaN: choose arguments inside the function's domain, or mend the function first.",
        )  # fmt: skip


def _refuse_noise(y: Floats, again: Floats, outputs: Sequence[Leaf]) -> None:
    with np.errstate(invalid="ignore"):
        scale = np.abs(y, where=np.isfinite(y), out=np.zeros_like(y)).max(initial=0.0)
        same = (y == again) | (np.isnan(y) & np.isnan(again)) | (np.abs(y - again) <= 1e-13 * scale)
    if not same.all():
        place = _place(outputs, ~same)
        raise _checks.value_error(
            NAME, "f", f"a function that is not deterministic: two calls with the same arguments differ in {place}",
            "the same values for the same arguments",
            "Give it its randomness as an argument (a key), and let it keep no state between calls.",
        )  # fmt: skip


def _refuse_other_values(y: Floats, problem: Problem) -> None:
    """Compiled and uncompiled must agree, or the derivative of the one says nothing about the other."""
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(y) & np.isfinite(problem.y)
        difference = np.where(finite, np.abs(y - problem.y), np.where(y == problem.y, 0.0, np.inf))
        scale = np.abs(y, where=finite, out=np.zeros_like(y)).max(initial=0.0)
    wrong = difference > problem.rounding**0.5 * scale
    if wrong.any():
        raise _checks.value_error(
            NAME, "f", "a function that returns other values under jax.jit than without, first in "
            f"{_place(problem.outputs, wrong)}", "the same values",
            "Does it keep state, or look at the time? If not, the compiler errs: run `dlcore doctor`.",
        )  # fmt: skip


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(jnp.finfo(dtype).dtype)


def _digits(dtype: np.dtype[Any]) -> float:
    return -float(np.log2(float(jnp.finfo(dtype).eps)))
