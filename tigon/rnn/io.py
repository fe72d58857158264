"""Sentences as numbers, in batches of about one length."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import TigonError, check
from tigon.io import DataBatch, DataDesc, DataIter

__all__ = ["BucketSentenceIter", "encode_sentences"]


def encode_sentences(
    sentences: Iterable[Sequence[Any]],
    vocab: dict[Any, int] | None = None,
    invalid_label: int = -1,
    invalid_key: Any = "\n",
    start_label: int = 0,
    unknown_token: Any = None,
) -> tuple[list[list[int]], dict[Any, int]]:
    """Words as numbers: (sentences of numbers, the number of each word).

    Without a `vocab` one is made, which begins at `start_label` and leaves out `invalid_label`, the
    number of `invalid_key`. With one, words that it lacks are `unknown_token`, or refused.

    >>> encode_sentences([["a", "b"], ["b", "c"]], start_label=1, invalid_label=0)
    ([[1, 2], [2, 3]], {'\\n': 0, 'a': 1, 'b': 2, 'c': 3})
    """
    grows = vocab is None
    known = {invalid_key: invalid_label} if vocab is None else vocab
    following = start_label
    coded = []
    for sentence in sentences:
        numbers = []
        for word in sentence:
            if word not in known:
                if not grows and unknown_token is None:
                    raise TigonError(
                        f"encode_sentences: the word {word!r} is not in vocab; give unknown_token, "
                        "or leave vocab out"
                    )
                if unknown_token is not None:
                    word = unknown_token
                if word not in known:
                    following += following == invalid_label
                    known[word] = following
                    following += 1
            numbers.append(known[word])
        coded.append(numbers)
    return coded, known


class BucketSentenceIter(DataIter):
    """Batches of sentences of about one length, for language models: labels are the words that
    follow. Each batch says its length as `bucket_key`.

    Parameters
    ----------
    sentences : lists of numbers
    batch_size : sentences in a batch; what does not fill one is left out
    buckets : lengths; sentences are filled up to the next one. None: those lengths of which there
        are `batch_size` sentences
    invalid_label : what sentences and labels are filled up with
    data_name, label_name : of the two arrays
    dtype : of both
    layout : 'NT' (batch, time) or 'TN'

    >>> batches = BucketSentenceIter([[1, 2], [3, 4], [5, 6, 7]], 2, buckets=[2], invalid_label=0)
    tigon: BucketSentenceIter: leaves out 1 sentences longer than 2, the largest bucket
    >>> [(batch.bucket_key, batch.data[0].shape) for batch in batches]
    [(2, (2, 2))]
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[int]],
        batch_size: int,
        buckets: Sequence[int] | None = None,
        invalid_label: int = -1,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: Any = "float32",
        layout: str = "NT",
    ) -> None:
        super().__init__(batch_size)
        where = "BucketSentenceIter"
        check(layout in ("NT", "TN"), where, f"layout: expected 'NT' or 'TN'; given {layout!r}")
        check(batch_size > 0, where, f"batch_size: expected 1 or more; given {batch_size}")
        if not buckets:
            counts = Counter(map(len, sentences))
            buckets = [length for length, count in counts.items() if count >= batch_size]
        check(
            buckets,
            where,
            f"no length has {batch_size} sentences or more; give buckets, or a smaller batch_size",
        )
        self.buckets = sorted(buckets)
        filled: list[list[np.ndarray]] = [[] for _ in self.buckets]
        left_out = 0
        for sentence in sentences:
            place = bisect.bisect_left(self.buckets, len(sentence))
            if place == len(self.buckets):
                left_out += 1
                continue
            row = np.full(self.buckets[place], invalid_label, dtype)
            row[: len(sentence)] = sentence
            filled[place].append(row)
        if left_out:
            print(
                f"tigon: BucketSentenceIter: leaves out {left_out} sentences longer than "
                f"{self.buckets[-1]}, the largest bucket"
            )
        self.data = [
            np.array(rows, dtype).reshape(-1, length)
            for rows, length in zip(filled, self.buckets, strict=True)
        ]
        self.data_name = data_name
        self.label_name = label_name
        self.dtype = dtype
        self.invalid_label = invalid_label
        self.layout = layout
        self.major_axis = layout.index("N")
        self.default_bucket_key = max(self.buckets)
        self.provide_data = [self._described(data_name, self.default_bucket_key)]
        self.provide_label = [self._described(label_name, self.default_bucket_key)]
        self.idx = [
            (place, begin)
            for place, rows in enumerate(self.data)
            for begin in range(0, len(rows) - batch_size + 1, batch_size)
        ]
        self.curr_idx = 0
        self.reset()

    def _described(self, name: str, length: int) -> DataDesc:
        shape = (self.batch_size, length)
        if self.layout == "TN":
            shape = shape[::-1]
        return DataDesc(name, shape, layout=self.layout)

    def reset(self) -> None:
        """Begin again, in another order, that of Python's and numpy's random numbers."""
        self.curr_idx = 0
        random.shuffle(self.idx)
        for rows in self.data:
            np.random.shuffle(rows)

    def next(self) -> DataBatch:
        """The next batch."""
        if self.curr_idx == len(self.idx):
            raise StopIteration
        place, begin = self.idx[self.curr_idx]
        self.curr_idx += 1
        rows = self.data[place][begin : begin + self.batch_size]
        labels = np.full_like(rows, self.invalid_label)
        labels[:, :-1] = rows[:, 1:]
        if self.layout == "TN":
            rows, labels = rows.T, labels.T
        length = self.buckets[place]
        return DataBatch(
            [nd.array(rows, dtype=self.dtype)],
            [nd.array(labels, dtype=self.dtype)],
            pad=0,
            bucket_key=length,
            provide_data=[self._described(self.data_name, length)],
            provide_label=[self._described(self.label_name, length)],
        )
