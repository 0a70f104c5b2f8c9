"""WaveNet and the μ-law, enrolled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import nn
from tests.enrolment import KEY, NO_KEY, Bad, Entry, key_of, normal, option, refuses_kinds, replace

# Small, and no two widths alike.
CONFIG = nn.WaveNetConfig(4, 2, 2, 2, 3, 2, 5, global_features=2, local_features=3)


def random_params(rng, dtype, config):
    """Parameters in which every leaf matters.

    Each rectifier of the head is decidedly open or shut: so near its kink that half precision takes another side, a
    gradient is another one.
    """
    shapes = jax.eval_shape(lambda key: nn.wavenet_init(key, config), jax.random.key(0))
    params = jax.tree.map(lambda leaf: normal(rng, dtype, *leaf.shape) / 2, shapes)
    sides = lambda: rng.choice([-1.0, 1.0, 1.0, 1.0], config.skip_channels)
    layers = config.stacks * config.layers_per_stack
    bias = np.broadcast_to(2 * sides() / layers, shapes["skip"]["bias"].shape)
    params["skip"] = {"kernel": params["skip"]["kernel"] / layers, "bias": jnp.asarray(bias, dtype)}
    params["hidden"] = {"kernel": params["hidden"]["kernel"] / 4, "bias": jnp.asarray(3 * sides(), dtype)}
    return params


def tokens(rng, config, *shape):
    return jnp.asarray(rng.integers(0, config.classes, shape), jnp.int32)


def condition_of(config, whole, local):
    """How the config wants what it is given."""
    if not isinstance(config, nn.WaveNetConfig):
        return None
    given = {"global": whole} if config.global_features else {}
    given |= {"local": local} if config.local_features else {}
    return given if len(given) != 1 else next(iter(given.values()))


def run_wavenet(params, ids, whole, local, *, config=CONFIG, **options):
    options.setdefault("condition", condition_of(config, whole, local))
    return nn.wavenet(params, ids, config, **options)


def run_generate(key, params, prompt, whole, local, *, config=CONFIG, length=4, **options):
    options.setdefault("condition", condition_of(config, whole, local))
    return nn.wavenet_generate(key, params, config, length, prompt=prompt, **options)


def draw_config(d):
    """A network with a condition at least: the data whose values are made extreme."""
    features = d.choose((2, 3), (2, 0), (0, 3))
    return nn.WaveNetConfig(
        classes=d.size(),
        stacks=d.choose(2, 1, 3),
        layers_per_stack=d.choose(2, 1, 3),
        kernel_size=d.choose(2, 1, 3),
        residual_channels=d.size(most=4),
        dilation_channels=d.size(most=4),
        skip_channels=d.size(most=4),
        global_features=features[0],
        local_features=features[1],
    )


def draw_arguments(config, d, *, more=0):
    """(params, tokens, global, local) of a config; the local condition has `more` steps than the tokens."""
    lead, time = d.lead(), d.size()

    def make(rng, dtype):
        return (
            random_params(rng, dtype, config),
            tokens(rng, config, *lead, time),
            normal(rng, dtype, *lead, max(1, config.global_features)),
            normal(rng, dtype, *lead, time + more, max(1, config.local_features)),
        )

    return make


def draw_wavenet(d):
    config = draw_config(d)
    make = draw_arguments(config, d)
    return {"make": make, "options": {"config": config}, "batched": d.batched(1, 2, 3)}


def draw_generate(d):
    config, length = draw_config(d), d.choose(4, 1, 2, 0)
    arguments = draw_arguments(config, d, more=length - 1)
    options = d.options(temperature=(0.5, 0.0)) | {"config": config, "length": length}
    make = lambda rng, dtype: (key_of(rng), *arguments(rng, dtype))
    return {"make": make, "options": options, "batched": d.batched(2, 3, 4)}


def draw_init(d):
    config = draw_config(d)
    options = d.options(dtype=(jnp.bfloat16, jnp.float16)) | {"config": config}
    return {"make": lambda rng, dtype: (key_of(rng),), "options": options}


def draw_encode(d):
    shape = d.lead() + d.shape(1, 2)
    make = lambda rng, dtype: (normal(rng, dtype, *shape),)
    return {"make": make, "batched": d.batched(0), "options": d.options(classes=(2, 3, 65_536))}


def draw_decode(d):
    shape, options = d.lead() + d.shape(1, 2), d.options(classes=(2, 3, 65_536))
    make = lambda rng, dtype: (jnp.asarray(rng.integers(-1, options.get("classes", 256) + 1, shape), jnp.int32),)
    return {"make": make, "batched": d.batched(0), "options": options}


def edit_params(group, **leaves):
    """An edit: other leaves in one group of the parameters; `position` is that of the parameters."""

    def change(position):
        return replace(position, lambda params: params | {group: params[group] | leaves})

    return change


def bad_network(position):
    """What both the network and the generation refuse in their parameters, config and condition."""
    kernel = "params['dilated']['kernel']"
    half = lambda params: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    return (
        Bad("config", TypeError, option(config={"classes": 4})),
        Bad("config", TypeError, option(config=tuple(CONFIG))),
        Bad("config.stacks", ValueError, option(config=CONFIG._replace(stacks=0))),
        Bad("config.kernel_size", TypeError, option(config=CONFIG._replace(kernel_size=2.0))),
        Bad("config.local_features", ValueError, option(config=CONFIG._replace(local_features=-1))),
        Bad("params", TypeError, replace(position, jnp.ones(3))),
        Bad("params", ValueError, replace(position, lambda params: params | {"more": {}})),
        Bad("params", ValueError, replace(position, lambda params: params | {"skip": {}})),
        Bad("params", ValueError, option(config=CONFIG._replace(global_features=0))),
        Bad(kernel, ValueError, edit_params("dilated", kernel=jnp.ones((2, 2, 2, 3, 5)))(position)),
        Bad(kernel, ValueError, option(config=CONFIG._replace(kernel_size=3))),
        Bad(kernel, TypeError, edit_params("dilated", kernel=jnp.ones((2, 2, 2, 3, 4), jnp.int32))(position)),
        Bad("params['hidden']['bias']", ValueError, edit_params("hidden", bias=jnp.ones(4))(position)),
        Bad("params['skip']['bias']", TypeError, edit_params("skip", bias=jnp.ones((2, 2, 5), jnp.bfloat16))(position)),
        Bad("condition", ValueError, option(condition=None)),
        Bad("condition", ValueError, option(condition=jnp.ones((5, 2)))),
        Bad("condition", ValueError, option(condition={"global": jnp.ones((5, 2))})),
        Bad("condition", TypeError, replace(position, half)),
        Bad("condition", ValueError, replace(position + 2, lambda whole: whole[:1])),
        Bad("condition", ValueError, replace(position + 2, lambda whole: whole[:, :1])),
        Bad("condition", ValueError, replace(position + 3, lambda local: local[:, 1:])),
        Bad("condition", ValueError, replace(position + 3, lambda local: local[0])),
        Bad("condition", TypeError, replace(position + 3, lambda local: local.astype(jnp.int32))),
    )


WAVENET: tuple[Entry, ...] = (
    Entry(
        "nn.wavenet_init",
        lambda key, *, config=CONFIG, **options: nn.wavenet_init(key, config, **options),
        lambda rng, dtype: (key_of(rng),),
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            Bad("config", TypeError, option(config=None)),
            Bad("config.classes", ValueError, option(config=CONFIG._replace(classes=0))),
            Bad("config.skip_channels", TypeError, option(config=CONFIG._replace(skip_channels=True))),
            Bad("dtype", TypeError, option(dtype=jnp.int32)),
        ),
        draw=draw_init,
    ),
    Entry(
        "nn.wavenet",
        run_wavenet,
        lambda rng, dtype: (
            random_params(rng, dtype, CONFIG),
            tokens(rng, CONFIG, 5, 6),
            normal(rng, dtype, 5, 2),
            normal(rng, dtype, 5, 6, 3),
        ),
        batched=(1, 2, 3),
        smooth=(0, 2, 3),
        bad=(
            *bad_network(0),
            Bad("tokens", TypeError, replace(1, jnp.ones((5, 6)))),
            Bad("tokens", TypeError, replace(1, [1, 2])),
            Bad("tokens", ValueError, replace(1, jnp.zeros((5, 0), int))),
            Bad("tokens", ValueError, replace(1, jnp.int32(1))),
        ),
        heavy=True,
        draw=draw_wavenet,
    ),
    Entry(
        "nn.wavenet_generate",
        run_generate,
        lambda rng, dtype: (
            key_of(rng),
            random_params(rng, dtype, CONFIG),
            tokens(rng, CONFIG, 5, 3),
            normal(rng, dtype, 5, 2),
            normal(rng, dtype, 5, 6, 3),
        ),
        batched=(2, 3, 4),
        independent=False,
        dtypes=(),
        bad=(
            KEY,
            NO_KEY,
            *bad_network(1),
            Bad("length", ValueError, option(length=-1)),
            Bad("length", TypeError, option(length=4.0)),
            Bad("temperature", ValueError, option(temperature=-0.5)),
            Bad("temperature", ValueError, option(temperature=float("nan"))),
            Bad("temperature", TypeError, option(temperature=jnp.ones(5))),
            Bad("temperature", TypeError, option(temperature="cold")),
            Bad("prompt", TypeError, replace(2, jnp.ones((5, 3)))),
            Bad("prompt", ValueError, replace(2, jnp.zeros((5, 0), int))),
            Bad("condition", ValueError, option(length=5)),
        ),
        heavy=True,
        draw=draw_generate,
    ),
    Entry(
        "nn.mu_law_encode",
        nn.mu_law_encode,
        lambda rng, dtype: (normal(rng, dtype, 5, 4),),
        batched=(0,),
        dtypes=(),
        bad=(
            *refuses_kinds(0, "x"),
            Bad("classes", ValueError, option(classes=1)),
            Bad("classes", ValueError, option(classes=2**22 + 1)),
            Bad("classes", TypeError, option(classes=256.0)),
        ),
        draw=draw_encode,
    ),
    Entry(
        "nn.mu_law_decode",
        nn.mu_law_decode,
        lambda rng, dtype: (jnp.asarray(rng.integers(0, 256, (5, 4)), jnp.int32),),
        batched=(0,),
        dtypes=(),
        bad=(
            Bad("ids", TypeError, replace(0, jnp.ones(3))),
            Bad("ids", TypeError, replace(0, [1, 2])),
            Bad("classes", ValueError, option(classes=0)),
            Bad("classes", TypeError, option(classes="many")),
        ),
        draw=draw_decode,
    ),
)
