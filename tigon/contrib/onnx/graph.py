"""An ONNX graph, node by node, to values of ours.

Variables have types while a graph is read: extents that a file leaves open are `RuntimeExtent`s, so
that the rules of operators, and the numbers that ONNX computes of shapes, work on them. What comes
out has no types, and serves every shape that fits.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import TensorType, TigonError, as_dtype, check
from tigon.base.dtypes import DType
from tigon.base.extents import RuntimeExtent, RuntimeExtents, UnknownExtent, is_known
from tigon.contrib.onnx.build import op
from tigon.contrib.onnx.frame import Call, Frame, NeedsValue, Parameter
from tigon.contrib.onnx.operand import FOLDED, SMALL, Operand, plain
from tigon.contrib.onnx.reading import (
    EXACT,
    Model,
    array_of,
    dense_array,
    dtype_of,
    graphs_of,
    narrow_type,
    normal_domain,
    package,
)
from tigon.contrib.onnx.registry import TABLE, Row
from tigon.contrib.onnx.schemas import (
    attributes_of,
    bound,
    check_counts,
    function_of,
    means_the_same,
)
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    Node,
    Value,
    constant,
    next_serial,
    topological_order,
    variable,
)
from tigon.sym import Symbol

DEEPEST = 40
"""Graphs within graphs and functions within functions."""

EVALUATED = 1 << 24
"""Elements of the largest array that is computed while a model is read."""

UNROLLED = 1 << 15
"""Nodes that functions and loops may come to, beside ten for each in the file."""

_LIKELY = 64
"""What an open extent is taken for where something must be assumed of it."""


MISFITS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What converters raise where inputs and attributes that are right each do not fit each other."""


