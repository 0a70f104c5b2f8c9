"""The plain recurrent layer, of Elman."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, DType, Key, Params
from dlcore.kernels.recurrence import Cell, plain_recurrence
from dlcore.kernels.recurrence import rnn_cell as rnn_step
from dlcore.nn import initializers
from dlcore.nn.activations.rectified import relu
from dlcore.nn.recurrent import _params, _steps

__all__ = ["rnn", "rnn_cell", "rnn_init"]

Activation: TypeAlias = str | Callable[[Array], Array]
CELLS = {"tanh": rnn_step(jnp.tanh), "relu": rnn_step(relu)}


def rnn_init(
    key: Key,
    in_features: int,
    features: int,
    *,
    use_bias: bool = True,
    input_kernel_init: initializers.Initializer = initializers.lecun_normal(),
    recurrent_kernel_init: initializers.Initializer = initializers.orthogonal(),
    bias_init: initializers.Initializer = initializers.zeros,
    dtype: DType = jnp.float32,
) -> dict[str, Array]:
    """The parameters of `rnn` and `rnn_cell`.

    Args:
      key: a typed PRNG key.
      in_features: D, the width of the input.
      features: F, the width of the state.
      use_bias: whether there are the leaves `input_bias` and `recurrent_bias`.
      input_kernel_init: draws the input kernel; by default variance 1 / D, as for `nn.dense`.
      recurrent_kernel_init: draws the recurrent kernel; by default orthogonal, which keeps the length of the state.
      bias_init: draws both biases; zeros by default.
      dtype: of the parameters.

    Returns:
      `{"input_kernel": (D, F), "recurrent_kernel": (F, F), "input_bias": (F,), "recurrent_bias": (F,)}`.

    Raises:
      ValueError, TypeError: if a width is below 1, `dtype` is not floating, or `key` is not one typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> sorted(nn.rnn_init(jax.random.key(0), 4, 3))
      ['input_bias', 'input_kernel', 'recurrent_bias', 'recurrent_kernel']

    Source: Saxe, McClelland & Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks" (orthogonal kernels).
    """
    return _params.draw(
        "nn.rnn_init", key, in_features, features, 1, use_bias,
        input_kernel_init, recurrent_kernel_init, bias_init, dtype,
    )  # fmt: skip


def rnn_cell(params: Params, h: ArrayLike, x: ArrayLike, *, activation: Activation = "tanh") -> Array:
    """One step of a plain recurrent layer.

        h' = a(x W + b + h U + c)

    Args:
      params: `{"input_kernel": W (D, F), "recurrent_kernel": U (F, F)}`, perhaps with `"input_bias": b (F,)` and
        `"recurrent_bias": c (F,)`, both or none; in the dtype of `x`.
      h: the state, (*batch, F), in the dtype of `x`.
      x: (*batch, D), floating.
      activation: a: "tanh", "relu", or a function of an array that keeps its shape and dtype; half precision is
        handed to it as float32.

    Returns:
      h', (*batch, F), in the dtype of `x`; computed in float32 or wider.

    Raises:
      ValueError: if shapes do not fit, one bias stands alone, or the activation is unknown or changes the shape.
      TypeError: if dtypes differ or are not floating, or the activation changes the dtype.

    Gradient: that of the activation: smooth for "tanh"; for "relu" 0 at its kink.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> params = {"input_kernel": jnp.array([[1.0]]), "recurrent_kernel": jnp.array([[0.5]])}
      >>> nn.rnn_cell(params, jnp.array([2.0]), jnp.array([3.0]), activation="relu")
      Array([4.], dtype=float32)

    Source: Elman 1990, "Finding structure in time". Two biases as in cuDNN, PyTorch and ONNX; Keras' and Flax' one
    bias is either of them, beside zeros.
    """
    name = "nn.rnn_cell"
    values = _checks.floating(name, "x", x)
    weights = _params.opened(name, params, values, 1)
    state = _steps.state_of(name, "h", h, values, values.shape[:-1], weights.features)
    wide = compute_dtype(values.dtype)
    (out,) = weights.step(_cell(name, activation), (state.astype(wide),), values.astype(wide))
    return out.astype(values.dtype)


def rnn(
    params: Params,
    x: ArrayLike,
    *,
    initial_state: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    unroll: int = 1,
    activation: Activation = "tanh",
) -> tuple[Array, Array]:
    """A plain recurrent layer through time.

        h_t = a(x_t W + b + h_{t−1} U + c),   ys = h_1, …, h_T

    Args:
      params: as for `rnn_cell`.
      x: (*batch, T, D), floating; T may be 0.
      initial_state: h_0, (*batch, F), in the dtype of `x`; zeros if `None`.
      lengths: integers (*batch,): how many steps of each sequence count, all if `None`; below 0 is 0, beyond T is T.
        A later step leaves the state alone and outputs zeros, and what `x` holds there reaches neither a value nor a
        gradient.
      reverse: from the last step that counts to the first; `ys` stays in the order of `x`.
      unroll: how many steps are one turn of the compiled loop: more compile longer and may run faster.
      activation: as for `rnn_cell`.

    Returns:
      `(ys, h)`: all states, (*batch, T, F), and the last one, (*batch, F), in the dtype of `x`. Between steps the
      state is float32 or wider: half precision is rounded once in what is handed out, not at each step.

    Raises:
      ValueError: if shapes do not fit, one bias stands alone, or an option is out of range or unknown.
      TypeError: if dtypes differ or are not floating, `lengths` are not integers, or an option is of the wrong kind.

    Gradient: that of the activation: smooth for "tanh"; for "relu" 0 at its kink.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> params = {"input_kernel": jnp.array([[1.0]]), "recurrent_kernel": jnp.array([[0.5]])}
      >>> ys, h = nn.rnn(params, jnp.array([[4.0], [1.0], [7.0]]), lengths=jnp.array(2), activation="relu")
      >>> ys.ravel()
      Array([4., 3., 0.], dtype=float32)
      >>> h
      Array([3.], dtype=float32)

    Source: Elman 1990, "Finding structure in time". `lengths` as ONNX' and PyTorch's packed sequences; Keras' mask
    repeats the last output where here are zeros (its `zero_output_for_mask=True`).
    """
    name = "nn.rnn"
    values = _steps.sequence(name, x)
    weights = _params.opened(name, params, values, 1)
    cell = _cell(name, activation)
    # A function of the user's may hold on to anything, which a derivative rule must not.
    run = partial(plain_recurrence, cell) if callable(activation) else _steps.loop(cell, weights.features)
    ys, (h,) = _steps.through_time(
        name, weights, run, values, (initial_state,), lengths=lengths, reverse=reverse, unroll=unroll
    )
    return ys, h


def _cell(name: str, activation: Activation) -> Cell:
    """The step with an activation by its name, or with a function of the user, whose result is checked."""
    if not callable(activation):
        return CELLS[_checks.one_of(name, "activation", activation, tuple(CELLS))]

    def checked(x: Array) -> Array:
        y = activation(x)
        kind = (getattr(y, "shape", None), getattr(y, "dtype", None))
        if kind != (x.shape, x.dtype):
            error = _checks.type_error if kind[0] == x.shape else _checks.value_error
            raise error(
                name,
                "activation",
                f"a function that makes {_checks.describe(y)} of {_checks.describe(x)}",
                "one that keeps shape and dtype",
                "It is applied to each element.",
            )
        return y

    return rnn_step(checked)
