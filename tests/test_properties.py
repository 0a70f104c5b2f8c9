"""Every enrolled function, on drawn shapes, batch axes, windows and options, through every property.

`--examples N` draws N cases for each test (two by default, since each new shape compiles anew), `--seed` chooses them,
and `--all` runs every slow test rather than a sample: by default each function's gradient is proven and its ways of
running are compared, and a tenth of the rest is tried. tests/properties.py says what each property is.
"""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import properties
from tests.draws import Draws, seeds
from tests.registry import ENTRIES

DRAWN = [entry for entry in ENTRIES if entry.draw]
SMOOTH = [entry for entry in DRAWN if entry.smooth]


def every(entries):
    cases = [pytest.param(entry, id=entry.name, marks=[pytest.mark.slow] * entry.heavy) for entry in entries]
    return pytest.mark.parametrize("entry", cases)


def drawn(data, entry, **fixed):
    """Another case of the entry, and the seed of its values."""

    @st.composite
    def case(draw):
        return dataclasses.replace(entry, **entry.draw(Draws(draw, **fixed)))

    return data.draw(case(), label="call"), data.draw(seeds(), label="seed of the values")


def test_every_entry_says_how_to_draw_another_case():
    assert [entry.name for entry in ENTRIES if entry.draw is None] == []


@pytest.mark.slow(one_in=4)
@every(DRAWN)
@given(data=st.data())
def test_compiled_eager_mapped_and_looped_over_give_one_result_and_one_gradient(entry, data):
    case, seed = drawn(data, entry)
    properties.ways_of_running_agree(case, seed, eager_gradient=seed % 4 == 0)


@pytest.mark.slow
@every([entry for entry in DRAWN if entry.dtypes])
@given(data=st.data())
def test_every_dtype_is_kept_and_near_float64_in_values_and_gradients(entry, data):
    properties.precisions_agree(*drawn(data, entry))


@pytest.mark.slow(one_in=2)
@every(SMOOTH)
@given(data=st.data())
def test_the_gradient_is_proven_in_reverse_and_forward_mode(entry, data):
    properties.gradients_are_proven(*drawn(data, entry))


@pytest.mark.slow
@every(SMOOTH)
@given(data=st.data())
def test_the_gradient_is_proven_at_zeros_constants_and_ties(entry, data):
    fill = data.draw(st.sampled_from(("ties", "zeros", "a constant")), label="data")
    properties.gradients_are_proven(*drawn(data, entry), fill)


@pytest.mark.slow
@every(SMOOTH)
@given(data=st.data())
def test_the_second_derivative_is_proven(entry, data):
    properties.gradients_are_proven(*drawn(data, entry, largest=3), order=2)


@pytest.mark.slow
@every(SMOOTH)
@given(data=st.data())
def test_zeros_ties_large_tiny_and_infinite_values_do_no_harm(entry, data):
    properties.awkward_values_do_no_harm(*drawn(data, entry))


@pytest.mark.slow
@every([entry for entry in DRAWN if entry.batched and entry.empty])
@given(data=st.data())
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(entry, data):
    lead = data.draw(st.sampled_from(((2,), (1, 3), (3, 2))), label="batch axes before the first is emptied")
    properties.nothing_comes_from_nothing(*drawn(data, entry, lead=lead))


@pytest.mark.slow
@every(SMOOTH)
@given(data=st.data())
def test_batches_beyond_the_compilers_thresholds_agree_with_small_ones(entry, data):
    lead = (3,) if entry.batched and entry.independent else (properties.ROWS,)
    properties.large_batches_agree(*drawn(data, entry, lead=lead, largest=3))
