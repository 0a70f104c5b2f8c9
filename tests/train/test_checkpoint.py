import json
from collections import OrderedDict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from dlcore import losses, models, nn, train


class Pair(NamedTuple):
    first: Any
    second: Any


def bits(tree):
    """Every leaf as (dtype, shape, bytes), keys by their data."""

    def one(leaf):
        data = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        return str(leaf.dtype), leaf.shape, np.asarray(data).tobytes()

    return [one(leaf) for leaf in jax.tree.leaves(tree)]


def round_trip(folder, tree, like=None):
    train.save(folder / "tree.safetensors", tree)
    back = train.restore(folder / "tree.safetensors", like=tree if like is None else like)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert bits(back) == bits(tree)
    return back


@pytest.mark.parametrize(
    "dtype",
    ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "uint32", "int64", "bool"],
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (2, 3)])
def test_arrays_of_every_dtype_and_shape_come_back_bit_for_bit(dtype, shape, tmp_path, rng, x64):
    round_trip(tmp_path, {"a": jnp.asarray(rng.integers(0, 100, shape), dtype)})


def test_nan_inf_and_minus_zero_come_back_bit_for_bit(tmp_path):
    round_trip(tmp_path, {"a": jnp.array([jnp.nan, jnp.inf, -jnp.inf, -0.0, 1e-45])})


TREES = {
    "a bare array": jnp.ones(2),
    "nested": {"a": [jnp.ones(1), (jnp.zeros(2), {"b": jnp.ones(3)})]},
    "named tuples": Pair(nn.BatchNormState(jnp.ones(2), jnp.zeros(2)), {"x": Pair(jnp.ones(1), ())}),
    "None and empties": {"a": None, "b": {}, "c": (), "d": [], "e": jnp.ones(1), "f": optax.EmptyState()},
    "no leaf": {"a": None, "b": ()},
    "ordered": OrderedDict(z=jnp.ones(1), a=jnp.zeros(2)),
    "odd names": {"ü λ": jnp.ones(1), "": jnp.zeros(1), "a.b": jnp.ones(2), '"': jnp.zeros(3)},
    "integer keys": {0: jnp.ones(1), 10: jnp.zeros(2), 9: jnp.ones(3)},
    "not contiguous": {"a": jnp.arange(6.0).reshape(2, 3).T},
}


@pytest.mark.parametrize("name", TREES)
def test_trees_of_every_form_come_back(name, tmp_path):
    round_trip(tmp_path, TREES[name])


