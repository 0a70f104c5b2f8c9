"""Losses, enrolled."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dlcore import losses
from tests.enrolment import (
    INF,
    Bad,
    Entry,
    classes,
    normal,
    option,
    refuses_kinds,
    replace,
)


def through(change, function, *positions):
    """`function` with `change` on some arguments: drawn numbers in the range that it is made for."""

    def run(*args, **options):
        given = list(args)
        for position in positions:
            if isinstance(given[position], jax.Array) and jnp.issubdtype(given[position].dtype, jnp.floating):
                given[position] = change(given[position])
        return function(*given, **options)

    return run


def signs(rng, *shape):
    return jnp.asarray(rng.choice([-1, 1], shape), jnp.int32)


def shares(rng, dtype, *shape):
    """Numbers in [0, 1] that half precision holds exactly."""
    return jnp.asarray(rng.integers(0, 9, shape) / 8, dtype)


def draw_class_loss(weighted=True, **choices):
    def draw(d):
        examples, count = (*d.lead(), *d.shape(0, 1)), d.size()
        weights = jnp.asarray([0.5, 2.0, 0.0, 1.0, 0.25, 3.0, 1.5][:count])
        return {
            "make": lambda rng, dtype: (
                normal(rng, dtype, *examples, count),
                jnp.asarray(rng.integers(0, count, examples), jnp.int32),
            ),
            "batched": d.batched(0, 1),
            "options": d.options(**{**choices, **({"class_weights": (weights,)} if weighted else {})}),
        }

    return draw


def draw_reduction(function):
    """With `where` and `weights`, none or both; weights of zero among them, but not all."""

    def draw(d):
        shape = d.lead() + d.shape(1, 2)
        given = [name for name in ("where", "weights") if d.flag()]

        def make(rng, dtype):
            options = {
                "where": jnp.asarray(rng.random(shape) < 0.7),
                "weights": jnp.asarray(rng.choice([0.0, 0.5, 1.0, 2.0], shape), dtype),
            }
            return (normal(rng, dtype, *shape), *(options[name] for name in given))

        return {
            "function": lambda values, *options: function(values, **dict(zip(given, options, strict=True))),
            "make": make,
        }

    return draw


def draw_signed(*, data=1, axes=(1, 2), **choices):
    """`data` arrays of one shape, and signs."""

    def draw(d):
        shape = d.lead() + d.shape(*axes)
        return {
            "make": lambda rng, dtype: (*(normal(rng, dtype, *shape) for _ in range(data)), signs(rng, *shape)),
            "batched": d.batched(*range(data + 1)),
            "options": d.options(**choices),
        }

    return draw


def draw_rows(count, labels=None, **choices):
    """`count` arrays (*lead, features), and what `labels(rng, dtype, shape)` makes of that shape."""

    def draw(d):
        shape = (*d.lead(), *d.shape(0, 1), d.size())
        extra = () if labels is None else (labels,)
        return {
            "make": lambda rng, dtype: (
                *(normal(rng, dtype, *shape) for _ in range(count)),
                *(made(rng, dtype, shape) for made in extra),
            ),
            "batched": d.batched(*range(count + len(extra))),
            "options": d.options(**choices),
        }

    return draw


def draw_elements(*makers, always=None, **choices):
    """An array of one shape by each of `makers(rng, dtype, *shape)`, and options that are always given."""

    def draw(d):
        shape = d.lead() + d.shape(1, 2)
        return {
            "make": lambda rng, dtype: tuple(maker(rng, dtype, *shape) for maker in makers),
            "batched": d.batched(*range(len(makers))),
            "options": (always or {}) | d.options(**choices),
        }

    return draw


def regression(name, function=None, options=None, drawn=None, degree=1, **bad_options):
    """A loss of each element, smooth in predictions and targets."""
    return Entry(
        f"losses.{name}",
        function or getattr(losses, name),
        lambda rng, dtype: (normal(rng, dtype, 5, 4), normal(rng, dtype, 5, 4)),
        options=options or {},
        batched=(0, 1),
        smooth=(0, 1),
        degree=degree,
        bad=(
            *refuses_kinds(0, "predictions"),
            *refuses_kinds(1, "targets"),
            Bad("targets", ValueError, replace(1, jnp.ones((5, 1)))),
            *(Bad(argument, error, option(**{argument: value})) for argument, (value, error) in bad_options.items()),
        ),
        draw=draw_elements(normal, normal, always=options, **(drawn or {})),
    )


def signed(name, **drawn):
    """A margin loss of each score."""
    return Entry(
        f"losses.{name}",
        getattr(losses, name),
        lambda rng, dtype: (normal(rng, dtype, 5, 4), signs(rng, 5, 4)),
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "scores"),
            Bad("signs", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("signs", ValueError, replace(1, jnp.zeros((5, 4), int))),
            Bad("signs", TypeError, replace(1, jnp.ones((5, 4), bool))),
        ),
        draw=draw_signed(**drawn),
    )


def of_classes(name, source, options=None, drawn=None, weighted=True, ignoring=True, **bad_options):
    """A loss of scores and integer labels."""
    choices = (drawn or {}) | ({"ignore_label": (-1, 0)} if ignoring else {})
    return Entry(
        f"losses.{name}",
        getattr(losses, name),
        lambda rng, dtype: (normal(rng, dtype, 5, 4), classes(rng, 5)),
        options=options or {},
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, source),
            Bad("labels", ValueError, replace(1, jnp.zeros((5, 1), int))),
            Bad("labels", TypeError, replace(1, jnp.zeros(5))),
            Bad(source, ValueError, replace(0, jnp.ones((5, 0)))),
            *([Bad("class_weights", ValueError, option(class_weights=jnp.ones(5)))] if weighted else []),
            *([Bad("ignore_label", TypeError, option(ignore_label=0.5))] if ignoring else []),
            *(Bad(argument, error, option(**{argument: value})) for argument, (value, error) in bad_options.items()),
        ),
        draw=draw_class_loss(weighted, **choices),
    )


def draw_head(d):
    """A linear layer, features and labels; chunks that divide the classes and such that do not."""
    # Two classes or more: of one alone all derivatives are 0, but for rounding.
    examples, inside, count = (*d.lead(), *d.shape(0, 1)), d.size(most=4), 1 + d.size(most=6)
    bias = d.flag()

    def make(rng, dtype):
        params = {"kernel": normal(rng, dtype, inside, count)} | ({"bias": normal(rng, dtype, count)} if bias else {})
        return params, normal(rng, dtype, *examples, inside), jnp.asarray(rng.integers(0, count, examples), jnp.int32)

    weights = jnp.asarray([0.5, 2.0, 0.0, 1.0, 0.25, 3.0, 1.5][:count])
    choices = {"label_smoothing": (0.125, 1.0), "class_weights": (weights,), "ignore_label": (-1, 0)}
    return {
        "make": make,
        "batched": d.batched(1, 2),
        "options": {"chunk": d.choose(2, 1, 3, 7), **d.options(**choices)},
    }


def draw_overlap(**choices):
    def draw(d):
        shape = d.lead() + d.shape(1, 2)
        return {
            "make": lambda rng, dtype: (normal(rng, dtype, *shape), shares(rng, dtype, *shape)),
            "batched": d.batched(0, 1),
            "options": {"axis": -1, "epsilon": 0.125, **d.options(**choices)},
        }

    return draw


def draw_circle(d):
    count, width = d.size(most=4) + 1, d.size(most=3) + 1
    return {
        "make": lambda rng, dtype: (
            normal(rng, dtype, count, width),
            jnp.asarray(rng.integers(0, 2, count), jnp.int32),
        ),
        "options": {"gamma": 2.0, **d.options(margin=(0.25, 0.5))},
        "batched": (0, 1),
    }


def alignments(rng, dtype, batch=2, frames=4, labels=2, count=3):
    return (
        normal(rng, dtype, batch, frames, count),
        jnp.zeros((batch, frames)).at[0, -1].set(1),
        jnp.asarray(rng.integers(1, count, (batch, labels)), jnp.int32),
        jnp.zeros((batch, labels)).at[-1, -1].set(1),
    )


def draw_alignments(d):
    batch, labels, count = d.choose(2, 1, 3), d.choose(1, 2), d.choose(3, 2)
    frames = 2 * labels + d.choose(1, 2)
    return {"make": lambda rng, dtype: alignments(rng, dtype, batch, frames, labels, count)}


tame = jnp.tanh

LOSSES: tuple[Entry, ...] = (
    # ---- regression
    regression("squared_error"),
    regression("absolute_error"),
    regression(
        "absolute_percentage_error",
        options={"epsilon": 0.25},
        epsilon=(0.0, ValueError),
    ),
    # Apart, since at the minimum values are squares of rounding, of which a checker may say nothing.
    regression("squared_logarithmic_error", through(lambda y: y + 0.5, losses.squared_logarithmic_error, 1)),
    regression("log_cosh"),
    regression("huber", drawn={"delta": (0.25, 2.0)}, delta=(0.0, ValueError)),
    regression("smooth_l1", drawn={"beta": (0.25, 2.0, 0.0)}, beta=(-1.0, ValueError)),
    regression("quantile", options={"q": 0.75}, drawn={"q": (0.75, 0.0, 1.0)}, q=(1.5, ValueError)),
    regression(
        "poisson_nll",
        through(lambda x: 1 + tame(x), through(tame, losses.poisson_nll, 0), 1),
        drawn={"full": (True,)},
        log_input=(1, TypeError),
        full=(None, TypeError),
        epsilon=(-1.0, ValueError),
    ),
    Entry(
        "losses.gaussian_nll",
        through(lambda v: 0.25 + v * v, losses.gaussian_nll, 2),
        lambda rng, dtype: tuple(normal(rng, dtype, 5, 4) for _ in range(3)),
        batched=(0, 1, 2),
        smooth=(0, 1, 2),
        degree=2,
        bad=(
            *refuses_kinds(0, "predictions"),
            Bad("targets", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("variance", ValueError, replace(2, jnp.ones((5, 1)))),
            Bad("full", TypeError, option(full=1)),
            Bad("epsilon", ValueError, option(epsilon=0.0)),
        ),
        draw=draw_elements(normal, normal, normal, full=(True,)),
    ),
    Entry(
        "losses.cosine_distance",
        losses.cosine_distance,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), normal(rng, dtype, 5, 4)),
        batched=(0, 1),
        smooth=(0, 1),
        jumps_at_zero=True,
        bad=(
            *refuses_kinds(0, "predictions"),
            Bad("targets", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("axis", ValueError, option(axis=2)),
            Bad("axis", TypeError, option(axis=1.0)),
        ),
        draw=draw_rows(2),
    ),
    # ---- a yes or no
    Entry(
        "losses.binary_cross_entropy",
        losses.binary_cross_entropy,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), shares(rng, dtype, 5, 4)),
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "logits"),
            Bad("labels", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("labels", TypeError, replace(1, jnp.ones((5, 4), complex))),
            Bad("label_smoothing", ValueError, option(label_smoothing=1.5)),
            Bad("positive_weight", ValueError, option(positive_weight=-1.0)),
            Bad("positive_weight", ValueError, option(positive_weight=jnp.ones(3))),
        ),
        draw=draw_elements(normal, shares, label_smoothing=(0.125, 1.0), positive_weight=(2.5, 0.0)),
    ),
    Entry(
        "losses.binary_focal_cross_entropy",
        losses.binary_focal_cross_entropy,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), shares(rng, dtype, 5, 4)),
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "logits"),
            Bad("labels", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("gamma", ValueError, option(gamma=-1.0)),
            Bad("alpha", ValueError, option(alpha=1.5)),
            Bad("label_smoothing", TypeError, option(label_smoothing="some")),
        ),
        draw=draw_elements(normal, shares, gamma=(0.0, 0.5, 3.0), alpha=(0.25,), label_smoothing=(0.125,)),
    ),
    Entry(
        "losses.binary_cross_entropy_probabilities",
        through(lambda x: 0.5 + tame(x) / 2.5, losses.binary_cross_entropy_probabilities, 0),
        lambda rng, dtype: (normal(rng, dtype, 5, 4), shares(rng, dtype, 5, 4)),
        batched=(0, 1),
        smooth=(0,),
        bad=(*refuses_kinds(0, "probabilities"), Bad("labels", ValueError, replace(1, jnp.ones((5, 1))))),
        draw=draw_elements(normal, shares),
    ),
    # ---- classes
    of_classes(
        "softmax_cross_entropy",
        "logits",
        options={"label_smoothing": 0.1},
        drawn={"label_smoothing": (0.125, 1.0)},
        label_smoothing=(1.1, ValueError),
    ),
    of_classes(
        "softmax_focal_cross_entropy",
        "logits",
        drawn={"gamma": (0.0, 0.5, 3.0), "alpha": (0.25,)},
        weighted=False,
        gamma=(-1.0, ValueError),
        alpha=(jnp.ones(5), ValueError),
    ),
    of_classes("generalized_cross_entropy", "logits", drawn={"q": (0.0, 0.25, 1.0)}, q=(1.5, ValueError)),
    of_classes("nll", "log_probabilities"),
    Entry(
        "losses.softmax_cross_entropy_probabilities",
        losses.softmax_cross_entropy_probabilities,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), shares(rng, dtype, 5, 4)),
        batched=(0, 1),
        smooth=(0, 1),
        degree=2,
        bad=(
            *refuses_kinds(0, "logits"),
            *refuses_kinds(1, "probabilities"),
            Bad("probabilities", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("class_weights", ValueError, option(class_weights=jnp.ones(5))),
            Bad("label_smoothing", ValueError, option(label_smoothing=-0.1)),
        ),
        draw=draw_rows(1, lambda rng, dtype, shape: shares(rng, dtype, *shape), label_smoothing=(0.125, 1.0)),
    ),
    Entry(
        "losses.kl_divergence",
        losses.kl_divergence,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), shares(rng, dtype, 5, 4)),
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "log_predictions"),
            Bad("targets", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("log_target", TypeError, option(log_target=1)),
        ),
        draw=draw_rows(1, lambda rng, dtype, shape: shares(rng, dtype, *shape), log_target=(True,)),
    ),
    Entry(
        "losses.perplexity",
        through(tame, losses.perplexity, 0),
        lambda rng, dtype: (normal(rng, dtype, 5),),
        batched=(0,),
        smooth=(0,),
        bad=refuses_kinds(0, "mean_nll"),
        draw=draw_elements(normal),
    ),
    Entry(
        "losses.linear_softmax_cross_entropy",
        losses.linear_softmax_cross_entropy,
        lambda rng, dtype: (
            {"kernel": normal(rng, dtype, 3, 7), "bias": normal(rng, dtype, 7)},
            normal(rng, dtype, 5, 3),
            jnp.asarray(rng.integers(0, 7, 5), jnp.int32),
        ),
        options={"chunk": 3},
        batched=(1, 2),
        smooth=(0, 1),
        forward=False,
        degree=2,
        bad=(
            *refuses_kinds(1, "features"),
            Bad("features", ValueError, replace(1, jnp.ones((5, 4)))),
            Bad("params['kernel']", ValueError, replace(0, {"kernel": jnp.ones(3)})),
            Bad("params['bias']", ValueError, replace(0, {"kernel": jnp.ones((3, 7)), "bias": jnp.ones(3)})),
            Bad("params['kernel']", TypeError, replace(0, {"kernel": jnp.ones((3, 7), jnp.bfloat16)})),
            Bad("labels", ValueError, replace(2, jnp.zeros((5, 1), int))),
            Bad("class_weights", ValueError, option(class_weights=jnp.ones(5))),
            Bad("chunk", ValueError, option(chunk=0)),
        ),
        draw=draw_head,
    ),
    # ---- margins
    signed("hinge"),
    signed("squared_hinge"),
    signed("soft_margin"),
    of_classes("categorical_hinge", "scores", weighted=False, ignoring=False),
    of_classes(
        "multi_margin",
        "scores",
        drawn={"p": (2,), "margin": (0.25, -1.0), "reduce": ("max",)},
        ignoring=False,
        p=(3, ValueError),
        margin=("wide", TypeError),
        reduce=("mean", ValueError),
    ),
    *(
        Entry(
            f"losses.{name}",
            getattr(losses, name),
            lambda rng, dtype: (normal(rng, dtype, 5, 4), jnp.asarray(rng.integers(0, 2, (5, 4)), jnp.int32)),
            batched=(0, 1),
            smooth=(0,),
            bad=(
                *refuses_kinds(0, "scores"),
                Bad("labels", ValueError, replace(1, jnp.ones((5, 1), int))),
                Bad("labels", TypeError, replace(1, jnp.ones((5, 4), complex))),
                *more,
            ),
            draw=draw_rows(1, lambda rng, dtype, shape: jnp.asarray(rng.integers(0, 2, shape), jnp.int32)),
        )
        for name, more in (
            ("multilabel_margin", (Bad("labels", ValueError, replace(1, jnp.full((5, 4), 2))),)),
            ("multilabel_soft_margin", (Bad("class_weights", ValueError, option(class_weights=jnp.ones(3))),)),
        )
    ),
    Entry(
        "losses.margin_ranking",
        losses.margin_ranking,
        lambda rng, dtype: (normal(rng, dtype, 5), normal(rng, dtype, 5), signs(rng, 5)),
        batched=(0, 1, 2),
        smooth=(0, 1),
        bad=(
            *refuses_kinds(0, "first"),
            Bad("second", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("signs", ValueError, replace(2, jnp.zeros(5))),
            Bad("margin", ValueError, option(margin=INF)),
        ),
        draw=draw_signed(data=2, margin=(0.25, -0.5)),
    ),
    Entry(
        "losses.hinge_embedding",
        losses.hinge_embedding,
        lambda rng, dtype: (normal(rng, dtype, 5), signs(rng, 5)),
        batched=(0, 1),
        smooth=(0,),
        bad=(
            *refuses_kinds(0, "distances"),
            Bad("signs", ValueError, replace(1, jnp.ones((5, 1)))),
            Bad("margin", TypeError, option(margin="wide")),
        ),
        draw=draw_signed(margin=(0.25, 2.0)),
    ),
    Entry(
        "losses.cosine_embedding",
        losses.cosine_embedding,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), normal(rng, dtype, 5, 4), signs(rng, 5)),
        batched=(0, 1, 2),
        smooth=(0, 1),
        jumps_at_zero=True,
        bad=(
            *refuses_kinds(0, "first"),
            Bad("second", ValueError, replace(1, jnp.ones((5, 3)))),
            Bad("signs", ValueError, replace(2, jnp.ones((5, 1)))),
            Bad("margin", ValueError, option(margin=1.5)),
        ),
        draw=draw_rows(2, lambda rng, dtype, shape: signs(rng, *shape[:-1]), margin=(0.25, -0.5)),
    ),
    Entry(
        "losses.triplet_margin",
        losses.triplet_margin,
        lambda rng, dtype: tuple(normal(rng, dtype, 5, 4) for _ in range(3)),
        batched=(0, 1, 2),
        smooth=(0, 1, 2),
        bad=(
            *refuses_kinds(0, "anchor"),
            Bad("negative", ValueError, replace(2, jnp.ones((5, 3)))),
            Bad("p", ValueError, option(p=0.5)),
            Bad("swap", TypeError, option(swap=1)),
            Bad("epsilon", ValueError, option(epsilon=-1.0)),
        ),
        draw=draw_rows(3, margin=(0.25, 4.0), p=(1, 3, 1.5, INF), epsilon=(0.125,), swap=(True,)),
    ),
    Entry(
        "losses.circle",
        losses.circle,
        lambda rng, dtype: (normal(rng, dtype, 5, 4), classes(rng, 5)),
        options={"gamma": 2.0},
        batched=(0, 1),
        smooth=(0,),
        independent=False,
        jumps_at_zero=True,
        bad=(
            *refuses_kinds(0, "embeddings"),
            Bad("embeddings", ValueError, replace(0, jnp.ones(5))),
            Bad("labels", ValueError, replace(1, jnp.zeros(4, int))),
            Bad("gamma", ValueError, option(gamma=0.0)),
            Bad("margin", ValueError, option(margin=1.5)),
        ),
        draw=draw_circle,
    ),
    # ---- regions and sequences
    *(
        Entry(
            f"losses.{name}",
            through(lambda x: 0.5 + tame(x) / 2.5, getattr(losses, name), 0),
            lambda rng, dtype: (normal(rng, dtype, 5, 4), shares(rng, dtype, 5, 4)),
            options={"axis": -1},
            batched=(0, 1),
            smooth=(0,),
            bad=(
                *refuses_kinds(0, "predictions"),
                Bad("targets", ValueError, replace(1, jnp.ones((5, 1)))),
                Bad("axis", ValueError, option(axis=2)),
                Bad("axis", TypeError, option(axis="last")),
                Bad("epsilon", ValueError, option(epsilon=-1.0)),
                *more,
            ),
            draw=draw_overlap(**drawn),
        )
        for name, drawn, more in (
            ("dice", {}, ()),
            (
                "tversky",
                {"alpha": (0.25, 0.0), "beta": (2.0,)},
                (Bad("alpha", ValueError, option(alpha=-1.0)), Bad("beta", TypeError, option(beta=None))),
            ),
        )
    ),
    Entry(
        "losses.ctc",
        losses.ctc,
        alignments,
        batched=(0, 1, 2, 3),
        smooth=(0,),
        independent=False,
        empty=False,
        bad=(
            *refuses_kinds(0, "logits"),
            Bad("logits", ValueError, replace(0, jnp.ones((2, 3)))),
            Bad("logit_paddings", ValueError, replace(1, jnp.zeros((2, 3)))),
            Bad("labels", TypeError, replace(2, jnp.ones((2, 2)))),
            Bad("labels", ValueError, replace(2, jnp.ones((3, 2), int))),
            Bad("label_paddings", ValueError, replace(3, jnp.zeros((2, 3)))),
            Bad("blank_id", ValueError, option(blank_id=3)),
            Bad("log_epsilon", ValueError, option(log_epsilon=0.0)),
        ),
        draw=draw_alignments,
    ),
    # ---- reductions
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
            draw=draw_reduction(getattr(losses, name)),
        )
        for name in ("mean", "sum_and_weight")
    ),
)
