"""Factorizations, triangular systems, inverses and determinants: batches, both triangles, views as
operands, failures, gradients of gradients, threads, later processes, and without SciPy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import linalg as scipy_linalg

import tigon as mx
from tigon import _native, autograd, gluon, nd, sym
from tigon.backends.cpu import routines

ROOT = Path(__file__).parents[2]
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)


def matrices(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, shape).astype(dtype)


def definite(*batch: int, size: int, dtype: str = "float64") -> np.ndarray:
    x = matrices(*batch, size, size)
    return (x @ np.swapaxes(x, -1, -2) + size * np.eye(size)).astype(dtype)


def array(x: np.ndarray) -> nd.NDArray:
    return nd.array(x, dtype=x.dtype)


def turned(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2)


# --------------------------------------------------------------------------------- what it computes


@DTYPES
@pytest.mark.parametrize("size", [1, 2, 31, 32, 100, 257])
def test_cholesky_factors_of_every_size(size: int, dtype: str) -> None:
    """As SciPy's, with zeros in the other triangle, whatever that of the operand holds."""
    a = definite(3, size=size, dtype=dtype)
    expected = np.stack([scipy_linalg.cholesky(each, lower=True) for each in a])
    noise = np.triu(np.full((size, size), np.nan, dtype), 1)
    np.testing.assert_allclose(
        nd.linalg.potrf(array(np.tril(a) + noise)).asnumpy(), expected, rtol=0, atol=1e-3
    )
    upper = nd.linalg.potrf(array(np.triu(a) + turned(noise)), lower=False).asnumpy()
    np.testing.assert_allclose(upper, turned(expected), rtol=0, atol=1e-3)
    lower = nd.linalg.potrf(array(a)).asnumpy()
    assert lower.dtype == dtype
    assert not np.triu(lower, 1).any()
    scale = TOLERANCE[dtype] * size
    np.testing.assert_allclose(lower @ turned(lower), a, rtol=scale, atol=scale)


@DTYPES
def test_inverses_of_factors_are_whole(dtype: str) -> None:
    a = definite(2, 3, size=20, dtype=dtype)
    for lower in (True, False):
        factor = nd.linalg.potrf(array(a), lower=lower)
        found = nd.linalg.potri(factor, lower=lower).asnumpy()
        np.testing.assert_array_equal(found, turned(found))
        np.testing.assert_allclose(found, np.linalg.inv(a), atol=TOLERANCE[dtype])


@DTYPES
@pytest.mark.parametrize("rightside", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("lower", [False, True])
def test_triangular_systems(lower: bool, transpose: bool, rightside: bool, dtype: str) -> None:
    """Multiplied again they are what was given."""
    a = definite(2, size=15, dtype=dtype)
    b = matrices(2, *((4, 15) if rightside else (15, 4)), dtype=dtype)
    how: dict[str, Any] = {"lower": lower, "transpose": transpose, "rightside": rightside}
    x = nd.linalg.trsm(array(a), array(b), alpha=3.0, **how)
    again = nd.linalg.trmm(array(a), x, **how).asnumpy()
    np.testing.assert_allclose(again, 3 * b, atol=10 * TOLERANCE[dtype])


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (5, 40), (2, 3, 33, 64)])
def test_lq_factors(shape: tuple[int, ...], dtype: str) -> None:
    a = matrices(*shape, dtype=dtype)
    q, low = (each.asnumpy() for each in nd.linalg.gelqf(array(a)))
    scale = 10 * TOLERANCE[dtype]
    assert (q.shape, low.shape) == (shape, (*shape[:-1], shape[-2]))
    assert not np.triu(low, 1).any()
    np.testing.assert_allclose(low @ q, a, atol=scale)
    np.testing.assert_allclose(
        q @ turned(q), np.broadcast_to(np.eye(shape[-2]), low.shape), atol=scale
    )


@DTYPES
@pytest.mark.parametrize("size", [1, 2, 30, 65])
def test_eigenvectors_are_rows_with_a_sign_of_their_own(size: int, dtype: str) -> None:
    a = definite(3, size=size, dtype=dtype)
    u, values = (each.asnumpy() for each in nd.linalg.syevd(array(np.tril(a))))
    scale = 100 * TOLERANCE[dtype]
    np.testing.assert_allclose(turned(u) @ (values[..., None] * u), a, atol=scale)
    assert (np.diff(values) >= 0).all()
    largest = np.take_along_axis(u, np.abs(u).argmax(-1)[..., None], -1)
    assert (largest > 0).all()


