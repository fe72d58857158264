"""`gluon.contrib.data`: a sampler, which is in `gluon.data`, too."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.data.sampler import IntervalSampler

__all__ = ["IntervalSampler"]

_complete(globals())
