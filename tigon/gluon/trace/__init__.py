"""Tracing of Python code, and the guards of what it read."""

from tigon.gluon.trace.kinds import Static, freeze
from tigon.gluon.trace.trace import (
    Trace,
    active,
    current,
    paused,
    random_key,
    reserve_random_key,
    tracing,
)

__all__ = [
    "Static",
    "Trace",
    "active",
    "current",
    "freeze",
    "paused",
    "random_key",
    "reserve_random_key",
    "tracing",
]
