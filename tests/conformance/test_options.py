"""Each option of PyTorch's modules and Keras' layers is drawn by the comparisons, or listed there as inexpressible.

A release that adds an option fails here, so that nobody forgets it.
"""

from __future__ import annotations

import inspect

import pytest
import torch

from tests.conformance.keras_layers import keras

# Options that are not drawn, and why.
OTHERWISE = {
    "of another kind: where and in which dtype, names, what draws the weights": """device dtype inplace size_average
        reduce _weight _freeze sparse weights name seed kwargs data_format flash_attention use_cudnn lora_rank
        lora_alpha quantization_config
        unit_forget_bias synchronized mode""",
    "another call beside it": """activation recurrent_activation num_layers return_sequences return_state merge_mode
        backward_layer mask_zero return_indices""",
    "noise of the library's own generator": "dropout recurrent_dropout",
    "said in the table, as inexpressible": """padding_idx max_norm norm_type scale_grad_by_freq divisor_override
        proj_size add_bias_kv add_zero_attn track_running_stats stateful use_gate""",
    "a mask says it": "sliding_window",
    "reshaping or moving an axis says it": "axis attention_axes output_shape",
    "how, not what": "unroll",
    "not dlcore's": "renorm renorm_clipping renorm_momentum",
}
LEFT_OUT = {name for names in OTHERWISE.values() for name in names.split()}
POOL = "kernel_size stride padding ceil_mode"

TORCH = {
    torch.nn.Conv2d: "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode",
    torch.nn.ConvTranspose2d: """in_channels out_channels kernel_size stride padding output_padding groups bias dilation
        padding_mode""",
    torch.nn.MaxPool2d: POOL + " dilation return_indices",
    torch.nn.AvgPool2d: POOL + " count_include_pad ",
    torch.nn.LPPool2d: "norm_type kernel_size stride ceil_mode",
    torch.nn.AdaptiveMaxPool2d: "output_size return_indices",
    torch.nn.AdaptiveAvgPool2d: "output_size",
    torch.nn.MaxUnpool2d: "kernel_size stride padding",
    torch.nn.BatchNorm2d: "num_features eps momentum affine bias",
    torch.nn.LayerNorm: "normalized_shape eps elementwise_affine bias",
    torch.nn.RMSNorm: "normalized_shape eps elementwise_affine",
    torch.nn.GroupNorm: "num_groups num_channels eps affine bias",
    torch.nn.InstanceNorm2d: "num_features eps momentum affine bias",
    torch.nn.LocalResponseNorm: "size alpha beta k",
    torch.nn.Linear: "in_features out_features bias",
    torch.nn.Embedding: "num_embeddings embedding_dim",
    torch.nn.RNNBase: "input_size hidden_size bias batch_first bidirectional",
    torch.nn.MultiheadAttention: "embed_dim num_heads bias kdim vdim batch_first",
    torch.nn.CrossEntropyLoss: "weight ignore_index reduction label_smoothing",
}
K = keras.layers
CONV = "filters kernel_size strides padding dilation_rate use_bias"
RECURRENT = "units use_bias go_backwards"
KERAS = {
    K.Dense: "units use_bias",
    K.Embedding: "input_dim output_dim",
    K.Conv2D: CONV + " groups",
    K.Conv2DTranspose: CONV + " output_padding",
    K.DepthwiseConv2D: CONV.removeprefix("filters ") + " depth_multiplier",
    K.SeparableConv2D: CONV + " depth_multiplier",
    K.MaxPooling2D: "pool_size strides padding",
    K.AveragePooling2D: "pool_size strides padding",
    K.GlobalMaxPooling2D: "keepdims",
    K.GlobalAveragePooling2D: "keepdims",
    K.BatchNormalization: "momentum epsilon center scale",
    K.LayerNormalization: "axis epsilon center scale",
    K.GroupNormalization: "groups epsilon center scale",
    K.RMSNormalization: "axis epsilon",
    K.GRU: RECURRENT + " reset_after",
    K.LSTM: RECURRENT,
    K.SimpleRNN: RECURRENT,
    K.Bidirectional: "layer",
    K.MultiHeadAttention: "num_heads key_dim value_dim use_bias",
    K.GroupQueryAttention: "head_dim num_query_heads num_key_value_heads use_bias",
    K.Softmax: "axis",
    K.PReLU: "shared_axes",
}


def options_of(module):
    ends = ("initializer", "regularizer", "constraint")
    return {
        name
        for name in inspect.signature(module.__init__).parameters
        if name not in ("self", "args") and not name.endswith(ends)
    }


def name_of(module):
    return f"{module.__module__.split('.')[0]}-{module.__name__}"


@pytest.mark.parametrize("module", [*TORCH, *KERAS], ids=name_of)
def test_every_option_is_drawn_or_has_a_reason(module):
    drawn = set((TORCH | KERAS)[module].split())
    assert drawn <= options_of(module), f"gone: {drawn - options_of(module)}"
    assert options_of(module) <= drawn | LEFT_OUT, f"new: {options_of(module) - drawn - LEFT_OUT}"
