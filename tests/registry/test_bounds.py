"""Every elementwise operator keeps its stated bound over all floats, and its slope in float32 is
that of float64: no formula overflows, cancels or divides 0 by 0 on the way to a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.loop.test_mathematics import every_exponent
from tests.registry.test_records import declared
from tigon import autograd, nd
from tigon.base.dtypes import DType, float32, float64
from tigon.loop import build as L
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import Apply, Expr, walk
from tigon.ops.record import Family, Operator, all_operators, is_of

ELEMENTWISE = sorted(
    {op for op in all_operators() if op.family is Family.ELEMENTWISE}, key=lambda op: op.name
)
UNARY = [op for op in ELEMENTWISE if len(op.operands) == 1]


def lowered(op: Operator, attrs: Any, dtype: DType = float32) -> Expr:
    operands = (L.load(k, L.axis("i"), dtype) for k in range(len(op.operands)))
    return op.rule(op.lower, attrs, *operands)


UNSTATED = ("_polygamma", "_direction", "_turning", "_slope_of_mish", "_slope_of_softrelu")
"""Slopes, which no caller names."""


def test_every_formula_is_bounded() -> None:
    """Arithmetic is exact to the last bit, an elementary function alone has its bound."""
    unbounded = []
    for op in ELEMENTWISE:
        if op.infer is None or op.ulp is not None or op.name in UNSTATED:
            continue
        if not any(is_of(float32, kinds) for _, kinds in declared(op, op.samples[0])):
            continue
        value = lowered(op, op.make_attrs(op.samples[0][-1]))
        inner = [n.function for n in walk(value) if isinstance(n, Apply)]
        elementary = [function for function in inner if FUNCTIONS[function].expansion]
        if elementary and not (len(inner) == 1 and FUNCTIONS[inner[0]].ulp):
            unbounded.append(op.name)
    assert unbounded == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("op", [op for op in ELEMENTWISE if op.ulp], ids=lambda op: op.name)
def test_bound_over_the_whole_range(op: Operator, dtype: DType) -> None:
    assert op.ulp is not None
    x = every_exponent(dtype, 60_000, 1)
    x = np.concatenate([x, np.linspace(-30, 30, 20_001).astype(dtype.numpy)])
    if op.name == "digamma":  # `tests/ops/test_edges.py` has its oracle below 0
        x = np.abs(x[x != 0])
    found = op(nd.array(x, dtype=dtype.name)).asnumpy()
    assert op.numpy is not None
    wide = x.astype(np.float64 if op.name == "digamma" else np.longdouble)
    exact = op.numpy(wide)
    rounded = exact.astype(dtype.numpy)
    assert np.array_equal(np.isnan(found), np.isnan(rounded))
    finite = np.isfinite(rounded) & np.isfinite(found)
    edge = np.abs(exact) > 0.999999 * np.finfo(dtype.numpy).max
    same = (found == rounded) | edge | np.isnan(found)
    assert same[~finite].all(), x[~finite & ~same][:5]
    size = np.maximum(np.abs(rounded), 1) if op.name == "digamma" else np.abs(rounded)
    off = np.abs(found - exact)[finite] / np.spacing(size[finite])
    assert off.max() <= op.ulp[dtype is float64], (x[finite][off.argmax()], off.max())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("kind", ["elu", "selu"])
def test_rectifiers_are_one_more_than_expm1(kind: str, dtype: DType) -> None:
    x = every_exponent(dtype, 60_000, 6)
    found = nd.LeakyReLU(nd.array(x, dtype=dtype.name), act_type=kind, slope=0.7).asnumpy()
    up, down = (1.0, 0.7) if kind == "elu" else (SELU[0], SELU[0] * SELU[1])
    up, down = (np.longdouble(float(dtype.numpy.type(factor))) for factor in (up, down))
    wide = x.astype(np.longdouble)
    exact = np.where(wide > 0, wide * up, np.expm1(wide) * down)
    finite = np.isfinite(exact.astype(dtype.numpy))
    assert np.array_equal(np.isnan(found), np.isnan(x))
    off = np.abs(found - exact)[finite] / np.spacing(np.abs(exact.astype(dtype.numpy)))[finite]
    bound = FUNCTIONS["expm1"].ulp
    assert bound is not None and off.max() <= bound[dtype is float64] + 1


SELU = (1.0507009873554805, 1.6732632423543772)

# --------------------------------------------------------------------------------------- slopes

AS_PRECISE_AS_THE_RESULT = {
    "tanh": "1 - y²",
    "sigmoid": "y (1 - y)",
    "expm1": "y + 1",
}
"""Slopes made from the result, which has lost the digits that they would need: absolutely, to a
few units in the last place of 1."""


def slope(function: Callable[..., Any], arrays: list[np.ndarray], dtype: str) -> list[np.ndarray]:
    operands = [nd.array(array, dtype=dtype) for array in arrays]
    for operand in operands:
        operand.attach_grad()
    with autograd.record():
        y = function(*operands)
    y.backward()
    return [operand.grad.asnumpy().astype(np.float64) for operand in operands]


def far_off(
    found: np.ndarray, wanted: np.ndarray, relative: float, absolute: float | np.ndarray
) -> np.ndarray:
    most, least = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
    allowed = relative * np.abs(wanted) + np.maximum(absolute, 20 * float(least))
    near = np.abs(found - wanted) <= allowed
    beyond = (np.abs(wanted) > 0.999 * most) & (np.sign(found) == np.sign(wanted))
    beyond &= np.abs(found) > 0.99 * most
    return ~(near | beyond | (found == wanted) | (np.isnan(found) & np.isnan(wanted)))


def around_roots(op: Operator, x: np.ndarray, absolute: float) -> np.ndarray:
    """Where the second derivative is 0 elsewhere than at 0, it has only digits of its parts."""
    near = (np.abs(x) < 4) & (op.name in ("mish", "_slope_of_mish"))
    return np.where(near, np.maximum(absolute, 2.0**-21), absolute)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "op", [op for op in UNARY if op.differentiable and op.grad], ids=lambda op: op.name
)
def test_slope_in_float32_is_that_of_float64(op: Operator) -> None:
    attributes = op.samples[0][-1]
    if op.name == "Cast":
        attributes = {"dtype": "float64"}
    x = every_exponent(float32, 6_000, 2)
    x = np.concatenate([x, np.linspace(-20, 20, 4_001, dtype=np.float32)])
    (found,) = slope(lambda x: op(x, **attributes), [x], "float32")
    (wanted,) = slope(lambda x: op(x, **attributes), [x], "float64")
    defined = ~np.isnan(op(nd.array(x, dtype="float64"), **attributes).asnumpy())
    x, found, wanted = x[defined], found[defined], wanted[defined]
    absolute = 2.0**-21 if op.name in AS_PRECISE_AS_THE_RESULT else 0.0
    off = far_off(found, wanted, 3e-5, around_roots(op, x, absolute))
    assert not off.any(), list(zip(x[off], found[off], wanted[off], strict=True))[:8]


STRAIGHT = "Cast _copy abs clip degrees hard_sigmoid negative radians relu".split()
"""Operators whose slope does not depend on where it is taken."""

CURVED = [
    op
    for op in UNARY
    if op.differentiable and op.grad and op.name not in STRAIGHT and op.name not in UNSTATED
]


def slope_and_curvature(op: Operator, x: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    operand = nd.array(x, dtype=dtype)
    operand.attach_grad()
    with autograd.record():
        y = op(operand, **op.samples[0][-1])
        (first,) = autograd.grad(y, operand, create_graph=True, retain_graph=True)
    first.backward()
    return first.asnumpy(), operand.grad.asnumpy().astype(np.float64)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("op", CURVED, ids=lambda op: op.name)
def test_curvature_in_float32_is_that_of_float64_and_a_number_where_the_slope_is(
    op: Operator,
) -> None:
    ends = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf], np.float32)
    x = np.concatenate([every_exponent(float32, 6_000, 8), np.linspace(-20, 20, 4_001), ends])
    x = x.astype(np.float32)
    x = x[~np.isnan(op(nd.array(x), **op.samples[0][-1]).asnumpy())]
    if op.name == "gamma":
        x = x[x < np.inf]  # infinity times trigamma's 0
    _, found = slope_and_curvature(op, x, "float32")
    slopes, wanted = slope_and_curvature(op, x, "float64")
    lost = np.isnan(wanted) & ~np.isnan(slopes)
    assert not lost.any(), list(zip(x[lost], slopes[lost], strict=True))[:8]
    absolute = 2.0**-20 if op.name in AS_PRECISE_AS_THE_RESULT else 1e-42
    off = far_off(found, wanted, 1e-4, around_roots(op, x, absolute))
    off &= np.abs(wanted) < np.finfo(np.float32).max / 8  # on the way it may be a few times larger
    assert not off.any(), list(zip(x[off], found[off], wanted[off], strict=True))[:8]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["arctan2", "broadcast_hypot"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lengths_and_angles_have_slopes_at_the_origin_and_at_infinity(
    name: str, dtype: str
) -> None:
    points = np.array([0.0, -0.0, 1.0, 1e-30, 1e30, np.inf, -np.inf])
    x, y = (part.ravel() for part in np.meshgrid(points, points))
    operands = [nd.array(part, dtype=dtype) for part in (x, y)]
    for operand in operands:
        operand.attach_grad()
    with autograd.record():
        z = getattr(nd, name)(*operands)
        slopes = autograd.grad(z, operands, create_graph=True, retain_graph=True)
    autograd.backward(slopes)
    bounded = [np.abs(slope.asnumpy()) <= 1 for slope in slopes]
    if name == "broadcast_hypot":
        assert np.all(bounded)
    assert not np.isnan([slope.asnumpy() for slope in slopes]).any()
    assert not np.isnan([operand.grad.asnumpy() for operand in operands]).any()
    origin = (x == 0) & (y == 0)
    for value in (*slopes, *(operand.grad for operand in operands)):
        assert not value.asnumpy()[origin].any()


BINARY = [
    op for op in ELEMENTWISE if len(op.operands) == 2 and op.differentiable and op.grad is not None
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_slopes_of_two_operands_in_float32_are_those_of_float64(op: Operator) -> None:
    x, y = (every_exponent(float32, 8_000, seed) for seed in (3, 4))
    rng = np.random.default_rng(5)
    rng.shuffle(y)
    near = (x * rng.uniform(0.3, 3, len(x))).astype(np.float32)  # of about one size
    y = np.where(np.arange(len(x)) % 2 == 0, near, y)
    small = rng.uniform(-9, 9, (2, 2_000)).astype(np.float32)
    x, y = np.concatenate([x, small[0]]), np.concatenate([y, small[1]])
    if op.name in ("arctan2", "broadcast_hypot", "_direction", "_turning"):
        # Whose length float32 holds, and of slopes that are those of slopes its inverse too.
        length = np.hypot(x, y)
        held = length <= np.finfo(np.float32).max
        held &= (length > 1e-12) | (op.name[0] != "_")
        if op.name == "_turning":  # its slope along x is 0 where both are equal
            held &= np.abs(np.abs(x) - np.abs(y)) > 0.1 * length
        x, y = x[held], y[held]
    if op.name == "broadcast_power":  # where it has a value, and 1 / x one too
        held = (np.abs(x) > 1 / np.finfo(np.float32).max) & ~np.isnan(np.power(x, y))
        x, y = x[held], y[held]
    for found, wanted in zip(
        slope(op, [x, y], "float32"), slope(op, [x, y], "float64"), strict=True
    ):
        # The smallest float32 times a logarithm, of a power.
        off = far_off(found, wanted, 3e-5, 2e-43 if op.name == "broadcast_power" else 0.0)
        assert not off.any(), list(zip(x[off], y[off], found[off], wanted[off], strict=True))[:8]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_slopes_beside_numbers_have_all_digits_compiled(op: Operator, side: str) -> None:
    """What a rule computes of a number alone (1/3 - 1 of x ** (1/3)) is as precise as the array."""
    x, number = [np.array([2.5, 1.7])], 1 / 3
    function = (lambda x: op(number, x)) if side == "left" else (lambda x: op(x, number))
    (one,), (other,) = slope(function, x, "float64"), slope(mx.jit(function), x, "float64")
    (array,) = slope(lambda x: function_of_arrays(op, side, x, number), x, "float64")
    np.testing.assert_allclose(one, array, rtol=1e-15)
    np.testing.assert_allclose(other, array, rtol=1e-15)


def function_of_arrays(op: Operator, side: str, x: Any, number: float) -> Any:
    numbers = nd.array([number, number], dtype="float64")
    return op(numbers, x) if side == "left" else op(x, numbers)
