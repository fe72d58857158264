"""Floor 1: the graph. Nodes and values are frozen; passes make new graphs."""

from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, constant, variable
from tigon.ir.rewrite import rewrite, substitute, typed
from tigon.ir.text import parse, show
from tigon.ir.verify import verify

__all__ = [
    "CONSTANT",
    "VARIABLE",
    "Graph",
    "Node",
    "Value",
    "constant",
    "parse",
    "rewrite",
    "show",
    "substitute",
    "typed",
    "variable",
    "verify",
]
