"""Penalties on each number: absolute values, squares, a sign."""

from __future__ import annotations

from dlcore import _checks
from dlcore._typing import Array
from dlcore.penalties.rules import Penalty, Term, penalty_of

__all__ = ["elastic_net", "l1", "l2", "non_negative"]


def l2(strength: float | Array) -> Penalty:
    """The squared Euclidean norm: weights shrink in proportion to their size, and none becomes zero.

        value(ω) = λ Σ ω²,   prox(ω, t) = ω / (1 + 2 t λ)

    Args:
      strength: λ ≥ 0, a number, or a traced scalar for `vmap` over strengths. There is no factor 1/2: weight decay d
        in `optax.add_decayed_weights(d)` is λ = d / 2; Keras' `L2(l2)` is λ = l2.

    Returns:
      A `Penalty` over every leaf of a tree; `on` chooses some. The value is a scalar in float32 or wider; the proximal
      operator keeps each leaf's dtype.

    Raises:
      ValueError: if `strength` is negative or not finite.
      TypeError: if it is no number, or a leaf is not floating.

    Gradient: 2 λ ω; smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> penalty = penalties.l2(0.5)
      >>> penalty.value({"kernel": jnp.array([1.0, 2.0])})
      Array(2.5, dtype=float32)
      >>> penalty.prox({"kernel": jnp.array([1.0, 2.0])}, 1.0)
      {'kernel': Array([0.5, 1. ], dtype=float32)}

    Source: Hoerl & Kennard 1970, "Ridge regression"; Krogh & Hertz 1992, "A simple weight decay can improve
    generalization".
    """
    _checks.scalar("penalties.l2", "strength", strength, low=0.0)
    return penalty_of(Term("penalties.l2", "l2", strength))


def l1(strength: float | Array) -> Penalty:
    """The sum of absolute values: weights drop to exactly zero one by one as λ grows.

        value(ω) = λ Σ |ω|,   prox(ω, t) = sign(ω) max(|ω| − t λ, 0)

    A gradient step on the value moves every weight to and fro across zero; the proximal operator (`proximal`) is what
    puts it there and keeps it.

    Args:
      strength: λ ≥ 0, a number, or a traced scalar for `vmap` over strengths. scikit-learn's `Lasso(alpha)` divides
        squared errors by 2 N: λ = alpha beside half their mean. Keras' `L1(l1)` is λ = l1.

    Returns:
      A `Penalty` over every leaf of a tree; `on` chooses some. The value is a scalar in float32 or wider; the proximal
      operator keeps each leaf's dtype.

    Raises:
      ValueError: if `strength` is negative or not finite.
      TypeError: if it is no number, or a leaf is not floating.

    Gradient: λ sign(ω); 0 at the kink ω = 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> penalties.l1(0.5).prox({"kernel": jnp.array([1.0, -0.25, -2.0])}, 1.0)
      {'kernel': Array([ 0.5,  0. , -1.5], dtype=float32)}

    Source: Tibshirani 1996, "Regression shrinkage and selection via the lasso"; the operator: Donoho & Johnstone 1994,
    "Ideal spatial adaptation by wavelet shrinkage".
    """
    _checks.scalar("penalties.l1", "strength", strength, low=0.0)
    return penalty_of(Term("penalties.l1", "l1", strength))


def elastic_net(l1: float | Array, l2: float | Array) -> Penalty:
    """Absolute values and squares together: zeros, and correlated weights that stay together.

        value(ω) = λ₁ Σ |ω| + λ₂ Σ ω²,   prox(ω, t) = sign(ω) max(|ω| − t λ₁, 0) / (1 + 2 t λ₂)

    Args:
      l1: λ₁ ≥ 0, a number or a traced scalar.
      l2: λ₂ ≥ 0, likewise. scikit-learn's `ElasticNet(alpha, l1_ratio=r)` is λ₁ = alpha r, λ₂ = alpha (1 − r) / 2
        beside half the mean of squared errors.

    Returns:
      A `Penalty` over every leaf of a tree; `on` chooses some.

    Raises:
      ValueError: if a strength is negative or not finite.
      TypeError: if one is no number, or a leaf is not floating.

    Gradient: λ₁ sign(ω) + 2 λ₂ ω; 2 λ₂ ω, 0, at the kink ω = 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> penalties.elastic_net(0.5, 0.5).prox({"kernel": jnp.array([1.5, -0.25])}, 1.0)
      {'kernel': Array([0.5, 0. ], dtype=float32)}

    Source: Zou & Hastie 2005, "Regularization and variable selection via the elastic net", the naive form.
    """
    name = "penalties.elastic_net"
    for argument, strength in (("l1", l1), ("l2", l2)):
        _checks.scalar(name, argument, strength, low=0.0)
    return penalty_of(Term(name, "l1", l1), Term(name, "l2", l2))


def non_negative() -> Penalty:
    """Weights that may not be negative.

        value(ω) = 0 if all ω ≥ 0, else ∞,   prox(ω, t) = max(ω, 0)

    Returns:
      A `Penalty` over every leaf of a tree; `on` chooses some. Its proximal operator is a projection, whatever the
      step, and its value tells whether that is needed.

    Raises:
      TypeError: if a leaf is not floating.

    Gradient: of the value, 0 everywhere: use `proximal`.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> penalties.non_negative().prox({"kernel": jnp.array([1.0, -2.0])}, 1.0)
      {'kernel': Array([1., 0.], dtype=float32)}

    Source: Lawson & Hanson 1974, "Solving least squares problems", chapter 23.
    """
    return penalty_of(Term("penalties.non_negative", "sign"))
