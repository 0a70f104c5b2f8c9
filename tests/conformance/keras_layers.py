"""Keras on PyTorch: its own layers, called with weights of ours, so that PyTorch differentiates them.

With JAX for a back end Keras would promote dtypes, which these tests forbid, and would share its kernels with dlcore.
"""

from __future__ import annotations

import os
import tempfile

# Before Keras is imported: neither a user's settings nor a graphics card decide what is compared.
HOME = tempfile.TemporaryDirectory(prefix="keras-")
os.environ |= {"KERAS_BACKEND": "torch", "KERAS_HOME": HOME.name, "KERAS_TORCH_DEVICE": "cpu"}

import keras  # noqa: E402
from keras.src.backend.common import dtypes  # noqa: E402

from tests.conformance.compare import Comparison  # noqa: E402

assert keras.config.backend() == "torch", "Keras was imported before, with another back end"
assert keras.config.image_data_format() == "channels_last"
# Except on TensorFlow Keras computes sums and products of float64 in float32; here it is the reference.
assert dtypes.BIT64_TO_BIT32_DTYPE["float64"] == "float32"
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"


def named(layer):
    """The layer's weights by names of their own: `kernel`, or the path below the layer where names repeat."""
    names = [variable.path.split("/")[-1] for variable in layer.trainable_variables]
    if len(set(names)) < len(names):
        names = ["_".join(variable.path.split("/")[1:]) for variable in layer.trainable_variables]
    return dict(zip(names, layer.trainable_variables, strict=True))


def comparison(d, layer, ours, x, *, options=None, built=None, draw=None, extra=None, **call):
    """A layer in float64 and dlcore's function of `x`, the layer's weights by name, and what else is given.

    built: the shapes to build the layer for, that of x by default. draw: how to draw a weight, (d, shape) -> array.
    extra: more arrays, handed to the layer by their names.
    """
    layer.build(*([x.shape] if built is None else built))
    weights = named(layer)
    normal = lambda d, shape: d.normal(*shape)
    extra = extra or {}
    arrays = {"x": x} | {name: (draw or normal)(d, tuple(v.shape)) for name, v in weights.items()} | extra
    fixed = [variable.value for variable in layer.non_trainable_variables]

    def theirs(x, **rest):
        given = {name: rest.pop(name) for name in extra}
        found, _ = layer.stateless_call([rest[name] for name in weights], fixed, x, **given, **call)
        return found

    return Comparison(ours, theirs, arrays, d.dtype, options or {})


__all__ = ["comparison", "keras", "named"]
