"""How much of a loop one point of a space handles: what runs in parallel, and in which parts."""

from __future__ import annotations

BLOCK = 4096
"""Elements of a long vector loop that one point of the space handles."""

COLUMN_BLOCK = 256
"""The same for columns, when the point runs over all rows."""
