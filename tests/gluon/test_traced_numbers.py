"""`x.item()` and `x.asscalar()` in traced code are the numbers that arrays give, for all that is
done with them; what they are compared with decides by the outcome."""

from __future__ import annotations

import math
import operator
import warnings
from typing import Any

import numpy as np
import pytest

from tigon import nd
from tigon.gluon import nn


class Net(nn.HybridBlock):
    """A function of itself and arrays."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arrays: Any) -> Any:
        return self.function(self, *arrays)


NUMBERS = {
    "+": lambda n: n + 2,
    "r-": lambda n: 2 - n,
    "/": lambda n: n / 3,
    "**": lambda n: n**2,
    "abs": abs,
    "neg": operator.neg,
    "float": float,
    "int": int,
    "round": round,
    "str": str,
    "repr": repr,
    "format": lambda n: f"{n:.3f}",
    "percent": lambda n: "%.2f" % n,  # noqa: UP031
    "sqrt": lambda n: math.sqrt(abs(n)),
    "max": lambda n: float(max(n, 0)),
    "hash": hash,
    "isinstance": lambda n: isinstance(n, (float, int, np.generic)),
    "numpy": lambda n: np.cos(n),
    "array": lambda n: nd.array([n, n]).asnumpy().tolist(),
    "in": lambda n: n in (1, 2, 3),
    "none": lambda n: n == None,  # noqa: E711
    "text": lambda n: n == "a",
    "chain": lambda n: 0 < n < 5,
    "bool": bool,
    "is_integer": lambda n: float(n).is_integer(),
    "times array": lambda n: (nd.ones((2,)) * n).asnumpy().tolist(),
    "array times": lambda n: (n * nd.ones((2,))).asnumpy().tolist(),
    "full": lambda n: nd.full((2,), n).asnumpy().tolist(),
}
BOUNDS = [0, 1, 2.5, 0.1, -3, 16777217, np.float32(0.1), np.float64(0.1), np.int64(2), True]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
@pytest.mark.parametrize("method", ["asscalar", "item"])
def test_numbers_are_those_of_arrays(method, dtype):
    def told(number):
        seen = {name: use(number()) for name, use in NUMBERS.items()}
        for bound in BOUNDS:
            for compare in (operator.lt, operator.le, operator.eq, operator.ne, operator.gt):
                seen[compare.__name__, repr(bound)] = bool(compare(number(), bound))
                seen["r", compare.__name__, repr(bound)] = bool(compare(bound, number()))
        return seen

    for value in (0, 1, 0.1, 2.5, 16777216, 200, 3):
        x = nd.array([value], dtype=dtype)
        with np.errstate(over="ignore"):
            expected = told(lambda x=x: getattr(x, method)())
        got = {}

        def forward(net, x):
            result = told(lambda: getattr(x, method)())
            got.update(result)  # noqa: B023
            return x * 1

        net = Net(forward)
        net.hybridize()
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")
            net(x)
        assert got.keys() == expected.keys()
        for name, theirs in expected.items():
            assert type(got[name]) is type(theirs) and np.all(got[name] == theirs), name


TWO = {
    **{name: getattr(operator, name) for name in "lt le eq ne gt ge".split()},
    "min": lambda m, n: float(min(m, n)),
    "sorted": lambda m, n: [float(number) for number in sorted((m, n))],
    "chain": lambda m, n: 0 < m < n,
    "in": lambda m, n: m in (n,),
}
DTYPES = ["float32", "float64", "int32", "int64", "uint8"]


@pytest.mark.parametrize("method", ["asscalar", "item", "mixed"])
def test_two_numbers_compare_as_those_of_arrays(method):
    methods = ("item", "asscalar") if method == "mixed" else (method, method)
    values = [(1, 1), (0.1, 0.1), (2**53, 2**53 + 1), (3, 250), (-3, 2), (float("nan"), 1)]
    for first in DTYPES:
        for second in DTYPES:
            for pair in values:
                with np.errstate(all="ignore"):
                    arrays = [
                        nd.array(np.array([value]).astype(dtype), dtype=dtype)
                        for value, dtype in zip(pair, (first, second), strict=True)
                    ]

                def told(x, y):
                    numbers = lambda: (getattr(x, methods[0])(), getattr(y, methods[1])())  # noqa: E731
                    return {name: use(*numbers()) for name, use in TWO.items()}

                expected, got = told(*arrays), {}

                def forward(net, *numbers, told=told, got=got):
                    got.update(told(*numbers))
                    return numbers[0] * 1

                net = Net(forward)
                net.hybridize()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    net(*arrays)
                for name, theirs in expected.items():
                    assert type(got[name]) is type(theirs), (name, first, second, pair)
                    assert np.array_equal(got[name], theirs, equal_nan=True), (name, first, second)


@pytest.mark.parametrize("method", ["asscalar", "item"])
def test_numbers_that_are_compared_with_each_other_decide_by_the_outcome(method):
    def forward(net, x):
        least = getattr(x[0], method)()
        for place in range(1, 4):
            number = getattr(x[place], method)()
            least = number if number < least else least
        return x * 2 if least > 0 else x + 1

    draw = np.random.RandomState(3)
    given = [nd.array(draw.randn(4)) for _ in range(30)]
    net = Net(forward)
    expected = [net(x).asnumpy() for x in given]
    net.hybridize(strict=True)
    for _ in range(2):
        np.testing.assert_array_equal([net(x).asnumpy() for x in given], expected)


def test_a_number_that_is_returned_is_read():
    def forward(net, x):
        return x * 2, x.sum().asscalar(), x.max().item()

    net = Net(forward)
    net.hybridize(strict=True)
    for _ in range(2):
        for value in (1, 2):
            y, total, most = net(nd.full((2,), value))
            assert y.asnumpy().tolist() == [2 * value] * 2
            assert type(total) is np.float32 and total == 2 * value
            assert type(most) is float and most == value
