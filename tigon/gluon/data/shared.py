"""Batches from a worker process in memory that both processes have: nothing is copied on the way.

A worker has one file without a name, which grows by slots. A batch lies in a slot: what is pickled
and sent is how it is put together, and where its arrays are. The loop's process makes arrays of
that memory; when the last of them is gone, the worker is told that the slot is free."""

from __future__ import annotations

import mmap
import os
import pickle
import weakref
from collections.abc import Sequence
from io import BytesIO
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from tigon import nd
from tigon.base import as_dtype
from tigon.base.files import grow
from tigon.context import current_context
from tigon.nd.views import host

_ALIGNED = 64
_PAGE = max(mmap.ALLOCATIONGRANULARITY, 1 << 16)
_SHORT = 4096
"""Bytes that are sent as they are; more go into the slot, so that no pipe is ever full."""


class Message(NamedTuple):
    """A batch: pickled without its arrays (None: that is the last span), the slot, and the spans
    of the arrays in it."""

    pickled: bytes | None
    offset: int
    capacity: int
    spans: list[tuple[int, int]]


class _Slot:
    def __init__(self, descriptor: int, offset: int, capacity: int) -> None:
        self.offset = offset
        self.capacity = capacity
        self.memory = mmap.mmap(descriptor, capacity, offset=offset)
        self.is_sent = False
        self._whole: Any = None

    def whole(self) -> np.ndarray:
        """All of it; known as long as something of it is used."""
        found = None if self._whole is None else self._whole()
        if found is None:
            found = np.frombuffer(self.memory, np.uint8).view(_Whole)
            self._whole = weakref.ref(found)
        return found

    def is_free(self) -> bool:
        """Neither sent, nor kept by code of the dataset."""
        return not self.is_sent and (self._whole is None or self._whole() is None)


class _Whole(np.ndarray):
    """Views of an array of another class refer to it, and not to what it is of."""


