"""A graph of ONNX while it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tigon.base import TigonError
from tigon.base.dtypes import DType, as_dtype, bfloat16, numpy_type
from tigon.base.extents import RuntimeExtent, RuntimeRatio
from tigon.contrib.onnx.reading import DTYPES, code_of, package
from tigon.ir.graph import CONSTANT, VARIABLE, Node, Value
from tigon.ops.record import Family

Converter = Callable[["Writer", Node, "list[str]"], "Sequence[str] | str | None"]
"""(writer, node, names of its operands) -> names of its results; None where ONNX has no such
operator for these attributes."""

PRIMITIVES: dict[str, Converter] = {}
COMPOSITES: dict[str, Converter] = {}


def primitive(*names: str) -> Callable[[Converter], Converter]:
    return _entered(PRIMITIVES, names)


def composite(*names: str) -> Callable[[Converter], Converter]:
    return _entered(COMPOSITES, names)


def _entered(table: dict[str, Converter], names: Sequence[str]) -> Callable[[Converter], Converter]:
    def enter(converter: Converter) -> Converter:
        table.update(dict.fromkeys(names, converter))
        return converter

    return enter


_IN_TEXT = {"float32": "float", "float64": "double"}
"""What schemas call elements, where it is not our name."""

_WIDER = {
    "bool": ("uint8", "int32", "float32"),
    **dict.fromkeys(("int8", "uint8", "int16", "uint16"), ("int32", "int64", "float32", "float64")),
    **dict.fromkeys(("int32", "uint32"), ("int64", "float64", "float32")),
    **dict.fromkeys(("int64", "uint64", "float64"), ("float64", "float32")),
    **dict.fromkeys(("bfloat16", "float16"), ("float32",)),
}
"""What an operator computes in that ONNX does not have for a dtype, the first that it has."""


@lru_cache(maxsize=1024)
def _signature(kind: str, opset: int) -> tuple[list[str], list[str], dict[str, frozenset[str]]]:
    """Types of the inputs and of the outputs (the last of each for those that follow), and the
    dtypes that each variable among them stands for."""
    schema = package().defs.get_schema(kind, opset)
    names = {f"tensor({_IN_TEXT.get(name, name)})": name for name in DTYPES}
    allowed = {
        one.type_param_str: frozenset(
            names[text] for text in one.allowed_type_strs if text in names
        )
        for one in schema.type_constraints
    }
    sides = [
        [names.get(one.type_str, one.type_str) for one in side]
        for side in (schema.inputs, schema.outputs)
    ]
    return sides[0], sides[1], allowed


def _at(types: Sequence[str], position: int) -> str:
    return types[min(position, len(types) - 1)]


class Writer:
    """Nodes and constants of one graph, or of a subgraph of the `outer` one. `known`: names of
    values that are there already; `extents`: of scalars (int64) that open extents are at run time,
    by number."""

    def __init__(
        self,
        opset: int,
        known: Mapping[Value, str],
        extents: Mapping[int, str],
        outer: Writer | None = None,
    ) -> None:
        self.opset = opset
        self.known = dict(known)
        self.extents = dict(extents)
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {} if outer is None else outer.initializers
        self._constants: dict[Any, str] = {} if outer is None else outer._constants
        self._taken: set[str] = set() if outer is None else outer._taken
        self._taken.update(self.known.values())
        self._scalars: dict[Any, str] = {}
        self._dtypes: dict[str, str] = {} if outer is None else outer._dtypes
        self._dtypes.update((name, value.dtype.name) for value, name in self.known.items())

    # -- names and constants

    def name(self, wish: str) -> str:
        """A name that nothing has yet."""
        found, number = wish, 0
        while found in self._taken:
            number += 1
            found = f"{wish}_{number}"
        self._taken.add(found)
        return found

    def add(self, kind: str, inputs: Sequence[str], wish: str = "", **attributes: Any) -> str:
        """One node more; the name of its result."""
        return self.add_several(kind, inputs, wish, 1, **attributes)[0]

    def add_several(
        self, kind: str, inputs: Sequence[str], wish: str, count: int, **attributes: Any
    ) -> list[str]:
        """One node more, of `count` results. Where ONNX has no such operator for a dtype it
        computes in a wider one."""
        names = [self.name(wish or kind) for _ in range(count)]
        takes, gives, allowed = _signature(kind, self.opset)
        own: dict[str, str] = {}
        for position, name in enumerate(inputs):
            if name in self._dtypes:
                own.setdefault(_at(takes, position), self._dtypes[name])
        wider = {
            variable: next((each for each in _WIDER[dtype] if each in allowed[variable]), dtype)
            for variable, dtype in own.items()
            if variable in allowed and dtype not in allowed[variable]
        }
        inputs = [
            self._cast(name, wider[_at(takes, position)]) if _at(takes, position) in wider else name
            for position, name in enumerate(inputs)
        ]
        kinds = [_at(gives, position) for position in range(count)]
        made = [
            self.name(name) if variable in wider else name
            for name, variable in zip(names, kinds, strict=True)
        ]
        given = {name: value for name, value in attributes.items() if value is not None}
        node = package().helper.make_node(kind, inputs, made, name=made[0], **given)
        self.nodes.append(node)
        for name, inner, variable in zip(names, made, kinds, strict=True):
            if variable in wider:
                self._cast(inner, own[variable], name)
            elif variable in own or variable in DTYPES:
                self._dtypes[name] = own.get(variable, variable)
        return names

    def _cast(self, name: str, dtype: str, result: str | None = None) -> str:
        result = result or self.name("Cast")
        to = code_of(dtype)
        self.nodes.append(package().helper.make_node("Cast", [name], [result], name=result, to=to))
        self._dtypes[result] = dtype
        return result

    def constant(self, value: Any, dtype: DType | str, wish: str = "constant") -> str:
        name = dtype if isinstance(dtype, str) else dtype.name
        array = np.asarray(value, as_dtype(name).numpy)
        if name == "bfloat16":
            array = array.astype(numpy_type(bfloat16))  # of ml_dtypes, which onnx brings
        key = (name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(wish, array)
            self._dtypes[self._constants[key]] = name
        return self._constants[key]

    def initializer(self, wish: str, array: np.ndarray) -> str:
        name = self.name(wish)
        self.initializers[name] = array
        return name

    # -- shapes

    def integers(self, values: Sequence[Any]) -> str:
        """A vector of int64: numbers, or formulas of open extents."""
        if all(isinstance(value, int) for value in values):
            return self.constant(list(values), "int64", "shape")
        parts = [self.add("Reshape", [self.scalar(v), self.constant([1], "int64")]) for v in values]
        return self.add("Concat", parts, "shape", axis=0)

    def scalar(self, value: Any) -> str:
        """A 0-d array of int64."""
        if isinstance(value, int):
            return self.constant(value, "int64")
        assert isinstance(value, RuntimeExtent)
        if value not in self._scalars:
            terms = [self._term(*term) for term in value.terms.items()]
            total = terms[0]
            for term in terms[1:]:
                total = self.add("Add", [total, term])
            self._scalars[value] = total
        return self._scalars[value]

    def _term(self, monomial: Any, coefficient: int) -> str:
        factors = [self._atom(atom) for atom in monomial]
        if coefficient != 1 or not factors:
            factors.append(self.constant(coefficient, "int64"))
        product = factors[0]
        for factor in factors[1:]:
            product = self.add("Mul", [product, factor])
        return product

    def _atom(self, atom: Any) -> str:
        kind, *rest = atom
        if kind == "n":
            return self.extents[rest[0]]
        operands = [self.scalar(each) for each in rest]
        return self.add("Div" if kind == "floordiv" else "Mod", operands)

    def number(self, node: Node, dtype: DType) -> str:
        attrs = node.attrs
        if isinstance(attrs.value, RuntimeRatio):
            whole = self.number_of(attrs.value.denominator, dtype)
            return self.add("Div", [self.constant(attrs.value.numerator, dtype), whole])
        if isinstance(attrs.value, RuntimeExtent):
            return self.number_of(attrs.value, dtype)
        # A number that the dtype lacks (-1 of unsigned ones) comes around, as where it is compiled.
        whole = isinstance(attrs.value, int) and dtype.kind in "iu"
        value = attrs.value % (1 << 8 * dtype.numpy.itemsize) if whole else attrs.value
        array = np.asarray(value, np.uint64 if whole else None).astype(dtype.numpy)
        return self.constant(np.reshape(array, attrs.shape), dtype)

    def number_of(self, extent: RuntimeExtent, dtype: DType) -> str:
        return self.add("Cast", [self.scalar(extent)], to=code_of(dtype))

    def is_weak(self, value: Value) -> bool:
        """Whether it is a plain number, which takes the dtype of the array that it meets."""
        return value.node.op is CONSTANT and value.node.attrs.weak

    def alike(self, node: Node, inputs: Sequence[str]) -> list[str]:
        """The operands, plain numbers in the dtype of the others."""
        dtypes = [each.dtype for each in node.inputs if not self.is_weak(each)]
        if not dtypes:
            return list(inputs)
        return [
            self.number(each.node, dtypes[0]) if self.is_weak(each) else name
            for each, name in zip(node.inputs, inputs, strict=True)
        ]

    # -- values

    def emit(self, outputs: Sequence[Value]) -> list[str]:
        """The names of these values, with all nodes that they are computed by."""
        stand_ins: dict[Value, Value] = {}
        todo = list(reversed(outputs))
        while todo:
            value = todo[-1]
            if value in self.known:
                todo.pop()
            elif value in stand_ins:
                made = stand_ins[value]
                if made in self.known:
                    self.known[value] = self.known[made]
                    todo.pop()
                else:
                    todo.append(made)
            else:
                waiting = [each for each in value.node.inputs if each not in self.known]
                if waiting:
                    todo += reversed(waiting)
                    continue
                expanded = self._convert(value.node)
                if expanded is not None:
                    stand_ins.update(zip(value.node.outputs, expanded, strict=True))
                elif value not in self.known:
                    raise TigonError(
                        f"export_model: {value.node.label}: its result {value.index} is for "
                        "gradients alone; export the graph of prediction"
                    )
        return [self.known[value] for value in outputs]

    def _keep(self, node: Node, names: Sequence[str]) -> None:
        for value, name in zip(node.outputs, names, strict=False):
            self.known[value] = name
            self._dtypes[name] = value.dtype.name

    def _convert(self, node: Node) -> Sequence[Value] | None:
        """Write one node, or give the values that it is made of."""
        if node.op is CONSTANT:
            self.known[node.outputs[0]] = self.number(node, node.outputs[0].dtype)
            return None
        if node.op is VARIABLE:
            raise TigonError(
                f"export_model: '{node.name}' is no input and has no value; give its array in "
                "params"
            )
        op: Any = node.op
        if op.family is not Family.CONTROL and op.draws(node.attrs, training=False):
            raise TigonError(
                f"export_model: {node.label} draws random numbers, which others draw otherwise; "
                "make them an input"
            )
        is_composite = op.family is Family.COMPOSITE
        converter = (COMPOSITES if is_composite else PRIMITIVES).get(op.name)
        if converter is not None:
            inputs = [self.known[each] for each in node.inputs]
            made = converter(self, node, inputs)
            if made is not None:
                names = [made] if isinstance(made, str) else list(made)
                self._keep(node, names)
                return None
        if is_composite:
            expanded = op.decomposed(node.attrs, *node.inputs)
            for value in expanded:
                value.node.name = value.node.name or node.name
            return expanded
        raise TigonError(
            f"export_model: {node.label} computes '{op.name}', which ONNX has no operator for; "
            "compute it before or after the network"
        )
