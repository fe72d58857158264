"""Random graphs of products and reductions with what follows them in their kernels: residuals, and
other operands read in step. Extents lie around the edges of tiles and vectors."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import tigon.ops  # noqa: F401  (registers all operators)
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, Value, variable
from tigon.ops.record import get

EDGES = (1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 15, 16, 17, 24, 25, 31, 32, 33, 47, 49, 63, 65, 81)


def given(name: str, *shape: int, dtype: str = "float32") -> Value:
    return variable(name, TensorType(shape, as_dtype(dtype)))


def after(choose: random.Random, product: Value, c: Value) -> list[Value]:
    """What may follow a product in its kernel, reading `c` in step."""
    return choose.choice(
        [
            lambda: [get("broadcast_add")(c, product)],
            lambda: [get("broadcast_sub")(product, c)],
            lambda: [get("broadcast_maximum")(get("broadcast_add")(product, c), c)],
            lambda: [(s := get("broadcast_add")(product, c)), get("broadcast_mul")(s, c)],
            lambda: [get("broadcast_add")(get("broadcast_mul")(product, product), c), c * product],
        ]
    )()


def product(choose: random.Random) -> list[Value]:
    """c and a.b, with every transposition, at the edges of tiles."""
    dtype = choose.choice(["float32", "float32", "float64", "int32", "int64"])
    m, n = choose.choice(EDGES), choose.choice(EDGES)
    if choose.random() < 0.6:
        m, n = choose.sample([choose.randint(1, 4), n], 2)
    k = choose.choice((1, 2, 3, 8, 17, 40, 400 if m * n < 400 else 5))
    left, right = choose.choice(["ik", "ki"]), choose.choice(["kj", "jk"])
    out = choose.choice(["ij", "ji"])
    size = {"i": m, "j": n, "k": k}
    a = given("a", *(size[x] for x in left), dtype=dtype)
    b = given("b", *(size[x] for x in right), dtype=dtype)
    c = given("c", *(size[x] for x in out), dtype=dtype)
    return after(choose, get("_contract")(a, b, left=left, right=right, out=out), c)


def gram(choose: random.Random) -> list[Value]:
    """A product of an array with itself, added to another, or with a narrow operand in step."""
    m, n = choose.randint(1, 6), choose.choice(EDGES)
    w = given("w", m, n)
    if choose.random() < 0.5:
        outer = get("_contract")(given("a", 1), given("b", n), left="i", right="j", out="ij")
        return [get("broadcast_add")(outer, given("c", 1, n))]
    return after(choose, get("dot")(w, w, transpose_a=True), given("c", n, n))


def batches(choose: random.Random) -> list[Value]:
    m, n, k = choose.choice(EDGES[:12]), choose.choice(EDGES), choose.choice((1, 3, 17))
    b = choose.randint(1, 3)
    product = get("batch_dot")(given("a", b, m, k), given("b", b, k, n))
    return after(choose, product, given("c", *product.shape))


def convolution(choose: random.Random) -> list[Value]:
    """Residual ones: 1x1, 3x3, with groups, few channels and many, odd images."""
    kernel = choose.choice((1, 3))
    groups = choose.choice((1, 1, 1, 2))
    channels = groups * choose.choice((1, 2, 3, 4, 8, 13, 17))
    filters = groups * choose.choice((1, 2, 3, 4, 8, 14, 17))
    height, width = choose.choice((1, 3, 4, 7, 13, 14)), choose.choice((2, 5, 7, 13, 16, 17))
    batch = choose.randint(1, 3)
    y = get("Convolution")(
        given("x", batch, channels, height, width),
        given("weight", filters, channels // groups, kernel, kernel),
        kernel=(kernel, kernel),
        num_filter=filters,
        num_group=groups,
        pad=(kernel // 2, kernel // 2),
        no_bias=True,
    )
    return after(choose, y, given("c", *y.shape))


def rows(choose: random.Random) -> list[Value]:
    """Reductions, and what is written of full and of row extent after them."""
    m, n = choose.choice(EDGES), choose.choice((*EDGES, 300))
    dtype = choose.choice(["float32", "float64"])
    x, c = given("x", m, n, dtype=dtype), given("c", m, n, dtype=dtype)
    axis = choose.randint(0, 1)
    total = get("sum")(x, axis=axis, keepdims=True)
    thin = given("thin", *total.shape, dtype=dtype)
    return choose.choice(
        [
            lambda: [get("softmax")(x, axis=axis)],
            lambda: [get("softmax")(x, axis=axis), c * x],
            lambda: [get("broadcast_add")(total, thin), get("broadcast_mul")(x, thin)],
            lambda: [get("broadcast_sub")(x, total) * c, get("broadcast_add")(x, thin)],
            lambda: [get("log_softmax")(get("tanh")(x), axis=axis), c + x],
        ]
    )()


def residual_network(choose: random.Random) -> list[Value]:
    """Blocks `h + f(g(h))`, dense ones or convolutions, of few rows or channels or many: each sum
    is read in step by the kernel of the next one, and by nothing after it."""
    blocks = choose.randint(2, 3)
    if choose.random() < 0.5:
        batch, units = choose.randint(1, 5), choose.choice(EDGES)
        shape, weights = (batch, units), (units, units)
    else:
        channels, side = choose.choice((1, 2, 3, 4, 8, 13)), choose.choice((3, 5, 7, 13))
        shape, weights = (choose.randint(1, 2), channels, side, side), (channels, channels, 3, 3)

    def layer(x: Value, name: str) -> Value:
        options: dict[str, Any] = {"num_hidden": weights[0], "no_bias": True}
        if len(shape) > 2:
            options = {"num_filter": weights[0], "no_bias": True, "kernel": (3, 3), "pad": (1, 1)}
        kind = "Convolution" if len(shape) > 2 else "FullyConnected"
        return get(kind)(x, given(name, *weights), **options)

    h = layer(given("x", *shape), "first")
    for block in range(blocks):
        inner = get("tanh")(layer(h, f"inner{block}"))
        h = get("broadcast_add")(get("tanh")(layer(inner, f"outer{block}")), h)
    return [layer(h, "last")]


MAKERS: dict[str, Callable[[random.Random], list[Value]]] = {
    "product": product,
    "gram": gram,
    "batches": batches,
    "convolution": convolution,
    "rows": rows,
    "network": residual_network,
}


def residual_graph(seed: int) -> Graph:
    """The graph of that number."""
    choose = random.Random(seed)
    outputs = MAKERS[choose.choice([*MAKERS, *["network"] * 4])](choose)
    return Graph.of(list(dict.fromkeys(outputs)))
