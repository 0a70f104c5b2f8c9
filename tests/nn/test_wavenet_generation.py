from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from dlcore.nn.wavenet.config import Conditions
from dlcore.nn.wavenet.generation import _generate, advance, draw, empty, prepare, prime
from tests.nn.test_wavenet import CONFIGS, PLAIN, condition, conditions
from tests.registry_wavenet import random_params
from tests.tolerance import assert_close

LENGTH = 7
generate = jax.jit(nn.wavenet_generate, static_argnums=(2, 3))
network = jax.jit(nn.wavenet, static_argnums=2)


def clone(key):
    return jax.random.clone(key)


def loud(rng, dtype, config):
    """Parameters whose logits change much with the past, so that a wrong past changes the draws."""
    params = random_params(rng, dtype, config)
    params["embedding"]["kernel"] *= 4
    params["skip"]["kernel"] *= 2 * config.stacks * config.layers_per_stack
    # Open rectifiers, and no class that is best whatever came before.
    params["hidden"] = {"kernel": 4 * params["hidden"]["kernel"], "bias": abs(params["hidden"]["bias"])}
    kernel = params["logits"]["kernel"]
    params["logits"] = {"kernel": kernel - kernel.mean(0, keepdims=True), "bias": 0 * params["logits"]["bias"]}
    return params


def naive(key, params, config, length, *, prompt, temperature=1.0, whole=None, local=None):
    """The whole network anew for each token; sequences are padded behind, which a causal network cannot see."""
    start = prompt.shape[1]
    tokens = np.concatenate([prompt, np.zeros((len(prompt), length), int)], 1)
    if local is not None:
        local = jnp.pad(local, ((0, 0), (0, 1), (0, 0)))
    for n in range(length):
        logits = network(params, tokens, config, condition=condition(config, whole, local))[:, start + n - 1]
        tokens[:, start + n] = draw(jax.random.fold_in(clone(key), n), logits, temperature)
    return tokens[:, start:]


@pytest.mark.parametrize(("name", "time"), [("plain", 1), ("plain", 20), ("global", 2), ("local", 20), ("both", 3)])
def test_cached_generation_is_the_naive_one_token_by_token(rng, key, name, time):
    config, length = CONFIGS[name], 25
    params = loud(rng, jnp.float32, config)
    prompt = rng.integers(0, config.classes, (3, time))
    whole, local = conditions(rng, config, (3,), time + length - 1)
    given = condition(config, whole, local)
    cached = generate(clone(key), params, config, length, prompt=prompt, condition=given)
    assert (cached.dtype, cached.shape) == (jnp.int32, (3, length))
    want = naive(key, params, config, length, prompt=prompt, whole=whole, local=local)
    np.testing.assert_array_equal(cached, want)
    assert len(np.unique(want)) > 1


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_it_is_the_naive_one_in_other_precisions_where_nothing_nearly_ties(rng, key, dtype, x64):
    # Half precision rounds the two forms apart; with a sharp choice, no draw lies between them.
    temperature = 1.0 if dtype == "float64" else 1e-3
    params = loud(rng, jnp.dtype(dtype), PLAIN)
    prompt = rng.integers(0, 5, (2, 3))
    cached = generate(clone(key), params, PLAIN, 12, prompt=prompt, temperature=temperature)
    np.testing.assert_array_equal(cached, naive(key, params, PLAIN, 12, prompt=prompt, temperature=temperature))


@pytest.mark.parametrize("name", ["plain", "both"])
def test_steps_give_the_logits_of_the_parallel_network(rng, name, x64):
    config, time = CONFIGS[name], 30
    params = random_params(rng, jnp.float64, config)
    tokens = rng.integers(0, config.classes, (2, time))
    whole, local = conditions(rng, config, (2,), time, "float64")
    weights = prepare(params, config, whole)

    @jax.jit
    def steps(cache, tokens, local):
        read = lambda cache, inputs: advance(weights, cache, inputs[0], config, inputs[1])
        return jax.lax.scan(read, cache, (tokens.T, local if local is None else jnp.moveaxis(local, 1, 0)))

    _, logits = steps(empty(params, config, 2), jnp.asarray(tokens), local)
    want = network(params, tokens, config, condition=condition(config, whole, local))
    assert_close(jnp.moveaxis(logits, 0, 1), want, length=64)


