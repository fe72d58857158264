"""Names of blocks and their parameters, and handles of hooks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from tigon import name as naming
from tigon.gluon import _epoch
from tigon.gluon.parameter import ParameterDict
from tigon.runtime.tracing import changes

if TYPE_CHECKING:
    from tigon.gluon.block.block import Block

_scopes = threading.local()


class BlockScope:
    """Prefixes of the blocks created inside `with block.name_scope()`."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._counter: dict[str, int] = {}

    @staticmethod
    def current() -> BlockScope | None:
        return getattr(_scopes, "current", None)

    @staticmethod
    def create(
        prefix: str | None, params: ParameterDict | None, hint: str
    ) -> tuple[str, ParameterDict]:
        """Prefix and parameters of a new block."""
        scope = BlockScope.current()
        if scope is None:
            if prefix is None:
                prefix = naming.current().get(None, hint) + "_"
            own = ParameterDict(prefix) if params is None else ParameterDict(params.prefix, params)
            return prefix, own
        if prefix is None:
            count = scope._counter.get(hint, 0)
            scope._counter[hint] = count + 1
            prefix = f"{hint}{count}_"
        full = scope._block.prefix + prefix
        if params is None:
            return full, ParameterDict(full, scope._block._params._shared)
        return full, ParameterDict(params.prefix, params)

    @contextmanager
    def entered(self) -> Iterator[None]:
        if self._block._empty_prefix:
            yield
            return
        previous = BlockScope.current()
        _scopes.current = self
        try:
            yield
        finally:
            _scopes.current = previous


_hook_numbers = count()


class HookHandle:
    """Removes a hook: `handle.detach()`, or leaving a `with`."""

    def __init__(self, table: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._table = table
        changes("registers a hook")
        self._key = next(_hook_numbers)  # a handle need not be kept: its address is no name
        table[self._key] = hook
        _epoch.advance()

    def detach(self) -> None:
        """Remove it."""
        changes("removes a hook")
        self._table.pop(self._key, None)
        _epoch.advance()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()
