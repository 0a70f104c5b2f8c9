"""What other frameworks store, laid out as dlcore does: pure functions of arrays, and nothing is read from disk.

Keras' and Flax' kernels of dense layers, convolutions and embeddings are dlcore's already, and so are PyTorch's
embeddings; ONNX' Conv and ConvTranspose are PyTorch's. Biases never change. Tensors of PyTorch come as NumPy's:
`tensor.detach().numpy()`.
"""

from dlcore.nn.layouts.kernels import (
    channels_first,
    channels_last,
    conv_kernel_from_torch,
    conv_transpose_kernel_from_flax,
    conv_transpose_kernel_from_torch,
    dense_kernel_from_torch,
    depthwise_kernel_from_keras,
)
from dlcore.nn.layouts.recurrent import (
    gru_from_flax,
    gru_from_keras,
    gru_from_onnx,
    gru_from_torch,
    lstm_from_flax,
    lstm_from_keras,
    lstm_from_onnx,
    lstm_from_torch,
    rnn_from_flax,
    rnn_from_keras,
    rnn_from_onnx,
    rnn_from_torch,
)

__all__ = [
    "channels_first", "channels_last", "conv_kernel_from_torch", "conv_transpose_kernel_from_flax",
    "conv_transpose_kernel_from_torch", "dense_kernel_from_torch", "depthwise_kernel_from_keras", "gru_from_flax",
    "gru_from_keras", "gru_from_onnx", "gru_from_torch", "lstm_from_flax", "lstm_from_keras", "lstm_from_onnx",
    "lstm_from_torch", "rnn_from_flax", "rnn_from_keras", "rnn_from_onnx", "rnn_from_torch",
]  # fmt: skip
