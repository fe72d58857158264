"""The thread that enters MPI, and nobody else does.

Whoever has something for MPI to do gives it a function and waits. What blocks is started and then
asked for: a thread inside of a call that waits for other ranks could neither be told to give up nor
say whom it waits for, and MPI makes progress only while somebody asks.
"""

from __future__ import annotations

import _thread
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tigon import _native
from tigon.distributed.watch import Watch
from tigon.runtime import profiling

_EAGER = 200
"""How often a request is asked for before the thread sleeps between: about as long as 16 bytes take
between two ranks of a host that both have a processor."""

_LONGEST_SLEEP = 1e-3
"""Seconds between two questions at most: what a late wake-up may cost a step."""


_yield = getattr(os, "sched_yield", lambda: time.sleep(0))


class Job:
    """A function for the channel's thread, and what it gave."""

    __slots__ = ("_done", "error", "function", "result")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:
            self.error = error
        self._done.release()

    def wait(self) -> None:
        """Return when it has ended."""
        self._done.acquire()
        self._done.release()


class Channel:
    """One thread, and the jobs that it does one after the other."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._status: int | None = None  # to abort with
        self._mpi: Any = None
        self.watch: Watch | None = None
        self.time_is_up: Callable[[float], None] = lambda waited: None
        """What is done where others have not come in time: on the thread; it does not return."""
        self.late: Callable[[float], str] = str
        """What is said where the thread does not come back out of MPI."""
        self.has_failed: Callable[[Exception], Exception] = lambda error: error
        """What an error of MPI means."""
        self.serves: Callable[[], str] = lambda: "MPI"
        """What a profile calls that for which the thread is at work."""
        self._thread = threading.Thread(target=self._work, name="tigon MPI", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        _native.profile.set_thread_title("MPI")
        while (job := self._jobs.get()) is not None:
            self._abort_if_told()
            if profiling.active[0]:
                with profiling.span(profiling.SpanKind.TASK, self.serves()):
                    job.run()
            else:
                job.run()

    def call(self, function: Callable[[], Any], limit: float = -1) -> Any:
        """What the function gives, run on the thread. `limit`: seconds, for what waits for others
        inside of MPI, where the thread cannot look."""
        if threading.current_thread() is self._thread:
            return function()
        job = Job(lambda: self._guarded(function, limit))
        self._jobs.put(job)
        job.wait()
        if job.error is not None:
            raise job.error
        return job.result

    def _guarded(self, function: Callable[[], Any], limit: float) -> Any:
        late = None if limit < 0 else _native.Deadline(limit, self.late(limit))
        try:
            return function()
        except Exception as error:
            if self._mpi is None or not isinstance(error, self._mpi.Exception):
                raise
            raise self.has_failed(error) from error
        finally:
            if late is not None:
                late.cancel()

    def exchange(self, start: Callable[[], Sequence[Any]]) -> None:
        """Start requests of MPI on the thread, and wait until they have ended."""
        self.call(lambda: self.finish(start()))

    def begin(self, mpi: Any) -> None:
        """On the thread: MPI is there from now on."""
        self._mpi = mpi
        self.byte = mpi.BYTE

    def finish(self, requests: Sequence[Any]) -> None:
        """On the thread: ask until all have ended."""
        self._finish(list(requests))
        if self.watch is not None:
            self.watch.ended()

    def _finish(self, pending: list[Any]) -> None:
        test = self._mpi.Request.Testall
        for _ in range(_EAGER):
            if test(pending):
                return
            _yield()  # the one that is waited for may need this processor
        pause, begin = 1e-5, time.monotonic()
        while not test(pending):
            self._abort_if_told()
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_SLEEP)
            waited = time.monotonic() - begin
            if self.watch is not None and self.watch.look(waited):
                self.time_is_up(waited)

    # -- the end

    def abort(self, status: int) -> None:
        """End all ranks, this one with them, whatever the thread is doing."""
        self._status = status
        if threading.current_thread() is self._thread:
            self._abort_if_told()
        self._jobs.put(Job(lambda: None))
        self._thread.join(5.0)
        os._exit(status)  # MPI did not: a rank that ends without saying so ends the others, too

    def _abort_if_told(self) -> None:
        if self._status is not None and self._mpi is not None:
            self._mpi.COMM_WORLD.Abort(self._status)

    def close(self) -> None:
        """No jobs from now on."""
        self._jobs.put(None)
        self._thread.join(5.0)