@DTYPES
def test_inverses_and_determinants(dtype: str) -> None:
    a = definite(2, 2, size=9, dtype=dtype)
    np.testing.assert_allclose(
        nd.linalg.inverse(array(a)).asnumpy() @ a,
        np.broadcast_to(np.eye(9), a.shape),
        atol=TOLERANCE[dtype],
    )
    np.testing.assert_allclose(
        nd.linalg.det(array(a)).asnumpy(), np.linalg.det(a), rtol=TOLERANCE[dtype]
    )
    sign, logarithm = nd.linalg.slogdet(array(-a))
    np.testing.assert_array_equal(sign.asnumpy(), np.full((2, 2), -1, dtype))
    np.testing.assert_allclose(logarithm.asnumpy(), np.linalg.slogdet(a)[1], rtol=TOLERANCE[dtype])


def test_answers_of_mxnet_1_9_1() -> None:
    def shown(x: nd.NDArray) -> Any:
        return x.shape, x.asnumpy().round(5).tolist()

    assert shown(nd.linalg.potrf(nd.array([[4, 2], [2, 3]]))) == (
        (2, 2),
        [[2.0, 0.0], [1.0, 1.4142099618911743]],
    )
    assert shown(nd.linalg.det(nd.array([[1, 2], [3, 4]]))) == ((1,), [-2.0])
    assert shown(nd.linalg.trsm(nd.array([[2, 0], [1, 1]]), nd.ones((2, 2)))) == (
        (2, 2),
        [[0.5, 0.5], [0.5, 0.5]],
    )
    assert shown(nd.linalg.inverse(nd.array([[2, 0], [0, 4]]))) == ((2, 2), [[0.5, 0], [0, 0.25]])


def test_every_spelling_is_there() -> None:
    a = nd.array(definite(size=2, dtype="float32"))
    for name in "potrf potri gelqf syevd inverse det slogdet".split():
        found = [
            getattr(nd.linalg, name)(a),
            getattr(nd, f"linalg_{name}")(a),
            getattr(mx.nd._internal, f"_linalg_{name}")(a),
            getattr(sym.linalg, name)(sym.var("a")).eval(a=a),
        ]
        texts = {
            str([each.asnumpy().tolist() for each in (f if isinstance(f, (list, tuple)) else [f])])
            for f in found
        }
        assert len(texts) == 1, name


def test_the_names_of_linalg_are_mxnets() -> None:
    expected = (
        "det extractdiag extracttrian gelqf gemm gemm2 inverse makediag maketrian potrf potri "
        "slogdet sumlogdiag syevd syrk trmm trsm"
    )
    for group in (nd.linalg, sym.linalg):
        assert [name for name in dir(group) if name[0] != "_"] == expected.split()


def test_views_and_expressions_are_operands() -> None:
    """A routine reads memory, so what is no memory gets some."""
    a = definite(4, size=5, dtype="float32")

    def compute(x: nd.NDArray) -> tuple[nd.NDArray, ...]:
        turn = nd.transpose(x, axes=(0, 2, 1))
        return (
            nd.linalg.inverse(turn),
            nd.linalg.inverse(x[1:3] * 2),
            nd.linalg.det(nd.reshape(x, (2, 2, 5, 5))),
            nd.linalg.potrf(nd.eye(3) * 4),
            nd.linalg.trsm(nd.linalg.potrf(x), turn) + 1,
        )

    factor = np.linalg.cholesky(a)
    expected = (
        np.linalg.inv(turned(a)),
        np.linalg.inv(a[1:3] * 2),
        np.linalg.det(a).reshape(2, 2),
        np.eye(3) * 2,
        np.linalg.solve(factor, turned(a)) + 1,
    )
    for way in (compute, mx.jit(compute)):
        for found, wanted in zip(way(array(a)), expected, strict=True):
            np.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-4, atol=1e-4)


