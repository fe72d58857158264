"""The second device: `mirror(0)` and `mirror(1)`, with memory of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tigon import _native
from tigon.context import Context, register_device_kind

try:
    from tests.devices import _mirror
except ImportError:  # pragma: no cover
    _mirror = None

if _mirror is not None:
    register_device_kind(_mirror.kind())


def mirror(number: int = 0) -> Context:
    return Context("mirror", number)


@pytest.fixture(autouse=True)
def memory_is_ones_own() -> Iterator[Any]:
    """Nothing that ran on the device touched memory of others."""
    if _mirror is None:
        pytest.skip("tests/devices/_mirror is not built; run make build")
    _mirror.take_violations()
    yield
    _native.set_recording(False)
    _native.waitall()
    assert _mirror.take_violations() == []


@pytest.fixture
def on_mirror() -> Iterator[None]:
    """Whatever is made is made there."""
    with mirror():
        yield
