"""Every public function, enrolled once, runs through every property in test_registry.py and test_properties.py.

An entry says how to make arguments in a given dtype, which of them are batched, how each can be wrong, and how to draw
another case. To enrol a function, add one entry; test_registry.py fails while one is missing, test_properties.py while
one does not say how to draw.
"""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import data, nn, penalties, train
from tests.enrolment import (
    INF,
    KEY,
    NO_KEY,
    Bad,
    Entry,
    activation,
    classes,
    draw_pair,
    key_of,
    normal,
    option,
    refuses_kinds,
    replace,
)
from tests.registry_attention import ATTENTION
from tests.registry_layers import LAYERS
from tests.registry_losses import LOSSES
from tests.registry_norms import NORMS
from tests.registry_pooling import POOLING
from tests.registry_random import RANDOM
from tests.registry_recurrent import RECURRENT
from tests.registry_wavenet import WAVENET
from tests.registry_windows import WINDOWS

FLOATS = ("float16", "bfloat16", "float32", "float64")


def draw_prelu(d):
    shape = (*d.lead(), *d.shape(0, 1), d.size())
    slope = d.choose(shape[-1:], ())
    return {
        "make": lambda rng, dtype: (normal(rng, dtype, *shape), normal(rng, dtype, *slope)),
        "batched": d.batched(0),
    }


def draw_glu(d):
    lead, rest = d.lead(), d.shape(1, 3)
    axis = d.choose(*range(-1, -len(rest) - 1, -1))
    shape = (*lead, *(2 * n if i - len(rest) == axis else n for i, n in enumerate(rest)))
    options = {} if axis == -1 else {"axis": axis}
    return {"make": lambda rng, dtype: (normal(rng, dtype, *shape),), "batched": d.batched(0), "options": options}


def draw_maxout(d):
    pieces = d.choose(3, 1, 2, 5)
    shape = (*d.lead(), *d.shape(0, 1), pieces * d.size(most=3))
    return {"make": lambda rng, dtype: (normal(rng, dtype, *shape), pieces), "batched": d.batched(0)}


def draw_tree(d):
    kernel, bias = d.lead() + d.shape(1, 2), d.shape(0, 1)
    make = lambda rng, dtype: ({"fc": {"kernel": normal(rng, dtype, *kernel), "bias": normal(rng, dtype, *bias)}},)
    return {"make": make}


def draw_matrices(d):
    make = lambda rng, dtype: ({"kernel": normal(rng, dtype, 3, 2), "bias": normal(rng, dtype, *shape)},)
    shape = (*d.shape(0, 1), d.size(), d.size())
    return {"make": make}


def draw_linear_unit(d):
    inside, lead, out = d.size(), (*d.lead(), *d.shape(0, 1)), d.shape(0, 1)
    return {
        "make": lambda rng, dtype: (normal(rng, dtype, inside, *out), normal(rng, dtype, *lead, inside)),
        "options": {"rate": d.choose(0.25, 0.0, 0.5), **d.options(inverted=(False,))},
        "batched": d.batched(1),
    }


def draw_shift(d):
    shape = (*(*d.lead(most=1), 1)[:1], d.size(), d.size(), d.size(most=3))
    make = lambda rng, dtype: (key_of(rng), normal(rng, dtype, *shape))
    return {"make": make, "options": d.options(pixels=(2, 0, 3)), "batched": (1,)}


def draw_classes(d):
    examples, count = (*d.lead(), *d.shape(0, 1)), d.size()
    make = lambda rng, dtype: (
        normal(rng, dtype, *examples, count),
        jnp.asarray(rng.integers(0, count, examples), jnp.int32),
    )
    return {"make": make, "batched": d.batched(0, 1)}


