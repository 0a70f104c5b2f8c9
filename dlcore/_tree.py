"""Leaf paths and masks: the one mechanism for naming parts of a parameter tree.

A path joins the keys on the way to a leaf with slashes: "conv1/kernel", "blocks/0/bias". A pattern is
a regular expression that is searched for in the path. Decay, freezing and penalties all choose their
leaves so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax

from dlcore import _checks
from dlcore._typing import Array, PyTree

__all__ = ["KERNELS", "broadcast_to_rank", "count", "finder", "map_leaves", "mask", "paths"]

# Leaves that multiply data: kernel, input_kernel, recurrent_kernel; neither biases nor scales.
KERNELS = r"(^|/)(\w+_)?kernel$"


def _path(entries: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(entries, simple=True, separator="/")


def paths(tree: PyTree) -> dict[str, Any]:
    """Every leaf by its path, in the tree's order."""
    found: dict[str, Any] = {}
    for entries, leaf in jax.tree_util.tree_leaves_with_path(tree):
        path = _path(entries)
        if path in found:
            raise ValueError(
                f"dlcore: two leaves have the path '{path}'; expected one. Rename the key that has a slash."
            )
        found[path] = leaf
    return found


def mask(tree: PyTree, pattern: str, *, function: str) -> PyTree:
    """A tree of booleans: True where `pattern` is found in the leaf's path.

    A pattern that finds nothing raises: a penalty on no leaf at all is a misspelling.
    """
    find = finder(pattern, function=function)
    result = jax.tree_util.tree_map_with_path(lambda entries, _: find(_path(entries)) is not None, tree)
    if not any(jax.tree.leaves(result)):
        raise _checks.value_error(
            function,
            "pattern",
            f"{pattern!r}, which is found in no path",
            "a pattern that finds at least one leaf",
            f"The leaves are {list(paths(tree))}.",
        )
    return result


def finder(pattern: str, *, function: str, argument: str = "pattern") -> Callable[[str], Any]:
    """The search of a regular expression that has been checked."""
    if not isinstance(pattern, str):
        raise _checks.type_error(
            function, argument, _checks.describe(pattern), "a regular expression", "For example 'kernel$'."
        )
    try:
        return re.compile(pattern).search
    except re.error as error:
        raise _checks.value_error(
            function, argument, f"{pattern!r} ({error})", "a regular expression", "For example 'kernel$'."
        ) from error


def count(tree: PyTree) -> int:
    """How many numbers the leaves hold."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def broadcast_to_rank(leaf: Array, ndim: int) -> Array:
    """A per-feature vector with leading axes of size one, so that ranks agree without promotion."""
    return leaf.reshape((1,) * (ndim - leaf.ndim) + leaf.shape)


def map_leaves(function: Callable[..., Any], chosen: PyTree, tree: PyTree) -> PyTree:
    """`function` on the leaves that `chosen` marks; the others as they are."""
    return jax.tree.map(lambda take, leaf: function(leaf) if take else leaf, chosen, tree)
