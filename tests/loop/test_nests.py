"""verify, show, interpret and abstract on whole nests."""

import struct

import loop_nests as nests
import numpy as np
import pytest

from tigon.base.dtypes import bool_, float32, float64, int32, int64
from tigon.base.errors import InternalError
from tigon.base.frozen import replace
from tigon.loop import build as L
from tigon.loop.abstract import abstract, bind
from tigon.loop.grammar import (
    Accumulator,
    AnyNest,
    Apply,
    Buffer,
    Let,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Scan,
    Store,
)
from tigon.loop.interpret import interpret
from tigon.loop.show import show
from tigon.loop.verify import verify

ALL: dict[str, AnyNest] = {
    "softmax": nests.softmax(3, 5),
    "pool": nests.padded_pool(2, 6, 3, 1),
    "product": nests.matrix_product(3, 4, 5),
    "extremes": nests.first_extremes(4, 6),
    "running": nests.running_sum(2, 7),
    "scans": nests.scans(2, 7),
}


def run(nest: AnyNest, inputs: list[np.ndarray], sizes: list[int], slots: bytes = b"") -> list:
    outputs = iter(sizes)
    given = iter(inputs)
    arrays: list[np.ndarray | None] = []
    for buffer in nest.buffers:
        if buffer.role == "in":
            arrays.append(next(given))
        elif buffer.role == "out":
            arrays.append(np.zeros(next(outputs), buffer.dtype.numpy))
        else:
            arrays.append(None)
    interpret(nest, arrays, slots)
    return [a for a, b in zip(arrays, nest.buffers, strict=True) if b.role == "out"]


def uniform(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-2, 2, shape).astype(np.float32)


# -------------------------------------------------------------------------------- interpret


def test_softmax() -> None:
    x = uniform(3, 5)
    (got,) = run(ALL["softmax"], [x.ravel()], [15])
    e = np.exp(x.astype(np.float64) * 0.5)
    np.testing.assert_allclose(got.reshape(3, 5), e / e.sum(1, keepdims=True), rtol=1e-6)


def test_guarded_load_never_leaves_the_array() -> None:
    x = uniform(2, 6)
    (got,) = run(ALL["pool"], [x.ravel()], [12])
    wide = np.pad(x, ((0, 0), (1, 1)), constant_values=-np.inf)
    expected = np.lib.stride_tricks.sliding_window_view(wide, 3, axis=1).max(-1)
    np.testing.assert_array_equal(got.reshape(2, 6), expected)


def test_contraction() -> None:
    a, b, c = uniform(3, 5), uniform(5, 4), uniform(4)
    (got,) = run(ALL["product"], [a.ravel(), b.ravel(), c], [12])
    np.testing.assert_allclose(got.reshape(3, 4), np.maximum(a @ b + c, 0), rtol=1e-5)


def test_first_extremes_with_ties_and_nan() -> None:
    x = np.array([[1, 3, 3, 0, 0, 2], [5] * 6, [1, np.nan, 9, np.nan, 0, 0], [-np.inf] * 6])
    first, last = run(ALL["extremes"], [x.astype(np.float32).ravel()], [4, 4])
    np.testing.assert_array_equal(first, x.argmax(1))
    np.testing.assert_array_equal(last, x.argmin(1))


def test_sequential_loop_and_scratch() -> None:
    x = uniform(2, 7)
    (got,) = run(ALL["running"], [x.ravel()], [14])
    np.testing.assert_array_equal(got.reshape(2, 7), x.cumsum(1, dtype=np.float32))


def test_scan() -> None:
    x = uniform(2, 7)
    halves, greatest = run(ALL["scans"], [x.ravel()], [14, 14])
    np.testing.assert_array_equal(halves.reshape(2, 7), x.cumsum(1, dtype=np.float32) / 2)
    np.testing.assert_array_equal(greatest.reshape(2, 7), np.maximum.accumulate(x * x, 1))


def test_bounds_may_depend_on_outer_axes() -> None:
    i, k = L.axis("i"), LoopAxis("k", L.add(L.axis("i"), 1), L.const(0))
    total = Reduce((k,), (Accumulator("s", "sum", L.load(0, L.axis("k"), int64)),))
    nest = Nest(
        (Buffer(int64, "in"), Buffer(int64, "out")),
        (nests.axis("i", 5),),
        (total, Store(1, i, L.local("s", int64))),
    )
    (got,) = run(nest, [np.arange(1, 6)], [5])
    np.testing.assert_array_equal(got, np.arange(1, 6).cumsum())


