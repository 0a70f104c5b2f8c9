"""One comparison with a library that differentiates by PyTorch: values, and the gradients of every array.

The library computes in float64, on arrays that are rounded to dlcore's dtype first: the whole difference is dlcore's,
and the tolerance is that of its dtype alone (tests/tolerance.py). With Keras on PyTorch it is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from tests.conformance.compiling import compiler_options
from tests.tolerance import assert_close

# float32 and float64 come twice as often as each half precision.
DTYPES = ("float64", "float32", "bfloat16", "float32", "float64", "float16")


@dataclass
class Draw:
    """The choices of one configuration; `index` makes sure that the first few differ where it matters."""

    rng: np.random.Generator
    index: int

    @property
    def dtype(self) -> str:
        return DTYPES[self.index % len(DTYPES)]

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def cycle(self, *choices: Any) -> Any:
        """Every choice in turn, from one configuration to the next."""
        return choices[self.index % len(choices)]

    def flag(self) -> bool:
        return bool(self.rng.integers(2))

    def size(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape)


@dataclass
class Comparison:
    """What both sides compute: functions of the same arrays, by name."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    arrays: dict[str, np.ndarray]
    dtype: str
    # What was drawn, for the message.
    options: dict[str, Any] = field(default_factory=dict)
    # Arrays that are not differentiated.
    fixed: tuple[str, ...] = ()

    def __str__(self) -> str:
        shapes = ", ".join(f"{name} {a.dtype.kind}{list(a.shape)}" for name, a in self.arrays.items())
        return f"{self.dtype}, {shapes}, " + ", ".join(f"{name}={value!r}" for name, value in self.options.items())

    def check(self, d: Draw) -> None:
        with jax.enable_x64(self.dtype == "float64"):
            floats, whole, tensors = self._arrays()
            expected = leaves(self.theirs(**tensors))
            smooth = [y for y in expected if y.is_floating_point()]
            # What the library does not differentiate, as running statistics, gets no cotangent.
            dys = [jnp.asarray(d.normal(*y.shape) * y.requires_grad, self.dtype) for y in smooth]
            found, discrete, gradients = self._run(floats, whole, dys, compiler_options(d.index))
            length = max(a.size for a in (*self.arrays.values(), *found))
            for index, (y, right) in enumerate(zip(found, smooth, strict=True)):
                self._close(f"value {index}", y, right, length)
            rest = [y for y in expected if not y.is_floating_point()]
            for index, (y, right) in enumerate(zip(discrete, rest, strict=True)):
                np.testing.assert_array_equal(np.asarray(y), right.numpy(), err_msg=f"discrete value {index}")
            chosen = [(y, dy) for y, dy in zip(smooth, dys, strict=True) if y.requires_grad]
            if not gradients or not chosen:
                return
            pulled = torch.autograd.grad(
                [y for y, _ in chosen],
                [tensors[name] for name in gradients],
                [torch.from_numpy(np.asarray(dy).astype(np.float64)) for _, dy in chosen],
                allow_unused=True,
            )
            pulled = [torch.zeros_like(tensors[n]) if g is None else g for n, g in zip(gradients, pulled, strict=True)]
            # One gradient can be small because terms of the others' size cancel in it: the scale is that of all.
            scale = max(largest(part) for part in (*pulled, *(dy for _, dy in chosen)))
            for name, right in zip(gradients, pulled, strict=True):
                self._close(f"gradient of {name}", gradients[name], right, length, scale)

    def _arrays(self) -> tuple[dict, dict, dict]:
        floats, whole, tensors = {}, {}, {}
        for name, value in self.arrays.items():
            value = np.asarray(value)
            if value.dtype.kind == "f":
                floats[name] = jnp.asarray(value, self.dtype)
                tensors[name] = torch.from_numpy(np.asarray(floats[name]).astype(np.float64))
                tensors[name].requires_grad_(name not in self.fixed)
            else:
                whole[name] = value.astype(np.int32) if value.dtype.kind == "i" else value
                tensors[name] = torch.from_numpy(np.array(value, order="C"))
        return floats, whole, tensors

    def _run(self, floats: dict, whole: dict, dys: list, options: dict) -> tuple[list, list, dict]:
        fixed = {name: a for name, a in floats.items() if name in self.fixed}
        moving = {name: a for name, a in floats.items() if name not in self.fixed}

        def split(moving, fixed):
            found = jax.tree.leaves(self.ours(**moving, **fixed, **whole))
            smooth = [y for y in found if jnp.issubdtype(y.dtype, jnp.floating)]
            assert all(y.dtype == self.dtype for y in smooth), f"dtypes {[y.dtype.name for y in smooth]}"
            return smooth, [y for y in found if not jnp.issubdtype(y.dtype, jnp.floating)]

        def run(moving, fixed, dys):
            found, pull, discrete = jax.vjp(lambda moving: split(moving, fixed), moving, has_aux=True)
            shapes = [y.shape for y in found], [dy.shape for dy in dys]
            assert shapes[0] == shapes[1], f"shapes {shapes[0]}, expected {shapes[1]}"
            return found, discrete, pull(dys)[0]

        return jax.jit(run, compiler_options=options)(moving, fixed, dys)

    def _close(
        self, what: str, actual: jax.Array, expected: torch.Tensor, length: int, scale: float | None = None
    ) -> None:
        try:
            assert_close(actual, expected.detach().numpy(), dtype=self.dtype, length=length, scale=scale)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None


def leaves(tree: Any) -> list[torch.Tensor]:
    """Tensors of nested tuples and lists, in order."""
    return [tree] if isinstance(tree, torch.Tensor) else [leaf for part in tree for leaf in leaves(part)]


def largest(values: Any) -> float:
    return float(np.abs(np.asarray(values).astype(np.float64)).max(initial=0.0))


def drawn(rng: np.random.Generator, count: int) -> Iterator[Draw]:
    for index in range(count):
        yield Draw(np.random.default_rng(rng.integers(2**63)), index)


def check_all(line, rng, count: int, draw: Callable[[Draw], Comparison]) -> None:
    """Draws configurations and compares each; `line` is the table's, and counts them."""
    for d in drawn(rng, count):
        comparison = draw(d)
        with line.case(f"configuration {d.index}: {comparison}"):
            comparison.check(d)


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """(N, …, C) to PyTorch's (N, C, …)."""
    return x.movedim(-1, 1)


def channels_last(y: torch.Tensor) -> torch.Tensor:
    """PyTorch's (N, C, …) to (N, …, C)."""
    if y.requires_grad:
        # PyTorch 2.13's instance and group normalisation mistake a cotangent that is a transposed view, for one
        # example: the gradient of the offset is then not the sum of the cotangent.
        y.register_hook(torch.Tensor.contiguous)
    return y.movedim(1, -1)
