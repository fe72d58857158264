"""Models in ONNX's format as symbols and blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tigon import nd, sym
from tigon.base import TigonError, check
from tigon.base.files import AnyPath
from tigon.context import check_contexts
from tigon.contrib.onnx import converters as _converters  # noqa: F401  (fills the table)
from tigon.contrib.onnx.frame import Parameter
from tigon.contrib.onnx.graph import MISFITS, Reader
from tigon.contrib.onnx.reading import read_model
from tigon.gluon import SymbolBlock
from tigon.gluon.parameter.files import load_into
from tigon.ir.graph import Graph, Value, nodes_within, open_attributes
from tigon.ir.rewrite import untyped

Shapes = Mapping[str, Sequence["int | None"]]


def import_model(
    model_file: AnyPath | Any,
    shapes: Shapes | None = None,
    values: Mapping[str, Any] | None = None,
    prefix: str = "",
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The symbol, the arguments and the auxiliary states of a model in ONNX's format.

    Parameters: `model_file` a path, or an `onnx.ModelProto`, of operator sets 7 to 28; `shapes`, by
    name of input, in place of those in the file, with None for extents that stay open; `values` of
    inputs that become constants, which those must that decide shapes; `prefix`, what all names but
    those of inputs are to begin with, so that two models may be in one graph.

    Initializers that the graph reads are arguments under their own names, or, where batch
    normalization keeps them, auxiliary states. Inputs have their shapes as attributes, 0 for
    extents that are open. Nodes without a name are given that of their output. What is wrong with
    the file, or what tigon cannot compute, is a `TigonError` that names the file, the node, and its
    operator.

    >>> import numpy as np
    >>> from onnx import helper, numpy_helper
    >>> nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], name="fc", transB=1)]
    >>> x, y = (helper.make_tensor_value_info(n, 1, ["batch", 2]) for n in "xy")
    >>> w = numpy_helper.from_array(np.eye(2, dtype="float32"), "w")
    >>> model = helper.make_model(helper.make_graph(nodes, "net", [x], [y], [w]))
    >>> symbol, arguments, states = import_model(model)
    >>> symbol.list_arguments(), list(arguments), states
    (['x', 'w'], ['w'], {})
    >>> symbol.eval(x=nd.array([[1, 2]]), **arguments)[0].asnumpy()
    array([[1., 2.]], dtype=float32)
    """
    symbol, reader = _read(model_file, shapes, values, prefix)
    arrays = {name: _array(own) for name, own in _used(symbol, reader).items()}
    auxiliary = set(symbol.list_auxiliary_states())
    return (
        symbol,
        {name: array for name, array in arrays.items() if name not in auxiliary},
        {name: array for name, array in arrays.items() if name in auxiliary},
    )


def import_to_gluon(
    model_file: AnyPath | Any,
    ctx: Any = None,
    shapes: Shapes | None = None,
    values: Mapping[str, Any] | None = None,
    prefix: str = "",
) -> SymbolBlock:
    """A model in ONNX's format as a block, which may be trained: initializers of floats learn, and
    constants do not. Its arguments are the inputs of the model in their order, those that nothing
    reads and those of `values` left out.

    Parameters: as of `import_model`; `ctx` where the parameters lie, by default the current
    context. Two models in one block need a `prefix` each.

    >>> from onnx import helper
    >>> x, y = (helper.make_tensor_value_info(n, 1, ["batch", 2]) for n in "xy")
    >>> nodes = [helper.make_node("Relu", ["x"], ["y"])]
    >>> net = import_to_gluon(helper.make_model(helper.make_graph(nodes, "net", [x], [y])))
    >>> net(nd.array([[-1, 2]])).asnumpy()
    array([[0., 2.]], dtype=float32)
    """
    check_contexts("import_to_gluon", ctx)
    symbol, reader = _read(model_file, shapes, values, prefix)
    known = set(symbol.list_inputs())
    names = [name for name in reader.inputs if name in known]
    check(
        names,
        f"import_to_gluon: {reader.model.source}",
        "no output depends on an input; import_model gives its symbol",
    )
    block = SymbolBlock(symbol, [sym.var(name) for name in names])
    parameters = block.collect_params()
    used = _used(symbol, reader)
    for name, own in used.items():
        if not own.learns:
            parameters[name].grad_req = "null"
    arrays = {name: _array(own) for name, own in used.items()}
    load_into(parameters, arrays, reader.model.source, ctx, False, False, dtype_source="saved")
    return block


