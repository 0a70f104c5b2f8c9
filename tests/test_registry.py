"""Every property, for every enrolled function."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import data, losses, nn, penalties, train
from tests.registry import ELSEWHERE, ENTRIES
from tests.tolerance import EPSILON, assert_close, relative

MODULES = {"nn": nn, "losses": losses, "penalties": penalties, "data": data, "train": train}
BAD = [(entry, bad) for entry in ENTRIES for bad in entry.bad]


def every(entries=ENTRIES):
    return pytest.mark.parametrize("entry", entries, ids=[entry.name for entry in entries])


def call(entry):
    """The entry's function; it may be called twice with one key, which the properties compare on purpose."""

    def run(*args):
        return entry.function(*[jax.random.clone(arg) if is_key(arg) else arg for arg in args], **entry.options)

    return run


def is_key(arg):
    return isinstance(arg, jax.Array) and jnp.issubdtype(arg.dtype, jax.dtypes.prng_key)


def static(args):
    """Which arguments are no arrays: sizes and windows."""
    return tuple(
        i
        for i, arg in enumerate(args)
        if not jax.tree.leaves(arg) or (isinstance(arg, int | tuple) and not hasattr(arg, "_fields"))
    )


def scalar(entry, args):
    """A scalar function of the differentiable arguments, in which all outputs have different weights."""

    def value(*smooth):
        whole = list(args)
        for position, arg in zip(entry.smooth, smooth, strict=True):
            whole[position] = arg
        leaves = [leaf for leaf in jax.tree.leaves(call(entry)(*whole)) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        weights = [jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape) for leaf in leaves]
        return sum((leaf * weight).sum().astype(leaves[0].dtype) for leaf, weight in zip(leaves, weights, strict=True))

    return value


def test_every_public_function_is_enrolled():
    public = {f"{name}.{item}" for name, module in MODULES.items() for item in module.__all__} - {"nn.activations"}
    enrolled = [entry.name for entry in ENTRIES]
    assert len(set(enrolled)) == len(enrolled)
    assert public - set(enrolled) - set(ELSEWHERE) == set(), "enrol these in tests/registry.py"
    assert set(enrolled) | set(ELSEWHERE) <= public, "these are no longer public"


@every()
def test_compiled_and_eager_agree(entry, rng):
    args = entry.make(rng, jnp.float32)
    compiled = jax.jit(call(entry), static_argnums=static(args))
    for a, b in zip(jax.tree.leaves(compiled(*args)), jax.tree.leaves(call(entry)(*args)), strict=True):
        if jnp.issubdtype(a.dtype, jnp.floating):
            assert_close(a, b, length=64)
        else:
            assert jnp.array_equal(a, b)


@every([entry for entry in ENTRIES if entry.smooth])
def test_compiled_and_eager_gradients_agree(entry, rng):
    args = entry.make(rng, jnp.float32)
    gradient = jax.grad(scalar(entry, args), argnums=tuple(range(len(entry.smooth))))
    smooth = [args[position] for position in entry.smooth]
    for a, b in zip(jax.tree.leaves(jax.jit(gradient)(*smooth)), jax.tree.leaves(gradient(*smooth)), strict=True):
        assert_close(a, b, length=64)


@every([entry for entry in ENTRIES if entry.smooth])
def test_reverse_mode_forward_mode_and_differences_agree(entry, rng, x64):
    args = entry.make(rng, jnp.float64)
    value = scalar(entry, args)
    smooth = [args[position] for position in entry.smooth]
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), smooth)
    h = 1e-6
    ahead = value(*jax.tree.map(lambda x, d: x + h * d, smooth, direction))
    behind = value(*jax.tree.map(lambda x, d: x - h * d, smooth, direction))
    forward = jax.jvp(value, tuple(smooth), tuple(direction))[1]
    gradients = jax.grad(value, argnums=tuple(range(len(smooth))))(*smooth)
    reverse = sum((g * d).sum() for g, d in zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True))
    scale = 1 + abs(float(forward))
    assert float(reverse) == pytest.approx(float(forward), abs=1e-12 * 64 * scale)
    # A central difference of step h has an error of h² and of rounding over h.
    assert float((ahead - behind) / (2 * h)) == pytest.approx(float(forward), abs=1e-7 * scale)


