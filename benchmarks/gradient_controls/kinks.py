"""Right functions at kinks, near them, and near the end of the domain.

At a kink a derivative is right here if it is an element of Clarke's generalised Jacobian, the convex hull of the
limits of the Jacobians around: for one input, any value between the one-sided derivatives. With several inputs a sum
of kinks that bend in opposite ways has such elements that lie outside the one-sided derivatives along some
direction: relu(a) − relu(b) at (0, 0) with the gradient (0, 0), that of a, b < 0, grows as t along (t, −t). The same
holds for a network with zero biases and zero inputs: its gradient is the one with all units off, as for biases a
little below 0. (relu(x) − relu(−x) at 0 is not here: it is x, and 0 is wrong.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.gradient_controls.functions import Function, draw
from benchmarks.gradient_controls.scales import Correct, away
from dlcore import nn

__all__ = ["DISTANCES", "kinks"]

DISTANCES = {"1e-3": 1e-3, "1e-6": 1e-6, "1e-9": 1e-9}
Row = tuple[str, Function, tuple[Any, ...]]


def _hinge(m: Any) -> Any:
    return jnp.where(m < 1, 1 - m, 0)


def _huber(x: Any) -> Any:
    return jnp.where(jnp.abs(x) <= 1, 0.5 * x**2, jnp.abs(x) - 0.5)


def _larger(a: Any, b: Any) -> Any:
    """The second at a tie; all of its gradient goes there."""
    return jnp.where(a > b, a, b)


def _network(params: Any, x: Any) -> Any:
    return nn.dense(params["out"], nn.relu(nn.dense(params["hidden"], x)))


def _safe_norm(x: Any) -> Any:
    """|x|, with the subgradient 0 at 0."""
    square = (x**2).sum()
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _layers(bias: float) -> Any:
    return {
        "hidden": {"kernel": draw("hidden", 3, 4), "bias": np.full(4, bias)},
        "out": {"kernel": draw("out", 4, 2), "bias": np.zeros(2)},
    }


def _at() -> tuple[Row, ...]:
    zero, some = np.zeros(3), np.array([0.0, -0.7, 0.4])
    ties = np.array([1.0, 2.0, 2.0, 0.5])
    return (
        ("nn.relu at 0", nn.relu, (some,)),
        ("jax.nn.relu at 0", jax.nn.relu, (some,)),
        ("relu of zeros", nn.relu, (zero,)),
        ("sum of the relu of zeros", lambda x: nn.relu(x).sum(), (zero,)),
        ("relu with slope 1 at 0", lambda x: jnp.where(x >= 0, x, 0), (some,)),
        ("maximum(x, 0) at 0", lambda x: jnp.maximum(x, 0), (some,)),
        ("leaky relu at 0", nn.leaky_relu, (some,)),
        ("prelu at 0", nn.prelu, (some, np.array(0.25))),
        ("selu at 0", nn.selu, (some,)),
        ("elu at 0", nn.elu, (some,)),
        ("celu with α = 0.5 at 0", lambda x: nn.celu(x, alpha=0.5), (some,)),
        ("|x| at 0", jnp.abs, (some,)),
        ("−|x| at 0", lambda x: -jnp.abs(x), (some,)),
        ("|x| with slope 1 at 0", lambda x: jnp.where(x >= 0, x, -x), (some,)),
        ("sum of |x| at 0", lambda x: jnp.abs(x).sum(), (zero,)),
        ("norm at 0", _safe_norm, (zero,)),
        ("relu6 at 0 and 6", nn.relu6, (np.array([0.0, 6.0, 3.0]),)),
        ("hard tanh at ± 1", nn.hard_tanh, (np.array([-1.0, 1.0, 0.2]),)),
        ("hard sigmoid at ± 3", nn.hard_sigmoid, (np.array([-3.0, 3.0, 0.2]),)),
        ("hard silu at ± 3", nn.hard_silu, (np.array([-3.0, 3.0, 0.2]),)),
        ("soft shrink at ± 0.5", nn.soft_shrink, (np.array([-0.5, 0.5, 2.0]),)),
        ("clip at its bounds", lambda x: jnp.clip(x, -1, 1), (np.array([-1.0, 1.0, 0.3]),)),
        ("hinge at the margin", _hinge, (np.array([1.0, 0.4, 2.0]),)),
        ("squared hinge at the margin", lambda m: _hinge(m) ** 2, (np.array([1.0, 0.4]),)),
        ("huber at its bound", _huber, (np.array([1.0, -1.0, 0.2]),)),
        ("pinball loss at 0", lambda x: jnp.where(x >= 0, 0.9 * x, -0.1 * x), (some,)),
        ("maximum of equal values", jnp.maximum, (ties, ties.copy())),
        ("minimum of equal values", jnp.minimum, (ties, ties.copy())),
        ("the larger, the second at a tie", _larger, (ties, ties.copy())),
        ("maximum of an array with ties", jnp.max, (ties,)),
        ("minimum of a constant array", jnp.min, (np.ones(4),)),
        ("sort with ties", jnp.sort, (ties,)),
        ("median of ties", jnp.median, (np.array([1.0, 3.0, 1.0, 1.0, 2.0]),)),
        ("the two largest with ties", lambda x: lax.top_k(x, 2)[0], (ties,)),
        ("maxout with ties", lambda x: nn.maxout(x, 2), (np.array([[1.0, 1.0, 0.2, 0.9]]),)),
        ("max pooling with ties", lambda x: nn.max_pool(x, (2, 2)), (np.round(draw("ties", 1, 4, 4, 1)),)),
        ("max pooling of a constant image", lambda x: nn.max_pool(x, (2, 2)), (np.ones((1, 4, 4, 1)),)),
        ("max pooling of zeros, overlapping", lambda x: nn.max_pool(x, 3, strides=1), (np.zeros((1, 6, 1)),)),
        ("total variation of a constant", lambda x: jnp.abs(jnp.diff(x)).sum(), (np.full(5, 2.0),)),
        ("|x|^1.5 at 0", lambda x: jnp.abs(x) ** 1.5, (some,)),
        ("x |x| at 0", lambda x: x * jnp.abs(x), (some,)),
        ("relu(x)² at 0", lambda x: nn.relu(x) ** 2, (some,)),
        ("relu(a) − relu(b) at (0, 0)", lambda a, b: nn.relu(a) - nn.relu(b), (zero, zero.copy())),
        ("sum of relu(a) − relu(b) at 0", lambda x: nn.relu(x[0]) - nn.relu(x[1]), (np.zeros(2),)),
        ("|a| − |b| at (0, 0)", lambda a, b: jnp.abs(a) - jnp.abs(b), (np.array(0.0), np.array(0.0))),
        ("max(a, b) − max(a, c) at a tie", lambda a, b, c: jnp.maximum(a, b) - jnp.maximum(a, c), (np.ones(2),) * 3),
        ("dead network", _network, (_layers(-50.0), draw("dead", 2, 3))),
        ("network, zero biases and inputs", _network, (_layers(0.0), np.zeros((2, 3)))),
        ("network, zero inputs in one row", _network, (_layers(0.0), np.array([[0.0] * 3, [0.3, -0.4, 0.5]]))),
        ("network of zeros", _network, (jax.tree.map(np.zeros_like, _layers(0.0)), draw("zeros", 2, 3))),
        ("interpolation at a knot", lambda x: jnp.interp(x, np.arange(4.0), np.array([0.0, 2.0, -1.0, 3.0])),
         (np.array([1.0, 2.0, 0.5]),)),
    )  # fmt: skip


def _near(d: float) -> tuple[Row, ...]:
    either = np.array([d, -d, 0.7])
    image = np.ones((1, 2, 2, 1))
    image[0, 1, 0, 0] += d
    return (
        ("relu", nn.relu, (either,)),
        ("sum of relu", lambda x: nn.relu(x).sum(), (either,)),
        ("|x|", jnp.abs, (either,)),
        ("maximum of two", jnp.maximum, (np.array([1.0, 2.0]), np.array([1.0 + d, 2.0 - d]))),
        ("clip", lambda x: jnp.clip(x, -1, 1), (np.array([1 - d, 1 + d, -1 + d]),)),
        ("hard tanh", nn.hard_tanh, (np.array([1 - d, 1 + d, -1 - d]),)),
        ("huber", _huber, (np.array([1 - d, 1 + d]),)),
        ("max pooling", lambda x: nn.max_pool(x, (2, 2)), (image,)),
        ("sort", jnp.sort, (np.array([1.0, 1.0 + d, 0.5]),)),
        ("network", _network, (_layers(0.0), d * away("near", 1, 3))),
    )


def _ends() -> tuple[Row, ...]:
    def entropy(p: Any) -> Any:
        return -(p * jnp.log(p)).sum()

    return (
        ("square root at 1e-3, 1e-6, 1e-9", jnp.sqrt, (np.array([1e-3, 1e-6, 1e-9]),)),
        ("1 / √x at 1e-6", lambda x: x**-0.5, (np.array([1e-6, 0.5]),)),
        ("log at 1e-9", jnp.log, (np.array([1e-9, 1e-3]),)),
        ("log(1 + x) at −1 + 1e-6", jnp.log1p, (np.array([-1 + 1e-6, 0.2]),)),
        ("x log x at 1e-3, 1e-6, 1e-9", lambda x: x * jnp.log(x), (np.array([1e-3, 1e-6, 1e-9]),)),
        ("entropy at a corner", entropy, (np.array([1 - 2e-6, 1e-6, 1e-6]),)),
        ("x^0.1 at 1e-6", lambda x: x**0.1, (np.array([1e-6, 1e-2]),)),
        ("arccos at 1 − 1e-3, 1 − 1e-6, 1 − 1e-9", jnp.arccos, (np.array([1 - 1e-3, 1 - 1e-6, 1 - 1e-9]),)),
        ("arcsin at −1 + 1e-6", jnp.arcsin, (np.array([-1 + 1e-6, 0.1]),)),
        ("artanh at 1 − 1e-6", jnp.arctanh, (np.array([1 - 1e-6, -0.5]),)),
        ("arcosh at 1 + 1e-6", jnp.arccosh, (np.array([1 + 1e-6, 2.0]),)),
        ("√(1 − x²) at 1 − 1e-6", lambda x: jnp.sqrt(1 - x**2), (np.array([1 - 1e-6, 0.3]),)),
        ("binary cross-entropy of p near 0 and 1", lambda p: -(0.3 * jnp.log(p) + 0.7 * jnp.log1p(-p)),
         (np.array([1e-6, 1 - 1e-6, 0.4]),)),
    )  # fmt: skip


def kinks() -> Iterator[Correct]:
    groups = {
        "at a kink": _at(),
        **{
            f"{label} from a kink": tuple(
                (f"{name}, {label} from a kink", f, args) for name, f, args in _near(distance)
            )
            for label, distance in DISTANCES.items()
        },
        "near the end of a domain": _ends(),
    }
    for kind, rows in groups.items():
        for name, function, args in rows:
            yield Correct(name, function, args, kind)
