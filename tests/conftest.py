"""What every folder of tests shares."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tigon import _native

# Compiling makes many objects, and tests mostly compile: with Python's own 700 a twentieth of their
# time is spent on looking for cycles.
gc.set_threshold(100_000, 20, 20)

COUNTERS_OF_MEMORY = frozenset(("bytes_now", "bytes_peak", "tape_nodes"))


@pytest.fixture(autouse=True, scope="module")
def collections_look_at_what_is_new() -> None:
    """What earlier files have left is a gigabyte at the end, which takes a second to go through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_is_freed_meanwhile(request: pytest.FixtureRequest) -> Iterator[None]:
    """While a test counts memory, the collector must not free what earlier tests left behind."""
    code = getattr(getattr(request.node, "function", None), "__code__", None)
    if code is None or not COUNTERS_OF_MEMORY.intersection(_texts(code.co_consts)):
        yield
        return
    _native.waitall()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Where several processes run tests, the others wait for those that are marked `alone`."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    folder = item.config._tmp_path_factory.getbasetemp().parent  # that of all of them
    with _turn(folder, item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _turn(folder: Path, alone: bool) -> Iterator[None]:
    """Hold a lock, for oneself or with others. Whoever waits for it holds the line: processes that
    share it one after the other would keep those out that want it for themselves. Unlocked by
    name, as children of a test may still have the files open."""
    with open(folder / "line", "w") as line, open(folder / "turn", "w") as turn:
        fcntl.flock(line, fcntl.LOCK_EX)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(line, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)


def _texts(constants: tuple[object, ...]) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from _texts(constant)
        elif hasattr(constant, "co_consts"):
            yield from _texts(constant.co_consts)
