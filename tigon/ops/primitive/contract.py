"""Contractions: one primitive for every product of arrays that sums over shared axes."""

from __future__ import annotations

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ops.record import Family, Operator, Work, common_dtype, primitive


class ContractAttrs(Frozen):
    left: str
    right: str
    out: str


def _infer_contract(attrs: ContractAttrs, left: TensorType, right: TensorType) -> TensorType:
    where = "_contract"
    labels = (attrs.left, attrs.right, attrs.out)
    shown = f"'{attrs.left}', '{attrs.right}' -> '{attrs.out}'"
    check(all(len(set(part)) == len(part) for part in labels), where, f"a label repeats in {shown}")
    check(
        len(attrs.left) == left.ndim and len(attrs.right) == right.ndim,
        where,
        f"labels {shown} do not fit shapes {left.shape} and {right.shape}",
    )
    both = set(attrs.left) & set(attrs.right)
    check(
        set(attrs.out) <= set(attrs.left) | set(attrs.right)
        and set(attrs.left) ^ set(attrs.right) <= set(attrs.out),
        where,
        f"a label of one operand alone must be in the result, and no other: {shown}",
    )
    extents = dict(zip(attrs.right, right.shape, strict=True))
    for label, extent in zip(attrs.left, left.shape, strict=True):
        check(
            label not in both or extents[label] == extent,
            where,
            f"extents of '{label}' differ in {shown}: {left.shape} and {right.shape}",
        )
        extents[label] = extent
    shape = tuple(extents[label] for label in attrs.out)
    return TensorType(shape, common_dtype(where, left, right))


_contract: Operator = primitive(
    "_contract",
    Family.CONTRACTION,
    operands="lhs rhs",
    attrs=ContractAttrs,
    infer=_infer_contract,
    grad=lambda a, g, y, lhs, rhs: (
        _contract(g, rhs, left=a.out, right=a.right, out=a.left),
        _contract(lhs, g, left=a.left, right=a.out, out=a.right),
    ),
    work=Work.PRODUCT,
    numpy=lambda lhs, rhs, left, right, out: np.einsum(
        f"{left},{right}->{out}", lhs, rhs, dtype=lhs.dtype
    ),
    samples=(
        ((3, 5), (5, 4), {"left": "mk", "right": "kn", "out": "mn"}),
        ((2, 3, 5), (2, 5, 4), {"left": "bmk", "right": "bkn", "out": "bmn"}),
        ((3, 2), (4, 3), {"left": "ka", "right": "bk", "out": "ba"}),
        ((2, 3), (2, 3), {"left": "ab", "right": "ab", "out": "a"}),
        ((3,), (4,), {"left": "a", "right": "b", "out": "ab"}),
        ((5,), (5,), {"left": "k", "right": "k", "out": ""}),
        ((2, 3, 4), (4, 3, 5), {"left": "akl", "right": "lkb", "out": "ab"}),
        ((2, 0), (0, 3), {"left": "mk", "right": "kn", "out": "mn"}),
    ),
    doc="""Products of elements whose labels agree, summed over the labels that are in both operands
    but not in `out` (as in einsum).""",
)
