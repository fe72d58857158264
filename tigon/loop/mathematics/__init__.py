"""Elementary functions in the loop language: arithmetic, comparisons, selects and bit operations
only, without branches, so that every backend vectorises them alike. Each one's row stands over its
expansion, by subject; the bounds are tested.
"""

from tigon.loop.mathematics import (  # noqa: F401
    exponential,
    gamma,
    hyperbolic,
    logarithm,
    normal,
    power,
    trigonometric,
)
