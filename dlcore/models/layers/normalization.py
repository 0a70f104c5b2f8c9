"""Normalisation, lifted. Parameters are float32 (float64 for float64 input), for half precision data too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dlcore import _checks, nn
from dlcore._precision import compute_dtype
from dlcore._typing import Array, Key, Params, State
from dlcore.models.layer import Init, Layer, lift, spec_of
from dlcore.models.layers._lifting import pure, width

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "rms_norm"]


def batch_norm(*, decay: float = 0.9, epsilon: float = 1e-5, axis_name: str | None = None) -> Layer:
    """The layer of `nn.batch_norm_train` while training and of `nn.batch_norm_eval` otherwise.

    Parameters and running statistics are float32 (float64 for float64 input), for half precision data too.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.batch_norm().init(jax.random.key(0), jnp.ones((2, 4)))[1].var
      Array([1., 1., 1., 1.], dtype=float32)
    """

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        features, dtype = width("models.batch_norm", x_spec)
        return nn.batch_norm_init(features, dtype=compute_dtype(dtype))

    def apply(params: Params, state: State, x: Array, *, key: Key | None, train: bool) -> tuple[Array, State]:
        if train:
            return nn.batch_norm_train(params, state, x, decay=decay, epsilon=epsilon, axis_name=axis_name)
        return nn.batch_norm_eval(params, state, x, epsilon=epsilon), state

    return Layer(init, apply)


def layer_norm(*, axis: int | Sequence[int] = -1, epsilon: float = 1e-5) -> Layer:
    """The layer of `nn.layer_norm`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.layer_norm().init(jax.random.key(0), jnp.ones((2, 3)))[0]["scale"]
      Array([1., 1., 1.], dtype=float32)
    """
    init = _over_axes("models.layer_norm", axis, nn.layer_norm_init)
    return pure(init, partial(nn.layer_norm, axis=axis, epsilon=epsilon))


def rms_norm(*, axis: int | Sequence[int] = -1, epsilon: float = 1e-5) -> Layer:
    """The layer of `nn.rms_norm`."""
    init = _over_axes("models.rms_norm", axis, nn.rms_norm_init)
    return pure(init, partial(nn.rms_norm, axis=axis, epsilon=epsilon))


def group_norm(groups: int, *, batch_axes: int = 1, epsilon: float = 1e-5) -> Layer:
    """The layer of `nn.group_norm`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> models.group_norm(2).init(jax.random.key(0), jnp.ones((1, 8, 8, 4)))[0]["scale"].shape
      (4,)
    """
    init = _over_channels("models.group_norm", nn.group_norm_init)
    return pure(init, partial(nn.group_norm, groups=groups, batch_axes=batch_axes, epsilon=epsilon))


def instance_norm(*, batch_axes: int = 1, epsilon: float = 1e-5) -> Layer:
    """The layer of `nn.instance_norm`."""
    init = _over_channels("models.instance_norm", nn.instance_norm_init)
    return pure(init, partial(nn.instance_norm, batch_axes=batch_axes, epsilon=epsilon))


def local_response_norm(*, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Layer:
    """The layer of `nn.local_response_norm`."""
    return lift(partial(nn.local_response_norm, size=size, alpha=alpha, beta=beta, k=k))


def _over_channels(function: str, make: Callable[..., Any]) -> Init:
    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        features, dtype = width(function, x_spec)
        return make(features, dtype=compute_dtype(dtype)), ()

    return init


def _over_axes(function: str, axis: int | Sequence[int], make: Callable[..., Any]) -> Init:
    axes = axis if isinstance(axis, Sequence) else (axis,)

    def init(key: Key, x_spec: Any) -> tuple[Params, State]:
        spec = spec_of(function, x_spec)
        count = len(spec.shape)
        places = [_checks.integer(function, "axis", each, low=-count) for each in axes]
        if any(place >= count for place in places):
            raise _checks.value_error(
                function, "axis", axis, f"axes of x, which has {count}", "Count from the end: -1 is the last."
            )
        sizes = tuple(spec.shape[place] for place in sorted(place % count for place in places))
        return make(sizes, dtype=compute_dtype(spec.dtype)), ()

    return init
