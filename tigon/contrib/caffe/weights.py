"""Caffemodels: the arrays of each layer, of every generation and in both forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, NamedTuple, NoReturn

import numpy as np

from tigon.contrib.caffe.fields import SCHEMA, WEIGHTS
from tigon.contrib.caffe.layers.record import Network, Shape
from tigon.readers.hdf5 import Dataset, File, is_hdf5
from tigon.readers.message import Message
from tigon.readers.shapes import is_possible
from tigon.readers.wire import read_wire

_OLD_SHAPE = ("num", "channels", "height", "width")


def shape_of_blob(blob: Message) -> Shape:
    """The shape that a `BlobProto` gives, or its four extents of old."""
    if blob.has("shape"):
        return tuple(blob.shape.dim)
    if any(blob.has(extent) for extent in _OLD_SHAPE):
        return tuple(getattr(blob, extent) for extent in _OLD_SHAPE)
    return (len(_numbers_of(blob)),)


def _numbers_of(blob: Message) -> np.ndarray:
    """The numbers of a `BlobProto`, whatever its shape."""
    if blob.has("double_data"):
        return blob.numbers("double_data", "float64")
    return blob.numbers("data", "float32")


def array_of_blob(blob: Message, wanted: Shape | None = None) -> np.ndarray:
    """The numbers of a `BlobProto`, in the wanted shape. Extents of old have leading ones.

    Raises `TigonError` with the byte where the blob holds another shape, or not so many numbers.
    """
    given, numbers = shape_of_blob(blob), _numbers_of(blob)
    blob.check(
        is_possible(given) and prod(given) == numbers.size,
        f"expected {prod(given)} numbers of shape {given}; given {numbers.size}",
        "double_data" if blob.has("double_data") else "data",
    )
    if wanted is None:
        return numbers.reshape(given)
    blob.check(
        _is_alike(given, wanted, blob.has("shape")),
        f"expected shape {wanted}; given {given}; is it of another network?",
        "shape" if blob.has("shape") else "num",
    )
    return numbers.reshape(wanted)


def _is_alike(given: Shape, wanted: Shape, has_shape: bool) -> bool:
    if given == wanted or (prod(given) == prod(wanted) == 1):
        return True
    padded = (1,) * (4 - len(wanted)) + wanted
    return not has_shape and len(wanted) <= 4 and given == padded


class WireBlob(NamedTuple):
    """A blob of a file on the wire."""

    index: int
    """Of its layer, which blob."""
    message: Message

    @property
    def shape(self) -> Shape:
        return shape_of_blob(self.message)

    @property
    def dtype(self) -> np.dtype:
        return _numbers_of(self.message).dtype

    @property
    def size(self) -> int:
        """How many numbers it holds, whatever its shape."""
        return len(_numbers_of(self.message))

    def array(self, wanted: Shape | None = None) -> np.ndarray:
        """Its numbers, in the wanted shape."""
        return array_of_blob(self.message, wanted)

    def fail(self, message: str) -> NoReturn:
        """Raise an error that says where."""
        self.message.fail(message)


class Hdf5Blob(NamedTuple):
    """A blob of a file of HDF5."""

    index: int
    dataset: Dataset

    @property
    def shape(self) -> Shape:
        return self.dataset.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("float32") if self.dataset.dtype is None else self.dataset.dtype

    @property
    def size(self) -> int:
        return prod(self.dataset.shape)

    def array(self, wanted: Shape | None = None) -> np.ndarray:
        found = self.dataset.array()
        if wanted is None:
            return found
        if not _is_alike(found.shape, wanted, has_shape=True):
            self.fail(f"expected shape {wanted}; given {found.shape}; is it of another network?")
        return found.reshape(wanted)

    def fail(self, message: str) -> NoReturn:
        self.dataset.fail(message)


Stored = WireBlob | Hdf5Blob


def read_layers(content: bytes, name: str) -> Iterator[tuple[str, list[Stored]]]:
    """Names and blobs of the layers in a caffemodel that have some, `.caffemodel` or
    `.caffemodel.h5`. In the latter a blob that has its values from an earlier layer is not there.
    """
    if is_hdf5(content):
        yield from _layers_of_hdf5(File(content, name))
        return
    net = read_wire(content, SCHEMA["NetParameter"], name, WEIGHTS)
    for layer in [*net.layers, *net.layer]:
        inner = layer.layer if "layer" in layer.all_values() else layer  # of V0
        blobs = inner.blobs or layer.blobs
        if blobs:
            yield inner.name or layer.name, [WireBlob(*pair) for pair in enumerate(blobs)]


def _layers_of_hdf5(file: File) -> Iterator[tuple[str, list[Stored]]]:
    found: dict[str, list[Stored]] = {}
    for path, dataset in file.datasets.items():
        if path.startswith("data/"):
            layer, _, index = path.removeprefix("data/").rpartition("/")
            if not (layer and index.isascii() and index.isdigit() and len(index) < 5):
                dataset.fail("expected data/LAYER/NUMBER, as Caffe calls the blobs of a layer")
            found.setdefault(layer, []).append(Hdf5Blob(int(index), dataset))
    if not found:
        file.fail(0, "expected the arrays of layers under data; given none; is it a caffemodel?")
    for layer, blobs in found.items():
        yield layer, sorted(blobs, key=lambda blob: blob.index)


def arrays_for(network: Network, content: bytes, name: str) -> Mapping[str, Any]:
    """The arrays of a network that a caffemodel holds, by their names here. Layers are found by
    name, as in Caffe: those that the network does not have are passed over.

    Raises `TigonError` with the byte where a layer has other arrays than here.
    """
    targets: dict[str, list[str]] = {}
    for layer, names in network.blobs_of:
        targets.setdefault(layer, names)  # of several layers of one name, the first
    found: dict[str, Any] = {}
    for layer, blobs in read_layers(content, name):
        if layer not in targets:
            continue
        names = targets[layer]
        given = blobs[-1].index + 1
        if given > len(names) or (given < len(names) and isinstance(blobs[0], WireBlob)):
            blobs[0].fail(
                f"layer '{layer}': expected {len(names)} blobs ({', '.join(names) or 'none'}); "
                f"given {given}"
            )
        for blob in blobs:
            own = names[blob.index]
            found[own] = blob.array(network.arrays[own].shape)
    return found