ENTRIES: tuple[Entry, ...] = (
    *ATTENTION,
    *LAYERS,
    *NORMS,
    *RANDOM,
    *RECURRENT,
    *POOLING,
    *WINDOWS,
    *WAVENET,
    *LOSSES,
    # ---- activations
    activation("relu"),
    activation("relu6"),
    activation("leaky_relu", drawn={"negative_slope": (0.25, 0.0, -0.5)}, negative_slope=(INF, ValueError)),
    activation(
        "thresholded_relu", {"threshold": 0.75}, {"threshold": (0.0, -0.25, 2.5)}, threshold=("high", TypeError)
    ),
    activation("elu", drawn={"alpha": (0.5, 2.0, -1.0)}, alpha=(float("nan"), ValueError)),
    activation("selu"),
    activation("celu", {"alpha": 0.8}, {"alpha": (0.5, 1.0, 4.0)}, alpha=(0.0, ValueError)),
    activation("gelu", drawn={"approximate": (False, True)}),
    activation("silu"),
    activation("mish"),
    activation("softplus"),
    activation("squareplus", drawn={"b": (0.25, 1.0, 9.0)}, b=(0.0, ValueError)),
    activation("soft_sign"),
    activation("sigmoid"),
    activation("log_sigmoid"),
    activation("tanh"),
    activation("hard_tanh"),
    activation(
        "hard_sigmoid",
        drawn={"slope": (0.25, -0.5, 0.0), "offset": (0.0, 0.25, 1.5)},
        slope=(INF, ValueError),
        offset=("half", TypeError),
    ),
    activation("hard_silu"),
    activation("hard_shrink", drawn={"threshold": (0.25, 0.0, 1.5)}, threshold=(-1.0, ValueError)),
    activation("soft_shrink", drawn={"threshold": (0.25, 0.0, 1.5)}, threshold=(-1.0, ValueError)),
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
        draw=draw_prelu,
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
        draw=draw_glu,
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
            draw=draw_pair,
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
        draw=draw_maxout,
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
        draw=draw_tree,
    ),
    *(
        Entry(
            f"penalties.{name}",
            function,
            lambda rng, dtype: ({"kernel": normal(rng, dtype, 3, 2), "bias": normal(rng, dtype, 4, 2)},),
            smooth=(0,),
            dtypes=dtypes,
            bad=(
                *(Bad(argument, error, option(**{argument: value})) for argument, value, error in bad),
                Bad("params['kernel']", TypeError, replace(0, {"kernel": jnp.ones((2, 2), int)})),
            ),
            draw=draw_matrices,
        )
        for name, function, dtypes, bad in (
            (
                "l1",
                lambda params, strength=0.3: penalties.l1(strength).value(params),
                ("float32", "float64"),
                (("strength", -1.0, ValueError), ("strength", "weak", TypeError)),
            ),
            (
                "elastic_net",
                lambda params, l1=0.3, l2=0.2: penalties.elastic_net(l1, l2).value(params),
                ("float32", "float64"),
                (("l1", -1.0, ValueError), ("l2", "weak", TypeError)),
            ),
            (
                "group_lasso",
                lambda params, axis=-1, strength=0.3: penalties.group_lasso(strength, axis=axis).value(params),
                ("float32", "float64"),
                (("strength", -1.0, ValueError), ("axis", 0.5, TypeError), ("axis", (), TypeError)),
            ),
            # Constraints: their values are 0 or infinite, and what is differentiated is the projection.
            (
                "max_norm",
                lambda params, axis=-1, limit=0.75: penalties.max_norm(limit, axis=axis).prox(params, 1.0),
                FLOATS,
                (("limit", -1.0, ValueError), ("axis", 0.5, TypeError)),
            ),
            ("non_negative", lambda params: penalties.non_negative().prox(params, 1.0), FLOATS, ()),
        )
    ),
    Entry(
        "penalties.combine",
        lambda params, *more: penalties.combine(penalties.l2(0.3), penalties.l1(0.2), *more).value(params),
        lambda rng, dtype: ({"kernel": normal(rng, dtype, 3, 2), "bias": normal(rng, dtype, 2)},),
        smooth=(0,),
        dtypes=("float32", "float64"),
        bad=(Bad("penalties[2]", TypeError, lambda args, options: args.append(0.3)),),
        draw=draw_tree,
    ),
    Entry(
        "penalties.dropout_penalty",
        penalties.dropout_penalty,
        lambda rng, dtype: (normal(rng, dtype, 4, 2), normal(rng, dtype, 5, 4)),
        options={"rate": 0.25},
        batched=(1,),
        smooth=(0, 1),
        degree=4,
        bad=(
            *refuses_kinds(0, "weights"),
            Bad("inputs", ValueError, replace(1, jnp.ones((5, 3)))),
            Bad("inputs", TypeError, replace(1, jnp.ones((5, 4), jnp.bfloat16))),
            Bad("rate", ValueError, option(rate=1.0)),
            Bad("inverted", TypeError, option(inverted=1)),
        ),
        draw=draw_linear_unit,
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
        draw=draw_tree,
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
        draw=draw_shift,
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
        draw=draw_classes,
    ),
)

# Public names that are not functions of arrays; each is tested where it says.
ELSEWHERE = {
    "backprop.NetworkGradients": "a NamedTuple",
    "backprop.RULES": "a table; tests/backprop/test_rules.py",
    "backprop.Rule": "a NamedTuple",
    "backprop.delta_norms": "tests/backprop/test_network.py",
    "backprop.gru_gradients": "tests/backprop/test_rules.py",
    "backprop.network_gradients": "tests/backprop/test_network.py",
    "gradcheck.LeafReport": "what check returns; tests/gradcheck/test_check.py",
    "gradcheck.Report": "what check returns; tests/gradcheck/test_check.py",
    "gradcheck.assert_gradients": "tests/gradcheck/test_check.py",
    "gradcheck.check": "tests/gradcheck",
    "lab.NAMES": "a table; tests/lab/test_penalty_path.py",
    "lab.Result": "what run returns; tests/lab/test_penalty_path.py",
    "lab.run": "tests/lab/test_penalty_path.py",
    "nn.BatchNormState": "a NamedTuple",
    "nn.WaveNetConfig": "a NamedTuple; tests/nn/test_wavenet.py",
    "nn.receptive_field": "tests/nn/test_wavenet.py",
    "nn.initializers": "JAX's own; their fan-in: tests/nn/test_dense.py and tests/nn/test_convolution.py",
    "nn.layouts": "a module; tests/nn/test_layouts.py",
    "penalties.Penalty": "a NamedTuple",
    "penalties.ProximalState": "a NamedTuple; tests/penalties/test_proximal.py",
    "penalties.proximal": "tests/penalties/test_proximal.py",
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
