"""What every enrolled function must satisfy, as plain functions of an entry and a seed for its values.

test_registry.py applies some to the arguments as enrolled, test_properties.py to drawn ones, and
test_planted_mistakes.py shows that a wrong function fails them.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import gradcheck
from tests.tolerance import OPERATIONS, assert_close

# The sums in a drawn example have at most about this many terms.
LENGTH = 64
# One more than 2¹⁵, where compilers take other code; odd, and a multiple of the three examples that are repeated.
ROWS = 32_769


def is_key(arg):
    return isinstance(arg, jax.Array) and jnp.issubdtype(arg.dtype, jax.dtypes.prng_key)


def is_float(leaf):
    return not is_key(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def call(entry):
    """The entry's function; it may be called twice with one key, which the properties compare on purpose."""

    def run(*args):
        return entry.function(*[jax.random.clone(arg) if is_key(arg) else arg for arg in args], **entry.options)

    return run


def static(args):
    """Which arguments are no arrays: sizes and windows."""
    return tuple(
        i
        for i, arg in enumerate(args)
        if not jax.tree.leaves(arg) or (isinstance(arg, int | tuple) and not hasattr(arg, "_fields"))
    )


def arrays(args):
    """The arguments that may be traced."""
    held = static(args)
    return [arg for position, arg in enumerate(args) if position not in held]


def scalar(entry, args):
    """A scalar function of the differentiable arguments, in which all outputs have different weights."""

    def value(*smooth):
        leaves = smooth_outputs(entry, args)(*smooth)
        weights = [jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape) for leaf in leaves]
        return sum((leaf * weight).sum().astype(leaves[0].dtype) for leaf, weight in zip(leaves, weights, strict=True))

    return value


def smooth_outputs(entry, args):
    """The floating outputs as a function of the differentiable arguments."""

    def run(*smooth):
        whole = list(args)
        for position, arg in zip(entry.smooth, smooth, strict=True):
            whole[position] = arg
        return [leaf for leaf in jax.tree.leaves(call(entry)(*whole)) if is_float(leaf)]

    return run


def graded(entry, args):
    """`run(arrays(args), cotangents) -> (outputs, gradients)`: all that a function and its derivative say."""
    held = static(args)

    def run(given, weights):
        rest = iter(given)
        whole = [arg if position in held else next(rest) for position, arg in enumerate(args)]
        outputs = jax.tree.leaves(call(entry)(*whole))
        if not entry.smooth:
            return outputs, ()
        values, back = jax.vjp(smooth_outputs(entry, whole), *(whole[position] for position in entry.smooth))
        integers = [leaf for leaf in outputs if not is_float(leaf)]
        return [*values, *integers], back(weights)

    return run


def cotangents(entry, args):
    """One weight for each floating output, no two alike."""
    held = static(args)

    def run(*given):
        rest = iter(given)
        return call(entry)(*[arg if position in held else next(rest) for position, arg in enumerate(args)])

    specs = [spec for spec in jax.tree.leaves(jax.eval_shape(run, *arrays(args))) if is_float(spec)]
    return [jnp.asarray(np.cos(np.arange(spec.size)).reshape(spec.shape), spec.dtype) for spec in specs]


def near(actual, expected, *, length=LENGTH, least=1.0):
    """Two trees agree: floats up to rounding, the rest exactly; the same NaN and infinities.

    Data and weights of the examples have size one, so that this is the size of the terms that were summed, even where
    they cancel; `least` is another size.
    """
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if not is_float(a):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
            continue
        wide = np.asarray(b).astype(np.float64)
        scale = max([least, *np.abs(wide[np.isfinite(wide)])])
        assert_close(a, b, length=length, scale=scale)


def same_kind(actual, expected):
    """Two trees have the same shapes and dtypes."""
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (actual, expected)]
    assert kinds[0] == kinds[1]


def widen(tree):
    """The same numbers in float64."""

    def wide(leaf):
        return (
            jnp.asarray(np.asarray(leaf).astype(np.float64)) if isinstance(leaf, jax.Array) and is_float(leaf) else leaf
        )

    return jax.tree.map(wide, tree)


