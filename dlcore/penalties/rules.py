"""What a penalty is made of, and the proximal operator of several at once.

The proximal operator of a sum is not, in general, that of one term after the other. For the terms here it is, in one
order: what each number pays for itself (absolute values, a sign), then groups from the smallest to the largest, then
squares, then a bound on norms. The first two and the last are homogeneous: they do not see the scale that squares put
on what they leave (Yu 2013, "On decomposing the proximal map"; for nested groups Jenatton, Mairal, Obozinski & Bach
2011, "Proximal methods for hierarchical sparse coding"). So penalties are kept as their terms, and added up by leaf.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._norms import scaled_norm
from dlcore._precision import compute_dtype
from dlcore._tree import mask, paths
from dlcore._typing import Array, Params, PyTree
from dlcore.kernels.windows import absolute

__all__ = ["Penalty", "Rules", "Term", "penalty_of", "rules_of"]


class Penalty(NamedTuple):
    """A penalty on a tree of parameters.

    Attributes:
      value: `params -> scalar`, what is added to the loss.
      prox: `(params, step) -> params`, the p that minimises ½‖p − params‖² + step · value(p).
    """

    value: Callable[[Params], Array]
    prox: Callable[[Params, float | Array], Params]


class Term(NamedTuple):
    """One term, on every leaf that the patterns of its rule find.

    Attributes:
      function: the public function that made it, for messages.
      kind: "l1", "l2", "group", "norm" or "sign".
      strength: λ, or for "norm" the limit; a number or a traced scalar.
      axis: the axes of a group's members, as they were given; for "group" and "norm".
    """

    function: str
    kind: str
    strength: Any = None
    axis: Any = None


@dataclass(frozen=True)
class Rules:
    """Terms, each with the patterns that choose its leaves: the outermost pattern first."""

    rules: tuple[tuple[tuple[str, ...], Term], ...]

    def value(self, params: Params) -> Array:
        """Σ of all terms, a scalar in float32 or wider."""
        parts = []
        for term, leaf in (pair for pairs in self._by_leaf(params) for pair in pairs):
            parts.append(_value(term, leaf.astype(compute_dtype(leaf.dtype))))
        # One float64 leaf makes the sum float64, whatever the promotion rules in force.
        dtype = np.result_type(np.float32, *(part.dtype for part in parts))
        return sum((part.astype(dtype) for part in parts), jnp.zeros((), dtype))

    def prox(self, params: Params, step: float | Array) -> Params:
        """The minimiser, leaf by leaf; a leaf that no term is on comes back as it is, bit for bit."""
        for _, term in self.rules[:1]:
            _checks.scalar(term.function, "step", step, low=0.0)
        leaves, tree = jax.tree.flatten(params)
        found = [
            _prox([term for term, _ in pairs], pairs[0][1], step) if pairs else leaf
            for leaf, pairs in zip(leaves, self._by_leaf(params), strict=True)
        ]
        return jax.tree.unflatten(tree, found)

    def _by_leaf(self, params: Params) -> list[list[tuple[Term, Array]]]:
        """Of every leaf, the terms on it, each with the leaf as a checked array."""
        names = list(paths(params))
        pairs: list[list[tuple[Term, Array]]] = [[] for _ in names]
        leaves = jax.tree.leaves(params)
        for patterns, term in self.rules:
            for place in _chosen(params, patterns):
                leaf = _checks.floating(term.function, f"params['{names[place]}']", leaves[place])
                if term.axis is not None:
                    _axes(term, leaf, names[place])
                pairs[place].append((term, leaf))
        return pairs


def penalty_of(*terms: Term) -> Penalty:
    """The penalty of these terms on every leaf."""
    rules = Rules(tuple(((), term) for term in terms))
    return Penalty(rules.value, rules.prox)


def rules_of(penalty: Penalty) -> Rules | None:
    """What a penalty is made of; None for one that somebody else wrote."""
    owners = [getattr(part, "__self__", None) for part in penalty]
    return owners[0] if isinstance(owners[0], Rules) and owners[0] is owners[1] else None


def _chosen(params: Params, patterns: Sequence[str]) -> list[int]:
    """The places of the leaves that all patterns find; each must find one among those of the pattern before."""
    places: PyTree = jax.tree.unflatten(jax.tree.structure(params), list(range(len(jax.tree.leaves(params)))))
    for pattern in patterns:
        # None leaves are no leaves: the next pattern sees the chosen ones alone.
        take = mask(places, pattern, function="penalties.on")
        places = jax.tree.map(lambda chosen, place: place if chosen else None, take, places)
    return jax.tree.leaves(places)


def _axes(term: Term, leaf: Array, name: str) -> tuple[int, ...]:
    """The axes of a group's members in this leaf, negative and sorted."""
    entries = term.axis if isinstance(term.axis, tuple) else (term.axis,)
    if any(not -leaf.ndim <= entry < leaf.ndim for entry in entries):
        raise _checks.value_error(
            term.function, f"params['{name}']", f"shape {leaf.shape}", f"an axis {term.axis}",
            "Choose the leaves that have it with penalties.on, or another axis.",
        )  # fmt: skip
    return _checks.distinct_axes(term.function, "axis", term.axis, leaf.ndim)


