"""What is known at a node: the names that it sees, its attributes and operands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tigon.base import TigonError, check
from tigon.base.dtypes import DType
from tigon.base.frozen import Frozen
from tigon.contrib.onnx.operand import Operand

if TYPE_CHECKING:
    from tigon.contrib.onnx.graph import Reader


class NeedsValue(TigonError):
    """An input decides a shape, so that its value must be given when the model is read."""

    def __init__(self, message: str, inputs: tuple[str, ...]) -> None:
        super().__init__(message)
        self.inputs = inputs


class Frame:
    """The names that nodes see: of their own graph and of those around it; within a function only
    of its own."""

    def __init__(
        self,
        opsets: Mapping[str, int],
        parent: Frame | None = None,
        attributes: Mapping[str, Any] | None = None,
        depth: int = 0,
    ) -> None:
        self.names: dict[str, Operand] = {}
        self.opsets = opsets
        self.parent = parent
        self.attributes = attributes
        """Of the call of the function that is read; None outside of functions."""
        self.depth = depth

    def find(self, name: str) -> Operand | None:
        frame: Frame | None = self
        while frame is not None:
            if name in frame.names:
                return frame.names[name]
            frame = frame.parent
        return None

    def within(self) -> Frame:
        return Frame(self.opsets, self, self.attributes, self.depth + 1)


class Parameter(Frozen, eq=False):
    """An array that the graph reads as a variable."""

    array: np.ndarray
    dtype: DType
    learns: bool


class Call:
    """A node while it is converted: its attributes, with defaults, and what it stands in."""

    def __init__(
        self, reader: Reader, frame: Frame, node: Any, since: int, attributes: dict[str, Any]
    ) -> None:
        self.reader = reader
        self.frame = frame
        self.node = node
        self.since = since
        """The opset that gave the operator the meaning it has here."""
        self.attributes = attributes
        self.operands: list[Operand | None] = []

    def __getitem__(self, name: str) -> Any:
        return self.attributes.get(name)

    def __contains__(self, name: str) -> bool:
        return self.attributes.get(name) is not None

    @property
    def op(self) -> str:
        return str(self.node.op_type)

    @property
    def outputs(self) -> int:
        """Outputs that have names."""
        wanted = [number for number, name in enumerate(self.node.output, 1) if name]
        return max(wanted, default=1)

    def wants(self, output: int) -> bool:
        return output < len(self.node.output) and bool(self.node.output[output])

    def known(self, position: int) -> np.ndarray | None:
        """The array of an input, where it is there for nothing."""
        operand = self.operands[position] if position < len(self.operands) else None
        return None if operand is None else operand.known

    def dtype(self, position: int) -> str:
        operand = self.operands[position]
        assert operand is not None
        return str(operand.dtype.name)

    def constant_of(self, position: int) -> np.ndarray:
        """The array of an input; an error where it depends on an input of the model."""
        operand = self.operands[position]
        assert operand is not None
        return self.reader.constant_of(operand, self.label_of(position))

    def depends(self, position: int) -> bool:
        """Whether an input depends on one of the model's."""
        operand = self.operands[position]
        assert operand is not None
        return operand.known is None and bool(self.reader.inputs_behind(operand.value))

    def label_of(self, position: int) -> str:
        return f"input {position} '{self.node.input[position]}'"

    def check(self, condition: object, message: str) -> None:
        check(condition, self.op, message)
