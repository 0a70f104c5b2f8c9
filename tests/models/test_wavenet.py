from pydoc_data import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import losses, models, nn, train

TINY = nn.WaveNetConfig(5, 1, 2, 2, 3, 2, 4)
TOKENS = jnp.array([[0, 3, 4, 1], [2, 2, 0, 1]])


def apply(model, params, x, **options):
    return model.apply(params, (), x, **({"key": None, "train": False} | options))[0]


def test_it_is_the_network_of_the_equations(key):
    model = models.wavenet(TINY)
    params, state = model.init(jax.random.clone(key), TOKENS)
    assert state == ()
    jax.tree.map(np.testing.assert_array_equal, params, nn.wavenet_init(key, TINY))
    np.testing.assert_array_equal(apply(model, params, TOKENS), nn.wavenet(params, TOKENS, TINY))
    np.testing.assert_array_equal(apply(model, params, TOKENS, train=True), nn.wavenet(params, TOKENS, TINY))


def test_conditions_come_with_the_tokens(key, rng):
    config = TINY._replace(global_features=2, local_features=3)
    x = {
        "tokens": TOKENS,
        "global": jnp.asarray(rng.standard_normal((2, 2)), jnp.bfloat16),
        "local": jnp.asarray(rng.standard_normal((2, 4, 3)), jnp.bfloat16),
    }
    model = models.wavenet(config, dtype=jnp.bfloat16)
    params, _ = model.init(key, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), x))
    y = apply(model, params, x)
    assert y.dtype == jnp.bfloat16
    condition = {"global": x["global"], "local": x["local"]}
    np.testing.assert_array_equal(y, nn.wavenet(params, TOKENS, config, condition=condition))


@pytest.mark.parametrize(
    ("change", "x"),
    [
        ({}, {"tokens": TOKENS, "global": jnp.ones((2, 2))}),
        ({"global_features": 2}, TOKENS),
        ({"global_features": 2}, {"tokens": TOKENS}),
        ({"global_features": 2}, {"tokens": TOKENS, "local": jnp.ones((2, 4, 2))}),
    ],
)
def test_input_that_does_not_fit_the_config_is_refused_by_name(key, change, x):
    model = models.wavenet(TINY._replace(**change))
    for call in (lambda: model.init(key, x), lambda: apply(model, {}, x)):
        with pytest.raises(ValueError, match=r"^dlcore\.models\.wavenet: `x` came as"):
            call()


@pytest.mark.parametrize(
    ("make", "argument", "error"),
    [
        (lambda: models.wavenet(256), "config", TypeError),
        (lambda: models.wavenet(TINY._replace(stacks=0)), "config.stacks", ValueError),
        (lambda: models.wavenet(TINY, dtype=jnp.int32), "dtype", TypeError),
    ],
)
def test_a_wrong_option_is_refused_when_the_network_is_made(make, argument, error):
    with pytest.raises(error, match=rf"^dlcore\.models\.wavenet: `{argument}` came as"):
        make()


def test_it_learns_english_in_a_few_dozen_steps(key):
    """The next character of Python's own manual, better than from counts of characters, or of pairs of them."""
    text = "".join(topics.topics.values())
    alphabet = sorted(set(text))
    ids = np.searchsorted(alphabet, list(text)).astype(np.int32)
    shares = np.bincount(ids) / len(ids)
    unigram = -(shares * np.log(shares)).sum()
    pairs = np.bincount(ids[:-1] * len(alphabet) + ids[1:]) / (len(ids) - 1)
    bigram = -(pairs[pairs > 0] * np.log(pairs[pairs > 0])).sum() - unigram

    length, batch, steps = 128, 16, 80
    windows = ids[: (len(ids) - 1) // length * length].reshape(-1, length)
    windows = windows[np.random.default_rng(0).permutation(len(windows))]
    chosen, held_out = windows[: batch * steps], windows[batch * steps :][:64]
    config = nn.WaveNetConfig(len(alphabet), 1, 5, 2, 32, 32, 64)
    model, optimizer = models.wavenet(config), optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    state = train.make_state(key, model, optimizer, chosen[:batch, :-1])
    step = train.make_step(model, losses.softmax_cross_entropy, optimizer)
    # Optax' Adam mixes int32 and float, which the strict promotion of these tests refuses.
    with jax.numpy_dtype_promotion("standard"):
        state, metrics = train.make_epoch(step, batch_size=batch)(state, (chosen[:, :-1], chosen[:, 1:]))
    logits = apply(model, state.params, held_out[:, :-1])
    found = float(losses.mean(losses.softmax_cross_entropy(logits, held_out[:, 1:])))
    assert metrics["loss"][0] == pytest.approx(np.log(len(alphabet)), abs=0.3)
    assert found < bigram < unigram

    # What it learned generates text of the right kind: mostly letters and blanks.
    prompt = np.searchsorted(alphabet, list("The "))
    tokens = nn.wavenet_generate(jax.random.clone(key), state.params, config, 200, prompt=prompt)
    words = "".join(alphabet[token] for token in np.asarray(tokens))
    assert sum(character.islower() or character == " " for character in words) > 120
