"""Networks as lists of layers, for every library to build, and what a training run of one is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import losses, models, train
from dlcore._random import permutation
from dlcore.train.epoch import SHUFFLE

__all__ = [
    "DIRECTIONS", "BiGRU", "Conv", "Dense", "Dropout", "Flatten", "Network", "Norm", "Params", "Pool", "Relu", "Task",
    "adam", "check_epoch", "digits", "flat", "found_in", "halves", "make_step", "make_task", "network", "orders",
    "starts", "summary", "waves",
]  # fmt: skip

# A layer's arrays by its name, in dlcore's layout; of both directions for BiGRU.
Params: TypeAlias = dict[str, Any]


class Dense(NamedTuple):
    """`spatial` is the shape of the axes that were flattened with the channels before it."""

    name: str
    inputs: int
    features: int
    spatial: tuple[int, ...] = ()


class Conv(NamedTuple):
    """`padding` on either side of each axis; None is SAME."""

    name: str
    inputs: int
    features: int
    window: tuple[int, ...]
    stride: int = 1
    padding: int | None = None
    bias: bool = True


class Norm(NamedTuple):
    """Batch normalisation with dlcore's defaults: running averages keep 0.9, ε is 1e-5."""

    name: str
    features: int


class BiGRU(NamedTuple):
    """Both directions over (batch, time, features); hands on both last states side by side."""

    name: str
    inputs: int
    features: int


# The keys of BiGRU's parameters.
DIRECTIONS = ("forward", "backward")


class Pool(NamedTuple):
    """Max pooling in windows that do not overlap."""

    window: tuple[int, ...]


class Dropout(NamedTuple):
    rate: float


class Relu(NamedTuple):
    pass


class Flatten(NamedTuple):
    pass


class Network(NamedTuple):
    """dlcore's own model, and the layers that it consists of."""

    model: models.Layer
    layers: tuple[Any, ...]


def network(kind: str, *, dropout: float = 0.0, widths: tuple[int, ...] = (128, 128, 10)) -> Network:
    """ "mlp", "convnet" and "lenet" (of 8 × 8 images), "conv1d" and "gru" (those of MNIST-1D)."""
    makers: dict[str, Callable[[], Network]] = {
        "mlp": partial(_mlp, widths), "convnet": partial(_convnet, dropout), "lenet": _lenet, "conv1d": _conv1d,
        "gru": _gru,
    }  # fmt: skip
    return makers[kind]()


def _mlp(widths: tuple[int, ...]) -> Network:
    names = [f"fc{index}" for index in range(1, len(widths))] + ["out"]
    layers: list[Any] = []
    for name, inputs, features in zip(names, (64, *widths), widths, strict=False):
        layers += [Dense(name, inputs, features), Relu()]
    return Network(models.mlp(widths), tuple(layers[:-1]))


def _convnet(dropout: float) -> Network:
    layers: list[Any] = []
    inputs = 1
    for block, width in enumerate((32, 64), 1):
        for index in (1, 2):
            layers += [Conv(f"conv{block}_{index}", inputs, width, (3, 3), bias=False)]
            layers += [Norm(f"norm{block}_{index}", width), Relu()]
            inputs = width
        layers += [Pool((2, 2))]
    layers += [Flatten(), *([Dropout(dropout)] if dropout else []), Dense("out", 2 * 2 * 64, 10, (2, 2))]
    return Network(models.convnet(10, dropout=dropout), tuple(layers))


def _lenet() -> Network:
    """Two convolutions and two dense layers, with nothing that does otherwise in evaluation than in training."""
    make = models.layers
    model = models.serial(
        conv1=make.conv(32, (3, 3)), act1=make.relu(), conv2=make.conv(32, (3, 3)), act2=make.relu(),
        pool=make.max_pool((2, 2)), flatten=make.flatten(), fc=make.dense(64), act3=make.relu(), out=make.dense(10),
    )  # fmt: skip
    convolutions = (Conv("conv1", 1, 32, (3, 3)), Relu(), Conv("conv2", 32, 32, (3, 3)), Relu())
    dense = (Dense("fc", 4 * 4 * 32, 64, (4, 4)), Relu(), Dense("out", 64, 10))
    return Network(model, (*convolutions, Pool((2, 2)), Flatten(), *dense))


