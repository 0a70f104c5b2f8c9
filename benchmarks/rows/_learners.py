"""How steps of training are made a run: in a loop, or in a compiled scan; for one epoch, or from nothing to a goal."""

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

from benchmarks.rows._networks import Dense, Params, Task, adam, found_in, make_step, orders, starts, summary
from benchmarks.suite.row import Contestant
from dlcore import train

__all__ = [
    "Learner", "Trainer", "channels_first", "channels_last", "learner", "looped", "one_epoch", "ours", "scanned",
    "whole_run",
]  # fmt: skip


class Trainer(NamedTuple):
    """A network in training, by whatever library.

    Attributes:
      epoch: trains for one epoch, waits until that is done, and returns the losses.
      params: what they are now, in dlcore's layout; None where the library's are others than dlcore's.
      losses: of what `epoch` returned, as one array.
      restart: back to the task's first parameters, to an optimizer that has seen nothing, and to the first order.
      accuracy: the share of `task.test` that is right now. Without this and `restart` there is no `whole_run`.
    """

    epoch: Callable[[], Any]
    params: Callable[[], Params | None]
    losses: Callable[[Any], np.ndarray]
    restart: Callable[[], None] | None = None
    accuracy: Callable[[], float] | None = None


class Learner(NamedTuple):
    """A peer's network in training.

    Attributes:
      begin: parameters in dlcore's layout -> everything that a step changes.
      step: `(carry, inputs, labels) -> (carry, loss)`, not compiled.
      logits: `(carry, inputs) -> logits`, not compiled; of networks that do the same in training and evaluation.
      params: of a carry, in dlcore's layout; None where the peer's parameters are others than dlcore's.
      turn: the order of axes in which it wants the inputs.
      jit: compiles a function of data, carry and rows, and gives the carry's buffers away.
      keep: compiles a function of carry and data, and gives nothing away.
    """

    begin: Callable[[Params], Any]
    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    logits: Callable[[Any, Any], Any]
    params: Callable[[Any], Params | None]
    turn: tuple[int, ...] | None = None
    jit: Callable[[Callable[..., Any]], Callable[..., Any]] = partial(jax.jit, donate_argnums=1)
    keep: Callable[[Callable[..., Any]], Callable[..., Any]] = jax.jit


def one_epoch(make: Callable[[Task], Trainer], task: Task) -> Contestant:
    """Trains on, epoch after epoch, one each time that it is run. The first compiles, and is what the first run is."""
    trainer = make(task)
    start = time.perf_counter()
    first = [trainer.epoch()]
    seconds = time.perf_counter() - start

    def results(losses: Any) -> list[np.ndarray]:
        return summary(task, trainer.losses(losses), trainer.params())

    return Contestant(lambda: first.pop() if first else trainer.epoch(), results, None, seconds)


def whole_run(make: Callable[[Task], Trainer], task: Task, goal: float) -> Contestant:
    """From the first parameters through all epochs of `task.orders` to an evaluation on `task.test`, anew in each run.

    A run in which less than `goal` of `task.test` is right fails. What must be compiled is compiled before, by an epoch
    that a run must not notice. Runs are compared by the losses of their first epoch, and the mean of those, which would
    show it; the share that is right comes third.
    """
    trainer = make(task)
    restart, evaluate = trainer.restart, trainer.accuracy
    assert restart is not None, "this one only goes on"
    assert evaluate is not None, "this one is not evaluated"
    start = time.perf_counter()
    trainer.epoch()
    evaluate()
    seconds = time.perf_counter() - start

    def run() -> Any:
        restart()
        losses = [trainer.epoch() for _ in task.orders]
        accuracy = evaluate()
        assert accuracy >= goal, f"{100 * accuracy:.2f} % are right after {len(losses)} epochs, not {100 * goal:.0f} %"
        return losses[0], accuracy

    def results(found: Any) -> list[np.ndarray]:
        losses, accuracy = found
        return [*summary(task, trainer.losses(losses), None)[:2], np.array(accuracy)]

    return Contestant(run, results, None, seconds)


