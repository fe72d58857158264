"""Images with boxes: augmenters that change both, and `ImageDetIter`.

The boxes of an image are rows (class, left, top, right, bottom, ...), as shares of width and
height. A row whose class is -1 is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.arguments import NamesWrongTypes
from tigon.image import augmenters
from tigon.image.augmenters import Augmenter
from tigon.image.chance import chance
from tigon.image.geometry import as_array, copyMakeBorder, fixed_crop
from tigon.image.iterator import ImageIter
from tigon.io import DataDesc
from tigon.nd import NDArray

__all__ = [
    "CreateDetAugmenter",
    "CreateMultiRandCropAugmenter",
    "DetAugmenter",
    "DetBorrowAug",
    "DetHorizontalFlipAug",
    "DetRandomCropAug",
    "DetRandomPadAug",
    "DetRandomSelectAug",
    "ImageDetIter",
]

Box = tuple[float, float, float, float]
"""Left, top, width and height, as shares."""


class DetAugmenter(NamesWrongTypes):
    """Base: calling it with image and boxes gives the changed ones."""

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs

    def dumps(self) -> str:
        """Name and arguments as JSON."""
        return json.dumps([type(self).__name__.lower(), self._kwargs])

    def __call__(self, src: Any, label: np.ndarray) -> tuple[Any, np.ndarray]:
        raise NotImplementedError(f"{type(self).__name__}: define __call__")


class DetBorrowAug(DetAugmenter):
    """An augmenter of images that leaves their boxes where they are."""

    def __init__(self, augmenter: Augmenter) -> None:
        check(
            isinstance(augmenter, Augmenter),
            "DetBorrowAug",
            f"expected an augmenter of mx.image; given {augmenter!r:.60}",
        )
        super().__init__(augmenter=json.loads(augmenter.dumps()))
        self.augmenter = augmenter

    def __call__(self, src: Any, label: np.ndarray) -> tuple[Any, np.ndarray]:
        return self.augmenter(src), label


class DetRandomSelectAug(DetAugmenter):
    """One of several augmenters, or with probability `skip_prob` none."""

    def __init__(self, aug_list: Sequence[DetAugmenter], skip_prob: float = 0) -> None:
        chosen = list(aug_list) if isinstance(aug_list, (list, tuple)) else [aug_list]
        super().__init__(aug_list=[json.loads(one.dumps()) for one in chosen], skip_prob=skip_prob)
        self.aug_list = chosen
        self.skip_prob = skip_prob if chosen else 1.0

    def __call__(self, src: Any, label: np.ndarray) -> tuple[Any, np.ndarray]:
        draws = chance()
        if draws.random() < self.skip_prob:
            return src, label
        return draws.choice(self.aug_list)(src, label)


class DetHorizontalFlipAug(DetAugmenter):
    """With probability `p` left becomes right."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: Any, label: np.ndarray) -> tuple[Any, np.ndarray]:
        if chance().random() >= self.p:
            return src, label
        pixels = src.asnumpy() if isinstance(src, NDArray) else np.asarray(src)
        boxes = label.copy()
        valid = label[:, 0] > -1
        boxes[valid, 1], boxes[valid, 3] = 1 - label[valid, 3], 1 - label[valid, 1]
        return as_array(pixels[:, ::-1]), boxes


