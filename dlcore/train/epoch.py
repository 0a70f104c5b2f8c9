"""One epoch as one compiled program: a scan over steps, with the data on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import _checks
from dlcore._random import permutation
from dlcore._typing import Array, Key
from dlcore.train.state import TrainState
from dlcore.train.step import Step

__all__ = ["Epoch", "examples", "make_epoch"]

Epoch: TypeAlias = Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]

# Steps fold their number into the run's key; these folds are out of any step number's reach, so that no draw is shared.
SHUFFLE, AUGMENT = 2**32 - 1, 2**32 - 2


def make_epoch(step: Step, *, batch_size: int, augment: Callable[[Key, Any], Any] | None = None) -> Epoch:
    """Compiles a whole epoch.

    One `lax.scan` over the steps, in one call: nothing returns to Python between steps, the state's buffers are reused
    (donated), and the order of the examples is drawn inside.

    Args:
      step: from `make_step`.
      batch_size: B. Each epoch takes N // B full batches of a fresh permutation; the N mod B examples left over are
        others in every epoch.
      augment: `(key, inputs) -> inputs`, applied to each batch, with a key of its own for each step.

    Returns:
      `epoch(state, (inputs, targets)) -> (state, metrics)`, compiled. The metrics are those of the step, each of shape
      (steps,). The state that was passed in must not be used again: its buffers have been given away.

    Raises:
      TypeError: if `step` or `augment` cannot be called.
      ValueError: if the data are empty, their lengths differ, or there are fewer examples than `batch_size`.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from dlcore import losses, models, train
      >>> model, optimizer = models.dense(1), optax.sgd(0.1)
      >>> data = jnp.ones((10, 3)), jnp.ones((10, 1))
      >>> state = train.make_state(jax.random.key(0), model, optimizer, data[0])
      >>> epoch = train.make_epoch(train.make_step(model, losses.squared_error, optimizer), batch_size=5)
      >>> state, metrics = epoch(state, data)
      >>> int(state.step), metrics["loss"].shape
      (2, (2,))
    """
    name = "train.make_epoch"
    size = _checks.integer(name, "batch_size", batch_size, low=1)
    for argument, function, optional in (("step", step, False), ("augment", augment, True)):
        if not (callable(function) or (optional and function is None)):
            raise _checks.type_error(name, argument, _checks.describe(function), "a function", "Pass it uncalled.")

    def epoch(state: TrainState, data: Any) -> tuple[TrainState, dict[str, Array]]:
        n = examples(name, data)
        if n < size:
            raise _checks.value_error(
                name, "batch_size", size, f"at most the number of examples, {n}", "Lower it, or add data."
            )
        shuffle = jax.random.fold_in(jax.random.fold_in(state.key, SHUFFLE), state.step)
        order = permutation(shuffle, n)[: n // size * size].reshape(-1, size)

        def body(state: TrainState, rows: Array) -> tuple[TrainState, dict[str, Array]]:
            inputs, targets = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)
            if augment is not None:
                inputs = augment(jax.random.fold_in(jax.random.fold_in(state.key, AUGMENT), state.step), inputs)
            return step(state, (inputs, targets))

        return lax.scan(body, state, order)

    return jax.jit(epoch, donate_argnums=0)


def examples(function: str, data: Any) -> int:
    """How many examples all leaves of the data have."""
    lengths = {leaf.shape[0] if getattr(leaf, "ndim", 0) else None for leaf in jax.tree.leaves(data)}
    if not isinstance(data, tuple | list) or len(data) != 2 or len(lengths) != 1 or None in lengths:
        shapes = [_checks.describe(leaf) for leaf in jax.tree.leaves(data)]
        raise _checks.value_error(
            function, "data", shapes, "a pair (inputs, targets) of equally many examples", "Examples come first."
        )
    n = lengths.pop()
    if not n:
        raise _checks.value_error(function, "data", "an empty data set", "at least one example", "Check the source.")
    return int(n)
