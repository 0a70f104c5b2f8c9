"""Pooling against PyTorch: values, indices and gradients in 1, 2 and 3 dimensions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conformance.compare import Comparison, channels_first, channels_last, check_all
from tests.conformance.ours import nn

SUITE = "PyTorch"
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
LP = {1: F.lp_pool1d, 2: F.lp_pool2d, 3: F.lp_pool3d}
UNPOOL = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
ADAPTIVE_AVERAGE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def geometry(d, *, dilated):
    """Sizes, window, strides (or none), padding of at most half the window, and dilation."""
    count = d.cycle(2, 1, 3)
    window = tuple(d.size(1, 3) for _ in range(count))
    dilation = tuple(d.pick(1, 1, 2) if dilated else 1 for _ in range(count))
    strides = None if d.flag() else tuple(d.size(1, 3) for _ in range(count))
    padding = tuple(d.size(0, k // 2) for k in window)
    sizes = tuple((k - 1) * spread + 1 + d.size(0, 4) for k, spread in zip(window, dilation, strict=True))
    return sizes, window, strides, padding, dilation


def values(d, sizes):
    """Small whole numbers, so that maxima tie, or normals."""
    shape = (2, *sizes, 2)
    return d.normal(*shape).round() if d.flag() else d.normal(*shape)


def both_sides(strides, padding):
    ours = {"strides": strides, "padding": tuple((margin, margin) for margin in padding)}
    return ours, {"stride": strides, "padding": padding}


@pytest.mark.parametrize("with_indices", [False, True])
def test_max_pool(tally, rng, draws, with_indices):
    def draw(d):
        sizes, window, strides, padding, dilation = geometry(d, dilated=True)
        ceil = d.flag()
        ours, theirs = both_sides(strides, padding)
        options = ours | {"dilation": dilation, "ceil_mode": ceil}
        function = "max_pool_with_indices" if with_indices else "max_pool"

        def reference(x):
            found = MAX[len(sizes)](
                channels_first(x), window, **theirs, dilation=dilation, ceil_mode=ceil, return_indices=with_indices
            )
            return [channels_last(y) for y in found] if with_indices else channels_last(found)

        return Comparison(
            lambda x: getattr(nn, function)(x, window, **options),
            reference,
            {"x": values(d, sizes)},
            d.dtype,
            options | {"window": window},
        )

    check_all(tally("max_pool_with_indices" if with_indices else "max_pool"), rng, draws, draw)


def test_avg_pool(tally, rng, draws):
    def draw(d):
        sizes, window, strides, padding, _ = geometry(d, dilated=False)
        ceil, include = d.flag(), d.flag()
        ours, theirs = both_sides(strides, padding)
        options = ours | {"ceil_mode": ceil, "count_include_padding": include}
        return Comparison(
            lambda x: nn.avg_pool(x, window, **options),
            lambda x: channels_last(
                AVERAGE[len(sizes)](channels_first(x), window, **theirs, ceil_mode=ceil, count_include_pad=include)
            ),
            {"x": d.normal(2, *sizes, 2)},
            d.dtype,
            options | {"window": window},
        )

    line = tally("avg_pool")
    check_all(line, rng, draws, draw)
    line.skip("divisor_override: multiply by the quotient of the divisors")


def flat(*spatial):
    """PyTorch's lp_pool1d takes ints."""
    return [value[0] if value is not None and len(value) == 1 else value for value in spatial]


def test_lp_pool(tally, rng, draws):
    def draw(d):
        sizes, window, strides, _, _ = geometry(d, dilated=False)
        p = d.cycle(2.0, 3.0, 4.0, 1.0, 2.5)
        # PyTorch takes powers of x itself, not of |x|: the same for even p, and for positive x.
        x = d.normal(2, *sizes, 2) if p in (2.0, 4.0) else abs(d.normal(2, *sizes, 2)) + 0.1
        return Comparison(
            lambda x: nn.lp_pool(x, window, p=p, strides=strides),
            lambda x: channels_last(LP[len(sizes)](channels_first(x), p, *flat(window, strides))),
            {"x": x},
            d.dtype,
            {"p": p, "window": window, "strides": strides},
        )

    line = tally("lp_pool")
    check_all(line, rng, draws, draw)
    line.skip("odd or broken p of negative x: PyTorch leaves out the absolute value")
    line.skip("ceil_mode: PyTorch scales the sum of a window that reaches out as if it were whole")


