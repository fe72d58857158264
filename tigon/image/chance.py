"""Where whatever is drawn in Python code for images and samples comes from: tigon's random stream.

So `mx.random.seed` decides it, and so does the place of a sample where a loader has given it a
stream of its own."""

from __future__ import annotations

from random import Random

from tigon.runtime import keys, tracing


def chance() -> Random:
    """A generator for one decision, or a few that belong together.

    >>> keys.seed(3)
    >>> first = chance().random()
    >>> keys.seed(3)
    >>> first == chance().random()
    True
    """
    tracing.needs_arrays("draws in Python code")
    seed, counter = keys.reserve(1)
    return Random((seed % (1 << 64) << 64) + counter)
