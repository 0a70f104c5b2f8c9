"""`dlcore.nn` lifted to layers: widths come from the input, everything else from the arguments.

The options are those of the equation of the same name in `dlcore.nn`; its docstring has the formula.
"""

from dlcore.models.layers import activations, affine, noise, normalization, pooling, recurrent
from dlcore.models.layers.activations import *  # noqa: F403
from dlcore.models.layers.affine import *  # noqa: F403
from dlcore.models.layers.noise import *  # noqa: F403
from dlcore.models.layers.normalization import *  # noqa: F403
from dlcore.models.layers.pooling import *  # noqa: F403
from dlcore.models.layers.recurrent import *  # noqa: F403

__all__: list[str] = []
__all__ += activations.__all__
__all__ += affine.__all__
__all__ += noise.__all__
__all__ += normalization.__all__
__all__ += pooling.__all__
__all__ += recurrent.__all__
