"""The properties, proven on functions that are wrong on purpose: each mistake fails the property that is to find it."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from dlcore import losses, nn
from tests import properties
from tests.enrolment import Entry, normal


def entry(function, *shapes, **changes):
    return Entry(
        "planted",
        function,
        lambda rng, dtype: tuple(normal(rng, dtype, *shape) for shape in shapes or [(3, 4)]),
        **{"batched": (0,), "smooth": (0,)} | changes,
    )


def scaled_gradient(function, factor, *, where=None):
    """`function`, its gradient off by a factor, in one element alone if `where` says which."""

    @jax.custom_jvp
    def run(x):
        return function(x)

    @run.defjvp
    def derivative(primals, tangents):
        (x,), (dx,) = primals, tangents
        wrong = dx if where is None else dx * jnp.zeros_like(dx).at[where].set(1)
        return jax.jvp(function, (x,), (dx + (factor - 1) * wrong,))

    return run


def differs(eager, compiled):
    """One thing when called, another inside a compiled function."""
    return lambda x: (compiled if isinstance(x, jax.core.Tracer) else eager)(x)


def mean_of_all(x):
    return x - x.mean()


def in_half(x):
    # XLA removes a cast to bfloat16 and back; this it keeps.
    return (x if x.dtype == jnp.float64 else jax.lax.reduce_precision(x, 8, 7)) ** 2


def nan_at_zero(x):
    return jnp.sqrt((x**2).sum(-1))


def overflows(x):
    return jnp.log(1 + jnp.exp(x))


def wrong_from(rows):
    """As a compiler whose code for long batches forgets the last row."""
    return lambda x: jnp.tanh(x) if x.ndim < 2 or x.shape[0] < rows else jnp.tanh(x).at[-1].set(0)


def masked_by_product(x):
    return x * (x > 0)


def wrong_strides(x):
    """An average pool whose stride is one too large where nobody compares with a loop."""
    return nn.avg_pool(x, 2, strides=2 if x.ndim > 2 else 1)


MISTAKES = {
    "a gradient scaled by 1.01": (properties.gradients_are_proven, entry(scaled_gradient(jnp.tanh, 1.01))),
    "a gradient scaled by 1.001": (properties.gradients_are_proven, entry(scaled_gradient(jnp.tanh, 1.001))),
    "a gradient with another sign": (properties.gradients_are_proven, entry(scaled_gradient(nn.silu, -1.0))),
    "one element of a gradient": (
        properties.gradients_are_proven,
        entry(scaled_gradient(nn.gelu, 1.01, where=(1, 2))),
    ),
    "a gradient at ties that is outside of the one-sided ones": (
        partial(properties.gradients_are_proven, fill="ties"),
        entry(scaled_gradient(nn.relu, 1.01)),
    ),
    "a compiled function that differs": (
        properties.ways_of_running_agree,
        entry(differs(jnp.tanh, lambda x: jnp.tanh(x) * 1.0001), smooth=()),
    ),
    "examples that see each other": (properties.ways_of_running_agree, entry(mean_of_all)),
    "strides that depend on the batch axis": (properties.ways_of_running_agree, entry(wrong_strides, (3, 5, 2))),
    "a dtype that is not kept": (properties.precisions_agree, entry(lambda x: x.astype(jnp.float32))),
    "half precision inside": (properties.precisions_agree, entry(in_half)),
    "a gradient of NaN at zero": (properties.awkward_values_do_no_harm, entry(nan_at_zero)),
    "an overflow": (properties.awkward_values_do_no_harm, entry(overflows)),
    "NaN that spreads": (properties.awkward_values_do_no_harm, entry(lambda x: x + 0 * x.sum())),
    "a mean of nothing": (properties.nothing_comes_from_nothing, entry(lambda x: (x, x.sum(0) / x.shape[0]))),
    "an empty batch that is not empty": (
        properties.nothing_comes_from_nothing,
        entry(lambda x: jnp.concatenate([x, jnp.zeros((1, x.shape[1]), x.dtype)])),
    ),
    "a row lost beyond a threshold": (properties.large_batches_agree, entry(wrong_from(30_000))),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(mistake, seed):
    fails, planted = MISTAKES[mistake]
    with pytest.raises(AssertionError):
        fails(planted, seed)


@pytest.mark.parametrize("right", [nn.relu, jnp.tanh, lambda x: losses.squared_error(x, jnp.ones_like(x))])
def test_a_right_function_passes_all_of_them(right, seed):
    for holds in {id(holds): holds for holds, _ in MISTAKES.values()}.values():
        holds(entry(right), seed)
