"""Print the packages of pyproject.toml: the dependencies and the extras named as arguments.

`make build` installs these without installing the project itself, so that the extension can be
built in place and incrementally.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def requirements(text: str, extras: list[str]) -> list[str]:
    """The requirements of a project file, read without `tomllib` (Python 3.10 lacks it).

    >>> requirements('dependencies = ["numpy>=1"]\\ntest = ["pytest"]', ["test"])
    ['numpy>=1', 'pytest']
    """
    found: list[str] = []
    for name in ["dependencies", *extras]:
        match = re.search(rf"^{name} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
        if match is None:
            raise SystemExit(f"pyproject.toml has no list {name!r}")
        found += re.findall(r'"([^"]+)"', match.group(1))
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    print("\n".join(requirements(project.read_text(), sys.argv[1:])))
