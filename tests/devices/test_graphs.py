"""The tests of `tests.gluon.test_hybridize`, with arrays on `mirror(0)`."""

import pytest

from tests.gluon.test_hybridize import *  # noqa: F403

# Left out: texts that name the device, and threads, which have devices of their own.
del test_the_documents_print_shows_arrays_then_symbols_once_then_nothing  # noqa: F821
del test_explain_tells_why  # noqa: F821

pytestmark = pytest.mark.usefixtures("on_mirror")
