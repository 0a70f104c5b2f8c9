"""Masks of dropout and its family are tested as random numbers are: rate, positions, keys, steps, devices.

A judge of masks is run on the functions, and on masks that are wrong on purpose: a test that finds nothing says little
as long as nobody has seen it find something. Each limit is such that a right mask passes it once in 10⁹ times.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn

KEYS, POSITIONS = 128, 8192
# Four million coins, for the rate itself.
MANY = (256, 16_384)
# Rows of images and of matrices, powers of two, and the halves in which counters are split.
LAGS = (1, 2, 3, 4, 7, 8, 16, 31, 32, 64, 128, 1000, 1024, POSITIONS // 4, POSITIONS // 2)


def limit(largest, terms, chances=1):
    """What the sum of `terms` values of mean 0, variance 1 and size at most `largest`, over √terms, passes in one of
    10⁹ times, if there are so many `chances`: Bernstein's inequality."""
    exponent = np.log(2e9 * chances)
    part = exponent * largest / (3 * terms**0.5)
    return part + (part**2 + 2 * exponent) ** 0.5


def excess(total, degrees, variance):
    """How many limits a sum of variance `variance` is from its mean `degrees`, if it is nearly a chi-square times a
    number (Satterthwaite), and so its third root nearly normal (Wilson and Hilferty)."""
    nu = 2 * degrees**2 / variance
    return ((total / degrees) ** (1 / 3) - (1 - 2 / (9 * nu))) / np.sqrt(2 / (9 * nu)) / limit(0, 1)


