"""`mx.log`: loggers that show level, time and place in front of a message."""

from __future__ import annotations

import logging
import sys
import warnings
from logging import CRITICAL, DEBUG, ERROR, INFO, NOTSET, WARNING

from tigon.base.files import open_log
from tigon.base.lazy import complete as _complete

_FORMAT = "%(levelname).1s%(asctime)s %(process)d %(pathname)s:%(funcName)s:%(lineno)d] %(message)s"
_COLORS = {"WARNING": 32, "ERROR": 31, "CRITICAL": 31, "INFO": 32, "DEBUG": 32}
_configured: set[str] = set()


class _Colored(logging.Formatter):
    """As a terminal shows it: the head of a line in the color of its level."""

    def format(self, record: logging.LogRecord) -> str:
        head, bracket, rest = super().format(record).partition("] ")
        return f"\x1b[{_COLORS.get(record.levelname, 0)}m{head}{bracket}\x1b[0m{rest}"


def get_logger(
    name: str | None = None,
    filename: str | None = None,
    filemode: str | None = None,
    level: int = WARNING,
) -> logging.Logger:
    """The logger of this name, which writes to stderr or, where it is given, to `filename`
    (`filemode` "a", unless it says otherwise). The first call for a name decides.

    >>> get_logger("training", level=INFO).getEffectiveLevel() == INFO
    True
    """
    logger = logging.getLogger(name)
    if name is None or name in _configured:
        return logger
    _configured.add(name)
    handler: logging.Handler
    times = "%m%d %H:%M:%S"
    if filename:
        handler = logging.StreamHandler(open_log(filename, filemode or "a"))
        handler.setFormatter(logging.Formatter(_FORMAT, times))
    else:
        handler = logging.StreamHandler()
        kind = _Colored if sys.stderr.isatty() else logging.Formatter
        handler.setFormatter(kind(_FORMAT, times))
    logger.addHandler(handler)
    logger.setLevel(level)
    return logger


def getLogger(
    name: str | None = None,
    filename: str | None = None,
    filemode: str | None = None,
    level: int = WARNING,
) -> logging.Logger:
    """`get_logger` under its name of long ago."""
    warnings.warn("getLogger: use get_logger", DeprecationWarning, stacklevel=2)
    return get_logger(name, filename, filemode, level)


__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "INFO",
    "NOTSET",
    "WARNING",
    "getLogger",
    "get_logger",
]

_complete(globals())
