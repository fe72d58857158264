"""Floor 4: what runs beside programs: counters, random keys, and where front ends learn of traces.

It is also `mx.runtime`: `Features` says what this installation can do.

>>> {"compilations", "native_calls", "bytes_peak"} <= set(stats())
True
"""

from typing import TYPE_CHECKING

from tigon.base.lazy import imported_on_demand
from tigon.runtime.counters import reset_peak, stats

if TYPE_CHECKING:
    from tigon.runtime.features import Feature, Features, feature_list
else:
    imported_on_demand(
        globals(),
        {
            name: f"tigon.runtime.features:{name}"
            for name in ("Feature", "Features", "feature_list")
        },
    )

__all__ = ["Feature", "Features", "feature_list", "reset_peak", "stats"]
