"""GRU and LSTM over a whole sequence, all outputs kept."""

from __future__ import annotations

from typing import Any

from benchmarks.rows._mosaic import resident
from benchmarks.rows._peers import draw, equinox, flax, keras, lazily, torch_ways, transformed
from benchmarks.rows._peers import haiku as haiku_module
from benchmarks.suite.jax_side import layer
from benchmarks.suite.row import DLCORE, Contestant, Enter, Floor, Row, Unavailable
from dlcore import nn

# batch, time, features in, features
SHAPES = {"full": ((32, 128, 128, 128), (64, 100, 32, 48), (100, 40, 1, 6)), "quick": ((2, 5, 3, 4),)}

SMALL = (
    "one small product after another, in which the kernel is packed anew at each step, and 20 to 40 operations a step, "
    "a microsecond or more each to start"
)


def rows(size: str) -> list[Row]:
    return [make(*shape) for make in (gru_case, lstm_case) for shape in SHAPES[size]]


def _arrays(b: int, t: int, d: int, f: int, gates: int) -> tuple[Any, ...]:
    x, wi, wh = draw(b, t, d), draw(d, gates * f, seed=1), draw(f, gates * f, seed=2)
    return x, wi / d**0.5 / 2, wh / f**0.5 / 2, draw(gates * f, seed=3) / 2


def _floor(b: int, t: int, d: int, f: int, gates: int) -> Floor:
    return Floor(4 * b * t * (3 * d + 3 * f), 3 * 2 * b * t * (d + f) * gates * f)


def gru_case(b: int, t: int, d: int, f: int) -> Row:
    # The gates are reset, update, new; the last array is the bias that the reset gate multiplies.
    arrays = (*_arrays(b, t, d, f, 3), draw(f, seed=4) / 2)

    def linen() -> Enter:
        rnn = flax().RNN(flax().GRUCell(f))

        def function(x: Any, wi: Any, wh: Any, bias: Any, late: Any) -> Any:
            cut = [slice(gate * f, (gate + 1) * f) for gate in range(3)]
            cell = {f"i{g}": {"kernel": wi[:, c], "bias": bias[c]} for g, c in zip("rzn", cut, strict=True)}
            cell |= {f"h{g}": {"kernel": wh[:, c]} for g, c in zip("rzn", cut, strict=True)}
            cell["hn"]["bias"] = late
            return rnn.apply({"params": {"cell": cell}}, x)

        return layer(function, arrays)

    def eqx() -> Enter:
        import jax

        cell = equinox().nn.GRUCell(d, f, key=jax.random.key(0))

        def function(x: Any, wi: Any, wh: Any, bias: Any, late: Any) -> Any:
            own = equinox().tree_at(
                lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n), cell, (wi.T, wh.T, bias, late)
            )
            return jax.vmap(lambda xs: _scanned(lambda h, x: (own(x, h),) * 2, jax.numpy.zeros(f), xs))(x)

        return layer(function, arrays)

    def ks() -> Enter:
        rnn = keras().layers.GRU(f, return_sequences=True, reset_after=True)
        rnn.build((b, t, d))

        def function(x: Any, wi: Any, wh: Any, bias: Any, late: Any) -> Any:
            import jax.numpy as jnp

            def turned(a: Any) -> Any:
                r, z, n = jnp.split(a, 3, -1)
                return jnp.concatenate([z, r, n], -1)

            recurrent = jnp.concatenate([jnp.zeros(2 * f), late])
            return rnn.stateless_call(
                [turned(wi), turned(wh), jnp.stack([turned(bias), recurrent])], _seeds(rnn), x
            )[0]  # fmt: skip

        return layer(function, arrays)

    def torch(t_: Any) -> Any:
        module = t_.nn.GRU(d, f, batch_first=True)

        def function(x: Any, wi: Any, wh: Any, bias: Any, late: Any) -> Any:
            recurrent = t_.cat([t_.zeros(2 * f, device=late.device), late])
            own = {"weight_ih_l0": wi.T, "weight_hh_l0": wh.T, "bias_ih_l0": bias, "bias_hh_l0": recurrent}
            return t_.func.functional_call(module, own, x)[0]

        return function

    def ours(x: Any, wi: Any, wh: Any, bias: Any, late: Any) -> Any:
        import jax.numpy as jnp

        recurrent = jnp.zeros(3 * f).at[2 * f :].set(late)
        params = {"input_kernel": wi, "recurrent_kernel": wh, "input_bias": bias, "recurrent_bias": recurrent}
        return nn.gru(params, x)[0]

    def hk() -> Contestant:
        haiku_module()
        raise Unavailable("its GRU resets before the product, which is another function")

    return Row(
        name="GRU",
        shape=f"{(b, t, d)} → {f}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": hk, "Keras": lazily(ks),
            **torch_ways(torch, arrays), **resident(3, arrays), DLCORE: layer(ours, arrays),
        },
        floor=_floor(b, t, d, f, 3),
        bound=SMALL,
    )  # fmt: skip