# custom_jvp: the derivative of the scaled form passes through the scale, which flushes to 0 where it is tiny.
@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _lengths(x: Array, axes: tuple[int, ...]) -> Array:
    """‖x‖ over `axes`, kept."""
    norm, scale = scaled_norm(x, axes)
    return norm * scale


def _lengths_jvp(axes: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (moved,) = primals, tangents
    norm, scale = scaled_norm(x, axes)
    direction = (x / scale) / jnp.where(norm == 0, 1, norm)
    return norm * scale, (direction * moved).sum(axes, keepdims=True)


_lengths.defjvp(_lengths_jvp)


def _value(term: Term, x: Array) -> Array:
    if term.kind == "sign":
        return jnp.where((x < 0).any(), jnp.inf, 0).astype(x.dtype)
    strength = jnp.asarray(term.strength, x.dtype)
    if term.kind == "l1":
        return strength * absolute(x).sum()
    if term.kind == "l2":
        return strength * (x**2).sum()
    lengths = _lengths(x, _axes(term, x, ""))
    if term.kind == "group":
        return strength * lengths.sum()
    # A projection is on the bound but for rounding.
    slack = 8 * float(jnp.finfo(x.dtype).eps)
    return jnp.where((lengths > strength * (1 + slack)).any(), jnp.inf, 0).astype(x.dtype)


def _prox(terms: list[Term], leaf: Array, step: float | Array) -> Array:
    dtype = compute_dtype(leaf.dtype)
    x, t = leaf.astype(dtype), jnp.asarray(step, dtype)

    def total(kind: str) -> Array:
        return sum((jnp.asarray(term.strength, dtype) for term in terms if term.kind == kind), jnp.zeros((), dtype))

    kinds = {term.kind for term in terms}
    if "l1" in kinds:
        # Where it is exactly at the threshold it is 0; NaN stays.
        size = jnp.abs(x) - t * total("l1")
        x = jnp.where(size <= 0, 0, jnp.sign(x) * size)
    if "sign" in kinds:
        x = jnp.where(x < 0, 0, x)
    for axes, strength in _groups(terms, leaf, dtype):
        norm, scale = scaled_norm(x, axes)
        threshold = t * strength / scale
        x = jnp.where(norm <= threshold, 0, x * (1 - threshold / jnp.where(norm == 0, 1, norm)))
    if "l2" in kinds:
        x = x / (1 + 2 * t * total("l2"))
    for term in terms:
        if term.kind == "norm":
            norm, scale = scaled_norm(x, _axes(term, leaf, ""))
            limit = jnp.asarray(term.strength, dtype) / scale
            x = jnp.where(norm > limit, x * (limit / jnp.where(norm == 0, 1, norm)), x)
    return x.astype(leaf.dtype)


def _groups(terms: list[Term], leaf: Array, dtype: Any) -> list[tuple[tuple[int, ...], Array]]:
    """The groups on one leaf from the smallest to the largest, those of equal axes as one; refused if not nested."""
    merged: dict[tuple[int, ...], Array] = {}
    bounds = [(_axes(term, leaf, ""), term) for term in terms if term.kind == "norm"]
    for term in terms:
        if term.kind == "group":
            axes = _axes(term, leaf, "")
            merged[axes] = merged.get(axes, jnp.zeros((), dtype)) + jnp.asarray(term.strength, dtype)
    ordered = sorted(merged.items(), key=lambda item: len(item[0]))
    chain = [*(set(axes) for axes, _ in ordered), *(set(axes) for axes, _ in bounds)]
    if len(bounds) > 1 or any(not a <= b for a, b in itertools.pairwise(chain)):
        raise _checks.value_error(
            "penalties.combine", "penalties", f"groups over axes {[tuple(sorted(axes)) for axes in chain]} of one leaf",
            "groups that lie within each other, and one norm's bound around them",
            "Of others the proximal operator has no closed form: put them on different leaves with penalties.on.",
        )  # fmt: skip
    return ordered
