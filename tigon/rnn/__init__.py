"""Recurrent networks of symbols: cells, batches of sentences by length, and checkpoints."""

from tigon.base.lazy import complete as _complete
from tigon.rnn.io import BucketSentenceIter, encode_sentences
from tigon.rnn.rnn import do_rnn_checkpoint, load_rnn_checkpoint, save_rnn_checkpoint
from tigon.rnn.rnn_cell import (
    BaseRNNCell,
    BidirectionalCell,
    DropoutCell,
    FusedRNNCell,
    GRUCell,
    LSTMCell,
    ModifierCell,
    ResidualCell,
    RNNCell,
    RNNParams,
    SequentialRNNCell,
    ZoneoutCell,
)

__all__ = [
    "BaseRNNCell",
    "BidirectionalCell",
    "BucketSentenceIter",
    "DropoutCell",
    "FusedRNNCell",
    "GRUCell",
    "LSTMCell",
    "ModifierCell",
    "RNNCell",
    "RNNParams",
    "ResidualCell",
    "SequentialRNNCell",
    "ZoneoutCell",
    "do_rnn_checkpoint",
    "encode_sentences",
    "load_rnn_checkpoint",
    "save_rnn_checkpoint",
]

_complete(globals())
