"""The formats, in the order in which files are compared with them."""

from __future__ import annotations

from tigon.tools.inspection import arrays, configurations, graphs, records
from tigon.tools.inspection.report import Format

FORMATS: tuple[Format, ...] = (
    *arrays.FORMATS,
    *graphs.FORMATS,
    *records.FORMATS,
    *configurations.FORMATS,
)
