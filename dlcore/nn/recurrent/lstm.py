"""Long short-term memory."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, DType, Key, Params
from dlcore.kernels.recurrence import lstm_cell as lstm_step
from dlcore.nn import initializers
from dlcore.nn.recurrent import _params, _steps

__all__ = ["lstm", "lstm_cell", "lstm_init"]


def lstm_init(
    key: Key,
    in_features: int,
    features: int,
    *,
    use_bias: bool = True,
    forget_bias: float = 1.0,
    input_kernel_init: initializers.Initializer = initializers.lecun_normal(),
    recurrent_kernel_init: initializers.Initializer = initializers.orthogonal(),
    bias_init: initializers.Initializer = initializers.zeros,
    dtype: DType = jnp.float32,
) -> dict[str, Array]:
    """The parameters of `lstm` and `lstm_cell`; the gates stand side by side: input, forget, cell, output.

    Args:
      key: a typed PRNG key.
      in_features: D, the width of the input.
      features: F, the width of the state.
      use_bias: whether there are the leaves `input_bias` and `recurrent_bias`.
      forget_bias: is added to the forget gate's part of `input_bias`, if there is one, so that a fresh layer remembers.
        1 is Keras' (`unit_forget_bias=True`); PyTorch and Flax add nothing: 0.
      input_kernel_init: draws the input kernel, each gate's (D, F) by itself; by default variance 1 / D.
      recurrent_kernel_init: draws the recurrent kernel, each gate's (F, F) by itself; by default each is orthogonal.
        Keras draws the whole (F, 4F) as one orthogonal matrix, which is smaller by 2.
      bias_init: draws both biases; zeros by default.
      dtype: of the parameters.

    Returns:
      `{"input_kernel": (D, 4F), "recurrent_kernel": (F, 4F), "input_bias": (4F,), "recurrent_bias": (4F,)}`.

    Raises:
      ValueError, TypeError: if a width is below 1, `forget_bias` is not a finite number, `dtype` is not floating, or
        `key` is not one typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> nn.lstm_init(jax.random.key(0), 3, 1)["input_bias"]
      Array([0., 1., 0., 0.], dtype=float32)

    Source: Gers, Schmidhuber & Cummins 2000, "Learning to forget"; Jozefowicz, Zaremba & Sutskever 2015, "An empirical
    exploration of recurrent network architectures", section 4 (a forget bias of 1).
    """
    remembered = _checks.number("nn.lstm_init", "forget_bias", forget_bias)
    params = _params.draw(
        "nn.lstm_init", key, in_features, features, 4, use_bias,
        input_kernel_init, recurrent_kernel_init, bias_init, dtype,
    )  # fmt: skip
    if use_bias:
        params["input_bias"] = params["input_bias"].at[features : 2 * features].add(remembered)
    return params


def lstm_cell(params: Params, state: tuple[ArrayLike, ArrayLike], x: ArrayLike) -> tuple[Array, Array]:
    """One step of long short-term memory.

        a = x W + b + h U + d,   i = σ(a_i),   f = σ(a_f),   g = tanh(a_g),   o = σ(a_o)
        c' = f · c + i · g
        h' = o · tanh(c')

    Args:
      params: `{"input_kernel": W (D, 4F), "recurrent_kernel": U (F, 4F)}`, perhaps with `"input_bias": b (4F,)` and
        `"recurrent_bias": d (4F,)`, both or none; the gates in the order input, forget, cell, output: i, f, g, o; in
        the dtype of `x`.
      state: `(h, c)`: the output and the memory, (*batch, F) each, in the dtype of `x`.
      x: (*batch, D), floating.

    Returns:
      `(h', c')`, (*batch, F) each, in the dtype of `x`; computed in float32 or wider.

    Raises:
      ValueError: if shapes do not fit, or one bias stands alone.
      TypeError: if `state` is not a pair, or dtypes differ or are not floating.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> params = {"input_kernel": jnp.zeros((1, 4)), "recurrent_kernel": jnp.zeros((1, 4))}
      >>> nn.lstm_cell(params, (jnp.array([0.0]), jnp.array([2.0])), jnp.array([5.0]))[1]  # f = 1/2, g = 0
      Array([1.], dtype=float32)

    Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", with the forget gate of Gers, Schmidhuber &
    Cummins 2000. PyTorch and Keras order the gates as here; ONNX input, output, forget, cell: `nn.layouts` reorders.
    """
    name = "nn.lstm_cell"
    values = _checks.floating(name, "x", x)
    weights = _params.opened(name, params, values, 4)
    wide = compute_dtype(values.dtype)
    h, c = (
        _steps.state_of(name, "state", part, values, values.shape[:-1], weights.features).astype(wide)
        for part in _pair(name, "state", state)
    )
    after, memory = weights.step(lstm_step, (h, c), values.astype(wide))
    return after.astype(values.dtype), memory.astype(values.dtype)


def lstm(
    params: Params,
    x: ArrayLike,
    *,
    initial_state: tuple[ArrayLike, ArrayLike] | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Array, tuple[Array, Array]]:
    """Long short-term memory through time.

        (h_t, c_t) = cell(params, (h_{t−1}, c_{t−1}), x_t),   ys = h_1, …, h_T

    Args:
      params: as for `lstm_cell`.
      x: (*batch, T, D), floating; T may be 0.
      initial_state: `(h_0, c_0)`, (*batch, F) each, in the dtype of `x`; zeros if `None`.
      lengths: integers (*batch,): how many steps of each sequence count, all if `None`; below 0 is 0, beyond T is T.
        A later step leaves the state alone and outputs zeros, and what `x` holds there reaches neither a value nor a
        gradient.
      reverse: from the last step that counts to the first; `ys` stays in the order of `x`.
      unroll: how many steps are one turn of the compiled loop: more compile longer and may run faster.

    Returns:
      `(ys, (h, c))`: all outputs, (*batch, T, F), and the last output and memory, (*batch, F) each, in the dtype of
      `x`. Between steps both are float32 or wider: half precision is rounded once in what is handed out, not at each
      step.

    Raises:
      ValueError: if shapes do not fit, one bias stands alone, or `unroll` is below 1.
      TypeError: if dtypes differ or are not floating, `initial_state` is not a pair, `lengths` are not integers, or an
        option is of the wrong kind.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> params = {"input_kernel": jnp.zeros((1, 4)), "recurrent_kernel": jnp.zeros((1, 4))}
      >>> ys, (h, c) = nn.lstm(params, jnp.ones((3, 1)), initial_state=(jnp.zeros(1), jnp.array([8.0])))
      >>> c  # f³ · 8
      Array([1.], dtype=float32)

    Source: Hochreiter & Schmidhuber 1997; see `lstm_cell`. `lengths` as ONNX' and PyTorch's packed sequences; Keras'
    mask repeats the last output where here are zeros (its `zero_output_for_mask=True`).
    """
    name = "nn.lstm"
    values = _steps.sequence(name, x)
    weights = _params.opened(name, params, values, 4)
    initial = (None, None) if initial_state is None else _pair(name, "initial_state", initial_state)
    run = _steps.loop(lstm_step, weights.features)
    ys, (h, c) = _steps.through_time(
        name, weights, run, values, initial, lengths=lengths, reverse=reverse, unroll=unroll
    )
    return ys, (h, c)


def _pair(name: str, argument: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        came = f"{len(value)} arrays" if isinstance(value, tuple | list) else _checks.describe(value)
        raise _checks.type_error(name, argument, came, "a pair (h, c)", "The memory c starts as zeros like h.")
    return value[0], value[1]
