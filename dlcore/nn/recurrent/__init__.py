"""Recurrent layers: one step (`x_cell`), and the same step through time (`x`)."""

from dlcore.nn.recurrent.bidirectional import bidirectional
from dlcore.nn.recurrent.gru import gru, gru_cell, gru_init
from dlcore.nn.recurrent.lstm import lstm, lstm_cell, lstm_init
from dlcore.nn.recurrent.rnn import rnn, rnn_cell, rnn_init

__all__ = [
    "bidirectional", "gru", "gru_cell", "gru_init", "lstm", "lstm_cell", "lstm_init", "rnn", "rnn_cell", "rnn_init",
]  # fmt: skip
