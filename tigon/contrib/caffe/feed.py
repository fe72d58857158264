"""What data layers read, as batches of the arrays that the user gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import TigonError, check
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.layers.record import Shape, record_of
from tigon.contrib.caffe.weights import array_of_blob
from tigon.readers.message import Message
from tigon.readers.wire import read_wire

Arrays = Mapping[str, Any]


def named(data: Any, tops: Sequence[str], where: str) -> Arrays | Iterable[Any]:
    """What the user gives as arrays by top, or as an iterable of batches."""
    if isinstance(data, Mapping):
        lacking = [top for top in tops if top not in data]
        check(
            not lacking,
            where,
            f"expected arrays for the tops {', '.join(tops)}; none is given for "
            f"{', '.join(lacking)}",
        )
        return {top: data[top] for top in tops}
    if _is_array(data):
        data = (data,)
    if isinstance(data, (list, tuple)) and all(map(_is_array, data)):
        check(
            len(data) == len(tops),
            where,
            f"expected arrays for the tops {', '.join(tops)}; given {len(data)}",
        )
        return dict(zip(tops, data, strict=True))
    check(
        hasattr(data, "__iter__") and not isinstance(data, (str, bytes)),
        where,
        f"expected arrays for the tops {', '.join(tops)}, or an iterable of batches; given "
        f"{type(data).__name__}",
    )
    return data


def _is_array(data: Any) -> bool:
    return hasattr(data, "shape") and hasattr(data, "dtype")


class Transform:
    """What `transform_param` makes of images: cropped, mirrored, less a mean, scaled. `phase`
    'train' crops anywhere, 'test' in the middle; the mean is subtracted before scaling."""

    def __init__(self, param: Message, phase: str, folder: Callable[[str], str]) -> None:
        self.crop, self.scale, self.mirrors = param.crop_size, param.scale, param.mirror
        self.is_random = phase == "train"
        self.mean: np.ndarray | None = None
        param.check(
            not (param.has("mean_file") and param.has("mean_value")),
            "expected one of mean_file and mean_value; given both",
            "mean_value",
        )
        if param.has("mean_value"):
            self.mean = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)
        elif param.has("mean_file"):
            self.mean = read_mean(folder(param.mean_file))
        self._param = param

    def shape(self, given: Shape) -> Shape:
        """The shape of one image that was given in another."""
        return (given[0], self.crop, self.crop) if self.crop else given

    def __call__(self, images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Images (batch, channels, height, width) as the top has them, float32."""
        check(
            images.ndim == 4,
            self._param.in_file.name,
            f"transform_param: expected images of 4 axes; given shape {images.shape}",
        )
        images, mean = images.astype(np.float32), self.mean
        height, width = images.shape[2:]
        check(
            self.crop <= min(height, width),
            self._param.in_file.name,
            f"crop_size: expected at most {min(height, width)}; given {self.crop}",
        )
        fits = mean is None or mean.shape[1:] == (1, 1) or mean.shape == images.shape[1:]
        fits = fits and (mean is None or mean.shape[0] in (1, images.shape[1]))
        check(
            fits,
            self._param.in_file.name,
            f"mean: expected numbers for images of shape {images.shape[1:]}; given "
            f"{None if mean is None else mean.shape}",
        )
        images = images if mean is None else images - mean
        if self.crop:
            images = np.stack([self._cropped(image, draw) for image in images])
        if self.mirrors:
            turned = draw.integers(2, size=len(images)).astype(bool)
            images[turned] = images[turned, :, :, ::-1]
        return images * np.float32(self.scale)

    def _cropped(self, image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        spare = [extent - self.crop for extent in image.shape[1:]]
        top, left = (
            draw.integers(0, extent + 1) if self.is_random else extent // 2 for extent in spare
        )
        return image[:, top : top + self.crop, left : left + self.crop]


def read_mean(path: str) -> np.ndarray:
    """The mean image that a `.binaryproto` holds: (channels, height, width)."""
    with open(path, "rb") as file:
        blob = read_wire(file.read(), SCHEMA["BlobProto"], os.fsdecode(path))
    array = array_of_blob(blob)
    blob.check(
        array.ndim in (3, 4) and (array.ndim == 3 or array.shape[0] == 1),
        f"expected a mean image; given shape {array.shape}",
    )
    return array.reshape(array.shape[-3:]).astype(np.float32)


class Feed:
    """Batches for the inputs of a network, for ever: arrays are read in their order, from the
    beginning again behind their end; iterables are begun again."""

    def __init__(
        self,
        given: Any,
        layers: Sequence[Message],
        phase: str,
        raw: bool,
        folder: Callable[[str], str],
        seed: int,
    ) -> None:
        self._source = layers[0].in_file.name if layers else "the network"
        for layer in layers:
            layer.check(layer.top, f"layer '{layer.name}': expected tops, which are what it reads")
        self.tops = [top for layer in layers for top in layer.top]
        self.draw = np.random.default_rng(seed)
        self._given = named(given, self.tops, self._source)
        self._parts = [_Part(layer, phase, raw, folder) for layer in layers]
        self._batches = self._of_arrays() if isinstance(self._given, Mapping) else self._of_others()
        self._first: Arrays | None = None
        if isinstance(self._given, Mapping):
            for part in self._parts:
                part.take(self._given)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of the tops."""
        if isinstance(self._given, Mapping):
            return {top: shape for part in self._parts for top, shape in part.shapes.items()}
        if self._first is None:
            self._first = self.next()
        return {top: tuple(array.shape) for top, array in self._first.items()}

    def next(self) -> Arrays:
        """The arrays of the next batch, by top."""
        if self._first is not None:
            found, self._first = self._first, None
            return found
        return dict(zip(self.tops, next(self._batches), strict=True))

    def _of_arrays(self) -> Iterator[list[Any]]:
        while True:
            yield [array for part in self._parts for array in part.batch(self.draw)]

    def _of_others(self) -> Iterator[list[Any]]:
        while True:
            if hasattr(self._given, "reset"):
                self._given.reset()
            none = True
            for batch in self._given:
                none = False
                arrays = [*batch.data, *(batch.label or [])] if hasattr(batch, "data") else batch
                if isinstance(arrays, Mapping):
                    arrays = [*dict(named(arrays, self.tops, self._source)).values()]
                arrays = arrays if isinstance(arrays, (list, tuple)) else [arrays]
                check(
                    len(arrays) == len(self.tops),
                    self._source,
                    f"expected batches of arrays for {', '.join(self.tops)}; given {len(arrays)}",
                )
                yield [_array(array) for array in arrays]
            if none:
                raise TigonError(f"{self._source}: expected batches; the iterable gives none")


def _array(given: Any) -> Any:
    if isinstance(given, nd.NDArray):
        return given if given.dtype == np.float32 else given.astype("float32")
    return nd.array(np.asarray(given, np.float32))


class _Part:
    """The arrays of one data layer."""

    def __init__(self, layer: Message, phase: str, raw: bool, folder: Callable[[str], str]) -> None:
        self.layer = layer
        param = getattr(layer, record_of(layer).param)
        has_size = "batch_size" in param.of_type.by_name
        self.size: int | None = param.batch_size if has_size else None
        self.shuffles = "shuffle" in param.of_type.by_name and param.shuffle
        self.transform = None
        if raw and layer.has("transform_param"):
            self.transform = Transform(layer.transform_param, phase, folder)
        self.arrays: list[np.ndarray] = []
        self.shapes: dict[str, Shape] = {}
        self._order = self._at = np.zeros(0, np.int64)

    def take(self, given: Arrays) -> None:
        """Look at the arrays of the tops."""
        tops = list(self.layer.top)
        self.arrays = [
            array.asnumpy() if isinstance(array, nd.NDArray) else np.asarray(array)
            for array in (given[top] for top in tops)
        ]
        lengths = [len(array) if array.ndim else 0 for array in self.arrays]
        told = ", ".join(
            f"'{top}' {array.shape}" for top, array in zip(tops, self.arrays, strict=True)
        )
        self.layer.check(
            min(lengths) == max(lengths) > 0,
            f"layer '{self.layer.name}': expected arrays of as many samples each; given {told}",
            "top",
        )
        self.size = lengths[0] if self.size is None else self.size
        for place, (top, array) in enumerate(zip(tops, self.arrays, strict=True)):
            shape = array.shape[1:]
            if place == 0 and self.transform is not None:
                shape = self.transform.shape(shape)
            self.shapes[top] = (self.size, *shape)
        self._order = np.arange(lengths[0])

    def batch(self, draw: np.random.Generator) -> list[Any]:
        """The next samples."""
        assert self.size is not None
        at = self._at
        while len(at) < self.size:
            at = np.concatenate(
                [at, draw.permutation(self._order) if self.shuffles else self._order]
            )
        chosen, self._at = at[: self.size], at[self.size :]
        found = [array[chosen] for array in self.arrays]
        if self.transform is not None:
            found[0] = self.transform(found[0], draw)
        return [nd.array(array.astype(np.float32)) for array in found]
