"""Sparse arrays: every operator that works on what is stored, against numpy, and all others."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.nd.stored.operators import rules
from tigon.ops import record
from tigon.runtime import stats

DENSE = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, -4, 0]], np.float32)
OTHER = np.array([[0, 5, 6, 0], [0, 0, 0, 0], [0, 0, 2, 0]], np.float32)
PLAIN = np.arange(1, 13, dtype=np.float32).reshape(3, 4)


def by_rows(values: np.ndarray = DENSE) -> Any:
    """Rows out of order, one of which stands twice: a sum that nobody has asked for yet."""
    (rows,) = np.nonzero(values.any(1))
    twice = [*rows[::-1], rows[0]]
    parts = np.concatenate([values[rows[::-1]], np.zeros((1, values.shape[1]), values.dtype)])
    return nd.stored.RowSparseNDArray(
        values.shape, nd.array(twice, dtype="int64"), nd.array(parts, dtype=values.dtype)
    )


def by_elements(values: np.ndarray = DENSE) -> Any:
    return nd.sparse.csr_matrix(values)


STORED: dict[str, Callable[[np.ndarray], Any]] = {"row_sparse": by_rows, "csr": by_elements}


@pytest.fixture(params=STORED)
def stype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ------------------------------------------------------------------------------ operators

UNARY = """
    abs arcsin arcsinh arctan arctanh cbrt ceil degrees expm1 fix floor log1p negative radians relu
    rint round sign sin sinh sqrt square tan tanh trunc BlockGrad _copy _copyto _detach zeros_like
