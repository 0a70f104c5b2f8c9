from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import nn
from tests.nn.recurrent_oracle import draw, gru_step, lstm_step, normal, rnn_step, through_time, wide
from tests.tolerance import assert_close

LAYERS = {"rnn": (nn.rnn, 1, rnn_step), "gru": (nn.gru, 3, gru_step), "lstm": (nn.lstm, 4, lstm_step)}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_are_joined_and_states_are_a_pair(rng, kind, masked):
    run, gates, step = LAYERS[kind]
    lengths = np.array([2, 0, 3]) if masked else None
    (forward, x), (backward, _) = draw(rng, gates, (3,), 3, 2, 2), draw(rng, gates, (3,), 3, 2, 4)
    state = lambda f: tuple(normal(rng, (3, f)) for _ in range(2 if kind == "lstm" else 1))
    starts = state(2), state(4)  # the layers need not be of one width
    given = starts if kind == "lstm" else (starts[0][0], starts[1][0])
    ys, last = jax.jit(partial(nn.bidirectional, run))(
        forward, backward, x, initial_state=given, lengths=None if lengths is None else jnp.asarray(lengths)
    )
    wanted = [
        through_time(step, wide(params), wide(x), wide(start), lengths=lengths, reverse=reverse)
        for params, start, reverse in ((forward, starts[0], False), (backward, starts[1], True))
    ]
    assert_close(ys, np.concatenate([wanted[0][0], wanted[1][0]], -1), length=16)
    assert isinstance(last, tuple)
    for found, (_, want) in zip(last, wanted, strict=True):
        for part, other in zip(found if kind == "lstm" else (found,), want, strict=True):
            assert_close(part, other, length=16)


def test_each_output_has_seen_the_whole_sequence_and_no_step_past_its_length(rng):
    (forward, x), (backward, _) = draw(rng, 3, (), 3, 2, 2), draw(rng, 3, (), 3, 2, 2)
    run = lambda x: nn.bidirectional(nn.gru, forward, backward, x, lengths=jnp.array(2))[0]
    reads = np.asarray(jax.jit(jax.jacobian(run))(x)).reshape(3, 2, 2, 3, 2)  # t, direction, feature, t', input
    reads = np.abs(reads).max((2, 4)) > 0
    assert reads[:, 0].tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert reads[:, 1].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_options_reach_both_layers_and_any_function_of_that_kind_will_do(rng):
    calls = []

    def run(params, x, *, reverse, scale):
        calls.append((reverse, scale))
        return x * params * scale, params

    x = normal(rng, (2, 3, 1))
    ys, last = nn.bidirectional(run, 2.0, 3.0, x, scale=10.0)
    assert calls == [(False, 10.0), (True, 10.0)]
    assert last == (2.0, 3.0)
    assert_close(ys, np.asarray(x) * [20.0, 30.0])


@pytest.mark.parametrize("steps", [0, 1])
def test_few_steps_and_float64_come_out_right_compiled(rng, steps, x64):
    """A concatenation of products may come out wrong in float64 from jaxlib 0.9.2 on CPU."""
    for f in (3, 5, 15):
        (forward, x), (backward, _) = (draw(rng, 4, (4,), steps, 2, f, dtype=jnp.float64) for _ in range(2))
        ys, _ = jax.jit(partial(nn.bidirectional, nn.lstm))(forward, backward, x)
        zeros = (np.zeros((4, f)),) * 2
        wanted = [
            through_time(lstm_step, wide(params), wide(x), zeros, reverse=reverse)[0]
            for params, reverse in ((forward, False), (backward, True))
        ]
        assert_close(ys, np.concatenate(wanted, -1), length=8)


def test_a_direction_of_its_own_is_refused(rng):
    (params, x) = draw(rng, 3, (), 3, 2, 2)
    with pytest.raises(ValueError, match=r"nn\.bidirectional: `reverse`"):
        nn.bidirectional(nn.gru, params, params, x, reverse=False)
    with pytest.raises(TypeError, match=r"nn\.bidirectional: `initial_state`.*pair"):
        nn.bidirectional(nn.gru, params, params, x, initial_state=jnp.zeros(2))
    with pytest.raises(TypeError, match=r"nn\.bidirectional: `run`"):
        nn.bidirectional(params, params, x, x)
    with pytest.raises(ValueError, match=r"nn\.gru: `params`"):
        nn.bidirectional(nn.gru, params, {}, x)
