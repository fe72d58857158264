"""Products of few rows: the large operand is read where it lies, and once."""

from __future__ import annotations

import numpy as np
import pytest

from tigon import nd
from tigon.backends.cpu.backend import cpu
from tigon.backends.cpu.nest import NestPlan
from tigon.backends.cpu.plan import Plan
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, variable
from tigon.loop.grammar import Contraction
from tigon.lower.fuse.fuser import fuse
from tigon.lower.nests import lower_group
from tigon.ops import get
from tigon.program.lowered import prepare


def plan_of(
    rows: int, inner: int, columns: int, along: bool = False, finish: str = "relu"
) -> object:
    """What is decided about the first nest of a product, both of whose operands lie along the sum
    or not, and of whose results something is made."""
    right = (columns, inner) if along else (inner, columns)
    types = (TensorType(shape, as_dtype("float32")) for shape in ((rows, inner), right))
    operands = [variable(name, type_) for name, type_ in zip("ab", types, strict=True)]
    product = get("dot")(*operands, transpose_b=along)
    fusion = fuse(prepare(Graph(operands, [get(finish)(product)])), enabled=True)
    nests = [nest.nest for group in fusion.groups for nest in lower_group(group, fusion)]
    (nest,) = (nest for nest in nests if isinstance(nest, Contraction))
    return cpu.prepare(nest).structure.variant


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 13, 16, 17])
@pytest.mark.parametrize(("inner", "columns"), [(70, 130), (512, 2048), (1000, 99), (9, 5)])
def test_few_rows_come_to_what_many_do(rows: int, inner: int, columns: int) -> None:
    random = np.random.default_rng(rows)
    left, right = random.integers(-4, 5, (rows, inner)), random.integers(-4, 5, (inner, columns))
    found = nd.dot(nd.array(left), nd.array(right)).asnumpy()
    np.testing.assert_array_equal(found, left @ right)


@pytest.mark.parametrize("rows", [1, 4, 5, 6, 7, 13, 24, 25])
@pytest.mark.parametrize(("inner", "columns"), [(64, 600), (63, 600), (513, 37), (2000, 8), (1, 5)])
def test_few_lines_along_the_sum(rows: int, inner: int, columns: int) -> None:
    random = np.random.default_rng(rows)
    left, right = random.integers(-4, 5, (rows, inner)), random.integers(-4, 5, (columns, inner))
    offset = random.integers(-4, 5, columns)
    few, many, bias = nd.array(left), nd.array(right), nd.array(offset)
    found = nd.FullyConnected(few, many, bias, num_hidden=columns).asnumpy()
    np.testing.assert_array_equal(found, left @ right.T + offset)
    swapped = nd.dot(many, few, transpose_b=True).asnumpy()
    np.testing.assert_array_equal(swapped, right @ left.T)


def test_few_lines_along_the_sum_are_not_packed() -> None:
    for rows in (2, 8, 24):
        assert isinstance(plan_of(rows, 512, 2048, along=True), NestPlan)
    assert isinstance(plan_of(25, 512, 2048, along=True), Plan)
    assert isinstance(plan_of(8, 60, 2048, along=True), Plan)


def test_results_that_take_long_are_finished_in_vectors() -> None:
    assert isinstance(plan_of(8, 512, 2048, along=True, finish="tanh"), NestPlan)
    assert isinstance(plan_of(9, 512, 2048, along=True, finish="tanh"), Plan)


def test_a_row_times_a_matrix_that_no_cache_holds() -> None:
    plan = plan_of(1, 1024, 4096)
    assert isinstance(plan, NestPlan) and plan.wide
    random = np.random.default_rng(0)
    left, right = random.integers(-4, 5, (1, 1024)), random.integers(-4, 5, (1024, 4099))
    found = nd.dot(nd.array(left), nd.array(right)).asnumpy()
    np.testing.assert_array_equal(found, left @ right)


def test_a_large_operand_of_few_rows_is_not_packed() -> None:
    for rows in (2, 4, 8, 16):
        plan = plan_of(rows, 512, 2048)
        assert isinstance(plan, Plan) and plan.right is None
    plan = plan_of(512, 512, 2048)
    assert isinstance(plan, Plan) and plan.right is not None
    assert isinstance(plan_of(4, 4, 4), NestPlan)


@pytest.mark.parametrize("inner", [1, 2, 7, 8, 9])
def test_short_sums_are_written_line_by_line(inner: int) -> None:
    """The same numbers as where tiles compute them: a column more or less is no other product."""
    assert isinstance(plan_of(300, inner, 200), NestPlan if inner <= 8 else Plan)
    assert isinstance(plan_of(300, inner, 199), Plan)
    random = np.random.default_rng(inner)
    left = nd.array(random.standard_normal((30, inner)))
    right = random.standard_normal((inner, 333))
    whole = nd.dot(left, nd.array(right)).asnumpy()
    part = nd.dot(left, nd.array(right[:, :199])).asnumpy()
    np.testing.assert_array_equal(whole[:, :199], part)
    np.testing.assert_allclose(whole, left.asnumpy() @ right, rtol=1e-5, atol=1e-5)
