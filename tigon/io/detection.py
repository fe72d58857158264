"""`ImageDetRecordIter`: record files of images with boxes, decoded by other processes ahead of the
loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import check
from tigon.image import augmenters, codec
from tigon.image.detection import (
    DetAugmenter,
    DetBorrowAug,
    DetHorizontalFlipAug,
    DetRandomCropAug,
    DetRandomPadAug,
    DetRandomSelectAug,
    boxes_of,
)
from tigon.image.geometry import as_array
from tigon.image.iterator import ImageSource
from tigon.io.images import ImageRecordIter


class _Samples:
    """Images in one size, and their labels."""

    def __init__(
        self,
        source: ImageSource,
        chosen: list[Any],
        shape: tuple[int, ...],
        pad: tuple[int, float],
        changes: list[DetAugmenter],
    ) -> None:
        self._source = source
        self._keys = chosen
        self._shape = shape
        self._pad_width, self._pad_value = pad
        self._changes_both = changes
        self.changes: list[Any] = []
        longest = max(self._numbers(self._boxes(key)[1]).size for key in chosen)
        check(
            self._pad_width in (0, -1) or self._pad_width >= longest,
            "ImageDetRecordIter",
            f"label_pad_width: expected room for the longest label, of {longest} numbers; given "
            f"{self._pad_width}",
        )
        self._pad_width = max(self._pad_width, longest)
        self.label_width = self._pad_width + 4

    def _boxes(self, key: Any) -> tuple[bytes, np.ndarray]:
        label, content = self._source.read(key)
        return content, boxes_of("ImageDetRecordIter", self._source.name_of(key), label)

    @staticmethod
    def _numbers(boxes: np.ndarray) -> np.ndarray:
        """As a label stands in a file."""
        return np.concatenate([[2, boxes.shape[1]], boxes.ravel()]).astype(np.float32)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, place: int) -> Any:
        key = self._keys[place]
        content, boxes = self._boxes(key)
        flag, name = 0 if self._shape[0] == 1 else 1, self._source.name_of(key)
        found: Any = as_array(codec.decode(content, flag, "RGB", name, "ImageDetRecordIter"))
        for change in self._changes_both:
            found, boxes = change(found, boxes)
        numbers = self._numbers(boxes)
        label = np.full(self.label_width, self._pad_value, np.float32)
        label[:4] = (*self._shape, numbers.size)
        label[4 : 4 + numbers.size] = numbers
        return found, label


class ImageDetRecordIter(ImageRecordIter):
    """Batches of the images of a record file with boxes; see `mx.image.ImageDetIter` for what a
    label is in a file.

    A label here is a row: channels, height and width of the image, how many numbers its own label
    has, that label, and `label_pad_value` up to the width.

    Parameters
    ----------
    path_imgrec
        the path of the record file
    data_shape
        (channels, height, width) of an image, to which it is resized
    batch_size
        how many images a batch has
    label_pad_width, 0 by default
        room for a label; 0: that of the longest
    label_pad_value, -1 by default
        what fills it up
    rand_mirror_prob, 0 by default
        the probability with which an image is flipped
    rand_crop_prob, 0 by default
        the probability with which a random part is taken
    min_crop_scales, max_crop_scales, min_crop_aspect_ratios, max_crop_aspect_ratios
        its area and shape
    min_crop_object_coverages, 0.1 by default
        the share of every box that it touches that must lie in it
    emit_overlap_thresh, 0.3 by default
        boxes of which no more lies in it are left out
    max_crop_trials, 50 by default
        how many parts are tried
    rand_pad_prob, 0 by default
        the probability with which the image is put into a larger one
    max_pad_scale, 1 by default
        how much longer its sides are at most
    fill_value, 127 by default
        what is around
    inter_method, 1 by default
        how images are resized; see `mx.image.imresize`
    others
        as in `ImageRecordIter`
    """

    def __init__(
        self,
        path_imgrec: Any = None,
        data_shape: Any = None,
        batch_size: int | None = None,
        label_width: int = -1,
        label_pad_width: int = 0,
        label_pad_value: float = -1,
        rand_mirror_prob: float = 0,
        rand_crop_prob: float = 0,
        min_crop_scales: float = 0.05,
        max_crop_scales: float = 1.0,
        min_crop_aspect_ratios: float = 0.75,
        max_crop_aspect_ratios: float = 1.33,
        min_crop_object_coverages: float = 0.1,
        emit_overlap_thresh: float = 0.3,
        max_crop_trials: int = 50,
        rand_pad_prob: float = 0,
        max_pad_scale: float = 1.0,
        fill_value: float = 127,
        inter_method: int = 1,
        data_name: str = "data",
        label_name: str = "label",
        **kwargs: Any,
    ) -> None:
        both: list[DetAugmenter] = []
        if rand_crop_prob > 0:
            crop = DetRandomCropAug(
                _one(min_crop_object_coverages),
                (_one(min_crop_aspect_ratios), _one(max_crop_aspect_ratios)),
                (_one(min_crop_scales) ** 2, _one(max_crop_scales) ** 2),
                emit_overlap_thresh,
                int(_one(max_crop_trials)),
            )
            both.append(DetRandomSelectAug([crop], 1 - rand_crop_prob))
        if rand_pad_prob > 0:
            pad = DetRandomPadAug((0.75, 1.33), (1.0, max_pad_scale**2), 50, fill_value)
            both.append(DetRandomSelectAug([pad], 1 - rand_pad_prob))
        if rand_mirror_prob > 0:
            both.append(DetHorizontalFlipAug(rand_mirror_prob))
        check(
            data_shape is not None and len(data_shape) == 3,
            "ImageDetRecordIter",
            f"data_shape: expected (channels, height, width); given {data_shape!r}",
        )
        size = (data_shape[2], data_shape[1])
        self._both = [*both, DetBorrowAug(augmenters.ForceResizeAug(size, inter_method))]
        self._pad = (label_pad_width, label_pad_value)
        super().__init__(
            path_imgrec,
            data_shape,
            batch_size,
            data_name=data_name,
            label_name=label_name,
            **kwargs,
        )

    def _read(self, source: ImageSource, chosen: list[Any], width: int) -> Any:
        samples = _Samples(source, chosen, self._shape, self._pad, self._both)
        self._width = samples.label_width
        return samples


def _one(given: Any) -> float:
    """Of a list for several ways of cropping the first: there is one."""
    values = given if isinstance(given, (list, tuple)) else [given]
    check(
        len(values) == 1,
        "ImageDetRecordIter",
        f"expected one way of cropping; given {values!r}; image.CreateMultiRandCropAugmenter has "
        "several",
    )
    return values[0]
