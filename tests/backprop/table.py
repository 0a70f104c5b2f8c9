"""RULES_UNDER_TEST: every rule of dlcore.backprop, with arguments, its plain equation and the function it belongs to.

The first case of a rule stands for it where one is enough. To enrol a rule, add a case; test_rules.py fails while one
is missing.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import backprop, losses, nn
from tests.backprop import plain


class Case(NamedTuple):
    """rule: its name; make(rng) draws the arguments in float64; plain and reference take them and the options."""

    rule: str
    make: Callable[[np.random.Generator], tuple[Any, ...]]
    plain: Callable[..., Any]
    options: Mapping[str, Any] = {}
    reference: Callable[..., Any] | None = None
    batched: tuple[int, ...] = (0,)  # arguments whose first axis is the batch
    note: str = ""
    length: int = 30  # how many terms a sum has at most
    size: float = 1.0  # of the terms

    @property
    def id(self):
        return " ".join([self.rule, *(f"{key}={value}" for key, value in self.options.items()), self.note]).strip()

    @property
    def fwd(self):
        return partial(getattr(backprop, f"{self.rule}_fwd"), **self.options)

    @property
    def bwd(self):
        return getattr(backprop, f"{self.rule}_bwd")

    def custom(self):
        """The rule as custom_vjp takes it: nothing in between."""
        f = jax.custom_vjp(lambda *args: self.fwd(*args)[0])
        f.defvjp(self.fwd, self.bwd)
        return f


def is_key(leaf):
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_floating(leaf):
    return jnp.issubdtype(leaf.dtype, np.floating)


def as_arrays(args, dtype):
    return jax.tree.map(lambda a: a if is_key(a) else jnp.asarray(a, dtype if is_floating(a) else None), args)


def draw(*shapes):
    return lambda rng: tuple(rng.standard_normal(shape) for shape in shapes)


def layer(kernel, x, *, bias=True):
    """A layer's params and input."""
    leaves = {"kernel": kernel} | ({"bias": kernel[-1:]} if bias else {})
    return lambda rng: ({name: rng.standard_normal(shape) for name, shape in leaves.items()}, rng.standard_normal(x))


def norm_arguments(shape, *names, scale=1.0, shift=0.0):
    return lambda rng: (
        {name: rng.standard_normal(shape[-1]) for name in names},
        scale * rng.standard_normal(shape) + shift,
    )


def ties(shape, values):
    return lambda rng: (rng.choice(values, shape),)


def unit(name, equation, kinks=(), **options):
    """An elementwise unit: random values, and its kinks with what is near them."""

    def make(rng):
        special = [place + step for place in (0.0, *kinks) for step in (-1e-3, 0.0, 1e-3)]
        return (np.append(4 * rng.standard_normal(48 - len(special)), special).reshape(4, 12),)

    return Case(name, make, lambda x, **_: equation(x), options, partial(getattr(nn, name), **options))


def gru_params(rng, d, f, bias=True):
    shapes = {"input_kernel": (d, 3 * f), "recurrent_kernel": (f, 3 * f)}
    shapes |= {"input_bias": (3 * f,), "recurrent_bias": (3 * f,)} if bias else {}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772  # of Klambauer et al. 2017
below = lambda x: jnp.exp(jnp.where(x > 0, 0, x)) - 1

