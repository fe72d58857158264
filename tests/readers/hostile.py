"""Many damaged files for one reader: `python -m tests.readers.hostile onnx 100000 7` tries so many,
from a seed, and prints how many were read and refused. Each reader's tests try some of the same.

A file is read, or refused by a `TigonError` that says where; what else happens (another error, a
hang, depth, memory that the file does not warrant) ends the run with the file.
"""

from __future__ import annotations

import random
import re
import signal
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import tigon as mx

EXTREMES = [0, 1, 2, 31, 32, 33, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1,
            2**63, 2**64 - 1]  # fmt: skip


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """A few bytes otherwise: bits, numbers that mean something, what is left out or twice."""
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(content) + 1)
        kind = draw.randrange(6)
        if kind == 0:
            content = content[:place]
        elif kind == 1 and place < len(content):
            bit = content[place] ^ (1 << draw.randrange(8))
            content = content[:place] + bytes([bit]) + content[place + 1 :]
        elif kind == 2:  # sizes, counts, extents, codes
            width = draw.choice([1, 4, 8])
            number = draw.choice(EXTREMES) % 2 ** (8 * width)
            place -= place % 4
            content = content[:place] + number.to_bytes(width, "little") + content[place + width :]
        elif kind == 3:
            content = content[:place] + draw.randbytes(draw.randint(1, 9)) + content[place:]
        elif kind == 4:
            content = content[:place] + content[place + draw.randint(1, 16) :]
        else:
            other = draw.randrange(len(content) + 1)
            content = content[:place] + content[other : other + 24] + content[place:]
        if not content:
            return content
    return content


Case = tuple[Callable[[bytes], object], bytes]
"""A function that reads, and what it is to read."""


class Hostile(NamedTuple):
    """How the files of one reader are damaged, and what is said of them."""

    draw: Callable[[random.Random], Case]
    said: re.Pattern[str]
    """What errors begin with: file and position."""
    memory: int = 4 << 20
    """Bytes that a file of some kilobytes may make the reader take."""


LONGEST = 10
"""Seconds of the processor that one file may take."""


class Hang(BaseException):
    """A file takes too long. No reader catches it."""


@contextmanager
def _no_hang(content: bytes) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang(f"takes longer than {LONGEST} s: {content!r}")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run(hostile: Hostile, count: int, seed: int | str, measured: int = 0) -> tuple[int, int]:
    """How many of `count` were read, and how many refused. The memory of the last `measured` is
    looked at, which takes several times as long."""
    draw, read = random.Random(seed), 0
    try:
        for number in range(count):
            if number == count - measured:
                tracemalloc.start()
            function, content = hostile.draw(draw)
            if number >= count - measured:
                tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            read += _try(hostile, function, content)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < hostile.memory + 100 * len(content), (peak - before, content)
    finally:
        tracemalloc.stop()
    return read, count - read


def _try(hostile: Hostile, function: Callable[[bytes], object], content: bytes) -> bool:
    try:
        with _no_hang(content):
            function(content)
        return True
    except mx.TigonError as error:
        told = str(error)
        assert hostile.said.match(told) and len(told) < 4000, (told, content)
        return False
    except Exception as error:
        raise AssertionError((function, content)) from error


def readers() -> dict[str, Hostile]:
    """By name, the files of each reader."""
    from tests.caffe import hostile as caffe
    from tests.contrib import cxxnet_hostile as cxxnet
    from tests.formats import hostile as formats
    from tests.onnx_files import hostile as onnx

    every = {"onnx": onnx.HOSTILE}
    for name, kinds in {"caffe": caffe.HOSTILE, "cxxnet": cxxnet.HOSTILE}.items():
        every |= {f"{name} {kind}": own for kind, own in kinds.items()}
    return every | formats.HOSTILE


def main(name: str, count: int, seed: str, start: int = 0) -> None:
    """Try those from `start` to `count`, a thousand at a time, and tell how far it is."""
    every = readers()
    if name not in every:
        raise SystemExit(f"there is no reader '{name}'; there are {', '.join(every)}")
    hostile, read, refused, begun = every[name], 0, 0, time.monotonic()
    for part in range(start, count, 1000):
        some = min(1000, count - part)
        found = run(hostile, some, f"{seed}:{part}", some // 20)
        read, refused = read + found[0], refused + found[1]
        seconds = time.monotonic() - begun
        print(f"{name}: {read} read, {refused} refused, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