class DetRandomCropAug(DetAugmenter):
    """A random part of the image, with the boxes in it.

    Parameters
    ----------
    min_object_covered, 0.1 by default
        the share of every box that the part touches that must lie in it
    aspect_ratio_range, (0.75, 1.33) by default
        the least and greatest width / height of the part
    area_range, (0.05, 1.0) by default
        the least and greatest share of the area
    min_eject_coverage, 0.3 by default
        boxes of which no more lies in the part are left out
    max_attempts, 50 by default
        how many parts are tried; then the image stays as it is
    """

    def __init__(
        self,
        min_object_covered: float = 0.1,
        aspect_ratio_range: Any = (0.75, 1.33),
        area_range: Any = (0.05, 1.0),
        min_eject_coverage: float = 0.3,
        max_attempts: int = 50,
    ) -> None:
        ratios, areas = _range(aspect_ratio_range), _range(area_range)
        super().__init__(
            min_object_covered=min_object_covered,
            aspect_ratio_range=ratios,
            area_range=areas,
            min_eject_coverage=min_eject_coverage,
            max_attempts=max_attempts,
        )
        check(
            0 < areas[0] <= areas[1] and 0 < ratios[0] <= ratios[1],
            "DetRandomCropAug",
            f"area_range and aspect_ratio_range: expected positive numbers in order; given {areas} "
            f"and {ratios}",
        )
        self.min_object_covered = min_object_covered
        self.aspect_ratio_range = ratios
        self.area_range = (areas[0], min(areas[1], 1.0))
        self.min_eject_coverage = min_eject_coverage
        self.max_attempts = max_attempts

    def __call__(self, src: Any, label: np.ndarray) -> tuple[Any, np.ndarray]:
        height, width = src.shape[:2]
        draws = chance()
        for _ in range(self.max_attempts):
            area = draws.uniform(*self.area_range) * height * width
            ratio = draws.uniform(*self.aspect_ratio_range)
            new_width, new_height = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if not (0 < new_width <= width and 0 < new_height <= height):
                continue
            x = draws.randint(0, width - new_width)
            y = draws.randint(0, height - new_height)
            part = (x / width, y / height, new_width / width, new_height / height)
            boxes = self._boxes_in(label, part)
            if boxes is not None:
                return fixed_crop(src, x, y, new_width, new_height), boxes
        return src, label

    def _boxes_in(self, label: np.ndarray, part: Box) -> np.ndarray | None:
        """The boxes as they lie in a part; None where the part does not suit them."""
        valid = label[label[:, 0] > -1]
        if len(valid) == 0:
            return label
        x, y, width, height = part
        inside = valid.copy()
        inside[:, (1, 3)] = inside[:, (1, 3)].clip(x, x + width)
        inside[:, (2, 4)] = inside[:, (2, 4)].clip(y, y + height)
        covered = _areas(inside) / np.maximum(_areas(valid), 1e-12)
        touched = covered[covered > 0]
        if len(touched) == 0 or touched.min() <= self.min_object_covered:
            return None
        kept = inside[covered > self.min_eject_coverage]
        if len(kept) == 0:
            return None
        kept[:, (1, 3)] = ((kept[:, (1, 3)] - x) / width).clip(0, 1)  # rounding goes beyond
        kept[:, (2, 4)] = ((kept[:, (2, 4)] - y) / height).clip(0, 1)
        return kept


def _range(given: Any) -> tuple[float, float]:
    if isinstance(given, (int, float)):
        return float(given), 1.0
    return tuple(given)  # type: ignore[return-value]


def _areas(boxes: np.ndarray) -> np.ndarray:
    sides = np.maximum(boxes[:, 3:5] - boxes[:, 1:3], 0)
    return sides[:, 0] * sides[:, 1]


class DetRandomPadAug(DetAugmenter):
    """The image somewhere in a larger one.

    Parameters
    ----------
    aspect_ratio_range, (0.75, 1.33) by default
        the least and greatest width / height of the larger one
    area_range, (1.0, 3.0) by default
        its least and greatest area, in areas of the image
    max_attempts, 50 by default
        how many are tried; then the image stays as it is
    pad_val, (128, 128, 128) by default
        what is around
    """

    def __init__(
        self,
        aspect_ratio_range: Any = (0.75, 1.33),
        area_range: Any = (1.0, 3.0),
        max_attempts: int = 50,
        pad_val: Any = (128, 128, 128),
    ) -> None:
        ratios, areas = _range(aspect_ratio_range), _range(area_range)
        values = [pad_val] if isinstance(pad_val, (int, float)) else list(pad_val)
        super().__init__(
            aspect_ratio_range=ratios, area_range=areas, max_attempts=max_attempts, pad_val=values
        )
        check(
            0 < areas[0] <= areas[1] and 0 < ratios[0] <= ratios[1],
            "DetRandomPadAug",
            f"area_range and aspect_ratio_range: expected positive numbers in order; given {areas} "
            f"and {ratios}",
        )
        self.aspect_ratio_range = ratios
        self.area_range = areas
        self.max_attempts = max_attempts
        self.pad_val = values

    def __call__(self, src: Any, label: np.ndarray) -> tuple[Any, np.ndarray]:
        height, width, channels = src.shape
        draws = chance()
        for _ in range(self.max_attempts):
            area = draws.uniform(*self.area_range) * height * width
            ratio = draws.uniform(*self.aspect_ratio_range)
            new_width, new_height = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if new_width < width or new_height < height:
                continue
            x, y = draws.randint(0, new_width - width), draws.randint(0, new_height - height)
            values = (self.pad_val * channels)[:channels]
            right, below = new_width - width - x, new_height - height - y
            padded = copyMakeBorder(src, y, below, x, right, 0, values=values)
            boxes = label.copy()
            valid = label[:, 0] > -1
            for columns, at, old, new in (
                ((1, 3), x, width, new_width),
                ((2, 4), y, height, new_height),
            ):
                for column in columns:
                    boxes[valid, column] = ((label[valid, column] * old + at) / new).clip(0, 1)
            return padded, boxes
        return src, label


