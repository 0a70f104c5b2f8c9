"""Means over a whole data set, exactly, whatever its size."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import _checks, losses
from dlcore._typing import Array, ArrayLike, PyTree
from dlcore.models.layer import Layer
from dlcore.train.epoch import examples
from dlcore.train.state import check_model
from dlcore.train.step import Metric, check_metrics

__all__ = ["accuracy", "evaluate", "predict"]


def accuracy(predictions: ArrayLike, targets: ArrayLike) -> Array:
    """Whether the largest logit is the label's: 1 or 0 for each example. Its mean is the accuracy.

        a_i = [argmax_k ŷ_ik = y_i]

    Args:
      predictions: ŷ, (*batch, K) logits or probabilities; the first of equal maxima counts.
      targets: y, (*batch,) integers.

    Returns:
      (*batch,) in float32.

    Raises:
      ValueError: if the shapes do not fit.
      TypeError: if `targets` are not integers.

    Gradient: zero; this is no loss.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import train
      >>> train.accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
      Array([1., 0.], dtype=float32)
    """
    scores = _checks.floating("train.accuracy", "predictions", predictions)
    if scores.ndim == 0:
        raise _checks.value_error(
            "train.accuracy", "predictions", _checks.describe(scores), "(*batch, K)", "Classes come last."
        )
    labels = _checks.labels("train.accuracy", "targets", targets, scores.shape[:-1], "predictions")
    return (jnp.argmax(scores, axis=-1).astype(labels.dtype) == labels).astype(jnp.float32)


def evaluate(
    model: Layer,
    params: PyTree,
    model_state: PyTree,
    data: Any,
    *,
    metrics: Mapping[str, Metric],
    batch_size: int = 256,
) -> dict[str, Array]:
    """Means of metrics over a data set, with the model's evaluation behaviour.

        M = (1 / N) Σ_i m(f_θ(x_i), y_i)

    Args:
      model: f.
      params: its parameters.
      model_state: its state; it is read, not changed.
      data: (inputs, targets), arrays or pytrees of arrays with N examples first.
      metrics: what to average, by name, `(predictions, targets) -> values`.
      batch_size: how many examples go through the model at once. The result does not depend on it: the last batch is
        filled up, and what fills it counts nothing.

    Returns:
      Scalars by name. Compiled once for each model, set of metrics and shape of data.

    Raises:
      ValueError: if the data are empty, or their lengths differ.
      TypeError: if `model` is no `Layer`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models, train
      >>> params, state = models.dense(2).init(jax.random.key(0), jnp.ones((1, 3)))
      >>> data = jnp.ones((5, 3)), jnp.zeros(5, int)
      >>> sorted(train.evaluate(models.dense(2), params, state, data, metrics={"accuracy": train.accuracy}))
      ['accuracy']
    """
    name = "train.evaluate"
    check_model(name, model)
    n = examples(name, data)
    size = min(_checks.integer(name, "batch_size", batch_size, low=1), n)
    return _evaluate(model, tuple(check_metrics(name, metrics).items()), size, params, model_state, data)


def predict(model: Layer, params: PyTree, model_state: PyTree, inputs: Any, *, batch_size: int = 256) -> Array:
    """The model's outputs for many inputs, `batch_size` at a time, with its evaluation behaviour.

    Args:
      model: the model.
      params: its parameters.
      model_state: its state; it is read, not changed.
      inputs: an array with N examples first.
      batch_size: how many go through the model at once.

    Returns:
      (N, …) outputs.

    Raises:
      ValueError: if there are no inputs.
      TypeError: if `model` is no `Layer`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models, train
      >>> params, state = models.dense(2).init(jax.random.key(0), jnp.ones((1, 3)))
      >>> train.predict(models.dense(2), params, state, jnp.ones((5, 3)), batch_size=2).shape
      (5, 2)
    """
    name = "train.predict"
    check_model(name, model)
    lengths = {leaf.shape[0] if getattr(leaf, "ndim", 0) else 0 for leaf in jax.tree.leaves(inputs)}
    if len(lengths) != 1 or 0 in lengths:
        raise _checks.value_error(
            name, "inputs", _checks.describe(inputs), "arrays of N ≥ 1 examples", "Examples come first; one is x[None]."
        )
    n = lengths.pop()
    return _predict(model, min(_checks.integer(name, "batch_size", batch_size, low=1), n), params, model_state, inputs)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _evaluate(
    model: Layer, metrics: tuple[tuple[str, Metric], ...], size: int, params: PyTree, model_state: PyTree, data: Any
) -> dict[str, Array]:
    def measure(batch: Any, real: Array) -> dict[str, tuple[Array, Array]]:
        inputs, targets = batch
        predictions, _ = model.apply(params, model_state, inputs, key=None, train=False)
        sums = {}
        for label, metric in metrics:
            values = jnp.asarray(metric(predictions, targets))
            if values.ndim == 0 or values.shape[0] != size:
                raise _checks.value_error(
                    "train.evaluate",
                    "metrics",
                    f"{label!r}, with {_checks.describe(values)}",
                    "one value an example or more",
                    "Leave the mean to evaluate.",
                )
            if not jnp.issubdtype(values.dtype, jnp.floating):
                raise _checks.type_error(
                    "train.evaluate",
                    "metrics",
                    f"{label!r}, which gives {_checks.describe(values)}",
                    "floating numbers",
                    "Cast them: values.astype(jax.numpy.float32).",
                )
            counted = jnp.broadcast_to(real.reshape((-1,) + (1,) * (values.ndim - 1)), values.shape)
            sums[label] = losses.sum_and_weight(values, where=counted)
        return sums

    totals = jax.tree.map(lambda leaf: leaf.sum(), _by_batches(size, data, measure))
    return {label: total / weight for label, (total, weight) in totals.items()}


@partial(jax.jit, static_argnums=(0, 1))
def _predict(model: Layer, size: int, params: PyTree, model_state: PyTree, inputs: Any) -> Array:
    n = jax.tree.leaves(inputs)[0].shape[0]
    outputs = _by_batches(
        size, inputs, lambda batch, real: model.apply(params, model_state, batch, key=None, train=False)[0]
    )
    return jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[2:]))[:n], outputs)


def _by_batches(size: int, data: Any, function: Any) -> Any:
    """`function(batch, real)` for every batch; the last is filled up with copies of the last example, `real` False."""
    n = jax.tree.leaves(data)[0].shape[0]
    rows = jnp.arange(-(-n // size) * size).reshape(-1, size)

    def one(rows: Array) -> Any:
        batch = jax.tree.map(lambda leaf: jnp.take(jnp.asarray(leaf), rows, axis=0, mode="clip"), data)
        return function(batch, rows < n)

    return lax.map(one, rows)
