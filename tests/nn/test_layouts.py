"""Each framework's own equations, in NumPy and float64, against dlcore's layer with the parameters laid out anew."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from dlcore.nn import layouts
from tests.tolerance import FLOATS, assert_close

B, T, D, F = 2, 3, 4, 3


def sigma(x):
    return 1 / (1 + np.exp(-x))


def torch_rnn(x, h, w, u, b, c):
    return np.tanh(x @ w.T + b + h @ u.T + c)


def torch_gru(x, h, w, u, b, c):
    """https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html"""
    w_r, w_z, w_n = np.split(w, 3)
    u_r, u_z, u_n = np.split(u, 3)
    (b_r, b_z, b_n), (c_r, c_z, c_n) = np.split(b, 3), np.split(c, 3)
    r = sigma(x @ w_r.T + b_r + h @ u_r.T + c_r)
    z = sigma(x @ w_z.T + b_z + h @ u_z.T + c_z)
    n = np.tanh(x @ w_n.T + b_n + r * (h @ u_n.T + c_n))
    return (1 - z) * n + z * h


def torch_lstm(x, state, w, u, b, c):
    """https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html"""
    h, memory = state
    i, f, g, o = (
        x @ w.T + b + h @ u.T + c for w, u, b, c in zip(*(np.split(part, 4) for part in (w, u, b, c)), strict=True)
    )
    memory = sigma(f) * memory + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(memory), memory


def keras_gru(x, h, w, u, b, reset_after):
    """Keras' GRUCell.call: update, reset, candidate."""
    w_z, w_r, w_h = np.split(w, 3, 1)
    u_z, u_r, u_h = np.split(u, 3, 1)
    inputs, recurrent = (b[0], b[1]) if reset_after else (b, np.zeros_like(b))
    (b_z, b_r, b_h), (c_z, c_r, c_h) = np.split(inputs, 3), np.split(recurrent, 3)
    z = sigma(x @ w_z + b_z + h @ u_z + c_z)
    r = sigma(x @ w_r + b_r + h @ u_r + c_r)
    mixed = r * (h @ u_h + c_h) if reset_after else (r * h) @ u_h
    return z * h + (1 - z) * np.tanh(x @ w_h + b_h + mixed)


def onnx_gru(x, h, w, r, b, linear_before_reset):
    """https://onnx.ai/onnx/operators/onnx__GRU.html: update, reset, hidden."""
    w_z, w_r, w_h = np.split(w, 3)
    r_z, r_r, r_h = np.split(r, 3)
    wb_z, wb_r, wb_h, rb_z, rb_r, rb_h = np.split(b, 6)
    z = sigma(x @ w_z.T + h @ r_z.T + wb_z + rb_z)
    reset = sigma(x @ w_r.T + h @ r_r.T + wb_r + rb_r)
    mixed = reset * (h @ r_h.T + rb_h) if linear_before_reset else (reset * h) @ r_h.T + rb_h
    return (1 - z) * np.tanh(x @ w_h.T + mixed + wb_h) + z * h


def onnx_lstm(x, state, w, r, b):
    """https://onnx.ai/onnx/operators/onnx__LSTM.html, without peepholes: input, output, forget, cell."""
    h, memory = state
    biases = np.split(b, 8)
    i, o, f, c = (
        x @ w.T + h @ r.T + wb + rb
        for w, r, wb, rb in zip(np.split(w, 4), np.split(r, 4), biases[:4], biases[4:], strict=True)
    )
    memory = sigma(f) * memory + sigma(i) * np.tanh(c)
    return sigma(o) * np.tanh(memory), memory


def keras_lstm(x, state, w, u, b):
    """Keras' LSTMCell.call: input, forget, cell, output."""
    return torch_lstm(x, state, w.T, u.T, b, np.zeros_like(b))


def linear(part, x):
    return x @ part["kernel"] + part.get("bias", 0)


def flax_gru(x, h, p):
    """Flax Linen's GRUCell."""
    r = sigma(linear(p["ir"], x) + linear(p["hr"], h))
    z = sigma(linear(p["iz"], x) + linear(p["hz"], h))
    n = np.tanh(linear(p["in"], x) + r * linear(p["hn"], h))
    return (1 - z) * n + z * h


def flax_lstm(x, state, p):
    """Flax Linen's LSTMCell."""
    h, memory = state
    i, f, g, o = (linear(p[f"i{gate}"], x) + linear(p[f"h{gate}"], h) for gate in "ifgo")
    memory = sigma(f) * memory + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(memory), memory


