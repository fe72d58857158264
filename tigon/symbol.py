"""`tigon.symbol` is `tigon.sym`, as in MXNet."""

import sys

from tigon import sym

sys.modules[__name__] = sym
