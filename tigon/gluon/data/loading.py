"""What a batch is made of, wherever it is made: in the loop itself, in a thread, or in another
process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tigon import nd
from tigon.base import TigonError, as_dtype, check
from tigon.gluon.data import shared
from tigon.gluon.data.dataset import ArrayDataset
from tigon.nd.views import host
from tigon.runtime import keys

Batchify = Callable[[list[Any]], Any]


class Order(NamedTuple):
    """A batch to be loaded. Its samples draw from streams that follow from that of the epoch and
    their place in it, so that it does not matter who loads them, or when."""

    number: int
    first: int
    """The place of its first sample in the epoch."""
    indices: list[Any]
    stream: int

    def shown(self) -> str:
        """For errors."""
        some = ", ".join(str(index) for index in self.indices[:8])
        return f"batch {self.number} (samples {some}{', ...' if len(self.indices) > 8 else ''})"


def load(dataset: Any, batchify: Batchify, order: Order) -> Any:
    """The batch."""
    if batchify is default_batchify_fn and type(dataset) is ArrayDataset:
        parts = dataset.rows(order.indices)
        if parts is not None:
            made = [_as_array(part) for part in parts]
            return made[0] if len(made) == 1 else made
    samples = []
    for place, index in enumerate(order.indices, order.first):
        shared.begin_sample(place - order.first, len(order.indices))
        with keys.scope(*keys.inner(order.stream, place)):
            samples.append(dataset[index])
    with keys.scope(*keys.inner(order.stream, -1 - order.number)):
        return batchify(samples)


def _as_array(rows: np.ndarray) -> Any:
    return nd.array(rows, dtype=kept_dtype(rows.dtype))


def kept_dtype(dtype: np.dtype) -> str:
    """The dtype of a batch: that of the data where arrays can have it, else float32."""
    try:
        return as_dtype(dtype).name
    except TigonError:
        return "float32"


def default_batchify_fn(data: list[Any]) -> Any:
    """Stack samples into arrays; tuples become lists of arrays.

    >>> [part.shape for part in default_batchify_fn([(np.zeros(3), 1), (np.ones(3), 2)])]
    [(2, 3), (2,)]
    """
    return _stacked(data, 0)


default_mp_batchify_fn = default_batchify_fn
"""The same: in a worker process, batches are made in memory that both processes share."""

_DEEPEST_SAMPLE = 32


def _stacked(samples: list[Any], depth: int) -> Any:
    first = samples[0]
    if isinstance(first, (tuple, list)):
        check(
            depth < _DEEPEST_SAMPLE,
            "default_batchify_fn",
            f"samples are tuples nested more than {_DEEPEST_SAMPLE} deep; return arrays, or pass a "
            "batchify_fn of your own",
        )
        counts = sorted({len(sample) for sample in samples})
        check(
            len(counts) == 1,
            "default_batchify_fn",
            f"samples of a batch have {' or '.join(map(str, counts))} elements; give each as many, "
            "or pass a batchify_fn, such as batchify.Pad()",
        )
        return [_stacked(list(part), depth + 1) for part in zip(*samples, strict=True)]
    return stack(samples)


def stack(samples: list[Any]) -> Any:
    """An array of samples of one shape along a new first axis.

    >>> stack([np.zeros(3), np.ones(3)]).shape
    (2, 3)
    """
    first = samples[0]
    if isinstance(first, nd.NDArray) and not shared.is_worker():
        _check_shapes(samples)
        return nd.stack(*samples)
    parts = [host(sample) for sample in samples]
    _check_shapes(parts)
    dtype = np.result_type(*parts) if len({part.dtype for part in parts}) > 1 else parts[0].dtype
    kept = kept_dtype(dtype)
    if kept == "bfloat16" or dtype.kind not in "biuf":
        return nd.array(np.asarray(samples), dtype=kept)
    lying = shared.side_by_side(parts) if kept == dtype.name else None
    if lying is not None:
        return shared.array_of(lying)
    batch = shared.empty((len(parts), *parts[0].shape), np.dtype(kept))
    for place, part in enumerate(parts):
        batch[place] = part
    return shared.array_of(batch)


def _check_shapes(samples: list[Any]) -> None:
    shapes = {tuple(sample.shape) for sample in samples}
    if len(shapes) > 1:
        some = ", ".join(str(shape) for shape in sorted(shapes)[:4])
        raise TigonError(
            f"default_batchify_fn: samples of a batch have different shapes: {some}; bring them to "
            "one, or pass a batchify_fn, such as batchify.Pad()"
        )
