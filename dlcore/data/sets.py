"""Real data sets that scikit-learn ships: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dlcore import _checks

__all__ = ["NAMES", "DataSet", "load"]


class DataSet(NamedTuple):
    """A data set for classification, split for training and testing.

    Attributes:
      name: what `load` calls it.
      train: (inputs (N, …) float32, labels (N,) int32).
      test: likewise, other examples.
      classes: the classes' names; label k is `classes[k]`.
      image: whether inputs are images (N, H, W, C) with values in [0, 1].
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]
    image: bool


def load(name: str) -> DataSet:
    """A data set by name.

    "digits": 1,797 handwritten digits of 8 × 8 pixels in [0, 1] (UCI, Alpaydin & Kaynak 1998); the first half, 898,
    for training and the second half for testing, as in scikit-learn's example, where SVC(γ = .001) reaches 96.9 %.
    "breast-cancer" (569 × 30, two classes) and "wine" (178 × 13, three classes): tables, split in halves after a
    permutation with seed 0, each column standardised by the mean and deviation of the training half.

    Args:
      name: one of `NAMES`.

    Returns:
      A `DataSet` of NumPy arrays.

    Raises:
      ValueError: if there is no such data set.
      ImportError: if scikit-learn, which ships the data, is not installed.

    Example:
      >>> from dlcore import data
      >>> digits = data.load("digits")
      >>> digits.train[0].shape, digits.test[0].shape
      ((898, 8, 8, 1), (899, 8, 8, 1))

    Source: scikit-learn, `sklearn.datasets`.
    """
    _checks.one_of("data.load", "name", name, NAMES)
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "dlcore.data.load: the data come with scikit-learn, which is not installed. Install dlcore with its extra "
            "'app': pip install '.[app]' in a clone."
        ) from error
    return NAMES[name](datasets)


def _digits(datasets: Any) -> DataSet:
    bunch = datasets.load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[..., None]
    labels = bunch.target.astype(np.int32)
    half = len(labels) // 2
    return DataSet(
        "digits",
        (images[:half], labels[:half]),
        (images[half:], labels[half:]),
        tuple(str(label) for label in bunch.target_names),
        image=True,
    )


def _table(name: str, loader: str) -> Callable[[Any], DataSet]:
    def read(datasets: Any) -> DataSet:
        bunch = getattr(datasets, loader)()
        order = np.random.RandomState(0).permutation(len(bunch.target))
        rows, labels = bunch.data[order], bunch.target[order].astype(np.int32)
        half = len(labels) // 2
        mean, deviation = rows[:half].mean(axis=0), rows[:half].std(axis=0)
        rows = ((rows - mean) / deviation).astype(np.float32)
        return DataSet(
            name,
            (rows[:half], labels[:half]),
            (rows[half:], labels[half:]),
            tuple(str(label) for label in bunch.target_names),
            image=False,
        )

    return read


NAMES: dict[str, Callable[[Any], DataSet]] = {
    "digits": _digits,
    "breast-cancer": _table("breast-cancer", "load_breast_cancer"),
    "wine": _table("wine", "load_wine"),
}
