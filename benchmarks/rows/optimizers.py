"""One update of Adam on many leaves, with all buffers that it may write over given away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.rows._peers import keras
from benchmarks.suite.row import DLCORE, ONE_RESULT, Contestant, Enter, Floor, Row
from benchmarks.suite.torch_side import compile_for, compiling, device, torch, wait

__all__ = ["rows"]

RATE = 1e-3
# Updates, each with gradients of its own, before the one that is compared; that and all later ones have the same.
WARM = 2


def rows(size: str) -> list[Row]:
    return [case(40, 128, "80 leaves") if size == "full" else case(3, 16, "6 leaves")] + (
        [case(8, 1024, "16 large leaves")] if size == "full" else []
    )


def case(layers: int, width: int, title: str) -> Row:
    random = np.random.default_rng(0)

    def leaves(scale: float) -> list[np.ndarray]:
        shapes = [(width, width), (width,)] * layers
        return [(scale * random.standard_normal(shape)).astype(np.float32) for shape in shapes]

    start = leaves(0.1)
    # Away from 0, where it would count in which place ε is added.
    gradients = [[leaf + np.copysign(np.float32(1e-3), leaf) for leaf in leaves(1e-2)] for _ in range(WARM + 1)]
    numbers = sum(leaf.size for leaf in start)

    def enter(make: Callable[..., Contestant], *how: Any) -> Enter:
        return lambda: make(start, gradients, *how)

    def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
        for number, (a, b, before) in enumerate(zip(found, expected, start, strict=True)):
            way = float(np.abs(b - before).max())
            far = float(np.abs(a - b).max())
            assert far <= 5e-3 * way, f"leaf {number} is {far / way:.1e} of its way away"

    return Row(
        name="Adam",
        shape=f"{title}, {numbers:,} numbers",
        enter={
            "Optax": enter(_optax, optax.adam(RATE)),
            "Optax, flattened": enter(_optax, optax.flatten(optax.adam(RATE))),
            "Keras": enter(_keras),
            "PyTorch foreach": enter(_torch, {"foreach": True}),
            "PyTorch fused": enter(_torch, {"fused": True}),
            "PyTorch compiled": enter(_torch, {"foreach": True}, True),
            # What a step of `train.make_step` does with its optimizer.
            DLCORE: enter(_optax, optax.adam(RATE)),
        },
        # Parameters and both moments read and written, gradients read.
        floor=Floor(7 * 4 * numbers),
        bound=(
            f"{ONE_RESULT}: ten passes over memory where one loop makes seven; and {6 * layers} arrays handed in and "
            "out of a call, half a millisecond for 240. One flat buffer for both moments is 1.1 times as fast with "
            "many small leaves, 0.65 with large ones, and so not taken"
        ),
        check=check,
    )


def _optax(start: list[np.ndarray], gradients: list[list[np.ndarray]], optimizer: Any) -> Contestant:
    def update(params: Any, state: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    return _jitted(update, start, optimizer.init, gradients)


def _jitted(
    update: Callable[..., Any], start: list[np.ndarray], init: Callable[[Any], Any], gradients: list[list[np.ndarray]]
) -> Contestant:
    params = [jnp.array(leaf) for leaf in start]
    state = jax.tree.map(jnp.array, init(params))
    held = [jax.device_put(each) for each in gradients]
    begin = time.perf_counter()
    program = jax.jit(update, donate_argnums=(0, 1)).lower(params, state, held[0]).compile()
    seconds = time.perf_counter() - begin
    for gradient in held[:-1]:
        params, state = program(params, state, gradient)

    def run() -> Any:
        nonlocal params, state
        params, state = jax.block_until_ready(program(params, state, held[-1]))
        return params

    memory = program.memory_analysis()
    return Contestant(
        run, lambda found: list(map(np.asarray, found)),
        None if memory is None else memory.temp_size_in_bytes, seconds,
    )  # fmt: skip


def _keras(start: list[np.ndarray], gradients: list[list[np.ndarray]]) -> Contestant:
    k = keras()
    optimizer = k.optimizers.Adam(RATE, epsilon=1e-8)
    optimizer.build([k.Variable(leaf) for leaf in start])

    def update(params: Any, state: Any, gradient: Any) -> Any:
        return optimizer.stateless_apply(state, gradient, params)

    return _jitted(update, start, lambda _: [variable.value for variable in optimizer.variables], gradients)


def _torch(
    start: list[np.ndarray], gradients: list[list[np.ndarray]], how: dict[str, bool], compiled: bool = False
) -> Contestant:
    t = torch()
    params = [t.nn.Parameter(t.tensor(leaf).to(device())) for leaf in start]
    held = [[t.tensor(leaf).to(device()) for leaf in each] for each in gradients]
    optimizer = t.optim.Adam(params, lr=RATE, **how)
    update = compile_for(optimizer.step) if compiled else optimizer.step

    def give(gradient: list[Any]) -> None:
        for parameter, leaf in zip(params, gradient, strict=True):
            parameter.grad = leaf

    begin = time.perf_counter()
    with compiling(compiled):
        for gradient in held[:-1]:
            give(gradient)
            update()
    seconds = time.perf_counter() - begin
    give(held[-1])

    def run() -> Any:
        update()
        wait()
        return params

    return Contestant(run, lambda found: [leaf.detach().cpu().numpy().copy() for leaf in found], None, seconds)
