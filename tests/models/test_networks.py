import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses, models
from dlcore._tree import paths
from tests.tolerance import assert_close

IMAGES = jax.ShapeDtypeStruct((3, 5, 6, 2), jnp.float32)
TINY = models.convnet(4, channels=(2,), convolutions=1, activation=jnp.tanh)
SMALL = models.convnet(4, channels=(2, 3), convolutions=1, activation=jnp.tanh)


def run(net, params, state, x, *, key=None, train=False):
    return net.apply(params, state, x, key=key, train=train)


def draw(rng, shape, dtype="float32"):
    return jnp.asarray(rng.standard_normal(shape), dtype)


def shapes(net, x, key):
    return jax.eval_shape(lambda key: net.init(key, x), key)


def random_like(rng, tree):
    return jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), tree)


def conv_by_hand(x, kernel):
    """3×3 cross-correlation with zeros around, as a loop over the window."""
    h, w = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(padded[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))


def pool_by_hand(x):
    """2×2 maxima, odd sizes rounded up."""
    _, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), constant_values=-np.inf)
    return np.maximum.reduce([padded[:, i::2, j::2] for i in range(2) for j in range(2)])


def test_an_mlp_is_affine_maps_with_an_activation_between(key, rng, x64):
    x = draw(rng, (5, 2, 3), "float64")
    net = models.mlp((4, 7, 2), activation=jnp.tanh)
    params, state = random_like(rng, shapes(net, x, key))
    p = jax.tree.map(np.asarray, params)
    h = np.asarray(x).reshape(5, 6)
    for name in ("fc1", "fc2"):
        h = np.tanh(h @ p[name]["kernel"] + p[name]["bias"])
    y, after = run(net, params, state, x)
    assert_close(y, h @ p["out"]["kernel"] + p["out"]["bias"], length=7)
    assert after == state


def test_an_mlp_names_its_layers_and_has_no_activation_behind_the_last(key):
    net, x = models.mlp((4, 3)), jnp.ones((5, 6))
    params, state = net.init(key, x)
    assert sorted(paths(params)) == ["fc1/bias", "fc1/kernel", "out/bias", "out/kernel"]
    params["out"] = jax.tree.map(lambda leaf: -jnp.ones_like(leaf), params["out"])
    assert (run(net, params, state, x)[0] < 0).all()


def test_the_default_mlp_has_no_random_layer(key):
    net = models.mlp((4, 3))
    params, state = net.init(key, jnp.ones((5, 6)))
    np.testing.assert_array_equal(*(run(net, params, state, jnp.ones((5, 6)), train=t)[0] for t in (False, True)))


@pytest.mark.parametrize("make", [models.mlp, lambda features, **rest: models.convnet(features[-1], **rest)])
def test_dropout_stands_at_the_input_and_before_the_last_layer(make, key):
    net = make((4, 3), dropout=0.5, input_dropout=0.2)
    names = []
    jax.eval_shape(lambda key: names.extend(net.init(key, IMAGES)[0]), key)
    assert names[-2:] == ["drop", "out"]
    assert "drop_input" in names[:2]


def test_input_dropout_drops_inputs_at_its_own_rate(key):
    net = models.mlp((1,), input_dropout=0.25)
    x = jnp.ones((1, 10_000))
    state = {"flatten": (), "drop_input": (), "out": ()}
    params = {"flatten": {}, "drop_input": {}, "out": {"kernel": jnp.ones((10_000, 1)), "bias": jnp.zeros(1)}}
    kept = run(net, params, state, x, key=key, train=True)[0].item() * 0.75 / 10_000
    assert abs(kept - 0.75) < 5 * (0.25 * 0.75 / 10_000) ** 0.5


