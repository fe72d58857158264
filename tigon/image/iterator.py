"""`ImageIter`: batches of images from record files, lists and folders, changed by augmenters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon import recordio
from tigon.base import TigonError, as_dtype, check
from tigon.base.arguments import NamesWrongTypes
from tigon.image import codec
from tigon.image.augmenters import Augmenter, CastAug, ColorNormalizeAug, CreateAugmenter
from tigon.image.geometry import as_array
from tigon.image.tables import look_up, table_of
from tigon.io import DataBatch, DataDesc, DataIter
from tigon.io.batches import part_of
from tigon.nd import NDArray, array
from tigon.nd.views import host
from tigon.runtime import keys


class ImageSource(NamesWrongTypes):
    """Where images and labels are: a record file, or files by a list."""

    def __init__(
        self,
        where: str,
        path_imgrec: Any = None,
        path_imgidx: Any = None,
        path_imglist: Any = None,
        imglist: Any = None,
        path_root: Any = "",
    ) -> None:
        self._where = where
        self.imgrec: recordio.MXIndexedRecordIO | None = None
        self._places: list[int] | None = None
        self.imglist: dict[Any, tuple[np.ndarray, str]] | None = None
        self._root = os.fspath(path_root or "")
        self._path = None if path_imgrec is None else os.fspath(path_imgrec)
        given = [name for name, value in (
            ("path_imgrec", path_imgrec), ("path_imglist", path_imglist), ("imglist", imglist),
        ) if value is not None]  # fmt: skip
        check(given, where, "expected path_imgrec, path_imglist or imglist; given none of them")
        if path_imglist is not None:
            self.imglist = self._read_list(os.fspath(path_imglist))
        elif imglist is not None:
            self.imglist = {place: self._row(place, row) for place, row in enumerate(imglist)}
        if path_imgrec is not None:
            self._open_records(path_imgidx)
        self.keys: list[Any] = list(self.imglist or self._record_keys())
        check(self.keys, where, f"{given[0]} holds no images; give one that does")

    def _open_records(self, path_imgidx: Any) -> None:
        beside = os.path.splitext(self._path or "")[0] + ".idx"
        index = path_imgidx or (beside if os.path.exists(beside) else None)
        if index is not None:
            self.imgrec = recordio.MXIndexedRecordIO(index, self._path, "r")
        else:
            self._places = recordio.record_places(self._path)
            self._reader = recordio.MXRecordIO(self._path, "r")

    def _record_keys(self) -> list[Any]:
        return self.imgrec.keys if self.imgrec is not None else list(range(len(self._places or ())))

    def _read_list(self, path: str) -> dict[Any, tuple[np.ndarray, str]]:
        found = {}
        try:
            with open(path, encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    words = line.rstrip("\n").split("\t")
                    try:
                        labels = np.array(words[1:-1], np.float32)
                        key = int(words[0])
                    except ValueError:
                        key, labels = 0, np.zeros(0)
                    check(
                        labels.size,
                        self._where,
                        f"{path}, line {number}: expected a number, labels and a path, with tabs "
                        f"between; given {line.rstrip()!r:.60}",
                    )
                    found[key] = labels, words[-1]
        except OSError as error:
            raise TigonError(f"{self._where}: {path}: {error.strerror}") from error
        return found

    def _row(self, place: int, row: Any) -> tuple[np.ndarray, str]:
        *labels, path = row
        try:
            numbers = np.concatenate([np.ravel(label) for label in labels]).astype(np.float32)
        except ValueError:
            numbers = np.zeros(0, np.float32)
        check(
            numbers.size and isinstance(path, (str, os.PathLike)),
            self._where,
            f"imglist, row {place}: expected labels and a path; given {row!r:.80}",
        )
        return numbers, os.fspath(path)

    def name_of(self, key: Any) -> str:
        """For errors."""
        if self._path is None:
            return f"image {key} ({os.path.join(self._root, (self.imglist or {})[key][1])})"
        return f"{self._path}, record {key}"

    def read(self, key: Any) -> tuple[Any, bytes]:
        """Label and content of the file."""
        if self._path is None:
            assert self.imglist is not None
            label, name = self.imglist[key]
            path = os.path.join(self._root, name)
            try:
                with open(path, "rb") as file:
                    return label, file.read()
            except OSError as error:
                raise TigonError(f"{self._where}: {path}: {error.strerror}") from error
        if self.imgrec is not None:
            record = self.imgrec.read_idx(key)
        else:
            record = self._reader.read_at((self._places or [])[key], key)
        header, content = recordio.unpack(record)
        return (header.label if self.imglist is None else self.imglist[key][0]), content


class ImageIter(DataIter):
    """Batches of images (batch, channels, height, width), read and changed one by one.

    Images come from a record file (`path_imgrec`; its index, given or beside it, is used, and
    without one the file is looked through), or from files by a list (`imglist`, rows of
    [label, ..., path], or `path_imglist`, lines of number, labels and path with tabs between).

    Parameters
    ----------
    batch_size
        how many images a batch has
    data_shape
        (channels, height, width) of an image
    label_width, 1 by default
        how many numbers a label has
    path_imgrec, path_imglist, path_root, path_imgidx, imglist
        where the images are
    shuffle, False by default
        whether each epoch has an order of its own
    part_index, 0 by default
        which part is read
    num_parts, 1 by default
        of how many
    aug_list, None by default
        augmenters; by default those that `CreateAugmenter` makes of the other arguments
    data_name, 'data' by default
        in `provide_data`
    label_name, 'softmax_label' by default
        in `provide_label`
    dtype, 'float32' by default
        of the images
    last_batch_handle, 'pad' by default
        'pad' fills a last batch from the beginning, 'discard' drops it, 'roll_over' keeps its
        images for the next epoch
    """

    def __init__(
        self,
        batch_size: int,
        data_shape: Sequence[int],
        label_width: int = 1,
        path_imgrec: Any = None,
        path_imglist: Any = None,
        path_root: Any = None,
        path_imgidx: Any = None,
        shuffle: bool = False,
        part_index: int = 0,
        num_parts: int = 1,
        aug_list: list[Augmenter] | None = None,
        imglist: Any = None,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: Any = "float32",
        last_batch_handle: str = "pad",
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size)
        where = type(self).__name__
        check(batch_size > 0, where, f"batch_size: expected a positive number; given {batch_size}")
        self.check_data_shape(data_shape)
        check(
            last_batch_handle in ("pad", "discard", "roll_over"),
            where,
            f"last_batch_handle is 'pad', 'discard' or 'roll_over'; given {last_batch_handle!r}",
        )
        self._source = ImageSource(
            where, path_imgrec, path_imgidx, path_imglist, imglist, path_root
        )
        own = self._source.keys
        self.seq = own[part_of(where, len(own), num_parts, part_index)]
        check(self.seq, where, f"part {part_index} of {num_parts} has no images")
        self.imgrec, self.imglist = self._source.imgrec, self._source.imglist
        self.data_shape = tuple(data_shape)
        self.label_width = label_width
        self.shuffle = shuffle
        self.dtype = as_dtype(dtype).name
        self.last_batch_handle = last_batch_handle
        self.auglist = CreateAugmenter(data_shape, **kwargs) if aug_list is None else aug_list
        self.num_image = len(self.seq)
        self.provide_data = [DataDesc(data_name, (batch_size, *self.data_shape), self.dtype)]
        labels = (batch_size,) if label_width == 1 else (batch_size, label_width)
        self.provide_label = [DataDesc(label_name, labels)]
        self._by_bytes: tuple[list[Any], np.ndarray, list[Any]] | None = None
        self._left_over: list[Any] = []
        self.cur = 0
        self._order: list[Any] = []
        self._start_epoch()

    def _start_epoch(self) -> None:
        order = list(self.seq)
        if self.shuffle:
            order = [order[place] for place in keys.permutation(len(order))]
        self._order = self._left_over + order
        self._left_over = []
        self.cur = 0

    def reset(self) -> None:
        """To the first batch of the next epoch."""
        left = len(self._order) - self.cur
        if self.last_batch_handle == "roll_over" and 0 < left < self.batch_size:
            self._left_over = self._order[self.cur :]
        self._start_epoch()

    def hard_reset(self) -> None:
        """To the first batch, and nothing is kept of what was left over."""
        self._left_over = []
        self._start_epoch()

    def next_sample(self) -> tuple[Any, bytes]:
        """Label and content of the next image; StopIteration at the end."""
        if self.cur >= len(self._order):
            raise StopIteration
        self.cur += 1
        return self._source.read(self._order[self.cur - 1])

    def next(self) -> DataBatch:
        left = len(self._order) - self.cur
        if left <= 0 or (left < self.batch_size and self.last_batch_handle != "pad"):
            raise StopIteration
        pad = max(self.batch_size - left, 0)
        chosen = [
            self._order[place % len(self._order)]
            for place in range(self.cur, self.cur + self.batch_size)
        ]
        self.cur = min(self.cur + self.batch_size, len(self._order))
        images = np.empty(self.provide_data[0].shape, self.dtype)
        labels = self._empty_labels()
        self._by_bytes = self._last_by_bytes()  # each time: the list and its parts are the user's
        for place, key in enumerate(chosen):
            self._fill(images, labels, place, key)
        return DataBatch([as_array(images)], [array(labels)], pad)

    def _empty_labels(self) -> np.ndarray:
        return np.zeros(self.provide_label[0].shape, np.float32)

    def _fill(self, images: np.ndarray, labels: np.ndarray, place: int, key: Any) -> None:
        label, content = self._source.read(key)
        numbers = np.ravel(label.asnumpy() if isinstance(label, NDArray) else label)
        check(
            numbers.size == self.label_width,
            type(self).__name__,
            f"{self._source.name_of(key)}: expected label_width={self.label_width} numbers; given "
            f"{numbers.size}",
        )
        labels[place] = numbers if self.label_width > 1 else numbers[0]
        image: Any = self._decoded(key, content)
        if self._by_bytes is None:
            self._place(images, place, key, self.augmentation_transform(image))
            return
        before, table, after = self._by_bytes
        for change in before:
            image = change(image)
        pixels = host(image)
        if pixels.dtype == np.uint8 and pixels.shape == (*self.data_shape[1:], self.data_shape[0]):
            look_up(pixels, table, images[place])
            return
        for change in after:
            image = change(image)
        self._place(images, place, key, image)

    def _last_by_bytes(self) -> tuple[list[Any], np.ndarray, list[Any]] | None:
        """Augmenters, the table of those that come last and change number by number, and these;
        None where there are none, or where the user's methods, of a class or of this iterator
        alone, do it otherwise."""
        if (
            _function_of(self.augmentation_transform) is not _AUGMENTED
            or _function_of(self.postprocess_data) is not _CHANNELS_FIRST
            or self.dtype == "bfloat16"
        ):
            return None
        start = len(self.auglist)
        while start and _changes_numbers(self.auglist[start - 1]):
            start -= 1
        after = self.auglist[start:]

        def changed(image: Any) -> Any:
            for change in after:
                image = change(image)
            return image.transpose((2, 0, 1))

        table = table_of(changed, self.data_shape[0])
        return self.auglist[:start], table.astype(self.dtype), after

    def _place(self, images: np.ndarray, place: int, key: Any, image: Any) -> None:
        found = self.postprocess_data(image)
        check(
            tuple(found.shape) == self.data_shape,
            type(self).__name__,
            f"{self._source.name_of(key)}: expected data_shape={self.data_shape}; the augmenters "
            f"gave {tuple(found.shape)}; add one that resizes or crops",
        )
        images[place] = found.asnumpy()

    def _decoded(self, key: Any, content: bytes) -> NDArray:
        flag = 0 if self.data_shape[0] == 1 else 1
        name = self._source.name_of(key)
        return as_array(codec.decode(content, flag, name=name, where=type(self).__name__))

    def check_data_shape(self, data_shape: Sequence[int]) -> None:
        """That it is a shape of images."""
        check(
            len(data_shape) == 3 and data_shape[0] in (1, 3) and min(data_shape) > 0,
            type(self).__name__,
            f"data_shape: expected (channels, height, width), with 1 or 3 channels; given "
            f"{tuple(data_shape)}",
        )

    def check_valid_image(self, data: Sequence[Any]) -> None:
        """That it is an image with pixels."""
        check(
            len(data[0].shape) == 3 and data[0].size > 0,
            type(self).__name__,
            f"expected an image; given shape {tuple(data[0].shape)}",
        )

    def imdecode(self, s: bytes) -> NDArray:
        """The image that the bytes of a file hold."""
        return as_array(codec.decode(s, 0 if self.data_shape[0] == 1 else 1))

    def read_image(self, fname: str) -> bytes:
        """The content of a file below `path_root`."""
        with open(os.path.join(self._source._root, fname), "rb") as file:
            return file.read()

    def augmentation_transform(self, data: Any) -> Any:
        """The image, changed by all augmenters."""
        for change in self.auglist:
            data = change(data)
        return data

    def postprocess_data(self, datum: Any) -> Any:
        """Channels first."""
        return datum.transpose((2, 0, 1))


def _function_of(method: Any) -> Any:
    return getattr(method, "__func__", None)


def _changes_numbers(change: Any) -> bool:
    """Whether it changes an image number by number."""
    kinds = (CastAug, ColorNormalizeAug)
    return isinstance(change, kinds) and type(change).__call__ in _BY_NUMBERS


# As they are here: whatever else stands in their places later, in a class or in an object, is the
# user's.
_AUGMENTED, _CHANNELS_FIRST = ImageIter.augmentation_transform, ImageIter.postprocess_data
_BY_NUMBERS = (CastAug.__call__, ColorNormalizeAug.__call__)
