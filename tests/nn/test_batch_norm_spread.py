"""Batch normalisation of one batch, alone, on four lanes or on four devices, masked or not: the same numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from dlcore import gradcheck, nn
from tests.nn.batch_norm_oracle import draw, on_host, oracle
from tests.tolerance import assert_close


def as_one(function, params, x, where):
    return function(params, x, where)


def over_lanes(function, params, x, where):
    return jax.vmap(function, in_axes=(None, 0, 0), axis_name="device")(params, x, where)


def over_devices(function, params, x, where):
    mesh = Mesh(np.array(jax.devices()), ("device",))
    apart = lambda params, x, where: jax.tree.map(lambda a: a[None], function(params, x[0], where[0]))
    rows = PartitionSpec("device")
    return jax.shard_map(apart, mesh=mesh, in_specs=(PartitionSpec(), rows, rows), out_specs=rows)(params, x, where)


def spread_out(spread, masked):
    """(params, state, x (4, n, C), where (4, n)) -> (y, the new state), on all devices if there are several."""
    axis_name = None if spread is as_one else "device"

    def function(params, state, x, where):
        def one(params, x, where):
            return nn.batch_norm_train(params, state, x, axis_name=axis_name, where=where if masked else None)

        return spread(one, params, x, where)

    return function


@partial(jax.jit, static_argnames=("spread", "masked"))
def run_spread(params, state, x, where, dy, dstate, *, spread, masked):
    """As `run`, on four shares of the batch; `dstate` is the error of the new state, of which each has its part."""
    (y, new), pull = jax.vjp(lambda params, x: spread_out(spread, masked)(params, state, x, where), params, x)
    apart = jax.tree.map(lambda error, part: jnp.broadcast_to(error / (part.size // 3), part.shape), dstate, new)
    return y, new, *pull((dy, apart))


SPREADS = [as_one, over_lanes, over_devices]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spread", SPREADS)
def test_statistics_over_four_devices_are_those_of_the_whole_batch(rng, spread, masked):
    for mean in (0.0, 1e4):
        params, state, x, dy = draw(rng, (4, 6, 3), mean=mean)
        kept = rng.random((4, 6)) < (0.7 if masked else 2)
        kept[2] = not masked  # one device may have nothing that counts
        x = jnp.where(jnp.asarray(kept)[..., None], x, jnp.nan)
        dstate = nn.BatchNormState(*jnp.asarray(rng.standard_normal((2, 3)), jnp.float32))
        y, new, grads, dx = on_host(
            run_spread(params, state, x, jnp.asarray(kept), dy, dstate, spread=spread, masked=masked)
        )
        rows = np.asarray(x, np.float64)[kept]
        want, want_mean, want_var, (dscale, doffset, want_dx) = oracle(
            params["scale"], params["offset"], rows, np.asarray(dy)[kept]
        )
        n = int(kept.sum())
        dmean, dvar = (0.1 * np.asarray(error, np.float64) for error in dstate)
        want_dx = want_dx + dmean / n + 2 * (rows - want_mean) * dvar / (n - 1)
        assert_close(y[kept], want, length=n)
        assert_close(dx[kept], want_dx, length=n, scale=5)
        assert not y[~kept].any()
        assert not dx[~kept].any()
        assert_close(grads["scale"], dscale, length=n, scale=10)
        assert_close(grads["offset"], doffset, length=n, scale=10)
        for lane in range(1 if spread is as_one else 4):
            mean, var = (leaf.reshape(-1, 3)[lane] for leaf in new)
            assert_close(mean, 0.9 * np.asarray(state.mean, np.float64) + 0.1 * want_mean, length=n, scale=2)
            assert_close(var, 0.9 * np.asarray(state.var, np.float64) + 0.1 * want_var, length=n, scale=2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spread", SPREADS)
def test_values_of_any_size_have_their_digits_and_their_gradient(rng, spread, masked):
    params, state, unit, dy = draw(rng, (4, 6, 3))
    kept = rng.random((4, 6)) < (0.7 if masked else 2)
    nothing = nn.BatchNormState(jnp.zeros(3), jnp.zeros(3))
    for size in (1e-30, 1e18, 1e25, 1e28, 1e30):
        x = jnp.where(jnp.asarray(kept)[..., None], unit * jnp.float32(size), jnp.inf)
        y, new, grads, dx = on_host(
            run_spread(params, state, x, jnp.asarray(kept), dy, nothing, spread=spread, masked=masked)
        )
        want, *_, (dscale, _, want_dx) = oracle(
            params["scale"], params["offset"], np.asarray(x)[kept], np.asarray(dy)[kept]
        )
        assert_close(y[kept], want, length=24)
        assert_close(grads["scale"], dscale, length=24, scale=10)
        largest = np.abs(want_dx).max()
        assert_close(dx[kept] / largest, want_dx / largest, dtype=dx.dtype, length=24)
        assert not dx[~kept].any()
        # float32 does not hold the variance itself.
        assert np.isinf(new.var).all() == (size > 1e20)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spread", SPREADS)
def test_a_channel_whose_squares_overflow_is_nan_and_the_others_are_not(rng, spread, masked):
    params, state, x, dy = draw(rng, (4, 6, 3))
    kept = rng.random((4, 6)) < (0.7 if masked else 2)
    nothing = nn.BatchNormState(jnp.zeros(3), jnp.zeros(3))
    x = x * jnp.array([[[1, 1e33, 1]]], jnp.float32)
    y, new, grads, dx = on_host(
        run_spread(params, state, x, jnp.asarray(kept), dy, nothing, spread=spread, masked=masked)
    )
    assert np.isnan(y[kept][:, 1]).all()
    assert np.isnan(dx[kept][:, 1]).all()
    assert np.isnan(grads["scale"]).tolist() == [False, True, False]
    assert np.isinf(new.var).reshape(-1, 3)[0].tolist() == [False, True, False]
    assert np.isfinite(y[..., ::2]).all()
    assert np.isfinite(dx[..., ::2]).all()
    assert not y[~kept].any()
    assert not dx[~kept].any()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spread", SPREADS)
def test_equal_values_give_the_offset_exactly(spread, masked):
    params = {"scale": jnp.full(3, 2.0), "offset": jnp.full(3, 0.5)}
    state, nothing = nn.BatchNormState(jnp.zeros(3), jnp.ones(3)), nn.BatchNormState(jnp.zeros(3), jnp.zeros(3))
    kept = np.ones((4, 7), bool)
    kept[0, :2] = kept[3] = not masked
    x = jnp.where(jnp.asarray(kept)[..., None], jnp.array([[[0.0, -3.3, 1e20]]]), 7.0)
    y, _, grads, dx = on_host(
        run_spread(params, state, x, jnp.asarray(kept), jnp.ones_like(x), nothing, spread=spread, masked=masked)
    )
    assert (y[kept] == 0.5).all()
    assert not dx.any()
    assert not grads["scale"].any()


@pytest.mark.parametrize("spread", [as_one, over_lanes])
def test_under_a_mask_and_over_lanes_it_is_proven(rng, spread, x64):
    params, state, x, _ = draw(rng, (2, 4, 3), "float64")
    where = jnp.array([[True, False, True, True], [False, True, True, False]])
    report = gradcheck.check(lambda params, x: spread_out(spread, True)(params, state, x, where), params, x)
    assert report.verdict == "pass", report


@pytest.mark.parametrize("spread", [over_lanes, over_devices])
def test_every_device_holds_the_same_new_state_to_the_bit(rng, spread):
    params, state, x, _ = draw(rng, (4, 7, 3))
    one = lambda params, x, where: nn.batch_norm_train(params, state, x, axis_name="device", where=where)[1]
    new = jax.jit(lambda params, x: spread(one, params, x, jnp.ones((4, 7), bool)))(params, x)
    for leaf in new:
        np.testing.assert_array_equal(leaf, jnp.broadcast_to(leaf[:1], leaf.shape))


def test_the_state_of_a_sharded_batch_is_known_to_be_the_same_everywhere(rng):
    params, state, x, _ = draw(rng, (8, 3))
    mesh = Mesh(np.array(jax.devices()), ("device",))
    rows, all_same = PartitionSpec("device"), PartitionSpec()
    assert mesh.size == 4
    function = lambda x: nn.batch_norm_train(params, state, x, axis_name="device")
    y, new = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=(rows, all_same)))(x)
    whole, expected = jax.jit(nn.batch_norm_train)(params, state, x)
    assert_close(y, whole, length=8)
    assert_close(new.mean, expected.mean, length=8)
    assert_close(new.var, expected.var, length=8)
