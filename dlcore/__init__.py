"""Deep learning as mathematics writes it: pure functions over plain pytrees, in JAX."""

__version__ = "0.1.0"
__all__ = ["__version__"]
