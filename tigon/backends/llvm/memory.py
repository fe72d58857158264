"""Elements from and to memory, whole vectors or lane by lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tigon.backends.llvm.instructions import suffix
from tigon.backends.llvm.lanes import iota, shuffled, spread
from tigon.backends.llvm.scalar import emit_function
from tigon.backends.llvm.scopes import Scopes
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, literal, memory_type, vector_type, zero
from tigon.base.dtypes import DType
from tigon.loop.grammar import Buffer

_READERS = 4
"""Of one element, at most, for whose sake masks are put together."""


class Memory(Scopes):
    """Reads and writes buffers at the current place. `tail` is the mask of live lanes in the last,
    incomplete iteration of a vector loop."""

    def __init__(self, out: Function, buffers: Sequence[Buffer], target: Target) -> None:
        super().__init__(out)
        self.buffers = buffers
        self.target = target
        out.has_float16, out.has_fma = target.converts_float16, target.fused
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
                size = self.target.pointer_bytes
                found = self.out.op(f"load ptr, ptr {slot.name}, align {size}", "ptr")
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

    def read_one(self, pointer: Value, dtype: DType, mask: Value | None = None) -> Value:
        """The element at an address, if any lane may read it."""
        if mask is not None and mask.lanes > 1:
            mask = self.out.call(f"llvm.vector.reduce.or.v{mask.lanes}i1", "i1", 1, mask)
        if mask is not None:
            pointer = self.out.op(f"select {mask}, {pointer}, {self.dummy()}", "ptr")
        return self.read(pointer, dtype)

    def is_near(self, pattern: Sequence[int], mask: Value | None) -> bool:
        """Whether two vectors hold all that is read, and it is easily told what may be read."""
        readers = max(Counter(pattern).values())
        near = max(pattern) - min(pattern) < 2 * len(pattern)
        return near and (readers <= _READERS or mask is None or mask is self.tail)

    def read_pattern(
        self, pointer: Value, pattern: Sequence[int], dtype: DType, mask: Value | None = None
    ) -> Value:
        """Elements so far from an address, which are near each other: of one vector or of two, the
        second of which ends at the last of them."""
        lanes, least = len(pattern), min(pattern)
        pattern = [place - least for place in pattern]
        span = max(pattern) + 1
        if span == 1:
            return spread(self.out, self.read_one(pointer, dtype, mask), lanes)
        firsts = [0] if span <= lanes else [0, span - lanes]
        parts = []
        for first in firsts:
            width = min(span, lanes)
            live = (
                None
                if mask is None
                else self._wanted(mask, pattern, range(first, first + width), dtype)
            )
            away = literal(least + first, "i64")
            place = self.beside(pointer, away, dtype) if least + first else pointer
            parts.append(self.read(place, dtype, width, live))
        order = [place if place < lanes else place - firsts[-1] + lanes for place in pattern]
        return shuffled(self.out, parts[0], parts[-1], order)

    def _wanted(
        self, mask: Value, pattern: Sequence[int], places: Sequence[int], dtype: DType
    ) -> Value:
        """Of each place whether a lane that may read has its element there. Where lanes are live up
        to some number, the first of those that read it tells."""
        place = self.depth if self._place is None else self._place
        cache, key = self.scopes[place].cache, ("wanted", mask.name, *pattern, places[0])
        found = cache.get(key)
        if found is not None:
            return found
        out, element = self.out, f"i{8 * dtype.itemsize}"  # bits by themselves take many steps
        none = zero(element, mask.lanes)
        wide = out.op(f"sext {mask} to {none.type}", element, mask.lanes)
        readers = [[lane for lane, at in enumerate(pattern) if at == place] for place in places]
        for turn in range(1 if mask is self.tail else max(map(len, readers))):
            order = [lanes[turn] if turn < len(lanes) else mask.lanes for lanes in readers]
            some = shuffled(out, wide, none, order)
            text = f"or {found}, {some.name}"
            found = some if found is None else out.op(text, element, some.lanes)
        assert found is not None
        nothing = zero(element, found.lanes).name
        cache[key] = live = out.op(f"icmp ne {found}, {nothing}", "i1", found.lanes)
        return live

    def beside(self, pointer: Value, elements: Value, dtype: DType) -> Value:
        text = f"getelementptr {memory_type(dtype)}, ptr {pointer.name}, {elements}"
        return self.out.op(text, "ptr")

    def has_gather(self, dtype: DType) -> bool:
        return self.target.gathers and dtype.itemsize >= 4

    def gather(self, start: Value, offsets: Value, dtype: DType, mask: Value | None) -> Value:
        """Elements at start + offsets, in the lanes that `mask` allows."""
        out, element, lanes = self.out, memory_type(dtype), offsets.lanes
        if self.has_gather(dtype):
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
