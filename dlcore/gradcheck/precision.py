"""In which precision a function really computes: its jaxpr shows where digits are thrown away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend import core

__all__ = ["digits", "narrowest_float", "real_dtype"]


def narrowest_float(closed: Any) -> np.dtype[Any]:
    """The narrowest floating dtype that any value on the way from the inputs has, float64 if none is narrower.

    closed: the ClosedJaxpr of a function of float64 (or complex128) arrays. Values that do not depend on the inputs,
    or that do so through integers alone, carry no derivative and do not count.
    """
    jaxpr = closed.jaxpr
    found = _visit(jaxpr, [True] * len(jaxpr.invars))[0]
    return min(found, key=digits, default=np.dtype(np.float64))


def digits(dtype: np.dtype[Any]) -> float:
    """How many binary digits a floating dtype holds."""
    return -float(np.log2(float(jnp.finfo(dtype).eps)))


def real_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of the real part."""
    return np.dtype(jnp.finfo(dtype).dtype)


def _is_float(variable: Any) -> bool:
    dtype = getattr(variable.aval, "dtype", None)
    return dtype is not None and bool(jnp.issubdtype(dtype, np.inexact))


def _visit(jaxpr: Any, live: list[bool]) -> tuple[set[np.dtype[Any]], list[bool]]:
    """The floating dtypes of what depends on the live inputs, and which outputs do."""
    reached = {variable for variable, on in zip(jaxpr.invars, live, strict=True) if on and _is_float(variable)}
    found: set[np.dtype[Any]] = set()
    for equation in jaxpr.eqns:
        fed = [not isinstance(operand, core.Literal) and operand in reached for operand in equation.invars]
        if not any(fed):
            continue
        outputs = [True] * len(equation.outvars)
        for inner in _inner(equation):
            inner_found, inner_outputs = _visit(inner, _passed_on(inner, fed))
            found |= inner_found
            if len(inner_outputs) == len(outputs) and equation.primitive.name in ("jit", "pjit", "closed_call"):
                outputs = inner_outputs
        for variable, on in zip(equation.outvars, outputs, strict=True):
            if on and _is_float(variable):
                reached.add(variable)
                found.add(real_dtype(variable.aval.dtype))
    ends = [not isinstance(variable, core.Literal) and variable in reached for variable in jaxpr.outvars]
    return found, ends


def _passed_on(inner: Any, fed: list[bool]) -> list[bool]:
    """Which inputs of an inner jaxpr are live: one for one where they correspond, else all of them."""
    count = len(inner.invars)
    if count == len(fed):
        return fed
    if count == len(fed) - 1:  # the branches of a `cond`, which follow its index
        return fed[1:]
    return [True] * count


def _inner(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
