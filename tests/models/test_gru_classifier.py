import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import models, nn
from tests.tolerance import assert_close


def draw(rng, *shape):
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def test_it_is_units_one_above_another_and_a_dense_layer_on_the_last_state(rng, key):
    net = models.gru_classifier(3, features=(4, 5))
    x = draw(rng, 2, 6, 3)
    params, state = net.init(key, x)
    ys, _ = nn.gru(params["gru1"], x)
    ys, h = nn.gru(params["gru2"], ys)
    np.testing.assert_array_equal(h, ys[:, -1])
    y, after = net.apply(params, state, x, key=None, train=True)
    assert_close(y, nn.dense(params["out"], h), length=5)
    assert after == ()


def test_both_directions_stand_side_by_side(rng, key):
    net = models.gru_classifier(3, features=(4, 2), bidirectional=True)
    given = x = draw(rng, 2, 6, 3)
    params, state = net.init(key, x)
    for level in ("gru1", "gru2"):
        ahead, _ = nn.gru(params[level]["forward"], x)
        back, _ = nn.gru(params[level]["backward"], x, reverse=True)
        x = jnp.concatenate([ahead, back], -1)
    last = jnp.concatenate([ahead[:, -1], back[:, 0]], -1)
    y, _ = net.apply(params, state, given, key=None, train=False)
    assert_close(y, nn.dense(params["out"], last), length=8)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_follows_a_sequences_end_does_not_matter(bidirectional, rng, key):
    net = models.gru_classifier(3, features=(4,), bidirectional=bidirectional)
    x, lengths = draw(rng, 3, 5, 2), jnp.array([5, 2, 3], jnp.int32)
    params, state = net.init(key, (x, lengths))
    whole, _ = net.apply(params, state, (x, lengths), key=None, train=False)
    for i, length in enumerate([5, 2, 3]):
        alone, _ = net.apply(params, state, x[i : i + 1, :length], key=None, train=False)
        assert_close(whole[i], alone[0], length=16)
    loss = lambda x: net.apply(params, state, (x, lengths), key=None, train=False)[0].sum()
    grad = jax.grad(loss)(x)
    assert (grad[1, 2:] == 0).all()
    assert (grad[1, :2] != 0).all()


def test_dropout_needs_a_key_in_training_alone(rng, key):
    net = models.gru_classifier(3, features=(4,), dropout=1.0)
    x = draw(rng, 2, 3, 2)
    params, state = net.init(key, x)
    assert net.apply(params, state, x, key=None, train=False)[0].any()
    with pytest.raises(ValueError, match="`key` came as None"):
        net.apply(params, state, x, key=None, train=True)
    y, _ = net.apply(params, state, x, key=jax.random.fold_in(key, 1), train=True)
    np.testing.assert_array_equal(y, jnp.broadcast_to(params["out"]["bias"], y.shape))


@pytest.mark.parametrize(
    ("argument", "options", "error"),
    [
        ("classes", {"classes": 0}, ValueError),
        ("features", {"features": ()}, ValueError),
        ("features", {"features": (2.5,)}, TypeError),
        ("dropout", {"dropout": -0.5}, ValueError),
    ],
)
def test_a_wrong_option_is_refused_by_name(argument, options, error):
    with pytest.raises(error, match=f"`{argument}`"):
        models.gru_classifier(**({"classes": 3} | options))


def test_an_input_without_time_is_refused(key):
    with pytest.raises(ValueError, match="`x_spec`"):
        models.gru_classifier(3).init(key, jnp.ones(3))
