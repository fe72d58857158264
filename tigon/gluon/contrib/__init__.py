"""What MXNet calls contributed: layers, convolutions, recurrent cells and a sampler."""

from tigon.base.lazy import imported_on_demand as _imported_on_demand
from tigon.gluon.contrib import cnn, nn, rnn

_imported_on_demand(
    globals(), {part: f"tigon.gluon.contrib.{part}" for part in ("data", "estimator")}
)

__all__ = ["cnn", "data", "estimator", "nn", "rnn"]
