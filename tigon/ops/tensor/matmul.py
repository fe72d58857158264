"""Products of matrices: dot, batch_dot, matmul, gemm."""

from __future__ import annotations

from string import ascii_letters
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.contract import _contract
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Work, broadcast_shapes, composite

# ------------------------------------------------------------------------------------ dot


class DotAttrs(Frozen):
    transpose_a: bool = False
    transpose_b: bool = False
    forward_stype: str | None = None


def _decompose_dot(attrs: DotAttrs, lhs: Any, rhs: Any) -> Any:
    check(
        lhs.ndim and rhs.ndim,
        "dot",
        f"expected at least one axis each; given shapes {lhs.shape} and {rhs.shape}",
    )
    inner_left = lhs.shape[0 if attrs.transpose_a else -1]
    inner_right = rhs.shape[-1 if attrs.transpose_b else 0]
    check(
        inner_left == inner_right,
        "dot",
        f"inner sizes differ: {inner_left} of {lhs.shape} and {inner_right} of {rhs.shape}; "
        "transpose one operand?",
    )
    names = ascii_letters[1:]
    outer_left = names[: lhs.ndim - 1]
    outer_right = names[lhs.ndim - 1 : lhs.ndim + rhs.ndim - 2]
    result = _contract(
        lhs,
        rhs,
        left="a" + outer_left if attrs.transpose_a else outer_left + "a",
        right=outer_right + "a" if attrs.transpose_b else "a" + outer_right,
        out=outer_left + outer_right,
    )
    return result if result.ndim else _reshape(result, shape=(1,))


def _dot_oracle(
    lhs: np.ndarray,
    rhs: np.ndarray,
    transpose_a: bool,
    transpose_b: bool,
    forward_stype: str | None,
) -> np.ndarray:
    axes = (0 if transpose_a else lhs.ndim - 1, rhs.ndim - 1 if transpose_b else 0)
    result = np.tensordot(lhs, rhs, (axes[:1], axes[1:]))
    return result if result.ndim else result.reshape(1)


dot = composite(
    "dot",
    _decompose_dot,
    operands="lhs rhs",
    attrs=DotAttrs,
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=_dot_oracle,
    samples=(
        ((3, 5), (5, 4), {}),
        ((5, 3), (5, 4), {"transpose_a": True}),
        ((3, 5), (4, 5), {"transpose_b": True}),
        ((5,), (5,), {}),
        ((2, 3, 4), (4, 5), {}),
        ((2, 3), (3, 4, 2), {}),
        ((4, 2, 3), (2, 5, 4), {"transpose_a": True, "transpose_b": True}),
        ((2, 0), (0, 3), {}),
    ),
    doc="""Product of two arrays, summed over the last axis of `lhs` and the FIRST axis of `rhs`,
    whatever their ranks. Two vectors give shape (1,).

    Parameters: `transpose_a` takes the first axis of `lhs` instead, `transpose_b` the last one of
    `rhs`.

    >>> nd.dot(nd.array([[1, 2], [3, 4]]), nd.array([[1, 0], [1, 1]])).asnumpy()
    array([[3., 2.],
           [7., 4.]], dtype=float32)
    >>> nd.dot(nd.zeros((2, 3, 4)), nd.zeros((4, 5))).shape
    (2, 3, 5)
    """,
)


def _matrix_labels(transpose: bool, first: str, second: str) -> str:
    return second + first if transpose else first + second


def _decompose_batch_dot(attrs: DotAttrs, lhs: Any, rhs: Any) -> Any:
    check(
        lhs.ndim == rhs.ndim >= 3 and lhs.shape[:-2] == rhs.shape[:-2],
        "batch_dot",
        f"expected batches of matrices with equal leading axes; given {lhs.shape} and {rhs.shape}",
    )
    inner = (
        lhs.shape[-2 if attrs.transpose_a else -1],
        rhs.shape[-1 if attrs.transpose_b else -2],
    )
    check(
        inner[0] == inner[1],
        "batch_dot",
        f"inner sizes differ: {inner[0]} of {lhs.shape} and {inner[1]} of {rhs.shape}; "
        "transpose one operand?",
    )
    batch = ascii_letters[: lhs.ndim - 2]
    return _contract(
        lhs,
        rhs,
        left=batch + _matrix_labels(attrs.transpose_a, "X", "Y"),
        right=batch + _matrix_labels(attrs.transpose_b, "Y", "Z"),
        out=batch + "XZ",
    )


def _swapped(x: np.ndarray, transpose: bool) -> np.ndarray:
    return np.swapaxes(x, -1, -2) if transpose else x


