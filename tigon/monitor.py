"""A monitor: statistics of what executors compute, every few batches."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from tigon import autograd, nd
from tigon.base import check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.lazy import complete as _complete

__all__ = ["Monitor"]


class Monitor(NamesWrongTypes):
    """Statistics of outputs of operators, parameters and states.

    `install` it on executors (a module's `install_monitor` does, and `fit(monitor=...)`); between
    `tic` and `toc` of every `interval`-th batch it collects a statistic of each array whose name
    matches. Batches in between are not looked at, and cost nothing.

    Parameters
    ----------
    interval : every how many batches it collects
    stat_func : from an array to one, or a list of them; None: its 2-norm over the root of its size
    pattern : a regular expression that names begin with
    sort : whether what is collected is sorted by name
    monitor_all : whether what is given to operators is looked at, too

    >>> from tigon import sym
    >>> executor = sym.exp(sym.var("x"), name="e").simple_bind(x=(2,))
    >>> monitor = Monitor(1, stat_func=lambda array: array.max())
    >>> monitor.install(executor)
    >>> monitor.tic()
    >>> _ = executor.forward()
    >>> monitor.toc()
    [(1, 'e_output', '1.0\\t'), (1, 'x', '0.0\\t')]
    """

    def __init__(
        self,
        interval: int,
        stat_func: Callable[[Any], Any] | None = None,
        pattern: str = ".*",
        sort: bool = False,
        monitor_all: bool = False,
    ) -> None:
        check(interval > 0, "Monitor", f"interval: expected 1 or more; given {interval}")
        self.interval = interval
        self.stat_func = _typical if stat_func is None else stat_func
        self.re_prog = re.compile(pattern)
        self.sort = sort
        self.monitor_all = monitor_all
        self.queue: list[tuple[int, str, Any]] = []
        self.step = 0
        self.activated = False
        self.exes: list[Any] = []

    def stat_helper(self, name: str, array: Any) -> None:
        """Collect the statistic of an array; executors call it."""
        if self.activated and self.re_prog.match(name):
            with autograd.pause():
                self.queue.append((self.step, name, self.stat_func(array)))

    def install(self, exe: Any, monitor_all: bool | None = None) -> None:
        """Look at what an executor computes."""
        if monitor_all is not None:
            self.monitor_all = monitor_all
        self.exes.append(exe)
        if self.activated:
            exe.set_monitor_callback(self.stat_helper, self.monitor_all)

    def tic(self) -> None:
        """Before a batch: begin to collect if it is its turn."""
        if self.step % self.interval == 0:
            self.queue = []
            self.activated = True
            for exe in self.exes:  # now only: executors compute again what they are asked for
                exe.set_monitor_callback(self.stat_helper, self.monitor_all)
        self.step += 1

    def toc(self) -> list[tuple[int, str, str]]:
        """After a batch: (number, name, statistic as text) of all that was collected."""
        if not self.activated:
            return []
        for exe in self.exes:
            exe.set_monitor_callback(None)
            for name, array in (*exe.arg_dict.items(), *exe.aux_dict.items()):
                self.stat_helper(name, array)
        self.activated = False
        collected, self.queue = self.queue, []
        if self.sort:
            collected.sort(key=lambda one: one[1])
        return [(step, name, _text(found)) for step, name, found in collected]

    def toc_print(self) -> None:
        """`toc`, told to the log."""
        for step, name, text in self.toc():
            logging.info("Batch: %7d %30s %s", step, name, text)


def _typical(array: Any) -> Any:
    return nd.norm(array) / array.size**0.5


def _text(found: Any) -> str:
    """One statistic or several, each followed by a tab."""
    parts = []
    for one in found if isinstance(found, (list, tuple)) else [found]:
        check(
            isinstance(one, nd.NDArray),
            "Monitor",
            f"stat_func: expected an NDArray, or a list of them; given {type(one).__name__}; wrap "
            "it in nd.array",
        )
        parts.append(str(one.asscalar() if one.size == 1 else one.asnumpy()))
    return "".join(f"{part}\t" for part in parts)


_complete(globals())
