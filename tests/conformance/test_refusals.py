"""What a habit from another library gets wrong is refused, by a message that names the argument.

tests/test_registry.py has every argument's wrong kinds and values; these are the calls that porting code leads to.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from tests.conformance.ours import losses, nn
from tests.conformance.table import NotYetError

IMAGE = jnp.ones((2, 8, 8, 3))
KERNEL = jnp.ones((3, 3, 3, 5))
HEADS = jnp.ones((2, 4, 3, 8))
LOGITS = jnp.ones((4, 3))
LABELS = jnp.zeros(4, jnp.int32)

# What was meant -> (the argument that the message names, the call).
CALLS = {
    "channels first": ("x", lambda: nn.conv({"kernel": KERNEL}, jnp.moveaxis(IMAGE, -1, 1))),
    "PyTorch's kernel, (out, in, height, width)": (
        "x", lambda: nn.conv({"kernel": jnp.ones((5, 2, 3, 3))}, IMAGE[..., :2])
    ),
    "PyTorch's padding, a number": ("padding", lambda: nn.conv({"kernel": KERNEL}, IMAGE, padding=1)),
    "Keras' padding, in small letters": ("padding", lambda: nn.conv({"kernel": KERNEL}, IMAGE, padding="same")),
    "PyTorch's padding of more than half a window": (
        "padding", lambda: nn.max_pool(IMAGE, (2, 2), padding=((2, 2), (2, 2)))
    ),
    "a depthwise kernel of Keras, (window, channels, multiplier)": (
        "groups", lambda: nn.conv({"kernel": jnp.ones((3, 3, 3, 2))}, IMAGE, groups=3)
    ),
    "a transposed convolution's output padding as large as its stride": (
        "output_padding",
        lambda: nn.conv_transpose(
            {"kernel": jnp.ones((3, 3, 5, 3))}, IMAGE, strides=2, padding=((1, 1), (1, 1)), output_padding=2
        ),
    ),
    "PyTorch's linear weight, (out, in)": ("x", lambda: nn.dense({"kernel": jnp.ones((5, 3))}, IMAGE)),
    "PyTorch's names of a norm's params": ("params", lambda: nn.layer_norm({"weight": jnp.ones(3)}, IMAGE)),
    "Keras' names of a norm's params": ("params", lambda: nn.layer_norm({"gamma": jnp.ones(3)}, IMAGE)),
    "a mask of numbers": ("mask", lambda: nn.dot_product_attention(HEADS, HEADS, HEADS, mask=jnp.zeros((4, 4)))),
    "a mask of examples and keys": (
        "mask", lambda: nn.dot_product_attention(HEADS, HEADS, HEADS, mask=jnp.ones((2, 4), bool))
    ),
    "PyTorch's GRU weights, (gates · features, in)": (
        "params['recurrent_kernel']",
        lambda: nn.gru({"input_kernel": jnp.ones((12, 3)), "recurrent_kernel": jnp.ones((12, 4))}, jnp.ones((2, 5, 3))),
    ),
    "one bias of two": (
        "params",
        lambda: nn.gru(
            {"input_kernel": jnp.ones((3, 12)), "recurrent_kernel": jnp.ones((4, 12)), "input_bias": jnp.ones(12)},
            jnp.ones((2, 5, 3)),
        ),
    ),
    "an LSTM's state that is one array": (
        "initial_state",
        lambda: nn.lstm(
            {"input_kernel": jnp.ones((3, 16)), "recurrent_kernel": jnp.ones((4, 16))}, jnp.ones((2, 5, 3)),
            initial_state=jnp.ones((2, 4)),
        ),
    ),
    "one-hot labels": ("labels", lambda: losses.softmax_cross_entropy(LOGITS, jnp.eye(3)[LABELS])),
    "labels as numbers": ("labels", lambda: losses.softmax_cross_entropy(LOGITS, LABELS.astype(jnp.float32))),
    "labels of one column": ("labels", lambda: losses.softmax_cross_entropy(LOGITS, LABELS[:, None])),
    "Keras' order, targets first": ("logits", lambda: losses.softmax_cross_entropy(LABELS, LOGITS)),
    "targets of one column": ("targets", lambda: losses.squared_error(jnp.ones(4), jnp.ones((4, 1)))),
    "indices as numbers": ("indices", lambda: nn.max_unpool(jnp.ones((2, 2, 3)), jnp.ones((2, 2, 3)), 4)),
    "PyTorch's momentum as `decay`, a number above 1": (
        "decay", lambda: nn.batch_norm_train(*nn.batch_norm_init(3), IMAGE, decay=1.1)
    ),
    "positions in half precision": (
        "positions", lambda: nn.rotary_embedding(HEADS, jnp.arange(4).astype(jnp.bfloat16))
    ),
    "a raw key": ("key", lambda: nn.dropout(jax.random.PRNGKey(0), IMAGE, rate=0.5)),
}  # fmt: skip


@pytest.mark.parametrize("meant", CALLS)
def test_a_habit_is_refused(meant):
    argument, call = CALLS[meant]
    try:
        with pytest.raises((ValueError, TypeError)) as refused:
            call()
    except NotYetError:
        return
    assert str(refused.value).startswith("dlcore.")
    assert f"`{argument}`" in str(refused.value)
