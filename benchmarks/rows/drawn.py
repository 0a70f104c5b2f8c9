"""The race's layers at shapes drawn from a seed: is what is fast at the shapes of the table fast at others?

Sizes are uniform in the logarithm, from what fits a cache to some tens of milliseconds a call, odd numbers and primes
among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.rows import attention, convolution, dropout, losses, normalization, optimizers, pooling, recurrent
from benchmarks.suite.row import Row

__all__ = ["KINDS", "drawn"]

# Numbers in an array, and multiplications in a forward pass.
LEAST, MOST = 2_000, 3_000_000
WORK = 4e8


def drawn(count: int, seed: int, chosen: list[str]) -> Iterator[tuple[str, Row]]:
    """`count` rows of each kind; a kind's shapes do not depend on which others are chosen."""
    for number, (kind, make) in enumerate(KINDS.items()):
        random = np.random.default_rng((seed, number))
        for _ in range(count):
            row = make(random)
            if not chosen or any(word in kind or word in row.name for word in chosen):
                yield kind, row


def _size(random: np.random.Generator, low: float, high: float) -> int:
    return round(math.exp(random.uniform(math.log(low), math.log(high))))


def _shape(random: np.random.Generator, *, axes: int = 0, channels: int = 256, multiple: int = 1) -> tuple[int, ...]:
    """(B, *spatial, C), as many spatial axes as asked for, or one or two."""
    axes = axes or int(random.integers(1, 3))
    while True:
        places = [_size(random, 7, 64) for _ in range(axes)] if axes > 1 else [_size(random, 16, 2000)]
        shape = (_size(random, 1, 128), *places, multiple * _size(random, 1, channels / multiple))
        if LEAST <= math.prod(shape) <= MOST:
            return shape


def _matrix(random: np.random.Generator) -> tuple[int, int]:
    while True:
        shape = (_size(random, 16, 8192), _size(random, 8, 4096))
        if LEAST <= math.prod(shape) <= MOST:
            return shape


def _pool(kind: str) -> Callable[[np.random.Generator], Row]:
    def make(random: np.random.Generator) -> Row:
        window = int(random.integers(2, 6))
        return pooling.case(kind, _shape(random), window, int(random.integers(1, window + 1)))

    return make


def _dense(random: np.random.Generator) -> Row:
    return _convolution(random, lambda channels: 1)


def _grouped(random: np.random.Generator) -> Row:
    return _convolution(random, lambda channels: int(random.choice([g for g in (2, 3, 4, 8, 16) if channels % g == 0])),
                        multiple=24)  # fmt: skip


def _depthwise(random: np.random.Generator) -> Row:
    return _convolution(random, lambda channels: channels, depthwise=True)


def _convolution(
    random: np.random.Generator, groups: Callable[[int], int], *, multiple: int = 1, depthwise: bool = False
) -> Row:
    while True:
        shape, window = _shape(random, multiple=multiple), int(random.choice([1, 3, 3, 5, 7]))
        channels = shape[-1]
        if depthwise and channels == 1:
            continue
        parts = groups(channels)
        features = channels if depthwise else parts * _size(random, 1, 256 / parts)
        work = math.prod(shape) * window ** (len(shape) - 2) * features / parts
        if work <= WORK and min(shape[1:-1]) >= window:
            return convolution.case(shape, window, features, parts, int(random.choice([1, 1, 2])))


def _transposed(random: np.random.Generator) -> Row:
    while True:
        shape, window, features = _shape(random, channels=128), int(random.integers(2, 6)), _size(random, 1, 128)
        stride = int(random.integers(1, window + 1))
        outputs = math.prod(stride * size for size in shape[:-1]) * features
        if math.prod(shape) * window ** (len(shape) - 2) * features <= WORK and outputs <= MOST:
            return convolution.transposed_case(shape, window, features, stride)


def _attention(random: np.random.Generator) -> Row:
    while True:
        heads, features = int(random.integers(1, 13)), 8 * _size(random, 1, 16)
        shape = (_size(random, 1, 32), _size(random, 16, 1024), heads, features)
        if math.prod(shape) * shape[1] <= WORK and LEAST <= math.prod(shape) <= MOST:
            key_heads = int(random.choice([heads, *(h for h in range(1, heads) if heads % h == 0)]))
            return attention.case(bool(random.integers(2)), shape, shape[1], key_heads)


def _head(random: np.random.Generator) -> Row:
    while True:
        sizes = _size(random, 16, 4096), _size(random, 16, 512), _size(random, 100, 50_000)
        if math.prod(sizes) <= 4 * WORK:
            return losses.head_case(*sizes)


def _recurrent(case: Callable[[int, int, int, int], Row]) -> Callable[[np.random.Generator], Row]:
    def make(random: np.random.Generator) -> Row:
        while True:
            b, t, d, f = (_size(random, low, high) for low, high in ((1, 128), (8, 256), (1, 256), (4, 256)))
            if b * t * (d + f) * f <= WORK / 4:
                return case(b, t, d, f)

    return make


def _adam(random: np.random.Generator) -> Row:
    while True:
        layers, width = _size(random, 1, 60), _size(random, 8, 1024)
        if layers * width * width <= 2 * MOST:
            return optimizers.case(layers, width, f"{2 * layers} leaves")


KINDS: dict[str, Callable[[np.random.Generator], Row]] = {
    "max pool": _pool("max"),
    "avg pool": _pool("avg"),
    "dense": _dense,
    "grouped": _grouped,
    "depthwise": _depthwise,
    "transposed": _transposed,
    "dropout": lambda random: dropout.case(_shape(random), round(random.uniform(0.05, 0.9), 2)),
    "batch norm": lambda random: normalization.batch_norm_case(
        _shape(random, axes=2) if random.integers(2) else _matrix(random)
    ),
    "layer norm": lambda random: normalization.layer_norm_case(_matrix(random)),
    "RMS norm": lambda random: normalization.rms_norm_case(_matrix(random)),
    "group norm": lambda random: normalization.group_norm_case(
        _shape(random, axes=2, multiple=normalization.GROUPS)
    ),
    "attention": _attention,
    "softmax cross-entropy": lambda random: losses.logits_case(*_matrix(random)),
    "linear head": _head,
    "sigmoid cross-entropy": lambda random: losses.binary_case(_matrix(random)),
    "Huber": lambda random: losses.huber_case(_matrix(random)),
    "GRU": _recurrent(recurrent.gru_case),
    "LSTM": _recurrent(recurrent.lstm_case),
    "Adam": _adam,
}  # fmt: skip
