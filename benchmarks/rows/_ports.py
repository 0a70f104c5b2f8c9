"""Flax Linen, Haiku and Equinox: their networks with one step of training."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.rows._learners import Learner, channels_first, channels_last, learner
from benchmarks.rows._networks import DIRECTIONS, BiGRU, Conv, Dense, Dropout, Norm, Params, Pool, Relu, Task, adam
from benchmarks.rows._peers import equinox, flax, haiku
from benchmarks.suite.row import Unavailable

__all__ = ["eqx", "hk", "linen"]


def linen(task: Task) -> Learner:
    """Flax Linen."""
    nn = flax()
    layers = task.network.layers

    def run(layer: Any, x: Any) -> Any:
        if isinstance(layer, Dense):
            return nn.Dense(layer.features, name=layer.name)(x)
        if isinstance(layer, Conv):
            padding = "SAME" if layer.padding is None else layer.padding
            return nn.Conv(
                layer.features, layer.window, layer.stride, padding, use_bias=layer.bias, name=layer.name
            )(x)  # fmt: skip
        if isinstance(layer, Norm):
            return nn.BatchNorm(use_running_average=False, momentum=0.9, name=layer.name)(x)
        if isinstance(layer, BiGRU):
            cells = [nn.RNN(nn.GRUCell(layer.features, name=f"{layer.name}_{way}")) for way in DIRECTIONS]
            return jnp.concatenate(nn.Bidirectional(*cells, return_carry=True)(x)[0], axis=-1)
        if isinstance(layer, Dropout):
            return nn.Dropout(layer.rate, deterministic=False)(x)
        if isinstance(layer, Pool):
            return nn.max_pool(x, layer.window, layer.window)
        return nn.relu(x) if isinstance(layer, Relu) else x.reshape(len(x), -1)

    class Net(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        @nn.compact  # type: ignore[untyped-decorator, unused-ignore]
        def __call__(self, x: Any) -> Any:
            for layer in layers:
                x = run(layer, x)
            return x

    net = Net()
    recurrent = any(isinstance(layer, BiGRU) for layer in layers)

    def begin(start: Params) -> Any:
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
        variables = net.init(keys, jnp.asarray(task.inputs[:2]))
        weights = dict(variables["params"])
        for layer in layers:
            if isinstance(layer, Norm):
                weights[layer.name] = {"scale": start[layer.name]["scale"], "bias": start[layer.name]["offset"]}
            elif isinstance(layer, BiGRU):
                for way in DIRECTIONS:
                    weights[f"{layer.name}_{way}"] = _linen_gru(start[layer.name][way], layer.features)
            elif isinstance(layer, Dense | Conv):
                weights[layer.name] = start[layer.name]
        state = {name: tree for name, tree in variables.items() if name != "params"}
        return _fitting(weights, variables["params"]), state

    def apply(weights: Any, state: Any, x: Any, key: Any) -> Any:
        return net.apply({"params": weights, **state}, x, mutable=list(state), rngs={"dropout": key})

    def params(weights: Any) -> Params | None:
        norms = {layer.name for layer in layers if isinstance(layer, Norm)}
        return None if recurrent else {
            name: {"scale": leaves["scale"], "offset": leaves["bias"]} if name in norms else leaves
            for name, leaves in weights.items()
        }  # fmt: skip

    return learner(task, begin, apply, params)


def _linen_gru(leaves: Params, features: int) -> Params:
    """Linen has the biases of the gates once, so that they are trained differently."""
    found: Params = {}
    for index, gate in enumerate("rzn"):
        block = slice(index * features, (index + 1) * features)
        found[f"i{gate}"] = {
            "kernel": leaves["input_kernel"][:, block], "bias": leaves["input_bias"][block],
        }  # fmt: skip
        found[f"h{gate}"] = {"kernel": leaves["recurrent_kernel"][:, block]}
    found["hn"]["bias"] = leaves["recurrent_bias"][2 * features :]
    return found


def hk(task: Task) -> Learner:
    """Haiku."""
    haiku_ = haiku()
    layers = task.network.layers
    if any(isinstance(layer, BiGRU) for layer in layers):
        raise Unavailable("Haiku's GRU applies the reset gate before the recurrent kernel")

    def run(layer: Any, x: Any) -> Any:
        if isinstance(layer, Dense):
            return haiku_.Linear(layer.features, name=layer.name)(x)
        if isinstance(layer, Conv):
            make = getattr(haiku_, f"Conv{len(layer.window)}D")
            padding = "SAME" if layer.padding is None else [(layer.padding, layer.padding)] * len(layer.window)
            return make(
                layer.features, layer.window, layer.stride, padding=padding, with_bias=layer.bias, name=layer.name
            )(x)  # fmt: skip
        if isinstance(layer, Norm):
            return haiku_.BatchNorm(True, True, 0.9, name=layer.name)(x, is_training=True)
        if isinstance(layer, Dropout):
            return haiku_.dropout(haiku_.next_rng_key(), layer.rate, x)
        if isinstance(layer, Pool):
            window = (*layer.window, 1)
            return haiku_.max_pool(x, window, window, "VALID")
        return jax.nn.relu(x) if isinstance(layer, Relu) else haiku_.Flatten()(x)

    def forward(x: Any) -> Any:
        for layer in layers:
            x = run(layer, x)
        return x

    net = haiku_.transform_with_state(forward)
    own = {"kernel": "w", "bias": "b", "scale": "scale", "offset": "offset"}
    theirs = {value: name for name, value in own.items()}

    def begin(start: Params) -> Any:
        weights, state = net.init(jax.random.key(0), jnp.asarray(task.inputs[:2]))
        given = {name: {own[leaf]: value for leaf, value in leaves.items()} for name, leaves in start.items()}
        shaped = jax.tree.map(lambda value, like: value.reshape(like.shape), given, weights)
        return shaped, state

    def params(weights: Any) -> Params:
        return {
            name: {theirs[leaf]: value.squeeze() if leaf in ("scale", "offset") else value
                   for leaf, value in leaves.items()}
            for name, leaves in weights.items()
        }  # fmt: skip

    return learner(task, begin, lambda weights, state, x, key: net.apply(weights, state, key, x), params)


def eqx(task: Task, *, filtered: bool = True) -> Learner:
    """Equinox: the model itself is carried and `filter_jit` sorts it, or (not `filtered`) its arrays alone."""
    e = equinox()
    layers = task.network.layers

    class BothWays(e.Module):  # type: ignore[misc, name-defined, unused-ignore]
        cells: list[Any]

        def __call__(self, x: Any) -> Any:
            def last(cell: Any, reverse: bool) -> Any:
                zeros = jnp.zeros(cell.hidden_size)
                return lax.scan(lambda h, value: (cell(value, h), None), zeros, x, reverse=reverse)[0]

            return jnp.concatenate([last(cell, bool(index)) for index, cell in enumerate(self.cells)])

    class Net(e.Module):  # type: ignore[misc, name-defined, unused-ignore]
        layers: list[Any]

        def __call__(self, x: Any, state: Any, key: Any) -> Any:
            for layer in self.layers:
                if isinstance(layer, e.nn.BatchNorm):
                    x, state = layer(x, state)
                elif isinstance(layer, e.nn.Dropout):
                    x = layer(x, key=key)
                else:
                    x = layer(x)
            return x, state

    key = jax.random.key(1)

    def build(layer: Any) -> Any:
        if isinstance(layer, Dense):
            return e.nn.Linear(layer.inputs, layer.features, key=key)
        if isinstance(layer, Conv):
            make = getattr(e.nn, f"Conv{len(layer.window)}d")
            padding = "SAME" if layer.padding is None else layer.padding
            return make(
                layer.inputs, layer.features, layer.window, layer.stride, padding, use_bias=layer.bias, key=key
            )  # fmt: skip
        if isinstance(layer, Norm):
            return e.nn.BatchNorm(layer.features, "batch", momentum=0.9, mode="batch")
        if isinstance(layer, BiGRU):
            return BothWays([e.nn.GRUCell(layer.inputs, layer.features, key=key) for _ in range(2)])
        if isinstance(layer, Dropout):
            return e.nn.Dropout(layer.rate)
        if isinstance(layer, Pool):
            return getattr(e.nn, f"MaxPool{len(layer.window)}d")(layer.window, layer.window)
        return e.nn.Lambda(jax.nn.relu if isinstance(layer, Relu) else jnp.ravel)

    optimizer = adam(task.rate, task.decay)
    static: Any = None

    def begin(start: Params) -> Any:
        nonlocal static
        model, state = e.nn.make_with_state(lambda: Net([build(layer) for layer in layers]))()
        for index, layer in enumerate(layers):
            if isinstance(layer, Dense | Conv | Norm):
                old = model.layers[index]
                model = e.tree_at(lambda model, index=index: model.layers[index], model, _filled(layer, start, old))
            elif isinstance(layer, BiGRU):
                cells = [_filled_cell(cell, start[layer.name][way], layer.features)
                         for cell, way in zip(model.layers[index].cells, DIRECTIONS, strict=True)]  # fmt: skip
                model = e.tree_at(lambda model, index=index: model.layers[index].cells, model, cells)
        arrays, static = e.partition(model, e.is_array)
        opt_state = optimizer.init(e.filter(model, e.is_inexact_array))
        arrays, state, opt_state = jax.tree.map(jnp.array, (arrays, state, opt_state))
        return e.combine(arrays, static) if filtered else arrays, state, opt_state, jnp.array(0)

    def _filled(layer: Any, start: Params, old: Any) -> Any:
        names = {"kernel": "weight", "scale": "weight", "bias": "bias", "offset": "bias"}
        for leaf, value in start[layer.name].items():
            name = names[leaf]
            value = jnp.asarray(channels_first(layer, leaf, value)).reshape(getattr(old, name).shape)
            old = e.tree_at(lambda module, name=name: getattr(module, name), old, value)
        return old

    def _filled_cell(cell: Any, leaves: Params, features: int) -> Any:
        bias, late = np.array(leaves["input_bias"]), leaves["recurrent_bias"]
        bias[: 2 * features] += late[: 2 * features]
        new = (leaves["input_kernel"].T, leaves["recurrent_kernel"].T, bias, late[2 * features :])
        places = lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n)  # noqa: E731
        return e.tree_at(places, cell, tuple(map(jnp.asarray, new)))

    def objective(model: Any, state: Any, inputs: Any, labels: Any, key: Any) -> Any:
        keys = jax.random.split(key, len(labels))
        over = jax.vmap(model, in_axes=(0, None, 0), out_axes=(0, None), axis_name="batch")
        logits, state = over(inputs, state, keys)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

    def step(carry: Any, inputs: Any, labels: Any) -> Any:
        model, state, opt_state, number = carry
        if not filtered:
            model = e.combine(model, static)
        gradient = e.filter_value_and_grad(objective, has_aux=True)
        (loss, state), gradients = gradient(model, state, inputs, labels, jax.random.fold_in(key, number))
        updates, opt_state = optimizer.update(gradients, opt_state, e.filter(model, e.is_inexact_array))
        model = e.apply_updates(model, updates)
        return (model if filtered else e.filter(model, e.is_array), state, opt_state, number + 1), loss

    def logits(carry: Any, inputs: Any) -> Any:
        model, state = carry[:2]
        own = model if filtered else e.combine(model, static)
        return jax.vmap(lambda x: own(x, state, key)[0])(inputs)

    def params(carry: Any) -> Params | None:
        if any(isinstance(layer, BiGRU) for layer in layers):
            return None
        found: Params = {}
        for layer, module in zip(layers, carry[0].layers, strict=True):
            if isinstance(layer, Dense | Conv | Norm):
                names = ("scale", "offset") if isinstance(layer, Norm) else ("kernel", "bias")
                leaves = {names[0]: module.weight, names[1]: module.bias}
                found[layer.name] = {
                    leaf: channels_last(layer, leaf, np.asarray(value))
                    for leaf, value in leaves.items() if value is not None
                }  # fmt: skip
        return found

    axes = task.inputs.ndim
    recurrent = any(isinstance(layer, BiGRU) for layer in layers)
    turn = None if recurrent or axes < 3 else (0, axes - 1, *range(1, axes - 1))
    return Learner(begin, step, logits, params, turn, partial(e.filter_jit, donate="all-except-first"), e.filter_jit)


def _fitting(given: Params, like: Params) -> Params:
    """The given arrays, after a look at whether all leaves have been given in their shapes."""
    return jax.tree.map(lambda like, value: jnp.asarray(value).reshape(like.shape), like, given)
