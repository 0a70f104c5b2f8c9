"""From the arrays of another framework to dlcore's leaves: the shapes checked, the gates' blocks reordered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore import _checks
from dlcore._typing import Array

__all__ = [
    "ONE", "OUTPUT_SECOND", "SAME_GRU", "SAME_LSTM", "UPDATE_FIRST", "from_flax", "from_keras", "from_onnx",
    "from_torch",
]  # fmt: skip

# For each of dlcore's gates, the place of its block in the other framework's order.
ONE = (0,)
SAME_GRU = (0, 1, 2)
UPDATE_FIRST = (1, 0, 2)  # update, reset, new: Keras, ONNX
SAME_LSTM = (0, 1, 2, 3)
OUTPUT_SECOND = (0, 2, 3, 1)  # input, output, forget, cell: ONNX


def from_torch(
    name: str, order: tuple[int, ...], weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any
) -> dict[str, Array]:
    features, kernels = _kernels(name, order, ("weight_ih", weight_ih), ("weight_hh", weight_hh), outputs_first=True)
    if (bias_ih is None) != (bias_hh is None):
        alone, missing = ("bias_ih", "bias_hh") if bias_hh is None else ("bias_hh", "bias_ih")
        raise _checks.value_error(name, missing, "None", f"an array, as `{alone}` is one", "PyTorch has both or none.")
    if bias_ih is None:
        return kernels
    shape = (len(order) * features,)
    return kernels | {
        "input_bias": _reordered(_shaped(name, "bias_ih", bias_ih, shape), order),
        "recurrent_bias": _reordered(_shaped(name, "bias_hh", bias_hh, shape), order),
    }


def from_keras(
    name: str, order: tuple[int, ...], kernel: Any, recurrent_kernel: Any, bias: Any, *, two_biases: bool = False
) -> dict[str, Array]:
    features, kernels = _kernels(
        name, order, ("kernel", kernel), ("recurrent_kernel", recurrent_kernel), outputs_first=False
    )
    if bias is None:
        return kernels
    width = len(order) * features
    values = _shaped(name, "bias", bias, (2, width) if two_biases else (width,))
    inputs, recurrent = (values[0], values[1]) if two_biases else (values, jnp.zeros_like(values))
    return kernels | {"input_bias": _reordered(inputs, order), "recurrent_bias": _reordered(recurrent, order)}


def from_onnx(name: str, order: tuple[int, ...], w: Any, r: Any, b: Any) -> dict[str, Array]:
    features, kernels = _kernels(name, order, ("w", w), ("r", r), outputs_first=True)
    if b is None:
        return kernels
    width = len(order) * features
    values = _shaped(name, "b", b, (2 * width,))
    return kernels | {
        "input_bias": _reordered(values[:width], order), "recurrent_bias": _reordered(values[width:], order)
    }  # fmt: skip


def from_flax(name: str, gates: tuple[str, ...], params: Any) -> dict[str, Array]:
    wanted = [f"{side}{gate}" for side in "ih" for gate in gates]
    parts = _checks.params(name, params, required=wanted)
    for part in wanted:
        leaves = parts[part]
        if not isinstance(leaves, Mapping) or "kernel" not in leaves or set(leaves) - {"kernel", "bias"}:
            came = f"a dict with the leaves {list(leaves)}" if isinstance(leaves, Mapping) else _checks.describe(leaves)
            raise _checks.value_error(
                name,
                f"params['{part}']",
                came,
                "a dict with 'kernel' and perhaps 'bias'",
                "Pass the cell's own params.",
            )
    kernels = {
        side: _checks.floating(name, f"params['{side}{gates[0]}']['kernel']", parts[f"{side}{gates[0]}"]["kernel"])
        for side in "hi"
    }
    f = (*kernels["h"].shape, 0)[0]
    biased = any("bias" in parts[part] for part in wanted)
    result = {}
    for side, leaf, rows in (("i", "input", (*kernels["i"].shape, 0)[0]), ("h", "recurrent", f)):
        blocks: list[Array] = []
        biases: list[Array] = []
        for gate in gates:
            part = parts[f"{side}{gate}"]
            bias = part["bias"] if "bias" in part else jnp.zeros(f, kernels["h"].dtype)
            for found, kind, value, shape in (
                (blocks, "kernel", part["kernel"], (rows, f)),
                (biases, "bias", bias, (f,)),
            ):
                place = f"params['{side}{gate}']['{kind}']"
                array = _shaped(name, place, value, shape)
                _checks.same_dtype(name, kernels["h"], place, array)
                found.append(array)
        result[f"{leaf}_kernel"] = jnp.concatenate(blocks, -1)
        if biased:
            result[f"{leaf}_bias"] = jnp.concatenate(biases)
    return result


def _kernels(
    name: str, order: tuple[int, ...], inputs: tuple[str, Any], recurrent: tuple[str, Any], *, outputs_first: bool
) -> tuple[int, dict[str, Array]]:
    """F, and both kernels with the outputs last and the gates in dlcore's order."""
    arrays = []
    for argument, value in (recurrent, inputs):
        array = _checks.floating(name, argument, value)
        if array.ndim != 2:
            axes = "(gates · features, in)" if outputs_first else "(in, gates · features)"
            raise _checks.value_error(
                name, argument, f"shape {array.shape}", f"a matrix {axes}", "Pass one layer and direction at a time."
            )
        arrays.append(array)
    f = arrays[0].shape[1 if outputs_first else 0]
    d = arrays[1].shape[1 if outputs_first else 0]
    result = {}
    for leaf, argument, array, rows in (
        ("recurrent_kernel", recurrent[0], arrays[0], f),
        ("input_kernel", inputs[0], arrays[1], d),
    ):
        shape = (len(order) * f, rows) if outputs_first else (rows, len(order) * f)
        checked = _shaped(name, argument, array, shape)
        result[leaf] = _reordered(checked.T if outputs_first else checked, order)
    return f, result


def _shaped(name: str, argument: str, value: Any, shape: tuple[int, ...]) -> Array:
    array = _checks.floating(name, argument, value)
    if array.shape != shape:
        raise _checks.value_error(
            name, argument, f"shape {array.shape}", f"{shape}", "Pass the array as the other framework stores it."
        )
    return array


def _reordered(x: Array, order: tuple[int, ...]) -> Array:
    """The blocks of the last axis, in another order."""
    blocks = x.reshape(*x.shape[:-1], len(order), x.shape[-1] // len(order))
    return blocks[..., np.array(order), :].reshape(x.shape)
