"""The tests of `tests.ops.test_factorizations`, with arrays on `mirror(0)`: what calls a library is
a launch like any other."""

import pytest

from tests.ops.test_factorizations import *  # noqa: F403

# Left out: other processes, and settings of the host.
del test_a_later_process_finds_the_routines  # noqa: F821
del test_without_scipy_the_message_says_what_to_install  # noqa: F821
del test_the_threads_of_the_library_are_the_users  # noqa: F821

pytestmark = pytest.mark.usefixtures("on_mirror")