class Reader:
    """What is read of one model."""

    def __init__(
        self,
        model: Model,
        shapes: Mapping[str, Sequence[int | None]],
        values: Mapping[str, Any],
        prefix: str = "",
    ) -> None:
        self.prefix = prefix
        """What names begin with, those of inputs apart."""
        self.model = model
        self.shapes = shapes
        self.values = values
        self.parameters: dict[str, Parameter] = {}
        self.inputs: list[str] = []
        self.onnx = package()
        in_file = graphs_of(model.proto.graph, *model.proto.functions)
        self._left = UNROLLED + 10 * sum(len(graph.node) for graph in in_file)
        self._functions = {
            (normal_domain(f.domain), f.name, f.overload): f for f in model.proto.functions
        }
        self._arrays: dict[str, Any] = {}
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._open: dict[str, str] = {}
        self._places = [(-1, model.source)]
        """The smallest serial of the nodes that were made next, and where in the file they are."""
        self.extents = RuntimeExtents([])
        self.by_shape: list[Value] = []
        """Values with open extents, for whoever needs an extent of them."""

    # -- the whole

    def read(self) -> list[Value]:
        """The values of the outputs."""
        graph = self.model.proto.graph
        frame = Frame(self.model.opsets)
        self._taken |= {each.name for each in graph.input}
        self._read_initializers(graph, frame, learn=True)
        self._read_inputs(graph, frame)
        results = self.run(graph, frame)
        pairs = zip(results, graph.output, strict=True)
        return [self._output(operand, each.name) for operand, each in pairs]

    def _output(self, operand: Operand, name: str) -> Value:
        value = operand.value
        if value.node.op is VARIABLE or value.node.op is CONSTANT:
            value = op.identity(value)
        if not value.node.name:
            self.name(value, name)
        return value

    def _read_inputs(self, graph: Any, frame: Frame) -> None:
        unknown = set(self.shapes) | set(self.values)
        unknown -= {each.name for each in graph.input}
        check(
            not unknown,
            self.model.source,
            f"shapes and values are of inputs; there is none named {', '.join(sorted(unknown))}; "
            f"there are {', '.join(each.name for each in graph.input)}",
        )
        declared = {each.name: self._declared(each) for each in graph.input}
        open_ = {
            extent: None
            for _, shape in declared.values()
            for extent in shape or ()
            if isinstance(extent, str)
        }
        self.extents = RuntimeExtents([_LIKELY] * len(open_))
        numbers = dict(zip(open_, self.extents.unknown, strict=True))
        self._open = {str(extent): name for name, extent in numbers.items()}
        for name, (dtype, shape) in declared.items():
            if name in self.values:
                frame.names[name] = self._given(name, dtype, shape)
            elif name in frame.names:  # of old files: an initializer is a default
                continue
            else:
                where = f"{self.model.source}: input '{name}'"
                check(
                    shape is not None,
                    where,
                    "its shape is not in the file; give shapes={'" + name + "': (...)}",
                )
                assert shape is not None
                typed = TensorType(tuple(numbers.get(each, each) for each in shape), dtype)
                shown = tuple(0 if isinstance(each, str) else each for each in shape)
                hints = {"__shape__": str(shown), "__dtype__": str(dtype.code)}
                value = variable(name, typed, hints)
                self.inputs.append(name)
                self.note(value)
                frame.names[name] = Operand.of(value)
        for each in graph.input:
            frame.names[each.name].narrow = narrow_type(each.type.tensor_type.elem_type)

    def _declared(self, given: Any) -> tuple[DType, tuple[Any, ...] | None]:
        """The dtype and the shape of an input; extents that are open are texts."""
        where = f"{self.model.source}: input '{given.name}'"
        kind = given.type.WhichOneof("value")
        check(
            kind == "tensor_type",
            where,
            f"expected a tensor; given {kind or 'no type'}; sequences, optional values and maps "
            "have no place in a graph of arrays",
        )
        tensor = given.type.tensor_type
        dtype = dtype_of(tensor.elem_type, where)
        own = self.shapes.get(given.name)
        if not tensor.HasField("shape") and own is None:
            return dtype, None
        found: list[Any] = []
        for axis, dim in enumerate(tensor.shape.dim):
            fixed = dim.WhichOneof("value") == "dim_value"
            check(not fixed or dim.dim_value >= 0, where, f"extent {axis} is {dim.dim_value}")
            found.append(dim.dim_value if fixed else dim.dim_param or f"{given.name}.{axis}")
        if own is not None:
            check(
                not tensor.HasField("shape") or len(own) == len(found),
                where,
                f"expected a shape of {len(found)} extents; given shapes={tuple(own)}",
            )
            check(
                all(
                    n is None or isinstance(n, str) or (isinstance(n, (int, np.integer)) and n >= 0)
                    for n in own
                ),
                where,
                f"expected whole numbers, names, or None; given shapes={tuple(own)}",
            )
            found = [f"{given.name}.{a}" if n is None else n for a, n in enumerate(own)]
        return dtype, tuple(found)

    def _given(self, name: str, dtype: DType, shape: tuple[Any, ...] | None) -> Operand:
        own = self.values[name]
        try:
            given = np.asarray(own.asnumpy() if hasattr(own, "asnumpy") else own)
            if np.iscomplexobj(given):
                raise TypeError("an imaginary part would be lost")
            with np.errstate(invalid="ignore", over="ignore"):
                array = given.astype(dtype.numpy)
            if dtype.is_float:
                fits = bool((np.isfinite(array) | ~np.isfinite(given)).all())
            else:
                fits = np.array_equal(array, given)
        except (TypeError, ValueError, OverflowError):
            fits = False
        check(
            fits,
            f"{self.model.source}: input '{name}'",
            f"expected a value of {dtype.name}; given {own!r:.200}",
        )
        fits = shape is None or (
            len(shape) == array.ndim
            and all(isinstance(n, str) or n == m for n, m in zip(shape, array.shape, strict=True))
        )
        check(
            fits,
            f"{self.model.source}: input '{name}'",
            f"expected a value of shape {shape}; given one of {array.shape}",
        )
        return self.array(name, array, dtype, learns=False)

    def _read_initializers(self, graph: Any, frame: Frame, learn: bool = False) -> None:
        for tensor in graph.initializer:
            where = f"{self.model.source}: initializer '{tensor.name}'"
            array = array_of(tensor, self.model, where)
            dtype = dtype_of(tensor.data_type, where)
            learns = learn and dtype.is_float
            operand = self.array(tensor.name, array, dtype, learns, always=learn)
            operand.narrow = narrow_type(tensor.data_type)
            frame.names[tensor.name] = operand
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            where = f"{self.model.source}: sparse initializer '{name}'"
            array = dense_array(sparse, self.model, where)
            dtype = dtype_of(sparse.values.data_type, where)
            operand = self.array(name, array, dtype, learn and dtype.is_float)
            operand.narrow = narrow_type(sparse.values.data_type)
            frame.names[name] = operand

    # -- arrays that are there

    def array(
        self, name: str, array: np.ndarray, dtype: DType, learns: bool, always: bool = False
    ) -> Operand:
        """An array that is known: written into the graph where it is small, unless it is one of
        those that are `always` weights if they are of floats and no single numbers."""

        def make() -> Value:
            weight = always and dtype.is_float and array.ndim > 0
            if array.size <= SMALL and not weight:
                return constant(array, dtype.name)
            own = self.free_name(name)
            self.parameters[own] = Parameter(array, dtype, learns)
            hints = {"__shape__": str(array.shape), "__dtype__": str(dtype.code)}
            return variable(own, TensorType(array.shape, dtype), hints)

        return Operand(TensorType(array.shape, dtype), None, array, make)

    def constant_of(self, operand: Operand, label: str) -> np.ndarray:
        """The array of what depends on no input of the model."""
        if operand.known is not None:
            return operand.known
        behind = self.inputs_behind(operand.value)
        if behind:
            named = ", ".join(f"'{name}'" for name in behind)
            given = ", ".join(f"'{name}': array" for name in behind)
            raise NeedsValue(
                f"{label}: decides shapes, so that it must be known while the model is read; it "
                f"depends on the input {named}; give values={{{given}}}, or shapes where it "
                "depends on shapes alone",
                behind,
            )
        return self._evaluated(operand.value, label)

    def inputs_behind(self, value: Value) -> tuple[str, ...]:
        order = topological_order([value])
        return tuple(
            node.name for node in order if node.op is VARIABLE and node.name not in self.parameters
        )

    def _evaluated(self, value: Value, label: str) -> np.ndarray:
        order = topological_order([value])
        for node in order:
            for each in node.outputs:
                check(
                    is_known(*each.shape) and each.type.size <= EVALUATED,
                    label,
                    f"{node.label} of {each.type} is too large to compute while the model is read",
                )
        names = [node.name for node in order if node.op is VARIABLE]
        for name in names:
            if name not in self._arrays:
                own = self.parameters[name]
                self._arrays[name] = nd.array(own.array, dtype=own.dtype.name)
        (result,) = Symbol((value,)).eval(**{name: self._arrays[name] for name in names})
        return np.asarray(result.asnumpy()).reshape(value.shape)

    # -- names

    def free_name(self, name: str) -> str:
        name = own = self.prefix + (name or "value")
        while own in self._taken:
            self._numbers[name] = self._numbers.get(name, 0) + 1
            own = f"{name}_{self._numbers[name]}"
        self._taken.add(own)
        return own

    def name(self, value: Value, name: str) -> None:
        """What a user calls it."""
        value.node.name = self.free_name(name)

    def note(self, value: Value) -> None:
        if any(isinstance(each, RuntimeExtent) for each in value.shape):
            self.by_shape.append(value)

    # -- graphs

    def run(self, graph: Any, frame: Frame) -> list[Operand]:
        """The outputs of a graph whose inputs and initializers have their names."""
        for number, node in enumerate(graph.node):
            self._convert(node, number, frame)
        found = []
        for each in graph.output:
            operand = frame.find(each.name)
            check(
                operand is not None,
                f"{self.model.source}: output '{each.name}'",
                "no node, input or initializer has this name",
            )
            assert operand is not None
            found.append(operand)
        return found

    def run_within(self, call: Call, graph: Any, operands: Sequence[Operand]) -> list[Operand]:
        """A graph among attributes, on operands for its inputs."""
        frame = call.frame.within()
        check(frame.depth < DEEPEST, call.op, f"graphs are nested more than {DEEPEST} times")
        call.check(
            len(graph.input) == len(operands),
            f"expected a graph of {len(operands)} inputs; given one of {len(graph.input)}",
        )
        self._read_initializers(graph, frame)
        for each, operand in zip(graph.input, operands, strict=True):
            frame.names[each.name] = operand
        return self.run(graph, frame)

    def _convert(self, node: Any, number: int, frame: Frame) -> None:
        with self._placed(node, number):
            self._left -= 1
            check(
                self._left > 0,
                "functions and loops",
                f"come to more than {UNROLLED} nodes; is one of them called without end?",
            )
            results = self._results(node, frame)
            for name, operand in zip(node.output, results, strict=False):
                if not name:
                    continue
                frame.names[name] = operand
                if operand._value is not None:
                    self._note_output(operand._value, node, name)

    def _note_output(self, value: Value, node: Any, name: str) -> None:
        if not value.node.name and value.node.op is not CONSTANT:
            self.name(value, (node.name if len(node.output) == 1 else "") or name)
        self.note(value)

    @contextmanager
    def _placed(self, node: Any, number: int) -> Iterator[None]:
        """Errors within say where in the file they are."""
        place = f"{self.model.source}: node {number} '{node.name}' ({node.op_type})"
        outer = self._places[-1][1]
        self._places.append((next_serial(), place))
        try:
            yield
            self._places.append((next_serial(), outer))
        except TigonError as error:
            if not str(error).startswith(f"{self.model.source}: "):
                error.args = (f"{place}: {error}{self.told(str(error))}", *error.args[1:])
            raise
        except UnknownExtent as error:
            raise TigonError(
                f"{place}: what it does depends on an extent that the file leaves open: {error}"
                f"{self.told(str(error))}"
            ) from error
        except RecursionError:
            raise TigonError(f"{place}: it is nested too deep") from None
        except MISFITS as error:
            raise TigonError(
                f"{place}: its inputs and attributes do not fit each other: "
                f"{type(error).__name__}: {error}"
            ) from error

    def place_of(self, node: Node) -> str:
        """What in the file a node of ours was made for."""
        return self._places[bisect(self._places, (node.serial, "")) - 1][1]

    def told(self, message: str) -> str:
        """What open extents in a message are in the file, and how to say them."""
        named = sorted({each for each in re.findall(r"\bn\d+\b", message) if each in self._open})
        if not named:
            return ""
        known = ", ".join(f"{each} is '{self._open[each]}'" for each in named)
        return f" ({known} in the file, which shapes={{'input': (...)}} can say)"

    def _results(self, node: Any, frame: Frame) -> Sequence[Operand]:
        operands = []
        for position, name in enumerate(node.input):
            operand = frame.find(name) if name else None
            check(
                operand is not None or not name,
                f"input {position}",
                f"'{name}' is not known here; a node comes after those that it reads",
            )
            operands.append(operand)
        domain = normal_domain(node.domain)
        own = self._functions.get((domain, node.op_type, node.overload))
        if own is not None:
            return self._called(own, node, operands, frame)
        return self._of_operator(node, domain, operands, frame)

    # -- operators

    def _of_operator(
        self, node: Any, domain: str, operands: list[Operand | None], frame: Frame
    ) -> Sequence[Operand]:
        check(
            domain in frame.opsets,
            "opset_import",
            f"expected the version of domain '{domain}'; given {dict(frame.opsets)}",
        )
        opset = frame.opsets[domain]
        row = TABLE.get((domain, node.op_type))
        try:
            schema = self.onnx.defs.get_schema(node.op_type, opset, domain)
        except Exception:  # SchemaError, whose place in the package moves
            known = "this operator" if row else f"'{node.op_type}'"
            raise TigonError(
                f"{known} is no operator of opset {opset} of domain '{domain}', and no function "
                "of the model"
            ) from None
        check(
            domain or opset >= EXACT or means_the_same(node.op_type, schema),
            node.op_type,
            f"opset {opset} has another meaning than {EXACT}; convert it with "
            "onnx.version_converter",
        )
        check_counts(schema, node)
        attributes = attributes_of(schema, node, frame)
        if row is None or not row.since <= opset <= (row.until or opset):
            function = function_of(schema, node, operands, opset, frame)
            check(function is not None, node.op_type, "is not an operator that tigon reads")
            return self._called(function, node, operands, frame, schema)
        call = Call(self, frame, node, schema.since_version, attributes)
        call.operands = operands
        folded = _folded(row, call)
        results = folded if folded is not None else self._built(row, call)
        _keep_narrow(schema, operands, results)
        return results

    def _built(self, row: Row, call: Call) -> list[Operand]:
        given: list[Any] = []
        for position, operand in enumerate(call.operands):
            if operand is None:
                given.append(None)
            elif position in row.known:
                array = self.constant_of(operand, call.label_of(position))
                given.append(plain(array, operand.dtype))
            else:
                given.append(operand if position in row.shapes else operand.value)
        made = row.convert(call, *given)
        made = made if isinstance(made, (tuple, list)) else (made,)
        found = [each if isinstance(each, Operand) else Operand.of(each) for each in made]
        call.check(
            len(found) >= call.outputs,
            f"output {len(found)} is not one that tigon computes; leave it out",
        )
        return found

    # -- functions

    def _called(
        self,
        function: Any,
        node: Any,
        operands: Sequence[Operand | None],
        frame: Frame,
        schema: Any | None = None,
    ) -> list[Operand]:
        """A function's nodes, in a frame of their own."""
        opsets = {normal_domain(each.domain): each.version for each in function.opset_import}
        given = {each.name: each for each in function.attribute_proto}
        given.update(bound(schema, node, frame))
        own = Frame(opsets or frame.opsets, None, given, frame.depth + 1)
        check(own.depth < DEEPEST, node.op_type, f"functions are nested more than {DEEPEST} times")
        check(
            len(operands) <= len(function.input),
            node.op_type,
            f"expected at most {len(function.input)} inputs; given {len(operands)}",
        )
        for name, operand in zip(function.input, operands, strict=False):
            if operand is not None:
                own.names[name] = operand
        absent = set(function.input) - set(own.names)
        for number, each in enumerate(function.node):
            if absent and not absent.isdisjoint(each.input):
                kept = self.onnx.NodeProto()
                kept.CopyFrom(each)
                del kept.input[:]
                kept.input.extend("" if name in absent else name for name in each.input)
                each = kept
            self._convert(each, number, own)
        results = []
        for name in function.output[: len(node.output)]:
            operand = own.find(name)
            if operand is None:
                check(
                    not node.output[len(results)],
                    node.op_type,
                    f"no node of the function gives its output '{name}'",
                )
                operand = Operand.of_known(np.zeros(0, np.int64))
            results.append(operand)
        return results


