"""Every node test case of ONNX whose operator dlcore has, by the case's own tolerances."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conformance import onnx_elementwise, onnx_losses, onnx_norms, onnx_sequences, onnx_windows
from tests.conformance.onnx_cases import collect, rounded_once, run
from tests.conformance.onnx_lists import BY_PRODUCTS, INEXPRESSIBLE, NOT_OURS, ROUNDED_ONCE
from tests.conformance.onnx_sequences import rotary_embedding_of_positions
from tests.conformance.table import NotYetError

SUITE = "ONNX"
ADAPTERS = {}
for family in (onnx_elementwise, onnx_losses, onnx_norms, onnx_sequences, onnx_windows):
    ADAPTERS |= family.ADAPTERS
OPERATORS = sorted(name for name in ADAPTERS if "," not in name)


def adapter_of(case):
    with_indices = case.operator == "MaxPool" and len(case.outputs) == 2
    return ADAPTERS["MaxPool, with indices" if with_indices else case.operator]


@pytest.mark.parametrize("operator", OPERATORS)
def test_cases(operator, tally):
    line = tally(operator)
    listed = dict(INEXPRESSIBLE.get(operator, {}))
    for case in collect()[operator]:
        if case.name in listed:
            check_inexpressible(line, case, listed.pop(case.name))
        else:
            with line.case(case.name) as notes:
                check(case, notes)
    assert not listed, f"ONNX has no case {sorted(listed)}"


def check(case, notes):
    expected = None
    if case.name in ROUNDED_ONCE:
        expected = rounded_once(case)
        notes.append("compared with ONNX' reference in float32, rounded once (the case rounds every step to bfloat16)")
    by_products = BY_PRODUCTS.get(case.operator, {})
    missing = run(case, adapter_of(case), expected)
    unlisted = set(missing) - set(by_products)
    assert not unlisted, f"outputs {unlisted} were not compared, and are not listed"
    notes += [by_products[index] for index in missing if by_products[index]]


def check_inexpressible(line, case, reason):
    try:
        run(case, adapter_of(case))
    except NotYetError:
        line.not_yet[reason] += 1
    except Exception:
        line.skip(reason)
    else:
        pytest.fail(f"{case.name} is listed as inexpressible, but passes: take it off the list")


def test_rotary_embedding_with_tables_of_cosines(tally, rng):
    """ONNX' own cases have random numbers in their tables; here the tables are those of the rotation."""
    from onnx.reference.ops.op_rotary_embedding import rotary_embedding

    line = tally("RotaryEmbedding of positions")
    for case in collect()["RotaryEmbedding"]:
        with line.case(case.name):
            x, half = case.inputs[0], case.inputs[1].shape[-1]
            positions = rng.integers(0, 50, (x.shape[0], x.shape[1 if x.ndim == 3 else 2]))
            angles = positions[..., None] * 10_000.0 ** (-np.arange(half) / half)
            expected = rotary_embedding(x, np.cos(angles), np.sin(angles), **case.attributes).astype(x.dtype)
            drawn = case._replace(inputs=[x, positions], outputs=[expected])
            run(drawn, rotary_embedding_of_positions)


def test_no_operator_is_forgotten(tally):
    """Each operator of ONNX has an adapter, or a reason for having none."""
    line = tally("operators that are not dlcore's")
    reasons = {name: reason for reason, names in NOT_OURS.items() for name in names.split()}
    cases = collect()
    assert set(cases) == set(OPERATORS) | set(reasons), sorted(set(cases) ^ (set(OPERATORS) | set(reasons)))
    assert not set(OPERATORS) & set(reasons)
    for operator, reason in reasons.items():
        line.skip(reason, len(cases[operator]))


def test_every_case_belongs_to_one_operator():
    cases = collect()
    names = [case.name for found in cases.values() for case in found]
    assert len(set(names)) == len(names)
    assert set(INEXPRESSIBLE) | set(BY_PRODUCTS) <= set(OPERATORS)
    assert {name for name in names if name in ROUNDED_ONCE} == ROUNDED_ONCE
