"""What MXNet calls contributed: layers, convolutions and recurrent cells."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.contrib import cnn, nn, rnn

__all__ = ["cnn", "nn", "rnn"]

_complete(globals())
