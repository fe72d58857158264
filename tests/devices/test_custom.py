"""The tests of `tests.frontend.test_custom`, with arrays on `mirror(0)`: the code gets copies in
the processor's memory, and what it writes goes back."""

import pytest

from tests.frontend.test_custom import *  # noqa: F403

# Of operands that are elsewhere the gradient reads the copies.
del test_overwritten_operands_are_noticed  # noqa: F821

pytestmark = pytest.mark.usefixtures("on_mirror")
