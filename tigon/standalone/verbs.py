"""What those who export have asked for, as errors call it."""

from __future__ import annotations


def verb(system: str) -> str:
    """What errors begin with.

    >>> verb("linux"), verb("web")
    ('export_native', 'export_wasm')
    """
    return "export_wasm" if system == "web" else "export_native"
