"""Every proximal operator, and those of several penalties at once, against an independent solver."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from dlcore import penalties
from tests.tolerance import FLOATS, assert_close

SHAPE = (2, 3)
SQUARE = {"w": jnp.ones((2, 2))}
P = penalties
CASES = {
    "l1": (P.l1(0.7), {"l1": 0.7}),
    "l2": (P.l2(0.7), {"l2": 0.7}),
    "elastic net": (P.elastic_net(0.5, 0.4), {"l1": 0.5, "l2": 0.4}),
    "non-negative": (P.non_negative(), {"sign": True}),
    "rows": (P.group_lasso(0.9, axis=1), {"groups": {(1,): 0.9}}),
    "columns": (P.group_lasso(0.9, axis=0), {"groups": {(0,): 0.9}}),
    "the whole": (P.group_lasso(0.9, axis=(0, 1)), {"groups": {(0, 1): 0.9}}),
    "bounded rows": (P.max_norm(0.8, axis=-1), {"norm": ((1,), 0.8)}),
    "two of a kind": (P.combine(P.l2(0.3), P.l1(0.2), P.l2(0.4), P.l1(0.3)), {"l1": 0.5, "l2": 0.7}),
    "l2 before l1": (P.combine(P.l2(0.7), P.l1(0.5)), {"l1": 0.5, "l2": 0.7}),
    "positive and sparse": (P.combine(P.non_negative(), P.l1(0.4)), {"l1": 0.4, "sign": True}),
    "sparse groups": (P.combine(P.group_lasso(0.6, axis=1), P.l1(0.3)), {"l1": 0.3, "groups": {(1,): 0.6}}),
    "nested groups": (
        P.combine(P.group_lasso(0.5, axis=(0, 1)), P.group_lasso(0.6, axis=1)),
        {"groups": {(1,): 0.6, (0, 1): 0.5}},
    ),
    "all": (
        P.combine(
            P.max_norm(0.9, axis=(0, 1)), P.l2(0.2), P.group_lasso(0.2, axis=1), P.non_negative(), P.l1(0.1)
        ),
        {"l1": 0.1, "l2": 0.2, "groups": {(1,): 0.2}, "sign": True, "norm": ((0, 1), 0.9)},
    ),
}  # fmt: skip


def members(axes):
    """The indices of each group, as booleans over the shape."""
    kept = [axis for axis in range(len(SHAPE)) if axis not in axes]
    for place in itertools.product(*(range(SHAPE[axis]) for axis in kept)):
        chosen = np.ones(SHAPE, bool)
        for axis, index in zip(kept, place, strict=True):
            chosen &= np.arange(SHAPE[axis]).reshape([-1 if a == axis else 1 for a in range(len(SHAPE))]) == index
        yield chosen.ravel()


def solve(x, step, l1=0.0, l2=0.0, sign=False, groups=None, norm=None):
    """½‖p − x‖² + step · penalty by SLSQP: p = a − b with a, b ≥ 0, and a bound s on every group's norm."""
    n = x.size
    bundles = [(chosen, strength) for axes, strength in (groups or {}).items() for chosen in members(axes)]

    def parts(v):
        return v[:n] - v[n : 2 * n], v[2 * n :]

    def objective(v):
        p, s = parts(v)
        smooth = ((p - x.ravel()) ** 2).sum() / 2 + step * l2 * (p**2).sum()
        return smooth + step * (l1 * v[: 2 * n].sum() + sum(w * t for (_, w), t in zip(bundles, s, strict=True)))

    # The norm itself, since a bound on its square has no slope at zero.
    length = lambda p, chosen: np.sqrt((p[chosen] ** 2).sum() + 1e-16)
    limits = [
        {"type": "ineq", "fun": lambda v, i=i, chosen=chosen: parts(v)[1][i] - length(parts(v)[0], chosen)}
        for i, (chosen, _) in enumerate(bundles)
    ]
    if norm:
        axes, bound = norm
        limits += [
            {"type": "ineq", "fun": lambda v, chosen=chosen: bound - length(parts(v)[0], chosen)}
            for chosen in members(axes)
        ]
    bounds = [(0, None)] * n + [(0, 0 if sign else None)] * n + [(0, None)] * len(bundles)
    start = np.concatenate([np.full(n, 0.1), np.zeros(n) if sign else np.full(n, 0.1), np.ones(len(bundles))])
    found = minimize(
        objective, start, bounds=bounds, constraints=limits, method="SLSQP", options={"ftol": 1e-14, "maxiter": 2000}
    )
    return parts(found.x)[0].reshape(x.shape)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("step", [0.0, 0.5, 3.0])
