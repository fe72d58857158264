"""Where the time goes: `mx.profiler`, under MXNet's names.

A profile shows, by thread and strictly nested, Python functions of the program and those of tigon
that they call, blocks, operators, executions of programs, their kernels with operator and line,
waits, reading of data, and the memory in use over time. `dump` writes it for Perfetto
(https://ui.perfetto.dev) or Chrome's `about:tracing`, `dumps` gives a table, and `Block.summary`
shows each layer's share of the time. While no profile is taken, a call reads one number more.

>>> import tigon as mx
>>> mx.profiler.set_config(filename="profile.json", aggregate_stats=True)
>>> mx.profiler.set_state("run")
>>> mx.nd.tanh(mx.nd.ones((2, 3))).wait_to_read()
>>> mx.profiler.set_state("stop")
>>> "tanh" in mx.profiler.dumps(reset=True)
True
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError, check
from tigon.base.lazy import complete as _complete
from tigon.profiler.marks import Counter, Domain, Event, Frame, Marker, Task
from tigon.profiler.profile import kernel_time, memory_over_time, rows_by_name
from tigon.profiler.session import Config, session
from tigon.profiler.table import ORDERS, as_json, as_table

__all__ = [
    "Counter",
    "Domain",
    "Event",
    "Frame",
    "Marker",
    "Task",
    "dump",
    "dump_profile",
    "dumps",
    "pause",
    "profiler_set_config",
    "profiler_set_state",
    "resume",
    "scope",
    "set_config",
    "set_kvstore_handle",
    "set_state",
    "share_of_blocks",
]

_BOOLEANS = frozenset(
    name for name, default in Config._defaults.items() if isinstance(default, bool)
)
_WITHOUT_EFFECT = frozenset(("gpu_memory_profile_filename_prefix",))


def set_config(**kwargs: Any) -> None:
    """What is recorded, and where it is written.

    filename: str, default 'profile.json'. What `dump` writes.
    profile_symbolic: bool, default True. Executions of compiled graphs, their kernels, compiling.
    profile_imperative: bool, default True. Operators on arrays, and their kernels.
    profile_memory: bool, default True. Bytes of live arrays and arenas over time.
    profile_api: bool, default True. Python functions, blocks, waits, `backward`.
    profile_all: bool, default False. All of it, whatever the others say.
    continuous_dump: bool, default False. Write the file every `dump_period` seconds (1.0).
    aggregate_stats: bool. Tables are always there; taken for MXNet's sake.
    profile_process: 'worker', default. There are no server processes.

    Raises TigonError for other names and values, and while a profile is being taken.

    >>> set_config(profile_memory=False)
    >>> set_config(profile_memory=True, filename="profile.json")
    >>> set_config(file="x.json")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: profiler.set_config: there is no 'file'; expected some of \