def test_empty_reductions_give_the_neutral_element() -> None:
    k = nests.axis("k", 0)
    x = L.load(0, L.axis("k"), float32)
    kinds = ("sum", "prod", "maximum", "minimum")
    reduce = Reduce((k,), tuple(Accumulator(kind, kind, x) for kind in kinds))
    stores = tuple(
        Store(1, L.const(number), L.local(kind, float32)) for number, kind in enumerate(kinds)
    )
    nest = Nest((Buffer(float32, "in"), Buffer(float32, "out")), (), (reduce, *stores))
    (got,) = run(nest, [np.zeros(0, np.float32)], [4])
    np.testing.assert_array_equal(got, [0, 1, -np.inf, np.inf])


def test_accumulating_store() -> None:
    index = L.load(0, L.axis("i"), int64)
    nest = Nest(
        (Buffer(int64, "in"), Buffer(float32, "out")),
        (),
        (Loop((nests.axis("i", 4),), (Store(1, index, L.const(1.5, float32), True),)),),
    )
    (got,) = run(nest, [np.array([2, 0, 2, 2])], [3])
    np.testing.assert_array_equal(got, [1.5, 0, 4.5])


@pytest.mark.parametrize(
    ("store", "message"),
    [
        (Store(1, L.add(L.axis("i"), 1), L.const(1, float32)), "writes 1..4 of 4"),
        (Store(1, L.axis("i"), L.load(0, L.sub(L.axis("i"), 1), float32)), "read out of range"),
        (Store(1, L.const(0), L.cast(L.axis("i"), float32)), "different values to one element"),
    ],
)
def test_faults_are_noticed(store: Store, message: str) -> None:
    nest = Nest((Buffer(float32, "in"), Buffer(float32, "out")), (nests.axis("i", 4),), (store,))
    with pytest.raises(InternalError, match=message):
        run(nest, [uniform(4)], [4])


def test_fused_multiply_add_rounds_once() -> None:
    rng = np.random.default_rng(0)
    x, y, z = (rng.standard_normal(400) * 2.0 ** rng.integers(-8, 8, 400) for _ in range(3))
    from tigon.loop.functions import evaluate

    z[:200] = -(x * y)[:200] * (1 + 1e-9)
    got = evaluate("fma", tuple(v.astype(np.float32) for v in (x, y, z)), float32)
    exact = [v.astype(np.float32).astype(np.longdouble) for v in (x, y, z)]
    np.testing.assert_array_equal(got, (exact[0] * exact[1] + exact[2]).astype(np.float32))
    from fractions import Fraction

    double = evaluate("fma", (x, y, z), float64)
    for k in range(400):
        assert double[k] == float(Fraction(x[k]) * Fraction(y[k]) + Fraction(z[k]))


# ----------------------------------------------------------------------------------- verify


@pytest.mark.parametrize("name", ALL)
def test_good_nests_verify(name: str) -> None:
    verify(ALL[name])
    verify(abstract(ALL[name])[0])


