"""The parameters of recurrent layers: kernels beside each other, gates in dlcore's order.

dlcore's own: `{"input_kernel": (D, gates · F), "recurrent_kernel": (F, gates · F)}`, perhaps with `"input_bias"` and
`"recurrent_bias"`, (gates · F,) each; reset, update, new (GRU) and input, forget, cell, output (LSTM).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.nn.layouts import _blocks

__all__ = [
    "gru_from_flax", "gru_from_keras", "gru_from_onnx", "gru_from_torch", "lstm_from_flax", "lstm_from_keras",
    "lstm_from_onnx", "lstm_from_torch", "rnn_from_flax", "rnn_from_keras", "rnn_from_onnx", "rnn_from_torch",
]  # fmt: skip


def rnn_from_torch(
    weight_ih: ArrayLike, weight_hh: ArrayLike, bias_ih: ArrayLike | None = None, bias_hh: ArrayLike | None = None
) -> dict[str, Array]:
    """The parameters of `nn.rnn` from one layer and direction of PyTorch's `RNN`, or from its `RNNCell`.

        input_kernel = weight_ihᵀ,   recurrent_kernel = weight_hhᵀ

    Args:
      weight_ih: (F, D); PyTorch's `weight_ih_l0`, or `weight_ih_l0_reverse` for `nn.bidirectional`.
      weight_hh: (F, F).
      bias_ih: (F,), or None.
      bias_hh: (F,), or None with `bias_ih`.

    Returns: dlcore's params; PyTorch's `nonlinearity` is `nn.rnn`'s `activation`.

    Raises: ValueError if shapes do not fit, or one bias stands alone; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.rnn_from_torch(jnp.ones((3, 4)), jnp.ones((3, 3)))["input_kernel"].shape
      (4, 3)
    """
    return _blocks.from_torch("nn.layouts.rnn_from_torch", _blocks.ONE, weight_ih, weight_hh, bias_ih, bias_hh)


def gru_from_torch(
    weight_ih: ArrayLike, weight_hh: ArrayLike, bias_ih: ArrayLike | None = None, bias_hh: ArrayLike | None = None
) -> dict[str, Array]:
    """The parameters of `nn.gru` from one layer and direction of PyTorch's `GRU`, or from its `GRUCell`.

        input_kernel = weight_ihᵀ,   recurrent_kernel = weight_hhᵀ

    Args:
      weight_ih: (3F, D), reset, update, new; PyTorch's `weight_ih_l0`, or `weight_ih_l0_reverse`.
      weight_hh: (3F, F).
      bias_ih: (3F,), or None.
      bias_hh: (3F,), or None with `bias_ih`.

    Returns: dlcore's params, for `reset_after=True`.

    Raises: ValueError if shapes do not fit, or one bias stands alone; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.gru_from_torch(jnp.ones((9, 4)), jnp.ones((9, 3)))["input_kernel"].shape
      (4, 9)
    """
    return _blocks.from_torch("nn.layouts.gru_from_torch", _blocks.SAME_GRU, weight_ih, weight_hh, bias_ih, bias_hh)


def lstm_from_torch(
    weight_ih: ArrayLike, weight_hh: ArrayLike, bias_ih: ArrayLike | None = None, bias_hh: ArrayLike | None = None
) -> dict[str, Array]:
    """The parameters of `nn.lstm` from one layer and direction of PyTorch's `LSTM`, or from its `LSTMCell`.

        input_kernel = weight_ihᵀ,   recurrent_kernel = weight_hhᵀ

    Args:
      weight_ih: (4F, D), input, forget, cell, output; PyTorch's `weight_ih_l0`, or `weight_ih_l0_reverse`.
      weight_hh: (4F, F); a projected LSTM (`proj_size`) has no counterpart here.
      bias_ih: (4F,), or None.
      bias_hh: (4F,), or None with `bias_ih`.

    Returns: dlcore's params.

    Raises: ValueError if shapes do not fit, or one bias stands alone; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.lstm_from_torch(jnp.ones((12, 4)), jnp.ones((12, 3)))["input_kernel"].shape
      (4, 12)
    """
    return _blocks.from_torch("nn.layouts.lstm_from_torch", _blocks.SAME_LSTM, weight_ih, weight_hh, bias_ih, bias_hh)


def rnn_from_keras(kernel: ArrayLike, recurrent_kernel: ArrayLike, bias: ArrayLike | None = None) -> dict[str, Array]:
    """The parameters of `nn.rnn` from the weights of Keras' `SimpleRNN`.

        input_bias = bias,   recurrent_bias = 0

    Args:
      kernel: (D, F).
      recurrent_kernel: (F, F).
      bias: (F,), or None.

    Returns: dlcore's params.

    Raises: ValueError if shapes do not fit; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.rnn_from_keras(jnp.ones((4, 3)), jnp.ones((3, 3)), jnp.ones(3))["recurrent_bias"]
      Array([0., 0., 0.], dtype=float32)
    """
    return _blocks.from_keras("nn.layouts.rnn_from_keras", _blocks.ONE, kernel, recurrent_kernel, bias)


def gru_from_keras(
    kernel: ArrayLike, recurrent_kernel: ArrayLike, bias: ArrayLike | None = None, *, reset_after: bool
) -> dict[str, Array]:
    """The parameters of `nn.gru` from the weights of Keras' `GRU`.

        [W_r, W_z, W_n] = reordered [kernel_z, kernel_r, kernel_h]

    Args:
      kernel: (D, 3F), update, reset, new.
      recurrent_kernel: (F, 3F).
      bias: None; (2, 3F) with `reset_after`, the input's before the recurrent one; (3F,) without, the input's.
      reset_after: Keras' option of that name (its default is True), which goes to `nn.gru` too.

    Returns: dlcore's params.

    Raises: ValueError if shapes do not fit; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.gru_from_keras(jnp.array([[1.0, 2.0, 3.0]]), jnp.ones((1, 3)), reset_after=True)["input_kernel"]
      Array([[2., 1., 3.]], dtype=float32)
    """
    name = "nn.layouts.gru_from_keras"
    if not isinstance(reset_after, bool):
        raise _checks.type_error(
            name, "reset_after", _checks.describe(reset_after), "True or False", "Keras' own is True."
        )
    return _blocks.from_keras(name, _blocks.UPDATE_FIRST, kernel, recurrent_kernel, bias, two_biases=reset_after)


def lstm_from_keras(kernel: ArrayLike, recurrent_kernel: ArrayLike, bias: ArrayLike | None = None) -> dict[str, Array]:
    """The parameters of `nn.lstm` from the weights of Keras' `LSTM`.

        input_bias = bias,   recurrent_bias = 0

    Args:
      kernel: (D, 4F), input, forget, cell, output.
      recurrent_kernel: (F, 4F).
      bias: (4F,), or None.

    Returns: dlcore's params.

    Raises: ValueError if shapes do not fit; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> sorted(layouts.lstm_from_keras(jnp.ones((4, 12)), jnp.ones((3, 12))))
      ['input_kernel', 'recurrent_kernel']
    """
    return _blocks.from_keras("nn.layouts.lstm_from_keras", _blocks.SAME_LSTM, kernel, recurrent_kernel, bias)


def rnn_from_flax(params: Mapping[str, Any]) -> dict[str, Array]:
    """The parameters of `nn.rnn` from those of Flax Linen's `SimpleCell`.

        input_kernel = params["i"]["kernel"],   recurrent_kernel = params["h"]["kernel"]

    Args:
      params: `{"i": {"kernel": (D, F), "bias": (F,)}, "h": {"kernel": (F, F)}}`.

    Returns: dlcore's params; a bias that Flax does not have is zeros.

    Raises: ValueError if a part is missing or shapes do not fit; TypeError if `params` is no dict of such.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> params = layouts.rnn_from_flax({"i": {"kernel": jnp.ones((4, 3))}, "h": {"kernel": jnp.ones((3, 3))}})
      >>> params["input_kernel"].shape
      (4, 3)
    """
    return _blocks.from_flax("nn.layouts.rnn_from_flax", ("",), params)


def gru_from_flax(params: Mapping[str, Any]) -> dict[str, Array]:
    """The parameters of `nn.gru` from those of Flax Linen's `GRUCell`.

        input_kernel = [ir, iz, in],   recurrent_kernel = [hr, hz, hn]

    Args:
      params: `{"ir": {"kernel": (D, F), "bias": (F,)}, …, "hr": {"kernel": (F, F)}, …}`, six parts.

    Returns: dlcore's params, for `reset_after=True`; a bias that Flax does not have is zeros.

    Raises: ValueError if a part is missing or shapes do not fit; TypeError if `params` is no dict of such.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> parts = {f"i{gate}": {"kernel": jnp.ones((4, 3))} for gate in "rzn"}
      >>> parts |= {f"h{gate}": {"kernel": jnp.ones((3, 3))} for gate in "rzn"}
      >>> layouts.gru_from_flax(parts)["input_kernel"].shape
      (4, 9)
    """
    return _blocks.from_flax("nn.layouts.gru_from_flax", ("r", "z", "n"), params)


def lstm_from_flax(params: Mapping[str, Any]) -> dict[str, Array]:
    """The parameters of `nn.lstm` from those of Flax Linen's `LSTMCell` or `OptimizedLSTMCell`.

        input_kernel = [ii, if, ig, io],   recurrent_kernel = [hi, hf, hg, ho]

    Args:
      params: `{"ii": {"kernel": (D, F)}, …, "hi": {"kernel": (F, F), "bias": (F,)}, …}`, eight parts.

    Returns: dlcore's params; a bias that Flax does not have is zeros.

    Raises: ValueError if a part is missing or shapes do not fit; TypeError if `params` is no dict of such.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> parts = {f"i{gate}": {"kernel": jnp.ones((4, 3))} for gate in "ifgo"}
      >>> parts |= {f"h{gate}": {"kernel": jnp.ones((3, 3))} for gate in "ifgo"}
      >>> layouts.lstm_from_flax(parts)["input_kernel"].shape
      (4, 12)
    """
    return _blocks.from_flax("nn.layouts.lstm_from_flax", ("i", "f", "g", "o"), params)


def rnn_from_onnx(w: ArrayLike, r: ArrayLike, b: ArrayLike | None = None) -> dict[str, Array]:
    """The parameters of `nn.rnn` from one direction of ONNX' RNN.

        input_kernel = wᵀ,   recurrent_kernel = rᵀ,   [input_bias, recurrent_bias] = b

    Args:
      w: (F, D): one direction of ONNX' W, as W[0]; W[1] is the backward layer of `nn.bidirectional`.
      r: (F, F).
      b: (2F,), the input's before the recurrent one, or None.

    Returns: dlcore's params. ONNX' sequences are (T, B, D) by default: `jax.numpy.moveaxis(X, 0, 1)`.

    Raises: ValueError if shapes do not fit; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.rnn_from_onnx(jnp.ones((3, 4)), jnp.ones((3, 3)))["input_kernel"].shape
      (4, 3)
    """
    return _blocks.from_onnx("nn.layouts.rnn_from_onnx", _blocks.ONE, w, r, b)


def gru_from_onnx(w: ArrayLike, r: ArrayLike, b: ArrayLike | None = None) -> dict[str, Array]:
    """The parameters of `nn.gru` from one direction of ONNX' GRU.

        [W_r, W_z, W_n] = reordered [w_z, w_r, w_h]ᵀ

    Args:
      w: (3F, D), update, reset, new: one direction of ONNX' W, as W[0].
      r: (3F, F).
      b: (6F,), the input's before the recurrent one, or None.

    Returns: dlcore's params, for `reset_after=bool(linear_before_reset)`: ONNX' default is 0, dlcore's True.

    Raises: ValueError if shapes do not fit; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.gru_from_onnx(jnp.array([[1.0], [2.0], [3.0]]), jnp.ones((3, 1)))["input_kernel"]
      Array([[2., 1., 3.]], dtype=float32)
    """
    return _blocks.from_onnx("nn.layouts.gru_from_onnx", _blocks.UPDATE_FIRST, w, r, b)


def lstm_from_onnx(w: ArrayLike, r: ArrayLike, b: ArrayLike | None = None) -> dict[str, Array]:
    """The parameters of `nn.lstm` from one direction of ONNX' LSTM.

        [W_i, W_f, W_g, W_o] = reordered [w_i, w_o, w_f, w_c]ᵀ

    Args:
      w: (4F, D), input, output, forget, cell: one direction of ONNX' W, as W[0].
      r: (4F, F).
      b: (8F,), the input's before the recurrent one, or None. Peepholes (ONNX' P) have no counterpart here.

    Returns: dlcore's params.

    Raises: ValueError if shapes do not fit; TypeError if one is no floating array.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore.nn import layouts
      >>> layouts.lstm_from_onnx(jnp.array([[1.0], [2.0], [3.0], [4.0]]), jnp.ones((4, 1)))["input_kernel"]
      Array([[1., 3., 4., 2.]], dtype=float32)
    """
    return _blocks.from_onnx("nn.layouts.lstm_from_onnx", _blocks.OUTPUT_SECOND, w, r, b)
