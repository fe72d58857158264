"""What those who export have asked for, as errors call it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import check


def verb(system: str) -> str:
    """What errors begin with.

    >>> verb("linux"), verb("web")
    ('export_native', 'export_wasm')
    """
    return "export_wasm" if system == "web" else "export_native"


def native_options(
    target: str | Sequence[str], weights: str, prefix: str | None, system: str
) -> dict[str, Any]:
    """What `export_native` was asked for.

    >>> native_options("native", "inside", None, "linux")["target"]
    'native'
    """
    check(
        system != "web",
        "export_native",
        "system: expected 'linux', 'windows' or 'macos'; given 'web'; modules for browsers and "
        "Node are written by export_wasm",
    )
    return {"target": target, "weights": weights, "prefix": prefix, "system": system}


def web_options(weights: str) -> dict[str, Any]:
    """The same of `export_wasm`."""
    return {"weights": weights, "system": "web"}
