"""Convolution of any number of groups: dense, depthwise, or a few plain ones side by side.

What the compiler does with the plain form: on CPU a convolution with groups is a scalar loop, 20 to 200 times slower
than the plain convolutions that it stands for.

The floor is the matrix products of its groups. The form chosen: one plain convolution a group, concatenated; groups
that are narrower than a register are put together until they are not, their kernels along the diagonal of a wider one,
since a product with so few channels costs as much. Depthwise convolution is `dlcore.kernels.depthwise_convolution`'s.
As in `dlcore.kernels.convolution` the tangents are defined as transposes, so that reverse mode runs the forms that are
written here, and forward mode and Hessians exist. On other platforms their libraries know groups.

Measured by `python -m benchmarks --only convolution`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from dlcore._typing import Array
from dlcore._varying import transposed
from dlcore._windows import WindowAxis
from dlcore.kernels.convolution import convolve_dense, plain_convolve
from dlcore.kernels.depthwise_convolution import (
    depthwise,
    depthwise_input_gradient,
    depthwise_kernel_gradient,
    is_depthwise,
)  # fmt: skip

__all__ = ["convolve"]

# Groups of fewer channels are put together.
WIDTH = 8


def convolve(x: Array, kernel: Array, axes: tuple[WindowAxis, ...], groups: int = 1) -> Array:
    """`plain_convolve` of x (B, *space, C) with kernel (*window, C // groups, F), fast in loops and gradients too."""
    if groups == 1:
        return convolve_dense(x, kernel, axes)
    if is_depthwise(kernel, groups):
        return _depthwise(x, kernel, axes)
    side_by_side = partial(_side_by_side, axes=axes, groups=groups)
    return lax.platform_dependent(
        x, kernel, cpu=side_by_side, default=lambda x, kernel: plain_convolve(x, kernel, axes, groups)
    )


def _side_by_side(x: Array, kernel: Array, *, axes: tuple[WindowAxis, ...], groups: int) -> Array:
    *window, inside, features = kernel.shape
    together = 1
    while together * inside < WIDTH and groups % (2 * together) == 0:
        together *= 2
    wide, outside = groups // together, features // groups
    if together > 1:
        # (*window, g, c, G, g', f): zero unless g = g'.
        apart = kernel.reshape(*window, 1, inside, wide, together, outside)
        same = jnp.eye(together, dtype=bool).reshape((1,) * len(window) + (together, 1, 1, together, 1))
        kernel = jnp.where(same, apart, 0).reshape(*window, together * inside, features)
    xs, kernels = jnp.split(x, wide, -1), jnp.split(kernel, wide, -1)
    return jnp.concatenate([convolve_dense(a, b, axes) for a, b in zip(xs, kernels, strict=True)], -1)


# custom_jvp: see the top of the file. It saves x and the kernel, in their own dtype.
@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _depthwise(x: Array, kernel: Array, axes: tuple[WindowAxis, ...]) -> Array:
    return lax.platform_dependent(
        x, kernel,
        cpu=lambda x, kernel: depthwise(x, kernel, axes),
        default=lambda x, kernel: plain_convolve(x, kernel, axes, x.shape[-1]),
    )  # fmt: skip


def _depthwise_jvp(
    axes: tuple[WindowAxis, ...], primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Any]:
    x, kernel = primals
    dx, dkernel = tangents
    y = _depthwise(x, kernel, axes)
    groups = x.shape[-1]

    def input_term(kernel: Array, dx: Array) -> Array:
        return transposed(lambda dy: depthwise_input_gradient(kernel, dy, axes, groups), y, dx)

    def kernel_term(x: Array, dkernel: Array) -> Array:
        return transposed(lambda dy: depthwise_kernel_gradient(x, dy, axes), y, dkernel)

    terms = []
    if not isinstance(dx, SymbolicZero):
        plain = lambda kernel, dx: plain_convolve(dx, kernel, axes, groups)  # noqa: E731
        terms.append(lax.platform_dependent(kernel, dx, cpu=input_term, default=plain))
    if not isinstance(dkernel, SymbolicZero):
        plain = lambda x, dkernel: plain_convolve(x, dkernel, axes, groups)  # noqa: E731
        terms.append(lax.platform_dependent(x, dkernel, cpu=kernel_term, default=plain))
    return y, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(y)


_depthwise.defjvp(_depthwise_jvp, symbolic_zeros=True)
