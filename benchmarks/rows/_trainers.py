"""The peers that train in their own way: Flax NNX, Keras, PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.rows._learners import Trainer, channels_first, channels_last, looped, ours, scanned
from benchmarks.rows._networks import (
    DIRECTIONS,
    BiGRU,
    Conv,
    Dense,
    Dropout,
    Norm,
    Params,
    Pool,
    Relu,
    Task,
    adam,
    orders,
)
from benchmarks.rows._peers import flax, keras
from benchmarks.rows._ports import eqx, hk, linen
from benchmarks.suite.row import DLCORE, Unavailable
from benchmarks.suite.torch_side import compile_for, compiling, device, torch, wait

__all__ = ["TRAINERS", "build_torch", "descend", "torch_params"]


def nnx(task: Task) -> Trainer:
    """Flax NNX: `nnx.jit` with donation and `nnx.cached_partial`, as its guide on performance advises."""
    flax()
    n = import_module("flax.nnx")
    layers = task.network.layers
    rngs = n.Rngs(0)

    def build(layer: Any) -> Any:
        if isinstance(layer, Dense):
            return n.Linear(layer.inputs, layer.features, rngs=rngs)
        if isinstance(layer, Conv):
            padding = "SAME" if layer.padding is None else layer.padding
            return n.Conv(
                layer.inputs, layer.features, layer.window, layer.stride, padding=padding, use_bias=layer.bias,
                rngs=rngs,
            )  # fmt: skip
        if isinstance(layer, Norm):
            return n.BatchNorm(layer.features, momentum=0.9, rngs=rngs)
        if isinstance(layer, Dropout):
            return n.Dropout(layer.rate, rngs=rngs)
        if isinstance(layer, Pool):
            return lambda x: n.max_pool(x, layer.window, layer.window)
        if isinstance(layer, BiGRU):
            raise Unavailable("Flax NNX' GRU lacks a bias")
        return n.relu if isinstance(layer, Relu) else lambda x: x.reshape(len(x), -1)

    model = n.Sequential(*map(build, layers))
    own = {"offset": "bias"}
    for layer, module in zip(layers, model.layers, strict=True):
        for leaf, value in task.start.get(getattr(layer, "name", ""), {}).items():
            parameter = getattr(module, own.get(leaf, leaf))
            parameter[...] = value.reshape(parameter.shape)
    optimizer = n.Optimizer(model, adam(task.rate, task.decay), wrt=n.Param)

    def step(model: Any, optimizer: Any, inputs: Any, labels: Any, rows: Any) -> Any:
        def objective(model: Any) -> Any:
            logits = model(inputs.at[rows].get(mode="clip"))
            chosen = labels.at[rows].get(mode="clip")
            return optax.softmax_cross_entropy_with_integer_labels(logits, chosen).mean()

        loss, gradients = n.value_and_grad(objective)(model)
        optimizer.update(model, gradients)
        return loss

    model.train()
    advance = n.cached_partial(n.jit(step, donate_argnums=(0, 1)), model, optimizer)
    (inputs, labels), test = jax.device_put(((task.inputs, task.labels), task.test))
    order = orders(task)
    first = jax.tree.map(jnp.copy, n.state((model, optimizer)))

    def restart() -> None:
        nonlocal order
        n.update((model, optimizer), jax.tree.map(jnp.copy, first))
        order = orders(task)

    def run() -> Any:
        losses = [advance(inputs, labels, rows) for rows in order()]
        return jax.block_until_ready((losses, n.state(model, n.Param)))[0]

    def params() -> Params:
        found: Params = {}
        for layer, module in zip(layers, model.layers, strict=True):
            if hasattr(layer, "name"):
                found[layer.name] = {
                    leaf: np.asarray(getattr(module, own.get(leaf, leaf))[...]) for leaf in task.start[layer.name]
                }  # fmt: skip
        return found

    @n.jit  # type: ignore[untyped-decorator, unused-ignore]
    def share(model: Any, inputs: Any, labels: Any) -> Any:
        return (model(inputs).argmax(-1) == labels).mean()

    return Trainer(run, params, np.asarray, restart, lambda: float(share(model, *test)))


def ks(task: Task) -> Trainer:
    """Keras: `fit`, compiled; it tells the mean loss alone. `evaluate` has all examples at once, as the others do."""
    k = keras()
    layers = task.network.layers

    def build(layer: Any) -> list[Any]:
        made = k.layers
        if isinstance(layer, Dense):
            return [made.Dense(layer.features)]
        if isinstance(layer, Conv):
            axes = len(layer.window)
            before = [] if layer.padding is None else [getattr(made, f"ZeroPadding{axes}D")(layer.padding)]
            padding = "same" if layer.padding is None else "valid"
            conv = getattr(made, f"Conv{axes}D")
            return [*before, conv(layer.features, layer.window, layer.stride, padding, use_bias=layer.bias)]
        if isinstance(layer, Norm):
            return [made.BatchNormalization(momentum=0.9, epsilon=1e-5)]
        if isinstance(layer, BiGRU):
            return [made.Bidirectional(made.GRU(layer.features))]
        if isinstance(layer, Dropout):
            return [made.Dropout(layer.rate)]
        if isinstance(layer, Pool):
            return [getattr(made, f"MaxPooling{len(layer.window)}D")(layer.window)]
        return [made.ReLU() if isinstance(layer, Relu) else made.Flatten()]

    def gates(leaves: Params, features: int) -> list[np.ndarray]:
        """Keras' order is update, reset, new, and the two biases are one array. The same reorders back."""
        order = np.concatenate([np.arange(features) + block * features for block in (1, 0, 2)])
        bias = np.stack([leaves["input_bias"], leaves["recurrent_bias"]])
        return [array[..., order] for array in (leaves["input_kernel"], leaves["recurrent_kernel"], bias)]

    built = [build(layer) for layer in layers]
    model = k.Sequential([k.Input(task.inputs.shape[1:]), *chain.from_iterable(built)])
    rate = task.rate
    if task.decay is not None:
        rate = k.optimizers.schedules.PolynomialDecay(rate, task.decay, end_learning_rate=0.0)
    model.compile(
        # Keras adds it before the correction of bias, so that this is about as large as the others' 1e-8.
        optimizer=k.optimizers.Adam(rate, epsilon=1e-9),
        loss=k.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[] if task.test is None else ["accuracy"],
        jit_compile=True,
    )
    for layer, made in zip(layers, built, strict=True):
        leaves = task.start.get(getattr(layer, "name", ""))
        if isinstance(layer, BiGRU):
            made[-1].set_weights([array for way in DIRECTIONS for array in gates(task.start[layer.name][way],
                                                                                 layer.features)])  # fmt: skip
        elif leaves:
            values = [leaves[leaf] for leaf in ("kernel", "scale", "bias", "offset") if leaf in leaves]
            made[-1].set_weights([*values, *made[-1].get_weights()[len(values) :]])
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    first = [np.array(variable) for variable in variables]
    order = orders(task)

    def restart() -> None:
        nonlocal order
        for variable, value in zip(variables, first, strict=True):
            variable.assign(value)
        order = orders(task)

    def run() -> Any:
        rows = order().ravel()
        x, y = task.inputs[rows], task.labels[rows]
        history = model.fit(x, y, batch_size=task.batch, epochs=1, shuffle=False, verbose=0)
        return [history.history["loss"][0]]

    def params() -> Params:
        found: Params = {}
        for layer, made in zip(layers, built, strict=True):
            if isinstance(layer, BiGRU):
                arrays, found[layer.name] = made[-1].get_weights(), {}
                for way, (kernel, recurrent, bias) in zip(DIRECTIONS, (arrays[:3], arrays[3:]), strict=True):
                    names = ("input_kernel", "recurrent_kernel", "input_bias", "recurrent_bias")
                    leaves = dict(zip(names, (kernel, recurrent, *bias), strict=True))
                    kernel, recurrent, bias = gates(leaves, layer.features)
                    found[layer.name][way] = dict(zip(names, (kernel, recurrent, *bias), strict=True))
            elif hasattr(layer, "name"):
                told = [leaf for leaf in ("kernel", "scale", "bias", "offset") if leaf in task.start[layer.name]]
                found[layer.name] = dict(zip(told, made[-1].get_weights(), strict=False))
        return found

    def accuracy() -> float:
        inputs, labels = task.test or (None, ())
        return float(model.evaluate(inputs, labels, batch_size=len(labels), verbose=0, return_dict=True)["accuracy"])

    return Trainer(run, params, np.asarray, restart, accuracy)


