"""Symbols as libraries that need no Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tigon.base import DType, TensorType, check, type_of
from tigon.base.dtypes import float32
from tigon.base.files import AnyPath
from tigon.base.repeated import repeated
from tigon.program.cached_graph import CachedGraph
from tigon.standalone.face import on_demand
from tigon.standalone.verbs import verb


def export_symbol(
    symbol: Any,
    path: AnyPath,
    params: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    options: Mapping[str, Any],
    dtypes: Mapping[str, DType] | None = None,
) -> tuple[str, ...]:
    """`Symbol.export_native`. `dtypes`: of inputs, instead of those that were declared."""
    who = verb(options["system"])
    twice = repeated(symbol.list_inputs())
    check(
        not twice,
        who,
        f"two different variables are named {twice}; give each a name of its own",
    )
    specs = on_demand()
    arrays = {name.removeprefix("arg:").removeprefix("aux:"): each for name, each in params.items()}
    cached = CachedGraph(symbol._graph())
    names = [value.node.name for value in cached.graph.inputs]
    missing = [name for name in names if name not in arrays and name not in shapes]
    check(
        not missing,
        who,
        f"variable '{', '.join(missing[:3])}' is neither among params nor among shapes; "
        "give its array, or its shape if the caller gives the array",
    )
    unknown = [name for name in shapes if name not in names]
    check(
        not unknown,
        who,
        f"shapes: there is no variable '{', '.join(unknown[:3])}'; the graph has "
        f"{', '.join(names)}",
    )
    operands = []
    for value in cached.graph.inputs:
        name = value.node.name
        if name in shapes:
            dtype = value.node.types[0].dtype if value.node.types else float32
            if dtypes is not None:
                dtype = dtypes[name]
            operands.append(specs.Operand(name, TensorType(tuple(shapes[name]), dtype)))
        else:
            operands.append(specs.Operand(name, type_of(arrays[name]), arrays[name]))
    given = [next(o for o in operands if o.name == name) for name in shapes]
    return specs.export_graph(
        cached, operands, symbol.list_outputs(), path, inputs=given, **options
    )
