"""Floor 4: what runs beside programs: counters, random keys, and where front ends learn of traces.

>>> {"compilations", "native_calls", "bytes_peak"} <= set(stats())
True
"""

from tigon.base.lazy import complete as _complete
from tigon.runtime.counters import reset_peak, stats

__all__ = ["reset_peak", "stats"]

_complete(globals())
