"""Optimizers. The update of all parameters of a network is one compiled graph."""

from tigon.base.lazy import complete as _complete
from tigon.optimizer.by_arrays import LBSGD, SGLD
from tigon.optimizer.optimizer import Optimizer, create, register
from tigon.optimizer.rules import (
    DCASGD,
    FTML,
    LAMB,
    LARS,
    NAG,
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Nadam,
    RMSProp,
    Signum,
    Test,
    ccSGD,
)
from tigon.optimizer.updater import Updater, get_updater

__all__ = [
    "DCASGD",
    "FTML",
    "LAMB",
    "LARS",
    "LBSGD",
    "NAG",
    "SGD",
    "SGLD",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Nadam",
    "Optimizer",
    "RMSProp",
    "Signum",
    "Test",
    "Updater",
    "ccSGD",
    "create",
    "get_updater",
    "register",
]

_complete(globals())
