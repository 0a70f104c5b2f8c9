"""Every public function, enrolled once, runs through every property in test_registry.py.

An entry says how to make arguments in a given dtype, which of them are batched, and how each can be wrong. To enrol a
function, add one entry; test_registry.py fails while one is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import data, losses, nn, penalties, train


@dataclass(frozen=True)
class Bad:
    """Arguments that must be refused: `change(args, options)` edits them; the message names `argument`."""

    argument: str
    error: type[Exception]
    change: Callable[[list[Any], dict[str, Any]], None]


@dataclass(frozen=True)
class Entry:
    name: str
    function: Callable[..., Any]
    # (rng, dtype) -> positional arguments
    make: Callable[[np.random.Generator, Any], tuple[Any, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    # positions of the arguments with a leading batch axis; the result's first leaf has it too
    batched: tuple[int, ...] = ()
    # positions of the arguments to differentiate
    smooth: tuple[int, ...] = ()
    # dtypes that it keeps; () where the result has a dtype of its own
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    # whether a whole batch may be empty
    empty: bool = True
    # examples are independent of each other, so that vmap equals the batched call
    independent: bool = True
    bad: tuple[Bad, ...] = ()


def normal(rng, dtype, *shape):
    return jnp.asarray(rng.standard_normal(shape), dtype)


def replace(position, value):
    """An edit: another positional argument."""

    def change(args, options):
        args[position] = value(args[position]) if callable(value) else value

    return change


def option(**values):
    """An edit: other options."""
    return lambda args, options: options.update(values)


KEY = Bad("key", TypeError, replace(0, lambda key: jax.random.key_data(key)))
NO_KEY = Bad("key", ValueError, replace(0, None))


def refuses_kinds(position, argument):
    return (
        Bad(argument, TypeError, replace(position, lambda x: x.astype(jnp.int32))),
        Bad(argument, TypeError, replace(position, "text")),
        Bad(argument, TypeError, replace(position, [1.0, 2.0])),
        Bad(argument, TypeError, replace(position, lambda x: x.astype(jnp.complex64))),
    )


def activation(name, options=None, **bad_options):
    function = getattr(nn, name)
    bad = tuple(Bad(argument, error, option(**{argument: value})) for argument, (value, error) in bad_options.items())
    return Entry(
        f"nn.{name}",
        function,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        options=options or {},
        batched=(0,),
        smooth=(0,),
        bad=(*refuses_kinds(0, "x"), *bad),
    )


def key_of(rng):
    return jax.random.key(int(rng.integers(2**31)))


def dense_params(rng, dtype):
    return {"kernel": normal(rng, dtype, 4, 3), "bias": normal(rng, dtype, 3)}


def norm_params(rng, dtype):
    return {"scale": normal(rng, dtype, 4), "offset": normal(rng, dtype, 4)}


def norm_state():
    return nn.BatchNormState(jnp.full(4, 0.5), jnp.full(4, 2.0))


def classes(rng, *shape):
    return jnp.asarray(rng.integers(0, 4, shape), jnp.int32)


INF = float("inf")
TREE = {"kernel": jnp.array([1.0, 2.0]), "bias": jnp.array([3.0])}

ENTRIES: tuple[Entry, ...] = (
    # ---- layers
    Entry(
        "nn.dense_init",
        nn.dense_init,
        lambda rng, dtype: (key_of(rng), 4, 3),
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            Bad("in_features", ValueError, replace(1, 0)),
            Bad("out_features", TypeError, replace(2, 2.5)),
            Bad("dtype", TypeError, option(dtype=jnp.int32)),
        ),
    ),
    Entry(
        "nn.dense",
        nn.dense,
        lambda rng, dtype: (dense_params(rng, dtype), normal(rng, dtype, 5, 4)),
        batched=(1,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(1, "x"),
            Bad("x", ValueError, replace(1, jnp.ones((5, 7)))),
            Bad("params", TypeError, replace(0, jnp.ones((4, 3)))),
            Bad("params", ValueError, replace(0, {"weight": jnp.ones((4, 3))})),
            Bad("params['kernel']", TypeError, replace(0, {"kernel": jnp.ones((4, 3), jnp.bfloat16)})),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones((1, 4, 3))})),
            Bad("params['bias']", ValueError, replace(0, {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(4)})),
        ),
    ),
    Entry(
        "nn.embedding_init",
        nn.embedding_init,
        lambda rng, dtype: (key_of(rng), 6, 3),
        dtypes=(),
        bad=(KEY, NO_KEY, Bad("vocabulary", ValueError, replace(1, 0)), Bad("features", ValueError, replace(2, -1))),
    ),
    Entry(
        "nn.embedding",
        nn.embedding,
        lambda rng, dtype: ({"kernel": normal(rng, dtype, 6, 3)}, jnp.asarray(rng.integers(0, 6, 5), jnp.int32)),
        batched=(1,),
        smooth=(0,),
        bad=(
            Bad("ids", TypeError, replace(1, jnp.ones(5))),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones(6)})),
            Bad("params", ValueError, replace(0, {})),
        ),
    ),
    Entry(
        "nn.conv_init",
        nn.conv_init,
        lambda rng, dtype: (key_of(rng), (3, 3), 4, 6),
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            Bad("window", ValueError, replace(1, ())),
            Bad("window", ValueError, replace(1, (0, 3))),
            Bad("window", TypeError, replace(1, (2.5, 3))),
            Bad("in_channels", ValueError, replace(2, 0)),
            Bad("groups", ValueError, option(groups=4)),
        ),
    ),
    Entry(
        "nn.conv",
        nn.conv,
        lambda rng, dtype: (
            {"kernel": normal(rng, dtype, 3, 3, 2, 4), "bias": normal(rng, dtype, 4)},
            normal(rng, dtype, 2, 5, 6, 2),
        ),
        options={"strides": (2, 1), "padding": ((1, 0), (1, 1))},
        batched=(1,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(1, "x"),
            Bad("x", ValueError, replace(1, jnp.ones((2, 5, 6, 3)))),
            Bad("x", ValueError, replace(1, jnp.ones((6, 2)))),
            Bad(
                "x",
                ValueError,
                lambda args, options: (
                    replace(1, jnp.ones((2, 2, 6, 2)))(args, options),
                    options.update(padding="VALID"),
                ),
            ),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones((4, 3))})),
            Bad("padding", ValueError, option(padding="same")),
            Bad("padding", ValueError, option(padding="CAUSAL")),
            Bad("padding", ValueError, option(padding=((1, 1),))),
            Bad("padding", TypeError, option(padding=(1, 1))),
            Bad("padding", ValueError, option(padding=((-1, 0), (0, 0)))),
            Bad("padding", ValueError, option(padding=((9, 0), (0, 0)), padding_mode="reflect")),
            Bad("padding_mode", ValueError, option(padding_mode="mirror")),
            Bad("strides", ValueError, option(strides=0)),
            Bad("strides", ValueError, option(strides=(1, 1, 1))),
            Bad("dilation", TypeError, option(dilation="2")),
            Bad("groups", ValueError, option(groups=3)),
        ),
    ),
    Entry(
        "nn.max_pool",
        nn.max_pool,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3), (2, 3)),
        options={"strides": (2, 1), "padding": "SAME"},
        batched=(0,),
        smooth=(0,),
        bad=(
            Bad("x", TypeError, replace(0, "text")),
            Bad("x", TypeError, replace(0, lambda x: x > 0)),
            Bad("x", ValueError, replace(0, jnp.ones((6, 3)))),
            Bad(
                "x",
                ValueError,
                lambda args, options: (replace(1, (9, 9))(args, options), options.update(padding="VALID")),
            ),
            Bad("window", TypeError, replace(1, 2.0)),
            Bad("window", ValueError, replace(1, (2, 0))),
            Bad("padding", ValueError, option(padding=((2, 0), (0, 0)))),
            Bad("strides", TypeError, option(strides=1.5)),
        ),
    ),
    Entry(
        "nn.avg_pool",
        nn.avg_pool,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3), (2, 3)),
        options={"strides": (2, 1), "padding": "SAME"},
        batched=(0,),
        smooth=(0,),
        bad=(
            Bad("x", TypeError, replace(0, None)),
            Bad(
                "x",
                ValueError,
                lambda args, options: (replace(1, (9, 9))(args, options), options.update(padding="VALID")),
            ),
            Bad("padding", ValueError, option(padding=((0, 0), (2, 0)))),
            Bad("padding", ValueError, option(padding="FULL")),
        ),
    ),
    Entry(
        "nn.global_avg_pool",
        nn.global_avg_pool,
        lambda rng, dtype: (normal(rng, dtype, 2, 5, 6, 3),),
        options={"axes": (-3, -2)},
        batched=(0,),
        smooth=(0,),
        bad=(
            Bad("axes", ValueError, option(axes=(1, 2))),
            Bad("axes", ValueError, option(axes=-1)),
            Bad("axes", ValueError, option(axes=(-2, -2))),
            Bad("axes", TypeError, option(axes=())),
            Bad("x", ValueError, replace(0, jnp.ones((2, 0, 6, 3)))),
        ),
    ),
    Entry(
        "nn.batch_norm_init",
        nn.batch_norm_init,
        lambda rng, dtype: (4,),
        dtypes=(),
        bad=(Bad("features", ValueError, replace(0, 0)), Bad("dtype", TypeError, option(dtype=int))),
    ),
    Entry(
        "nn.batch_norm_train",
        nn.batch_norm_train,
        lambda rng, dtype: (norm_params(rng, dtype), norm_state(), normal(rng, dtype, 5, 3, 4)),
        batched=(2,),
        smooth=(0, 2),
        independent=False,
        bad=(
            *refuses_kinds(2, "x"),
            Bad("x", ValueError, replace(2, jnp.ones((5, 3)))),
            Bad("x", ValueError, replace(2, jnp.ones((1, 4)))),
            Bad("state", TypeError, replace(1, {})),
            Bad("params['scale']", ValueError, replace(0, {"scale": jnp.ones(3)})),
            Bad("params", ValueError, replace(0, {"kernel": jnp.ones(4)})),
            Bad("decay", ValueError, option(decay=1.5)),
            Bad("epsilon", ValueError, option(epsilon=0.0)),
            Bad("where", TypeError, option(where=jnp.ones((5, 3)))),
            Bad("where", ValueError, option(where=jnp.ones((3, 5), bool))),
        ),
    ),
    Entry(
        "nn.batch_norm_eval",
        nn.batch_norm_eval,
        lambda rng, dtype: (norm_params(rng, dtype), norm_state(), normal(rng, dtype, 5, 3, 4)),
        batched=(2,),
        smooth=(0, 2),
        bad=(
            *refuses_kinds(2, "x"),
            Bad("x", ValueError, replace(2, jnp.ones((5, 3)))),
            Bad("state", TypeError, replace(1, None)),
            Bad("epsilon", ValueError, option(epsilon=-1.0)),
        ),
    ),
    Entry(
        "nn.dropout",
        nn.dropout,
        lambda rng, dtype: (key_of(rng), normal(rng, dtype, 5, 4)),
        options={"rate": 0.3},
        batched=(1,),
        smooth=(1,),
        independent=False,
        bad=(
            KEY,
            NO_KEY,
            *refuses_kinds(1, "x"),
            Bad("key", ValueError, replace(0, lambda key: jax.random.split(key))),
            Bad("rate", ValueError, option(rate=1.5)),
            Bad("rate", ValueError, option(rate=-0.1)),
            Bad("rate", TypeError, option(rate="half")),
            Bad("rate", TypeError, option(rate=jnp.ones(2))),
            Bad("broadcast_axes", ValueError, option(broadcast_axes=(2,))),
        ),
    ),
    Entry(
        "nn.softmax",
        nn.softmax,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        batched=(0,),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "x"),
            Bad("axis", ValueError, option(axis=2)),
            Bad("axis", ValueError, replace(0, jnp.float32(1.0))),
            Bad("temperature", ValueError, option(temperature=0.0)),
            Bad("where", TypeError, option(where=jnp.ones((5, 4)))),
            Bad("where", ValueError, option(where=jnp.ones(4, bool))),
        ),
    ),
    Entry(
        "nn.log_softmax",
        nn.log_softmax,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        options={"temperature": 2.0},
        batched=(0,),
        smooth=(0,),
        bad=(*refuses_kinds(0, "x"), Bad("temperature", ValueError, option(temperature=INF))),
    ),
    # ---- activations
    activation("relu"),
    activation("relu6"),
    activation("leaky_relu", negative_slope=(INF, ValueError)),
    activation("thresholded_relu", {"threshold": 0.7}, threshold=("high", TypeError)),
    activation("elu", alpha=(float("nan"), ValueError)),
    activation("selu"),
    activation("celu", {"alpha": 0.8}, alpha=(0.0, ValueError)),
    activation("gelu"),
    activation("silu"),
    activation("mish"),
    activation("softplus"),
    activation("squareplus", b=(0.0, ValueError)),
    activation("soft_sign"),
    activation("sigmoid"),
    activation("log_sigmoid"),
    activation("tanh"),
    activation("hard_tanh"),
    activation("hard_sigmoid", slope=(INF, ValueError), offset=("half", TypeError)),
    activation("hard_silu"),
    activation("hard_shrink", threshold=(-1.0, ValueError)),
    activation("soft_shrink", threshold=(-1.0, ValueError)),
    activation("tanh_shrink"),
    Entry(
        "nn.prelu",
        nn.prelu,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), normal(rng, dtype, 4)),
        batched=(0,),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(0, "x"),
            Bad("slope", ValueError, replace(1, jnp.ones(3))),
            Bad("slope", TypeError, replace(1, jnp.ones(4, jnp.bfloat16))),
        ),
    ),
    Entry(
        "nn.glu",
        nn.glu,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        batched=(0,),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "x"),
            Bad("x", ValueError, replace(0, jnp.ones((5, 3)))),
            Bad("axis", TypeError, option(axis=1.0)),
        ),
    ),
    *(
        Entry(
            f"nn.{name}",
            getattr(nn, name),
            lambda rng, dtype: (normal(rng, dtype, 5, 4), normal(rng, dtype, 5, 4)),
            batched=(0, 1),
            smooth=(0, 1),
            bad=(
                *refuses_kinds(0, "a"),
                Bad("b", ValueError, replace(1, jnp.ones((5, 1)))),
                Bad("b", TypeError, replace(1, jnp.ones((5, 4), jnp.bfloat16))),
            ),
        )
        for name in ("swiglu", "geglu")
    ),
    Entry(
        "nn.maxout",
        nn.maxout,
        lambda rng, dtype: (normal(rng, dtype, 5, 6), 3),
        batched=(0,),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "x"),
            Bad("pieces", ValueError, replace(1, 4)),
            Bad("pieces", TypeError, replace(1, 2.0)),
        ),
    ),
    # ---- losses
    Entry(
        "losses.squared_error",
        losses.squared_error,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), normal(rng, dtype, 5, 4)),
        batched=(0, 1),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(0, "predictions"),
            *refuses_kinds(1, "targets"),
            Bad("targets", ValueError, replace(1, jnp.ones((5, 1)))),
        ),
    ),
    Entry(
        "losses.softmax_cross_entropy",
        losses.softmax_cross_entropy,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), classes(rng, 5)),
        options={"label_smoothing": 0.1},
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "logits"),
            Bad("labels", ValueError, replace(1, jnp.zeros((5, 1), int))),
            Bad("labels", TypeError, replace(1, jnp.zeros(5))),
            Bad("logits", ValueError, replace(0, jnp.ones((5, 0)))),
            Bad("label_smoothing", ValueError, option(label_smoothing=1.1)),
            Bad("class_weights", ValueError, option(class_weights=jnp.ones(5))),
            Bad("ignore_label", TypeError, option(ignore_label=0.5)),
        ),
    ),
    *(
        Entry(
            f"losses.{name}",
            getattr(losses, name),
            lambda rng, dtype: (normal(rng, dtype, 5, 4),),
            options={},
            smooth=(0,),
            dtypes=("float16", "bfloat16", "float32", "float64") if name == "mean" else ("float32", "float64"),
            bad=(
                *refuses_kinds(0, "values"),
                Bad("where", ValueError, option(where=jnp.ones((5, 1), bool))),
                Bad("where", TypeError, option(where=jnp.ones((5, 4)))),
                Bad("weights", ValueError, option(weights=jnp.ones(5))),
                Bad("weights", TypeError, option(weights=jnp.ones((5, 4), int))),
            ),
        )
        for name in ("mean", "sum_and_weight")
    ),
    # ---- penalties: what they make is a pair of functions; its value is what is differentiated
    Entry(
        "penalties.l2",
        lambda params, **options: penalties.l2(options.pop("strength", 0.3)).value(params),
        lambda rng, dtype: ({"kernel": normal(rng, dtype, 3, 2), "bias": normal(rng, dtype, 2)},),
        smooth=(0,),
        dtypes=("float32", "float64"),
        bad=(
            Bad("strength", ValueError, option(strength=-1.0)),
            Bad("strength", TypeError, option(strength="weak")),
            Bad("params['kernel']", TypeError, replace(0, {"kernel": jnp.ones(2, int)})),
        ),
    ),
    Entry(
        "penalties.on",
        lambda params, **options: penalties.on(
            options.pop("penalty", penalties.l2(0.3)), options.pop("pattern", "kernel")
        ).value(params),
        lambda rng, dtype: ({"kernel": normal(rng, dtype, 3, 2), "bias": normal(rng, dtype, 2)},),
        smooth=(0,),
        dtypes=("float32", "float64"),
        bad=(
            Bad("pattern", ValueError, option(pattern="kernle")),
            Bad("pattern", ValueError, option(pattern="(")),
            Bad("pattern", TypeError, option(pattern=3)),
            Bad("penalty", TypeError, option(penalty=0.3)),
        ),
    ),
    # ---- data and metrics
    Entry(
        "data.random_shift",
        data.random_shift,
        lambda rng, dtype: (key_of(rng), normal(rng, dtype, 3, 4, 5, 2)),
        options={"pixels": 2},
        batched=(1,),
        smooth=(1,),
        independent=False,
        bad=(
            KEY,
            NO_KEY,
            Bad("images", ValueError, replace(1, jnp.ones((4, 5)))),
            Bad("pixels", ValueError, option(pixels=-1)),
        ),
    ),
    Entry(
        "train.accuracy",
        train.accuracy,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), classes(rng, 5)),
        batched=(0, 1),
        dtypes=(),
        bad=(
            *refuses_kinds(0, "predictions"),
            Bad("targets", ValueError, replace(1, jnp.zeros((5, 1), int))),
            Bad("targets", TypeError, replace(1, jnp.zeros(5))),
        ),
    ),
)

# Public names that are not functions of arrays; each is tested where it says.
ELSEWHERE = {
    "nn.BatchNormState": "a NamedTuple",
    "nn.initializers": "JAX's own; tests/nn/test_initializers.py",
    "penalties.Penalty": "a NamedTuple",
    "data.DataSet": "a NamedTuple",
    "data.load": "tests/data/test_sets.py",
    "train.DivergedError": "tests/train/test_fit.py",
    "train.Report": "a NamedTuple",
    "train.TrainState": "a NamedTuple",
    "train.evaluate": "tests/train/test_evaluate.py",
    "train.fit": "tests/train/test_fit.py",
    "train.make_epoch": "tests/train/test_epoch.py",
    "train.make_state": "tests/train/test_step.py",
    "train.make_step": "tests/train/test_step.py",
    "train.predict": "tests/train/test_evaluate.py",
    "train.restore": "tests/train/test_checkpoint.py",
    "train.save": "tests/train/test_checkpoint.py",
}
