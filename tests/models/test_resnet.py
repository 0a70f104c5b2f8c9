import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import models, nn
from dlcore._tree import count, paths
from tests.tolerance import assert_close

IMAGENET_STEM = models.serial(
    conv=models.conv(64, (7, 7), strides=2, use_bias=False),
    norm=models.batch_norm(),
    act=models.relu(),
    pool=models.max_pool((3, 3), strides=2, padding="SAME"),
)


def shapes(net, size, channels=3):
    return jax.eval_shape(lambda key: net.init(key, jnp.zeros((2, size, size, channels))), jax.random.key(0))


@pytest.mark.parametrize(
    ("blocks", "bottleneck", "published"),
    [((2, 2, 2, 2), False, 11_689_512), ((3, 4, 6, 3), False, 21_797_672), ((3, 4, 6, 3), True, 25_557_032)],
    ids=["ResNet-18", "ResNet-34", "ResNet-50"],
)
def test_the_networks_of_the_paper_have_as_many_parameters_as_published(blocks, bottleneck, published):
    net = models.resnet(1000, blocks=blocks, bottleneck=bottleneck, stem=IMAGENET_STEM)
    params, _ = shapes(net, 224)
    assert count(params) == published


@pytest.mark.parametrize(
    ("bottleneck", "with_shortcut"),
    [(False, ["block2_1"]), (True, ["block1_1", "block2_1"])],
)
def test_a_shortcut_has_parameters_only_where_shapes_differ(bottleneck, with_shortcut):
    params, _ = shapes(models.resnet(5, channels=(4, 8), blocks=(2, 1), bottleneck=bottleneck), 8)
    assert [name for name in params if "shortcut" in params[name].get("sum", {})] == with_shortcut
    assert not [path for path in paths(params) if "conv" in path and path.endswith("bias")]


def images_by_hand(params, state, x, bottleneck):
    """Two stages of one block each, in evaluation."""

    def unit(params, state, x, number, **options):
        x = nn.conv(params[f"conv{number}"], x, **options)
        return nn.batch_norm_eval(params[f"norm{number}"], state[f"norm{number}"], x)

    y = jnp.tanh(unit(params["stem"], state["stem"], x, ""))
    for stage in (1, 2):
        p, s = params[f"block{stage}_1"]["sum"], state[f"block{stage}_1"]["sum"]
        body, inside = p["body"], s["body"]
        strides = {"strides": stage}
        h = jnp.tanh(unit(body, inside, y, 1, **({} if bottleneck else strides)))
        h = unit(body, inside, h, 2, **(strides if bottleneck else {}))
        h = unit(body, inside, jnp.tanh(h), 3) if bottleneck else h
        carried = unit(p["shortcut"], s["shortcut"], y, "", **strides) if "shortcut" in p else y
        y = jnp.tanh(carried + h)
    return nn.dense(params["out"], y.mean((1, 2)))


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_resnet_computes_its_equations(bottleneck, rng, key):
    net = models.resnet(3, channels=(2, 4), blocks=(1, 1), bottleneck=bottleneck, activation=jnp.tanh)
    params, state = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), shapes(net, 5)
    )
    x = jnp.asarray(rng.standard_normal((2, 5, 5, 3)), jnp.float32)
    y, after = net.apply(params, state, x, key=None, train=False)
    assert_close(y, images_by_hand(params, state, x, bottleneck), length=64)
    for one, other in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)


def test_drop_path_leaves_out_whole_bodies_and_needs_a_key(rng, key):
    net = models.resnet(3, channels=(2,), blocks=(1,), drop_path=1.0, activation=jnp.tanh)
    params, state = net.init(key, jnp.zeros((2, 4, 4, 1)))
    x = jnp.asarray(rng.standard_normal((2, 4, 4, 1)), jnp.float32)
    with pytest.raises(ValueError, match="`key` came as None"):
        net.apply(params, state, x, key=None, train=True)
    y, _ = net.apply(params, state, x, key=jax.random.fold_in(key, 1), train=True)
    stem = nn.batch_norm_train(params["stem"]["norm"], state["stem"]["norm"], nn.conv(params["stem"]["conv"], x))[0]
    assert_close(y, nn.dense(params["out"], jnp.tanh(jnp.tanh(stem)).mean((1, 2))), length=64)


@pytest.mark.parametrize(
    ("argument", "options", "error"),
    [
        ("classes", {"classes": 0}, ValueError),
        ("channels", {"channels": ()}, ValueError),
        ("channels", {"channels": (0, 2)}, ValueError),
        ("blocks", {"blocks": (1,)}, ValueError),
        ("blocks", {"blocks": (1.5, 1)}, TypeError),
        ("activation", {"activation": "relu"}, TypeError),
        ("drop_path", {"drop_path": 2.0}, ValueError),
        ("stem", {"stem": models.relu}, TypeError),
    ],
)
def test_a_wrong_option_is_refused_by_name(argument, options, error):
    with pytest.raises(error, match=f"`{argument}`"):
        models.resnet(**({"classes": 3, "channels": (2, 4), "blocks": (1, 1)} | options))
