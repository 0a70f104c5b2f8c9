"""The peers, as their documentation calls them, made functions of arrays."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.suite import torch_side
from benchmarks.suite.row import Arrays, Contestant, Enter, Unavailable

__all__ = ["FIRST", "draw", "equinox", "flax", "haiku", "keras", "lazily", "torch_ways", "transformed"]

# From channels last to channels first, by the number of spatial axes.
FIRST = {1: (0, 2, 1), 2: (0, 3, 1, 2)}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def _module(name: str, title: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise Unavailable(f"{title} is not installed") from error


def flax() -> Any:
    return _module("flax.linen", "Flax")


def equinox() -> Any:
    return _module("equinox", "Equinox")


def haiku() -> Any:
    return _module("haiku", "Haiku")


def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "jax"
    module = _module("keras", "Keras")
    if module.backend.backend() != "jax":
        raise Unavailable(f"Keras runs on {module.backend.backend()}")
    return module


def transformed(function: Callable[..., Any]) -> Any:
    """A Haiku function without randomness."""
    hk = haiku()
    return hk.without_apply_rng(hk.transform(function))


def lazily(make: Callable[[], Enter]) -> Enter:
    """Enters a contestant whose library is looked for only when it enters."""

    def enter() -> Contestant:
        return make()()

    return enter


def torch_ways(function: Callable[[Any], Callable[..., Any]], arrays: Arrays, **how: Any) -> dict[str, Enter]:
    """PyTorch eager and compiled; with `turn`, in both memory formats.

    Args:
      function: torch -> function of tensors.
    """
    formats: dict[str, dict[str, Any]] = {"": {"channels_last": True}, ", channels first": {}}

    def one(compiled: bool, options: dict[str, Any]) -> Enter:
        return lazily(
            lambda: torch_side.layer(function(torch_side.torch()), arrays, **how, **options, compiled=compiled)
        )

    found: dict[str, Enter] = {}
    for compiled in (False, True):
        for suffix, options in formats.items() if how.get("turn") else (("", {}),):
            found[f"PyTorch{' compiled' if compiled else ''}{suffix}"] = one(compiled, options)
    return found
