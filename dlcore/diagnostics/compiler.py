"""Does the compiler on this machine compute what it is told to? Small programs with answers known from NumPy.

Each self-test is a program that some release of XLA or JAX has got wrong, or that dlcore leans on. They take a second
or two in all, on the default device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore import nn
from dlcore._typing import Array

__all__ = ["SELF_TESTS", "SelfTest", "check_compiler"]

Compile: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

RELEASE = (
    "Install another release of jax and jaxlib, 0.9.2 or 0.10.1 for example (0.10.2 is the one known to be wrong on "
    "CPU), or set XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= and run this again."
)
VECTORISED = (
    "jaxlib 0.9.2 is known for this on CPU: in float64, set XLA_FLAGS=--xla_backend_optimization_level=0, or install "
    "another release. float32 is not concerned."
)
REPORT = "Install another release of jax and jaxlib, update the device's driver, and report it to JAX."


class SelfTest(NamedTuple):
    """What a self-test found.

    Attributes:
      name: what was computed.
      ok: whether it was right.
      detail: the largest error, or what went wrong.
      mend: what to do about it; empty where it is right.
      float64: whether it concerns float64 alone, in which nobody trains, but in which gradients are checked.
    """

    name: str
    ok: bool
    detail: str
    mend: str
    float64: bool = False


class _Case(NamedTuple):
    name: str
    mend: str
    tolerance: float
    # (jit) -> (what the device computed, what is right), each a list of arrays
    run: Callable[[Compile], tuple[list[Any], list[Any]]]
    float64: bool = False


def _draw(*shape: int) -> np.ndarray:
    return np.random.RandomState(0).standard_normal(shape).astype(np.float32)


def _quadratic_form(jit: Compile) -> tuple[list[Any], list[Any]]:
    w, rows = _draw(3, 3), _draw(40_000, 3)
    # At full precision: GPUs otherwise round the product to TF32, which is no fault of the compiler.
    product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    device = jit(jax.vmap(lambda row: (product(jnp.asarray(w), row) ** 2).sum()))(rows)
    return [device], [((rows.astype(np.float64) @ w.T.astype(np.float64)) ** 2).sum(1)]


def _row_sums(jit: Compile) -> tuple[list[Any], list[Any]]:
    x = _draw(32_769, 7)
    return [jit(lambda x: (x * x).sum(-1))(x)], [(x.astype(np.float64) ** 2).sum(-1)]


def _base_dilation(jit: Compile) -> tuple[list[Any], list[Any]]:
    x = _draw(64, 128)
    spread = np.full((64, 255), -np.inf)
    spread[:, ::2] = x

    def windows(x: Array) -> Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (2, 1), ((0, 0), (0, 0)), base_dilation=(1, 2))

    return [jit(windows)(x)], [np.maximum(spread[::2], spread[1::2])]


def _maximum_gradient(jit: Compile) -> tuple[list[Any], list[Any]]:
    x, y = _draw(2, 1_025)
    left, right = jit(jax.grad(lambda x, y: (3 * jnp.maximum(x, y)).sum(), argnums=(0, 1)))(x, y)
    return [left, right], [3.0 * (x > y), 3.0 * (y > x)]


def _pooling_ties(jit: Compile) -> tuple[list[Any], list[Any]]:
    x = np.ones((2, 6, 6, 3), np.float32)
    right = np.zeros((2, 6, 6, 3))
    right[:, ::2, ::2] = 1
    return [jit(jax.grad(lambda x: nn.max_pool(x, (2, 2)).sum()))(x)], [right]


def _convolution_in_scan(jit: Compile) -> tuple[list[Any], list[Any]]:
    x, kernel, dy = _draw(3, 3, 7, 5), _draw(3, 5, 4), _draw(3, 7, 4)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (0, 0)))
    right = [
        np.stack([np.einsum("btc,btf->cf", padded[step, :, j : j + 7], dy) for j in range(3)]) for step in range(3)
    ]

    def gradients(x: Array) -> Array:
        def step(carry: None, x: Array) -> tuple[None, Array]:
            return carry, jax.grad(lambda k: (nn.conv({"kernel": k}, x) * jnp.asarray(dy)).sum())(jnp.asarray(kernel))

        return lax.scan(step, None, x)[1]

    return [jit(gradients)(x)], [np.stack(right)]


def _matrix_product(jit: Compile) -> tuple[list[Any], list[Any]]:
    a, b = _draw(257, 129), _draw(129, 65)
    scale = np.sqrt(129.0)
    return [jit(lambda a, b: a @ b / scale.astype(np.float32))(a, b)], [a.astype(np.float64) @ b / scale]


def _random_bits(jit: Compile) -> tuple[list[Any], list[Any]]:
    def bits(seed: Array) -> Array:
        return jax.random.bits(jax.random.key(seed), (1_025,), jnp.uint32)

    return [jit(bits)(np.uint32(7))], [np.asarray(bits(jnp.uint32(7)))]


def _products_side_by_side(jit: Compile) -> tuple[list[Any], list[Any]]:
    """The gradient of a gated linear unit, in the smallest shape that jaxlib 0.9.2 gets wrong."""
    a, b, c = (_draw(2, 4, 15)[..., start : start + 5].astype(np.float64) for start in (0, 5, 10))
    with jax.enable_x64(True):
        computed = jit(lambda a, b, c: jnp.concatenate([a * b, a * c], -1))(a, b, c)
    return [computed], [np.concatenate([a * b, a * c], -1)]


SELF_TESTS: tuple[_Case, ...] = (
    _Case("vmap of a quadratic form, 40,000 rows", RELEASE, 1e-4, _quadratic_form),
    _Case("sums of 32,769 rows", RELEASE, 1e-5, _row_sums),
    _Case("window maxima with base dilation", RELEASE, 0.0, _base_dilation),
    _Case("both branches of maximum's gradient", REPORT, 0.0, _maximum_gradient),
    _Case("max pooling's gradient at ties", REPORT, 0.0, _pooling_ties),
    _Case("convolution's gradient inside scan", REPORT, 5e-2, _convolution_in_scan),
    _Case("matrix product of odd sizes", REPORT, 5e-2, _matrix_product),
    _Case("random bits, compiled and not", REPORT, 0.0, _random_bits),
    _Case("two products side by side, in float64", VECTORISED, 1e-15, _products_side_by_side, float64=True),
)


def check_compiler(jit: Compile = jax.jit) -> list[SelfTest]:
    """Runs every self-test on the default device.

    The two products allow for the reduced precision (TF32) that GPUs use by default; their detail shows the error.

    Args:
      jit: what compiles a function.

    Returns:
      One result a self-test, in order.

    Example:
      >>> from dlcore.diagnostics import check_compiler
      >>> all(test.ok for test in check_compiler() if not test.float64)
      True
    """
    return [_run(case, jit) for case in SELF_TESTS]


def _run(case: _Case, jit: Compile) -> SelfTest:
    try:
        computed, right = case.run(jit)
        pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(computed, right, strict=True)]
        if any(a.shape != b.shape for a, b in pairs):
            shapes = [(a.shape, b.shape) for a, b in pairs]
            return SelfTest(case.name, False, f"wrong shapes: {shapes}", case.mend, case.float64)
        with np.errstate(invalid="ignore"):
            errors = [np.where(a == b, 0.0, np.abs(a - b) / (1 + np.abs(b))) for a, b in pairs]
        wrong = sum(int((~(error <= case.tolerance)).sum()) for error in errors)
        total = sum(error.size for error in errors)
        largest = max(float(np.max(error)) for error in errors)
    except Exception as error:  # whatever it is, it is this self-test's finding
        return SelfTest(case.name, False, f"{type(error).__name__}: {error}".splitlines()[0], case.mend, case.float64)
    if wrong:
        by = f"by up to {largest:.2g}" if np.isfinite(largest) else "some not even finite"
        return SelfTest(case.name, False, f"{wrong:,} of {total:,} wrong, {by}", case.mend, case.float64)
    return SelfTest(case.name, True, f"largest relative error {largest:.0e}", "", case.float64)
