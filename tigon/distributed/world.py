"""All ranks that were started together: who they are, where, and how they add up.

MPI is loaded when a program first asks for what needs other ranks; a process that nothing has
started with others is rank 0 of 1, and never loads it.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np

import tigon
from tigon import _native
from tigon.base import TigonError, check, config
from tigon.base.digests import digest_of
from tigon.base.errors import user_line
from tigon.base.launch import Launch
from tigon.base.lazy import computed_once
from tigon.distributed import settings
from tigon.distributed.agreement import Agreement, Signature, gathered, ranks_text
from tigon.distributed.channel import Channel
from tigon.distributed.groups import FEW, Combine, Group, Layered, Messages, Shared
from tigon.distributed.watch import Watch, names
from tigon.runtime import threads

_PARTS = ("base", "distributed", "gluon", "kvstore", "module", "ops", "optimizer", "program")
"""Whose code has a say in which collectives a program calls."""


_UNTIL_ENDED = 10.0
"""Seconds after which a rank says itself what another was to say for all."""


_NOBODY_GOES_ON = (
    "start again: Checkpoint.resume goes on from the last one; "
    "distributed.run(..., on_failure='shrink') would go on with the others"
)


class RanksLost(TigonError):
    """Ranks have ended while others go on: only where MPI was started with fault tolerance. All
    collectives raise it until `distributed.run` has numbered those that are left anew."""


class Place(NamedTuple):
    """Where a program calls for other ranks."""

    name: str
    step: int = 0
    line: str = ""

    def text(self) -> str:
        step = f", step {self.step}" if self.step else ""
        return f"{self.name}{step}{f', called at {self.line}' if self.line else ''}"


class Keeper(Protocol):
    """What holds the state of training in memory."""

    def held(self) -> Any:
        """What this rank could give, in a form that JSON knows."""

    def rescue(self, ranks: Ranks, missing: Sequence[int], watch: Watch) -> str:
        """Write what those that are here hold, before all end; what is to be said of it."""


class World:
    """The ranks of one start. Of a process alone, itself."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1
    library = ""
    channel: Channel | None = None
    survives = False
    """Whether those that are left may go on, where a rank has ended."""
    goes_on = False
    """Whether the program wants that."""
    step = 0
    """Of the trainer that has made its last step, or is making it."""
    limit: float | None = None
    """Seconds of a wait, in place of the usual ones."""
    lost = ""
    """What is said of ranks that have ended, until the others have agreed to go on."""
    saved = ""
    """The last file that training could go on from."""

    def __init__(self) -> None:
        import platform

        self.hosts: list[str] = [platform.node()]
        """The host of each rank."""
        self.threads: list[int] = [_native.num_threads()]
        """How many threads each rank computes with."""
        self.followers: weakref.WeakSet[Any] = weakref.WeakSet()
        """Objects whose `ranks_changed` is called where ranks were lost."""
        self.keeper: Callable[[], Keeper | None] = lambda: None

    def turn(self, function: Callable[[World], None], name: str) -> Callable[[], None]:
        """The function, for when its turn has come."""
        return lambda: function(self)

    def begin(self, place: Place) -> None:
        """Something collective begins; raise where ranks are lost."""

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Waits in this block take so long at most; None: as long as others."""
        before, self.limit = self.limit, seconds
        try:
            yield
        finally:
            self.limit = before

    def timeout(self) -> float:
        """Seconds that a wait may take."""
        return settings.timeout() if self.limit is None else self.limit

    def shrink(self) -> None:
        """Go on with those that are left, numbered anew: by all of them, when nothing is on its
        way any more."""

    def say(self, what: str) -> None:
        """A line on stderr that names this rank."""
        sys.stdout.flush()
        print(f"tigon: {what}", file=sys.stderr, flush=True)

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
        super().__init__()
        self.process = os.getpid()
        launch = config.launched()
        self.rank, self.size = launch.rank, launch.size
        self.hosts = [""] * launch.size
        self.survives = config.is_on("OMPI_MCA_mpi_ft_enable")
        self._place = Place("the first use of other ranks", 0, user_line())
        self.channel = channel = Channel()
        channel.time_is_up, channel.late = self._time_is_up, self._late
        channel.has_failed = self._has_failed
        channel.serves = lambda: self._place.name
        self._failed = False
        self._ends_mpi = False
        self._has_lost = False
        self._mpi = channel.call(self._start, settings.timeout())
        found = self._mpi.COMM_WORLD.size
        check(
            found == launch.size,
            "distributed",
            f"{launch.by or 'the launcher'} has started {launch.size} ranks, and the MPI that "
            f"mpi4py has loaded ({self.library}) knows of {found}: that is another MPI; start with "
            "the mpiexec of the one that is installed beside mpi4py, or install mpi4py for the "
            "launcher's",
        )
        self._install_hooks()
        self._agree_about_versions()
        self._settle_threads()

    # -- the beginning

    def _start(self) -> Any:
        """On the channel's thread: MPI, and what ranks talk by."""
        # Open MPI's component for windows over UCX, which no window of ours uses, writes a line of
        # complaint for each; whoever has set this variable knows better.
        config.set_unless_set("OMPI_MCA_osc", "^ucx")
        self._mpi = mpi = _import_mpi()
        if not mpi.Is_initialized():
            mpi.Init_thread(mpi.THREAD_MULTIPLE)  # the program may use MPI itself, on its thread
            self._ends_mpi = True
        check(
            mpi.Query_thread() >= mpi.THREAD_SERIALIZED,
            "distributed",
            "MPI was initialized by this program for one thread, and tigon enters it by a thread "
            "of its own; let mpi4py initialize it as it does by itself, with THREAD_MULTIPLE",
        )
        self.library = mpi.Get_library_version().split("\n")[0].split(", package")[0].strip("\0 ")
        self.channel.begin(mpi)
        self._of_lost_ranks = (
            {mpi.ERR_PROC_FAILED, mpi.ERR_PROC_FAILED_PENDING, mpi.ERR_REVOKED, mpi.ERR_IN_STATUS}
            if self.survives
            else set()
        )
        self.channel.watch = Watch(mpi, mpi.COMM_WORLD, self.timeout)
        # What makes communicators waits inside of MPI: all are here before.
        self.channel.finish([mpi.COMM_WORLD.Ibarrier()])
        self._everyone = mpi.COMM_WORLD.Dup()
        self._join(self._everyone)
        return mpi

    def _join(self, everyone: Any) -> None:
        """On the channel's thread: the communicators of those that are there."""
        mpi = self._mpi
        self._communicators: list[Any] = [everyone]

        def made(communicator: Any) -> Any:
            self._communicators.append(communicator)
            return communicator

        self.rank, self.size = everyone.rank, everyone.size
        self._control, self._data = made(everyone.Dup()), made(everyone.Dup())
        watch = Watch(mpi, made(everyone.Dup()), self.timeout)
        watch.held = self._held
        host = made(everyone.Split_type(mpi.COMM_TYPE_SHARED, self.rank))
        together = settings.ranks_per_host()
        if together:
            host = made(host.Split(host.rank // together, host.rank))
        self._host = host
        self.local_rank, self.local_size = host.rank, host.size
        self._across = made(everyone.Split(self.local_rank, self.rank))
        self.channel.watch = watch
        about = (mpi.Get_processor_name(), threads.allowed_cores(), host.size)
        own = np.frombuffer(json.dumps(about).encode(), np.uint8)
        every = gathered(everyone, own, self.channel.finish, mpi.BYTE)
        self.about = [json.loads(one) for one in every]
        self.hosts = [name for name, _, _ in self.about]
        self._agreement = Agreement(self.channel, self._control)

    def _agree_about_versions(self) -> None:
        parts = (
            f"tigon {tigon.__version__}",
            f"code {digest_of(*_PARTS)[:16]}",
            f"native code {_native.PROGRAM_VERSION[:16]}",
            f"MPI {self.library}",
            f"TIGON_RANKS_PER_HOST={settings.ranks_per_host()}",
            f"byte order {sys.byteorder}",
        )
        self.check(Signature("the versions", parts))

    def _settle_threads(self) -> None:
        """Now that it is known where the others may run."""
        on_host = [cores for name, cores, _ in self.about if name == self.hosts[self.rank]]
        threads.settle(threads.share_of(self.about[self.rank][1], on_host))
        self._tell_threads()

    def _tell_threads(self) -> None:
        told = self.gather(Signature("the number of threads", ()), b"%d" % _native.num_threads())
        self.threads = list(map(int, told))

    # -- collectives

    def turn(self, function: Callable[[World], None], name: str) -> Callable[[], None]:
        place = Place(name, self.step, user_line())

        def run() -> None:
            self.begin(place)
            function(self)

        return run

    def begin(self, place: Place) -> None:
        self._place = place
        if self.lost:
            raise RanksLost(self.lost)

    def check(self, signature: Signature) -> None:
        self._agreement.check(signature)

    def gather(self, signature: Signature, own: bytes) -> list[bytes]:
        return self._agreement.gather(signature, own)

    def _held(self) -> Any:
        keeper = self.keeper()
        return None if keeper is None else keeper.held()

    def allreduce(
        self, flat: np.ndarray, combine: Combine, given: np.ndarray | None = None
    ) -> None:
        """Let all ranks have in `flat` what is combined of all, in their order. `given`: what this
        one has, if that is not there."""
        if flat.nbytes > FEW:
            self.group.allreduce(flat, combine, given)
            return
        if given is not None:
            flat[...] = given
        self.messages.allreduce_by_all(flat, combine)

    @computed_once
    def group(self) -> Group:
        """Who adds up, made at the first use: by memory that they share where they do."""
        sizes = {size for _, _, size in self.about}
        if len(sizes) > 1 or sizes == {1}:  # other numbers of ranks on other hosts: parts differ
            return self.messages
        within = Shared(self.channel, self._host, self._mpi)
        if within.size == self.size:
            return within
        return Layered(within, Messages(self.channel, self._across, self._mpi), self.messages)

    @computed_once
    def messages(self) -> Messages:
        """All ranks, by messages."""
        return Messages(self.channel, self._data, self._mpi)

    # -- failures

    def _time_is_up(self, waited: float) -> None:
        """On the channel's thread: others have not come. The first of those that are here speaks
        for all of them, once they have written what they hold."""
        watch = self.channel.watch
        assert watch is not None
        watch.tell({"is_up": True})
        missing = watch.missing()
        here = [rank for rank in range(self.size) if rank not in missing]
        keeper = self.keeper()
        written = "" if keeper is None else keeper.rescue(self, missing, watch)
        if self.rank != here[0]:
            time.sleep(_UNTIL_ENDED)
        who = f"for {names(missing, self.hosts)}, not arrived" if missing else "and all are here"
        self.say(
            f"has waited {waited:.1f} s in {self._place.text()} {who}; {written}all ranks are ended"
        )
        self.channel.abort(1)

    def _late(self, limit: float) -> str:
        """What is said where MPI does not come back."""
        return (
            f"tigon: {self._who()} has waited {limit:g} s in {self._place.text()} inside of MPI, "
            "for ranks that do not come there: all that were started have to; all ranks are ended\n"
        )

    def _has_failed(self, error: Exception) -> Exception:
        """On the channel's thread: what an error of MPI means to a program."""
        if error.Get_error_class() not in self._of_lost_ranks:  # type: ignore[attr-defined]
            return TigonError(f"{self._place.text()}: MPI: {error}")
        if not self.lost:
            watch = self.channel.watch
            assert watch is not None
            lost = watch.failed()
            # Those that do not talk to the lost ones would wait for this one for ever.
            for communicator in self._communicators:
                communicator.Revoke()
            self.lost = (
                f"{names(lost, self.hosts) or 'a rank'} (of {self.size} ranks) has ended without a "
                f"word (killed, or its host is gone): noticed by rank {self.rank} in "
                f"{self._place.text()}; "
                + (f"the last checkpoint is {self.saved}; " if self.saved else "")
                + ("the others go on" if self.goes_on else _NOBODY_GOES_ON)
            )
        return RanksLost(self.lost)

    def shrink(self) -> None:
        self.channel.call(self._shrink, settings.timeout())
        config.go_on_as(
            Launch(self.rank, self.size, self.local_rank, self.local_size, config.launched().by)
        )
        self._tell_threads()
        for follower in list(self.followers):
            follower.ranks_changed()

    def _shrink(self) -> None:
        """On the channel's thread. Who is lost meanwhile is left out, too: all agree whether all
        have come through, or all begin again."""
        for name in ("group", "messages"):  # what lies in a window cannot be given back any more
            self.__dict__.pop(name, None)
        self._has_lost = True
        while True:
            fresh = self._everyone.Shrink()
            self.lost = ""
            try:
                self._join(fresh)
                fine = 1
            except self._mpi.Exception:
                fine = 0
                for communicator in self._communicators:
                    communicator.Revoke()
            try:
                if fresh.Agree(fine):
                    return
            except self._mpi.Exception:
                continue

    # -- the end

    def _install_hooks(self) -> None:
        previous = sys.excepthook

        def hook(kind: Any, error: Any, trace: Any) -> None:
            previous(kind, error, trace)
            if os.getpid() != self.process:
                return
            self._failed = True
            self.say(f"has ended by this {kind.__name__}; all ranks are ended")
            self.channel.abort(1)

        sys.excepthook = hook
        atexit.register(self._end)

    def say(self, what: str) -> None:
        super().say(f"{self._who()} {what}")

    def _who(self) -> str:
        host = self.hosts[self.rank]
        return f"rank {self.rank} of {self.size}{f' on {host}' if host else ''}"

    def _end(self) -> None:
        """The program has come to its end. All ranks have to, or those that wait for this one would
        wait for ever."""
        if self._failed or os.getpid() != self.process:
            return
        try:
            _native.waitall()
        except TigonError as error:  # ranks may still be in step
            self.say(f"leaves an error behind that nobody has looked at: {error}")
        try:
            self._agree_to_end()
        except TigonError as error:
            self.say(f"comes to its end with an error: {error}")
            self.channel.abort(1)
        self.channel.call(self._free, settings.timeout())
        self.channel.close()

    def _agree_to_end(self) -> None:
        while True:
            try:
                return self.check(Signature("the end of the program", ()))
            except TigonError:
                if not (self.lost and self.goes_on):
                    raise
            self.shrink()  # the program is done; those that are left end together

    def _free(self) -> None:
        if self._has_lost:  # MPI's own end would wait for them at times; all have agreed to end
            return
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
                if config.launched().size > 1:
                    _check_process(config.rank_process())
                found = _world = World() if config.launched().size == 1 else Ranks()
    elif isinstance(found, Ranks):
        _check_process(found.process)
    return found


def _check_process(process: int) -> None:
    """MPI knows a rank as one process: in another one, it would wait for ever."""
    rank, size = config.launched()[:2]
    check(
        process == os.getpid(),
        "distributed",
        f"this process was started by rank {rank} of {size} (process {process}), whose number it "
        "has, and cannot talk to other ranks; call from the rank itself; or, for a program that is "
        "to run alone, leave what the launcher has set out of its environment "
        "(OMPI_COMM_WORLD_*, PMIX_*, PMI_*)",
    )


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
    ends = "the others may go on" if found.survives else "all end"
    lines.append(f"where a rank ends, {ends}; waits take {found.timeout():g} s at most")
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