def on_host(tree):
    """NumPy's arrays: what a property does with results must not compile."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), tree)


# ---- the properties


def ways_of_running_agree(entry, seed, eager_gradient=True):
    """Compiled, eager and, where examples are independent, mapped and looped over: one result, one gradient.

    An eager gradient compiles its dozens of operations one by one, which takes as long as all the rest three times
    over; without it, the eager values alone are compared.
    """
    args = entry.make(np.random.default_rng(seed), jnp.float32)
    given, weights, run = arrays(args), cotangents(entry, args), graded(entry, args)
    compiled = jax.jit(run)(given, weights)
    eager = run(given, weights) if eager_gradient or not entry.smooth else (reordered(call(entry)(*args)), compiled[1])
    same_kind(compiled, eager)
    near(compiled, eager)
    if entry.batched and entry.independent:
        mapped, looped = by_example(entry, args, weights)
        near(mapped, compiled)
        near(looped, compiled)


def by_example(entry, args, weights, *, loop=True):
    """What `graded` gives, from vmap over single examples and from a Python loop over them."""
    size = args[entry.batched[0]].shape[0]
    host = {position: np.asarray(args[position]) for position in entry.batched}
    axes = [0 if position in entry.batched else None for position in range(len(args)) if position not in static(args)]

    def example(index):
        return [host[position][index] if position in entry.batched else arg for position, arg in enumerate(args)]

    def whole(results):
        """What is shared has the sum of its examples' gradients."""
        outputs, gradients = on_host(results)
        pairs = zip(entry.smooth, gradients, strict=True)
        return outputs, tuple(
            part if position in entry.batched else jax.tree.map(lambda leaf: leaf.sum(0), part)
            for position, part in pairs
        )

    one = graded(entry, example(0))
    shares = [weight.shape for weight in cotangents(entry, example(0))]
    assert shares == [weight.shape[1:] for weight in weights], "an example alone has another shape than in the batch"
    mapped = whole(jax.jit(jax.vmap(one, in_axes=(axes, 0)))(arrays(args), weights))
    if not loop:
        return mapped, None
    compiled = jax.jit(one)
    weights = on_host(weights)
    single = [compiled(arrays(example(i)), [weight[i] for weight in weights]) for i in range(size)]
    return mapped, whole(jax.tree.map(lambda *leaves: np.stack(leaves), *single))


def precisions_agree(entry, seed):
    """Every dtype is kept, and its values and gradients are those of float64 for the same numbers, up to rounding."""
    with jax.enable_x64(True):
        exact = None
        for dtype in map(jnp.dtype, entry.dtypes):
            args = entry.make(np.random.default_rng(seed), dtype)
            weights = cotangents(entry, args)
            assert weights[0].dtype == dtype
            exact = exact or jax.jit(graded(entry, widen(args)))
            expected = exact(arrays(widen(args)), widen(weights))
            outputs, gradients = (
                expected if dtype == np.float64 else jax.jit(graded(entry, args))(arrays(args), weights)
            )
            same_kind(gradients, tuple(args[position] for position in entry.smooth))
            # Few terms: in bfloat16, many terms' tolerance would be as large as the result.
            near((outputs, gradients), expected, length=4)


def data_positions(entry):
    """The arguments that are data: batched and floating; all floating ones where none is batched."""
    return tuple(position for position in entry.smooth if position in entry.batched) or entry.smooth


def filled(entry, args, positions, fill):
    """`args` with the floating leaves of some replaced by `fill(leaf)`."""
    result = list(args)
    for position in positions:
        result[position] = jax.tree.map(
            lambda leaf: jnp.asarray(fill(leaf), leaf.dtype) if is_float(leaf) else leaf, args[position]
        )
    return tuple(result)


def plain_values(rng):
    """Finite data at which much goes wrong: `{name: fill(leaf)}`."""
    return {
        "zeros": lambda leaf: np.zeros(leaf.shape),
        # No drawn threshold stands here, nor at a tie: at a jump there is no derivative to be proven.
        "a constant": lambda leaf: np.full(leaf.shape, 0.6875),
        "ties": lambda leaf: rng.integers(-1, 2, leaf.shape),
    }


def extreme_values(rng):
    return {
        "large": lambda leaf: 1e4 * rng.choice([-1.0, 1.0], leaf.shape),
        "tiny": lambda leaf: rng.choice([1e-30, -1e-30, 2e-38, -2e-38], leaf.shape),
        "subnormal": lambda leaf: rng.choice([1e-42, -1e-42, 1e-45, -1e-45], leaf.shape),
    }


def awkward_values_do_no_harm(entry, seed):
    """Data at which much goes wrong.

    Zeros, a constant, ties, large and tiny values: values and gradients are finite and near float64's. inf, −inf and
    NaN in one example: no other example's value or gradient changes at all. Compiled and eager values agree in each.
    """
    rng = np.random.default_rng(seed)
    # float64 is on for all of it, since draws of random integers may depend on the setting.
    with jax.enable_x64(True):
        args = entry.make(rng, jnp.float32)
        weights, run = cotangents(entry, args), jax.jit(graded(entry, args))
        exact = jax.jit(graded(entry, widen(args)))
        for name, fill in (plain_values(rng) | extreme_values(rng)).items():
            # Rounding is relative to what is summed, and so to the data where they are large.
            least = 1e4 if name == "large" else 1.0
            changed = filled(entry, args, data_positions(entry), fill)
            result = on_host(run(arrays(changed), weights))
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result)), name
            if name == "subnormal" and entry.jumps_at_zero:
                continue  # compiled code may take these numbers for 0
            near(result[0], reordered(call(entry)(*changed)), least=least)
            expected = on_host(exact(arrays(widen(changed)), widen(weights)))
            # Compiled code may take subnormal numbers for 0, and a kink there has another gradient than its side.
            near(result[0], expected[0], least=least)
            if name != "subnormal":
                near(result[1], expected[1], least=least**entry.degree)
        poison_stays_in_its_example(entry, args, weights, run, rng)


