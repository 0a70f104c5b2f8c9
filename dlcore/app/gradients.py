"""`dlcore gradcheck`: finds the function, makes its arguments from their descriptions, and checks it."""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import gradcheck
from dlcore.app.errors import FailureError, UsageError

__all__ = ["argument", "load_function", "prove"]

# float32[5,4]   float32[3]=0   int32[5]<10
ARRAY = re.compile(r"([a-z]+\d*)\[([\d,\s]*)\](?:\s*([=<])\s*(\S+))?")
KEY = re.compile(r"key(?::(\d+))?")
SHAPES = "Describe an array as float32[5,4], float32[3]=0 or int32[5]<10, a key as key:7, a file as @x.npy."


def prove(
    target: str, args: Sequence[str], options: Sequence[str], *, modes: str, order: int, seed: int
) -> gradcheck.Report:
    """The report on one function, named and fed by text."""
    function = load_function(target)
    rng = np.random.default_rng(seed)
    values = [argument(text, rng) for text in args]
    keywords = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--option {text}: name=value is expected, such as rate=0.5.")
        keywords[name] = argument(value, rng)
    chosen = tuple(part.strip() for part in modes.split(","))
    unknown = set(chosen) - {"reverse", "forward"}
    if unknown:
        raise UsageError(f"--modes {modes}: reverse, forward or reverse,forward are expected.")
    try:
        return gradcheck.check(
            partial(function, **keywords) if keywords else function,
            *values,
            modes=chosen,
            order=order,
            key=jax.random.key(seed),
        )
    except (TypeError, ValueError) as error:
        if str(error).startswith("dlcore.gradcheck"):
            raise FailureError(f"{target}: {str(error).partition(': ')[2]}") from error
        raise


def load_function(target: str) -> Callable[..., Any]:
    """The function that `package.module:function` names; modules of the current folder are found too."""
    module_name, colon, path = target.partition(":")
    if not colon or not module_name or not path:
        raise UsageError(f"{target}: package.module:function is expected, such as dlcore.nn:softmax.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UsageError(f"{target}: there is no module {error.name} here.") from None
        raise
    for name in path.split("."):
        if not hasattr(found, name):
            public = [item for item in vars(found) if not item.startswith("_")] if hasattr(found, "__dict__") else []
            near = [item for item in public if item.lower().startswith(name[:3].lower())]
            hint = f" Is it one of {', '.join(sorted(near)[:8])}?" if near else ""
            raise UsageError(f"{target}: {module_name} has no {name}.{hint}")
        found = getattr(found, name)
    if not callable(found):
        raise UsageError(f"{target} is no function, but a {type(found).__name__}.")
    return found


def argument(text: str, rng: np.random.Generator) -> Any:
    """A value from its description."""
    text = text.strip()
    if text.startswith("@"):
        return _from_file(Path(text[1:]))
    key = KEY.fullmatch(text)
    if key:
        return jax.random.key(int(key[1] or 0))
    described = ARRAY.fullmatch(text)
    if described:
        return _array(text, described, rng)
    try:
        literal = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        if text.isidentifier():
            return text  # a word, such as SAME
        raise UsageError(f"--args {text}: this is no description of an argument. {SHAPES}") from error
    return _filled(literal, rng)


def _array(text: str, described: re.Match[str], rng: np.random.Generator) -> Any:
    name, sizes, sign, number = described.groups()
    try:
        dtype = jnp.dtype(name)
        shape = tuple(int(size) for size in sizes.split(",") if size.strip())
        value = float(number or 2)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--args {text}: {error}. {SHAPES}") from error
    with jax.enable_x64(dtype.itemsize >= 8 and dtype != np.complex64):
        if sign == "=":
            return jnp.full(shape, value, dtype)
        if jnp.issubdtype(dtype, np.integer):
            return jnp.asarray(rng.integers(0, max(int(value), 1), shape), dtype)
        if sign == "<":
            raise UsageError(f"--args {text}: a bound is for integers. {SHAPES}")
        if dtype == np.bool_:
            return jnp.asarray(rng.random(shape) < 0.5)
        numbers = rng.standard_normal(shape)
        return jnp.asarray(numbers + 1j * rng.standard_normal(shape) if dtype.kind == "c" else numbers, dtype)


def _filled(literal: Any, rng: np.random.Generator) -> Any:
    """Descriptions inside a literal become arrays; a list of numbers is an array too, a tuple stays what it is."""
    if isinstance(literal, dict):
        return {name: _filled(value, rng) for name, value in literal.items()}
    if isinstance(literal, tuple):
        return tuple(_filled(value, rng) for value in literal)
    if isinstance(literal, list):
        try:
            numbers = np.asarray(literal)
        except ValueError:
            numbers = np.asarray(None)
        if numbers.dtype.kind in "bif":
            return jnp.asarray(numbers, jnp.float32) if numbers.dtype.kind == "f" else jnp.asarray(numbers)
        return [_filled(value, rng) for value in literal]
    if isinstance(literal, str) and (ARRAY.fullmatch(literal) or KEY.fullmatch(literal) or literal.startswith("@")):
        return argument(literal, rng)
    return literal


def _from_file(path: Path) -> Any:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--args @{path}: cannot be read as .npy or .npz ({error}).") from error
    if isinstance(found, np.ndarray):
        return found
    with found:
        return {name: found[name] for name in found.files}
