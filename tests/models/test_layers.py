"""Every layer of `dlcore.models.layers` against the equation of `dlcore.nn` that it lifts."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from dlcore import models, nn
from dlcore.models import layers
from tests.tolerance import FLOATS, assert_close


def plain(equation, **options):
    return lambda params, x: equation(x, **options)


IMAGE = (2, 6, 5, 4)
CONV = {"strides": (2, 1), "padding": "SAME_LOWER", "padding_mode": "reflect", "dilation": (1, 2), "groups": 2}
MAX = {"strides": 1, "padding": ((1, 0), (0, 1)), "dilation": 2, "ceil_mode": True}
AVG = {"strides": 2, "padding": "SAME", "ceil_mode": True, "count_include_padding": True, "dilation": (1, 2)}
SOFTMAX = {"axis": 0, "temperature": 2.0}
UP = {"strides": (2, 1), "padding": ((1, 0), (1, 1)), "output_padding": (1, 0), "dilation": (1, 2), "groups": 2}
LP = {"p": 3, "strides": 1, "padding": ((1, 0), (0, 1)), "ceil_mode": True, "dilation": 2}
LOCAL = {"size": 3, "alpha": 0.5, "beta": 0.5, "k": 2.0}

# (layer, shape of x, equation of (params, x)); no option here has its default, unless the case says so
CASES = {
    "dense": (layers.dense(3), (5, 4), nn.dense),
    "dense without a bias": (layers.dense(3, use_bias=False), (2, 5, 4), nn.dense),
    "embedding": (layers.embedding(7, 3), (2, 5), nn.embedding),
    "conv": (layers.conv(6, (3, 2)), IMAGE, nn.conv),
    "conv with options": (layers.conv(6, (3, 2), **CONV), IMAGE, lambda params, x: nn.conv(params, x, **CONV)),
    "conv in time": (layers.conv(3, 2, padding="CAUSAL"), (2, 5, 4), lambda p, x: nn.conv(p, x, padding="CAUSAL")),
    "conv_transpose": (layers.conv_transpose(6, (3, 2)), IMAGE, nn.conv_transpose),
    "conv_transpose with options": (
        layers.conv_transpose(6, (3, 2), **UP), IMAGE, lambda params, x: nn.conv_transpose(params, x, **UP),
    ),
    "lp_pool": (layers.lp_pool((2, 2)), IMAGE, plain(nn.lp_pool, window=(2, 2))),
    "lp_pool with options": (layers.lp_pool((2, 2), **LP), IMAGE, plain(nn.lp_pool, window=(2, 2), **LP)),
    "global_max_pool": (layers.global_max_pool(), IMAGE, plain(nn.global_max_pool, axes=(-3, -2))),
    "global_max_pool in time": (layers.global_max_pool(axes=-2), (2, 5, 4), plain(nn.global_max_pool, axes=-2)),
    "adaptive_max_pool": (layers.adaptive_max_pool((2, 3)), IMAGE, plain(nn.adaptive_max_pool, output_size=(2, 3))),
    "adaptive_avg_pool": (layers.adaptive_avg_pool((2, 3)), IMAGE, plain(nn.adaptive_avg_pool, output_size=(2, 3))),
    "layer_norm": (layers.layer_norm(), (5, 4), nn.layer_norm),
    "layer_norm with options": (
        layers.layer_norm(axis=(-1, 1), epsilon=0.1), (2, 3, 4),
        lambda params, x: nn.layer_norm(params, x, axis=(1, 2), epsilon=0.1),
    ),
    "rms_norm": (layers.rms_norm(), (5, 4), nn.rms_norm),
    "rms_norm with options": (
        layers.rms_norm(axis=-2, epsilon=0.1), (2, 3, 4),
        lambda params, x: nn.rms_norm(params, x, axis=-2, epsilon=0.1),
    ),
    "group_norm": (layers.group_norm(2), IMAGE, lambda params, x: nn.group_norm(params, x, groups=2)),
    "group_norm with options": (
        layers.group_norm(2, batch_axes=2, epsilon=0.1), IMAGE,
        lambda params, x: nn.group_norm(params, x, groups=2, batch_axes=2, epsilon=0.1),
    ),
    "instance_norm": (layers.instance_norm(), IMAGE, nn.instance_norm),
    "instance_norm with options": (
        layers.instance_norm(batch_axes=2, epsilon=0.1), IMAGE,
        lambda params, x: nn.instance_norm(params, x, batch_axes=2, epsilon=0.1),
    ),
    "local_response_norm": (layers.local_response_norm(**LOCAL), (5, 4), plain(nn.local_response_norm, **LOCAL)),
    "rnn": (layers.rnn(3), (2, 5, 4), lambda params, x: nn.rnn(params, x)[0]),
    "rnn with options": (
        layers.rnn(3, activation="relu", use_bias=False, reverse=True, unroll=2), (2, 5, 4),
        lambda params, x: nn.rnn(params, x, activation="relu", reverse=True, unroll=2)[0],
    ),
    "gru": (layers.gru(3), (2, 5, 4), lambda params, x: nn.gru(params, x)[0]),
    "gru with options": (
        layers.gru(3, use_bias=False, reverse=True, reset_after=False, unroll=2), (2, 5, 4),
        lambda params, x: nn.gru(params, x, reverse=True, reset_after=False, unroll=2)[0],
    ),
    "lstm": (layers.lstm(3), (2, 5, 4), lambda params, x: nn.lstm(params, x)[0]),
    "lstm with options": (
        layers.lstm(3, use_bias=False, reverse=True, unroll=2), (2, 5, 4),
        lambda params, x: nn.lstm(params, x, reverse=True, unroll=2)[0],
    ),
    "max_pool": (layers.max_pool((2, 2)), IMAGE, plain(nn.max_pool, window=(2, 2))),
    "max_pool with options": (layers.max_pool((2, 2), **MAX), IMAGE, plain(nn.max_pool, window=(2, 2), **MAX)),
    "avg_pool": (layers.avg_pool((2, 2)), IMAGE, plain(nn.avg_pool, window=(2, 2))),
    "avg_pool with options": (layers.avg_pool((3, 2), **AVG), IMAGE, plain(nn.avg_pool, window=(3, 2), **AVG)),
    "global_avg_pool": (layers.global_avg_pool(), IMAGE, plain(nn.global_avg_pool, axes=(-3, -2))),
    "global_avg_pool in time": (layers.global_avg_pool(axes=-2), (2, 5, 4), plain(nn.global_avg_pool, axes=-2)),
    "flatten": (layers.flatten(), (2, 3, 4), lambda params, x: x.reshape(2, 12)),
    "flatten all": (layers.flatten(batch_axes=0), (2, 3, 4), lambda params, x: x.reshape(24)),
    "flatten behind two": (layers.flatten(batch_axes=2), (2, 3, 4, 5), lambda params, x: x.reshape(2, 3, 20)),
    "prelu": (layers.prelu(), (5, 4), lambda params, x: nn.prelu(x, params["slope"])),
    "prelu a channel": (layers.prelu(per_channel=True), (5, 4), lambda params, x: nn.prelu(x, params["slope"])),
    "softmax": (layers.softmax(**SOFTMAX), (5, 4), plain(nn.softmax, **SOFTMAX)),
    "log_softmax": (layers.log_softmax(**SOFTMAX), (5, 4), plain(nn.log_softmax, **SOFTMAX)),
    "leaky_relu": (layers.leaky_relu(negative_slope=0.2), (5, 4), plain(nn.leaky_relu, negative_slope=0.2)),
    "thresholded_relu": (layers.thresholded_relu(threshold=0.3), (5, 4), plain(nn.thresholded_relu, threshold=0.3)),
    "elu": (layers.elu(alpha=0.5), (5, 4), plain(nn.elu, alpha=0.5)),
    "celu": (layers.celu(alpha=0.5), (5, 4), plain(nn.celu, alpha=0.5)),
    "gelu": (layers.gelu(approximate=False), (5, 4), plain(nn.gelu, approximate=False)),
    "squareplus": (layers.squareplus(b=1.0), (5, 4), plain(nn.squareplus, b=1.0)),
    "hard_sigmoid": (layers.hard_sigmoid(slope=0.2, offset=0.4), (5, 4), plain(nn.hard_sigmoid, slope=0.2, offset=0.4)),
    "hard_shrink": (layers.hard_shrink(threshold=0.2), (5, 4), plain(nn.hard_shrink, threshold=0.2)),
    "soft_shrink": (layers.soft_shrink(threshold=0.2), (5, 4), plain(nn.soft_shrink, threshold=0.2)),
    "sparsemax": (layers.sparsemax(axis=0), (5, 4), plain(nn.sparsemax, axis=0)),
    "glu": (layers.glu(axis=0), (4, 5), plain(nn.glu, axis=0)),
    "maxout": (layers.maxout(2), (5, 4), plain(nn.maxout, pieces=2)),
    # by their defaults: the layer has the same as the equation
    **{
        name: (getattr(layers, name.removesuffix(" by default"))(), (5, 4), plain(getattr(nn, name.split(" ")[0])))
        for name in (
            "relu", "relu6", "selu", "silu", "mish", "softplus", "soft_sign", "sigmoid", "log_sigmoid", "tanh",
            "hard_tanh", "hard_silu", "tanh_shrink", "softmax by default", "log_softmax by default",
            "leaky_relu by default", "elu by default", "celu by default", "gelu by default", "squareplus by default",
            "hard_sigmoid by default", "hard_shrink by default", "soft_shrink by default", "glu by default",
            "sparsemax by default",
        )
    },
}  # fmt: skip
# What differs between training and evaluation has tests of its own below.
RANDOM = ("dropout", "gaussian_dropout", "alpha_dropout", "drop_path")
TWO_FACED = {"batch_norm": (layers.batch_norm(), (5, 4))}
TWO_FACED |= {name: (getattr(layers, name)(rate=0.5), (50, 4)) for name in RANDOM}
ALL = {name: case[:2] for name, case in CASES.items()} | TWO_FACED


def draw(rng, name, shape, dtype="float32"):
    if name == "embedding":
        return jnp.asarray(rng.integers(0, 7, shape), jnp.int32)
    return jnp.asarray(rng.standard_normal(shape), dtype)


def spec(name, shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, jnp.int32 if name == "embedding" else dtype)


def values(rng, layer, x, key):
    """Parameters and state of the right shapes, without the cost of drawing them by the layer."""
    specs = jax.eval_shape(lambda key: layer.init(key, x), key)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), specs)


def avals(tree):
    """Shape, dtype and weak type of each leaf, and the structure."""
    return jax.tree.structure(tree), [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]


def test_no_layer_lacks_a_test():
    assert {name.split(" ")[0] for name in ALL} == set(layers.__all__)


def test_all_layers_are_at_hand_in_models():
    assert [getattr(models, name) is getattr(layers, name) for name in layers.__all__] == [True] * len(layers.__all__)
    assert set(layers.__all__) < set(models.__all__)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_computes_its_equation_in_training_and_evaluation(name, key, rng):
    layer, shape, equation = CASES[name]
    x = draw(rng, name, shape)
    params, state = values(rng, layer, x, key)
    expected = equation(params, x)
    for train in (False, True):
        y, after = layer.apply(params, state, x, key=None, train=train)
        np.testing.assert_array_equal(y, expected)
        assert after == state == ()


@pytest.mark.parametrize("name", ALL)
def test_init_reads_only_the_shape_and_dtype_of_its_input_and_needs_no_computing(name, key, rng):
    layer, shape = ALL[name]
    copy = jax.random.clone(key)
    shapes = jax.eval_shape(lambda key: layer.init(key, spec(name, shape)), key)
    made, again = layer.init(key, spec(name, shape)), layer.init(copy, draw(rng, name, shape))
    assert jax.tree.structure(made) == jax.tree.structure(shapes)
    for one, other, promised in zip(*map(jax.tree.leaves, (made, again, shapes)), strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one.shape, one.dtype, jax.typeof(one).weak_type) == (promised.shape, promised.dtype, False)


@pytest.mark.parametrize("name", ALL)
def test_the_structure_shapes_and_dtypes_of_the_state_never_change(name, key):
    layer, shape = ALL[name]
    x = spec(name, shape)
    params, state = jax.eval_shape(lambda key: layer.init(key, x), key)
    for train in (False, True):
        after = jax.eval_shape(
            lambda *args, t=train: layer.apply(*args[:3], key=args[3], train=t)[1], params, state, x, key
        )
        assert avals(after) == avals(state)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [name for name in ALL if name != "embedding" and "by default" not in name])
def test_the_dtype_of_the_input_is_that_of_the_output(name, dtype, key, x64):
    layer, shape = ALL[name]

    def run(key, x):
        draws, init_key = jax.random.split(key)
        params, state = layer.init(init_key, x)
        return [layer.apply(params, state, x, key=k, train=t)[0] for k, t in ((None, False), (draws, True))]

    assert [y.dtype for y in jax.eval_shape(run, key, spec(name, shape, dtype))] == [dtype, dtype]


@pytest.mark.parametrize("name", [name for name in ALL if name != "embedding" and "by default" not in name])
def test_gradients_reach_every_parameter_and_the_input_in_both_modes_under_jit(name, key, rng):
    layer, shape = ALL[name]
    x = draw(rng, name, shape)
    params, state = values(rng, layer, x, key)
    outputs = jax.eval_shape(lambda: layer.apply(params, state, x, key=None, train=False)[0])
    weights = draw(rng, name, outputs.shape)

    def loss(params, x):
        return (layer.apply(params, state, x, key=jax.random.clone(key), train=True)[0] * weights).sum()

    @jax.jit
    def both_modes(primals, tangents):
        return jax.grad(loss, argnums=(0, 1))(*primals), jax.jvp(loss, primals, tangents)[1]

    tangents = jax.tree.map(lambda leaf: draw(rng, name, leaf.shape), (params, x))
    gradients, forward = both_modes((params, x), tangents)
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in jax.tree.leaves(gradients))
    terms = [np.asarray(g, np.float64) * t for g, t in zip(*map(jax.tree.leaves, (gradients, tangents)), strict=True)]
    scale = sum(np.abs(term).sum() for term in terms)
    assert_close(forward, sum(term.sum() for term in terms), length=x.size, scale=scale)


@pytest.mark.parametrize("name", ALL)
def test_key_and_train_are_keywords_without_a_default(name):
    parameters = inspect.signature(ALL[name][0].apply).parameters
    for option in ("key", "train"):
        assert parameters[option].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[option].default is inspect.Parameter.empty


def test_initializers_and_dtypes_are_handed_on(key):
    ones, twos = (lambda key, shape, dtype, value=value: jnp.full(shape, value, dtype) for value in (1, 2))
    windowed = [(partial(layer, window=3), (1, 3, 3)) for layer in (layers.conv, layers.conv_transpose)]
    for layer, shape in ((layers.dense, (1, 3)), *windowed):
        x = jnp.ones(shape, jnp.bfloat16)
        params, _ = layer(2, kernel_init=ones, bias_init=twos).init(jax.random.clone(key), x)
        assert (params["kernel"] == 1).all()
        assert (params["bias"] == 2).all()
        assert params["kernel"].dtype == params["bias"].dtype == jnp.bfloat16
    for layer in (layers.rnn, layers.gru, layers.lstm):
        params, _ = layer(2, input_kernel_init=ones, recurrent_kernel_init=twos, bias_init=ones).init(
            jax.random.clone(key), jnp.ones((1, 2, 3), jnp.bfloat16)
        )
        assert (params["input_kernel"] == 1).all()
        assert (params["recurrent_kernel"] == 2).all()
        assert (params["recurrent_bias"] == 1).all()
        assert {leaf.dtype.name for leaf in params.values()} == {"bfloat16"}
    table, _ = layers.embedding(4, 2, kernel_init=twos, dtype=jnp.float16).init(key, jnp.ones(3, int))
    assert table["kernel"].dtype == jnp.float16
    assert (table["kernel"] == 2).all()
    assert "bias" not in layers.conv(2, 3, use_bias=False).init(jax.random.clone(key), jnp.ones((1, 3, 3)))[0]


def test_prelu_begins_with_its_slope(key):
    shared, each = (layers.prelu(slope=0.5, per_channel=c).init(key, jnp.ones((2, 3)))[0] for c in (False, True))
    np.testing.assert_array_equal(shared["slope"], 0.5)
    np.testing.assert_array_equal(each["slope"], [0.5, 0.5, 0.5])


def test_batch_norm_trains_with_the_batch_and_evaluates_with_what_it_has_seen(key, rng):
    layer, x = layers.batch_norm(decay=0.5, epsilon=0.1), draw(rng, "batch_norm", (5, 4))
    params, state = layer.init(key, x)
    y, after = layer.apply(params, state, x, key=None, train=True)
    expected = nn.batch_norm_train(params, state, x, decay=0.5, epsilon=0.1)
    jax.tree.map(np.testing.assert_array_equal, (y, after), expected)
    z, same = layer.apply(params, after, x, key=None, train=False)
    np.testing.assert_array_equal(z, nn.batch_norm_eval(params, after, x, epsilon=0.1))
    assert same is after


@pytest.mark.parametrize(("dtype", "kept"), [("float16", "float32"), ("bfloat16", "float32"), ("float64", "float64")])
def test_batch_norm_keeps_statistics_in_float32_or_wider(dtype, kept, key, x64):
    made = layers.batch_norm().init(key, jax.ShapeDtypeStruct((5, 4), dtype))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(made)} == {kept}


def test_batch_norm_over_devices_is_that_of_the_whole_batch(key, rng):
    x = draw(rng, "batch_norm", (8, 3))
    layer, whole = layers.batch_norm(axis_name="data"), layers.batch_norm()
    params, state = layer.init(key, x)
    across, rows = PartitionSpec(), PartitionSpec("data")
    sharded = jax.shard_map(
        lambda x: layer.apply(params, state, x, key=None, train=True),
        mesh=Mesh(np.array(jax.devices()[:4]), ("data",)),
        in_specs=rows,
        out_specs=(rows, across),
    )
    expected = whole.apply(params, state, x, key=None, train=True)
    jax.tree.map(lambda a, b: assert_close(a, b, length=8), sharded(x), expected)


@pytest.mark.parametrize("name", RANDOM)
def test_dropout_and_its_relatives_drop_in_training_alone(name, key, rng):
    options = {"rate": 0.3} | ({"broadcast_axes": (-1,)} if name in ("dropout", "alpha_dropout") else {})
    layer, x = getattr(layers, name)(**options), draw(rng, name, (50, 4))
    y, _ = layer.apply({}, (), x, key=key, train=True)
    np.testing.assert_array_equal(y, getattr(nn, name)(jax.random.clone(key), x, **options))
    assert not np.array_equal(y, x)
    assert layer.apply({}, (), x, key=None, train=False)[0] is x


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", RANDOM)
def test_a_rate_of_zero_changes_nothing(name, train, key):
    x = jnp.arange(4.0)
    np.testing.assert_array_equal(getattr(layers, name)(rate=0).apply({}, (), x, key=key, train=train)[0], x)


@pytest.mark.parametrize("name", RANDOM)
def test_a_random_layer_that_trains_without_a_key_or_with_a_raw_one_is_refused(name):
    layer = getattr(layers, name)(rate=0.5)
    with pytest.raises(ValueError, match=rf"dlcore\.models\.{name}: `key` came as None.*train=False"):
        layer.apply({}, (), jnp.ones(3), key=None, train=True)
    with pytest.raises(TypeError, match=rf"dlcore\.models\.{name}: `key` came as a raw key"):
        layer.apply({}, (), jnp.ones(3), key=jax.random.PRNGKey(0), train=True)


@pytest.mark.parametrize("rate", [-0.1, 1.1, 50, float("nan")])
@pytest.mark.parametrize("name", RANDOM)
def test_a_rate_outside_0_and_1_is_refused_when_the_layer_is_made(name, rate):
    with pytest.raises(ValueError, match=rf"dlcore\.models\.{name}: `rate`"):
        getattr(layers, name)(rate=rate)


@pytest.mark.parametrize("name", ["dense", "conv", "conv_transpose", "batch_norm", "group_norm", "gru", "prelu"])
def test_a_layer_that_infers_its_width_refuses_inputs_without_axes_or_shape(name, key):
    layer = CASES[name][0] if name in CASES else TWO_FACED[name][0]
    with pytest.raises(ValueError, match=rf"dlcore\.models\.{name}: `x_spec` came as"):
        layer.init(key, jnp.ones(()))
    with pytest.raises(TypeError, match=rf"dlcore\.models\.{name}: `x_spec` came as"):
        layer.init(jax.random.clone(key), 3)


@pytest.mark.parametrize("key", [None, 0, jax.random.PRNGKey(0)])
@pytest.mark.parametrize("name", ["dense", "embedding", "conv", "conv_transpose", "rnn", "gru", "lstm"])
def test_a_layer_that_draws_its_parameters_refuses_what_is_no_typed_key(name, key):
    with pytest.raises((ValueError, TypeError), match=r"dlcore\.nn\.\w+_init: `key` came as"):
        CASES[name][0].init(key, spec(name, CASES[name][1]))


def test_flatten_refuses_too_few_axes_and_a_wrong_count():
    with pytest.raises(ValueError, match=r"dlcore\.models\.flatten: `x` .* at least 2 axes"):
        layers.flatten(batch_axes=2).apply({}, (), jnp.ones(3), key=None, train=False)
    with pytest.raises(ValueError, match=r"dlcore\.models\.flatten: `batch_axes`"):
        layers.flatten(batch_axes=-1)


def test_flatten_takes_an_empty_batch():
    assert layers.flatten().apply({}, (), jnp.ones((0, 2, 3)), key=None, train=False)[0].shape == (0, 6)


def test_a_layer_maps_over_several_parameters_at_once(key, rng):
    layer, x = layers.dense(2), draw(rng, "dense", (5, 4))
    params, _ = jax.vmap(lambda key: layer.init(key, x))(jax.random.split(key, 3))
    ys = jax.vmap(lambda params: layer.apply(params, (), x, key=None, train=True)[0])(params)
    one = [
        layer.apply(jax.tree.map(lambda leaf, i=i: leaf[i], params), (), x, key=None, train=True)[0] for i in range(3)
    ]
    assert_close(ys, jnp.stack(one), length=4)
    assert not np.array_equal(params["kernel"][0], params["kernel"][1])
