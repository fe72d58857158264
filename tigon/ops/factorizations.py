"""Factorizations of matrices and what is solved by them, in LAPACK.

Gradients: Murray (2016), "Differentiation of the Cholesky decomposition"; Seeger et al. (2017),
"Auto-differentiating linear algebra"."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.base.types import Shape
from tigon.ops.linalg import linalg_makediag, triangle
from tigon.ops.primitive.arithmetic import maximum, minimum
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import greater, lesser
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.view import _reshape, transpose
from tigon.ops.record import Family, Routine, Work, composite, primitive
from tigon.ops.tensor.matmul import linalg_gemm2


def _check_matrices(where: str, x: TensorType) -> None:
    check(x.ndim >= 2, where, f"expected matrices; given shape {x.shape}")


def _check_square(where: str, x: TensorType) -> None:
    check(
        x.ndim >= 2 and x.shape[-1] == x.shape[-2],
        where,
        f"expected square matrices; given shape {x.shape}",
    )


def _per_matrix(x: Any) -> Shape:
    """The shape of one number for each matrix."""
    return x.shape[:-2] or (1,)


def _one_square(where: str) -> Any:
    """A type rule: square matrices, and such as result."""

    def infer(*arguments: Any) -> TensorType:
        x = arguments[-1]
        _check_square(where, x)
        return TensorType(x.shape, x.dtype)

    return infer


def _routine(name: str, x: TensorType, *numbers: int | float, cubes: int = 1) -> Routine:
    """On square matrices, of about `cubes` times n to the power of three operations."""
    n = x.shape[-1]
    return Routine(name, prod(x.shape[:-2]), (n, *numbers), cubes * n * n * n)


def _turned(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2)


def _away_from_singular(x: np.ndarray) -> np.ndarray:
    return x + 3 * np.eye(x.shape[-1], dtype=x.dtype)


def _positive_definite(x: np.ndarray) -> np.ndarray:
    return _away_from_singular((x + _turned(x)) / 4)


# ----------------------------------------------------------------------- what gradients are made of


class SideAttrs(Frozen):
    lower: bool = True


_triangle = composite(
    "_matrix_triangle",
    lambda attrs, a: triangle(a, attrs.lower),
    operands="A",
    dtypes="F",
    attrs=SideAttrs,
    numpy=lambda a, lower: np.tril(a) if lower else np.triu(a),
    samples=(((3, 3), {}), ((2, 2, 4), {"lower": False})),
    doc="One triangle of matrices, diagonal included; zeros elsewhere.",
)


def _decompose_mirror(attrs: SideAttrs, a: Any) -> Any:
    other = transpose(a, axes=(*range(a.ndim - 2), a.ndim - 1, a.ndim - 2))
    offset = 1 if attrs.lower else -1  # without the diagonal
    return triangle(a, attrs.lower) + triangle(other, not attrs.lower, offset)


def _mirror_oracle(a: np.ndarray, lower: bool) -> np.ndarray:
    if lower:
        return np.tril(a) + _turned(np.tril(a, -1))
    return np.triu(a) + _turned(np.triu(a, 1))


_mirror = composite(
    "_mirrored_triangle",
    _decompose_mirror,
    operands="A",
    dtypes="F",
    attrs=SideAttrs,
    numpy=_mirror_oracle,
    samples=(((3, 3), {}), ((2, 4, 4), {"lower": False})),
    doc="Symmetric matrices that have one triangle of the given ones.",
)


def _decompose_scaled_transpose(factor: Any, a: Any) -> Any:
    turned = transpose(a, axes=(*range(a.ndim - 2), a.ndim - 1, a.ndim - 2))
    return turned * _reshape(factor, shape=(*a.shape[:-2], 1, 1))


_scaled_transpose = composite(
    "_scaled_transpose",
    _decompose_scaled_transpose,
    operands="factor A",
    dtypes="F",
    numpy=lambda factor, a: _turned(a) * factor.reshape(*a.shape[:-2], 1, 1),
    samples=(((1,), (2, 3), {}), ((4,), (4, 3, 3), {})),
    doc="The transpose of each matrix, times a number of its own.",
)

_LEAST_GAP = 1e-30


def _decompose_gaps(values: Any) -> Any:
    check(values.ndim > 0, "_linalg_gaps", "expected one axis or more; given a number")
    n = values.shape[-1]
    lead = values.shape[:-1]
    gaps = _reshape(values, shape=(*lead, n, 1)) - _reshape(values, shape=(*lead, 1, n))
    rows, columns = _iota(shape=(n, 1)), _iota(shape=(1, n), axis=1)
    below, above = (
        cast(side, dtype=values.dtype.name)
        for side in (greater(rows, columns), lesser(rows, columns))
    )
    kept = select(above, minimum(gaps, -_LEAST_GAP), 1)
    return select(below, maximum(gaps, _LEAST_GAP), kept)


def _gaps_oracle(values: np.ndarray) -> np.ndarray:
    gaps = values[..., :, None] - values[..., None, :]
    below = np.tril(np.ones(gaps.shape[-2:], bool), -1)
    least = values.dtype.type(_LEAST_GAP)
    away = np.where(below, np.maximum(gaps, least), np.minimum(gaps, -least))
    return np.where(np.eye(gaps.shape[-1], dtype=bool), values.dtype.type(1), away)


_gaps = composite(
    "_ascending_gaps",
    _decompose_gaps,
    operands="values",
    dtypes="F",
    work=Work.PRODUCT,
    numpy=_gaps_oracle,
    samples=((np.array([-1.0, 0.5, 0.5, 2.0], np.float32), {}), ((1,), {})),
    check_gradient=False,  # at equal numbers, which the samples have, there is no slope
    doc="""Of ascending numbers the difference of each two, to divide by: equal ones are as far
    apart as the least that MXNet tells from 0, and each is 1 away from itself.""",
)

# ------------------------------------------------------------------------------------- Cholesky


def _potrf_oracle(a: np.ndarray, lower: bool) -> np.ndarray:
    if not a.size:
        return a.copy()
    wide = np.linalg.cholesky(a if lower else _turned(a))
    return wide if lower else _turned(wide)


def _grad_potrf(attrs: SideAttrs, g: Any, y: Any, a: Any) -> Any:
    lower = attrs.lower
    inner = _mirror(
        linalg_gemm2(y, g, transpose_a=True) if lower else linalg_gemm2(g, y, transpose_b=True),
        lower=lower,
    )
    half = linalg_trsm(y, inner, lower=lower, transpose=lower, alpha=0.5)
    return (linalg_trsm(y, half, lower=lower, transpose=not lower, rightside=True),)


linalg_potrf = primitive(
    "linalg_potrf",
    Family.EXTERN,
    operands="A",
    dtypes="F",
    attrs=SideAttrs,
    infer=_one_square("linalg_potrf"),
    routine=lambda attrs, a: _routine("potrf", a, int(attrs.lower)),
    grad=_grad_potrf,
    work=Work.PRODUCT,
    numpy=_potrf_oracle,
    sampled=_positive_definite,
    aliases=("_linalg_potrf",),
    samples=(
        ((3, 3), {}),
        ((2, 4, 4), {"lower": False}),
        ((2, 3, 1, 1), {}),
        ((0, 3, 3), {}),
        ((2, 0, 0), {}),
    ),
    doc="""The Cholesky factor L of symmetric positive definite matrices: A = L·Lᵀ. Only one
    triangle of A is read.

    Parameters: `lower` (default True); if False the factor is the upper triangle U of A = Uᵀ·U.

    A matrix that is not positive definite raises, and the message says which one of a batch.

    >>> nd.linalg.potrf(nd.array([[4, 2], [2, 5]])).asnumpy()
    array([[2., 0.],
           [1., 2.]], dtype=float32)
    """,
)


def _grad_potri(attrs: SideAttrs, g: Any, y: Any, a: Any) -> Any:
    lower = attrs.lower
    if lower:
        product = linalg_gemm2(y, g) + linalg_gemm2(y, g, transpose_b=True)
    else:
        product = linalg_gemm2(g, y) + linalg_gemm2(g, y, transpose_a=True)
    solved = linalg_trsm(a, product, lower=lower, transpose=True, rightside=lower, alpha=-1.0)
    return (_triangle(solved, lower=lower),)


def _potri_oracle(a: np.ndarray, lower: bool) -> np.ndarray:
    factor = np.tril(a) if lower else _turned(np.triu(a))
    return np.linalg.inv(factor @ _turned(factor))


linalg_potri = primitive(
    "linalg_potri",
    Family.EXTERN,
    operands="A",
    dtypes="F",
    attrs=SideAttrs,
    infer=_one_square("linalg_potri"),
    routine=lambda attrs, a: _routine("potri", a, int(attrs.lower)),
    grad=_grad_potri,
    work=Work.PRODUCT,
    numpy=_potri_oracle,
    sampled=_away_from_singular,
    aliases=("_linalg_potri",),
    samples=(((3, 3), {}), ((2, 4, 4), {"lower": False}), ((0, 3, 3), {})),
    doc="""The inverse of the matrices that have the given Cholesky factors: (A·Aᵀ)⁻¹. Only the
    triangle of the factor is read.

    Parameters: `lower` (default True); if False the factor is upper, of Aᵀ·A.

    >>> nd.linalg.potri(nd.array([[1, 0], [1, 1]])).asnumpy()
    array([[ 2., -1.],
           [-1.,  1.]], dtype=float32)
    """,
)

# ------------------------------------------------------------------------------------- triangular


class TrsmAttrs(Frozen):
    transpose: bool = False
    rightside: bool = False
    lower: bool = True
    alpha: float = 1.0


def _infer_trsm(attrs: TrsmAttrs, a: TensorType, b: TensorType) -> TensorType:
    _check_square("linalg_trsm", a)
    check(
        a.ndim == b.ndim
        and a.shape[:-2] == b.shape[:-2]
        and a.shape[-1] == b.shape[-1 if attrs.rightside else -2],
        "linalg_trsm",
        f"shapes {a.shape} and {b.shape} do not fit; expected equal batches, and as many "
        f"{'columns' if attrs.rightside else 'rows'} of B as A has",
    )
    return TensorType(b.shape, b.dtype)


def _trsm_routine(attrs: TrsmAttrs, a: TensorType, b: TensorType) -> Routine:
    rows, columns = b.shape[-2:]
    flags = (int(attrs.transpose), int(attrs.rightside), int(attrs.lower))
    operations = rows * columns * a.shape[-1]
    return Routine("trsm", prod(b.shape[:-2]), (rows, columns, *flags, attrs.alpha), operations)


def _grad_trsm(attrs: TrsmAttrs, g: Any, y: Any, a: Any, b: Any) -> Any:
    lower, rightside, turned = attrs.lower, attrs.rightside, attrs.transpose
    solved = linalg_trsm(a, g, transpose=not turned, rightside=rightside, lower=lower)
    if rightside == turned:
        product = linalg_gemm2(solved, y, transpose_a=turned, transpose_b=not turned, alpha=-1.0)
    else:
        product = linalg_gemm2(y, solved, transpose_a=not turned, transpose_b=turned, alpha=-1.0)
    scaled = solved if attrs.alpha == 1 else solved * attrs.alpha
    return _triangle(product, lower=lower), scaled


def _trsm_oracle(
    a: np.ndarray, b: np.ndarray, transpose: bool, rightside: bool, lower: bool, alpha: float
) -> np.ndarray:
    a = np.tril(a) if lower else np.triu(a)
    a = _turned(a) if transpose else a
    found = _turned(np.linalg.solve(_turned(a), _turned(b))) if rightside else np.linalg.solve(a, b)
    return found * a.dtype.type(alpha)


linalg_trsm = primitive(
    "linalg_trsm",
    Family.EXTERN,
    operands="A B",
    dtypes="F",
    attrs=TrsmAttrs,
    infer=_infer_trsm,
    routine=_trsm_routine,
    grad=_grad_trsm,
    work=Work.PRODUCT,
    numpy=_trsm_oracle,
    sampled=_away_from_singular,
    aliases=("_linalg_trsm",),
    samples=(
        ((3, 3), (3, 4), {}),
        ((2, 3, 3), (2, 4, 3), {"rightside": True, "alpha": 2.0}),
        ((3, 3), (3, 4), {"transpose": True, "lower": False}),
        ((3, 3), (2, 3), {"rightside": True, "transpose": True, "lower": False}),
        ((2, 3, 3), (2, 3, 2), {"transpose": True}),
        ((3, 3), (2, 3), {"rightside": True, "transpose": True, "alpha": -0.5}),
        ((3, 3), (3, 2), {"lower": False}),
        ((3, 3), (2, 3), {"rightside": True, "lower": False}),
        ((0, 3, 3), (0, 3, 2), {}),
        ((3, 3), (3, 0), {}),
    ),
    doc="""The solution X of A·X = alpha·B with triangular A; what A holds in the other triangle
    does not count.

    Parameters: `lower` which triangle (default True), `transpose` A first, `rightside` X·A instead
    of A·X, `alpha` scales B.

    As in MXNet, and in BLAS, zeros on the diagonal of A give infinities.

    >>> nd.linalg.trsm(nd.array([[2, 0], [1, 1]]), nd.ones((2, 2))).asnumpy()
    array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """,
)

# ------------------------------------------------------------------------------------- LQ


def _infer_gelqf(a: TensorType) -> tuple[TensorType, TensorType]:
    _check_matrices("linalg_gelqf", a)
    rows, columns = a.shape[-2:]
    check(
        rows <= columns,
        "linalg_gelqf",
        f"expected no more rows than columns; given shape {a.shape}; transpose the matrices?",
    )
    return TensorType(a.shape, a.dtype), TensorType((*a.shape[:-2], rows, rows), a.dtype)


def _gelqf_routine(a: TensorType) -> Routine:
    rows, columns = a.shape[-2:]
    return Routine("gelqf", prod(a.shape[:-2]), (rows, columns), 4 * rows * rows * columns)


def _grad_gelqf(g: Any, y: Any, a: Any) -> Any:
    (g_q, g_low), (q, low) = g, y
    inner = linalg_gemm2(low, g_low, transpose_a=True) - linalg_gemm2(g_q, q, transpose_b=True)
    return (linalg_trsm(low, g_q + linalg_gemm2(_mirror(inner), q), transpose=True),)


def _gelqf_oracle(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    q, r = np.linalg.qr(_turned(a))
    return _turned(q), _turned(r)


linalg_gelqf = primitive(
    "linalg_gelqf",
    Family.EXTERN,
    operands="A",
    dtypes="F",
    infer=_infer_gelqf,
    routine=_gelqf_routine,
    outputs=2,
    grad=_grad_gelqf,
    work=Work.PRODUCT,
    numpy=_gelqf_oracle,
    aliases=("_linalg_gelqf",),
    samples=(((3, 4), {}), ((2, 3, 3), {}), ((2, 1, 5), {}), ((0, 2, 3), {})),
    doc="""The LQ factorization of matrices that have no more rows than columns: A = L·Q, with L
    lower triangular and the rows of Q orthonormal. Gives Q, then L.

    The matrices must have full rank for their gradient.

    >>> q, l = nd.linalg.gelqf(nd.array([[3, 4]]))
    >>> q.asnumpy(), l.asnumpy()
    (array([[-0.6, -0.8]], dtype=float32), array([[-5.]], dtype=float32))
    """,
)

# ------------------------------------------------------------------------------------- eigenvalues


def _infer_syevd(a: TensorType) -> tuple[TensorType, TensorType]:
    _check_square("linalg_syevd", a)
    return TensorType(a.shape, a.dtype), TensorType(a.shape[:-1], a.dtype)


def _grad_syevd(g: Any, y: Any, a: Any) -> Any:
    (g_u, g_values), (u, values) = g, y
    difference = linalg_gemm2(g_u, u, transpose_b=True) - linalg_gemm2(u, g_u, transpose_b=True)
    inner = difference / (_gaps(values) * 2) + linalg_makediag(g_values)
    return (linalg_gemm2(linalg_gemm2(u, inner, transpose_a=True), u),)


def _syevd_oracle(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(a)
    rows = _turned(vectors)
    if not a.size:
        return rows, values
    largest = np.argmax(np.abs(rows), -1)[..., None]
    return rows * np.sign(np.take_along_axis(rows, largest, -1)), values


linalg_syevd = primitive(
    "linalg_syevd",
    Family.EXTERN,
    operands="A",
    dtypes="F",
    infer=_infer_syevd,
    routine=lambda a: _routine("syevd", a, cubes=8),
    outputs=2,
    grad=_grad_syevd,
    work=Work.PRODUCT,
    numpy=_syevd_oracle,
    sampled=lambda x: _positive_definite(x) + np.diag(4 * np.arange(x.shape[-1], dtype=x.dtype)),
    aliases=("_linalg_syevd",),
    samples=(((3, 3), {}), ((2, 4, 4), {}), ((1, 1), {}), ((0, 3, 3), {})),
    doc="""Eigenvalues and eigenvectors of symmetric matrices: A = Uᵀ·diag(L)·U. Gives U, whose rows
    are the eigenvectors, then L, the eigenvalues in ascending order. Only the lower triangle of A
    is read. Of each eigenvector the element that is largest in absolute value is positive.

    The gradient needs eigenvalues that differ.

    >>> u, l = nd.linalg.syevd(nd.array([[2, 0], [0, 1]]))
    >>> u.asnumpy(), l.asnumpy()
    (array([[0., 1.],
           [1., 0.]], dtype=float32), array([1., 2.], dtype=float32))
    """,
)

# --------------------------------------------------------------------------- inverse, determinant


def _grad_inverse(g: Any, y: Any, a: Any) -> Any:
    return (linalg_gemm2(linalg_gemm2(y, g, transpose_a=True), y, transpose_b=True, alpha=-1.0),)


linalg_inverse = primitive(
    "linalg_inverse",
    Family.EXTERN,
    operands="A",
    dtypes="F",
    infer=_one_square("linalg_inverse"),
    routine=lambda a: _routine("inverse", a, 1, cubes=2),
    grad=_grad_inverse,
    work=Work.PRODUCT,
    numpy=np.linalg.inv,
    sampled=_away_from_singular,
    aliases=("_linalg_inverse",),
    samples=(((3, 3), {}), ((2, 4, 4), {}), ((0, 3, 3), {}), ((2, 0, 0), {})),
    doc="""The inverse of square matrices.

    A singular matrix raises, and the message says which one of a batch.

    >>> nd.linalg.inverse(nd.array([[1, 2], [3, 4]])).asnumpy()
    array([[-2. ,  1. ],
           [ 1.5, -0.5]], dtype=float32)
    """,
)


def _inverse_or_zero_oracle(a: np.ndarray) -> np.ndarray:
    result = np.zeros_like(a)
    for place in np.ndindex(a.shape[:-2]):
        if np.linalg.det(a[place]) != 0:
            result[place] = np.linalg.inv(a[place])
    return result


_inverse_or_zero = primitive(
    "_inverse_or_zero",
    Family.EXTERN,
    operands="A",
    dtypes="F",
    infer=_one_square("linalg_inverse"),
    routine=lambda a: _routine("inverse", a, 0, cubes=2),
    grad=_grad_inverse,
    work=Work.PRODUCT,
    numpy=_inverse_or_zero_oracle,
    sampled=_away_from_singular,
    samples=(
        ((3, 3), {}),
        (np.array([[[1, 2], [3, 4]], [[1, 2], [2, 4]]], np.float32), {}),
    ),
    doc="""The inverse of square matrices, zeros for singular ones: for the gradients of
    determinants, which are 0 there as in MXNet.""",
)


def _infer_det(a: TensorType) -> TensorType:
    _check_square("linalg_det", a)
    return TensorType(_per_matrix(a), a.dtype)


linalg_det = primitive(
    "linalg_det",
    Family.EXTERN,
    operands="A",
    dtypes="F",
    infer=_infer_det,
    routine=lambda a: _routine("det", a),
    grad=lambda g, y, a: (_scaled_transpose(g * y, _inverse_or_zero(a)),),
    work=Work.PRODUCT,
    numpy=lambda a: np.linalg.det(a).reshape(_per_matrix(a)),
    sampled=_away_from_singular,
    aliases=("_linalg_det",),
    samples=(((3, 3), {}), ((2, 3, 2, 2), {}), ((0, 3, 3), {}), ((2, 0, 0), {})),
    doc="""The determinant of square matrices; of a single one, with shape (1,).

    Singular matrices have determinant 0, and, as in MXNet, a gradient of 0.

    >>> nd.linalg.det(nd.array([[1, 2], [3, 4]])).asnumpy()
    array([-2.], dtype=float32)
    """,
)


def _infer_slogdet(a: TensorType) -> tuple[TensorType, TensorType]:
    _check_square("linalg_slogdet", a)
    result = TensorType(_per_matrix(a), a.dtype)
    return result, result


def _slogdet_oracle(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sign, logarithm = np.linalg.slogdet(a)
    shape = _per_matrix(a)
    return np.reshape(sign, shape), np.reshape(logarithm, shape)


linalg_slogdet = primitive(
    "linalg_slogdet",
    Family.EXTERN,
    operands="A",
    dtypes="F",
    infer=_infer_slogdet,
    routine=lambda a: _routine("slogdet", a),
    outputs=2,
    grad=lambda g, y, a: (_scaled_transpose(g[1], _inverse_or_zero(a)),),
    work=Work.PRODUCT,
    numpy=_slogdet_oracle,
    sampled=_away_from_singular,
    aliases=("_linalg_slogdet",),
    samples=(((3, 3), {}), ((2, 3, 2, 2), {}), ((0, 3, 3), {}), ((2, 0, 0), {})),
    doc="""Sign and logarithm of the absolute value of the determinant of square matrices; of a
    single one, each with shape (1,).

    Singular matrices have sign 0 and logarithm -inf, and, as in MXNet, a gradient of 0.

    >>> sign, logarithm = nd.linalg.slogdet(nd.array([[1, 2], [3, 4]]))
    >>> sign.asnumpy(), logarithm.asnumpy()
    (array([-1.], dtype=float32), array([0.6931472], dtype=float32))
    """,
)
