"""Transposed convolution whose gradients stay fast inside a compiled loop on CPU.

What the compiler does with the plain form is said in `dlcore.kernels.convolution`: only a convolution in canonical
order is vectorised inside `lax.scan`, and JAX' transposes are in another.

The form chosen: all three maps are the ones that a convolution has already, in other places. The value is its
`input_gradient`; the gradient in the input is the convolution itself; that in the kernel is its `kernel_gradient` with
both arguments exchanged. As there, the tangent maps are defined as the transposes of these (`jax.linear_transpose`), so
that reverse mode runs exactly these forms, and forward mode and Hessians exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from dlcore._typing import Array
from dlcore._varying import transposed
from dlcore._windows import WindowAxis
from dlcore.backprop.convolution import canonical_convolution, input_gradient, kernel_gradient
from dlcore.kernels.apart_windows import are_apart
from dlcore.kernels.convolution import plain_convolve
from dlcore.kernels.few_features import are_few, products_back

__all__ = ["exchange", "plain_transposed_convolve", "transposed_convolve"]


def exchange(kernel: Array, groups: int) -> Array:
    """A kernel (*window, A // groups, B) as (*window, B // groups, A): inputs and outputs change places, each group's.

    It is its own inverse.
    """
    *window, a, b = kernel.shape
    n = len(window)
    apart = kernel.reshape(*window, a, groups, b // groups)
    return apart.transpose(*range(n), n + 2, n + 1, n).reshape(*window, b // groups, groups * a)


def plain_transposed_convolve(x: Array, kernel: Array, axes: Sequence[WindowAxis], groups: int = 1) -> Array:
    """The reference: `lax`' convolution of x (B, *space, C), its entries `stride` apart, with the kernel turned round.

    The kernel is (*window, F // groups, C), that of the convolution which maps F channels to C; `axes` are its windows.
    """
    n = len(axes)
    return canonical_convolution(
        x,
        exchange(lax.rev(kernel, tuple(range(n))), groups),
        strides=[1] * n,
        padding=[(w.extent - 1 - w.low, w.inputs + w.low - (w.outputs - 1) * w.stride - 1) for w in axes],
        kernel_dilation=[w.dilation for w in axes],
        input_dilation=[w.stride for w in axes],
        groups=groups,
    )


def transposed_convolve(x: Array, kernel: Array, axes: tuple[WindowAxis, ...], groups: int = 1) -> Array:
    """`plain_transposed_convolve`, with fast gradients in loops; the grouped one is the plain one."""
    if groups > 1:
        return plain_transposed_convolve(x, kernel, axes, groups)
    return products_back(kernel, x, axes) if are_apart(axes) else _transposed_convolve(x, kernel, axes)


# custom_jvp: see the top of the file. It saves x and the kernel, in their own dtype.
@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _transposed_convolve(x: Array, kernel: Array, axes: tuple[WindowAxis, ...]) -> Array:
    plain = partial(input_gradient, axes=axes)
    if are_few(x.shape[-1], kernel.shape[-2], axes):
        return lax.platform_dependent(kernel, x, cpu=partial(products_back, axes=axes), default=plain)
    return plain(kernel, x)


def _transposed_convolve_jvp(
    axes: tuple[WindowAxis, ...], primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Any]:
    x, kernel = primals
    dx, dkernel = tangents
    y = _transposed_convolve(x, kernel, axes)

    def input_term(kernel: Array, dx: Array) -> Array:
        return transposed(lambda dy: plain_convolve(dy, kernel, axes), y, dx)

    def kernel_term(x: Array, dkernel: Array) -> Array:
        return transposed(lambda dy: kernel_gradient(dy, x, axes), y, dkernel)

    terms = []
    if not isinstance(dx, SymbolicZero):
        plain = lambda kernel, dx: input_gradient(kernel, dx, axes)  # noqa: E731
        terms.append(lax.platform_dependent(kernel, dx, cpu=input_term, default=plain))
    if not isinstance(dkernel, SymbolicZero):
        plain = lambda x, dkernel: input_gradient(dkernel, x, axes)  # noqa: E731
        terms.append(lax.platform_dependent(x, dkernel, cpu=kernel_term, default=plain))
    return y, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(y)


_transposed_convolve.defjvp(_transposed_convolve_jvp, symbolic_zeros=True)