def test_a_convnet_evaluates_to_what_numpy_computes(key, rng, x64):
    x = draw(rng, IMAGES.shape, "float64")
    params, state = random_like(rng, shapes(SMALL, x, key))
    p, s, h = jax.tree.map(np.asarray, params), jax.tree.map(np.asarray, state), np.asarray(x)
    for block in "12":
        norm, seen = p[f"norm{block}"], s[f"norm{block}"]
        h = conv_by_hand(h, p[f"conv{block}"]["kernel"])
        h = np.tanh((h - seen.mean) / np.sqrt(seen.var + 1e-5) * norm["scale"] + norm["offset"])
        h = pool_by_hand(h)
    expected = h.reshape(3, -1) @ p["out"]["kernel"] + p["out"]["bias"]
    assert_close(run(SMALL, params, state, x)[0], expected, length=9 * 3 + 12)


@pytest.mark.parametrize(("size", "left"), [((8, 8), 4), ((7, 5), 4), ((1, 1), 1), ((9, 2), 3)])
def test_each_block_halves_height_and_width_and_rounds_up(size, left, key):
    x = jax.ShapeDtypeStruct((2, *size, 1), jnp.float32)
    params, state = shapes(SMALL, x, key)
    assert params["out"]["kernel"].shape == (left * 3, 4)
    assert jax.eval_shape(lambda *args: run(SMALL, *args)[0], params, state, x).shape == (2, 4)


def test_a_convnet_names_convolutions_by_block_and_place_and_gives_them_no_bias(key):
    params, state = shapes(models.convnet(4, channels=(2, 3), convolutions=2), IMAGES, key)
    names = [f"{b}_{i}" for b in "12" for i in "12"]
    kernels = {f"conv{name}/kernel" for name in names}
    norms = {f"norm{name}/{leaf}" for name in names for leaf in ("scale", "offset")}
    assert set(paths(params)) == kernels | norms | {"out/kernel", "out/bias"}
    assert set(paths(state)) == {f"norm{name}/{leaf}" for name in names for leaf in ("mean", "var")}


def test_kernels_before_a_rectifier_keep_the_size_of_what_passes(key):
    params, _ = models.mlp((200, 300, 1)).init(key, jnp.ones((1, 400)))
    for name, width in (("fc1", 400), ("fc2", 200)):
        assert jnp.std(params[name]["kernel"]) == pytest.approx((2 / width) ** 0.5, rel=0.02)


def problem(net, key, rng, dtype="float32"):
    x, labels = draw(rng, IMAGES.shape, dtype), jnp.asarray([0, 3, 1])
    params, state = random_like(rng, shapes(net, x, key))

    def loss(params, x):
        y, after = run(net, params, state, x, key=jax.random.clone(key), train=True)
        return losses.mean(losses.softmax_cross_entropy(y, labels)), after

    return params, state, x, loss


def test_gradients_reach_all_parameters_of_a_convnet(key, rng):
    params, _, x, loss = problem(SMALL, key, rng)
    gradients = jax.jit(jax.grad(lambda params: loss(params, x)[0]))(params)
    assert [path for path, leaf in paths(gradients).items() if not (leaf.any() and np.isfinite(leaf).all())] == []


def test_forward_mode_reverse_mode_and_differences_of_a_convnet_agree(key, rng, x64):
    params, _, x, loss = problem(TINY, key, rng, "float64")
    value = jax.jit(lambda *primals: loss(*primals)[0])
    tangents = jax.tree.map(lambda leaf: draw(rng, leaf.shape, leaf.dtype), (params, x))
    forward = jax.jit(lambda *primals: jax.jvp(value, primals, tangents)[1])(params, x)
    gradients = jax.jit(jax.grad(value, argnums=(0, 1)))(params, x)
    reverse = sum((g * t).sum() for g, t in zip(*map(jax.tree.leaves, (gradients, tangents)), strict=True))
    assert_close(forward, reverse, length=1000)

    def along(step):
        return float(value(*jax.tree.map(lambda leaf, tangent: leaf + step * tangent, (params, x), tangents)))

    # fourth-order central difference: error about h⁴ + ε / h; no maximum changes places in so small a step
    h = 1e-6
    slope = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    assert abs(slope - forward) < 1e-8 * (1 + abs(forward))


