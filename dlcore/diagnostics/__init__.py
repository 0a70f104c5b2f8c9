"""Diagnostics: what the compiler, and later the gradients and units of a network, are really doing."""

from dlcore.diagnostics.compiler import SelfTest, check_compiler

__all__ = ["SelfTest", "check_compiler"]
