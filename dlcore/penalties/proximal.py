"""Training with a proximal step: a gradient step on the loss, then the penalty's operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore import _checks
from dlcore._typing import Array, Params, PyTree
from dlcore.penalties.rules import Penalty

__all__ = ["ProximalState", "proximal"]


class ProximalState(NamedTuple):
    """What `proximal` keeps: the number of steps, an int32 scalar, and the optimizer's own state."""

    steps: Array
    inner: Any


def proximal(
    optimizer: optax.GradientTransformation,
    penalty: Penalty,
    learning_rate: float | Array | Callable[[Array], Array],
) -> optax.GradientTransformation:
    """An Optax optimizer that ends each step with the penalty's proximal operator: L1 weights become exactly zero.

        ω⁺ = prox(ω + u, η),   u the optimizer's update for the gradient of the loss alone

    Args:
      optimizer: any Optax transformation whose updates are to be added to the parameters. The loss it is given must not
        contain the penalty's value.
      penalty: any of `dlcore.penalties`; `on(penalty)` leaves biases and scales alone.
      learning_rate: η ≥ 0, how far the optimizer goes for a gradient of 1: a number, a traced scalar, or a schedule,
        which is called with the number of steps so far. For `optax.sgd(η)` it is η; with momentum β, which goes on
        until it is 1 / (1 − β) as far, η / (1 − β): then training ends where loss plus penalty is least.

    Returns:
      A `GradientTransformation`, the last of an `optax.chain`; its `update` needs the parameters, and its updates are
      ω⁺ − ω, so that `optax.apply_updates` gives ω⁺: exactly where that is 0, up to rounding elsewhere.

      With plain gradient descent this is the proximal gradient method (ISTA). Adam's steps have no one length for a
      gradient of 1; there the penalty is decoupled from the loss, as weight decay is in AdamW: L1 takes η λ off every
      weight in each step, whatever its gradient.

    Raises:
      TypeError: if `optimizer` or `penalty` is none, or `learning_rate` no number and no schedule.
      ValueError: if `learning_rate` is negative, or `update` is not given the parameters.

    Gradient: through a step, that of the operator: 0 in weights that become 0.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from dlcore import penalties
      >>> optimizer = penalties.proximal(optax.sgd(0.5), penalties.l1(1.0), 0.5)
      >>> params = {"kernel": jnp.array([2.0, 0.25])}
      >>> updates, _ = optimizer.update({"kernel": jnp.zeros(2)}, optimizer.init(params), params)
      >>> optax.apply_updates(params, updates)
      {'kernel': Array([1.5, 0. ], dtype=float32)}

    Source: Beck & Teboulle 2009, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems";
    Duchi & Singer 2009, "Efficient online and batch learning using forward backward splitting".
    """
    name = "penalties.proximal"
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise _checks.type_error(
            name, "optimizer", _checks.describe(optimizer), "an Optax transformation", "For example optax.sgd(0.1)."
        )
    if not isinstance(penalty, Penalty):
        raise _checks.type_error(
            name, "penalty", _checks.describe(penalty), "a Penalty", "For example penalties.l1(1e-4)."
        )
    if not callable(learning_rate):
        _checks.scalar(name, "learning_rate", learning_rate, low=0.0)

    def init(params: Params) -> ProximalState:
        return ProximalState(jnp.zeros((), jnp.int32), optimizer.init(params))

    def update(updates: PyTree, state: ProximalState, params: Params | None = None) -> tuple[PyTree, ProximalState]:
        if params is None:
            raise _checks.value_error(
                name, "params", "None", "the parameters", "Call optimizer.update(gradients, state, params)."
            )
        updates, inner = optimizer.update(updates, state.inner, params)
        step = learning_rate(state.steps) if callable(learning_rate) else learning_rate
        moved = jax.tree.map(lambda leaf, change: (leaf + change).astype(leaf.dtype), params, updates)
        target = penalty.prox(moved, step)
        # A leaf that the penalty left alone keeps the optimizer's own update, bit for bit.
        changes = jax.tree.map(
            lambda leaf, after, before, change: change if after is before else after - leaf,
            params, target, moved, updates,
        )  # fmt: skip
        return changes, ProximalState(optax.safe_increment(state.steps), inner)

    return optax.GradientTransformation(init, update)
