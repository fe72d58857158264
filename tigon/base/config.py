"""What the environment sets: all variables that tigon reads, and nobody else reads them.

Those of the native runtime (`TIGON_NUM_THREADS`, `TIGON_ENGINE`, `TIGON_POOL_*`) are read in
`csrc/`, when it is loaded.
"""

from __future__ import annotations

import os

from tigon.base.launch import Launch, launched_by, without_launch

SWITCHES = {
    "TIGON_BACKEND": ("cpu", "what compiles: `cpu`, or `null`, which computes nothing"),
    "TIGON_CALLBACK_SECONDS": (
        "",
        "how long Python code of an operator may run while one waits for it; for ever",
    ),
    "TIGON_CACHE": ("", "folder of compiled programs; `0` keeps none on disk"),
    "TIGON_CHECK_INDICES": ("0", "`1`: indices out of range raise where MXNet clips them"),
    "TIGON_DEBUG": ("0", "`1`: tracebacks with our own frames; modules are verified"),
    "TIGON_DISABLE_PASSES": ("", "optional passes to leave out, by name, or `all`"),
    "TIGON_ENGINE": ("", "`naive`: every call ends before it returns"),
    "TIGON_LEVEL": (
        "",
        "level of the processor to generate code for, such as `x86-64-v3`; that of the machine",
    ),
    "TIGON_LIBRARY": ("1", "`0`: the code that the package brings is not used"),
    "TIGON_NOTICES": ("1", "`0`: no line on stderr where compiling takes more than a second"),
    "TIGON_NUM_THREADS": ("", "threads of the pool; those of the machine if not given"),
    "TIGON_RANK_PROCESS": ("", "set by tigon: the process that is a rank; what it starts is none"),
    "TIGON_RANK_TIMEOUT": ("300", "seconds that a rank waits for others before it ends all"),
    "TIGON_RANKS_PER_HOST": (
        "",
        "that many ranks of one host share memory, as if the others were elsewhere; all of them if "
        "not given",
    ),
    "TIGON_POOL_LIMIT": ("", "bytes of freed memory that are kept at most"),
    "TIGON_POOL_SECONDS": ("", "how long freed memory is kept"),
    "DMLC_NUM_WORKER": ("4", "how many ranks the message below speaks of"),
    "DMLC_ROLE": ("", "set for MXNet's scheduler and servers: `dist_sync` says to use mpiexec"),
    "MXNET_GLUON_REPO": (
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/",
        "where files of networks are said to be; nothing is downloaded",
    ),
    "MXNET_HOME": ("", "the folder that `mx.base.data_dir()` names; `~/.mxnet`"),
    "OMPI_MCA_mpi_ft_enable": ("0", "`1`, set by `mpiexec --with-ft ulfm`: ranks may be lost"),
    "MXNET_PROFILER_AUTOSTART": ("0", "`1`: a profile is taken from the import on (`mx.profiler`)"),
    "MXNET_ENGINE_TYPE": ("", "`NaiveEngine`: as `TIGON_ENGINE=naive`"),
}
"""Default and meaning of each; set to "1" means on."""


def text(name: str) -> str:
    """What a variable is set to, or its default. Read at each call: tests and users set them late.

    >>> text("TIGON_BACKEND")
    'cpu'
    """
    default, _ = SWITCHES[name]
    return os.environ.get(name, default)


def is_on(name: str) -> bool:
    """Whether it is set to 1."""
    return text(name) == "1"


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that is started: this one's, with changes. Of several that a
    launcher has started it is none."""
    return {**without_launch(os.environ), **changes}


def launched() -> Launch:
    """Which rank of how many this process is, as its launcher says; once ranks were lost, among
    those that are left.

    >>> launched()
    Launch(rank=0, size=1, local_rank=0, local_size=1, by='')
    """
    return _left[-1] if _left else launched_by(os.environ)


_left: list[Launch] = []


def go_on_as(launch: Launch) -> None:
    """Ranks were lost, and those that are left are numbered anew."""
    _left[:] = [launch]


def set_unless_set(name: str, value: str) -> None:
    """Choose what a library reads when it is loaded, where the user has not."""
    os.environ.setdefault(name, value)


def note_rank_process() -> None:
    """This process is the rank; those that it starts find that in their environment."""
    os.environ.setdefault("TIGON_RANK_PROCESS", str(os.getpid()))


def rank_process() -> int:
    """The process that is the rank of this one's number: itself, or the one that started it."""
    given = text("TIGON_RANK_PROCESS")
    return int(given) if given.isdecimal() else os.getpid()
