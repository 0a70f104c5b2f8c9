"""A sweep: several small networks, each from a seed of its own, trained for an epoch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import numpy as np

from benchmarks.rows._learners import Trainer, one_epoch, ours, scanned
from benchmarks.rows._networks import Params, Task, check_epoch, digits, make_task, network, orders, starts
from benchmarks.rows._ports import eqx, hk, linen
from benchmarks.rows._trainers import build_torch, descend, torch_params
from benchmarks.suite.row import DLCORE, Enter, Row
from benchmarks.suite.torch_side import compile_for, compiling, device, torch, wait

__all__ = ["rows"]

WIDTHS = (32, 32, 10)


def rows(size: str) -> list[Row]:
    members, n = (16, 1797) if size == "full" else (3, 128)

    @cache
    def task() -> Task:
        return make_task(network("mlp", widths=WIDTHS), digits(n), batch=32, rate=1e-3, members=members)

    def enter(make: Callable[[Task], Trainer]) -> Enter:
        return lambda: one_epoch(make, task())

    equinox = partial(eqx, filtered=False)
    return [Row(
        name=f"epoch of {members} small MLPs",
        shape=f"64–{'–'.join(map(str, WIDTHS))}, {n // 32} steps of 32",
        enter={
            DLCORE: enter(ours),
            "Flax, scanned, one by one": enter(partial(scanned, linen)),
            "Flax, scanned, vmapped": enter(partial(scanned, linen, vmapped=True)),
            "Equinox, scanned, one by one": enter(partial(scanned, equinox)),
            "Haiku, scanned, one by one": enter(partial(scanned, hk)),
            "PyTorch, one by one": enter(partial(_torch_one_by_one, compiled=False)),
            "PyTorch compiled, one by one": enter(partial(_torch_one_by_one, compiled=True)),
            "PyTorch, vmapped": enter(_torch_vmapped),
        },
        check=check_epoch(task),
        kind="whole",
        bound="the members' orders are drawn inside; the peers get theirs from NumPy",
    )]  # fmt: skip


def _torch_one_by_one(task: Task, *, compiled: bool) -> Trainer:
    t = torch()
    nets = [build_torch(t, task.network.layers, start) for start in starts(task)]
    optimizers = [t.optim.Adam(net.parameters(), lr=task.rate, fused=True) for net in nets]

    def logits(weights: Any, inputs: Any) -> Any:
        return t.func.functional_call(nets[0], weights, (inputs,))

    # Compiled once for all members: their weights are arguments.
    predict = compile_for(logits) if compiled else lambda net, inputs: net(inputs)
    given = [dict(net.named_parameters()) for net in nets] if compiled else nets

    def objective(k: int, inputs: Any, labels: Any) -> Any:
        return t.nn.functional.cross_entropy(predict(given[k], inputs), labels)

    def epoch(inputs: Any, labels: Any) -> Any:
        with compiling(compiled):
            return t.stack([
                t.stack(descend(partial(objective, k), optimizer, inputs[k], labels[k], task.batch))
                for k, optimizer in enumerate(optimizers)
            ])  # fmt: skip

    return _torch_trainer(task, epoch, lambda: [torch_params(net, task) for net in nets])


def _torch_vmapped(task: Task) -> Trainer:
    """As PyTorch's tutorial on ensembles: stacked parameters, `torch.func.vmap`; one fused Adam for all of them."""
    t = torch()
    nets = [build_torch(t, task.network.layers, start) for start in starts(task)]
    weights, _ = t.func.stack_module_state(nets)
    optimizer = t.optim.Adam(weights.values(), lr=task.rate, fused=True)
    names = {id(parameter): name for name, parameter in nets[0].named_parameters()}

    def alone(weights: Any, inputs: Any, labels: Any) -> Any:
        return t.nn.functional.cross_entropy(t.func.functional_call(nets[0], weights, (inputs,)), labels)

    def epoch(inputs: Any, labels: Any) -> Any:
        objective = partial(t.func.vmap(alone), weights)
        return t.stack(descend(objective, optimizer, inputs, labels, task.batch, axis=1), dim=1)

    def params() -> list[Params]:
        of = [lambda parameter, k=k: weights[names[id(parameter)]][k] for k in range(len(nets))]
        return [torch_params(nets[0], task, of=each) for each in of]

    return _torch_trainer(task, epoch, params)


def _torch_trainer(task: Task, epoch: Callable[[Any, Any], Any], params: Callable[[], list[Params]]) -> Trainer:
    """Of an epoch of examples as (members, N, …) in the order in which they are seen."""
    t = torch()
    x, y = t.tensor(task.inputs).to(device()), t.tensor(task.labels).long().to(device())
    order = orders(task)

    def run() -> Any:
        every = t.from_numpy(order().reshape(len(task.orders[0]), -1)).to(device())
        losses = epoch(x[every], y[every])
        wait()
        return losses

    return Trainer(
        run, lambda: jax.tree.map(lambda *leaves: np.stack(leaves), *params()), lambda losses: losses.cpu().numpy()
    )
