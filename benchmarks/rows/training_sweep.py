"""A sweep: several small networks, each from a seed of its own, trained for an epoch."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.rows._learners import ours, ready, scanned
from benchmarks.rows._networks import Task, check_epoch, digits, make_task, network, orders, summary
from benchmarks.rows._peers import lazily
from benchmarks.rows._ports import eqx, hk, linen
from benchmarks.rows._trainers import build_torch, torch_params
from benchmarks.suite.row import DLCORE, Contestant, Row, Unavailable
from benchmarks.suite.torch_side import compile_for, device, torch, wait

__all__ = ["rows"]

WIDTHS = (32, 32, 10)


def rows(size: str) -> list[Row]:
    members, n = (16, 1797) if size == "full" else (3, 128)

    @cache
    def task() -> Task:
        return make_task(network("mlp", widths=WIDTHS), digits(n), batch=32, rate=1e-3, members=members)

    def equinox(task: Task) -> Any:
        return eqx(task, filtered=False)

    return [Row(
        name=f"epoch of {members} small MLPs",
        shape=f"64–{'–'.join(map(str, WIDTHS))}, {n // 32} steps of 32",
        enter={
            DLCORE: lambda: ours(task()),
            "Flax, scanned, one by one": lazily(lambda: scanned(linen, task())),
            "Flax, scanned, vmapped": lazily(lambda: scanned(linen, task(), vmapped=True)),
            "Equinox, scanned, one by one": lazily(lambda: scanned(equinox, task())),
            "Haiku, scanned, one by one": lazily(lambda: scanned(hk, task())),
            "PyTorch, one by one": lambda: _torch_one_by_one(task(), compiled=False),
            "PyTorch compiled, one by one": lambda: _torch_one_by_one(task(), compiled=True),
            "PyTorch, vmapped": lambda: _torch_vmapped(task()),
        },
        check=check_epoch(task),
        kind="whole",
        bound="the members' orders are drawn inside; the peers get theirs from NumPy",
    )]  # fmt: skip


def _member(tree: Any, k: int) -> Any:
    return {name: {leaf: value[k] for leaf, value in leaves.items()} for name, leaves in tree.items()}


def _stacked(trees: list[Any]) -> Any:
    return {
        name: {leaf: np.stack([tree[name][leaf] for tree in trees]) for leaf in leaves}
        for name, leaves in trees[0].items()
    }


def _torch_one_by_one(task: Task, *, compiled: bool) -> Contestant:
    t = torch()
    count = task.members or 1
    nets = [build_torch(t, task.network.layers, _member(task.start, k)) for k in range(count)]
    optimizers = [t.optim.Adam(net.parameters(), lr=task.rate, fused=True) for net in nets]
    x, y = t.tensor(task.inputs).to(device()), t.tensor(task.labels).long().to(device())
    order = orders(task)

    def logits(weights: Any, inputs: Any) -> Any:
        return t.func.functional_call(nets[0], weights, (inputs,))

    # Compiled once for all members: their weights are arguments.
    predict = compile_for(logits) if compiled else lambda net, inputs: net(inputs)
    given = [dict(net.named_parameters()) for net in nets] if compiled else nets

    def run() -> Any:
        losses = []
        every = t.from_numpy(order().reshape(count, -1)).to(device())
        for k, optimizer in enumerate(optimizers):
            inputs, labels = x[every[k]], y[every[k]]
            for begin in range(0, every.shape[1], task.batch):
                rows = slice(begin, begin + task.batch)
                loss = t.nn.functional.cross_entropy(predict(given[k], inputs[rows]), labels[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
        wait()
        return losses

    def results(losses: Any) -> list[np.ndarray]:
        trees = [torch_params(net, task) for net in nets]
        return summary(task, t.stack(losses).reshape(count, -1).cpu().numpy(), _stacked(trees))

    try:
        return ready(run, results)
    except Exception as error:
        if compiled:
            raise Unavailable(f"torch.compile: {str(error).splitlines()[0][:120]}") from error
        raise


def _torch_vmapped(task: Task) -> Contestant:
    """As PyTorch's tutorial on ensembles: stacked parameters, `torch.func.vmap`; one fused Adam for all of them."""
    t = torch()
    count = task.members or 1
    nets = [build_torch(t, task.network.layers, _member(task.start, k)) for k in range(count)]
    weights, _ = t.func.stack_module_state(nets)
    optimizer = t.optim.Adam(weights.values(), lr=task.rate, fused=True)
    x, y = t.tensor(task.inputs).to(device()), t.tensor(task.labels).long().to(device())
    order = orders(task)

    def objective(weights: Any, inputs: Any, labels: Any) -> Any:
        return t.nn.functional.cross_entropy(t.func.functional_call(nets[0], weights, (inputs,)), labels)

    over = t.func.vmap(objective)

    def run() -> Any:
        every = t.from_numpy(order().reshape(count, -1)).to(device())
        inputs, labels = x[every], y[every]
        losses = []
        for begin in range(0, every.shape[1], task.batch):
            rows = slice(begin, begin + task.batch)
            values = over(weights, inputs[:, rows], labels[:, rows])
            optimizer.zero_grad(set_to_none=True)
            values.sum().backward()
            optimizer.step()
            losses.append(values.detach())
        wait()
        return losses

    def results(losses: Any) -> list[np.ndarray]:
        names = {id(parameter): name for name, parameter in nets[0].named_parameters()}
        trees = [
            torch_params(nets[0], task, of=partial(lambda k, parameter: weights[names[id(parameter)]][k], k))
            for k in range(count)
        ]
        return summary(task, t.stack(losses, dim=1).cpu().numpy(), _stacked(trees))

    return ready(run, results)
