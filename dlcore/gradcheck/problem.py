"""The function under test as one map between real vectors, in the best precision that it has.

All floating leaves of the arguments become one vector x of float64, all floating leaves of the result one vector y;
complex numbers are pairs. Integers, booleans, keys and whatever is no array stay as they are.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._typing import Array
from dlcore.gradcheck.differences import Floats, ladder

__all__ = ["Leaf", "Problem", "second_order", "settings"]

# What JAX says where a mode does not exist. Any other error of a derivative rule is the rule's own, and is raised.
ABSENT = {
    "forward": ("(jvp) to a custom_vjp function",),
    "reverse": ("Reverse-mode differentiation does not work for", "Linearization failed to produce known values"),
}


class Leaf(NamedTuple):
    """A floating leaf of the arguments or of the result, and its place in the vector of real numbers.

    group: how many elements of the leaf one place sums up.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    stop: int
    group: int = 1

    def element(self, position: int) -> str:
        """The name of an element, as one writes it in an index."""
        offset, part = (position - self.start) * self.group, ""
        if np.issubdtype(self.dtype, np.complexfloating):
            offset, imaginary = divmod(offset, 2)
            part = ".imag" if imaginary else ".real"
        where = f"[{', '.join(str(int(i)) for i in np.unravel_index(offset, self.shape))}]" if self.shape else ""
        more = f" or the {self.group - 1} after it" if self.group > 1 else ""
        return f"{self.path}{where}{part}{more}"


@contextlib.contextmanager
def settings(x64: bool | None) -> Iterator[None]:
    """JAX' settings for the time of a check, in this thread alone; None leaves the width of numbers as it is.

    Promotion is standard, since a function that closes over float32 arrays is to run on float64 ones; a function is
    called many times with the same keys, and beyond its domain too.
    """
    with contextlib.ExitStack() as stack:
        if x64 is not None:
            stack.enter_context(jax.enable_x64(x64))
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        stack.enter_context(jax.debug_key_reuse(False))
        stack.enter_context(jax.disable_jit(False))
        stack.enter_context(jax.debug_nans(False))
        stack.enter_context(jax.debug_infs(False))
        stack.enter_context(jax.default_matmul_precision("float32"))
        yield


class Problem:
    """y(x), J v and Jᵀ u as functions from NumPy to NumPy; to be used inside `settings`.

    Attributes:
      x, y: the point and the value there, (n,) and (m,).
      inputs, outputs: the leaves that x and y consist of.
      precision: the dtype that the function computes in; `rounding` is its unit in the last place.
    """

    def __init__(
        self,
        function: Callable[[Array], Array],
        x: Floats,
        inputs: Sequence[Leaf],
        outputs: Sequence[Leaf],
        precision: np.dtype[Any],
        *,
        compiled: bool,
    ) -> None:
        self.function, self.inputs, self.outputs = function, tuple(inputs), tuple(outputs)
        self.precision, self.compiled = precision, compiled
        self.rounding = float(jnp.finfo(precision).eps)
        self.x = x
        self._point = jnp.asarray(x)
        # One call for a whole ladder, both ways.
        self._batch = 2 * len(ladder(self.rounding))

        def line(x: Array, v: Array, steps: Array) -> Array:
            return jax.lax.map(lambda h: function(x + h * v), steps)

        self._line: Callable[..., Any] = _jit(line) if compiled else self._one_by_one
        derivatives: dict[str, Callable[..., Any]] = {
            "forward": lambda x, v: jax.jvp(function, (x,), (v,))[1],
            "reverse": lambda x, u: jax.vjp(function, x)[1](u)[0],
        }
        self._derivative = derivatives
        self.y = self.along(np.zeros_like(x), np.zeros(1))[0]

    def _one_by_one(self, x: Array, v: Array, steps: Array) -> Array:
        return jnp.stack([self.function(x + h * v) for h in steps])

    def along(
        self,
        v: Floats,
        steps: Floats,
        *,
        start: Floats | None = None,
        pick: Callable[[Floats], Floats] = lambda values: values,
    ) -> Floats:
        """y(start + h v) for every step h, (steps, m), or what `pick` makes of a few such rows at a time.

        start: the point x, unless another one is given.
        """
        point, direction = self._point if start is None else jnp.asarray(start), jnp.asarray(v)
        rows = []
        for first in range(0, len(steps), self._batch):
            some = steps[first : first + self._batch]
            padded = np.zeros(self._batch if self.compiled else len(some))
            padded[: len(some)] = some
            found = self._line(point, direction, jnp.asarray(padded))
            rows.append(pick(np.asarray(found, np.float64)[: len(some)]))
        return np.concatenate(rows)

    def at(self, x: Floats) -> Problem:
        """The same function, compiled already, at another point."""
        other = copy.copy(self)
        other.x, other._point = x, jnp.asarray(x)
        other.y = other.along(np.zeros_like(x), np.zeros(1))[0]
        return other

    def forward(self, v: Floats) -> Floats:
        """J v."""
        return np.asarray(self._derivative["forward"](self._point, jnp.asarray(v)), np.float64)

    def reverse(self, u: Floats) -> Floats:
        """Jᵀ u."""
        return np.asarray(self._derivative["reverse"](self._point, jnp.asarray(u)), np.float64)

    def absent(self, mode: str) -> str:
        """Why the function has no such mode; '' where it has, and then it is compiled."""
        size = self.x.size if mode == "forward" else self.y.size
        zeros = jnp.zeros(size, self._point.dtype)
        try:
            if self.compiled:
                # Tracing alone lets a custom_vjp pass in forward mode; lowering does not.
                lowered = _jit(self._derivative[mode]).lower(self._point, zeros)
                self._derivative[mode] = lowered.compile()
            else:
                self._derivative[mode](self._point, zeros)
        except (TypeError, ValueError, NotImplementedError) as error:
            text = str(error)
            if any(phrase in text for phrase in ABSENT[mode]):
                return text.splitlines()[0]
            error.add_note(f"dlcore.gradcheck: this comes from the function's own rule for {mode} mode.")
            raise
        return ""


def second_order(problem: Problem, u: Floats, mode: str) -> Problem:
    """x ↦ J(x)ᵀ u, whose derivative is a Hessian (or, without reverse mode, x ↦ J(x) u)."""
    weights = jnp.asarray(u)
    inner = problem.function

    def gradient(x: Array) -> Array:
        if mode == "reverse":
            return jax.vjp(inner, x)[1](weights)[0]
        return jax.jvp(inner, (x,), (weights,))[1]

    outputs = (
        [leaf._replace(path=f"gradient/{leaf.path}") for leaf in problem.inputs]
        if mode == "reverse"
        else [leaf._replace(path=f"tangent/{leaf.path}") for leaf in problem.outputs]
    )
    return Problem(gradient, problem.x, problem.inputs, outputs, problem.precision, compiled=problem.compiled)


def _jit(function: Callable[..., Array]) -> Any:
    """Compiled quickly rather than well, since each function runs some hundred times at most.

    It also keeps clear of a fault in jaxlib 0.9.2, whose optimised code on CPU is wrong for some float64 programs:
    jit(lambda a, b, c: concatenate([a * b, a * c], -1)) of shapes (2, 4, 5), say, which is glu's gradient.
    """
    on_cpu = jax.default_backend() == "cpu"
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0} if on_cpu else None)
