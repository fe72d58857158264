"""`python -m tigon program.py arguments...`: run a program that was written for MXNet.

As `python program.py arguments...`, but `import mxnet` gives tigon. `python -m tigon -m module`
runs a module, as Python's own `-m` does.
"""

from __future__ import annotations

import os
import runpy
import sys

from tigon.as_mxnet import install_as_mxnet

USAGE = "usage: python -m tigon program.py [arguments], or python -m tigon -m module [arguments]"


def main() -> None:
    """Run what the command line names."""
    given = sys.argv[1:]
    if given[:1] in (["-h"], ["--help"]):
        print(f"{USAGE}\n`import mxnet` then gives tigon.")
        return
    is_module = given[:1] == ["-m"]
    given = given[is_module:]
    if not given or given[0].startswith("-"):
        sys.exit(USAGE)
    install_as_mxnet()
    sys.argv[:] = given
    if is_module:
        runpy.run_module(given[0], run_name="__main__", alter_sys=True)
        return
    program = given[0]
    if not os.path.exists(program):
        sys.exit(f"tigon: expected a program; there is no {program!r}\n{USAGE}")
    # Python puts the folder of a program where that of `-m` is now.
    sys.path[0] = os.path.dirname(os.path.realpath(program))
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
