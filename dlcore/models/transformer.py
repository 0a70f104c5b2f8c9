"""The transformer: a language model, and a classifier of sequences."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import _checks, nn
from dlcore._typing import DType
from dlcore.models import layers as lifted
from dlcore.models.attention import multi_head_attention
from dlcore.models.combinators import parallel, residual, serial, stack
from dlcore.models.layer import Layer
from dlcore.nn._affine import float_dtype

__all__ = ["transformer", "transformer_classifier"]


def transformer(
    vocabulary: int,
    *,
    features: int = 128,
    layers: int = 4,
    heads: int = 4,
    key_heads: int | None = None,
    hidden: int | None = None,
    causal: bool = True,
    dropout: float = 0.0,
    base: float = 10_000.0,
    dtype: DType = jnp.float32,
) -> Layer:
    """A language model: each block lets every token look at those before it, then maps each by itself.

        h_0 = E[tokens]
        a_l = h_{l−1} + attention(norm(h_{l−1})),   h_l = a_l + swiglu(norm(a_l) W_g, norm(a_l) W_u) W_d
        y = norm(h_L) W

    The norm is `nn.rms_norm` and stands before each map; queries and keys are turned by `nn.rotary_embedding`; no map
    has a bias.

    Args:
      vocabulary: V, how many tokens there are.
      features: D, the width of a token's vector.
      layers: L, how many blocks, each with parameters of its own, compiled once.
      heads: N, of the queries; D is a multiple of 2N, since features turn in pairs.
      key_heads: of keys and values; N by default.
      hidden: the width of the gated maps; 8/3 D, rounded up to a multiple of 8, by default: as many parameters as an
        ungated layer of width 4D has.
      causal: whether a token sees itself and those before it alone; False gives an encoder, for masked tokens.
      dropout: the rate of dropout behind the embedding and each map.
      base: the rotary embedding's; larger for longer texts.
      dtype: of the parameters and of what is computed; norms and softmax are in float32 or wider.

    Returns:
      A `Layer` from tokens (*batch, T), integers in [0, V), to logits (*batch, T, V): that at t is for token t + 1.
      Shift the labels for training: `tokens[:, :-1]` and `tokens[:, 1:]`. A token outside the vocabulary gives NaN.

    Raises:
      ValueError: if a size or rate is out of range, or heads do not divide.
      TypeError: if a size is not an int, or `dtype` is not floating.

    Gradient: the chain rule; smooth.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> net = models.transformer(100, features=16, layers=2)
      >>> tokens = jnp.zeros((3, 5), int)
      >>> params, state = net.init(jax.random.key(0), tokens)
      >>> net.apply(params, state, tokens, key=None, train=False)[0].shape
      (3, 5, 100)

    Source: Vaswani et al. 2017, "Attention is all you need"; norms in front: Xiong et al. 2020; gated maps, rotary
    positions and no bias, as put together in Touvron et al. 2023, "LLaMA", section 2.2.
    """
    name = "models.transformer"
    v = _checks.integer(name, "vocabulary", vocabulary, low=1)
    d = _checks.integer(name, "features", features, low=1)
    blocks = _blocks(name, d, layers, heads, key_heads, hidden, causal, dropout, base)
    embed = lifted.embedding(v, d, dtype=float_dtype(name, dtype))
    return serial(**_chain(embed, blocks, dropout), out=lifted.dense(v, use_bias=False))


def transformer_classifier(
    classes: int,
    *,
    features: int = 64,
    layers: int = 2,
    heads: int = 4,
    key_heads: int | None = None,
    hidden: int | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    base: float = 10_000.0,
) -> Layer:
    """A classifier of sequences of vectors: the blocks of `transformer`, and the mean of what they make of all steps.

        h_0 = x W_e + b_e,   y = mean_t(norm(h_L)) W + b

    Args:
      classes: K, the width of the output.
      features: D, the width of a step's vector inside.
      layers: L, how many blocks.
      heads: N, of the queries; D is a multiple of 2N.
      key_heads: of keys and values; N by default.
      hidden: the width of the gated maps; as in `transformer` by default.
      causal: whether a step sees itself and those before it alone.
      dropout: the rate of dropout behind the first and each later map.
      base: the rotary embedding's.

    Returns:
      A `Layer` from x (*batch, T, C), floating, T at least 1, to logits (*batch, K), in the dtype of x.

    Raises:
      ValueError: if a size or rate is out of range, or heads do not divide.
      TypeError: if a size is not an int.

    Gradient: the chain rule; smooth.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> net = models.transformer_classifier(10, features=16)
      >>> params, state = net.init(jax.random.key(0), jnp.ones((3, 8, 8)))
      >>> net.apply(params, state, jnp.ones((3, 8, 8)), key=None, train=False)[0].shape
      (3, 10)

    Source: as `transformer`; the mean over steps in place of a class token: Zhai et al. 2022, "Scaling vision
    transformers", section 3.2.
    """
    name = "models.transformer_classifier"
    k = _checks.integer(name, "classes", classes, low=1)
    d = _checks.integer(name, "features", features, low=1)
    blocks = _blocks(name, d, layers, heads, key_heads, hidden, causal, dropout, base)
    chain = _chain(lifted.dense(d), blocks, dropout)
    return serial(**chain, pool=lifted.global_avg_pool(axes=-2), out=lifted.dense(k))


def _chain(embed: Layer, blocks: Layer, dropout: float) -> dict[str, Layer]:
    drop = {"drop": lifted.dropout(rate=dropout)} if dropout else {}
    return {"embed": embed, **drop, "blocks": blocks, "norm": lifted.rms_norm()}


def _blocks(
    name: str,
    features: int,
    layers: int,
    heads: int,
    key_heads: int | None,
    hidden: int | None,
    causal: bool,
    dropout: float,
    base: float,
) -> Layer:
    count = _checks.integer(name, "layers", layers, low=1)
    n = _checks.integer(name, "heads", heads, low=1)
    if features % (2 * n):
        raise _checks.value_error(
            name, "heads", n, f"a number whose double divides the {features} features",
            "Features turn in pairs: each head has an even number of them.",
        )  # fmt: skip
    if key_heads is not None and n % _checks.integer(name, "key_heads", key_heads, low=1):
        raise _checks.value_error(name, "key_heads", key_heads, f"a divisor of the {n} heads", "Or leave it out.")
    width = -(-features // 3) * 8 if hidden is None else _checks.integer(name, "hidden", hidden, low=1)
    _checks.number(name, "base", base, low=1.0)
    if not isinstance(causal, bool):
        raise _checks.type_error(name, "causal", _checks.describe(causal), "True or False", "It must be static.")
    drop = {"drop": lifted.dropout(rate=dropout)} if _checks.fraction(name, "dropout", dropout) else {}
    attend = multi_head_attention(n, key_heads=key_heads, use_bias=False, causal=causal, rotary=True, base=base)
    gated = parallel(nn.swiglu, gate=lifted.dense(width, use_bias=False), value=lifted.dense(width, use_bias=False))
    block = serial(
        attention=residual(serial(norm=lifted.rms_norm(), attend=attend, **drop)),
        mlp=residual(serial(norm=lifted.rms_norm(), gated=gated, out=lifted.dense(features, use_bias=False), **drop)),
    )
    return stack(block, count)
