"""Floor 5: compiling graphs into programs, and finding them again.

>>> sorted(stats())[:3]
['arena_bytes', 'bytes_now', 'bytes_peak']
"""

from tigon.runtime.counters import reset_peak, stats

__all__ = ["reset_peak", "stats"]