def flax_rnn(x, h, p):
    """Flax Linen's SimpleCell."""
    return np.tanh(linear(p["i"], x) + linear(p["h"], h))


def flax_parts(rng, gates, biased):
    """The parts of a Flax cell; `biased` names those with a bias."""
    parts = {}
    for side, rows in (("i", D), ("h", F)):
        for gate in gates:
            parts[side + gate] = {"kernel": rng.standard_normal((rows, F)).astype(np.float32)}
            if side + gate in biased:
                parts[side + gate]["bias"] = rng.standard_normal(F).astype(np.float32)
    return parts


def arrays(rng, *shapes):
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def widened(tree):
    if isinstance(tree, dict):
        return {name: widened(leaf) for name, leaf in tree.items()}
    return np.asarray(tree, np.float64)


def check(rng, cell, params, reference, weights, options=None):
    """One step from a random state is the other framework's."""
    memory = cell is nn.lstm_cell
    x, *state = arrays(rng, (B, D), *[(B, F)] * (2 if memory else 1))
    found = cell(params, tuple(map(jnp.asarray, state)) if memory else jnp.asarray(state[0]), x, **(options or {}))
    state = tuple(map(widened, state)) if memory else widened(state[0])
    wanted = reference(widened(x), state, *map(widened, weights))
    for a, b in zip(found if memory else (found,), wanted if memory else (wanted,), strict=True):
        assert_close(a, b, length=D + F, scale=1)


CELLS = {"rnn": (nn.rnn_cell, 1), "gru": (nn.gru_cell, 3), "lstm": (nn.lstm_cell, 4)}


@pytest.mark.parametrize("kind", CELLS)
def test_pytorchs_weights_give_pytorchs_step(rng, kind):
    cell, gates = CELLS[kind]
    weights = arrays(rng, (gates * F, D), (gates * F, F), (gates * F,), (gates * F,))
    reference = {"rnn": torch_rnn, "gru": torch_gru, "lstm": torch_lstm}[kind]
    layout = getattr(layouts, f"{kind}_from_torch")
    check(rng, cell, layout(*weights), reference, weights)
    zeros = np.zeros(gates * F, np.float32)
    check(rng, cell, layout(*weights[:2]), reference, (*weights[:2], zeros, zeros))


def test_keras_weights_give_keras_step(rng):
    w, u, b = arrays(rng, (D, F), (F, F), (F,))
    check(
        rng, nn.rnn_cell, layouts.rnn_from_keras(w, u, b), lambda x, h, w, u, b: np.tanh(x @ w + b + h @ u), (w, u, b)
    )
    weights = arrays(rng, (D, 4 * F), (F, 4 * F), (4 * F,))
    check(rng, nn.lstm_cell, layouts.lstm_from_keras(*weights), keras_lstm, weights)


@pytest.mark.parametrize("after", [True, False])
def test_keras_and_onnx_gru_come_in_both_forms(rng, after):
    options = {"reset_after": after}
    weights = arrays(rng, (D, 3 * F), (F, 3 * F), (2, 3 * F) if after else (3 * F,))
    step = lambda *args: keras_gru(*args, after)
    check(rng, nn.gru_cell, layouts.gru_from_keras(*weights, **options), step, weights, options)
    weights = arrays(rng, (3 * F, D), (3 * F, F), (6 * F,))
    check(rng, nn.gru_cell, layouts.gru_from_onnx(*weights), lambda *args: onnx_gru(*args, after), weights, options)


def test_onnx_weights_give_onnx_step(rng):
    w, r, b = arrays(rng, (F, D), (F, F), (2 * F,))
    step = lambda x, h, w, r, b: np.tanh(x @ w.T + h @ r.T + b[:F] + b[F:])
    check(rng, nn.rnn_cell, layouts.rnn_from_onnx(w, r, b), step, (w, r, b))
    weights = arrays(rng, (4 * F, D), (4 * F, F), (8 * F,))
    check(rng, nn.lstm_cell, layouts.lstm_from_onnx(*weights), onnx_lstm, weights)


