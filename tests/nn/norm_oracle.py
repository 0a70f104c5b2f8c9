"""Standardised slices and their gradient in the widest floats of NumPy, for the tests of normalisation."""

import numpy as np


def standardised(x, dy, axes, *, epsilon=1e-5, centre=True):
    """x̂ of `x` over `axes`, and the gradient for the cotangent `dy` of x̂."""
    x, dy = (np.asarray(a).astype(np.longdouble) for a in (x, dy))
    mean = lambda a: a.mean(axes, keepdims=True)
    deviation = x - mean(x) if centre else x
    sigma = np.sqrt(mean(deviation**2) + np.longdouble(epsilon))
    normal = deviation / sigma
    dx = (dy - (mean(dy) if centre else 0) - normal * mean(dy * normal)) / sigma
    return normal, dx
