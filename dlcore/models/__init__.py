"""Models: the contract of a layer, layers made of `dlcore.nn`, what composes them, and ready networks."""

from dlcore.models import layers
from dlcore.models.combinators import parallel, residual, serial, stack, tap
from dlcore.models.convnet import convnet
from dlcore.models.layer import Layer, lift
from dlcore.models.layers import *  # noqa: F403
from dlcore.models.mlp import mlp

__all__ = ["Layer", "convnet", "lift", "mlp", "parallel", "residual", "serial", "stack", "tap"]
__all__ += layers.__all__
