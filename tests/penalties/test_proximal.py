"""The proximal optimizer: exact zeros, scikit-learn's solutions, any Optax chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Lasso

from dlcore import penalties
from tests.tolerance import assert_close

P = penalties
X, Y = load_diabetes(return_X_y=True)
Y = Y - Y.mean()
N = len(Y)
# The Lipschitz constant of the loss' gradient: the largest eigenvalue of XᵀX / N.
RATE = N / np.linalg.eigvalsh(X.T @ X).max()
BETA = 0.97
STRENGTHS = (2.0, 0.9, 0.3, 0.05)


def descend(make, strengths, steps):
    """Weights for every strength from one compiled call: gradient steps on half the mean squared error."""
    # The loss and its gradient, from the ten by ten products alone.
    gram, moment = jnp.asarray(X.T @ X / N), jnp.asarray(X.T @ Y / N)

    def solve(strength):
        optimizer = make(strength)
        params = {"kernel": jnp.zeros(10)}

        def step(_, carry):
            params, state = carry
            updates, state = optimizer.update({"kernel": gram @ params["kernel"] - moment}, state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))[0]["kernel"]

    return np.asarray(jax.jit(jax.vmap(solve))(jnp.asarray(strengths)))


def with_momentum(penalty):
    # Momentum goes on until it is 1 / (1 − β) as far.
    step = 0.5 * RATE
    return P.proximal(optax.sgd(step * (1 - BETA), momentum=BETA), penalty, step)


def test_the_lasso_is_scikit_learns_with_the_same_zeros(x64):
    found = descend(lambda strength: with_momentum(P.l1(strength)), STRENGTHS, 6000)
    counts = []
    for strength, weights in zip(STRENGTHS, found, strict=True):
        exact = Lasso(alpha=strength, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(X, Y).coef_
        np.testing.assert_allclose(weights, exact, atol=1e-6 * max(1, np.abs(exact).max()))
        assert (weights == 0).tolist() == (exact == 0).tolist()
        counts.append(int((weights == 0).sum()))
    # One by one they drop to zero: the larger the strength, the more.
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    largest = np.abs(X.T @ Y).max()
    assert abs(largest - 949.4) < 0.05
    assert not descend(lambda strength: with_momentum(P.l1(strength)), [largest / N], 50).any()


def test_the_elastic_net_is_scikit_learns(x64):
    found = descend(lambda s: with_momentum(P.elastic_net(0.5 * s, 0.25 * s)), STRENGTHS, 6000)
    for strength, weights in zip(STRENGTHS, found, strict=True):
        exact = ElasticNet(alpha=strength, l1_ratio=0.5, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(X, Y).coef_
        np.testing.assert_allclose(weights, exact, atol=1e-6 * max(1, np.abs(exact).max()))
        assert (weights == 0).tolist() == (exact == 0).tolist()


def test_ridge_is_its_closed_form_and_no_weight_is_zero(x64):
    found = descend(lambda strength: P.proximal(optax.sgd(RATE), P.l2(strength), RATE), STRENGTHS, 20_000)
    for strength, weights in zip(STRENGTHS, found, strict=True):
        exact = np.linalg.solve(X.T @ X / N + 2 * strength * np.eye(10), X.T @ Y / N)
        np.testing.assert_allclose(weights, exact, atol=1e-6 * np.abs(exact).max())
        assert (weights != 0).all()
    sizes = np.linalg.norm(found, axis=1)
    assert (np.diff(sizes) > 0).all()


CHAINS = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: optax.adam(0.1),
    "clipped adamw": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_in_any_chain_weights_are_exactly_zero_and_what_does_not_pay_is_the_optimizers(rng, name):
    gradients = {"a": {"kernel": jnp.asarray(rng.standard_normal((4, 3)), jnp.float32), "bias": jnp.ones(3)}}
    params = jax.tree.map(lambda g: g / 8, gradients)
    with jax.numpy_dtype_promotion("standard"):
        plain, proximal = CHAINS[name](), P.proximal(CHAINS[name](), P.on(P.l1(2.0)), 0.1)
        update = jax.jit(proximal.update)
        state, inner, other = proximal.init(params), plain.init(params), params
        for count in range(3):
            structure, kinds = jax.tree.structure(state), jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
            updates, state = update(gradients, state, params)
            params = optax.apply_updates(params, updates)
            assert jax.tree.structure(state) == structure
            assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == kinds
            assert state.steps == count + 1
            updates, inner = plain.update(gradients, inner, other)
            other = optax.apply_updates(other, updates)
            assert_close(params["a"]["bias"], np.asarray(other["a"]["bias"], float))
    kernel = params["a"]["kernel"]
    assert (kernel == 0).any()
    assert np.isfinite(kernel).all()


def test_the_learning_rate_may_be_a_schedule_and_strengths_may_be_mapped_over():
    schedule = optax.linear_schedule(1.0, 0.0, 2)
    params = {"kernel": jnp.array([5.0])}

    def run(strength):
        optimizer = P.proximal(optax.sgd(0.1), P.l1(strength), schedule)
        state, now, seen = optimizer.init(params), params, []
        for _ in range(3):
            updates, state = optimizer.update({"kernel": jnp.zeros(1)}, state, now)
            now = optax.apply_updates(now, updates)
            seen.append(now["kernel"][0])
        return jnp.stack(seen)

    found = jax.jit(jax.vmap(run))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(found, [[4, 3.5, 3.5], [3, 2, 2]], rtol=1e-6)


def test_sharded_parameters_have_the_same_proximal_step(rng):
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    kernel, gradient = (jnp.asarray(rng.standard_normal((8, 6)), jnp.float32) for _ in range(2))
    penalty = P.combine(P.l1(0.5), P.group_lasso(0.5, axis=0), P.max_norm(1.0, axis=0))
    optimizer = P.proximal(optax.sgd(0.5), penalty, 0.5)

    @jax.jit
    def step(kernel, gradient):
        updates, _ = optimizer.update({"kernel": gradient}, optimizer.init({"kernel": kernel}), {"kernel": kernel})
        return optax.apply_updates({"kernel": kernel}, updates)["kernel"]

    alone = step(kernel, gradient)
    spread = step(jax.device_put(kernel, rows), jax.device_put(gradient, rows))
    assert len(spread.sharding.device_set) == 4
    assert_close(spread, np.asarray(alone, float))
    assert (np.asarray(spread) == 0).tolist() == (np.asarray(alone) == 0).tolist()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: P.proximal(3, P.l1(1.0), 0.1), TypeError, "optimizer"),
        (lambda: P.proximal(optax.sgd(0.1), 0.1, 0.1), TypeError, "penalty"),
        (lambda: P.proximal(optax.sgd(0.1), P.l1(1.0), -0.1), ValueError, "learning_rate"),
        (lambda: P.proximal(optax.sgd(0.1), P.l1(1.0), "fast"), TypeError, "learning_rate"),
        (
            lambda: P.proximal(optax.sgd(0.1), P.l1(1.0), 0.1).update({}, P.ProximalState(jnp.int32(0), ())),
            ValueError,
            "params",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, error, words):
    with pytest.raises(error, match=f"penalties.proximal.*`{words}`"):
        make()