def _conv1d() -> Network:
    layers: list[Any] = []
    chain: dict[str, models.Layer] = {}
    inputs = 1
    for index, window in enumerate((5, 3, 3), 1):
        layers += [Conv(f"conv{index}", inputs, 25, (window,), 2, 1), Relu()]
        chain[f"conv{index}"] = models.layers.conv(25, window, strides=2, padding=[(1, 1)])
        chain[f"act{index}"] = models.layers.relu()
        inputs = 25
    layers += [Flatten(), Dense("out", 5 * 25, 10, (5,))]
    return Network(models.serial(**chain, flatten=models.layers.flatten(), out=models.layers.dense(10)), tuple(layers))


def _gru() -> Network:
    model = models.gru_classifier(10, features=(6,), bidirectional=True)
    return Network(model, (BiGRU("gru1", 1, 6), Dense("out", 12, 10)))


class Task(NamedTuple):
    """One training run: a network, what it begins with, data, and in which order they are seen.

    Attributes:
      network: see `Network`.
      inputs: (N, …), channels last.
      labels: (N,) int32.
      batch: examples a step.
      rate: Adam's learning rate.
      decay: the steps in which it falls to 0, evenly; None is never.
      states: dlcore's state before the first step; with a leading axis where there are `members`.
      start: the parameters of it, layers without any left out.
      orders: (epochs, steps, batch), or (epochs, members, steps, batch): the examples of each step in dlcore's first
        epochs.
      members: how many networks are trained, each from its own seed; None is one, without an axis for it.
      test: inputs and labels to evaluate on, if that is done.
    """

    network: Network
    inputs: np.ndarray
    labels: np.ndarray
    batch: int
    rate: float
    decay: int | None
    states: train.TrainState
    start: Params
    orders: np.ndarray
    members: int | None
    test: tuple[np.ndarray, np.ndarray] | None


def orders(task: Task) -> Callable[[], np.ndarray]:
    """The order of the examples, epoch by epoch: the task's, then drawn anew, as dlcore's epoch does inside."""
    random = np.random.default_rng(0)
    known = iter(task.orders)

    def order() -> np.ndarray:
        following = next(known, None)
        if following is not None:
            return following
        every = np.arange(len(task.labels), dtype=np.int32)
        shape = task.orders.shape[1:]
        drawn = [random.permutation(every) for _ in range(task.members or 1)]
        return np.stack(drawn)[:, : shape[-2] * shape[-1]].reshape(shape)

    return order


def starts(task: Task) -> list[Params]:
    """The first parameters of each member."""
    if task.members is None:
        return [task.start]
    return [jax.tree.map(lambda leaf, k=k: leaf[k], task.start) for k in range(task.members)]


def adam(rate: float, decay: int | None) -> optax.GradientTransformation:
    """As `Task` describes it."""
    return optax.adam(rate if decay is None else optax.linear_schedule(rate, 0.0, decay))


def make_step(task: Task) -> Any:
    """dlcore's step."""
    return train.make_step(task.network.model, losses.softmax_cross_entropy, adam(task.rate, task.decay))


def make_task(
    net: Network, data: tuple[np.ndarray, np.ndarray], *, batch: int, rate: float, members: int | None = None,
    test: tuple[np.ndarray, np.ndarray] | None = None, epochs: int | None = None,
) -> Task:  # fmt: skip
    """With dlcore's own order of the examples in the first epoch, which the others are given.

    Or in as many `epochs`, and then the learning rate falls to 0 in them.
    """
    inputs, labels = data
    n, steps, known = len(labels), len(labels) // batch, epochs or 1
    decay = None if epochs is None else epochs * steps

    def begin(key: Any) -> tuple[train.TrainState, Any]:
        state = train.make_state(key, net.model, adam(rate, decay), jnp.asarray(inputs[:batch]))
        # As `train.make_epoch` draws it.
        shuffle = jax.random.fold_in(state.key, SHUFFLE)
        drawn = [permutation(jax.random.fold_in(shuffle, state.step + epoch * steps), n) for epoch in range(known)]
        return state, jnp.stack(drawn)[:, : steps * batch].reshape(known, steps, batch)

    key = jax.random.key(0)
    states, order = begin(key) if members is None else jax.vmap(begin, out_axes=(0, 1))(jax.random.split(key, members))
    start = jax.tree.map(np.array, {name: leaves for name, leaves in states.params.items() if leaves})
    # As NumPy arrays but for the key: each contestant that starts from it gets buffers of its own to give away.
    states = states._replace(**{
        name: jax.tree.map(np.array, getattr(states, name))
        for name in ("params", "model_state", "opt_state", "step")
    })  # fmt: skip
    return Task(net, inputs, labels, batch, rate, decay, states, start, np.array(order, np.int32), members, test)