@pytest.mark.parametrize("biased", [True, False])
def test_flax_params_give_flax_step(rng, biased):
    for kind, gates, own, reference in (
        ("rnn", ("",), ("i",), flax_rnn),
        ("gru", ("r", "z", "n"), ("ir", "iz", "in", "hn"), flax_gru),
        ("lstm", ("i", "f", "g", "o"), ("hi", "hf", "hg", "ho"), flax_lstm),
    ):
        parts = flax_parts(rng, gates, own if biased else ())
        params = getattr(layouts, f"{kind}_from_flax")(parts)
        assert ("input_bias" in params) == biased
        step = lambda x, state, reference=reference, parts=parts: reference(x, state, widened(parts))
        check(rng, CELLS[kind][0], params, step, ())


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in_and_init_makes_the_same_leaves(dtype, x64, key):
    params = layouts.gru_from_onnx(jnp.ones((9, 4), dtype), jnp.ones((9, 3), dtype), jnp.ones(18, dtype))
    made = nn.gru_init(key, 4, 3, dtype=dtype)
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in params.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in made.items()
    }


def test_channels_move_and_come_back(rng):
    for shape, batch_axes, last in (
        ((2, 3, 4, 5), 1, (2, 4, 5, 3)),
        ((2, 3, 4, 5), 2, (2, 3, 5, 4)),
        ((3, 4, 5), 0, (4, 5, 3)),
        ((2, 3), 1, (2, 3)),
        ((0, 3, 4), 1, (0, 4, 3)),
    ):
        x = rng.standard_normal(shape).astype(np.float32)
        y = layouts.channels_last(x, batch_axes=batch_axes)
        assert y.shape == last
        np.testing.assert_array_equal(layouts.channels_first(y, batch_axes=batch_axes), x)
    assert layouts.channels_last(np.ones((2, 3, 4), np.uint8)).dtype == jnp.uint8


