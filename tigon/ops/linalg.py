"""Linear algebra that is products, sums and masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import equal, greater_equal, lesser_equal
from tigon.ops.primitive.contract import _contract
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.functions import log
from tigon.ops.primitive.gather import _take, added_at
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Work, composite


def _check_square(where: str, x: Any) -> None:
    check(
        x.ndim >= 2 and x.shape[-1] == x.shape[-2],
        where,
        f"expected square matrices; given shape {x.shape}",
    )


def _batch_labels(x: Any) -> str:
    return "abcdefghij"[: x.ndim - 2]


# ------------------------------------------------------------------------------- products


class SyrkAttrs(Frozen):
    transpose: bool = False
    alpha: float = 1.0


def _decompose_syrk(attrs: SyrkAttrs, a: Any) -> Any:
    check(a.ndim >= 2, "linalg_syrk", f"expected matrices; given shape {a.shape}")
    batch = _batch_labels(a)
    left, right = ("YX", "YZ") if attrs.transpose else ("XY", "ZY")
    result = _contract(a, a, left=batch + left, right=batch + right, out=batch + "XZ")
    return result * attrs.alpha if attrs.alpha != 1 else result


def _syrk_oracle(a: np.ndarray, transpose: bool, alpha: float) -> Any:
    other = np.swapaxes(a, -1, -2)
    return (np.matmul(other, a) if transpose else np.matmul(a, other)) * a.dtype.type(alpha)


linalg_syrk = composite(
    "linalg_syrk",
    _decompose_syrk,
    operands="A",
    attrs=SyrkAttrs,
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=_syrk_oracle,
    aliases=("_linalg_syrk",),
    samples=(((3, 4), {}), ((2, 3, 4), {"transpose": True, "alpha": 2.0})),
    doc="""A matrix times its own transpose.

    Parameters: `transpose` the transpose comes first; `alpha` scales the product.

    >>> nd.linalg.syrk(nd.array([[1, 2], [3, 4]])).asnumpy()
    array([[ 5., 11.],
           [11., 25.]], dtype=float32)
    """,
)


class TrmmAttrs(Frozen):
    transpose: bool = False
    rightside: bool = False
    lower: bool = True
    alpha: float = 1.0


def triangle(x: Any, lower: bool, offset: int = 0) -> Any:
    """`x` with zeros outside one triangle, whose edge is the diagonal `offset`."""
    check(x.ndim >= 2, "triangle", f"expected matrices; given shape {x.shape}")
    rows = _iota(shape=(x.shape[-2], 1), start=offset)
    columns = _iota(shape=(1, x.shape[-1]), axis=1)
    inside = greater_equal(rows, columns) if lower else lesser_equal(rows, columns)
    return select(cast(inside, dtype=x.dtype.name), x, 0)


def _decompose_trmm(attrs: TrmmAttrs, a: Any, b: Any) -> Any:
    _check_square("linalg_trmm", a)
    check(
        a.ndim == b.ndim and a.shape[:-2] == b.shape[:-2],
        "linalg_trmm",
        f"expected equal batches; given {a.shape} and {b.shape}",
    )
    a = triangle(a, attrs.lower)
    batch = _batch_labels(a)
    inner = "YX" if attrs.transpose != attrs.rightside else "XY"
    pair = ("ZY", "ZX") if attrs.rightside else ("YZ", "XZ")
    result = _contract(a, b, left=batch + inner, right=batch + pair[0], out=batch + pair[1])
    return result * attrs.alpha if attrs.alpha != 1 else result


def _trmm_oracle(
    a: np.ndarray, b: np.ndarray, transpose: bool, rightside: bool, lower: bool, alpha: float
) -> Any:
    a = np.tril(a) if lower else np.triu(a)
    a = np.swapaxes(a, -1, -2) if transpose else a
    return (np.matmul(b, a) if rightside else np.matmul(a, b)) * a.dtype.type(alpha)


linalg_trmm = composite(
    "linalg_trmm",
    _decompose_trmm,
    operands="A B",
    attrs=TrmmAttrs,
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=_trmm_oracle,
    aliases=("_linalg_trmm",),
    samples=(
        ((3, 3), (3, 4), {}),
        ((3, 3), (3, 4), {"transpose": True, "lower": False}),
        ((2, 3, 3), (2, 4, 3), {"rightside": True, "alpha": 2.0}),
        ((3, 3), (4, 3), {"rightside": True, "transpose": True}),
    ),
    doc="""Product with a triangular matrix; what A holds in the other triangle does not count.

    Parameters: `lower` which triangle (default True), `transpose` A first, `rightside` B·A instead
    of A·B, `alpha` scales the product.

    >>> nd.linalg.trmm(nd.array([[1, 9], [2, 3]]), nd.array([[1], [1]])).asnumpy()
    array([[1.],
           [5.]], dtype=float32)
    """,
)

# ------------------------------------------------------------------------------- diagonals


class OffsetAttrs(Frozen):
    offset: int = 0


def _decompose_extractdiag(attrs: OffsetAttrs, a: Any) -> Any:
    _check_square("linalg_extractdiag", a)
    size = a.shape[-1]
    length = size - abs(attrs.offset)
    check(length > 0, "linalg_extractdiag", f"offset {attrs.offset} leaves matrices of size {size}")
    flat = _reshape(a, shape=(*a.shape[:-2], size * size))
    start = attrs.offset if attrs.offset >= 0 else -attrs.offset * size
    return _take(flat, _iota(shape=(length,), start=start, step=size + 1), axis=a.ndim - 2)


linalg_extractdiag = composite(
    "linalg_extractdiag",
    _decompose_extractdiag,
    operands="A",
    attrs=OffsetAttrs,
    numpy=lambda a, offset: np.diagonal(a, offset, -2, -1).copy(),
    aliases=("_linalg_extractdiag",),
    samples=(((3, 3), {}), ((2, 4, 4), {"offset": 1}), ((2, 4, 4), {"offset": -2})),
    doc="""The diagonal of square matrices.

    Parameters: `offset` which one, above the main diagonal if positive.

    >>> nd.linalg.extractdiag(nd.array([[1, 2], [3, 4]])).asnumpy()
    array([1., 4.], dtype=float32)
    """,
)


def _decompose_makediag(attrs: OffsetAttrs, a: Any) -> Any:
    check(a.ndim, "linalg_makediag", "expected at least one axis; given a 0-d array")
    length = a.shape[-1]
    size = length + abs(attrs.offset)
    rows, columns = _iota(shape=(size, 1)), _iota(shape=(1, size), axis=1)
    hit = cast(equal(rows + attrs.offset, columns), dtype=a.dtype.name)
    place = rows if attrs.offset >= 0 else columns
    inside = cast(lesser_equal(place, length - 1), dtype=a.dtype.name)
    line = _reshape(
        _take(a, _iota(shape=(size,)), axis=a.ndim - 1),
        shape=(*a.shape[:-1], *((size, 1) if attrs.offset >= 0 else (1, size))),
    )
    return select(hit * inside, line, 0)


def _makediag_oracle(a: np.ndarray, offset: int) -> Any:
    size = a.shape[-1] + abs(offset)
    result = np.zeros((*a.shape[:-1], size, size), a.dtype)
    places = np.arange(a.shape[-1])
    result[..., places + max(-offset, 0), places + max(offset, 0)] = a
    return result


linalg_makediag = composite(
    "linalg_makediag",
    _decompose_makediag,
    operands="A",
    attrs=OffsetAttrs,
    dtypes="fiu",
    numpy=_makediag_oracle,
    aliases=("_linalg_makediag",),
    samples=(((3,), {}), ((2, 3), {"offset": 1}), ((2, 3), {"offset": -2})),
    doc="""Square matrices with the given diagonal, zero elsewhere.

    Parameters: `offset` which diagonal, above the main one if positive.

    >>> nd.linalg.makediag(nd.array([1, 2])).asnumpy()
    array([[1., 0.],
           [0., 2.]], dtype=float32)
    """,
)

linalg_sumlogdiag = composite(
    "linalg_sumlogdiag",
    lambda a: _sum_log(a),
    operands="A",
    dtypes="f",
    numpy=lambda a: (
        np.log(np.diagonal(a, 0, -2, -1)).sum(-1, dtype=a.dtype).reshape(a.shape[:-2] or (1,))
    ),
    aliases=("_linalg_sumlogdiag",),
    domain=(0.5, 2.0),
    samples=(((3, 3), {}), ((2, 4, 4), {})),
    doc="""The sum of the logarithms of the diagonal elements.

    >>> nd.linalg.sumlogdiag(nd.array([[1, 0], [0, 2]])).asnumpy()
    array([0.6931], dtype=float32)
    """,
)


def _sum_log(a: Any) -> Any:
    logs = log(linalg_extractdiag(a))
    total = _reduce_sum(logs, axes=(logs.ndim - 1,))
    return total if total.ndim else _reshape(total, shape=(1,))


# ------------------------------------------------------------------------------- triangles


class TriangleAttrs(Frozen):
    offset: int = 0
    lower: bool = True


def _triangle_places(size: int, attrs: TriangleAttrs) -> np.ndarray:
    """Positions, row by row, of the packed elements. The sign of an offset chooses the side."""
    lower = attrs.lower if attrs.offset == 0 else attrs.offset < 0
    rows, columns = (np.tril_indices if lower else np.triu_indices)(size, attrs.offset)
    return rows * size + columns


def _decompose_extracttrian(attrs: TriangleAttrs, a: Any) -> Any:
    from tigon.ir.graph import constant

    _check_square("linalg_extracttrian", a)
    size = a.shape[-1]
    flat = _reshape(a, shape=(*a.shape[:-2], size * size))
    return _take(flat, constant(_triangle_places(size, attrs)), axis=a.ndim - 2)


def _extracttrian_oracle(a: np.ndarray, offset: int, lower: bool) -> Any:
    size = a.shape[-1]
    places = _triangle_places(size, TriangleAttrs(offset, lower))
    return a.reshape(*a.shape[:-2], size * size)[..., places]


linalg_extracttrian = composite(
    "linalg_extracttrian",
    _decompose_extracttrian,
    operands="A",
    attrs=TriangleAttrs,
    has_table=True,
    numpy=_extracttrian_oracle,
    aliases=("_linalg_extracttrian",),
    samples=(((3, 3), {}), ((2, 4, 4), {"lower": False}), ((3, 3), {"offset": 1})),
    doc="""The elements of one triangle of square matrices, row by row.

    Parameters: `lower` which triangle (default True); `offset` of its edge from the main diagonal,
    whose sign then says which triangle.

    >>> nd.linalg.extracttrian(nd.array([[1, 2], [3, 4]])).asnumpy()
    array([1., 3., 4.], dtype=float32)
    """,
)


def _triangle_size(count: int, offset: int) -> int:
    """The matrix size whose triangle has `count` elements."""
    side = round(((8 * count + 1) ** 0.5 - 1) / 2)
    check(
        side * (side + 1) // 2 == count,
        "linalg_maketrian",
        f"{count} elements fill no triangle; expected 1, 3, 6, 10, ...",
    )
    return side + abs(offset)


def _decompose_maketrian(attrs: TriangleAttrs, a: Any) -> Any:
    from tigon.ir.graph import constant

    check(a.ndim > 0, "linalg_maketrian", "expected one axis or more; given a number")
    size = _triangle_size(a.shape[-1], attrs.offset)
    lead = a.shape[:-1]
    places = constant(_triangle_places(size, attrs))
    filled = added_at((*lead, size * size), places, a, axis=a.ndim - 1)
    return _reshape(filled, shape=(*lead, size, size))


def _maketrian_oracle(a: np.ndarray, offset: int, lower: bool) -> Any:
    size = _triangle_size(a.shape[-1], offset)
    result = np.zeros((*a.shape[:-1], size * size), a.dtype)
    result[..., _triangle_places(size, TriangleAttrs(offset, lower))] = a
    return result.reshape(*a.shape[:-1], size, size)


linalg_maketrian = composite(
    "linalg_maketrian",
    _decompose_maketrian,
    operands="A",
    attrs=TriangleAttrs,
    numpy=_maketrian_oracle,
    aliases=("_linalg_maketrian",),
    samples=(((6,), {}), ((2, 3), {"lower": False}), ((3,), {"offset": 1})),
    doc="""Square matrices with the given elements, row by row, in one triangle, zero elsewhere.

    Parameters: `lower` which triangle (default True); `offset` of its edge from the main diagonal,
    whose sign then says which triangle.

    >>> nd.linalg.maketrian(nd.array([1, 2, 3])).asnumpy()
    array([[1., 0.],
           [2., 3.]], dtype=float32)
    """,
)
