"""What front ends import of this package: little, until somebody exports."""

from __future__ import annotations

from types import ModuleType


def on_demand() -> ModuleType:
    """`tigon.standalone.specs`, which imports what generates code."""
    import tigon.standalone.specs as specs

    return specs
