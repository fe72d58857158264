"""Iterators over record files of images, decoded by other processes ahead of the loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import TigonError, as_dtype, check
from tigon.gluon.block import HybridBlock
from tigon.gluon.data import shared
from tigon.gluon.data.dataloader import DataLoader
from tigon.image import augmenters, codec
from tigon.image.geometry import as_array
from tigon.image.iterator import ImageSource
from tigon.image.tables import look_up, table_of
from tigon.io.batches import DataDesc, MXDataIter, part_of
from tigon.io.rows import accepted, required, shape_of
from tigon.nd.views import host
from tigon.runtime import keys

_WITHOUT_MEANING = ("shuffle_chunk_size shuffle_chunk_seed seed_aug ctx device_id").split()


class _Normalize(HybridBlock):
    """(image - mean) * scale / std with channels first: one kernel for a batch of uint8."""

    def __init__(self, mean: np.ndarray, factor: np.ndarray) -> None:
        super().__init__()
        self._mean = nd.array(mean)
        self._factor = nd.array(factor)

    def forward(self, x: Any) -> Any:
        floats = x.transpose((0, 3, 1, 2)).astype("float32")
        return nd.broadcast_mul(nd.broadcast_sub(floats, self._mean), self._factor)


class _Batch:
    """What a batch is made of: images of one size, normalized by a table if they are of uint8, else
    by one kernel, and labels."""

    def __init__(self, normalize: _Normalize, dtype: str) -> None:
        self._normalize = normalize
        self._dtype = dtype
        self._table: np.ndarray | None = None

    def __call__(self, samples: list[Any]) -> Any:
        images = [host(found) for found, _ in samples]
        labels = nd.array(np.stack([label for _, label in samples]))
        if all(image.dtype == np.uint8 for image in images) and self._dtype != "bfloat16":
            return self._by_table(images), labels
        data = nd.from_numpy(np.stack(images))
        if self._dtype == "uint8":
            return data.transpose((0, 3, 1, 2)).astype("uint8"), labels
        return self._normalize(data).astype(self._dtype), labels

    def _by_table(self, images: list[np.ndarray]) -> Any:
        height, width, channels = images[0].shape
        if self._table is None:
            self._table = table_of(self._changed, channels)
        batch = shared.empty((len(images), channels, height, width), self._table.dtype)
        for image, out in zip(images, batch, strict=True):
            look_up(image, self._table, out)
        return shared.array_of(batch)

    def _changed(self, image: Any) -> Any:
        """Of an image, channels first, what becomes of its bytes."""
        if self._dtype == "uint8":
            return image.transpose((2, 0, 1))
        return self._normalize(image.reshape((1, *image.shape))).astype(self._dtype)[0]


class _Samples:
    """The images of a record file, changed, as uint8 where nothing makes floats of them."""

    def __init__(
        self, where: str, source: ImageSource, keys_: list[Any], shape: tuple[int, ...], width: int
    ) -> None:
        self._where = where
        self._source = source
        self._keys = keys_
        self._shape = shape
        self._width = width
        self.changes: list[augmenters.Augmenter] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, place: int) -> Any:
        key = self._keys[place]
        label, content = self._source.read(key)
        name = self._source.name_of(key)
        numbers = np.ravel(label).astype(np.float32)
        check(
            numbers.size == self._width,
            self._where,
            f"{name}: expected label_width={self._width} numbers; given {numbers.size}",
        )
        flag = 0 if self._shape[0] == 1 else 1
        found: Any = as_array(codec.decode(content, flag, "RGB", name, self._where))
        for change in self.changes:
            found = change(found)
        return found, (numbers if self._width > 1 else numbers[0])


class _Full:
    """Lists of `size` places: the last one, if it is not full, goes on at the beginning, or is left
    out."""

    def __init__(self, count: int, size: int, shuffle: bool, is_round: bool) -> None:
        self._count = count
        self._size = size
        self._shuffle = shuffle
        self._round = is_round

    def __iter__(self) -> Iterator[list[int]]:
        order = keys.permutation(self._count) if self._shuffle else np.arange(self._count)
        for begin in range(0, self._count, self._size):
            if self._round or begin + self._size <= self._count:
                yield order.take(range(begin, begin + self._size), mode="wrap").tolist()

    def __len__(self) -> int:
        count = self._count + (self._size - 1 if self._round else 0)
        return count // self._size


class ImageRecordIter(MXDataIter):
    """Batches (batch, channels, height, width) of the images of a record file that
    `tigon.tools.im2rec` writes: (image - mean) * scale / std.

    Parameters
    ----------
    path_imgrec
        the path of the record file
    data_shape
        (channels, height, width) of an image
    batch_size
        how many images a batch has
    path_imgidx, None by default
        the path of its index; without one the file is looked through
    path_imglist, None by default
        a list file with other labels
    label_width, 1 by default
        how many numbers a label has
    shuffle, False by default
        whether each epoch has an order of its own
    seed, None by default
        of the order and of what is drawn; None: `mx.random`
    preprocess_threads, 4 by default
        how many processes read and change images, as many as there are processors at most; 1: a
        thread of this process
    prefetch_buffer, 4 by default
        how many batches are ready ahead
    num_parts, part_index
        into how many parts the images are cut, and which is read
    round_batch, True by default
        whether a last batch that is not full is filled from the beginning; its `pad` says with how
        many. Otherwise it is left out
    resize, -1 by default
        what the shorter side becomes first; -1: it stays
    rand_crop, rand_mirror, mirror
        whether the part is drawn (otherwise it is the middle), and whether images are flipped, half
        of them or all
    random_resized_crop, min_random_area, max_random_area, min_aspect_ratio, max_aspect_ratio
        whether area and shape of the part are drawn, too, and within which limits
    brightness, contrast, saturation, random_h, pca_noise
        how far colours change
    mean_r, mean_g, mean_b, std_r, std_g, std_b, scale
        what images are normalized by
    inter_method, 1 by default
        how images are resized; see `mx.image.imresize`
    dtype, 'float32' by default
        of the images
    data_name, label_name
        names in `provide_data` and `provide_label`
    """

    _dtype = "float32"

    def __init__(
        self,
        path_imgrec: Any = None,
        data_shape: Any = None,
        batch_size: int | None = None,
        path_imgidx: Any = None,
        path_imglist: Any = None,
        label_width: int = 1,
        shuffle: bool = False,
        seed: int | None = None,
        preprocess_threads: int = 4,
        prefetch_buffer: int = 4,
        num_parts: int = 1,
        part_index: int = 0,
        round_batch: bool = True,
        resize: int = -1,
        rand_crop: bool = False,
        rand_mirror: bool = False,
        mirror: bool = False,
        random_resized_crop: bool = False,
        min_random_area: float = 0.08,
        max_random_area: float = 1.0,
        min_aspect_ratio: float = 3 / 4,
        max_aspect_ratio: float = 4 / 3,
        brightness: float = 0,
        contrast: float = 0,
        saturation: float = 0,
        random_h: float = 0,
        pca_noise: float = 0,
        mean_r: float = 0,
        mean_g: float = 0,
        mean_b: float = 0,
        std_r: float = 1,
        std_g: float = 1,
        std_b: float = 1,
        scale: float = 1,
        inter_method: int = 1,
        dtype: Any = None,
        data_name: str = "data",
        label_name: str = "softmax_label",
        **kwargs: Any,
    ) -> None:
        where = type(self).__name__
        accepted(where, kwargs, *_WITHOUT_MEANING)
        required(where, path_imgrec=path_imgrec, data_shape=data_shape, batch_size=batch_size)
        super().__init__(int(batch_size or 0))
        check(
            self.batch_size > 0,
            where,
            f"batch_size: expected a positive number; given {batch_size}",
        )
        shape = shape_of(where, "data_shape", data_shape)
        check(
            len(shape) == 3 and shape[0] in (1, 3),
            where,
            f"data_shape: expected (channels, height, width), with 1 or 3 channels; given {shape}",
        )
        source = ImageSource(where, path_imgrec, path_imgidx, path_imglist)
        self._shape = shape
        self._samples = self._read(source, _part(where, source, num_parts, part_index), label_width)
        size = (shape[2], shape[1])
        changes: list[augmenters.Augmenter] = []
        if resize > 0:
            changes.append(augmenters.ResizeAug(resize, inter_method))
        if random_resized_crop:
            areas, ratios = (min_random_area, max_random_area), (min_aspect_ratio, max_aspect_ratio)
            changes.append(augmenters.RandomSizedCropAug(size, areas, ratios, inter_method))
        elif rand_crop:
            changes.append(augmenters.RandomCropAug(size, inter_method))
        else:
            changes.append(augmenters.CenterCropAug(size, inter_method))
        if rand_mirror or mirror:
            changes.append(augmenters.HorizontalFlipAug(1 if mirror else 0.5))
        if brightness or contrast or saturation:
            changes.append(augmenters.ColorJitterAug(brightness, contrast, saturation))
        changes += [augmenters.HueJitterAug(random_h)] if random_h else []
        if pca_noise:
            changes.append(
                augmenters.LightingAug(pca_noise, augmenters.EIGENVALUES, augmenters.EIGENVECTORS)
            )
        self._samples.changes = changes
        mean = np.array([mean_r, mean_g, mean_b][: shape[0]], np.float32)
        std = np.array([std_r, std_g, std_b][: shape[0]], np.float32)
        check(
            (std > 0).all(), where, f"std_r, std_g, std_b: expected positive numbers; given {std}"
        )
        normalize = _Normalize(mean[:, None, None], (scale / std)[:, None, None])
        normalize.hybridize()
        out = as_dtype(self._dtype if dtype is None else dtype).name
        workers = min(max(int(preprocess_threads), 1), os.cpu_count() or 1)
        self._seed = seed
        self._count = len(self._samples)
        check(
            round_batch or self._count >= self.batch_size,
            where,
            f"there are {self._count} images, fewer than the {self.batch_size} of one batch",
        )
        self._loader = DataLoader(
            self._samples,
            batch_sampler=_Full(self._count, self.batch_size, shuffle, round_batch),
            batchify_fn=_Batch(normalize, out),
            num_workers=workers,
            prefetch=max(int(prefetch_buffer), 1),
            thread_pool=workers == 1,
        )
        self.data_name, self.label_name = data_name, label_name
        self.provide_data = [DataDesc(data_name, (self.batch_size, *shape), out)]
        self.provide_label = [DataDesc(label_name, self._label_shape())]
        self.reset()

    def _read(self, source: ImageSource, chosen: list[Any], width: int) -> Any:
        self._width = width
        return _Samples(type(self).__name__, source, chosen, self._shape, width)

    def _label_shape(self) -> tuple[int, ...]:
        return (self.batch_size,) if self._width == 1 else (self.batch_size, self._width)

    def reset(self) -> None:
        """To the first batch of the next epoch."""
        self._begin = -self.batch_size
        self._current: Any = None
        self._batches: Any = None

    def _start(self) -> None:
        if self._seed is None:
            self._batches = iter(self._loader)
            return
        with keys.scope(self._seed, 0):  # the loader takes its key at its first batch
            self._batches = iter(self._loader)
            self._first = next(self._batches, None)
        self._seed += 1

    def iter_next(self) -> bool:
        self._begin += self.batch_size
        if self._batches is None:
            self._first = None
            self._start()
            if self._first is not None:
                self._current = self._first
                return True
        self._current = next(self._batches, None)
        return self._current is not None

    def _here(self) -> Any:
        if self._current is None:
            raise TigonError(
                f"{type(self).__name__}: there is no batch here; call next(), or reset() at the "
                "end of an epoch"
            )
        return self._current

    def getdata(self) -> Any:
        return self._here()[0]

    def getlabel(self) -> Any:
        return self._here()[1]

    def getpad(self) -> int:
        return max(self._begin + self.batch_size - self._count, 0)


def _part(where: str, source: ImageSource, num_parts: int, part_index: int) -> list[Any]:
    count = len(source.keys)
    chosen = source.keys[part_of(where, count, num_parts, part_index)]
    check(chosen, where, f"part {part_index} of {num_parts} of {count} images is empty")
    return chosen


class ImageRecordUInt8Iter(ImageRecordIter):
    """As `ImageRecordIter`, of uint8: images are cropped and resized, and nothing else."""

    _dtype = "uint8"


ImageRecordIter_v1 = ImageRecordIter
ImageRecordUInt8Iter_v1 = ImageRecordUInt8Iter
