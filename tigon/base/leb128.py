"""Numbers in groups of seven bits, as WebAssembly, Mach-O and protocol buffers write them."""

from __future__ import annotations


def leb128(number: int) -> bytes:
    """A number of 0 or more, its least bits first; every byte but the last has its highest bit set.

    >>> leb128(300)
    b'\\xac\\x02'
    """
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
