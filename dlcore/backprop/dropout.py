"""The chain rule through dropout: the error passes where the value passed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._random import keep_mask
from dlcore._typing import Array, ArrayLike, Key
from dlcore.backprop._boundary import cotangent, saved, widen

__all__ = ["DropoutResiduals", "dropout_bwd", "dropout_fwd"]


@partial(jax.tree_util.register_dataclass, data_fields=["keep"], meta_fields=["rate", "dtype"])
@dataclass(frozen=True)
class DropoutResiduals:
    """What `dropout_fwd` saves: the mask, a byte a value; the rate, and the dtype of x."""

    keep: Array
    rate: float
    dtype: Any


def dropout_fwd(key: Key, x: ArrayLike, *, rate: float) -> tuple[Array, DropoutResiduals]:
    """Drops each value with probability `rate` and scales up what stays, so that the mean is kept.

        y = m · x / (1 − rate),   m ~ Bernoulli(1 − rate), one for each value

    Args:
      key: a typed PRNG key; the mask is that of `nn.dropout` for the same key.
      x: any shape, floating.
      rate: the probability of dropping, a number in [0, 1].

    Returns: y in the shape and dtype of `x`, and the residuals: the mask m.

    Raises: ValueError if `key` is None or `rate` is outside [0, 1]; TypeError if `key` is raw, or `x` is not floating.

    Gradient: linear in `x`; none in `key`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.dropout_fwd(jax.random.key(0), jnp.ones(1000), rate=0.5)
      >>> _, dx = backprop.dropout_bwd(residuals, jnp.ones(1000))
      >>> bool((dx == y).all())
      True

    Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014, "Dropout", section 4.
    """
    name = "backprop.dropout_fwd"
    key = _checks.key(name, key)
    values = _checks.floating(name, "x", x)
    share = _checks.fraction(name, "rate", rate)
    keep = keep_mask(name, key, share, values.shape)
    if isinstance(keep, bool):
        share, keep = float(not keep), jnp.full(values.shape, keep)
    kept = DropoutResiduals(keep, share, values.dtype)
    return _masked(kept, widen(values)), kept


def dropout_bwd(residuals: DropoutResiduals, dy: ArrayLike) -> tuple[None, Array]:
    """The gradient of `dropout_fwd`: the same mask and scale.

        dx = m · dy / (1 − rate)

    Args:
      residuals: those that `dropout_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(None, dx)`: a key has no gradient; dx in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `dropout_fwd`.

    Source: Srivastava et al. 2014, section 5.1; see `dropout_fwd`.
    """
    name = "backprop.dropout_bwd"
    kept = saved(name, residuals, DropoutResiduals)
    return None, _masked(kept, cotangent(name, dy, kept.keep.shape, kept.dtype))


def _masked(kept: DropoutResiduals, values: Array) -> Array:
    # In double precision: 1 − 0.999 has lost digits in single. Where all is dropped, nothing is scaled.
    scale = jnp.asarray(1 / (1 - kept.rate) if kept.rate < 1 else 1, values.dtype)
    # where, not a product: 0 · ∞ is NaN.
    return jnp.where(kept.keep, (values * scale).astype(kept.dtype), 0)
