"""Counters anyone can read. Tests use them to prove what they claim."""

from __future__ import annotations

from tigon.base.locks import plain_lock
from tigon.base.notices import warn_user

_LOCK = plain_lock()
_COUNTS: dict[str, float] = {
    "compilations": 0,
    "programs": 0,
    "kernel_compilations": 0,
    "compile_seconds": 0.0,
    "cache_hits": 0,
    "extents_needed": 0,
    "refused_entries": 0,
    "fallbacks": 0,
    "falls_short": 0,
    "given_way": 0,
    "paths": 0,
    "whole_steps": 0,
    "steps_apart": 0,
    "row_bytes_sent": 0,
}
_WARNED: set[str] = set()


def count(name: str, amount: float = 1) -> None:
    with _LOCK:
        _COUNTS[name] = _COUNTS.get(name, 0) + amount


def fall_back(reason: str) -> None:
    """Note that a slower way was taken: a counter each time, a warning the first time."""
    count("fallbacks")
    _warn_once(f"tigon falls back: {reason}")


def falls_short(what: str) -> None:
    """The same where something is computed, and not quite what was asked for."""
    count("falls_short")
    _warn_once(what)


def _warn_once(text: str) -> None:
    if text not in _WARNED:
        _WARNED.add(text)
        warn_user(text)


def give_way(reason: str) -> None:
    """Note that a kind of call runs as Python code from now on: a counter and a warning."""
    count("given_way")
    warn_user(reason)


def stats() -> dict[str, float]:
    """What has happened so far in this process.

    `compilations` graphs compiled, `programs` made from them (one per tuple of run-time extents),
    `kernel_compilations` native functions made, `compile_seconds`, `cache_hits` of compiled graphs,
    `native_calls` programs run, `imperative_operators`,
    `extents_needed` graphs that are compiled for each shape (`explain()` says why), `fallbacks` to
    a slower way, `falls_short` calls that are not quite what was asked for,
    `given_way` kinds of hybridized calls that run as Python code, `paths` that values
    were seen to choose within hybridized calls, `whole_steps` of `Module.fit` that were one program
    and `steps_apart` that were not, `row_bytes_sent` to other ranks, of row-sparse arrays and the
    numbers of their rows, `refused_entries`
    of the cache folder that are damaged or lie under another entry's name (what they held is
    compiled again), `bytes_now` and `bytes_peak` (logical bytes of live arrays and arenas), and the
    runtime's own (`pushed`, `inlined`, `tape_nodes`, ...). `signatures` are the calls of single
    operators whose programs are remembered, `types` the shapes and dtypes.

    Of the memory pool: `pool_bytes` taken from the system, and `pool_peak`, the most that was;
    `pool_free`, the part of it that is not in use, and `pool_largest_free`, its largest block;
    `pool_rounding`, what blocks in use have beyond the size asked for; `pool_fresh_blocks`, how
    many blocks the system was asked for. Free blocks go back to it when nobody has needed them for
    ten to twenty seconds, and at once when the pool would hold more than twice what was lately in
    use.
    `mx.cpu().empty_cache()` gives all of them back.

    >>> import tigon
    >>> before = stats()
    >>> x = tigon.nd.zeros(1_000_003)
    >>> x.wait_to_read()
    >>> after = stats()
    >>> after["bytes_now"] - before["bytes_now"], after["pool_peak"] >= after["pool_bytes"]
    (4000012, True)
    """
    from tigon import _native

    with _LOCK:
        return {**_COUNTS, **_native.stats()}


def reset_peak() -> None:
    """Let `bytes_peak` start again from `bytes_now`, and `pool_peak` from `pool_bytes`."""
    from tigon import _native

    _native.reset_peak()
