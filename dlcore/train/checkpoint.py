"""Saving and restoring any pytree of arrays, keys included, as one safetensors file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._tree import paths
from dlcore._typing import PyTree

__all__ = ["restore", "save"]


def save(path: str | os.PathLike[str], tree: PyTree) -> None:
    """Writes a pytree of arrays to a file: parameters, or a whole `TrainState`.

    The file is in the safetensors format; an array's name is its leaf path, "params/conv1/kernel". A typed key is
    stored as its data, and its implementation beside it, so that a restored run goes on with the same draws. The file
    appears whole or not at all: it is written under another name first.

    Args:
      path: the file.
      tree: arrays, numbers and typed keys, nested in any way.

    Raises:
      TypeError: if a leaf is none of these.
      OSError: if the file cannot be written.
      ImportError: if safetensors is not installed.

    Example:
      >>> import pathlib, tempfile, jax.numpy as jnp
      >>> from dlcore import train
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "params.safetensors"
      >>> train.save(file, {"kernel": jnp.ones(2)})
      >>> train.restore(file, like={"kernel": jnp.zeros(2)})
      {'kernel': Array([1., 1.], dtype=float32)}
    """
    format_ = _safetensors("train.save")
    arrays: dict[str, np.ndarray] = {}
    implementations: dict[str, str] = {}
    for name, leaf in paths(tree).items():
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            implementations[name] = str(jax.random.key_impl(leaf))
            leaf = jax.random.key_data(leaf)
        if name == "__metadata__":
            raise _checks.value_error(
                "train.save", "tree", "a leaf '__metadata__'", "another name", "The file format keeps this one."
            )
        real = isinstance(leaf, np.ndarray) and jnp.issubdtype(leaf.dtype, np.number) and leaf.dtype.kind != "c"
        arrays[name] = np.array(leaf if real else _checks.array("train.save", name or "tree", leaf), order="C")
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(format_.save(arrays, {"keys": json.dumps(implementations)}))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def restore(path: str | os.PathLike[str], *, like: PyTree) -> PyTree:
    """Reads what `save` wrote.

    Args:
      path: the file.
      like: a tree with the structure, shapes and dtypes to read: a freshly made state, or its `jax.eval_shape`.

    Returns:
      A tree of that structure.

    Raises:
      ValueError: if the file lacks a leaf, has others, or one has another shape or dtype, or key implementation.
      FileNotFoundError: if there is no such file.
      ImportError: if safetensors is not installed.

    Example:
      See `save`.
    """
    name = "train.restore"
    _safetensors(name)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            implementations: dict[str, str] = json.loads((file.metadata() or {}).get("keys", "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise _checks.value_error(
            name, "path", f"{os.fspath(path)} ({error})", "a whole safetensors file", "Was it cut off?"
        ) from error
    wanted = paths(like)
    if set(found) != set(wanted):
        raise _checks.value_error(
            name, "like", f"a tree with the leaves {sorted(wanted)}", f"those of the file, {sorted(found)}",
            "Make it with the model and optimizer that the file was saved from.",
        )  # fmt: skip

    def leaf(key: str, spec: Any) -> Any:
        value: Any = found[key]
        if key in implementations:
            value = jax.random.wrap_key_data(jnp.asarray(value), impl=implementations[key])
        if not hasattr(spec, "dtype"):
            spec = jnp.asarray(spec)
        if value.shape != spec.shape or value.dtype != spec.dtype:
            raise _checks.value_error(
                name, "like", f"{_checks.describe(spec)} at '{key}'", _checks.describe(value), "See the file's leaves."
            )
        return jnp.asarray(value)

    return jax.tree.unflatten(jax.tree.structure(like), [leaf(key, spec) for key, spec in wanted.items()])


def _safetensors(function: str) -> Any:
    try:
        import safetensors.numpy as format_
    except ImportError as error:
        raise ImportError(
            f"dlcore.{function}: safetensors is not installed. Install dlcore with its extra 'app': "
            "pip install '.[app]' in a clone."
        ) from error
    return format_