@pytest.mark.parametrize(("kernel_size", "time"), [(1, 3), (2, 1), (2, 40), (3, 8)])
def test_the_parallel_network_fills_the_cache_as_steps_do(rng, time, kernel_size, x64):
    config = PLAIN._replace(kernel_size=kernel_size, layers_per_stack=3)
    params = random_params(rng, jnp.float64, config)
    tokens = jnp.asarray(rng.integers(0, 5, (2, time)))
    weights, more = prepare(params, config), jnp.asarray(rng.integers(0, 5, (12, 2)))
    read = jax.jit(lambda cache, tokens: jax.lax.scan(lambda c, t: advance(weights, c, t, config), cache, tokens))
    stepped, _ = read(empty(params, config, 2), tokens.T)
    primed = prime(params, tokens, config, Conditions())
    assert [ring.shape for ring in primed.rings] == [ring.shape for ring in stepped.rings]
    # Where a ring stands is its own matter; what comes out next is not.
    assert_close(read(primed, more)[1], read(stepped, more)[1], length=64)


def test_the_state_is_a_plain_pytree_that_keeps_its_kind(rng):
    params = random_params(rng, jnp.float32, PLAIN)
    cache = empty(params, PLAIN, 3)
    token = jnp.zeros(3, jnp.int32)
    step = jax.jit(lambda cache, token: advance(prepare(params, PLAIN), cache, token, PLAIN), donate_argnums=0)
    after, logits = step(cache, token)
    assert logits.shape == (3, 5)
    assert jax.tree.structure(after) == jax.tree.structure(cache)
    assert list(map(jax.typeof, jax.tree.leaves(after))) == list(map(jax.typeof, jax.tree.leaves(cache)))
    assert [ring.shape for ring in after.rings] == [(2, 3, 3), (3, 3, 3)] * 2
    assert all(leaf.is_deleted() for leaf in cache.rings), "donated: the rings are written in place"
    caches = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), after)
    one = lambda cache: advance(prepare(params, PLAIN), cache, token, PLAIN)
    mapped = jax.vmap(one)(caches)
    assert_close(mapped[1][1], one(after)[1], length=16)


def test_fewer_tokens_are_the_beginning_of_more(rng, key):
    params = loud(rng, jnp.float32, PLAIN)
    prompt = rng.integers(0, 5, (2, 4))
    few, many = (generate(clone(key), params, PLAIN, length, prompt=prompt) for length in (LENGTH, 16))
    np.testing.assert_array_equal(few, many[:, :LENGTH])
    assert generate(key, params, PLAIN, 0, prompt=prompt).shape == (2, 0)


def test_what_was_generated_is_a_prompt_like_any_other(rng, key):
    """Greedily, where to cut does not matter."""
    params = loud(rng, jnp.float32, PLAIN)
    prompt = rng.integers(0, 5, (2, 4))
    whole = generate(clone(key), params, PLAIN, 16, prompt=prompt, temperature=0.0)
    longer = np.concatenate([prompt, whole[:, :10]], 1)
    rest = generate(clone(key), params, PLAIN, 6, prompt=longer, temperature=0.0)
    np.testing.assert_array_equal(rest, whole[:, 10:])


def test_leading_axes_are_free(rng, key):
    params = loud(rng, jnp.float32, PLAIN)
    prompt = rng.integers(0, 5, (2, 1, 4))
    flat = generate(clone(key), params, PLAIN, LENGTH, prompt=prompt[:, 0])
    deep = generate(clone(key), params, PLAIN, LENGTH, prompt=prompt)
    np.testing.assert_array_equal(deep, np.asarray(flat)[:, None])
    assert jax.eval_shape(lambda key: generate(key, params, PLAIN, 3, prompt=prompt[0, 0]), key).shape == (3,)
    assert jax.eval_shape(lambda key: generate(key, params, PLAIN, 3, prompt=prompt[:0]), key).shape == (0, 1, 3)


def test_it_may_be_mapped_over_keys_and_prompts(rng, key):
    params = loud(rng, jnp.float32, PLAIN)
    keys, prompts = jax.random.split(key, 3), jnp.asarray(rng.integers(0, 5, (3, 2, 4)))
    one = lambda key, prompt: nn.wavenet_generate(key, params, PLAIN, LENGTH, prompt=prompt)
    mapped = jax.jit(jax.vmap(one))(clone(keys), prompts)
    for index in range(3):
        want = generate(clone(keys)[index], params, PLAIN, LENGTH, prompt=prompts[index])
        np.testing.assert_array_equal(mapped[index], want)


@pytest.mark.parametrize("dtype", ["uint8", "uint32"])
def test_a_prompt_of_any_integers_is_read_alike(rng, key, dtype):
    params = loud(rng, jnp.float32, PLAIN)
    prompt = rng.integers(0, 5, (2, 4))
    want = generate(clone(key), params, PLAIN, LENGTH, prompt=prompt)
    found = generate(clone(key), params, PLAIN, LENGTH, prompt=jnp.asarray(prompt, dtype))
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, want)


