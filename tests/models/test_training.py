"""Every ready-made model learns something of real data within a few dozen compiled steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import data, losses, models, train

DIGITS = data.load("digits")
IMAGES = {
    "mlp": (models.mlp((64, 10)), 1e-2),
    "convnet": (models.convnet(10, channels=(16, 32), convolutions=1), 1e-2),
    "resnet": (models.resnet(10, channels=(16, 32), blocks=(1, 1)), 1e-2),
    "gru_classifier": (models.gru_classifier(10, features=(32,), bidirectional=True), 1e-2),
}


def trained(model, rate, inputs, targets, *, epochs, batch_size, key):
    optimizer = optax.adam(rate)
    # Optax' Adam mixes int32 and float, which the strict promotion of these tests refuses.
    with jax.numpy_dtype_promotion("standard"):
        return stepped(model, optimizer, inputs, targets, epochs=epochs, batch_size=batch_size, key=key)


def stepped(model, optimizer, inputs, targets, *, epochs, batch_size, key):
    state = train.make_state(key, model, optimizer, inputs[:batch_size])
    epoch = train.make_epoch(train.make_step(model, losses.softmax_cross_entropy, optimizer), batch_size=batch_size)
    for _ in range(epochs):
        state, metrics = epoch(state, (inputs, targets))
    assert jnp.isfinite(metrics["loss"]).all()
    return state


def test_every_ready_made_model_is_trained():
    ready = {name for name in models.__all__ if name not in models.layers.__all__}
    rest = {"Layer", "lift", "parallel", "residual", "serial", "stack", "tap", "multi_head_attention"}
    assert ready - rest == {*IMAGES, "transformer", "transformer_classifier", "wavenet"}


@pytest.mark.parametrize("name", IMAGES)
def test_it_predicts_digits_it_has_not_seen_far_better_than_their_frequencies(name, key):
    model, rate = IMAGES[name]
    (inputs, labels), (unseen, answers) = DIGITS.train, DIGITS.test
    if name == "gru_classifier":  # an image is a sequence of its rows
        inputs, unseen = inputs[..., 0], unseen[..., 0]
    state = trained(model, rate, jnp.asarray(inputs), jnp.asarray(labels), epochs=2, batch_size=32, key=key)
    assert state.step == 56
    logits, _ = jax.jit(lambda *args: model.apply(*args, key=None, train=False))(
        state.params, state.model_state, jnp.asarray(unseen)
    )
    frequencies = np.bincount(labels) / len(labels)
    trivial = -np.log(frequencies[answers]).mean()
    assert losses.softmax_cross_entropy(logits, jnp.asarray(answers)).mean() < 0.35 * trivial
    assert (logits.argmax(-1) == answers).mean() > 0.75
