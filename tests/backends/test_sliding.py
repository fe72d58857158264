"""Windows that slide over packed planes: every stride, padding and line against the oracle, on
memory that ends where the image does."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.backends.harness import Launch, check, narrow
from tests.backends.test_contractions import axes, flat, whole
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.backends.cpu.plan import Plan
from tigon.backends.cpu.sliding import Slide, find_slide
from tigon.base import TensorType, as_dtype
from tigon.base.dtypes import float32
from tigon.base.extents import RuntimeExtents
from tigon.base.frozen import replace
from tigon.ir import Graph, variable
from tigon.loop import build as L
from tigon.loop.grammar import Buffer, Contraction, Expr, Load, Store, walk
from tigon.loop.rewrite import substitute
from tigon.ops import get
from tigon.program.lowered import LoweredGraph

Pair = tuple[int, int]


def convolution(
    channels: int,
    size: Pair,
    filters: int,
    kernel: Pair,
    stride: Pair = (1, 1),
    pad: Pair = (0, 0),
    images: int = 1,
    dilate: int = 1,
) -> tuple[Contraction, list[np.ndarray]]:
    """Without padding there are no guards, and a place that no window reaches must not be read."""
    image, f, c, x, y, u, v = (L.axis(name) for name in ("im", "f", "c", "x", "y", "u", "v"))
    out = [
        (n + 2 * p - ((k - 1) * dilate + 1)) // s + 1
        for n, p, k, s in zip(size, pad, kernel, stride, strict=True)
    ]
    line = L.sub(L.add(L.mul(x, stride[0]), L.mul(u, dilate)), pad[0])
    place = L.sub(L.add(L.mul(y, stride[1]), L.mul(v, dilate)), pad[1])
    index = flat((image, channels * size[0] * size[1]), (c, size[0] * size[1]))
    pixel: Expr = L.load(0, L.add(index, flat((line, size[1]), (place, 1))), float32)
    for coordinate, padding, extent in zip((line, place), pad, size, strict=True):
        if padding:
            inside = L.and_(L.ge(coordinate, 0), L.lt(coordinate, extent))
            pixel = L.select(inside, pixel, L.const(0.0, float32))
    window = kernel[0] * kernel[1]
    weight = flat((f, channels * window), (c, window), (u, kernel[1]), (v, 1))
    result = flat((image, filters * out[0] * out[1]), (f, out[0] * out[1]), (x, out[1]), (y, 1))
    nest = Contraction(
        buffers=tuple(Buffer(float32, role) for role in ("in", "in", "out")),
        batch=(),
        rows=axes(f=filters),
        columns=axes(im=images, x=out[0], y=out[1]) if images > 1 else axes(x=out[0], y=out[1]),
        inner=axes(c=channels, u=kernel[0], v=kernel[1]),
        left=L.load(1, weight, float32),
        right=pixel if images > 1 else _at_image_zero(pixel),
        accumulator="sum",
        dtype=float32,
        body=(Store(2, result if images > 1 else _at_image_zero(result), _bounded()),),
    )
    arrays = [
        whole(images * channels * size[0] * size[1]),
        whole(filters * channels * window),
        np.zeros(images * filters * out[0] * out[1], np.float32),
    ]
    return nest, arrays


def _at_image_zero(expr: Expr) -> Expr:
    return substitute(expr, {L.axis("im"): L.const(0)})


def _bounded() -> Expr:
    return L.maximum(L.local("sum", float32), -50.0)


def slides(nest: Contraction, backend: CpuBackend = cpu) -> bool:
    plan = backend.prepare(nest).structure.variant
    return isinstance(plan, Plan) and plan.right.along == "slide"


SHAPES = [
    dict(channels=64, size=(56, 56), filters=16, kernel=(3, 3), pad=(1, 1)),
    dict(channels=50, size=(7, 7), filters=33, kernel=(3, 3), pad=(1, 1)),
    dict(channels=3, size=(30, 41), filters=20, kernel=(7, 7), stride=(2, 2), pad=(3, 3)),
    dict(channels=6, size=(23, 24), filters=14, kernel=(3, 3), stride=(2, 2)),
    dict(channels=9, size=(14, 13), filters=14, kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
    dict(channels=2, size=(40, 37), filters=40, kernel=(5, 4), stride=(3, 3)),
    dict(channels=2, size=(29, 60), filters=9, kernel=(4, 5), stride=(1, 2), pad=(0, 2)),
    dict(channels=20, size=(12, 12), filters=50, kernel=(5, 5), images=5),
    dict(channels=1, size=(28, 28), filters=20, kernel=(5, 5), images=3, pad=(2, 2)),
    dict(channels=5, size=(3, 200), filters=16, kernel=(1, 9), pad=(0, 4)),
    dict(channels=8, size=(3, 3), filters=12, kernel=(3, 3), pad=(2, 2)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolutions(shape: dict) -> None:
    nest, arrays = convolution(**shape)
    assert find_slide(nest) is not None
    check(nest, arrays)
    for vector_bytes in (16, 32):
        check(nest, arrays, backend=narrow(vector_bytes))


def test_channels_may_be_last() -> None:
    nest, arrays = convolution(1, (9, 40), 16, (3, 3), pad=(1, 1))
    # Every pixel of eight channels, of which one is read.
    wide = {node.index: L.mul(node.index, 8) for node in walk(nest.right) if isinstance(node, Load)}
    nest = replace(nest, right=substitute(nest.right, wide))
    assert find_slide(nest) is not None
    arrays[0] = whole(arrays[0].size * 8)
    for backend in (cpu, narrow(16)):
        check(nest, arrays, backend=backend)


def test_large_images_are_packed_as_planes() -> None:
    for shape in SHAPES[:4]:
        assert slides(convolution(**shape)[0]), shape


def test_images_become_points_where_each_has_places_enough() -> None:
    nest, _ = convolution(4, (28, 28), 20, (5, 5), images=6)
    assert slides(nest) and cpu.prepare(nest).points % 6 == 0
    nest, _ = convolution(8, (7, 7), 512, (3, 3), pad=(1, 1), images=16)
    assert not slides(nest)  # seven of nine places of a line would hardly fill it


@pytest.mark.skipif(
    "avx512f" not in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else True,
    reason="blocks of narrower vectors differ from layer to layer",
)
def test_layers_of_different_sizes_share_a_function() -> None:
    structures = {
        cpu.prepare(convolution(channels, (size, size), channels, (3, 3), pad=(1, 1))[0]).structure
        for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7))
    }
    assert len(structures) == 1


def test_what_slides_and_how_far() -> None:
    nest, _ = convolution(3, (30, 41), 20, (7, 5), (2, 1), (3, 2))
    assert find_slide(nest) == Slide((2, 1), 35, 2, (3, 4), 45, 45, 14 * 45 + 41)
    dilated, _ = convolution(3, (30, 41), 20, (3, 3), dilate=2)
    assert find_slide(dilated) is None
    apart, _ = convolution(3, (30, 40), 20, (2, 2), stride=(2, 2))
    assert find_slide(apart) is None
    multiple, _ = convolution(3, (30, 41), 20, (3, 3), stride=(2, 2), dilate=2)
    assert find_slide(multiple) == Slide((1, 1), 9, 1, (2, 2), 21, 21, 12 * 21 + 19)


def test_many_points_give_the_same_as_one() -> None:
    nest, arrays = convolution(70, (20, 19), 70, (3, 3), pad=(1, 1))
    launch = Launch(nest, arrays)
    assert launch.launchable.points > 3
    launch()
    together = arrays[2].copy()
    arrays[2][:] = 0
    for point in reversed(range(launch.launchable.points)):
        launch(point, point + 1)
    np.testing.assert_array_equal(arrays[2], together)


def test_images_of_few_places_hold_for_open_sizes() -> None:
    """Of few places each image by itself is few columns: what is decided is decided of all."""
    extents = RuntimeExtents([4, 32, 48])
    batch, height, width = extents.unknown
    x = variable("x", TensorType((batch, 3, height, width), as_dtype("float32")))
    w = variable("w", TensorType((8, 3, 3, 3), as_dtype("float32")))
    y = get("Convolution")(x, w, kernel=(3, 3), num_filter=8, no_bias=True)
    (kernel,) = LoweredGraph(Graph([x, w], [y]), frozenset(), (), (), None).kernels
    (nest,) = kernel.nests
    for sizes in product((1, 3), (3, 4, 6), (3, 4, 6)):
        with extents.supposed(sizes):
            assert cpu.formulas(nest.nest, extents, sizes).structure
