"""Floats of two bytes are computed with in float32: what they go into takes them widened, and what
it makes is rounded once. They are moved and converted only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tigon.base import TensorType
from tigon.base.dtypes import DType, float32, rounded
from tigon.base.extents import RuntimeNumber
from tigon.base.frozen import replace
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    Node,
    Value,
    constant,
    topological_order,
    variable,
)
from tigon.ops.record import Family
from tigon.passes.primitives import cast

_MOVES = frozenset(
    {
        Family.VIEW,
        Family.GATHER,
        Family.LEAF,
        Family.JOIN,
        Family.UPDATE,
        Family.HOST,
        Family.CONTROL,
    }
)
"""Families that do no arithmetic on elements; of loops and branches, the bodies are graphs too."""


def is_narrow(node: Node) -> bool:
    """Whether a call takes or makes floats that it must be widened for."""
    if node.types is None or not _computes(node):
        return False
    inputs = (value.type for value in node.inputs)
    return any(type_.dtype.is_narrow for type_ in (*inputs, *node.types))


def _computes(node: Node) -> bool:
    op = node.op
    return not (op is VARIABLE or op is CONSTANT or op.family in _MOVES or not op.widens)


def widened(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """The outputs of the same call, made in float32: of a composite nothing is rounded inside. None
    for one that is made of what does no arithmetic. Each operand is widened for itself, so that
    what gradients of its uses come to is rounded as it is imperatively. A number
    beside narrow floats is rounded first.

    >>> from tigon.base import as_dtype
    >>> from tigon.ir import Graph, show
    >>> from tigon.ops import get
    >>> x = variable("x", TensorType((2,), as_dtype("bfloat16")))
    >>> print(show(Graph([x], widened(get("exp")(x).node, (x,)))))
    graph(%x: bfloat16[2]) {
      %0 = Cast(%x) {dtype='float32'} 'exp'
      %1 = exp(%0)
      %2 = Cast(%1) {dtype='bfloat16'} 'exp'
      return %2
    }
    """
    assert node.types is not None
    attrs = in_wide(node.attrs)
    if _moves_alone(node, attrs):
        return None
    name = node.name or node.op.name

    def to(value: Value, dtype: DType) -> Value:
        made = Node(cast, (value,), cast.make_attrs({"dtype": dtype.name}), name, node.hints)
        return made.outputs[0]

    dtypes = [value.dtype for value in inputs if value.dtype.is_narrow]
    operands = tuple(
        to(value, float32)
        if value.dtype.is_narrow
        else _as_beside(value, dtypes[0])
        if dtypes and _is_number(value)
        else value
        for value in inputs
    )
    made = Node(node.op, operands, attrs, node.name, node.hints)
    made.serial = node.serial
    return tuple(
        to(value, type_.dtype) if type_.dtype.is_narrow else value
        for value, type_ in zip(made.outputs, node.types, strict=True)
    )


def _is_number(value: Value) -> bool:
    """A number as it is written in a program, known before it runs."""
    if value.node.op is not CONSTANT or not value.type.weak:
        return False
    return not isinstance(value.node.attrs.value, RuntimeNumber)


def _as_beside(number: Value, dtype: DType) -> Value:
    """A number that stands beside narrow floats is one of these, as it is imperatively."""
    given = float(number.node.attrs.value)
    return constant(float(rounded(np.array(given), dtype)))


def _moves_alone(node: Node, attrs: Any) -> bool:
    """Whether a composite is made of what does no arithmetic."""
    if node.op.family is not Family.COMPOSITE:
        return False
    own = []
    for number, value in enumerate(node.inputs):
        dtype = float32 if value.dtype.is_narrow else value.dtype
        own.append(variable(f"operand{number}", TensorType(value.shape, dtype, value.type.weak)))
    return not any(map(_computes, _primitives(node.op.decomposed(attrs, *own))))


def _primitives(values: tuple[Value, ...]) -> Iterator[Node]:
    for node in topological_order(values):
        if node.op is VARIABLE or node.op is CONSTANT or node.op.family is not Family.COMPOSITE:
            yield node
            continue
        own = [variable(f"operand{i}", value.type) for i, value in enumerate(node.inputs)]
        yield from _primitives(node.op.decomposed(node.attrs, *own))


def in_wide(attrs: Any) -> Any:
    """Attributes that make results of float32 where they made narrower ones."""
    changed = {
        name: "float32"
        for name in getattr(attrs, "__annotations__", ())
        if name.endswith("dtype") and _is_narrow_name(getattr(attrs, name))
    }
    return replace(attrs, **changed) if changed else attrs


def _is_narrow_name(given: object) -> bool:
    return isinstance(given, (str, DType)) and str(given) in ("float16", "bfloat16")
