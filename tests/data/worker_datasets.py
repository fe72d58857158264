"""Datasets that tests send to worker processes, which import them from here."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tigon import nd


class Rows:
    """Rows of numbers, one of which may be special."""

    def __init__(self, length: int, special: int = -1, what: str = "") -> None:
        self.length = length
        self.special = special
        self.what = what

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if index == self.special:
            getattr(self, self.what)()
        return np.full((3, 5), index, np.float32), index

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self) -> None:
        os._exit(3)

    def stick(self) -> None:
        time.sleep(60)

    def fail(self) -> None:
        raise KeyError("the dataset's own")

    def fail_oddly(self) -> None:
        raise Odd("a", 1)


class Odd(Exception):
    """Is not made of what it shows."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"{name} and {number}")


class Drawing(Rows):
    """Samples that draw from every generator there is."""

    def __getitem__(self, index: int) -> Any:
        return index, nd.random.uniform(shape=(2,)), nd.random.randint(0, 1 << 30, shape=(1,))


class DrawingElsewhere(Rows):
    def __getitem__(self, index: int) -> Any:
        return index, random.random(), float(np.random.rand())


class Sized(Rows):
    """Samples of every size and kind."""

    def __getitem__(self, index: int) -> Any:
        rng = np.random.default_rng(index)
        kinds = ("float32", "uint8", "int64", "bool", "float16", "float64")
        return {
            "array": rng.integers(0, 2, int(rng.integers(0, 5000))).astype(kinds[index % 6]),
            "nd": nd.array(rng.normal(size=(index % 3, 7))),
            "text": "x" * int(rng.integers(0, 9000)),
            "number": index,
        }


class Kinds(Rows):
    """A sample of every kind that pickling or numpy treats in a way of its own."""

    def __getitem__(self, index: int) -> Any:
        return (
            nd.ones((2, 3)).astype("bfloat16"),
            nd.array([1, 0], dtype="bool"),
            nd.array(3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.arange(12.0).reshape(3, 4)[:, ::2],
            np.array([{"a": index}, None], object),
            np.array(["ab", "c"]),
            np.datetime64("2020-01-01"),
            np.zeros((0, 3)),
            np.array([1j * index]),
            np.float16(index),
            np.full(300_000, index, np.uint8),
            None,
        )


def as_it_is(samples: list[Any]) -> list[Any]:
    return samples


class Process(Rows):
    """Which process a sample comes from."""

    def __getitem__(self, index: int) -> int:
        return os.getpid()


class Pictures:
    """Noise as images of uint8, changed by a transform: how, is the name of a method."""

    def __init__(self, length: int, transform: Any, how: str) -> None:
        self.length, self.transform, self.how = length, transform, how
        self.kept: dict[int, Any] = {}

    def __len__(self) -> int:
        return self.length

    def picture(self, index: int, side: int = 8) -> Any:
        noise = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
        return nd.array(noise, dtype="uint8")

    def __getitem__(self, index: int) -> Any:
        return getattr(self, self.how)(index)

    def one(self, index: int) -> Any:
        return self.transform(self.picture(index)), index

    def two(self, index: int) -> Any:
        return self.transform(self.picture(index)), self.transform(self.picture(-1 - index % 2 + 2))

    def further(self, index: int) -> Any:
        made = self.transform(self.picture(index))
        made *= 2
        return made.reshape((-1,)), made + 1

    def swapped(self, index: int) -> Any:
        first, second = (self.transform(self.picture(at)) for at in (index, index + 1))
        return (first, second) if index % 2 else (second, first)

    def sized(self, index: int) -> Any:
        return self.transform(self.picture(index, 40 + index % 7)), self.transform(self.picture(1))

    def scaled(self, index: int) -> Any:
        return self.transform(self.picture(index, 16 + index // 32)), index

    def cached(self, index: int) -> Any:
        if index not in self.kept:
            self.kept[index] = self.transform(self.picture(index))
        return self.kept[index], index

    def threads(self, index: int) -> Any:
        with ThreadPoolExecutor(4) as pool:
            return tuple(pool.map(lambda at: self.transform(self.picture(at)), [index] * 8))


def as_they_are(samples: list[Any]) -> list[Any]:
    return samples
