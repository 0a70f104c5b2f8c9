"""Errors that teach: function, argument, what came, what was expected, how to mend it.

Only what is static is looked at (shapes, dtypes, option values), so a check costs nothing once a
function is compiled, and works on tracers. Public functions call these at their boundary, once.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._typing import Array

__all__ = [
    "array",
    "axes",
    "booleans",
    "describe",
    "feature_axis",
    "floating",
    "fraction",
    "integer",
    "integers",
    "key",
    "labels",
    "mask",
    "number",
    "one_of",
    "params",
    "same_dtype",
    "same_shape",
    "scalar",
    "spatial",
    "type_error",
    "value_error",
]


# The dtypes that every function keeps; the eight-bit ones of the same family are storage formats.
FLOATS = tuple(map(jnp.dtype, (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)))


def _message(function: str, argument: str, came: object, expected: str, mend: str) -> str:
    return f"dlcore.{function}: `{argument}` came as {came}; expected {expected}. {mend}"


def value_error(function: str, argument: str, came: object, expected: str, mend: str) -> ValueError:
    """The error for an argument of the right kind with a wrong shape or value."""
    return ValueError(_message(function, argument, came, expected, mend))


def type_error(function: str, argument: str, came: object, expected: str, mend: str) -> TypeError:
    """The error for an argument of a wrong kind or dtype."""
    return TypeError(_message(function, argument, came, expected, mend))


def describe(value: object) -> str:
    """A short account of a value for a message: 'float32 of shape (8, 3)', or its repr."""
    if isinstance(value, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def array(function: str, argument: str, value: Any) -> Array:
    """Any real array or number as a JAX array; lists, strings, keys and complex numbers are refused."""
    if isinstance(value, (jax.Array, np.ndarray, np.generic, bool, int, float)):
        dtype = value.dtype if hasattr(value, "dtype") else np.result_type(type(value))
        if jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.bool_):
            if jnp.issubdtype(dtype, np.complexfloating):
                raise type_error(function, argument, describe(value), "real numbers", "Pass x.real and x.imag apart.")
            try:
                return jnp.asarray(value)
            except OverflowError as error:
                raise value_error(function, argument, value, "a number that int32 holds", "Pass a float.") from error
    raise type_error(
        function,
        argument,
        describe(value),
        "an array of numbers",
        "Convert it first: jax.numpy.asarray(...).",
    )


def floating(function: str, argument: str, value: Any) -> Array:
    """An array of float16, bfloat16, float32 or float64."""
    x = array(function, argument, value)
    if x.dtype not in FLOATS:
        raise type_error(
            function,
            argument,
            describe(x),
            "floating point numbers",
            f"Cast it: {argument}.astype(jax.numpy.float32).",
        )
    return x


def key(function: str, value: Any) -> Array:
    """One typed PRNG key."""
    if value is None:
        raise value_error(
            function,
            "key",
            "None",
            "a typed PRNG key, because this draws random numbers",
            "Pass key=jax.random.key(seed), split once for each use; to evaluate, leave the random layer "
            "out (models: train=False).",
        )
    if not (isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raw = isinstance(value, (jax.Array, np.ndarray)) and value.dtype == np.uint32
        raise type_error(
            function,
            "key",
            ("a raw key, " if raw else "") + describe(value),
            "a typed PRNG key",
            "Make it with jax.random.key(seed), not jax.random.PRNGKey(seed); jax.random.wrap_key_data(raw) converts.",
        )
    if value.shape != ():
        raise value_error(
            function,
            "key",
            f"an array of keys of shape {value.shape}",
            "one key",
            "Index it, or use jax.vmap.",
        )
    return value


def integer(function: str, argument: str, value: Any, *, low: int) -> int:
    """A whole number of at least `low`, as a Python int."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise type_error(function, argument, describe(value), f"a whole number, {low} or more", "It must be static.")
    if value < low:
        raise value_error(function, argument, value, f"a whole number, {low} or more", "Raise it.")
    return int(value)