ACTIVATIONS = (
    unit("relu", lambda x: jnp.where(x > 0, x, 0)),
    unit("relu6", lambda x: jnp.where(x <= 0, 0, jnp.where(x >= 6, 6, x)), kinks=(6.0,)),
    unit("leaky_relu", lambda x: jnp.where(x > 0, x, 0.01 * x)),
    unit("leaky_relu", lambda x: jnp.where(x > 0, x, -0.5 * x), negative_slope=-0.5),
    unit("thresholded_relu", lambda x: jnp.where(x > 1.5, x, 0), kinks=(1.5,), threshold=1.5),
    unit("thresholded_relu", lambda x: jnp.where(x > -1.0, x, 0), kinks=(-1.0,), threshold=-1),
    unit("elu", lambda x: jnp.where(x > 0, x, below(x))),
    unit("elu", lambda x: jnp.where(x > 0, x, 0.3 * below(x)), alpha=0.3),
    unit("selu", lambda x: LAMBDA * jnp.where(x > 0, x, ALPHA * below(x))),
    unit("celu", lambda x: jnp.where(x > 0, x, below(x))),
    unit("celu", lambda x: jnp.where(x > 0, x, 2 * below(x / 2)), alpha=2),
    unit("gelu", plain.gelu),
    unit("gelu", lambda x: x / 2 * (1 + jax.lax.erf(x / np.sqrt(2))), approximate=False),
    unit("silu", plain.silu),
    unit("mish", lambda x: x * jnp.tanh(plain.softplus(x))),
    unit("softplus", plain.softplus),
    unit("squareplus", lambda x: (x + jnp.sqrt(x**2 + 4)) / 2),
    unit("squareplus", lambda x: (x + jnp.sqrt(x**2 + 0.25)) / 2, b=0.25),
    unit("soft_sign", lambda x: x / (1 + jnp.where(x > 0, x, -x))),
    unit("sigmoid", plain.sigmoid),
    unit("log_sigmoid", lambda x: jnp.log(plain.sigmoid(x))),
    unit("tanh", lambda x: (jnp.exp(x) - jnp.exp(-x)) / (jnp.exp(x) + jnp.exp(-x))),
    unit("hard_tanh", lambda x: jnp.where(x <= -1, -1, jnp.where(x >= 1, 1, x)), kinks=(-1.0, 1.0)),
    unit("hard_sigmoid", plain.hard_sigmoid, kinks=(-3.0, 3.0)),
    unit("hard_sigmoid", lambda x: plain.hard_sigmoid(x, -0.25, 0.25), kinks=(1.0, -3.0), slope=-0.25, offset=0.25),
    unit("hard_sigmoid", lambda x: 0 * x + 0.25, slope=0.0, offset=0.25),
    unit(
        "hard_silu",
        lambda x: jnp.where(x <= -3, 0, jnp.where(x >= 3, x, x * (x / 6 + 0.5))),
        kinks=(-3.0, 3.0),
    ),
    unit("hard_shrink", lambda x: jnp.where(jnp.abs(x) > 0.5, x, 0), kinks=(-0.5, 0.5)),
    unit("hard_shrink", lambda x: jnp.where(x != 0, x, 0), threshold=0),
    unit("soft_shrink", lambda x: jnp.where(x > 0.5, x - 0.5, jnp.where(x < -0.5, x + 0.5, 0)), kinks=(-0.5, 0.5)),
    unit("soft_shrink", lambda x: jnp.where(x == 0, 0, x), threshold=0),
    unit("tanh_shrink", lambda x: x - jnp.tanh(x)),
    Case("prelu", draw((4, 5, 3), 3), lambda x, s: jnp.where(x > 0, x, jnp.broadcast_to(s, x.shape) * x), {}, nn.prelu),
    Case("prelu", draw((4, 5), ()), lambda x, s: jnp.where(x > 0, x, s * x), {}, nn.prelu, note="one slope"),
    Case(
        "glu",
        draw((4, 6)),
        lambda x, axis=-1: jnp.split(x, 2, axis)[0] * plain.sigmoid(jnp.split(x, 2, axis)[1]),
        {},
        nn.glu,
    ),
    Case(
        "glu",
        draw((4, 2, 3)),
        lambda x, axis: jnp.split(x, 2, axis)[0] * plain.sigmoid(jnp.split(x, 2, axis)[1]),
        {"axis": 1},
        nn.glu,
        batched=(),
    ),
    Case("swiglu", draw((4, 5), (4, 5)), lambda a, b: plain.silu(a) * b, {}, nn.swiglu, batched=(0, 1)),
    Case("geglu", draw((4, 5), (4, 5)), lambda a, b: plain.gelu(a) * b, {}, nn.geglu, batched=(0, 1)),
    Case("maxout", draw((4, 6)), plain.maxout, {"pieces": 3}, nn.maxout),
    Case("maxout", ties((4, 2, 6), [-np.inf, 0.0, 1.0]), plain.maxout, {"pieces": 2}, nn.maxout, note="ties"),
)

