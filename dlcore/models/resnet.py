"""The residual network for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlcore import _checks, nn
from dlcore._typing import Array, Spatial
from dlcore.models import layers
from dlcore.models.combinators import residual, serial
from dlcore.models.layer import Layer, lift

__all__ = ["resnet"]


def resnet(
    classes: int,
    *,
    channels: Sequence[int] = (64, 128, 256, 512),
    blocks: Sequence[int] = (2, 2, 2, 2),
    bottleneck: bool = False,
    stem: Layer | None = None,
    activation: Callable[[Array], Array] = nn.relu,
    drop_path: float = 0.0,
) -> Layer:
    """Stages of residual blocks, the mean over what is left of the image, and a dense layer.

        f(x) = BN(W_2 ∗ φ(BN(W_1 ∗ x)))                          two 3×3 convolutions
        f(x) = BN(W_3 ∗ φ(BN(W_2 ∗ φ(BN(W_1 ∗ x)))))             bottleneck: 1×1, 3×3, 1×1 with four times the width
        block(x) = φ(shortcut(x) + f(x))
        y = mean_{H, W}(block_n(… block_1(stem(x)))) W + b

    Every stage but the first halves height and width in the 3×3 convolution of its first block. The shortcut is x
    itself where shapes agree, and BN(W ∗ x), 1×1, where they do not.

    Args:
      classes: K, the width of the output.
      channels: the width of each stage.
      blocks: how many blocks each stage has; (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34, or with `bottleneck`
        ResNet-50.
      bottleneck: which of the two f.
      stem: what comes first, of width channels[0]; `None` is 3×3 convolution, batch normalisation and φ, for small
        images. ImageNet's is
        `serial(conv=conv(64, (7, 7), strides=2, use_bias=False), norm=batch_norm(), act=relu(),
        pool=max_pool((3, 3), strides=2, padding="SAME"))`.
      activation: φ. Kernels are drawn as He et al. 2015 for ReLU.
      drop_path: the rate at which training leaves out f, for one example: stochastic depth.

    Returns:
      A `Layer` from (B, H, W, C) to logits (B, K).

    Raises:
      ValueError: if `channels` and `blocks` are not of one length of at least 1, or a width or rate is out of range.
      TypeError: if a width is not an int, or `stem` not a `Layer`.

    Gradient: the chain rule; see `nn.relu` for its kink.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import models
      >>> net = models.resnet(10, channels=(8, 16), blocks=(1, 1))
      >>> params, state = jax.eval_shape(lambda key: net.init(key, jnp.ones((1, 8, 8, 1))), jax.random.key(0))
      >>> params["block2_1"]["sum"]["shortcut"]["conv"]["kernel"].shape
      (1, 1, 8, 16)

    Source: He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", section 3.3 and table 1; the
    stride of a bottleneck stands in its 3×3 convolution, as in torchvision's, where the paper has it in the first 1×1.
    Stochastic depth: Huang et al. 2016.
    """
    name = "models.resnet"
    k = _checks.integer(name, "classes", classes, low=1)
    for argument, entries in (("channels", channels), ("blocks", blocks)):
        if not isinstance(entries, Sequence) or not entries or len(entries) != len(channels):
            raise _checks.value_error(
                name, argument, _checks.describe(entries), "one entry a stage, as many in `channels` as in `blocks`",
                "For example channels=(64, 128), blocks=(2, 2).",
            )  # fmt: skip
        for entry in entries:
            _checks.integer(name, argument, entry, low=1)
    if not callable(activation):
        raise _checks.type_error(
            name, "activation", _checks.describe(activation), "a function of x", "For example jax.numpy.tanh."
        )
    rate = _checks.fraction(name, "drop_path", drop_path)
    act = lift(activation)
    if stem is None:
        stem = serial(conv=_conv(channels[0], 3, 1), norm=layers.batch_norm(), act=act)
    chain: dict[str, Layer] = {"stem": stem}
    before = channels[0]
    for stage, (features, repeats) in enumerate(zip(channels, blocks, strict=True), 1):
        for index in range(1, repeats + 1):
            strides = 2 if stage > 1 and index == 1 else 1
            after = 4 * features if bottleneck else features
            parts = _bottleneck(features, strides, act) if bottleneck else _basic(features, strides, act)
            if rate:
                parts["drop"] = layers.drop_path(rate=rate)
            plain = strides == 1 and before == after
            shortcut = None if plain else serial(conv=_conv(after, 1, strides), norm=layers.batch_norm())
            chain[f"block{stage}_{index}"] = serial(sum=residual(serial(**parts), shortcut=shortcut), act=act)
            before = after
    return serial(**chain, pool=layers.global_avg_pool(), out=layers.dense(k))


def _conv(features: int, window: int, strides: Spatial) -> Layer:
    # Batch normalisation follows, and has the bias.
    kernel_init = nn.initializers.he_normal()
    return layers.conv(features, (window, window), strides=strides, use_bias=False, kernel_init=kernel_init)


def _basic(features: int, strides: int, act: Layer) -> dict[str, Layer]:
    return {
        "conv1": _conv(features, 3, strides), "norm1": layers.batch_norm(), "act1": act,
        "conv2": _conv(features, 3, 1), "norm2": layers.batch_norm(),
    }  # fmt: skip


def _bottleneck(features: int, strides: int, act: Layer) -> dict[str, Layer]:
    return {
        "conv1": _conv(features, 1, 1), "norm1": layers.batch_norm(), "act1": act,
        "conv2": _conv(features, 3, strides), "norm2": layers.batch_norm(), "act2": act,
        "conv3": _conv(4 * features, 1, 1), "norm3": layers.batch_norm(),
    }  # fmt: skip
