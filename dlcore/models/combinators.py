"""Composition: layers in a row, side by side, around, repeated, and looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import _checks
from dlcore._typing import Array, Key, State
from dlcore.models.layer import Layer, spec_of

__all__ = ["parallel", "residual", "serial", "stack", "tap"]


def serial(**layers: Layer) -> Layer:
    """Layers one after another.

        y = f_n(… f_2(f_1(x)))

    Args:
      **layers: in order, by name. The names become the keys of params and state.

    Returns:
      A `Layer`. `init` infers every width from `x_spec` without computing anything; params and state are dicts
      with one entry a layer. `apply` splits `key` once, one part for each layer.

    Raises:
      TypeError: if an argument is not a `Layer`.
      ValueError: if params or state lack a layer's entry.

    Gradient: the chain rule.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> net = models.serial(fc1=models.dense(16), act=models.relu(), out=models.dense(3))
      >>> params, state = net.init(jax.random.key(0), jax.ShapeDtypeStruct((8, 4), jnp.float32))
      >>> params["out"]["kernel"].shape
      (16, 3)
      >>> net.apply(params, state, jnp.ones((8, 4)), key=None, train=False)[0].shape
      (8, 3)

    Source: function composition; `stax.serial` of JAX.
    """
    children = _layers("models.serial", layers)

    def init(key: Key, x_spec: Any) -> tuple[dict[str, Any], State]:
        spec = spec_of("models.serial", x_spec)
        params, state = {}, {}
        for (name, layer), child in zip(children.items(), _keys("models.serial", key, len(children)), strict=True):
            with _inside("models.serial", name):
                params[name], state[name] = layer.init(child, spec)
                spec = _output_spec(layer, params[name], state[name], spec)
        return params, state

    def apply(params: Any, state: State, x: Any, *, key: Key | None, train: bool) -> tuple[Any, State]:
        _entries("models.serial", params, state, children)
        after = {}
        for (name, layer), child in zip(children.items(), _split("models.serial", key, len(children)), strict=True):
            with _inside("models.serial", name):
                x, after[name] = layer.apply(params[name], state[name], x, key=child, train=train)
        return x, after

    return Layer(init, apply)


def parallel(combine: Callable[..., Any], /, **branches: Layer) -> Layer:
    """Layers side by side on one input, and what joins their outputs.

        y = combine(f_1(x), …, f_n(x))

    Args:
      combine: takes the outputs, in order: `lambda a, b: a + b`, or
        `lambda *ys: jnp.concatenate(ys, axis=-1)`.
      **branches: by name; the names become the keys of params and state.

    Returns:
      A `Layer`. `apply` splits `key` once, one part for each branch.

    Raises:
      TypeError: if `combine` cannot be called, or a branch is not a `Layer`.
      ValueError: if params or state lack a branch's entry.

    Gradient: the sum over the branches.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> gated = models.parallel(lambda a, b: a * jax.nn.sigmoid(b), value=models.dense(2), gate=models.dense(2))
      >>> params, state = gated.init(jax.random.key(0), jnp.ones((1, 3)))
      >>> sorted(params)
      ['gate', 'value']

    Source: Szegedy et al. 2015, "Going deeper with convolutions", for parallel branches.
    """
    if not callable(combine):
        raise _checks.type_error(
            "models.parallel", "combine", _checks.describe(combine), "a function of the outputs", "It comes first."
        )
    return _side_by_side("models.parallel", combine, branches)


def _side_by_side(name: str, combine: Callable[..., Any], branches: Mapping[str, Layer]) -> Layer:
    children = _layers(name, branches)

    def init(key: Key, x_spec: Any) -> tuple[dict[str, Any], State]:
        spec = spec_of(name, x_spec)
        params, state = {}, {}
        for (label, layer), child in zip(children.items(), _keys(name, key, len(children)), strict=True):
            with _inside(name, label):
                params[label], state[label] = layer.init(child, spec)
        return params, state

    def apply(params: Any, state: State, x: Any, *, key: Key | None, train: bool) -> tuple[Any, State]:
        _entries(name, params, state, children)
        outputs, after = [], {}
        for (label, layer), child in zip(children.items(), _split(name, key, len(children)), strict=True):
            with _inside(name, label):
                y, after[label] = layer.apply(params[label], state[label], x, key=child, train=train)
            outputs.append(y)
        return combine(*outputs), after

    return Layer(init, apply)


def residual(body: Layer, *, shortcut: Layer | None = None) -> Layer:
    """A layer around which its input is carried.

        y = shortcut(x) + body(x)

    Args:
      body: the layer.
      shortcut: what is added; the input itself if `None`.

    Returns:
      A `Layer` with params and state `{"body": …}` and perhaps `"shortcut"`.

    Raises:
      TypeError: if an argument is not a `Layer`.
      ValueError: if the two shapes or dtypes differ: nothing is broadcast.

    Gradient: the identity's (or the shortcut's) plus the body's, so that it does not vanish with depth.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> block = models.residual(models.serial(fc=models.dense(4), act=models.relu()))
      >>> params, state = block.init(jax.random.key(0), jnp.ones((2, 4)))
      >>> block.apply(params, state, jnp.ones((2, 4)), key=None, train=False)[0].shape
      (2, 4)

    Source: He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", eq. 1 and 2.
    """

    children = {"body": body} if shortcut is None else {"body": body, "shortcut": shortcut}
    branches = _side_by_side("models.residual", lambda *outputs: outputs, children)

    def init(key: Key, x_spec: Any) -> tuple[dict[str, Any], State]:
        params, state = branches.init(key, x_spec)
        # The sum is checked here already, not at the first step of training.
        _output_spec(Layer(init, apply), params, state, spec_of("models.residual", x_spec))
        return params, state

    def apply(params: Any, state: State, x: Any, *, key: Key | None, train: bool) -> tuple[Any, State]:
        (change, *rest), after = branches.apply(params, state, x, key=key, train=train)
        carried = rest[0] if rest else x
        if carried.shape != change.shape or carried.dtype != change.dtype:
            raise _checks.value_error(
                "models.residual",
                "body",
                f"a layer that turns the shortcut's {_specs(carried)} into {_specs(change)}",
                "one shape and dtype for both, since they are added",
                "Give shortcut=models.dense(...) or models.conv(...) to match widths and strides.",
            )
        return carried + change, after

    return Layer(init, apply)


def stack(layer: Layer, n: int) -> Layer:
    """One layer `n` times in a row, with parameters of its own each time, compiled once.

        y = f(θ_n, … f(θ_2, f(θ_1, x)))

    Args:
      layer: keeps the shape and dtype of its input.
      n: how often.

    Returns:
      A `Layer` whose leaves of params and state have a leading axis of size `n`; `apply` is a `lax.scan` over it,
      so that compile time does not grow with depth.

    Raises:
      TypeError: if `layer` is not a `Layer`, or `n` not an int.
      ValueError: if `n` is below 1, or `layer` changes the shape or dtype of its input.

    Gradient: the chain rule.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> deep = models.stack(models.serial(fc=models.dense(4), act=models.relu()), 10)
      >>> params, state = deep.init(jax.random.key(0), jnp.ones((2, 4)))
      >>> params["fc"]["kernel"].shape
      (10, 4, 4)

    Source: Haiku's `layer_stack`.
    """
    name = "models.stack"
    _layers(name, {"layer": layer})
    n = _checks.integer(name, "n", n, low=1)

    def init(key: Key, x_spec: Any) -> tuple[Any, State]:
        spec = spec_of(name, x_spec)
        params, state = jax.vmap(lambda child: layer.init(child, spec))(jax.random.split(_checks.key(name, key), n))
        first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (params, state))
        _keeps(spec, _output_spec(layer, first[0], first[1], spec))
        return params, state

    def apply(params: Any, state: State, x: Any, *, key: Key | None, train: bool) -> tuple[Any, State]:
        keys = None if key is None else jax.random.split(_checks.key(name, key), n)

        def body(x: Any, each: Any) -> tuple[Any, State]:
            y, after = layer.apply(each[0], each[1], x, key=each[2], train=train)
            _keeps(x, y)
            return y, after

        return lax.scan(body, x, (params, state, keys), length=n)

    return Layer(init, apply)


def tap(function: Callable[[Array], Any]) -> Layer:
    """Lets `x` through, and records something of it as state: diagnostics need no hooks.

        y = x,   state ← f(x)

    Args:
      function: `x -> record`, of a shape that does not change.

    Returns:
      A `Layer` without parameters, whose state is the last record: zeros of its shape after `init`.

    Raises:
      TypeError: if `function` cannot be called.

    Gradient: the identity; none flows through the record.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> look = models.tap(jnp.mean)
      >>> params, state = look.init(jax.random.key(0), jnp.ones(3))
      >>> look.apply(params, state, jnp.array([1.0, 2.0, 3.0]), key=None, train=False)[1]
      Array(2., dtype=float32)

    Source: `sow` of Flax, without its collections.
    """
    if not callable(function):
        raise _checks.type_error(
            "models.tap", "function", _checks.describe(function), "a function of x", "models.tap(jax.numpy.mean)."
        )

    def init(key: Key, x_spec: Any) -> tuple[dict[str, Any], State]:
        record = jax.eval_shape(function, spec_of("models.tap", x_spec))
        return {}, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), record)

    def apply(params: Any, state: State, x: Any, *, key: Key | None, train: bool) -> tuple[Any, State]:
        # Strongly typed, as the zeros of init are: a weak type would compile the next step anew.
        record = jax.tree.map(jnp.asarray, function(lax.stop_gradient(x)))
        return x, jax.tree.map(lambda leaf: lax.convert_element_type(leaf, leaf.dtype), record)

    return Layer(init, apply)


def _layers(function: str, layers: Mapping[str, Any]) -> Mapping[str, Layer]:
    for name, layer in layers.items():
        if not isinstance(layer, Layer):
            raise _checks.type_error(
                function,
                name,
                _checks.describe(layer),
                "a Layer",
                "Call the maker, models.relu() and not models.relu; models.lift(f) makes a layer of a function.",
            )
        if "/" in name:
            raise _checks.value_error(function, name, repr(name), "a name without '/'", "Slashes join leaf paths.")
    return layers


def _keys(function: str, key: Key, n: int) -> list[Key]:
    return list(jax.random.split(_checks.key(function, key), n)) if n else []


def _split(function: str, key: Key | None, n: int) -> Sequence[Key | None]:
    return [None] * n if key is None else _keys(function, key, n)


def _output_spec(layer: Layer, params: Any, state: State, spec: Any) -> Any:
    """The shape and dtype of a layer's output, without computing it."""

    def run(params: Any, state: State, x: Any) -> Any:
        return layer.apply(params, state, x, key=None, train=False)[0]

    return jax.eval_shape(run, params, state, spec)


