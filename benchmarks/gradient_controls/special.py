"""Right functions that are hard to difference: cancellation, saturation, offsets, oscillation, structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.gradient_controls import functions as fn
from benchmarks.gradient_controls.functions import Function, draw
from benchmarks.gradient_controls.scales import Correct, away, positive
from dlcore import losses, nn

__all__ = ["special"]

Row = tuple[str, Function, tuple[Any, ...]]


class Pair(NamedTuple):
    """A pytree of one's own."""

    mean: Any
    log_deviation: Any


def _batch_norm(x: Any) -> Any:
    return nn.batch_norm_train({}, nn.BatchNormState(0 * x[0], 1 + 0 * x[0]), x)[0]


def _layer_norm(x: Any) -> Any:
    return fn.standardise(x, 1, fn.same, fn.same)


def _spread() -> Any:
    """From 1e-6 to 1e6 in one array, of either sign."""
    return np.array([1e-6, -1e-4, 1e-2, -1.0, 1e2, -1e4, 1e6]) * 1.3


def numbers() -> dict[str, tuple[Row, ...]]:
    """Where float64 itself is the difficulty."""
    high, spread, gaps = 1e4 + draw("high", 5, 2), _spread(), np.array([-40.0, 40.0, -37.5, 38.5])
    noise = away("noise", 3)
    return {
        "mean ≫ deviation": (
            ("batch norm at 1e4 ± 1", _batch_norm, (high,)),
            ("batch norm at 1e6 ± 1", _batch_norm, (1e6 + draw("high", 5, 2),)),
            ("layer norm at 1e4 ± 1", _layer_norm, (high.T,)),
            ("variance at 1e4 ± 1", jnp.var, (high[:, 0],)),
            ("standard deviation at 1e6 ± 1", jnp.std, (1e6 + draw("high", 5),)),
            ("softmax at 1e4 ± 1", nn.softmax, (high[:, 0],)),
            ("logsumexp at 1e6 ± 1", jax.nn.logsumexp, (1e6 + draw("high", 5),)),
            ("batch norm of equal values", _batch_norm, (np.full((4, 2), 3.0),)),
            ("layer norm of equal values", _layer_norm, (np.full((2, 4), -1e3),)),
            ("differences at 1e6", lambda x: jnp.tanh(jnp.diff(x)), (1e6 + draw("high", 5),)),
        ),
        "1e-6 to 1e6 in one array": (
            ("squares, mixed", lambda x: x**2, (spread,)),
            ("sum of squares, mixed", lambda x: (x**2).sum(), (spread,)),
            ("sines, mixed", jnp.sin, (spread,)),
            ("sum of sines, mixed", lambda x: jnp.sin(x).sum(), (spread,)),
            ("tanh, mixed", nn.tanh, (spread,)),
            ("sum of logs, mixed", lambda x: jnp.log(x).sum(), (np.abs(spread),)),
            ("sum of reciprocals, mixed", lambda x: (1 / x).sum(), (spread,)),
            ("sum of roots, mixed", lambda x: jnp.sqrt(x).sum(), (np.abs(spread),)),
            ("norm, mixed", jnp.linalg.norm, (spread,)),
            ("softplus, mixed", nn.softplus, (spread,)),
            ("logsumexp, mixed", jax.nn.logsumexp, (spread,)),
            ("product, mixed", jnp.prod, (spread,)),
            ("dense with mixed rows", lambda k, x: jnp.tanh(x @ k),
             (away("rows", 7, 2) / np.abs(spread)[:, None], spread)),
            ("arguments of 1e-6 and 1e6", lambda a, b: jnp.sin(a * b), (1e-6 * away("tiny", 3), 1e6 * away("huge", 3))),
        ),
        "saturated": (
            ("tanh at ± 40", nn.tanh, (gaps,)),
            ("sigmoid at ± 40", nn.sigmoid, (gaps,)),
            ("softplus at ± 40", nn.softplus, (gaps,)),
            ("log-sigmoid at ± 40", nn.log_sigmoid, (gaps,)),
            ("silu at ± 40", nn.silu, (gaps,)),
            ("gelu at ± 40", nn.gelu, (gaps,)),
            ("softmax with a gap of 80", nn.softmax, (gaps,)),
            ("cross-entropy that is sure and right", lambda x: losses.softmax_cross_entropy(x, np.int32(1)), (gaps,)),
            ("cross-entropy that is sure and wrong", lambda x: losses.softmax_cross_entropy(x, np.int32(0)), (gaps,)),
            ("a saturated network", lambda k, x: jnp.tanh(x @ k).sum(), (50 * away("sat", 3, 2), away("sat x", 2, 3))),
        ),
        "offset of 1e6 or 1e9": (
            ("sin x + 1e6", lambda x: jnp.sin(x) + 1e6, (noise,)),
            ("tanh x + 1e6", lambda x: jnp.tanh(x) + 1e6, (noise,)),
            ("softmax + 1e6", lambda x: nn.softmax(x) + 1e6, (noise,)),
            ("mean square + 1e6", lambda x: (x**2).mean() + 1e6, (noise,)),
            ("1e-3 sin x + 1e6", lambda x: 1e-3 * jnp.sin(x) + 1e6, (noise,)),
            ("sin x + 1e9", lambda x: jnp.sin(x) + 1e9, (noise,)),
            ("a large term beside a small one", lambda x, y: 1e6 * (y**2).sum() + jnp.sin(x).sum(),
             (noise, away("beside", 3))),
        ),
        "fast oscillation": (
            ("sin 1e3 x", lambda x: jnp.sin(1e3 * x), (noise,)),
            ("sin 1e5 x", lambda x: jnp.sin(1e5 * x), (noise,)),
            ("sum of sin 1e6 x", lambda x: jnp.sin(1e6 * x).sum(), (noise,)),
            ("x cos 1e4 x", lambda x: x * jnp.cos(1e4 * x), (noise,)),
            ("sin x² at 100", lambda x: jnp.sin(x**2), (100 * noise,)),
            ("x + 1e-3 sin 1e3 x", lambda x: x + 1e-3 * jnp.sin(1e3 * x), (noise,)),
            ("sum of 20 waves", lambda x: sum(jnp.sin(2.0**k * x) for k in range(20)), (noise,)),
            ("a narrow bump", lambda x: jnp.exp(-((x - 1) ** 2) / 2e-8), (1 + 1e-4 * noise,)),
        ),
        "float32 inside": (
            ("tanh in float32", lambda x: jnp.tanh(x.astype(jnp.float32)).astype(x.dtype), (noise,)),
            ("mean square in float32", lambda x: (x.astype(jnp.float32) ** 2).mean().astype(x.dtype), (noise,)),
            ("dense in float32", lambda k, x: (x.astype(jnp.float32) @ k.astype(jnp.float32)).astype(x.dtype),
             (away("f32", 3, 2), away("f32 x", 2, 3))),
        ),
    }  # fmt: skip


