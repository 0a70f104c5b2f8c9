"""Layers and activations as equations: `x_init(key, …) -> params` and `x(params, x) -> y`."""

from dlcore.nn import activations, initializers, layouts
from dlcore.nn.activations import *  # noqa: F403
from dlcore.nn.adaptive_pooling import adaptive_avg_pool, adaptive_max_pool, adaptive_max_pool_with_indices
from dlcore.nn.attention import dot_product_attention
from dlcore.nn.batch_norm import BatchNormState, batch_norm_eval, batch_norm_init, batch_norm_train
from dlcore.nn.conv_transpose import conv_transpose, conv_transpose_init
from dlcore.nn.convolution import conv, conv_init
from dlcore.nn.dense import dense, dense_init
from dlcore.nn.dropout import dropout
from dlcore.nn.embedding import embedding, embedding_init
from dlcore.nn.fold_batch_norm import fold_batch_norm
from dlcore.nn.global_pooling import global_avg_pool, global_max_pool
from dlcore.nn.group_norm import group_norm, group_norm_init, instance_norm, instance_norm_init
from dlcore.nn.gumbel_softmax import gumbel_softmax
from dlcore.nn.layer_norm import layer_norm, layer_norm_init, rms_norm, rms_norm_init
from dlcore.nn.local_response_norm import local_response_norm
from dlcore.nn.lp_pooling import lp_pool
from dlcore.nn.multi_head_attention import multi_head_attention, multi_head_attention_init
from dlcore.nn.noise import alpha_dropout, drop_path, gaussian_dropout
from dlcore.nn.pooling import avg_pool, max_pool, max_pool_with_indices
from dlcore.nn.recurrent import (
    bidirectional,
    gru,
    gru_cell,
    gru_init,
    lstm,
    lstm_cell,
    lstm_init,
    rnn,
    rnn_cell,
    rnn_init,
)
from dlcore.nn.rotary_embedding import rotary_embedding
from dlcore.nn.sampled_softmax import sampled_softmax_loss
from dlcore.nn.softmax import log_softmax, softmax
from dlcore.nn.sparsemax import sparsemax
from dlcore.nn.unpooling import max_unpool
from dlcore.nn.wavenet import (
    WaveNetConfig,
    mu_law_decode,
    mu_law_encode,
    receptive_field,
    wavenet,
    wavenet_generate,
    wavenet_init,
)

__all__ = [
    "BatchNormState", "adaptive_avg_pool", "adaptive_max_pool", "adaptive_max_pool_with_indices", "avg_pool",
    "batch_norm_eval", "batch_norm_init", "batch_norm_train", "conv", "conv_init", "conv_transpose",
    "conv_transpose_init", "dense", "dense_init", "dropout", "embedding", "embedding_init", "fold_batch_norm",
    "global_avg_pool", "global_max_pool", "group_norm", "group_norm_init", "initializers", "instance_norm",
    "instance_norm_init", "layer_norm", "layer_norm_init", "local_response_norm", "log_softmax", "lp_pool",
    "max_pool", "max_pool_with_indices", "max_unpool", "rms_norm", "rms_norm_init", "softmax",
]  # fmt: skip
__all__ += ["dot_product_attention", "multi_head_attention", "multi_head_attention_init", "rotary_embedding"]
__all__ += [
    "bidirectional", "gru", "gru_cell", "gru_init", "layouts", "lstm", "lstm_cell", "lstm_init", "rnn", "rnn_cell",
    "rnn_init",
]  # fmt: skip
__all__ += ["alpha_dropout", "drop_path", "gaussian_dropout", "gumbel_softmax", "sampled_softmax_loss", "sparsemax"]
__all__ += [
    "WaveNetConfig", "mu_law_decode", "mu_law_encode", "receptive_field", "wavenet", "wavenet_generate", "wavenet_init",
]  # fmt: skip
__all__ += activations.__all__
