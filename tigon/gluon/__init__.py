"""Gluon: networks as blocks, trained imperatively, compiled by `hybridize()`."""

from tigon.gluon import data, loss, nn, utils
from tigon.gluon.block import Block, HybridBlock, SymbolBlock
from tigon.gluon.parameter import (
    Constant,
    DeferredInitializationError,
    Parameter,
    ParameterDict,
)
from tigon.gluon.train_step import TrainStep
from tigon.gluon.trainer import Trainer

__all__ = [
    "Block",
    "Constant",
    "DeferredInitializationError",
    "HybridBlock",
    "Parameter",
    "ParameterDict",
    "SymbolBlock",
    "TrainStep",
    "Trainer",
    "data",
    "loss",
    "nn",
    "utils",
]