def suspicions(kept, rate):
    """Names of the statistics, of masks (keys, positions) that keep with 1 − rate, that chance does not explain."""
    kept = np.asarray(kept)
    keys, n = kept.shape
    q = 1 - rate
    variance = q * rate
    z = ((kept - q) / variance**0.5).astype(np.float32)
    largest, fourth = max(q, rate) / variance**0.5, (1 - 3 * variance) / variance
    found = {}

    # The rate: of all, of each key and of each position.
    found["rate"] = (kept.sum() - kept.size * q) / (variance * kept.size) ** 0.5 / limit(largest, kept.size)
    for name, axis, terms, sums in (("keys", 1, n, keys), ("positions", 0, keys, n)):
        squares = (kept.sum(axis) - terms * q) ** 2 / (variance * terms)
        found[f"rates of {name}"] = excess(squares.sum(), sums, sums * (2 + (fourth - 3) / terms))

    # Runs of equal values: each of the boundaries is a change with probability 2 q (1 − q), and neighbouring ones
    # share a value: their covariance is q (1 − q) (1 − 4 q (1 − q)).
    bounds = keys * (n - 1)
    each = 2 * variance
    spread = (each * (1 - each) + 2 * variance * (1 - 4 * variance)) ** 0.5
    changes = (kept[:, 1:] != kept[:, :-1]).sum()
    found["runs"] = (changes - bounds * each) / (bounds**0.5 * spread) / limit(1 / spread, bounds)

    # Correlations of pairs: along positions, of a key with a later one, and of any two keys.
    def correlation(first, second):
        return np.einsum("ij,ij->", first, second) / first.size**0.5 / limit(largest**2, first.size)

    for lag in LAGS:
        found[f"lag {lag}"] = correlation(z[:, :-lag], z[:, lag:])
    for ahead in (1, 2, keys // 2):
        found[f"key {ahead} on"] = correlation(z[:-ahead], z[ahead:])
    pairs = (z @ z.T)[np.triu_indices(keys, 1)] / n**0.5
    found["pairs of keys"] = np.abs(pairs).max() / limit(largest**2, n, len(pairs))
    # Two pairs that share a key: the covariance of their squares is that key's.
    shared = keys * (keys - 1) * (keys - 2) * (fourth - 1) / n
    found["all pairs of keys"] = excess((pairs**2).sum(), len(pairs), len(pairs) * (2 + (fourth**2 - 3) / n) + shared)

    # Words of eight: all 256 patterns at their rate.
    if rate == 0.5:
        counts = np.bincount(np.packbits(kept.reshape(keys, -1, 8), axis=-1).ravel(), minlength=256)
        expected = kept.size / 8 / 256
        found["words"] = excess(((counts - expected) ** 2 / expected).sum(), 255, 2 * 255)
    return [name for name, value in found.items() if abs(value) > 1]


def mask_of(name, rate, shape):
    """`key -> kept`, for each function of the family."""
    x = jnp.ones(shape)
    if name == "dropout":
        return lambda key: nn.dropout(key, x, rate=rate) != 0
    if name == "alpha_dropout":
        return lambda key: nn.alpha_dropout(key, x, rate=rate) > 0
    if name == "drop_path":
        return lambda key: nn.drop_path(key, x[..., None, None], rate=rate)[..., 0, 0] != 0
    # Noise that is as often above its mean as below.
    return lambda key: nn.gaussian_dropout(key, x, rate=rate) > 1


def masks(name, rate, keys, positions=POSITIONS):
    return np.asarray(jax.jit(jax.vmap(mask_of(name, rate, (positions,))))(keys))


# ---- the functions


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_dropouts_masks_are_random(key, rate):
    assert suspicions(masks("dropout", rate, jax.random.split(key, MANY[0]), MANY[1]), rate) == []


@pytest.mark.parametrize(("name", "rate"), [("alpha_dropout", 0.3), ("drop_path", 0.3), ("gaussian_dropout", 0.5)])
def test_the_familys_masks_are_random(key, name, rate):
    assert suspicions(masks(name, rate, jax.random.split(key, KEYS)), rate) == []


def test_a_traced_rates_masks_are_random_and_those_of_the_number(key):
    keys = jax.random.split(key, KEYS)
    run = jax.jit(jax.vmap(lambda key, rate: mask_of("dropout", rate, (POSITIONS,))(key), in_axes=(0, None)))
    traced = np.asarray(run(keys, jnp.float32(0.25)))
    assert suspicions(traced, 0.25) == []
    np.testing.assert_array_equal(traced, masks("dropout", 0.25, jax.random.clone(keys)))


def test_masks_of_steps_are_as_independent_as_those_of_keys(key):
    """The key of step i is fold_in(key, i)."""

    @jax.jit
    def run(key):
        step = lambda _, i: (None, nn.dropout(jax.random.fold_in(key, i), jnp.ones(POSITIONS), rate=0.5) != 0)
        return jax.lax.scan(step, None, jnp.arange(KEYS))[1]

    assert suspicions(run(key), 0.5) == []


def test_keys_of_neighbouring_seeds_are_as_independent(seed):
    keys = jnp.stack([jax.random.key(seed + i) for i in range(KEYS)])
    assert suspicions(masks("dropout", 0.5, keys), 0.5) == []


def test_layers_that_split_one_key_draw_apart_and_layers_that_share_it_draw_alike(seed):
    run = jax.jit(lambda key: nn.dropout(key, jnp.ones((32, POSITIONS)), rate=0.5) != 0)
    first, second = (np.asarray(run(key)) for key in jax.random.split(jax.random.key(seed)))
    assert suspicions(np.concatenate([first, second]), 0.5) == []
    np.testing.assert_array_equal(run(jax.random.key(seed)), run(jax.random.key(seed)))


@pytest.mark.parametrize("shape", [(KEYS, POSITIONS), (8, 16, 32, 32, 8)])
def test_rows_of_one_call_are_as_independent_as_keys(key, shape):
    kept = jax.jit(lambda key: nn.dropout(key, jnp.ones(shape), rate=0.5) != 0)(key)
    assert suspicions(np.asarray(kept).reshape(KEYS, POSITIONS), 0.5) == []


def test_channels_that_are_dropped_together_are_dropped_at_random(key):
    run = lambda key: nn.dropout(key, jnp.ones((64, 2, 2, 128)), rate=0.5, broadcast_axes=(-3, -2))[:, 0, 0] != 0
    kept = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(key, KEYS))).reshape(KEYS, POSITIONS)
    assert suspicions(kept, 0.5) == []


