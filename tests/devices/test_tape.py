"""The tests of `tests.frontend.test_autograd`, with arrays on `mirror(0)`."""

import pytest

import tests.frontend.test_autograd as on_the_host
from tests.frontend.test_autograd import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_mirror")


AT_ONCE = sorted(set(on_the_host.FAILING) - {"index", "indices", "matrix"})
"""What fails in a kernel is known later here, and leaves an array without a value."""


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_failed_write_changes_nothing(name: str) -> None:
    on_the_host.test_a_failed_write_changes_nothing(name)