def _keep_narrow(
    schema: Any, operands: Sequence[Operand | None], results: Sequence[Operand]
) -> None:
    """Results that have the type of a narrow input, as the schema says, are as narrow."""
    given = {n: each.narrow for n, each in enumerate(operands) if each is not None and each.narrow}
    if not given:
        return
    takes, gives = schema.inputs, schema.outputs
    narrow = {}
    for position, code in given.items():
        formal = takes[min(position, len(takes) - 1)]
        if formal.is_homogeneous:
            narrow[formal.type_str] = code
    for position, operand in enumerate(results):
        formal = gives[min(position, len(gives) - 1)]
        operand.narrow = operand.narrow or narrow.get(formal.type_str, 0)


def _folded(row: Row, call: Call) -> list[Operand] | None:
    """The result as an array, where all inputs are small and known; its value is built if it is
    asked for. What holds for some extents that are open only is left to when it runs."""
    if row.fold is None:
        return None
    arrays = []
    of_extents = None
    for operand in call.operands:
        if operand is None:
            arrays.append(None)
            continue
        if operand.known is None or operand.known.size > FOLDED or operand.dtype.is_narrow:
            return None
        arrays.append(operand.known)
        if of_extents is None and operand.known.dtype == object:
            of_extents = operand.dtype
    extents = call.reader.extents
    try:
        with np.errstate(all="ignore"), extents.supposed(extents.examples) as assumed:
            found = row.fold(call, *arrays)
    except UnknownExtent:
        return None
    if found is None or assumed:
        return None
    found = found if isinstance(found, tuple) else (found,)
    results = []
    for number, array in enumerate(found):
        if not isinstance(array, (np.ndarray, np.generic)):
            array = np.array(array, object)  # one element of an array of objects
        array = np.asarray(array)
        if array.dtype == object:
            assert of_extents is not None
            array = plain(array, of_extents)
        if array.dtype == object:
            results.append(Operand.of_known(array, _later(call, row, number), of_extents))
        else:
            name = call.node.output[number] if number < len(call.node.output) else ""
            results.append(call.reader.array(name, array, as_dtype(array.dtype), learns=False))
    return results


def _later(call: Call, row: Row, number: int) -> Callable[[], Value]:
    return lambda: call.reader._built(row, call)[number].value