I_, X = L.axis("i"), L.load(0, L.axis("i"), float32)
SPACE = (nests.axis("i", 4),)
VECTOR = nests.axis("v", 4, vector=True)
SUM, FIRST = Accumulator("a", "sum", X), Accumulator("a", "argmax", X, I_)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ((Store(0, I_, X),), "buffer 0 is an input"),
        ((Store(1, I_, I_),), "expected float32, given int64"),
        ((Store(5, I_, X),), "no buffer 5"),
        ((Store(1, L.axis("z"), X),), "axis z is not in scope"),
        ((Store(1, I_, L.local("s", float32)),), "local s of float32 is not in scope"),
        ((Let("a", X), Let("a", X)), "local a is bound twice"),
        ((Loop((nests.axis("i", 2),), ()),), "axis i is already in scope"),
        ((Loop((VECTOR, nests.axis("w", 2, True)), ()),), "inside vector axis v"),
        ((Loop((VECTOR,), (Store(1, I_, X),)),), "all lanes of v store to one element"),
        ((Let("a", L.load(0, I_, int32)),), "reads int32 from buffer 0 of float32"),
        ((Store(1, I_, Apply("add", (X, I_), float32)),), "operands must have one dtype"),
        ((Store(1, I_, Apply("lt", (X, X), float32)),), "is bool, not float32"),
        ((Reduce((VECTOR,), (Accumulator("a", "mean", X),)),), "no such combination 'mean'"),
        ((Reduce((VECTOR,), (Accumulator("a", "argmax", X),)),), "a position belongs"),
        ((Loop((VECTOR,), (Let("a", X),)), Store(1, I_, L.local("a", float32))), "not in scope"),
        ((Scan(VECTOR, (SUM,), ()), Store(1, I_, L.local("a", float32))), "not in scope"),
        ((Scan(VECTOR, (FIRST,), ()),), "a scan keeps values, not positions"),
        ((Scan(VECTOR, (SUM,), (Store(1, I_, X),)),), "all lanes of v store to one element"),
    ],
)
def test_bad_nests_are_refused(body: tuple, message: str) -> None:
    nest = Nest((Buffer(float32, "in"), Buffer(float32, "out")), SPACE, body)
    with pytest.raises(InternalError, match=message) as caught:
        verify(nest)
    assert show(nest) in str(caught.value)


def test_contraction_sides_mention_their_own_axes() -> None:
    nest = nests.matrix_product(3, 4, 5)
    with pytest.raises(InternalError, match="right mentions rows axes"):
        verify(replace(nest, right=nest.left))


# ------------------------------------------------------------------------------------- show


def test_text_of_softmax() -> None:
    assert (
        show(ALL["softmax"])
        == """\
nest b0: float32 in, b1: float32 out
parallel i < 3:
  m = maximum over k < 5 (vector): b0[i * 5 + k] * 0.5
  s = sum over k < 5 (vector): exp(b0[i * 5 + k] * 0.5 - m)
  for k < 5 (vector):
    b1[i * 5 + k] = exp(b0[i * 5 + k] * 0.5 - m) / s"""
    )


def test_text_of_scan() -> None:
    assert (
        show(ALL["scans"])
        == """\
nest b0: float32 in, b1: float32 out, b2: float32 out
parallel i < 2:
  scan t < 7 (vector):
    s = sum so far: b0[i * 7 + t]
    t0 = b0[i * 7 + t]
    m = maximum so far: t0 * t0
    b1[i * 7 + t] = s * 0.5
    b2[i * 7 + t] = m"""
    )


def test_text_of_contraction() -> None:
    assert (
        show(ALL["product"])
        == """\
contraction b0: float32 in, b1: float32 in, b2: float32 in, b3: float32 out
rows i < 3
columns j < 4
inner q < 5
left = b0[i * 5 + q]
right = b1[q * 4 + j]
acc: float32 = sum of left * right
y = acc + b2[j]
b3[i * 4 + j] = maximum(y, 0.0)"""
    )


def test_text_of_shared_values_stays_short() -> None:
    x = L.load(0, I_, float32)
    for _ in range(40):
        x = L.mul(x, x)
    nest = Nest((Buffer(float32, "in"), Buffer(float32, "out")), SPACE, (Store(1, I_, x),))
    assert len(show(nest).splitlines()) < 50


# --------------------------------------------------------------------------------- abstract


