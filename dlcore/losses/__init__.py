"""Losses: `(predictions, targets)` or `(logits, labels)` in, one value per element or example out."""

from dlcore.losses.classification import softmax_cross_entropy
from dlcore.losses.reduction import mean, sum_and_weight
from dlcore.losses.regression import squared_error

__all__ = ["mean", "softmax_cross_entropy", "squared_error", "sum_and_weight"]
