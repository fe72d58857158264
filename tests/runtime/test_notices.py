"""Programs that warn and go on: from wherever they run, once, with every result written."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import _native, nd
from tigon.base.notices import LABEL_CANNOT_FIT, SILENT, Notice
from tigon.loop.grammar import FIRST_NOTICE


def told(function: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        function()
    return [str(each.message) for each in seen if each.category is RuntimeWarning]


def noticed(x: nd.NDArray) -> nd.NDArray:
    return nd._told(x, notice=LABEL_CANNOT_FIT.number)


WAYS: dict[str, Callable[[nd.NDArray], nd.NDArray]] = {
    "imperative": noticed,
    "compiled": mx.jit(lambda x: noticed(x * 1) + 0),
    "loop": lambda x: nd.contrib.foreach(
        lambda row, s: (noticed(row), s), nd.reshape(x, shape=(1, -1)), nd.zeros(1)
    )[0][0],
    "compiled loop": mx.jit(
        lambda x: nd.contrib.foreach(
            lambda row, s: (noticed(row), s), nd.reshape(x, shape=(1, -1)), nd.zeros(1)
        )[0][0]
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 5, 40_000])
def test_it_warns_once_and_writes_all(way: str, size: int) -> None:
    function = WAYS[way]
    calm, alarmed = np.zeros(size, np.float32), np.zeros(size, np.float32)
    alarmed[size // 2] = 3
    _native.forget_notices()
    assert told(lambda: function(nd.array(calm)).asnumpy()) == []
    results = []
    assert told(lambda: results.append(function(nd.array(alarmed)).asnumpy())) == [
        LABEL_CANNOT_FIT.text
    ]
    np.testing.assert_array_equal(results[0], alarmed)
    assert told(lambda: function(nd.array(alarmed)).asnumpy()) == []
    _native.forget_notices()
    assert told(lambda: function(nd.array(alarmed)).asnumpy()) == [LABEL_CANNOT_FIT.text]


def test_other_threads_are_told_by_the_main_one() -> None:
    _native.forget_notices()

    def run() -> None:
        threads = [threading.Thread(target=lambda: noticed(nd.ones(3)).asnumpy()) for _ in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert told(run) == [LABEL_CANNOT_FIT.text]


def test_a_warning_that_is_an_error_is_raised() -> None:
    _native.forget_notices()
    with warnings.catch_warnings(), pytest.raises(RuntimeWarning, match=r"^CTCLoss: expected"):
        warnings.simplefilter("error")
        noticed(nd.ones(3)).asnumpy()


def test_numbers_of_notices() -> None:
    import tigon.base.notices as module

    known = [value for value in vars(module).values() if isinstance(value, Notice)]
    numbers = [notice.number for notice in known]
    assert len(set(numbers)) == len(numbers) and all(0 <= n < SILENT for n in numbers)
    assert told(lambda: nd._told(nd.ones(2), notice=SILENT).asnumpy()) == []
    source = (mx.__path__[0] + "/../csrc/program/program.h",)
    with open(*source) as header:
        text = header.read()
    assert f"kFirstNotice = {FIRST_NOTICE};" in text and f"kNoticeCount = {SILENT};" in text
