"""Epoch after epoch, with a report between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore.train.epoch import Epoch, examples
from dlcore.train.state import TrainState

__all__ = ["DivergedError", "Report", "fit"]


class Report(NamedTuple):
    """What is known after an epoch.

    Attributes:
      epoch: its number, from 1.
      epochs: how many there will be.
      step: how many steps have been made.
      seconds: how long the epoch took, its evaluation left out.
      steps_per_second: how many steps it made in a second.
      metrics: the means over its steps, and what `evaluate` returned.
    """

    epoch: int
    epochs: int
    step: int
    seconds: float
    steps_per_second: float
    metrics: dict[str, float]


class DivergedError(RuntimeError):
    """The loss is no longer finite. `step` is the first step at which that was so."""

    def __init__(self, step: int, value: float) -> None:
        self.step, self.value = step, value
        super().__init__(
            f"dlcore.train.fit: the loss became {value} at step {step}. Lower the learning rate, clip the gradient "
            "(optax.clip_by_global_norm), or look for labels out of range: those give NaN."
        )

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, float]]:
        return DivergedError, (self.step, self.value)


def fit(
    epoch: Epoch,
    state: TrainState,
    data: Any,
    *,
    epochs: int,
    evaluate: Callable[[TrainState], dict[str, Any]] | None = None,
    report: Callable[[Report, TrainState], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[TrainState, list[Report]]:
    """Trains for some epochs.

    Args:
      epoch: from `make_epoch`, compiled ahead of time or not.
      state: where to start; its buffers are given away.
      data: (inputs, targets), N examples first. They are put on the device once.
      epochs: how many.
      evaluate: `state -> scalars by name`, joined to the epoch's metrics.
      report: called after each epoch, to show, write and save.
      stop: asked after each epoch; True ends training there, in good order.

    Returns:
      The last state, and the reports of all epochs.

    Raises:
      DivergedError: if a loss is inf or NaN; it names the step.
      ValueError: if the data are empty, or `epochs` is below 0.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from dlcore import losses, models, train
      >>> model, optimizer = models.dense(1), optax.sgd(0.1)
      >>> data = jnp.ones((10, 3)), jnp.ones((10, 1))
      >>> state = train.make_state(jax.random.key(0), model, optimizer, data[0])
      >>> epoch = train.make_epoch(train.make_step(model, losses.squared_error, optimizer), batch_size=5)
      >>> state, history = train.fit(epoch, state, data, epochs=3)
      >>> [line.step for line in history]
      [2, 4, 6]
    """
    name = "train.fit"
    count = _checks.integer(name, "epochs", epochs, low=0)
    optional = {"evaluate": evaluate, "report": report}
    for argument, function in {"epoch": epoch, "stop": stop, **optional}.items():
        if not (callable(function) or (argument in optional and function is None)):
            raise _checks.type_error(name, argument, _checks.describe(function), "a function", "Pass it uncalled.")
    examples(name, data)
    data = jax.device_put(data)
    history: list[Report] = []
    for number in range(1, count + 1):
        before = int(state.step)
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(epoch(state, data))
        seconds = time.perf_counter() - start
        values = {label: np.asarray(series) for label, series in metrics.items()}
        if values["loss"].ndim != 1:
            raise _checks.value_error(
                name, "epoch", f"a function with a loss of shape {values['loss'].shape}", "(steps,)", "See make_epoch."
            )
        wrong = np.flatnonzero(~np.isfinite(values["loss"].astype(np.float64)))
        if wrong.size:
            raise DivergedError(before + int(wrong[0]), float(values["loss"][wrong[0]]))
        steps = values["loss"].shape[0]
        if not _finite(state.params):  # the last update may have gone astray, which no loss has seen yet
            raise DivergedError(before + steps, float("nan"))
        line = {label: float(series.astype(np.float64).mean()) for label, series in values.items()}
        if evaluate is not None:
            more = {label: float(value) for label, value in evaluate(state).items()}
            if set(more) & set(line):
                raise _checks.value_error(
                    name,
                    "evaluate",
                    f"a function that returns {sorted(set(more) & set(line))}",
                    "other names",
                    "Call it 'test_loss', say.",
                )
            line |= more
        history.append(Report(number, count, before + steps, seconds, steps / seconds, line))
        if report is not None:
            report(history[-1], state)
        if stop():
            break
    return state, history


@jax.jit
def _finite(tree: Any) -> Any:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
