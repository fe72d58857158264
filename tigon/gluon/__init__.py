"""Gluon: networks as blocks, trained imperatively, compiled by `hybridize()`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

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
    "model_zoo",
    "nn",
    "utils",
]


def __getattr__(name: str) -> Any:
    # The zoo is many files that few programs use: it is imported where it is first mentioned.
    if name == "model_zoo":
        return import_module("tigon.gluon.model_zoo")
    raise AttributeError(f"module 'tigon.gluon' has no attribute '{name}'")
