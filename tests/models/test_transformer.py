from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import losses, models, nn
from dlcore._tree import count, paths
from tests.tolerance import assert_close

SMALL = models.transformer(11, features=8, layers=2, heads=2, key_heads=1, hidden=12)
TOKENS = jax.ShapeDtypeStruct((3, 5), jnp.int32)


def run(net, params, state, x, *, key=None, train=False):
    return net.apply(params, state, x, key=key, train=train)


def shapes(net, x, key):
    return jax.eval_shape(lambda key: net.init(key, x), key)


def made(net, x, key, rng):
    """Parameters of the right shapes, without compiling how they are drawn."""
    params, state = shapes(net, x, key)
    return random_like(rng, params), state


def tokens_of(rng, shape=(3, 5)):
    return jnp.asarray(rng.integers(0, 11, shape), jnp.int32)


@jax.jit
def evaluate_small(params, tokens):
    return run(SMALL, params, shapes(SMALL, TOKENS, jax.random.key(0))[1], tokens)[0]


def random_like(rng, tree):
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape) / 2, leaf.dtype), tree)


def by_hand(params, tokens, *, heads, base=1e4, causal=True):
    """One sequence, in NumPy's float64: heads, positions and blocks one after another."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float64), params)
    norm = lambda scale, x: scale * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    h = p["embed"]["kernel"][np.asarray(tokens)]
    t, d = h.shape
    width = d // heads
    angles = np.arange(t)[:, None] * base ** (-2 * np.arange(width // 2) / width)

    def turned(x):
        z = (x[:, : width // 2] + 1j * x[:, width // 2 :]) * np.exp(1j * angles)
        return np.concatenate([z.real, z.imag], -1)

    for block in range(len(p["blocks"]["mlp"]["body"]["norm"]["scale"])):
        q = jax.tree.map(lambda leaf, block=block: leaf[block], p["blocks"])
        x, maps = norm(q["attention"]["body"]["norm"]["scale"], h), q["attention"]["body"]["attend"]
        group = heads // (maps["key"]["kernel"].shape[1] // width)
        for head in range(heads):
            mine = slice(head * width, (head + 1) * width)
            shared = slice(head // group * width, (head // group + 1) * width)
            query, key = turned(x @ maps["query"]["kernel"][:, mine]), turned(x @ maps["key"]["kernel"][:, shared])
            e = np.exp(query @ key.T / np.sqrt(width)) * (np.tri(t) if causal else 1)
            h = h + e / e.sum(-1, keepdims=True) @ x @ maps["value"]["kernel"][:, shared] @ maps["out"]["kernel"][mine]
        x, maps = norm(q["mlp"]["body"]["norm"]["scale"], h), q["mlp"]["body"]
        gate, value = (x @ maps["gated"][part]["kernel"] for part in ("gate", "value"))
        h = h + gate / (1 + np.exp(-gate)) * value @ maps["out"]["kernel"]
    return norm(p["norm"]["scale"], h) @ p["out"]["kernel"]


@pytest.mark.parametrize("causal", [True, False])
def test_a_transformer_is_what_numpy_computes(key, rng, x64, causal):
    net = models.transformer(11, features=8, layers=2, heads=2, key_heads=1, causal=causal, base=50.0, dtype="float64")
    (params, state), tokens = made(net, TOKENS, key, rng), tokens_of(rng)
    y, after = jax.jit(lambda params: run(net, params, state, tokens))(params)
    assert after == state
    wanted = [by_hand(params, row, heads=2, base=50.0, causal=causal) for row in tokens]
    assert_close(y, np.stack(wanted), length=1000)


def test_parameters_are_arrays_alone_and_named_by_what_they_do(key):
    params, state = shapes(SMALL, TOKENS, key)
    assert not jax.tree.leaves(state)
    assert {path: leaf.shape for path, leaf in paths(params).items()} == {
        "embed/kernel": (11, 8),
        "blocks/attention/body/norm/scale": (2, 8),
        "blocks/attention/body/attend/query/kernel": (2, 8, 8),
        "blocks/attention/body/attend/key/kernel": (2, 8, 4),
        "blocks/attention/body/attend/value/kernel": (2, 8, 4),
        "blocks/attention/body/attend/out/kernel": (2, 8, 8),
        "blocks/mlp/body/norm/scale": (2, 8),
        "blocks/mlp/body/gated/gate/kernel": (2, 8, 12),
        "blocks/mlp/body/gated/value/kernel": (2, 8, 12),
        "blocks/mlp/body/out/kernel": (2, 12, 8),
        "norm/scale": (8,),
        "out/kernel": (8, 11),
    }


def test_the_hidden_width_keeps_the_parameters_of_an_ungated_layer(key):
    def mlp(**options):
        return shapes(models.transformer(11, **options), TOKENS, key)[0]["blocks"]["mlp"]["body"]

    wide = mlp(features=96, layers=1)
    assert count((wide["gated"], wide["out"])) == 2 * 96 * 4 * 96
    assert mlp(features=8)["out"]["kernel"].shape == (4, 24, 8)


def test_logits_do_not_depend_on_later_tokens(key, rng):
    params, _ = made(SMALL, TOKENS, key, rng)

    def of_vectors(h):
        """The logits as a function of the tokens' vectors: each token has a row of the table to itself."""
        return evaluate_small(params | {"embed": {"kernel": h}}, jnp.arange(5, dtype=jnp.int32))

    jacobian = jax.jit(jax.jacrev(of_vectors))(random_like(rng, jax.ShapeDtypeStruct((5, 8), jnp.float32)))
    reached = np.asarray(jacobian != 0).any(axis=(1, 3))  # (T, V, T, D)
    np.testing.assert_array_equal(reached, np.tri(5, dtype=bool))


