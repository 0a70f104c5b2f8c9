"""Batch, layer, RMS and group normalisation, with scale and offset, as in training."""

from __future__ import annotations

from typing import Any

from benchmarks.rows._mosaic import fused_norms
from benchmarks.rows._peers import FIRST, draw, equinox, flax, haiku, keras, lazily, torch_ways, transformed
from benchmarks.suite.jax_side import layer
from benchmarks.suite.row import DLCORE, ONE_RESULT, Enter, Floor, Row
from dlcore import nn

EPSILON = 1e-5
BATCH = {"full": ((64, 32, 32, 32), (128, 14, 14, 96), (4096, 256)), "quick": ((4, 5, 6, 7),)}
LAYER = {"full": ((4096, 512), (16, 100, 768), (1000, 96)), "quick": ((10, 24),)}
GROUPS = 8
GROUP = {"full": ((16, 28, 28, 64),), "quick": ((2, 5, 4, 16),)}
FUSED = {"full": [(4096, 768), (2048, 4096)], "quick": [(32, 128)]}


def rows(size: str) -> list[Row]:
    return [
        *map(batch_norm_case, BATCH[size]), *map(layer_norm_case, LAYER[size]), *map(rms_norm_case, LAYER[size]),
        *map(group_norm_case, GROUP[size]), *fused_norms(FUSED[size]),
    ]  # fmt: skip


def batch_norm_case(shape: tuple[int, ...]) -> Row:
    channels, n = shape[-1], len(shape) - 2
    x, scale, offset = 3 * draw(*shape) + 1, draw(channels, seed=1), draw(channels, seed=2)
    first = FIRST[n] if n else (0, 1)

    def linen() -> Enter:
        import jax.numpy as jnp

        norm = flax().BatchNorm(use_running_average=False, momentum=0.9, epsilon=EPSILON)
        running = {"mean": jnp.zeros(channels), "var": jnp.ones(channels)}

        def function(x: Any, scale: Any, offset: Any) -> Any:
            variables = {"params": {"scale": scale, "bias": offset}, "batch_stats": running}
            return norm.apply(variables, x, mutable=["batch_stats"])[0]

        return layer(function, (x, scale, offset))

    def eqx() -> Enter:
        import jax

        norm, state = equinox().nn.make_with_state(equinox().nn.BatchNorm)(
            channels, axis_name="batch", eps=EPSILON, momentum=0.9, mode="batch"
        )

        def function(x: Any, scale: Any, offset: Any) -> Any:
            own = equinox().tree_at(lambda norm: (norm.weight, norm.bias), norm, (scale, offset))
            return jax.vmap(own, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)[0]

        return layer(function, (x, scale, offset), turn=(first, None, None), out=first)

    def hk() -> Enter:
        import jax

        norm = haiku().without_apply_rng(haiku().transform_with_state(
            lambda x: haiku().BatchNorm(True, True, 0.9, eps=EPSILON)(x, is_training=True)
        ))  # fmt: skip
        state, wide = norm.init(jax.random.key(0), x[:2])[1], (1,) * (len(shape) - 1) + (channels,)

        def function(x: Any, scale: Any, offset: Any) -> Any:
            own = {"scale": scale.reshape(wide), "offset": offset.reshape(wide)}
            return norm.apply({"batch_norm": own}, state, x)[0]

        return layer(function, (x, scale, offset))

    def ks() -> Enter:
        import jax.numpy as jnp

        norm = keras().layers.BatchNormalization(momentum=0.9, epsilon=EPSILON)
        norm.build(shape)
        running = [jnp.zeros(channels), jnp.ones(channels)]

        def function(x: Any, scale: Any, offset: Any) -> Any:
            return norm.stateless_call([scale, offset], running, x, training=True)[0]

        return layer(function, (x, scale, offset))

    def torch(t: Any) -> Any:
        mean, var = t.zeros(channels), t.ones(channels)
        return lambda x, scale, offset: t.nn.functional.batch_norm(
            x, mean.to(x.device), var.to(x.device), scale, offset, training=True, momentum=0.1, eps=EPSILON
        )

    def ours(x: Any, scale: Any, offset: Any) -> Any:
        state = nn.batch_norm_init(channels)[1]
        return nn.batch_norm_train({"scale": scale, "offset": offset}, state, x, epsilon=EPSILON)[0]

    return Row(
        name="batch norm, training",
        shape=f"{shape}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), "Keras": lazily(ks),
            **torch_ways(torch, (x, scale, offset), turn=(first, None, None), out=first),
            DLCORE: layer(ours, (x, scale, offset)),
        },
        # Statistics need one pass of their own, forward and backward.
        floor=Floor(8 * x.nbytes),
        bound=f"{ONE_RESULT}: each of the four sums is a pass of its own, ten over the data in all",
    )  # fmt: skip