class Arena:
    """The slots of a worker, in the worker."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._end = 0
        self._slots: dict[int, _Slot] = {}
        self._usual = 0
        self._slot: _Slot | None = None
        self._used = 0
        self._samples = self._sample = 0
        self._rows: dict[tuple[tuple[int, ...], str, int], int] = {}
        self._asked: dict[tuple[tuple[int, ...], str], int] = {}
        self._lent: list[weakref.ref[np.ndarray]] = []
        self._found: set[Any] = set()
        self._useful: set[Any] | None = None
        """Which rows became batches where they lay; None: that is to be seen."""
        self._lends = True
        self._kept = 0
        self._thread = get_ident()

    def begin(self) -> None:
        """A batch is made, of about the size of the last one."""
        self._used = self._samples = 0
        self._slot = self._find(self._usual) if self._usual else None
        self._rows.clear()
        self._found.clear()
        self._lent.clear()

    def begin_sample(self, sample: int, count: int) -> None:
        """The batch's sample of this number, of so many, is made."""
        self._sample, self._samples = sample, count
        self._asked.clear()

    def lend(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array for the sample that is made, where the batch of such lies if nothing else
        happens to them: side by side in the slot."""
        if get_ident() != self._thread:
            return np.empty(shape, dtype)
        kind = (shape, dtype.str)
        time = self._asked[kind] = self._asked.get(kind, -1) + 1
        row = (*kind, time)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        begin = self._rows.get(row)
        if begin is None:
            if self._useful is not None and row not in self._useful:
                return np.empty(shape, dtype)
            begin, need = self._used, size * self._samples
            can = self._lends and self._slot is not None and self._samples > 0 < size
            if not can or begin + need > self._slot.capacity:  # type: ignore[union-attr]
                return np.empty(shape, dtype)
            self._rows[row] = begin
            self._used = _aligned(begin + need)
        assert self._slot is not None
        begin += size * self._sample
        part = self._slot.whole()[begin : begin + size].view(np.ndarray)
        part = part.view(dtype).reshape(shape)
        self._lent.append(weakref.ref(part))
        return part

    def side_by_side(self, parts: Sequence[np.ndarray]) -> np.ndarray | None:
        """The batch of arrays that were lent, where they lie; None if they are others."""
        first = parts[0]
        if self._slot is None or not self._lent or len(parts) != self._samples:
            return None
        begin = _address(first) - _address(self._slot.whole())
        row = next((row for row, place in self._rows.items() if place == begin), None)
        if row is None:
            return None
        for place, part in enumerate(parts):
            follows = _address(part) == _address(first) + place * first.nbytes
            if not (follows and part.flags.c_contiguous and part.dtype == first.dtype):
                return None
        self._found.add(row)
        whole = self._slot.whole()[begin : begin + len(parts) * first.nbytes].view(np.ndarray)
        return whole.view(first.dtype).reshape(len(parts), *first.shape)

    def release(self, offsets: Sequence[int]) -> None:
        """The other process has no arrays in these any more."""
        for offset in offsets:
            self._slots[offset].is_sent = False

    def _find(self, size: int) -> _Slot:
        fitting = [s for s in self._slots.values() if s.capacity >= size and s.is_free()]
        if fitting:
            return min(fitting, key=lambda slot: slot.capacity)
        unit = max(_PAGE, 1 << max(size.bit_length() - 3, 0))  # few sizes, of little waste
        capacity = -(-size // unit) * unit
        grow(self._descriptor, self._end + capacity)
        slot = _Slot(self._descriptor, self._end, capacity)
        self._slots[slot.offset] = slot
        self._end += capacity
        return slot

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array in the slot, if there is room."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        begin = self._used
        if self._slot is None or size == 0 or begin + size > self._slot.capacity:
            return np.empty(shape, dtype)
        self._used = _aligned(begin + size)
        part = self._slot.whole()[begin : begin + size].view(np.ndarray)
        return part.view(dtype).reshape(shape)

    def pack(self, batch: Any) -> Message:
        """What is sent of a batch; what is not in the slot yet is copied into it."""
        found: list[pickle.PickleBuffer] = []
        pickled: bytes | None = dumps(batch, found)
        parts = [np.frombuffer(one.raw(), np.uint8) for one in found]
        if len(pickled or b"") > _SHORT:
            parts.append(np.frombuffer(pickled or b"", np.uint8))
            pickled = None
        if not any(part.size for part in parts):
            return Message(pickled, -1, 0, [(0, 0)] * len(parts))
        if self._rows:  # those that were in vain, as of samples of many shapes, only cost memory
            self._useful = set(self._found)
        elif self._useful:  # samples have another shape now
            self._useful = None
        if any(lent() is not None for lent in self._lent):
            # Code of the dataset keeps samples, which the other process may write to. One that is
            # kept keeps a whole slot: where that is the rule, samples have memory of their own.
            self._kept += 1
            self._lends = self._kept < 2
            self._slot, self._used = None, 0
        elif self._lent:
            self._kept = 0
        spans, copied, need = self._spans(parts)
        slot = self._slot
        if slot is None or need > slot.capacity:
            self._slot, self._used = None, 0
            spans, copied, need = self._spans(parts)
            slot = self._find(need)
        whole = slot.whole()
        for place in copied:
            begin, end = spans[place]
            whole[begin:end] = parts[place]
        self._usual = need
        slot.is_sent = True
        self._slot = None
        return Message(pickled, slot.offset, slot.capacity, spans)

    def _spans(self, parts: list[np.ndarray]) -> tuple[list[tuple[int, int]], list[int], int]:
        """Where each is, or will be; which are copied; how much there is in all."""
        start = limit = -1
        if self._slot is not None:
            start = _address(self._slot.whole())
            limit = start + self._used
        spans, copied, used = [], [], self._used
        for place, part in enumerate(parts):
            address = _address(part)
            if part.size and start <= address < limit:
                spans.append((address - start, address - start + part.size))
                continue
            spans.append((used, used + part.size))
            copied.append(place)
            used = _aligned(used + part.size)
        return spans, copied, used


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


class _Lease(weakref.ref):  # type: ignore[type-arg]
    """Says when a batch is gone, by a function of C: in one of Python, Ctrl-C would be lost."""

    __slots__ = ("offset",)
    offset: int


class Mapped:
    """The slots of a worker, in the process of the loop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory: dict[int, mmap.mmap] = {}
        self._leases: dict[int, _Lease] = {}
        self._ended: list[_Lease] = []

    def unpack(self, message: Message) -> Any:
        """The batch, in the memory of the slot."""
        pickled, offset, capacity, spans = message
        if offset < 0:
            return pickle.loads(pickled or b"", buffers=[bytearray() for _ in spans])
        memory = self._memory.get(offset)
        if memory is None:
            memory = self._memory[offset] = mmap.mmap(self._descriptor, capacity, offset=offset)
        whole = np.frombuffer(memory, np.uint8).view(_Whole)
        lease = self._leases[offset] = _Lease(whole, self._ended.append)
        lease.offset = offset
        parts = [whole[begin:end].view(np.ndarray) for begin, end in spans]
        if pickled is None:
            pickled = parts.pop().tobytes()
        return pickle.loads(pickled, buffers=parts)

    def released(self) -> list[int]:
        """The slots whose batches have gone since it was asked last."""
        found = []
        while self._ended:
            found.append(self._ended.pop().offset)
            del self._leases[found[-1]]
        return found

    def close(self) -> None:
        """Arrays that are still used keep their memory."""
        os.close(self._descriptor)
        self._memory.clear()


# ------------------------------------------------------------------------- arrays in it

_arena: Arena | None = None


def is_worker() -> bool:
    """Whether this process is one that loads batches for another one."""
    return _arena is not None


def use(arena: Arena) -> None:
    """This process is a worker from now on."""
    global _arena
    _arena = arena


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory for a part of a batch: in a worker, that which the other process has, too."""
    return np.empty(shape, dtype) if _arena is None else _arena.empty(shape, dtype)


def begin_sample(sample: int, count: int) -> None:
    """The batch's sample of this number, of so many, is made."""
    if _arena is not None:
        _arena.begin_sample(sample, count)


def lend(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory for what becomes of a sample: in a worker, where its batch will lie."""
    return np.empty(shape, dtype) if _arena is None else _arena.lend(shape, dtype)


def side_by_side(parts: Sequence[np.ndarray]) -> np.ndarray | None:
    """The batch of samples in memory that was lent for them, not copied; else None."""
    return None if _arena is None else _arena.side_by_side(parts)


def array_of(values: np.ndarray) -> Any:
    """An array of memory that nobody else writes, not copied where that is possible."""
    context = current_context()
    if values.size == 0 or values.dtype.kind == "b" or not values.flags.writeable:
        return nd.array(values, dtype=values.dtype)
    made = nd.from_dlpack(values)
    return made if made.context == context else made.as_in_context(context)


class _Pickler(pickle.Pickler):
    """Arrays of ours as numpy's, whose content stays outside."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, nd.NDArray) and value.dtype_code in _BY_NUMPY:
            return array_of, (host(value),)
        return NotImplemented


_BY_NUMPY = frozenset(
    as_dtype(name).code
    for name in """float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64
    bool""".split()
)


def dumps(value: Any, buffers: list[pickle.PickleBuffer]) -> bytes:
    """Pickled, and the contents of arrays beside."""
    file = BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    return file.getvalue()
