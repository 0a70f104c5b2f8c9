"""Layers and activations as equations: `x_init(key, …) -> params` and `x(params, x) -> y`."""

from dlcore.nn import activations, initializers
from dlcore.nn.activations import *  # noqa: F403
from dlcore.nn.batch_norm import BatchNormState, batch_norm_eval, batch_norm_init, batch_norm_train
from dlcore.nn.convolution import conv, conv_init
from dlcore.nn.dense import dense, dense_init
from dlcore.nn.dropout import dropout
from dlcore.nn.embedding import embedding, embedding_init
from dlcore.nn.pooling import avg_pool, global_avg_pool, max_pool
from dlcore.nn.softmax import log_softmax, softmax

__all__ = [
    "BatchNormState", "avg_pool", "batch_norm_eval", "batch_norm_init", "batch_norm_train", "conv", "conv_init",
    "dense", "dense_init", "dropout", "embedding", "embedding_init", "global_avg_pool", "initializers", "log_softmax",
    "max_pool", "softmax",
]  # fmt: skip
__all__ += activations.__all__
