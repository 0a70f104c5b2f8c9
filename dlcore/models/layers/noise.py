"""The dropout family, lifted: random while training, the identity otherwise. Training without a key raises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dlcore import _checks, nn
from dlcore.models.layer import Layer
from dlcore.models.layers._lifting import random

__all__ = ["alpha_dropout", "drop_path", "dropout", "gaussian_dropout"]


def dropout(*, rate: float, broadcast_axes: Sequence[int] = ()) -> Layer:
    """The layer of `nn.dropout`.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import models
      >>> models.dropout(rate=0.5).apply({}, (), jnp.ones(3), key=None, train=False)[0]
      Array([1., 1., 1.], dtype=float32)
    """
    _checks.fraction("models.dropout", "rate", rate)
    return random("models.dropout", partial(nn.dropout, rate=rate, broadcast_axes=broadcast_axes))


def gaussian_dropout(*, rate: float) -> Layer:
    """The layer of `nn.gaussian_dropout`."""
    _checks.fraction("models.gaussian_dropout", "rate", rate)
    return random("models.gaussian_dropout", partial(nn.gaussian_dropout, rate=rate))


def alpha_dropout(*, rate: float, broadcast_axes: Sequence[int] = ()) -> Layer:
    """The layer of `nn.alpha_dropout`, which goes with `selu`."""
    _checks.fraction("models.alpha_dropout", "rate", rate)
    return random("models.alpha_dropout", partial(nn.alpha_dropout, rate=rate, broadcast_axes=broadcast_axes))


def drop_path(*, rate: float) -> Layer:
    """The layer of `nn.drop_path`; put it last in the body of a `residual`."""
    _checks.fraction("models.drop_path", "rate", rate)
    return random("models.drop_path", partial(nn.drop_path, rate=rate))
