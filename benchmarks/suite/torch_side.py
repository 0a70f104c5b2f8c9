"""Contestants that are functions of PyTorch tensors: eager, and by torch.compile."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.suite.jax_side import incoming
from benchmarks.suite.row import Arrays, Contestant, Enter, Unavailable

__all__ = ["compile_for", "device", "layer", "temporary_bytes", "torch", "wait"]


def torch() -> Any:
    """PyTorch, on as many threads as there are cores."""
    try:
        import torch
    except ModuleNotFoundError:
        raise Unavailable("PyTorch is not installed") from None
    import os

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return torch


def compile_for(function: Any) -> Any:
    """torch.compile at its best: for just these shapes."""
    t = torch()
    # Rows share their code; beyond eight shapes of one function PyTorch would say so once, and go on uncompiled.
    t._dynamo.config.recompile_limit = 1_000
    return t.compile(function, dynamic=False)


def device() -> str:
    """Where JAX computes: "cuda" or "cpu"."""
    import jax

    if jax.default_backend() != "gpu":
        return "cpu"
    if not torch().cuda.is_available():
        raise Unavailable("this PyTorch has no CUDA")
    return "cuda"


def wait() -> None:
    """Until the device is done."""
    if device() == "cuda":
        torch().cuda.synchronize()


def layer(
    function: Callable[..., Any],
    arrays: Arrays,
    *,
    slopes: int | None = None,
    turn: Sequence[Sequence[int] | None] | None = None,
    out: Sequence[int] | None = None,
    channels_last: bool = False,
    compiled: bool = False,
) -> Enter:
    """As `jax_side.layer`; with `channels_last`, tensors of four axes lie in memory with the second of them last."""

    def enter() -> Contestant:
        t = torch()
        start = time.perf_counter()
        count = sum(np.issubdtype(a.dtype, np.floating) for a in arrays) if slopes is None else slopes
        orders = list(turn or [None] * len(arrays))

        def tensor(array: np.ndarray, order: Any) -> Any:
            # A copy, since JAX may hold the same memory.
            view = t.from_numpy(np.array(array if order is None else array.transpose(order), order="C")).to(device())
            last = channels_last and view.ndim == 4
            return view.contiguous(memory_format=t.channels_last if last else t.contiguous_format)

        own = [tensor(a, order) for a, order in zip(arrays, orders, strict=True)]
        for leaf in own[:count]:
            leaf.requires_grad_(True)
        f = compile_for(function) if compiled else function
        with t.no_grad():
            shape = tuple(function(*own).shape)
        plain = tuple(np.argsort(out)) if out is not None else tuple(range(len(shape)))
        canonical = tuple(shape[axis] for axis in plain)
        dy = tensor(incoming(canonical, arrays[0].dtype), out)

        def run() -> Any:
            y = f(*own)
            gradients = t.autograd.grad(y, own[:count], dy)
            wait()
            return y, gradients

        def results(found: Any) -> list[np.ndarray]:
            y, gradients = found
            back = [tuple(range(a.ndim)) if order is None else tuple(np.argsort(order))
                    for a, order in zip(arrays, orders, strict=True)]  # fmt: skip
            return [y.detach().permute(plain).cpu().numpy(),
                    *(g.permute(b).cpu().numpy() for g, b in zip(gradients, back, strict=False))]  # fmt: skip

        try:
            run()
        except Exception as error:
            if compiled:
                raise Unavailable(f"torch.compile: {str(error).splitlines()[0][:120]}") from error
            raise
        seconds = time.perf_counter() - start
        memory = None if compiled else temporary_bytes(run, (*own, dy))
        return Contestant(run, results, memory, seconds)

    return enter


def temporary_bytes(run: Callable[[], Any], own: Sequence[Any]) -> int:
    """The most that living tensors held at once, beyond `own`, which were there before, and what is returned.

    PyTorch does not tell it for the CPU. Every operator's results are watched until they are freed; workspace inside of
    an operator is not seen.
    """
    t = torch()
    if device() == "cuda":
        t.cuda.synchronize()
        before = t.cuda.memory_allocated()
        t.cuda.reset_peak_memory_stats()
        kept = run()
        returned = t.cuda.memory_allocated() - before
        del kept
        return int(t.cuda.max_memory_allocated() - before - returned)
    from torch.utils._python_dispatch import TorchDispatchMode

    known = {tensor.untyped_storage().data_ptr() for tensor in own}
    alive: dict[int, int] = {}
    peak = 0

    class Watch(TorchDispatchMode):  # type: ignore[misc, no-untyped-call, unused-ignore]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal peak
            found = func(*args, **(kwargs or {}))
            for part in found if isinstance(found, (tuple, list)) else (found,):
                if isinstance(part, t.Tensor):
                    storage = part.untyped_storage()
                    place = storage.data_ptr()
                    if place and place not in alive and place not in known:
                        alive[place] = storage.nbytes()
                        weakref.finalize(storage, alive.pop, place, None)
            peak = max(peak, sum(alive.values()))
            return found

    with Watch():  # type: ignore[no-untyped-call, unused-ignore]
        kept = run()
    returned = sum(alive.values())
    del kept
    return peak - returned
