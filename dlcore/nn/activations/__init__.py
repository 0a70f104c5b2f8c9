"""Activations: one function each, elementwise unless it says otherwise."""

from dlcore.nn.activations.gated import geglu, glu, maxout, swiglu
from dlcore.nn.activations.rectified import celu, elu, leaky_relu, prelu, relu, relu6, selu, thresholded_relu
from dlcore.nn.activations.shrinkage import hard_shrink, soft_shrink, tanh_shrink
from dlcore.nn.activations.sigmoidal import hard_sigmoid, hard_silu, hard_tanh, log_sigmoid, sigmoid, tanh
from dlcore.nn.activations.smooth import gelu, mish, silu, soft_sign, softplus, squareplus

__all__ = [
    "celu", "elu", "geglu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "log_sigmoid", "maxout", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "soft_sign", "softplus", "squareplus", "swiglu", "tanh", "tanh_shrink", "thresholded_relu",
]  # fmt: skip
