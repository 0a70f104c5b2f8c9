"""What lifting an equation to a layer needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlcore import _checks
from dlcore._typing import Array, Key, Params, State
from dlcore.models.layer import Init, Layer, spec_of

__all__ = ["no_parameters", "pure", "random", "width"]


def no_parameters(key: Key, x_spec: Any) -> tuple[Params, State]:
    """The `init` of a layer that has neither parameters nor state."""
    return {}, ()


def pure(init: Init, equation: Callable[[Any, Array], Array]) -> Layer:
    """A layer that has parameters, but neither state nor randomness."""

    def apply(params: Any, state: State, x: Array, *, key: Key | None, train: bool) -> tuple[Array, State]:
        return equation(params, x), state

    return Layer(init, apply)


def width(function: str, x_spec: Any) -> tuple[int, Any]:
    """How many features the input has, and of what dtype."""
    spec = spec_of(function, x_spec)
    if not hasattr(spec, "shape") or len(spec.shape) == 0:
        raise _checks.value_error(
            function, "x_spec", _checks.describe(spec), "at least one axis, features last", "Include the batch axes."
        )
    return spec.shape[-1], spec.dtype


def random(function: str, equation: Callable[[Key, Array], Array]) -> Layer:
    """A layer that is random while training and the identity otherwise."""

    def apply(params: Params, state: State, x: Array, *, key: Key | None, train: bool) -> tuple[Array, State]:
        return (equation(_checks.key(function, key), x) if train else x), state

    return Layer(no_parameters, apply)
