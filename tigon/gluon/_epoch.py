"""One number that grows whenever something a trace may have read is changed.

A hybridized call compares it with the number of its last full check: equal means that no
attribute, child, hook or parameter array of any block was replaced since, so nothing needs to be
compared again. One integer per process: the check costs tens of nanoseconds, a false alarm a few
microseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tigon._native import set_epoch

current = 0


def advance() -> None:
    """Say that a block or a parameter was changed."""
    global current
    current += 1
    set_epoch(current)


def _advancing(method: Callable[..., Any]) -> Callable[..., Any]:
    def changed(self: Any, *args: Any, **keywords: Any) -> Any:
        advance()
        return method(self, *args, **keywords)

    changed.__name__ = method.__name__
    return changed


class Table(OrderedDict[Any, Any]):
    """Children, parameters or hooks of a block: programs change these in place, too."""

    __setitem__ = _advancing(OrderedDict.__setitem__)
    __delitem__ = _advancing(OrderedDict.__delitem__)
    clear = _advancing(OrderedDict.clear)
    pop = _advancing(OrderedDict.pop)
    popitem = _advancing(OrderedDict.popitem)
    move_to_end = _advancing(OrderedDict.move_to_end)


class Settings(dict[str, Any]):
    """What a layer gives to its operator: `**` takes it as quickly as a dictionary."""

    __setitem__ = _advancing(dict.__setitem__)
    __delitem__ = _advancing(dict.__delitem__)
    __ior__ = _advancing(dict.__ior__)
    clear = _advancing(dict.clear)
    pop = _advancing(dict.pop)
    popitem = _advancing(dict.popitem)
    setdefault = _advancing(dict.setdefault)
    update = _advancing(dict.update)
