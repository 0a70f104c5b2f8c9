"""Convolution and its transpose against PyTorch: values and gradients in 1, 2 and 3 dimensions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conformance.compare import Comparison, channels_first, channels_last, check_all
from tests.conformance.ours import layouts, nn

SUITE = "PyTorch"
CONVS = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def geometry(d, largest_window=3):
    """Sizes, window, strides, dilation and padding of so many axes that every window fits."""
    count = d.cycle(2, 1, 3)
    window, dilation, strides, padding, sizes = ([] for _ in range(5))
    for _ in range(count):
        k = d.size(1, largest_window)
        spread = d.pick(1, 1, 2)
        extent = (k - 1) * spread + 1
        margin = d.size(0, extent - 1)
        window.append(k)
        dilation.append(spread)
        strides.append(d.size(1, 3))
        padding.append(margin)
        sizes.append(max(extent - 2 * margin, margin + 1) + d.size(0, 3))
    return tuple(sizes), tuple(window), tuple(strides), tuple(dilation), tuple(padding)


def arrays_of(d, x, weight, out):
    arrays = {"x": d.normal(*x), "weight": d.normal(*weight)}
    return arrays | ({"bias": d.normal(out)} if d.flag() else {})


def draw_conv(d):
    sizes, window, strides, dilation, padding = geometry(d)
    mode = d.cycle("zeros", "reflect", "zeros", "replicate", "circular")
    groups, inside, out = d.pick(1, 1, 2, 3), d.size(1, 2), d.size(1, 2)
    named = d.pick(None, None, "same", "valid")
    if named == "same":
        strides = (1,) * len(strides)
        # Half the window at each border, which a mirror must be able to fill.
        sizes = tuple(max(n, (k - 1) * spread + 1) for n, k, spread in zip(sizes, window, dilation, strict=True))
    if named == "valid":
        sizes = tuple(n + 2 * margin for n, margin in zip(sizes, padding, strict=True))
    ours_padding = {"same": "SAME", "valid": "VALID"}.get(named) or tuple((margin, margin) for margin in padding)
    options = {"strides": strides, "dilation": dilation, "padding_mode": mode, "groups": groups}

    def theirs(x, weight, bias=None):
        module = CONVS[len(sizes)](
            groups * inside, groups * out, window, stride=strides, dilation=dilation, groups=groups, padding_mode=mode,
            padding=named or padding, bias=bias is not None, dtype=torch.float64,
        )  # fmt: skip
        params = {"weight": weight} | ({} if bias is None else {"bias": bias})
        return channels_last(torch.func.functional_call(module, params, (channels_first(x),)))

    return Comparison(
        lambda x, weight, **bias: nn.conv(
            {"kernel": layouts.conv_kernel_from_torch(weight)} | bias, x, padding=ours_padding, **options
        ),
        theirs,
        arrays_of(d, (2, *sizes, groups * inside), (groups * out, inside, *window), groups * out),
        d.dtype,
        options | {"padding": ours_padding},
    )


def draw_conv_transpose(d):
    _, window, strides, dilation, padding = geometry(d)
    extents = [(k - 1) * spread + 1 for k, spread in zip(window, dilation, strict=True)]
    extra = tuple(d.size(0, max(s, spread) - 1) for s, spread in zip(strides, dilation, strict=True))
    # At least one entry is left after the padding is cut off.
    sizes = tuple(
        max(1, -((extent - 2 * margin - 1) // s) + 1) + d.size(0, 2)
        for extent, margin, s in zip(extents, padding, strides, strict=True)
    )
    groups, inside, out = d.pick(1, 1, 2, 3), d.size(1, 2), d.size(1, 2)
    options = {"strides": strides, "dilation": dilation, "groups": groups, "output_padding": extra}
    ours_padding = tuple((margin, margin) for margin in padding)

    def theirs(x, weight, bias=None):
        y = TRANSPOSED[len(sizes)](
            channels_first(x), weight, bias,
            stride=strides, padding=padding, output_padding=extra, groups=groups, dilation=dilation,
        )  # fmt: skip
        return channels_last(y)

    return Comparison(
        lambda x, weight, **bias: nn.conv_transpose(
            {"kernel": layouts.conv_transpose_kernel_from_torch(weight)} | bias, x, padding=ours_padding, **options
        ),
        theirs,
        arrays_of(d, (2, *sizes, groups * inside), (groups * inside, out, *window), groups * out),
        d.dtype,
        options | {"padding": ours_padding},
    )


# PyTorch says what "same" costs it.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_conv(tally, rng, draws):
    check_all(tally("conv"), rng, 2 * draws, draw_conv)


def test_conv_transpose(tally, rng, draws):
    check_all(tally("conv_transpose"), rng, 2 * draws, draw_conv_transpose)