def pytorch(task: Task, *, compiled: bool = False) -> Trainer:
    """PyTorch: slices of examples that an epoch's order has put in a row, fused Adam, channels last in memory."""
    t = torch()
    net = build_torch(t, task.network.layers, task.start)
    axes, last = task.inputs.ndim, task.inputs.ndim == 4
    recurrent = isinstance(task.network.layers[0], BiGRU)
    turn = tuple(range(axes)) if recurrent or axes < 3 else (0, axes - 1, *range(1, axes - 1))
    if last:
        net = net.to(memory_format=t.channels_last)

    def tensors(inputs: np.ndarray, labels: np.ndarray) -> Any:
        x, y = t.tensor(inputs.transpose(turn)).to(device()), t.tensor(labels).long().to(device())
        return x.contiguous(memory_format=t.channels_last) if last else x, y

    (x, y), test = tensors(task.inputs, task.labels), None if task.test is None else tensors(*task.test)
    first = [parameter.detach().clone() for parameter in net.parameters()]

    def begin() -> tuple[Any, Any, Any]:
        optimizer = t.optim.Adam(net.parameters(), lr=task.rate, fused=True)
        if task.decay is None:
            return optimizer, None, orders(task)
        return optimizer, t.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, task.decay), orders(task)

    optimizer, schedule, order = begin()

    def objective(inputs: Any, labels: Any) -> Any:
        return t.nn.functional.cross_entropy(net(inputs), labels)

    def right(inputs: Any, labels: Any) -> Any:
        return (net(inputs).argmax(-1) == labels).float().mean()

    if compiled:
        objective, right = compile_for(objective), compile_for(right)

    def restart() -> None:
        nonlocal optimizer, schedule, order
        with t.no_grad():
            for parameter, value in zip(net.parameters(), first, strict=True):
                parameter.copy_(value)
        optimizer, schedule, order = begin()

    def run() -> Any:
        every = t.from_numpy(order().reshape(-1)).to(device())
        with compiling(compiled):
            losses = descend(objective, optimizer, x[every], y[every], task.batch, schedule=schedule)
        wait()
        return losses

    def accuracy() -> float:
        assert test is not None, "nothing to evaluate on"
        with compiling(compiled), t.inference_mode():
            return float(right(*test))

    return Trainer(
        run, lambda: torch_params(net, task), lambda losses: t.stack(losses).cpu().numpy(), restart, accuracy
    )


