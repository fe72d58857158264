"""Caffemodels: the arrays of each layer, of every generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from tigon.base import TigonError
from tigon.contrib.caffe.fields import SCHEMA, WEIGHTS
from tigon.contrib.caffe.layers.record import Network, Shape
from tigon.readers.message import Message
from tigon.readers.wire import read_wire

_HDF5 = b"\x89HDF\r\n\x1a\n"
_OLD_SHAPE = ("num", "channels", "height", "width")


def shape_of_blob(blob: Message) -> Shape:
    """The shape that a `BlobProto` gives, or its four extents of old."""
    if blob.has("shape"):
        return tuple(blob.shape.dim)
    if any(blob.has(extent) for extent in _OLD_SHAPE):
        return tuple(getattr(blob, extent) for extent in _OLD_SHAPE)
    return (max(len(blob.numbers("data", "float32")), len(blob.numbers("double_data", "float64"))),)


def array_of_blob(blob: Message, wanted: Shape | None = None) -> np.ndarray:
    """The numbers of a `BlobProto`, in the wanted shape. Extents of old have leading ones.

    Raises `TigonError` with the byte where the blob holds another shape, or not so many numbers.
    """
    given = shape_of_blob(blob)
    wide = blob.has("double_data")
    numbers = blob.numbers("double_data", "float64") if wide else blob.numbers("data", "float32")
    blob.check(
        all(extent >= 0 for extent in given) and prod(given) == numbers.size,
        f"expected {prod(given)} numbers of shape {given}; given {numbers.size}",
        "double_data" if wide else "data",
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


def read_layers(content: bytes, name: str) -> Iterator[tuple[str, list[Message]]]:
    """Names and blobs of the layers in a caffemodel that have some."""
    kind = SCHEMA["NetParameter"]
    if content[: len(_HDF5)] == _HDF5:
        raise TigonError(
            f"{name}: at byte 0: expected a binary protocol buffer; given HDF5; save the snapshot "
            "with snapshot_format BINARYPROTO"
        )
    net = read_wire(content, kind, name, WEIGHTS)
    for layer in [*net.layers, *net.layer]:
        inner = layer.layer if "layer" in layer.all_values() else layer  # of V0
        blobs = inner.blobs or layer.blobs
        if blobs:
            yield inner.name or layer.name, blobs


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
        names = targets.get(layer)
        if names is None:
            continue
        blobs[0].check(
            len(names) == len(blobs),
            f"layer '{layer}': expected {len(names)} blobs ({', '.join(names) or 'none'}); "
            f"given {len(blobs)}",
        )
        for own, blob in zip(names, blobs, strict=True):
            found[own] = array_of_blob(blob, network.arrays[own].shape)
    return found
