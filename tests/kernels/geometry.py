"""Window geometries for the tests of the kernels, without the resolver that nn uses."""

from dlcore._windows import WindowAxis


def windows(*axes):
    """One WindowAxis for each (inputs, size, stride, dilation, low, high)."""
    result = []
    for n, k, s, d, low, high in axes:
        outputs = (n + low + high - (k - 1) * d - 1) // s + 1
        result.append(WindowAxis(n, outputs, k, s, d, low, high))
    return tuple(result)
