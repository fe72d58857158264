"""Layers that read data: their tops are what the user gives."""

from __future__ import annotations

from collections.abc import Sequence

from tigon import sym
from tigon.contrib.caffe.layers.record import ANY, Blob, Layer, Shape, layer
from tigon.readers.message import Message

GIVEN = "a variable; you give the array"


def shape_of(shape: Message) -> Shape:
    """Of a `BlobShape`."""
    return tuple(shape.dim)


@layer("Input", GIVEN, param="input_param", bottoms=0, tops=(1, ANY))
def read_input(layer: Layer) -> Sequence[Blob]:
    shapes = [shape_of(shape) for shape in layer.param.shape]
    layer.check(
        len(shapes) in (0, 1, len(layer.tops)),
        f"expected one shape, or one for each of {len(layer.tops)} tops; given {len(shapes)}",
        "shape",
    )
    shapes = shapes * len(layer.tops) if len(shapes) == 1 else shapes
    found = []
    for number, top in enumerate(layer.tops):
        found.append(
            layer.input(top, shapes[number] if shapes else None, "an input without a shape")
        )
    return found


def _batches(layer: Layer, shape: Shape | None = None) -> Sequence[Blob]:
    """Data of which the file says little more than the batch, and labels, one number each."""
    param, found = layer.param, []
    batch = param.batch_size
    layer.check(batch > 0, f"batch_size: expected 1 or more; given {batch}", "batch_size")
    source = f" from {param.source!r:.80}" if layer.record.param != "memory_data_param" else ""
    wanted = f"{layer.record.type} in batches of {batch}{source}"
    told = layer.network.shapes.get(layer.tops[0])
    label = None if layer.record.type == "HDF5Data" else (told[0] if told else batch,)
    for number, top in enumerate(layer.tops):
        found.append(layer.input(top, label if number == 1 else shape, wanted))
    return found


@layer("Data", GIVEN, param="data_param", bottoms=0, tops=(1, 2))
def read_data(layer: Layer) -> Sequence[Blob]:
    return _batches(layer)


@layer("HDF5Data", GIVEN, param="hdf5_data_param", bottoms=0, tops=(1, ANY))
def read_hdf5(layer: Layer) -> Sequence[Blob]:
    return _batches(layer)


@layer("ImageData", GIVEN, param="image_data_param", bottoms=0, tops=2)
def read_images(layer: Layer) -> Sequence[Blob]:
    param = layer.param
    crop = layer.message.transform_param.crop_size
    size = (crop, crop) if crop else (param.new_height, param.new_width)
    known = all(size) and (param.batch_size, 3 if param.is_color else 1, *size)
    return _batches(layer, known or None)


@layer("MemoryData", GIVEN, param="memory_data_param", bottoms=0, tops=2)
def read_memory(layer: Layer) -> Sequence[Blob]:
    param = layer.param
    return _batches(layer, (param.batch_size, param.channels, param.height, param.width))


@layer("DummyData", GIVEN, param="dummy_data_param", bottoms=0, tops=(1, ANY))
def read_dummies(layer: Layer) -> Sequence[Blob]:
    param, count = layer.param, len(layer.tops)
    shapes = [shape_of(shape) for shape in param.shape]
    if not shapes:
        extents = [param.num, param.channels, param.height, param.width]
        most = max(map(len, extents))
        extents = [own * most if len(own) == 1 else own for own in extents]
        layer.check(
            most and all(len(own) == most for own in extents),
            "expected shape, or as many num, channels, height and width",
            "num",
        )
        shapes = list(zip(*extents, strict=True))
    layer.check(
        len(shapes) in (1, count),
        f"expected one shape, or one for each of {count} tops; given {len(shapes)}",
        "shape",
    )
    shapes = shapes * count if len(shapes) == 1 else shapes
    return [
        layer.input(top, shape, "dummy data") for top, shape in zip(layer.tops, shapes, strict=True)
    ]


@layer("Parameter", "a variable that is learned", param="parameter_param", bottoms=0)
def learn_parameter(layer: Layer) -> Sequence[Blob]:
    shape = shape_of(layer.param.shape)
    layer.check(
        all(extent > 0 for extent in shape), f"expected positive extents; given {shape}", "shape"
    )
    return [Blob(sym.identity(layer.array("weight", shape), name=layer.name), shape)]