def layer_norm_case(shape: tuple[int, ...]) -> Row:
    channels = shape[-1]
    x, scale, offset = 3 * draw(*shape) + 1, draw(channels, seed=1), draw(channels, seed=2)
    arrays = (x, scale, offset)

    def linen() -> Enter:
        norm = flax().LayerNorm(epsilon=EPSILON)
        return layer(lambda x, s, o: norm.apply({"params": {"scale": s, "bias": o}}, x), arrays)

    def eqx() -> Enter:
        import jax

        norm = equinox().nn.LayerNorm(channels, eps=EPSILON)

        def function(x: Any, scale: Any, offset: Any) -> Any:
            own = equinox().tree_at(lambda norm: (norm.weight, norm.bias), norm, (scale, offset))
            for _ in shape[:-1]:
                own = jax.vmap(own)
            return own(x)

        return layer(function, arrays)

    def hk() -> Enter:
        norm = transformed(lambda x: haiku().LayerNorm(-1, True, True, eps=EPSILON)(x))
        return layer(lambda x, s, o: norm.apply({"layer_norm": {"scale": s, "offset": o}}, x), arrays)

    def ks() -> Enter:
        norm = keras().layers.LayerNormalization(epsilon=EPSILON)
        norm.build(shape)
        return layer(lambda x, s, o: norm.stateless_call([s, o], [], x)[0], arrays)

    def torch(t: Any) -> Any:
        return lambda x, s, o: t.nn.functional.layer_norm(x, (channels,), s, o, EPSILON)

    return Row(
        name="layer norm",
        shape=f"{shape}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), "Keras": lazily(ks),
            **torch_ways(torch, arrays),
            DLCORE: layer(lambda x, s, o: nn.layer_norm({"scale": s, "offset": o}, x, epsilon=EPSILON), arrays),
        },
        floor=Floor(5 * x.nbytes),
        bound=f"{ONE_RESULT}: each of the six sums is a pass of its own, thirteen over the data in all",
    )  # fmt: skip


def rms_norm_case(shape: tuple[int, ...]) -> Row:
    channels = shape[-1]
    arrays = (3 * draw(*shape) + 1, draw(channels, seed=1))

    def linen() -> Enter:
        norm = flax().RMSNorm(epsilon=EPSILON)
        return layer(lambda x, s: norm.apply({"params": {"scale": s}}, x), arrays)

    def eqx() -> Enter:
        import jax

        norm = equinox().nn.RMSNorm(channels, eps=EPSILON, use_bias=False)

        def function(x: Any, scale: Any) -> Any:
            own = equinox().tree_at(lambda norm: norm.weight, norm, scale)
            for _ in shape[:-1]:
                own = jax.vmap(own)
            return own(x)

        return layer(function, arrays)

    def hk() -> Enter:
        norm = transformed(lambda x: haiku().RMSNorm(-1, eps=EPSILON)(x))
        return layer(lambda x, s: norm.apply({"rms_norm": {"scale": s}}, x), arrays)

    def torch(t: Any) -> Any:
        return lambda x, s: t.nn.functional.rms_norm(x, (channels,), s, EPSILON)

    return Row(
        name="RMS norm",
        shape=f"{shape}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), **torch_ways(torch, arrays),
            DLCORE: layer(lambda x, s: nn.rms_norm({"scale": s}, x, epsilon=EPSILON), arrays),
        },
        floor=Floor(5 * arrays[0].nbytes),
    )  # fmt: skip


def group_norm_case(shape: tuple[int, ...]) -> Row:
    channels = shape[-1]
    x, scale, offset = 3 * draw(*shape) + 1, draw(channels, seed=1), draw(channels, seed=2)
    arrays = (x, scale, offset)

    def linen() -> Enter:
        norm = flax().GroupNorm(GROUPS, epsilon=EPSILON)
        return layer(lambda x, s, o: norm.apply({"params": {"scale": s, "bias": o}}, x), arrays)

    def eqx() -> Enter:
        import jax

        norm = equinox().nn.GroupNorm(GROUPS, channels, eps=EPSILON)

        def function(x: Any, scale: Any, offset: Any) -> Any:
            return jax.vmap(equinox().tree_at(lambda norm: (norm.weight, norm.bias), norm, (scale, offset)))(x)

        return layer(function, arrays, turn=(FIRST[2], None, None), out=FIRST[2])

    def hk() -> Enter:
        norm = transformed(lambda x: haiku().GroupNorm(GROUPS, eps=EPSILON)(x))
        return layer(lambda x, s, o: norm.apply({"group_norm": {"scale": s, "offset": o}}, x), arrays)

    def ks() -> Enter:
        norm = keras().layers.GroupNormalization(GROUPS, epsilon=EPSILON)
        norm.build(shape)
        return layer(lambda x, s, o: norm.stateless_call([s, o], [], x)[0], arrays)

    def torch(t: Any) -> Any:
        return lambda x, s, o: t.nn.functional.group_norm(x, GROUPS, s, o, EPSILON)

    def ours(x: Any, scale: Any, offset: Any) -> Any:
        return nn.group_norm({"scale": scale, "offset": offset}, x, groups=GROUPS, epsilon=EPSILON)

    return Row(
        name=f"group norm, {GROUPS} groups",
        shape=f"{shape}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), "Keras": lazily(ks),
            **torch_ways(torch, arrays, turn=(FIRST[2], None, None), out=FIRST[2]), DLCORE: layer(ours, arrays),
        },
        floor=Floor(5 * x.nbytes),
        bound=f"{ONE_RESULT}: each of the six sums is a pass of its own, thirteen over the data in all",
    )  # fmt: skip
