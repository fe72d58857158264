"""The tests of `tests.frontend.test_ndarray`, with arrays on `mirror(0)`."""

import pytest

from tests.frontend.test_ndarray import *  # noqa: F403

# Left out: what says or asks where arrays are, or shares memory with others.
del test_repr_is_mxnets  # noqa: F821
del test_copies_and_pickles  # noqa: F821
del test_dlpack_shares_memory  # noqa: F821
del test_dlpack_versions_and_copies  # noqa: F821
del test_a_context_manager_chooses_the_device  # noqa: F821

pytestmark = pytest.mark.usefixtures("on_mirror")
