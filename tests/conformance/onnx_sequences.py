"""Adapters of ONNX' operators to dlcore: recurrent layers, attention, rotary embedding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tests.conformance.ours import layouts, nn


def recurrent(kind):
    def adapter(a, x, w, r, bias=None, lengths=None, h=None, c=None, peepholes=None):
        if peepholes is not None:
            raise ValueError("peepholes")
        direction = a.get("direction", "forward")
        run, params_of = getattr(nn, kind), getattr(layouts, f"{kind}_from_onnx")
        options = {"reset_after": bool(a.get("linear_before_reset", 0))} if kind == "gru" else {}
        batch_first = x if a.get("layout") else jnp.swapaxes(x, 0, 1)
        directions = [params_of(w[d], r[d], None if bias is None else bias[d]) for d in range(w.shape[0])]
        if lengths is not None:
            options["lengths"] = lengths
        if h is not None:
            assert len(directions) == 1, "no case has initial states of two directions"
            state = jnp.moveaxis(h, 1, 0)[:, 0] if a.get("layout") else h[0]
            options["initial_state"] = (state, c[0]) if kind == "lstm" else state
        if direction == "bidirectional":
            ys, states = nn.bidirectional(run, *directions, batch_first, **options)
        else:
            ys, state = run(directions[0], batch_first, reverse=direction == "reverse", **options)
            states = (state,)
        # (batch, time, directions, features), which is layout 1
        ys = ys.reshape(*ys.shape[:2], len(directions), -1)
        if not a.get("layout"):
            ys = ys.transpose(1, 2, 0, 3)
        parts = zip(*states, strict=True) if kind == "lstm" else (states,)
        return ys, *(jnp.stack(part, axis=1 if a.get("layout") else 0) for part in parts)

    return adapter


def heads_last(x, heads):
    """(batch, heads, time, features), or (batch, time, heads · features), to (batch, time, heads, features)."""
    return x.reshape(*x.shape[:2], heads, -1) if x.ndim == 3 else jnp.swapaxes(x, 1, 2)


def attention(a, q, k, v, attn_mask=None, past_key=None, past_value=None, valid=None):
    """Caches are joined here; windows, lengths and offsets become a mask."""
    flat = q.ndim == 3
    q, k, v = (
        heads_last(x, a.get(heads)) for x, heads in ((q, "q_num_heads"), (k, "kv_num_heads"), (v, "kv_num_heads"))
    )
    past = 0
    if past_key is not None:
        past = past_key.shape[2]
        k = jnp.concatenate([jnp.swapaxes(past_key, 1, 2), k], axis=1)
        v = jnp.concatenate([jnp.swapaxes(past_value, 1, 2), v], axis=1)
    options = {name: a[name] for name in ("scale", "softcap") if name in a}
    times = q.shape[1], k.shape[1]
    mask, options["causal"] = visible(a, times, past, None if valid is None else np.asarray(valid))
    if attn_mask is not None:
        margin = [(0, 0)] * (attn_mask.ndim - 1) + [(0, times[1] - attn_mask.shape[-1])]
        if attn_mask.dtype == bool:
            attn_mask = jnp.pad(attn_mask, margin)
            mask = (
                attn_mask
                if mask is None
                else mask & jnp.broadcast_to(attn_mask, np.broadcast_shapes(attn_mask.shape, mask.shape))
            )
        else:
            options["bias"] = jnp.pad(attn_mask, margin, constant_values=-np.inf)
    y = nn.dot_product_attention(q, k, v, mask=mask, **options)
    weights = None
    if a.get("qk_matmul_output_mode") == 3:
        # Attending to the identity hands back the weights.
        one_hot = jnp.broadcast_to(jnp.eye(times[1], dtype=v.dtype)[None, :, None], (*k.shape[:3], times[1]))
        weights = jnp.swapaxes(nn.dot_product_attention(q, k, one_hot, mask=mask, **options), 1, 2)
    y = y.reshape(*y.shape[:2], -1) if flat else jnp.swapaxes(y, 1, 2)
    return y, jnp.swapaxes(k, 1, 2), jnp.swapaxes(v, 1, 2), weights


def visible(a, times, past, valid):
    """Which keys a query may see, (batch or 1, 1, query time, key time) or None; and whether `causal` says the rest."""
    causal, left, right = a.get("is_causal", 0), a.get("left_window_size", -1), a.get("right_window_size", -1)
    if valid is None and past == 0 and left < 0 and right < 0:
        return None, bool(causal)
    # The query's own place among the keys; with lengths it is counted from the last valid key.
    offset = past if valid is None else (valid - times[0])[:, None, None]
    ahead = np.arange(times[1])[None, None, :] - (np.arange(times[0])[None, :, None] + offset)
    mask = np.ones_like(ahead, bool)
    mask &= (ahead <= 0) if causal else True
    mask &= (ahead >= -left) if left >= 0 else True
    mask &= (ahead <= right) if right >= 0 else True
    if valid is not None:
        mask &= np.arange(times[1])[None, None, :] < valid[:, None, None]
    return jnp.asarray(mask[:, None]), False


def flex_attention(a, q, k, v):
    """The graphs that the cases hand over, by their names, as the options that say the same."""
    options = {name: a[name] for name in ("scale",) if name in a}
    y_scale = 1.0
    for graph in (a.get("score_mod"), a.get("prob_mod")):
        name = None if graph is None else graph.name
        number = None if graph is None else next((t.float_data[0] for t in graph.initializer if t.float_data), None)
        if name == "score_mod_bias":
            options["bias"] = jnp.full((1, 1, q.shape[2], k.shape[2]), number, q.dtype)
        elif name == "score_mod_causal_mask":
            options["causal"] = True
        elif name == "score_mod_soft_cap":
            options["softcap"] = number
        elif name == "score_mod_relative_positional":
            distance = np.arange(q.shape[2])[:, None] - np.arange(k.shape[2])
            options["bias"] = jnp.asarray(distance[None, None], q.dtype)
        elif name == "prob_mod_scale":
            y_scale = number
        elif name is not None:
            raise ValueError(f"a graph that no option says: {name}")
    y = nn.dot_product_attention(*(jnp.swapaxes(x, 1, 2) for x in (q, k, v)), **options)
    return jnp.swapaxes(y, 1, 2) * jnp.asarray(y_scale, y.dtype)


def rotary_embedding(a, x, cos, sin, positions=None):
    """The cases' tables are random numbers, not cosines of an angle: each pair of features is turned, and stretched.

    A pair is an embedding of two features, whose angle is its position.
    """
    whole = heads_last(x, a.get("num_heads"))
    size = a.get("rotary_embedding_dim") or whole.shape[-1]
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    halves = whole[..., :size].reshape(*whole.shape[:-1], *((-1, 2) if a.get("interleaved") else (2, -1)))
    pairs = halves if a.get("interleaved") else jnp.swapaxes(halves, -1, -2)
    turn = jax.vmap(nn.rotary_embedding, in_axes=(-2, -1), out_axes=-2)
    turned = turn(pairs, jnp.arctan2(sin, cos)) * jnp.hypot(sin, cos)[:, :, None, :, None]
    turned = turned if a.get("interleaved") else jnp.swapaxes(turned, -1, -2)
    y = jnp.concatenate([turned.reshape(*whole.shape[:-1], size), whole[..., size:]], axis=-1)
    return y.reshape(x.shape) if x.ndim == 3 else jnp.swapaxes(y, 1, 2)


def rotary_embedding_of_positions(a, x, positions):
    """The same operator where its tables are what they are meant to be."""
    whole = heads_last(x, a.get("num_heads"))
    size = a.get("rotary_embedding_dim") or whole.shape[-1]
    turned = nn.rotary_embedding(whole[..., :size], positions, interleaved=bool(a.get("interleaved")))
    y = jnp.concatenate([turned, whole[..., size:]], axis=-1)
    return y.reshape(x.shape) if x.ndim == 3 else jnp.swapaxes(y, 1, 2)


ADAPTERS = {
    "Attention": attention,
    "FlexAttention": flex_attention,
    "GRU": recurrent("gru"),
    "LSTM": recurrent("lstm"),
    "RNN": recurrent("rnn"),
    "RotaryEmbedding": rotary_embedding,
}
