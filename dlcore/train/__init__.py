"""Training: state, step, epoch, fit; all of it pure functions but the last."""

from dlcore.train.checkpoint import restore, save
from dlcore.train.epoch import make_epoch
from dlcore.train.evaluate import accuracy, evaluate, predict
from dlcore.train.fit import DivergedError, Report, fit
from dlcore.train.state import TrainState, make_state
from dlcore.train.step import make_step

__all__ = [
    "DivergedError", "Report", "TrainState", "accuracy", "evaluate", "fit", "make_epoch", "make_state", "make_step",
    "predict", "restore", "save",
]  # fmt: skip
