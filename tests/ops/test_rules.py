"""MXNet's rules that differ from numpy's, at the level of types and constants."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle import evaluate, type_of
from tigon.base import TensorType, TigonError, as_dtype
from tigon.ir.graph import Graph, Value, constant, variable
from tigon.ops import get
from tigon.ops.mxnet import elemwise_add
from tigon.ops.operators import BINARY, COMPARISON
from tigon.ops.primitive.arithmetic import add
from tigon.ops.primitive.choose import clip
from tigon.ops.primitive.reduce import sum as total
from tigon.ops.primitive.special import gamma
from tigon.ops.tensor.join import concat, split
from tigon.ops.tensor.matmul import dot, matmul
from tigon.ops.tensor.reduce import argmax
from tigon.ops.tensor.shape import reshape, squeeze


def value(*shape: int, dtype: str = "float32") -> Value:
    return variable("x", TensorType(shape, as_dtype(dtype)))


def run(function, *arrays: np.ndarray) -> np.ndarray:
    inputs = [variable(f"x{i}", type_of(array)) for i, array in enumerate(arrays)]
    feeds = {f"x{i}": array for i, array in enumerate(arrays)}
    return evaluate(Graph(inputs, [function(*inputs)]), feeds)[0]


@pytest.mark.parametrize(
    ("source", "codes", "result"),
    [
        ((2, 3, 4), (4, 0, 2), (4, 3, 2)),
        ((2, 3, 4), (2, 0, 0), (2, 3, 4)),
        ((2, 3, 4), (6, 1, -1), (6, 1, 4)),
        ((2, 3, 4), (3, -1, 8), (3, 1, 8)),
        ((2, 3, 4), (-1,), (24,)),
        ((2, 3, 4), (-2,), (2, 3, 4)),
        ((2, 3, 4), (2, -2), (2, 3, 4)),
        ((2, 3, 4), (-2, 1, 1), (2, 3, 4, 1, 1)),
        ((2, 3, 4), (-3, 4), (6, 4)),
        ((2, 3, 4, 5), (-3, -3), (6, 20)),
        ((2, 3, 4), (0, -3), (2, 12)),
        ((2, 3, 4), (-3, -2), (6, 4)),
        ((2, 3, 4), (-4, 1, 2, -2), (1, 2, 3, 4)),
        ((2, 3, 4), (2, -4, -1, 3, -2), (2, 1, 3, 4)),
    ],
)
def test_reshape_codes(source: tuple, codes: tuple, result: tuple) -> None:
    """The table of MXNet's documentation."""
    assert reshape(value(*source), shape=codes).shape == result


@pytest.mark.parametrize(
    ("source", "codes", "forward", "backward"),
    [
        ((10, 5, 4), (-1, 0), (40, 5), (50, 4)),
        ((8, 3, 3, 3, 4, 4), (0, 0, -4, -1, 3, -2), None, None),
        ((2, 3, 5, 5), (0, -3, 0), (2, 15, 5), (2, 15, 5)),
    ],
)
def test_reshape_from_the_right(
    source: tuple, codes: tuple, forward: tuple | None, backward: tuple | None
) -> None:
    if forward is not None:
        assert reshape(value(*source), shape=codes).shape == forward
        assert reshape(value(*source), shape=codes, reverse=True).shape == backward


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "norm", "argmax"])
def test_full_reductions_have_shape_1(name: str) -> None:
    assert get(name)(value(2, 3)).shape == (1,)
    assert get(name)(value(2, 3), axis=1, keepdims=True).shape == (2, 1)


def test_exclude_reduces_the_other_axes() -> None:
    assert total(value(2, 3, 4), axis=1, exclude=True).shape == (3,)
    assert total(value(2, 3, 4), axis=(0, -1), exclude=True).shape == (2, 4)


def test_positions_are_float32_or_of_the_integers_that_they_are_in() -> None:
    for dtype, expected in (("float64", "float32"), ("int32", "int32"), ("uint8", "float32")):
        assert argmax(value(2, 3, dtype=dtype), axis=0).dtype.name == expected


def test_dot_takes_the_first_axis_of_the_right_operand() -> None:
    x, y = value(2, 3, 4), value(4, 5, 6)
    assert dot(x, y).shape == (2, 3, 5, 6)
    assert dot(value(4), value(4)).shape == (1,)


@pytest.mark.parametrize("name", sorted(COMPARISON))
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
def test_comparisons_keep_the_dtype(name: str, dtype: str) -> None:
    x = value(3, dtype=dtype)
    assert getattr(x, f"__{name}__")(1).type == x.type


def test_integer_arithmetic() -> None:
    x = np.array([3, -3, 7], np.int32)
    assert run(lambda x: x / 2, x).tolist() == [1, -1, 3]  # towards zero
    assert run(lambda x: x * 1.5, x).tolist() == [3, -3, 7]  # the number is truncated first
    assert run(lambda x: x / 0, x).tolist() == [0, 0, 0]
    assert run(lambda x: x % 2, x).tolist() == [1, 1, 1]
    assert run(lambda x: x % 0, x).tolist() == [0, 0, 0]
    assert run(lambda x: x**2, x).tolist() == [9, 9, 49]


