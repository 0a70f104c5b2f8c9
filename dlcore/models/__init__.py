"""Models: the contract of a layer, layers made of `dlcore.nn`, what composes them, and ready networks."""

from dlcore.models import layers
from dlcore.models.attention import multi_head_attention
from dlcore.models.combinators import parallel, residual, serial, stack, tap
from dlcore.models.convnet import convnet
from dlcore.models.gru_classifier import gru_classifier
from dlcore.models.layer import Layer, lift
from dlcore.models.layers import *  # noqa: F403
from dlcore.models.mlp import mlp
from dlcore.models.resnet import resnet
from dlcore.models.transformer import transformer, transformer_classifier
from dlcore.models.wavenet import wavenet

__all__ = [
    "Layer", "convnet", "gru_classifier", "lift", "mlp", "parallel", "residual", "resnet", "serial", "stack", "tap",
]  # fmt: skip
__all__ += ["multi_head_attention", "transformer", "transformer_classifier", "wavenet"]
__all__ += layers.__all__
