"""Single operators beside PyTorch's, called imperatively; and products of many shapes beside all
peers that are installed.

    make bench-operators                                    the operators
    make bench-products                                     the products
    make bench-operators OPERATORS="--only sort --rounds 9" the rows whose name contains a word
    make bench-operators OPERATORS="--write docs/benchmarks.md"   into that page, too

Each row is measured as those of `make bench` are: turn by turn, on the same processors, after the
results were compared. A ratio is the median of those within each round; beside it stands that of
the quickest turns, which is what counts where other programs run. Below 1 tigon is ahead.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import machine
import numpy as np
import pages
import peers
import turns
from inputs import RANDOM, normal
from processors import confine
from workloads import Row

from tigon import autograd, nd
from tigon.base.progress import Progress

torch_side, jax_side, onnx_side, blas_side = map(
    peers.side, ("torch", "jax", "onnxruntime", "scipy")
)
if torch_side is not None:
    import torch
    from torch.nn import functional as F

SECONDS = 0.03


def beside_torch(
    name: str,
    ours: Callable[..., Any],
    theirs: Callable[[], Callable[..., Any]],
    *arrays: np.ndarray,
    tolerance: float = 1e-4,
    compared: Callable[[np.ndarray], Any] = np.asarray,
    flops: float = 0.0,
    read: float | None = None,
) -> Row:
    """An operator on these arrays. `theirs` gives PyTorch's, asked for only where there is PyTorch;
    `compared` makes of a result what must agree: of random ones, that is little. `read`: how many
    bytes of the arrays it needs, where that is not all of them."""
    call = partial(ours, *(nd.array(array, dtype=array.dtype) for array in arrays))
    made = call()
    results = made if isinstance(made, (list, tuple)) else [made]
    size = sum(array.nbytes for array in arrays) if read is None else read
    size += sum(result.asnumpy().nbytes for result in results)
    row = Row(name, tolerance, flops=flops, size=size)

    def run() -> None:
        made = call()
        (made[-1] if isinstance(made, (list, tuple)) else made).wait_to_read()

    def result() -> Any:
        made = call()
        return compared((made[0] if isinstance(made, (list, tuple)) else made).asnumpy())

    row.enter("tigon", run, result)
    if torch_side is not None:
        other = theirs()

        def result_of(*operands: np.ndarray) -> Any:
            made = other(*map(torch.from_numpy, operands))
            return compared(np.asarray(made[0] if isinstance(made, (list, tuple)) else made))

        run_torch = partial(other, *map(torch.from_numpy, arrays))
        row.enter("torch", run_torch, partial(result_of, *arrays), within=torch.inference_mode)
        if compared is not np.shape:
            row.exact = partial(result_of, *map(_in_double, arrays))
    return row


def _in_double(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def elementwise() -> Iterator[Row]:
    """Of a million elements where nothing else is said."""
    x, y = normal(1000, 1000), normal(1000, 1000)
    positive = abs(x) + 0.1
    small = normal(1000), normal(1000)
    line, column = normal(1000), normal(1000, 1)
    yield beside_torch("exp", nd.exp, lambda: torch.exp, x)
    yield beside_torch("log", nd.log, lambda: torch.log, positive)
    yield beside_torch("sqrt", nd.sqrt, lambda: torch.sqrt, positive)
    yield beside_torch("sin", nd.sin, lambda: torch.sin, x)
    yield beside_torch("tanh", nd.tanh, lambda: torch.tanh, x)
    yield beside_torch("erf", nd.erf, lambda: torch.erf, x)
    yield beside_torch("sigmoid", nd.sigmoid, lambda: torch.sigmoid, x)
    yield beside_torch("sigmoid of 1,000", nd.sigmoid, lambda: torch.sigmoid, small[0])
    yield beside_torch("relu", nd.relu, lambda: torch.relu, x)
    yield beside_torch("abs of 1,000", nd.abs, lambda: torch.abs, small[0])
    yield beside_torch("square", nd.square, lambda: torch.square, x)
    yield beside_torch("clip", lambda x: nd.clip(x, -1, 1), lambda: lambda x: x.clamp(-1, 1), x)
    yield beside_torch("add", nd.add, lambda: torch.add, x, y)
    yield beside_torch("add of 1,000", nd.add, lambda: torch.add, *small)
    yield beside_torch("multiply by a number", lambda x: x * 2, lambda: lambda x: x * 2, x)
    yield beside_torch("divide", nd.divide, lambda: torch.divide, x, positive)
    yield beside_torch("power", nd.power, lambda: torch.pow, positive, y, tolerance=1e-3)
    yield beside_torch("maximum", nd.maximum, lambda: torch.maximum, x, y)
    yield beside_torch("add a row", nd.broadcast_add, lambda: torch.add, x, line)
    yield beside_torch("multiply by a column", nd.broadcast_mul, lambda: torch.mul, x, column)
    # Comparisons give numbers here, truth values there.
    yield beside_torch("greater", nd.broadcast_greater, lambda: torch.gt, x, y, compared=np.float32)
    chosen = x > 0
    yield beside_torch("where", nd.where, lambda: torch.where, chosen, x, y)


def casts() -> Iterator[Row]:
    """Of a million elements."""
    x = normal(1000, 1000) * 20
    bytes_ = RANDOM.randint(0, 256, (1000, 1000)).astype(np.uint8)

    def to(dtype: str) -> tuple[Callable[..., Any], Callable[[], Callable[..., Any]]]:
        return (
            lambda x: x.astype(dtype),
            lambda: lambda x: x.to(getattr(torch, dtype)),
        )

    yield beside_torch("cast to int32", *to("int32"), x)
    yield beside_torch("cast to int64", *to("int64"), x)
    yield beside_torch("cast to int8", *to("int8"), x)
    yield beside_torch("cast to float64", *to("float64"), x)
    yield beside_torch("cast to float16", *to("float16"), x)
    yield beside_torch("cast bytes to float32", *to("float32"), bytes_)
    yield beside_torch("cast float64 to float32", *to("float32"), x.astype(np.float64))


def reductions() -> Iterator[Row]:
    """Of a million elements where nothing else is said."""
    x, small = normal(1000, 1000), normal(1000)
    images = normal(8, 64, 56, 56)
    yield beside_torch("sum of all", nd.sum, lambda: torch.sum, x, tolerance=1e-2)
    yield beside_torch("sum of 1,000", nd.sum, lambda: torch.sum, small, tolerance=1e-3)
    for axis in (0, 1):
        yield beside_torch(
            f"sum along axis {axis}",
            partial(nd.sum, axis=axis),
            lambda axis=axis: partial(torch.sum, dim=axis),
            x,
            tolerance=1e-3,
        )
    yield beside_torch(
        "mean of each channel, 8x64x56x56",
        lambda x: nd.mean(x, axis=(0, 2, 3)),
        lambda: lambda x: x.mean((0, 2, 3)),
        images,
    )
    yield beside_torch("max of all", nd.max, lambda: torch.max, x)
    yield beside_torch("min along axis 0", partial(nd.min, axis=0), lambda: lambda x: x.amin(0), x)
    yield beside_torch(
        "product along axis 1",
        lambda x: nd.prod(x, axis=1),
        lambda: lambda x: x.prod(1),
        1 + x / 100,
    )
    yield beside_torch("norm", nd.norm, lambda: torch.norm, x)
    for axis in (0, 1):
        yield beside_torch(
            f"argmax along axis {axis}",
            partial(nd.argmax, axis=axis),
            lambda axis=axis: partial(torch.argmax, dim=axis),
            x,
        )
    yield beside_torch(
        "cumsum along axis 1",
        lambda x: nd.cumsum(x, axis=1),
        lambda: lambda x: x.cumsum(1),
        x,
        tolerance=1e-3,
    )


def layouts() -> Iterator[Row]:
    """What moves elements, a million of them where nothing else is said."""
    x, y, small = normal(1000, 1000), normal(1000, 1000), normal(1000)
    images = normal(8, 64, 56, 56)
    yield beside_torch("copy", lambda x: x.copy(), lambda: torch.clone, x)
    yield beside_torch("transpose", nd.transpose, lambda: lambda x: x.t().contiguous(), x)
    yield beside_torch(
        "NCHW to NHWC",
        lambda x: nd.transpose(x, axes=(0, 2, 3, 1)),
        lambda: lambda x: x.permute(0, 2, 3, 1).contiguous(),
        images,
    )
    yield beside_torch(
        "every second column",
        lambda x: nd.slice(x, begin=(0, 0), end=(1000, 1000), step=(1, 2)),
        lambda: lambda x: x[:, ::2].contiguous(),
        x,
    )
    yield beside_torch(
        "a block of rows and columns",
        lambda x: nd.slice(x, begin=(10, 10), end=(990, 990)),
        lambda: lambda x: x[10:990, 10:990].contiguous(),
        x,
        read=4 * 980 * 980,
    )
    yield beside_torch("reverse", partial(nd.reverse, axis=1), lambda: lambda x: x.flip(1), x)
    yield beside_torch(
        "reverse of 1,000", partial(nd.reverse, axis=0), lambda: lambda x: x.flip(0), small
    )
    yield beside_torch(
        "tile 100x100 to 1000x1000",
        partial(nd.tile, reps=(10, 10)),
        lambda: lambda x: x.tile(10, 10),
        x[:100, :100].copy(),
    )
    yield beside_torch(
        "repeat each 4 times, of 250,000",
        partial(nd.repeat, repeats=4, axis=1),
        lambda: lambda x: x.repeat_interleave(4, 1),
        x[:, :250].copy(),
    )
    yield beside_torch(
        "broadcast a row",
        partial(nd.broadcast_to, shape=(1000, 1000)),
        lambda: lambda x: x.expand(1000, 1000).contiguous(),
        x[:1].copy(),
    )
    yield beside_torch(
        "concat", partial(nd.concat, dim=1), lambda: lambda *both: torch.cat(both, 1), x, y
    )
    yield beside_torch(
        "stack", partial(nd.stack, axis=1), lambda: lambda *both: torch.stack(both, 1), x, y
    )
    yield beside_torch(
        "split in 4",
        lambda x: nd.split(x, num_outputs=4, axis=1),
        lambda: lambda x: [part.contiguous() for part in x.split(250, 1)],
        x,
    )
    yield beside_torch(
        "pad 8x64x56x56",
        lambda x: nd.pad(x, mode="constant", pad_width=(0, 0, 0, 0, 1, 1, 1, 1), constant_value=0),
        lambda: lambda x: F.pad(x, (1, 1, 1, 1)),
        images,
    )


def lookups() -> Iterator[Row]:
    x = normal(1000, 1000)
    table = normal(10000, 256)
    words = RANDOM.randint(0, 10000, (32, 128))
    columns = RANDOM.randint(0, 1000, 1000)
    yield beside_torch(
        "take 4,096 of 10,000 rows of 256",
        nd.take,
        lambda: lambda t, i: F.embedding(i, t),
        table,
        words,
        read=words.nbytes + 4 * words.size * 256,
    )
    yield beside_torch(
        "pick one of each row",
        nd.pick,
        lambda: lambda x, i: x.gather(1, i[:, None])[:, 0],
        x,
        columns,
        read=2 * columns.nbytes,
    )
    pairs = RANDOM.randint(0, 1000, (2, 10000))
    yield beside_torch(
        "gather_nd of 10,000",
        nd.gather_nd,
        lambda: lambda x, i: x[i[0], i[1]],
        x,
        pairs,
        read=pairs.nbytes + 4 * 10000,
    )
    yield beside_torch(
        "one_hot of 1,000 in 1,000",
        partial(nd.one_hot, depth=1000),
        lambda: lambda i: F.one_hot(i, 1000).float(),
        columns,
    )


def orders() -> Iterator[Row]:
    small, line, x = normal(1000), normal(100_000), normal(1000, 1000)

    def sort(x: Any) -> Any:
        return x.sort(-1)

    yield beside_torch("sort of 1,000", nd.sort, lambda: sort, small)
    yield beside_torch("sort of 100,000", nd.sort, lambda: sort, line)
    yield beside_torch("sort of 1,000 rows of 1,000", nd.sort, lambda: sort, x)
    yield beside_torch(
        "argsort of 100,000", nd.argsort, lambda: partial(torch.argsort, stable=True), line
    )
    yield beside_torch(
        "10 largest of 1,000 rows of 1,000",
        lambda x: nd.topk(x, k=10, ret_typ="both"),
        lambda: lambda x: x.topk(10),
        x,
    )
    yield beside_torch(
        "10 largest of 100,000",
        lambda x: nd.topk(x, k=10, ret_typ="both"),
        lambda: lambda x: x.topk(10),
        line,
    )
    yield beside_torch(
        "shuffle of 100,000",
        nd.random.shuffle,
        lambda: lambda x: x[torch.randperm(len(x))],
        line,
        compared=np.sort,
    )
    shuffled = normal(10_000, 64)
    yield beside_torch(
        "shuffle of 10,000 rows of 64",
        nd.random.shuffle,
        lambda: lambda x: x[torch.randperm(len(x))],
        shuffled,
        compared=lambda x: np.sort(x, 0),
    )


def random() -> Iterator[Row]:
    """Of a million numbers; of what was drawn, the shape is compared."""
    x = normal(1000, 1000)
    yield beside_torch(
        "draw uniform",
        lambda x: nd.random.uniform(shape=x.shape),
        lambda: torch.rand_like,
        x,
        compared=np.shape,
        read=0.0,
    )
    yield beside_torch(
        "draw normal",
        lambda x: nd.random.normal(shape=x.shape),
        lambda: torch.randn_like,
        x,
        compared=np.shape,
        read=0.0,
    )
    yield beside_torch(
        "dropout",
        lambda x: nd.Dropout(x, p=0.5, mode="always"),
        lambda: lambda x: F.dropout(x, 0.5),
        x,
        compared=np.shape,
    )


def networks() -> Iterator[Row]:
    rows, images = normal(1024, 1000), normal(8, 64, 56, 56)
    short = normal(65536, 10)
    states = normal(512, 512)
    scale, shift = normal(512), normal(512)
    channel = [normal(64), normal(64), normal(64), abs(normal(64)) + 0.1]
    pooled = normal(8, 64, 112, 112)
    yield beside_torch(
        "softmax of 1,024 rows of 1,000", nd.softmax, lambda: lambda x: x.softmax(-1), rows
    )
    yield beside_torch(
        "softmax of 65,536 rows of 10", nd.softmax, lambda: lambda x: x.softmax(-1), short
    )
    yield beside_torch(
        "log_softmax of 65,536 rows of 10",
        nd.log_softmax,
        lambda: lambda x: x.log_softmax(-1),
        short,
    )
    yield beside_torch(
        "LayerNorm of 512 rows of 512",
        nd.LayerNorm,
        lambda: lambda x, g, b: F.layer_norm(x, (512,), g, b),
        states,
        scale,
        shift,
    )

    yield beside_torch(
        "BatchNorm 8x64x56x56, inference",
        lambda x, g, b, m, v: nd.BatchNorm(x, g, b, m, v, fix_gamma=False, eps=1e-5),
        lambda: lambda x, g, b, m, v: F.batch_norm(x, m, v, g, b),
        images,
        *channel,
    )

    def trained(x: Any, g: Any, b: Any, m: Any, v: Any) -> Any:
        with autograd.train_mode():
            return nd.BatchNorm(x, g, b, m, v, fix_gamma=False, eps=1e-5)

    yield beside_torch(
        "BatchNorm 8x64x56x56, training",
        trained,
        lambda: lambda x, g, b, m, v: F.batch_norm(x, m, v, g, b, training=True),
        images,
        *channel,
        tolerance=1e-3,
    )
    window = {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)}
    yield beside_torch(
        "max pooling 3x3/2 8x64x112x112",
        lambda x: nd.Pooling(x, pool_type="max", **window),
        lambda: lambda x: F.max_pool2d(x, 3, 2, 1),
        pooled,
    )
    yield beside_torch(
        "max pooling 2x2/2 8x64x112x112",
        lambda x: nd.Pooling(x, pool_type="max", kernel=(2, 2), stride=(2, 2)),
        lambda: lambda x: F.max_pool2d(x, 2),
        pooled,
    )
    yield beside_torch(
        "average pooling 3x3/2 8x64x112x112",
        lambda x: nd.Pooling(x, pool_type="avg", **window),
        lambda: lambda x: F.avg_pool2d(x, 3, 2, 1),
        pooled,
    )
    yield beside_torch(
        "global average pooling 8x64x56x56",
        lambda x: nd.Pooling(x, pool_type="avg", kernel=(1, 1), global_pool=True),
        lambda: lambda x: F.adaptive_avg_pool2d(x, 1),
        images,
    )
    yield beside_torch(
        "upsample 2x nearest 8x64x56x56",
        lambda x: nd.UpSampling(x, scale=2, sample_type="nearest"),
        lambda: lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        images,
    )
    yield beside_torch(
        "convolution 3x3, 64 to 64, 8x64x56x56",
        lambda x, w: nd.Convolution(x, w, kernel=(3, 3), pad=(1, 1), num_filter=64, no_bias=True),
        lambda: lambda x, w: F.conv2d(x, w, padding=1),
        images,
        normal(64, 64, 3, 3),
        tolerance=1e-2,
        flops=2.0 * images.size * 64 * 9,
    )
    yield beside_torch(
        "depthwise convolution 3x3, 8x64x56x56",
        lambda x, w: nd.Convolution(
            x, w, kernel=(3, 3), pad=(1, 1), num_filter=64, num_group=64, no_bias=True
        ),
        lambda: lambda x, w: F.conv2d(x, w, padding=1, groups=64),
        images,
        normal(64, 1, 3, 3),
        tolerance=1e-3,
        flops=2.0 * images.size * 9,
    )
    a, b = normal(32, 128, 64), normal(32, 64, 128)
    yield beside_torch(
        "batch_dot of 32 128x64x128",
        nd.batch_dot,
        lambda: torch.bmm,
        a,
        b,
        tolerance=1e-3,
        flops=2.0 * a.size * 128,
    )
    weight, bias = normal(512, 512), normal(512)
    yield beside_torch(
        "FullyConnected 512x512x512",
        partial(nd.FullyConnected, num_hidden=512),
        lambda: F.linear,
        states,
        weight,
        bias,
        tolerance=1e-2,
        flops=2.0 * states.size * 512,
    )


def gradients() -> Iterator[Row]:
    """Forward and backward, as a network's user has them; the gradient is compared."""

    def row(
        name: str,
        ours: Callable[..., Any],
        theirs: Callable[[], Callable[..., Any]],
        data: np.ndarray,
        tolerance: float = 1e-4,
    ) -> Row:
        made = Row(name, tolerance)
        x = nd.array(data)
        x.attach_grad()
        made.size = 3 * data.nbytes  # the data forward and backward, and their gradient
        cotangent = normal(*ours(x).shape)  # of ones, that of a normalization's data is zero
        head = nd.array(cotangent)

        def run() -> Any:
            with autograd.record():
                y = ours(x)
            y.backward(head)
            return x.grad

        made.enter("tigon", lambda: run().wait_to_read(), lambda: run().asnumpy())
        if torch_side is not None:
            other = theirs()
            made.enter("torch", gradient(other, data, cotangent))
            made.exact = gradient(other, data.astype(np.float64), cotangent.astype(np.float64))
        return made

    def gradient(
        other: Callable[..., Any], data: np.ndarray, cotangent: np.ndarray
    ) -> Callable[[], Any]:
        leaf, head = torch.from_numpy(data).requires_grad_(), torch.from_numpy(cotangent)

        def run_torch() -> Any:
            leaf.grad = None
            other(leaf).backward(head)
            return leaf.grad

        return run_torch

    pooled, images = normal(8, 64, 112, 112), normal(8, 64, 56, 56)
    channel = [normal(64), normal(64), normal(64), abs(normal(64)) + 0.1]
    yield row(
        "max pooling 3x3/2 8x64x112x112, both ways",
        lambda x: nd.Pooling(x, pool_type="max", kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
        lambda: lambda x: F.max_pool2d(x, 3, 2, 1),
        pooled,
    )
    states = list(map(nd.array, channel))

    def theirs() -> Callable[..., Any]:
        own = list(map(torch.from_numpy, channel))

        def normalized(x: Any) -> Any:
            g, b, m, v = (each.to(x.dtype) for each in own)
            return F.batch_norm(x, m, v, g, b, training=True)

        return normalized

    yield row(
        "BatchNorm 8x64x56x56, both ways",
        lambda x: nd.BatchNorm(x, *states, fix_gamma=False, eps=1e-5),
        theirs,
        images,
        1e-3,
    )


SHAPES = [
    *((n, n, n) for n in (16, 24, 32, 48, 64, 96, 100, 128, 192, 200, 256, 320, 384, 500, 512)),
    *(
        (1, k, n)
        for k, n in ((64, 64), (256, 256), (512, 2048), (1000, 1000), (2048, 512), (4096, 4096))
    ),
    *((m, 256, 1) for m in (64, 1000, 4096)),
    *(
        (2, 512, 512),
        (3, 1000, 1000),
        (4, 256, 1024),
        (8, 512, 512),
        (8, 2048, 2048),
        (16, 1024, 1024),
    ),
    *(
        (32, 784, 256),
        (64, 784, 256),
        (64, 256, 128),
        (64, 128, 10),
        (32, 512, 10),
        (128, 768, 768),
    ),
    *(
        (10000, 10, 10),
        (10000, 64, 64),
        (4096, 32, 16),
        (10000, 3, 64),
        (65536, 8, 8),
        (2048, 512, 16),
    ),
    *((16, 10000, 16), (64, 10000, 64), (10, 4096, 10), (8, 65536, 8), (256, 4096, 32)),
    *(
        (1000, 7, 1000),
        (1000, 1, 1000),
        (512, 16, 512),
        (300, 17, 500),
        (17, 300, 31),
        (63, 65, 67),
    ),
]
"""Rows of the first matrix, what is summed over, columns of the second."""

BATCHED = [
    (8, 16, 16, 16),
    (64, 16, 16, 16),
    (1000, 4, 4, 4),
    (1000, 8, 8, 8),
    (32, 128, 64, 128),
    (32, 128, 128, 64),
    (96, 128, 32, 128),
    (12, 197, 64, 197),
    (16, 64, 64, 64),
    (256, 1, 64, 128),
    (64, 50, 50, 50),
]


def products() -> Iterator[Row]:
    for m, k, n in SHAPES:
        yield _product(f"{m:,} x {k:,} x {n:,}", normal(m, k), normal(k, n), nd.dot)
    for batch, m, k, n in BATCHED:
        yield _product(
            f"{batch:,} of {m:,} x {k:,} x {n:,}",
            normal(batch, m, k),
            normal(batch, k, n),
            nd.batch_dot,
        )


def _product(name: str, a: np.ndarray, b: np.ndarray, ours: Callable[..., Any]) -> Row:
    shape = (*a.shape[:-1], b.shape[-1])
    row = Row(name, 1e-3 * a.shape[-1] ** 0.5)
    row.flops, row.size = 2.0 * a.size * b.shape[-1], 4.0 * (a.size + b.size + math.prod(shape))
    row.exact = partial(np.matmul, _in_double(a), _in_double(b))
    row.enter("numpy", partial(np.matmul, a, b))
    if a.ndim == 2 and blas_side is not None:
        row.enter("numpy, told its processor", blas_side.product(a, b))
    row.enter_tigon("tigon", ours, nd.array(a), nd.array(b))
    if torch_side is not None:
        row.enter_torch(torch.matmul, a, b)
    row.enter_jax(lambda a, b: a @ b, a, b)
    if onnx_side is not None:
        row.enter("onnxruntime", *onnx_side.bound(onnx_side.product(a.shape, b.shape), shape, a, b))
    return row


Maker = Callable[[], Iterator[Row]]
OPERATORS: tuple[Maker, ...] = (
    elementwise,
    casts,
    reductions,
    layouts,
    lookups,
    orders,
    random,
    networks,
    gradients,
)


EXPLANATION = """
Rows, turns and ratios are as above; microseconds. Results were compared before. An error is the
greatest distance from what float64 gives, as a share of the greatest number; random draws have
none. The limit is that of the arrays' bytes, read or written once, and of products' operations;
where a last-level cache holds what the rule takes for main memory's, times may be below it. Goals
are of the geometric mean of all ratios, and of the greatest."""

GOALS = {"operators": (0.6, 1.2), "products": (0.8, 1.05)}


@dataclass(frozen=True, kw_only=True)
class Found(turns.Beside):
    """One row as it was measured."""

    name: str
    errors: dict[str, float]
    limit: float

    def distance(self) -> str:
        """From the limit, which is in microseconds; calls limit those that have none."""
        if not self.limit:
            return "-"
        return f"{self.times['tigon'].median / self.limit:.1f} x {pages.number(self.limit)}"

    def told_errors(self) -> str:
        if not self.errors:
            return "-"
        best = self.best_other
        told = f"{self.errors['tigon']:.0e}"
        return told if best is None else f"{told} ({self.errors[best]:.0e})"

    def json(self) -> dict[str, Any]:
        errors = {"errors": self.errors, "limit": self.limit}
        return {"name": self.name, **self.figures(), **errors}


def measure(
    makers: Sequence[Maker], only: str, rounds: int, seconds: float, limits: machine.Limits
) -> list[Found]:
    found = []
    bar = Progress(None, "operators", "rows")
    for row in (row for maker in makers for row in maker() if only in row.name):
        errors = turns.check(row)
        times = turns.take_turns(row.contestants, rounds, seconds)
        limit = limits.least(row.flops, row.size)
        found.append(Found(times=times, name=row.name, errors=errors, limit=limit))
        bar.say(f"  {row.name}: done", sys.stderr)
        bar.step()
    bar.close()
    return found


def table(rows: Sequence[Found]) -> list[str]:
    ends = ["tigon : best other", "quickest turns", "tigon : limit", "error (best other's)"]
    lines = pages.head(["operator", "tigon", "best other", *ends])
    for row in rows:
        best, ratio = row.best_other, row.ratio
        least = turns.quickest_ratio(row.times)
        cells = [row.name, pages.cell(row.times["tigon"])]
        if best is None or ratio is None or least is None:
            cells += ["-", "-", "-"]
        else:
            cells += [f"{pages.cell(row.times[best])} {best}", f"{ratio:.2f}", f"{least:.2f}"]
        cells += [row.distance(), row.told_errors()]
        lines.append(pages.row(cells))
    return lines


def goals(rows: Sequence[Found], kind: str) -> list[str]:
    ratios = [row.ratio for row in rows if row.ratio is not None]
    if not ratios:  # no peer is installed
        return []
    wanted, worst = GOALS[kind]
    mean, above = statistics.geometric_mean(ratios), sum(ratio > worst for ratio in ratios)
    lines = pages.head([kind, "rows", "figure", "goal", ""])
    for name, count, figure, goal, met in (
        ("geometric mean", str(len(ratios)), mean, wanted, mean <= wanted),
        ("the greatest", f"{above} above {worst:g}", max(ratios), worst, not above),
    ):
        word = "met" if met else "**missed**"
        lines.append(pages.row([name, count, f"{figure:.2f}", f"<= {goal:g}", word]))
    return lines


def main() -> None:
    parser = pages.arguments(
        __doc__,
        products={"action": "store_true", "help": "products of many shapes"},
        rounds={"type": int, "default": turns.ROUNDS},
        seconds={"type": float, "default": SECONDS, "help": "of each turn"},
    )
    options = parser.parse_args()
    confine(options.threads)
    kind = "products" if options.products else "operators"
    makers = (products,) if options.products else OPERATORS
    limits = machine.measure(options.threads)
    rows = measure(makers, options.only, options.rounds, options.seconds, limits)
    parts = [pages.conditions(limits, turns.busy(rows)), table(rows), goals(rows, kind)]
    pages.tell(pages.paragraphs(parts), rows, options, EXPLANATION, kind)


if __name__ == "__main__":
    main()
