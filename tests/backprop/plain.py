"""The equations as jnp writes them, with no code from dlcore: what jax.vjp differentiates to check the rules."""

import itertools
import math

import jax.numpy as jnp
import numpy as np

from dlcore._bits import plain_below

SQRT_2_PI = math.sqrt(2 / math.pi)


def sigmoid(x):
    return 1 / (1 + jnp.exp(-x))


def softplus(x):
    return jnp.log1p(jnp.exp(x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return x / 2 * (1 + jnp.tanh(SQRT_2_PI * (x + 0.044715 * x**3)))


def hard_sigmoid(x, slope=1 / 6, offset=0.5):
    """The kinks are at the x where the line meets 0 and 1."""
    zero, one = -offset / slope, (1 - offset) / slope
    low, high = min(zero, one), max(zero, one)
    below, above = (0, 1) if slope > 0 else (1, 0)
    return jnp.where(x <= low, below, jnp.where(x >= high, above, slope * x + offset))


def maxout(x, pieces):
    runs = x.reshape(*x.shape[:-1], -1, pieces)
    return first_maximum(runs, jnp.ones(runs.shape, bool))


def first_maximum(values, valid):
    """Along the last axis; NaN is a maximum, and what is not valid never is."""
    top = jnp.where(valid, values, -jnp.inf).max(-1, keepdims=True)
    hit = valid & jnp.where(jnp.isnan(top), jnp.isnan(values), values == top)
    return jnp.take_along_axis(values, jnp.argmax(hit, -1)[..., None], -1)[..., 0]


def dense(params, x):
    y = jnp.einsum("...d,df->...f", x, params["kernel"])
    return y + jnp.broadcast_to(params["bias"], y.shape) if "bias" in params else y


def softmax(x, axis=-1):
    e = jnp.exp(x)
    return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis=-1):
    return x - jnp.log(jnp.exp(x).sum(axis, keepdims=True))


def softmax_cross_entropy(logits, labels):
    truth = labels[..., None] == jnp.arange(logits.shape[-1], dtype=labels.dtype).reshape((1,) * labels.ndim + (-1,))
    return -jnp.where(truth, log_softmax(logits), 0).sum(-1)


def margins(n, extent, stride, padding):
    """The rows of padding before and after an axis of size n."""
    if padding in ("SAME", "SAME_LOWER"):
        total = max((math.ceil(n / stride) - 1) * stride + extent - n, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if padding == "SAME" else (more, less)
    return {"VALID": (0, 0), "CAUSAL": (extent - 1, 0)}.get(padding, padding)


def windows(x, window, strides, padding, dilation, ceil_mode=False):
    """Every tap of every window on a new last axis, (*batch, *outputs, C, taps), and which are inputs, or padding."""
    count = len(window)
    strides, dilation = (np.broadcast_to(option, count).tolist() for option in (strides, dilation))
    reads = []  # for each axis: the input that output p's tap j reads
    padded = []  # and whether it lies in the padded input
    for axis, (k, s, d) in enumerate(zip(window, strides, dilation, strict=True)):
        n = x.shape[axis - count - 1]
        extent = (k - 1) * d + 1
        low, high = margins(n, extent, s, padding if isinstance(padding, str) else padding[axis])
        room = (n + low + high - extent) / s
        outputs = (math.ceil(room) if ceil_mode else math.floor(room)) + 1
        outputs -= ceil_mode and (outputs - 1) * s >= n + low
        read = np.arange(outputs)[:, None] * s - low + np.arange(k)[None] * d
        reads.append(read)
        padded.append((read >= -low) & (read < n + high))
    values, valid, counted = [], [], []
    for tap in itertools.product(*map(range, window)):
        inside, held, picked = np.ones((), bool), np.ones((), bool), x
        for axis, j in enumerate(tap):
            read, n = reads[axis][:, j], x.shape[axis - count - 1]
            picked = jnp.take(picked, np.clip(read, 0, n - 1), axis=axis - count - 1)
            inside = inside[..., None] & ((read >= 0) & (read < n))
            held = held[..., None] & padded[axis][:, j]
        values.append(picked)
        valid.append(np.broadcast_to(inside[..., None], picked.shape))
        counted.append(np.broadcast_to(held[..., None], picked.shape))
    return jnp.stack(values, -1), np.stack(valid, -1), np.stack(counted, -1)


def conv(params, x, strides=1, padding="SAME", dilation=1):
    kernel = params["kernel"]
    values, valid, _ = windows(x, kernel.shape[:-2], strides, padding, dilation)
    flat = kernel.reshape(-1, *kernel.shape[-2:])
    y = jnp.einsum("...cj,jcf->...f", jnp.where(valid, values, 0), flat)
    return y + jnp.broadcast_to(params["bias"], y.shape) if "bias" in params else y


def max_pool(x, window, strides=None, padding="VALID", dilation=1, ceil_mode=False):
    window = (window,) if isinstance(window, int) else window
    values, valid, _ = windows(x, window, window if strides is None else strides, padding, dilation, ceil_mode)
    return first_maximum(values, jnp.asarray(valid))


def avg_pool(x, window, strides=None, padding="VALID", dilation=1, ceil_mode=False, count_include_padding=False):
    window = (window,) if isinstance(window, int) else window
    values, valid, held = windows(x, window, window if strides is None else strides, padding, dilation, ceil_mode)
    count = (held if count_include_padding else valid).sum(-1)
    return jnp.where(valid, values, 0).sum(-1) / jnp.asarray(count, x.dtype)


def affine(params, y):
    for name, join in (("scale", jnp.multiply), ("offset", jnp.add)):
        if name in params:
            y = join(y, jnp.broadcast_to(params[name], y.shape))
    return y


def norm(params, x, axes, epsilon=1e-5):
    mean = x.mean(axes, keepdims=True)
    return affine(params, (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon))


def layer_norm(params, x, epsilon=1e-5):
    return norm(params, x, -1, epsilon)


def rms_norm(params, x, epsilon=1e-5):
    return affine(params, x / jnp.sqrt((x**2).mean(-1, keepdims=True) + epsilon))


def dropout(key, x, rate):
    # The mask is a convention, taken from its reference; what it does is written out.
    keep = ~plain_below(key, round(rate * 2**32), x.shape)
    return jnp.where(keep, x / (1 - rate), 0)


def gru_cell(params, h, x, reset_after=True):
    f = h.shape[-1]
    w, u = params["input_kernel"], params["recurrent_kernel"]
    zeros = jnp.zeros(3 * f, x.dtype)
    b, c = params.get("input_bias", zeros), params.get("recurrent_bias", zeros)

    def part(gate, values, kernel, bias):
        columns = slice(gate * f, (gate + 1) * f)
        y = jnp.einsum("...d,df->...f", values, kernel[:, columns])
        return y + jnp.broadcast_to(bias[columns], y.shape)

    r = sigmoid(part(0, x, w, b) + part(0, h, u, c))
    z = sigmoid(part(1, x, w, b) + part(1, h, u, c))
    n = jnp.tanh(part(2, x, w, b) + (r * part(2, h, u, c) if reset_after else part(2, r * h, u, c)))
    return (1 - z) * n + z * h


def gru(params, x, initial_state=None, reset_after=True):
    h = initial_state
    if h is None:
        h = jnp.zeros((*x.shape[:-2], params["recurrent_kernel"].shape[0]), x.dtype)
    ys = []
    for t in range(x.shape[-2]):
        h = gru_cell(params, h, x[..., t, :], reset_after)
        ys.append(h)
    return jnp.stack(ys, -2), h


def attention(q, k, v, causal=False, scale=None):
    scores = jnp.einsum("...tnd,...snd->...nts", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        hidden = np.triu(np.ones(scores.shape[-2:], bool), 1)
        scores = jnp.where(np.broadcast_to(hidden, scores.shape), -jnp.inf, scores)
    return jnp.einsum("...nts,...sne->...tne", softmax(scores), v)
