"""The tests of `tests.gluon.test_forks` and of programs that decide, with arrays on `mirror(0)`:
segments run where the arrays of the call are, and values come from there."""

from __future__ import annotations

import pytest

from tests.devices.conftest import mirror
from tests.gluon import test_deciding
from tests.gluon.test_deciding import *  # noqa: F403
from tests.gluon.test_forks import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_mirror", "constant_on_mirror")


@pytest.fixture
def constant_on_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the programs hold was made before."""
    held = test_deciding.CONSTANT.as_in_context(mirror())
    monkeypatch.setattr(test_deciding, "CONSTANT", held)
