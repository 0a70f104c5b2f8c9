import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import losses, models, train

MODEL = models.dense(2)
SGD = optax.sgd(0.1)
DATA = np.ones((9, 3), np.float32), np.zeros((9, 2), np.float32)


def make_state(key, optimizer=SGD):
    return train.make_state(jax.random.clone(key), MODEL, optimizer, DATA[0])


def make_epoch(optimizer=SGD, batch_size=4):
    return train.make_epoch(train.make_step(MODEL, losses.squared_error, optimizer), batch_size=batch_size)


def scripted(*epochs):
    """An epoch that reports losses written down beforehand, one list a call."""
    script = iter(epochs)

    def epoch(state, data):
        series = next(script)
        return state._replace(step=state.step + len(series)), {"loss": jnp.array(series)}

    return epoch


def same_bits(a, b):
    """Two states are equal to the bit, keys included."""
    a, b = (state._replace(key=jax.random.key_data(state.key)) for state in (a, b))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_reports_tell_epoch_step_and_mean_metrics(key):
    shown = []
    state, history = train.fit(
        scripted([1.0, 2.0], [3.0, 5.0]), make_state(key), DATA, epochs=2, report=lambda line, state: shown.append(line)
    )
    assert [(line.epoch, line.epochs, line.step) for line in history] == [(1, 2, 2), (2, 2, 4)]
    assert [line.metrics for line in history] == [{"loss": 1.5}, {"loss": 4.0}]
    assert shown == history
    assert int(state.step) == 4


def test_seconds_and_rates_fit_together(key):
    _, history = train.fit(make_epoch(), make_state(key), DATA, epochs=2)
    for line in history:
        assert line.seconds > 0
        assert line.steps_per_second == pytest.approx(2 / line.seconds)


def test_training_lowers_the_loss(key):
    _, history = train.fit(make_epoch(), make_state(key), DATA, epochs=5)
    found = [line.metrics["loss"] for line in history]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_fit_is_its_epochs_one_after_another(key):
    epoch, state, twin = make_epoch(), make_state(key), make_state(key)
    state, _ = train.fit(epoch, state, DATA, epochs=3)
    for _ in range(3):
        twin, _ = epoch(twin, DATA)
    same_bits(state, twin)


def test_two_fits_are_one_longer_fit(key):
    once, _ = train.fit(make_epoch(), make_state(key), DATA, epochs=4)
    half, first = train.fit(make_epoch(), make_state(key), DATA, epochs=1)
    twice, rest = train.fit(make_epoch(), half, DATA, epochs=3)
    same_bits(once, twice)
    assert [line.step for line in first + rest] == [2, 4, 6, 8]


def test_an_epoch_compiled_ahead_of_time_will_do(key):
    compiled = make_epoch().lower(make_state(key), DATA).compile()
    same_bits(*(train.fit(epoch, make_state(key), DATA, epochs=2)[0] for epoch in (compiled, make_epoch())))


def test_what_evaluate_returns_joins_the_report(key):
    def evaluate(state):
        return {"test_loss": jnp.asarray(0.5), "step_seen": state.step}

    _, history = train.fit(scripted([1.0], [2.0]), make_state(key), DATA, epochs=2, evaluate=evaluate)
    assert [line.metrics for line in history] == [
        {"loss": 1.0, "test_loss": 0.5, "step_seen": 1.0},
        {"loss": 2.0, "test_loss": 0.5, "step_seen": 2.0},
    ]


def test_the_state_that_report_sees_can_be_read_and_saved(key):
    kernels = []
    state, _ = train.fit(
        make_epoch(),
        make_state(key),
        DATA,
        epochs=2,
        report=lambda line, s: kernels.append(np.array(s.params["kernel"])),
    )
    np.testing.assert_array_equal(kernels[-1], state.params["kernel"])
    assert not np.array_equal(*kernels)


def test_stop_ends_training_after_the_epoch_in_which_it_says_so(key):
    answers = iter([False, True])
    state, history = train.fit(make_epoch(), make_state(key), DATA, epochs=9, stop=lambda: next(answers))
    assert [line.epoch for line in history] == [1, 2]
    assert int(state.step) == 4


def test_stop_is_asked_after_evaluation_and_report(key):
    calls = []

    def stop():
        calls.append("stop")
        return True

    train.fit(
        scripted([1.0]), make_state(key), DATA, epochs=2, stop=stop,
        evaluate=lambda state: calls.append("evaluate") or {}, report=lambda line, state: calls.append("report"),
    )  # fmt: skip
    assert calls == ["evaluate", "report", "stop"]


def test_no_epochs_leave_the_state_as_it_is(key):
    state = make_state(key)
    same, history = train.fit(make_epoch(), state, DATA, epochs=0)
    assert same is state
    assert history == []