def test_the_operator_solves_its_own_problem(rng, name, step, x64):
    penalty, options = CASES[name]
    x = rng.standard_normal(SHAPE)
    found = np.asarray(penalty.prox({"w": jnp.asarray(x)}, step)["w"])
    solved = solve(x, step, **options)
    # As near as the solver comes where norms have a kink.
    np.testing.assert_allclose(found, solved, atol=3e-3)

    def objective(p):
        value = float(penalty.value({"w": jnp.asarray(p)}))
        return ((p - x) ** 2).sum() / 2 + (value if np.isinf(value) else step * value)

    best = objective(found)
    assert np.isfinite(best)
    if np.isfinite(objective(solved)):
        assert best <= objective(solved) + 1e-12
    # And nothing near it is better: the problem is convex.
    for size in (1e-1, 1e-3, 1e-5):
        for _ in range(20):
            assert objective(found + size * rng.standard_normal(SHAPE)) >= best - 1e-12


@pytest.mark.parametrize("name", CASES)
def test_compiled_mapped_and_in_every_dtype_it_is_the_same(rng, name, x64):
    penalty, _ = CASES[name]
    x = rng.standard_normal((3, *SHAPE))
    expected = [np.asarray(penalty.prox({"w": jnp.asarray(part)}, 0.5)["w"]) for part in x]
    mapped = jax.jit(jax.vmap(lambda w, step: penalty.prox({"w": w}, step)["w"], in_axes=(0, None)))
    assert_close(mapped(jnp.asarray(x), 0.5), np.stack(expected))
    for dtype in FLOATS:
        narrow = jnp.asarray(x[0], dtype)
        moved = jax.jit(penalty.prox)({"w": narrow}, 0.5)["w"]
        wide = penalty.prox({"w": narrow.astype(jnp.float64)}, 0.5)["w"]
        assert moved.dtype == dtype
        assert_close(moved, wide)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_weights_at_or_below_the_threshold_become_exactly_zero(strength):
    x = jnp.array([strength, -strength, strength / 2, 0.0, -0.0, 3.0, -3.0])
    moved = P.l1(strength).prox({"w": x}, 1.0)["w"]
    assert (moved[:5] == 0).all()
    np.testing.assert_allclose(moved[5:], [3 - strength, strength - 3], rtol=1e-6)
    assert (P.l2(strength).prox({"w": x}, 1.0)["w"][:3] != 0).all()


@pytest.mark.parametrize("penalty", [CASES[name][0] for name in ("l1", "rows", "bounded rows", "all")])
def test_zeros_large_tiny_and_bad_numbers(penalty):
    for fill in (0.0, 1e30, 1e-30, 3e38):
        value, gradient = jax.value_and_grad(penalty.value)({"w": jnp.full(SHAPE, fill)})
        assert not np.isnan(value)
        assert not np.isnan(gradient["w"]).any()
        assert np.isfinite(penalty.prox({"w": jnp.full(SHAPE, fill)}, 0.5)["w"]).all()
    moved = penalty.prox({"w": jnp.ones(SHAPE).at[0, 0].set(jnp.nan)}, 0.5)["w"]
    assert np.isnan(moved[0, 0])
    empty = penalty.prox({"w": jnp.ones((0, 3))}, 0.5)["w"]
    assert empty.shape == (0, 3)


def test_a_group_of_zeros_has_the_gradient_zero_and_a_group_below_the_threshold_falls_at_once():
    rows = jnp.array([[0.0, 0.0], [0.3, 0.4], [3.0, 4.0]])
    penalty = P.group_lasso(1.0, axis=1)
    gradient = jax.grad(penalty.value)({"w": rows})["w"]
    np.testing.assert_allclose(gradient, [[0, 0], [0.6, 0.8], [0.6, 0.8]], rtol=1e-6)
    moved = penalty.prox({"w": rows}, 1.0)["w"]
    assert not moved[:2].any()
    np.testing.assert_allclose(moved[2], [2.4, 3.2], rtol=1e-6)


def test_a_constraint_costs_nothing_where_it_holds_and_infinitely_much_elsewhere(rng):
    bound = P.max_norm(1.0, axis=0)
    x = {"w": jnp.asarray(rng.standard_normal((50, 20)) * 10, jnp.float32)}
    assert bound.value(x) == np.inf
    assert bound.value(bound.prox(x, 1.0)) == 0
    assert P.non_negative().value(x) == np.inf
    assert P.non_negative().value(P.non_negative().prox(x, 1.0)) == 0