def test_a_name_that_the_format_keeps_for_itself_is_refused_and_not_written_unreadably(tmp_path):
    round_trip(tmp_path, {"__metadata__": {"kernel": jnp.ones(1)}, "keys": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"dlcore\.train\.save: .*__metadata__"):
        train.save(tmp_path / "f", {"__metadata__": jnp.ones(1)})


def test_two_leaves_of_one_path_are_refused_and_neither_is_lost(tmp_path):
    with pytest.raises(ValueError, match="a/b"):
        train.save(tmp_path / "f", {"a": {"b": jnp.ones(1)}, "a/b": jnp.zeros(1)})


def test_arrays_of_numpy_and_numbers_are_saved_as_jax_holds_them(tmp_path):
    tree = {"array": np.ones(2, np.float32), "int": 3, "float": 0.5, "bool": True, "scalar": np.float32(2)}
    train.save(tmp_path / "f", tree)
    back = train.restore(tmp_path / "f", like=jax.tree.map(jnp.asarray, tree))
    assert jax.tree.map(lambda leaf: leaf.tolist(), back) == {**tree, "array": [1.0, 1.0]}


def test_a_tree_that_was_saved_with_numbers_can_be_its_own_like(tmp_path):
    train.save(tmp_path / "f", {"int": 3, "float": 0.5})
    assert train.restore(tmp_path / "f", like={"int": 3, "float": 0.5}) == {"int": 3, "float": 0.5}


@pytest.mark.parametrize("value", [2**40, 0.1, 1e300])
def test_a_numpy_array_that_jax_cannot_hold_is_written_as_it_is(value, tmp_path):
    array = np.array([value])
    train.save(tmp_path / "f", {"a": array})
    found = safetensors.numpy.load_file(tmp_path / "f")["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_float64_file_is_not_quietly_read_as_float32(tmp_path):
    with jax.enable_x64(True):
        train.save(tmp_path / "f", {"a": jnp.array([0.1])})
    with pytest.raises(ValueError, match=r"dlcore\.train\.restore: `like` came as float32 .* at 'a'.*float64"):
        train.restore(tmp_path / "f", like={"a": jnp.zeros(1)})


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_a_key_comes_back_with_its_implementation_and_goes_on_with_the_same_draws(impl, tmp_path, seed):
    key = jax.random.key(seed, impl=impl)
    back = round_trip(tmp_path, {"key": key, "keys": jax.random.split(jax.random.clone(key), 3)})
    assert jax.random.key_impl(back["key"]) == jax.random.key_impl(key)
    np.testing.assert_array_equal(jax.random.bits(back["key"], (3,)), jax.random.bits(key, (3,)))


def test_the_file_is_safetensors_with_a_leafs_path_for_a_name(tmp_path):
    train.save(tmp_path / "f", {"params": {"conv1": {"kernel": jnp.ones((2, 3))}}, "state": Pair(jnp.zeros(1), 2.0)})
    found = safetensors.numpy.load_file(tmp_path / "f")
    assert sorted(found) == ["params/conv1/kernel", "state/first", "state/second"]
    np.testing.assert_array_equal(found["params/conv1/kernel"], np.ones((2, 3)))


def test_like_may_be_shapes_alone(tmp_path, key):
    tree = {"a": jnp.ones((2, 3), jnp.bfloat16), "key": key}
    round_trip(tmp_path, tree, like=jax.eval_shape(lambda: tree))


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    for value in (1.0, 2.0):
        train.save(tmp_path / "f", {"a": jnp.full(3, value)})
    assert train.restore(tmp_path / "f", like={"a": jnp.zeros(3)})["a"].tolist() == [2.0, 2.0, 2.0]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_path_may_be_a_string(tmp_path):
    train.save(str(tmp_path / "f"), {"a": jnp.ones(1)})
    assert train.restore(str(tmp_path / "f"), like={"a": jnp.ones(1)})["a"] == 1


# what is refused


@pytest.mark.parametrize("leaf", ["text", np.array(["text"]), object(), 1j, jnp.ones(1, complex), len])
def test_a_leaf_that_is_no_array_of_numbers_is_refused_by_its_path_and_nothing_is_written(leaf, tmp_path):
    with pytest.raises(TypeError, match=r"dlcore\.train\.save: `layer/a` came as"):
        train.save(tmp_path / "f", {"layer": {"a": leaf}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["no/such/folder/f", "file/f", "folder"])
def test_where_nothing_can_be_written_an_oserror_says_so_and_nothing_is_left_behind(where, tmp_path):
    (tmp_path / "file").write_text("here")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        train.save(tmp_path / where, {"a": jnp.ones(1)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "here"


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path, monkeypatch):
    train.save(tmp_path / "f", {"a": jnp.ones(1)})

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        train.save(tmp_path / "f", {"a": jnp.zeros(1)})
    assert train.restore(tmp_path / "f", like={"a": jnp.zeros(1)})["a"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


SAVED = {"fc": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"fc": {"kernel": jnp.ones((2, 3))}}, ["'fc/kernel'", "'fc/bias'"]),
        ({"fc": {**SAVED["fc"], "scale": jnp.ones(3)}}, ["'fc/scale'"]),
        ({"other": SAVED["fc"]}, ["'other/kernel'", "'fc/kernel'"]),
        ({}, ["'fc/kernel'"]),
        ({"fc": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(3)}}, ["fc/kernel", "(3, 2)", "(2, 3)"]),
        ({"fc": {"kernel": jnp.ones((2, 3), jnp.bfloat16), "bias": jnp.ones(3)}}, ["fc/kernel", "bfloat16", "float32"]),
        ({"fc": {"kernel": jnp.ones((2, 3)), "bias": jax.random.split(jax.random.key(0), 3)}}, ["fc/bias", "key<fry>"]),
    ],
    ids=["one fewer", "one more", "another name", "nothing", "another shape", "another dtype", "a key"],
)
def test_a_like_that_does_not_fit_the_file_is_refused(like, words, tmp_path):
    train.save(tmp_path / "f", SAVED)
    with pytest.raises(ValueError, match=r"dlcore\.train\.restore: `like` came as") as caught:
        train.restore(tmp_path / "f", like=like)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_key_of_another_implementation_or_in_the_place_of_an_array_is_refused(tmp_path, key):
    train.save(tmp_path / "f", {"key": key})
    for like in (jax.random.key(0, impl="rbg"), jnp.zeros(2, jnp.uint32)):
        with pytest.raises(ValueError, match=r"dlcore\.train\.restore: `like` came as .* at 'key'.*key<fry>"):
            train.restore(tmp_path / "f", like={"key": like})


def test_a_missing_file_is_a_filenotfounderror(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        train.restore(tmp_path / "nothing", like=SAVED)


def truncated(data):
    return data[:-4]


@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"", lambda data: b"no safetensors at all", truncated, lambda data: b"\xff" * 8 + data[8:]],
    ids=["empty", "text", "truncated", "a wrong header"],
)
def test_a_file_that_cannot_be_read_is_refused_by_its_name(spoil, tmp_path):
    train.save(tmp_path / "f", SAVED)
    (tmp_path / "f").write_bytes(spoil((tmp_path / "f").read_bytes()))
    with pytest.raises(ValueError, match=rf"dlcore\.train\.restore: `path` came as .*{tmp_path.name}"):
        train.restore(tmp_path / "f", like=SAVED)