def test_a_token_outside_of_the_classes_is_followed_by_no_token(rng, key):
    params = loud(rng, jnp.float32, PLAIN)
    reach = nn.receptive_field(PLAIN)
    prompt = rng.integers(0, 5, (4, reach + 1))
    clean = generate(clone(key), params, PLAIN, LENGTH, prompt=prompt)
    prompt[0, 1] = 5
    prompt[1, 0] = 99  # one token further back than anybody reads
    prompt[2, -1] = -1
    tokens = generate(clone(key), params, PLAIN, LENGTH, prompt=prompt)
    assert (tokens[0] == -1).all()
    assert (tokens[2] == -1).all()
    np.testing.assert_array_equal(tokens[1::2], clean[1::2])
    assert (tokens[1::2] >= 0).all()


def test_a_wide_token_does_not_wrap_into_a_class(rng, key, x64):
    params = loud(rng, jnp.float32, PLAIN)
    tokens = generate(key, params, PLAIN, 2, prompt=jnp.array([[2**32], [2**32 + 1]]))
    assert (tokens == -1).all()


# ---- draws


@partial(jax.jit, static_argnums=2)
def draws(key, logits, count, temperature=1.0):
    return draw(key, jnp.broadcast_to(logits, (count, *logits.shape)), temperature)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
def test_draws_have_the_frequencies_of_the_softmax(rng, key, temperature):
    logits = rng.standard_normal(6).astype(np.float32)
    count = 20_000
    p = np.exp(logits.astype(np.float64) / temperature)
    p /= p.sum()
    found = np.bincount(draws(key, logits, count, temperature), minlength=6) / count
    assert (np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / count)).all()


def test_a_class_without_probability_is_never_drawn(key):
    logits = jnp.array([-np.inf, 0.0, -np.inf, -200.0, 0.0, -np.inf])
    assert set(np.asarray(draws(key, logits, 20_000)).tolist()) == {1, 4}


def test_temperature_zero_takes_the_most_probable_and_draws_among_ties(key):
    logits = jnp.array([1.0, 3.0, -np.inf, 3.0, 2.999])
    first, second = jax.random.split(key)
    assert set(np.asarray(draws(first, logits, 20_000, 0.0)).tolist()) == {1, 3}
    assert set(np.asarray(draws(second, logits, 20_000, 1e-30)).tolist()) == {1, 3}


@pytest.mark.parametrize(
    ("logits", "wanted"),
    [
        ([0.0, np.nan, 0.0], {-1}),
        ([-np.inf, -np.inf], {-1}),
        ([np.inf, 0.0, np.inf, -np.inf], {0, 2}),
        ([1e38, -1e38], {0}),
        ([7.0], {0}),
    ],
)
def test_awkward_logits_draw_their_limit_or_no_class(key, logits, wanted):
    assert set(np.asarray(draws(key, jnp.asarray(logits, jnp.float32), 500)).tolist()) == wanted


def test_a_negative_temperature_draws_no_class_where_it_cannot_be_refused(key):
    assert (draws(key, jnp.zeros(3), 5, jnp.float32(-1.0)) == -1).all()


def test_many_classes_are_drawn_evenly(key):
    found = np.bincount(draws(key, jnp.zeros(259), 25_900), minlength=259)
    # χ² of 258 degrees of freedom: mean 258, deviation √(2 · 258).
    assert abs(((found - 100) ** 2 / 100).sum() - 258) < 5 * np.sqrt(2 * 258)


# ---- cost


def test_a_step_costs_what_its_layers_cost_and_not_its_receptive_field():
    def flops(layers, stacks):
        config = nn.WaveNetConfig(16, stacks, layers, residual_channels=8, dilation_channels=8, skip_channels=8)
        params = jax.eval_shape(partial(nn.wavenet_init, config=config), jax.random.key(0))
        cache = jax.eval_shape(lambda params: empty(params, config, 1), params)
        token = jax.ShapeDtypeStruct((1,), jnp.int32)
        step = jax.jit(lambda p, cache, token: advance(prepare(p, config), cache, token, config), donate_argnums=1)
        return step.lower(params, cache, token).compile().cost_analysis()["flops"]

    shallow, deep, wide = flops(2, 2), flops(4, 2), flops(8, 1)
    assert deep < 2.2 * shallow
    assert wide == pytest.approx(deep, rel=0.1), "8 layers cost the same with receptive fields of 31 and 256"


def test_another_temperature_or_prompt_does_not_compile_again(rng, key):
    params = random_params(rng, jnp.float32, PLAIN)
    run = lambda prompt, tau: nn.wavenet_generate(clone(key), params, PLAIN, 3, prompt=prompt, temperature=tau)
    run(jnp.zeros((1, 2), int), 1.0)
    before = _generate._cache_size()
    run(jnp.ones((1, 2), int), 0.5)
    assert _generate._cache_size() == before
