"""`einsum`, `std` and `var`: random subscripts against numpy, ways of calling, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym


def random_case(seed: int) -> tuple[str, list[np.ndarray]]:
    """Labels with repetitions, in any order, extents of 1 that stretch, and what is left out."""
    random = np.random.RandomState(seed)
    extents = dict(zip("abcde", random.randint(1, 4, 5), strict=True))
    parts, arrays = [], []
    for _ in range(random.randint(1, 4)):
        labels = "".join(random.choice(list("abcde"), random.randint(1, 4)))
        shape = [1 if random.rand() < 0.15 else extents[label] for label in labels]
        for place, label in enumerate(labels):  # a diagonal has one extent
            shape[place] = shape[labels.index(label)]
        parts.append(labels)
        arrays.append(random.randn(*shape))
    known = sorted(set("".join(parts)))
    random.shuffle(known)
    out = "".join(known[: random.randint(0, len(known) + 1)])
    return f"{','.join(parts)}->{out}", arrays


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_random_subscripts(seed: int, optimize: bool) -> None:
    subscripts, arrays = random_case(seed)
    given = [nd.array(array, dtype="float64") for array in arrays]
    found = nd.einsum(subscripts, *given, optimize=optimize).asnumpy()
    expected = np.einsum(subscripts, *arrays)
    np.testing.assert_allclose(found, np.reshape(expected, expected.shape or (1,)), rtol=1e-9)


class Several(gluon.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any, y: Any) -> Any:
        product = F.einsum("ij,jk->ik", x, y)
        return product, F.var(x, axis=0), F.var(x, 0), F.std(x, axis=1, ddof=1), F.std(x)


def test_the_same_by_arrays_symbols_and_in_blocks() -> None:
    x, y = np.random.RandomState(1).randn(2, 3, 3).astype("f")
    arrays = [nd.array(x), nd.array(y)]
    net = Several()
    net.hybridize()
    symbols = net.hybrid_forward(sym, sym.var("x"), sym.var("y"))
    by_name = sym.Group(symbols).eval(x=arrays[0], y=arrays[1])
    expected = [x @ y, x.var(0), x.var(0), x.std(1, ddof=1), x.std().reshape(1)]
    for found in (net.hybrid_forward(nd, *arrays), net(*arrays), by_name):
        for one, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.asnumpy(), wanted, rtol=1e-5)
    with pytest.warns(UserWarning, match=r"does not know \(einsum\)"):
        text = sym.einsum("ij->j", sym.var("x")).tojson()
    (again,) = sym.load_json(text).eval(x=arrays[0])
    np.testing.assert_allclose(again.asnumpy(), x.sum(0), rtol=1e-5)


def test_subscripts_stand_before_the_operands_or_have_a_name() -> None:
    x = nd.ones((2, 3))
    for found in (
        nd.einsum("ij->i", x),
        nd.einsum(x, subscripts="ij->i"),
        nd.einsum("ij->i", [x]),
        nd.op.einsum("ij->i", x),
    ):
        assert found.asnumpy().tolist() == [3, 3]
    with pytest.raises(mx.TigonError, match="einsum: attribute 'subscripts' is given twice"):
        nd.einsum("ij->i", x, subscripts="ij->j")


@pytest.mark.parametrize(
    ("subscripts", "shapes", "message"),
    [
        ("ij,jk", [(2, 3)], "expected labels of 1 operands, commas between; given 'ij,jk'"),
        ("i", [(2, 3)], r"expected a label for each axis; given 'i' in 'i' for shape \(2, 3\)"),
        ("ijk...", [(2, 3)], r"expected a label for each axis; given 'ijk\.\.\.'"),
        ("i1", [(2, 3)], "expected letters, commas, one '->' and '...'"),
        ("ij->i->j", [(2, 3)], "expected letters, commas, one '->' and '...'"),
        ("ij->ii", [(2, 3)], "each label behind '->' must be there once"),
        ("ij->k", [(2, 3)], "each label behind '->' must be there once, and be one of an operand"),
        ("...j->j", [(2, 3)], "the axes behind '...' must be in the result"),
        ("ii", [(2, 3)], "extents of 'i' differ: 2 and 3"),
        ("ij,jk", [(2, 3), (2, 3)], "extents of 'j' differ: 3 and 2 in 'ij,jk'"),
    ],
)
def test_subscripts_that_do_not_fit(subscripts: str, shapes: Any, message: str) -> None:
    with pytest.raises(mx.TigonError, match=f"^einsum: .*{message}"):
        nd.einsum(subscripts, *map(nd.ones, shapes))


def test_what_has_no_spread_has_no_slope() -> None:
    x = nd.array([3, 3, 3])
    x.attach_grad()
    with autograd.record():
        y = nd.std(x)
    y.backward()
    assert x.grad.asnumpy().tolist() == [0, 0, 0]
    for ddof in (3, 4):
        assert np.isnan(nd.var(x, ddof=ddof).asscalar())
        assert np.isnan(nd.std(x, ddof=ddof).asscalar())


def test_a_variable_has_a_name_and_a_variance_no_hints() -> None:
    assert sym.var("x").name == "x"
    x = sym.var("x")
    with pytest.raises(mx.TigonError, match="var: the variance of a symbol takes no shape, init"):
        sym.var(x, shape=(2,), init="zeros")
    with pytest.raises(mx.TigonError, match="dtype: expected a floating-point type; given int32"):
        nd.std(nd.ones(3), dtype="int32")
    assert nd.var(nd.ones(3), dtype="float64").dtype == np.float64
