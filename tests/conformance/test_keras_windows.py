"""Keras' convolutions and poolings: values and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
import torch

from tests.conformance.compare import check_all, drawn
from tests.conformance.keras_layers import comparison, keras
from tests.conformance.ours import layouts, nn
from tests.tolerance import assert_close

SUITE = "Keras"
K = keras.layers
PADDING = {"same": "SAME", "valid": "VALID", "causal": "CAUSAL"}


def spatial(d, *, transposed=False):
    """So many axes; sizes, window, and strides or dilation, of which Keras allows one."""
    count = d.cycle(2, 1, 3)
    window = tuple(d.size(1, 3) for _ in range(count))
    spread = d.pick(1, 1, 2)
    strides = (d.size(1, 3),) * count if spread == 1 else (1,) * count
    padding = d.cycle("same", "valid") if count > 1 or transposed else d.cycle("same", "valid", "causal")
    sizes = tuple((k - 1) * spread + 1 + d.size(0, 3) for k in window)
    return sizes, window, strides, spread, padding


def draw_conv(d):
    sizes, window, strides, dilation, padding = spatial(d)
    groups, bias = d.pick(1, 1, 2), d.flag()
    layer = getattr(K, f"Conv{len(sizes)}D")(
        groups * d.size(1, 2), window, strides=strides, padding=padding, dilation_rate=dilation, groups=groups,
        use_bias=bias, dtype="float64",
    )  # fmt: skip
    options = {"strides": strides, "padding": PADDING[padding], "dilation": dilation, "groups": groups}
    x = d.normal(2, *sizes, groups * d.size(1, 2))
    return comparison(d, layer, lambda x, **params: nn.conv(params, x, **options), x, options=options)


def padding_beside(extra, extent):
    """Keras' (low, high) of "same" beside an output_padding, a negative high being what is added at the end.

    The size is (n − 1) · stride + extent mod 2 + output_padding.
    """
    total = extent + extent % 2 - 2 + extra
    left = min(total // 2 + total % 2, extent - 1)
    return extent - 1 - left, extent - 1 - (total - left)


def draw_conv_transpose(d):
    """Keras' "valid" is never smaller than size times stride; its output_padding goes with a padding of its own."""
    sizes, window, strides, dilation, padding = spatial(d, transposed=True)
    extents = [(k - 1) * dilation + 1 for k in window]
    extra = d.pick(None, None, 0, 1) if all(s > 1 for s in strides) and dilation == 1 else None
    layer = getattr(K, f"Conv{len(sizes)}DTranspose")(
        d.size(1, 3), window, strides=strides, padding=padding, dilation_rate=dilation, output_padding=extra,
        use_bias=d.flag(), dtype="float64",
    )  # fmt: skip
    options = {"strides": strides, "padding": PADDING[padding], "dilation": dilation}
    if extra is not None:
        pairs = [padding_beside(extra, e) if padding == "same" else (0, -extra) for e in extents]
        options["padding"] = tuple((low, max(high, 0)) for low, high in pairs)
        options["output_padding"] = tuple(max(-high, 0) for _, high in pairs)
    elif padding == "valid":
        options["output_padding"] = tuple(max(s - e, 0) for s, e in zip(strides, extents, strict=True))
    x = d.normal(2, *sizes, d.size(1, 3))
    compared = comparison(d, layer, lambda x, **params: nn.conv_transpose(params, x, **options), x, options=options)
    theirs = compared.theirs
    # PyTorch cannot differentiate some transposed views of a kernel: it gets one that is contiguous once Keras
    # has transposed it.
    stored = lambda w: w.movedim((-1, -2), (0, 1)).clone(memory_format=torch.contiguous_format)
    compared.theirs = lambda x, kernel, **bias: theirs(x=x, kernel=stored(kernel).movedim((0, 1), (-1, -2)), **bias)
    return compared


def draw_depthwise_conv(d):
    sizes, window, strides, dilation, padding = spatial(d)
    sizes, window, strides = ((*part, *part)[:2] for part in (sizes, window, strides))
    one = padding == "causal" or d.flag()
    sizes, window, strides = (part[:1] if one else part for part in (sizes, window, strides))
    layer = getattr(K, f"DepthwiseConv{len(sizes)}D")(
        window, strides=strides, padding=padding, dilation_rate=dilation, depth_multiplier=d.size(1, 2),
        use_bias=d.flag(), dtype="float64",
    )  # fmt: skip
    x = d.normal(2, *sizes, d.size(1, 3))
    options = {"strides": strides, "padding": PADDING[padding], "dilation": dilation, "groups": x.shape[-1]}

    def ours(x, kernel, **bias):
        return nn.conv({"kernel": layouts.depthwise_kernel_from_keras(kernel)} | bias, x, **options)

    return comparison(d, layer, ours, x, options=options)


