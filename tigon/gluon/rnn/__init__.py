"""Recurrent layers and cells."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.rnn.rnn_layer import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN"]

_complete(globals())