def _grad_batch_dot(a: DotAttrs, g: Any, y: Any, lhs: Any, rhs: Any) -> Any:
    ta, tb = a.transpose_a, a.transpose_b
    return (
        batch_dot(rhs, g, transpose_a=tb, transpose_b=True)
        if ta
        else batch_dot(g, rhs, transpose_b=not tb),
        batch_dot(g, lhs, transpose_a=True, transpose_b=ta)
        if tb
        else batch_dot(lhs, g, transpose_a=not ta),
    )


batch_dot = composite(
    "batch_dot",
    _decompose_batch_dot,
    operands="lhs rhs",
    attrs=DotAttrs,
    dtypes="fiu",
    grad=_grad_batch_dot,
    work=Work.PRODUCT,
    numpy=lambda lhs, rhs, transpose_a, transpose_b, forward_stype: np.matmul(
        _swapped(lhs, transpose_a), _swapped(rhs, transpose_b)
    ),
    samples=(
        ((2, 3, 5), (2, 5, 4), {}),
        ((2, 5, 3), (2, 5, 4), {"transpose_a": True}),
        ((2, 3, 5), (2, 4, 5), {"transpose_b": True}),
        ((1, 2, 5, 3), (1, 2, 4, 5), {"transpose_a": True, "transpose_b": True}),
        ((0, 3, 5), (0, 5, 4), {}),
    ),
    doc="""Matrix product of each pair of matrices in two batches of equal size.

    Parameters: `transpose_a`, `transpose_b` transpose the matrices of an operand first.

    >>> nd.batch_dot(nd.array([[[1, 2]]]), nd.array([[[3], [4]]])).asnumpy()
    array([[[11.]]], dtype=float32)
    """,
)


def _decompose_matmul(lhs: Any, rhs: Any) -> Any:
    check(
        lhs.ndim and rhs.ndim,
        "matmul",
        f"expected at least one axis each; given shapes {lhs.shape} and {rhs.shape}",
    )
    vectors = (lhs.ndim == 1, rhs.ndim == 1)
    inner = (lhs.shape[-1], rhs.shape[0 if vectors[1] else -2])
    check(
        inner[0] == inner[1],
        "matmul",
        f"inner sizes differ: {lhs.shape} @ {rhs.shape}; transpose one operand?",
    )
    left_batch, right_batch = lhs.shape[:-2], rhs.shape[:-2]
    batch = broadcast_shapes("matmul", left_batch, right_batch)
    names = ascii_letters[: len(batch)]

    def labelled(x: Any, own: tuple[int, ...], matrix: str) -> tuple[Any, str]:
        """Axes that broadcasting repeats are left out: a contraction needs no copies for them."""
        lead = len(batch) - len(own)
        kept = [i for i, n in enumerate(own) if n == batch[lead + i]]
        if len(kept) < len(own):
            x = _reshape(x, shape=(*(own[i] for i in kept), *x.shape[len(own) :]))
        return x, "".join(names[lead + i] for i in kept) + matrix

    lhs, left = labelled(lhs, left_batch, "Y" if vectors[0] else "XY")
    rhs, right = labelled(rhs, right_batch, "Y" if vectors[1] else "YZ")
    out = names + ("" if vectors[0] else "X") + ("" if vectors[1] else "Z")
    result = _contract(lhs, rhs, left=left, right=right, out=out)
    return result if result.ndim else _reshape(result, shape=(1,))


