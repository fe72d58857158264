"""What surrounds a test: its device, the environment, files, and trying again."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tigon import nd
from tigon.base import check
from tigon.context import Context, current_context, num_gpus
from tigon.gluon.utils import download as _download
from tigon.io import DataIter


def default_context() -> Context:
    """Where arrays are made unless a context is given.

    >>> default_context()
    cpu(0)
    """
    return current_context()


def set_default_context(ctx: Context) -> None:
    """Make arrays of this thread there from now on."""
    Context.default_ctx = ctx


def list_gpus() -> range:
    """The numbers of the graphics processors that there are to use.

    >>> list(list_gpus())
    []
    """
    return range(num_gpus())


@contextlib.contextmanager
def environment(*args: Any) -> Iterator[None]:
    """Other variables of the environment inside of a `with` statement: a name and its value, or a
    dictionary; with None a variable is not set.

    >>> with environment("TIGON_EXAMPLE", "1"):
    ...     os.environ["TIGON_EXAMPLE"]
    '1'
    >>> "TIGON_EXAMPLE" in os.environ
    False
    """
    wanted: Mapping[str, Any] | None = None
    if len(args) == 1 and isinstance(args[0], Mapping):
        wanted = args[0]
    elif len(args) == 2:
        wanted = {args[0]: args[1]}
    check(
        wanted is not None and all(isinstance(name, str) for name in wanted),
        "environment",
        f"expected a name and a value, or a dictionary; given {args!r:.80}",
    )
    assert wanted is not None
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        nd.waitall()  # what runs still may look
        _set(before)


def _set(variables: Mapping[str, Any]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(value)


def retry(n: int) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """A decorator for tests that draw: an AssertionError counts when it comes `n` times.

    >>> seen = []
    >>> @retry(3)
    ... def test():
    ...     seen.append(1)
    ...     assert len(seen) == 2
    >>> test()
    >>> len(seen)
    2
    """
    check(n > 0, "retry", f"expected a number of trials above 0; given {n}")

    def decorate(test: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(test)
        def again(*args: Any, **kwargs: Any) -> None:
            for left in range(n - 1, -1, -1):
                try:
                    test(*args, **kwargs)
                    return
                except AssertionError:
                    if not left:
                        raise
                    nd.waitall()

        return again

    return decorate


@contextlib.contextmanager
def discard_stderr() -> Iterator[None]:
    """Nothing that Python code writes to stderr is seen inside of a `with` statement."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def download(
    url: str,
    fname: str | None = None,
    dirname: str | None = None,
    overwrite: bool = False,
    retries: int = 5,
) -> str:
    """The file that a download of `url` would leave, where it is there already. Otherwise an error
    that says where to put it: nothing is downloaded."""
    name = url.rpartition("/")[2] if fname is None else fname
    return _download(url, os.path.join(dirname, name) if dirname else name, overwrite)


class DummyIter(DataIter):
    """The first batch of another iterator, again and again."""

    def __init__(self, real_iter: Any) -> None:
        super().__init__(real_iter.batch_size)
        self.real_iter = real_iter
        self.provide_data = real_iter.provide_data
        self.provide_label = real_iter.provide_label
        self.the_batch = next(iter(real_iter))

    def next(self) -> Any:
        """The batch."""
        return self.the_batch

    def iter_next(self) -> bool:
        """Whether there is another batch: always."""
        return True