""".split()
BOTH = ("row_sparse", "csr")
CASES: dict[str, list[tuple[str, Callable[..., Any], tuple[str, ...]]]] = {
    **{name: [(name, lambda x, name=name: _run(name, x), BOTH)] for name in UNARY},
    "Cast": [("Cast", lambda x: nd.Cast(x, dtype="float64"), BOTH)],
    "clip": [
        ("around 0", lambda x: nd.clip(x, -1, 2), BOTH),
        ("beside 0", lambda x: nd.clip(x, 1, 2), ()),
    ],
    "broadcast_add": [
        ("alike", lambda x: x + like(x), BOTH),
        ("with a dense one", lambda x: x + nd.array(PLAIN), ("default",)),
        ("to a dense one", lambda x: nd.array(PLAIN) + x, ("default",)),
    ],
    "elemwise_add": [("alike", lambda x: nd.elemwise_add(x, like(x)), BOTH)],
    "broadcast_sub": [
        ("alike", lambda x: x - like(x), BOTH),
        ("from a dense one", lambda x: nd.array(PLAIN) - x, ("default",)),
    ],
    "elemwise_sub": [("alike", lambda x: nd.elemwise_sub(x, like(x)), BOTH)],
    "broadcast_mul": [
        ("alike", lambda x: x * like(x), BOTH),
        ("a number", lambda x: 2 * x, BOTH),
        ("a dense one", lambda x: x * nd.array(PLAIN), BOTH),
        ("a row", lambda x: x * nd.array(PLAIN[:1]), ("csr",)),
        ("a column", lambda x: x * nd.array(PLAIN[:, :1]), ("csr",)),
        ("a vector", lambda x: nd.array(PLAIN[0]) * x, ("csr",)),
        ("one element", lambda x: x * nd.array([3]), BOTH),
        ("infinity", lambda x: x * float("inf"), ()),
    ],
    "elemwise_mul": [("a dense one", lambda x: nd.elemwise_mul(nd.array(PLAIN), x), BOTH)],
    "broadcast_div": [
        ("a number", lambda x: x / 4, BOTH),
        ("0", lambda x: x / 0, ()),
        ("by a dense one", lambda x: x / nd.array(PLAIN), BOTH),
        ("of a dense one", lambda x: nd.array(PLAIN) / x, ()),
    ],
    "elemwise_div": [("a dense one", lambda x: nd.elemwise_div(x, nd.array(PLAIN)), BOTH)],
    "add_n": [
        ("alike", lambda x: nd.add_n(x, like(x), x), BOTH),
        ("one dense", lambda x: nd.add_n(x, nd.array(PLAIN), like(x)), ("default",)),
    ],
    "sum": [
        ("all", lambda x: nd.sum(x), ("default",)),
        ("rows", lambda x: nd.sum(x, axis=0), ("default",)),
        ("columns", lambda x: nd.sum(x, axis=1, keepdims=True), ("default",)),
        ("all but one", lambda x: nd.sum(x, axis=1, exclude=True), ("default",)),
    ],
    "mean": [
        ("columns", lambda x: x.mean(axis=-1), ("default",)),
        ("large", lambda x: nd.Cast(x * 15000, dtype="float16").mean(), ("default",)),
    ],
    "norm": [("all", lambda x: x.norm(), ("default",))],
    "dot": [
        ("a matrix", lambda x: nd.dot(x, nd.array(PLAIN.T)), ("csr",)),
        ("a vector", lambda x: nd.dot(x, nd.array(PLAIN[0])), ("csr",)),
        ("rows", lambda x: nd.dot(x, by_rows(DENSE.T)), ("csr",)),
        ("transposed", lambda x: nd.dot(x, nd.array(PLAIN), transpose_a=True), ("csr",)),
        ("from the left", lambda x: nd.dot(nd.array(PLAIN.T), x), ("csr",)),
        (
            "from the left, transposed",
            lambda x: nd.dot(nd.array(PLAIN), x, transpose_b=True),
            ("csr",),
        ),
    ],
    "slice": [
        ("rows", lambda x: nd.slice(x, begin=(1,), end=(3,)), ("csr",)),
        ("both", lambda x: nd.slice(x, begin=(0, 1), end=(3, 3)), ("csr",)),
        ("steps", lambda x: nd.slice(x, begin=(0,), end=(3,), step=(2,)), ()),
    ],
    "slice_axis": [("columns", lambda x: nd.slice_axis(x, axis=1, begin=-3, end=None), ("csr",))],
    "Concat": [
        ("rows", lambda x: nd.concat(x, like(x), dim=0), ("csr",)),
        ("columns", lambda x: nd.concat(x, like(x), dim=1), ()),
    ],
    "Embedding": [
        (
            "a weight",
            lambda x: nd.Embedding(nd.array([[2, 0], [2, 1]]), x, input_dim=3, output_dim=4),
            ("row_sparse",),
        )
    ],
}
"""Of each operator with a rule: what is computed, and of which storages without a notice."""


def _run(name: str, x: Any) -> Any:
    op = record.get(name)
    return nd.stored.call(op, op.make_attrs({}), (x,)) if _stored(x) else getattr(nd.op, name)(x)


def _stored(x: Any) -> bool:
    return bool(nd.stored.is_sparse(x))


def like(x: Any) -> Any:
    return STORED[x.stype](OTHER) if _stored(x) else nd.array(OTHER)


def test_every_rule_has_a_case() -> None:
    assert sorted(CASES) == rules()


@pytest.mark.parametrize("name", CASES)
def test_operators_on_what_is_stored(name: str, stype: str) -> None:
    inside = name in ("arcsin", "arctanh", "log1p", "sqrt")
    values = np.abs(DENSE) / 8 if inside else DENSE
    for what, function, quiet in CASES[name]:
        before = stats()["fallbacks"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = function(STORED[stype](values))
            falls_back = stats()["fallbacks"] > before
            expected = function(nd.array(values))
        assert falls_back == (stype not in quiet and "default" not in quiet), what
        np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-6, err_msg=what)
        assert found.shape == expected.shape and found.dtype == expected.dtype, what


def test_storages_of_results() -> None:
    x, rows = by_elements(), by_rows()
    dense = nd.array(PLAIN)
    assert [(x * 2).stype, (-rows).stype, (x + x).stype, (x * dense).stype] == [
        "csr", "row_sparse", "csr", "csr",
    ]  # fmt: skip
    assert [(x + dense).stype, nd.dot(x, dense.T).stype, x[0:1].stype] == [
        "default", "default", "csr",
    ]  # fmt: skip
    product = nd.sparse.dot(x, dense, transpose_a=True)
    assert product.stype == "row_sparse"
    assert product.indices.asnumpy().tolist() == [0, 1, 2, 3]
    plain = nd.sparse.dot(x, dense, transpose_a=True, forward_stype="default")
    assert plain.stype == "default" and (plain.asnumpy() == product.asnumpy()).all()
    assert nd.dot(dense.T, x).stype == "csr"


def test_what_has_no_rule_is_computed_of_dense_arrays(stype: str) -> None:
    x, before = STORED[stype](DENSE), stats()["fallbacks"]
    with pytest.warns(RuntimeWarning, match="tigon falls back: ") as told:
        for _ in range(2):
            found = [nd.softmax(x), nd.exp(x), nd.broadcast_maximum(nd.array(PLAIN), x), x > 0]
    assert len({str(one.message) for one in told}) == len(told) == 4
    assert f"softmax of {stype} makes dense arrays of sparse ones" in str(told[0].message)
    assert {one.filename for one in told} == {__file__}
    assert stats()["fallbacks"] == before + 8
    dense = nd.array(DENSE)
    expected = [nd.softmax(dense), nd.exp(dense), nd.array(np.maximum(PLAIN, DENSE)), dense > 0]
    for one, other in zip(found, expected, strict=True):
        assert (one.asnumpy() == other.asnumpy()).all()


def test_nothing_stored_and_nothing_there() -> None:
    for shape in ((3, 4), (0, 4), (3, 0)):
        for stype in STORED:
            x = nd.sparse.zeros(stype, shape)
            assert (x + x).asnumpy().tolist() == np.zeros(shape).tolist()
            assert (x * 2 * x).sum(axis=1).asnumpy().tolist() == [0] * shape[0]
            assert x.tostype("default").tostype(stype).data.size == 0
    assert (nd.sparse.zeros("csr", (0, 3)) * nd.ones((0, 1))).shape == (0, 3)
    y = nd.dot(nd.sparse.zeros("csr", (2, 3)), nd.ones((3, 2)))
    assert y.asnumpy().tolist() == [[0, 0], [0, 0]]


# -------------------------------------------------------------------------------- the arrays


def test_parts_and_conversions(stype: str) -> None:
    x = STORED[stype](DENSE)
    assert isinstance(x, nd.NDArray) and isinstance(x, nd.sparse.BaseSparseNDArray)
    assert (x.shape, x.ndim, x.size, len(x), x.dtype) == ((3, 4), 2, 12, 3, np.float32)
    assert repr(x) == f"\n<{type(x).__name__} 3x4 @cpu(0)>"
    for other in ("default", "row_sparse", "csr"):
        assert x.tostype(other).stype == other
        assert (x.tostype(other).asnumpy() == DENSE).all()
    assert x.tostype(stype) is x and x.astype("float32", copy=False) is x
    for same in (x.copy(), pickle.loads(pickle.dumps(x)), nd.array(x), x.as_in_context(mx.cpu(1))):
        assert same.stype == stype and (same.asnumpy() == DENSE).all()
    moved = x.as_in_context(mx.cpu(1))
    assert {part.context for part in (moved.data, moved.indices)} == {mx.cpu(1)}
    assert stype == "row_sparse" or moved.indptr.context == mx.cpu(1)
    wide = x.astype("float64")
    assert wide.dtype == np.float64 and wide.stype == stype
    target = nd.zeros((3, 4))
    assert x.copyto(target) is target and (target.asnumpy() == DENSE).all()
    sparse = nd.sparse.zeros(stype, (3, 4))
    nd.array(OTHER).copyto(sparse)
    assert (sparse.asnumpy() == OTHER).all()
    sparse[:] = x
    target[:] = x * 2
    assert (sparse.asnumpy() == DENSE).all() and (target.asnumpy() == 2 * DENSE).all()
    sparse *= 2
    assert sparse.stype == stype and (sparse.asnumpy() == 2 * DENSE).all()
    same = target = nd.array(PLAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target += x
        target *= x
        assert ((x // 2).asnumpy() == DENSE // 2).all()
    assert target is same and (same.asnumpy() == (PLAIN + DENSE) * DENSE).all()
    assert x.copyto(mx.cpu(1)).context == mx.cpu(1) and x.copyto(mx.cpu(1)).stype == stype
    sparse[:] = 0
    assert sparse.data.size == 0
    out = nd.sparse.zeros(stype, (3, 4))
    assert nd.square(x, out=out) is out and (out.asnumpy() == DENSE**2).all()
    x.check_format()
    x.wait_to_read()


def test_rows_of_matrices() -> None:
    x = by_elements()
    for key in (0, -1, slice(1, 3), slice(None), slice(2, 1), slice(-2, None)):
        expected = DENSE[[key]] if isinstance(key, int) else DENSE[key]
        assert x[key].asnumpy().tolist() == expected.tolist()
    assert [row.asnumpy().tolist() for row in x] == [[row.tolist()] for row in DENSE]
    scipy = x.asscipy()
    assert (scipy.toarray() == DENSE).all()
    assert (nd.sparse.array(scipy).asnumpy() == DENSE).all()
    assert (nd.array(scipy * 2).asnumpy() == DENSE * 2).all()
    coordinates = nd.sparse.csr_matrix(([1.0, 2, 3], ([1, 0, 1], [1, 2, 1])), shape=(2, 3))
    assert coordinates.asnumpy().tolist() == [[0, 0, 2], [0, 4, 0]]
    shuffled = nd.sparse.csr_matrix(([1, 2, 3], [2, 0, 1], [0, 2, 3]), shape=(2, 3))
    assert shuffled.indices.asnumpy().tolist() == [0, 2, 1]
    assert shuffled.asnumpy().tolist() == [[2, 0, 1], [0, 3, 0]]


def test_rows_that_are_kept() -> None:
    x = by_rows()
    kept = nd.sparse.retain(x, nd.array([1, 2]))
    assert kept.indices.asnumpy().tolist() == [2]
    assert kept.asnumpy().tolist() == [[0] * 4, [0] * 4, DENSE[2].tolist()]
    assert x.rows_at(nd.array([2, 1, 2])).indices.asnumpy().tolist() == [1, 2]
    table = x.table()
    table[0] = 7
    assert x.asnumpy()[0].tolist() == [7] * 4 and x.indices.asnumpy().tolist() == [0, 1, 2]
    assert x.retain(nd.array([0])).data.asnumpy().tolist() == [[7] * 4]
    assert x.retain(nd.array([1.2, 1.7])).indices.asnumpy().tolist() == [1]
    deep = nd.sparse.row_sparse_array((np.ones((1, 2, 3)), [1]), shape=(3, 2, 3))
    assert deep.sum(axis=(1, 2)).asnumpy().tolist() == [0, 6, 0]
    assert nd.square_sum(deep, axis=1).shape == (3, 3)


# --------------------------------------------------------------------------------- gradients


def gradients(stype: str, loss: Callable[[Any], Any], request: str = "write") -> Any:
    weight = nd.arange(8).reshape((4, 2)) + 1
    weight.attach_grad(request, stype=stype)
    for _ in range(2):
        with autograd.record():
            value = loss(weight)
        value.backward()
    return weight.grad


def rows_of(ids: Any, weight: Any) -> Any:
    return nd.Embedding(nd.array(ids), weight, input_dim=4, output_dim=2, sparse_grad=True)


MATRIX = np.array([[0, 2, 0, 1], [0, 0, 0, 3]], np.float32)
LOSSES: dict[str, tuple[Callable[[Any], Any], list[int], bool]] = {
    "rows": (lambda w: (rows_of([3, 1, 3], w) ** 2).sum(), [1, 3], False),
    "two uses": (lambda w: rows_of([[3]], w).sum() + 2 * rows_of([0, 3], w).sum(), [0, 3], False),
    "a product": (lambda w: (nd.dot(by_elements(MATRIX), w) ** 2).sum(), [1, 3], False),
    "no rows": (lambda w: rows_of(np.zeros(0), w).sum(), [], False),
    "a slope of 0": (lambda w: nd.stop_gradient(w).sum() + 0 * rows_of([1], w).sum(), [1], False),
    "a dense use": (lambda w: w.sum() + rows_of([1], w).sum(), [0, 1, 2, 3], True),
    "some dense rows": (lambda w: (w * nd.array([[0], [1], [0], [2]])).sum(), [1, 3], True),
    "not directly": (lambda w: (rows_of([1, 1], w * 2) ** 2).sum(), [1], True),
}


@pytest.mark.parametrize("request_", ["write", "add"])
@pytest.mark.parametrize("what", LOSSES)
def test_gradients_by_rows(what: str, request_: str) -> None:
    loss, rows, falls_back = LOSSES[what]
    before = stats()["fallbacks"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = gradients("row_sparse", loss, request_)
    assert (stats()["fallbacks"] > before) == falls_back
    assert found.stype == "row_sparse" and found.indices.asnumpy().tolist() == rows
    expected = gradients("default", loss, request_)
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy())


def test_gradients_that_are_asked_for_are_dense() -> None:
    weight = nd.ones((4, 2))
    weight.attach_grad(stype="row_sparse")
    with autograd.record():
        value = (rows_of([1, 1], weight) ** 2).sum()
    (found,) = autograd.grad([value], [weight], retain_graph=True)
    assert found.stype == "default" and found.asnumpy()[:, 0].tolist() == [0, 4, 0, 0]
    assert weight.grad.indices.size == 0
    value.backward()
    assert weight.grad.indices.asnumpy().tolist() == [1]
    with autograd.record():
        (slope,) = autograd.grad([(rows_of([1], weight) ** 3).sum()], [weight], create_graph=True)
        again = (slope**2).sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again.backward()
    assert weight.grad.asnumpy()[:, 0].tolist() == [0, 36, 0, 0]


def test_gradients_of_row_sparse_weights() -> None:
    weight = nd.ones((4, 2)).tostype("row_sparse")
    weight.attach_grad()
    with autograd.record():
        value = rows_of([2], weight).sum() + nd.dot(by_elements(MATRIX), weight).sum()
    value.backward()
    assert weight.grad.indices.asnumpy().tolist() == [1, 2, 3]
    assert weight.grad.asnumpy()[:, 0].tolist() == [0, 2, 1, 4]
    table = weight.table()
    for value in (by_rows(np.eye(4, 2, dtype=np.float32)), 0):
        weight[:] = value  # the table is overwritten, and its gradient stays
        assert weight.table() is table and weight.grad.indices.size == 3
    assert not table.asnumpy().any()


THROUGH: dict[str, tuple[Callable[[Any, str], Any], tuple[str, ...]]] = {
    "its elements": (lambda w, stype: w.tostype(stype), BOTH),
    "a cast": (lambda w, stype: nd.cast_storage(w, stype) * 3, BOTH),
    "a sum": (lambda w, stype: w.tostype(stype) + w.tostype(stype), BOTH),
    "a product": (lambda w, stype: nd.dot(w.tostype(stype), nd.array(PLAIN.T)), BOTH),
    "a product from the left": (lambda w, stype: nd.dot(w, STORED[stype](PLAIN.T)), ("csr",)),
    "back and forth": (lambda w, stype: (w * 2).tostype(stype).tostype("default"), BOTH),
    "nothing": (lambda w, stype: w[:0].tostype(stype), BOTH),
}


@pytest.mark.parametrize("what", THROUGH)
def test_gradients_flow_through_conversions(what: str, stype: str) -> None:
    """To what is zero as well: its slope need not be."""
    function, storages = THROUGH[what]
    found = []
    for stored in (stype, "default") if stype in storages else ():
        weight = nd.array(DENSE)
        weight.attach_grad()
        with autograd.record():
            made = function(weight, stored) if stored != "default" else plain(function, weight)
            value = made.sum()
        value.backward()
        found.append(weight.grad.asnumpy().tolist())
    assert found[:1] == found[1:]


def plain(function: Callable[[Any, str], Any], weight: Any) -> Any:
    """The same of dense arrays alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STORED, "default", nd.array)
        return function(weight, "default")