def test_patterns_choose_what_each_pays(rng):
    params = {
        "a": {"kernel": jnp.asarray(rng.standard_normal((2, 3)), jnp.float32), "bias": jnp.ones(3)},
        "b": {"kernel": jnp.asarray(rng.standard_normal((2, 3)), jnp.float32)},
    }
    both = P.combine(P.on(P.l1(0.5), "a/kernel"), P.on(P.l2(0.25)), P.on(P.non_negative(), "^b"))
    moved = jax.jit(both.prox)(params, 1.0)
    a, b = (np.asarray(params[name]["kernel"], np.float64) for name in "ab")
    assert_close(moved["a"]["kernel"], np.sign(a) * np.maximum(abs(a) - 0.5, 0) / 1.5)
    assert_close(moved["b"]["kernel"], np.maximum(b, 0) / 1.5)
    assert moved["a"]["bias"].tolist() == [1, 1, 1]
    value = P.combine(P.on(P.l1(0.5), "a/kernel"), P.on(P.l2(0.25))).value(params)
    assert_close(value, 0.5 * abs(a).sum() + 0.25 * ((a**2).sum() + (b**2).sum()), length=12)


def test_a_penalty_of_ones_own_may_have_leaves_of_its_own():
    halve = P.Penalty(lambda params: 0.0, lambda params, step: jax.tree.map(lambda leaf: leaf / 2, params))
    params = {"a": jnp.array([1.0, -4.0]), "b": jnp.array([1.0, -4.0])}
    moved = P.combine(P.on(halve, "a"), P.on(P.l1(1.0), "b")).prox(params, 1.0)
    assert moved["a"].tolist() == [0.5, -2]
    assert moved["b"].tolist() == [0, -3]
    with pytest.raises(ValueError, match=r"penalties\.combine.*same leaf"):
        P.combine(P.on(halve, "a"), P.l1(1.0)).prox(params, 1.0)


def test_strengths_may_be_traced_and_mapped_over(rng):
    w = jnp.asarray(rng.standard_normal((2, 3)), jnp.float32)

    def run(strength):
        penalty = P.combine(P.elastic_net(strength, 0.5), P.group_lasso(strength, axis=0), P.max_norm(strength, axis=0))
        return penalty.prox({"w": w}, 1.0)["w"]

    strengths = [0.0, 0.25, 1.0]
    for strength, lane in zip(strengths, jax.jit(jax.vmap(run))(jnp.array(strengths)), strict=True):
        assert_close(lane, np.asarray(run(strength)).astype(float))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: P.l1(-1.0), ValueError, "penalties.l1.*strength"),
        (lambda: P.l1(jnp.ones(2)), TypeError, "penalties.l1.*strength"),
        (lambda: P.l1(1.0).value({"w": jnp.ones(1, int)}), TypeError, "penalties.l1.*w"),
        (lambda: P.l1(1.0).prox({"w": jnp.ones(1)}, -1.0), ValueError, "penalties.l1.*step"),
        (lambda: P.elastic_net(0.1, -1.0), ValueError, "penalties.elastic_net.*l2"),
        (lambda: P.elastic_net("a", 1.0), TypeError, "penalties.elastic_net.*l1"),
        (lambda: P.group_lasso(1.0, axis=1.5), TypeError, "penalties.group_lasso.*axis"),
        (lambda: P.group_lasso(1.0, axis=()), TypeError, "penalties.group_lasso.*axis"),
        (lambda: P.group_lasso(1.0, axis=1).value({"b": jnp.ones(3)}), ValueError, "penalties.group_lasso.*b"),
        (lambda: P.group_lasso(1.0, axis=(1, -1)).value({"b": jnp.ones((3, 2))}), ValueError, "group_lasso.*axis"),
        (lambda: P.max_norm(-1.0, axis=0), ValueError, "penalties.max_norm.*limit"),
        (lambda: P.combine(P.l1(1.0), 3), TypeError, r"penalties.combine.*penalties\[1\]"),
        (
            lambda: P.combine(P.group_lasso(1.0, axis=0), P.group_lasso(1.0, axis=1)).prox(SQUARE, 1.0),
            ValueError,
            "penalties.combine.*within each other",
        ),
        (
            lambda: P.combine(P.max_norm(1.0, axis=0), P.group_lasso(1.0, axis=(0, 1))).prox(SQUARE, 1.0),
            ValueError,
            "penalties.combine.*around",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(make, error, words):
    with pytest.raises(error, match=words):
        make()
