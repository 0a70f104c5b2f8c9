"""In which dtype to compute: statistics, softmax and sums of losses are never narrower than float32."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore._typing import DType

__all__ = ["compute_dtype"]


def compute_dtype(dtype: DType) -> Any:
    """float64 for float64; float32 for float32, bfloat16 and float16."""
    return jnp.dtype(jnp.float64) if jnp.dtype(dtype) == np.float64 else jnp.dtype(jnp.float32)
