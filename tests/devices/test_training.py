"""The tests of `tests.gluon.test_training`, with arrays on `mirror(0)`."""

import pytest

from tests.gluon.test_training import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_mirror")