def test_differences_have_no_negative_zeros(stype: str) -> None:
    """As those of dense arrays, where what is not stored meets a zero."""
    sparse, dense = STORED[stype](DENSE), nd.zeros((3, 4))
    for found, wanted in ((sparse - dense, DENSE), (dense - sparse, 0 - DENSE)):
        zeros = found.asnumpy()[wanted == 0]
        assert found.asnumpy().tolist() == wanted.tolist()
        assert zeros.size and not np.signbit(zeros).any()


def test_sums_keep_their_history_whoever_asks_first(stype: str) -> None:
    weight = nd.array(DENSE)
    weight.attach_grad()
    with autograd.record():
        total = weight.tostype(stype)
        total = nd.sparse.retain(total, nd.array([0, 2])) if stype == "row_sparse" else total
        total = total + total
    assert total.indices.size  # which puts rows in order, outside of the recording
    with autograd.record():
        again = (total * 3).sum()
    again.backward()
    expected = np.full((3, 4), 6.0)
    expected[1] = 0 if stype == "row_sparse" else 6
    assert weight.grad.asnumpy().tolist() == expected.tolist()


def test_backward_begins_at_sparse_arrays(stype: str) -> None:
    weight = nd.array(DENSE)
    weight.attach_grad()
    for slope in (None, nd.array(PLAIN), STORED[stype](PLAIN)):
        for call in (lambda y, g: y.backward(g), lambda y, g: autograd.backward([y], [g])):
            with autograd.record():
                made = weight.tostype(stype) * 2
            call(made, slope)
            expected = np.full((3, 4), 2.0) if slope is None else 2 * PLAIN
            assert weight.grad.asnumpy().tolist() == expected.tolist()


