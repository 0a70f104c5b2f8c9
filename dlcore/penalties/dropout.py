"""What dropout adds to the squared error of a linear model, on average."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike

__all__ = ["dropout_penalty"]


def dropout_penalty(weights: ArrayLike, inputs: ArrayLike, *, rate: float, inverted: bool = True) -> Array:
    """The expected squared error of a linear unit under dropout, minus that of the whole unit.

        E[(t − Σ_i m_i w_i I_i / q)²] − (t − Σ_i w_i I_i)² = Σ_i (p q / q²) w_i² I_i²,   q = 1 − rate,  p = rate

    with m_i = 1 with probability q, else 0. With `inverted=False`, the notes' scaling, nothing is divided by q, the
    whole unit is the one with weights q w, and the term is Σ_i p q w_i² I_i². Either way dropout is, on average, an L2
    penalty on each weight, as strong as its input is large. The target t does not appear.

    Args:
      weights: w, (D,) or (D, outputs), floating.
      inputs: I, (*batch, D), in the dtype of `weights`.
      rate: the probability of dropping, in [0, 1), or [0, 1] with `inverted=False`.
      inverted: whether what is kept is divided by 1 − rate, as `nn.dropout` does.

    Returns:
      (*batch,) or (*batch, outputs), in the dtype of `weights`; computed in float32 or wider. It belongs to
      `losses.squared_error`, which has no factor ½.

    Raises:
      ValueError: if shapes do not fit, or `rate` is out of range: with everything dropped and divided by 0 there is no
        expectation.
      TypeError: if one is not floating, or dtypes differ.

    Gradient: in w, 2 (p / q) w I², which is, on average, what dropout's gradient has beyond that of the whole unit.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> penalties.dropout_penalty(jnp.array([1.0, 2.0]), jnp.array([[1.0, 1.0], [0.0, 3.0]]), rate=0.5)
      Array([ 5., 36.], dtype=float32)

    Source: Baldi & Sadowski 2013, "Understanding dropout", section 4; Wager, Wang & Liang 2013, "Dropout training as
    adaptive regularization".
    """
    name = "penalties.dropout_penalty"
    w, x = _checks.floating(name, "weights", weights), _checks.floating(name, "inputs", inputs)
    _checks.same_dtype(name, w, "inputs", x)
    if w.ndim not in (1, 2):
        raise _checks.value_error(name, "weights", f"shape {w.shape}", "(D,) or (D, outputs)", "A linear unit's.")
    _checks.feature_axis(name, x, w.shape[0], "weights", argument="inputs")
    p = _checks.fraction(name, "rate", rate)
    if not isinstance(inverted, bool):
        raise _checks.type_error(name, "inverted", _checks.describe(inverted), "True or False", "It must be static.")
    if inverted and p == 1:
        raise _checks.value_error(
            name, "rate", rate, "a number below 1", "What is kept would be divided by 0; or say inverted=False."
        )
    dtype = compute_dtype(w.dtype)
    factor = p / (1 - p) if inverted else p * (1 - p)
    return (factor * jnp.matmul(x.astype(dtype) ** 2, w.astype(dtype) ** 2)).astype(w.dtype)
