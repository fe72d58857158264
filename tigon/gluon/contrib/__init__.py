"""What MXNet calls contributed: layers and recurrent cells."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.contrib import nn, rnn

__all__ = ["nn", "rnn"]

_complete(globals())
