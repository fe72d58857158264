"""Blocks on symbols: shapes of parameters by inference, and the graph for export."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonError, as_dtype, check, nested, type_of
from tigon.gluon import trace as tracing
from tigon.gluon.arguments import unpacked
from tigon.gluon.structure import rebuild_arguments
from tigon.ir import Graph, substitute, variable
from tigon.program.cached_graph import CachedGraph
from tigon.sym.symbol import Group, Symbol, var
from tigon.sym.traced import name_beside

# -------------------------------------------------------------------- graphs of symbols


def infer_shapes_from_graph(block: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Run the block on variables of the inputs' shapes and ask the graph for the parameters'."""
    symbol, parameters, inputs = _graph_on(block, args, keywords)
    shapes = {name: tuple(leaf.shape) for name, leaf in inputs.items()}
    given = {name: shape for name, shape in shapes.items() if name in symbol.list_inputs()}
    found = _by_name(symbol, symbol.infer_shape_partial(**given))
    for param in parameters:
        shape = found.get(param.name)
        if shape:
            param.shape = shape
    for name, param in block._reg_params.items():
        check(
            param.is_shape_known,
            f"{type(block).__name__}.{name}",
            f"its shape {param.shape} does not follow from the inputs "
            f"{', '.join(map(str, shapes.values()))}; define infer_shape(self, x), "
            "or give the shape when the block is made",
        )


def infer_types_from_graph(block: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Run the block on variables of the inputs' dtypes and ask the graph for the parameters'."""
    symbol, parameters, inputs = _graph_on(block, args, keywords)
    # Of the parameters' own dtypes nothing is to be known.
    plain = {value: variable(value.node.name) for value in symbol._graph().inputs}
    symbol = Symbol(substitute(symbol._values, plain))
    dtypes = {name: as_dtype(leaf.dtype).name for name, leaf in inputs.items()}
    given = {name: dtype for name, dtype in dtypes.items() if name in symbol.list_inputs()}
    found = _by_name(symbol, symbol.infer_type_partial(**given))
    wanted = [(param, as_dtype(found.get(param.name) or param.dtype)) for param in parameters]
    others = [(param, dtype) for param, dtype in wanted if dtype is not as_dtype(param.dtype)]
    for param, dtype in others:
        check(
            not param.is_initialized,
            f"{type(block).__name__}.infer_type",
            f"parameter '{param.name}' has values of {param.dtype}; inputs of "
            f"{', '.join(dtypes.values())} ask for {dtype}; call cast('{dtype}')",
        )
    for param, dtype in others:
        param.cast(dtype)


def typed_graph(block: Any, args: tuple[Any, ...]) -> Graph:
    """The block's graph on arguments like these, in prediction."""
    symbol, parameters, inputs = _graph_on(block, args, {})
    types = {name: type_of(leaf) for name, leaf in inputs.items()}
    types |= {one.name: TensorType(one.shape, as_dtype(one.dtype)) for one in parameters}
    cached = CachedGraph(symbol._graph(), name=block.name)
    return cached.moded(False).typed(types).graph


def _graph_on(
    block: Any, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Symbol, list[Any], dict[str, Any]]:
    """The block as a symbol of variables of the inputs' shapes, its parameters, and the inputs."""
    inputs: dict[str, Any] = {}
    taken = _names_of_parameters(block)

    def made(leaf: Any) -> Any:
        if isinstance(leaf, np.generic) or not hasattr(leaf, "shape"):
            return leaf
        name = name_beside(taken, f"data{len(inputs)}")
        inputs[name] = leaf
        return var(name, shape=tuple(leaf.shape))

    (args, keywords), _ = nested.rebuilt((args, keywords), made)
    trace = tracing.Trace(typed=False)
    with tracing.tracing(trace):
        result = block.forward(*args, **keywords)
    parameters = [param for param, _ in trace.parameters.values()]
    return Group(_symbols_in(result)), parameters, inputs


def _by_name(symbol: Symbol, found: tuple[Any, Any, Any]) -> dict[str, Any]:
    """What was inferred of a symbol's variables."""
    arguments, _, auxiliary = found
    by_name = dict(zip(symbol.list_arguments(), arguments, strict=True))
    by_name.update(zip(symbol.list_auxiliary_states(), auxiliary, strict=True))
    return by_name


def _symbols_in(result: Any) -> list[Symbol]:
    return [leaf for leaf in nested.leaves(result, "forward") if isinstance(leaf, Symbol)]


def holds_symbol(argument: Any) -> bool:
    """Whether an argument is or contains a symbol."""
    return nested.holds(argument, Symbol)


def symbol_for_export(block: Any, where: str = "export") -> Symbol:
    """The block as a symbol of variables `data` (or `data0`, `data1`, ..., with `_` behind where
    parameters are called so) and its parameters; `where`: who asks for it, for messages."""
    for name, param in block.collect_params().items():
        check(
            param.is_initialized,
            where,
            f"parameter '{name}' has no values yet; run one batch through the network first",
        )
    return symbol_of(block, where)


def symbol_of(block: Any, where: str = "export") -> Symbol:
    """The same, of parameters that need no values."""
    latest = None if block._cached_graphs is None else block._cached_graphs.latest
    if latest is None:
        names = own_input_names(block, _count_inputs(block))
        result = block(*map(var, names))
    else:
        names = own_input_names(block, len(latest.types))
        try:
            result = _called(block, latest.arguments, map(var, names))
        except TigonError:
            # The code reads shapes: those of the last call then become part of the graph.
            typed = (
                var(name, shape=type_.shape, dtype=type_.dtype)
                for name, type_ in zip(names, latest.types, strict=True)
            )
            try:
                result = _called(block, latest.arguments, typed)
            except TigonError:
                if latest.paths is None:
                    raise
                raise TigonError(f"{where}: {_forks(block, latest.paths)}") from None
    found = _symbols_in(result)
    return found[0] if len(found) == 1 else Group(found)


def _forks(block: Any, paths: Any) -> str:
    """Why a block whose code decides by values has no one graph."""
    places = [f"{decision.what} at {decision.line}" for decision in paths.decisions()]
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return (
        f"{block.name} decides by values: {', '.join(places[:3])}{more}; a file holds one graph, "
        "so write the branch as F.contrib.cond(condition, then, otherwise) and a loop as "
        "F.contrib.while_loop, which are parts of it"
    )


def _called(block: Any, arguments: tuple[Any, ...], symbols: Iterator[Symbol]) -> Any:
    args, keywords = unpacked(rebuild_arguments(arguments, symbols))
    return block(*args, **keywords)


def _count_inputs(block: Any) -> int:
    """How many arguments forward demands, for a block that was never traced."""
    told = getattr(block, "_input_names", None)  # of a SymbolBlock, whose forward takes any
    if told is not None:
        return len(told)
    own_forward = not block._uses_hybrid_forward()
    function = block.forward if own_forward else block.hybrid_forward
    parameters = list(inspect.signature(function).parameters.values())
    required = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.default is p.empty
        and p.name not in block._reg_params
    ]
    return max(len(required) - (not own_forward), 1)


def input_names(count: int) -> list[str]:
    return ["data"] if count == 1 else [f"data{position}" for position in range(count)]


def _names_of_parameters(block: Any) -> set[str]:
    return {param.name for param in block.collect_params().values()}


def own_input_names(block: Any, count: int) -> list[str]:
    """Of a graph of the block, none of whose parameters is called so."""
    taken = _names_of_parameters(block)
    return [name_beside(taken, name) for name in input_names(count)]
