"""Elements from and to memory, whole vectors or lane by lane."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.backends.llvm.instructions import suffix
from tigon.backends.llvm.lanes import iota, shuffled, spread
from tigon.backends.llvm.scalar import emit_function
from tigon.backends.llvm.scopes import Scopes
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, literal, memory_type, vector_type, zero
from tigon.base.dtypes import DType
from tigon.loop.grammar import Buffer


class Memory(Scopes):
    """Reads and writes buffers at the current place. `tail` is the mask of live lanes in the last,
    incomplete iteration of a vector loop."""

    def __init__(self, out: Function, buffers: Sequence[Buffer], target: Target) -> None:
        super().__init__(out)
        self.buffers = buffers
        self.target = target
        out.has_float16 = target.converts_float16
        self.tail: Value | None = None
        self.streams = False  # whole vectors are stored past the caches
        self._dummy: Value | None = None

    def pointer(self, buffer: int, index: Value) -> Value:
        """Address of an element; a vector of addresses for a vector of indices."""
        base = self.base(buffer)
        element = memory_type(self.buffers[buffer].dtype)
        if index.is_literal and index.lanes == 1 and index.name == "0":
            return base
        return self.out.op(f"getelementptr {element}, ptr {base.name}, {index}", "ptr", index.lanes)

    def base(self, buffer: int) -> Value:
        key = ("base", buffer)
        found = self.scopes[0].cache.get(key)
        if found is None:
            with self.at(0):
                slot = self.out.op(f"getelementptr ptr, ptr %buffers, i64 {buffer}", "ptr")
                found = self.out.op(f"load ptr, ptr {slot.name}, align 8", "ptr")
            self.scopes[0].cache[key] = found
        return found

    def dummy(self) -> Value:
        """Somewhere to read when a guard forbids the real address."""
        if self._dummy is None:
            with self.at(0):
                self._dummy = self.out.op("alloca i64, align 8", "ptr")
                self.out.emit(f"store i64 0, ptr {self._dummy.name}, align 8")
        return self._dummy

    def both(self, a: Value, b: Value) -> Value:
        return self.out.op(f"and {a}, {b.name}", "i1", a.lanes)

    def read(
        self, pointer: Value, dtype: DType, lanes: int = 1, mask: Value | None = None
    ) -> Value:
        """Consecutive elements from an address."""
        out, element = self.out, memory_type(dtype)
        kind = vector_type(element, lanes)
        if mask is None:
            value = out.op(
                f"load {kind}, ptr {pointer.name}, align {dtype.itemsize}", element, lanes
            )
        else:
            value = out.call(
                f"llvm.masked.load.v{lanes}{suffix(element)}.p0",
                element,
                lanes,
                pointer,
                literal(dtype.itemsize, "i32"),
                mask,
                zero(element, lanes),
            )
        return self._from_memory(value, dtype)

    def read_backwards(
        self, pointer: Value, dtype: DType, lanes: int, mask: Value | None = None
    ) -> Value:
        """The element at an address and those before it."""
        order = range(lanes - 1, -1, -1)
        begin = self._beside(pointer, 1 - lanes, dtype)
        mask = None if mask is None else shuffled(self.out, mask, mask, order)
        value = self.read(begin, dtype, lanes, mask)
        return shuffled(self.out, value, value, order)

    def read_every_second(
        self, pointer: Value, dtype: DType, lanes: int, mask: Value | None = None
    ) -> Value:
        """Elements 0, 2, 4, ... from an address: of two vectors, the second of which ends at the
        last of them."""
        parts = []
        for first in (0, lanes - 1):
            live = mask
            if mask is not None:
                none = zero("i1", lanes)
                places = range(first, first + lanes)
                order = [lanes if place % 2 else place // 2 for place in places]
                live = shuffled(self.out, mask, none, order)
            place = self._beside(pointer, first, dtype) if first else pointer
            parts.append(self.read(place, dtype, lanes, live))
        order = [place if place < lanes else place + 1 for place in range(0, 2 * lanes, 2)]
        return shuffled(self.out, parts[0], parts[1], order)

    def _beside(self, pointer: Value, elements: int, dtype: DType) -> Value:
        text = f"getelementptr {memory_type(dtype)}, ptr {pointer.name}, i64 {elements}"
        return self.out.op(text, "ptr")

    def gather(self, start: Value, offsets: Value, dtype: DType, mask: Value | None) -> Value:
        """Elements at start + offsets, in the lanes that `mask` allows."""
        out, element, lanes = self.out, memory_type(dtype), offsets.lanes
        if self.target.gathers and dtype.itemsize >= 4:
            pointers = out.op(f"getelementptr {element}, ptr {start.name}, {offsets}", "ptr", lanes)
            return out.call(
                f"llvm.masked.gather.v{lanes}{suffix(element)}.v{lanes}p0",
                element,
                lanes,
                pointers,
                literal(dtype.itemsize, "i32"),
                mask or literal(True, "i1", lanes),
                zero(element, lanes),
            )
        # One by one; LLVM would branch around every lane.
        value = Value(element, lanes, "poison")
        for lane in range(lanes):
            offset = out.op(f"extractelement {offsets}, i64 {lane}", "i64")
            pointer = out.op(f"getelementptr {element}, ptr {start.name}, {offset}", "ptr")
            if mask is not None:
                live = out.op(f"extractelement {mask}, i64 {lane}", "i1")
                pointer = out.op(f"select {live}, {pointer}, {self.dummy()}", "ptr")
            one = out.op(f"load {element}, ptr {pointer.name}, align {dtype.itemsize}", element)
            value = out.op(f"insertelement {value}, {one}, i64 {lane}", element, lanes)
        return self._from_memory(value, dtype)

    def put(self, pointer: Value, value: Value, dtype: DType, accumulate: bool) -> None:
        """Consecutive elements of the live lanes, or what they and those in memory come to."""
        mask = self.tail if value.lanes > 1 else None
        if accumulate:
            value = self._accumulated(self.read(pointer, dtype, value.lanes, mask), value, dtype)
        elif self.streams and value.lanes > 1 and mask is None:
            self._stream(pointer, value, dtype)
            return
        self.write(pointer, value, dtype, mask)

    def write(self, pointer: Value, value: Value, dtype: DType, mask: Value | None) -> None:
        """Consecutive elements to an address."""
        out, value = self.out, self._to_memory(value, dtype)
        if mask is None:
            out.emit(f"store {value}, ptr {pointer.name}, align {dtype.itemsize}")
            return
        out.call_void(
            f"llvm.masked.store.v{value.lanes}{suffix(value.element)}.p0",
            value,
            pointer,
            literal(dtype.itemsize, "i32"),
            mask,
        )

    def scatter(
        self, start: Value, offsets: Value, value: Value, dtype: DType, accumulate: bool
    ) -> None:
        """The same at start + offsets."""
        out, lanes = self.out, value.lanes
        if accumulate:
            old = self.gather(start, offsets, dtype, self.tail)
            value = self._accumulated(old, value, dtype)
        value = self._to_memory(value, dtype)
        pointers = out.op(
            f"getelementptr {value.element}, ptr {start.name}, {offsets}", "ptr", lanes
        )
        out.call_void(
            f"llvm.masked.scatter.v{lanes}{suffix(value.element)}.v{lanes}p0",
            value,
            pointers,
            literal(dtype.itemsize, "i32"),
            self.tail or literal(True, "i1", lanes),
        )

    def _stream(self, pointer: Value, value: Value, dtype: DType) -> None:
        """Past the caches, where the address allows: the same way all through a loop, so that the
        branch costs nothing."""
        out, value = self.out, self._to_memory(value, dtype)
        size = value.lanes * dtype.itemsize
        address = out.op(f"ptrtoint {pointer} to i64", "i64")
        offset = out.op(f"and {address}, {size - 1}", "i64")
        aligned = out.op(f"icmp eq {offset}, 0", "i1")
        fast, slow, after = (out.new_block(hint) for hint in ("stream", "store", "stored"))
        out.branch(aligned, fast, slow)
        for block, tail in ((fast, f"align {size}, !nontemporal !0"), (slow, "align 1")):
            out.block = block
            out.emit(f"store {value}, ptr {pointer.name}, {tail}")
            out.jump(after)
        self.scopes[-1].block = out.block = after

    def _accumulated(self, old: Value, new: Value, dtype: DType) -> Value:
        return emit_function(self.out, "add", (old, new), dtype, dtype)

    def _from_memory(self, value: Value, dtype: DType) -> Value:
        if dtype.kind != "b":
            return value
        return self.out.op(f"icmp ne {value}, {zero('i8', value.lanes).name}", "i1", value.lanes)

    def _to_memory(self, value: Value, dtype: DType) -> Value:
        if dtype.kind != "b":
            return value
        return self.out.op(f"zext {value} to {vector_type('i8', value.lanes)}", "i8", value.lanes)

    def live_lanes(self, live: Value, lanes: int) -> Value:
        """Mask of the first `live` lanes, of which there are at most `lanes`."""
        out = self.out
        element = "i8" if lanes <= 64 else "i32"
        narrow = spread(out, out.op(f"trunc {live} to {element}", element), lanes)
        return out.op(
            f"icmp ult {narrow.type} {iota(lanes, element).name}, {narrow.name}", "i1", lanes
        )
