"""Backpropagation through a whole network, layer by layer, as the notes derive it.

    z_l = a_{l−1} W_l + b_l,   a_l = f(z_l),   a_0 = x                  forward
    δ_l = ∂L/∂z_l:   δ_last = ∂L/∂ŷ · f′(z_last),   δ_l = (δ_{l+1} W_{l+1}ᵀ) · f′(z_l)
    ∂L/∂W_l = a_{l−1}ᵀ δ_l,   ∂L/∂b_l = Σ δ_l                         backward

Each δ is a product of all the kernels and slopes above its layer. That is why errors vanish or explode with depth, and
why every δ is kept here: to be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, Params
from dlcore.backprop._boundary import widen
from dlcore.backprop.dense import dense_bwd, dense_fwd
from dlcore.backprop.rules import RULES, Rule

__all__ = ["NetworkGradients", "delta_norms", "network_gradients"]


class NetworkGradients(NamedTuple):
    """A network's loss and gradients, with all that led to them.

    Attributes:
      loss: L, a scalar: the mean over examples of each example's summed loss.
      predictions: ŷ, the last layer's output.
      grads: ∂L/∂params, in the structure of `params`.
      deltas: δ_l = ∂L/∂z_l for each layer, the first one first; z_l is what enters the layer's activation.
      activations: a_0 = x, a_1, …, the last of which is ŷ.
    """

    loss: Array
    predictions: Array
    grads: Any
    deltas: tuple[Array, ...]
    activations: tuple[Array, ...]


def network_gradients(
    params: Sequence[Params],
    x: ArrayLike,
    y: ArrayLike,
    *,
    activation: Rule = RULES["sigmoid"],
    output: Rule = RULES["identity"],
    loss: Rule = RULES["squared_error"],
) -> NetworkGradients:
    """The loss of a network of dense layers and its gradient in every parameter, with the errors δ of every layer.

        L = (1 / B) Σ_b Σ_i loss(ŷ_bi, y_bi)
        δ_l = (δ_{l+1} W_{l+1}ᵀ) · f′(z_l),   ∂L/∂W_l = a_{l−1}ᵀ δ_l,   ∂L/∂b_l = Σ_b δ_l

    Args:
      params: a list or tuple of layers, the first one first: `{"kernel": (D, F)}`, perhaps with `"bias": (F,)`.
      x: (*batch, D), floating; B is the number of examples in `batch`, 1 where there is none.
      y: the targets, in the shape that `loss` asks for: that of the predictions for squared_error, (*batch,) integers
        for softmax_cross_entropy.
      activation: the rule between layers, `RULES["relu"]` or another `Rule(fwd, bwd)`.
      output: the rule after the last layer.
      loss: the rule of the loss, per element or per example. Losses are summed over an example's elements and averaged
        over examples, so that a second output adds its error in full and a larger batch changes no scale. (PyTorch's
        mean squared error divides by the number of outputs as well.)

    Returns: `NetworkGradients(loss, predictions, grads, deltas, activations)`. An empty batch has loss 0.

    Raises: ValueError or TypeError if `params` is a dict of layers or empty, if an option is no Rule, or if shapes or
    dtypes do not fit, by the name of the rule that found it.

    Gradient: this is one; it holds at kinks what the rules of the activations say.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> layer = {"kernel": jnp.eye(2)}
      >>> result = backprop.network_gradients([layer] * 3, jnp.ones((1, 2)), jnp.ones((1, 2)))
      >>> [f"{norm:.4f}" for norm in backprop.delta_norms(result.deltas)]  # δ shrinks by more than 4 a layer
      ['0.0396', '0.2016', '0.9191']

    Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors"; vanishing and
    exploding: Hochreiter 1991; Bengio, Simard & Frasconi 1994.
    """
    name = "backprop.network_gradients"
    layers = _layers(name, params)
    for option, rule in (("activation", activation), ("output", output), ("loss", loss)):
        if not (isinstance(rule, tuple) and len(rule) == 2 and all(map(callable, rule))):
            raise _checks.type_error(
                name, option, _checks.describe(rule), "a Rule(fwd, bwd)", 'Pick one by name: backprop.RULES["relu"].'
            )

    # Forward: each step keeps what its way back will need.
    a = _checks.floating(name, "x", x)
    examples = math.prod(a.shape[:-1])
    activations, kept = [a], []
    for index, layer in enumerate(layers):
        z, dense_residuals = dense_fwd(layer, a)
        a, unit_residuals = (output if index == len(layers) - 1 else activation)[0](z)
        activations.append(a)
        kept.append((dense_residuals, unit_residuals))
    values, loss_residuals = loss[0](a, y)
    mean = (widen(values).sum() / max(examples, 1)).astype(values.dtype)

    # Backward: L = Σ values / B, so that each value's own gradient is 1 / B.
    da = loss[1](loss_residuals, jnp.full_like(values, 1 / max(examples, 1)))[0]
    grads, deltas = [], []
    for index in reversed(range(len(layers))):
        dense_residuals, unit_residuals = kept[index]
        (delta,) = (output if index == len(layers) - 1 else activation)[1](unit_residuals, da)
        layer_grads, da = dense_bwd(dense_residuals, delta)
        grads.append(layer_grads)
        deltas.append(delta)

    structure = jax.tree.structure(params)
    ordered = jax.tree.unflatten(structure, jax.tree.leaves(grads[::-1]))
    return NetworkGradients(mean, a, ordered, tuple(deltas[::-1]), tuple(activations))


def delta_norms(deltas: Sequence[ArrayLike]) -> Array:
    """How large the error is at each layer: its fall towards the first one is vanishing, its growth exploding.

        n_l = √(Σ δ_l²)

    Args:
      deltas: δ of each layer, as in `NetworkGradients.deltas`.

    Returns: (L,) norms, the first layer's first, in float32 or wider.

    Raises: TypeError if one is not floating; ValueError if there is none.

    Gradient: not meant to be differentiated; NaN at δ = 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> backprop.delta_norms([jnp.array([3.0, 4.0]), jnp.zeros(2)])
      Array([5., 0.], dtype=float32)

    Source: Bengio, Simard & Frasconi 1994, "Learning long-term dependencies with gradient descent is difficult".
    """
    name = "backprop.delta_norms"
    if not isinstance(deltas, (list, tuple)) or not deltas:
        raise _checks.value_error(
            name, "deltas", _checks.describe(deltas), "one array a layer", "Pass network_gradients(...).deltas."
        )
    wide = [widen(_checks.floating(name, "deltas", delta)) for delta in deltas]
    return jnp.stack([_norm(delta) for delta in wide])


def _norm(delta: Array) -> Array:
    """Scaled by the largest, so that neither a vanished nor an exploded δ is lost in its square."""
    top = jnp.abs(delta).max(initial=0)
    top = jnp.where((top > 0) & (top < jnp.inf), top, 1)
    return top * jnp.sqrt(((delta / top) ** 2).sum())


def _layers(name: str, params: Any) -> list[Params]:
    if isinstance(params, Mapping):
        one = "kernel" in params
        raise _checks.type_error(
            name,
            "params",
            f"{'one layer' if one else 'a dict of layers'}, {list(params)}",
            "a list of layers, the first one first",
            "Pass [params]."
            if one
            else "JAX sorts a dict's keys ('fc10' before 'fc2'), so that it keeps no order: pass "
            "[params[name] for name in (...)], the names in the order of the layers.",
        )
    if not isinstance(params, (list, tuple)) or not params or not all(isinstance(layer, Mapping) for layer in params):
        raise _checks.type_error(
            name,
            "params",
            _checks.describe(params),
            "a list of at least one layer, {'kernel': …, 'bias': …}",
            "Mind the order: params before data.",
        )
    return list(params)