def output_sizes(d, sizes):
    return tuple(d.pick(None, d.size(1, n + 2)) for n in sizes)


@pytest.mark.parametrize("with_indices", [False, True])
def test_adaptive_max_pool(tally, rng, draws, with_indices):
    name = "adaptive_max_pool_with_indices" if with_indices else "adaptive_max_pool"

    def draw(d):
        sizes = tuple(d.size(2, 6) for _ in range(d.cycle(2, 1, 3)))
        out = output_sizes(d, sizes)
        asked = tuple(m or n for m, n in zip(out, sizes, strict=True)) if len(sizes) == 1 else out

        def reference(x):
            found = ADAPTIVE_MAX[len(sizes)](channels_first(x), asked, return_indices=with_indices)
            return [channels_last(y) for y in found] if with_indices else channels_last(found)

        return Comparison(
            lambda x: getattr(nn, name)(x, out), reference, {"x": values(d, sizes)}, d.dtype, {"output_size": out}
        )

    check_all(tally(name), rng, draws, draw)


def test_adaptive_avg_pool(tally, rng, draws):
    def draw(d):
        sizes = tuple(d.size(2, 6) for _ in range(d.cycle(2, 1, 3)))
        out = output_sizes(d, sizes)
        asked = tuple(m or n for m, n in zip(out, sizes, strict=True)) if len(sizes) == 1 else out
        return Comparison(
            lambda x: nn.adaptive_avg_pool(x, out),
            lambda x: channels_last(ADAPTIVE_AVERAGE[len(sizes)](channels_first(x), asked)),
            {"x": d.normal(2, *sizes, 2)},
            d.dtype,
            {"output_size": out},
        )

    check_all(tally("adaptive_avg_pool"), rng, draws, draw)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_global_pool(tally, rng, draws, kind):
    pools = ADAPTIVE_MAX if kind == "max" else ADAPTIVE_AVERAGE

    def draw(d):
        sizes = tuple(d.size(1, 5) for _ in range(d.cycle(2, 1, 3)))
        count = len(sizes)
        return Comparison(
            lambda x: getattr(nn, f"global_{kind}_pool")(x, axes=tuple(range(-1 - count, -1))),
            lambda x: pools[count](channels_first(x), (1,) * count).flatten(1),
            {"x": values(d, sizes)},
            d.dtype,
        )

    check_all(tally(f"global_{kind}_pool"), rng, min(draws, 12), draw)


def test_max_unpool(tally, rng, draws):
    def draw(d):
        sizes, window, _, padding, _ = geometry(d, dilated=False)
        count = len(sizes)
        # Windows side by side: no place is named twice.
        with torch.no_grad():
            pooled, indices = MAX[count](
                torch.from_numpy(d.normal(2, 2, *sizes)), window, padding=padding, return_indices=True
            )
        assert math.prod(pooled.shape) > 0
        return Comparison(
            lambda x, indices: nn.max_unpool(x, indices, sizes),
            lambda x, indices: channels_last(
                UNPOOL[count](channels_first(x), channels_first(indices), window, padding=padding, output_size=sizes)
            ),
            {"x": d.normal(*channels_last(pooled).shape), "indices": channels_last(indices).numpy()},
            d.dtype,
            {"shape": sizes, "window": window, "padding": padding},
        )

    check_all(tally("max_unpool"), rng, draws, draw)


def test_what_cannot_be_expressed(tally):
    tally("fractional_max_pool").skip("its windows are drawn by PyTorch's generator")