def test_batch_axes_are_free_and_examples_apart(key, rng):
    params, _ = made(SMALL, TOKENS, key, rng)
    tokens = tokens_of(rng, (2, 3, 5))
    y = evaluate_small(params, tokens)
    assert y.shape == (2, 3, 5, 11)
    assert_close(evaluate_small(params, tokens[1, 2]), y[1, 2], length=64)
    assert jax.eval_shape(evaluate_small, params, tokens[:0]).shape == (0, 3, 5, 11)
    lost = evaluate_small(params, tokens.at[0, 0, 3].set(11))
    assert np.isnan(lost[0, 0, 3:]).all()
    np.testing.assert_array_equal(lost[0, 1:], y[0, 1:])


def test_half_precision_stays_half_but_for_the_norms(key):
    net = models.transformer(11, features=8, layers=1, heads=2, dtype=jnp.bfloat16)
    params, state = shapes(net, TOKENS, key)
    wide = {path for path, leaf in paths(params).items() if leaf.dtype == jnp.float32}
    assert wide == {path for path in paths(params) if path.endswith("scale")}
    y = jax.eval_shape(lambda *args: run(net, *args)[0], params, state, TOKENS)
    assert (y.shape, y.dtype) == ((3, 5, 11), jnp.bfloat16)


def test_dropout_wants_a_key_while_training_and_is_gone_otherwise(key, rng):
    sizes = {"features": 8, "layers": 2, "heads": 2, "key_heads": 1, "hidden": 12}
    net = models.transformer(11, dropout=0.5, **sizes)
    (params, state), tokens = made(net, TOKENS, key, rng), tokens_of(rng)
    train = jax.jit(lambda key: run(net, params, state, tokens, key=key, train=True)[0])
    first, second = jax.random.split(key)
    one = train(jax.random.clone(first))
    np.testing.assert_array_equal(one, train(first))
    assert (one != train(second)).any()
    with pytest.raises(ValueError, match=r"dlcore\.models\.dropout: `key` came as None"):
        run(net, params, state, tokens, train=True)
    bare = lambda tree: {k: bare(v) for k, v in tree.items() if k != "drop"} if isinstance(tree, dict) else tree
    quiet = jax.jit(lambda params: run(net, params, state, tokens)[0])(params)
    assert_close(quiet, evaluate_small(bare(params), tokens), length=64)


def test_each_place_drops_by_itself(key):
    """Behind the embedding, each attention and each gated map: a mask of its own in each block."""
    net = models.transformer(11, features=8, layers=2, heads=2, dropout=0.5)
    params, state = shapes(net, TOKENS, key)
    assert "drop" in params
    assert all("drop" in params["blocks"][part]["body"] for part in ("attention", "mlp"))
    text = str(
        jax.make_jaxpr(lambda *args: net.apply(*args[:3], key=args[3], train=True)[0])(params, state, TOKENS, key)
    )
    assert text.count("random_bits[") == 3


def adam(rate):
    """Optax' Adam counts steps in integers, which strict promotion refuses."""
    optimizer = optax.adam(rate)

    def update(*args):
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(*args)

    return optax.GradientTransformation(optimizer.init, update)


def trained(loss, params, data, rate):
    """One compiled scan of steps, and the loss at each."""
    optimizer = adam(rate)

    def step(carry, batch):
        params, opt_state = carry
        value, gradients = jax.value_and_grad(loss)(params, batch)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    return jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), data)[1])(params)


