"""The tests of `tests.ops.test_control`, with arrays on `mirror(0)`: a loop runs its programs where
its arrays are."""

import pytest

from tests.ops.test_control import *  # noqa: F403

del test_programs_with_loops_are_found_on_disk  # noqa: F821 (other processes)

pytestmark = pytest.mark.usefixtures("on_mirror")