def CreateMultiRandCropAugmenter(
    min_object_covered: Any = 0.1,
    aspect_ratio_range: Any = (0.75, 1.33),
    area_range: Any = (0.05, 1.0),
    min_eject_coverage: Any = 0.3,
    max_attempts: Any = 50,
    skip_prob: float = 0,
) -> DetRandomSelectAug:
    """One of several `DetRandomCropAug`: arguments are lists, of which each has one, or the same
    for all.

    >>> len(CreateMultiRandCropAugmenter(min_object_covered=[0.1, 0.5, 0.9]).aug_list)
    3
    """
    given = [
        (min_object_covered, (int, float)),
        (aspect_ratio_range, tuple),
        (area_range, tuple),
        (min_eject_coverage, (int, float)),
        (max_attempts, (int, float)),
    ]
    lists = [list(value) if isinstance(value, list) else [value] for value, _ in given]
    count = max(map(len, lists))
    check(
        all(len(values) in (1, count) for values in lists),
        "CreateMultiRandCropAugmenter",
        f"expected lists of one length, or single values; given lists of {sorted(map(len, lists))}",
    )
    columns = [values * count if len(values) == 1 else values for values in lists]
    chosen = [DetRandomCropAug(*row) for row in zip(*columns, strict=True)]
    return DetRandomSelectAug(chosen, skip_prob)


def CreateDetAugmenter(
    data_shape: Sequence[int],
    resize: int = 0,
    rand_crop: float = 0,
    rand_pad: float = 0,
    rand_gray: float = 0,
    rand_mirror: bool = False,
    mean: Any = None,
    std: Any = None,
    brightness: float = 0,
    contrast: float = 0,
    saturation: float = 0,
    pca_noise: float = 0,
    hue: float = 0,
    inter_method: int = 2,
    min_object_covered: Any = 0.1,
    aspect_ratio_range: Any = (0.75, 1.33),
    area_range: Any = (0.05, 3.0),
    min_eject_coverage: Any = 0.3,
    max_attempts: Any = 50,
    pad_val: Any = (127, 127, 127),
) -> list[DetAugmenter]:
    """A list of augmenters that give images of `data_shape` (channels, height, width), with boxes.

    Parameters
    ----------
    data_shape : of the result; only height and width are looked at
    resize : what the shorter side becomes first; 0 (default): it stays
    rand_crop, rand_pad : the probability of a random part, and of a larger image around
    rand_gray : the probability of an image without colours
    rand_mirror : half of the images are flipped
    mean, std : what is subtracted and divided by, channel by channel; True: those of ImageNet
    brightness, contrast, saturation, hue, pca_noise : how far colours change
    inter_method : how images are resized; see `imresize`
    min_object_covered, min_eject_coverage, max_attempts : see `DetRandomCropAug`
    aspect_ratio_range, area_range : of parts and of larger images
    pad_val : what is around

    >>> [type(one).__name__ for one in CreateDetAugmenter((3, 8, 8), rand_mirror=True)]
    ['DetHorizontalFlipAug', 'DetBorrowAug', 'DetBorrowAug']
    """
    size = (data_shape[2], data_shape[1])
    found: list[DetAugmenter] = []
    if resize > 0:
        found.append(DetBorrowAug(augmenters.ResizeAug(resize, inter_method)))
    if rand_crop > 0:
        areas = area_range if isinstance(area_range, list) else _range(area_range)
        found.append(
            CreateMultiRandCropAugmenter(
                min_object_covered,
                aspect_ratio_range,
                areas,
                min_eject_coverage,
                max_attempts,
                1 - rand_crop,
            )
        )
    if rand_mirror:
        found.append(DetHorizontalFlipAug(0.5))
    if rand_pad > 0:
        most = _range(area_range[0] if isinstance(area_range, list) else area_range)[1]
        ratios = (
            aspect_ratio_range[0] if isinstance(aspect_ratio_range, list) else aspect_ratio_range
        )
        attempts = max_attempts[0] if isinstance(max_attempts, list) else max_attempts
        pad = DetRandomPadAug(ratios, (1.0, max(most, 1.0)), attempts, pad_val)
        found.append(DetRandomSelectAug([pad], 1 - rand_pad))
    changes: list[Augmenter] = [augmenters.ForceResizeAug(size, inter_method), augmenters.CastAug()]
    if brightness or contrast or saturation:
        changes.append(augmenters.ColorJitterAug(brightness, contrast, saturation))
    changes += [augmenters.HueJitterAug(hue)] if hue else []
    if pca_noise > 0:
        eigen = (augmenters.EIGENVALUES, augmenters.EIGENVECTORS)
        changes.append(augmenters.LightingAug(pca_noise, *eigen))
    changes += [augmenters.RandomGrayAug(rand_gray)] if rand_gray > 0 else []
    mean = augmenters.statistics("CreateDetAugmenter", "mean", mean, augmenters.IMAGENET_MEAN)
    std = augmenters.statistics("CreateDetAugmenter", "std", std, augmenters.IMAGENET_STD)
    if mean is not None or std is not None:
        changes.append(augmenters.ColorNormalizeAug(mean, std))
    return [*found, *(DetBorrowAug(change) for change in changes)]


