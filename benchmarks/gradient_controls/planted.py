"""Planted errors: functions whose values are right and whose derivatives are wrong, in the ways that people err.

`controls()` is the whole list, made from the tables below. A test shows of each that its values are those of `truth`
and that its Jacobian differs from that of `truth` by 5e-4 or more, relatively, in at least one entry.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.gradient_controls import functions as fn
from benchmarks.gradient_controls.correct import correct
from benchmarks.gradient_controls.functions import BASES, Base, Function, draw
from benchmarks.gradient_controls.rules import (
    Edit,
    Rule,
    at,
    element,
    hand_written,
    inputs,
    like,
    outputs,
    plant,
    transposed,
)

__all__ = ["KINDS", "Control", "controls", "plant"]

KINDS = (
    "scaled by 1.01",
    "scaled by 1.001",
    "sign flipped",
    "term dropped",
    "one element × 1.01",
    "one element zero",
    "one of 10,000 × 1.01",
    "one of 10,000 zero",
    "transposed",
    "all zero",
    "wrong where the output is large",
    "1,000 outputs or more",
    "reverse wrong, forward right",
    "forward wrong, reverse right",
    "off by one time step",
    "scaled where differences are hard",
    "at or near a kink",
)


class Control(NamedTuple):
    """A function with a planted error, arguments for it, and the function that it should have been."""

    name: str
    kind: str
    function: Function
    args: tuple[Any, ...]
    # "both", "reverse" or "forward"
    mode_wrong: str
    # the modes in which it can be differentiated at all
    modes: tuple[str, ...]
    truth: Function


def control(kind: str, name: str, base: Base, rule: Rule, wrong: str = "both") -> Control:
    """`base` with the linear map `rule` for its derivative: in "both" modes, in one, or "by hand" (`custom_vjp`)."""
    if wrong == "by hand":
        return Control(
            f"{kind}: {name}", kind, hand_written(base.function, transposed(rule)), base.args, "reverse", ("reverse",),
            base.function,
        )  # fmt: skip
    function = plant(
        base.function,
        jvp_rule=None if wrong == "reverse" else rule,
        vjp_rule=None if wrong == "forward" else transposed(rule),
    )
    return Control(f"{kind}: {name}", kind, function, base.args, wrong, ("reverse", "forward"), base.function)


def scaled(factor: float) -> Edit:
    return lambda tree: jax.tree.map(lambda t: factor * t, tree)


def edited(kind: str, bases: str, edit: Edit, wrong: str = "both") -> Iterator[Control]:
    """The gradients of several bases, named with commas between, under one edit."""
    for name in bases.split(", "):
        yield control(kind, name, BASES[name], inputs(BASES[name].function, edit), wrong)


def leaves(kind: str, edit: Edit, *paths: tuple[str, Any], wrong: str = "both") -> Iterator[Control]:
    """One argument's gradient under an edit, for (base, path) each."""
    for name, path in paths:
        where = "/".join(map(str, path)) + (", by hand" if wrong == "by hand" else "")
        yield control(kind, f"{name} {where}", BASES[name], inputs(BASES[name].function, at(path, edit)), wrong)


def factors() -> Iterator[Control]:
    most = (
        "tanh, exp, softplus, gelu, sum of sines, dense, mean squared error, softmax, log-softmax, layer norm, "
        "batch norm, convolution, average pooling, gru, attention, bilinear form, cumulative sum, division, power"
    )
    yield from edited("scaled by 1.01", most, scaled(1.01))
    yield from edited("scaled by 1.001", most, scaled(1.001))
    yield from leaves("scaled by 1.01", scaled(1.01), ("dense", (0, "bias")), ("gru", (0, "reset")))
    yield from leaves("scaled by 1.001", scaled(1.001), ("layer norm", (0, "scale")), ("attention", (1,)))
    yield from edited(
        "sign flipped", "sigmoid of a number, tanh, dense, softmax, layer norm, convolution, gru", scaled(-1.0)
    )
    yield from leaves("sign flipped", scaled(-1.0), ("mean squared error", (1,)), ("division", (1,)), ("power", (1,)),
                      ("batch norm", (0, "offset")))  # fmt: skip
    yield from edited("all zero", "sigmoid of a number, tanh, dense, layer norm, recurrence, attention", scaled(0.0))
    yield from leaves("all zero", scaled(0.0), ("dense", (0, "bias")), ("convolution", (0, "kernel")),
                      ("gru", (0, "start")), ("power", (1,)))  # fmt: skip


