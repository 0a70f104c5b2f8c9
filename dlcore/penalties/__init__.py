"""Penalties on parameters: a value to add to the loss, and the proximal operator that minimises it exactly."""

from dlcore.penalties.composition import combine, on
from dlcore.penalties.dropout import dropout_penalty
from dlcore.penalties.groups import group_lasso, max_norm
from dlcore.penalties.proximal import ProximalState, proximal
from dlcore.penalties.rules import Penalty
from dlcore.penalties.shrinkage import elastic_net, l1, l2, non_negative

__all__ = [
    "Penalty", "ProximalState", "combine", "dropout_penalty", "elastic_net", "group_lasso", "l1", "l2", "max_norm",
    "non_negative", "on", "proximal",
]  # fmt: skip
