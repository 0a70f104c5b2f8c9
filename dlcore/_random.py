"""Random masks, drawn in one place, so that a layer and its derivation agree on them bit for bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array, Key

__all__ = ["keep_mask"]


def keep_mask(function: str, key: Key, rate: Any, shape: tuple[int, ...]) -> Array | bool:
    """True where a value stays, each dropped with probability `rate`; a Python bool where that is certain."""
    if isinstance(rate, (jax.Array, np.ndarray)):
        if rate.shape != () or not jnp.issubdtype(rate.dtype, np.floating):
            raise _checks.type_error(
                function, "rate", _checks.describe(rate), "one floating number", "Use jax.vmap for several rates."
            )
        # uniform draws lie in [0, 1): rate 0 keeps all of them, rate 1 none.
        return jax.random.uniform(key, shape, jnp.float32) >= rate.astype(jnp.float32)
    share = _checks.fraction(function, "rate", rate)
    threshold = round(share * 2**32)
    if threshold in (0, 2**32):
        return threshold == 0
    return jax.random.bits(key, shape, jnp.uint32) >= np.uint32(threshold)