def test_each_device_draws_its_own_mask_from_the_key_with_its_number(key):
    """Data parallel: fold_in(key, axis_index). Without it every device would drop the same."""
    mesh = jax.make_mesh((4,), ("device",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("device")

    def run(fold):
        def local(x):
            own = jax.random.fold_in(jax.random.clone(key), jax.lax.axis_index("device") if fold else 0)
            return nn.dropout(own, x, rate=0.5)

        local = jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=spec)
        x = jnp.ones((KEYS, POSITIONS))
        y, dx = jax.jit(lambda x: (local(x), jax.grad(lambda x: local(x).sum())(x)))(x)
        np.testing.assert_array_equal(y, dx)
        return np.asarray(y) != 0

    kept = run(True)
    assert suspicions(kept, 0.5) == []
    parts = kept.reshape(4, -1)
    assert all((parts[i] == parts[j]).mean() < 0.51 for i in range(4) for j in range(i))
    shared = run(False).reshape(4, -1)
    assert (shared == shared[:1]).all()
    assert "pairs of keys" in suspicions(shared.reshape(KEYS, POSITIONS), 0.5)


@pytest.mark.parametrize(("name", "rate"), [("dropout", 0.1), ("alpha_dropout", 0.9), ("drop_path", 0.5)])
def test_the_gradient_is_zero_exactly_where_the_value_was_dropped(seed, name, rate):
    """In reverse, forward and second-order mode, compiled and eagerly, recomputed or saved."""
    x = jnp.linspace(1.0, 2.0, 2000).reshape(200, 10)
    run = lambda x: getattr(nn, name)(jax.random.key(seed), x, rate=rate)
    total = lambda x: run(x).sum()

    @jax.jit
    def derivatives(x):
        return {
            "reverse": jax.grad(total)(x),
            "forward": jax.jvp(run, (x,), (jnp.ones_like(x),))[1],
            "second": jax.jvp(jax.grad(lambda x: (run(x) ** 2).sum()), (x,), (jnp.ones_like(x),))[1],
            "recomputed": jax.grad(lambda x: jax.checkpoint(run)(x).sum())(x),
            "mapped": jax.vmap(jax.grad(total))(x[None])[0],
            "scanned": jax.grad(lambda x: jax.lax.scan(lambda c, _: (c, run(c)), x, None, length=2)[1].sum())(x),
        }

    # Values far from what a dropped one becomes.
    kept = np.asarray(run(0 * x + 1e6) > 1e4)
    assert 0.05 < kept.mean() < 0.95
    for how, gradient in (derivatives(x) | {"eager": jax.grad(total)(x)}).items():
        np.testing.assert_array_equal(np.asarray(gradient) != 0, kept, how)


# ---- masks that are wrong on purpose, and what finds them


def fair(rng, rate, shape=(KEYS, POSITIONS)):
    return rng.random(shape, np.float32) >= rate


def same_for_odd_rows(rng, rate):
    kept = fair(rng, rate)
    kept[1::2] = kept[1]
    return kept


def two_alike(rng, rate):
    kept = fair(rng, rate)
    kept[77] = kept[13]
    return kept


def rate_off(rng, rate):
    """By two in a hundred; where one in a thousand is dropped, or kept, four million coins tell a fifth of them."""
    wrong = {0.001: 0.0012, 0.999: 0.9988}.get(rate, 1.02 * rate)
    return fair(rng, wrong, MANY)


def neighbours_agree(rng, rate):
    """Each value is its neighbour's in two of a hundred cases: the rate is right."""
    kept = fair(rng, rate)
    copied = rng.random(kept.shape) < 0.02
    return np.where(copied, np.roll(kept, 1, 1), kept)


def halves_agree(rng, rate):
    """The second half's counter repeats the first's, in some places."""
    kept = fair(rng, rate)
    half = POSITIONS // 2
    copied = rng.random((KEYS, half)) < 0.05
    kept[:, half:] = np.where(copied, kept[:, :half], kept[:, half:])
    return kept


def exactly_the_share(rng, rate):
    """A permutation instead of coins: each key drops the same number."""
    order = rng.random((KEYS, POSITIONS)).argsort(1)
    return order >= round(rate * POSITIONS)


def a_position_differs(rng, rate):
    """The first tenth of the positions is dropped more often, the next tenth less."""
    tilt = np.zeros(POSITIONS)
    tilt[: POSITIONS // 10], tilt[POSITIONS // 10 : POSITIONS // 5] = 0.05, -0.05
    return rng.random((KEYS, POSITIONS)) >= rate + tilt


def keys_differ(rng, rate):
    tilt = np.resize([0.01, -0.01], KEYS)[:, None]
    return rng.random((KEYS, POSITIONS)) >= rate + tilt


def next_key_is_shifted(rng, rate):
    """Keys that are windows of one stream."""
    stream = rng.random(POSITIONS + KEYS) >= rate
    return np.stack([stream[i : i + POSITIONS] for i in range(KEYS)])


def eighth_is_the_parity(rng, rate):
    """No pair is correlated, but eight together are."""
    kept = fair(rng, 0.5).reshape(KEYS, -1, 8)
    parity = rng.random(kept.shape[:2]) < 0.5
    kept[..., 7] = np.where(parity, kept[..., :7].sum(-1) % 2 == 0, kept[..., 7])
    return kept.reshape(KEYS, POSITIONS)


@pytest.mark.parametrize(
    ("wrong", "rate", "finds"),
    [
        (same_for_odd_rows, 0.5, "pairs of keys"),
        (two_alike, 0.5, "pairs of keys"),
        (two_alike, 0.9, "pairs of keys"),
        (rate_off, 0.001, "rate"),
        (rate_off, 0.1, "rate"),
        (rate_off, 0.5, "rate"),
        (rate_off, 0.9, "rate"),
        (rate_off, 0.999, "rate"),
        (neighbours_agree, 0.5, "lag 1"),
        (neighbours_agree, 0.1, "lag 1"),
        (neighbours_agree, 0.5, "runs"),
        (halves_agree, 0.5, f"lag {POSITIONS // 2}"),
        (exactly_the_share, 0.5, "rates of keys"),
        (a_position_differs, 0.5, "rates of positions"),
        (keys_differ, 0.5, "rates of keys"),
        (next_key_is_shifted, 0.5, "rates of keys"),
        (eighth_is_the_parity, 0.5, "words"),
    ],
)
def test_a_planted_defect_is_found(rng, wrong, rate, finds):
    assert finds in suspicions(wrong(rng, rate), rate)


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_fair_masks_of_another_generator_are_not_suspected(rng, rate):
    """NumPy's, three times: the limits are no tighter than chance."""
    for _ in range(3):
        assert suspicions(fair(rng, rate), rate) == []


def planted(defect):
    """Functions that are nearly dropout."""

    def run(key, x, *, rate):
        if defect == "the rate is a multiple of 1/16":
            return jnp.where(jax.random.randint(key, x.shape, 0, 16, jnp.int32) >= round(16 * rate), x / (1 - rate), 0)
        if defect == "the key is not used for odd rows":
            other = jax.random.uniform(jax.random.key(0), x.shape)
            return jnp.where(jnp.where(jnp.sum(jax.random.key_data(key)) % 2 == 1, other,
                jax.random.uniform(jax.random.clone(key), x.shape)) >= rate, x / (1 - rate), 0)  # fmt: skip
        if defect == "one draw for two neighbours":
            return jnp.where(jnp.repeat(jax.random.uniform(key, (x.size // 2,)), 2) >= rate, x / (1 - rate), 0)
        return jnp.where(jax.random.uniform(key, x.shape) < rate, x / (1 - rate), 0)

    return run


@pytest.mark.parametrize(
    ("defect", "finds"),
    [
        ("the rate is a multiple of 1/16", "rate"),
        ("the key is not used for odd rows", "pairs of keys"),
        ("one draw for two neighbours", "lag 1"),
        ("the rate is that of keeping", "rate"),
    ],
)
def test_a_function_that_is_nearly_dropout_is_found(key, defect, finds):
    run = jax.jit(jax.vmap(lambda key: planted(defect)(key, jnp.ones(POSITIONS), rate=0.1) != 0))
    assert finds in suspicions(run(jax.random.split(key, KEYS)), 0.1)
