"""What model files hold.

    python -m tigon.tools.inspect net-symbol.json net-0001.params

prints of each its format and version, its inputs and parameters (name, dtype, shape, bytes), how
often each operator stands in it, and which of its operators are missing here, with their nodes and
what to do. Nothing of a file is run, and no values are made. The program ends with status 1 where a
file cannot be read, and 0 otherwise.
"""

from __future__ import annotations

import argparse
import mmap
import os
import sys
from collections.abc import Sequence

from tigon.base import TigonError, check
from tigon.base.files import AnyPath
from tigon.base.foreign import kind_of
from tigon.tools.inspection.formats import FORMATS
from tigon.tools.inspection.report import Report


def inspect(path: AnyPath) -> Report:
    """What the file at `path` holds. Raises a `TigonError` with the place where it is damaged, or
    that says which formats are known.

    >>> import tempfile
    >>> from tigon import nd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nd.save(folder + "/net.params", {"arg:w": nd.ones((2, 3))})
    ...     print(inspect(folder + "/net.params").text())
    MXNet's .params, version 2
    names: of arguments (arg:) and auxiliary states (aux:), beside a -symbol.json
    parameters (1, 24 bytes)
      arg:w  float32  (2, 3)  24 bytes
    """
    with open(path, "rb") as file:
        empty = os.fstat(file.fileno()).st_size == 0
        # Of a large file the pages that hold headers are read, and no others.
        mapped = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return inspect_content(memoryview(mapped), os.fsdecode(path))


def inspect_content(content: memoryview, path: str) -> Report:
    """The same of the bytes of a file. Its `path` counts where content alone does not tell."""
    for format in FORMATS:
        if format.is_one(content, path):
            return format.describe(content, path)
    foreign = kind_of(content)
    check(foreign is None, path, f"nothing is read of {foreign}")
    raise TigonError(
        f"{path}: it begins with {bytes(content[:16])!r}, as no format that is known here; known "
        f"are {', '.join(format.name for format in FORMATS)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; gives its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tigon.tools.inspect", description="What model files hold."
    )
    parser.add_argument("file", nargs="+", help="graphs, parameters, configurations, record files")
    status = 0
    for number, path in enumerate(parser.parse_args(arguments).file):
        try:
            print(f"{chr(10) * (number > 0)}{path}: {inspect(path).text()}")
        except (TigonError, OSError) as error:
            print(error, file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
