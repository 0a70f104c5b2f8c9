"""A rule is a pair: how a value is computed, and how an error travels back through it. Here they stand by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from dlcore._typing import Array, ArrayLike
from dlcore.backprop import activations, regression, softmax
from dlcore.backprop.activations._elementwise import UnitResiduals, backward, forward

__all__ = ["RULES", "Rule", "identity_bwd", "identity_fwd"]


class Rule(NamedTuple):
    """`fwd(*args) -> (y, residuals)` and `bwd(residuals, dy) -> grads`, as `jax.custom_vjp.defvjp` takes them.

    With an option: `Rule(functools.partial(leaky_relu_fwd, negative_slope=0.2), leaky_relu_bwd)`.
    """

    fwd: Callable[..., tuple[Array, Any]]
    bwd: Callable[[Any, Array], tuple[Any, ...]]


def identity_fwd(x: ArrayLike) -> tuple[Array, UnitResiduals]:
    """What passes everything: a network's output, before a loss.

        y = x

    Args:
      x: any shape, floating.

    Returns: y in the shape and dtype of `x`, and the residuals: `x`.

    Raises: TypeError if `x` is not floating.

    Gradient: linear.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> y, residuals = backprop.identity_fwd(jnp.array([2.0]))
      >>> backprop.identity_bwd(residuals, jnp.array([3.0]))[0]
      Array([3.], dtype=float32)

    Source: Bishop 2006, "Pattern recognition and machine learning", section 5.1, the output of a regression network.
    """
    return forward("identity", x, lambda x: x)


def identity_bwd(residuals: UnitResiduals, dy: ArrayLike) -> tuple[Array]:
    """The gradient of `identity_fwd`.

        dx = dy

    Args:
      residuals: those that `identity_fwd` returned.
      dy: ∂L/∂y, in the shape and dtype of y.

    Returns: `(dx,)`, in the shape and dtype of x.

    Raises: ValueError or TypeError if `dy` is not of y's shape and dtype, or `residuals` are not its own.

    Example: See `identity_fwd`.

    Source: the chain rule; see `identity_fwd`.
    """
    return backward("identity", residuals, dy, lambda x, dy: dy)


# What stands between layers, at a network's end, and in its loss. thresholded_relu and maxout want an option first.
NAMES = {
    activations: (
        "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
        "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "soft_sign", "softplus",
        "squareplus", "tanh", "tanh_shrink",
    ),
    regression: ("squared_error",),
    softmax: ("log_softmax", "softmax", "softmax_cross_entropy"),
}  # fmt: skip

RULES: Mapping[str, Rule] = MappingProxyType(
    {"identity": Rule(identity_fwd, identity_bwd)}
    | {
        name: Rule(getattr(module, f"{name}_fwd"), getattr(module, f"{name}_bwd"))
        for module, names in NAMES.items()
        for name in names
    }
)
