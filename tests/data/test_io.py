"""Iterators of `mx.io`: files of rows, several at once, record files of images."""

from __future__ import annotations

import gc
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tigon as mx
from tests.data.test_images import message, saved
from tests.data.test_recordio import write_indexed
from tigon import recordio
from tigon.image import ImageIter
from tigon.io import (
    CSVIter,
    ImageRecordIter,
    ImageRecordUInt8Iter,
    LibSVMIter,
    MNISTIter,
    NDArrayIter,
    PrefetchingIter,
    ResizeIter,
)


def rows(batches: Any) -> list[Any]:
    return [(b.data[0].asnumpy().tolist(), b.label[0].asnumpy().tolist(), b.pad) for b in batches]


# ------------------------------------------------------------------------------ in memory


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(1, 12), size=st.integers(1, 7), shuffle=st.booleans(),
    how=st.sampled_from(("pad", "discard", "roll_over")),
)  # fmt: skip
def test_every_sample_is_given_as_often_as_it_should(
    count: int, size: int, how: str, shuffle: bool
) -> None:
    numbers = np.arange(count)
    batches = NDArrayIter(numbers, numbers * 10, size, shuffle, how)
    seen: list[float] = []
    for epoch in range(3):
        batches.reset()
        for data, label, pad in rows(batches):
            assert len(data) == size and label == [10 * value for value in data]
            kept = data[: size - pad]
            seen += kept
            assert data[size - pad :] == [] or how == "pad"
        if how == "roll_over":
            assert len(seen) == (epoch + 1) * count // size * size
        else:
            assert len(seen) == (epoch + 1) * (count if how == "pad" else count // size * size)
    if how != "discard":
        whole = seen[: len(seen) // count * count]
        assert sorted(whole) == sorted(numbers.tolist() * (len(seen) // count))


def test_what_is_no_data() -> None:
    assert message(lambda: NDArrayIter([])) == (
        "NDArrayIter: expected an array, or a list or dictionary of them; given an empty one"
    )
    assert (
        "data: expected an array of numbers with an axis of samples; given list of dtype <U1"
        in (message(lambda: NDArrayIter({"data": ["a"]})))
    )
    batches = NDArrayIter(np.zeros(3), batch_size=2)
    assert message(batches.getdata) == (
        "NDArrayIter: there is no batch here; call next(), or reset() at the end of an epoch"
    )
    left = NDArrayIter(np.arange(5), batch_size=2, last_batch_handle="roll_over")
    list(left)
    left.hard_reset()
    assert next(left).data[0].asnumpy().tolist() == [0, 1]


# --------------------------------------------------------------------------------- files


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_csv(tmp_path: Path) -> None:
    data = written(tmp_path / "d.csv", "1,2\n3,4\n5,6\n")
    label = written(tmp_path / "l.csv", "7\n8\n9\n")
    batches = CSVIter(data, (2,), label, batch_size=2)
    whole = [([[1, 2], [3, 4]], [7, 8], 0), ([[5, 6], [1, 2]], [9, 7], 1)]
    for _ in range(2):
        assert rows(batches) == whole
        batches.reset()
    assert rows(CSVIter(data, (2,), label, batch_size=2, round_batch=False)) == whole[:1]
    wide = CSVIter(data, (1, 2), data, (2,), num_parts=2, part_index=1, dtype="int32")
    assert wide.provide_data[0].shape == (1, 1, 2) and wide.provide_label[0].shape == (1, 2)
    assert rows(wide) == [([[[3, 4]]], [[3, 4]], 0), ([[[5, 6]]], [[5, 6]], 0)]


def test_csv_that_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv", "1,2\n3\n")
    assert message(lambda: CSVIter(path, (2,))) == (
        f"CSVIter: {path}, line 2: expected 2 numbers, for shape (2,); given 1"
    )
    written(tmp_path / "d.csv", "1,2\n3,x\n")
    assert message(lambda: CSVIter(path, (2,))) == (
        f"CSVIter: {path}, line 2: expected numbers of float32; given '3,x'"
    )
    assert "nowhere.csv: No such file" in message(lambda: CSVIter(tmp_path / "nowhere.csv", (1,)))
    assert message(lambda: CSVIter(path)) == "CSVIter: data_shape must be given"
    assert "unexpected arguments shuffle" in message(lambda: CSVIter(path, (2,), shuffle=True))
    written(tmp_path / "d.csv", "")
    assert "part 0 of 1 of 0 rows is empty" in message(lambda: CSVIter(path, (2,)))
    written(tmp_path / "d.csv", "1,2\n")
    labels = written(tmp_path / "l.csv", "1\n2\n")
    assert "there are 1 rows of data and 2 labels" in message(lambda: CSVIter(path, (2,), labels))
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe")
    assert "expected lines of text; it holds other bytes" in message(lambda: CSVIter(path, (2,)))


def test_libsvm(tmp_path: Path) -> None:
    path = written(tmp_path / "a.t", "3 0:0.75 2:1.5 # a remark\n\n-1\n6 1:-0.5\n")
    batches = LibSVMIter(path, (3,), batch_size=2)
    assert rows(batches) == [
        ([[0.75, 0, 1.5], [0, 0, 0]], [3, -1], 0), ([[0, -0.5, 0], [0.75, 0, 1.5]], [6, 3], 1),
    ]  # fmt: skip
    labels = written(tmp_path / "l.t", "0:1 1:2\n0:3\n1:4\n")
    wide = LibSVMIter(path, (3,), labels, (2,), batch_size=3)
    assert rows(wide)[0][1] == [[1, 2], [3, 0], [0, 4]]
    assert message(lambda: LibSVMIter(path, (2,))) == (
        f"LibSVMIter: {path}, line 1: expected places from 0 to 1, as data_shape says; given 2"
    )
    written(tmp_path / "a.t", "1 0:x\n")
    assert message(lambda: LibSVMIter(path, (2,))) == (
        f"LibSVMIter: {path}, line 1: expected a label and place:number; given '1 0:x'"
    )


def test_mnist(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    (tmp_path / "i").write_bytes(struct.pack(">IIII", 2051, 6, 2, 2) + pixels.tobytes())
    (tmp_path / "l").write_bytes(struct.pack(">II", 2049, 6) + bytes(range(6)))
    paths = {"image": tmp_path / "i", "label": tmp_path / "l"}
    batches = MNISTIter(**paths, batch_size=4, shuffle=False)
    ((data, label, pad),) = rows(batches)
    np.testing.assert_allclose(data, pixels[:4, None] / 256)
    assert (label, pad) == ([0, 1, 2, 3], 0)
    drawn = MNISTIter(**paths, batch_size=6, flat=True, seed=1)
    first = rows(drawn)[0]
    drawn.reset()
    second = rows(drawn)[0]
    assert first[1] != second[1] and sorted(first[1]) == sorted(second[1]) == list(range(6))
    assert rows(MNISTIter(**paths, batch_size=6, flat=True, seed=1)) == [first]
    assert [row[0] * 256 for row in np.array(first[0])[:, :1]] == [4 * n for n in first[1]]
    assert "fewer than the 9 of one batch" in message(lambda: MNISTIter(**paths, batch_size=9))
    exchanged = {"image": tmp_path / "l", "label": tmp_path / "i"}
    assert "are images and labels exchanged" in message(lambda: MNISTIter(**exchanged))


# ------------------------------------------------------------------------ around others


def test_ahead_of_the_loop() -> None:
    before = threading.active_count()
    numbers = np.arange(5.0)
    batches = PrefetchingIter(NDArrayIter(numbers, numbers, 2))
    wanted = rows(NDArrayIter(numbers, numbers, 2))
    for _ in range(3):
        assert rows(batches) == wanted
        batches.reset()
    next(batches)
    batches.reset()
    assert rows(batches) == wanted
    with pytest.raises(StopIteration):
        batches.next()
    del batches
    gc.collect()
    for _ in range(500):
        if threading.active_count() == before:
            break
        threading.Event().wait(0.01)
    assert threading.active_count() == before
    uneven = PrefetchingIter([NDArrayIter(numbers, None, 2), NDArrayIter(numbers[:4], None, 2)])
    assert "one iterator has ended before another" in message(lambda: list(uneven))
    assert "rename_data: expected a dictionary for each of 1 iterators" in message(
        lambda: PrefetchingIter(NDArrayIter(numbers), rename_data=[])
    )


class Failing(NDArrayIter):
    def next(self) -> Any:
        if self.cursor == 2:
            raise KeyError("the iterator's own")
        return super().next()


def test_an_error_ahead_comes_in_its_place() -> None:
    batches = PrefetchingIter(Failing(np.arange(8), batch_size=2))
    next(batches), next(batches)
    with pytest.raises(KeyError, match="the iterator's own"):
        next(batches)
    batches.reset()
    next(batches)


def test_epochs_of_another_length() -> None:
    numbers = np.arange(4.0)
    batches = ResizeIter(NDArrayIter(numbers, numbers, 2), 3)
    assert [row[0] for row in rows(batches)] == [[0, 1], [2, 3], [0, 1]]
    batches.reset()
    assert len(rows(batches)) == 3
    on = ResizeIter(NDArrayIter(numbers, numbers, 2), 1, reset_internal=False)
    first = rows(on)
    on.reset()
    assert (first[0][0], rows(on)[0][0]) == ([0, 1], [2, 3])
    few = NDArrayIter(numbers, batch_size=9, last_batch_handle="discard")
    assert "has no batches" in message(lambda: list(ResizeIter(few, 1)))


# -------------------------------------------------------------------------------- images


@pytest.fixture
def records(tmp_path: Path) -> tuple[str, str]:
    """Seven images, each of one number, larger than what is taken of them."""
    content = {
        key: recordio.pack((0, key, key, 0), saved(np.full((9 + key, 12, 3), 10 * key, np.uint8)))
        for key in range(7)
    }
    return write_indexed(tmp_path, "a", content)


def firsts(batches: Any) -> list[Any]:
    """Of each image its first number, checked to be all of it."""
    found = []
    for batch in batches:
        data = batch.data[0].asnumpy()
        assert (data == data[:, :1, :1, :1]).all()
        found.append((data[:, 0, 0, 0].tolist(), batch.label[0].asnumpy().tolist(), batch.pad))
    return found


@pytest.mark.parametrize("with_index", [True, False])
def test_record_files_of_images(records: tuple[str, str], with_index: bool) -> None:
    if not with_index:
        Path(records[0]).unlink()
    whole = [
        ([0, 10, 20], [0, 1, 2], 0), ([30, 40, 50], [3, 4, 5], 0), ([60, 0, 10], [6, 0, 1], 2),
    ]  # fmt: skip
    batches = ImageRecordIter(records[1], (3, 8, 6), 3, preprocess_threads=2)
    for _ in range(2):
        assert firsts(batches) == whole
        batches.reset()
    assert (
        batches.provide_data[0].shape == (3, 3, 8, 6) and len(batches.provide_label[0].shape) == 1
    )
    assert (
        firsts(ImageRecordIter(records[1], (3, 8, 6), 3, round_batch=False, preprocess_threads=1))
        == whole[:2]
    )
    small = ImageRecordUInt8Iter(
        records[1], (3, 8, 6), 2, num_parts=2, part_index=1, preprocess_threads=1
    )
    assert firsts(small) == [([30, 40], [3, 4], 0), ([50, 60], [5, 6], 0)]
    small.reset()
    assert next(small).data[0].dtype == np.uint8
    scaled = ImageRecordIter(
        records[1],
        (3, 8, 6),
        7,
        mean_r=1,
        mean_g=1,
        mean_b=1,
        std_r=2,
        std_g=2,
        std_b=2,
        scale=3,
        preprocess_threads=1,
    )
    assert firsts(scaled)[0][0] == [(10 * key - 1) * 3 / 2 for key in range(7)]
    iterated = ImageIter(3, (3, 8, 6), path_imgrec=records[1])
    assert [(row[0], row[2]) for row in firsts(iterated)] == [(row[0], row[2]) for row in whole]


def test_orders_and_draws_of_images(records: tuple[str, str]) -> None:
    def run(threads: int) -> Any:
        mx.random.seed(3)
        batches = ImageRecordIter(
            records[1], (3, 8, 6), 3, shuffle=True, rand_crop=True, rand_mirror=True,
            brightness=0.5, random_resized_crop=True, pca_noise=0.1, random_h=0.1,
            preprocess_threads=threads,
        )  # fmt: skip
        first = [batch.data[0].asnumpy() for batch in batches]
        batches.reset()
        return [*first, *(batch.data[0].asnumpy() for batch in batches)]

    one, other = run(1), run(3)
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert not (one[0] == one[3]).all()
    seeds = [
        ImageRecordIter(records[1], (3, 8, 6), 7, shuffle=True, seed=5, preprocess_threads=1)
        for _ in range(2)
    ]
    mx.random.seed(8)
    first = firsts(seeds[0])
    mx.random.seed(9)
    assert firsts(seeds[1]) == first and sorted(first[0][1]) == list(range(7))
    seeds[0].reset()
    assert firsts(seeds[0]) != first


@pytest.mark.parametrize("how", ["pad", "discard", "roll_over"])
def test_image_iter(tmp_path: Path, how: str) -> None:
    rows_ = []
    for place in range(5):
        (tmp_path / f"{place}.png").write_bytes(saved(np.full((8, 8, 3), place, np.uint8)))
        rows_.append([place, f"{place}.png"])
    batches = ImageIter(2, (3, 4, 4), imglist=rows_, path_root=str(tmp_path), last_batch_handle=how)
    epochs = []
    for _ in range(2):
        epochs.append([(labels, pad) for _, labels, pad in firsts(batches)])
        batches.reset()
    full = [([0, 1], 0), ([2, 3], 0)]
    wanted = {
        "pad": [[*full, ([4, 0], 1)]] * 2,
        "discard": [full] * 2,
        "roll_over": [full, [([4, 0], 0), ([1, 2], 0), ([3, 4], 0)]],
    }
    assert epochs == wanted[how]
    (tmp_path / "a.lst").write_text("".join(f"{n}\t{n}\t{n + 1}\t{n}.png\n" for n in range(5)))
    several = ImageIter(
        5, (1, 8, 8), 2, path_imglist=tmp_path / "a.lst", path_root=tmp_path, shuffle=True, resize=8
    )
    (batch,) = several
    labels = batch.label[0].asnumpy()
    assert (labels[:, 1] == labels[:, 0] + 1).all() and batch.data[0].shape == (5, 1, 8, 8)
    assert ImageIter(1, (3, 4, 4), imglist=rows_, num_parts=5, part_index=3).seq == [3]


def test_images_that_are_wrong(tmp_path: Path, records: tuple[str, str]) -> None:
    missing = ImageIter(1, (3, 4, 4), imglist=[[0, "nowhere.png"]], path_root=str(tmp_path))
    assert message(missing.next) == f"ImageIter: {tmp_path}/nowhere.png: No such file or directory"
    (tmp_path / "x.png").write_bytes(b"no image")
    damaged = ImageIter(1, (3, 4, 4), imglist=[[0, "x.png"]], path_root=str(tmp_path))
    assert f"of image 0 ({tmp_path}/x.png), which begin with 6e 6f" in message(damaged.next)
    narrow = ImageIter(1, (3, 4, 4), 2, imglist=[[0, "x.png"]], path_root=str(tmp_path))
    assert message(narrow.next) == (
        f"ImageIter: image 0 ({tmp_path}/x.png): expected label_width=2 numbers; given 1"
    )
    unchanged = ImageIter(1, (3, 4, 4), path_imgrec=records[1], aug_list=[])
    assert message(unchanged.next) == (
        f"ImageIter: {records[1]}, record 0: expected data_shape=(3, 4, 4); the augmenters gave "
        "(3, 9, 12); add one that resizes or crops"
    )
    wide = ImageRecordIter(records[1], (3, 8, 6), 2, label_width=3, preprocess_threads=1)
    assert message(wide.next) == (
        f"ImageRecordIter: {records[1]}, record 0: expected label_width=3 numbers; given 1"
    )
    assert message(lambda: ImageIter(1, (3, 4, 4))) == (
        "ImageIter: expected path_imgrec, path_imglist or imglist; given none of them"
    )
    assert (
        "data_shape: expected (channels, height, width), with 1 or 3 channels; given (4, 4, 3)"
        in (message(lambda: ImageRecordIter(records[1], (4, 4, 3), 1)))
    )
    empty = tmp_path / "empty.rec"
    empty.write_bytes(b"")
    assert message(lambda: ImageRecordIter(empty, (3, 4, 4), 1)) == (
        "ImageRecordIter: path_imgrec holds no images; give one that does"
    )
    (tmp_path / "a.lst").write_text("0\tx.png\n")
    assert "line 1: expected a number, labels and a path, with tabs between" in message(
        lambda: ImageIter(1, (3, 4, 4), path_imglist=tmp_path / "a.lst")
    )
