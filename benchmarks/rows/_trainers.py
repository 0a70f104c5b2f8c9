"""The peers that train in their own way: Flax NNX, Keras, PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import chain
from typing import Any

import jax
import numpy as np
import optax

from benchmarks.rows._learners import channels_first, channels_last, ready
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
    orders,
    summary,
)
from benchmarks.rows._peers import flax, keras
from benchmarks.suite.row import Contestant, Enter, Unavailable
from benchmarks.suite.torch_side import compile_for, device, torch, wait

__all__ = ["build_torch", "ks", "nnx", "pytorch", "torch_params"]


def nnx(task: Task) -> Contestant:
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
    optimizer = n.Optimizer(model, optax.adam(task.rate), wrt=n.Param)

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
    inputs, labels = jax.device_put((task.inputs, task.labels))
    order = orders(task)

    def run() -> Any:
        losses = [advance(inputs, labels, rows) for rows in order()]
        return jax.block_until_ready((losses, n.state(model, n.Param)))[0]

    def results(losses: Any) -> list[np.ndarray]:
        params: Params = {}
        for layer, module in zip(layers, model.layers, strict=True):
            if hasattr(layer, "name"):
                params[layer.name] = {
                    leaf: np.asarray(getattr(module, own.get(leaf, leaf))[...]) for leaf in task.start[layer.name]
                }  # fmt: skip
        return summary(task, losses, params)

    return ready(run, results)


def ks(task: Task) -> Contestant:
    """Keras: `fit`, compiled; it tells the mean loss alone."""
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
    model.compile(
        # Keras adds it before the correction of bias, so that this is about as large as the others' 1e-8.
        optimizer=k.optimizers.Adam(task.rate, epsilon=1e-9),
        loss=k.losses.SparseCategoricalCrossentropy(from_logits=True),
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
    order = orders(task)

    def run() -> Any:
        rows = order().ravel()
        x, y = task.inputs[rows], task.labels[rows]
        history = model.fit(x, y, batch_size=task.batch, epochs=1, shuffle=False, verbose=0)
        return history.history["loss"][0]

    def results(mean: Any) -> list[np.ndarray]:
        params: Params = {}
        for layer, made in zip(layers, built, strict=True):
            if isinstance(layer, BiGRU):
                arrays, params[layer.name] = made[-1].get_weights(), {}
                for way, (kernel, recurrent, bias) in zip(DIRECTIONS, (arrays[:3], arrays[3:]), strict=True):
                    names = ("input_kernel", "recurrent_kernel", "input_bias", "recurrent_bias")
                    leaves = dict(zip(names, (kernel, recurrent, *bias), strict=True))
                    kernel, recurrent, bias = gates(leaves, layer.features)
                    params[layer.name][way] = dict(zip(names, (kernel, recurrent, *bias), strict=True))
            elif hasattr(layer, "name"):
                told = [leaf for leaf in ("kernel", "scale", "bias", "offset") if leaf in task.start[layer.name]]
                params[layer.name] = dict(zip(told, made[-1].get_weights(), strict=False))
        return summary(task, [mean], params)

    return ready(run, results)


def pytorch(task: Task, *, compiled: bool = False) -> Enter:
    """PyTorch: slices of examples that an epoch's order has put in a row, fused Adam, channels last in memory."""

    def enter() -> Contestant:
        t = torch()
        net = build_torch(t, task.network.layers, task.start)
        optimizer = t.optim.Adam(net.parameters(), lr=task.rate, fused=True)
        last = task.inputs.ndim == 4
        axes = task.inputs.ndim
        recurrent = isinstance(task.network.layers[0], BiGRU)
        turn = range(axes) if recurrent or axes < 3 else (0, axes - 1, *range(1, axes - 1))
        x, y = (t.tensor(array).to(device()) for array in (task.inputs.transpose(tuple(turn)), task.labels))
        if last:
            x, net = x.contiguous(memory_format=t.channels_last), net.to(memory_format=t.channels_last)
        y = y.long()
        order = orders(task)

        def objective(inputs: Any, labels: Any) -> Any:
            return t.nn.functional.cross_entropy(net(inputs), labels)

        objective = compile_for(objective) if compiled else objective

        def run() -> Any:
            every = t.from_numpy(order().reshape(-1)).to(device())
            inputs, labels = x[every], y[every]
            losses = []
            for begin in range(0, len(every), task.batch):
                rows = slice(begin, begin + task.batch)
                loss = objective(inputs[rows], labels[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            wait()
            return losses

        def results(losses: Any) -> list[np.ndarray]:
            return summary(task, t.stack(losses).cpu().numpy(), torch_params(net, task))

        try:
            return ready(run, results)
        except Exception as error:
            if compiled:
                raise Unavailable(f"torch.compile: {str(error).splitlines()[0][:120]}") from error
            raise

    return enter


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
