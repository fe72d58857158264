"""What MXNet calls contributed: layers, convolutions, recurrent cells and a sampler."""

from tigon.base.lazy import imported_on_demand as _imported_on_demand
from tigon.gluon.contrib import cnn, nn, rnn

_imported_on_demand(globals(), {"data": "tigon.gluon.contrib.data"})

__all__ = ["cnn", "data", "nn", "rnn"]
