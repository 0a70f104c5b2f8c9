"""What all kernels share: whole arrays in the GPU's memory, a program a grid point, each one warpgroup."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu

from dlcore._typing import Array

__all__ = ["LANES", "SHARED_BYTES", "lanes", "launch", "scratch"]

# Threads of a warpgroup: a row that a program holds in registers has a multiple of so many elements.
LANES = 128
# What a program may hold in shared memory: 227 KiB from Hopper on, less what Mosaic takes for reductions and barriers.
SHARED_BYTES = 224 * 1024


def lanes(features: int) -> int:
    """The width of a row in registers that holds so many features."""
    return -(-features // LANES) * LANES


def scratch(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array in shared memory."""
    return mosaic_gpu.SMEM(shape, dtype)


def launch(
    body: Callable[..., None],
    name: str,
    programs: int,
    results: Sequence[jax.ShapeDtypeStruct],
    shared: Sequence[Any],
    interpret: bool,
    *arrays: Array,
) -> list[Array]:
    """Runs `body(program, *arrays, *results, *shared)`, on references, once for each program.

    Arrays stay where they are: a program reads and writes the rows that it wants, since rows wider than 256 elements
    cannot be sent to it in blocks.
    """
    if interpret:
        everything = pl.BlockSpec(memory_space=mosaic_gpu.GMEM)
        return list(
            pl.pallas_call(
                lambda *refs: body(pl.program_id(0), *refs),
                grid=(programs,),
                in_specs=[everything] * len(arrays),
                out_specs=[everything] * len(results),
                out_shape=list(results),
                scratch_shapes=list(shared),
                interpret=True,
                name=name,
            )(*arrays)
        )
    # jax calls them `out_shape` and `scratch_shapes` up to 0.10.1.
    new = "out_type" in inspect.signature(mosaic_gpu.kernel).parameters
    types: dict[str, Any] = {
        "out_type" if new else "out_shape": list(results),
        "scratch_types" if new else "scratch_shapes": list(shared),
    }
    return list(
        mosaic_gpu.kernel(
            lambda *refs: body(lax.axis_index("program"), *refs),
            grid=(programs,),
            grid_names=("program",),
            kernel_name=name,
            **types,
        )(*arrays)
    )
