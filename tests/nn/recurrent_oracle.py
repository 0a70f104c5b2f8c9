"""Recurrent layers as loops over sequences and steps in NumPy, and their exact gradients by complex steps."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.tolerance import assert_close

STEP = 1e-30


def sigma(x):
    return 1 / (1 + np.exp(-x))


def rnn_step(params, state, x, activation="tanh"):
    a = x @ params["input_kernel"] + state[0] @ params["recurrent_kernel"]
    a = a + params.get("input_bias", 0) + params.get("recurrent_bias", 0)
    return (np.tanh(a) if activation == "tanh" else np.where(a.real > 0, a, 0),)


def gru_step(params, state, x, reset_after=True):
    (h,) = state
    zeros = np.zeros(3 * len(h))
    i_r, i_z, i_n = np.split(x @ params["input_kernel"] + params.get("input_bias", zeros), 3)
    u_r, u_z, u_n = np.split(params["recurrent_kernel"], 3, 1)
    c_r, c_z, c_n = np.split(params.get("recurrent_bias", zeros), 3)
    r, z = sigma(i_r + h @ u_r + c_r), sigma(i_z + h @ u_z + c_z)
    n = np.tanh(i_n + (r * (h @ u_n + c_n) if reset_after else (r * h) @ u_n + c_n))
    return ((1 - z) * n + z * h,)


def lstm_step(params, state, x):
    h, c = state
    a = x @ params["input_kernel"] + h @ params["recurrent_kernel"]
    a = a + params.get("input_bias", 0) + params.get("recurrent_bias", 0)
    i, f, g, o = np.split(a, 4)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def through_time(step, params, x, state, *, lengths=None, reverse=False, **options):
    """`x`: (*batch, T, D); `state`: a tuple of (*batch, F). Returns ys and the last state."""
    batch, steps, features = x.shape[:-2], x.shape[-2], state[0].shape[-1]
    ys = np.zeros((*batch, steps, features), x.dtype)
    last = [np.array(part) for part in state]
    for at in np.ndindex(*batch):
        length = steps if lengths is None else int(np.clip(lengths[at], 0, steps))
        now = tuple(part[at] for part in state)
        for t in reversed(range(length)) if reverse else range(length):
            now = step(params, now, x[(*at, t)], **options)
            ys[(*at, t)] = now[0]
        for part, value in zip(last, now, strict=True):
            part[at] = value
    return ys, tuple(last)


def gradients(function, arguments, weights):
    """d Σ weights · outputs by each number of `arguments`, a list of arrays, without subtraction."""
    found = [np.zeros(argument.shape) for argument in arguments]
    for position, argument in enumerate(arguments):
        for index in np.ndindex(argument.shape):
            moved = [np.asarray(other, np.complex128) for other in arguments]
            moved[position] = moved[position].copy()
            moved[position][index] += STEP * 1j
            value = sum((output * weight).sum() for output, weight in zip(function(*moved), weights, strict=True))
            found[position][index] = value.imag / STEP
    return found


def draw(rng, gates, lead, steps, d, f, *, bias=True, dtype=jnp.float32):
    """Parameters, x, and one state (of which a layer with two takes its second from elsewhere)."""
    shapes = {"input_kernel": (d, gates * f), "recurrent_kernel": (f, gates * f)}
    shapes |= {"input_bias": (gates * f,), "recurrent_bias": (gates * f,)} if bias else {}
    params = {leaf: jnp.asarray(rng.standard_normal(shape) / 2, dtype) for leaf, shape in shapes.items()}
    return params, normal(rng, (*lead, steps, d), dtype)


def normal(rng, shape, dtype=jnp.float32):
    return jnp.asarray(rng.standard_normal(shape), dtype)


def wide(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float64), tree)


def check(rng, run, step, params, x, state, *, lengths=None, exact=True, **options):
    """Values and gradients of `run(params, x, state, lengths, **options) -> (ys, *last)` are the oracle's."""
    leaves, tree = jax.tree.flatten((params, x, state))

    def oracle(*arrays):
        params, x, state = jax.tree.unflatten(tree, arrays)
        ys, last = through_time(step, params, x, state, lengths=lengths, **options)
        return (ys, *last)

    def value(params, x, state, lengths, weights):
        outputs = run(params, x, state, lengths)
        return sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True)), outputs

    wanted = oracle(*wide(leaves))
    weights = [normal(rng, part.shape, x.dtype) for part in wanted]
    compiled = jax.jit(jax.grad(value, argnums=(0, 1, 2), has_aux=True))
    found, outputs = compiled(params, x, state, None if lengths is None else jnp.asarray(lengths), weights)
    length = 8 * x.shape[-2] if exact else 4
    for output, want in zip(outputs, wanted, strict=True):
        assert output.dtype == x.dtype
        assert_close(output, want, length=length, scale=1)
    for gradient, want in zip(jax.tree.leaves(found), gradients(oracle, wide(leaves), wide(weights)), strict=True):
        assert gradient.dtype == x.dtype
        assert_close(gradient, want, length=length, scale=max(1, np.abs(want).max(initial=0)))
    return outputs
