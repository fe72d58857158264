"""All ranks that were started together: who they are, where, and how they add up.

MPI is loaded when a program first asks for what needs other ranks; a process that nothing has
started with others is rank 0 of 1, and never loads it.
"""

from __future__ import annotations

import atexit
import json
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

import tigon
from tigon import _native
from tigon.base import TigonError, check, config
from tigon.base.digests import digest_of
from tigon.base.lazy import computed_once
from tigon.distributed.agreement import Agreement, Signature, gathered, ranks_text
from tigon.distributed.channel import Channel
from tigon.distributed.groups import FEW, Combine, Group, Layered, Messages, Shared
from tigon.runtime import threads

_PARTS = ("base", "distributed", "gluon", "kvstore", "module", "ops", "optimizer", "program")
"""Whose code has a say in which collectives a program calls."""


class World:
    """The ranks of one start. Of a process alone, itself."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1
    library = ""
    channel: Channel | None = None

    def __init__(self) -> None:
        import platform

        self.hosts: list[str] = [platform.node()]
        """The host of each rank."""
        self.threads: list[int] = [_native.num_threads()]
        """How many threads each rank computes with."""

    @property
    def is_alone(self) -> bool:
        return self.size == 1

    def check(self, signature: Signature) -> None:
        """Return when all ranks have come to this call; raise on all of them if they differ."""

    def gather(self, signature: Signature, own: bytes) -> list[bytes]:
        """Bytes of all ranks, by rank."""
        return [own]


class Ranks(World):
    """Several, by MPI."""

    channel: Channel

    def __init__(self) -> None:
        launch = config.launched()
        self.channel = Channel()
        self._failed = False
        self._ends_mpi = False
        self._mpi = self.channel.call(self._start)
        found = self._mpi.COMM_WORLD.size
        check(
            found == launch.size,
            "distributed",
            f"{launch.by or 'the launcher'} has started {launch.size} ranks, and the MPI that "
            f"mpi4py has loaded ({self.library}) knows of {found}: that is another MPI; start with "
            "the mpiexec of the one that is installed beside mpi4py, or install mpi4py for the "
            "launcher's",
        )
        self._agreement = Agreement(self.channel, self._control)
        self._install_hooks()
        self._agree_about_versions()
        self._settle_threads()

    # -- the beginning

    def _start(self) -> Any:
        """On the channel's thread: MPI, and what ranks talk by."""
        # Open MPI's component for windows over UCX, which no window of ours uses, writes a line of
        # complaint for each; whoever has set this variable knows better.
        config.set_unless_set("OMPI_MCA_osc", "^ucx")
        mpi = _import_mpi()
        if not mpi.Is_initialized():
            mpi.Init_thread(mpi.THREAD_MULTIPLE)  # the program may use MPI itself, on its thread
            self._ends_mpi = True
        check(
            mpi.Query_thread() >= mpi.THREAD_SERIALIZED,
            "distributed",
            "MPI was initialized by this program for one thread, and tigon enters it by a thread "
            "of its own; let mpi4py initialize it as it does by itself, with THREAD_MULTIPLE",
        )
        world = mpi.COMM_WORLD
        self.channel.begin(mpi)
        self.rank, self.size = world.rank, world.size
        self.library = mpi.Get_library_version().split("\n")[0].split(", package")[0].strip("\0 ")
        self._control, self._data = world.Dup(), world.Dup()
        host = world.Split_type(mpi.COMM_TYPE_SHARED, self.rank)
        together = config.text("TIGON_RANKS_PER_HOST")
        if together:
            host = host.Split(host.rank // max(1, int(together)), host.rank)
        self._host = host
        self.local_rank, self.local_size = host.rank, host.size
        self._across = world.Split(self.local_rank, self.rank)
        about = (mpi.Get_processor_name(), threads.allowed_cores(), host.size)
        own = np.frombuffer(json.dumps(about).encode(), np.uint8)
        every = gathered(world, own, lambda requests: mpi.Request.Waitall(requests), mpi.BYTE)
        self.about = [json.loads(one) for one in every]
        self.hosts = [name for name, _, _ in self.about]
        return mpi

    def _agree_about_versions(self) -> None:
        parts = (
            f"tigon {tigon.__version__}",
            f"code {digest_of(*_PARTS)[:16]}",
            f"native code {_native.PROGRAM_VERSION[:16]}",
            f"MPI {self.library}",
            f"byte order {sys.byteorder}",
        )
        self.check(Signature("the versions", parts))

    def _settle_threads(self) -> None:
        """Now that it is known where the others may run."""
        on_host = [cores for name, cores, _ in self.about if name == self.hosts[self.rank]]
        threads.settle(threads.share_of(self.about[self.rank][1], on_host))
        told = self.gather(Signature("the number of threads", ()), b"%d" % _native.num_threads())
        self.threads = list(map(int, told))

    # -- collectives

    def check(self, signature: Signature) -> None:
        self._agreement.check(signature)

    def gather(self, signature: Signature, own: bytes) -> list[bytes]:
        return self._agreement.gather(signature, own)

    def allreduce(self, flat: np.ndarray, combine: Combine) -> None:
        """Let all ranks have what is combined of all, in their order."""
        if flat.nbytes <= FEW:
            self.messages.allreduce_by_all(flat, combine)
        else:
            self.group.allreduce(flat, combine)

    @computed_once
    def group(self) -> Group:
        """Who adds up, made at the first use: by memory that they share where they do."""
        return self._make_group()

    @computed_once
    def messages(self) -> Messages:
        """All ranks, by messages."""
        return Messages(self.channel, self._data, self._mpi)

    def _make_group(self) -> Group:
        sizes = {size for _, _, size in self.about}
        if len(sizes) > 1 or sizes == {1}:  # other numbers of ranks on other hosts: parts differ
            return self.messages
        within = Shared(self.channel, self._host, self._mpi)
        if within.size == self.size:
            return within
        return Layered(within, Messages(self.channel, self._across, self._mpi), self.messages)

    # -- the end

    def _install_hooks(self) -> None:
        previous = sys.excepthook

        def hook(kind: Any, error: Any, trace: Any) -> None:
            self._failed = True
            previous(kind, error, trace)
            self._say(f"has ended by this {kind.__name__}; all ranks are ended")
            self.channel.abort(1)

        sys.excepthook = hook
        atexit.register(self._end)

    def _say(self, what: str) -> None:
        sys.stdout.flush()
        print(
            f"tigon: rank {self.rank} of {self.size} on {self.hosts[self.rank]} {what}",
            file=sys.stderr,
            flush=True,
        )

    def _end(self) -> None:
        """The program has come to its end. All ranks have to, or those that wait for this one would
        wait for ever."""
        if self._failed:
            return
        try:
            _native.waitall()
        except TigonError as error:  # ranks may still be in step
            self._say(f"leaves an error behind that nobody has looked at: {error}")
        try:
            self.check(Signature("the end of the program", ()))
        except TigonError as error:
            self._say(f"comes to its end with an error: {error}")
            self.channel.abort(1)
        self.channel.call(self._free)
        self.channel.close()

    def _free(self) -> None:
        if "group" in self.__dict__:
            self.group.free()
        if self._ends_mpi and not self._mpi.Is_finalized():
            self._mpi.Finalize()


def _import_mpi() -> Any:
    try:
        import mpi4py

        if "mpi4py.MPI" not in sys.modules:  # the thread that begins it has to end it
            mpi4py.rc.initialize = mpi4py.rc.finalize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise TigonError(
            f"distributed: several ranks were started, and MPI cannot be loaded ({error}); "
            "pip install 'tigon[mpi]' brings mpi4py and Open MPI"
        ) from error
    return MPI


_world: World | None = None
_lock = threading.Lock()


def world() -> World:
    """The ranks that were started with this one. The first call loads MPI, where there are several:
    all ranks have to make it."""
    global _world
    found = _world
    if found is None:
        with _lock:
            found = _world
            if found is None:
                found = _world = World() if config.launched().size == 1 else Ranks()
    return found


def describe() -> str:
    """Ranks, hosts, MPI and threads, as text; it warns where threads outnumber processors. Where it
    is the first call that needs the other ranks, all have to make it.

    >>> print(describe().split("\\n")[0])
    rank 0 of 1, alone: no launcher of MPI has started this process
    """
    found = world()
    if found.is_alone:
        return (
            "rank 0 of 1, alone: no launcher of MPI has started this process\n"
            f"threads: {_native.num_threads()} on {len(threads.allowed_cores())} processors\n"
            "several ranks: mpiexec -n 4 python train.py"
        )
    lines = [f"rank {found.rank} of {found.size}, started by {config.launched().by}", found.library]
    for name in dict.fromkeys(found.hosts):
        ranks = [rank for rank, host in enumerate(found.hosts) if host == name]
        counts = sorted({found.threads[rank] for rank in ranks})
        each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        lines.append(f"host {name}: {ranks_text(ranks)}, {each} thread(s) each")
        warning = _oversubscribed(found, ranks)
        if warning:
            lines.append(f"  warning: {warning}")
    return "\n".join(lines)


def _oversubscribed(found: World, ranks: Sequence[int]) -> str:
    assert isinstance(found, Ranks)
    cores = len(set().union(*(set(found.about[rank][1]) for rank in ranks)))
    count = sum(found.threads[rank] for rank in ranks)
    if count <= cores:
        return ""
    return (
        f"{count} threads on {cores} processors: ranks wait for each other's; start fewer, or "
        "lower TIGON_NUM_THREADS"
    )
