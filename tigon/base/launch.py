"""What the environment says of a start by MPI: which rank of how many this process is.

Launchers set variables before MPI is there, so that seeds and threads are settled when the package
is imported, and a program without MPI never loads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Launch(NamedTuple):
    """A process among those that were started together."""

    rank: int
    size: int
    local_rank: int  # on its host
    local_size: int
    by: str  # what started it; empty: nothing did, it is alone


ALONE = Launch(0, 1, 0, 1, "")

# Per launcher: the variables of rank, size, rank on the host, ranks on the host. The first one that
# sets both rank and size is believed.
_VARIABLES = {
    "Open MPI": (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "PMI": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    "PMIx by Slurm": (
        "PMIX_RANK",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",
        "SLURM_STEP_TASKS_PER_NODE",
    ),
}
_PREFIXES = ("OMPI_COMM_WORLD_", "PMI_", "PMIX_", "MPI_LOCAL", "TIGON_RANK_PROCESS")


def launched_by(environment: Mapping[str, str]) -> Launch:
    """What the launcher says.

    >>> launched_by({"PMI_RANK": "1", "PMI_SIZE": "4"})
    Launch(rank=1, size=4, local_rank=1, local_size=4, by='PMI')
    >>> launched_by({})
    Launch(rank=0, size=1, local_rank=0, local_size=1, by='')
    """
    for by, names in _VARIABLES.items():
        rank, size, local_rank, local_size = (_number(environment.get(name)) for name in names)
        if rank is None or size is None:
            continue
        if local_rank is None or local_size is None:  # as if all were on one host
            local_rank, local_size = rank, size
        return Launch(rank, size, local_rank, local_size, by)
    return ALONE


def _number(text: str | None) -> int | None:
    """The number that a variable begins with: Slurm writes "4(x2)" for two hosts of four."""
    found = re.match(r"\d+", text or "")
    return None if found is None else int(found.group())


def without_launch(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is started by a rank and is none itself."""
    return {name: text for name, text in environment.items() if not name.startswith(_PREFIXES)}