def test_python_operators() -> None:
    x = np.array([1.0, 4.0], np.float32)
    forms = [
        lambda x: x + 2,
        lambda x: 2 + x,
        lambda x: x - 2,
        lambda x: 2 - x,
        lambda x: x * 2,
        lambda x: x / 2,
        lambda x: 2 / x,
        lambda x: x // 2,
        lambda x: 7 // x,
        lambda x: x % 3,
        lambda x: 7 % x,
        lambda x: x**2,
        lambda x: 2**x,
        lambda x: -x,
        abs,
        lambda x: x + x * x,
    ]
    for form in forms:
        np.testing.assert_allclose(run(form, x), form(x), rtol=1e-6)
    assert run(lambda x: x @ x, x).tolist() == [17.0]
    assert run(lambda x: 2 > x, x).tolist() == [1.0, 0.0]
    assert set(BINARY) == {"add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"}


def test_equality_of_values_is_identity() -> None:
    """Values are keys of dictionaries: `==` must not build a node."""
    x, y = value(2), value(2)
    assert x == x and x != y and len({x, y}) == 2


def test_numbers_alone_stay_weak() -> None:
    x = constant(3) - 1
    assert x.type.weak
    assert (value(2, dtype="uint8") * x).type == value(2, dtype="uint8").type


def test_attributes_are_read_as_files_hold_them() -> None:
    assert get("Reshape").make_attrs({"shape": "(3L, -1L)"}).shape == (3, -1)
    assert get("sum").make_attrs({"axis": "None", "keepdims": "True"}).axis is None
    assert get("sum").make_attrs({"axis": "1"}).axis == (1,)
    assert get("clip").make_attrs({"a_min": "-inf", "a_max": "1e-05"}).a_max == 1e-05
    assert get("Cast").make_attrs({"dtype": np.float64}).dtype == "float64"
    assert get("_plus_scalar").make_attrs({"scalar": np.float32(2)}).scalar == 2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: add(value(2, 3), value(4)),
            "broadcast_add: shapes do not broadcast: (2, 3) and (4,); axes must be equal or 1",
        ),
        (
            lambda: add(value(2), value(2, dtype="int32")),
            "broadcast_add: rhs: expected float32 like lhs; given int32; "
            "convert it with astype('float32')",
        ),
        (
            lambda: gamma(value(2, dtype="int32")),
            "gamma: data: expected floating-point numbers; given int32; "
            "convert it with astype('float32')",
        ),
        (
            lambda: add(value(2, dtype="bool"), 1),
            "broadcast_add: lhs: expected numbers; given bool; convert it with astype('float32')",
        ),
        (
            lambda: elemwise_add(value(2, 3), value(1, 3)),
            "elemwise_add: shapes differ: (2, 3) and (1, 3); use broadcast_add to broadcast",
        ),
        (
            lambda: dot(value(2, 3), value(4, 5)),
            "dot: inner sizes differ: 3 of (2, 3) and 4 of (4, 5); transpose one operand?",
        ),
        (
            lambda: matmul(value(2, 3), value(4, 5)),
            "matmul: inner sizes differ: (2, 3) @ (4, 5); transpose one operand?",
        ),
        (
            lambda: reshape(value(2, 3), shape=(4, -1)),
            "reshape: cannot bring 6 elements of shape (2, 3) into shape (4, 1)",
        ),
        (
            lambda: reshape(value(2, 3), shape=(-1, -1)),
            "reshape: only one extent can be inferred; cannot bring shape (2, 3) into (-1, -1)",
        ),
        (
            lambda: squeeze(value(2, 3), axis=0),
            "squeeze: axis 0 of shape (2, 3) has extent 2; only 1 can go",
        ),
        (
            lambda: total(value(2, 3), axis=2),
            "sum: axis 2 is out of range for 2 dimensions; use -2 to 1",
        ),
        (
            lambda: argmax(value(2, 0), axis=1),
            "reduce_argmax: nothing to choose from along the empty axes (1,) of shape (2, 0)",
        ),
        (
            lambda: split(value(2, 5), num_outputs=2),
            "split: axis 1 of shape (2, 5) does not divide into 2 equal parts",
        ),
        (
            lambda: concat(value(2, 3), value(3, 3), dim=1),
            "concat: shapes (2, 3) and (3, 3) do not join along axis 1; "
            "all other extents must be equal",
        ),
        (
            lambda: get("take")(value(3), value(2), mode="round"),
            "take: mode: expected 'clip', 'wrap' or 'raise'; given 'round'",
        ),
        (
            lambda: total(value(2), axes=1),
            "sum: has no attribute 'axes'; it knows: axis, keepdims, exclude",
        ),
        (
            lambda: total(value(2), keepdims="maybe"),
            "sum: attribute 'keepdims' expects bool; given 'maybe'",
        ),
        (
            lambda: clip(value(2), a_min=0),
            "clip: attribute 'a_max' must be given",
        ),
        (
            lambda: add(value(2)),
            "broadcast_add: expected operands (lhs, rhs); given 1 of them; operands are "
            "positional, attributes keyword",
        ),
        (
            lambda: get("_random_uniform")(value(3), shape=(2,)),
            "random: expected as key an int64 array (seed, call counter); given float32[3]",
        ),
    ],
)
def test_errors_say_what_to_do(call, message: str) -> None:
    with pytest.raises(TigonError) as caught:
        call()
    text = str(caught.value)
    assert text[text.find(message) :] == message, text
