"""Keras' dense layers, embedding, normalisation and activations: values and gradients."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.conformance.compare import Comparison, check_all
from tests.conformance.keras_layers import comparison, keras
from tests.conformance.ours import nn

SUITE = "Keras"
K = keras.layers


def draw_dense(d):
    layer = K.Dense(d.size(1, 4), use_bias=d.flag(), dtype="float64")
    x = d.normal(*d.pick((2,), (2, 3), (1, 2, 3)), d.size(1, 4))
    return comparison(d, layer, lambda x, **params: nn.dense(params, x), x)


def draw_embedding(d):
    rows = d.size(1, 5)
    layer = K.Embedding(rows, d.size(1, 4), dtype="float64")
    ids = d.rng.integers(0, rows, d.pick((3,), (2, 3)))
    return comparison(d, layer, lambda x, embeddings: nn.embedding({"kernel": embeddings}, x), ids)


def affine(gamma=None, beta=None):
    """Keras' names of scale and offset."""
    return {name: leaf for name, leaf in (("scale", gamma), ("offset", beta)) if leaf is not None}


def draw_batch_norm(training):
    def draw(d):
        """Keras' ε is 1e-3 by default, and its running variance the biased one: n − 1 in place of n."""
        channels, shape = d.size(1, 3), (d.size(3, 5), *(d.size(1, 3) for _ in range(d.size(0, 2))))
        momentum, epsilon = d.pick(0.99, 0.5), d.pick(1e-3, 1e-2)
        layer = K.BatchNormalization(
            momentum=momentum, epsilon=epsilon, center=d.flag(), scale=d.flag(), dtype="float64"
        )
        layer.build((*shape, channels))
        names = [variable.name for variable in layer.trainable_variables]
        arrays = {"x": d.normal(*shape, channels) * 2 + 1} | {name: d.normal(channels) for name in names}
        arrays |= {"mean": d.normal(channels), "var": d.normal(channels) ** 2 + 0.1}
        n = arrays["x"].size // channels

        def ours(x, mean, var, **params):
            state = nn.BatchNormState(mean, var)
            if not training:
                return nn.batch_norm_eval(affine(**params), state, x, epsilon=epsilon)
            y, after = nn.batch_norm_train(affine(**params), state, x, decay=momentum, epsilon=epsilon)
            return y, after.mean, momentum * var + (after.var - momentum * var) * ((n - 1) / n)

        def theirs(x, mean, var, **params):
            weights = [params[name] for name in names]
            y, state = layer.stateless_call(weights, [mean, var], x, training=training)
            return (y, *(part.detach() for part in state)) if training else y

        return Comparison(ours, theirs, arrays, d.dtype, {"momentum": momentum}, fixed=("mean", "var"))

    return draw


def draw_layer_norm(d):
    shape = (2, *(d.size(2, 4) for _ in range(d.size(1, 3))))
    axis = d.pick(-1, list(range(-d.size(1, len(shape) - 1), 0)))
    epsilon = d.pick(1e-3, 1e-2)
    layer = K.LayerNormalization(axis=axis, epsilon=epsilon, center=d.flag(), scale=d.flag(), dtype="float64")
    ours = lambda x, **params: nn.layer_norm(affine(**params), x, axis=axis, epsilon=epsilon)
    return comparison(d, layer, ours, d.normal(*shape) * 2 + 1, options={"axis": axis})


def draw_rms_norm(d):
    shape = (2, *(d.size(2, 4) for _ in range(d.size(1, 2))))
    axis = d.pick(-1, list(range(1 - len(shape), 0)))
    layer = K.RMSNormalization(axis=axis, epsilon=1e-4, dtype="float64")
    ours = lambda x, scale: nn.rms_norm({"scale": scale}, x, axis=axis, epsilon=1e-4)
    return comparison(d, layer, ours, d.normal(*shape), options={"axis": axis})


def draw_group_norm(d):
    groups, space = d.cycle(1, 2, 3, -1), tuple(d.size(2, 3) for _ in range(d.size(1, 3)))
    channels = abs(groups) * d.size(1, 2) * (3 if groups == -1 else 1)
    layer = K.GroupNormalization(groups, epsilon=1e-3, center=d.flag(), scale=d.flag(), dtype="float64")

    def ours(x, **params):
        if groups == -1:
            return nn.instance_norm(affine(**params), x, epsilon=1e-3)
        return nn.group_norm(affine(**params), x, groups=groups, epsilon=1e-3)

    return comparison(d, layer, ours, d.normal(2, *space, channels) * 2 + 1, options={"groups": groups})


def draw_softmax(d):
    """A mask leaves entries out; where it leaves none, Keras gives even shares and dlcore zeros."""
    shape, axis = (2, 3, 4), d.pick(-1, 1)
    layer = K.Softmax(axis=axis, dtype="float64")
    extra = {}
    if d.cycle(True, True, False):
        extra["mask"] = d.rng.random(shape) < 0.6
        extra["mask"][:, 0, 0] = True
        extra["mask"] |= ~extra["mask"].any(axis, keepdims=True)
    ours = lambda x, mask=None: nn.softmax(x, axis=axis, where=mask)
    return comparison(d, layer, ours, d.normal(*shape), options={"axis": axis}, extra=extra)


def draw_prelu(d):
    """One slope for each channel: Keras shares it over the spatial axes when told so."""
    layer = K.PReLU(shared_axes=[1], dtype="float64")
    ours = lambda x, alpha: nn.prelu(x, alpha[0])
    return comparison(d, layer, ours, d.normal(2, 3, 4))


