"""Losses on many predictions, and the linear layer fused with its loss. One loss an example comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.rows._peers import draw, flax, keras, lazily, torch_ways
from benchmarks.suite.jax_side import layer
from benchmarks.suite.row import DLCORE, Arrays, Enter, Floor, Row
from dlcore import losses

LOGITS = {"full": ((4096, 10), (1024, 8192)), "quick": ((5, 7),)}
HEADS = {"full": ((1024, 256, 32_000), (256, 128, 4_001), (2048, 512, 8_192)), "quick": ((9, 4, 11),)}
ELEMENTS = {"full": (1024, 1024), "quick": (5, 9)}


def rows(size: str) -> list[Row]:
    return [
        *(logits_case(*shape) for shape in LOGITS[size]), *(head_case(*shape) for shape in HEADS[size]),
        binary_case(ELEMENTS[size]), huber_case(ELEMENTS[size]),
    ]  # fmt: skip


def _labels(count: int, classes: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, classes, count).astype(np.int32)


def logits_case(examples: int, classes: int) -> Row:
    def ks() -> Enter:
        loss = keras().losses.sparse_categorical_crossentropy
        return layer(lambda z, labels: loss(labels, z, from_logits=True), arrays)

    def torch(t: Any) -> Any:
        return lambda z, labels: t.nn.functional.cross_entropy(z, labels.long(), reduction="none")

    arrays = (draw(examples, classes), _labels(examples, classes))
    # Read forward, read and written backward.
    row = _row("softmax cross-entropy", arrays, "softmax_cross_entropy_with_integer_labels", torch,
               losses.softmax_cross_entropy, passes=3)  # fmt: skip
    return row._replace(enter={**row.enter, "Keras": lazily(ks)})


def head_case(examples: int, features: int, classes: int) -> Row:
    x, kernel = draw(examples, features), draw(features, classes, seed=1) / features**0.5
    arrays = (x, kernel.astype(np.float32), draw(classes, seed=2), _labels(examples, classes))

    def linen() -> Enter:
        import optax

        dense = flax().Dense(classes)

        def function(x: Any, kernel: Any, bias: Any, labels: Any) -> Any:
            z = dense.apply({"params": {"kernel": kernel, "bias": bias}}, x)
            return optax.softmax_cross_entropy_with_integer_labels(z, labels)

        return layer(function, arrays)

    def torch(t: Any) -> Any:
        def function(x: Any, kernel: Any, bias: Any, labels: Any) -> Any:
            return t.nn.functional.cross_entropy(x @ kernel + bias, labels.long(), reduction="none")

        return function

    def ours(x: Any, kernel: Any, bias: Any, labels: Any) -> Any:
        return losses.linear_softmax_cross_entropy({"kernel": kernel, "bias": bias}, x, labels)

    return Row(
        name="linear head and its cross-entropy",
        shape=f"{examples} × {features} × {classes}",
        enter={"Flax with Optax": lazily(linen), **torch_ways(torch, arrays), DLCORE: layer(ours, arrays)},
        floor=Floor(3 * x.nbytes + 3 * kernel.nbytes, 3 * 2.0 * examples * features * classes),
        bound="a product more than the plain form, in exchange for a fifth to a seventeenth of its memory",
    )


def binary_case(shape: tuple[int, ...]) -> Row:
    def torch(t: Any) -> Any:
        return lambda z, y: t.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")

    arrays = (3 * draw(*shape), (draw(*shape, seed=1) > 0).astype(np.float32))
    return _row("sigmoid cross-entropy", arrays, "sigmoid_binary_cross_entropy", torch, losses.binary_cross_entropy,
                passes=6)  # fmt: skip


def huber_case(shape: tuple[int, ...]) -> Row:
    def torch(t: Any) -> Any:
        return lambda y, target: t.nn.functional.huber_loss(y, target, reduction="none")

    arrays = (2 * draw(*shape), draw(*shape, seed=1))
    return _row("Huber loss", arrays, "huber_loss", torch, losses.huber, passes=7)


def _row(
    name: str, arrays: Arrays, theirs: str, torch: Callable[[Any], Any], ours: Callable[..., Any], *, passes: int
) -> Row:  # fmt: skip
    """Of predictions and targets, in which the first take gradients; `theirs` is the name in Optax."""

    def optax() -> Enter:
        import optax

        return layer(getattr(optax, theirs), arrays, slopes=1)

    return Row(
        name=name,
        shape=f"{arrays[0].shape}",
        enter={"Optax": lazily(optax), **torch_ways(torch, arrays, slopes=1), DLCORE: layer(ours, arrays, slopes=1)},
        floor=Floor(passes * arrays[0].nbytes),
    )
