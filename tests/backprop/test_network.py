"""network_gradients against the notes' formulas in NumPy scalars, and against jax.grad of the network written out."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import backprop
from dlcore.backprop import RULES
from tests.backprop import plain
from tests.tolerance import assert_close


def test_the_worked_example_a_chain_of_three_weights(x64):
    """x → w10 → w21 → w32 with one unit a layer, sigmoids, and E = (a3 − y)²: the chain rule, factor by factor."""
    x, y = 0.7, 0.2
    w10, w21, w32 = 1.3, -0.8, 2.1
    sigma = lambda z: 1 / (1 + np.exp(-z))

    z1 = x * w10
    a1 = sigma(z1)
    z2 = a1 * w21
    a2 = sigma(z2)
    z3 = a2 * w32
    a3 = sigma(z3)
    slope1, slope2, slope3 = a1 * (1 - a1), a2 * (1 - a2), a3 * (1 - a3)
    error = (a3 - y) ** 2
    dw32 = 2 * (a3 - y) * slope3 * a2
    dw21 = 2 * (a3 - y) * slope3 * w32 * slope2 * a1
    dw10 = 2 * (a3 - y) * slope3 * w32 * slope2 * w21 * slope1 * x

    params = [{"kernel": jnp.full((1, 1), w)} for w in (w10, w21, w32)]
    for options in ({}, {"activation": RULES["sigmoid"], "loss": RULES["squared_error"]}):
        found = backprop.network_gradients(
            params, jnp.full((1, 1), x), jnp.full((1, 1), y), output=RULES["sigmoid"], **options
        )
        close = partial(np.testing.assert_allclose, rtol=1e-15, atol=1e-15)
        close(found.loss, error)
        close([layer["kernel"].item() for layer in found.grads], [dw10, dw21, dw32])
        close([a.item() for a in found.activations], [x, a1, a2, a3])
        delta3 = 2 * (a3 - y) * slope3
        delta2 = delta3 * w32 * slope2
        close([d.item() for d in found.deltas], [delta2 * w21 * slope1, delta2, delta3])


def network(rng, widths, bias=True, dtype=jnp.float64):
    leaf = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)
    return [{"kernel": leaf(d, f)} | ({"bias": leaf(f)} if bias else {}) for d, f in itertools.pairwise(widths)]


def written_out(params, shifts, x, y, activation, output, loss):
    """The mean over examples of the summed losses; shifts, all zero, are added to z, so that ∂L/∂shift is δ."""
    a = x
    for index, (layer, shift) in enumerate(zip(params, shifts, strict=True)):
        z = plain.dense(layer, a) + shift
        a = output(z) if index == len(params) - 1 else activation(z)
    return loss(a, y).sum() / int(np.prod(x.shape[:-1])), a


SQUARED = ("squared_error", lambda p, y: (p - y) ** 2)
CASES = {
    "sigmoid, squared error": ((4, 5, 3, 2), (6,), ("sigmoid", plain.sigmoid), ("identity", lambda z: z), SQUARED),
    "one layer": ((4, 2), (3,), ("relu", None), ("identity", lambda z: z), SQUARED),
    "relu, bounded output": (
        (3, 8, 8, 1), (2, 3), ("relu", lambda z: jnp.where(z > 0, z, 0)), ("tanh", jnp.tanh), SQUARED,
    ),
    "one example": ((3, 4, 2), (), ("tanh", jnp.tanh), ("softmax", plain.softmax), SQUARED),
    "classes": (
        (4, 6, 5, 3), (7,), ("gelu", plain.gelu), ("identity", lambda z: z),
        ("softmax_cross_entropy", plain.softmax_cross_entropy),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_loss_gradients_and_errors_are_those_of_jax_grad(rng, x64, name, bias):
    widths, batch, activation, output, loss = CASES[name]
    params = network(rng, widths, bias)
    x = jnp.asarray(rng.standard_normal((*batch, widths[0])))
    if loss[0] == "squared_error":
        y = jnp.asarray(rng.standard_normal((*batch, widths[-1])))
    else:
        y = jnp.asarray(rng.integers(0, widths[-1], batch))
    shifts = [jnp.zeros((*batch, f)) for f in widths[1:]]
    run = jax.jit(
        lambda params, x, y: backprop.network_gradients(
            params, x, y, activation=RULES[activation[0]], output=RULES[output[0]], loss=RULES[loss[0]]
        )
    )
    expected = jax.jit(
        jax.value_and_grad(partial(written_out, activation=activation[1], output=output[1], loss=loss[1]), (0, 1), True)
    )
    found = run(params, x, y)
    (value, predictions), (grads, deltas) = expected(params, shifts, x, y)
    pairs = ((found.loss, value), (found.predictions, predictions), (found.grads, grads), (list(found.deltas), deltas))
    for actual, wanted in pairs:
        assert jax.tree.structure(actual) == jax.tree.structure(wanted)
        for a, w in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, w, rtol=1e-12, atol=1e-13)
    assert len(found.activations) == len(widths)
    np.testing.assert_array_equal(found.activations[0], x)
    np.testing.assert_array_equal(found.activations[-1], found.predictions)


def test_errors_shrink_to_less_than_a_quarter_at_each_sigmoid_layer_and_explode_with_large_weights(rng):
    """Kernels that rotate keep a norm, and σ′ ≤ 1/4; kernels eight times as large outgrow it where units do not
    saturate: at zero, where σ′ is 1/4, by two a layer."""
    depth, width = 12, 16
    rotations = [jnp.asarray(np.linalg.qr(rng.standard_normal((width, width)))[0], jnp.float32) for _ in range(depth)]
    x, y = (jnp.asarray(rng.standard_normal((5, width)), jnp.float32) for _ in range(2))
    vanishing = backprop.network_gradients([{"kernel": w} for w in rotations], x, y)
    norms = np.asarray(backprop.delta_norms(vanishing.deltas))
    assert norms.shape == (depth,)
    assert (norms[:-1] <= norms[1:] / 4).all()
    assert norms[0] < 1e-6 * norms[-1]
    gradients = [float(jnp.linalg.norm(layer["kernel"])) for layer in vanishing.grads]
    assert gradients[0] < 1e-5 * gradients[-1]

    # A bias that puts every z near 0: −Σ W / 2 undoes σ(0) = 1/2.
    large = [{"kernel": 8 * w, "bias": -4 * w.sum(0)} for w in rotations]
    exploding = backprop.network_gradients(large, 0.5 + 1e-6 * x, y)
    norms = np.asarray(backprop.delta_norms(exploding.deltas))
    assert (norms[:-1] > 1.9 * norms[1:]).all()


def test_a_deeper_rectified_network_does_neither(rng):
    width = 64
    params = [
        {"kernel": jnp.asarray((2 / width) ** 0.5 * rng.standard_normal((width, width)), jnp.float32)}
        for _ in range(12)
    ]
    x, y = (jnp.asarray(rng.standard_normal((8, width)), jnp.float32) for _ in range(2))
    norms = np.asarray(backprop.delta_norms(backprop.network_gradients(params, x, y, activation=RULES["relu"]).deltas))
    assert 0.05 < norms[0] / norms[-1] < 20


def test_the_structure_of_params_is_kept_so_that_a_step_can_be_taken(rng):
    params = tuple(network(rng, (3, 4, 2), dtype=jnp.float32))
    result = backprop.network_gradients(params, jnp.ones((2, 3)), jnp.zeros((2, 2)))
    stepped = jax.tree.map(lambda p, g: p - 0.01 * g, params, result.grads)
    after = backprop.network_gradients(stepped, jnp.ones((2, 3)), jnp.zeros((2, 2)))
    assert after.loss < result.loss


def test_rules_with_options_and_rules_of_ones_own_are_taken(rng):
    params = network(rng, (3, 4, 2), dtype=jnp.float32)
    x, y = jnp.asarray(rng.standard_normal((5, 3)), jnp.float32), jnp.zeros((5, 2))
    leaky = backprop.Rule(partial(backprop.leaky_relu_fwd, negative_slope=1.0), backprop.leaky_relu_bwd)
    own = backprop.Rule(lambda x: (x, None), lambda residuals, dy: (dy,))
    a, b = (backprop.network_gradients(params, x, y, activation=rule) for rule in (leaky, own))
    for first, second in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert_close(first, second)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_half_and_near_float64(rng, dtype, x64):
    params = network(rng, (4, 6, 2), dtype=dtype)
    x, y = (jnp.asarray(rng.standard_normal((8, n)), dtype) for n in (4, 2))
    found = jax.jit(backprop.network_gradients)(params, x, y)
    wide = lambda tree: jax.tree.map(lambda leaf: leaf.astype(float), tree)
    expected = jax.jit(backprop.network_gradients)(wide(params), wide(x), wide(y))
    for a, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == dtype
        assert_close(a, e, scale=3)


def test_an_empty_batch_has_no_loss_and_zero_gradients(rng):
    found = backprop.network_gradients(network(rng, (3, 4, 2), dtype=jnp.float32), jnp.ones((0, 3)), jnp.ones((0, 2)))
    assert found.loss == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(found.grads))


def test_a_model_and_its_mirror_under_vmap_are_a_loop(rng):
    models = [network(rng, (3, 4, 2), dtype=jnp.float32) for _ in range(3)]
    x, y = (jnp.asarray(rng.standard_normal((5, n)), jnp.float32) for n in (3, 2))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    together = jax.jit(jax.vmap(lambda params: backprop.network_gradients(params, x, y)))(stacked)
    for lane, params in enumerate(models):
        expected = backprop.network_gradients(params, x, y)
        for a, e in zip(jax.tree.leaves(together), jax.tree.leaves(expected), strict=True):
            assert_close(a[lane], e, scale=3)


LAYER = {"kernel": jnp.ones((3, 2))}
X, Y = jnp.ones((4, 3)), jnp.ones((4, 2))


@pytest.mark.parametrize(
    ("params", "x", "y", "options", "error", "words"),
    [
        ({"fc10": LAYER, "fc2": LAYER}, X, Y, {}, TypeError, "network_gradients.*`params`.*order.*for name in"),
        (LAYER, X, Y, {}, TypeError, r"network_gradients.*`params`.*one layer.*\[params\]"),
        ([], X, Y, {}, TypeError, "network_gradients.*`params`"),
        (X, [LAYER], Y, {}, TypeError, "network_gradients.*`params`"),
        ([LAYER["kernel"]], X, Y, {}, TypeError, "network_gradients.*`params`"),
        ([LAYER], X.astype(int), Y, {}, TypeError, "network_gradients.*`x`"),
        ([LAYER, LAYER], X, Y, {}, ValueError, "dense_fwd.*`x`"),
        ([LAYER], X, Y[:, :1], {}, ValueError, "squared_error_fwd.*`targets`"),
        ([LAYER], X, Y, {"loss": RULES["softmax_cross_entropy"]}, TypeError, "softmax_cross_entropy_fwd.*`labels`"),
        ([LAYER], X, Y, {"activation": "relu"}, TypeError, "network_gradients.*`activation`.*RULES"),
        ([LAYER], X, Y, {"output": backprop.relu_fwd}, TypeError, "network_gradients.*`output`"),
        ([LAYER], X, Y, {"loss": None}, TypeError, "network_gradients.*`loss`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(params, x, y, options, error, words):
    with pytest.raises(error, match=f"dlcore.backprop.{words}"):
        backprop.network_gradients(params, x, y, **options)


def test_norms_neither_underflow_nor_overflow():
    deltas = [jnp.full(4, size) for size in (1e-35, 1e30, 0.0, jnp.inf)] + [jnp.zeros((0, 3))]
    np.testing.assert_allclose(backprop.delta_norms(deltas), [2e-35, 2e30, 0, np.inf, 0], rtol=1e-6)


@pytest.mark.parametrize("deltas", [[], None, jnp.ones(3)])
def test_norms_of_no_layers_are_refused(deltas):
    with pytest.raises(ValueError, match=r"delta_norms.*`deltas`"):
        backprop.delta_norms(deltas)
