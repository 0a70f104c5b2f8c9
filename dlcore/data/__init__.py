"""Data: real sets that ship with packages, and random changes to them."""

from dlcore.data.augment import random_shift
from dlcore.data.sets import DataSet, load

__all__ = ["DataSet", "load", "random_shift"]