def dropped() -> Iterator[Control]:
    """The derivative of a form in which a path is cut by `stop_gradient`."""
    cut = lax.stop_gradient
    square_of = Base(lambda a: a * jnp.tanh(a), BASES["product"].args[:1])
    decay = Base(lambda w: jnp.tanh(w).sum() + 0.01 * (w**2).sum(), (draw("decay", 4, 2),))
    normal = lax.erf
    rows: tuple[tuple[str, str | Base, Function, str], ...] = (
        ("softmax without −Σ", "softmax", functools.partial(fn.softmax, keep=cut), "both"),
        ("softmax without −Σ, by hand", "softmax", functools.partial(fn.softmax, keep=cut), "by hand"),
        ("log-softmax without −Σ", "log-softmax", functools.partial(fn.log_softmax, keep=cut), "by hand"),
        ("layer norm without mean(dy)", "layer norm", functools.partial(fn.layer_norm, keep_mean=cut), "by hand"),
        ("layer norm without mean(dy x̂)", "layer norm", functools.partial(fn.layer_norm, keep_deviation=cut), "both"),
        ("layer norm without both", "layer norm",
         functools.partial(fn.layer_norm, keep_mean=cut, keep_deviation=cut), "by hand"),
        ("batch norm without mean(dy)", "batch norm", functools.partial(fn.batch_norm, keep_mean=cut), "both"),
        ("batch norm without mean(dy x̂)", "batch norm",
         functools.partial(fn.batch_norm, keep_deviation=cut), "by hand"),
        ("gru without the reset gate's path", "gru", functools.partial(fn.gru, keep_reset=cut), "both"),
        ("gru without the update gate's path", "gru", functools.partial(fn.gru, keep_update=cut), "by hand"),
        ("recurrence cut after one step", "recurrence", functools.partial(fn.recurrence, keep=cut), "both"),
        ("attention without the keys' path", "attention", functools.partial(fn.attention, keep_keys=cut), "both"),
        ("attention without −Σ", "attention", functools.partial(fn.attention, keep_sum=cut), "by hand"),
        ("cosine distance without the norms", "cosine distance", functools.partial(fn.cosine, keep=cut), "both"),
        ("product rule, left half", "product", lambda a, b: a * cut(b), "both"),
        ("product rule, right half, by hand", "product", lambda a, b: cut(a) * b, "by hand"),
        ("product rule of a tanh(a)", square_of, lambda a: a * cut(jnp.tanh(a)), "both"),
        ("division without the divisor's path", "division", lambda a, b: a / cut(b), "both"),
        ("power without the exponent's path", "power", lambda a, b: a ** cut(b), "by hand"),
        ("mean squared error without the targets' path", "mean squared error",
         lambda p, t: ((p - cut(t)) ** 2).mean(), "both"),
        ("gelu without x φ(x)", "gelu", lambda x: 0.5 * x * cut(1 + normal(x / 2**0.5)), "both"),
        ("weight decay of 0.01", decay, lambda w: jnp.tanh(w).sum() + 0.01 * cut((w**2).sum()), "both"),
        ("dense without the bias' path", "dense",
         lambda p, x: fn.dense({**p, "bias": cut(p["bias"])}, x), "by hand"),
        ("differences without the earlier value's path", "differences",
         lambda x: x[1:] ** 2 - cut(x[:-1]) * x[1:], "both"),
    )  # fmt: skip
    for name, base, form, wrong in rows:
        base = BASES[base] if isinstance(base, str) else base
        yield control("term dropped", name, base, like(form), wrong)


