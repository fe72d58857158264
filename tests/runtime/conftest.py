from __future__ import annotations

from collections.abc import Iterator

import pytest

from tigon import _native
from tigon.program import stored


@pytest.fixture
def four_threads() -> Iterator[None]:
    """Enough of them that things can happen at the same time, whatever the machine."""
    before = _native.num_threads()
    _native.set_num_threads(4)
    yield
    _native.waitall()
    _native.set_num_threads(before)


@pytest.fixture
def nothing_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are lowered, whatever earlier processes left on disk."""
    monkeypatch.setattr(stored, "key_of", lambda *_: None)


@pytest.fixture(autouse=True)
def nothing_pending() -> Iterator[None]:
    """Figures of one test do not hold what another left behind."""
    _native.waitall()
    yield
    _native.waitall()
