"""Penalties on the norms of groups of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore import _checks
from dlcore._typing import Array
from dlcore.penalties.rules import Penalty, Term, penalty_of

__all__ = ["group_lasso", "max_norm"]


def group_lasso(strength: float | Array, *, axis: int | Sequence[int]) -> Penalty:
    """The sum of the norms of groups: a whole group drops to exactly zero at once.

        value(ω) = λ Σ_g ‖ω_g‖₂,   prox(ω, t)_g = ω_g max(1 − t λ / ‖ω_g‖₂, 0)

    Args:
      strength: λ ≥ 0, a number or a traced scalar, the same for groups of every size: Yuan & Lin multiply it by the
        root of the size.
      axis: the axes along which a group's members lie. In the kernel (in, out) of `nn.dense`, `axis=1` makes a group of
        all weights of one input, and so removes inputs; `axis=0` removes outputs.

    Returns:
      A `Penalty` over every leaf of a tree, each of which must have the axes; `on` chooses some.

    Raises:
      ValueError: if `strength` is negative or not finite, or a leaf does not have the axes.
      TypeError: if `strength` is no number, `axis` is not made of ints, or a leaf is not floating.

    Gradient: λ ω_g / ‖ω_g‖₂; 0, never NaN, for a group of zeros.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> penalty = penalties.group_lasso(1.0, axis=1)
      >>> print(penalty.prox({"kernel": jnp.array([[3.0, 4.0], [0.3, 0.4]])}, 1.0)["kernel"])
      [[2.4 3.2]
       [0.  0. ]]

    Source: Yuan & Lin 2006, "Model selection and estimation in regression with grouped variables".
    """
    name = "penalties.group_lasso"
    _checks.scalar(name, "strength", strength, low=0.0)
    return penalty_of(Term(name, "group", strength, _axis(name, axis)))


def max_norm(limit: float | Array, *, axis: int | Sequence[int]) -> Penalty:
    """A bound on the norms of groups: what is longer is scaled back.

        value(ω) = 0 if all ‖ω_g‖₂ ≤ c, else ∞,   prox(ω, t)_g = ω_g min(1, c / ‖ω_g‖₂)

    Args:
      limit: c ≥ 0, a number or a traced scalar.
      axis: the axes along which a group's members lie; `axis=0` bounds the incoming weights of each unit in the kernel
        (in, out) of `nn.dense`, as Keras' `MaxNorm(c, axis=0)`.

    Returns:
      A `Penalty` over every leaf of a tree, each of which must have the axes; `on` chooses some. Its proximal operator
      is a projection, whatever the step; its value, which leaves room for rounding, tells whether that is needed.

    Raises:
      ValueError: if `limit` is negative or not finite, or a leaf does not have the axes.
      TypeError: if `limit` is no number, `axis` is not made of ints, or a leaf is not floating.

    Gradient: of the value, 0 everywhere: use `proximal`.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> penalty = penalties.max_norm(1.0, axis=0)
      >>> print(penalty.prox({"kernel": jnp.array([[3.0, 0.3], [4.0, 0.4]])}, 1.0)["kernel"])
      [[0.6 0.3]
       [0.8 0.4]]

    Source: Srebro & Shraibman 2005, "Rank, trace-norm and max-norm"; with dropout: Srivastava et al. 2014, section 5.1.
    """
    name = "penalties.max_norm"
    _checks.scalar(name, "limit", limit, low=0.0)
    return penalty_of(Term(name, "norm", limit, _axis(name, axis)))


def _axis(name: str, axis: int | Sequence[int]) -> int | tuple[int, ...]:
    """Axes, as far as they can be looked at before there is a leaf."""
    entries: tuple[Any, ...] = tuple(axis) if isinstance(axis, list | tuple) else (axis,)
    if not entries or any(isinstance(entry, bool) or not isinstance(entry, int) for entry in entries):
        raise _checks.type_error(
            name, "axis", _checks.describe(axis), "an int or a tuple of ints", "0 is the inputs of a dense kernel."
        )
    return entries if len(entries) > 1 else entries[0]
