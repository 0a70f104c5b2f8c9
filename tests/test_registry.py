"""Every enrolled function, with the arguments as enrolled: transforms, compilation, refusals.

What holds for any shape and option is in test_properties.py, which draws them.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import backprop, data, gradcheck, lab, losses, nn, penalties, train
from tests.backprop.table import RULES_UNDER_TEST
from tests.properties import arrays, call, scalar, static
from tests.registry import ELSEWHERE, ENTRIES
from tests.tolerance import assert_close

MODULES = {
    "backprop": backprop,
    "data": data,
    "gradcheck": gradcheck,
    "lab": lab,
    "losses": losses,
    "nn": nn,
    "penalties": penalties,
    "train": train,
}
# The rules of the chain rule by hand have a table of their own, with properties of their own.
RULES = {f"backprop.{case.rule}_{half}" for case in RULES_UNDER_TEST for half in ("fwd", "bwd")}
ROOT = Path(__file__).parent.parent
BAD = [(entry, bad) for entry in ENTRIES for bad in entry.bad]


def every(entries=ENTRIES):
    return pytest.mark.parametrize("entry", entries, ids=[entry.name for entry in entries])


def test_every_public_function_is_enrolled():
    public = {f"{name}.{item}" for name, module in MODULES.items() for item in module.__all__} - {"nn.activations"}
    enrolled = [entry.name for entry in ENTRIES]
    assert len(set(enrolled)) == len(enrolled)
    assert public - set(enrolled) - set(ELSEWHERE) - RULES == set(), "enrol these in tests/registry.py"
    assert set(enrolled) | set(ELSEWHERE) | RULES <= public, "these are no longer public"
    for name, place in ELSEWHERE.items():
        files = [word for word in place.split() if word.startswith("tests/")]
        assert all((ROOT / file).exists() for file in files), f"{name} is said to be tested in {files}"


@pytest.mark.slow(one_in=2)
@every([entry for entry in ENTRIES if entry.smooth])
def test_hessian_vector_products_exist_and_are_finite(entry, rng, x64):
    args = entry.make(rng, jnp.float64)
    smooth = tuple(args[position] for position in entry.smooth)
    gradient = jax.grad(scalar(entry, args), argnums=tuple(range(len(smooth))))
    if entry.forward:
        products = jax.jit(lambda *xs: jax.jvp(gradient, xs, xs)[1])(*smooth)
    else:
        products = jax.jit(lambda *xs: jax.vjp(gradient, *xs)[1](xs))(*smooth)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(products))


@pytest.mark.slow
@every([entry for entry in ENTRIES if entry.smooth and entry.batched])
@pytest.mark.parametrize("over", ["scan", "shard_map"])
def test_values_and_gradients_inside_a_scan_and_on_several_devices(entry, over, rng):
    args = entry.make(rng, jnp.float32)
    # Four copies of the batch along a new axis, one for each step or device; what is not batched is shared.
    copies = [jnp.stack([args[position]] * 4) for position in entry.batched]
    smooth = tuple(position for position in entry.smooth if position in entry.batched)

    def one(*batched):
        whole = list(args)
        for position, arg in zip(entry.batched, batched, strict=True):
            whole[position] = arg
        value = jax.tree.leaves(call(entry)(*whole))[0]
        if not smooth:
            return value, ()
        whole_smooth = [whole[position] for position in smooth]
        part = dataclasses.replace(entry, smooth=smooth)
        return value, jax.grad(scalar(part, whole), argnums=tuple(range(len(smooth))))(*whole_smooth)

    if over == "scan":
        results = jax.jit(lambda *xs: jax.lax.scan(lambda carry, x: (carry, one(*x)), None, xs)[1])(*copies)
    else:
        devices = jax.make_mesh((4,), ("device",), axis_types=(jax.sharding.AxisType.Auto,))
        spec = jax.sharding.PartitionSpec("device")

        def local(*xs):
            return jax.tree.map(lambda leaf: leaf[None], one(*(x[0] for x in xs)))

        results = jax.jit(jax.shard_map(local, mesh=devices, in_specs=spec, out_specs=spec))(*copies)
    expected = one(*(args[position] for position in entry.batched))
    for many, single in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        for copy in many:
            assert_close(copy, single, length=64)


@pytest.mark.slow(one_in=2)
@every()
def test_a_second_call_does_not_compile_again(entry, seed):
    traces = []
    args = entry.make(np.random.default_rng(seed), jnp.float32)

    # Of the same name as what `call` makes, so that other tests' compiled code serves it.
    def run(*args):
        traces.append(1)
        return call(entry)(*args)

    compiled = jax.jit(run, static_argnums=static(args))
    for offset in range(3):
        compiled(*entry.make(np.random.default_rng(seed + offset), jnp.float32))
    assert len(traces) == 1


@pytest.mark.slow(one_in=2)
@every()
def test_no_tracer_leaks(entry, rng):
    args = entry.make(rng, jnp.float32)
    with jax.checking_leaks():
        jax.jit(call(entry), static_argnums=static(args))(*args)


@pytest.mark.slow(one_in=2)
@every()
def test_shapes_are_known_without_computing(entry, rng):
    args = entry.make(rng, jnp.float32)
    held = static(args)

    def run(*given):
        rest = iter(given)
        return call(entry)(*[arg if position in held else next(rest) for position, arg in enumerate(args)])

    specs = jax.tree.leaves(jax.eval_shape(run, *arrays(args)))
    for spec, leaf in zip(specs, jax.tree.leaves(call(entry)(*args)), strict=True):
        assert (spec.shape, spec.dtype) == (leaf.shape, leaf.dtype)


@pytest.mark.parametrize(
    ("entry", "bad"), BAD, ids=[f"{entry.name}-{bad.argument}-{i}" for i, (entry, bad) in enumerate(BAD)]
)
def test_bad_input_is_refused_by_name(entry, bad, rng):
    args, options = list(entry.make(rng, jnp.float32)), dict(entry.options)
    bad.change(args, options)
    with pytest.raises(bad.error) as caught:
        entry.function(*args, **options)
    message = str(caught.value)
    assert type(caught.value) is bad.error
    assert message.startswith(f"dlcore.{entry.name}: `{bad.argument}` came as "), message
    assert "; expected " in message