MAX_POOL = tuple(
    Case("max_pool", make, plain.max_pool, options, lambda x, window, **rest: nn.max_pool(x, window, **rest), note=note)
    for make, options, note in (
        (draw((2, 5, 6, 3)), {"window": (2, 3)}, ""),
        (ties((2, 7, 2), [0.0, 1.0]), {"window": 3, "strides": 1, "padding": "SAME"}, "ties"),
        (
            ties((3, 6, 5, 2), [-np.inf, 0.0]),
            {"window": (3, 2), "strides": (1, 2), "padding": ((1, 1), (1, 0))},
            "-inf",
        ),
        (ties((2, 9, 1), [-np.inf, np.nan, 1.0]), {"window": 2, "strides": 2, "dilation": 3}, "nan"),
        (ties((8, 1), [1.0, 2.0]), {"window": 3, "strides": 3, "ceil_mode": True}, "no batch"),
        (draw((1, 3, 4, 3, 1)), {"window": (2, 2, 2), "strides": 1, "padding": "SAME_LOWER"}, ""),
    )
)
AVG_POOL = tuple(
    Case("avg_pool", make, plain.avg_pool, options, lambda x, window, **rest: nn.avg_pool(x, window, **rest))
    for make, options in (
        (draw((2, 5, 6, 3)), {"window": (2, 3)}),
        (draw((2, 7, 2)), {"window": 3, "strides": 1, "padding": "SAME"}),
        (draw((8, 1)), {"window": 3, "strides": 2, "padding": ((1, 1),), "count_include_padding": True}),
        (draw((2, 6, 5, 2)), {"window": (3, 2), "strides": 3, "ceil_mode": True, "padding": ((1, 1), (0, 1))}),
        (
            draw((8, 1)),
            {"window": 3, "strides": 3, "ceil_mode": True, "count_include_padding": True, "padding": ((0, 1),)},
        ),
        (draw((3, 9, 1)), {"window": 2, "strides": 1, "dilation": 3, "padding": "CAUSAL"}),
    )
)
CONV = tuple(
    Case("conv", layer(kernel, x, bias=bias), plain.conv, options, nn.conv, batched=(1,), length=60, size=3)
    for kernel, x, options, bias in (
        ((3, 2, 2, 3), (2, 5, 6, 2), {}, True),
        ((3, 2, 3), (2, 7, 2), {"padding": "CAUSAL", "dilation": 2}, False),
        ((2, 3, 2), (9, 3), {"strides": 3, "padding": "VALID"}, True),
        ((2, 1, 2), (2, 3, 5, 1), {"strides": 2, "padding": ((4, 3),)}, True),
        ((2, 3, 2, 1), (1, 5, 6, 2), {"strides": (2, 1), "dilation": (1, 2), "padding": "SAME_LOWER"}, False),
        ((2, 1, 2, 1, 2), (3, 2, 4, 1), {}, True),
    )
)
NORMS = (
    Case(
        "batch_norm",
        norm_arguments((4, 5, 3), "scale", "offset"),
        lambda params, x: plain.norm(params, x, (0, 1)),
        {},
        lambda params, x: nn.batch_norm_train(params, nn.batch_norm_init(3)[1], x)[0],
        batched=(1,),
        size=4,
    ),
    Case(
        "batch_norm",
        norm_arguments((7, 2)),
        lambda params, x, epsilon: plain.norm(params, x, (0,), epsilon),
        {"epsilon": 0.1},
        lambda params, x, epsilon: nn.batch_norm_train(params, nn.batch_norm_init(2)[1], x, epsilon=epsilon)[0],
        batched=(1,),
    ),
    Case("layer_norm", norm_arguments((4, 5, 6), "scale", "offset"), plain.layer_norm, batched=(1,), size=4),
    Case("layer_norm", norm_arguments((6,), "offset"), plain.layer_norm, {"epsilon": 0.1}, batched=()),
    Case("rms_norm", norm_arguments((4, 5, 6), "scale"), plain.rms_norm, batched=(1,), size=4),
    Case("rms_norm", norm_arguments((2, 3)), plain.rms_norm, {"epsilon": 0.5}, batched=(1,)),
)


