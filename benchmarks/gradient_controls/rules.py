"""Planting: a function's values with another derivative, forward and reverse each as one likes.

JAX takes the reverse derivative from the forward one by transposition, so that the two can disagree only where the
transposition of a linear map is itself given. `linear` is such a map, a primitive with both directions as
parameters. (`jax.custom_derivatives.linear_call` says the same, but has no rule for `vmap`, and none for arguments
of which only some are differentiated; a checker may want either.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from benchmarks.gradient_controls.functions import Function

__all__ = ["Edit", "Rule", "at", "element", "hand_written", "inputs", "like", "outputs", "plant", "transposed"]

# (primals, tangents) -> the output's tangent, linear in the tangents
Rule = Callable[[tuple[Any, ...], tuple[Any, ...]], Any]
# a linear map of a tree of tangents to one of the same shapes
Edit = Callable[[Any], Any]


def plant(f: Function, jvp_rule: Rule | None = None, vjp_rule: Rule | None = None) -> Function:
    """`f` with the derivative `jvp_rule(primals, tangents)` forward and `vjp_rule(primals, cotangent)` in reverse.

    None stands for the right derivative of `f`. Arguments are pytrees of floating arrays.
    """
    forward = like(f) if jvp_rule is None else jvp_rule
    reverse = transposed(like(f)) if vjp_rule is None else vjp_rule

    @jax.custom_jvp
    def planted(*args: Any) -> Any:
        return f(*args)

    @planted.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        return f(*primals), linear(forward, reverse, primals, tangents)

    return planted


def hand_written(f: Function, vjp_rule: Rule) -> Function:
    """`f` with a `jax.custom_vjp`, as kernels are written by hand; it has no forward derivative."""
    # Through *args: a custom_vjp would take the defaults of f for arguments to differentiate.
    planted = jax.custom_vjp(lambda *args: f(*args))
    planted.defvjp(lambda *args: (f(*args), args), vjp_rule)
    return planted


def like(g: Function) -> Rule:
    """The derivative of another function, at the same place."""
    return lambda primals, tangents: jax.jvp(g, primals, tangents)[1]


def inputs(f: Function, edit: Edit) -> Rule:
    """J · E: what comes in is edited. In reverse it is the gradient that is, by Eᵀ."""
    return lambda primals, tangents: jax.jvp(f, primals, edit(tangents))[1]


def outputs(f: Function, edit: Callable[[Any, Any], Any]) -> Rule:
    """E(y) · J: the derivatives of some outputs are edited."""

    def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        return edit(*jax.jvp(f, primals, tangents))

    return rule


def transposed(rule: Rule) -> Rule:
    """The reverse rule that agrees with a forward one: (primals, cotangent) -> the arguments' cotangents."""

    def reverse(primals: tuple[Any, ...], cotangent: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, primals)
        return jax.vjp(lambda *tangents: rule(primals, tangents), *zeros)[1](cotangent)

    return reverse


def at(path: Sequence[Any], edit: Edit) -> Edit:
    """The edit of one leaf, the others as they are: `at((0, "kernel"), …)`."""
    if not path:
        return edit
    inner = at(path[1:], edit)

    def one(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: inner(leaf) if key == path[0] else leaf for key, leaf in tree.items()}
        return tuple(inner(leaf) if i == path[0] else leaf for i, leaf in enumerate(tree))

    return one


def element(index: int, factor: float) -> Edit:
    """One element of an array times a factor; the index counts them row by row."""
    return lambda x: jnp.ravel(x).at[index].multiply(factor).reshape(x.shape)


_linear: Any = Primitive("planted_linear")
_linear.multiple_results = True


def linear(forward: Rule, reverse: Rule, residuals: Any, operand: Any) -> Any:
    """`forward(residuals, operand)`, with `reverse(residuals, ·)` said to be its transpose in the operand."""
    fixed, fixed_tree = jax.tree.flatten(residuals)
    moving, moving_tree = jax.tree.flatten(operand)
    result = jax.eval_shape(forward, residuals, operand)
    result_tree = jax.tree.structure(result)
    n = len(fixed)

    def ahead(*leaves: Any) -> Any:
        values = forward(jax.tree.unflatten(fixed_tree, leaves[:n]), jax.tree.unflatten(moving_tree, leaves[n:]))
        return tuple(jax.tree.leaves(values))

    def back(*leaves: Any) -> Any:
        values = reverse(jax.tree.unflatten(fixed_tree, leaves[:n]), jax.tree.unflatten(result_tree, leaves[n:]))
        return tuple(jax.tree.leaves(values))

    leaves = _linear.bind(*fixed, *moving, ahead=ahead, back=back, fixed=n)
    return jax.tree.unflatten(result_tree, leaves)


def _run(*leaves: Any, ahead: Any, back: Any, fixed: int) -> Any:
    return ahead(*leaves)


def _shapes(*leaves: Any, ahead: Any, back: Any, fixed: int) -> Any:
    specs = jax.eval_shape(ahead, *(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves))
    return [jax.core.ShapedArray(spec.shape, spec.dtype) for spec in specs]


def _transpose(cotangents: Any, *leaves: Any, ahead: Any, back: Any, fixed: int) -> Any:
    # What the outputs are like, for cotangents that are symbolic zeros.
    specs = jax.eval_shape(ahead, *(jax.ShapeDtypeStruct(*_shape_dtype(leaf)) for leaf in leaves))
    given = [
        jnp.zeros(spec.shape, spec.dtype) if type(c) is ad.Zero else c
        for c, spec in zip(cotangents, specs, strict=True)
    ]
    results = _linear.bind(*leaves[:fixed], *given, ahead=back, back=ahead, fixed=fixed)
    # Of the operands only some are differentiated; the others are tangents known to be zero.
    wanted = [r if ad.is_undefined_primal(leaf) else None for r, leaf in zip(results, leaves[fixed:], strict=True)]
    return [None] * fixed + wanted


def _shape_dtype(leaf: Any) -> tuple[Any, Any]:
    known = leaf.aval if ad.is_undefined_primal(leaf) else leaf
    return known.shape, known.dtype


def _batch(leaves: Any, axes: Any, *, ahead: Any, back: Any, fixed: int) -> Any:
    size = next(leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None)
    placed = [leaf if axis is None else jnp.moveaxis(leaf, axis, 0) for leaf, axis in zip(leaves, axes, strict=True)]
    kept = [None if axis is None else 0 for axis in axes[:fixed]]
    # The operand is batched whole, so that its transpose has nothing to sum over the batch.
    moving = [
        lax.broadcast(leaf, (size,)) if axis is None else leaf
        for leaf, axis in zip(placed[fixed:], axes[fixed:], strict=True)
    ]
    # One axis for each leaf; those of the other direction are as many as its own operands.
    results = _linear.bind(
        *placed[:fixed], *moving, ahead=_batched(ahead, kept), back=_batched(back, kept), fixed=fixed
    )
    return results, [0] * len(results)


def _batched(function: Function, kept: list[int | None]) -> Function:
    def call(*leaves: Any) -> Any:
        return jax.vmap(function, in_axes=(*kept, *[0] * (len(leaves) - len(kept))))(*leaves)

    return call


_linear.def_impl(_run)
_linear.def_abstract_eval(_shapes)
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _batch
mlir.register_lowering(_linear, mlir.lower_fun(_run, multiple_results=True))
