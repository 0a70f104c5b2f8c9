"""Keras' recurrent layers and attention: values, final states and gradients."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from tests.conformance.compare import Comparison, check_all
from tests.conformance.keras_layers import comparison, keras, named
from tests.conformance.ours import layouts, nn

SUITE = "Keras"
# Scans are what compiles longest, and PyTorch's comparisons draw the same functions: half as many of each here.
SHARE = 2
K = keras.layers
RECURRENT = {"GRU": "gru", "LSTM": "lstm", "SimpleRNN": "rnn"}


def params_of(kind, options, weights):
    """Keras' kernel, recurrent_kernel and bias as params; of the GRU they depend on `reset_after`."""
    named = {"gru": {"reset_after": options.get("reset_after", True)}}.get(kind, {})
    return getattr(layouts, f"{kind}_from_keras")(*weights, **named)


def draw_recurrent(name, d):
    """Keras hands the outputs of a backward layer back in the order in which it made them, dlcore in the input's."""
    kind = RECURRENT[name]
    batch, time, inside, features = d.size(1, 3), d.size(1, 4), d.size(1, 3), d.size(1, 3)
    options = {"gru": {"reset_after": d.cycle(True, False)}}.get(kind, {})
    relu = kind == "rnn" and d.flag()
    backwards, start, masked = d.pick(False, True), d.flag(), d.flag()
    layer = getattr(K, name)(
        features, use_bias=d.cycle(True, True, False), return_sequences=True, return_state=True,
        go_backwards=backwards, dtype="float64", **({"activation": "relu"} if relu else {}), **options,
    )  # fmt: skip
    # Keras repeats the last output at masked steps unless it is told to hand back zeros.
    layer.zero_output_for_mask = True
    layer.build((batch, time, inside))
    weights = list(named(layer))
    arrays = {"x": d.normal(batch, time, inside)}
    arrays |= {leaf: d.normal(*variable.shape) for leaf, variable in named(layer).items()}
    states = ("h", "c")[: 1 + (kind == "lstm")]
    if start:
        arrays |= {state: d.normal(batch, features) for state in states}
    if masked:
        arrays["lengths"] = d.rng.integers(1, time + 1, batch)
    given = options | ({"activation": "relu"} if relu else {}) | ({"reverse": True} if backwards else {})

    def ours(x, h=None, c=None, lengths=None, **leaves):
        state = h if c is None else (h, c)
        more = {} if lengths is None else {"lengths": jnp.asarray(lengths)}
        params = params_of(kind, options, [leaves[leaf] for leaf in weights])
        return getattr(nn, kind)(params, x, initial_state=state, **given, **more)

    def theirs(x, h=None, c=None, lengths=None, **leaves):
        more = {} if h is None else {"initial_state": [h] if c is None else [h, c]}
        if lengths is not None:
            more["mask"] = keras.ops.arange(time)[None] < lengths[:, None]
        (ys, *end), _ = layer.stateless_call(
            [leaves[leaf] for leaf in weights], [v.value for v in layer.non_trainable_variables], x, **more
        )
        return ys.flip(1) if backwards else ys, *end

    return Comparison(ours, theirs, arrays, d.dtype, given | {"masked": masked})


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent(name, tally, rng, draws):
    line = tally(name)
    check_all(line, rng, draws // SHARE, lambda d: draw_recurrent(name, d))
    line.skip("dropout, recurrent_dropout: Keras' generator draws what is dropped")
    line.skip("stateful: the state is passed in and handed back")


def draw_bidirectional(d):
    name = d.cycle("GRU", "LSTM", "SimpleRNN")
    kind, features, masked = RECURRENT[name], d.size(1, 3), d.flag()
    layer = K.Bidirectional(
        getattr(K, name)(features, return_sequences=True, return_state=True, dtype="float64"), dtype="float64"
    )
    x = d.normal(d.size(1, 3), d.size(1, 4), d.size(1, 3))
    layer.build(x.shape)
    weights = named(layer)
    half = len(weights) // 2
    arrays = {"x": x} | {leaf: d.normal(*variable.shape) for leaf, variable in weights.items()}
    if masked:
        arrays["lengths"] = d.rng.integers(1, x.shape[1] + 1, x.shape[0])

    def ours(x, lengths=None, **leaves):
        parts = [leaves[leaf] for leaf in weights]
        more = {} if lengths is None else {"lengths": jnp.asarray(lengths)}
        both = (params_of(kind, {}, part) for part in (parts[:half], parts[half:]))
        return nn.bidirectional(getattr(nn, kind), *both, x, **more)

    def theirs(x, lengths=None, **leaves):
        more = {}
        if lengths is not None:
            more["mask"] = keras.ops.arange(x.shape[1])[None] < lengths[:, None]
        found, _ = layer.stateless_call(
            [leaves[leaf] for leaf in weights], [v.value for v in layer.non_trainable_variables], x, **more
        )
        return found

    return Comparison(ours, theirs, arrays, d.dtype, {"layer": name, "masked": masked})


def test_bidirectional(tally, rng, draws):
    line = tally("Bidirectional")
    check_all(line, rng, draws // SHARE, draw_bidirectional)
    line.skip("merge_mode other than concat: add, multiply or average the two halves of the outputs")


def projections(query, key, value, out):
    """Keras' kernels (width, heads, features), and (heads, features, width) of the last, as dense ones."""
    flat = {"query": query, "key": key, "value": value}
    params = {name: {leaf: w.reshape(*w.shape[:-2], -1) for leaf, w in leaves.items()} for name, leaves in flat.items()}
    kernel = out["kernel"].reshape(-1, out["kernel"].shape[-1])
    return params | {"out": out | {"kernel": kernel}}


def leaves_of(weights, part):
    """{"kernel": …, "bias": …} of one of the layer's parts."""
    return {leaf: weights[f"{part}_{leaf}"] for leaf in ("kernel", "bias") if f"{part}_{leaf}" in weights}


def draw_attention(shared):
    """Multi-head attention; `shared` key heads are Keras' GroupQueryAttention."""

    def draw(d):
        heads, features, width = d.size(1, 2) * (2 if shared else 1), d.size(1, 3), d.size(1, 4)
        key_heads = heads // 2 if shared else heads
        bias, kind = d.flag(), d.cycle("none", "mask", "causal")
        value_features = features if shared else d.size(1, 3)
        if shared:
            layer = K.GroupQueryAttention(features, heads, key_heads, use_bias=bias, dtype="float64")
        else:
            layer = K.MultiHeadAttention(heads, features, value_features, use_bias=bias, dtype="float64")
        batch, queries, keys = d.size(1, 2), d.size(1, 4), d.size(1, 4)
        x, context = d.normal(batch, queries, width), d.normal(batch, keys, width if shared else d.size(1, 4))
        extra = {"value": context}
        if kind == "mask":
            extra["attention_mask"] = d.rng.random((batch, queries, keys)) < 0.6
            extra["attention_mask"][..., 0] = True

        def ours(x, value, attention_mask=None, **weights):
            parts = [leaves_of(weights, part) for part in ("query", "key", "value", "attention_output")]
            mask = None if attention_mask is None else jnp.asarray(attention_mask)[:, None]
            return nn.multi_head_attention(
                projections(*parts), x, heads=heads, key_heads=key_heads, context=value, mask=mask,
                causal=kind == "causal",
            )  # fmt: skip

        return comparison(
            d, layer, ours, x, built=(x.shape, context.shape), extra=extra, options={"heads": heads, "kind": kind},
            use_causal_mask=kind == "causal",
        )  # fmt: skip

    return draw


@pytest.mark.parametrize("name", ["MultiHeadAttention", "GroupQueryAttention"])
def test_attention(name, tally, rng, draws):
    line = tally(name)
    check_all(line, rng, draws // SHARE, draw_attention(name == "GroupQueryAttention"))
    line.skip("dropout: Keras' generator draws what is dropped")
    line.skip("key and value of different sequences: `context` is one")
    line.skip("use_gate: the output has no gate")


def test_dot_attention(tally, rng, draws):
    """Keras' Attention is one head, by default without a scale."""

    def draw(d):
        # Keras warns of a softmax over one key.
        batch, queries, keys, features = d.size(1, 2), d.size(1, 4), d.size(2, 4), d.size(1, 3)
        layer, causal = K.Attention(dtype="float64"), d.flag()
        arrays = {"q": d.normal(batch, queries, features)}
        arrays |= {"v": d.normal(batch, keys, d.size(1, 3)), "k": d.normal(batch, keys, features)}

        def ours(q, k, v):
            y = nn.dot_product_attention(*(a[:, :, None] for a in (q, k, v)), scale=1.0, causal=causal)
            return y[:, :, 0]

        theirs = lambda q, k, v: layer([q, v, k], use_causal_mask=causal)
        return Comparison(ours, theirs, arrays, d.dtype, {"causal": causal})

    line = tally("Attention")
    check_all(line, rng, draws // SHARE, draw)
    line.skip('score_mode="concat", use_scale: additive attention is not dlcore\'s, and the scale is a number')