def get_model_metadata(model_file: AnyPath | Any) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """The names and shapes of the inputs and the outputs of a model: lists of pairs under
    "input_tensor_data" and "output_tensor_data". Initializers are no inputs; an extent that is open
    is 0, and a shape that is not in the file ().

    >>> from onnx import helper
    >>> x, y = (helper.make_tensor_value_info(n, 1, ["batch", 2]) for n in "xy")
    >>> nodes = [helper.make_node("Relu", ["x"], ["y"])]
    >>> get_model_metadata(helper.make_model(helper.make_graph(nodes, "net", [x], [y])))
    {'input_tensor_data': [('x', (0, 2))], 'output_tensor_data': [('y', (0, 2))]}
    """
    graph = read_model(model_file).proto.graph
    initial = {each.name for each in graph.initializer}
    return {
        "input_tensor_data": [_told(e) for e in graph.input if e.name not in initial],
        "output_tensor_data": [_told(each) for each in graph.output],
    }


def _told(given: Any) -> tuple[str, tuple[int, ...]]:
    dims = given.type.tensor_type.shape.dim
    return given.name, tuple(max(int(dim.dim_value), 0) for dim in dims)


def _read(
    model_file: Any, shapes: Shapes | None, values: Mapping[str, Any] | None, prefix: str
) -> tuple[sym.Symbol, Reader]:
    for what, given in (("shapes", shapes), ("values", values)):
        check(
            given is None or isinstance(given, Mapping),
            "contrib.onnx",
            f"{what}: expected a dict by name of input; given {type(given).__name__}",
        )
    check(isinstance(prefix, str), "contrib.onnx", f"prefix: expected a text; given {prefix!r:.80}")
    model = read_model(model_file)
    try:
        reader = Reader(model, shapes or {}, values or {}, prefix)
        found = reader.read()
    except TigonError:  # has said where; some are built-in errors, too
        raise
    except MISFITS as error:
        raise TigonError(
            f"{model.source}: expected a model whose parts fit each other; given one where they do "
            f"not: {type(error).__name__}: {error}"
        ) from error
    check(found, model.source, "expected a graph with outputs; given one without")
    _check_closed(found, reader)
    return sym.Symbol(_named(untyped(Graph.of(found)).outputs, reader)), reader


def _check_closed(values: Sequence[Value], reader: Reader) -> None:
    """A graph serves all shapes only where no attribute says one that is open."""
    for node in Graph.of(values):
        for inner in (*nodes_within(node), node):
            for name in open_attributes(inner):
                message = (
                    f"what it does depends on an extent that the file leaves open, in a way that a "
                    f"graph for all extents cannot hold: {inner.op.name} with {name}="
                    f"{getattr(inner.attrs, name)}"
                )
                raise TigonError(f"{reader.place_of(node)}: {message}{reader.told(message)}")


def _named(values: Sequence[Value], reader: Reader) -> Sequence[Value]:
    """Names for nodes that the file does not know."""
    for node in Graph.of(values):
        if not node.name and node.op.family is not None:
            node.name = reader.free_name(node.op.name.lower().strip("_"))
    return values


def _used(symbol: sym.Symbol, reader: Reader) -> dict[str, Parameter]:
    return {
        name: reader.parameters[name] for name in symbol.list_inputs() if name in reader.parameters
    }


def _array(own: Parameter) -> Any:
    return nd.array(own.array, dtype=own.dtype.name)