def test_the_state_of_a_convnet_keeps_its_shapes_and_moves_in_training_alone(key, rng):
    params, state, x, loss = problem(SMALL, key, rng)
    after = jax.jit(loss)(params, x)[1]
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert list(map(jax.typeof, jax.tree.leaves(after))) == list(map(jax.typeof, jax.tree.leaves(state)))
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (after, state)), strict=True))
    same = jax.jit(lambda *args: run(SMALL, *args)[1])(params, state, x)
    jax.tree.map(np.testing.assert_array_equal, same, state)


def test_one_program_runs_several_convnets_at_once(key, rng):
    x = draw(rng, IMAGES.shape)
    several = jax.eval_shape(jax.vmap(lambda key: SMALL.init(key, IMAGES)), jax.random.split(key, 2))
    params, state = random_like(rng, several)
    evaluate = jax.jit(lambda params, state: run(SMALL, params, state, x)[0])
    together = jax.jit(jax.vmap(evaluate))(params, state)
    apart = [evaluate(*jax.tree.map(lambda leaf, i=i: leaf[i], (params, state))) for i in range(2)]
    assert_close(together, np.stack(apart), length=9 * 3 + 12)
    assert not np.array_equal(together[0], together[1])


def test_a_convnet_has_a_shape_before_it_has_numbers(key):
    params, state = shapes(SMALL, IMAGES, key)
    y, after = jax.eval_shape(lambda *args: run(SMALL, *args), params, state, IMAGES)
    assert (y.shape, y.dtype) == ((3, 4), jnp.float32)
    assert after == state


def test_a_convnet_in_half_precision_keeps_statistics_in_float32(key):
    x = jax.ShapeDtypeStruct(IMAGES.shape, jnp.bfloat16)
    params, state = shapes(SMALL, x, key)
    draws = jax.eval_shape(jax.random.clone, key)
    y, after = jax.eval_shape(lambda p, s, x, k: run(SMALL, p, s, x, key=k, train=True), params, state, x, draws)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves((state, after))} == {"float32"}
    assert params["conv1"]["kernel"].dtype == jnp.bfloat16


def test_a_convnet_that_trains_without_a_key_is_refused_at_its_dropout(key):
    params, state = shapes(SMALL, IMAGES, key)
    with pytest.raises(ValueError, match=r"dlcore\.models\.dropout: `key` came as None") as caught:
        jax.eval_shape(lambda *args: run(SMALL, *args, train=True), params, state, IMAGES)
    assert "in layer 'drop' of models.serial" in caught.value.__notes__


@pytest.mark.parametrize(
    ("make", "argument", "error"),
    [
        (lambda: models.mlp(()), "features", ValueError),
        (lambda: models.mlp(10), "features", ValueError),
        (lambda: models.mlp((3, 0)), "features", ValueError),
        (lambda: models.mlp((3.0, 2)), "features", TypeError),
        (lambda: models.mlp((3,), dropout=2), "dropout", ValueError),
        (lambda: models.mlp((3,), input_dropout=-1), "input_dropout", ValueError),
        (lambda: models.mlp((3,), dropout="a"), "dropout", TypeError),
        (lambda: models.mlp((3, 2), activation=3), "activation", TypeError),
        (lambda: models.mlp((3,), activation=3), "activation", TypeError),
        (lambda: models.convnet(0), "classes", ValueError),
        (lambda: models.convnet(2.0), "classes", TypeError),
        (lambda: models.convnet(2, channels=()), "channels", ValueError),
        (lambda: models.convnet(2, channels=8), "channels", ValueError),
        (lambda: models.convnet(2, channels=(0,)), "channels", ValueError),
        (lambda: models.convnet(2, channels=("8",)), "channels", TypeError),
        (lambda: models.convnet(2, convolutions=0), "convolutions", ValueError),
        (lambda: models.convnet(2, dropout=1.5), "dropout", ValueError),
        (lambda: models.convnet(2, input_dropout=1.5), "input_dropout", ValueError),
        (lambda: models.convnet(2, activation=models.relu()), "activation", TypeError),
    ],
)
def test_a_wrong_option_is_refused_when_the_network_is_made(make, argument, error):
    with pytest.raises(error, match=rf"dlcore\.models\.(mlp|convnet): `{argument}` came as"):
        make()