def descend(
    objective: Any, optimizer: Any, inputs: Any, labels: Any, batch: int, *, axis: int = 0, schedule: Any = None
) -> list[Any]:  # fmt: skip
    """A step for each `batch` of examples, in the order in which they stand along `axis`; the loss of each."""
    losses = []
    for part in zip(inputs.split(batch, dim=axis), labels.split(batch, dim=axis), strict=True):
        loss = objective(*part)
        optimizer.zero_grad(set_to_none=True)
        # Of members, the sum: none's loss depends on another's parameters.
        (loss.sum() if loss.ndim else loss).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        losses.append(loss.detach())
    return losses


GRU = {
    "input_kernel": "weight_ih_l0", "recurrent_kernel": "weight_hh_l0",
    "input_bias": "bias_ih_l0", "recurrent_bias": "bias_hh_l0",
}  # fmt: skip
NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "offset": "bias"}


def build_torch(t: Any, layers: tuple[Any, ...], start: Params) -> Any:
    """The network with these parameters, on the device."""

    class BothWays(t.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self, inputs: int, features: int) -> None:
            super().__init__()
            self.gru = t.nn.GRU(inputs, features, batch_first=True, bidirectional=True)

        def forward(self, x: Any) -> Any:
            last = self.gru(x)[1]
            return t.cat((last[0], last[1]), dim=-1)

    def build(layer: Any) -> Any:
        if isinstance(layer, Dense):
            return t.nn.Linear(layer.inputs, layer.features)
        if isinstance(layer, Conv):
            padding = "same" if layer.padding is None else layer.padding
            make = getattr(t.nn, f"Conv{len(layer.window)}d")
            return make(layer.inputs, layer.features, layer.window, layer.stride, padding, bias=layer.bias)
        if isinstance(layer, Norm):
            return t.nn.BatchNorm2d(layer.features)
        if isinstance(layer, BiGRU):
            return BothWays(layer.inputs, layer.features)
        if isinstance(layer, Dropout):
            return t.nn.Dropout(layer.rate)
        if isinstance(layer, Pool):
            return getattr(t.nn, f"MaxPool{len(layer.window)}d")(layer.window)
        return t.nn.ReLU() if isinstance(layer, Relu) else t.nn.Flatten()

    net = t.nn.Sequential(*map(build, layers))
    with t.no_grad():
        for parameter, value in _pairs(net, layers, start):
            parameter.copy_(t.tensor(value))
    return net.to(device())


