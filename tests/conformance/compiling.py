"""Compiling is most of what a comparison costs, and most comparisons compile with the quickest of XLA's back ends.

The meaning of a program is the same. That optimised code computes it is what tests/properties.py tests; one comparison
in seven compiles as a user's would.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax

# A quarter of the time of XLA's defaults, in jaxlib 0.9.2; a release that does not know an option goes without.
OPTIONS: tuple[dict[str, Any], ...] = (
    {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False},
    {"xla_backend_optimization_level": 0},
    {},
)


def compiler_options(index: int) -> dict[str, Any]:
    """For the comparison of that number."""
    return quickest() if index % 7 else {}


@cache
def quickest() -> dict[str, Any]:
    for options in OPTIONS:
        try:
            jax.jit(lambda x: x + 1, compiler_options=options)(1.0)
        except jax.errors.JaxRuntimeError:
            continue
        return options
    raise AssertionError("XLA compiles nothing")
