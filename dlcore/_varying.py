"""Inside `shard_map`: what a scan carries must be marked the same before and after, and so must gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from dlcore._typing import Array, PyTree

__all__ = ["summed", "transposed", "varying"]


def _axes(leaf: Any) -> frozenset[str]:
    """The mesh axes along which a value may differ."""
    kind = jax.typeof(leaf)
    # jax calls it `vma` up to 0.10.1.
    axes: frozenset[str] = kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying
    return axes


def varying(begin: PyTree, inputs: PyTree) -> PyTree:
    """What a scan begins with, marked to differ between devices wherever one of `inputs` does."""
    axes = frozenset[str]().union(*(_axes(leaf) for leaf in jax.tree.leaves(inputs)))

    def mark(leaf: Array) -> Array:
        missing = tuple(sorted(axes - _axes(leaf)))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, begin)


def summed(gradients: PyTree, inputs: PyTree) -> PyTree:
    """Gradients added up over the devices on which the input is one and the same, as a `custom_vjp` has to."""

    def add(gradient: Array, leaf: Array) -> Array:
        shared = tuple(sorted(_axes(gradient) - _axes(leaf)))
        return lax.psum(gradient, shared) if shared else gradient

    return jax.tree.map(add, gradients, inputs)


def transposed(gradients: Callable[[Any], Any], y: PyTree, tangents: PyTree) -> Any:
    """The tangent of y, defined as the transpose of the map from y's gradient to those of the inputs.

    Reverse mode, which transposes it again, runs `gradients` as it is written. A tangent of what is the same on all
    devices is marked as y is, which may differ between them.
    """
    return jax.linear_transpose(gradients, y)(varying(tangents, y))[0]