LAYERS = {
    "Dense": draw_dense,
    "Embedding": draw_embedding,
    "BatchNormalization, training": draw_batch_norm(True),
    "BatchNormalization, inference": draw_batch_norm(False),
    "LayerNormalization": draw_layer_norm,
    "RMSNormalization": draw_rms_norm,
    "GroupNormalization": draw_group_norm,
    "Softmax": draw_softmax,
    "PReLU": draw_prelu,
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name, tally, rng, draws):
    check_all(tally(name), rng, min(draws, 24), LAYERS[name])


# Keras' name -> (dlcore's, [(our options, Keras')]).
ACTIVATIONS = {
    "celu": ("celu", [({"alpha": a}, {"alpha": a}) for a in (1.0, 0.5)]),
    "elu": ("elu", [({"alpha": a}, {"alpha": a}) for a in (1.0, 0.5)]),
    "gelu": ("gelu", [({}, {"approximate": True}), ({"approximate": False}, {})]),
    "glu": ("glu", [({}, {}), ({"axis": 0}, {"axis": 0})]),
    "hard_shrink": ("hard_shrink", [({}, {}), ({"threshold": 1.25}, {"threshold": 1.25})]),
    "hard_silu": ("hard_silu", [({}, {})]),
    "hard_tanh": ("hard_tanh", [({}, {})]),
    "leaky_relu": ("leaky_relu", [({"negative_slope": 0.2}, {}), ({}, {"negative_slope": 0.01})]),
    "log_sigmoid": ("log_sigmoid", [({}, {})]),
    "log_softmax": ("log_softmax", [({}, {}), ({"axis": 0}, {"axis": 0})]),
    "mish": ("mish", [({}, {})]),
    "relu": ("relu", [({}, {})]),
    "relu6": ("relu6", [({}, {})]),
    "selu": ("selu", [({}, {})]),
    "sigmoid": ("sigmoid", [({}, {})]),
    "silu": ("silu", [({}, {})]),
    "soft_shrink": ("soft_shrink", [({}, {}), ({"threshold": 1.25}, {"threshold": 1.25})]),
    "softmax": ("softmax", [({}, {}), ({"axis": 0}, {"axis": 0})]),
    "softplus": ("softplus", [({}, {})]),
    "softsign": ("soft_sign", [({}, {})]),
    "squareplus": ("squareplus", [({}, {}), ({"b": 1.0}, {"b": 1.0})]),
    "tanh": ("tanh", [({}, {})]),
    "tanh_shrink": ("tanh_shrink", [({}, {})]),
    "threshold": ("thresholded_relu", [({"threshold": 0.75}, {"threshold": 0.75, "default_value": 0.0})]),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name, tally, rng, draws):
    function, choices = ACTIVATIONS[name]

    def draw(d):
        ours_options, their_options = d.cycle(*choices)
        return Comparison(
            lambda x: getattr(nn, function)(x, **ours_options),
            lambda x: getattr(keras.activations, name)(x, **their_options),
            {"x": d.normal(4, 6) * d.rng.choice([0.1, 1.0, 4.0], (4, 1))},
            d.dtype,
            ours_options,
        )

    check_all(tally(f"activations.{name}"), rng, min(draws, 6), draw)


def draw_hard_sigmoid(d):
    """PyTorch's own, which Keras calls, keeps 1 / 6 in float32 for its gradient in float64; relu6 says the same."""
    theirs = keras.activations.hard_sigmoid if d.dtype != "float64" else lambda x: keras.activations.relu6(x + 3) / 6
    return Comparison(lambda x: nn.hard_sigmoid(x), theirs, {"x": d.normal(4, 6) * 3}, d.dtype)


def test_hard_sigmoid(tally, rng, draws):
    check_all(tally("activations.hard_sigmoid"), rng, min(draws, 6), draw_hard_sigmoid)


def test_what_is_wrong_in_keras(tally):
    """Each fails once Keras repairs it, and is to be compared then."""
    x = torch.tensor([[2.0, 1.5, 0.1], [0.3, 0.2, 0.1], [1.0, 0.0, -1.0]])
    with tally("activations.sparsemax").case("rows sum to one") as notes:
        sums = keras.activations.sparsemax(x).sum(-1)
        assert float(abs(sums - 1).max()) > 0.5, "Keras' sparsemax is right now: compare it in ACTIVATIONS"
        np.testing.assert_allclose(nn.sparsemax(jnp.asarray(x.numpy())).sum(-1), 1.0, rtol=1e-6)
        notes.append("Keras' rows do not sum to one (it sums all partial sums), dlcore's do; no more is compared")
    for name, function in (("LayerNormalization", "layer_norm"), ("RMSNormalization", "rms_norm")):
        with tally(name).case("an axis before the last") as notes:
            layer = getattr(K, name)(axis=-2, epsilon=1e-3)
            layer.build((1, 3, 3))
            theirs = layer(x[None]).detach().numpy()
            norm = lambda x, function=function: getattr(nn, function)({}, x, axis=-2, epsilon=1e-3)
            ours = norm(jnp.asarray(x.numpy())[None])
            np.testing.assert_allclose(ours.mT, getattr(nn, function)({}, jnp.asarray(x.numpy()).T[None], epsilon=1e-3))
            assert np.abs(theirs - ours).max() > 0.1, f"Keras' {name} is right now: draw other axes"
            notes.append("on PyTorch Keras normalises the last axis where it is told another; no more is compared")