def shapes() -> dict[str, tuple[Row, ...]]:
    """Where the derivative is zero or plain, and where the difficulty is what goes in and out."""
    x, key = away("x", 4), jax.random.key(3)
    square = away("square", 3, 3) + 3 * np.eye(3)
    positive_definite = square @ square.T
    tree = {"a": away("a", 2), "b": (away("b", 3), {"c": np.array(0.7)}), "none": None}
    ids = np.array([[0, 2], [2, 1]], np.int32)
    return {
        "constant, linear or invariant": (
            ("constant", lambda x: jnp.ones(3, x.dtype), (x,)),
            ("constant beside x", lambda x: (x, jnp.zeros(2, x.dtype)), (x,)),
            ("0 · x", lambda x: 0 * x, (x,)),
            ("identity", lambda x: x, (x,)),
            ("sum", jnp.sum, (1e3 * x,)),
            ("transposed and reshaped", lambda x: x.T.reshape(9), (square,)),
            ("softmax(x + c)", lambda c, x: nn.softmax(x + c), (np.array(0.3), x)),
            ("layer norm of c x", lambda c, x: fn.standardise(c * x, 0, fn.same, fn.same), (np.array(1e3), x)),
            ("x / |x|", lambda x: x / jnp.linalg.norm(x), (x,)),
            ("floor between steps", lambda x: jnp.floor(x + 0.2), (np.array([0.1, 1.3, -2.6]),)),
            ("sign away from 0", jnp.sign, (x,)),
            ("x − x", lambda x: jnp.sin(x) - jnp.sin(x), (x,)),
            ("sin² + cos²", lambda x: jnp.sin(x) ** 2 + jnp.cos(x) ** 2, (x,)),
            ("an argument that is not used", lambda x, y: jnp.sin(x), (x, away("unused", 2))),
        ),
        "at a minimum": (
            ("x² at 0", lambda x: x**2, (np.zeros(3),)),
            ("x⁴ at 0", lambda x: x**4, (np.zeros(3),)),
            ("x³ at 0", lambda x: x**3, (np.zeros(3),)),
            ("cos x at 0", jnp.cos, (np.zeros(3),)),
            ("log cosh at 0", lambda x: jnp.logaddexp(x, -x).sum(), (np.zeros(3),)),
            ("mean squared error of equal arrays", lambda p, t: ((p - t) ** 2).mean(), (x, x.copy())),
            ("Rosenbrock at (1, 1)", lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, (np.ones(2),)),
            ("cross-entropy of p with itself",
             lambda x: -(np.exp([0.1, 0.2, 0.3]) / np.exp([0.1, 0.2, 0.3]).sum()).astype(x.dtype) @ nn.log_softmax(x),
             (np.array([0.1, 0.2, 0.3]),)),
            ("1e6 x² at 0, and sin x at 1", lambda x, y: (1e6 * x**2).sum() + jnp.sin(y), (np.zeros(2), np.array(1.0))),
        ),
        "linear algebra": (
            ("inverse", jnp.linalg.inv, (square,)),
            ("inverse of a Hilbert matrix", jnp.linalg.inv, (1 / (np.arange(4)[:, None] + np.arange(4) + 1.0),)),
            ("logarithm of a determinant", lambda a: jnp.linalg.slogdet(a)[1], (square,)),
            ("Cholesky factor", jnp.linalg.cholesky, (positive_definite,)),
            ("eigenvalues", jnp.linalg.eigvalsh, (positive_definite,)),
            ("singular values", lambda a: jnp.linalg.svd(a, compute_uv=False), (square[:, :2],)),
            ("einsum", lambda a, b, c: jnp.einsum("ij,jk,ki->k", a, b, c),
             (square, square.T.copy(), square[::-1].copy())),
            ("third power of a matrix", lambda a: jnp.linalg.matrix_power(a, 3), (square,)),
        ),
        "pytrees, integers and keys": (
            ("dict, tuple and None", lambda t: {"y": jnp.sin(t["a"]), "z": (t["b"][0] * t["b"][1]["c"],)}, (tree,)),
            ("named tuple", lambda p: p.mean * jnp.exp(p.log_deviation), (Pair(away("m", 3), away("d", 3)),)),
            ("five arguments", lambda a, b, c, d, e: a * b + jnp.sin(c) * d / (2 + e**2),
             tuple(away(n, 2) for n in "vwxyz")),
            ("embedding and ids", lambda p, i: jnp.tanh(nn.embedding(p, i)), ({"kernel": away("table", 3, 2)}, ids)),
            ("cross-entropy and labels", losses.softmax_cross_entropy,
             (away("logits", 2, 3), np.array([0, 2], np.int32))),
            ("where and a mask", lambda m, x: jnp.where(m, jnp.sin(x), x**2), (np.array([True, False, True, True]), x)),
            ("dropout and a key", lambda k, x: nn.dropout(k, x, rate=0.5) ** 2, (key, x)),
            ("a sample and a key",
             lambda p, k: p.mean + jnp.exp(p.log_deviation) * jax.random.normal(k, (3,), p.mean.dtype),
             (Pair(away("m", 3), away("d", 3)), key)),
            ("power with an integer", lambda x, n: x ** n.astype(x.dtype),
             (positive("base", 3), np.array(3, np.int32))),
            ("recurrence", fn.recurrence, ({"kernel": away("U", 2, 2), "start": away("h", 2)}, away("xs", 4, 2))),
            ("gated recurrence", fn.gru, ({part: away(part, 2, 2) for part in ("reset", "update", "kernel")}
                                          | {"start": away("h", 2)}, away("xs", 4, 2))),
            ("rematerialised", jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), (x,)),
        ),
        "empty arrays and numbers": (
            ("empty array", jnp.sin, (np.zeros(0),)),
            ("empty batch", lambda p, x: nn.dense(p, x), ({"kernel": away("k", 3, 2)}, np.zeros((0, 3)))),
            ("sum of an empty array", lambda x: (x**2).sum(), (np.zeros((0, 2)),)),
            ("an empty array beside another", lambda e, x: jnp.sin(x) + e.sum(), (np.zeros(0), x)),
            ("array of no dimensions", jnp.exp, (np.array(0.3),)),
            ("Python number", jnp.sin, (0.7,)),
            ("one element", lambda x: x**3, (np.array([[0.9]]),)),
        ),
        "gather, sort and branches": (
            ("gather with repeats", lambda x: jnp.sin(x)[np.array([0, 2, 2, 1])], (x,)),
            ("scatter by adding", lambda x: jnp.zeros(3, x.dtype).at[np.array([0, 2, 2, 1])].add(x**2), (x,)),
            ("scatter by setting", lambda x, y: x.at[1:3].set(jnp.sin(y)), (x, away("set", 2))),
            ("sort", jnp.sort, (x,)),
            ("the two largest", lambda x: lax.top_k(x, 2)[0], (x,)),
            ("maximum, alone", lambda x: jnp.max(x) ** 2, (x,)),
            ("branches of where", lambda x: jnp.where(x > 0, x**2, jnp.exp(x)), (x,)),
            ("cond", lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), (x,)),
            ("cumulative sum and product", lambda x: (jnp.cumsum(x), jnp.cumprod(x)), (x,)),
            ("running maximum", lambda x: lax.cummax(x), (np.array([0.1, 0.7, 0.3, 0.9]),)),
            ("moving average", fn.moving_average, (x,)),
            ("interpolation between knots", lambda x: jnp.interp(x, np.arange(4.0), np.array([0.0, 2.0, -1.0, 3.0])),
             (np.array([0.4, 1.5, 2.3]),)),
            ("causal convolution", fn.causal_conv, (away("w", 3), away("sequence", 6))),
        ),
    }  # fmt: skip


def special() -> Iterator[Correct]:
    for groups in (numbers(), shapes()):
        for kind, rows in groups.items():
            for name, function, args in rows:
                yield Correct(name, function, args, kind)
