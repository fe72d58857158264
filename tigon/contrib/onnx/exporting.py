"""Symbols and blocks as models in ONNX's format."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tigon import sym
from tigon.base import TensorType, TigonError, as_dtype, check
from tigon.base.extents import RuntimeExtents, UnknownExtent, is_known
from tigon.base.files import AnyPath, write_file
from tigon.contrib.onnx.reading import graphs_of, package
from tigon.contrib.onnx.writing import composites as _composites  # noqa: F401  (fills a table)
from tigon.contrib.onnx.writing import control as _control  # noqa: F401
from tigon.contrib.onnx.writing import primitives as _primitives  # noqa: F401
from tigon.contrib.onnx.writing.control import value_info
from tigon.contrib.onnx.writing.model import Writer
from tigon.export.params import plain_names
from tigon.gluon.block.hybrid import HybridBlock
from tigon.gluon.symbolic import symbol_for_export
from tigon.ir.graph import Graph, Node, Value
from tigon.ir.rewrite import rewrite, typed, untyped
from tigon.nd.files import load_dense
from tigon.ops import get
from tigon.passes.set_mode import set_mode

OPSET = 21
OLDEST = 18
IR_VERSIONS = {18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 11, 25: 12, 26: 13}
LIKELY = 4
"""An extent that is left open, for decisions that need an example."""

Shape = Sequence["int | str | None"]


def export_model(
    sym: Any,
    params: Any = None,
    in_shapes: Sequence[Shape] | None = None,
    in_types: Any = np.float32,
    onnx_file_path: AnyPath = "model.onnx",
    verbose: bool = False,
    dynamic: bool = False,
    dynamic_input_shapes: Sequence[Shape] | None = None,
    run_shape_inference: bool = False,
    input_type: Any = None,
    input_shape: Sequence[Shape] | None = None,
    opset_version: int = OPSET,
) -> str:
    """Write the graph of prediction as a model of ONNX, and return the path.

    Parameters: `sym` a Symbol, the path of a `-symbol.json`, or a HybridBlock, whose own parameters
    are taken; `params` arrays by name (`arg:` and `aux:` before them, or not), several such
    mappings, or the path of a `.params`; `in_shapes` the shapes of the inputs in the order of
    `list_inputs`, parameters aside: None for an extent that stays open, a text to give it a name,
    equal extents by equal names; `in_types` a dtype or one per input; `dynamic` with
    `dynamic_input_shapes` the same shapes as MXNet has them; `input_shape` and `input_type` are
    MXNet's older names;
    `opset_version` from 18 on, by default 21. Labels of losses are left out.

    What ONNX has an operator for becomes that operator; the rest is written as the primitives it is
    made of, and what has none is a `TigonError` that names it. The model is checked by
    `onnx.checker`. `verbose` prints it.

    >>> import tempfile
    >>> from tigon.contrib.onnx import import_model
    >>> from tigon.gluon import nn
    >>> net = nn.Dense(3, in_units=4, prefix="dense_")
    >>> net.initialize()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = export_model(net, in_shapes=[(None, 4)], onnx_file_path=f"{folder}/dense.onnx")
    ...     symbol, arguments, states = import_model(path)
    >>> symbol.list_arguments()
    ['data', 'dense_weight', 'dense_bias']
    """
    shapes = dynamic_input_shapes if dynamic and dynamic_input_shapes else in_shapes or input_shape
    model = model_of(
        sym, params, shapes, in_types if input_type is None else input_type, opset_version
    )
    onnx = package()
    path = os.fsdecode(onnx_file_path)
    if run_shape_inference:
        model = onnx.shape_inference.infer_shapes(model)
    if verbose:
        print(onnx.printer.to_text(model))
    write_file(path, model.SerializeToString())
    return path


def model_of(
    sym: Any,
    params: Any = None,
    shapes: Sequence[Shape] | None = None,
    types: Any = np.float32,
    opset: int = OPSET,
) -> Any:
    """The same as an `onnx.ModelProto`."""
    onnx = package()
    newest = min(onnx.defs.onnx_opset_version(), max(IR_VERSIONS))
    check(
        isinstance(opset, int) and OLDEST <= opset <= newest,
        "export_model",
        f"opset_version: expected {OLDEST} to {newest}; given {opset!r}",
    )
    symbol, arrays = _symbol_and_arrays(sym, params)
    graph = rewrite(set_mode(untyped(symbol._graph()), False), _without_label)
    graph = Graph.of(graph.outputs)
    given = [value for value in graph.inputs if value.node.name not in arrays]
    read = {value.node.name for value in given}
    inputs = [name for name in symbol.list_inputs() if name in read]
    shapes = _shapes(shapes)
    check(
        len(shapes) == len(inputs),
        "export_model",
        f"in_shapes: expected one shape for each of the inputs {inputs}; given {len(shapes)}; "
        "inputs whose arrays are in params need none",
    )
    dtypes = list(types) if isinstance(types, (list, tuple)) else [types] * len(inputs)
    check(
        len(dtypes) == len(inputs),
        "export_model",
        f"in_types: expected a dtype, or one for each of {inputs}; given {len(dtypes)}",
    )
    names, extents = _open_extents(shapes)
    own = {
        name: TensorType(
            tuple(extents.unknown[names[n]] if n in names else n for n in _named(shape, i)),
            as_dtype(dtype),
        )
        for i, (name, shape, dtype) in enumerate(zip(inputs, shapes, dtypes, strict=True))
    }
    types_by_name = own | {name: _type_of(array) for name, array in arrays.items()}
    try:
        graph = typed(graph, types_by_name)
        return written(graph, inputs, arrays, shapes, names, opset, symbol.name or "graph")
    except UnknownExtent as error:
        raise TigonError(
            f"export_model: the graph cannot be written with open extents: {error}; give sizes"
        ) from None


def _without_label(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    """What a loss of MXNet gives forward, which is what its data predict, under its name."""
    outputs = _predicted(node, inputs)
    for value in outputs or ():
        value.node.name = node.name
    return outputs


def _predicted(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    name = getattr(node.op, "name", "")
    if name == "SoftmaxOutput":
        if node.attrs.preserve_shape:
            return get("softmax")(inputs[0], axis=-1).node.outputs
        mode = "channel" if node.attrs.multi_output else "instance"
        return get("SoftmaxActivation")(inputs[0], mode=mode).node.outputs
    if name == "LogisticRegressionOutput":
        return get("sigmoid")(inputs[0]).node.outputs
    if name in ("LinearRegressionOutput", "MAERegressionOutput", "SVMOutput"):
        return get("_copy")(inputs[0]).node.outputs
    return None


def _type_of(array: np.ndarray) -> TensorType:
    return TensorType(array.shape, as_dtype(array.dtype))


def _shapes(given: Any) -> list[tuple[Any, ...]]:
    shapes = [] if given is None else given
    several = isinstance(shapes, (list, tuple))
    check(
        several and all(isinstance(shape, (list, tuple)) for shape in shapes),
        "export_model",
        f"in_shapes: expected a list of shapes, as [(None, 3, 224, 224)]; given {given!r}",
    )
    return [tuple(shape) for shape in shapes]


def _named(shape: Shape, number: int) -> list[Any]:
    """Open extents by name: those without one are their own."""
    return [f"dim_{number}_{axis}" if n is None else n for axis, n in enumerate(shape)]


def _open_extents(shapes: Sequence[Shape]) -> tuple[dict[Any, int], RuntimeExtents]:
    names: dict[Any, int] = {}
    for number, shape in enumerate(shapes):
        for extent in _named(shape, number):
            if isinstance(extent, str):
                names.setdefault(extent, len(names))
            else:
                check(
                    isinstance(extent, (int, np.integer)) and extent >= 0,
                    "export_model",
                    f"in_shapes: expected whole numbers, names, or None; given {tuple(shape)}",
                )
    return names, RuntimeExtents([LIKELY] * len(names))


def _symbol_and_arrays(given: Any, params: Any) -> tuple[Any, dict[str, np.ndarray]]:
    if isinstance(given, HybridBlock):
        symbol = symbol_for_export(given)
        if params is None:
            params = {name: p.data() for name, p in given.collect_params().items()}
    else:
        symbol = sym.load(os.fsdecode(given)) if isinstance(given, (str, os.PathLike)) else given
    check(
        isinstance(symbol, sym.Symbol),
        "export_model",
        f"sym: expected a Symbol, a HybridBlock, or a path; given {type(given).__name__}",
    )
    if isinstance(params, (str, os.PathLike)):
        params = load_dense(os.fsdecode(params))
    several = params if isinstance(params, (list, tuple)) else [params or {}]
    check(
        all(isinstance(each, Mapping) for each in several),
        "export_model",
        "params: expected arrays by name, a list of such, or a path; given "
        f"{type(params).__name__}",
    )
    given_arrays = {name: array for each in several for name, array in each.items()}
    return symbol, {
        name: array.asnumpy() if hasattr(array, "asnumpy") else np.asarray(array)
        for name, array in plain_names(given_arrays, "export_model: params").items()
    }


def written(
    graph: Graph,
    inputs: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    shapes: Sequence[Shape],
    extents: Mapping[Any, int],
    opset: int,
    title: str,
) -> Any:
    """A typed graph as a model. `inputs` with their `shapes`: variables that the caller gives;
    `arrays`: the others; `extents`: the numbers of open ones, by name."""
    onnx = package()
    variables = {value.node.name: value for value in graph.inputs}
    known = {value: name for name, value in variables.items()}
    writer = Writer(opset, known, {})
    writer.initializers.update((name, arrays[name]) for name in variables if name in arrays)
    _write_extents(writer, inputs, shapes, extents)
    names = writer.emit(graph.outputs)
    outputs = _outputs(writer, names, graph.outputs, list(extents))
    results = {info.name for info in outputs}
    nodes = _needed(writer.nodes, results)
    read = _read_by(nodes) | results
    infos = [
        value_info(name, variables[name], _as_dims(_named(shape, number)))
        for number, (name, shape) in enumerate(zip(inputs, shapes, strict=True))
        if name in variables
    ]
    tensors = [
        onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        for name, array in writer.initializers.items()
        if name in read
    ]
    made = onnx.helper.make_graph(nodes, title, infos, outputs, tensors)
    model = onnx.helper.make_model(
        made,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        producer_name="tigon",
        ir_version=IR_VERSIONS[opset],
    )
    onnx.checker.check_model(model)
    return model


def _as_dims(extents: Sequence[Any]) -> list[Any]:
    return [extent if isinstance(extent, str) else int(extent) for extent in extents]


def _write_extents(
    writer: Writer, inputs: Sequence[str], shapes: Sequence[Shape], extents: Mapping[Any, int]
) -> None:
    """Each open extent as a scalar, read where it first stands."""
    for number, (name, shape) in enumerate(zip(inputs, shapes, strict=True)):
        for axis, extent in enumerate(_named(shape, number)):
            which = extents.get(extent)
            if which is not None and which not in writer.extents:
                found = writer.add("Shape", [name], f"{name}_shape", start=axis, end=axis + 1)
                empty = writer.constant([], "int64")
                writer.extents[which] = writer.add("Reshape", [found, empty], str(extent))


def _outputs(
    writer: Writer, names: Sequence[str], values: Sequence[Value], extents: Sequence[Any]
) -> list[Any]:
    """Each under a name of its own: neither an input nor a constant nor another output."""
    found: list[Any] = []
    made = {name for node in writer.nodes for name in node.output}
    taken: set[str] = set()
    for name, value in zip(names, values, strict=True):
        if name not in made or name in taken:
            name = writer.add("Identity", [name], value.node.name or "output")
        taken.add(name)
        dims = [n if is_known(n) else _formula(n, extents) for n in value.shape]
        found.append(value_info(name, value, dims))
    return found


def _formula(extent: Any, names: Sequence[Any]) -> str:
    """An open extent by the names that the inputs have for theirs."""
    return re.sub(r"\bn(\d+)\b", lambda found: names[int(found[1])], str(extent))


def _needed(nodes: Sequence[Any], results: set[str]) -> list[Any]:
    """Those that a result depends on, in their order: extents that nothing asks for are left."""
    needed, found = set(results), []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            found.append(node)
            needed |= _read_by([node])
    return found[::-1]


def _read_by(nodes: Sequence[Any]) -> set[str]:
    """What nodes read, those of their subgraphs, too."""
    read = {name for node in nodes for name in node.input}
    bodies = (each.g for node in nodes for each in node.attribute if each.HasField("g"))
    for graph in graphs_of(*bodies):
        read.update(info.name for info in graph.output)
        read.update(name for node in graph.node for name in node.input)
    return read