def _keeps(x: Any, y: Any) -> None:
    def differ(a: Any, b: Any) -> bool:
        return a.shape != b.shape or a.dtype != b.dtype

    before: Any = jax.tree.structure(x)
    after: Any = jax.tree.structure(y)
    if before != after or any(map(differ, jax.tree.leaves(x), jax.tree.leaves(y))):
        raise _checks.value_error(
            "models.stack",
            "layer",
            f"a layer that turns {_specs(x)} into {_specs(y)}",
            "one that keeps shape and dtype, since its output is its next input",
            "Match the widths, or use models.serial for layers that differ.",
        )


def _specs(x: Any) -> str:
    return ", ".join(f"{leaf.dtype} of shape {tuple(leaf.shape)}" for leaf in jax.tree.leaves(x))


def _entries(function: str, params: Any, state: Any, layers: Mapping[str, Layer]) -> None:
    for argument, tree in (("params", params), ("state", state)):
        if not isinstance(tree, Mapping) or any(name not in tree for name in layers):
            came = f"a dict with {list(tree)}" if isinstance(tree, Mapping) else _checks.describe(tree)
            raise _checks.value_error(
                function, argument, came, f"a dict with {list(layers)}", "init returns (params, state); pass both on."
            )


@contextlib.contextmanager
def _inside(function: str, name: str) -> Iterator[None]:
    """Adds the layer's name to an error from inside it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        error.add_note(f"in layer {name!r} of {function}")
        raise
