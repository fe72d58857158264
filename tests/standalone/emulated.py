"""Libraries for AArch64, run by an emulator of the processor (`unicorn`), which answers the few
calls to the system that the runtime makes."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import numpy as np
import unicorn
from unicorn import arm64_const as arm

from tests.standalone.foreign import Array, Options

_IMAGE, _STACK, _HEAP, _END = 0x100000000, 0x200000000, 0x300000000, 0x400000000
_MAP, _UNMAP, _ADVISE = 222, 215, 233


class Emulated:
    """One library in one emulator."""

    def __init__(self, content: bytes) -> None:
        self._machine = machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        machine.mem_map(_IMAGE, 1 << 24)
        machine.mem_map(_STACK, 1 << 22)
        machine.mem_map(_END, 1 << 12)
        machine.reg_write(arm.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # vectors are switched on
        self._free = _HEAP
        (programs,) = struct.unpack_from("<H", content, 56)
        for number in range(programs):
            kind, _, at, address, _, size = struct.unpack_from("<IIQQQQ", content, 64 + 56 * number)
            if kind == 1:
                machine.mem_write(_IMAGE + address, content[at : at + size])
            if kind == 2:
                entries = struct.unpack_from(f"<{size // 8}q", content, at)
                self._dynamic = dict(zip(entries[::2], entries[1::2], strict=True))
        self._content = content
        machine.hook_add(unicorn.UC_HOOK_INTR, self._system_call)

    def _system_call(self, machine: Any, number: int, _: Any) -> None:
        call = machine.reg_read(arm.UC_ARM64_REG_X8)
        size = machine.reg_read(arm.UC_ARM64_REG_X1)
        assert call in (_MAP, _UNMAP, _ADVISE), call
        machine.reg_write(arm.UC_ARM64_REG_X0, self.take(size) if call == _MAP else 0)

    def take(self, size: int) -> int:
        """The address of fresh memory."""
        at, length = self._free, -(-size // 4096) * 4096
        self._machine.mem_map(at, length)
        self._free += length
        return at

    def put(self, content: bytes) -> int:
        at = self.take(max(1, len(content)))
        self._machine.mem_write(at, content)
        return at

    def call(self, name: str, *arguments: int) -> int:
        """What the function of that name gives."""
        for number, each in enumerate(arguments):
            self._machine.reg_write(arm.UC_ARM64_REG_X0 + number, each)
        self._machine.reg_write(arm.UC_ARM64_REG_SP, _STACK + (1 << 22) - 256)
        self._machine.reg_write(arm.UC_ARM64_REG_LR, _END)
        self._machine.emu_start(_IMAGE + self._address(name), _END)
        return int(self._machine.reg_read(arm.UC_ARM64_REG_W0))

    def _address(self, name: str) -> int:
        symbols, names = self._dynamic[6], self._dynamic[5]
        for at in range(symbols + 24, names, 24):
            text, _, _, _, address, _ = struct.unpack_from("<IBBHQQ", self._content, at)
            begin = names + text
            if self._content[begin : self._content.index(b"\0", begin)].decode() == name:
                return int(address)
        raise KeyError(name)

    def run(self, array: np.ndarray, result: np.ndarray) -> np.ndarray:
        """One run of a fresh instance of `model`, for rows of one input and one output."""
        largest = self.put(struct.pack("<q", len(array)))
        options = Options(size=ctypes.sizeof(Options))
        ctypes.c_uint64.from_buffer(options, Options.largest.offset).value = largest
        place = self.put(bytes(8))
        assert self.call("model_create", self.put(bytes(options)), place) == 0
        (instance,) = struct.unpack("<Q", self._machine.mem_read(place, 8))
        shape = (ctypes.c_int64 * 8)(*array.shape)
        given = Array(self.put(array.tobytes()), array.nbytes, 0, array.ndim, shape)
        at = self.take(result.nbytes)
        made = Array(at, result.nbytes)
        arguments = [self.put(bytes(each)) for each in (given, made)]
        assert self.call("model_run", instance, *arguments) == 0
        content = bytes(self._machine.mem_read(at, result.nbytes))
        return np.frombuffer(content, result.dtype).reshape(result.shape)
