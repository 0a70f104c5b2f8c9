"""How a peer's step of training is made a run: a compiled step in a loop, or a compiled scan."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.rows._networks import Dense, Params, Task, found_in, make_step, orders, summary
from benchmarks.suite.row import Contestant, Enter
from dlcore import train

__all__ = ["Learner", "channels_first", "channels_last", "learner", "looped", "ours", "ready", "scanned"]


class Learner(NamedTuple):
    """A peer's network in training.

    Attributes:
      begin: parameters in dlcore's layout -> everything that a step changes.
      step: `(carry, inputs, labels) -> (carry, loss)`, not compiled.
      params: of a carry, in dlcore's layout; None where the peer's parameters are others than dlcore's.
      turn: the order of axes in which it wants the inputs.
      jit: compiles a function of data, carry and rows, and gives the carry's buffers away.
    """

    begin: Callable[[Params], Any]
    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    params: Callable[[Any], Params | None]
    turn: tuple[int, ...] | None = None
    jit: Callable[[Callable[..., Any]], Callable[..., Any]] = partial(jax.jit, donate_argnums=1)


def ready(run: Callable[[], Any], results: Callable[[Any], list[np.ndarray]]) -> Contestant:
    """Runs once, which compiles; what that returned is what the first call returns."""
    start = time.perf_counter()
    first = [run()]
    seconds = time.perf_counter() - start
    return Contestant(lambda: first.pop() if first else run(), results, None, seconds)


def ours(task: Task) -> Contestant:
    """dlcore: `train.make_epoch`; under `jax.vmap` where there are members."""
    epoch = train.make_epoch(make_step(task.network, task.rate), batch_size=task.batch)
    if task.members is not None:
        epoch = jax.jit(jax.vmap(epoch, in_axes=(0, None)), donate_argnums=0)
    state = jax.tree.map(jnp.array, task.states)
    data = jax.device_put((task.inputs, task.labels))

    def run() -> Any:
        nonlocal state
        state, metrics = jax.block_until_ready(epoch(state, data))
        return state.params, metrics["loss"]

    return ready(run, lambda found: summary(task, found[1], found_in(found[0], task.start)))


def looped(make: Callable[[Task], Learner], task: Task) -> Enter:
    """A compiled step in a Python loop, with the data on the device."""

    def enter() -> Contestant:
        peer = make(task)
        data = _data(peer, task)
        order = orders(task)

        def advance(data: Any, carry: Any, rows: Any) -> Any:
            return peer.step(carry, *_batch(data, rows))

        advance = peer.jit(advance)
        carry = peer.begin(task.start)

        def run() -> Any:
            nonlocal carry
            losses = []
            for rows in order():
                carry, loss = advance(data, carry, rows)
                losses.append(loss)
            return jax.block_until_ready((carry, losses))

        return ready(run, lambda found: summary(task, found[1], peer.params(found[0])))

    return enter


def scanned(make: Callable[[Task], Learner], task: Task, *, vmapped: bool = False) -> Enter:
    """dlcore's trick for a peer: one compiled scan over the steps, its carry given away.

    Members are trained one after another, or all at once if `vmapped`.
    """

    def enter() -> Contestant:
        peer = make(task)
        data = _data(peer, task)

        def epoch(data: Any, carry: Any, order: Any) -> Any:
            return lax.scan(lambda carry, rows: peer.step(carry, *_batch(data, rows)), carry, order)

        order = orders(task)
        if task.members is None:
            starts = [task.start]
        else:
            starts = [jax.tree.map(lambda leaf, k=k: leaf[k], task.start) for k in range(task.members)]
        carries = [peer.begin(start) for start in starts]
        if vmapped:
            carries = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)]
        compiled = jax.jit(jax.vmap(epoch, in_axes=(None, 0, 0)) if vmapped else epoch, donate_argnums=1)

        def run() -> Any:
            losses = []
            drawn = order()
            for k, rows in enumerate([drawn] if vmapped or task.members is None else drawn):
                carries[k], loss = compiled(data, carries[k], rows)
                losses.append(loss)
            return jax.block_until_ready((carries, losses))

        def results(found: Any) -> list[np.ndarray]:
            carries, losses = found
            if vmapped:
                carries = [jax.tree.map(lambda leaf, k=k: leaf[k], carries[0]) for k in range(task.members or 1)]
                losses = losses[0]
            trees = [peer.params(carry) for carry in carries]
            if task.members is None:
                return summary(task, losses[0], trees[0])
            return summary(task, np.stack(losses), jax.tree.map(lambda *leaves: np.stack(leaves), *trees))

        return ready(run, results)

    return enter


def _data(peer: Learner, task: Task) -> Any:
    inputs = task.inputs if peer.turn is None else np.ascontiguousarray(task.inputs.transpose(peer.turn))
    return jax.device_put((inputs, task.labels))


def _batch(data: Any, rows: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)


def learner(
    task: Task, begin: Callable[[Params], Any], apply: Callable[..., Any], params: Callable[[Any], Params | None]
) -> Learner:
    """Of `apply(weights, state, x, key) -> (logits, state)`; `begin` gives weights and state."""
    optimizer = optax.adam(task.rate)
    key = jax.random.key(1)

    def carry(start: Params) -> Any:
        weights, state = begin(start)
        return jax.tree.map(jnp.array, (weights, state, optimizer.init(weights), 0))

    def step(carry: Any, inputs: Any, labels: Any) -> Any:
        weights, state, opt_state, number = carry

        def objective(weights: Any) -> Any:
            logits, after = apply(weights, state, inputs, jax.random.fold_in(key, number))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), after

        (loss, state), gradients = jax.value_and_grad(objective, has_aux=True)(weights)
        updates, opt_state = optimizer.update(gradients, opt_state, weights)
        return (optax.apply_updates(weights, updates), state, opt_state, number + 1), loss

    return Learner(carry, step, lambda carry: params(carry[0]))


def channels_first(layer: Any, leaf: str, value: np.ndarray) -> np.ndarray:
    """A leaf for PyTorch and Equinox: outputs, inputs, window; a dense kernel's rows as they flatten channels first."""
    if leaf != "kernel":
        return value
    if isinstance(layer, Dense):
        folded = value.reshape(*layer.spatial, -1, layer.features)
        value = np.moveaxis(folded, len(layer.spatial), 0).reshape(layer.inputs, layer.features)
    return np.ascontiguousarray(np.moveaxis(value, (-1, -2), (0, 1)))


def channels_last(layer: Any, leaf: str, value: np.ndarray) -> np.ndarray:
    """The reverse of `channels_first`."""
    if leaf != "kernel":
        return value.reshape(-1)
    value = np.moveaxis(value, (0, 1), (-1, -2))
    if isinstance(layer, Dense):
        folded = value.reshape(-1, *layer.spatial, layer.features)
        value = np.moveaxis(folded, 0, len(layer.spatial)).reshape(layer.inputs, layer.features)
    return value
