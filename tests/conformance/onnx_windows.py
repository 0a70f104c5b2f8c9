"""Adapters of ONNX' operators to dlcore: convolution and pooling."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from tests.conformance.onnx_cases import first, last, pairs
from tests.conformance.ours import layouts, nn


def geometry(a, count):
    """Strides, padding and dilation of `count` spatial axes."""
    auto = a.get("auto_pad", "NOTSET")
    named = {"SAME_UPPER": "SAME", "SAME_LOWER": "SAME_LOWER", "VALID": "VALID"}
    return {
        "strides": tuple(a.get("strides", [1] * count)),
        "padding": named.get(auto) or pairs(a.get("pads", [0] * 2 * count)),
        "dilation": tuple(a.get("dilations", [1] * count)),
    }


def conv(a, x, w, bias=None):
    params = {"kernel": layouts.conv_kernel_from_torch(w)} | ({} if bias is None else {"bias": bias})
    return first(nn.conv(params, last(x), groups=a.get("group", 1), **geometry(a, x.ndim - 2)))


def conv_transpose(a, x, w, bias=None):
    """`output_shape` says the padding: what the full result has too much, half of it at each end."""
    count = x.ndim - 2
    options = geometry(a, count)
    extra = a.get("output_padding", [0] * count)
    if "output_shape" in a:
        extents = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], options["dilation"], strict=True)]
        full = [s * (n - 1) + e for s, n, e in zip(options["strides"], x.shape[2:], extents, strict=True)]
        much = [n + more - out for n, more, out in zip(full, extra, a["output_shape"], strict=True)]
        # A result larger than the full one is padded, at its end.
        extra = [more + max(-m, 0) for more, m in zip(extra, much, strict=True)]
        options["padding"] = tuple((max(m, 0) // 2, max(m, 0) - max(m, 0) // 2) for m in much)
    params = {"kernel": layouts.conv_transpose_kernel_from_torch(w)} | ({} if bias is None else {"bias": bias})
    y = nn.conv_transpose(params, last(x), groups=a.get("group", 1), output_padding=tuple(extra), **options)
    return first(y)


def causal_conv_with_state(a, x, w, bias=None, past=None):
    """A depthwise causal convolution that goes on from the inputs it saw last."""
    steps = w.shape[-1] - 1
    params = {"kernel": layouts.conv_kernel_from_torch(w)} | ({} if bias is None else {"bias": bias})
    if past is None:
        y = nn.conv(params, last(x), padding="CAUSAL", groups=x.shape[1])
        past = jnp.zeros((*x.shape[:2], steps), x.dtype)
        seen = jnp.concatenate([past, x], axis=-1)
    else:
        seen = jnp.concatenate([past, x], axis=-1)
        y = nn.conv(params, last(seen), padding="VALID", groups=x.shape[1])
    y = nn.silu(y) if a.get("activation") in ("silu", "swish") else y
    return first(y), seen[..., seen.shape[-1] - steps :]


def pooling(a):
    return geometry(a, len(a["kernel_shape"])) | {"ceil_mode": bool(a.get("ceil_mode", 0))}


def max_pool(a, x):
    """Padding over half a window is refused for a maximum; it is put on by hand here, and the padding is none."""
    options = pooling(a)
    extents = [(k - 1) * d + 1 for k, d in zip(a["kernel_shape"], options["dilation"], strict=True)]
    padding = options["padding"]
    if not isinstance(padding, str) and any(max(pair) > e // 2 for pair, e in zip(padding, extents, strict=True)):
        x = jnp.pad(x, ((0, 0), (0, 0), *padding), constant_values=-np.inf)
        options["padding"] = "VALID"
    return first(nn.max_pool(last(x), tuple(a["kernel_shape"]), **options))


def max_pool_with_indices(a, x):
    """ONNX numbers the elements of the whole array, channels first; dlcore those of one channel's space."""
    y, indices = nn.max_pool_with_indices(last(x), tuple(a["kernel_shape"]), **pooling(a))
    indices = first(indices)
    space = x.shape[2:]
    if a.get("storage_order"):
        row, column = jnp.divmod(indices, space[-1])
        indices = column * space[-2] + row
    planes = jnp.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2] + (1,) * len(space))
    return first(y), indices + planes.astype(indices.dtype) * math.prod(space)


def max_unpool(a, x, indices, shape=None):
    """The indices are those of the smallest array that pools to `x`; a larger `shape` adds zeros at its ends."""
    window, strides = a["kernel_shape"], a.get("strides", [1] * len(a["kernel_shape"]))
    least = tuple((n - 1) * s + k for n, s, k in zip(x.shape[2:], strides, window, strict=True))
    y = first(nn.max_unpool(last(x), last(indices % math.prod(least)), least))
    if shape is None:
        return y
    return jnp.pad(y, [(0, int(n) - have) for n, have in zip(shape, y.shape, strict=True)])


def average_pool(a, x):
    counts = bool(a.get("count_include_pad", 0))
    return first(nn.avg_pool(last(x), tuple(a["kernel_shape"]), count_include_padding=counts, **pooling(a)))


def lp_pool(a, x):
    return first(nn.lp_pool(last(x), tuple(a["kernel_shape"]), p=a.get("p", 2), **pooling(a)))


def spatial(x):
    return tuple(range(1 - x.ndim, -1))


def global_average_pool(a, x):
    return nn.global_avg_pool(last(x), axes=spatial(x)).reshape(x.shape[:2] + (1,) * (x.ndim - 2))


def global_max_pool(a, x):
    return nn.global_max_pool(last(x), axes=spatial(x)).reshape(x.shape[:2] + (1,) * (x.ndim - 2))


ADAPTERS = {
    "AveragePool": average_pool,
    "CausalConvWithState": causal_conv_with_state,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxPool, with indices": max_pool_with_indices,
    "MaxUnpool": max_unpool,
}
