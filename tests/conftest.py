"""What every folder of tests shares."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tigon import _native

COUNTERS_OF_MEMORY = frozenset(("bytes_now", "bytes_peak", "tape_nodes"))


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


def _texts(constants: tuple[object, ...]) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from _texts(constant)
        elif hasattr(constant, "co_consts"):
            yield from _texts(constant.co_consts)
