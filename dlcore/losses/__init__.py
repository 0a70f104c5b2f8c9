"""Losses: `(predictions, targets)` or `(logits, labels)` in, one value per element or example out."""

from dlcore.losses.binary import (
    binary_cross_entropy,
    binary_cross_entropy_probabilities,
    binary_focal_cross_entropy,
)
from dlcore.losses.classification import (
    generalized_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_probabilities,
    softmax_focal_cross_entropy,
)
from dlcore.losses.embeddings import (
    circle,
    cosine_distance,
    cosine_embedding,
    hinge_embedding,
    margin_ranking,
    triplet_margin,
)
from dlcore.losses.likelihood import gaussian_nll, poisson_nll
from dlcore.losses.linear_head import linear_softmax_cross_entropy
from dlcore.losses.log_probabilities import kl_divergence, nll, perplexity
from dlcore.losses.margins import (
    categorical_hinge,
    hinge,
    multi_margin,
    multilabel_margin,
    multilabel_soft_margin,
    soft_margin,
    squared_hinge,
)
from dlcore.losses.reduction import mean, sum_and_weight
from dlcore.losses.regression import (
    absolute_error,
    absolute_percentage_error,
    huber,
    log_cosh,
    quantile,
    smooth_l1,
    squared_error,
    squared_logarithmic_error,
)
from dlcore.losses.segmentation import dice, tversky
from dlcore.losses.sequences import ctc

__all__ = [
    "absolute_error", "absolute_percentage_error", "binary_cross_entropy", "binary_cross_entropy_probabilities",
    "binary_focal_cross_entropy", "categorical_hinge", "circle", "cosine_distance", "cosine_embedding", "ctc", "dice",
    "gaussian_nll", "generalized_cross_entropy", "hinge", "hinge_embedding", "huber", "kl_divergence",
    "linear_softmax_cross_entropy", "log_cosh", "margin_ranking", "mean", "multi_margin", "multilabel_margin",
    "multilabel_soft_margin", "nll", "perplexity", "poisson_nll", "quantile", "smooth_l1", "soft_margin",
    "softmax_cross_entropy", "softmax_cross_entropy_probabilities", "softmax_focal_cross_entropy", "squared_error",
    "squared_hinge", "squared_logarithmic_error", "sum_and_weight", "triplet_margin", "tversky",
]  # fmt: skip
