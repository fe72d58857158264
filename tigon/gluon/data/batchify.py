"""Batches from lists of samples: what `DataLoader(batchify_fn=...)` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon.base import TigonError, check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.lazy import complete as _complete
from tigon.gluon.data import shared
from tigon.gluon.data.loading import kept_dtype, stack
from tigon.gluon.parameters_section import describe as _describe
from tigon.nd.views import host

__all__ = ["Append", "AsList", "Group", "Pad", "Stack"]


class Stack(NamesWrongTypes):
    """Samples of one shape along a new first axis.

    >>> Stack()([np.zeros(3), np.ones(3)]).shape
    (2, 3)
    """

    def __init__(self, use_shared_mem: bool = False) -> None:
        self._use_shared_mem = use_shared_mem

    def __call__(self, data: list[Any]) -> Any:
        return stack(list(data))


class Pad(NamesWrongTypes):
    """Samples of several sizes along a new first axis, each filled up to the largest.

    >>> Pad(val=-1)([[1, 2, 3], [4]]).asnumpy().tolist()
    [[1, 2, 3], [4, -1, -1]]
    >>> Pad(round_to=4)([np.ones((2, 3)), np.ones((5, 1))]).shape
    (2, 8, 4)
    """

    def __init__(
        self,
        val: float = 0,
        dtype: Any = None,
        round_to: int | Sequence[int] | None = None,
        use_shared_mem: bool = False,
    ) -> None:
        check(
            round_to is None or np.min(round_to) > 0,
            "Pad",
            f"round_to: expected positive numbers; given {round_to!r}",
        )
        self._val = val
        self._dtype = dtype
        self._round_to = round_to
        self._use_shared_mem = use_shared_mem

    def __call__(self, data: list[Any]) -> Any:
        parts = [host(sample) for sample in data]
        axes = {part.ndim for part in parts}
        check(
            len(axes) == 1,
            "Pad",
            f"expected samples of one number of axes; given {', '.join(map(str, sorted(axes)))}",
        )
        extents = np.max([part.shape for part in parts], axis=0) if parts[0].ndim else np.array([])
        if self._round_to is not None:
            check(
                np.ndim(self._round_to) == 0 or len(self._round_to) == len(extents),  # type: ignore
                "Pad",
                f"round_to: expected a number, or one for each of {len(extents)} axes; given "
                f"{self._round_to!r}",
            )
            extents = -(-extents // self._round_to) * self._round_to
        dtype = np.dtype(kept_dtype(np.result_type(*parts)) if self._dtype is None else self._dtype)
        batch = shared.empty((len(parts), *(int(extent) for extent in extents)), dtype)
        batch[:] = self._val
        for place, part in enumerate(parts):
            batch[(place, *(slice(extent) for extent in part.shape))] = part
        return shared.array_of(batch)


class Append(NamesWrongTypes):
    """A list of arrays, one of each sample.

    >>> [one.shape for one in Append()([np.zeros(3), np.ones(2)])]
    [(1, 3), (1, 2)]
    """

    def __init__(
        self, expand: bool = True, batch_axis: int = 0, use_shared_mem: bool = False
    ) -> None:
        self._expand = expand
        self._batch_axis = batch_axis
        self._use_shared_mem = use_shared_mem

    def __call__(self, data: list[Any]) -> list[Any]:
        found = []
        for sample in data:
            part = host(sample)
            part = np.expand_dims(part, self._batch_axis) if self._expand else part
            batch = shared.empty(part.shape, np.dtype(kept_dtype(part.dtype)))
            batch[...] = part
            found.append(shared.array_of(batch))
        return found


class AsList(NamesWrongTypes):
    """The samples as they are: texts, say.

    >>> AsList()(["a", "bc"])
    ['a', 'bc']
    """

    def __call__(self, data: list[Any]) -> list[Any]:
        return list(data)


class Group(NamesWrongTypes):
    """For samples of several elements: a function for each of them. A tuple of what they give.

    >>> lengths, texts = Group(Stack(), AsList())([(1, "a"), (2, "bc")])
    >>> lengths.asnumpy().tolist(), texts
    ([1, 2], ['a', 'bc'])
    """

    def __init__(self, fn: Any, *args: Callable[[list[Any]], Any]) -> None:
        functions = (*fn, *args) if isinstance(fn, (list, tuple)) else (fn, *args)
        check(
            all(callable(function) for function in functions),
            "Group",
            f"expected functions of lists of samples; given {functions!r:.80}",
        )
        self._functions = functions

    def __call__(self, data: list[Any]) -> tuple[Any, ...]:
        count = len(self._functions)
        for sample in data:
            if not isinstance(sample, (tuple, list)) or len(sample) != count:
                raise TigonError(
                    f"Group: expected samples of {count} elements, one for each function; given "
                    f"{sample!r:.60}"
                )
        parts = zip(*data, strict=True)
        return tuple(one(list(part)) for one, part in zip(self._functions, parts, strict=True))


_describe(
    Stack,
    Pad,
    Append,
    Group,
    val="what fills up",
    dtype="of the batch; that of the samples by default",
    round_to="of what the extents are multiples: one number, or one for each axis",
    use_shared_mem="accepted: in a worker process, batches are made in shared memory anyway",
    expand="whether each gets an axis of the batch",
    batch_axis="where that is",
    fn="the function of the first element, or a list of functions",
    args="those of the others",
)
_complete(globals())
