"""Every rule, as custom_vjp takes it, against finite differences: proof that needs none of JAX' derivatives."""

import jax.numpy as jnp
import pytest

from dlcore import gradcheck
from tests.backprop.table import ACTIVATIONS, FIRST, as_arrays

ALONE = [case for case in FIRST if case not in ACTIVATIONS]
TOGETHER = [case for case in FIRST if case in ACTIVATIONS]
SMOOTH = {
    "geglu", "gelu", "glu", "log_sigmoid", "mish", "sigmoid", "silu", "softplus", "squareplus", "swiglu", "tanh",
    "tanh_shrink",
}  # fmt: skip


@pytest.mark.parametrize("case", ALONE, ids=lambda case: case.rule)
def test_finite_differences_agree(case, rng, x64):
    gradcheck.assert_gradients(case.custom(), *as_arrays(case.make(rng), jnp.float64), modes=("reverse",))


def check_together(cases, rng, order):
    """In one compilation; each is a leaf of the report."""
    args = {case.rule: as_arrays(case.make(rng), jnp.float64) for case in cases}
    rules = {case.rule: case.custom() for case in cases}
    run = lambda args: {name: rule(*args[name]) for name, rule in rules.items()}
    gradcheck.assert_gradients(run, args, modes=("reverse",), order=order)


def test_finite_differences_agree_for_every_activation(rng, x64):
    assert len(TOGETHER) == 27
    check_together(TOGETHER, rng, order=1)


def test_a_smooth_rule_can_be_differentiated_again(rng, x64):
    check_together([case for case in TOGETHER if case.rule in SMOOTH], rng, order=2)
