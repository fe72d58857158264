"""Contractions of all layouts, tails, prologues and epilogues against numpy and the oracle."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest

from tests.backends.harness import Launch, check, narrow, run
from tigon import _native
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.base import TensorType, as_dtype
from tigon.base.dtypes import DType, float32, float64, int32, int64, uint8
from tigon.ir import Graph, variable
from tigon.loop import build as L
from tigon.loop.grammar import Buffer, Contraction, Expr, Let, LoopAxis, Store
from tigon.ops import get
from tigon.passes.gradient import gradient
from tigon.program.compile import compile_graph

B, M, N, K = (L.axis(name) for name in "bmnk")
RANDOM = np.random.default_rng(3)


def axes(**extents: int) -> tuple[LoopAxis, ...]:
    return tuple(LoopAxis(name, L.const(extent)) for name, extent in extents.items())


def whole(*shape: int, dtype: DType = float32) -> np.ndarray:
    """Small whole numbers: sums are exact in any order."""
    return RANDOM.integers(-4, 5, shape).astype(dtype.numpy)


def flat(*terms: tuple[Expr, int]) -> Expr:
    total: Expr = L.const(0)
    for expr, stride in terms:
        total = L.add(total, L.mul(expr, stride))
    return total


def product(
    m: int, n: int, k: int, left: str = "mk", right: str = "kn", b: int = 0, dtype: DType = float32
) -> Contraction:
    """`left` and `right` say how the operands lie in memory."""
    size = {"m": m, "n": n, "k": k}
    at = {"m": M, "n": N, "k": K}
    one = flat((B, m * k if b else 0), (at[left[0]], size[left[1]]), (at[left[1]], 1))
    other = flat((B, k * n if b else 0), (at[right[0]], size[right[1]]), (at[right[1]], 1))
    place = flat((B, m * n if b else 0), (M, n), (N, 1))
    return Contraction(
        buffers=(Buffer(dtype, "in"), Buffer(dtype, "in"), Buffer(dtype, "out")),
        batch=axes(b=b) if b else (),
        rows=axes(m=m),
        columns=axes(n=n),
        inner=axes(k=k),
        left=L.load(0, one, dtype),
        right=L.load(1, other, dtype),
        accumulator="sum",
        dtype=dtype,
        body=(Store(2, place, L.local("sum", dtype)),),
    )


def verify(
    m: int,
    n: int,
    k: int,
    left: str,
    right: str,
    b: int = 0,
    dtype: DType = float32,
    backend: CpuBackend = cpu,
) -> None:
    x, y = whole(b or 1, m, k, dtype=dtype), whole(b or 1, k, n, dtype=dtype)
    out = np.zeros((b or 1, m, n), dtype.numpy)
    one = x if left == "mk" else np.ascontiguousarray(x.swapaxes(1, 2))
    other = y if right == "kn" else np.ascontiguousarray(y.swapaxes(1, 2))
    run(product(m, n, k, left, right, b, dtype), [one, other, out], 2, backend)
    np.testing.assert_array_equal(out, x @ y)


LAYOUTS = [(left, right) for left in ("mk", "km") for right in ("kn", "nk")]
SIZES = [(5, 7, 3), (64, 64, 64), (37, 53, 29), (100, 70, 900), (6, 200, 385), (29, 33, 17)]


@pytest.mark.parametrize("left,right", LAYOUTS)
def test_layouts_and_tails(left: str, right: str) -> None:
    for m, n, k in SIZES:
        verify(m, n, k, left, right)
    verify(11, 21, 40, left, right, b=3)
    verify(33, 65, 500, left, right, b=2, dtype=float64)


@pytest.mark.skipif(not hasattr(mmap, "MAP_ANONYMOUS"), reason="needs POSIX memory maps")
def test_nothing_is_read_behind_an_operand() -> None:
    page = mmap.PAGESIZE
    region = mmap.mmap(-1, 17 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    assert protect(start + 16 * page, page, 0) == 0
    for m, n, k in [(5, 40, 9), (6, 65, 50), (7, 33, 400), (9, 16, 64), (15, 100, 33)]:
        for left in ("mk", "km"):
            x, y = whole(m, k), whole(k, n)
            one = np.frombuffer(region, np.float32, m * k, 16 * page - 4 * m * k)
            one[:] = (x if left == "mk" else x.T).ravel()
            out = np.zeros((m, n), np.float32)
            run(product(m, n, k, left), [one, y, out], 2)
            np.testing.assert_array_equal(out, x @ y)
    for m, n, k in [(5, 40, 9), (16, 65, 50), (7, 33, 400), (64, 20, 64), (30, 17, 128)]:
        for right in ("kn", "nk"):
            x, y = whole(m, k), whole(k, n)
            other = np.frombuffer(region, np.float32, k * n, 16 * page - 4 * k * n)
            other[:] = (y if right == "kn" else y.T).ravel()
            out = np.zeros((m, n), np.float32)
            run(product(m, n, k, "mk", right), [x, other, out], 2)
            np.testing.assert_array_equal(out, x @ y)


@pytest.mark.parametrize("left,right", LAYOUTS)
def test_few_rows_or_columns(left: str, right: str) -> None:
    for m, n, k in [(1, 300, 77), (3, 257, 40), (50, 2, 77), (70, 1, 300), (1, 1, 1), (4, 4, 100)]:
        verify(m, n, k, left, right)
    verify(1, 20, 30, left, right, b=4)


@pytest.mark.parametrize("dtype", [int32, int64, uint8], ids=str)
def test_integers(dtype: DType) -> None:
    for left, right in LAYOUTS:
        verify(9, 33, 40, left, right, dtype=dtype)


@pytest.mark.parametrize("vector_bytes", [32, 16])
def test_smaller_registers(vector_bytes: int) -> None:
    backend = narrow(vector_bytes)
    for left, right in LAYOUTS:
        verify(37, 53, 29, left, right, backend=backend)
        verify(20, 33, 400, left, right, dtype=float64, backend=backend)
        verify(2, 33, 40, left, right, backend=backend)


def test_an_empty_sum_is_zero_and_empty_results_have_no_points() -> None:
    for m, n in [(7, 9), (2, 300), (40, 50)]:
        out = np.ones((m, n), np.float32)
        run(product(m, n, 0), [np.zeros(1, np.float32), np.zeros(1, np.float32), out])
        assert not out.any()
    for m, n in [(0, 5), (5, 0), (0, 0)]:
        assert cpu.prepare(product(m, n, 4)).points == 0


def test_many_points_give_the_same_as_one() -> None:
    nest = product(300, 600, 700)
    x, y = (RANDOM.normal(size=s).astype(np.float32) for s in ((300, 700), (700, 600)))
    points = cpu.prepare(nest).points
    assert points > 3
    results = []
    for ranges in (1, 3, points):
        out = np.zeros((300, 600), np.float32)
        run(nest, [x, y, out], ranges)
        results.append(out)
    assert all(np.array_equal(results[0], other) for other in results)
    np.testing.assert_allclose(results[0], x @ y, rtol=1e-3, atol=1e-3)


def test_one_function_serves_every_size_of_a_tile() -> None:
    first = cpu.prepare(product(640, 640, 640)).structure
    assert first == cpu.prepare(product(1280, 1280, 1280)).structure


def test_bias_and_activation_after_a_transposed_weight() -> None:
    m, n, k = 30, 45, 60
    nest = product(m, n, k, "mk", "nk")
    total = L.local("sum", float32)
    body = (
        Let("biased", L.add(total, L.load(3, N, float32))),
        Store(2, flat((M, n), (N, 1)), L.maximum(L.local("biased", float32), 0.0)),
        Store(4, flat((N, m), (M, 1)), L.local("biased", float32)),  # transposed: scattered
    )
    buffers = (*nest.buffers, Buffer(float32, "in"), Buffer(float32, "out"))
    fused = Contraction(
        buffers,
        (),
        nest.rows,
        nest.columns,
        nest.inner,
        nest.left,
        nest.right,
        "sum",
        float32,
        body,
    )
    x, w, bias = whole(m, k), whole(n, k), whole(n)
    out, turned = np.zeros((m, n), np.float32), np.zeros((n, m), np.float32)
    run(fused, [x, w, out, bias, turned], ranges=2)
    expected = x @ w.T + bias
    np.testing.assert_array_equal(out, np.maximum(expected, 0))
    np.testing.assert_array_equal(turned, expected.T)


def test_prologues_are_packed_with_their_operand() -> None:
    m, n, k = 20, 40, 50
    nest = product(m, n, k)
    left = L.mul(L.sub(nest.left, L.load(3, M, float32)), L.load(4, K, float32))
    fused = Contraction(
        (*nest.buffers, Buffer(float32, "in"), Buffer(float32, "in")),
        (),
        nest.rows,
        nest.columns,
        nest.inner,
        left,
        L.maximum(nest.right, 0.0),
        "sum",
        float32,
        nest.body,
    )
    x, y, mean, scale = whole(m, k), whole(k, n), whole(m), whole(k)
    out = np.zeros((m, n), np.float32)
    run(fused, [x, y, out, mean, scale])
    np.testing.assert_array_equal(out, ((x - mean[:, None]) * scale) @ np.maximum(y, 0))


def convolution(
    images: int, channels: int, size: int, filters: int, kernel: int, stride: int, pad: int
) -> Contraction:
    """Rows are filters, columns the places of each image, the sum runs over the window."""
    extent = (size + 2 * pad - kernel) // stride + 1
    oh, ow, c, i, j, f, image = (L.axis(name) for name in ("oh", "ow", "c", "i", "j", "f", "im"))
    y = L.sub(L.add(L.mul(oh, stride), i), pad)
    x = L.sub(L.add(L.mul(ow, stride), j), pad)
    inside = L.and_(L.and_(L.ge(y, 0), L.lt(y, size)), L.and_(L.ge(x, 0), L.lt(x, size)))
    place = flat((image, channels * size * size), (c, size * size), (y, size), (x, 1))
    pixel = L.select(inside, L.load(0, place, float32), L.const(0.0, float32))
    weight = flat((f, channels * kernel * kernel), (c, kernel * kernel), (i, kernel), (j, 1))
    result = flat((image, filters * extent * extent), (f, extent * extent), (oh, extent), (ow, 1))
    return Contraction(
        buffers=(Buffer(float32, "in"), Buffer(float32, "in"), Buffer(float32, "out")),
        batch=axes(im=images),
        rows=axes(f=filters),
        columns=axes(oh=extent, ow=extent),
        inner=axes(c=channels, i=kernel, j=kernel),
        left=L.load(1, weight, float32),
        right=pixel,
        accumulator="sum",
        dtype=float32,
        body=(Store(2, result, L.maximum(L.local("sum", float32), -100.0)),),
    )


@pytest.mark.parametrize(
    "shape",
    [
        (2, 3, 9, 8, 3, 1, 1),
        (1, 4, 8, 20, 3, 2, 1),
        (3, 2, 6, 4, 1, 1, 0),
        (1, 1, 28, 6, 5, 1, 2),
        (1, 64, 10, 16, 3, 1, 1),
    ],
)
def test_convolution(shape: tuple[int, ...]) -> None:
    images, channels, size, filters, kernel, stride, pad = shape
    nest = convolution(*shape)
    extent = (size + 2 * pad - kernel) // stride + 1
    data, weight = whole(images, channels, size, size), whole(filters, channels, kernel, kernel)
    out = np.zeros((images, filters, extent, extent), np.float32)
    check(nest, [data.ravel(), weight.ravel(), out.ravel()])
    run(nest, [data, weight, out])
    padded = np.pad(data, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    expected = np.einsum("ncyxij,fcij->nfyx", windows[:, :, ::stride, ::stride], weight)
    expected = np.maximum(expected, -100)
    np.testing.assert_array_equal(out, expected)


def test_convolution_with_the_images_among_the_columns_and_weight_gradient() -> None:
    images, channels, size, filters, kernel = 3, 2, 9, 5, 3
    nest = convolution(images, channels, size, filters, kernel, 1, 1)
    merged = Contraction(
        nest.buffers,
        (),
        nest.rows,
        (*nest.batch, *nest.columns),
        nest.inner,
        nest.left,
        nest.right,
        "sum",
        float32,
        nest.body,
    )
    data, weight = whole(images * channels * size * size), whole(filters * channels * kernel**2)
    out = np.zeros(images * filters * size * size, np.float32)
    check(merged, [data, weight, out])
    # Gradient of the weights: rows are filters, columns the window, the sum runs over places.
    oh, ow, image, f = (L.axis(name) for name in ("oh", "ow", "im", "f"))
    head = flat((image, filters * size * size), (f, size * size), (oh, size), (ow, 1))
    place = flat(
        (f, channels * kernel**2), (L.axis("c"), kernel**2), (L.axis("i"), kernel), (L.axis("j"), 1)
    )
    gradient = Contraction(
        nest.buffers,
        (),
        nest.rows,
        nest.inner,
        (*nest.batch, *nest.columns),
        L.load(1, head, float32),
        nest.right,
        "sum",
        float32,
        (Store(2, place, L.local("sum", float32)),),
    )
    heads = whole(images * filters * size * size)
    check(gradient, [data, heads, np.zeros(filters * channels * kernel**2, np.float32)])


def test_groups_without_axes() -> None:
    k = 70
    outer = Contraction(
        (Buffer(float32, "in"), Buffer(float32, "in"), Buffer(float32, "out")),
        (),
        axes(m=9),
        (),
        axes(k=k),
        L.load(0, flat((M, k), (K, 1)), float32),
        L.load(1, K, float32),
        "sum",
        float32,
        (Store(2, M, L.local("sum", float32)),),
    )
    check(outer, [whole(9 * k), whole(k), np.zeros(9, np.float32)])
    rank_one = Contraction(
        outer.buffers,
        (),
        axes(m=30),
        axes(n=40),
        (),
        L.load(0, M, float32),
        L.load(1, N, float32),
        "sum",
        float32,
        (Store(2, flat((M, 40), (N, 1)), L.local("sum", float32)),),
    )
    check(rank_one, [whole(30), whole(40), np.zeros(1200, np.float32)])


def test_outputs_of_another_type() -> None:
    nest = product(20, 50, 30)
    total = L.local("sum", float32)
    fused = Contraction(
        (*nest.buffers[:2], Buffer(float64, "out")),
        (),
        nest.rows,
        nest.columns,
        nest.inner,
        nest.left,
        nest.right,
        "sum",
        float32,
        (Store(2, flat((M, 50), (N, 1)), L.mul(L.cast(total, float64), 0.1)),),
    )
    x, y, out = whole(20, 30), whole(30, 50), np.zeros((20, 50))
    run(fused, [x, y, out])
    np.testing.assert_array_equal(out, (x @ y).astype(np.float64) * 0.1)


def test_launches_do_not_write_beyond_their_scratch() -> None:
    nest = product(50, 130, 500, "km", "nk")
    x, y, out = whole(500, 50), whole(130, 500), np.zeros((50, 130), np.float32)
    launch = Launch(nest, [x, y, out])
    launch._scratch[-64:] = 7
    launch()
    assert (launch._scratch[-64:] == 7).all()
    np.testing.assert_array_equal(out, x.T @ y.T)


@pytest.mark.parametrize("channels", [8, 16, 17, 31, 32, 40, 100])
def test_gradients_of_a_channel_s_weights(channels: int) -> None:
    """A few vectors of channels side by side, the last ones perhaps computed twice."""
    shape = (2, 7, 6, channels)
    x, g = (variable(name, TensorType(shape, as_dtype("float32"))) for name in "xg")
    w = variable("w", TensorType((channels, 3, 3, 1), as_dtype("float32")))
    fields = {"kernel": (3, 3), "pad": (1, 1), "num_filter": channels, "num_group": channels}
    y = get("Convolution")(x, w, no_bias=True, layout="NHWC", **fields)
    (found,) = gradient([y], [g], [w])
    graph = Graph([x, w, g], [found])
    random = np.random.default_rng(channels)
    given = [random.integers(-3, 4, v.shape).astype("float32") for v in graph.inputs]
    (made,) = compile_graph(graph).run([_native.from_numpy(array) for array in given])
    padded = np.pad(given[0], ((0, 0), (1, 1), (1, 1), (0, 0)))
    for u, v in np.ndindex(3, 3):
        wanted = (padded[:, u : u + 7, v : v + 6] * given[2]).sum((0, 1, 2))
        np.testing.assert_array_equal(made.asnumpy()[:, u, v, 0], wanted)