def gru_case(d, f, shape, *, bias=True, state=False, **options):
    def equation(params, x, **rest):
        return plain.gru(params, x, start if state else None, rest.get("reset_after", True))

    batch = shape[:-1]
    start = np.linspace(-1, 1, int(np.prod(batch)) * f).reshape(*batch, f)
    if state:
        options |= {"initial_state": start}
    case = Case("gru", lambda rng: (gru_params(rng, d, f, bias), rng.standard_normal((*shape, d))), equation, options)
    return case._replace(batched=(1,) if not state else (), size=5)


def cell_case(d, f, batch, *, bias=True, **options):
    def make(rng):
        return gru_params(rng, d, f, bias), rng.standard_normal((*batch, f)), rng.standard_normal((*batch, d))

    return Case("gru_cell", make, plain.gru_cell, options, batched=(1, 2), size=5)


RULES_UNDER_TEST = (
    *ACTIVATIONS,
    Case("identity", draw((3, 4)), lambda x: x),
    Case("dense", layer((4, 3), (5, 4)), plain.dense, {}, nn.dense, batched=(1,), size=3),
    Case("dense", layer((4, 3), (2, 5, 4), bias=False), plain.dense, {}, nn.dense, batched=(1,)),
    Case("dense", layer((4, 3), (4,)), plain.dense, {}, nn.dense, batched=(), note="no batch"),
    Case(
        "squared_error",
        draw((3, 4), (3, 4)),
        lambda p, t: (p - t) ** 2,
        {},
        losses.squared_error,
        batched=(0, 1),
    ),
    Case("softmax", draw((3, 5)), plain.softmax, {}, nn.softmax),
    Case("softmax", draw((3, 5, 2)), plain.softmax, {"axis": 1}, nn.softmax, batched=()),
    Case("log_softmax", draw((3, 5)), plain.log_softmax, {}, nn.log_softmax, size=4),
    Case("log_softmax", draw((3, 2)), plain.log_softmax, {"axis": 0}, nn.log_softmax, batched=()),
    Case(
        "softmax_cross_entropy",
        lambda rng: (rng.standard_normal((6, 4)), rng.integers(0, 4, 6)),
        plain.softmax_cross_entropy,
        {},
        losses.softmax_cross_entropy,
        batched=(0, 1),
    ),
    Case(
        "softmax_cross_entropy",
        lambda rng: (rng.standard_normal((2, 3, 4)), rng.integers(0, 4, (2, 3), np.uint8)),
        plain.softmax_cross_entropy,
        {},
        losses.softmax_cross_entropy,
        batched=(0, 1),
        note="uint8 labels",
    ),
    *CONV,
    *MAX_POOL,
    *AVG_POOL,
    Case("global_avg_pool", draw((2, 4, 5, 3)), lambda x, axes: x.mean(axes), {"axes": (-3, -2)}, nn.global_avg_pool),
    Case("global_avg_pool", draw((4, 3)), lambda x, axes: x.mean(axes), {"axes": -2}, nn.global_avg_pool, batched=()),
    *NORMS,
    *(
        Case(
            "dropout",
            lambda rng: (jax.random.key(rng.integers(2**31)), rng.standard_normal((5, 7))),
            plain.dropout if 0 < rate < 1 else lambda key, x, rate: x if rate == 0 else jnp.zeros_like(x),
            {"rate": rate},
            nn.dropout,
            batched=(1,),
        )
        for rate in (0.3, 0.999, 0, 1)
    ),
    cell_case(3, 4, (5,)),
    cell_case(3, 4, (5,), reset_after=False),
    cell_case(2, 3, (), bias=False),
    gru_case(3, 4, (2, 3)),
    gru_case(3, 4, (2, 3), reset_after=False),
    gru_case(2, 3, (4,), bias=False, state=True),
    *(
        Case(
            "dot_product_attention",
            draw((2, t, 3, 4), (2, s, 3, 4), (2, s, 3, e)),
            plain.attention,
            options,
            batched=(0, 1, 2),
            size=4,
        )
        for t, s, e, options in (
            (5, 5, 4, {"causal": True}),
            (3, 6, 2, {"scale": 0.7}),
            (3, 5, 4, {"causal": True, "scale": -1}),
            (5, 3, 1, {"causal": True}),
        )
    ),
)
FIRST = tuple({case.rule: case for case in reversed(RULES_UNDER_TEST)}.values())[::-1]
