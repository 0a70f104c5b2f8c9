from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from dlcore._tree import paths
from dlcore.nn.wavenet.config import Conditions
from dlcore.nn.wavenet.network import network
from tests.registry_wavenet import condition_of, random_params
from tests.tolerance import FLOATS, assert_close

PLAIN = nn.WaveNetConfig(5, 2, 2, 2, 3, 2, 4)
CONFIGS = {
    "plain": PLAIN,
    "global": PLAIN._replace(stacks=1, kernel_size=3, global_features=2),
    "local": PLAIN._replace(layers_per_stack=3, local_features=2),
    "both": nn.WaveNetConfig(3, 3, 1, 1, 4, 3, 2, 1, 2),
    "ones": nn.WaveNetConfig(1, 1, 1, 1, 1, 1, 1),
}
run = jax.jit(nn.wavenet, static_argnums=2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oracle(params, tokens, config, whole=None, local=None):
    """Logits by loops over sequences, time, layers and taps, in float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float64), params)
    batch, time = tokens.shape
    logits = np.zeros((batch, time, config.classes))
    for b in range(batch):
        x = p["embedding"]["kernel"][tokens[b]]
        total = np.zeros((time, config.skip_channels))
        for s in range(config.stacks):
            for layer in range(config.layers_per_stack):
                get = lambda group, leaf="kernel", at=(s, layer): p[group][leaf][at]
                after = x.copy()
                for t in range(time):
                    a = get("dilated", "bias").copy()
                    for j in range(config.kernel_size):
                        source = t - (config.kernel_size - 1 - j) * 2**layer
                        if source >= 0:
                            a += x[source] @ get("dilated")[j]
                    if whole is not None:
                        a += whole[b] @ get("global")
                    if local is not None:
                        a += local[b, t] @ get("local")
                    d = config.dilation_channels
                    z = np.tanh(a[:d]) * sigmoid(a[d:])
                    total[t] += z @ get("skip") + get("skip", "bias")
                    after[t] += z @ get("residual") + get("residual", "bias")
                x = after
        for t in range(time):
            h = np.maximum(total[t], 0) @ p["hidden"]["kernel"] + p["hidden"]["bias"]
            logits[b, t] = np.maximum(h, 0) @ p["logits"]["kernel"] + p["logits"]["bias"]
    return logits


def conditions(rng, config, batch, time, dtype="float32"):
    """Arrays for what the config wants, None for the rest."""
    whole = jnp.asarray(rng.standard_normal((*batch, config.global_features)), dtype)
    local = jnp.asarray(rng.standard_normal((*batch, time, config.local_features)), dtype)
    return whole if config.global_features else None, local if config.local_features else None


def condition(config, whole, local):
    return condition_of(config, whole, local) if config.global_features or config.local_features else None


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("time", [1, 9])
def test_the_logits_are_those_of_the_equations(rng, name, time, x64):
    config = CONFIGS[name]
    params = random_params(rng, jnp.float64, config)
    tokens = rng.integers(0, config.classes, (2, time))
    whole, local = conditions(rng, config, (2,), time, "float64")
    logits = run(params, tokens, config, condition=condition(config, whole, local))
    assert logits.dtype == jnp.float64
    assert_close(logits, oracle(params, tokens, config, whole, local), length=64)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_comes_back_as_it_went_in(rng, dtype, x64):
    config = CONFIGS["both"]
    params = random_params(rng, jnp.dtype(dtype), config)
    tokens = rng.integers(0, 3, (2, 4))
    whole, local = conditions(rng, config, (2,), 4, dtype)
    logits = run(params, tokens, config, condition={"global": whole, "local": local})
    assert logits.dtype == dtype
    wide = [np.asarray(part).astype(np.float64) for part in (whole, local)]
    assert_close(logits, oracle(params, tokens, config, *wide), length=4)


def test_leading_axes_are_free(rng):
    config = CONFIGS["both"]
    params = random_params(rng, jnp.float32, config)
    tokens = rng.integers(0, 3, (2, 3, 4))
    whole, local = conditions(rng, config, (2, 3), 4)
    many = run(params, tokens, config, condition={"global": whole, "local": local})
    assert many.shape == (2, 3, 4, 3)
    one = run(params, tokens[1, 2], config, condition={"global": whole[1, 2], "local": local[1, 2]})
    assert_close(one, many[1, 2], length=16)
    none = run(params, tokens[:, :0], config, condition={"global": whole[:, :0], "local": local[:, :0]})
    assert none.shape == (2, 0, 4, 3)


# ---- the receptive field


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (nn.WaveNetConfig(stacks=1), 1024),
        (nn.WaveNetConfig(), 3070),
        (nn.WaveNetConfig(stacks=1, kernel_size=3), 2047),
        (nn.WaveNetConfig(stacks=2, layers_per_stack=2, kernel_size=4), 19),
        (nn.WaveNetConfig(kernel_size=1), 1),
    ],
)
def test_the_receptive_field_is_counted_exactly(config, wanted):
    assert nn.receptive_field(config) == wanted


@pytest.mark.parametrize(("kernel_size", "stacks"), [(2, 1), (3, 1), (2, 2), (3, 2)])
def test_a_logit_depends_on_its_receptive_field_and_on_nothing_else(rng, kernel_size, stacks, x64):
    config = PLAIN._replace(kernel_size=kernel_size, stacks=stacks)
    reach = nn.receptive_field(config)
    time = 2 * reach + 1
    params = random_params(rng, jnp.float64, config)
    # The rectifiers of the head are kept open, so that no path through it is closed by chance.
    params["skip"]["bias"] += 50.0
    params["hidden"]["bias"] += 1000.0

    x = jnp.asarray(rng.standard_normal((1, time, config.residual_channels)))
    weights = jnp.asarray(rng.standard_normal(config.classes))
    run_embedded = lambda x: network(params, x, config, Conditions())[0][0] @ weights
    slopes = np.abs(np.asarray(jax.jit(jax.jacrev(run_embedded))(x)))[:, 0].sum(-1)  # (output, input)
    for t in range(time):
        first = max(0, t - reach + 1)
        assert (slopes[t, first : t + 1] > 0).all(), f"output {t} reads all of {first} … {t}"
        assert (slopes[t, :first] == 0).all(), f"output {t} reads nothing before {first}"
        assert (slopes[t, t + 1 :] == 0).all(), f"output {t} reads nothing after itself"

    tokens = rng.integers(0, config.classes, time)
    variants = np.tile(tokens, (time + 1, 1))
    variants[np.arange(time), np.arange(time)] = (tokens + 1) % config.classes
    logits = np.asarray(run(params, variants, config))
    changed = (logits[:-1] != logits[-1]).any(-1)  # (changed token, output)
    distance = np.arange(time) - np.arange(time)[:, None]
    np.testing.assert_array_equal(changed, (distance >= 0) & (distance < reach))


def test_the_default_stack_reaches_back_as_far_as_it_says(rng):
    """1,024 tokens, with channels narrowed: the first token reaches logit 1,023 and no later one."""
    config = nn.WaveNetConfig(4, 1, 10, residual_channels=2, dilation_channels=2, skip_channels=2)
    params = random_params(rng, jnp.float32, config)
    tokens = np.zeros((2, 1030), int)
    tokens[1, 0] = -1  # NaN goes wherever a token is read, however small its weight
    gone = np.isnan(run(params, tokens, config)).all(-1)
    np.testing.assert_array_equal(gone[1], np.arange(1030) < 1024)
    assert not gone[0].any()


@pytest.mark.parametrize("wrong", [-1, 5, 2**31 - 1, -(2**31)])
def test_a_token_outside_of_the_classes_makes_what_reads_it_nan(rng, wrong):
    params = random_params(rng, jnp.float32, PLAIN)
    tokens = np.array(rng.integers(0, 5, (2, 12)))
    clean = run(params, tokens, PLAIN)
    tokens[1, 2] = wrong
    logits = np.array(run(params, tokens, PLAIN))
    inside = (np.arange(12) >= 2) & (np.arange(12) < 2 + nn.receptive_field(PLAIN))
    assert np.isnan(logits[1, inside]).all()
    logits[1, inside] = np.asarray(clean)[1, inside]
    np.testing.assert_array_equal(logits, clean)


# ---- conditions


def test_a_local_condition_acts_from_its_own_step_on(rng):
    config = CONFIGS["local"]
    params = random_params(rng, jnp.float32, config)
    tokens = rng.integers(0, 5, (1, 20))
    _, local = conditions(rng, config, (1,), 20)
    before = np.asarray(run(params, tokens, config, condition=local))
    after = np.asarray(run(params, tokens, config, condition=local.at[0, 3].add(1.0)))
    changed = (before != after).any(-1)[0]
    assert not changed[:3].any()
    assert changed[3]
    assert not changed[3 + nn.receptive_field(config) :].any()


def test_one_condition_may_be_named_too(rng):
    config = CONFIGS["global"]
    params = random_params(rng, jnp.float32, config)
    tokens = rng.integers(0, 5, (2, 3))
    whole, _ = conditions(rng, config, (2,), 3)
    bare, named = (run(params, tokens, config, condition=given) for given in (whole, {"global": whole}))
    np.testing.assert_array_equal(bare, named)
    zeros = run(params, tokens, config, condition=jnp.zeros_like(whole))
    assert (bare != zeros).any(), "the condition matters"


# ---- gradients


def test_every_parameter_that_is_used_gets_a_gradient(rng):
    config = CONFIGS["local"]._replace(global_features=2)
    params = random_params(rng, jnp.float32, config)
    tokens = rng.integers(0, 5, (4, 20))
    whole, local = conditions(rng, config, (4,), 20)
    loss = lambda params: (nn.wavenet(params, tokens, config, condition={"global": whole, "local": local}) ** 2).sum()
    gradient = jax.jit(jax.grad(loss))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    # What the last layer hands on, nobody reads.
    for leaf in gradient["residual"].values():
        assert not leaf[-1, -1].any()
        assert all(part.any() for part in leaf.reshape(-1, *leaf.shape[2:])[:-1])
    del gradient["residual"]
    for path, leaf in paths(gradient).items():
        layers = leaf.reshape(-1, *leaf.shape[2:]) if leaf.ndim > 3 or path == "dilated/bias" else leaf[None]
        assert all(part.any() for part in layers), path


def test_the_embedding_gets_gradients_in_the_rows_that_are_read(rng):
    params = random_params(rng, jnp.float32, PLAIN)
    tokens = jnp.array([[0, 3, 3, 0]])
    gradient = jax.jit(jax.grad(lambda params: (nn.wavenet(params, tokens, PLAIN) ** 2).sum()))(params)
    np.testing.assert_array_equal(gradient["embedding"]["kernel"].any(-1), [True, False, False, True, False])


# ---- parameters


def test_parameters_are_a_dozen_arrays_of_the_asked_dtype(key):
    config = nn.WaveNetConfig(global_features=3, local_features=4)
    shapes = jax.eval_shape(partial(nn.wavenet_init, config=config, dtype=jnp.float16), key)
    found = {path: leaf.shape for path, leaf in paths(shapes).items()}
    assert found == {
        "embedding/kernel": (256, 32),
        "dilated/kernel": (3, 10, 2, 32, 64),
        "dilated/bias": (3, 10, 64),
        "residual/kernel": (3, 10, 32, 32),
        "residual/bias": (3, 10, 32),
        "skip/kernel": (3, 10, 32, 256),
        "skip/bias": (3, 10, 256),
        "global/kernel": (3, 10, 3, 64),
        "local/kernel": (3, 10, 4, 64),
        "hidden/kernel": (256, 256),
        "hidden/bias": (256,),
        "logits/kernel": (256, 256),
        "logits/bias": (256,),
    }
    assert {leaf.dtype.name for leaf in jax.tree.leaves(shapes)} == {"float16"}


def test_a_new_network_is_nearly_undecided_however_deep_it_is(key, rng):
    for stacks in (1, 12):
        config = nn.WaveNetConfig(64, stacks, 2, skip_channels=64)
        params = nn.wavenet_init(jax.random.fold_in(key, stacks), config)
        tokens = rng.integers(0, 64, (2, 100))
        logits = np.asarray(run(params, tokens, config))
        assert 0.05 < logits.std() < 0.6


def test_kernels_are_drawn_by_what_one_output_reads(key):
    config = nn.WaveNetConfig(classes=200, skip_channels=400, local_features=50)
    params = nn.wavenet_init(key, config)
    wanted = {"embedding": 1, "dilated": 64, "residual": 32, "skip": 32 * 30, "hidden": 200, "logits": 400, "local": 50}
    assert set(params) == set(wanted)
    for group, fan in wanted.items():
        assert jnp.std(params[group]["kernel"]) == pytest.approx(fan**-0.5, rel=0.03), group
    layers = np.asarray(params["dilated"]["kernel"]).reshape(30, -1)
    assert len(np.unique(layers[:, 0])) == 30, "no two layers alike"


# ---- what compiles


def test_a_call_outside_of_jit_is_compiled_once(rng):
    params = random_params(rng, jnp.float32, PLAIN)
    tokens = rng.integers(0, 5, (2, 7))
    nn.wavenet(params, tokens, PLAIN)
    before = network._cache_size()
    nn.wavenet(params, tokens, PLAIN)
    nn.wavenet(jax.tree.map(lambda leaf: leaf + 1, params), tokens, PLAIN)
    assert network._cache_size() == before


def test_the_program_grows_with_the_layers_of_a_stack_and_not_with_the_stacks():
    def size(config):
        params = jax.eval_shape(partial(nn.wavenet_init, config=config), jax.random.key(0))
        tokens = jax.ShapeDtypeStruct((1, 8), jnp.int32)
        loss = lambda params, tokens: nn.wavenet(params, tokens, config).sum()
        return len(jax.jit(jax.grad(loss)).lower(params, tokens).as_text())

    assert size(PLAIN._replace(stacks=8)) < 1.1 * size(PLAIN)


@pytest.mark.parametrize("config", [(), {}, None, "config", tuple(PLAIN), PLAIN._replace(classes=2.5)])
def test_a_config_that_is_none_is_refused_by_name(config):
    with pytest.raises(TypeError, match=r"^dlcore\.nn\.receptive_field: `config(\.classes)?` came as"):
        nn.receptive_field(config)


def test_a_config_that_is_traced_is_refused_as_not_static(rng):
    params = random_params(rng, jnp.float32, PLAIN)
    with pytest.raises(TypeError, match=r"`config\.classes` came as .* static"):
        jax.jit(nn.wavenet)(params, jnp.zeros((1, 2), int), PLAIN)
