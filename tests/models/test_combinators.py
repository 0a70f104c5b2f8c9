import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import models, nn
from tests.tolerance import assert_close

X = jax.ShapeDtypeStruct((5, 4), jnp.float32)


def run(layer, params, state, x, *, key=None, train=False):
    return layer.apply(params, state, x, key=key, train=train)


def draw(rng, shape=(5, 4)):
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def avals(tree):
    return jax.tree.structure(tree), [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]


def noisy():
    """A layer whose output shows the mask that it drew."""
    return models.dropout(rate=0.5)


def counter():
    """A layer that counts, in its state, how often it was applied."""
    return models.Layer(
        lambda key, x_spec: ({}, jnp.zeros((), jnp.int32)), lambda params, state, x, *, key, train: (x, state + 1)
    )


# serial


def test_serial_is_composition_in_the_order_of_its_keywords(key, rng):
    net = models.serial(z=models.dense(3), act=models.tanh(), a=models.dense(2))
    x = draw(rng)
    params, state = net.init(key, X)
    y, _ = run(net, params, state, x)
    np.testing.assert_array_equal(y, nn.dense(params["a"], nn.tanh(nn.dense(params["z"], x))))
    assert list(params) == list(state) == ["z", "act", "a"]
    assert params["act"] == {}


def test_serial_infers_every_width_from_the_one_before(key):
    net = models.serial(
        conv=models.conv(3, (3, 3)), pool=models.max_pool((2, 2)), flat=models.flatten(), out=models.dense(2)
    )
    params, _ = jax.eval_shape(lambda key: net.init(key, jax.ShapeDtypeStruct((7, 4, 6, 1), jnp.float32)), key)
    assert params["conv"]["kernel"].shape == (3, 3, 1, 3)
    assert params["out"]["kernel"].shape == (2 * 3 * 3, 2)


def test_serial_init_makes_shapes_without_running_the_layers(key):
    def explode(x):
        assert isinstance(x, jax.core.Tracer), "the layer was run on numbers"
        return x

    net = models.serial(look=models.lift(explode), out=models.dense(2))
    assert net.init(key, jnp.ones((5, 4)))[0]["out"]["kernel"].shape == (4, 2)


def test_serial_draws_each_layer_by_itself(key):
    net = models.serial(a=models.dense(4), b=models.dense(4))
    params, _ = net.init(key, X)
    assert not np.array_equal(params["a"]["kernel"], params["b"]["kernel"])


def test_serial_draws_a_mask_of_its_own_for_each_layer_and_key(key):
    net = models.serial(a=noisy(), look_a=models.tap(jnp.sign), b=noisy(), look_b=models.tap(jnp.sign))
    x = jnp.ones((20, 20))
    first, second = jax.random.split(key)
    _, state = net.init(jax.random.clone(first), x)
    masks = [run(net, {n: {} for n in state}, state, x, key=k, train=True)[1] for k in (first, second)]
    kept = [np.asarray(masks[0]["look_a"]), np.asarray(masks[0]["look_b"]), np.asarray(masks[1]["look_a"])]
    # b drops half of what a left: independent masks leave a quarter, equal ones a half
    assert abs(kept[1].mean() - 0.25) < 0.1
    assert not np.array_equal(kept[0], kept[2])


def test_serial_threads_each_state_and_hands_it_back(key):
    net = models.serial(one=counter(), norm=models.batch_norm(), two=counter(), inner=models.serial(three=counter()))
    params, state = net.init(key, X)
    for _ in range(3):
        _, after = run(net, params, state, jnp.ones((5, 4)), train=True)
        assert avals(after) == avals(state)
        state = after
    assert (int(state["one"]), int(state["two"]), int(state["inner"]["three"])) == (3, 3, 3)


def test_serial_of_nothing_is_the_identity(key):
    params, state = models.serial().init(key, X)
    x = jnp.ones(3)
    assert run(models.serial(), params, state, x) == (x, {})
    assert (params, state) == ({}, {})


