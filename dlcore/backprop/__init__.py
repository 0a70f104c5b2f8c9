"""The chain rule by hand: `x_fwd(*args) -> (y, residuals)` and `x_bwd(residuals, dy) -> grads`, an equation each.

`grads` is a tuple with one entry for each positional argument of `x_fwd`, `None` for a key or labels, so that a pair is
what `jax.custom_vjp` takes: `f.defvjp(x_fwd, x_bwd)`, with `functools.partial(x_fwd, option=…)` for options.
`network_gradients` puts the pairs together: the derivation of backpropagation, layer by layer.
"""

from dlcore.backprop import activations
from dlcore.backprop.activations import *  # noqa: F403
from dlcore.backprop.attention import dot_product_attention_bwd, dot_product_attention_fwd
from dlcore.backprop.convolution import conv_bwd, conv_fwd
from dlcore.backprop.dense import dense_bwd, dense_fwd
from dlcore.backprop.dropout import dropout_bwd, dropout_fwd
from dlcore.backprop.gru import gru_bwd, gru_cell_bwd, gru_cell_fwd, gru_fwd, gru_gradients
from dlcore.backprop.network import NetworkGradients, delta_norms, network_gradients
from dlcore.backprop.normalization import (
    batch_norm_bwd,
    batch_norm_fwd,
    layer_norm_bwd,
    layer_norm_fwd,
    rms_norm_bwd,
    rms_norm_fwd,
)
from dlcore.backprop.pooling import (
    avg_pool_bwd,
    avg_pool_fwd,
    global_avg_pool_bwd,
    global_avg_pool_fwd,
    max_pool_bwd,
    max_pool_fwd,
)
from dlcore.backprop.regression import squared_error_bwd, squared_error_fwd
from dlcore.backprop.rules import RULES, Rule, identity_bwd, identity_fwd
from dlcore.backprop.softmax import (
    log_softmax_bwd,
    log_softmax_fwd,
    softmax_bwd,
    softmax_cross_entropy_bwd,
    softmax_cross_entropy_fwd,
    softmax_fwd,
)

__all__ = [
    "RULES", "NetworkGradients", "Rule", "avg_pool_bwd", "avg_pool_fwd", "batch_norm_bwd", "batch_norm_fwd", "conv_bwd",
    "conv_fwd", "delta_norms", "dense_bwd", "dense_fwd", "dot_product_attention_bwd", "dot_product_attention_fwd",
    "dropout_bwd", "dropout_fwd", "global_avg_pool_bwd", "global_avg_pool_fwd", "gru_bwd", "gru_cell_bwd",
    "gru_cell_fwd", "gru_fwd", "gru_gradients", "identity_bwd", "identity_fwd", "layer_norm_bwd", "layer_norm_fwd",
    "log_softmax_bwd", "log_softmax_fwd", "max_pool_bwd", "max_pool_fwd", "network_gradients", "rms_norm_bwd",
    "rms_norm_fwd", "softmax_bwd", "softmax_cross_entropy_bwd", "softmax_cross_entropy_fwd", "softmax_fwd",
    "squared_error_bwd", "squared_error_fwd",
]  # fmt: skip
__all__ += activations.__all__
