"""Nests that several tests share."""

from tigon.base.dtypes import DType, float32, int64
from tigon.loop import build as L
from tigon.loop.grammar import (
    Accumulator,
    Buffer,
    Contraction,
    Expr,
    Let,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Scan,
    Store,
)


def axis(name: str, stop: int, vector: bool = False) -> LoopAxis:
    return LoopAxis(name, L.const(stop), vector=vector)


def softmax(rows: int, columns: int, scale: float = 0.5) -> Nest:
    """Three sweeps over one row; the axis `k` is the same in all."""
    k = axis("k", columns, vector=True)
    index = L.add(L.mul(L.axis("i"), columns), L.axis("k"))
    x = L.mul(L.load(0, index, float32), scale)
    e = L.exp(L.sub(x, L.local("m", float32)))
    body = (
        Reduce((k,), (Accumulator("m", "maximum", x),)),
        Reduce((k,), (Accumulator("s", "sum", e),)),
        Loop((k,), (Store(1, index, L.div(e, L.local("s", float32))),)),
    )
    return Nest((Buffer(float32, "in"), Buffer(float32, "out")), (axis("i", rows),), body)


def padded_pool(channels: int, height: int, window: int, pad: int) -> Nest:
    """Largest element under each window; outside is least. A guarded load."""
    c, y, dy = L.axis("c"), L.axis("y"), L.axis("dy")
    source = L.sub(L.add(y, dy), pad)
    inside = L.and_(L.ge(source, 0), L.lt(source, height))
    value = L.select(inside, L.load(0, L.add(L.mul(c, height), source), float32), L.least(float32))
    out = height + 2 * pad - window + 1
    body = (
        Reduce((axis("dy", window),), (Accumulator("m", "maximum", value),)),
        Store(1, L.add(L.mul(c, out), y), L.local("m", float32)),
    )
    space = (axis("c", channels), axis("y", out))
    return Nest((Buffer(float32, "in"), Buffer(float32, "out")), space, body)


def matrix_product(m: int, n: int, k: int, dtype: DType = float32) -> Contraction:
    """relu(a @ b + bias)."""
    i, j, q = L.axis("i"), L.axis("j"), L.axis("q")
    value = L.add(L.local("acc", dtype), L.load(2, j, dtype))
    return Contraction(
        buffers=(*(Buffer(dtype, "in") for _ in range(3)), Buffer(dtype, "out")),
        batch=(),
        rows=(axis("i", m),),
        columns=(axis("j", n),),
        inner=(axis("q", k),),
        left=L.load(0, L.add(L.mul(i, k), q), dtype),
        right=L.load(1, L.add(L.mul(q, n), j), dtype),
        accumulator="acc",
        dtype=dtype,
        body=(
            Let("y", value),
            Store(3, L.add(L.mul(i, n), j), L.maximum(L.local("y", dtype), 0)),
        ),
    )


def first_extremes(rows: int, columns: int) -> Nest:
    """argmax and argmin of each row."""
    x = L.load(0, L.add(L.mul(L.axis("i"), columns), L.axis("k")), float32)
    body = (
        Reduce(
            (axis("k", columns),),
            (
                Accumulator("a", "argmax", x, L.axis("k")),
                Accumulator("b", "argmin", x, L.axis("k")),
            ),
        ),
        Store(1, L.axis("i"), L.local("a", int64)),
        Store(2, L.axis("i"), L.local("b", int64)),
    )
    buffers = (Buffer(float32, "in"), Buffer(int64, "out"), Buffer(int64, "out"))
    return Nest(buffers, (axis("i", rows),), body)


def running_sum(rows: int, length: int) -> Nest:
    """A loop whose iterations depend on one another, through private scratch."""
    i, t = L.axis("i"), L.axis("t")
    value: Expr = L.add(L.load(2, L.const(0), float32), L.load(0, _at(i, t, length), float32))
    body = (
        Store(2, L.const(0), L.const(0, float32)),
        Loop(
            (axis("t", length),),
            (
                Store(2, L.const(0), value),
                Store(1, _at(i, t, length), L.load(2, L.const(0), float32)),
            ),
        ),
    )
    buffers = (
        Buffer(float32, "in"),
        Buffer(float32, "out"),
        Buffer(float32, "scratch", L.const(1)),
    )
    return Nest(buffers, (axis("i", rows),), body)


def scans(rows: int, length: int) -> Nest:
    """What the elements of each row come to, halved, and the greatest so far."""
    at = _at(L.axis("i"), L.axis("t"), length)
    x = L.load(0, at, float32)
    scan = Scan(
        axis("t", length, vector=True),
        (Accumulator("s", "sum", x), Accumulator("m", "maximum", L.mul(x, x))),
        (
            Store(1, at, L.mul(L.local("s", float32), 0.5)),
            Store(2, at, L.local("m", float32)),
        ),
    )
    buffers = (Buffer(float32, "in"), Buffer(float32, "out"), Buffer(float32, "out"))
    return Nest(buffers, (axis("i", rows),), (scan,))


def _at(i: Expr, t: Expr, length: int) -> Expr:
    return L.add(L.mul(i, length), t)