def elements() -> Iterator[Control]:
    small: tuple[tuple[str, tuple[Any, ...], int], ...] = (
        ("tanh", (0,), 2), ("exp", (0,), 4), ("dense", (0, "kernel"), 5), ("convolution", (0, "kernel"), 7),
        ("gru", (0, "kernel"), 4), ("cumulative sum", (0,), 3), ("bilinear form", (1,), 5), ("softmax", (0,), 6),
        ("mean squared error", (0,), 7), ("batch norm", (1,), 9),
    )  # fmt: skip
    for kind, factor in (("one element × 1.01", 1.01), ("one element zero", 0.0)):
        for name, path, index in small:
            yield from leaves(kind, element(index, factor), (name, path))

    x, y, kernel = draw("large x", 10_000), draw("large y", 10_000), 0.1 * draw("large kernel", 100, 100)
    row, rows = draw("large row", 100), draw("large rows", 2, 100)
    large: tuple[tuple[str, Base, tuple[Any, ...]], ...] = (
        ("sum of tanh", Base(lambda x: jnp.tanh(x).sum(), (x,)), (0,)),
        ("mean squared error", Base(lambda p, t: ((p - t) ** 2).mean(), (x, y)), (0,)),
        ("logsumexp", Base(jax.nn.logsumexp, (x,)), (0,)),
        ("dense, its squares summed", Base(lambda k, x: ((x @ k) ** 2).sum(), (kernel, rows)), (0,)),
        ("dense", Base(lambda k, x: jnp.tanh(x @ k), (kernel, row)), (0,)),
    )
    for kind, factor in (("one of 10,000 × 1.01", 1.01), ("one of 10,000 zero", 0.0)):
        for name, base, path in large:
            # An element as large as most: its row's x, or its own tangent, is not near 0.
            yield control(kind, name, base, inputs(base.function, at(path, element(4321, factor))))


def transpositions() -> Iterator[Control]:
    def transpose(t: Any) -> Any:
        return jnp.swapaxes(t, 0, 1)

    paths: tuple[tuple[str, Any], ...] = (
        ("dense", (0, "kernel")), ("bilinear form", (1,)), ("matrix product", (0,)), ("matrix product", (1,)),
        ("recurrence", (0, "kernel")), ("gru", (0, "update")), ("convolution", (0, "kernel")),
        ("matrix inverse", (0,)),
    )  # fmt: skip
    yield from leaves("transposed", transpose, *paths)
    yield from leaves("transposed", transpose, ("dense", (0, "kernel")), ("gru", (0, "kernel")), wrong="by hand")


def bounded() -> Iterator[Control]:
    """Wrong only where the output is above a bound, as by a branch that is taken too early."""
    kind = "wrong where the output is large"
    rows = (
        ("tanh", 0.5, 0.0), ("exp", 1.0, 1.01), ("dense", 1.5, 0.0), ("convolution", 2.0, 1.01),
        ("recurrence", 0.7, 0.0), ("log-softmax", -1.0, -1.0), ("average pooling", -0.2, 0.0),
    )  # fmt: skip
    for name, bound, factor in rows:
        yield control(kind, name, BASES[name], outputs(BASES[name].function, _above(bound, factor)))
    softplus, gelu = BASES["softplus"], BASES["gelu"]
    yield control(kind, "softplus taken for x", softplus, like(lambda x: jnp.where(x > 0.5, x, jax.nn.softplus(x))))
    yield control(kind, "gelu taken for x", gelu, like(lambda x: jnp.where(x > 0.5, x, gelu.function(x))), "by hand")
    squares = Base(lambda x: x**2, (draw("squares", 1000),))
    yield control(kind, "a few of 1,000 squares", squares, outputs(squares.function, _above(8.0, 1.01)))