def test_the_data_are_put_on_the_device_once(key):
    seen = []

    def epoch(state, data):
        seen.append(data[0])
        return state, {"loss": jnp.zeros(1)}

    train.fit(epoch, make_state(key), DATA, epochs=3)
    assert all(isinstance(x, jax.Array) and x is seen[0] for x in seen)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("epoch", "place"), [(1, 0), (1, 2), (2, 1)])
def test_a_loss_that_is_not_finite_names_the_first_such_step(epoch, place, value, key):
    series = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    series[epoch - 1][place:] = [value] * (3 - place)
    reported = []
    with pytest.raises(train.DivergedError) as caught:
        train.fit(
            scripted(*series), make_state(key), DATA, epochs=2, report=lambda line, state: reported.append(line.epoch)
        )
    step = 3 * (epoch - 1) + place
    assert caught.value.step == step
    assert math.isnan(caught.value.value) if math.isnan(value) else caught.value.value == value
    assert f"at step {step}." in str(caught.value)
    assert reported == list(range(1, epoch))


def test_a_loss_that_recovers_is_caught_all_the_same(key):
    with pytest.raises(train.DivergedError) as caught:
        train.fit(scripted([1.0, math.nan, 1.0]), make_state(key), DATA, epochs=1)
    assert caught.value.step == 1


def test_the_step_of_a_divergence_counts_from_where_training_was_resumed(key):
    state = make_state(key)._replace(step=jnp.asarray(100, jnp.int32))
    with pytest.raises(train.DivergedError) as caught:
        train.fit(scripted([1.0, math.inf]), state, DATA, epochs=1)
    assert caught.value.step == 101


def test_a_real_divergence_is_seen_at_the_step_after_the_update_that_did_it(key):
    # The update of step 5 is infinite, so the loss of step 6 is the first that is not finite.
    optimizer = optax.sgd(lambda count: jnp.where(count == 5, jnp.inf, 0.01))
    with pytest.raises(train.DivergedError) as caught:
        train.fit(make_epoch(optimizer), make_state(key, optimizer), DATA, epochs=9)
    assert caught.value.step == 6


def test_parameters_that_are_not_finite_are_never_reported_as_a_good_epoch(key):
    # The update of step 3, the last of the second epoch, is infinite; the losses up to there are finite.
    optimizer = optax.sgd(lambda count: jnp.where(count == 3, jnp.inf, 0.01))
    kernels = []
    with pytest.raises(train.DivergedError):
        train.fit(
            make_epoch(optimizer), make_state(key, optimizer), DATA, epochs=9,
            report=lambda line, state: kernels.append(np.array(state.params["kernel"])),
        )  # fmt: skip
    assert all(np.isfinite(kernel).all() for kernel in kernels)


def test_metrics_other_than_the_loss_may_be_nan(key):
    def epoch(state, data):
        return state, {"loss": jnp.zeros(1), "other": jnp.full(1, jnp.nan)}

    _, (line,) = train.fit(epoch, make_state(key), DATA, epochs=1)
    assert math.isnan(line.metrics["other"])


def test_what_evaluate_returns_may_not_take_the_place_of_the_epochs_own_metric(key):
    with pytest.raises(ValueError, match=r"dlcore\.train\.fit: `evaluate` came as .*'loss'"):
        train.fit(scripted([1.0]), make_state(key), DATA, epochs=1, evaluate=lambda state: {"loss": 9.0})


def right(key):
    return {"epoch": make_epoch(), "state": make_state(key), "data": DATA, "epochs": 1}


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("epochs", -1, ValueError),
        ("epochs", 1.0, TypeError),
        ("epochs", None, TypeError),
        ("data", (DATA[0], DATA[1][:5]), ValueError),
        ("data", (DATA[0][:0], DATA[1][:0]), ValueError),
        ("data", DATA[0], ValueError),
        ("data", ([1.0, 2.0], [1, 2]), (ValueError, TypeError)),
        ("epoch", None, TypeError),
        ("epoch", 3, TypeError),
        ("epoch", MODEL, TypeError),
        ("evaluate", {"loss": 3}, TypeError),
        ("report", 3, TypeError),
        ("stop", True, TypeError),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_trained(argument, value, error, key):
    with pytest.raises(error, match=rf"dlcore\.train\.fit: `{argument}` came as"):
        train.fit(**{**right(key), argument: value})


def test_a_step_in_place_of_an_epoch_is_refused(key):
    step = jax.jit(train.make_step(MODEL, losses.squared_error, SGD))
    with pytest.raises((ValueError, TypeError), match=r"dlcore\.train\.fit: `epoch` came as .*make_epoch"):
        train.fit(step, make_state(key), DATA, epochs=1)
