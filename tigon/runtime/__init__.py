"""Floor 5: compiling graphs into programs, and finding them again.

>>> {"compilations", "native_calls", "bytes_peak"} <= set(stats())
True
"""

from tigon.runtime.counters import reset_peak, stats

__all__ = ["reset_peak", "stats"]
