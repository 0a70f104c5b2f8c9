"""The contract of a layer: two pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, Key, Params, State

__all__ = ["Apply", "Init", "Layer", "lift", "spec_of"]


class Init(Protocol):
    """Makes parameters and state for inputs like `x_spec`."""

    def __call__(self, key: Key, x_spec: Any) -> tuple[Any, State]:
        """Returns (params, state); `x_spec` is a `jax.ShapeDtypeStruct` or anything with shape and dtype."""
        ...


class Apply(Protocol):
    """Runs a layer."""

    def __call__(self, params: Any, state: State, x: Any, *, key: Key | None, train: bool) -> tuple[Any, State]:
        """Returns (y, state); shapes and dtypes of the state never change."""
        ...


class Layer(NamedTuple):
    """A layer, or a whole model: how its parameters begin, and what it computes.

        init(key, x_spec) -> (params, state)
        apply(params, state, x, *, key, train) -> (y, state)

    `params` and `state` are plain pytrees of arrays, so that `jax.grad`, Optax, `jax.vmap` over models, donation
    and sharding need no filter. `key` may be None where nothing random happens; a random layer that trains raises then.
    `train` has no default: whoever applies a layer says which behaviour is meant.

    Attributes:
      init: makes the parameters and the state; `()` or a tree of them where there is none.
      apply: computes the output and the next state.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> double = models.Layer(lambda key, x_spec: ({}, ()), lambda params, state, x, *, key, train: (2 * x, state))
      >>> double.apply({}, (), jnp.ones(2), key=None, train=False)[0]
      Array([2., 2.], dtype=float32)

    Source: the `init`/`apply` pairs of JAX' stax and of Haiku's `transform`.
    """

    init: Init
    apply: Apply


def lift(function: Callable[[Array], Array]) -> Layer:
    """Makes a layer of a pure function, one without parameters.

        y = f(x)

    Args:
      function: `x -> y`.

    Returns:
      A `Layer` with params `{}` and state `()`.

    Raises:
      TypeError: if `function` cannot be called.

    Gradient: that of `function`.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import models
      >>> models.lift(jnp.square).apply({}, (), jnp.ones(1) * 3, key=None, train=False)[0]
      Array([9.], dtype=float32)

    Source: `stax.elementwise` of JAX.
    """
    if not callable(function):
        raise _checks.type_error(
            "models.lift", "function", _checks.describe(function), "a function of x", "models.lift(jax.numpy.tanh)."
        )

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        return {}, ()

    def apply(params: Params, state: State, x: Array, *, key: Key | None, train: bool) -> tuple[Array, State]:
        return function(x), state

    return Layer(init, apply)


def spec_of(function: str, x: Any) -> Any:
    """Shapes and dtypes of a pytree of arrays or specs, as JAX will see them (float64 is float32 unless enabled)."""

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            raise _checks.type_error(
                function,
                "x_spec",
                _checks.describe(leaf),
                "an array or a jax.ShapeDtypeStruct, batch axes included",
                "For example jax.ShapeDtypeStruct((32, 8, 8, 1), jax.numpy.float32).",
            )
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))

    return jax.tree.map(one, x)
