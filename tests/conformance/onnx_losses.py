"""Adapters of ONNX' operators to dlcore: losses."""

from __future__ import annotations

import jax.numpy as jnp

from tests.conformance.onnx_cases import last
from tests.conformance.ours import losses, nn


def reduce(a, values, labels, weight):
    """ONNX' mean divides by the weights of the labels that count."""
    kind = a.get("reduction", "mean")
    if kind == "none":
        return values
    if kind == "sum":
        return losses.sum_and_weight(values)[0]
    counted = labels != a["ignore_index"] if "ignore_index" in a else jnp.ones(labels.shape, bool)
    if weight is None:
        return losses.mean(values, where=counted)
    # The values are weighted already; the weights are divided out again, and counted in the mean.
    own = jnp.where(counted, weight[jnp.where(counted, labels, 0)], 0)
    return losses.mean(values / jnp.where(own == 0, 1, own), weights=own)


def options(a, weight):
    found = {} if weight is None else {"class_weights": weight}
    return found | ({"ignore_label": a["ignore_index"]} if "ignore_index" in a else {})


def negative_log_likelihood(a, log_probabilities, labels, weight=None):
    values = losses.nll(last(log_probabilities), labels, **options(a, weight))
    return reduce(a, values, labels, weight)


def softmax_cross_entropy(a, logits, labels, weight=None):
    values = losses.softmax_cross_entropy(last(logits), labels, **options(a, weight))
    return reduce(a, values, labels, weight), nn.log_softmax(logits, axis=1)


ADAPTERS = {
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
}