def reordered(outputs):
    """Floating outputs first, as `graded` has them."""
    leaves = jax.tree.leaves(outputs)
    return [leaf for leaf in leaves if is_float(leaf)] + [leaf for leaf in leaves if not is_float(leaf)]


def poison_stays_in_its_example(entry, args, weights, run, rng):
    clean = run(arrays(args), weights)
    positions = data_positions(entry)
    batched = positions[0] in entry.batched
    row = int(rng.integers(args[positions[0]].shape[0])) if batched else 0
    for value in (np.inf, -np.inf, np.nan):

        def poison(leaf, value=value):
            changed = np.array(leaf)
            part = changed[row : row + 1] if batched else changed
            part.flat[rng.integers(part.size)] = value
            return changed

        changed = filled(entry, args, positions, poison)
        outputs, gradients = run(arrays(changed), weights)
        same_kind((outputs, gradients), clean)
        near(outputs, reordered(call(entry)(*changed)))
        if not (batched and entry.independent):
            continue
        of_examples = [entry.smooth.index(position) for position in positions]
        after = on_host((outputs, [gradients[index] for index in of_examples]))
        before = on_host((clean[0], [clean[1][index] for index in of_examples]))
        for got, wanted in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
            others = np.arange(len(wanted)) != row
            np.testing.assert_array_equal(got[others], wanted[others], f"{value} in example {row}")


def nothing_comes_from_nothing(entry, seed):
    """An empty batch gives an empty result and zero gradients."""
    args = entry.make(np.random.default_rng(seed), jnp.float32)
    empty = [
        jnp.asarray(np.asarray(arg)[:0]) if position in entry.batched else arg for position, arg in enumerate(args)
    ]
    full, weights = cotangents(entry, args), cotangents(entry, empty)
    assert weights[0].shape == (0, *full[0].shape[1:]) if weights else True
    outputs, gradients = jax.jit(graded(entry, empty))(arrays(empty), weights)
    assert outputs[0].shape[0] == 0
    eager = reordered(call(entry)(*empty))
    same_kind(outputs, eager)
    near(outputs, eager)
    same_kind(gradients, tuple(empty[position] for position in entry.smooth))
    assert all(np.isfinite(leaf).all() for leaf in on_host(outputs)), "nothing was divided by nothing"
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(on_host(gradients)))


def gradients_are_proven(entry, seed, fill=None, order=1):
    """Reverse and forward mode are what finite differences say; `fill` chooses the data, see `plain_values`."""
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        args = entry.make(rng, jnp.float64)
        if fill is not None:
            args = filled(entry, args, entry.smooth, plain_values(rng)[fill])
        smooth = [args[position] for position in entry.smooth]
        gradcheck.assert_gradients(smooth_outputs(entry, args), *smooth, key=jax.random.key(seed), order=order)


def large_batches_agree(entry, seed, rows=ROWS):
    """Compilers change their code at sizes: what holds for three examples holds for `rows`.

    Where examples are independent, three of them are repeated: each copy has the values and gradients that the three
    have in float64, whether the batch is one call or mapped over. Otherwise the entry comes with `rows` rows, and the
    compiled float32 result is held against the eager one in float64.
    """
    with jax.enable_x64(True):
        args = entry.make(np.random.default_rng(seed), jnp.float32)
        weights = cotangents(entry, args)
        exact = graded(entry, widen(args))
        if entry.batched and entry.independent:
            outputs, gradients = on_host(jax.jit(exact)(arrays(widen(args)), widen(weights)))
            copies_agree(entry, args, weights, outputs, gradients, rows // args[entry.batched[0]].shape[0])
        else:
            expected = exact(arrays(widen(args)), widen(weights))
            near(jax.jit(graded(entry, args))(arrays(args), weights), expected, length=rows)


def copies_agree(entry, args, weights, outputs, gradients, copies):
    """`copies` of the batch have copies of its results, and what is shared has that many times its gradient."""

    def tile(tree):
        return jax.tree.map(lambda leaf: np.tile(leaf, (copies,) + (1,) * (leaf.ndim - 1)), on_host(tree))

    big = [jnp.asarray(tile(arg)) if position in entry.batched else arg for position, arg in enumerate(args)]
    many = jax.tree.map(jnp.asarray, tile(weights))
    compiled = jax.jit(graded(entry, big))(arrays(big), many)
    # Mapped over, the data alone: a gradient of the parameters for each example would be thousands of parameters.
    data = dataclasses.replace(entry, smooth=tuple(set(entry.smooth) & set(entry.batched)))
    mapped, _ = by_example(data, big, many, loop=False)
    of = dict(zip(entry.smooth, gradients, strict=True))
    for positions, results in ((entry.smooth, compiled), (data.smooth, mapped)):
        near(results[0], tile(outputs))
        for position, got in zip(positions, results[1], strict=True):
            wanted = of[position]
            if position in entry.batched:
                near(got, tile(wanted))
            else:
                # Copies are rounded alike, so that errors grow with their number and not with its root; compiled code
                # may add one after another.
                near(got, jax.tree.map(lambda leaf: copies * leaf, wanted), length=(copies / OPERATIONS) ** 2)
