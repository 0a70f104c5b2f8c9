"""Kernels for GPUs: the values and gradients of their references in Pallas' interpreter, and Mosaic takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.kernels.layer_norm import normalise_last
from dlcore.kernels.mosaic import recurrence as resident
from dlcore.kernels.mosaic import residual_norm as fused
from dlcore.kernels.recurrence import Kernels, gru_cell, lstm_cell, plain_recurrence
from tests.tolerance import assert_close

# name: (the kernel's, the reference's, arrays of the state)
CELLS = {"gru": (resident.gru_mix, gru_cell(True), 1), "lstm": (resident.lstm_mix, lstm_cell, 2)}
# (steps, batch, D, F), backwards
SHAPES = {
    "fewer features than lanes": ((4, (3,), 2, 5), False),
    "backwards, several batch axes": ((3, (2, 2), 3, 9), True),
    "more features than lanes": ((2, (1,), 2, 130), False),
    "several sequences a program, the last with fewer": ((2, (259,), 1, 4), False),
    "no batch axis": ((3, (), 2, 4), False),
    "one step": ((1, (2,), 2, 4), True),
    "no step": ((0, (2,), 2, 4), False),
    "no sequence": ((2, (0,), 2, 4), False),
}


def drawn(rng, *shapes):
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def problem(rng, cell, shape):
    mix, _, parts = CELLS[cell]
    steps, batch, d, f = shape
    g = mix.gates
    kernels = Kernels(*drawn(rng, (d, g * f), (f, g * f), (g * f,), (g * f,)))
    kernels = kernels._replace(recurrent=kernels.recurrent / f**0.5)
    return kernels, tuple(drawn(rng, *[(*batch, f)] * parts)), *drawn(rng, (steps, *batch, d))


@pytest.mark.parametrize(
    ("cell", "shape"),
    # What a cell does not see is shown by one of them.
    [(cell, shape) for cell in CELLS for shape in SHAPES if cell == "lstm" or "no" not in shape.split()],
)
def test_the_resident_recurrence_is_the_scan(rng, cell, shape):
    (mix, reference, _), (shape, reverse) = CELLS[cell], SHAPES[shape]
    own = problem(rng, cell, shape)

    def expected(*own):
        return plain_recurrence(reference, reverse, 1, *own, None)

    def found(*own):
        return resident.resident_recurrence(mix, reverse, *own, interpret=True)

    errors = jax.tree.map(lambda y: drawn(rng, y.shape)[0], jax.eval_shape(expected, *own))

    def both(function):
        y, pull = jax.vjp(function, *own)
        return y, pull(errors)

    for actual, wanted in zip(
        *map(jax.tree.leaves, map(jax.jit(both, static_argnums=0), (found, expected))), strict=True
    ):
        assert actual.shape == wanted.shape
        assert actual.dtype == wanted.dtype
        assert_close(actual, np.asarray(wanted, np.float64), length=100, scale=float(np.abs(wanted).max(initial=0)))


@pytest.mark.parametrize(("mix", "most"), [(resident.gru_mix, 128), (resident.lstm_mix, 104)], ids=["gru", "lstm"])
def test_what_fits_is_what_shared_memory_holds(mix, most):
    assert resident.fits(mix, 1)
    assert resident.fits(mix, most)
    assert not resident.fits(mix, most + 1)


# rows, features, dtype, rate, layer norm rather than RMS norm
ROWS = {
    "float32": (64, 128, jnp.float32, 0.1, True),
    "RMS norm": (32, 384, jnp.float32, 0.5, False),
    "no dropout": (32, 128, jnp.float32, 0.0, True),
    "bfloat16": (32, 256, jnp.bfloat16, 0.25, True),
    "float16": (64, 128, jnp.float16, 1 / 3, False),
}


@pytest.mark.parametrize("case", ROWS)
def test_the_fused_norm_is_the_three_layers(rng, case):
    n, d, dtype, rate, centre = ROWS[case]
    seed, half = int(rng.integers(2**31)), dtype != jnp.float32
    own = drawn(rng, (n, d), (n, d), (d,), (d,))
    own = (own[0].astype(dtype), (3 * own[1] + 5).astype(dtype), *own[2:])
    tangents = [tangent.astype(one.dtype) for tangent, one in zip(drawn(rng, *map(jnp.shape, own)), own, strict=True)]
    assert fused.fits(own[0])

    def three(*own):
        # In float32, as the kernel computes; the sum rounded once.
        branch, residual, scale, offset = (one.astype(jnp.float32) for one in own)
        z, _ = fused.plain_residual_norm(
            jax.random.key(seed), branch, residual, scale, offset, rate, 1e-5, centre
        )  # fmt: skip
        z = z.astype(dtype).astype(jnp.float32)
        return z, normalise_last(z, scale, offset, 1e-5, centre)

    def one(*own):
        return fused.residual_norm(jax.random.key(seed), *own, rate, 1e-5, centre, interpret=True)

    errors = tuple(drawn(rng, (n, d), (n, d)))

    def everything(function):
        y, pushed = jax.jvp(function, own, tuple(tangents))
        _, pull = jax.vjp(function, *own)
        return y, pushed, pull(tuple(error.astype(part.dtype) for error, part in zip(errors, y, strict=True)))

    found, expected = (jax.jit(everything, static_argnums=0)(function) for function in (one, three))
    for actual, wanted in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        wanted = np.asarray(wanted, np.float64)
        assert_close(actual, wanted, dtype=dtype, length=1 if half else 100, scale=float(np.abs(wanted).max()))


@pytest.mark.parametrize(
    ("shape", "dtype", "fit"),
    [
        ((32, 128), jnp.float32, True),
        ((33, 128), jnp.float32, False),
        ((32, 130), jnp.float32, False),
        ((32, 8192), jnp.float32, False),
        ((0, 128), jnp.float32, False),
        ((32, 128), jnp.float16, True),
    ],
)
def test_which_rows_the_fused_norm_takes(shape, dtype, fit):
    assert fused.fits(jnp.zeros(shape, dtype)) is fit


def kernels_for_cuda(function, *arguments):
    """How many Mosaic kernels the program for CUDA has; raises where Mosaic does not take one."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    return text.count("@mosaic_gpu")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("batch", "features"), [(3, 6), (1030, 104)], ids=["small", "full"])
def test_mosaic_takes_the_recurrence(cell, batch, features):
    mix, _, parts = CELLS[cell]
    g, f = mix.gates, features
    own = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4, g * f), (f, g * f), (g * f,), (g * f,), (7, batch, 4))]
    state = (jax.ShapeDtypeStruct((batch, f), jnp.float32),) * parts

    def loss(kernels, state, x):
        return resident.resident_recurrence(mix, False, kernels, state, x)[0].sum()

    assert kernels_for_cuda(jax.grad(loss), Kernels(*own[:4]), state, own[4]) == 2


@pytest.mark.parametrize(("rows", "features"), [(32, 128), (2048, 4096)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_mosaic_takes_the_fused_norm(rows, features, dtype):
    data, numbers = (jax.ShapeDtypeStruct(s, t) for s, t in (((rows, features), dtype), ((features,), jnp.float32)))

    def loss(branch, residual, scale, offset):
        return fused.residual_norm(jax.random.key(0), branch, residual, scale, offset, 0.1, 1e-5, True)[1].sum()

    assert kernels_for_cuda(jax.grad(loss), data, data, numbers, numbers) == 1
