"""Which processors all contestants share, and when their threads are at rest."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

_together: set[int] = set()


def together_with(process: int) -> None:
    """Count what this process computes as ours from now on: it is a contestant's."""
    _together.add(process)


def used() -> float:
    """Seconds that this process has computed so far, and those that count as ours."""
    return time.process_time() + sum(map(_used_by, _together))


def _used_by(process: int) -> float:
    try:
        return time.clock_gettime(~process << 3 | 2)  # the clock of its processor time, on Linux
    except OSError:
        return 0.0  # it has ended


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def confine(count: int) -> None:
    """Go on with `count` processors. The program starts again where it had more: pools count
    processors when they are made, that of numpy's OpenBLAS when numpy is imported."""
    have = processors()
    if count > have:
        raise SystemExit(f"{count} threads asked for, but there are {have} processors")
    if count == have:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit(f"this system keeps no process on {count} of {have} processors")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    os.execv(sys.executable, [sys.executable, *sys.argv])


def rest(longest: float = 1.0) -> None:
    """Sleep until no contestant's thread computes. Pools spin after a call, and who comes next
    pays: 2 ms those of tigon and JAX, 6 PyTorch's, 20 ONNX Runtime's, 40 numpy's OpenBLAS."""
    until = time.perf_counter() + longest
    while time.perf_counter() < until:
        began, before = time.perf_counter(), used()
        time.sleep(0.004)
        if used() - before < 0.1 * (time.perf_counter() - began):
            return


def others() -> float:
    """Seconds that these processors have worked so far for programs other than this one, or for
    other machines that share them; nothing where the system does not say."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = 0
    for line in lines:
        name, *fields = line.split()
        if name in ours:
            user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, fields[:8])
            ticks += user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK") - used()
