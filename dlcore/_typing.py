"""The names that signatures use for what flows through dlcore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

__all__ = ["Array", "ArrayLike", "DType", "Key", "Padding", "Params", "PyTree", "Spatial", "State"]

Array: TypeAlias = jax.Array
# What a function takes as data: an array of JAX' or NumPy's, or a Python number; never a list.
ArrayLike: TypeAlias = jax.Array | np.ndarray | np.generic | float
# A typed key, as `jax.random.key` makes it.
Key: TypeAlias = jax.Array
DType: TypeAlias = Any
PyTree: TypeAlias = Any
# Nested dicts of arrays: {"conv1": {"kernel": …, "bias": …}}.
Params: TypeAlias = Mapping[str, Any]
# What a layer hands from step to step; () where there is nothing.
State: TypeAlias = Any
# One number for all spatial axes, or one for each.
Spatial: TypeAlias = int | Sequence[int]
Padding: TypeAlias = str | Sequence[tuple[int, int]]