@every([entry for entry in ENTRIES if entry.smooth])
def test_hessian_vector_products_exist_and_are_finite(entry, rng, x64):
    args = entry.make(rng, jnp.float64)
    smooth = tuple(args[position] for position in entry.smooth)
    gradient = jax.grad(scalar(entry, args), argnums=tuple(range(len(smooth))))
    products = jax.jit(lambda *xs: jax.jvp(gradient, xs, xs)[1])(*smooth)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(products))


@every([entry for entry in ENTRIES if entry.batched and entry.independent])
def test_vmap_equals_the_batched_call(entry, rng):
    args = entry.make(rng, jnp.float32)
    axes = [0 if position in entry.batched else None for position in range(len(args))]
    fixed = [arg for position, arg in enumerate(args) if position not in entry.batched]

    def one(*batched):
        whole, rest, given = [], iter(fixed), iter(batched)
        for axis in axes:
            whole.append(next(given) if axis == 0 else next(rest))
        return call(entry)(*whole)

    batched = [args[position] for position in entry.batched]
    mapped, together = jax.tree.leaves(jax.vmap(one)(*batched)), jax.tree.leaves(call(entry)(*args))
    for a, b in zip(mapped, together, strict=True):
        assert_close(a, b, length=64)


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


@every([entry for entry in ENTRIES if entry.dtypes])
def test_the_dtype_is_kept_and_half_precision_is_near_float64(entry, seed, x64):
    results = {}
    for dtype in entry.dtypes:
        args = entry.make(np.random.default_rng(seed), jnp.dtype(dtype))
        first = jax.tree.leaves(call(entry)(*args))[0]
        assert first.dtype == jnp.dtype(dtype)
        results[dtype] = np.asarray(first.astype(jnp.float64))
    if entry.name in ("nn.dropout", "data.random_shift"):
        assert len({np.count_nonzero(result) for result in results.values()}) == 1, "one key, one mask"
    scale = np.abs(results["float64"]).max() + 1
    for dtype, result in results.items():
        # Inputs are rounded too: their share of the error is that of one more sum of as many terms.
        assert np.abs(result - results["float64"]).max() <= 4 * relative(dtype, 32) * scale, (dtype, EPSILON[dtype])


@every([entry for entry in ENTRIES if entry.smooth and entry.dtypes])
def test_gradients_have_the_dtype_of_their_arguments(entry, rng):
    dtype = jnp.bfloat16 if "bfloat16" in entry.dtypes else jnp.float32
    args = entry.make(rng, dtype)
    smooth = [args[position] for position in entry.smooth]
    gradients = jax.grad(scalar(entry, args), argnums=tuple(range(len(smooth))))(*smooth)
    for gradient, leaf in zip(jax.tree.leaves(gradients), jax.tree.leaves(smooth), strict=True):
        assert (gradient.dtype, gradient.shape) == (leaf.dtype, leaf.shape)
        assert jnp.isfinite(gradient).all()


@every([entry for entry in ENTRIES if entry.batched and entry.empty])
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(entry, rng):
    args = list(entry.make(rng, jnp.float32))
    for position in entry.batched:
        args[position] = args[position][:0]
    assert jax.tree.leaves(call(entry)(*args))[0].shape[0] == 0
    if entry.smooth:
        smooth = [args[position] for position in entry.smooth]
        gradients = jax.grad(scalar(entry, args), argnums=tuple(range(len(smooth))))(*smooth)
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))


@every()
def test_a_second_call_does_not_compile_again(entry, seed):
    traces = []
    args = entry.make(np.random.default_rng(seed), jnp.float32)

    def counted(*args):
        traces.append(1)
        return call(entry)(*args)

    compiled = jax.jit(counted, static_argnums=static(args))
    for offset in range(3):
        compiled(*entry.make(np.random.default_rng(seed + offset), jnp.float32))
    assert len(traces) == 1


@every()
def test_no_tracer_leaks(entry, rng):
    args = entry.make(rng, jnp.float32)
    with jax.checking_leaks():
        jax.jit(call(entry), static_argnums=static(args))(*args)


@every()
def test_shapes_are_known_without_computing(entry, rng):
    args = entry.make(rng, jnp.float32)
    held = static(args)
    arrays = [arg for position, arg in enumerate(args) if position not in held]

    def run(*arrays):
        rest = iter(arrays)
        return call(entry)(*[arg if position in held else next(rest) for position, arg in enumerate(args)])

    specs = jax.tree.leaves(jax.eval_shape(run, *arrays))
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