def number(function: str, argument: str, value: Any, *, low: float = -math.inf, above: float = -math.inf) -> float:
    """A finite Python number, at least `low` and strictly greater than `above`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise type_error(function, argument, describe(value), "a Python number", "It must be static: use float(...).")
    bound = f" above {above:g}" if above > -math.inf else f" of at least {low:g}" if low > -math.inf else ""
    if not math.isfinite(value) or value < low or value <= above:
        raise value_error(function, argument, value, f"a finite number{bound}", "Correct the value.")
    return float(value)


def scalar(function: str, argument: str, value: Any, *, low: float = -math.inf, above: float = -math.inf) -> Any:
    """As `number`, or one floating array of rank 0 (perhaps traced), whose value cannot be looked at."""
    if isinstance(value, (jax.Array, np.ndarray)):
        if value.shape != () or not jnp.issubdtype(value.dtype, np.floating):
            raise type_error(function, argument, describe(value), "one floating number", "Use jax.vmap for several.")
        return value
    return number(function, argument, value, low=low, above=above)


def fraction(function: str, argument: str, value: Any) -> float:
    """A Python number in [0, 1]."""
    result = number(function, argument, value)
    if not 0.0 <= result <= 1.0:
        raise value_error(function, argument, value, "a number in [0, 1]", "Divide percentages by 100.")
    return result


def one_of(function: str, argument: str, value: Any, choices: Collection[str]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        words = ", ".join(repr(choice) for choice in choices)
        raise value_error(function, argument, describe(value), f"one of {words}", "Check the spelling.")
    return value


def spatial(function: str, argument: str, value: Any, count: int, *, low: int = 1) -> tuple[int, ...]:
    """An int for all of `count` spatial axes, or one entry for each, as a tuple."""
    if isinstance(value, numbers.Integral):
        return (integer(function, argument, value, low=low),) * count
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise type_error(function, argument, describe(value), "an int or a tuple of ints", "It must be static.")
    if len(value) != count:
        raise value_error(
            function,
            argument,
            f"{tuple(value)} with {len(value)} entries",
            f"{count}, one for each spatial axis",
            "Give an int to use it for every axis.",
        )
    return tuple(integer(function, argument, entry, low=low) for entry in value)


def axes(function: str, argument: str, value: Any, ndim: int) -> tuple[int, ...]:
    """One or several distinct negative axes of an array of rank `ndim`, sorted, without the last one."""
    entries = (value,) if isinstance(value, numbers.Integral) else value
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise type_error(
            function, argument, describe(value), "a negative int or a tuple of them", "For images: (-3, -2)."
        )
    result = tuple(sorted(integer(function, argument, entry, low=-(2**31)) for entry in entries))
    if any(axis >= -1 or axis < -ndim for axis in result) or len(set(result)) != len(result):
        raise value_error(
            function,
            argument,
            value,
            f"distinct spatial axes between {-ndim} and -2 (the last axis holds the channels)",
            "Count from the end, so that leading batch axes do not matter: (-3, -2) for images.",
        )
    return result


def distinct_axes(function: str, argument: str, value: Any, ndim: int) -> tuple[int, ...]:
    """One or several distinct axes of an array of rank `ndim`, negative and sorted."""
    entries = (value,) if isinstance(value, numbers.Integral) else value
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise type_error(
            function, argument, describe(value), "an int or a tuple of ints", "-1 is the last axis, the features."
        )
    whole = [integer(function, argument, entry, low=-(2**31)) for entry in entries]
    result = tuple(sorted(entry if entry < 0 else entry - ndim for entry in whole))
    if any(not -ndim <= entry < 0 for entry in result) or len(set(result)) != len(result):
        raise value_error(
            function,
            argument,
            value,
            f"distinct axes of an array that has {ndim}",
            "-1 is the last axis, the features.",
        )
    return result


def params(
    function: str, value: Any, *, required: Sequence[str], optional: Sequence[str] = (), argument: str = "params"
) -> Mapping[str, Any]:
    """A dict that holds the `required` leaves, perhaps the `optional` ones, and nothing else."""
    names = [*required, *optional]
    if not isinstance(value, Mapping):
        raise type_error(
            function,
            argument,
            describe(value),
            f"a dict with the leaves {names}",
            "Make it with the layer's own init function; mind the order: params before data.",
        )
    missing = [name for name in required if name not in value]
    unknown = [name for name in value if name not in names]
    if missing or unknown:
        raise value_error(
            function,
            argument,
            f"a dict with the leaves {list(value)}",
            f"{list(required)}" + (f" and perhaps {list(optional)}" if optional else ""),
            "Pass the params of this layer alone: params['name'] picks them out of a model's.",
        )
    return value


def feature_axis(function: str, x: Array, features: int, source: str, *, argument: str = "x") -> None:
    """The last axis of `x` has as many entries as `source` says."""
    if x.ndim == 0 or x.shape[-1] != features:
        raise value_error(
            function,
            argument,
            describe(x),
            f"{features} entries on the last axis, as {source} has",
            "Features and channels come last; move them there, or make the params for this width.",
        )


def same_shape(function: str, first: str, a: Array, second: str, b: Array) -> None:
    """Two arrays have one shape; nothing is broadcast."""
    if a.shape != b.shape:
        raise value_error(
            function,
            second,
            f"shape {b.shape}",
            f"the shape of `{first}`, {a.shape}",
            f"Nothing is broadcast here, since (B,) against (B, 1) would give (B, B): reshape one of the "
            f"two, or say jax.numpy.broadcast_to({second}, {first}.shape).",
        )


def same_dtype(function: str, x: Array, name: str, leaf: Array) -> None:
    """A parameter has the dtype of the data."""
    if leaf.dtype != x.dtype:
        raise type_error(
            function,
            name,
            f"{leaf.dtype}",
            f"{x.dtype}, the dtype of the data",
            f"Cast one of the two: jax.tree.map(lambda leaf: leaf.astype(x.dtype), params), or x.astype({leaf.dtype}).",
        )


def integers(function: str, argument: str, value: Any, mend: str) -> Array:
    """Integers in 32 bits or more, so that none turns into another: 256 is 0 in eight bits, 2³² is 0 in 32."""
    if isinstance(value, np.ndarray) and value.dtype in (np.int64, np.uint64):
        # Without x64, JAX would cut NumPy's 64 bits; at the bounds of 32 they stay outside of every range.
        held = np.iinfo(jax.dtypes.canonicalize_dtype(value.dtype))
        value = np.clip(value, held.min, held.max)
    result = array(function, argument, value)
    if not jnp.issubdtype(result.dtype, np.integer):
        raise type_error(function, argument, describe(result), "integers", mend)
    return result if result.dtype.itemsize >= 4 else result.astype(jnp.int32)


def booleans(function: str, argument: str, value: Any) -> Array:
    """An array of booleans."""
    result = array(function, argument, value)
    if result.dtype != np.bool_:
        raise type_error(
            function, argument, describe(result), "booleans", "Compare first: x > 0. Numbers would be weights."
        )
    return result


def mask(function: str, argument: str, value: Any, x: Array) -> Array:
    """Booleans of the rank of `x`, each axis of its size or of size 1."""
    result = booleans(function, argument, value)
    if result.ndim != x.ndim or any(a not in (1, b) for a, b in zip(result.shape, x.shape, strict=True)):
        raise value_error(
            function,
            argument,
            f"shape {result.shape}",
            f"{x.shape}, or 1 on axes that share an entry",
            "Add axes of size 1 where they are missing: where[:, None, None].",
        )
    return result


def labels(function: str, argument: str, value: Any, shape: tuple[int, ...], source: str) -> Array:
    """Integer labels of exactly `shape`, in 32 bits or more."""
    result = integers(
        function,
        argument,
        value,
        "Class labels are numbers in [0, classes); one-hot or soft labels go to the `..._probabilities` form. "
        f"To cast: {argument}.astype(jax.numpy.int32).",
    )
    if result.shape != shape:
        raise value_error(
            function,
            argument,
            f"shape {result.shape}",
            f"{shape}, the shape of `{source}` without its last axis",
            "Nothing is broadcast: reshape the labels.",
        )
    return result
