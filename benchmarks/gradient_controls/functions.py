"""The functions that errors are planted into: small, smooth, and each with arguments at which its derivative is plain.

Those that a dropped term needs come with a second form of the same value: `keep` is put around the parts whose path
is to be lost, the identity for the right function and `lax.stop_gradient` for the wrong one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = [
    "BASES", "Base", "Function", "attention", "batch_norm", "causal_conv", "conv", "cosine", "dense", "draw",
    "gru", "layer_norm", "log_softmax", "moving_average", "recurrence", "same", "softmax", "standardise",
]  # fmt: skip

Function = Callable[..., Any]
Keep = Callable[[Any], Any]


class Base(NamedTuple):
    """A function and arguments for it, in NumPy's float64."""

    function: Function
    args: tuple[Any, ...]


def same(x: Any) -> Any:
    return x


def draw(name: str, *shape: int) -> Any:
    """Normal numbers that belong to the name: every run draws the same."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)


def dense(params: Any, x: Any) -> Any:
    return x @ params["kernel"] + params["bias"][None]


def softmax(x: Any, keep: Keep = same) -> Any:
    e = jnp.exp(x - lax.stop_gradient(x.max(-1, keepdims=True)))
    return e / keep(e.sum(-1, keepdims=True))


def log_softmax(x: Any, keep: Keep = same) -> Any:
    return x - keep(jax.nn.logsumexp(x, axis=-1, keepdims=True))


def standardise(x: Any, axis: int, keep_mean: Keep, keep_deviation: Keep) -> Any:
    """(x − μ) / √(σ² + ε); a lost μ drops mean(dy) from the gradient, a lost σ drops x̂ · mean(dy · x̂)."""
    mean = x.mean(axis, keepdims=True)
    inverse = lax.rsqrt(((x - mean) ** 2).mean(axis, keepdims=True) + 1e-5)
    return (x - keep_mean(mean)) * keep_deviation(inverse)


def layer_norm(params: Any, x: Any, keep_mean: Keep = same, keep_deviation: Keep = same) -> Any:
    return standardise(x, 1, keep_mean, keep_deviation) * params["scale"][None] + params["offset"][None]


def batch_norm(params: Any, x: Any, keep_mean: Keep = same, keep_deviation: Keep = same) -> Any:
    return standardise(x, 0, keep_mean, keep_deviation) * params["scale"][None] + params["offset"][None]


def conv(params: Any, x: Any) -> Any:
    y = lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + params["bias"][None, None, None]


def causal_conv(kernel: Any, x: Any) -> Any:
    """y_t = Σ_j w_j x_{t−j}, x 0 before the start."""
    padded = jnp.pad(x, (len(kernel) - 1, 0))
    return sum(kernel[j] * padded[len(kernel) - 1 - j : len(padded) - j] for j in range(len(kernel)))


def avg_pool(x: Any) -> Any:
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def recurrence(params: Any, xs: Any, keep: Keep = same) -> Any:
    """h_t = tanh(U h_{t−1} + x_t), all h_t; `keep` is around h_{t−1}, the path through time."""

    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(params["kernel"] @ keep(h) + x)
        return h, h

    return lax.scan(step, params["start"], xs)[1]


def gru(params: Any, xs: Any, keep_reset: Keep = same, keep_update: Keep = same) -> Any:
    """A gated recurrent unit without biases, its last state out."""

    def step(h: Any, x: Any) -> Any:
        r = keep_reset(jax.nn.sigmoid(params["reset"] @ h + x))
        z = keep_update(jax.nn.sigmoid(params["update"] @ h - x))
        n = jnp.tanh(x + r * (params["kernel"] @ h))
        return z * h + (1 - z) * n, None

    return lax.scan(step, params["start"], xs)[0]


def attention(q: Any, k: Any, v: Any, keep_sum: Keep = same, keep_keys: Keep = same) -> Any:
    return softmax(q @ keep_keys(k).T / q.shape[-1] ** 0.5, keep_sum) @ v


def cosine(x: Any, y: Any, keep: Keep = same) -> Any:
    """1 − ⟨x, y⟩ / (|x| |y|)."""
    return 1 - (x @ y) / keep(jnp.sqrt(x @ x) * jnp.sqrt(y @ y))


def moving_average(xs: Any) -> Any:
    """m_t = 0.9 m_{t−1} + 0.1 x_t."""

    def step(m: Any, x: Any) -> Any:
        m = 0.9 * m + 0.1 * x
        return m, m

    return lax.scan(step, jnp.zeros_like(xs[0]), xs)[1]


def _norm_args(name: str, batch: int) -> tuple[Any, ...]:
    return {"scale": 1 + 0.3 * draw(name + " scale", 4), "offset": draw(name + " offset", 4)}, draw(name, batch, 4)


def _gru_params() -> Any:
    params = {part: 0.7 * draw(f"gru {part}", 3, 3) for part in ("reset", "update", "kernel")}
    return {**params, "start": draw("gru start", 3)}


def _bases() -> dict[str, Base]:
    square = draw("square", 3, 3)
    return {
        "tanh": Base(jnp.tanh, (draw("tanh", 6),)),
        "exp": Base(jnp.exp, (draw("exp", 2, 3),)),
        "softplus": Base(jax.nn.softplus, (draw("softplus", 6),)),
        "gelu": Base(lambda x: 0.5 * x * (1 + lax.erf(x / 2**0.5)), (draw("gelu", 2, 3),)),
        "sigmoid of a number": Base(jax.nn.sigmoid, (np.array(0.3),)),
        "sum of sines": Base(lambda x: jnp.sin(x).sum(), (draw("sines", 5),)),
        "dense": Base(dense, ({"kernel": draw("dense", 3, 3), "bias": draw("dense bias", 3)}, draw("dense x", 4, 3))),
        "mean squared error": Base(lambda p, t: ((p - t) ** 2).mean(), (draw("mse p", 4, 3), draw("mse t", 4, 3))),
        "softmax": Base(softmax, (draw("softmax", 2, 4),)),
        "log-softmax": Base(log_softmax, (draw("log-softmax", 2, 4),)),
        "layer norm": Base(layer_norm, _norm_args("layer norm", 2)),
        "batch norm": Base(batch_norm, _norm_args("batch norm", 5)),
        "convolution": Base(
            conv,
            ({"kernel": draw("conv", 3, 3, 1, 2), "bias": draw("conv bias", 2)}, draw("conv x", 1, 4, 4, 1)),
        ),
        "causal convolution": Base(causal_conv, (draw("causal", 3), draw("causal x", 7))),
        "average pooling": Base(avg_pool, (draw("pool", 1, 4, 4, 1),)),
        "recurrence": Base(recurrence, ({"kernel": square, "start": draw("start", 3)}, draw("recurrence", 4, 3))),
        "gru": Base(gru, (_gru_params(), draw("gru", 4, 3))),
        "attention": Base(attention, (draw("q", 3, 4), draw("k", 5, 4), draw("v", 5, 2))),
        "bilinear form": Base(lambda x, a, y: x @ a @ y, (draw("bx", 3), draw("ba", 3, 3), draw("by", 3))),
        "matrix product": Base(jnp.matmul, (draw("ma", 3, 3), draw("mb", 3, 3))),
        "matrix inverse": Base(jnp.linalg.inv, (square + 4 * np.eye(3),)),
        "cumulative sum": Base(jnp.cumsum, (draw("cumsum", 6),)),
        "moving average": Base(moving_average, (draw("average", 6),)),
        "differences": Base(lambda x: x[1:] ** 2 - x[:-1] * x[1:], (draw("differences", 6),)),
        "product": Base(lambda a, b: a * b, (draw("pa", 5), draw("pb", 5))),
        "division": Base(lambda a, b: a / b, (draw("da", 5), 1.5 + np.abs(draw("db", 5)))),
        "power": Base(lambda a, b: a**b, (0.5 + np.abs(draw("powa", 4)), draw("powb", 4))),
        "cosine distance": Base(cosine, (draw("cx", 4), draw("cy", 4))),
    }


BASES: dict[str, Base] = _bases()
