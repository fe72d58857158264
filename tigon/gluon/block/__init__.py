"""Blocks: trees of layers. A `HybridBlock` is traced once and then runs as one compiled graph."""

from typing import TYPE_CHECKING

from tigon.base.lazy import imported_on_demand
from tigon.gluon.block.block import Block
from tigon.gluon.block.hybrid import HybridBlock
from tigon.gluon.block.scope import HookHandle
from tigon.gluon.block.symbol_block import SymbolBlock
from tigon.gluon.parameter import Constant, Parameter

if TYPE_CHECKING:
    from tigon.gluon.block.nesting import flatten as _flatten
    from tigon.gluon.block.nesting import regroup as _regroup
else:
    imported_on_demand(
        globals(),
        {
            "_flatten": "tigon.gluon.block.nesting:flatten",
            "_regroup": "tigon.gluon.block.nesting:regroup",
        },
    )

__all__ = [
    "Block",
    "Constant",
    "HookHandle",
    "HybridBlock",
    "Parameter",
    "SymbolBlock",
    "_flatten",
    "_regroup",
]