def lstm_case(b: int, t: int, d: int, f: int) -> Row:
    # The gates are input, forget, cell, output.
    arrays = _arrays(b, t, d, f, 4)
    gates = "ifgo"

    def linen() -> Enter:
        rnn = flax().RNN(flax().OptimizedLSTMCell(f))

        def function(x: Any, wi: Any, wh: Any, bias: Any) -> Any:
            cut = [slice(gate * f, (gate + 1) * f) for gate in range(4)]
            cell = {f"i{g}": {"kernel": wi[:, c]} for g, c in zip(gates, cut, strict=True)}
            cell |= {f"h{g}": {"kernel": wh[:, c], "bias": bias[c]} for g, c in zip(gates, cut, strict=True)}
            return rnn.apply({"params": {"cell": cell}}, x)

        return layer(function, arrays)

    def eqx() -> Enter:
        import jax

        cell = equinox().nn.LSTMCell(d, f, key=jax.random.key(0))

        def function(x: Any, wi: Any, wh: Any, bias: Any) -> Any:
            own = equinox().tree_at(lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias), cell, (wi.T, wh.T, bias))

            def step(state: Any, x: Any) -> Any:
                state = own(x, state)
                return state, state[0]

            return jax.vmap(lambda xs: _scanned(step, (jax.numpy.zeros(f),) * 2, xs))(x)

        return layer(function, arrays)

    def hk() -> Enter:
        import jax.numpy as jnp

        def unrolled(x: Any) -> Any:
            core = haiku_module().LSTM(f)
            return haiku_module().dynamic_unroll(core, x, core.initial_state(b), time_major=False)[0]

        rnn = transformed(unrolled)

        def function(x: Any, wi: Any, wh: Any, bias: Any) -> Any:
            def turned(a: Any) -> Any:
                i, forget, g, o = jnp.split(a, 4, -1)
                return jnp.concatenate([i, g, forget, o], -1)

            # Its forget gate has one added.
            less = bias.at[f : 2 * f].add(-1.0)
            own = {"w": jnp.concatenate([turned(wi), turned(wh)]), "b": turned(less)}
            return rnn.apply({"lstm/linear": own}, x)

        return layer(function, arrays)

    def ks() -> Enter:
        rnn = keras().layers.LSTM(f, return_sequences=True)
        rnn.build((b, t, d))
        return layer(lambda x, wi, wh, bias: rnn.stateless_call([wi, wh, bias], _seeds(rnn), x)[0], arrays)

    def torch(t_: Any) -> Any:
        module = t_.nn.LSTM(d, f, batch_first=True)

        def function(x: Any, wi: Any, wh: Any, bias: Any) -> Any:
            none = t_.zeros(4 * f, device=bias.device)
            own = {"weight_ih_l0": wi.T, "weight_hh_l0": wh.T, "bias_ih_l0": bias, "bias_hh_l0": none}
            return t_.func.functional_call(module, own, x)[0]

        return function

    def ours(x: Any, wi: Any, wh: Any, bias: Any) -> Any:
        import jax.numpy as jnp

        none = jnp.zeros(4 * f)
        return nn.lstm(
            {"input_kernel": wi, "recurrent_kernel": wh, "input_bias": bias, "recurrent_bias": none}, x
        )[0]  # fmt: skip

    return Row(
        name="LSTM",
        shape=f"{(b, t, d)} → {f}",
        enter={
            "Flax": lazily(linen), "Equinox": lazily(eqx), "Haiku": lazily(hk), "Keras": lazily(ks),
            **torch_ways(torch, arrays), **resident(4, arrays), DLCORE: layer(ours, arrays),
        },
        floor=_floor(b, t, d, f, 4),
        bound=SMALL,
    )  # fmt: skip


def _scanned(step: Any, state: Any, xs: Any) -> Any:
    import jax

    return jax.lax.scan(step, state, xs)[1]


def _seeds(module: Any) -> list[Any]:
    return [variable.value for variable in module.non_trainable_variables]