def _above(bound: float, factor: float) -> Any:
    return lambda y, t: jnp.where(y > bound, factor * t, t)


def many_outputs() -> Iterator[Control]:
    """Tolerances that grow with the size of the output hide these (jax#3130)."""
    kind = "1,000 outputs or more"
    fixed = draw("fixed", 10_000)
    sines = Base(jnp.sin, (draw("1,000 sines", 1000),))
    sums = Base(jnp.cumsum, (draw("1,000 sums", 1000),))
    outer = Base(lambda a, b: a[:, None] * b[None], (draw("outer a", 100), draw("outer b", 100)))
    rows = Base(fn.softmax, (draw("softmax rows", 10, 100),))
    wide = Base(lambda k, x: jnp.tanh(x @ k), (0.3 * draw("wide", 3, 100), draw("wide x", 10, 3)))
    number = Base(lambda a: jnp.sin(a * fixed.astype(a.dtype)), (np.array(0.7),))
    table = (
        ("sines, zero", sines, 0.0, "both"), ("sines × 1.01", sines, 1.01, "both"),
        ("sines × 1.001", sines, 1.001, "both"), ("sines, zero forward", sines, 0.0, "forward"),
        ("sines × 1.01 forward", sines, 1.01, "forward"), ("sines × 1.01 in reverse", sines, 1.01, "reverse"),
        ("cumulative sum × 1.01", sums, 1.01, "both"), ("outer product × 1.01", outer, 1.01, "both"),
        ("outer product, sign flipped forward", outer, -1.0, "forward"), ("softmax × 1.01", rows, 1.01, "both"),
        ("dense × 1.01 forward", wide, 1.01, "forward"), ("a number's 10,000 sines × 1.01", number, 1.01, "both"),
        ("a number's 10,000 sines, zero forward", number, 0.0, "forward"),
    )  # fmt: skip
    for name, base, factor, wrong in table:
        yield control(kind, name, base, inputs(base.function, scaled(factor)), wrong)
    yield control(kind, "one of 1,000 sines zero", sines, inputs(jnp.sin, at((0,), element(777, 0.0))))


def one_mode() -> Iterator[Control]:
    cut = lax.stop_gradient
    for kind, wrong in (("reverse wrong, forward right", "reverse"), ("forward wrong, reverse right", "forward")):
        yield from edited(kind, "tanh, dense, convolution, bilinear form", scaled(1.01), wrong)
        yield from edited(kind, "gelu, log-softmax", scaled(1.001), wrong)
        yield from leaves(kind, element(2, 0.0), ("recurrence", (1,)), wrong=wrong)
        for name, form in (
            ("batch norm", functools.partial(fn.batch_norm, keep_mean=cut)),
            ("gru", functools.partial(fn.gru, keep_reset=cut)),
            ("attention", functools.partial(fn.attention, keep_sum=cut)),
        ):
            yield control(kind, f"{name}, a term dropped", BASES[name], like(form), wrong)


