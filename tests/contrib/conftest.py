"""Mixed precision ends with the test that began it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tigon.contrib import amp


@pytest.fixture(autouse=True)
def not_initialized() -> Iterator[None]:
    yield
    amp.amp._uninstall()
