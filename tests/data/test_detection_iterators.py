"""Images with boxes: what augmenters do to both, and what iterators give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.data.test_images import message, saved
from tests.data.test_recordio import write_indexed
from tigon import image, nd, recordio
from tigon.image import detection
from tigon.io import ImageDetRecordIter

BOXES = np.array([[1, 0.25, 0.25, 0.5, 0.75], [2, 0.5, 0.5, 1.0, 1.0]], np.float32)


def picture() -> Any:
    """White in the first box, grey in the second, black elsewhere."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 15:30] = 255
    pixels[20:40, 30:60] = 128
    return nd.array(pixels, dtype="uint8")


def inside(pixels: Any, box: Any) -> np.ndarray:
    """The pixels well within a box."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = box[1:5] * (width, height, width, height)
    return pixels.asnumpy()[int(top) + 2 : int(bottom) - 2, int(left) + 2 : int(right) - 2]


COLOURS = {1: 255, 2: 128}
CHANGES = {
    "flip": lambda: image.DetHorizontalFlipAug(1),
    "crop": lambda: image.DetRandomCropAug(0.3, (0.5, 2), (0.3, 0.9)),
    "pad": lambda: image.DetRandomPadAug((0.5, 2), (1.0, 4.0)),
    "borrow": lambda: image.DetBorrowAug(image.ForceResizeAug((90, 80), 0)),
    "select": lambda: image.DetRandomSelectAug([image.DetHorizontalFlipAug(1)], 0.5),
    "several": lambda: image.CreateMultiRandCropAugmenter([0.1, 0.5], skip_prob=0.2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_boxes_stay_around_what_they_are_around(name: str) -> None:
    change = CHANGES[name]()
    json.loads(change.dumps())
    mx.random.seed(6)
    shapes = set()
    for _ in range(40):
        changed, boxes = change(picture(), BOXES)
        shapes.add((changed.shape, boxes.tobytes()))
        assert len(boxes) and (boxes[:, 1:] >= 0).all() and (boxes[:, 1:] <= 1).all()
        for box in boxes:
            pixels = inside(changed, box)
            assert (pixels == COLOURS[int(box[0])]).all()
    mx.random.seed(6)
    again = {(c.shape, b.tobytes()) for c, b in (change(picture(), BOXES) for _ in range(40))}
    assert again == shapes


def test_parts_hold_of_boxes_what_was_asked() -> None:
    crop = image.DetRandomCropAug(
        min_object_covered=0.6, area_range=(0.1, 0.8), min_eject_coverage=0.7
    )
    part = (0.25, 0.25, 0.5, 0.75)
    found = crop._boxes_in(BOXES, part)
    assert found is None or len(found)
    assert crop._boxes_in(BOXES, (0.0, 0.0, 0.3, 0.3)) is None, "too little of the first"
    kept = image.DetRandomCropAug(0.1, min_eject_coverage=0.6)._boxes_in(BOXES, part)
    assert kept.tolist() == [[1, 0, 0, 0.5, np.float32(2 / 3)]]
    nothing = np.full((1, 5), -1, np.float32)
    assert crop._boxes_in(nothing, part) is nothing
    assert "expected positive numbers in order" in message(
        lambda: image.DetRandomCropAug(area_range=(0.5, 0.1))
    )
    assert "expected an augmenter of mx.image" in message(lambda: image.DetBorrowAug(abs))
    assert "expected lists of one length" in message(
        lambda: image.CreateMultiRandCropAugmenter([0.1, 0.2], max_attempts=[1, 2, 3])
    )


def test_lists_of_augmenters() -> None:
    found = image.CreateDetAugmenter(
        (3, 16, 16), resize=32, rand_crop=0.5, rand_pad=0.5, rand_gray=0.1, rand_mirror=True,
        mean=True, std=True, brightness=0.1, hue=0.1, pca_noise=0.1,
    )  # fmt: skip
    mx.random.seed(1)
    for _ in range(10):
        changed, boxes = picture(), BOXES
        for change in found:
            changed, boxes = change(changed, boxes)
        assert changed.shape == (16, 16, 3) and changed.dtype == np.float32 and len(boxes)
    assert {type(one).__name__ for one in found} == {
        "DetBorrowAug", "DetRandomSelectAug", "DetHorizontalFlipAug",
    }  # fmt: skip


@pytest.fixture
def records(tmp_path: Path) -> tuple[str, str]:
    content = {}
    for key in range(3):
        label = [2, 5, *BOXES[: 1 + key % 2].ravel()]
        content[key] = recordio.pack((0, label, key, 0), saved(picture().asnumpy()))
    return write_indexed(tmp_path, "a", content)


def test_iterators_of_images_with_boxes(records: tuple[str, str]) -> None:
    batches = image.ImageDetIter(2, (3, 20, 30), path_imgrec=records[1])
    assert batches.provide_label[0].shape == (2, 2, 5) and batches.provide_label[0].name == "label"
    first, last = batches
    assert first.data[0].shape == (2, 3, 20, 30) and (first.pad, last.pad) == (0, 1)
    none = [[-1.0] * 5]
    assert first.label[0].asnumpy().tolist() == [[*BOXES[:1].tolist(), *none], BOXES.tolist()]
    other = image.ImageDetIter(1, (3, 20, 30), path_imgrec=records[1], num_parts=3)
    assert other.label_shape == (1, 5)
    batches.sync_label_shape(other)
    assert other.label_shape == (2, 5)
    other.reshape((3, 10, 10), (4, 5))
    batch = next(other)
    assert batch.data[0].shape == (1, 3, 10, 10) and batch.label[0].shape == (1, 4, 5)
    assert "with 4 boxes or more; given (1, 5)" in message(
        lambda: other.reshape(label_shape=(1, 5))
    )
    drawn = list(image.ImageDetIter(1, (3, 40, 60), path_imgrec=records[1]).draw_next(thickness=1))
    assert len(drawn) == 3 and drawn[0][10, 15].tolist() == [255, 0, 0]
    assert drawn[0].dtype == np.uint8 and drawn[0][20, 20].tolist() == [255, 255, 255]


def test_labels_that_are_no_boxes() -> None:
    where = "ImageDetIter"
    assert message(lambda: detection.boxes_of(where, "image 0", [1, 2])).startswith(
        "ImageDetIter: image 0: expected a label of the length of its head (2 or more), the "
        "length of a box (5 or more), and boxes (class, left, top, right, bottom); given [1.0, 2.0]"
    )
    assert "expected boxes of 5 numbers behind a head of 2; there are 6 numbers" in message(
        lambda: detection.boxes_of(where, "image 0", [2, 5, 0, 0, 0, 1, 1, 7])
    )
    assert "there is no box with an area" in message(
        lambda: detection.boxes_of(where, "image 0", [2, 5, 0, 0.5, 0, 0.5, 1])
    )


def test_record_files_of_images_with_boxes(records: tuple[str, str]) -> None:
    batches = ImageDetRecordIter(
        records[1], (3, 20, 30), 3, preprocess_threads=2, label_pad_width=20
    )
    for _ in range(2):
        (batch,) = batches
        batches.reset()
        labels = batch.label[0].asnumpy()
        assert labels.shape == (3, 24) and batches.provide_label[0].shape == (3, 24)
        assert labels[1].tolist() == [3, 20, 30, 12, 2, 5, *BOXES.ravel().tolist(), *[-1] * 8]
        assert labels[0, 3] == 7 and batch.data[0].shape == (3, 3, 20, 30)
    mx.random.seed(2)
    changed = ImageDetRecordIter(
        records[1], (3, 20, 30), 3, rand_mirror_prob=1, rand_crop_prob=0.7, rand_pad_prob=0.7,
        max_pad_scale=2, mean_r=5, mean_g=5, mean_b=5, preprocess_threads=1,
    )  # fmt: skip
    (batch,) = changed
    assert batch.label[0].shape == (3, 16) and batch.data[0].asnumpy().min() == -5
    assert "expected room for the longest label, of 12 numbers; given 7" in message(
        lambda: ImageDetRecordIter(records[1], (3, 20, 30), 3, label_pad_width=7)
    )