def late() -> Iterator[Control]:
    kind = "off by one time step"

    def shift(t: Any) -> Any:
        return jnp.concatenate([jnp.zeros_like(t[:1]), t[:-1]])

    paths: tuple[tuple[str, Any], ...] = (
        ("cumulative sum", (0,)), ("moving average", (0,)), ("causal convolution", (0,)), ("causal convolution", (1,)),
        ("recurrence", (1,)), ("gru", (1,)), ("differences", (0,)),
    )  # fmt: skip
    yield from leaves(kind, shift, *paths)
    yield from leaves(kind, shift, ("cumulative sum", (0,)), ("recurrence", (1,)), wrong="by hand")

    def state_of_the_step_itself(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        """Σ_t δ_t h_tᵀ for the kernel's gradient, where Σ_t δ_t h_{t−1}ᵀ is right."""
        params, moves = tangents
        moves = moves + fn.recurrence(*primals) @ params["kernel"].T
        unmoved = {**params, "kernel": jnp.zeros_like(params["kernel"])}
        return jax.jvp(fn.recurrence, primals, (unmoved, moves))[1]

    for wrong in ("both", "by hand"):
        name = f"recurrence, the kernel's δ_t h_t for δ_t h_{{t−1}}, {wrong}"
        yield control(kind, name, BASES["recurrence"], state_of_the_step_itself, wrong)


def hard() -> Iterator[Control]:
    """Errors that a checker may lose among rounding, curvature and kinks, or excuse by them."""
    kind, right = "scaled where differences are hard", {each.name: Base(each.function, each.args) for each in correct()}
    names = (
        "sine, x of 1e6", "log, x of 1e-6", "cube, x of 1e3", "reciprocal, x of 1e-6", "layer norm, x of 1e6",
        "exp(x / s), x of 1e6", "batch norm at 1e4 ± 1", "variance at 1e4 ± 1", "softmax at 1e4 ± 1",
        "differences at 1e6", "squares, mixed", "sum of squares, mixed", "sum of logs, mixed", "sum of sines, mixed",
        "sin x + 1e6", "softmax + 1e6", "sin 1e5 x", "sum of sin 1e6 x", "x cos 1e4 x", "sin x² at 100",
        "a narrow bump", "sum of 20 waves", "tanh in float32", "inverse of a Hilbert matrix",
        "square root at 1e-3, 1e-6, 1e-9", "1 / √x at 1e-6", "arccos at 1 − 1e-3, 1 − 1e-6, 1 − 1e-9",
        "entropy at a corner",
    )  # fmt: skip
    for factor in (1.01, 1.001):
        for name in names:
            yield control(kind, f"{name} × {factor}", right[name], inputs(right[name].function, scaled(factor)))

    kind = "at or near a kink"

    def steeper(slope: float) -> Function:
        """The derivative at exactly 0 is the slope, which is none between the one-sided ones."""
        return lambda x: jnp.where(x > 0, x, jnp.where(x == 0, slope * x, 0))

    pool = right["max pooling of a constant image"]
    rows: tuple[tuple[str, str, Rule], ...] = (
        ("relu with slope 1.5 at 0", "nn.relu at 0", like(steeper(1.5))),
        ("relu with slope −0.5 at 0", "nn.relu at 0", like(steeper(-0.5))),
        ("relu that takes x ≥ −1 for active", "nn.relu at 0", like(lambda x: jnp.where(x >= -1, x, 0))),
        ("leaky relu with twice its slope", "leaky relu at 0", like(lambda x: jnp.where(x > 0, x, 0.02 * x))),
        ("clip whose gradient goes straight through", "clip, 1e-3 from a kink", like(lambda x: x)),
        ("huber with slope 1.5 at its bound", "huber at its bound",
         like(lambda x: 0.5 * jnp.where(jnp.abs(x) < 1, x**2, 1.5 * x**2))),
        # (1, 1) and (0, 0) are no convex combination of (1, 0) and (0, 1), though each entry lies between 0 and 1.
        ("maximum that gives each tie all", "maximum of an array with ties",
         like(lambda x: jnp.where(x == x.max(), x, 0).sum())),
        ("max pooling that gives ties nothing", "max pooling of a constant image",
         like(lambda x: 0 * pool.function(x))),
        ("|x| × 1.01", "|x| at 0", inputs(jnp.abs, scaled(1.01))),
        *((f"{name} × 1.01", name, inputs(right[name].function, scaled(1.01)))
          for name in ("relu, 1e-6 from a kink", "|x|, 1e-9 from a kink", "sort, 1e-9 from a kink",
                       "network, zero inputs in one row", "network, 1e-6 from a kink")),
    )  # fmt: skip
    for name, base, rule in rows:
        yield control(kind, name, right[base], rule)


@functools.cache
def controls() -> tuple[Control, ...]:
    """Every planted error; names are unique."""
    parts = (factors, dropped, elements, transpositions, bounded, many_outputs, one_mode, late, hard)
    return tuple(each for part in parts for each in part())
