"""A graph of ONNX while it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tigon.base import TigonError
from tigon.base.dtypes import DType, as_dtype
from tigon.base.extents import RuntimeExtent, RuntimeRatio
from tigon.contrib.onnx.reading import package
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


ELEMENT_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
    "bfloat16": 16,
}
"""`TensorProto.DataType` by our names."""


class Writer:
    """Nodes and constants of one graph or subgraph. `known`: names of values that are there
    already. `arrays`: values of variables that are written as constants."""

    def __init__(
        self,
        opset: int,
        known: Mapping[Value, str],
        arrays: Mapping[str, np.ndarray],
        extents: Mapping[int, str],
        outer: Writer | None = None,
    ) -> None:
        self.opset = opset
        self.known = dict(known)
        self.arrays = arrays
        self.extents = dict(extents)
        """Names of scalars (int64) that open extents are at run time, by number."""
        self.outer = outer
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {} if outer is None else outer.initializers
        self._constants: dict[Any, str] = {} if outer is None else outer._constants
        self._taken: set[str] = set() if outer is None else outer._taken
        self._taken.update(self.known.values())
        self._scalars: dict[Any, str] = {}

    # -- names and constants

    def name(self, wish: str) -> str:
        """A name that nothing has yet."""
        found, number = wish, 0
        while found in self._taken:
            number += 1
            found = f"{wish}_{number}"
        self._taken.add(found)
        return found

    def add(
        self, kind: str, inputs: Sequence[str], wish: str = "", count: int = 1, **attributes: Any
    ) -> Any:
        """One node more; the name of its result, or names where `count` says several."""
        helper = package().helper
        names = [self.name(wish or kind) for _ in range(count)]
        given = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=names[0], **given))
        return names[0] if count == 1 else names

    def constant(self, value: Any, dtype: DType | str, wish: str = "constant") -> str:
        name = dtype if isinstance(dtype, str) else dtype.name
        array = np.asarray(value, as_dtype(name).numpy)
        key = (name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(wish, array)
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
        return self.constant(np.reshape(np.asarray(attrs.value, dtype.numpy), attrs.shape), dtype)

    def number_of(self, extent: RuntimeExtent, dtype: DType) -> str:
        return self.add("Cast", [self.scalar(extent)], to=ELEMENT_TYPES[dtype.name])

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
        is_composite = op.family is Family.COMPOSITE
        converter = (COMPOSITES if is_composite else PRIMITIVES).get(op.name)
        if converter is not None:
            inputs = [self.known[each] for each in node.inputs]
            made = converter(self, node, inputs)
            if made is not None:
                names = [made] if isinstance(made, str) else list(made)
                self.known.update(zip(node.outputs, names, strict=False))
                return None
        if is_composite:
            return op.decomposed(node.attrs, *node.inputs)
        raise TigonError(
            f"export_model: {node.label} computes '{op.name}', which ONNX has no operator for; "
            "compute it before or after the network"
        )
