"""Datasets, samplers, and functions that make batches."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tigon as mx
from tests.data.test_images import message
from tests.data.test_recordio import write_indexed
from tigon import gluon, nd
from tigon.gluon import data
from tigon.gluon.data import batchify


@given(count=st.integers(0, 30), parts=st.integers(1, 9))
def test_shards_are_all_of_it_in_order(count: int, parts: int) -> None:
    whole = data.SimpleDataset(range(count))
    shards = [whole.shard(parts, part) for part in range(parts)]
    assert [one[i] for one in shards for i in range(len(one))] == list(range(count))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_parts_of_datasets() -> None:
    whole = data.ArrayDataset(np.arange(6), np.arange(6) * 10)
    assert [whole.take(2)[i] for i in range(2)] == [(0, 0), (1, 10)]
    assert (len(whole.take(None)), len(whole.take(9)), len(whole.take(0))) == (6, 6, 0)
    odd = whole.filter(lambda pair: pair[0] % 2)
    assert [odd[i][0] for i in range(len(odd))] == [1, 3, 5]
    chosen = whole.sample(data.IntervalSampler(6, 4))
    assert [int(chosen[i][0]) for i in range(len(chosen))] == [0, 4, 1, 5, 2, 3]
    calls: list[int] = []
    lazy = data.SimpleDataset([1, 2]).transform(lambda x: calls.append(x) or x * 2)
    assert calls == [] and lazy[1] == 4 and calls == [2]
    eager = data.SimpleDataset([1, 2]).transform(lambda x: calls.append(x) or x * 2, lazy=False)
    assert calls == [2, 1, 2] and eager[0] == 2
    first = whole.transform_first(lambda x: x + 1)
    assert first[2] == (3, 20) and pickle.loads(pickle.dumps(whole.shard(2, 1)))[0] == (3, 30)
    for wrong, said in (
        (lambda: whole.shard(0, 0), "num_shards: expected a positive number; given 0"),
        (lambda: whole.shard(2, 2), "index must be in 0..1; given 2"),
        (lambda: whole.take(-1), "count: expected None or a number from 0 on; given -1"),
        (lambda: data.ArrayDataset(), "there are no arrays; give at least one"),
        (
            lambda: data.ArrayDataset([1], [1, 2]),
            "all arrays must have the same length; given [1, 2]",
        ),
    ):
        assert said in message(wrong)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64", "bfloat16"])
def test_rows_of_arrays_are_arrays(dtype: str) -> None:
    images = nd.array(np.arange(24).reshape(2, 2, 2, 3)).astype(dtype)
    whole = data.ArrayDataset(images, nd.array([3, 4]), np.arange(4).reshape(2, 2), ["a", "b"])
    image, label, row, name = whole[1]
    assert isinstance(image, nd.NDArray) and image.dtype == images.dtype
    assert isinstance(label, np.float32) and isinstance(row, np.ndarray) and name == "b"
    assert image.astype("int32").tolist() == images[1].astype("int32").tolist()
    image[:] = 0
    assert (whole[1][0].astype("int32").asnumpy() != 0).all()  # it is the reader's
    alone = data.ArrayDataset(images)
    assert alone[0].shape == (2, 2, 3) and alone[:1].shape == (1, 2, 2, 3)
    with pytest.raises(IndexError):
        alone[2]


def test_transforms_of_rows_of_arrays() -> None:
    images = nd.array(np.arange(24).reshape(2, 2, 2, 3), dtype="uint8")
    to_tensor = data.vision.transforms.ToTensor()
    whole = data.ArrayDataset(images, np.arange(2)).transform_first(to_tensor)
    ((found, _),) = data.DataLoader(whole, 2)
    np.testing.assert_array_equal(found.asnumpy(), to_tensor(images).asnumpy())


def test_records_as_a_dataset(tmp_path: Path) -> None:
    paths = write_indexed(tmp_path, "a", {4: b"four", 2: b"two", 9: b"nine"})
    records = data.RecordFileDataset(paths[1])
    assert [records[i] for i in range(len(records))] == [b"four", b"two", b"nine"]
    assert pickle.loads(pickle.dumps(records))[1] == b"two"
    loader = data.DataLoader(records, 2, batchify_fn=batchify.AsList(), num_workers=1)
    assert list(loader) == [[b"four", b"two"], [b"nine"]]


@given(length=st.integers(1, 40), interval=st.integers(1, 40), rollover=st.booleans())
def test_intervals(length: int, interval: int, rollover: bool) -> None:
    if interval > length:
        assert "interval: expected a number from 1 to the length" in message(
            lambda: data.IntervalSampler(length, interval, rollover)
        )
        return
    sampler = data.IntervalSampler(length, interval, rollover)
    found = list(sampler)
    assert len(found) == len(sampler)
    assert sorted(found) == list(range(0, length, 1 if rollover else interval))
    assert gluon.contrib.data.IntervalSampler is data.IntervalSampler


@settings(deadline=None)
@given(
    count=st.integers(0, 20),
    size=st.integers(1, 6),
    how=st.sampled_from(("keep", "discard", "rollover")),
)
def test_batches_of_samplers(count: int, size: int, how: str) -> None:
    sampler = data.BatchSampler(data.SequentialSampler(count, start=3), size, how)
    seen: list[int] = []
    for _ in range(3):
        promised = len(sampler)
        batches = list(sampler)
        assert len(batches) == promised
        assert all(len(batch) == size for batch in batches[:-1])
        seen += [index for batch in batches for index in batch]
    if how == "keep":
        assert seen == list(range(3, 3 + count)) * 3
    elif how == "discard":
        assert seen == list(range(3, 3 + count // size * size)) * 3
    else:
        assert seen == (list(range(3, 3 + count)) * 3)[: 3 * count // size * size]


def test_filter_sampler_and_random_sampler() -> None:
    assert list(data.FilterSampler(lambda x: x > 2, [1, 5, 2, 7])) == [1, 3]
    mx.random.seed(3)
    first, second = list(data.RandomSampler(30)), list(data.RandomSampler(30))
    assert first != second and sorted(first) == sorted(second) == list(range(30))


# ------------------------------------------------------------------------------ batchify


def test_stacks() -> None:
    pairs = [(nd.array([1, 2]), 3, np.float64(0.5)), (nd.array([4, 5]), 6, np.float64(1.5))]
    arrays, numbers, doubles = data.default_batchify_fn(pairs)
    assert arrays.asnumpy().tolist() == [[1, 2], [4, 5]] and arrays.dtype == np.float32
    assert (numbers.dtype, doubles.dtype) == (np.int64, np.float64)
    assert batchify.Stack()([True, False]).dtype == np.bool_
    assert message(lambda: data.default_batchify_fn([np.zeros(2), np.zeros(3)])) == (
        "default_batchify_fn: samples of a batch have different shapes: (2,), (3,); bring them to "
        "one, or pass a batchify_fn, such as batchify.Pad()"
    )
    assert "different shapes: (2,), (3,)" in message(
        lambda: data.default_batchify_fn([nd.zeros(2), nd.zeros(3)])
    )
    assert "samples of a batch have 1 or 2 elements; give each as many" in message(
        lambda: data.default_batchify_fn([(1,), (1, 2)])
    )


@settings(max_examples=50, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5),
    round_to=st.sampled_from((None, 1, 4, (2, 3))),
)
def test_padding(shapes: list[tuple[int, int]], round_to: Any) -> None:
    parts = [np.random.default_rng(0).integers(1, 9, shape) for shape in shapes]
    found = batchify.Pad(val=-1, dtype="int32", round_to=round_to)(parts)
    assert found.dtype == np.int32
    values = found.asnumpy()
    for extent, multiple in zip(values.shape[1:], np.broadcast_to(round_to or 1, 2), strict=True):
        assert extent % multiple == 0
    for value, part in zip(values, parts, strict=True):
        assert (value[: part.shape[0], : part.shape[1]] == part).all()
        assert (value == -1).sum() == value.size - part.size
    least = np.max(shapes, axis=0)
    assert all(a - b < 4 for a, b in zip(values.shape[1:], least, strict=True))


def test_other_batches() -> None:
    group = batchify.Group(batchify.Pad(), batchify.Stack(), batchify.AsList())
    padded, stacked, texts = group([([1, 2], 3, "a"), ([4], 5, "b")])
    assert padded.asnumpy().tolist() == [[1, 2], [4, 0]]
    assert stacked.asnumpy().tolist() == [3, 5] and texts == ["a", "b"]
    assert "expected samples of 3 elements, one for each function; given (1, 2)" in message(
        lambda: group([(1, 2)])
    )
    assert "expected functions of lists of samples" in message(lambda: batchify.Group(3))
    assert [one.shape for one in batchify.Append(expand=False)([np.zeros(3), np.zeros(2)])] == [
        (3,), (2,),
    ]  # fmt: skip
    assert "expected samples of one number of axes; given 1, 2" in message(
        lambda: batchify.Pad()([np.zeros(1), np.zeros((1, 1))])
    )
    assert "round_to: expected a number, or one for each of 1 axes" in message(
        lambda: batchify.Pad(round_to=(1, 2))([np.zeros(3)])
    )


@pytest.mark.alone
def test_functions_of_batches_in_worker_processes() -> None:
    samples = [(np.arange(n + 1), n, f"text {n}") for n in range(9)]
    function = batchify.Group(batchify.Pad(), batchify.Stack(), batchify.AsList())

    def run(workers: int) -> Any:
        loader = data.DataLoader(samples, 4, batchify_fn=function, num_workers=workers)
        return [(a.asnumpy().tolist(), b.asnumpy().tolist(), c) for a, b, c in loader]

    assert run(0) == run(2)


def test_private_names_that_programs_use() -> None:
    from tigon.gluon.data import dataloader

    assert dataloader.default_mp_batchify_fn([1, 2]).asnumpy().tolist() == [1, 2]
    moved = dataloader._as_in_context([nd.zeros(1), [nd.zeros(1)], "a"], mx.cpu(1))
    assert moved[0].context == moved[1][0].context == mx.cpu(1) and moved[2] == "a"
    assert dataloader.ForkingPickler and dataloader._MultiWorkerIter
