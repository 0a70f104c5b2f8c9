"""The chain rule through a gated recurrent unit, one step and then through time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import _checks
from dlcore._tree import broadcast_to_rank
from dlcore._typing import Array, ArrayLike, Params
from dlcore.backprop._boundary import cotangent, leaves, saved, widen
from dlcore.backprop._gates import GRUGates, gru_kernel_errors, gru_step, gru_step_back, outer

__all__ = [
    "GRUCellResiduals", "GRUGradients", "GRUResiduals", "gru_bwd", "gru_cell_bwd", "gru_cell_fwd", "gru_fwd",
    "gru_gradients",
]  # fmt: skip


@partial(jax.tree_util.register_dataclass, data_fields=["params", "x", "gates"], meta_fields=["reset_after"])
@dataclass(frozen=True)
class GRUCellResiduals:
    """What `gru_cell_fwd` saves: the parameters, x, and the state and gates in float32 or wider."""

    params: dict[str, Array]
    x: Array
    gates: GRUGates
    reset_after: bool


def gru_cell_fwd(
    params: Params, h: ArrayLike, x: ArrayLike, *, reset_after: bool = True
) -> tuple[Array, GRUCellResiduals]:
    """One step of a gated recurrent unit.

        r = σ(x W_r + b_r + h U_r + c_r),   z = σ(x W_z + b_z + h U_z + c_z)
        n = tanh(x W_n + b_n + r · (h U_n + c_n))            reset_after
        n = tanh(x W_n + b_n + (r · h) U_n + c_n)            otherwise
        h' = (1 − z) · n + z · h

    Args:
      params: `{"input_kernel": W (D, 3F), "recurrent_kernel": U (F, 3F)}`, perhaps with `"input_bias": b (3F,)` and
        `"recurrent_bias": c (3F,)`, both or none; the gates in the order reset, update, new; in the dtype of `x`.
      h: the state, (*batch, F), in the dtype of `x`.
      x: (*batch, D), floating.
      reset_after: whether the reset gate acts after the recurrent kernel (cuDNN, PyTorch) or before it (the paper).

    Returns: h', (*batch, F), in the dtype of `x`, and the residuals: `params`, `x`, h and the gates.

    Raises: ValueError if shapes do not fit, or one bias stands alone; TypeError if dtypes differ or are not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> params = {"input_kernel": jnp.zeros((1, 3)), "recurrent_kernel": jnp.zeros((1, 3))}
      >>> h, residuals = backprop.gru_cell_fwd(params, jnp.array([1.0]), jnp.array([1.0]))
      >>> dparams, dh, dx = backprop.gru_cell_bwd(residuals, jnp.array([1.0]))
      >>> dh  # z = 1/2
      Array([0.5], dtype=float32)

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", eq. 5–8.
    """
    name = "backprop.gru_cell_fwd"
    kept, values = _opened(name, params, x)
    state = _state(name, "h", h, values, values.shape[:-1], kept)
    out, gates = _step(kept, widen(state), _inputs(kept, values), reset_after)
    return out.astype(values.dtype), GRUCellResiduals(kept, values, gates, bool(reset_after))


def gru_cell_bwd(residuals: GRUCellResiduals, dy: ArrayLike) -> tuple[dict[str, Array], Array, Array]:
    """The gradient of `gru_cell_fwd`; α are the arguments of σ and tanh.

        dα_n = dh' · (1 − z) · (1 − n²),   dα_z = dh' · (h − n) · z (1 − z)
        reset_after:  dr = dα_n · (h U_n + c_n),   dm_n = r · dα_n,   dα_r = dr · r (1 − r)
        otherwise:    dr = (dα_n U_nᵀ) · h,   dm_n = dα_n,   dα_r = dr · r (1 − r)
        dx = [dα_r, dα_z, dα_n] Wᵀ,   dW = Σ xᵀ [dα_r, dα_z, dα_n],   db = Σ [dα_r, dα_z, dα_n]
        dh = dh' · z + [dα_r, dα_z, dm_n] Uᵀ,   dU = Σ hᵀ [dα_r, dα_z, dm_n],   dc = Σ [dα_r, dα_z, dm_n]

    Where the reset gate acts before the kernel, r · h takes the place of h in dU_n, and the share of dh through U_n is
    multiplied by r.

    Args:
      residuals: those that `gru_cell_fwd` returned.
      dy: ∂L/∂h', in its shape and dtype.

    Returns: `(dparams, dh, dx)`, with the leaves, shapes and dtypes of the three arguments.

    Raises: ValueError or TypeError if `dy` is not of h's shape and dtype, or `residuals` are not its own.

    Example: See `gru_cell_fwd`.

    Source: the chain rule; see `gru_cell_fwd`.
    """
    name = "backprop.gru_cell_bwd"
    kept = saved(name, residuals, GRUCellResiduals)
    pulled = cotangent(name, dy, kept.gates.h.shape, kept.x.dtype)
    turned = widen(kept.params["recurrent_kernel"]).T
    dh, errors = gru_step_back(turned, kept.gates, pulled, kept.reset_after)
    dparams, dx = _outside(kept.params, kept.x, kept.gates, errors, kept.reset_after)
    return dparams, dh.astype(kept.x.dtype), dx


@partial(jax.tree_util.register_dataclass, data_fields=["params", "x", "gates"], meta_fields=["reset_after"])
@dataclass(frozen=True)
class GRUResiduals:
    """What `gru_fwd` saves: the parameters, x, and the states and gates of all steps, in float32 or wider."""

    params: dict[str, Array]
    x: Array
    gates: GRUGates
    reset_after: bool


class GRUGradients(NamedTuple):
    """The gradient of `gru_fwd` in all that it reads."""

    params: dict[str, Array]
    x: Array
    initial_state: Array


def gru_fwd(
    params: Params, x: ArrayLike, *, initial_state: ArrayLike | None = None, reset_after: bool = True
) -> tuple[tuple[Array, Array], GRUResiduals]:
    """A gated recurrent unit through time.

        h_t = cell(params, h_{t−1}, x_t),   ys = h_1, …, h_T

    Args:
      params: as for `gru_cell_fwd`.
      x: (*batch, T, D), floating.
      initial_state: h_0, (*batch, F), zeros if `None`; as an option it has no place in the tuple of gradients:
        `gru_gradients` gives its own.
      reset_after: as for `gru_cell_fwd`.

    Returns: `((ys, h), residuals)`: all states, (*batch, T, F), the last one, (*batch, F), in the dtype of `x`, and
    what the way back needs.

    Raises: ValueError if shapes do not fit, or one bias stands alone; TypeError if dtypes differ or are not floating.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import backprop
      >>> params = {"input_kernel": jnp.zeros((1, 3)), "recurrent_kernel": jnp.zeros((1, 3))}
      >>> (ys, h), residuals = backprop.gru_fwd(params, jnp.ones((3, 1)), initial_state=jnp.ones(1))
      >>> backprop.gru_gradients(residuals, (jnp.zeros((3, 1)), jnp.ones(1))).initial_state  # z³
      Array([0.125], dtype=float32)

    Source: Cho et al. 2014; see `gru_cell_fwd`.
    """
    name = "backprop.gru_fwd"
    kept, values = _opened(name, params, x)
    if values.ndim < 2:
        raise _checks.value_error(
            name, "x", _checks.describe(values), "(*batch, time, features)", "One step is gru_cell_fwd's."
        )
    batch, features = values.shape[:-2], kept["recurrent_kernel"].shape[0]
    start = jnp.zeros((*batch, features), values.dtype) if initial_state is None else initial_state
    state = widen(_state(name, "initial_state", start, values, batch, kept))

    def step(h: Array, inputs: Array) -> tuple[Array, tuple[Array, GRUGates]]:
        after, gates = _step(kept, h, inputs, reset_after)
        return after, (after, gates)

    # x W + b needs no state: one product for all steps, outside of the loop.
    h, (ys, gates) = lax.scan(step, state, jnp.moveaxis(_inputs(kept, values), -2, 0))
    kept_gates = GRUGates(*(jnp.moveaxis(gate, 0, -2) for gate in gates))
    ys = jnp.moveaxis(ys, 0, -2).astype(values.dtype)
    return (ys, h.astype(values.dtype)), GRUResiduals(kept, values, kept_gates, bool(reset_after))


def gru_bwd(residuals: GRUResiduals, dy: tuple[ArrayLike, ArrayLike]) -> tuple[dict[str, Array], Array]:
    """The gradient of `gru_fwd`: backpropagation through time.

        dh_{t−1} = (∂h_t/∂h_{t−1})ᵀ (dh_t + dy_t),   t = T, …, 1,   dparams = Σ_t (∂h_t/∂params)ᵀ (dh_t + dy_t)

    Args:
      residuals: those that `gru_fwd` returned.
      dy: `(dys, dh)`: ∂L/∂ys and ∂L/∂h, in their shapes and dtypes.

    Returns: `(dparams, dx)`, with the leaves, shapes and dtypes of the two arguments.

    Raises: ValueError or TypeError if `dy` is not such a pair, or `residuals` are not its own.

    Example: See `gru_fwd`.

    Source: Werbos 1990, "Backpropagation through time: what it does and how to do it".
    """
    grads = gru_gradients(residuals, dy)
    return grads.params, grads.x


def gru_gradients(residuals: GRUResiduals, dy: tuple[ArrayLike, ArrayLike]) -> GRUGradients:
    """`gru_bwd`, with the gradient in the initial state as well.

        dh_0 = (∂h_1/∂h_0)ᵀ (dh_1 + dy_1)

    Args:
      residuals: those that `gru_fwd` returned.
      dy: `(dys, dh)`: ∂L/∂ys and ∂L/∂h, in their shapes and dtypes.

    Returns: `GRUGradients(params, x, initial_state)`, in the shapes and dtypes of what they belong to.

    Raises: ValueError or TypeError if `dy` is not such a pair, or `residuals` are not its own.

    Gradient: this is one.

    Example: See `gru_fwd`.

    Source: Werbos 1990, "Backpropagation through time: what it does and how to do it".
    """
    name = "backprop.gru_bwd"
    kept = saved(name, residuals, GRUResiduals)
    pair: Any = dy
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        came = f"{len(pair)} arrays" if isinstance(pair, (tuple, list)) else _checks.describe(pair)
        raise _checks.type_error(name, "dy", came, "a pair (dys, dh)", "gru_fwd returns a pair, (ys, h).")
    shape, dtype = kept.gates.h.shape, kept.x.dtype
    dys = cotangent(name, dy[0], shape, dtype, argument="dy[0]")
    dh = cotangent(name, dy[1], (*shape[:-2], shape[-1]), dtype, argument="dy[1]")
    turned = widen(kept.params["recurrent_kernel"]).T

    def step(dh: Array, now: tuple[Array, GRUGates]) -> tuple[Array, tuple[Array, Array]]:
        dy_t, gates = now
        return gru_step_back(turned, gates, dh + dy_t, kept.reset_after)

    by_time = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -2, 0), (dys, kept.gates))
    dh, errors = lax.scan(step, dh, by_time, reverse=True)
    errors = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -2), errors)
    # The sum over time is one product, outside of the loop, which carries dh alone.
    dparams, dx = _outside(kept.params, kept.x, kept.gates, errors, kept.reset_after)
    return GRUGradients(dparams, dx, dh.astype(dtype))


def _inputs(params: dict[str, Array], x: Array) -> Array:
    """x W + b."""
    inputs = widen(x) @ widen(params["input_kernel"])
    return inputs + broadcast_to_rank(_row(params, "input_bias", inputs), inputs.ndim)


def _step(params: dict[str, Array], h: Array, inputs: Array, reset_after: bool) -> tuple[Array, GRUGates]:
    return gru_step(widen(params["recurrent_kernel"]), _row(params, "recurrent_bias", inputs), h, inputs, reset_after)


def _outside(
    params: dict[str, Array], x: Array, gates: GRUGates, errors: tuple[Array, Array], reset_after: bool
) -> tuple[dict[str, Array], Array]:
    """The gradients in the parameters and in x, for all batch axes and times at once."""
    inputs, _ = errors
    kernel, bias = gru_kernel_errors(gates, errors, reset_after)
    grads = {
        "input_kernel": outer(widen(x), inputs), "recurrent_kernel": kernel,
        "input_bias": inputs.sum(tuple(range(inputs.ndim - 1))), "recurrent_bias": bias,
    }  # fmt: skip
    dx = inputs @ widen(params["input_kernel"]).T
    return {leaf: grads[leaf].astype(params[leaf].dtype) for leaf in params}, dx.astype(x.dtype)


def _row(params: dict[str, Array], leaf: str, like: Array) -> Array:
    """A bias, or zeros, (3F,)."""
    return widen(params[leaf]) if leaf in params else jnp.zeros(like.shape[-1:], like.dtype)


def _opened(name: str, params: Params, x: ArrayLike) -> tuple[dict[str, Array], Array]:
    biases = ["input_bias", "recurrent_bias"]
    kept = leaves(name, params, required=["input_kernel", "recurrent_kernel"], optional=biases)
    values = _checks.floating(name, "x", x)
    if len([leaf for leaf in biases if leaf in kept]) == 1:
        raise _checks.value_error(
            name,
            "params",
            f"the leaves {list(kept)}",
            f"both of {biases}, or neither",
            "Zeros stand for a missing one.",
        )
    for leaf in kept:
        kept[leaf] = _checks.array(name, f"params['{leaf}']", kept[leaf])
        _checks.same_dtype(name, values, f"params['{leaf}']", kept[leaf])
    features = kept["recurrent_kernel"].shape[0] if kept["recurrent_kernel"].ndim else 0
    inputs = kept["input_kernel"].shape[0] if kept["input_kernel"].ndim else 0
    # The recurrent kernel says how many features there are, and so stands first.
    wanted = {"recurrent_kernel": (features, 3 * features), "input_kernel": (inputs, 3 * features)}
    for leaf, shape in (wanted | {leaf: (3 * features,) for leaf in biases if leaf in kept}).items():
        if kept[leaf].shape != shape:
            raise _checks.value_error(
                name,
                f"params['{leaf}']",
                f"shape {kept[leaf].shape}",
                f"{shape}: three gates side by side, {features} features",
                "Make all leaves with one init.",
            )
    _checks.feature_axis(name, values, inputs, "params['input_kernel']")
    return kept, values


def _state(name: str, argument: str, h: Any, x: Array, batch: tuple[int, ...], params: dict[str, Array]) -> Array:
    state = _checks.floating(name, argument, h)
    shape = (*batch, params["recurrent_kernel"].shape[0])
    if state.shape != shape:
        raise _checks.value_error(
            name, argument, f"shape {state.shape}", f"{shape}, (*batch, features)", "Zeros of this shape will do."
        )
    _checks.same_dtype(name, x, argument, state)
    return state
