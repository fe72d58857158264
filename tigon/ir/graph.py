"""Graph, node and value.

A node applies an operator to values under attributes; a value is one output of a node. A graph is
its inputs and outputs: whatever lies between is reached from the outputs. Types are known as soon
as those of the variables are; without them a graph can still be built, printed and differentiated.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tigon.base import TensorType, TigonError, as_dtype
from tigon.base.dtypes import bool_, float32, int64, rounded
from tigon.base.extents import RuntimeExtent, RuntimeNumber
from tigon.base.frozen import Frozen
from tigon.base.lazy import computed_once


class OperatorLike(Protocol):
    """What the graph asks of an operator; the record in `ops` is one."""

    @property
    def name(self) -> str: ...
    def output_count(self, attrs: Any) -> int: ...
    def infer_types(self, attrs: Any, types: tuple[TensorType, ...]) -> tuple[TensorType, ...]: ...


class Value:
    """Output `index` of `node`. One object per output: compare with `is`."""

    __slots__ = ("index", "node")
    node: Node
    index: int

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index

    @property
    def type(self) -> TensorType:
        """Shape and dtype; raises while the graph has no types yet."""
        if self.node.types is None:
            raise TigonError(
                f"{self.node.label}: its type is not known yet; give the variables shapes first"
            )
        return self.node.types[self.index]

    @property
    def is_typed(self) -> bool:
        return self.node.types is not None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> Any:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    def apply_op(self, op: Any, attrs: Any, operands: Sequence[Any]) -> Any:
        """Append a node: one value, or a tuple of them for an operator of several outputs."""
        node = Node(op, tuple(as_value(operand) for operand in operands), attrs)
        return node.outputs[0] if len(node.outputs) == 1 else node.outputs

    if TYPE_CHECKING:  # `tigon.ops` installs Python's operators

        def __add__(self, other: Any) -> Value: ...
        def __radd__(self, other: Any) -> Value: ...
        def __sub__(self, other: Any) -> Value: ...
        def __rsub__(self, other: Any) -> Value: ...
        def __mul__(self, other: Any) -> Value: ...
        def __rmul__(self, other: Any) -> Value: ...
        def __truediv__(self, other: Any) -> Value: ...
        def __rtruediv__(self, other: Any) -> Value: ...
        def __floordiv__(self, other: Any) -> Value: ...
        def __rfloordiv__(self, other: Any) -> Value: ...
        def __mod__(self, other: Any) -> Value: ...
        def __rmod__(self, other: Any) -> Value: ...
        def __pow__(self, other: Any) -> Value: ...
        def __rpow__(self, other: Any) -> Value: ...
        def __matmul__(self, other: Any) -> Value: ...
        def __rmatmul__(self, other: Any) -> Value: ...
        def __lt__(self, other: Any) -> Value: ...
        def __le__(self, other: Any) -> Value: ...
        def __gt__(self, other: Any) -> Value: ...
        def __ge__(self, other: Any) -> Value: ...
        def __neg__(self) -> Value: ...
        def __abs__(self) -> Value: ...

    def __repr__(self) -> str:
        return f"<Value {self.node.label}:{self.index}>"


class Node:
    """One application of an operator. Frozen after construction."""

    __slots__ = ("attrs", "hints", "inputs", "name", "op", "outputs", "serial", "types")

    def __init__(
        self,
        op: OperatorLike,
        inputs: tuple[Value, ...] = (),
        attrs: Any = None,
        name: str = "",
        hints: Mapping[str, str] | None = None,
        types: tuple[TensorType, ...] | None = None,
    ) -> None:
        """`types` spares the inference where the caller knows its result."""
        self.op: Any = op  # a record of `ops`, one floor up, or VARIABLE or CONSTANT
        self.inputs = inputs
        self.attrs = attrs
        self.name = name
        self.hints = dict(hints) if hints else {}
        self.serial = next(_serials)
        """Grows in order of creation and survives `replace`: random operators are numbered in
        the order in which the user's program made them."""
        self.types: tuple[TensorType, ...] | None = types
        if types is not None:
            pass
        elif op is VARIABLE:
            self.types = None if attrs.type is None else (attrs.type,)
        else:
            known = []
            for value in inputs:
                if value.node.types is None:
                    break
                known.append(value.node.types[value.index])
            else:
                self.types = op.infer_types(attrs, tuple(known))
        count = len(self.types) if self.types is not None else op.output_count(attrs)
        self.outputs = (
            (Value(self, 0),) if count == 1 else tuple([Value(self, n) for n in range(count)])
        )

    @property
    def label(self) -> str:
        """Operator and, where there is one, the user's name: for messages."""
        return f"{self.op.name} '{self.name}'" if self.name else self.op.name

    def replace(
        self,
        inputs: tuple[Value, ...] | None = None,
        attrs: Any = None,
        name: str | None = None,
    ) -> Node:
        """The same node with other inputs, attributes or name; hints and serial are kept."""
        types = self.types
        if attrs is not None or (types is not None and not _same_types(inputs, self.inputs)):
            types = None
        node = Node(
            self.op,
            self.inputs if inputs is None else inputs,
            self.attrs if attrs is None else attrs,
            self.name if name is None else name,
            self.hints,
            types,
        )
        node.serial = self.serial
        return node

    def __repr__(self) -> str:
        return f"<Node {self.label}>"


