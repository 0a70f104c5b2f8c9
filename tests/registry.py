"""Every public function, enrolled once, runs through every property in test_registry.py.

An entry says how to make arguments in a given dtype, which of them are batched, and how each can be wrong. To enrol a
function, add one entry; test_registry.py fails while one is missing.
"""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import data, losses, nn, penalties, train
from tests.enrolment import (
    INF,
    KEY,
    NO_KEY,
    Bad,
    Entry,
    activation,
    classes,
    key_of,
    normal,
    option,
    refuses_kinds,
    replace,
)
from tests.registry_layers import LAYERS

ENTRIES: tuple[Entry, ...] = (
    *LAYERS,
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
