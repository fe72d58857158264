"""Random bits from a key; random numbers are arithmetic on them.

The key is data (seed, call counter), so that a compiled program draws anew each time it runs and
a recomputed node draws the same again. Philox4x32-10 is a function of (key, counter), without
state: every element depends on seed, call, stream and its own position, and on nothing else.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import int64, uint32
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.primitive.view import Coords, Read
from tigon.ops.record import Family, primitive

KEY_NAME = "_random_key"
"""Of the variable that stands for the key in graphs."""

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)


class BitsAttrs(Frozen):
    shape: tuple[int, ...]
    ordinal: int = 0
    """Which random node of its program this is: added to the call counter."""
    stream: int = 0
    """Which of the words that one element may draw (0 to 3)."""


def _halves(word: Expr) -> tuple[Expr, Expr]:
    """The lower and the upper 32 bits of an int64."""
    return L.cast(word, uint32), L.cast(L.shr(word, 32), uint32)


def philox(counter: tuple[Expr, ...], key: tuple[Expr, Expr]) -> tuple[Expr, ...]:
    """Four random words (uint32) from four words of counter and two of key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        c0, c1, c2, c3 = (
            L.xor(L.xor(L.mulhi(c2, MULTIPLIERS[1]), c1), k0),
            L.mul(c2, MULTIPLIERS[1]),
            L.xor(L.xor(L.mulhi(c0, MULTIPLIERS[0]), c3), k1),
            L.mul(c0, MULTIPLIERS[0]),
        )
        k0, k1 = L.add(k0, WEYL[0]), L.add(k1, WEYL[1])
    return c0, c1, c2, c3


def _infer_bits(attrs: BitsAttrs, key: TensorType | None = None) -> TensorType:
    """The key is threaded through a graph when it is compiled."""
    check(all(n >= 0 for n in attrs.shape), "random", f"shape {attrs.shape} has a negative extent")
    if key is not None:
        check_key(key)
    return TensorType(attrs.shape, uint32)


def check_key(key: TensorType) -> None:
    check(
        key == TensorType((2,), int64),
        "random",
        f"expected as key an int64 array (seed, call counter); given {key}",
    )


def _lower_bits(
    attrs: BitsAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    flat: Expr = L.const(0)
    for coordinate, extent in zip(coords, attrs.shape, strict=True):
        flat = L.add(L.mul(flat, extent), coordinate)
    seed, call = (read(0, (L.const(i),)) for i in (0, 1))
    counter = (*_halves(flat), *_halves(L.add(call, attrs.ordinal)))
    return philox(counter, _halves(seed))[attrs.stream]


def philox_oracle(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 in numpy: columns of four uint32 words."""
    mask = np.uint64(0xFFFFFFFF)
    c = [word.astype(np.uint64) for word in counter]
    k = [np.uint64(word) for word in key]
    for _ in range(ROUNDS):
        first, second = c[0] * np.uint64(MULTIPLIERS[0]), c[2] * np.uint64(MULTIPLIERS[1])
        c = [
            (second >> np.uint64(32)) ^ c[1] ^ k[0],
            second & mask,
            (first >> np.uint64(32)) ^ c[3] ^ k[1],
            first & mask,
        ]
        k = [np.uint64((int(word) + weyl) & 0xFFFFFFFF) for word, weyl in zip(k, WEYL, strict=True)]
    return np.stack(c).astype(np.uint32)


def _bits_oracle(key: np.ndarray, shape: tuple[int, ...], ordinal: int, stream: int) -> Any:
    place = np.arange(math.prod(shape), dtype=np.uint64)
    seed, call = int(key[0]) % 2**64, (int(key[1]) + ordinal) % 2**64
    counter = np.stack(
        [
            place & np.uint64(0xFFFFFFFF),
            place >> np.uint64(32),
            np.full_like(place, call & 0xFFFFFFFF),
            np.full_like(place, call >> 32),
        ]
    )
    words = philox_oracle(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return words[stream].reshape(shape)


KEY_SAMPLE = np.array([-(2**40) + 5, 2**33 + 7], np.int64)

_random_bits = primitive(
    "_random_bits",
    Family.LEAF,
    operands="key%",
    attrs=BitsAttrs,
    infer=_infer_bits,
    lower=_lower_bits,
    differentiable=False,
    numpy=_bits_oracle,
    samples=(
        (KEY_SAMPLE, {"shape": (3, 5)}),
        (KEY_SAMPLE, {"shape": (15,), "ordinal": 3, "stream": 2}),
        (KEY_SAMPLE, {"shape": ()}),
        (KEY_SAMPLE, {"shape": (0, 2)}),
    ),
    doc="""Uniform random bits (uint32).""",
)