@pytest.mark.parametrize("make", [models.serial, lambda **layers: models.parallel(lambda *ys: ys[0], **layers)])
@pytest.mark.parametrize(
    ("value", "error"), [(models.relu, TypeError), (jnp.tanh, TypeError), (None, TypeError), ((1, 2), TypeError)]
)
def test_what_is_no_layer_is_refused_by_its_name(make, value, error):
    with pytest.raises(error, match=r"dlcore\.models\.(serial|parallel): `act` came as .*models\.relu\(\)"):
        make(act=value)


def test_a_name_with_a_slash_is_refused():
    with pytest.raises(ValueError, match=r"dlcore\.models\.serial: `a/b`"):
        models.serial(**{"a/b": models.relu()})


NETS = {
    "serial": (models.serial(fc=models.dense(4)), "models.serial"),
    "parallel": (models.parallel(lambda y: y, fc=models.dense(4)), "models.parallel"),
    "residual": (models.residual(models.dense(4)), "models.residual"),
}


@pytest.mark.parametrize("argument", ["params", "state"])
@pytest.mark.parametrize("value", [None, {"other": ()}], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_params_or_state_that_lack_a_layer_are_refused_by_function_and_argument(name, value, argument, key):
    net, function = NETS[name]
    params, state = net.init(key, X)
    given = {"params": params, "state": state} | {argument: value}
    with pytest.raises(ValueError, match=rf"dlcore\.{function}: `{argument}` came as .* expected a dict with"):
        run(net, given["params"], given["state"], jnp.ones((5, 4)))


@pytest.mark.parametrize("name", NETS)
def test_a_raw_or_missing_key_is_refused_by_init(name):
    for key, error in ((jax.random.PRNGKey(0), TypeError), (None, ValueError)):
        with pytest.raises(error, match=rf"dlcore\.{NETS[name][1]}: `key` came as"):
            NETS[name][0].init(key, X)


@pytest.mark.parametrize("name", [*NETS, "stack"])
def test_a_wrong_spec_is_refused_by_init(name, key):
    net, function = {**NETS, "stack": (models.stack(models.dense(4), 2), "models.stack")}[name]
    with pytest.raises(TypeError, match=rf"dlcore\.{function}: `x_spec` came as"):
        net.init(key, 3)


@pytest.mark.parametrize("name", NETS)
def test_an_error_from_inside_carries_the_names_of_the_layers_around_it(name, key):
    net, function = NETS[name]
    inner = "body" if name == "residual" else "fc"
    outer = models.serial(block=net)
    params, state = outer.init(key, X)
    with pytest.raises(ValueError, match=r"dlcore\.nn\.dense: `x`") as caught:
        run(outer, params, state, jnp.ones((5, 3)))
    assert caught.value.__notes__ == [f"in layer '{inner}' of {function}", "in layer 'block' of models.serial"]


def test_an_error_during_init_carries_the_name_of_the_layer(key):
    net = models.serial(fine=models.relu(), wrong=models.dense(0))
    with pytest.raises(ValueError, match="out_features") as caught:
        net.init(key, X)
    assert caught.value.__notes__ == ["in layer 'wrong' of models.serial"]


def test_dropout_that_trains_without_a_key_says_in_which_layer(key):
    net = models.serial(fc=models.dense(3), drop=models.dropout(rate=0.5))
    params, state = net.init(key, X)
    with pytest.raises(ValueError, match=r"dlcore\.models\.dropout: `key` came as None") as caught:
        run(net, params, state, jnp.ones((5, 4)), train=True)
    assert caught.value.__notes__ == ["in layer 'drop' of models.serial"]


# parallel


def test_parallel_joins_its_branches_in_order(key, rng):
    net = models.parallel(lambda a, b: a - 2 * b, one=models.dense(3), two=models.dense(3))
    x = draw(rng)
    params, state = net.init(key, X)
    y, _ = run(net, params, state, x)
    np.testing.assert_array_equal(y, nn.dense(params["one"], x) - 2 * nn.dense(params["two"], x))
    assert not np.array_equal(params["one"]["kernel"], params["two"]["kernel"])


def test_parallel_sums_gradients_threads_state_and_splits_the_key(key):
    net = models.parallel(lambda a, b, c: (a + b, c), combine=noisy(), other=noisy(), count=counter())
    x = jnp.ones((20, 20))
    params, state = net.init(jax.random.clone(key), x)

    def total(x):
        (y, same), after = run(net, params, state, x, key=jax.random.clone(key), train=True)
        return y.sum(), (y, same, after)

    slope, (y, same, after) = jax.grad(total, has_aux=True)(x)
    np.testing.assert_array_equal(slope, y)
    np.testing.assert_array_equal(same, x)
    assert set(np.unique(y)) == {0.0, 2.0, 4.0}
    assert int(after["count"]) == 1


def test_parallel_refuses_a_combine_that_cannot_be_called():
    with pytest.raises(TypeError, match=r"dlcore\.models\.parallel: `combine`"):
        models.parallel(models.relu(), a=models.relu())


# residual


def test_residual_adds_its_input(key, rng):
    net, x = models.residual(models.serial(fc=models.dense(4), act=models.tanh())), draw(rng)
    params, state = net.init(key, X)
    np.testing.assert_array_equal(run(net, params, state, x)[0], x + nn.tanh(nn.dense(params["body"]["fc"], x)))
    assert list(params) == ["body"]


def test_residual_adds_its_shortcut(key, rng):
    net, x = models.residual(models.dense(3), shortcut=models.dense(3, use_bias=False)), draw(rng)
    params, state = net.init(key, X)
    np.testing.assert_array_equal(
        run(net, params, state, x)[0], nn.dense(params["shortcut"], x) + nn.dense(params["body"], x)
    )
    assert list(state) == ["body", "shortcut"]


def test_the_gradient_of_a_residual_around_a_dead_body_is_the_identity(key):
    net = models.residual(models.lift(lambda x: 0 * x))
    params, state = net.init(key, X)
    np.testing.assert_array_equal(jax.grad(lambda x: run(net, params, state, x)[0].sum())(jnp.ones(3)), jnp.ones(3))


@pytest.mark.parametrize("body", [models.dense(1), models.dense(3), models.lift(lambda x: x.astype(jnp.bfloat16))])
def test_residual_refuses_at_init_already_a_body_of_another_shape_or_dtype(body, key):
    with pytest.raises(ValueError, match=r"dlcore\.models\.residual: `body` .*float32 of shape \(5, 4\).*shortcut="):
        models.residual(body).init(key, X)


@pytest.mark.parametrize(("body", "shortcut"), [(jnp.tanh, None), (models.relu(), jnp.tanh)])
def test_residual_refuses_what_is_no_layer_in_its_own_name(body, shortcut):
    argument = "body" if shortcut is None else "shortcut"
    with pytest.raises(TypeError, match=rf"dlcore\.models\.residual: `{argument}` came as"):
        models.residual(body, shortcut=shortcut)


# stack


def test_stack_is_the_layer_n_times_in_a_row(key, rng):
    block = models.serial(fc=models.dense(4), norm=models.batch_norm(), act=models.tanh())
    net, x = models.stack(block, 3), draw(rng)
    params, state = net.init(key, X)
    y, after = run(net, params, state, x, train=True)
    z, states = x, []
    for i in range(3):
        z, one = run(block, *jax.tree.map(lambda leaf, i=i: leaf[i], (params, state)), z, train=True)
        states.append(one)
    assert_close(y, z, length=4 * 3)
    jax.tree.map(lambda leaf, *each: assert_close(leaf, np.stack(each), length=4 * 3), after, *states)
    assert avals(after) == avals(state)
    assert {leaf.shape[0] for leaf in jax.tree.leaves((params, state))} == {3}


def test_stack_draws_parameters_and_masks_of_its_own_each_time(key):
    net = models.stack(models.serial(fc=models.dense(40), drop=noisy(), look=models.tap(jnp.sign)), 3)
    x = jnp.ones((2, 40))
    params, state = net.init(jax.random.clone(key), x)
    params["fc"] = {"kernel": jnp.abs(params["fc"]["kernel"]) + 1, "bias": params["fc"]["bias"]}
    _, after = run(net, params, state, x, key=key, train=True)
    masks = np.asarray(after["look"])
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert not np.array_equal(params["fc"]["kernel"][i], params["fc"]["kernel"][j])
        assert not np.array_equal(masks[i], masks[j])
    assert set(np.unique(masks)) == {0.0, 1.0}


def test_the_program_of_a_stack_does_not_grow_with_its_depth(key):
    def size(n):
        net = models.stack(models.serial(fc=models.dense(4), act=models.relu()), n)
        params, state = jax.eval_shape(lambda key: net.init(key, X), key)
        return len(str(jax.make_jaxpr(lambda *args: run(net, *args)[0])(params, state, X)).splitlines())

    assert size(2) == size(30)


def test_a_stack_differentiates_compiles_and_maps_over_parameters(key, rng):
    net, x = models.stack(models.serial(fc=models.dense(4), act=models.tanh()), 2), draw(rng)
    params, state = jax.vmap(lambda key: net.init(key, X))(jax.random.split(key, 3))
    slopes = jax.jit(jax.vmap(jax.grad(lambda params: run(net, params, {"fc": (), "act": ()}, x)[0].sum())))(params)
    assert state == {"fc": (), "act": ()}
    assert slopes["fc"]["kernel"].shape == (3, 2, 4, 4)
    assert all(leaf.any(axis=tuple(range(2, leaf.ndim))).all() for leaf in jax.tree.leaves(slopes))


def test_a_stack_without_parameters_repeats_its_function(key):
    net = models.stack(models.lift(lambda x: 2 * x), 5)
    params, state = net.init(key, X)
    np.testing.assert_array_equal(run(net, params, state, jnp.ones(3))[0], [32.0, 32.0, 32.0])


@pytest.mark.parametrize("layer", [models.dense(3), models.flatten(batch_axes=0), models.lift(lambda x: (x, x))])
def test_stack_refuses_a_layer_that_changes_its_input(layer, key):
    with pytest.raises(ValueError, match=r"dlcore\.models\.stack: `layer` .*float32 of shape \(5, 4\)"):
        models.stack(layer, 2).init(key, X)


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (None, TypeError)])
def test_stack_refuses_a_wrong_count_and_what_is_no_layer(n, error):
    with pytest.raises(error, match=r"dlcore\.models\.stack: `n` came as"):
        models.stack(models.relu(), n)
    with pytest.raises(TypeError, match=r"dlcore\.models\.stack: `layer` came as"):
        models.stack(jnp.tanh, n)


