"""What training carries from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore import _checks
from dlcore._typing import Array, Key, PyTree
from dlcore.models.layer import Layer

__all__ = ["TrainState", "make_state"]


class TrainState(NamedTuple):
    """Everything that a step reads and writes: a plain pytree of arrays.

    Attributes:
      params: the model's parameters.
      model_state: the model's state, running statistics for example.
      opt_state: the optimizer's state.
      key: the run's typed key; it never changes. Step t draws with `fold_in(key, t)`, so that a restart replays
        exactly.
      step: t, an int32 scalar.
    """

    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    key: Key
    step: Array


def make_state(key: Key, model: Layer, optimizer: optax.GradientTransformation, inputs: Any) -> TrainState:
    """The state before the first step.

    Args:
      key: a typed PRNG key; one part draws the parameters, the other is the run's.
      model: the model.
      optimizer: any Optax optimizer.
      inputs: one batch of inputs, or its `jax.ShapeDtypeStruct`; only shapes and dtypes are read.

    Returns:
      A `TrainState` at step 0.

    Raises:
      TypeError, ValueError: if `key` is not one typed key, `model` no `Layer`, `optimizer` no Optax transformation, or
        the model refuses the inputs.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from dlcore import models, train
      >>> state = train.make_state(jax.random.key(0), models.dense(3), optax.sgd(0.1), jnp.ones((2, 4)))
      >>> state.params["kernel"].shape, int(state.step)
      ((4, 3), 0)
    """
    name = "train.make_state"
    key = _checks.key(name, key)
    check_model(name, model)
    check_optimizer(name, optimizer)
    init_key, run_key = jax.random.split(key)
    params, model_state = model.init(init_key, inputs)
    # An array of its own for each leaf: an optimizer may keep the first parameters, and one buffer is given away once.
    opt_state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), optimizer.init(params))
    return TrainState(params, model_state, opt_state, run_key, jnp.zeros((), jnp.int32))


def check_model(function: str, model: Any) -> None:
    """Refuses what is not a `Layer`."""
    if not isinstance(model, Layer):
        raise _checks.type_error(
            function, "model", _checks.describe(model), "a models.Layer", "For example models.mlp((128, 10))."
        )


def check_optimizer(function: str, optimizer: Any) -> None:
    """Refuses what is not an Optax transformation."""
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise _checks.type_error(
            function, "optimizer", _checks.describe(optimizer), "an Optax optimizer", "Call it: optax.adam(1e-3)."
        )