def _matmul_oracle(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    result = np.asarray(np.matmul(lhs, rhs))
    return result if result.ndim else result.reshape(1)


matmul = composite(
    "_matmul",
    _decompose_matmul,
    operands="lhs rhs",
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=_matmul_oracle,
    aliases=("matmul", "_npi_matmul"),
    samples=(
        ((3, 5), (5, 4), {}),
        ((5,), (5, 4), {}),
        ((3, 5), (5,), {}),
        ((5,), (5,), {}),
        ((2, 1, 3, 5), (4, 5, 2), {}),
        ((1, 3, 5), (4, 5, 2), {}),
        ((2, 0), (0, 3), {}),
    ),
    doc="""Matrix product by numpy's rule (`@`): the last two axes are matrices, those before them
    broadcast, a vector is a row on the left and a column on the right. Two vectors give shape (1,).

    >>> nd.matmul(nd.array([[1, 2], [3, 4]]), nd.array([1, 1])).asnumpy()
    array([3., 7.], dtype=float32)
    """,
)

# ---------------------------------------------------------------------------------- linalg


class Gemm2Attrs(Frozen):
    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    axis: int = -2


class GemmAttrs(Frozen):
    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    beta: float = 1.0
    axis: int = -2


def _decompose_gemm2(attrs: Gemm2Attrs, a: Any, b: Any) -> Any:
    check(
        a.ndim == b.ndim >= 2,
        "linalg_gemm2",
        f"expected matrices or batches of them, of one rank; given {a.shape} and {b.shape}",
    )
    ndim = a.ndim
    row = attrs.axis % ndim if -ndim <= attrs.axis < ndim - 1 else -1
    check(
        0 <= row < ndim - 1,
        "linalg_gemm2",
        f"axis {attrs.axis} must be one before the last of {a.shape}",
    )
    batch = iter(ascii_letters)
    names = ["" if i == row else next(batch) for i in range(ndim - 1)]

    def labels(transpose: bool, first: str, second: str) -> str:
        above, last = (second, first) if transpose else (first, second)
        return "".join(above if i == row else name for i, name in enumerate(names)) + last

    left = labels(attrs.transpose_a, "X", "Y")
    right = labels(attrs.transpose_b, "Y", "Z")
    extents = dict(zip(right, b.shape, strict=True))
    check(
        all(extents.get(label, n) == n for label, n in zip(left, a.shape, strict=True)),
        "linalg_gemm2",
        f"sizes differ: {a.shape} and {b.shape}; transpose one operand?",
    )
    result = _contract(a, b, left=left, right=right, out=labels(False, "X", "Z"))
    return result if attrs.alpha == 1 else result * attrs.alpha


def _gemm2_oracle(
    a: np.ndarray,
    b: np.ndarray,
    transpose_a: bool,
    transpose_b: bool,
    alpha: float,
    axis: int,
) -> np.ndarray:
    a, b = np.moveaxis(a, axis, -2), np.moveaxis(b, axis, -2)
    result = np.matmul(_swapped(a, transpose_a), _swapped(b, transpose_b))
    return np.moveaxis(result * a.dtype.type(alpha), -2, axis)


_GEMM_DOC = """Matrix product of the last two axes{more}.

    Parameters: `transpose_a`, `transpose_b` transpose an operand's matrices first; `alpha` scales
    the product{beta}; `axis` the axis that holds the rows (default -2).

    >>> {example}
    array({shows}, dtype=float32)
    """

linalg_gemm2 = composite(
    "linalg_gemm2",
    _decompose_gemm2,
    operands="A B",
    attrs=Gemm2Attrs,
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=_gemm2_oracle,
    aliases=("_linalg_gemm2",),
    samples=(
        ((3, 5), (5, 4), {"alpha": 2.0}),
        ((2, 5, 3), (2, 4, 5), {"transpose_a": True, "transpose_b": True}),
        ((3, 2, 5), (5, 2, 4), {"axis": 0}),
        ((0, 3, 5), (0, 5, 4), {}),
    ),
    doc=_GEMM_DOC.format(
        more="",
        beta="",
        example="nd.linalg.gemm2(nd.array([[1, 2]]), nd.array([[3], [4]]), alpha=2).asnumpy()",
        shows="[[22.]]",
    ),
)


def _decompose_gemm(attrs: GemmAttrs, a: Any, b: Any, c: Any) -> Any:
    product = linalg_gemm2(
        a,
        b,
        transpose_a=attrs.transpose_a,
        transpose_b=attrs.transpose_b,
        alpha=attrs.alpha,
        axis=attrs.axis,
    )
    check(
        product.shape == c.shape,
        "linalg_gemm",
        f"the product has shape {product.shape}, the addend {c.shape}; they must be equal",
    )
    return product + (c if attrs.beta == 1 else c * attrs.beta)


linalg_gemm = composite(
    "linalg_gemm",
    _decompose_gemm,
    operands="A B C",
    attrs=GemmAttrs,
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=lambda a, b, c, beta, **f: _gemm2_oracle(a, b, **f) + c * c.dtype.type(beta),
    aliases=("_linalg_gemm",),
    samples=(
        ((3, 5), (5, 4), (3, 4), {"alpha": 2.0, "beta": 0.5}),
        ((2, 5, 3), (2, 4, 5), (2, 3, 4), {"transpose_a": True, "transpose_b": True}),
    ),
    doc=_GEMM_DOC.format(
        more=", plus a third operand",
        beta=", `beta` the third operand",
        example="nd.linalg.gemm(nd.array([[1, 2]]), nd.ones((2, 1)), nd.ones((1, 1))).asnumpy()",
        shows="[[4.]]",
    ),
)
