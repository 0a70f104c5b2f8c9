import jax
import jaxlib
import numpy as np
import pytest

from dlcore.diagnostics import SelfTest, check_compiler
from dlcore.diagnostics.compiler import SELF_TESTS

NAMES = [case.name for case in SELF_TESTS]
PLACES = range(len(SELF_TESTS))


@pytest.fixture(scope="module")
def answers():
    """What each program computes, in order: every self-test compiles one."""
    found = []

    def jit(function):
        # Without optimisation: jaxlib 0.9.2 gets the float64 program wrong on CPU, which is why it is there.
        compiled = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
        return lambda *arguments: found.append(jax.tree.map(np.asarray, compiled(*arguments))) or found[-1]

    check_compiler(jit)
    return found


def check_with(answers, place, spoil):
    """All self-tests with a compiler that is right, except for the program at `place`: its output is spoilt."""
    compiled = []

    def jit(function):
        number = len(compiled)
        compiled.append(function)
        return lambda *arguments: spoil(answers[number]) if number == place else answers[number]

    return check_compiler(jit)


def everywhere(output):
    return jax.tree.map(lambda leaf: leaf + np.ones((), leaf.dtype), output)


def in_one_place(output):
    """The last of all numbers is off by one."""
    leaves, structure = jax.tree.flatten(output)
    last = np.array(leaves[-1])
    last.flat[-1] += np.ones((), last.dtype)
    return jax.tree.unflatten(structure, [*leaves[:-1], last])


def in_the_first_place(output):
    """The first of all numbers is off by one."""
    leaves, structure = jax.tree.flatten(output)
    first = np.array(leaves[0])
    first.flat[0] -= np.ones((), first.dtype)
    return jax.tree.unflatten(structure, [first, *leaves[1:]])


def as_zeros(output):
    return jax.tree.map(np.zeros_like, output)


def only_wrong(results, place):
    """That self-test, and no other, is reported wrong, and with a mend."""
    assert [result.name for result in results if not result.ok] == [NAMES[place]]
    wrong = results[place]
    assert wrong.mend == SELF_TESTS[place].mend != ""
    assert all(result.mend == "" for result in results if result.ok)
    return wrong


def test_every_self_test_is_right_on_this_machine():
    results = check_compiler()
    assert [result.name for result in results] == NAMES
    assert [result.float64 for result in results] == [False] * 8 + [True]
    results = [result for result in results if not result.float64]
    assert [result for result in results if not result.ok] == []
    assert all(isinstance(result, SelfTest) and result.mend == "" for result in results)
    assert all(result.detail.startswith("largest ") for result in results)


def test_the_float64_fault_of_jaxlib_0_9_2_is_found_and_gone_without_optimisation():
    found = check_compiler()[-1]
    if jaxlib.__version__ == "0.9.2" and jax.default_backend() == "cpu":
        assert "16 of 80 wrong" in found.detail
    assert found.ok or "xla_backend_optimization_level=0" in found.mend
    slow = lambda function: jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
    assert check_compiler(slow)[-1].ok


def test_names_tell_the_self_tests_apart():
    assert len(set(NAMES)) == len(NAMES) == 9


def test_each_self_test_compiles_one_program(answers):
    assert len(answers) == len(SELF_TESTS)


@pytest.mark.parametrize("spoil", [everywhere, in_one_place, in_the_first_place, as_zeros])
@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_a_wrong_number_is_found_by_the_self_test_that_it_concerns(answers, place, spoil):
    wrong = only_wrong(check_with(answers, place, spoil), place)
    assert " wrong, " in wrong.detail
    if spoil in (in_one_place, in_the_first_place):
        assert wrong.detail.startswith("1 of ")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [place for place in PLACES if "bits" not in NAMES[place]])
def test_a_number_that_is_not_finite_is_wrong(answers, place, value):
    def spoil(output):
        return jax.tree.map(lambda leaf: np.where(np.arange(leaf.shape[-1]) == 0, value, leaf), output)

    only_wrong(check_with(answers, place, spoil), place)


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_a_program_that_raises_is_that_self_tests_finding(answers, place):
    def spoil(output):
        raise RuntimeError("the compiler fell over\nwith a long story")

    wrong = only_wrong(check_with(answers, place, spoil), place)
    assert wrong.detail == "RuntimeError: the compiler fell over"


def test_a_compiler_that_always_raises_is_found_by_every_self_test():
    def jit(function):
        raise RuntimeError("nothing compiles here")

    results = check_compiler(jit)
    assert not any(result.ok for result in results)
    assert all(result.mend and "RuntimeError" in result.detail for result in results)


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_an_answer_of_another_shape_is_wrong_even_where_it_would_broadcast(answers, place):
    def spoil(output):
        return jax.tree.map(lambda leaf: leaf[:1], output)

    only_wrong(check_with(answers, place, spoil), place)


def test_an_interrupt_is_not_swallowed():
    def jit(function):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_compiler(jit)
