"""The chain rule through each activation of `dlcore.nn`, with the same options and the same gradients at kinks."""

from dlcore.backprop.activations.exponential import *  # noqa: F403
from dlcore.backprop.activations.exponential import __all__ as _exponential
from dlcore.backprop.activations.gated import *  # noqa: F403
from dlcore.backprop.activations.gated import __all__ as _gated
from dlcore.backprop.activations.rectified import *  # noqa: F403
from dlcore.backprop.activations.rectified import __all__ as _rectified
from dlcore.backprop.activations.shrinkage import *  # noqa: F403
from dlcore.backprop.activations.shrinkage import __all__ as _shrinkage
from dlcore.backprop.activations.sigmoidal import *  # noqa: F403
from dlcore.backprop.activations.sigmoidal import __all__ as _sigmoidal
from dlcore.backprop.activations.smooth import *  # noqa: F403
from dlcore.backprop.activations.smooth import __all__ as _smooth

__all__ = [*_exponential, *_gated, *_rectified, *_shrinkage, *_sigmoidal, *_smooth]
