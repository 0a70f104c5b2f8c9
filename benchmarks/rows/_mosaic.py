"""dlcore's kernels for GPUs beside its public functions: where one wins on a device, the function should take it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from benchmarks.rows._peers import draw, lazily
from benchmarks.suite.jax_side import compiled, layer
from benchmarks.suite.row import DLCORE, Arrays, Contestant, Enter, Floor, Row
from dlcore import nn

__all__ = ["KERNEL", "fused_norms", "resident"]

KERNEL = "dlcore's kernel"


def _hopper() -> bool:
    """Whether JAX' device is an NVIDIA GPU for which Mosaic compiles."""
    device = jax.devices()[0]
    return device.platform == "gpu" and float(getattr(device, "compute_capability", 0)) >= 9


def resident(gates: int, arrays: Arrays) -> dict[str, Enter]:
    """The recurrence that keeps its kernel on the chip; arrays are x, W, U, b and perhaps the new gate's c."""
    if not _hopper():
        return {}
    from dlcore.kernels.mosaic import recurrence

    mix = {3: recurrence.gru_mix, 4: recurrence.lstm_mix}[gates]
    if not recurrence.fits(mix, arrays[2].shape[0]):
        return {}

    def make() -> Enter:
        import jax.numpy as jnp

        from dlcore.kernels.recurrence import Kernels

        def function(x: Any, wi: Any, wh: Any, bias: Any, *late: Any) -> Any:
            f = wh.shape[0]
            own = jnp.zeros(gates * f)
            kernels = Kernels(wi, wh, bias, own.at[(gates - 1) * f :].set(late[0]) if late else own)
            state = (jnp.zeros((x.shape[0], f)),) * (gates - 2)
            ys, _ = recurrence.resident_recurrence(mix, False, kernels, state, jnp.moveaxis(x, 1, 0))
            return jnp.moveaxis(ys, 0, 1)

        return layer(function, arrays)

    return {KERNEL: lazily(make)}


def fused_norms(shapes: list[tuple[int, int]]) -> list[Row]:
    """Dropout, residual and layer norm: three layers, and the kernel that is all of them."""
    return [_fused_norm(n, d) for n, d in shapes] if _hopper() else []


def _fused_norm(n: int, d: int) -> Row:
    rate, epsilon = 0.1, 1e-5
    arrays = draw(n, d), draw(n, d, seed=1), draw(d, seed=2), draw(d, seed=3)
    errors = draw(n, d, seed=4), draw(n, d, seed=5)
    word = np.asarray(7, np.uint32)

    def results(found: Any) -> list[np.ndarray]:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(found)]

    def enter(function: Any) -> Enter:
        def step(word: Any, errors: Any, *own: Any) -> Any:
            found, pull = jax.vjp(lambda *own: function(jax.random.key(word), *own), *own)
            return found, pull(errors)

        def make() -> Contestant:
            return compiled(step, jax.device_put((word, errors, *arrays)), results)

        return make

    def layers(key: Any, branch: Any, residual: Any, scale: Any, offset: Any) -> Any:
        z = residual + nn.dropout(key, branch, rate=rate)
        return z, nn.layer_norm({"scale": scale, "offset": offset}, z, epsilon=epsilon)

    def kernel(key: Any, branch: Any, residual: Any, scale: Any, offset: Any) -> Any:
        from dlcore.kernels.mosaic import residual_norm

        return residual_norm.residual_norm(key, branch, residual, scale, offset, rate, epsilon, True)

    return Row(
        name="dropout + residual + layer norm",
        shape=f"{(n, d)}",
        enter={KERNEL: enter(kernel), DLCORE: enter(layers)},
        floor=Floor(4 * 4 * n * d + 4 * 4 * n * d),
    )