def test_one_of_two_results_is_enough() -> None:
    """The other has a place of its own all the same, while it is written."""
    a = definite(3, size=6, dtype="float32")

    def compute(x: nd.NDArray) -> nd.NDArray:
        y = nd.exp(nd.linalg.potrf(x) * 0.1)
        vectors = nd.linalg.syevd(x)[0]
        q = nd.linalg.gelqf(x)[1]
        return nd.batch_dot(vectors, y) + q + nd.log(y)

    np.testing.assert_allclose(
        mx.jit(compute)(array(a)).asnumpy(), compute(array(a)).asnumpy(), rtol=1e-5, atol=1e-5
    )


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    a = definite(100, size=40, dtype="float32")
    before = _native.num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            _native.set_num_threads(threads)
            results = [
                nd.linalg.potrf(array(a)),
                *nd.linalg.syevd(array(a)),
                nd.linalg.inverse(array(a)),
            ]
            found.append([result.asnumpy().tobytes() for result in results])
    finally:
        _native.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_the_threads_of_the_library_are_the_users() -> None:
    import ctypes

    from scipy.linalg import cython_lapack

    opened = ctypes.CDLL(cython_lapack.__file__)
    names = [pair for pair in routines.THREADS if hasattr(opened, pair[0])]
    if not names:
        pytest.skip("SciPy's library has no threads of its own")
    count, set_count = (getattr(opened, name) for name in names[0])
    before = count()
    try:
        for threads in (2, 1):
            set_count(threads)
            given = count()  # a library that was built with fewer gives fewer
            nd.linalg.inverse(array(definite(8, size=50))).wait_to_read()
            with pytest.raises(mx.TigonError):
                nd.linalg.inverse(nd.zeros((8, 50, 50))).wait_to_read()
            assert count() == given
    finally:
        set_count(before)


# ----------------------------------------------------------------------------------------- failures


def broken(name: str) -> tuple[np.ndarray, str]:
    a = definite(7, size=4, dtype="float32")
    if name == "potrf":
        a[5, 2, 2] = -1
        return a, (
            "matrix 5 of the batch is not positive definite: its leading minor of order 3 is not "
            "positive; check that it is symmetric, or add to its diagonal"
        )
    a[3, 1] = a[3, :, 1] = 0
    return a, "matrix 3 of the batch is singular: pivot 2 is 0; check it, or add to its diagonal"


@pytest.mark.parametrize("name", ["potrf", "potri", "inverse"])
def test_a_matrix_that_fails_is_named(name: str) -> None:
    a, message = broken(name)
    operator = getattr(nd.linalg, name)

    def alone(x: nd.NDArray) -> nd.NDArray:
        return operator(x)

    def among_others(x: nd.NDArray) -> nd.NDArray:
        return operator(x + 0) * 2

    for way in (alone, mx.jit(alone), mx.jit(among_others)):
        with pytest.raises(mx.TigonError) as raised:
            way(array(a)).asnumpy()
        text = str(raised.value).partition(" (called at")[0]
        node, _, rest = text.partition(": ")
        assert node.rstrip("0123456789") == f"linalg_{name}"  # nodes of traces are numbered
        assert rest == message
        good = definite(7, size=4, dtype="float32")
        assert np.isfinite(way(array(good)).asnumpy()).all()  # the program is as good as before


@pytest.mark.parametrize("name", ["potrf", "potri", "inverse"])
def test_what_was_to_be_written_stays_where_a_matrix_fails(name: str) -> None:
    """Those before it in the batch have been factorized by then."""
    operator = getattr(nd.linalg, name)
    a, _ = broken(name)
    for itself in (False, True):
        x = array(a)
        given = x if itself else nd.ones(a.shape)
        before, version = given.asnumpy(), given.version
        if x.context.device_type == "cpu":  # small: it runs at the call
            with pytest.raises(mx.TigonError, match="of the batch is"):
                operator(x, out=given)
            np.testing.assert_array_equal(given.asnumpy(), before)
            assert given.version == version
        else:
            operator(x, out=given)
            with pytest.raises(mx.TigonError, match="of the batch is"):
                given.asnumpy()
        good = array(definite(7, size=4, dtype="float32"))
        operator(good, out=given)
        np.testing.assert_array_equal(given.asnumpy(), operator(good).asnumpy())


def test_large_batches_fail_alike() -> None:
    """Pushed to the engine: nothing is raised before the wait."""
    a = definite(3000, size=24, dtype="float32")
    a[2047] = -a[2047]
    y = nd.linalg.potrf(array(a))
    z = y * 2
    with pytest.raises(
        mx.TigonError,
        match=r"^linalg_potrf: matrix 2047 of the batch is not positive definite: its leading "
        r"minor of order 1 is not positive; .* \(called at .*test_factorizations.py:\d+\)$",
    ):
        z.asnumpy()


