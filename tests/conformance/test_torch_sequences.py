"""Recurrent layers and attention against PyTorch: values, final states and gradients."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.conformance.compare import Comparison, check_all
from tests.conformance.ours import layouts, nn

SUITE = "PyTorch"
RECURRENT = {"gru": (torch.nn.GRU, 3), "lstm": (torch.nn.LSTM, 4), "rnn": (torch.nn.RNN, 1)}
LEAVES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def draw_recurrent(kind, d):
    module, gates = RECURRENT[kind]
    batch, time, inside, features = d.size(1, 3), d.size(1, 4), d.size(1, 3), d.size(1, 3)
    both_ways, bias, start, packed = d.cycle(False, True), d.cycle(True, True, False), d.flag(), d.flag()
    suffixes = ("", "_reverse")[: 1 + both_ways]
    shapes = ((gates * features, inside), (gates * features, features), (gates * features,), (gates * features,))
    arrays = {"x": d.normal(batch, time, inside)}
    for suffix in suffixes:
        named = list(zip(LEAVES, shapes, strict=True))[: 4 if bias else 2]
        arrays |= {leaf + suffix: d.normal(*shape) for leaf, shape in named}
    if start:
        arrays |= {name: d.normal(len(suffixes), batch, features) for name in ("h", "c")[: 1 + (kind == "lstm")]}
    if packed:
        arrays["lengths"] = d.rng.integers(1, time + 1, batch)
    relu = kind == "rnn" and d.flag()
    options = {"both ways": both_ways} | ({"activation": "relu"} if relu else {})

    def ours(x, h=None, c=None, lengths=None, **weights):
        params = [
            getattr(layouts, f"{kind}_from_torch")(
                *(weights[leaf + suffix] for leaf in LEAVES if leaf + suffix in weights)
            )
            for suffix in suffixes
        ]
        given = {} if lengths is None else {"lengths": jnp.asarray(lengths)}
        given |= {"activation": "relu"} if relu else {}
        states = [None if h is None else h[i] if c is None else (h[i], c[i]) for i in range(len(suffixes))]
        if both_ways:
            given |= {} if h is None else {"initial_state": tuple(states)}
            ys, ends = nn.bidirectional(getattr(nn, kind), *params, x, **given)
        else:
            ys, end = getattr(nn, kind)(params[0], x, initial_state=states[0], **given)
            ends = (end,)
        parts = zip(*ends, strict=True) if kind == "lstm" else (ends,)
        return ys, *(jnp.stack(part) for part in parts)

    def theirs(x, h=None, c=None, lengths=None, **weights):
        # The time must be there even where every sequence is shorter.
        run = module(
            inside, features, bias=bias, batch_first=True, bidirectional=both_ways, dtype=torch.float64,
            **({"nonlinearity": "relu"} if relu else {}),
        )  # fmt: skip
        named = {leaf.replace("ih", "ih_l0").replace("hh", "hh_l0"): w for leaf, w in weights.items()}
        data = x if lengths is None else pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        state = h if c is None else (h, c)
        ys, ends = torch.func.functional_call(run, named, (data, state))
        if lengths is not None:
            ys, _ = pad_packed_sequence(ys, batch_first=True, total_length=time)
        return ys, *(ends if kind == "lstm" else (ends,))

    return Comparison(ours, theirs, arrays, d.dtype, options)


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent(kind, tally, rng, draws):
    line = tally(kind)
    check_all(line, rng, draws, lambda d: draw_recurrent(kind, d))
    line.skip("num_layers, dropout between layers: one layer is one call")
    if kind == "lstm":
        line.skip("proj_size: the state is not projected")


def draw_attention(d):
    batch, queries, keys = d.pick((), (2,), (2, 2)), d.size(1, 4), d.size(1, 4)
    key_heads, shared = d.size(1, 2), d.cycle(1, 2)
    heads, features, values = key_heads * shared, d.size(1, 3), d.size(1, 3)
    kind = d.cycle("none", "mask", "bias", "causal")
    scale = d.pick(None, 0.3)
    arrays = {
        "q": d.normal(*batch, queries, heads, features),
        "k": d.normal(*batch, keys, key_heads, features),
        "v": d.normal(*batch, keys, key_heads, values),
    }
    whole = (*batch, heads, queries, keys)
    if kind == "mask":
        # Every query sees one key at least; where it sees none, PyTorch's own answers differ by backend.
        arrays["mask"] = d.rng.random(whole) < 0.6
        arrays["mask"][..., 0] |= ~arrays["mask"].any(-1)
    if kind == "bias":
        arrays["bias"] = d.normal(*(d.pick(n, 1) for n in whole))

    def theirs(q, k, v, mask=None, bias=None):
        q, k, v = (x.transpose(-2, -3) for x in (q, k, v))
        extra = mask if bias is None else bias.expand(whole)
        y = F.scaled_dot_product_attention(
            q, k, v, extra, is_causal=kind == "causal", scale=scale, enable_gqa=shared > 1
        )
        return y.transpose(-2, -3)

    return Comparison(
        lambda q, k, v, **extra: nn.dot_product_attention(q, k, v, causal=kind == "causal", scale=scale, **extra),
        theirs,
        arrays,
        d.dtype,
        {"kind": kind, "scale": scale},
    )


def test_dot_product_attention(tally, rng, draws):
    line = tally("dot_product_attention")
    check_all(line, rng, draws, draw_attention)
    line.skip("dropout_p: PyTorch's generator draws which weights are dropped")


def draw_multi_head_attention(d):
    batch, queries, keys = d.size(1, 2), d.size(1, 4), d.size(1, 4)
    heads = d.size(1, 3)
    features = heads * d.size(1, 3)
    context = d.pick(None, features, features + 2)
    bias, kind = d.cycle(True, False, True), d.cycle("none", "padding", "mask", "added")
    arrays = {"x": d.normal(batch, queries, features)}
    if context is None:
        keys = queries
    else:
        arrays["context"] = d.normal(batch, keys, context)
    # One matrix where all that is mapped has one width.
    if context in (None, features):
        arrays["in_proj_weight"] = d.normal(3 * features, features)
    else:
        arrays["q_proj_weight"] = d.normal(features, features)
        arrays |= {f"{part}_proj_weight": d.normal(features, context) for part in "kv"}
    arrays["out_proj_weight"] = d.normal(features, features)
    arrays |= {"in_proj_bias": d.normal(3 * features), "out_proj_bias": d.normal(features)} if bias else {}
    if kind == "padding":
        arrays["hidden"] = d.rng.random((batch, keys)) < 0.4
        arrays["hidden"][:, 0] = False
    if kind == "mask":
        arrays["hidden"] = d.rng.random((queries, keys)) < 0.4
        arrays["hidden"][:, 0] = False
    if kind == "added":
        arrays["bias"] = d.normal(queries, keys)

    def ours(x, context=None, hidden=None, bias=None, **weights):
        kernels = weights.get("in_proj_weight")
        kernels = (
            [weights[f"{part}_proj_weight"].T for part in "qkv"]
            if kernels is None
            else jnp.split(kernels.T, 3, axis=-1)
        )
        names = ("query", "key", "value")
        params = {name: {"kernel": kernel} for name, kernel in zip(names, kernels, strict=True)}
        params["out"] = {"kernel": weights["out_proj_weight"].T}
        if "in_proj_bias" in weights:
            parts = (*jnp.split(weights["in_proj_bias"], 3), weights["out_proj_bias"])
            params = {name: leaf | {"bias": part} for (name, leaf), part in zip(params.items(), parts, strict=True)}
        seen = {} if hidden is None else {"mask": ~(hidden[:, None, None] if kind == "padding" else hidden[None, None])}
        seen |= {} if bias is None else {"bias": bias[None, None]}
        return nn.multi_head_attention(params, x, heads=heads, context=context, **seen)

    def theirs(x, context=None, hidden=None, bias=None, **weights):
        width = {} if context is None else {"kdim": context.shape[-1], "vdim": context.shape[-1]}
        module = torch.nn.MultiheadAttention(
            features, heads, bias="in_proj_bias" in weights, batch_first=True, dtype=torch.float64, **width
        )
        seen = {"key_padding_mask": hidden} if kind == "padding" else {"attn_mask": hidden if bias is None else bias}
        named = {name.replace("out_proj_", "out_proj."): weight for name, weight in weights.items()}
        other = x if context is None else context
        y, _ = torch.func.functional_call(module, named, (x, other, other), {"need_weights": False, **seen})
        return y

    return Comparison(ours, theirs, arrays, d.dtype, {"heads": heads, "kind": kind})


def test_multi_head_attention(tally, rng, draws):
    line = tally("multi_head_attention")
    check_all(line, rng, draws, draw_multi_head_attention)
    line.skip("key and value of different sequences: `context` is one")
    line.skip("add_bias_kv, add_zero_attn: no key is appended")
    line.skip("need_weights: weights are not handed back")
    line.skip("dropout: PyTorch's generator draws which weights are dropped")


def test_rotary_embedding(tally, rng, draws):
    """PyTorch has no function for it; complex numbers say what it is."""

    def draw(d):
        time, heads, half, interleaved, base = d.size(1, 4), d.size(1, 2), d.size(1, 3), d.flag(), d.pick(1e4, 50.0)
        positions = d.rng.integers(0, 1000, d.pick((time,), (2, time)))

        def theirs(x, positions):
            pairs = x.unflatten(-1, (half, 2) if interleaved else (2, half))
            pairs = pairs if interleaved else pairs.transpose(-1, -2)
            frequencies = base ** (-torch.arange(half, dtype=torch.float64) / half)
            angles = (positions.to(torch.float64)[..., None] * frequencies)[..., None, :]
            turned = torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angles), angles)
            turned = torch.view_as_real(turned)
            return (turned if interleaved else turned.transpose(-1, -2)).flatten(-2)

        return Comparison(
            lambda x, positions: nn.rotary_embedding(x, positions, base=base, interleaved=interleaved),
            theirs,
            {"x": d.normal(2, time, heads, 2 * half), "positions": positions},
            d.dtype,
            {"base": base, "interleaved": interleaved},
        )

    check_all(tally("rotary_embedding, by complex numbers"), rng, min(draws, 12), draw)


def test_a_query_that_may_look_nowhere(tally):
    """Zeros, and zero gradients; PyTorch's reference implementation says the same since 2.5."""
    with tally("dot_product_attention").case("nothing to see"):
        q, k, v = (np.ones((1, 2, 1, 2)) for _ in range(3))
        y = nn.dot_product_attention(*map(jnp.asarray, (q, k, v)), mask=jnp.zeros((1, 1, 2, 2), bool))
        right = F.scaled_dot_product_attention(
            *(torch.from_numpy(x).transpose(1, 2) for x in (q, k, v)), torch.zeros(1, 1, 2, 2, dtype=torch.bool)
        )
        np.testing.assert_array_equal(np.asarray(y), right.transpose(1, 2).numpy())