_serials = itertools.count()


def number_anew(nodes: Sequence[Node]) -> None:
    """Nodes that nobody else has seen yet become the latest ones, in the order they had."""
    for node in sorted(nodes, key=lambda node: node.serial):
        node.serial = next(_serials)


def _same_types(new: tuple[Value, ...] | None, old: tuple[Value, ...]) -> bool:
    """Whether a node of known types keeps them over the new inputs."""
    if new is None:
        return True
    if len(new) != len(old):
        return False
    for a, b in zip(new, old, strict=True):
        if a is not b and (a.node.types is None or a.type != b.type):
            return False
    return True


# ------------------------------------------------------------------------- leaves


class VariableAttrs(Frozen):
    type: TensorType | None = None


class ConstantAttrs(Frozen):
    """A Python scalar (weak: it takes the dtype of the other operand) or a small array."""

    value: float | int | bool | RuntimeNumber | tuple[Any, ...]
    dtype: str
    shape: tuple[int, ...] = ()
    weak: bool = True


class _Variable:
    family = None
    name = "null"  # as MXNet's files call it

    def output_count(self, attrs: VariableAttrs) -> int:
        return 1

    def infer_types(
        self, attrs: VariableAttrs, types: tuple[TensorType, ...]
    ) -> tuple[TensorType, ...]:
        raise TigonError("variable: has no inputs to infer from")


class _Constant:
    family = None
    name = "constant"

    def output_count(self, attrs: ConstantAttrs) -> int:
        return 1

    def infer_types(
        self, attrs: ConstantAttrs, types: tuple[TensorType, ...]
    ) -> tuple[TensorType, ...]:
        return (TensorType(attrs.shape, as_dtype(attrs.dtype), attrs.weak),)


VARIABLE = _Variable()
CONSTANT = _Constant()


def variable(
    name: str, type: TensorType | None = None, hints: Mapping[str, str] | None = None
) -> Value:
    """A graph input. Without a type the graph stays untyped until `typed` is given one."""
    return Node(VARIABLE, (), VariableAttrs(type), name, hints).outputs[0]


def constant(value: Any, dtype: object = None) -> Value:
    """A literal. Python numbers are weak unless a dtype is given; arrays keep theirs."""
    if isinstance(value, (bool, int, float, RuntimeNumber)) and dtype is None:
        whole = isinstance(value, (int, RuntimeExtent))
        kind = bool_ if isinstance(value, bool) else int64 if whole else float32
        return Node(CONSTANT, (), ConstantAttrs(value, kind.name)).outputs[0]
    known = None if dtype is None else as_dtype(dtype)
    array = np.asarray(value) if known is None else rounded(np.asarray(value), known)
    literal = array.item() if array.ndim == 0 else tuple(array.ravel().tolist())
    attrs = ConstantAttrs(literal, (known or as_dtype(array.dtype)).name, array.shape, weak=False)
    return Node(CONSTANT, (), attrs).outputs[0]


def as_value(operand: Any) -> Value:
    """A value as it is; a number as a weak constant."""
    if isinstance(operand, Value):
        return operand
    if isinstance(operand, (bool, int, float, RuntimeNumber)):
        return constant(operand)
    if isinstance(operand, np.generic):
        return constant(operand.item())
    raise TigonError(
        f"graph: expected a graph value or a number; given {type(operand).__name__}; "
        "arrays enter a graph as variables"
    )