def ours(task: Task) -> Trainer:
    """dlcore: `train.make_epoch`, `train.evaluate`; under `jax.vmap` where there are members."""
    model = task.network.model
    epoch = train.make_epoch(make_step(task), batch_size=task.batch)
    if task.members is not None:
        epoch = jax.jit(jax.vmap(epoch, in_axes=(0, None)), donate_argnums=0)
    data, test = jax.device_put(((task.inputs, task.labels), task.test))
    state: train.TrainState = jax.tree.map(jnp.array, task.states)

    def restart() -> None:
        nonlocal state
        state = jax.tree.map(jnp.array, task.states)

    def run() -> Any:
        nonlocal state
        state, metrics = jax.block_until_ready(epoch(state, data))
        return metrics["loss"]

    def accuracy() -> float:
        metrics = {"accuracy": train.accuracy}
        size = len(test[1])
        found = train.evaluate(model, state.params, state.model_state, test, metrics=metrics, batch_size=size)
        return float(found["accuracy"])

    return Trainer(run, lambda: found_in(state.params, task.start), np.asarray, restart, accuracy)


def looped(make: Callable[[Task], Learner], task: Task) -> Trainer:
    """A compiled step in a Python loop, with the data on the device."""
    peer = make(task)
    data = _data(peer, task.inputs, task.labels)
    first = peer.begin(task.start)
    carry, order = _copied(first), orders(task)

    def advance(data: Any, carry: Any, rows: Any) -> Any:
        return peer.step(carry, *_batch(data, rows))

    advance = peer.jit(advance)

    def restart() -> None:
        nonlocal carry, order
        carry, order = _copied(first), orders(task)

    def run() -> Any:
        nonlocal carry
        losses = []
        for rows in order():
            carry, loss = advance(data, carry, rows)
            losses.append(loss)
        return jax.block_until_ready((carry, losses))[1]

    return Trainer(run, lambda: peer.params(carry), np.asarray, restart, _accuracy(peer, task, lambda: carry))


def scanned(make: Callable[[Task], Learner], task: Task, *, vmapped: bool = False) -> Trainer:
    """dlcore's trick for a peer: one compiled scan over the steps, its carry given away.

    Members are trained one after another, or all at once if `vmapped`.
    """
    peer = make(task)
    data = _data(peer, task.inputs, task.labels)

    def epoch(data: Any, carry: Any, order: Any) -> Any:
        return lax.scan(lambda carry, rows: peer.step(carry, *_batch(data, rows)), carry, order)

    first = [peer.begin(start) for start in starts(task)]
    if vmapped:
        first = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)]
    compiled = jax.jit(jax.vmap(epoch, in_axes=(None, 0, 0)) if vmapped else epoch, donate_argnums=1)
    carries, order = _copied(first), orders(task)

    def restart() -> None:
        nonlocal carries, order
        carries, order = _copied(first), orders(task)

    def run() -> Any:
        losses = []
        drawn = order()
        for k, rows in enumerate([drawn] if vmapped or task.members is None else drawn):
            carries[k], loss = compiled(data, carries[k], rows)
            losses.append(loss)
        return jax.block_until_ready((carries, losses))[1]

    def params() -> Params | None:
        if task.members is None:
            return peer.params(carries[0])
        own = [jax.tree.map(lambda leaf, k=k: leaf[k], carries[0]) for k in range(task.members)] if vmapped else carries
        return jax.tree.map(lambda *leaves: np.stack(leaves), *map(peer.params, own))

    def losses(found: Any) -> np.ndarray:
        return np.stack(found) if task.members is not None and not vmapped else np.asarray(found[0])

    return Trainer(run, params, losses, restart, _accuracy(peer, task, lambda: carries[0]))


def _accuracy(peer: Learner, task: Task, carry: Callable[[], Any]) -> Callable[[], float]:
    test = None if task.test is None else _data(peer, *task.test)

    @peer.keep
    def share(carry: Any, test: Any) -> Any:
        inputs, labels = test
        return (peer.logits(carry, inputs).argmax(-1) == labels).mean()

    return lambda: float(share(carry(), test))


def _copied(tree: Any) -> Any:
    """With buffers of its own to give away."""
    return jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, jax.Array) else leaf, tree)


def _data(peer: Learner, inputs: np.ndarray, labels: np.ndarray) -> Any:
    return jax.device_put((inputs if peer.turn is None else np.ascontiguousarray(inputs.transpose(peer.turn)), labels))


def _batch(data: Any, rows: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)


def learner(
    task: Task, begin: Callable[[Params], Any], apply: Callable[..., Any], params: Callable[[Any], Params | None]
) -> Learner:
    """Of `apply(weights, state, x, key) -> (logits, state)`; `begin` gives weights and state."""
    optimizer = adam(task.rate, task.decay)
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

    def logits(carry: Any, inputs: Any) -> Any:
        weights, state, _, number = carry
        return apply(weights, state, inputs, jax.random.fold_in(key, number))[0]

    return Learner(carry, step, logits, lambda carry: params(carry[0]))


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