# tap


def test_tap_lets_through_and_records(key, rng):
    net, x = models.tap(lambda x: {"mean": x.mean(), "dead": (x <= 0).sum(0)}), draw(rng)
    params, state = net.init(key, X)
    y, after = run(net, params, state, x, train=True)
    assert params == {}
    assert y is x
    assert not any(leaf.any() for leaf in jax.tree.leaves(state))
    assert avals(after) == avals(state)
    np.testing.assert_array_equal(after["dead"], (np.asarray(x) <= 0).sum(0))


@pytest.mark.parametrize("record", [lambda x: jnp.where(x > 0, 1.0, 0.0), lambda x: 3, lambda x: 0.5 * jnp.ones(2)])
def test_the_state_of_a_tap_never_changes_its_shape_dtype_or_weak_type(record, key):
    net = models.tap(record)
    params, state = net.init(key, X)
    _, after = run(net, params, state, jnp.ones((5, 4)))
    assert avals(after) == avals(state)


def test_no_gradient_flows_through_a_record():
    def loss(x):
        y, state = run(models.tap(jnp.sum), {}, jnp.zeros(()), x)
        return y.sum() + 100 * state

    np.testing.assert_array_equal(jax.grad(loss)(jnp.ones(3)), [1.0, 1.0, 1.0])


def test_tap_refuses_what_cannot_be_called():
    with pytest.raises(TypeError, match=r"dlcore\.models\.tap: `function`"):
        models.tap(3)
