"""One step of training: loss plus penalty, gradient, update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import optax

from dlcore import _checks, losses
from dlcore._tree import KERNELS, finder
from dlcore._typing import Array, PyTree
from dlcore.models.layer import Layer
from dlcore.penalties import Penalty, on
from dlcore.train.state import TrainState, check_model, check_optimizer

__all__ = ["Metric", "Step", "make_step"]

# (predictions, targets) -> one value per element or example
Metric: TypeAlias = Callable[[Any, Any], Array]
Step: TypeAlias = Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]


def check_metrics(function: str, metrics: Any) -> Mapping[str, Metric]:
    """Refuses what is no dict of functions."""
    if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
        raise _checks.type_error(
            function,
            "metrics",
            _checks.describe(metrics),
            "a dict of functions (predictions, targets) -> values",
            "For example {'accuracy': train.accuracy}, uncalled.",
        )
    return metrics


def make_step(
    model: Layer,
    loss: Metric,
    optimizer: optax.GradientTransformation,
    *,
    penalty: Penalty | None = None,
    penalty_on: str = KERNELS,
    metrics: Mapping[str, Metric] | None = None,
) -> Step:
    """Composes model, loss, penalty and optimizer into one pure step.

        J(θ) = mean_i L(f_θ(x_i), y_i) + R(θ),   θ ← θ + optimizer(∇J)

    Args:
      model: f.
      loss: L, `(predictions, targets) -> values`, any of `dlcore.losses` or your own; the step takes their mean.
      optimizer: any Optax optimizer, a chain with clipping or a schedule too; those that ask for the loss get it. One
        that evaluates the loss again by itself (L-BFGS' line search) does not fit into a step.
      penalty: R, any of `dlcore.penalties`; its value is added to the loss.
      penalty_on: which leaves pay: a pattern for `penalties.on`; kernels by default, neither biases nor scales.
      metrics: further means to report, by name: `{"accuracy": train.accuracy}`.

    Returns:
      `step(state, (inputs, targets)) -> (state, metrics)`, to be compiled by `jax.jit` or `make_epoch`. The metrics
      are scalars: `loss` (with its penalty), `penalty` where there is one, and those asked for.

    Raises:
      TypeError: if `model`, `optimizer` or `penalty` is not one, or `loss` or a metric cannot be called.
      ValueError: if a metric is called `loss` or `penalty`, or `penalty_on` finds no leaf.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from dlcore import losses, models, train
      >>> optimizer = optax.sgd(0.5)
      >>> state = train.make_state(jax.random.key(0), models.dense(1), optimizer, jnp.ones((2, 1)))
      >>> step = jax.jit(train.make_step(models.dense(1), losses.squared_error, optimizer))
      >>> state, metrics = step(state, (jnp.ones((2, 1)), jnp.ones((2, 1))))
      >>> sorted(metrics)
      ['loss']
    """
    name = "train.make_step"
    check_model(name, model)
    check_optimizer(name, optimizer)
    extra = dict(check_metrics(name, metrics or {}))
    if penalty is not None and not isinstance(penalty, Penalty):
        raise _checks.type_error(
            name, "penalty", _checks.describe(penalty), "a Penalty", "For example penalties.l2(1e-4)."
        )
    finder(penalty_on, function=name, argument="penalty_on")
    if not callable(loss):
        raise _checks.type_error(
            name, "loss", _checks.describe(loss), "a function (predictions, targets) -> values", "Do not call it."
        )
    if {"loss", "penalty"} & set(extra):
        raise _checks.value_error(
            name, "metrics", sorted(extra), "names other than 'loss' and 'penalty'", "The step reports those itself."
        )
    charge = None if penalty is None else on(penalty, penalty_on)

    def objective(params: PyTree, state: TrainState, batch: Any) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        inputs, targets = batch
        key = jax.random.fold_in(state.key, state.step)
        predictions, model_state = model.apply(params, state.model_state, inputs, key=key, train=True)
        total = losses.mean(loss(predictions, targets))
        reports = {label: losses.mean(metric(predictions, targets)) for label, metric in extra.items()}
        if charge is not None:
            reports["penalty"] = charge.value(params)
            total = total + reports["penalty"].astype(total.dtype)
        return total, (model_state, {"loss": total, **reports})

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        gradients, (model_state, reports) = jax.grad(objective, has_aux=True)(state.params, state, batch)
        # Some optimizers ask for the loss itself: Polyak's step size, reducing the rate on a plateau.
        more = {"value": reports["loss"]} if isinstance(optimizer, optax.GradientTransformationExtraArgs) else {}
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params, **more)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, model_state, opt_state, state.key, state.step + 1), reports

    return step