def test_a_safetensors_file_of_another_program_can_be_read(tmp_path):
    safetensors.numpy.save_file({"a": np.ones(2, np.float32)}, tmp_path / "f", metadata={"format": "pt"})
    assert train.restore(tmp_path / "f", like={"a": jnp.zeros(2)})["a"].tolist() == [1.0, 1.0]
    safetensors.numpy.save_file({"a": np.ones(2, np.float32)}, tmp_path / "g", metadata={"keys": json.dumps({})})
    assert train.restore(tmp_path / "g", like={"a": jnp.zeros(2)})["a"].tolist() == [1.0, 1.0]


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, seed, rng):
    model = models.serial(
        fc=models.dense(4), norm=models.batch_norm(), drop=models.dropout(rate=0.5), out=models.dense(2)
    )
    optimizer = optax.sgd(0.1, momentum=0.9)
    data = rng.standard_normal((9, 3)).astype(np.float32), rng.standard_normal((9, 2)).astype(np.float32)
    epoch = train.make_epoch(train.make_step(model, losses.squared_error, optimizer), batch_size=4)

    def fresh(seed):
        return train.make_state(jax.random.key(seed), model, optimizer, data[0])

    whole, _ = train.fit(epoch, fresh(seed), data, epochs=3)
    half, _ = train.fit(epoch, fresh(seed), data, epochs=1)
    train.save(tmp_path / "state", half)
    restored = train.restore(tmp_path / "state", like=jax.eval_shape(lambda: fresh(0)))
    assert isinstance(restored, train.TrainState)
    assert list(map(jax.typeof, jax.tree.leaves(restored))) == list(map(jax.typeof, jax.tree.leaves(half)))
    finished, history = train.fit(epoch, restored, data, epochs=2)
    assert bits(finished) == bits(whole)
    assert [line.step for line in history] == [4, 6]


def test_without_safetensors_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"dlcore\.train\.save: safetensors is not installed\..*app"):
        train.save(tmp_path / "f", SAVED)
    with pytest.raises(ImportError, match=r"dlcore\.train\.restore: safetensors is not installed\..*app"):
        train.restore(tmp_path / "f", like=SAVED)