# ---------------------------------------------------------------- blocks, graphs, iterators


class Product(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.weight = self.params.get(
                "weight", shape=(4, 3), init="ones", grad_stype="row_sparse"
            )

    def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:
        return F.sparse.dot(x, weight)


def test_hybridized_blocks_that_are_given_sparse_arrays() -> None:
    net = Product()
    net.initialize()
    net.hybridize()
    x = by_elements(MATRIX)
    with pytest.warns(RuntimeWarning, match="is given sparse arrays, and runs as Python") as told:
        with autograd.record():
            loss = net(x).sum()
    assert {one.filename for one in told} == {__file__}
    loss.backward()
    assert loss.asscalar() == 18 and net.weight.grad().indices.asnumpy().tolist() == [1, 3]
    assert (net(x.tostype("default")).asnumpy() == net(x).asnumpy()).all()


def test_graphs_are_dense() -> None:
    product = mx.sym.sparse.dot(mx.sym.var("x", stype="csr"), mx.sym.var("w"))
    arrays = {"x": by_elements(), "w": nd.ones((4, 1))}
    before = stats()["fallbacks"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bound = product.bind(mx.cpu(), arrays)
        assert bound.forward()[0].asnumpy().tolist() == DENSE.sum(1, keepdims=True).tolist()
        found = bound.forward(x=by_elements(OTHER))[0]
    assert stats()["fallbacks"] == before + 2
    assert found.asnumpy().tolist() == OTHER.sum(1, keepdims=True).tolist()


def test_batches_of_matrices(tmp_path: Path) -> None:
    for source in (by_elements(np.eye(5, dtype=np.float32)), by_elements(np.eye(5)).asscipy()):
        batches = list(mx.io.NDArrayIter(source, np.arange(5), 2, shuffle=True))
        assert [batch.data[0].stype for batch in batches] == ["csr"] * 3
        for batch in batches:
            assert (batch.data[0].asnumpy().argmax(1) == batch.label[0].asnumpy()).all()
    (tmp_path / "rows").write_text("1 0:0.5 2:1\n0 1:1\n1 0:1\n0 2:1\n")
    batches = mx.io.LibSVMIter(str(tmp_path / "rows"), (3,), batch_size=2)
    first = next(batches)
    assert first.data[0].stype == "csr" and first.data[0].indices.asnumpy().tolist() == [0, 2, 1]
    assert first.data[0].asnumpy().tolist() == [[0.5, 0, 1], [0, 1, 0]]
    batches.reset()
    data = mx.sym.var("data", stype="csr")
    weight = mx.sym.var("weight", shape=(3, 1), stype="row_sparse")
    output = mx.sym.LinearRegressionOutput(mx.sym.sparse.dot(data, weight), mx.sym.var("label"))
    module = mx.mod.Module(output, label_names=["label"])
    batches.label_name = "label"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.fit(
            batches, num_epoch=40, eval_metric="mse", optimizer_params={"learning_rate": 0.5}
        )
    found = module.get_params()[0]["weight"].asnumpy().ravel()
    np.testing.assert_allclose(found, [1.0, 0, 0.25], atol=0.3)


# ----------------------------------------------------------------------------------- refusals

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: nd.ones((2, 2)).tostype("coo"),
        "tostype: stype: expected one of 'default', 'row_sparse', 'csr'; given 'coo'",
    ),
    (
        lambda: nd.ones((2, 2, 2)).tostype("csr"),
        "tostype: csr: expected two axes; given shape (2, 2, 2)",
    ),
    (
        lambda: nd.sparse.zeros("csr", (2,)),
        "sparse.zeros: csr: expected two axes; given shape (2,)",
    ),
    (
        lambda: nd.sparse.row_sparse_array(([[1], [2]], [1, 1]), shape=(3, 1)),
        "row_sparse_array: expected every row once; given [1, 1]",
    ),
    (
        lambda: nd.sparse.row_sparse_array(([[1]], [3]), shape=(3, 1)),
        "row_sparse_array: expected numbers of rows from 0 to 2; given [3, 3]",
    ),
    (
        lambda: nd.sparse.row_sparse_array(([[1]], [0, 1]), shape=(3, 1)),
        "row_sparse_array: expected as many rows as numbers of rows; given (1, 1) and (2,)",
    ),
    (
        lambda: nd.sparse.row_sparse_array(([[1]], [0]), shape=(3, 2)),
        "row_sparse_array: expected rows of shape (2,), as of (3, 2); given (1,)",
    ),
    (
        lambda: nd.sparse.csr_matrix(([1], [3], [0, 1]), shape=(1, 3)),
        "csr_matrix: indices: expected columns from 0 to 2; given [3]",
    ),
    (
        lambda: nd.sparse.csr_matrix(([1, 2], [1, 1], [0, 2]), shape=(1, 3)),
        "csr_matrix: indices: expected the columns of each row in ascending order, each once",
    ),
    (
        lambda: nd.sparse.csr_matrix(([1], [0], [0, 2]), shape=(1, 3)),
        "csr_matrix: indptr: expected 2 numbers that rise from 0 to the 1 columns of 1 elements; "
        "given [0, 2]",
    ),
    (
        lambda: nd.sparse.csr_matrix(([1], ([2], [0])), shape=(2, 2)),
        "csr_matrix: expected places within (2, 2); given [2] along axis 0",
    ),
    (
        lambda: nd.sparse.csr_matrix(np.ones((2, 2)), shape=(2, 3)),
        "csr_matrix: expected an array of shape (2, 3); given one of (2, 2)",
    ),
    (
        lambda: nd.sparse.array(np.ones((2, 2))),
        "sparse.array: expected a sparse array, or a matrix of scipy; given ndarray; use "
        "nd.array, or csr_matrix",
    ),
    (
        lambda: nd.sparse.retain(nd.ones((2, 2)), nd.array([0])),
        "retain: data: expected a row-sparse array; given default; convert it with "
        "tostype('row_sparse')",
    ),
    (
        lambda: by_elements()[::2],
        "CSRNDArray[...]: expected a row or a slice of step 1; given [slice(None, None, 2)]; use "
        "tostype('default')",
    ),
    (lambda: by_elements()[3], "CSRNDArray[...]: row 3 is out of range for shape (3, 4)"),
    (
        lambda: by_rows()[0],
        "RowSparseNDArray[...]: expected [:]; given [0]; use retain, or tostype('default')",
    ),
    (
        lambda: by_rows().__setitem__(0, 1),
        "RowSparseNDArray[...] = value: expected [:]; given [0]; write to tostype('default') and "
        "convert it",
    ),
    (
        lambda: by_elements().__setitem__(slice(None), nd.ones((2, 2))),
        "CSRNDArray[:] = value: expected shape (3, 4); given (2, 2)",
    ),
    (
        lambda: by_elements().attach_grad(),
        "attach_grad: expected a dense or a row-sparse array; given csr, which gradients do not "
        "flow to; attach it to tostype('default')",
    ),
    (
        lambda: nd.ones((2, 2)).attach_grad(stype="csr"),
        "attach_grad: stype: expected 'default' or 'row_sparse'; given 'csr'",
    ),
    (
        lambda: nd.elemwise_mul(by_elements(), nd.ones((1, 4))),
        "elemwise_mul: shapes differ: (3, 4) and (1, 4); use broadcast_mul to broadcast",
    ),
    (
        lambda: nd.dot(by_elements(), 2),
        "dot: expected at least one axis each; given shapes (3, 4) and ()",
    ),
    (
        lambda: nd.dot(by_elements(), nd.ones((4, 2), dtype="float64")),
        "dot: rhs: expected float32 like lhs; given float64; convert it with astype('float32')",
    ),
    (
        lambda: nd.dot(by_elements(), nd.ones((3, 2))),
        "dot: inner sizes differ: (3, 4) and (3, 2); transpose one operand?",
    ),
    (
        lambda: mx._native.write_rows(nd.ones((2, 2)), nd.array([0]), nd.ones((1, 2))),
        "write_rows: expected numbers of rows as int64 and as many rows of float32 (2, 2); given "
        "float32 (1,) and float32 (1, 2)",
    ),
]


@pytest.mark.parametrize(("call", "expected"), REFUSED, ids=[text[:40] for _, text in REFUSED])
def test_refusals(call: Callable[[], Any], expected: str) -> None:
    with pytest.raises(mx.TigonError) as told, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()
    assert str(told.value) == expected


def test_rows_out_of_range_are_told_where_the_array_is_read() -> None:
    target, rows = nd.ones((2, 2)), nd.array([0, 2], dtype="int64")
    mx._native.write_rows(target, rows, nd.zeros((2, 2)))
    with pytest.raises(mx.TigonError, match="write_rows: expected rows from 0 to 1; given 2"):
        target.wait_to_read()
