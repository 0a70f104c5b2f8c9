"""dropout_penalty against every mask there is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import penalties
from tests.tolerance import assert_close

D = 5


def errors(w, x, target, rate, inverted):
    """The squared error of each of the 2^D masks, and its probability."""
    masks = np.array(list(itertools.product([0.0, 1.0], repeat=D)))
    chances = (rate ** (1 - masks) * (1 - rate) ** masks).prod(-1)
    scale = 1 / (1 - rate) if inverted else 1.0
    return (target - (masks * w * x).sum(-1) * scale) ** 2, chances


@pytest.mark.parametrize("inverted", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9])
def test_it_is_the_mean_over_all_masks_minus_the_whole_units_error(rng, rate, inverted, x64):
    w, x, target = rng.standard_normal(D), rng.standard_normal(D), 0.7
    squares, chances = errors(w, x, target, rate, inverted)
    whole = (target - (w * x).sum() * (1 if inverted else 1 - rate)) ** 2
    found = penalties.dropout_penalty(jnp.asarray(w), jnp.asarray(x), rate=rate, inverted=inverted)
    np.testing.assert_allclose(found, (squares * chances).sum() - whole, rtol=1e-12, atol=1e-14)
    # The notes' formula, and the inverted one.
    p = 1 - rate
    factor = (1 - p) / p if inverted else p * (1 - p)
    np.testing.assert_allclose(found, factor * (w**2 * x**2).sum(), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("inverted", [True, False])
def test_dropouts_gradient_is_on_average_that_of_the_whole_unit_plus_the_penaltys(rng, inverted, x64):
    rate, target = 0.3, -0.4
    w, x = jnp.asarray(rng.standard_normal(D)), jnp.asarray(rng.standard_normal(D))
    masks = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=D)))
    chances = (rate ** (1 - masks) * (1 - rate) ** masks).prod(-1)
    scale = 1 / (1 - rate) if inverted else 1.0
    dropped = jax.vmap(jax.grad(lambda w, mask: (target - scale * (mask * w * x).sum()) ** 2), in_axes=(None, 0))
    average = (chances[:, None] * dropped(w, masks)).sum(0)
    shrink = 1.0 if inverted else 1 - rate

    def whole(w):
        return (target - shrink * (w * x).sum()) ** 2

    def penalty(w):
        return penalties.dropout_penalty(w, x, rate=rate, inverted=inverted)

    assert_close(average, jax.grad(whole)(w) + jax.grad(penalty)(w), length=32)
    # In each single draw it is another one: the two agree on average alone.
    assert np.abs(dropped(w, masks) - average[None]).max() > 0.1


def test_batches_and_several_outputs(rng):
    w, x = (
        jnp.asarray(rng.standard_normal((D, 3)), jnp.float32),
        jnp.asarray(rng.standard_normal((2, 4, D)), jnp.float32),
    )
    found = penalties.dropout_penalty(w, x, rate=0.5)
    assert_close(found, np.einsum("bti,io->bto", np.asarray(x, float) ** 2, np.asarray(w, float) ** 2), length=D)
    assert penalties.dropout_penalty(w[:, 0], x, rate=0.5).shape == (2, 4)
    assert not penalties.dropout_penalty(w, x, rate=1.0, inverted=False).any()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rate": 1.0}, ValueError, "rate"),
        ({"rate": -0.1}, ValueError, "rate"),
        ({"rate": 0.5, "inverted": 1}, TypeError, "inverted"),
    ],
)
def test_bad_options_are_refused(options, error, words):
    with pytest.raises(error, match=f"penalties.dropout_penalty.*`{words}`"):
        penalties.dropout_penalty(jnp.ones(3), jnp.ones((2, 3)), **options)
    with pytest.raises(ValueError, match="`inputs`"):
        penalties.dropout_penalty(jnp.ones(3), jnp.ones((2, 4)), rate=0.5)
    with pytest.raises(ValueError, match="`weights`"):
        penalties.dropout_penalty(jnp.ones((3, 2, 2)), jnp.ones((2, 3)), rate=0.5)
