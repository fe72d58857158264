"""`tigon.init`: short for `tigon.initializer`."""

from tigon.initializer import *  # noqa: F403
from tigon.initializer import __all__ as __all__
from tigon.initializer import __getattr__ as __getattr__