def test_it_learns_to_spell(key, rng):
    """Fifty steps on the text of Python's own help: what comes next is told better than by how often letters occur."""
    text = "".join(topics[name] for name in sorted(topics))
    letters, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
    share = np.bincount(ids) / len(ids)
    unigram = -(share * np.log(share)).sum()
    steps, batch, time = 50, 8, 64
    starts = rng.integers(0, len(ids) - time - 1, (steps, batch, 1))
    data = jnp.asarray(ids.astype(np.int32)[starts + np.arange(time + 1)])
    net = models.transformer(len(letters), features=64, layers=2, heads=2)
    params, state = jax.jit(lambda key: net.init(key, data[0, :, :-1]))(key)
    gate, value = (params["blocks"]["mlp"]["body"]["gated"][part]["kernel"] for part in ("gate", "value"))
    assert not np.array_equal(gate[0], gate[1]), "blocks are drawn apart"
    assert not np.array_equal(gate, value)

    def loss(params, tokens):
        logits, _ = run(net, params, state, tokens[:, :-1], train=True)
        return losses.mean(losses.softmax_cross_entropy(logits, tokens[:, 1:]))

    values = trained(loss, params, data, 1e-2)
    assert abs(values[0] - np.log(len(letters))) < 1
    assert values[-10:].mean() < unigram - 0.3


def test_a_classifier_tells_sequences_apart_by_their_order(key, rng):
    """Which of two halves of a sequence is the larger: a mean over steps alone cannot say."""
    net = models.transformer_classifier(2, features=16, layers=1, heads=2)
    x = jnp.asarray(rng.standard_normal((64, 6, 1)), jnp.float32)
    labels = (x[:, :3].sum((1, 2)) > x[:, 3:].sum((1, 2))).astype(jnp.int32)
    params, state = jax.jit(lambda key: net.init(key, x))(key)
    assert params["embed"]["kernel"].shape == (1, 16)
    assert jax.eval_shape(lambda params: run(net, params, state, x)[0], params).shape == (64, 2)

    def loss(params, _):
        return losses.mean(losses.softmax_cross_entropy(run(net, params, state, x, train=True)[0], labels))

    assert trained(loss, params, jnp.zeros(80), 1e-2)[-1] < 0.35


def test_the_lifted_attention_is_the_equation(key, rng):
    layer = models.multi_head_attention(
        4, key_heads=2, out_features=3, causal=True, rotary=True, base=100.0, interleaved=True, softcap=2.0, scale=0.5
    )
    x = jnp.asarray(rng.standard_normal((2, 5, 8)), jnp.float32)
    params, state = made(layer, x, key, rng)
    wanted = nn.multi_head_attention(
        params, x, heads=4, key_heads=2, causal=True, positions=jnp.arange(5), base=100.0, interleaved=True,
        softcap=2.0, scale=0.5,
    )  # fmt: skip
    assert state == ()
    assert wanted.shape == (2, 5, 3)
    np.testing.assert_array_equal(run(layer, params, state, x)[0], wanted)
    bare, _ = shapes(models.multi_head_attention(2, use_bias=False), x, key)
    assert not any(path.endswith("bias") for path in paths(bare))


@pytest.mark.parametrize(
    ("make", "argument", "error"),
    [
        (lambda: models.transformer(0), "vocabulary", ValueError),
        (lambda: models.transformer(10.0), "vocabulary", TypeError),
        (lambda: models.transformer(10, features=0), "features", ValueError),
        (lambda: models.transformer(10, layers=0), "layers", ValueError),
        (lambda: models.transformer(10, layers="two"), "layers", TypeError),
        (lambda: models.transformer(10, features=12, heads=4), "heads", ValueError),
        (lambda: models.transformer(10, heads=4, key_heads=3), "key_heads", ValueError),
        (lambda: models.transformer(10, hidden=0), "hidden", ValueError),
        (lambda: models.transformer(10, causal=1), "causal", TypeError),
        (lambda: models.transformer(10, dropout=2), "dropout", ValueError),
        (lambda: models.transformer(10, dropout="a"), "dropout", TypeError),
        (lambda: models.transformer(10, base=0.5), "base", ValueError),
        (lambda: models.transformer(10, dtype=jnp.int32), "dtype", TypeError),
        (lambda: models.transformer_classifier(0), "classes", ValueError),
        (lambda: models.transformer_classifier(3, heads=0), "heads", ValueError),
        (lambda: models.multi_head_attention(0), "heads", ValueError),
        (lambda: models.multi_head_attention(2, causal=None), "causal", TypeError),
        (lambda: models.multi_head_attention(2, rotary=1), "rotary", TypeError),
        (lambda: models.multi_head_attention(2, base=0), "base", ValueError),
        (lambda: models.multi_head_attention(2, softcap=-1), "softcap", ValueError),
        (lambda: models.multi_head_attention(2).init(jax.random.key(0), jnp.ones(4)), "x_spec", ValueError),
    ],
)
def test_a_wrong_option_is_refused_by_name(make, argument, error):
    with pytest.raises(
        error, match=rf"dlcore\.models\.(transformer|transformer_classifier|multi_head_attention): `{argument}`"
    ):
        make()