aggregate_stats, continuous_dump, dump_period, filename, profile_all, profile_api, \
profile_imperative, profile_memory, profile_symbolic
    """
    _check_process("set_config", kwargs.pop("profile_process", "worker"))
    for name in _WITHOUT_EFFECT & kwargs.keys():
        del kwargs[name]
    for name, value in kwargs.items():
        check(
            name in Config._defaults,
            "profiler.set_config",
            f"there is no {name!r}; expected some of {', '.join(sorted(Config._defaults))}",
        )
        kwargs[name] = _checked(name, value)
    session.configure(kwargs)


def _checked(name: str, value: Any) -> Any:
    where = f"profiler.set_config: {name}"
    if name in _BOOLEANS:
        check(
            isinstance(value, (bool, int, np.bool_)) and value in (0, 1),
            where,
            f"expected True or False; given {value!r}",
        )
        return bool(value)
    if name == "dump_period":
        ok = isinstance(value, (int, float)) and 0 < value < float("inf")
        check(ok, where, f"expected seconds, above 0; given {value!r}")
        return float(value)
    check(
        isinstance(value, (str, os.PathLike)) and bool(os.fspath(value)),
        where,
        f"expected the name of a file; given {value!r}",
    )
    return os.fspath(value)


def set_state(state: str = "stop", profile_process: str = "worker") -> None:
    """Take a profile from now on ('run'), or no longer ('stop'). What was pushed and has not run is
    not in it: call `nd.waitall()` before. A second 'run' goes on with what there is until `dump`
    has written it."""
    _check_process("set_state", profile_process)
    check(
        state in ("run", "stop"),
        "profiler.set_state",
        f"expected 'run' or 'stop'; given {state!r}",
    )
    if state == "run":
        session.start()
    else:
        session.stop()


def pause(profile_process: str = "worker") -> None:
    """Record nothing until `resume`: spans that are open go on. Without a profile nothing
    happens."""
    _check_process("pause", profile_process)
    session.pause()


def resume(profile_process: str = "worker") -> None:
    """Record again."""
    _check_process("resume", profile_process)
    session.resume()


def dump(finished: bool = True, profile_process: str = "worker") -> None:
    """Write what there is to the file that `set_config` named, in the Trace Event Format.

    finished: the profile ends with it, and the next `set_state('run')` begins anew; until then
    tables and summaries show it. False: it goes on.
    """
    _check_process("dump", profile_process)
    if finished:
        session.stop()
    left_out = session.write(finished)
    if left_out:
        warnings.warn(
            f"profiler.dump: {left_out} spans were not recorded, as there were over 4 million; "
            "profile less, between pause() and resume()",
            RuntimeWarning,
            stacklevel=2,
        )


def dumps(
    reset: bool = False,
    format: str = "table",
    sort_by: str = "total",
    ascending: bool = False,
) -> str:
    """What took how long, by kind and name; times are of all calls, with what they call.

    reset: the next table begins from now.
    format: 'table' or 'json'.
    sort_by: 'total', 'avg', 'min', 'max' or 'count'.
    """
    _choice("dumps", "format", format, ("table", "json"))
    _choice("dumps", "sort_by", sort_by, tuple(ORDERS))
    threads = session.threads()
    sections = {
        kind.name.lower(): rows
        for kind, rows in sorted(rows_by_name(threads, session.since).items())
    }
    sections.update(session.rows_of_marks())
    sizes = np.zeros(0)
    if session.config.shows_memory:
        _, sizes = memory_over_time(threads, session.since)
    if reset:
        session.since = _native.profile.now()
    show = as_table if format == "table" else as_json
    return show(sections, sizes, sort_by, ascending)


def share_of_blocks(prefixes: dict[str, str]) -> dict[str, float] | None:
    """Of the time in kernels so far, which part each block took; `prefixes` are those of blocks'
    names, with the names. None where there is no profile of theirs."""
    times = kernel_time(session.threads(), prefixes)
    total = sum(times.values())
    shares = {name: time / total for name, time in times.items() if name and time}
    return shares or None


@contextmanager
def scope(name: str = "<unk>:") -> Iterator[None]:
    """A span around what the program does in it."""
    with Event(name):
        yield


# ------------------------------------------------------------------- MXNet's names before 1.2


def profiler_set_config(mode: str = "symbolic", filename: str = "profile.json") -> None:
    """Use `set_config`. mode: 'symbolic' or 'all'."""
    _choice("profiler_set_config", "mode", mode, ("symbolic", "imperative", "api", "memory", "all"))
    set_config(
        filename=filename,
        profile_all=mode == "all",
        **{f"profile_{part}": part == mode for part in ("symbolic", "imperative", "api", "memory")},
    )


def profiler_set_state(state: str = "stop") -> None:
    """Use `set_state`."""
    set_state(state)


def dump_profile() -> None:
    """Use `dump`."""
    dump(True)


def set_kvstore_handle(handle: Any) -> None:
    """Nothing: there are no server processes whose profile could be taken."""


def _choice(where: str, name: str, given: str, allowed: tuple[str, ...]) -> None:
    check(
        given in allowed,
        f"profiler.{where}",
        f"{name}: expected one of {', '.join(map(repr, allowed))}; given {given!r}",
    )


def _check_process(where: str, process: str) -> None:
    if process != "worker":
        raise TigonError(
            f"profiler.{where}: profile_process: expected 'worker'; given {process!r}; there are "
            "no server processes: stores run in the worker"
        )


_complete(globals())