def boxes_of(where: str, name: str, raw: Any) -> np.ndarray:
    """The boxes of a label as it stands in a file: how long its head is, how long a box is, the
    rest of the head, the boxes. Boxes without an area are left out."""
    numbers = np.ravel(raw.asnumpy() if isinstance(raw, NDArray) else raw).astype(np.float32)
    head, width = (int(number) for number in numbers[:2]) if numbers.size >= 2 else (0, 0)
    check(
        head >= 2 and width >= 5 and numbers.size >= head + width,
        where,
        f"{name}: expected a label of the length of its head (2 or more), the length of a box (5 "
        f"or more), and boxes (class, left, top, right, bottom); given {numbers[:8].tolist()}",
    )
    check(
        (numbers.size - head) % width == 0,
        where,
        f"{name}: expected boxes of {width} numbers behind a head of {head}; there are "
        f"{numbers.size - head} numbers",
    )
    boxes = numbers[head:].reshape(-1, width)
    kept = boxes[_areas(boxes) > 0]
    check(len(kept), where, f"{name}: there is no box with an area: {boxes[:2].tolist()}")
    return kept


class ImageDetIter(ImageIter):
    """Batches of images with boxes: labels are (batch, boxes, numbers of a box), filled up by -1.

    Labels of files and lists are those of `tigon.tools.im2rec --pack-label`: the length of the head
    (2 or more), the length of a box (5 or more), the rest of the head, and the boxes: class, left,
    top, right, bottom, as shares of width and height.

    Parameters
    ----------
    batch_size
        how many images a batch has
    data_shape
        (channels, height, width) of an image
    path_imgrec, path_imglist, path_root, path_imgidx, imglist
        where the images are; see `ImageIter`
    shuffle, False by default
        whether each epoch has an order of its own
    part_index, 0 by default
        which part is read
    num_parts, 1 by default
        of how many
    aug_list, None by default
        augmenters; by default those that `CreateDetAugmenter` makes of the other arguments
    data_name, 'data' by default
        in `provide_data`
    label_name, 'label' by default
        in `provide_label`
    last_batch_handle, 'pad' by default
        see `ImageIter`
    """

    def __init__(
        self,
        batch_size: int,
        data_shape: Sequence[int],
        path_imgrec: Any = None,
        path_imglist: Any = None,
        path_root: Any = None,
        path_imgidx: Any = None,
        shuffle: bool = False,
        part_index: int = 0,
        num_parts: int = 1,
        aug_list: list[DetAugmenter] | None = None,
        imglist: Any = None,
        data_name: str = "data",
        label_name: str = "label",
        last_batch_handle: str = "pad",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            batch_size, data_shape, -1, path_imgrec, path_imglist, path_root, path_imgidx, shuffle,
            part_index, num_parts, [], imglist, data_name, label_name, "float32", last_batch_handle,
        )  # fmt: skip
        self.auglist: Any = (
            CreateDetAugmenter(data_shape, **kwargs) if aug_list is None else aug_list
        )
        self._label_name = label_name
        self._set_label_shape(self._estimate_label_shape())

    def _estimate_label_shape(self) -> tuple[int, int]:
        shapes = [self._boxes(key).shape for key in self.seq]
        widths = {width for _, width in shapes}
        check(
            len(widths) == 1,
            type(self).__name__,
            f"boxes have {' and '.join(map(str, sorted(widths)))} numbers; give all as many",
        )
        return max(count for count, _ in shapes), widths.pop()

    def _boxes(self, key: Any) -> np.ndarray:
        label, _ = self._source.read(key)
        return boxes_of(type(self).__name__, self._source.name_of(key), label)

    def _set_label_shape(self, shape: Sequence[int]) -> None:
        self.label_shape = tuple(shape)
        self.provide_label = [DataDesc(self._label_name, (self.batch_size, *self.label_shape))]

    def reshape(self, data_shape: Any = None, label_shape: Any = None) -> None:
        """Give images, or boxes, another shape from now on: as many boxes as before or more."""
        if data_shape is not None:
            self.check_data_shape(data_shape)
            self.data_shape = tuple(data_shape)
            name = self.provide_data[0].name
            self.provide_data = [DataDesc(name, (self.batch_size, *self.data_shape), self.dtype)]
            size = (self.data_shape[2], self.data_shape[1])
            for one in self.auglist:
                if isinstance(one, DetBorrowAug) and isinstance(
                    one.augmenter, augmenters.ForceResizeAug
                ):
                    one.augmenter.size = size
        if label_shape is not None:
            self.check_label_shape(label_shape)
            self._set_label_shape(label_shape)

    def check_label_shape(self, label_shape: Sequence[int]) -> None:
        """That the boxes there are fit."""
        count, width = self.label_shape
        check(
            len(label_shape) == 2 and label_shape[0] >= count and label_shape[1] == width,
            type(self).__name__,
            f"label_shape: expected (boxes, {width}), with {count} boxes or more; given "
            f"{tuple(label_shape)}",
        )

    def sync_label_shape(self, it: ImageDetIter, verbose: bool = False) -> ImageDetIter:
        """Let this and another iterator have labels of one shape, the larger of both."""
        check(
            isinstance(it, ImageDetIter) and it.label_shape[1] == self.label_shape[1],
            type(self).__name__,
            "sync_label_shape: expected an ImageDetIter with boxes of as many numbers",
        )
        shape = (max(it.label_shape[0], self.label_shape[0]), self.label_shape[1])
        self.reshape(label_shape=shape)
        it.reshape(label_shape=shape)
        return it

    def _empty_labels(self) -> np.ndarray:
        return np.full((self.batch_size, *self.label_shape), -1, np.float32)

    def _fill(self, images: np.ndarray, labels: np.ndarray, place: int, key: Any) -> None:
        label, content = self._source.read(key)
        boxes = boxes_of(type(self).__name__, self._source.name_of(key), label)
        image, boxes = self.augmentation_transform(self._decoded(key, content), boxes)
        self._place(images, place, key, image)
        labels[place, : len(boxes)] = boxes

    def augmentation_transform(self, data: Any, label: Any = None) -> Any:
        """Image and boxes, changed by all augmenters."""
        for change in self.auglist:
            data, label = change(data, label)
        return data, label

    def draw_next(
        self,
        color: Any = None,
        thickness: int = 2,
        mean: Any = None,
        std: Any = None,
        clip: bool = True,
    ) -> Iterator[np.ndarray]:
        """The images of the epoch with their boxes drawn, as arrays of uint8 (height, width, 3); of
        normalized ones `mean` and `std` are taken back."""
        paint = np.array((255, 0, 0) if color is None else color)
        while self.cur < len(self._order):
            key = self._order[self.cur]
            self.cur += 1
            label, content = self._source.read(key)
            boxes = boxes_of(type(self).__name__, self._source.name_of(key), label)
            image, boxes = self.augmentation_transform(self._decoded(key, content), boxes)
            pixels = image.asnumpy().astype(np.float32)
            if std is not None:
                defaults = augmenters.IMAGENET_STD
                pixels = pixels * augmenters.statistics("draw_next", "std", std, defaults)
            if mean is not None:
                defaults = augmenters.IMAGENET_MEAN
                pixels = pixels + augmenters.statistics("draw_next", "mean", mean, defaults)
            shown = (pixels.clip(0, 255) if clip else pixels).astype(np.uint8)
            height, width = shown.shape[:2]
            for box in boxes[boxes[:, 0] > -1]:
                sides = box[1:5] * (width, height, width, height)
                left, top, right, bottom = (int(side) for side in sides)
                inside = shown[
                    top + thickness : bottom - thickness, left + thickness : right - thickness
                ]
                kept = inside.copy()
                shown[top:bottom, left:right] = paint
                shown[
                    top + thickness : bottom - thickness, left + thickness : right - thickness
                ] = kept
            yield shown