def test_singular_matrices_have_a_determinant() -> None:
    a = nd.array([[[1, 2], [2, 4]], [[1, 2], [3, 4]]])
    a.attach_grad()
    with autograd.record():
        y = nd.linalg.det(a)
    y.backward()
    np.testing.assert_allclose(y.asnumpy(), [0, -2], rtol=1e-5)
    np.testing.assert_allclose(a.grad.asnumpy(), [[[0, 0], [0, 0]], [[4, -3], [-2, 1]]], rtol=1e-5)
    with autograd.record():
        sign, logarithm = nd.linalg.slogdet(a)
    logarithm.backward()
    assert sign.asnumpy().tolist() == [0, -1]
    np.testing.assert_allclose(logarithm.asnumpy(), [-np.inf, np.log(2)], rtol=1e-5)
    expected = [[[0, 0], [0, 0]], [[-2, 1.5], [1, -0.5]]]
    np.testing.assert_allclose(a.grad.asnumpy(), expected, rtol=1e-5)


def test_zeros_on_the_diagonal_of_a_system_give_infinities() -> None:
    found = nd.linalg.trsm(nd.array([[0.0]]), nd.array([[1.0]])).asnumpy()
    assert found.tolist() == [[np.inf]]


REFUSED = [
    (
        lambda: nd.linalg.potrf(nd.ones((2, 3))),
        "linalg_potrf: expected square matrices; given shape (2, 3)",
    ),
    (lambda: nd.linalg.det(nd.ones(3)), "linalg_det: expected square matrices; given shape (3,)"),
    (
        lambda: nd.linalg.inverse(nd.ones((2, 2), dtype="int32")),
        "linalg_inverse: A: expected float32 or float64; given int32; convert it with "
        "astype('float32')",
    ),
    (
        lambda: nd.linalg.gelqf(nd.ones((3, 2))),
        "linalg_gelqf: expected no more rows than columns; given shape (3, 2); transpose the "
        "matrices?",
    ),
    (
        lambda: nd.linalg.trsm(nd.ones((3, 3)), nd.ones((2, 3))),
        "linalg_trsm: shapes (3, 3) and (2, 3) do not fit; expected equal batches, and as many "
        "rows of B as A has",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_shapes_and_dtypes_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(mx.TigonError) as raised:
        call()
    assert str(raised.value).partition(" (called at")[0] == message


# ---------------------------------------------------------------------------------------- gradients


def gaussian(x: nd.NDArray, y: nd.NDArray) -> nd.NDArray:
    """The logarithm of a density, by a factor."""
    low = nd.linalg.potrf(x)
    solved = nd.linalg.trsm(low, y)
    return (solved * solved).sum() + 2 * nd.linalg.sumlogdiag(low).sum()


FUNCTIONS: dict[str, Callable[[nd.NDArray, nd.NDArray], nd.NDArray]] = {
    "gaussian": gaussian,
    "potri": lambda x, y: nd.linalg.potri(nd.linalg.potrf(x)).sum() * y.sum(),
    "gelqf": lambda x, y: (
        nd.batch_dot(*nd.linalg.gelqf(x)) * nd.batch_dot(y, y, transpose_b=True)
    ).sum(),
    "syevd": lambda x, y: (nd.batch_dot(nd.linalg.syevd(x)[0], y) ** 3).sum(),
    "inverse": lambda x, y: nd.batch_dot(nd.linalg.inverse(x), y).sum(),
    "det": lambda x, y: (nd.linalg.det(x) * 0.01 + nd.linalg.slogdet(x)[1]).sum() * y.sum(),
}


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_gradients(name: str, hybridized: bool) -> None:
    """By the tape, imperatively and compiled, against differences of the function itself; the
    operand is symmetric, as a product is."""
    function = FUNCTIONS[name]

    def of_factor(w: nd.NDArray, y: nd.NDArray) -> nd.NDArray:
        apart = nd.linalg.makediag(nd.arange(1, 4, dtype="float64") * 3)
        return function(nd.batch_dot(w, w, transpose_b=True) + apart, y)

    call = mx.jit(of_factor) if hybridized else of_factor
    w, y = matrices(2, 3, 3), matrices(3, 3, 2)[:2]
    rng = np.random.default_rng(3)
    first, second = rng.uniform(-1, 1, (2, *w.shape))

    def value(by: np.ndarray) -> float:
        return float(call(array(w + by), array(y)).asnumpy().sum())

    operand, other = array(w), array(y)
    operand.attach_grad()
    other.attach_grad()
    with autograd.record():
        result = call(operand, other)
        (slope,) = autograd.grad(result, [operand], create_graph=True)
        along = (slope * array(first)).sum()
    along.backward()
    step = 1e-4
    expected = (value(step * first) - value(-step * first)) / (2 * step)
    np.testing.assert_allclose(along.asnumpy(), expected, rtol=1e-6, atol=1e-6)
    curved = (
        value(step * (first + second))
        - value(step * (first - second))
        - value(step * (second - first))
        + value(-step * (first + second))
    ) / (4 * step * step)
    found = (operand.grad.asnumpy() * second).sum()
    np.testing.assert_allclose(found, curved, rtol=1e-4, atol=1e-4)


def test_a_block_learns_through_a_factor() -> None:
    class Density(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.factor = self.params.get("factor", shape=(2, 2))

        def hybrid_forward(self, F: Any, y: Any, factor: Any) -> Any:
            covariance = F.linalg.syrk(factor) + F.linalg.makediag(F.ones((2,)))
            low = F.linalg.potrf(covariance)
            solved = F.linalg.trsm(low, F.transpose(y))
            return F.mean(F.sum(solved * solved, axis=0)) + 2 * F.linalg.sumlogdiag(low)

    y = nd.array(np.random.default_rng(0).normal(0, [3, 2], (200, 2)).astype("float32"))
    results = []
    for hybridized in (False, True):
        block = Density()
        block.initialize()
        block.factor.set_data(nd.eye(2))
        if hybridized:
            block.hybridize()
        trainer = gluon.Trainer(block.collect_params(), "sgd", {"learning_rate": 0.2})
        for _ in range(60):
            with autograd.record():
                loss = block(y)
            loss.backward()
            trainer.step(1)
        results.append((loss.asscalar(), block.factor.data().asnumpy()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4)
    found = results[1][1] @ results[1][1].T + np.eye(2)
    np.testing.assert_allclose(found, np.cov(y.asnumpy().T, bias=True), atol=0.5)


# ------------------------------------------------------------------- processes, without SciPy


def run(code: str, folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join([*map(str, path), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TIGON_CACHE": str(folder), "PYTHONPATH": places},
        cwd=folder,
        capture_output=True,
        text=True,
    )


PROGRAM = """
import tigon as mx
from tigon import nd, autograd
from tigon.program.cached_graph import CachedGraph
x = mx.sym.var("x", shape=(2, 2))
graph = CachedGraph((mx.sym.linalg.potrf(x) * 2)._graph())
(y,) = graph([nd.array([[4, 2], [2, 5]])])
print(y.asnumpy().tolist())
print(mx.runtime.stats()["kernel_compilations"])
print(nd.linalg.inverse(nd.array([[2, 0], [0, 4]])).asnumpy().tolist())
"""


def test_a_later_process_finds_the_routines(tmp_path: Path) -> None:
    first, second = run(PROGRAM, tmp_path), run(PROGRAM, tmp_path)
    for done, compiled in ((first, "1"), (second, "0")):
        assert done.returncode == 0, done.stderr
        result, kernels, inverse = done.stdout.splitlines()
        assert (result, inverse) == ("[[4.0, 0.0], [2.0, 4.0]]", "[[0.5, 0.0], [-0.0, 0.25]]")
        assert kernels == compiled


def test_without_scipy_the_message_says_what_to_install(tmp_path: Path) -> None:
    """Everything else works, syrk and trmm among it."""
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").write_text("raise ImportError('No module named scipy')")
    code = """
import tigon as mx
from tigon import nd
print(nd.linalg.syrk(nd.ones((1, 2))).asscalar())
try:
    nd.linalg.potrf(nd.ones((1, 1)))
except mx.TigonError as error:
    print(error)
"""
    cache = tmp_path / "cache"
    cache.mkdir()
    expected = [
        "2.0",
        "linalg.potrf: needs SciPy, which cannot be imported (No module named scipy); "
        "pip install tigon[linalg]",
    ]
    done = run(code, cache, tmp_path)
    assert done.stdout.splitlines() == expected, done.stderr
    assert run(PROGRAM, cache).returncode == 0  # and now it is stored
    assert run(code, cache, tmp_path).stdout.splitlines() == expected
    stored = run(PROGRAM, cache, tmp_path)
    assert stored.stderr.rstrip().endswith("pip install tigon[linalg]"), stored.stderr