def _pairs(net: Any, layers: tuple[Any, ...], start: Params) -> list[tuple[Any, np.ndarray]]:
    found = []
    for layer, module in zip(layers, net, strict=True):
        if isinstance(layer, BiGRU):
            for way, suffix in zip(DIRECTIONS, ("", "_reverse"), strict=True):
                for leaf, name in GRU.items():
                    found.append((getattr(module.gru, name + suffix), start[layer.name][way][leaf].T))
        elif hasattr(layer, "name"):
            for leaf, value in start[layer.name].items():
                found.append((getattr(module, NAMES[leaf]), channels_first(layer, leaf, value)))
    return found


def torch_params(net: Any, task: Task, *, of: Callable[[Any], Any] = lambda parameter: parameter) -> Params:
    """Back in dlcore's layout."""

    def array(parameter: Any) -> np.ndarray:
        return np.array(of(parameter).detach().cpu().numpy(), order="C")

    params: Params = {}
    for layer, module in zip(task.network.layers, net, strict=True):
        if isinstance(layer, BiGRU):
            params[layer.name] = {
                way: {leaf: array(getattr(module.gru, name + suffix)).T for leaf, name in GRU.items()}
                for way, suffix in zip(DIRECTIONS, ("", "_reverse"), strict=True)
            }
        elif hasattr(layer, "name"):
            params[layer.name] = {
                leaf: channels_last(layer, leaf, array(getattr(module, NAMES[leaf])))
                for leaf in task.start[layer.name]
            }  # fmt: skip
    return params


# Every library's way to train, by the contestant's name. dlcore first, since it is what the others are compared with,
# and some have no parameters to compare.
TRAINERS: dict[str, Callable[[Task], Trainer]] = {
    DLCORE: ours,
    "Flax": partial(looped, linen),
    "Flax, scanned": partial(scanned, linen),
    "Flax NNX": nnx,
    "Equinox": partial(looped, eqx),
    "Haiku": partial(looped, hk),
    "Keras": ks,
    "PyTorch": pytorch,
    "PyTorch compiled": partial(pytorch, compiled=True),
}
