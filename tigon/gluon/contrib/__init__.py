"""What MXNet calls contributed: recurrent cells."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.contrib import rnn

__all__ = ["rnn"]

_complete(globals())