@pytest.mark.parametrize("name", ALL)
def test_binding_the_numbers_gives_the_nest_back(name: str) -> None:
    structure, values = abstract(ALL[name])
    bound = bind(structure, values)
    assert abstract(bound) == (structure, values)
    assert abstract(bound)[0] is structure
    verify(bound)
    rng = np.random.default_rng(5)
    sizes = {"softmax": [15], "pool": [12], "product": [12], "extremes": [4, 4], "running": [14]}
    sizes["scans"] = [14, 14]
    inputs = [
        rng.uniform(-1, 1, 60).astype(buffer.dtype.numpy)
        for buffer in bound.buffers
        if buffer.role == "in"
    ]
    expected = run(ALL[name], inputs, sizes[name])
    for one, two, three in zip(
        expected,
        run(bound, inputs, sizes[name]),
        run(structure, inputs, sizes[name], values),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_shapes_and_scalars_share_a_structure() -> None:
    first, values = abstract(nests.softmax(3, 5, 0.5))
    second, others = abstract(nests.softmax(7, 7, 0.25))
    assert first is second
    assert len(values) == len(others)
    # rows, columns, scale and one stride per buffer: the axis k is one axis in three statements
    assert len(values) == 8 * 5
    assert abstract(nests.padded_pool(2, 6, 3, 1))[0] is abstract(nests.padded_pool(1, 9, 2, 4))[0]
    assert abstract(nests.matrix_product(2, 2, 2))[0] is abstract(nests.matrix_product(3, 4, 5))[0]


def test_zero_one_and_exponents_are_structure() -> None:
    def scaled(value: float) -> Nest:
        body = (Store(1, I_, L.add(L.pow(X, 2), value)),)
        return Nest((Buffer(float32, "in"), Buffer(float32, "out")), SPACE, body)

    assert abstract(scaled(1.0))[0] is not abstract(scaled(3.0))[0]
    assert abstract(scaled(2.0))[0] is abstract(scaled(3.0))[0]
    assert struct.unpack("<qd", abstract(scaled(2.0))[1]) == (4, 2.0)
    store = abstract(scaled(2.0))[0].body[0]
    assert isinstance(store, Store)
    assert "pow(load(0, a0), 2.0)" in repr(store.value)


def test_names_do_not_matter() -> None:
    def copy(axis: str, local: str) -> Nest:
        body = (
            Let(local, L.load(0, L.axis(axis), float32)),
            Store(1, L.axis(axis), L.local(local, float32)),
        )
        return Nest((Buffer(float32, "in"), Buffer(float32, "out")), (nests.axis(axis, 4),), body)

    assert abstract(copy("i", "x"))[0] is abstract(copy("j", "y"))[0]


# ------------------------------------------------------------------------------------ build


def test_constants_fold_with_the_semantics_of_the_dtype() -> None:
    assert L.add(L.const(127, int32), 1) is L.const(128, int32)
    assert L.mul(L.const(1 << 62), 4) is L.const(0)
    assert L.floordiv(L.const(7), 0) is L.const(0)
    assert L.add(L.const(0.1, float32), 0.2).value == float(np.float32(0.1) + np.float32(0.2))
    assert L.cast(L.const(2.5, float32), int64) is L.const(2)
    assert L.cast(L.const(float("nan"), float32), int64) is L.const(0)


def test_floats_keep_signed_zero_and_nan() -> None:
    assert L.add(X, 0.0) is not X
    assert L.add(X, -0.0) is X
    assert L.mul(X, 0.0) is not L.const(0.0, float32)
    assert repr(L.eq(X, X)) == "eq(load(0, i), load(0, i))"
    assert repr(L.not_(L.lt(X, 0))) == "not(lt(load(0, i), 0.0))"
    assert L.not_(L.lt(I_, 3)) is L.ge(I_, 3)


def test_logic() -> None:
    p = L.lt(X, 1)
    assert L.and_(p, True) is p
    assert L.or_(p, True) is L.const(True, bool_)
    assert L.select(p, X, X) is X
    assert L.select(L.not_(p), X, 1) is L.select(p, 1, X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: L.add(X, I_), "loop.add: operands must have one dtype; given float32, int64"),
        (lambda: L.exp(I_), "loop.exp: no meaning for int64"),
        (lambda: L.add(1.0, 2.0), "loop.add: no dtype to give"),
        (lambda: L.select(X, X, X), "expected a bool condition; given float32"),
        (lambda: L.add(I_, 0.5), "expected a whole number for int64; given 0.5"),
        (lambda: L.bitcast(X, int64), "sizes differ"),
        (lambda: L.add(X), "expected 2 operands; given 1"),
    ],
)
def test_misuse_is_named(call: object, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        call()  # type: ignore[operator]


def test_updates_of_all_parameters_have_one_structure() -> None:
    """Each reads its own rates, at 0 and 1 or further on."""
    structures = set()
    for place in (0, 1, 5):
        rate = L.load(1, L.const(place), float32)
        store = Store(2, L.axis("i"), L.mul(L.load(0, L.axis("i"), float32), rate))
        buffers = (Buffer(float32, "in"), Buffer(float32, "in"), Buffer(float32, "out"))
        structures.add(abstract(Nest(buffers, (LoopAxis("i", L.const(8)),), (store,)))[0])
    assert len(structures) == 1
