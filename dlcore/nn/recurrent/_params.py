"""The parameters that all recurrent layers have: two kernels and two biases, the gates side by side."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, DType, Key, Params
from dlcore.kernels.recurrence import Cell, Kernels, State
from dlcore.nn import initializers
from dlcore.nn._affine import float_dtype

__all__ = ["Weights", "draw", "opened"]

BIASES = ("input_bias", "recurrent_bias")


class Weights(NamedTuple):
    """The leaves of `params` in the dtype to compute in; a bias that is not there is None."""

    input_kernel: Array
    recurrent_kernel: Array
    input_bias: Array | None
    recurrent_bias: Array | None

    @property
    def features(self) -> int:
        return self.recurrent_kernel.shape[0]

    @property
    def kernels(self) -> Kernels:
        """All four; zeros stand for a bias that is not there."""
        none = jnp.zeros(self.recurrent_kernel.shape[1:], self.recurrent_kernel.dtype)
        biases = (none if bias is None else bias for bias in (self.input_bias, self.recurrent_bias))
        return Kernels(self.input_kernel, self.recurrent_kernel, *biases)

    def step(self, cell: Cell, state: State, x: Array) -> State:
        """The state after x."""
        w, u, b, c = self.kernels
        return cell.step(u, c, state, x @ w + broadcast_to_rank(b, x.ndim))[0]


def draw(
    name: str,
    key: Key,
    in_features: int,
    features: int,
    gates: int,
    use_bias: bool,
    input_kernel_init: initializers.Initializer,
    recurrent_kernel_init: initializers.Initializer,
    bias_init: initializers.Initializer,
    dtype: DType,
) -> dict[str, Array]:
    """Parameters in which each gate's block is drawn by itself: the fans, and what is orthogonal, are one gate's."""
    key = _checks.key(name, key)
    d = _checks.integer(name, "in_features", in_features, low=1)
    f = _checks.integer(name, "features", features, low=1)
    dtype = float_dtype(name, dtype)
    # There is no orthogonal matrix to be had in half precision.
    wide = compute_dtype(dtype)
    keys = jax.random.split(key, 4)

    def kernel(init: initializers.Initializer, key: Key, rows: int) -> Array:
        blocks = jnp.zeros((rows, gates * f), wide)
        for gate, own in enumerate(jax.random.split(key, gates)):
            blocks = blocks.at[:, gate * f : (gate + 1) * f].set(init(own, (rows, f), wide))
        return blocks.astype(dtype)

    params = {
        "input_kernel": kernel(input_kernel_init, keys[0], d),
        "recurrent_kernel": kernel(recurrent_kernel_init, keys[1], f),
    }
    if use_bias:
        for leaf, own in zip(BIASES, keys[2:], strict=True):
            params[leaf] = bias_init(own, (gates * f,), dtype)
    return params


def opened(name: str, params: Params, x: Array, gates: int) -> Weights:
    """The leaves of `params`, checked against each other and against `x`, (…, D)."""
    leaves = _checks.params(name, params, required=["input_kernel", "recurrent_kernel"], optional=BIASES)
    if len([leaf for leaf in BIASES if leaf in leaves]) == 1:
        raise _checks.value_error(
            name,
            "params",
            f"a dict with the leaves {list(leaves)}",
            f"both of {list(BIASES)}, or neither",
            "Zeros stand for a missing one.",
        )
    arrays = {leaf: _checks.array(name, f"params['{leaf}']", leaves[leaf]) for leaf in leaves}
    for leaf in arrays:
        _checks.same_dtype(name, x, f"params['{leaf}']", arrays[leaf])
    inputs, f = ((arrays[leaf].shape or (0,))[0] for leaf in ("input_kernel", "recurrent_kernel"))
    # The recurrent kernel says how many features there are, and so stands first.
    wanted = {"recurrent_kernel": (f, gates * f), "input_kernel": (inputs, gates * f)}
    for leaf, shape in (wanted | {leaf: (gates * f,) for leaf in BIASES if leaf in arrays}).items():
        if arrays[leaf].shape != shape:
            side = "" if gates == 1 else f": {gates} gates side by side"
            raise _checks.value_error(
                name,
                f"params['{leaf}']",
                f"shape {arrays[leaf].shape}",
                f"{shape}{side}, {f} features",
                "Make all leaves with one init; for those of other frameworks see nn.layouts.",
            )
    _checks.feature_axis(name, x, inputs, "params['input_kernel']")
    wide = {leaf: array.astype(compute_dtype(x.dtype)) for leaf, array in arrays.items()}
    return Weights(wide["input_kernel"], wide["recurrent_kernel"], wide.get("input_bias"), wide.get("recurrent_bias"))
