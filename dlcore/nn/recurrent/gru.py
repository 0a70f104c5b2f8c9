"""The gated recurrent unit."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import _checks
from dlcore._precision import compute_dtype
from dlcore._typing import Array, ArrayLike, DType, Key, Params
from dlcore.kernels.recurrence import gru_cell as gru_step
from dlcore.nn import initializers
from dlcore.nn.recurrent import _params, _steps

__all__ = ["gru", "gru_cell", "gru_init"]


def gru_init(
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
    """The parameters of `gru` and `gru_cell`; the gates stand side by side: reset, update, new.

    Args:
      key: a typed PRNG key.
      in_features: D, the width of the input.
      features: F, the width of the state.
      use_bias: whether there are the leaves `input_bias` and `recurrent_bias`.
      input_kernel_init: draws the input kernel, each gate's (D, F) by itself; by default variance 1 / D.
      recurrent_kernel_init: draws the recurrent kernel, each gate's (F, F) by itself; by default each is orthogonal.
        Keras draws the whole (F, 3F) as one orthogonal matrix, which is smaller by √3.
      bias_init: draws both biases; zeros by default.
      dtype: of the parameters.

    Returns:
      `{"input_kernel": (D, 3F), "recurrent_kernel": (F, 3F), "input_bias": (3F,), "recurrent_bias": (3F,)}`.

    Raises:
      ValueError, TypeError: if a width is below 1, `dtype` is not floating, or `key` is not one typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> params = nn.gru_init(jax.random.key(0), 4, 2)
      >>> params["input_kernel"].shape, params["recurrent_kernel"].shape
      ((4, 6), (2, 6))

    Source: Saxe, McClelland & Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks" (orthogonal kernels).
    """
    return _params.draw(
        "nn.gru_init", key, in_features, features, 3, use_bias,
        input_kernel_init, recurrent_kernel_init, bias_init, dtype,
    )  # fmt: skip


def gru_cell(params: Params, h: ArrayLike, x: ArrayLike, *, reset_after: bool = True) -> Array:
    """One step of a gated recurrent unit.

        r = σ(x W_r + b_r + h U_r + c_r),   z = σ(x W_z + b_z + h U_z + c_z)
        n = tanh(x W_n + b_n + r · (h U_n + c_n))            reset_after
        n = tanh(x W_n + b_n + (r · h) U_n + c_n)            otherwise
        h' = (1 − z) · n + z · h

    Args:
      params: `{"input_kernel": W (D, 3F), "recurrent_kernel": U (F, 3F)}`, perhaps with `"input_bias": b (3F,)` and
        `"recurrent_bias": c (3F,)`, both or none; the gates in the order reset, update, new; in the dtype of `x`.
      h: the state, (*batch, F), in the dtype of `x`.
      x: (*batch, D), floating.
      reset_after: whether the reset gate acts after the recurrent kernel or before it. After: cuDNN, PyTorch, Flax,
        Keras' default, ONNX' `linear_before_reset=1`. Before: the paper, Keras' `reset_after=False`, ONNX' default.

    Returns:
      h', (*batch, F), in the dtype of `x`; computed in float32 or wider.

    Raises:
      ValueError: if shapes do not fit, or one bias stands alone.
      TypeError: if dtypes differ or are not floating, or `reset_after` is not a boolean.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> params = {"input_kernel": jnp.zeros((1, 3)), "recurrent_kernel": jnp.zeros((1, 3))}
      >>> nn.gru_cell(params, jnp.array([1.0]), jnp.array([5.0]))  # z = 1/2, n = 0
      Array([0.5], dtype=float32)

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", eq. 5–8, where z weighs h as
    here. Keras and ONNX order the gates update, reset, new: `nn.layouts` reorders them.
    """
    name = "nn.gru_cell"
    values = _checks.floating(name, "x", x)
    weights = _params.opened(name, params, values, 3)
    state = _steps.state_of(name, "h", h, values, values.shape[:-1], weights.features)
    wide = compute_dtype(values.dtype)
    cell = gru_step(_steps.flag(name, "reset_after", reset_after))
    (out,) = weights.step(cell, (state.astype(wide),), values.astype(wide))
    return out.astype(values.dtype)


def gru(
    params: Params,
    x: ArrayLike,
    *,
    initial_state: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    reset_after: bool = True,
    unroll: int = 1,
) -> tuple[Array, Array]:
    """A gated recurrent unit through time.

        h_t = cell(params, h_{t−1}, x_t),   ys = h_1, …, h_T

    Args:
      params: as for `gru_cell`.
      x: (*batch, T, D), floating; T may be 0.
      initial_state: h_0, (*batch, F), in the dtype of `x`; zeros if `None`.
      lengths: integers (*batch,): how many steps of each sequence count, all if `None`; below 0 is 0, beyond T is T.
        A later step leaves the state alone and outputs zeros, and what `x` holds there reaches neither a value nor a
        gradient.
      reverse: from the last step that counts to the first; `ys` stays in the order of `x`.
      reset_after: as for `gru_cell`.
      unroll: how many steps are one turn of the compiled loop: more compile longer and may run faster.

    Returns:
      `(ys, h)`: all states, (*batch, T, F), and the last one, (*batch, F), in the dtype of `x`. Between steps the
      state is float32 or wider: half precision is rounded once in what is handed out, not at each step.

    Raises:
      ValueError: if shapes do not fit, one bias stands alone, or `unroll` is below 1.
      TypeError: if dtypes differ or are not floating, `lengths` are not integers, or an option is of the wrong kind.

    Gradient: smooth, without kinks.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> params = {"input_kernel": jnp.zeros((1, 3)), "recurrent_kernel": jnp.zeros((1, 3))}
      >>> ys, h = nn.gru(params, jnp.ones((3, 1)), initial_state=jnp.ones(1), lengths=jnp.array(2), reverse=True)
      >>> ys.ravel()
      Array([0.25, 0.5 , 0.  ], dtype=float32)
      >>> h
      Array([0.25], dtype=float32)

    Source: Cho et al. 2014; see `gru_cell`. `lengths` as ONNX' and PyTorch's packed sequences; Keras' mask repeats the
    last output where here are zeros (its `zero_output_for_mask=True`).
    """
    name = "nn.gru"
    values = _steps.sequence(name, x)
    weights = _params.opened(name, params, values, 3)
    run = _steps.loop(gru_step(_steps.flag(name, "reset_after", reset_after)), weights.features)
    ys, (h,) = _steps.through_time(
        name, weights, run, values, (initial_state,), lengths=lengths, reverse=reverse, unroll=unroll
    )
    return ys, h
