"""Tracing of Python code, and the guards of what it read."""

from tigon.gluon.trace.current import active, current, paused, random_key, reserve_random_key
from tigon.gluon.trace.kinds import Static, freeze, freeze_attributes
from tigon.gluon.trace.trace import Trace, tracing

__all__ = [
    "Static",
    "Trace",
    "active",
    "current",
    "freeze",
    "freeze_attributes",
    "paused",
    "random_key",
    "reserve_random_key",
    "tracing",
]
