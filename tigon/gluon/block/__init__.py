"""Blocks: trees of layers. A `HybridBlock` is traced once and then runs as one compiled graph."""

from tigon.gluon.block.block import Block
from tigon.gluon.block.hybrid import HybridBlock
from tigon.gluon.block.scope import HookHandle
from tigon.gluon.block.symbol_block import SymbolBlock
from tigon.gluon.parameter import Constant, Parameter

__all__ = [
    "Block",
    "Constant",
    "HookHandle",
    "HybridBlock",
    "Parameter",
    "SymbolBlock",
]