# -------------------------------------------------------------------------- graph


class Graph:
    """Inputs (variables, in call order) and outputs (values). Everything else follows."""

    def __init__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    @classmethod
    def of(cls, outputs: Sequence[Value]) -> Graph:
        """The graph whose inputs are the variables reached from the outputs, in order of visit."""
        nodes = topological_order(outputs)
        return cls([node.outputs[0] for node in nodes if node.op is VARIABLE], outputs)

    @computed_once
    def nodes(self) -> tuple[Node, ...]:
        """Every node once, inputs before users; unused input variables included."""
        return tuple(topological_order((*self.inputs, *self.outputs)))

    @computed_once
    def users(self) -> dict[Value, tuple[Node, ...]]:
        """The nodes that read each value, once per operand position."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                found.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in found.items()}

    @computed_once
    def key(self) -> tuple[Any, ...]:
        """Equal keys mean equal structure: operators, attributes, wiring and types."""
        number: dict[Value, tuple[int, int]] = {}
        rows = []
        for position, node in enumerate(self.nodes):
            for value in node.outputs:
                number[value] = (position, value.index)
            inputs = tuple(number[value] for value in node.inputs)
            rows.append((node.op.name, attrs_key(node.attrs), inputs, node.types))
        return (
            tuple(rows),
            tuple(number[value] for value in self.inputs),
            tuple(number[value] for value in self.outputs),
        )

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


def attrs_key(attrs: Any) -> Any:
    """What attributes mean, hashable. Unlike `==` it tells 0.0 from -0.0 and knows nan.

    >>> attrs_key(ConstantAttrs(0.0, "float32")) == attrs_key(ConstantAttrs(-0.0, "float32"))
    False
    """
    if attrs is None:
        return None
    return (type(attrs), *map(_exact, vars(attrs).values()))


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return (float, repr(value))
    if isinstance(value, Graph):
        return value.key
    return tuple(map(_exact, value)) if isinstance(value, tuple) else value


def graphs_within(node: Node) -> dict[str, Graph]:
    """The attributes of a node that are graphs themselves: bodies of loops, branches."""
    return graphs_among(node.attrs)


def graphs_among(attrs: Any) -> dict[str, Graph]:
    """The same of attributes."""
    if attrs is None:
        return {}
    return {name: value for name, value in vars(attrs).items() if isinstance(value, Graph)}


def nodes_within(node: Node) -> Iterator[Node]:
    """All nodes of these graphs, and of those within them."""
    stack = list(graphs_within(node).values())
    while stack:
        for inner in stack.pop():
            yield inner
            stack += graphs_within(inner).values()


def is_open(node: Node) -> bool:
    """Whether run-time extents decide what the node computes."""
    for value in node.inputs:
        if value.node.types is not None and _is_open(value.node.types[value.index].shape):
            return True
    for type_ in node.types or ():
        if _is_open(type_.shape):
            return True
    return has_open_attributes(node)


def next_serial() -> int:
    """One that no node has: those made before have smaller ones, those made later larger ones."""
    return next(_serials)


def has_open_attributes(node: Node) -> bool:
    return node.attrs is not None and any(map(_is_open, vars(node.attrs).values()))


def open_attributes(node: Node) -> list[str]:
    """The names of attributes that hold run-time extents."""
    held = {} if node.attrs is None else vars(node.attrs)
    return [name for name, part in held.items() if _is_open(part)]


def _is_open(part: Any) -> bool:
    """Whether a run-time extent is in it."""
    kind = type(part)
    if kind is tuple:
        for each in part:
            if type(each) is not int and _is_open(each):
                return True
        return False
    return _is_open(part.key) if kind is Graph else isinstance(part, RuntimeNumber)


def topological_order(values: Sequence[Value], stop: Container[Value] = ()) -> list[Node]:
    """Inputs before users, depth first from left to right; values in `stop` are not entered.

    Iterative: graphs may be deep.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    for value in values:
        if value.node in seen or value in stop:
            continue
        seen.add(value.node)
        stack = [(value.node, iter(value.node.inputs))]
        while stack:
            node, operands = stack[-1]
            for operand in operands:
                child = operand.node
                if child in seen or operand in stop:
                    continue
                seen.add(child)
                if child.inputs:
                    stack.append((child, iter(child.inputs)))
                    break
                order.append(child)
            else:
                order.append(node)
                stack.pop()
    return order
