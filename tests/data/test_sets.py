import sys

import numpy as np
import pytest
from sklearn import datasets
from sklearn.svm import SVC

from dlcore import data
from dlcore.data.sets import NAMES

SIZES = {"digits": (898, 899, (8, 8, 1), 10), "breast-cancer": (284, 285, (30,), 2), "wine": (89, 89, (13,), 3)}
LOADERS = {"digits": datasets.load_digits, "breast-cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}


@pytest.fixture(scope="module")
def sets():
    return {name: data.load(name) for name in NAMES}


def test_no_data_set_lacks_a_test():
    assert set(SIZES) == set(NAMES)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_dtypes_and_names_are_as_promised(name, sets):
    found, (train, test, shape, classes) = sets[name], SIZES[name]
    assert isinstance(found, data.DataSet)
    assert found.name == name
    for part, count in ((found.train, train), (found.test, test)):
        inputs, labels = part
        assert (inputs.shape, inputs.dtype) == ((count, *shape), np.float32)
        assert (labels.shape, labels.dtype) == ((count,), np.int32)
        assert set(labels) == set(range(classes))
        assert np.isfinite(inputs).all()
    assert len(found.classes) == classes
    assert all(isinstance(label, str) for label in found.classes)
    assert found.image == (len(shape) == 3)


@pytest.mark.parametrize("name", SIZES)
def test_train_and_test_together_are_the_whole_set_once(name, sets):
    found, bunch = sets[name], LOADERS[name]()
    rows = np.concatenate([found.train[0], found.test[0]]).reshape(len(bunch.target), -1).astype(np.float64)
    labels = np.concatenate([found.train[1], found.test[1]])
    if name == "digits":
        raw, order = rows * 16, np.arange(len(labels))
    else:
        order = np.random.RandomState(0).permutation(len(labels))
        half = bunch.data[order[: len(labels) // 2]]
        raw = rows * half.std(0) + half.mean(0)
    np.testing.assert_array_equal(labels, bunch.target[order])
    np.testing.assert_allclose(raw, bunch.data[order], rtol=1e-5, atol=1e-5)
    assert found.classes == tuple(map(str, bunch.target_names))


def test_digits_lie_between_0_and_1_in_sixteenths_exactly(sets):
    for inputs, _ in (sets["digits"].train, sets["digits"].test):
        assert (inputs.min(), inputs.max()) == (0.0, 1.0)
        np.testing.assert_array_equal(inputs * 16, np.round(inputs * 16))


@pytest.mark.parametrize("name", ["breast-cancer", "wine"])
def test_tables_are_standardised_by_the_training_half_alone(name, sets):
    found = sets[name]
    train = found.train[0].astype(np.float64)
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-6)
    assert np.abs(found.test[0].mean(0)).max() > 1e-3


def test_the_support_vector_machine_of_the_docstring_reaches_its_figure(sets):
    (x, y), (z, labels) = sets["digits"].train, sets["digits"].test
    machine = SVC(gamma=0.001).fit(16 * x.reshape(len(x), -1), y)
    assert round(100 * machine.score(16 * z.reshape(len(z), -1), labels), 1) == 96.9


def test_each_load_is_equal_and_has_arrays_of_its_own(sets):
    again = data.load("wine")
    np.testing.assert_array_equal(again.train[0], sets["wine"].train[0])
    again.train[0][:] = 0
    assert data.load("wine").train[0].any()


@pytest.mark.parametrize("name", ["mnist", "Digits", "", None, 3, ["wine"]])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"dlcore\.data\.load: `name` .*'digits', 'breast-cancer', 'wine'"):
        data.load(name)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"dlcore\.data\.load: .*scikit-learn, which is not installed.*app"):
        data.load("wine")