def flat(params: Params, *, members: bool = False) -> np.ndarray:
    """All numbers of a tree with the layers and leaves of `Task.start`, as one vector (a member)."""
    shape = (len(jax.tree.leaves(params)[0]), -1) if members else (-1,)
    return np.concatenate([np.asarray(leaf, np.float64).reshape(shape) for leaf in jax.tree.leaves(params)], axis=-1)


def found_in(params: Any, start: Params) -> Params:
    """The layers of `start` in dlcore's parameters."""
    return {name: params[name] for name in start}


def summary(task: Task, losses: Any, params: Params | None) -> list[np.ndarray]:
    """What contestants are compared by: the loss of each step, its mean, and the parameters after the last.

    Losses are one number where only their mean is told; parameters are empty where the library's are others.
    """
    series = np.asarray(losses, np.float64)
    end = np.zeros(0) if params is None else flat(params, members=task.members is not None)
    return [series, series.mean(-1), end]


def check_epoch(
    task: Callable[[], Task], *, early: float = 1e-2, mean: float = 0.02, way: float = 0.02
) -> Callable[[list[np.ndarray], list[np.ndarray]], None]:
    """Compares two training runs from one beginning and with one order of examples.

    Rounding differs, and training magnifies it: a tight bound on all of it would hold for no two libraries.

    Args:
      task: what was trained.
      early: relative difference of the first ten losses.
      mean: relative difference of the mean loss of the run.
      way: distance of the parameters at the end, as a share of the way that they went.
    """

    def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
        for (a, b), what, bound in (
            ((found[0][..., :10], expected[0][..., :10]), "a loss of the first ten steps", early),
            ((found[1], expected[1]), "the mean loss", mean),
        ):
            if a.shape == b.shape and a.size:
                far = float(np.abs(a / b - 1).max())
                assert far <= bound, f"{what} is {far:.1e} away, not {bound:.0e}"
        if found[2].size and expected[2].size:
            start = flat(task().start, members=task().members is not None)
            far = np.linalg.norm(found[2] - expected[2], axis=-1) / np.linalg.norm(expected[2] - start, axis=-1)
            assert far.max() <= way, f"the parameters are {far.max():.1e} of their way apart, not {way:.0e}"
        assert np.isfinite(found[1]).all(), "the loss is not finite"

    return check


def waves(n: int, length: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Ten curves, shifted and with noise: data of the shape of MNIST-1D's, (n, length, 1)."""
    random = np.random.default_rng(0)
    curves = np.cumsum(random.standard_normal((10, length)), axis=1)
    curves = (curves - curves.mean(1, keepdims=True)) / curves.std(1, keepdims=True)
    labels = random.integers(10, size=n).astype(np.int32)
    shifts = random.integers(-4, 5, size=n)
    places = (np.arange(length) + shifts[:, None]) % length
    x = np.take_along_axis(curves[labels], places, axis=1) + 0.3 * random.standard_normal((n, length))
    return x[..., None].astype(np.float32), labels


def digits(n: int | None = None, *, image: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Of scikit-learn's 1,797 digits the first `n`; as vectors, or as images (n, 8, 8, 1)."""
    from dlcore import data

    parts = data.load("digits")
    x, y = (np.concatenate(both)[:n] for both in zip(parts.train, parts.test, strict=True))
    return (x if image else x.reshape(len(x), -1)), y


def halves(n: int | None = None) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The first half of the digits, each in its place and in the eight places a pixel from it, and the second half.

    As images (N, 8, 8, 1), of `n` digits of each half.
    """
    from dlcore import data

    parts = data.load("digits")
    (x, y), (x_test, y_test) = ((x[:n], y[:n]) for x, y in (parts.train, parts.test))
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    moved = [wide[:, row : row + height, column : column + width] for row in range(3) for column in range(3)]
    return (np.concatenate(moved), np.tile(y, len(moved))), (x_test, y_test)
