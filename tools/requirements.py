"""Print the packages of pyproject.toml: the dependencies and the extras named as arguments; of
`build` the tools that the extension is built with.

`make build` installs these without installing the project itself, so that the extension can be
built in place and incrementally. CMake is left out where there is one already: it is 86 MB.
"""

from __future__ import annotations

import re
import subprocess
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


CMAKE = (3, 18)


def build_tools(text: str, has_cmake: bool) -> list[str]:
    """What builds the extension in place.

    >>> build_tools('[build-system]\nrequires = ["nanobind>=2.4"]', True)
    ['nanobind>=2.4', 'ninja']
    >>> build_tools('[build-system]\nrequires = ["nanobind>=2.4"]', False)
    ['nanobind>=2.4', 'ninja', 'cmake>=3.18']
    """
    match = re.search(r"^requires = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert match is not None
    cmake = [] if has_cmake else [f"cmake>={CMAKE[0]}.{CMAKE[1]}"]
    return [*re.findall(r'"([^"]+)"', match.group(1)), "ninja", *cmake]


def has_cmake() -> bool:
    """Whether there is a CMake that is new enough."""
    try:
        said = subprocess.run(["cmake", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.search(r"(\d+)\.(\d+)", said.stdout)
    return found is not None and tuple(map(int, found.groups())) >= CMAKE


if __name__ == "__main__":
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    text, extras = project.read_text(), [name for name in sys.argv[1:] if name != "build"]
    tools = build_tools(text, has_cmake()) if "build" in sys.argv else []
    print("\n".join([*tools, *requirements(text, extras)]))
