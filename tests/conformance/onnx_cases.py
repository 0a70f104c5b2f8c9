"""ONNX's own node test cases: collecting them, and running one through an adapter.

An adapter is a function of an operator's attributes and inputs that calls dlcore and hands back the operator's outputs:
`adapter(attributes, *inputs)`, an absent input being None. An output that dlcore does not compute is None too.
"""

from __future__ import annotations

import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.conformance.compiling import compiler_options
from tests.conformance.ours import layouts


class Case(NamedTuple):
    name: str
    operator: str
    attributes: dict[str, Any]
    # one entry for each of the node's inputs and outputs; None where it is left out
    inputs: list[np.ndarray | None]
    outputs: list[np.ndarray | None]
    rtol: float
    atol: float
    # the ONNX model, which ONNX' reference can evaluate on other inputs
    model: Any


@cache
def collect() -> dict[str, list[Case]]:
    """Every case that is one node, by operator.

    The same data come again as graphs in which the operator is expanded into others (`…_expanded`): those test the
    expansion, and are left out.
    """
    # The cases seed NumPy's global generator.
    state = np.random.get_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            # Made while ONNX computes expected values of casts, reductions and divisions by zero.
            warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"onnx\.backend\.test\.case\.node")
            from onnx.backend.test.case.node import collect_testcases

            found = collect_testcases(None)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    cases = defaultdict(list)
    for test in found:
        if "_expanded" not in test.name:
            case = _one_node(test)
            cases[case.operator].append(case)
    return dict(cases)


def _one_node(test) -> Case:
    from onnx import AttributeProto, helper

    (node,) = test.model.graph.node
    ((inputs, outputs),) = test.data_sets
    attributes = {
        a.name: a.g if a.type == AttributeProto.GRAPH else helper.get_attribute_value(a) for a in node.attribute
    }
    attributes = {name: a.decode() if isinstance(a, bytes) else a for name, a in attributes.items()}
    # Absent ones have an empty name, and no value in the data.
    values = [iter(inputs), iter(outputs)]
    pairs = [
        [next(value) if name else None for name in names]
        for names, value in zip((node.input, node.output), values, strict=True)
    ]
    return Case(test.name, node.op_type, attributes, *pairs, test.rtol, test.atol, test.model)


def run(case: Case, adapter: Callable[..., Any], expected: list[np.ndarray | None] | None = None) -> list[int]:
    """Compares one case with the case's own tolerances; returns which outputs dlcore does not compute.

    expected: in place of the case's own outputs.
    """
    found = compute(case, adapter)
    expected = case.outputs if expected is None else expected
    assert len(found) >= len(expected), f"{len(found)} outputs, expected {len(expected)}"
    missing = []
    for index, (actual, right) in enumerate(zip(found, expected, strict=False)):
        if right is None:
            continue
        if actual is None:
            missing.append(index)
            continue
        actual, right = np.asarray(actual), np.asarray(right)
        assert actual.shape == right.shape, f"output {index}: shape {actual.shape}, expected {right.shape}"
        # Indices of 64 bits come as 32; every other dtype is the case's.
        if (actual.dtype, right.dtype) != (np.int32, np.int64):
            assert actual.dtype == right.dtype, f"output {index}: {actual.dtype}, expected {right.dtype}"
        if right.dtype.kind not in "iub":
            actual, right = actual.astype(np.float64), right.astype(np.float64)
        np.testing.assert_allclose(actual, right, rtol=case.rtol, atol=case.atol, err_msg=f"output {index}")
    assert len(missing) < sum(value is not None for value in expected), "nothing was compared"
    return missing


def compute(case: Case, adapter: Callable[..., Any]) -> tuple[Any, ...]:
    """An adapter's outputs. Arrays of floating point numbers are traced, so that a case compiles once; the rest are
    known when it is traced: lengths, positions, bounds, rates."""
    arrays = [None if value is None else np.asarray(value) for value in case.inputs]
    traced = [a is not None and a.dtype.kind not in "iub" and a.ndim > 0 for a in arrays]
    with jax.enable_x64(any(a is not None and a.dtype == np.float64 for a in arrays)):
        # ONNX' indices are int64; JAX takes them as int32.
        args = [None if a is None else a.astype(np.int32) if a.dtype == np.int64 else a for a in arrays]

        def call(*floats):
            rest = iter(floats)
            found = adapter(case.attributes, *(next(rest) if t else a for t, a in zip(traced, args, strict=True)))
            return found if isinstance(found, tuple) else (found,)

        options = compiler_options(zlib.crc32(case.name.encode()))
        return jax.jit(call, compiler_options=options)(
            *(jnp.asarray(a) for t, a in zip(traced, args, strict=True) if t)
        )


def rounded_once(case: Case) -> list[np.ndarray]:
    """A half precision case's outputs as ONNX' own reference has them in float32, rounded once at the end."""
    from onnx.reference import ReferenceEvaluator

    names = [value.name for value in case.model.graph.input]
    arrays = [a for a in case.inputs if a is not None]
    wide = {n: a if a.dtype.kind in "iub" else a.astype(np.float32) for n, a in zip(names, arrays, strict=True)}
    found = ReferenceEvaluator(case.model).run(None, wide)
    return [a.astype(right.dtype) for a, right in zip(found, case.outputs, strict=True)]


def last(x):
    """Channels first to channels last: (N, C, …) to (N, …, C)."""
    return layouts.channels_last(x)


def first(x):
    """Channels last to channels first."""
    return layouts.channels_first(x)


def pairs(pads):
    """ONNX' [low, low, …, high, high, …] as (low, high) pairs."""
    half = len(pads) // 2
    return tuple(zip(pads[:half], pads[half:], strict=True))
