"""Dense convolution whose gradients stay fast inside a compiled loop on CPU.

What the compiler does with the plain form: XLA's CPU backend hands a convolution to its vectorised routine only if its
dimensions are in one canonical order (batch, space, channels; window, in, out). A pass puts others in that order, but
visits the entry computation alone (jax#12868). The transposes that JAX derives for a convolution are not in that order,
so that inside `lax.scan`, where training spends its time, the gradient in the kernel runs as a scalar loop: 50 to 90
times slower than the same gradient outside of it.

The floor is that of the convolution outside the loop, at the matrix multiplication's rate already. The form chosen:
both gradients are written as convolutions in canonical order, with the transposes of their operands explicit
(`dlcore.backprop.convolution` derives them). To keep forward mode and Hessians, nothing is overridden by a
`custom_vjp`; instead the tangent maps are defined as the transposes of these gradients (`jax.linear_transpose`), so
that reverse mode, which transposes them again, runs exactly these forms. On other platforms the tangents are plain
convolutions, whose transposes their libraries know.

Measured by `python -m benchmarks.convolution`; figures: benchmarks/results/convolution.json.
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
from dlcore.kernels.apart_windows import are_apart, convolve_apart
from dlcore.kernels.few_features import are_few, few_features, products_back

__all__ = ["convolve_dense", "plain_convolve"]


def plain_convolve(x: Array, kernel: Array, axes: Sequence[WindowAxis], groups: int = 1) -> Array:
    """The reference: `lax`' convolution of x (B, *space, C) with kernel (*window, C // groups, F)."""
    return canonical_convolution(
        x,
        kernel,
        strides=[w.stride for w in axes],
        padding=[(w.low, w.high) for w in axes],
        kernel_dilation=[w.dilation for w in axes],
        groups=groups,
    )


def convolve_dense(x: Array, kernel: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """`plain_convolve` of one group, with fast gradients in loops."""
    return convolve_apart(x, kernel, axes) if are_apart(axes) else _convolve(x, kernel, axes)


# custom_jvp: see the top of the file. It saves x and the kernel, in their own dtype.
@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _convolve(x: Array, kernel: Array, axes: tuple[WindowAxis, ...]) -> Array:
    plain = partial(plain_convolve, axes=axes)
    if are_few(kernel.shape[-2], kernel.shape[-1], axes) and all(w.stride == 1 for w in axes):
        return lax.platform_dependent(x, kernel, cpu=partial(few_features, axes=axes), default=plain)
    return plain(x, kernel)


def _convolve_jvp(
    axes: tuple[WindowAxis, ...], primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Any]:
    x, kernel = primals
    dx, dkernel = tangents
    y = _convolve(x, kernel, axes)

    def input_term(kernel: Array, dx: Array) -> Array:
        back = products_back if are_few(y.shape[-1], dx.shape[-1], axes) else input_gradient
        return transposed(lambda dy: back(kernel, dy, axes), y, dx)

    def kernel_term(x: Array, dkernel: Array) -> Array:
        return transposed(lambda dy: kernel_gradient(x, dy, axes), y, dkernel)

    # A first layer's input, say, has no tangent, and then no term is computed for it.
    terms = []
    if not isinstance(dx, SymbolicZero):
        plain = lambda kernel, dx: plain_convolve(dx, kernel, axes)  # noqa: E731
        terms.append(lax.platform_dependent(kernel, dx, cpu=input_term, default=plain))
    if not isinstance(dkernel, SymbolicZero):
        plain = lambda x, dkernel: plain_convolve(x, dkernel, axes)  # noqa: E731
        terms.append(lax.platform_dependent(x, dkernel, cpu=kernel_term, default=plain))
    return y, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(y)


_convolve.defjvp(_convolve_jvp, symbolic_zeros=True)
