from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore._tree import KERNELS, broadcast_to_rank, count, map_leaves, mask, paths


class Pair(NamedTuple):
    mean: object
    var: object


TREE = {
    "conv1": {"kernel": 1, "bias": 2},
    "blocks": [{"bias": 3}, ({"input_kernel": 4}, None, {})],
    "norm": Pair(5, 6),
}


def test_a_path_joins_keys_indices_and_field_names_with_slashes():
    assert paths(TREE) == {
        "blocks/0/bias": 3,
        "blocks/1/0/input_kernel": 4,
        "conv1/bias": 2,
        "conv1/kernel": 1,
        "norm/mean": 5,
        "norm/var": 6,
    }


def test_paths_come_in_the_order_of_the_leaves():
    assert list(paths(TREE).values()) == jax.tree.leaves(TREE)


def test_a_bare_leaf_has_the_empty_path():
    assert paths(7) == {"": 7}


@pytest.mark.parametrize("tree", [{}, (), None, {"a": None, "b": ()}])
def test_where_there_is_no_leaf_there_is_no_path(tree):
    assert paths(tree) == {}


def test_two_leaves_of_one_path_are_refused_and_neither_is_lost():
    with pytest.raises(ValueError, match="a/b"):
        paths({"a": {"b": 1.0}, "a/b": 2.0})


@pytest.mark.parametrize("path", ["kernel", "input_kernel", "recurrent_kernel", "fc/kernel", "a/0/input_kernel"])
def test_the_default_pattern_finds_kernels(path):
    tree = {path: 1.0, "bias": 1.0}
    assert mask(tree, KERNELS, function="f") == {path: True, "bias": False}


@pytest.mark.parametrize("path", ["bias", "scale", "offset", "kernel_scale", "mykernel", "kernel/bias", "kernels"])
def test_the_default_pattern_leaves_all_else_alone(path):
    tree = {path: 1.0, "kernel": 1.0}
    assert mask(tree, KERNELS, function="f") == {path: False, "kernel": True}


def test_a_pattern_is_searched_anywhere_in_the_path_and_keeps_the_structure():
    assert mask(TREE, "^blocks|mean", function="f") == {
        "conv1": {"kernel": False, "bias": False},
        "blocks": [{"bias": True}, ({"input_kernel": True}, None, {})],
        "norm": Pair(True, False),
    }


@pytest.mark.parametrize(
    ("tree", "pattern", "error", "words"),
    [
        (TREE, "kernl$", ValueError, ["kernl", "blocks/0/bias", "conv1/kernel"]),
        ({}, "kernel", ValueError, ["kernel"]),
        (TREE, "(", ValueError, ["regular expression"]),
        (TREE, 3, TypeError, ["int 3", "regular expression"]),
        (TREE, None, TypeError, ["None", "regular expression"]),
    ],
    ids=["finds nothing", "no leaves", "no regular expression", "a number", "None"],
)
def test_a_wrong_pattern_is_refused_by_name(tree, pattern, error, words):
    with pytest.raises(error, match=r"dlcore\.some\.caller: `pattern`") as caught:
        mask(tree, pattern, function="some.caller")
    assert all(word in str(caught.value) for word in words)


def test_count_is_the_number_of_numbers():
    assert count({"a": np.ones((2, 3)), "b": (jnp.ones(()), np.ones((0, 4)))}) == 7
    assert count({}) == 0


@pytest.mark.parametrize(("ndim", "shape"), [(1, (3,)), (2, (1, 3)), (4, (1, 1, 1, 3))])
def test_broadcast_to_rank_adds_leading_axes_only(ndim, shape):
    leaf = jnp.arange(3.0)
    wide = broadcast_to_rank(leaf, ndim)
    assert wide.shape == shape
    np.testing.assert_array_equal(wide.ravel(), leaf)


def test_map_leaves_touches_the_chosen_leaves_and_hands_the_others_back_themselves():
    kept = np.ones(2)
    result = map_leaves(lambda leaf: leaf * 2, {"a": True, "b": {"c": False}}, {"a": np.ones(2), "b": {"c": kept}})
    np.testing.assert_array_equal(result["a"], [2.0, 2.0])
    assert result["b"]["c"] is kept
