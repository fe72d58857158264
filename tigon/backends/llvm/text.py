"""LLVM IR as text: values, blocks, functions. A block stays open until its function is printed,
so that code can still be added to a loop's preheader while its body is being written."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np

from tigon.base.dtypes import DType, to_memory

_ELEMENT = {
    "float32": "float",
    "float64": "double",
    "bool": "i1",
}


def element_type(dtype: DType) -> str:
    """The LLVM type of a value of `dtype`; a bool is an i1 (in memory an i8), and of a float of two
    bytes there are the bits alone, in an i16.

    >>> from tigon.base.dtypes import bool_, float32, uint8
    >>> element_type(float32), element_type(uint8), element_type(bool_)
    ('float', 'i8', 'i1')
    """
    return _ELEMENT.get(dtype.name) or f"i{8 * dtype.itemsize}"


def memory_type(dtype: DType) -> str:
    return "i8" if dtype.kind == "b" else element_type(dtype)


class Value:
    """An SSA name or literal of `lanes` elements; one lane is a scalar."""

    __slots__ = ("element", "lanes", "name")

    def __init__(self, element: str, lanes: int, name: str) -> None:
        self.element = element
        self.lanes = lanes
        self.name = name

    @property
    def type(self) -> str:
        return self.element if self.lanes == 1 else f"<{self.lanes} x {self.element}>"

    @property
    def is_literal(self) -> bool:
        return self.name[0] != "%"

    def __str__(self) -> str:
        return f"{self.type} {self.name}"

    __repr__ = __str__


def vector_type(element: str, lanes: int) -> str:
    return element if lanes == 1 else f"<{lanes} x {element}>"


def literal(value: float | int | bool, element: str, lanes: int = 1) -> Value:
    """A constant, the same in every lane.

    >>> literal(0.5, "float"), literal(3, "i64", 4)
    (float 0x3FE0000000000000, <4 x i64> splat (i64 3))
    """
    if element in ("float", "double"):
        name = f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    elif element == "i1":
        name = "true" if value else "false"
    else:
        name = str(int(value))
    return splat_literal(Value(element, 1, name), lanes)


def constant(value: float | int | bool, dtype: DType, lanes: int = 1) -> Value:
    """A number of a dtype."""
    if dtype.is_narrow:
        value = int(to_memory(np.asarray(value), dtype).view(np.uint16))
    return literal(value, element_type(dtype), lanes)


def splat_literal(scalar: Value, lanes: int) -> Value:
    if lanes == 1:
        return scalar
    return Value(scalar.element, lanes, f"splat ({scalar.element} {scalar.name})")


def zero(element: str, lanes: int = 1) -> Value:
    if lanes > 1:
        return Value(element, lanes, "zeroinitializer")
    return literal(0, element)


class Block:
    __slots__ = ("label", "lines", "terminator")

    def __init__(self, label: str) -> None:
        self.label = label
        self.lines: list[str] = []
        self.terminator: str | None = None


class Function:
    """A function being written. `block` is where `op` and `emit` add; change it at will."""

    has_float16 = False
    """Whether the machine has instructions that convert float16; its emitter says so."""

    has_fma = True
    """The same of multiply-add."""

    def __init__(self, name: str, parameters: Sequence[str], result: str = "i32") -> None:
        self.name = name
        self.parameters = parameters
        self.result = result
        self.blocks: list[Block] = []
        self.declarations: dict[str, str] = {}  # by name
        self.helpers: dict[str, Callable[[str], Function]] = {}  # called, and how to make them
        self._count = 0
        self.block = self.new_block("entry")

    def fresh(self) -> str:
        self._count += 1
        return f"%v{self._count}"

    def new_block(self, hint: str = "b") -> Block:
        """A block at the end of the function; it is not made current."""
        self._count += 1
        block = Block(f"{hint}{self._count}")
        self.blocks.append(block)
        return block

    def op(self, text: str, element: str, lanes: int = 1) -> Value:
        """Append `%n = text` to the current block."""
        self._count += 1
        name = f"%v{self._count}"
        self.block.lines.append(f"{name} = {text}")
        return Value(element, lanes, name)

    def at_start(self, text: str, element: str) -> Value:
        """`op`, where the function begins: the place of what is to be done once."""
        name = self.fresh()
        self.blocks[0].lines.insert(0, f"{name} = {text}")
        return Value(element, 1, name)

    def emit(self, text: str) -> None:
        self.block.lines.append(text)

    def call(self, name: str, element: str, lanes: int, *arguments: Value) -> Value:
        """Call an intrinsic or library function, declared on the way."""
        types = ", ".join(argument.type for argument in arguments)
        result = vector_type(element, lanes)
        self.declarations[name] = f"declare {result} @{name}({types})"
        operands = ", ".join(map(str, arguments))
        return self.op(f"call {result} @{name}({operands})", element, lanes)

    def call_void(self, name: str, *arguments: Value) -> None:
        types = ", ".join(argument.type for argument in arguments)
        self.declarations[name] = f"declare void @{name}({types})"
        self.emit(f"call void @{name}({', '.join(map(str, arguments))})")

    def call_helper(self, name: str, make: Callable[[str], Function], *arguments: Value) -> None:
        """Call a function that all kernels share; `make` writes it when none has needed it yet."""
        self.helpers[name] = make
        self.call_void(name, *arguments)

    def jump(self, target: Block) -> None:
        self.block.terminator = f"br label %{target.label}"

    def branch(self, condition: Value, then: Block, other: Block, seldom: bool = False) -> None:
        """`seldom`: registers are kept for the other way."""
        targets = f"label %{then.label}, label %{other.label}"
        self.block.terminator = f"br i1 {condition.name}, {targets}{', !prof !1' * seldom}"

    def phi(self, block: Block, element: str, lanes: int, start: Value, source: Block) -> Phi:
        """A phi at the head of `block`; `Phi.close` adds the value that comes around the loop."""
        name = self.fresh()
        made = Phi(element, lanes, name)
        made.line = len(block.lines)
        made.block = block
        block.lines.append(f"{name} = phi {made.type} [ {start.name}, %{source.label} ]")
        return made

    @property
    def lines(self) -> int:
        """How long it is: about what compiling it costs."""
        return sum(len(block.lines) + 1 for block in self.blocks)

    def text(self) -> str:
        lines = [f"define {self.result} @{self.name}({', '.join(self.parameters)}) #0 {{"]
        for block in self.blocks:
            lines.append(f"{block.label}:")
            lines.extend(block.lines)
            lines.append(
                block.terminator or ("ret void" if self.result == "void" else "unreachable")
            )
        lines.append("}")
        return "\n".join(lines)


class Phi(Value):
    """A value carried around a loop."""

    __slots__ = ("block", "line")
    block: Block
    line: int

    def close(self, value: Value, source: Block) -> None:
        self.block.lines[self.line] += f", [ {value.name}, %{source.label} ]"
