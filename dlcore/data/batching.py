"""Which examples go into which batch: index arrays, pure functions of a key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._random import permutation
from dlcore._typing import Array, ArrayLike, Key

__all__ = ["balanced_batches", "batches"]


def batches(key: Key, count: int, *, batch_size: int) -> Array:
    """The batches of one epoch: each example at most once, in random order.

        rows = π[0 : ⌊N / B⌋ B] as (⌊N / B⌋, B),   π a uniformly random permutation of 0, …, N − 1

    Args:
      key: a typed PRNG key, a fresh one for each epoch.
      count: N, the number of examples.
      batch_size: B. The N mod B examples that fill no batch are left out, others in every epoch.

    Returns:
      rows: (N // B, B) int32. `inputs[rows[i]]` is batch i; `lax.scan` over `rows` is an epoch.

    Raises:
      ValueError: if `key` is None, `count` is below 1, or `batch_size` below 1 or above `count`.
      TypeError: if `key` is raw, or a number is not whole.

    Example:
      >>> import jax
      >>> from dlcore import data
      >>> data.batches(jax.random.key(0), 10, batch_size=4).shape
      (2, 4)
    """
    name = "data.batches"
    key = _checks.key(name, key)
    n = _checks.integer(name, "count", count, low=1)
    size = _checks.integer(name, "batch_size", batch_size, low=1)
    if size > n:
        raise _checks.value_error(
            name, "batch_size", size, f"at most the number of examples, {n}", "Lower it, or add data."
        )
    return permutation(key, n)[: n // size * size].reshape(-1, size)


def balanced_batches(
    key: Key, labels: ArrayLike, *, batch_size: int, classes: int | None = None, steps: int | None = None
) -> Array:
    """Batches in which every class comes equally often, however rare it is in the data.

        rows[i, j] ~ Uniform{n : labels[n] = j mod K}

    Each class's examples are drawn as cards are dealt: a random order to the end, then a fresh one. So a class of n_k
    examples that is drawn T times has each of them ⌊T / n_k⌋ or ⌈T / n_k⌉ times: where T < n_k, that is a random
    subsample without replacement, as of the negatives; where T > n_k, the rare class is repeated evenly.

    **What it changes.** A classifier trained on such batches learns the probabilities of a world in which all classes
    are equally frequent. By Bayes' rule its logits are those of the data, z_k, less the logarithm of the class's
    share n_k / N, which the sampling took out. With few positives and a great many negatives, of which a share r is
    shown for each positive, the logit of a positive is too high by −log r: for balanced labels, by
    log(n_negative / n_positive). What separates the classes, the slopes, is learned as before; every probability, and
    any threshold on it, is off. Three mends:

    - after training, add log(n_k / N) to the logit of class k (to one binary logit, log r = log(n_1 / n_0));
    - in training, hand z_k − log(n_k / N) to the loss instead of z_k: then z_k itself is the logit of the data, and
      nothing is left to correct. That is what `nn.sampled_softmax_loss` does with sampled classes: from the logit of a
      negative it takes the logarithm of the rate at which the sampling shows it;
    - weight each example by K n_k / N: then the loss and its gradient are unbiased for those of the data. But the
      weights bring back the variance that balancing took away.

    Args:
      key: a typed PRNG key, a fresh one for each epoch.
      labels: (N,) integers in [0, K); an example with another label is never drawn.
      batch_size: B, a multiple of K: each batch has B / K examples of each class, and entry j of it is of class
        j mod K, so that parts of a batch on several devices are balanced, too.
      classes: K; by default one more than the largest label, which must then not be traced.
      steps: how many batches; by default N // B, an ordinary epoch's, but at least one. K n_k // B with the n_k of
        the rarest class shows each of its examples once, and as many of every other class.

    Returns:
      rows: (steps, B) int32, where `inputs[rows[i]]` is batch i. A class without examples raises if the labels are
      known; if they are traced, its entries are N, for which `jnp.take` gives NaN.

    Raises:
      ValueError: if `key` is None, `labels` are not of rank 1, a class has no example, or `batch_size` is no
        multiple of K.
      TypeError: if `key` is raw, `labels` are not integers, or they are traced without `classes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import data
      >>> labels = jnp.zeros(1000, int).at[:10].set(1)
      >>> rows = data.balanced_batches(jax.random.key(0), labels, batch_size=4, steps=5)
      >>> labels[rows[0]], jnp.unique(rows[:, 1::2]).size
      (Array([0, 1, 0, 1], dtype=int32), 10)
      >>> correction = jnp.log(jnp.bincount(labels) / labels.size)  # added to the logits after training
      >>> correction.round(2)
      Array([-0.01, -4.61], dtype=float32)

    Source: Prentice & Pyke 1979, "Logistic disease incidence models and case-control studies"; King & Zeng 2001,
    "Logistic regression in rare events data", section 4.
    """
    name = "data.balanced_batches"
    key = _checks.key(name, key)
    y = _checks.integers(name, "labels", labels, "Class labels are numbers in [0, classes).")
    if y.ndim != 1 or not y.size:
        raise _checks.value_error(
            name, "labels", _checks.describe(y), "one label for each of at least one example", "Shape: (examples,)."
        )
    size = _checks.integer(name, "batch_size", batch_size, low=1)
    k = _classes(name, y, classes)
    if size % k:
        raise _checks.value_error(
            name, "batch_size", size, f"a multiple of the number of classes, {k}", f"For example {(size // k + 1) * k}."
        )
    number = max(len(y) // size, 1) if steps is None else _checks.integer(name, "steps", steps, low=1)
    order_key, turn_key = jax.random.split(key)

    order = jnp.lexsort((jax.random.bits(order_key, y.shape, jnp.uint32), y)).astype(jnp.int32)
    bounds = jnp.searchsorted(y[order], jnp.arange(k + 1, dtype=y.dtype)).astype(jnp.int32)
    starts, counts = bounds[:-1, None], jnp.diff(bounds)[:, None]
    turns = number * (size // k)
    # Turn t of a class shows its example t mod n_k; turns change places within each round of n_k.
    rounds = jnp.arange(turns, dtype=jnp.int32)[None, :] // jnp.maximum(counts, 1)
    shuffled = jnp.lexsort((jax.random.bits(turn_key, (k, turns), jnp.uint32), rounds), axis=-1).astype(jnp.int32)
    places = starts + shuffled % jnp.maximum(counts, 1)
    rows = jnp.where(counts > 0, jnp.take(order, places, mode="clip"), len(y)).astype(jnp.int32)
    return rows.reshape(k, number, -1).transpose(1, 2, 0).reshape(number, size)


def _classes(name: str, labels: Array, classes: int | None) -> int:
    """K: as given, or one more than the largest label; where labels are known, every class has an example."""
    known = None if isinstance(labels, jax.core.Tracer) else np.asarray(labels)
    if classes is None:
        if known is None:
            raise _checks.type_error(
                name, "classes", "None", "the number of classes, as the labels are traced", "Pass it as a Python int."
            )
        k = max(int(known.max()) + 1, 1)
    else:
        k = _checks.integer(name, "classes", classes, low=1)
    if known is not None:
        missing = sorted(set(range(k)) - set(known.tolist()))
        if missing:
            raise _checks.value_error(
                name, "labels", f"labels without class {missing[0]}", f"an example of each of {k} classes",
                "Number the classes that there are from 0, or say how many there are with `classes`.",
            )  # fmt: skip
    return k
