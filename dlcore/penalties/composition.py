"""Penalties on some leaves, and several penalties at once."""

from __future__ import annotations

import jax

from dlcore import _checks
from dlcore._tree import KERNELS, finder, map_leaves, mask
from dlcore._typing import Array, Params
from dlcore.penalties.rules import Penalty, Rules, rules_of

__all__ = ["combine", "on"]


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

    finder(pattern, function=name)
    own = rules_of(penalty)
    if own is not None:
        rules = Rules(tuple(((pattern, *patterns), term) for patterns, term in own.rules))
        return Penalty(rules.value, rules.prox)

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


def combine(*penalties: Penalty) -> Penalty:
    """Several penalties at once.

        value(ω) = Σ_i value_i(ω),   prox(ω, t) the minimiser for the sum

    The minimiser is exact, and not one operator after the other, whose result depends on their order: the terms on each
    leaf are added up, and taken in the order in which it is the sum's.

    Args:
      penalties: any of this module's, on all leaves or on some (`on`). A penalty of your own may be among them where
        its leaves are its own (put it there with `on`), since nothing is known of it.

    Returns:
      A `Penalty`.

    Raises:
      TypeError: if one is no `Penalty`.
      ValueError: when used, if groups on one leaf do not lie within each other, or a penalty of your own meets another
        one on a leaf: then there is no closed form.

    Gradient: the sum of theirs.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import penalties
      >>> both = penalties.combine(penalties.l1(0.5), penalties.non_negative())
      >>> both.prox({"kernel": jnp.array([2.0, 0.25, -3.0])}, 1.0)
      {'kernel': Array([1.5, 0. , 0. ], dtype=float32)}

    Source: Yu 2013, "On decomposing the proximal map".
    """
    name = "penalties.combine"
    for index, penalty in enumerate(penalties):
        if not isinstance(penalty, Penalty):
            raise _checks.type_error(
                name, f"penalties[{index}]", _checks.describe(penalty), "a Penalty", "For example penalties.l1(1e-4)."
            )
    known = [own for penalty in penalties if (own := rules_of(penalty)) is not None]
    rules = Rules(tuple(rule for own in known for rule in own.rules))
    others = [penalty for penalty in penalties if rules_of(penalty) is None]
    if not others:
        return Penalty(rules.value, rules.prox)

    def value(params: Params) -> Array:
        return sum((penalty.value(params) for penalty in others), rules.value(params))

    def prox(params: Params, step: float | Array) -> Params:
        before = jax.tree.leaves(params)
        results = [jax.tree.leaves(run(params, step)) for run in (rules.prox, *(other.prox for other in others))]
        moved = []
        for place, leaf in enumerate(before):
            changed = [leaves[place] for leaves in results if leaves[place] is not leaf]
            if len(changed) > 1:
                raise _checks.value_error(
                    name, "penalties", "a penalty of your own and another one on the same leaf",
                    "leaves of its own for it", "Put it there with penalties.on.",
                )  # fmt: skip
            moved.append(changed[0] if changed else leaf)
        return jax.tree.unflatten(jax.tree.structure(params), moved)

    return Penalty(value, prox)