@pytest.mark.parametrize("groups", [1, 2])
def test_pytorchs_convolution_is_dlcores(rng, groups):
    x, weight = arrays(rng, (2, 4, 5), (6, 4 // groups, 3))
    y = nn.conv(
        {"kernel": layouts.conv_kernel_from_torch(weight)}, layouts.channels_last(x), padding="VALID", groups=groups
    )
    wanted = np.zeros((2, 6, 3))
    for f in range(6):
        start = f // (6 // groups) * (4 // groups)  # the first channel of f's group
        for c in range(4 // groups):
            for p in range(3):
                wanted[:, f, p] += x[:, start + c, p : p + 3].astype(np.float64) @ weight[f, c]
    assert_close(layouts.channels_first(y), wanted, length=12, scale=2)


def test_a_depthwise_kernel_of_keras_has_its_outputs_channel_by_channel(rng):
    x, kernel = arrays(rng, (2, 5, 3), (2, 3, 2))
    y = nn.conv({"kernel": layouts.depthwise_kernel_from_keras(kernel)}, x, padding="VALID", groups=3)
    wide = x.astype(np.float64)
    wanted = [wide[:, :-1, c] * kernel[0, c, m] + wide[:, 1:, c] * kernel[1, c, m] for c in range(3) for m in range(2)]
    assert_close(y, np.stack(wanted, -1), length=2)


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_kernels_are_those_of_the_convolution_they_transpose(rng, stride):
    """y[f, p · stride + j] += x[c, p] · weight[c, f, j], PyTorch's; Flax' taps are in the other order."""
    x, weight = arrays(rng, (3, 4), (3, 2, 3))
    wanted = np.zeros((2, 3 * stride + 3))
    for p in range(4):
        for j in range(3):
            wanted[:, p * stride + j] += x[:, p].astype(np.float64) @ weight[:, :, j]
    kernel = layouts.conv_transpose_kernel_from_torch(weight)
    # ⟨conv(y), x⟩ = ⟨y, transposed(x)⟩ for every y.
    y = rng.standard_normal((3 * stride + 3, 2)).astype(np.float32)
    forward = nn.conv({"kernel": kernel}, y, strides=stride, padding="VALID")
    assert_close((forward * x.T).sum(), (y.astype(np.float64) * wanted.T).sum(), length=24, scale=10)
    flipped = np.transpose(weight, (2, 0, 1))[::-1]  # as Flax stores it: (window, in, out), slid
    np.testing.assert_array_equal(layouts.conv_transpose_kernel_from_flax(flipped.copy()), kernel)


def test_a_dense_layer_after_flattening_reads_the_same_image(rng):
    image, weight = arrays(rng, (2, 3, 4, 5), (6, 60))
    wanted = image.reshape(2, 60).astype(np.float64) @ weight.T
    rows = layouts.channels_last(image).reshape(2, 60)
    assert_close(rows @ layouts.dense_kernel_from_torch(weight, flattened=(3, 4, 5)), wanted, length=60, scale=10)
    np.testing.assert_array_equal(layouts.dense_kernel_from_torch(weight), weight.T)


ONES = np.ones((9, 4), np.float32), np.ones((9, 3), np.float32), np.ones(9, np.float32)
FLAX = {part: {"kernel": np.ones((3, 3), np.float32)} for part in ("i", "h")}


@pytest.mark.parametrize(
    ("function", "args", "options", "error", "argument"),
    [
        ("gru_from_torch", (ONES[0].T, ONES[1]), {}, ValueError, "weight_ih"),
        ("gru_from_torch", (ONES[0], np.ones((12, 3), np.float32)), {}, ValueError, "weight_hh"),
        ("gru_from_torch", (ONES[0][None], ONES[1]), {}, ValueError, "weight_ih"),
        ("gru_from_torch", (*ONES[:2], ONES[2]), {}, ValueError, "bias_hh"),
        ("gru_from_torch", (*ONES[:2], None, ONES[2]), {}, ValueError, "bias_ih"),
        ("gru_from_torch", (*ONES[:2], ONES[2], np.ones(3, np.float32)), {}, ValueError, "bias_hh"),
        ("lstm_from_torch", ONES[:2], {}, ValueError, "weight_hh"),
        ("rnn_from_torch", ([[1.0]], [[1.0]]), {}, TypeError, "weight_hh"),
        ("gru_from_keras", (ONES[0].T, ONES[1].T, ONES[2]), {"reset_after": True}, ValueError, "bias"),
        ("gru_from_keras", (ONES[0].T, ONES[1].T), {"reset_after": "yes"}, TypeError, "reset_after"),
        ("gru_from_keras", ONES[:2], {"reset_after": True}, ValueError, "recurrent_kernel"),
        ("gru_from_onnx", (*ONES[:2], ONES[2]), {}, ValueError, "b"),
        ("gru_from_onnx", (ONES[0], ONES[1].astype(int)), {}, TypeError, "r"),
        ("rnn_from_flax", ({"i": FLAX["i"]},), {}, ValueError, "params"),
        ("rnn_from_flax", (FLAX | {"h": np.ones(3)},), {}, ValueError, "params['h']"),
        ("rnn_from_flax", (FLAX | {"h": {"bias": np.ones(3)}},), {}, ValueError, "params['h']"),
        (
            "rnn_from_flax",
            (FLAX | {"i": {"kernel": np.ones((3, 2), np.float32)}},),
            {},
            ValueError,
            "params['i']['kernel']",
        ),
        (
            "rnn_from_flax",
            (FLAX | {"i": {"kernel": np.ones((3, 3), np.float16)}},),
            {},
            TypeError,
            "params['i']['kernel']",
        ),
        ("rnn_from_flax", (3,), {}, TypeError, "params"),
        ("channels_last", (np.ones((2, 3)),), {"batch_axes": 2}, ValueError, "x"),
        ("channels_first", (np.ones((2, 3)),), {"batch_axes": -1}, ValueError, "batch_axes"),
        ("channels_first", (np.ones((2, 3)),), {"batch_axes": 1.0}, TypeError, "batch_axes"),
        ("conv_kernel_from_torch", (np.ones((2, 3)),), {}, ValueError, "weight"),
        ("conv_transpose_kernel_from_torch", (np.ones((2, 3)),), {}, ValueError, "weight"),
        ("conv_transpose_kernel_from_flax", (np.ones((2, 3)),), {}, ValueError, "kernel"),
        ("depthwise_kernel_from_keras", (np.ones((2, 3)),), {}, ValueError, "kernel"),
        ("dense_kernel_from_torch", (np.ones((2, 3, 1)),), {}, ValueError, "weight"),
        ("dense_kernel_from_torch", (np.ones((2, 6)),), {"flattened": (2, 2)}, ValueError, "flattened"),
        ("dense_kernel_from_torch", (np.ones((2, 6)),), {"flattened": 6}, TypeError, "flattened"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(function, args, options, error, argument):
    with pytest.raises(error) as caught:
        getattr(layouts, function)(*args, **options)
    assert str(caught.value).startswith(f"dlcore.nn.layouts.{function}: `{argument}` came as "), caught.value
    assert "; expected " in str(caught.value)


@pytest.mark.parametrize("name", layouts.__all__)
def test_every_rule_says_what_it_takes_and_shows_itself(name):
    text = inspect.getdoc(getattr(layouts, name))
    assert text.splitlines()[0].endswith(".")
    missing = [
        section for section in ("    ", " = ", "Args:", "Returns:", "Raises:", "Example:", ">>>") if section not in text
    ]
    assert missing == []
