"""Gluon: networks as blocks, trained imperatively, compiled by `hybridize()`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tigon.base.lazy import imported_on_demand
from tigon.gluon import loss, nn
from tigon.gluon.block import Block, HybridBlock, SymbolBlock
from tigon.gluon.parameter import (
    Constant,
    DeferredInitializationError,
    Parameter,
    ParameterDict,
)
from tigon.gluon.train_step import TrainStep
from tigon.gluon.trainer import Trainer

if TYPE_CHECKING:
    from tigon import metric
    from tigon.gluon import contrib, data, model_zoo, rnn, utils
    from tigon.gluon.block.nesting import tensor_types
    from tigon.gluon.checkpoint import Checkpoint
else:
    imported_on_demand(
        globals(),
        {
            **{part: f"tigon.gluon.{part}" for part in "contrib data model_zoo rnn utils".split()},
            "Checkpoint": "tigon.gluon.checkpoint:Checkpoint",
            "metric": "tigon.metric",
            "tensor_types": "tigon.gluon.block.nesting:tensor_types",
        },
    )

__all__ = [
    "Block",
    "Checkpoint",
    "Constant",
    "DeferredInitializationError",
    "HybridBlock",
    "Parameter",
    "ParameterDict",
    "SymbolBlock",
    "TrainStep",
    "Trainer",
    "contrib",
    "data",
    "loss",
    "metric",
    "model_zoo",
    "nn",
    "rnn",
    "tensor_types",
    "utils",
]
