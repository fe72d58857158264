"""The tests of `tests.frontend.test_autograd`, with arrays on `mirror(0)`."""

import pytest

from tests.frontend.test_autograd import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_mirror")
