"""Right functions at inputs of 1e-6, 1e-3, 1, 1e3 and 1e6, wherever the function is sensible in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gradient_controls import functions as fn
from benchmarks.gradient_controls.functions import Function, draw
from dlcore import losses, nn

__all__ = ["SCALES", "Correct", "away", "positive", "scaled"]

SCALES = {"1e-6": 1e-6, "1e-3": 1e-3, "1": 1.0, "1e3": 1e3, "1e6": 1e6}


class Correct(NamedTuple):
    """A function whose derivative is right, and arguments for it."""

    name: str
    function: Function
    args: tuple[Any, ...]
    kind: str


def away(name: str, *shape: int) -> Any:
    """Numbers of either sign, of sizes from 0.5 to 2: none is near 0."""
    x = draw(name, *shape)
    return np.sign(x) * (0.5 + 1.5 * np.exp(-np.abs(x)))


def positive(name: str, *shape: int) -> Any:
    return np.abs(away(name, *shape))


def _matrix(name: str, n: int) -> Any:
    """Well conditioned, not symmetric."""
    return 0.3 * draw(name, n, n) + np.eye(n)


def _norm(params: Any, x: Any) -> Any:
    return nn.batch_norm_train(params, nn.BatchNormState(0 * x[0], 1 + 0 * x[0]), x)[0]


def _exp_of_ratio(x: Any, scale: Any) -> Any:
    return jnp.exp(x / scale)


def _softmax_of_ratio(x: Any, scale: Any) -> Any:
    return nn.softmax(x / scale[None])


# Each scaled argument first; what follows "fixed" is not scaled.
_ROWS: tuple[tuple[str, Function, tuple[Any, ...], tuple[Any, ...]], ...] = (
    ("square", lambda x: x**2, (away("s1", 3),), ()),
    ("cube", lambda x: x**3, (away("s2", 3),), ()),
    ("sine", jnp.sin, (away("s3", 3),), ()),
    ("tanh", nn.tanh, (away("s4", 3),), ()),
    ("softplus", nn.softplus, (away("s5", 3),), ()),
    ("gelu", nn.gelu, (away("s6", 3),), ()),
    ("log", jnp.log, (positive("s7", 3),), ()),
    ("square root", jnp.sqrt, (positive("s8", 3),), ()),
    ("reciprocal", lambda x: 1 / x, (away("s9", 3),), ()),
    ("x^1.5", lambda x: x**1.5, (positive("s10", 3),), ()),
    ("x log x", lambda x: x * jnp.log(x), (positive("s11", 3),), ()),
    ("arctan", jnp.arctan, (away("s12", 3),), ()),
    ("product and ratio", lambda a, b: (a * b, a / b), (away("s13", 2), away("s14", 2)), ()),
    ("logsumexp", jax.nn.logsumexp, (away("s15", 4),), ()),
    ("log-softmax", nn.log_softmax, (away("s16", 4),), ()),
    ("layer norm", lambda x, p: fn.layer_norm(p, x), (away("s17", 2, 4),),
     ({"scale": away("s18", 4), "offset": away("s19", 4)},)),
    ("batch norm", lambda x, p: _norm(p, x), (away("s20", 5, 2),),
     ({"scale": away("s21", 2), "offset": away("s22", 2)},)),
    ("dense", lambda x, p: nn.dense(p, x), (away("s23", 2, 3),),
     ({"kernel": away("s24", 3, 2), "bias": away("s25", 2)},)),
    ("convolution", lambda x, p: nn.conv(p, x), (away("s26", 1, 4, 4, 1),),
     ({"kernel": away("s27", 2, 2, 1, 2), "bias": away("s28", 2)},)),
    ("average pooling", lambda x: nn.avg_pool(x, (2, 2)) ** 2, (away("s29", 1, 4, 4, 1),), ()),
    ("attention, queries scaled", fn.attention, (away("s30", 2, 3),), (away("s31", 3, 3), away("s32", 3, 2))),
    ("norm", jnp.linalg.norm, (away("s33", 4),), ()),
    ("cosine distance", fn.cosine, (away("s34", 3), away("s35", 3)), ()),
    ("mean squared error", lambda p, t: losses.mean(losses.squared_error(p, t)), (away("s36", 4), away("s37", 4)), ()),
    ("cross-entropy", lambda x: losses.softmax_cross_entropy(x, np.array([2, 0], np.int32)), (away("s38", 2, 3),), ()),
    ("variance", jnp.var, (away("s39", 5),), ()),
    ("Fourier magnitude", lambda x: jnp.abs(jnp.fft.rfft(x)), (away("s40", 5),), ()),
    ("solution of A x = b", lambda a, b: jnp.linalg.solve(a, b), (_matrix("s41", 3), away("s42", 3)), ()),
    ("determinant", jnp.linalg.det, (_matrix("s43", 3),), ()),
)  # fmt: skip
# exp(x / s) and softmax(x / s) have the curvature of their own scale, and s is an argument as x is.
_RATIOS: tuple[tuple[str, Function, tuple[int, ...]], ...] = (
    ("exp(x / s)", _exp_of_ratio, (3,)),
    ("softmax(x / s)", _softmax_of_ratio, (1, 3)),
)


def scaled() -> Iterator[Correct]:
    for label, scale in SCALES.items():
        kind = f"inputs of {label}"
        for name, function, moving, fixed in _ROWS:
            yield Correct(f"{name}, x of {label}", function, (*(scale * x for x in moving), *fixed), kind)
        for name, function, shape in _RATIOS:
            args = scale * away(name, *shape), scale * positive(f"{name} s", 3)
            yield Correct(f"{name}, x of {label}", function, args, kind)
