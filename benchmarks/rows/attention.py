"""Softmax attention without bias or mask, of all keys or of those up to the query."""

from __future__ import annotations

from typing import Any

from benchmarks.rows._peers import draw, equinox, flax, keras, lazily, torch_ways
from benchmarks.suite import torch_side
from benchmarks.suite.jax_side import layer
from benchmarks.suite.row import DLCORE, Enter, Floor, Row
from dlcore import nn

# q, then the steps and heads of k and v
SHAPES = {
    "full": (
        ((4, 512, 8, 32), 512, 8),
        ((2, 1024, 4, 64), 1024, 4),
        ((8, 128, 8, 64), 128, 8),
        ((1, 777, 3, 40), 777, 3),
        ((4, 512, 8, 32), 512, 2),
        ((16, 32, 8, 32), 32, 8),
    ),
    "quick": (((1, 300, 2, 16), 300, 2), ((2, 20, 4, 8), 20, 2)),
}
# (batch, time, heads, features), and with heads before time.
HEADS_FIRST = (0, 2, 1, 3)


def rows(size: str) -> list[Row]:
    return [case(causal, *each) for causal in (True, False) for each in SHAPES[size]]


def case(causal: bool, shape: tuple[int, ...], keys: int, key_heads: int) -> Row:
    batch, time, heads, features = shape
    other = (batch, keys, key_heads, features)
    arrays = (draw(*shape), draw(*other, seed=1), draw(*other, seed=2))
    shared = heads != key_heads

    def ours(q: Any, k: Any, v: Any) -> Any:
        return nn.dot_product_attention(q, k, v, causal=causal)

    def repeated(*parts: Any) -> list[Any]:
        import jax.numpy as jnp

        return [jnp.repeat(part, heads // key_heads, axis=-2) for part in parts] if shared else list(parts)

    def triangle(*lead: int) -> Any:
        import jax.numpy as jnp

        return jnp.tri(time, keys, dtype=bool).reshape(*lead, time, keys) if causal else None

    def plain_jax() -> Enter:
        import jax

        return layer(lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=causal), arrays)

    def linen() -> Enter:
        function = flax().dot_product_attention
        return layer(lambda q, k, v: function(q, *repeated(k, v), mask=triangle(1, 1)), arrays)

    def eqx() -> Enter:
        import jax

        equinox()
        from equinox.nn._attention import dot_product_attention

        # One head of one example; heads are the last axis but one.
        def head(q: Any, k: Any, v: Any) -> Any:
            return dot_product_attention(q, k, v, mask=triangle())

        every = jax.vmap(jax.vmap(head, in_axes=1, out_axes=1))
        return layer(lambda q, k, v: every(q, *repeated(k, v)), arrays)

    def ks() -> Enter:
        function = keras().ops.dot_product_attention
        return layer(lambda q, k, v: function(q, k, v, is_causal=causal), arrays)

    def torch_first(t: Any) -> Any:
        function = t.nn.functional.scaled_dot_product_attention
        return lambda q, k, v: function(q, k, v, is_causal=causal, enable_gqa=shared)

    def torch(t: Any) -> Any:
        function = torch_first(t)
        return lambda *parts: function(*(part.transpose(1, 2) for part in parts)).transpose(1, 2)

    def heads_first() -> Enter:
        function = torch_first(torch_side.torch())
        return torch_side.layer(function, arrays, turn=(HEADS_FIRST,) * 3, out=HEADS_FIRST)

    # Two products forward and four backward, of what is seen; q, k, v, dy read, y and gradients written.
    seen = sum(min(t + 1, keys) for t in range(time)) if causal else time * keys
    moved = 4 * arrays[0].nbytes + 2 * (arrays[1].nbytes + arrays[2].nbytes)
    return Row(
        name=f"{'causal' if causal else 'full'} attention{f', {key_heads} key heads' if shared else ''}",
        shape=f"{shape}" if keys == time else f"{shape}, {keys} keys",
        enter={
            "JAX": lazily(plain_jax), "Flax": lazily(linen), "Equinox": lazily(eqx), "Keras": lazily(ks),
            **torch_ways(torch, arrays), "PyTorch, heads first": lazily(heads_first), DLCORE: layer(ours, arrays),
        },
        floor=Floor(moved, 12 * batch * heads * seen * features),
        bound="products at a fifth to a half of their rate, being small, and a loop over blocks",
    )  # fmt: skip
