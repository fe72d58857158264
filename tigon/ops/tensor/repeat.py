"""Repetition, tiles, and blocks that go from depth to space."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.view import _broadcast, _reshape, normalized_axis, transpose
from tigon.ops.record import Operator, composite


class TileAttrs(Frozen):
    reps: tuple[int, ...]


def _decompose_tile(attrs: TileAttrs, data: Any) -> Any:
    check(all(n >= 0 for n in attrs.reps), "tile", f"reps {attrs.reps} must not be negative")
    ndim = builtins.max(data.ndim, len(attrs.reps))
    shape = (1,) * (ndim - data.ndim) + data.shape
    reps = (1,) * (ndim - len(attrs.reps)) + attrs.reps
    between = tuple(n for pair in zip((1,) * ndim, shape, strict=True) for n in pair)
    wide = tuple(n for pair in zip(reps, shape, strict=True) for n in pair)
    final = tuple(r * n for r, n in zip(reps, shape, strict=True))
    return _reshape(_broadcast(_reshape(data, shape=between), shape=wide), shape=final)


tile = composite(
    "tile",
    _decompose_tile,
    attrs=TileAttrs,
    numpy=lambda x, reps: np.tile(x, reps),
    samples=(
        ((2, 3), {"reps": (2, 1)}),
        ((2,), {"reps": (2, 3)}),
        ((2, 3), {"reps": 2}),
        ((2, 3), {"reps": (0, 2)}),
    ),
    doc="""The whole array repeated.

    Parameters: `reps` how often along each axis, aligned at the last one.

    >>> nd.tile(nd.array([1, 2]), reps=(2, 2)).asnumpy()
    array([[1., 2., 1., 2.],
           [1., 2., 1., 2.]], dtype=float32)
    """,
)


class RepeatAttrs(Frozen):
    repeats: int
    axis: int | None = None


def _decompose_repeat(attrs: RepeatAttrs, data: Any) -> Any:
    check(attrs.repeats >= 0, "repeat", f"repeats is {attrs.repeats}; it must not be negative")
    if attrs.axis is None:
        data = _reshape(data, shape=(data.type.size,))
    axis = normalized_axis("repeat", attrs.axis or 0, data.ndim)
    shape = data.shape
    wide = (*shape[: axis + 1], attrs.repeats, *shape[axis + 1 :])
    final = (*shape[:axis], shape[axis] * attrs.repeats, *shape[axis + 1 :])
    column = _reshape(data, shape=(*shape[: axis + 1], 1, *shape[axis + 1 :]))
    return _reshape(_broadcast(column, shape=wide), shape=final)


repeat = composite(
    "repeat",
    _decompose_repeat,
    attrs=RepeatAttrs,
    numpy=lambda x, repeats, axis: np.repeat(x, repeats, axis),
    samples=(
        ((2, 3), {"repeats": 2}),
        ((2, 3), {"repeats": 3, "axis": -1}),
        ((0, 3), {"repeats": 2, "axis": 1}),
    ),
    doc="""Each element repeated.

    Parameters: `repeats` how often; `axis` along which, of the flattened array if not given.

    >>> nd.repeat(nd.array([[1, 2]]), repeats=2, axis=1).asnumpy()
    array([[1., 1., 2., 2.]], dtype=float32)
    """,
)


class BlockSizeAttrs(Frozen):
    block_size: int


def _check_blocks(where: str, shape: tuple[int, ...], block: int, fits: bool) -> None:
    check(
        len(shape) == 4 and block > 0 and fits,
        where,
        f"shape {shape} does not fit blocks of {block}; expected 4 axes (n, c, h, w)",
    )


def _decompose_depth_to_space(attrs: BlockSizeAttrs, data: Any) -> Any:
    b = attrs.block_size
    fits = data.ndim == 4 and b > 0 and data.shape[1] % (b * b) == 0
    _check_blocks("depth_to_space", data.shape, b, fits)
    n, c, h, w = data.shape
    x = _reshape(data, shape=(n, b, b, c // (b * b), h, w))
    x = transpose(x, axes=(0, 3, 4, 1, 5, 2))
    return _reshape(x, shape=(n, c // (b * b), h * b, w * b))


def _decompose_space_to_depth(attrs: BlockSizeAttrs, data: Any) -> Any:
    b = attrs.block_size
    fits = data.ndim == 4 and b > 0 and data.shape[2] % b == 0 and data.shape[3] % b == 0
    _check_blocks("space_to_depth", data.shape, b, fits)
    n, c, h, w = data.shape
    x = _reshape(data, shape=(n, c, h // b, b, w // b, b))
    x = transpose(x, axes=(0, 3, 5, 1, 2, 4))
    return _reshape(x, shape=(n, c * b * b, h // b, w // b))


def _depth_to_space_oracle(x: np.ndarray, block_size: int) -> np.ndarray:
    b, (n, c, h, w) = block_size, x.shape
    result = np.zeros((n, c // (b * b), h * b, w * b), x.dtype)
    for row in range(b):
        for column in range(b):
            first = (row * b + column) * (c // (b * b))
            result[:, :, row::b, column::b] = x[:, first : first + c // (b * b)]
    return result


def _space_to_depth_oracle(x: np.ndarray, block_size: int) -> np.ndarray:
    b = block_size
    return np.concatenate([x[:, :, i::b, j::b] for i in range(b) for j in range(b)], 1)


depth_to_space = composite(
    "depth_to_space",
    _decompose_depth_to_space,
    attrs=BlockSizeAttrs,
    grad=lambda a, g, y, x: (space_to_depth(g, block_size=a.block_size),),
    numpy=_depth_to_space_oracle,
    samples=(((1, 8, 2, 3), {"block_size": 2}), ((0, 4, 2, 2), {"block_size": 2})),
    doc="""Channels moved into blocks of space: (n, c, h, w) becomes (n, c/b², h·b, w·b).

    Parameters: `block_size` b.

    >>> nd.depth_to_space(nd.array([[[[1]], [[2]], [[3]], [[4]]]]), block_size=2).asnumpy()
    array([[[[1., 2.],
             [3., 4.]]]], dtype=float32)
    """,
)

space_to_depth: Operator = composite(
    "space_to_depth",
    _decompose_space_to_depth,
    attrs=BlockSizeAttrs,
    grad=lambda a, g, y, x: (depth_to_space(g, block_size=a.block_size),),
    numpy=_space_to_depth_oracle,
    samples=(((1, 2, 4, 6), {"block_size": 2}), ((0, 1, 2, 2), {"block_size": 2})),
    doc="""Blocks of space moved into channels: (n, c, h, w) becomes (n, c·b², h/b, w/b).

    Parameters: `block_size` b.

    >>> nd.space_to_depth(nd.array([[[[1, 2], [3, 4]]]]), block_size=2).shape
    (1, 4, 1, 1)
    """,
)
