"""The tests of `tests.gluon.test_views`, with arrays on `mirror(0)`."""

import pytest

from tests.gluon.test_views import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_mirror")
