"""What `dlcore train` can be asked for, and what it makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import optax

from dlcore import data, losses, models, penalties, train
from dlcore.app.errors import UsageError
from dlcore.data.sets import NAMES
from dlcore.models import Layer

__all__ = ["MODELS", "OPTIMIZERS", "SCHEDULES", "TrainConfig", "make_model", "make_optimizer", "make_training_step"]

MODELS = ("convnet", "mlp")
SCHEDULES = ("cosine", "constant")
OPTIMIZERS: dict[str, Any] = {
    "adam": optax.adam,
    "adamw": optax.adamw,
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "nesterov": partial(optax.sgd, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop,
    "adagrad": optax.adagrad,
    "lion": optax.lion,
}
DEFAULT_LAYERS = {"convnet": (32, 64), "mlp": (128, 128)}


@dataclass(frozen=True)
class TrainConfig:
    """One run, whole: the same configuration on the same machine gives the same parameters, bit for bit."""

    model: str = "convnet"
    data: str = "digits"
    layers: tuple[int, ...] = ()
    epochs: int = 40
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    dropout: float = 0.5
    input_dropout: float = 0.0
    l2: float = 1e-4
    shift: int = 1
    seed: int = 0

    def check(self) -> TrainConfig:
        """Returns itself with defaults filled in, or raises `UsageError` in the terms of the command line."""
        _one_of("--model", self.model, MODELS)
        _one_of("--data", self.data, tuple(NAMES))
        _one_of("--optimizer", self.optimizer, tuple(OPTIMIZERS))
        _one_of("--schedule", self.schedule, SCHEDULES)
        for option, value, low in (
            ("--epochs", self.epochs, 1),
            ("--batch-size", self.batch_size, 1),
            ("--shift", self.shift, 0),
            ("--seed", self.seed, 0),
            *(("--layers", width, 1) for width in self.layers),
        ):
            if not low <= value < 2**31:
                raise UsageError(f"{option} {value}: a whole number from {low} to {2**31 - 1} is expected.")
        for option, rate in (("--dropout", self.dropout), ("--input-dropout", self.input_dropout)):
            if not 0 <= rate <= 1:
                raise UsageError(f"{option} {rate}: a probability in [0, 1] is expected, that of dropping a value.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"--learning-rate {self.learning_rate}: a number above 0 is expected, 0.002 for example.")
        if not (math.isfinite(self.l2) and self.l2 >= 0):
            raise UsageError(f"--l2 {self.l2}: a number of at least 0 is expected, 1e-4 for example.")
        return self if self.layers else TrainConfig(**{**self.__dict__, "layers": DEFAULT_LAYERS[self.model]})


def make_model(config: TrainConfig, dataset: data.DataSet) -> Layer:
    """The model that the configuration names, for these data."""
    classes = len(dataset.classes)
    if config.model == "mlp":
        return models.mlp((*config.layers, classes), dropout=config.dropout, input_dropout=config.input_dropout)
    if not dataset.image:
        raise UsageError(f"--model convnet wants images, and --data {dataset.name} is a table: use --model mlp.")
    smallest = min(dataset.train[0].shape[1:3])
    if 2 ** (len(config.layers) - 1) >= smallest:
        raise UsageError(
            f"--layers {','.join(map(str, config.layers))}: every entry halves the images of {smallest} × {smallest} "
            f"pixels; at most {math.ceil(math.log2(smallest))} are expected."
        )
    return models.convnet(classes, channels=config.layers, dropout=config.dropout, input_dropout=config.input_dropout)


def make_optimizer(config: TrainConfig, examples: int) -> optax.GradientTransformation:
    """The optimizer, with its learning rate's schedule over the whole run."""
    if config.batch_size > examples:
        raise UsageError(
            f"--batch-size {config.batch_size}: there are {examples} training examples; take at most so many."
        )
    steps = examples // config.batch_size * config.epochs
    schedule = (
        optax.cosine_decay_schedule(config.learning_rate, steps)
        if config.schedule == "cosine"
        else config.learning_rate
    )
    return OPTIMIZERS[config.optimizer](schedule)


def make_training_step(config: TrainConfig, model: Layer, optimizer: optax.GradientTransformation) -> Any:
    """Cross-entropy, with L2 on the kernels where asked for."""
    return train.make_step(
        model,
        losses.softmax_cross_entropy,
        optimizer,
        penalty=penalties.l2(config.l2) if config.l2 else None,
    )


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{option} {value}: one of {', '.join(choices)} is expected.")
