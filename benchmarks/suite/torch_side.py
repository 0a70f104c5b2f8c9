"""Contestants that are functions of PyTorch tensors: eager, and by torch.compile."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.suite.layout import Order, layout
from benchmarks.suite.row import Arrays, Contestant, Enter, Unavailable

__all__ = ["compile_for", "compiling", "device", "layer", "temporary_bytes", "torch", "wait"]


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


@contextmanager
def compiling(compiled: bool) -> Iterator[None]:
    """Where torch.compile fails, that contestant cannot take part; a failure of eager PyTorch is a fault of ours."""
    try:
        yield
    except Exception as error:
        if compiled:
            raise Unavailable(f"torch.compile: {str(error).splitlines()[0][:120]}") from error
        raise


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
    turn: Sequence[Order] | None = None,
    out: Order = None,
    channels_last: bool = False,
    compiled: bool = False,
) -> Enter:
    """As `jax_side.layer`; with `channels_last`, tensors of four axes lie in memory with the second of them last."""

    def enter() -> Contestant:
        t = torch()
        start = time.perf_counter()
        plan = layout(arrays, slopes, turn, out)

        def tensor(array: np.ndarray) -> Any:
            # A copy, since JAX may hold the same memory.
            view = t.tensor(array).to(device())
            last = channels_last and view.ndim == 4
            return view.contiguous(memory_format=t.channels_last if last else t.contiguous_format)

        own = list(map(tensor, plan.own(arrays)))
        for leaf in own[: plan.slopes]:
            leaf.requires_grad_(True)
        f = compile_for(function) if compiled else function
        with t.no_grad():
            dy = tensor(plan.incoming(function(*own).shape, arrays[0].dtype))

        def run() -> Any:
            y = f(*own)
            gradients = t.autograd.grad(y, own[: plan.slopes], dy)
            wait()
            return y, gradients

        def results(found: Any) -> list[np.ndarray]:
            y, gradients = found
            return plan.results(y.detach().cpu().numpy(), [gradient.cpu().numpy() for gradient in gradients])

        with compiling(compiled):
            run()
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
