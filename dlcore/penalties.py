"""Penalties on parameters: a value to add to the loss, and the proximal operator that minimises it exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._tree import KERNELS, map_leaves, mask, paths
from dlcore._typing import Array, Params

__all__ = ["Penalty", "l2", "on"]


class Penalty(NamedTuple):
    """A penalty on a tree of parameters.

    Attributes:
      value: `params -> scalar`, what is added to the loss.
      prox: `(params, step) -> params`, the p that minimises ½‖p − params‖² + step · value(p).
    """

    value: Callable[[Params], Array]
    prox: Callable[[Params, float | Array], Params]


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
    name = "penalties.l2"
    _checks.scalar(name, "strength", strength, low=0.0)

    def value(params: Params) -> Array:
        squares = [(leaf.astype(compute_dtype(leaf.dtype)) ** 2).sum() for leaf in _leaves(name, params)]
        # One float64 leaf makes the sum float64, whatever the promotion rules in force.
        dtype = np.result_type(np.float32, *(square.dtype for square in squares))
        return jnp.asarray(strength, dtype) * sum((square.astype(dtype) for square in squares), jnp.zeros((), dtype))

    def prox(params: Params, step: float | Array) -> Params:
        _checks.scalar(name, "step", step, low=0.0)

        def shrink(leaf: Array) -> Array:
            dtype = compute_dtype(leaf.dtype)
            factor = 1 + 2 * jnp.asarray(step, dtype) * jnp.asarray(strength, dtype)
            return (leaf.astype(dtype) / factor).astype(leaf.dtype)

        return jax.tree.unflatten(jax.tree.structure(params), list(map(shrink, _leaves(name, params))))

    return Penalty(value, prox)


def on(penalty: Penalty, pattern: str = KERNELS) -> Penalty:
    """A penalty on some leaves alone: those whose path matches.

    A path joins the keys on the way to a leaf with slashes, "conv1/kernel"; a pattern is a regular expression that
    is searched for in it.

    Args:
      penalty: what the chosen leaves pay.
      pattern: by default leaves named `kernel`, `input_kernel` or `recurrent_kernel`: neither biases nor scales.

    Returns:
      A `Penalty` on the whole tree; its proximal operator hands the other leaves back as they are, bit for bit.

    Raises:
      TypeError: if `penalty` is no `Penalty`, or `pattern` no string.
      ValueError: if the pattern is no regular expression, or (when used) finds no leaf: that is a misspelling.

    Gradient: that of `penalty` on the chosen leaves, zero on the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> params = {"fc": {"kernel": jnp.array([3.0]), "bias": jnp.array([9.0])}}
      >>> penalties.on(penalties.l2(1.0)).value(params)
      Array(9., dtype=float32)

    Source: Goodfellow, Bengio & Courville 2016, "Deep learning", section 7.1, on leaving biases alone.
    """
    name = "penalties.on"
    if not isinstance(penalty, Penalty):
        raise _checks.type_error(
            name, "penalty", _checks.describe(penalty), "a Penalty", "For example penalties.l2(1e-4)."
        )

    def value(params: Params) -> Array:
        chosen = mask(params, pattern, function=name)
        # None leaves are no leaves: the penalty sees the chosen ones alone, under their own paths.
        return penalty.value(jax.tree.map(lambda take, leaf: leaf if take else None, chosen, params))

    def prox(params: Params, step: float | Array) -> Params:
        chosen = mask(params, pattern, function=name)
        kept = jax.tree.map(lambda take, leaf: leaf if take else None, chosen, params)
        moved = iter(jax.tree.leaves(penalty.prox(kept, step)))
        return map_leaves(lambda _: next(moved), chosen, params)

    return Penalty(value, prox)


def _leaves(name: str, params: Params) -> list[Array]:
    return [_checks.floating(name, f"params['{path}']", leaf) for path, leaf in paths(params).items()]
