"""Products of matrices, and what is made of them."""

from __future__ import annotations

from math import prod
from typing import Any

from tigon.contrib.onnx.build import expand, matmul, op, reshape, transpose
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value


@converts("MatMul")
def matmul_(_call: Any, x: Value, y: Value) -> Value:
    return matmul(x, y)


@converts("Gemm")
def gemm(call: Any, a: Value, b: Value, c: Value | None = None) -> Value:
    call.check(a.ndim == b.ndim == 2, f"expected matrices; given {a.shape} and {b.shape}")
    alpha, beta = call["alpha"], call["beta"]
    a = transpose(a, (1, 0)) if call["transA"] else a
    plain = alpha == 1 and (c is None or (beta == 1 and c.ndim == 1 and c.shape[0] != 1))
    if call["transB"] and plain:
        bias = () if c is None else (c,)
        return op.FullyConnected(
            a, b, *bias, num_hidden=b.shape[0], no_bias=c is None, flatten=False
        )
    product = op.dot(a, b, transpose_b=bool(call["transB"]))
    if alpha != 1:
        product = product * alpha
    if c is None or beta == 0:
        return product
    return op.broadcast_add(product, c if beta == 1 else c * beta)


@converts("Einsum")
def einsum(call: Any, *operands: Value) -> Value:
    equation = call["equation"].replace(" ", "")
    result = op.einsum(*operands, subscripts=equation)
    return reshape(result, ()) if _labels(equation) == "" else result


def _labels(equation: str) -> str:
    """Of the result: those that occur once, where they are not said."""
    operands, arrow, result = equation.partition("->")
    if arrow:
        return result
    return "".join(each for each in operands if each != "," and operands.count(each) == 1)


@converts("Det")
def det(_call: Any, x: Value) -> Value:
    found = op.linalg_det(x)
    return reshape(found, x.shape[:-2])


@converts("AffineGrid", known=(1,))
def affine_grid(call: Any, theta: Value, size: Any) -> Value:
    """Where each element of a picture comes from, in coordinates of -1 to 1."""
    spatial = size.tolist()[2:]
    axes = len(spatial)
    call.check(
        axes in (2, 3) and theta.shape[1:] == (axes, axes + 1),
        f"theta: expected shape (n, {axes}, {axes + 1}) for size {size.tolist()}; given "
        f"{theta.shape}",
    )
    lines = []
    for axis, extent in enumerate(spatial):
        step = op._iota(
            shape=tuple(extent if i == axis else 1 for i in range(axes)),
            axis=axis,
            dtype=theta.dtype.name,
        )
        if call["align_corners"]:
            step = step * (2 / (extent - 1) if extent > 1 else 0.0) - (1 if extent > 1 else 0)
        else:
            step = (step * 2 + 1) / extent - 1
        lines.append(expand(step, spatial, call.reader))
    lines = [*reversed(lines), op.ones_like(lines[0])]
    points = reshape(op.stack(*lines, axis=axes), (prod(spatial), axes + 1))
    placed = op.dot(points, transpose(reshape(theta, (theta.shape[0] * axes, axes + 1)), (1, 0)))
    grid = reshape(placed, (*spatial, theta.shape[0], axes))
    return transpose(grid, (axes, *range(axes), axes + 1))
