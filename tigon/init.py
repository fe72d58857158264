"""`tigon.init`: short for `tigon.initializer`."""

from tigon.initializer import *  # noqa: F403
from tigon.initializer import __all__ as __all__