def draw_separable_conv(d):
    """A depthwise convolution, then one of windows of size 1."""
    sizes = tuple(d.size(3, 5) for _ in range(d.cycle(2, 1)))
    layer = getattr(K, f"SeparableConv{len(sizes)}D")(
        d.size(1, 3), 3, padding="same", depth_multiplier=d.size(1, 2), dtype="float64"
    )
    x = d.normal(2, *sizes, d.size(1, 3))

    def ours(x, depthwise_kernel, pointwise_kernel, **bias):
        kernel = layouts.depthwise_kernel_from_keras(depthwise_kernel)
        return nn.conv({"kernel": pointwise_kernel} | bias, nn.conv({"kernel": kernel}, x, groups=x.shape[-1]))

    return comparison(d, layer, ours, x)


def draw_pool(name, function):
    def draw(d):
        sizes, window, strides, _, padding = spatial(d, transposed=True)
        strides = d.pick(None, strides)
        if name == "Average":
            # On PyTorch, and only there, Keras repeats the border for "same", and counts it.
            padding = "valid"
        layer = getattr(K, f"{name}Pooling{len(sizes)}D")(window, strides, padding, dtype="float64")
        options = {"strides": strides, "padding": PADDING[padding]}
        x = d.normal(2, *sizes, 2)
        x = x.round() if name == "Max" else x
        return comparison(d, layer, lambda x: getattr(nn, function)(x, window, **options), x, options=options)

    return draw


def draw_global_pool(name, function):
    def draw(d):
        sizes, keep = tuple(d.size(1, 4) for _ in range(d.cycle(2, 1, 3))), d.flag()
        layer = getattr(K, f"Global{name}Pooling{len(sizes)}D")(keepdims=keep, dtype="float64")
        axes = tuple(range(-1 - len(sizes), -1))

        def ours(x):
            y = getattr(nn, function)(x, axes=axes)
            return jnp.expand_dims(y, axes) if keep else y

        return comparison(d, layer, ours, d.normal(2, *sizes, 2), options={"keepdims": keep})

    return draw


def draw_adaptive_pool(name, function):
    def draw(d):
        sizes = tuple(d.size(2, 5) for _ in range(d.cycle(2, 1, 3)))
        out = tuple(d.size(1, n) for n in sizes)
        layer = getattr(K, f"Adaptive{name}Pooling{len(sizes)}D")(out, dtype="float64")
        x = d.normal(2, *sizes, 2)
        return comparison(d, layer, lambda x: getattr(nn, function)(x, out), x, options={"output_size": out})

    return draw


def test_average_pooling_of_same_padding(tally, rng, draws):
    """By Keras' function for JAX, which leaves padding out of the mean, as it does for TensorFlow; values alone."""
    from keras.src.backend.jax.nn import average_pool

    line = tally("AveragePooling, same")
    for d in drawn(rng, min(draws, 12)):
        sizes, window, strides, _, _ = spatial(d, transposed=True)
        with line.case(f"{sizes} {window} {strides}"):
            x = jnp.asarray(d.normal(2, *sizes, 2), jnp.float32)
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                expected = average_pool(x, window, strides, "same")
            assert_close(nn.avg_pool(x, window, strides=strides, padding="SAME"), expected, length=27)


DRAWS = {
    "Conv": draw_conv,
    "ConvTranspose": draw_conv_transpose,
    "DepthwiseConv": draw_depthwise_conv,
    "SeparableConv": draw_separable_conv,
    "MaxPooling": draw_pool("Max", "max_pool"),
    "AveragePooling": draw_pool("Average", "avg_pool"),
    "GlobalMaxPooling": draw_global_pool("Max", "global_max_pool"),
    "GlobalAveragePooling": draw_global_pool("Average", "global_avg_pool"),
    "AdaptiveMaxPooling": draw_adaptive_pool("Max", "adaptive_max_pool"),
    "AdaptiveAveragePooling": draw_adaptive_pool("Average", "adaptive_avg_pool"),
}


@pytest.mark.parametrize("name", DRAWS)
def test_window(name, tally, rng, draws):
    check_all(tally(name), rng, draws if "Conv" in name else min(draws, 12), DRAWS[name])
