"""Sums of products by labels of axes, as in Einstein's notation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.choose import identity
from tigon.ops.primitive.contract import _contract
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _reshape, transpose
from tigon.ops.record import Work, composite
from tigon.ops.tensor.matrix import diag


class EinsumAttrs(Frozen):
    subscripts: str
    optimize: bool = False


Labelled = tuple[Any, str]
"""A value and the label of each of its axes."""


def labels_of(subscripts: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """A label for every axis of every operand, and those of the result.

    >>> labels_of("ij, jk", [(2, 3), (3, 4)])
    (['ij', 'jk'], 'ik')
    >>> labels_of("...i->...", [(2, 3, 4)])
    (['ABi'], 'AB')
    """
    text = "".join(subscripts.split())
    given, arrow, wanted = text.partition("->")
    parts = given.split(",")
    shown = f"'{subscripts}'"
    check(
        len(parts) == len(shapes),
        "einsum",
        f"subscripts: expected labels of {len(shapes)} operands, commas between; given {shown}",
    )
    for part in (*parts, wanted):
        plain = part.replace("...", "", 1)
        check(
            all(label in ascii_letters for label in plain),
            "einsum",
            f"subscripts: expected letters, commas, one '->' and '...' for the axes that have no "
            f"label; given {shown}",
        )
    free = [letter for letter in ascii_letters[26:] + ascii_letters[:26] if letter not in text]
    counts = [
        len(shape) - len(part.replace("...", "")) for part, shape in zip(parts, shapes, strict=True)
    ]
    for part, count, shape in zip(parts, counts, shapes, strict=True):
        check(
            count >= 0 if "..." in part else count == 0,
            "einsum",
            f"subscripts: expected a label for each axis; given '{part}' in {shown} for shape "
            f"{shape}",
        )
    rest = "".join(free[: max(counts)])
    filled = [
        part.replace("...", rest[len(rest) - count :])
        for part, count in zip(parts, counts, strict=True)
    ]
    seen = Counter("".join(filled))
    if not arrow:
        once = sorted(label for label in seen if seen[label] == 1 and label not in rest)
        return filled, rest + "".join(once)
    check(
        not rest or "..." in wanted,
        "einsum",
        f"subscripts: the axes behind '...' must be in the result; write '...' behind '->' in "
        f"{shown}",
    )
    result = wanted.replace("...", rest)
    check(
        len(set(result)) == len(result) and set(result) <= set(seen),
        "einsum",
        f"subscripts: each label behind '->' must be there once, and be one of an operand; given "
        f"{shown}",
    )
    return filled, result


def _diagonal(value: Any, labels: str) -> Labelled:
    """Of axes of one label the diagonal."""
    for label, count in Counter(labels).items():
        for _ in range(count - 1):
            first = labels.index(label)
            second = labels.index(label, first + 1)
            check(
                value.shape[first] == value.shape[second],
                "einsum",
                f"extents of '{label}' differ: {value.shape[first]} and {value.shape[second]}",
            )
            value = diag(value, axis1=first, axis2=second)
            labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
    return value, labels


def _without(value: Any, labels: str, gone: str) -> Labelled:
    """Summed over the axes of some labels."""
    axes = tuple(place for place, label in enumerate(labels) if label in gone)
    kept = "".join(label for label in labels if label not in gone)
    return (_reduce_sum(value, axes=axes) if axes else value), kept


def _stretched(operands: list[Labelled], subscripts: str) -> list[Labelled]:
    """Without the axes of extent 1 that are as long as those of another operand."""
    extents: dict[str, int] = {}
    for value, labels in operands:
        for label, extent in zip(labels, value.shape, strict=True):
            known = extents.get(label, 1)
            check(
                known == 1 or extent == 1 or known == extent,
                "einsum",
                f"extents of '{label}' differ: {known} and {extent} in '{subscripts}'",
            )
            extents[label] = extent if known == 1 else known
    found = []
    for value, labels in operands:
        axes = list(zip(labels, value.shape, strict=True))
        kept = [(label, n) for label, n in axes if n != 1 or extents[label] == 1]
        if len(kept) < len(axes):
            value = _reshape(value, shape=tuple(n for _, n in kept))
        found.append((value, "".join(label for label, _ in kept)))
    return found


def _smallest(operands: list[Labelled]) -> tuple[int, int]:
    """The two whose product has the fewest elements."""

    def size(pair: tuple[int, int]) -> Any:
        extents: dict[str, Any] = {}
        for place in pair:
            value, labels = operands[place]
            extents.update(zip(labels, value.shape, strict=True))
        return prod(extents.values())

    return min(combinations(range(len(operands)), 2), key=size)


def _decompose_einsum(attrs: EinsumAttrs, *data: Any) -> Any:
    parts, wanted = labels_of(attrs.subscripts, [value.shape for value in data])
    operands = [_diagonal(value, part) for value, part in zip(data, parts, strict=True)]
    operands = _stretched(operands, attrs.subscripts)
    while True:
        seen = Counter(label for _, labels in operands for label in labels)
        operands = [
            _without(value, part, "".join(n for n in part if seen[n] == 1 and n not in wanted))
            for value, part in operands
        ]
        if len(operands) == 1:
            break
        first, second = _smallest(operands) if attrs.optimize else (0, 1)
        (lhs, left), (rhs, right) = operands[first], operands[second]
        others = [one for place, one in enumerate(operands) if place not in (first, second)]
        needed = set(wanted).union(*(labels for _, labels in others))
        both = "".join(dict.fromkeys(left + right))
        out = "".join(n for n in both if n in needed)
        operands = [(_contract(lhs, rhs, left=left, right=right, out=out), out), *others]
    value, labels = operands[0]
    order = tuple(labels.index(label) for label in wanted)
    if order != tuple(range(len(order))):
        value = transpose(value, axes=order)
    elif len(data) == 1:
        value = identity(value)
    return value if value.ndim else _reshape(value, shape=(1,))


def _einsum_oracle(*xs: np.ndarray, subscripts: str, optimize: bool) -> np.ndarray:
    found = np.asarray(np.einsum(subscripts, *xs, dtype=xs[0].dtype))
    return found.reshape(1) if found.ndim == 0 else found.copy()


einsum = composite(
    "einsum",
    _decompose_einsum,
    operands="*data",
    attrs=EinsumAttrs,
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=_einsum_oracle,
    aliases=("_npi_einsum",),
    samples=(
        ((2, 3), (3, 4), {"subscripts": "ij,jk->ik"}),
        ((2, 3), (3, 4), {"subscripts": "ij, jk"}),
        ((3, 3), {"subscripts": "ii"}),
        ((3, 3, 2), {"subscripts": "iij->ji"}),
        ((2, 3, 4), {"subscripts": "kij->ik"}),
        ((2, 3), {"subscripts": "ba"}),
        ((3,), (4,), {"subscripts": "i,j->ji"}),
        ((3,), (3,), {"subscripts": "i,i"}),
        ((2, 1, 3, 4), (5, 4, 2), {"subscripts": "...ij,...jk->...ik"}),
        ((2, 3), (3, 2), (2, 4), {"subscripts": "ij,jk,kl->il", "optimize": True}),
        ((2, 3), (2, 3), (2,), {"subscripts": "ij,ij,i->j"}),
        ((0, 3), (3, 2), {"subscripts": "ij,jk->ki"}),
        ((2, 0), {"subscripts": "ij->i"}),
    ),
    doc="""Products of arrays whose axes have labels, summed over the labels that are not in the
    result: `nd.einsum("ij,jk->ik", x, y)`.

    Parameters: `subscripts` one letter per axis, operands apart by commas, behind `->` the labels
    of the result; without it, those that are there once, sorted. A label that an operand has twice
    is its diagonal; `...` stands for all axes without a label, which broadcast. `optimize`
    (default False): begin with the two operands of the smallest product, not with the first two.

    Returns an array of the dtype of the operands, which must be the same; a result without labels
    has shape (1,). Raises TigonError where labels and shapes disagree.

    >>> x = nd.array([[1, 2], [3, 4]])
    >>> nd.einsum("ij,jk->ik", x, x).asnumpy()
    array([[ 7., 10.],
           [15., 22.]], dtype=float32)
    >>> nd.einsum("ii", x).asnumpy(), nd.einsum("...i->...", x).asnumpy()
    (array([5.], dtype=float32), array([3., 7.], dtype=float32))
    """,
)
