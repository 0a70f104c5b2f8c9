"""Data: real sets that ship with packages, random changes to them, and the batches of an epoch."""

from dlcore.data.augment import random_shift
from dlcore.data.batching import balanced_batches, batches
from dlcore.data.sets import DataSet, load

__all__ = ["DataSet", "balanced_batches", "batches", "load", "random_shift"]
