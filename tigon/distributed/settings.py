"""What the environment and the program say of waits and hosts."""

from __future__ import annotations

from tigon.base import check, config


def timeout() -> float:
    """Seconds that a rank waits for others.

    >>> timeout()
    300.0
    """
    if _timeout:
        return _timeout[-1]
    given = config.text("TIGON_RANK_TIMEOUT")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    check(
        seconds > 0,
        "TIGON_RANK_TIMEOUT",
        f"expected seconds, more than 0; given {given!r}; leave it out for 300",
    )
    return seconds


_timeout: list[float] = []


def set_timeout(seconds: float) -> None:
    """Let waits from now on take so long at most, whatever the environment says."""
    _timeout[:] = [seconds]


def ranks_per_host() -> int:
    """How many ranks of one host share memory; 0: all of them.

    >>> ranks_per_host()
    0
    """
    given = config.text("TIGON_RANKS_PER_HOST")
    check(
        not given or (given.isdecimal() and int(given) > 0),
        "TIGON_RANKS_PER_HOST",
        f"expected a whole number, more than 0; given {given!r}; leave it out for all ranks",
    )
    return int(given or 0)
