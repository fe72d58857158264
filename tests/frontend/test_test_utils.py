"""`mx.test_utils`: comparisons let through what is close and nothing else, checks of symbols find
wrong results and wrong gradients, whatever form their arguments have."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import nd, sym
from tigon.gluon import nn
from tigon.ops import all_operators
from tigon.test_utils import (
    almost_equal,
    assert_allclose,
    assert_almost_equal,
    assert_almost_equal_ignore_nan,
    assert_almost_equal_with_err,
    assert_exception,
    check_consistency,
    check_gluon_hybridize_consistency,
    check_numeric_gradient,
    check_speed,
    check_symbolic_backward,
    check_symbolic_forward,
    chi_square_check,
    collapse_sum_like,
    compare_ndarray_tuple,
    compare_optimizer,
    default_atols,
    default_rtols,
    environment,
    gen_buckets_probs_with_ppf,
    mean_check,
    rand_ndarray,
    rand_shape_2d,
    rand_shape_nd,
    random_arrays,
    random_sample,
    random_uniform_arrays,
    retry,
    same_array,
    same_symbol_structure,
    simple_forward,
    var_check,
    verify_generator,
)

X = np.array([1.0, 2.0, 3.0], np.float32)
V, W = sym.var("v"), sym.var("w")


def plus(*numbers: float) -> np.ndarray:
    return np.array(numbers)


# ----------------------------------------------------------------------------------- comparing


@pytest.mark.parametrize("kinds", [(np, np), (nd, nd), (nd, np), (np, nd)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_tolerances_follow_from_dtypes(kinds: Any, dtype: str) -> None:
    rtol, atol = default_rtols()[np.dtype(dtype)], default_atols()[np.dtype(dtype)]
    base = np.array([1, -2, 100]).astype(dtype)

    def both(apart: float) -> list[Any]:
        values = [base, (base + apart * (atol + rtol * abs(base))).astype(dtype)]
        if dtype == "int32":
            values[1] = base + int(apart > 1)
        return [
            array if kind is np else nd.array(array, dtype=dtype)
            for kind, array in zip(kinds, values, strict=True)
        ]

    assert_almost_equal(*both(0.9))
    with pytest.raises(AssertionError, match=r"^a and b differ in 3 of 3 elements: rtol"):
        assert_almost_equal(*both(1.2))


def test_what_differs_is_shown_worst_first() -> None:
    with pytest.raises(AssertionError) as error:
        assert_almost_equal(X, X + plus(0, 5, 1), names=("mine", "its"), mismatches=(1, 1))
    head, *lines = str(error.value).splitlines()
    assert head.startswith("mine and its differ in 2 of 3 elements: rtol 0.0001, atol 0.001, worst")
    assert lines == ["worst at (1,): mine is np.float32(2.0), its is np.float64(7.0)"]


@pytest.mark.parametrize(
    ("call", "holds"),
    [
        (lambda: assert_almost_equal(X, X + 1, atol=1.001), True),
        (lambda: assert_almost_equal(X, X * 1.1, rtol={np.dtype("float32"): 0.2}), True),
        (lambda: assert_almost_equal(X, X * 1.1, rtol={np.dtype("float64"): 0.2}), False),
        (lambda: assert_almost_equal(np.ones((2, 3)), np.ones(3)), True),
        (lambda: assert_almost_equal(np.ones((2, 3)), np.ones(3), use_broadcast=False), False),
        (lambda: assert_almost_equal(np.array([np.nan]), np.array([np.nan])), False),
        (lambda: assert_almost_equal(np.array([np.nan]), np.array([1.0]), equal_nan=True), False),
        (lambda: assert_allclose(np.array([np.nan, np.inf]), np.array([np.nan, np.inf])), True),
        (lambda: assert_almost_equal(np.array([np.inf]), np.array([-np.inf])), False),
        (lambda: assert_almost_equal(np.array([np.inf]), np.array([1e300])), False),
        (lambda: assert_almost_equal(np.array([True]), np.array([False])), False),
        (lambda: assert_almost_equal(np.zeros((0, 3)), np.zeros((0, 3))), True),
        (lambda: assert_almost_equal_with_err(X, X + plus(0, 0, 9), etol=0.34), True),
        (lambda: assert_almost_equal_with_err(X, X + plus(0, 0, 9), etol=0.33), False),
        (lambda: assert_almost_equal_with_err(X, X + plus(0, 0, 9)), False),
        (lambda: assert_almost_equal_ignore_nan(X, X + plus(np.nan, 0, 0)), True),
        (lambda: assert_almost_equal_ignore_nan(X, X + plus(np.nan, 1, 0)), False),
        (lambda: assert_exception(lambda: {}[1], KeyError), True),
        (lambda: assert_exception(lambda: 1, KeyError), False),
        (lambda: compare_ndarray_tuple((X, (None, X)), (X, (None, X))), True),
        (lambda: compare_ndarray_tuple((X, (nd.array(X),)), (X, (X + 1,))), False),
    ],
)
def test_comparisons(call: Callable[[], None], holds: bool) -> None:
    if holds:
        call()
    else:
        with pytest.raises(AssertionError):
            call()


def test_random_pairs_compare_as_numpy_says() -> None:
    random = np.random.RandomState(1)
    for _ in range(200):
        a = random.choice([0.0, 1.0, -1.0, 1e-3, np.inf, np.nan], size=3)
        b = a + random.choice([0.0, 1e-6, 1e-4, 1.0], size=3)
        for equal_nan in (False, True):
            close = np.allclose(a, b, 1e-5, 1e-7, equal_nan=equal_nan)
            assert almost_equal(a, b, 1e-5, 1e-7, equal_nan) == close
            try:
                assert_almost_equal(a, b, 1e-5, 1e-7, equal_nan=equal_nan)
            except AssertionError:
                assert not close
            else:
                assert close


def test_arrays_that_share_memory() -> None:
    x = nd.array([1, 2, 3, 4])
    assert same_array(x, x) and same_array(x, x.reshape((4,)))
    assert same_array(x[1:3], x[1:3]) and not same_array(x, x.copy())
    assert x.asnumpy().tolist() == [1, 2, 3, 4]


# ---------------------------------------------------------------------------------- drawing


def test_shapes_and_arrays() -> None:
    for _ in range(50):
        assert all(1 <= extent <= 4 for extent in rand_shape_nd(3, dim=4))
        assert all(0 <= extent <= 1 for extent in rand_shape_2d(1, 1, allow_zero_size=True))
    assert 0 in {e for _ in range(60) for e in rand_shape_nd(1, 1, allow_zero_size=True)}
    assert random_arrays((2,), ())[1].dtype == np.float32
    (uniform,) = random_uniform_arrays((50,), low=3, high=4, dtype="float64")
    assert uniform.min() >= 3 and uniform.max() < 4 and uniform.dtype == np.float64
    assert sorted(random_sample([3, 1, 2], 3)) == [1, 2, 3]
    doubled = rand_ndarray(
        (2, 3), dtype="float64", modifier_func=lambda x: 0 * x + 2, ctx=mx.cpu(1)
    )
    assert doubled.asnumpy().tolist() == [[2.0] * 3] * 2 and doubled.context == mx.cpu(1)
    for wrong in (
        lambda: rand_ndarray((2,), "csr"),
        lambda: random_sample([1], 2),
        lambda: collapse_sum_like(np.ones((2, 3)), (2,)),
        lambda: mx.test_utils.new_matrix_with_real_eigvals_nd((2, 3)),
    ):
        with pytest.raises(mx.TigonError, match="expected"):
            wrong()


def test_matrices_have_the_eigenvalues_they_promise() -> None:
    tools = mx.test_utils
    values = np.linalg.eigvals(tools.new_matrix_with_real_eigvals_nd((2, 2, 4, 4)))
    assert values.shape == (2, 2, 4) and abs(values.imag).max() < 1e-6
    symmetric = tools.new_sym_matrix_with_real_eigvals_nd((3, 5, 5))
    np.testing.assert_allclose(symmetric, symmetric.swapaxes(1, 2), atol=1e-12)


# ---------------------------------------------------------------------------------- symbols

ELEMENTWISE = sorted(
    op.name
    for op in all_operators()
    if op.name in "exp square sigmoid tanh sin log1p softsign arctan broadcast_mul dot".split()
)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradients_that_are_right(name: str) -> None:
    np.random.seed(3)
    made = getattr(sym, name)
    pair = name in ("broadcast_mul", "dot")
    symbol = made(V, W) if pair else made(V)
    values = [np.random.rand(3, 3) + 0.5 for _ in range(2 if pair else 1)]
    named = dict(zip("vw", values, strict=False))
    for location in (values, tuple(values), named):
        check_numeric_gradient(symbol, location, rtol=1e-2, atol=1e-3)
    check_numeric_gradient(symbol, values, dtype=np.float64, numeric_eps=1e-4, rtol=1e-5, atol=1e-6)
    check_numeric_gradient(symbol, values, grad_nodes=["v"], rtol=1e-2)
    check_numeric_gradient(symbol, values, grad_nodes={"v": "add"}, rtol=1e-2, atol=1e-2)
    check_numeric_gradient(symbol, values, grad_nodes={"v": "null"})


class _Wrong(mx.operator.CustomOp):
    def forward(self, is_train: Any, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        self.assign(out_data[0], req[0], in_data[0] * in_data[0])

    def backward(
        self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any
    ) -> None:
        self.assign(in_grad[0], req[0], 2.1 * in_data[0] * out_grad[0])


@mx.operator.register("square_with_a_wrong_gradient")
class _WrongProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx: Any, in_shapes: Any, in_dtypes: Any) -> _Wrong:
        return _Wrong()


@pytest.mark.parametrize("request_", ["write", "add"])
def test_gradients_that_are_wrong_are_found(request_: str) -> None:
    wrong = sym.Custom(V, op_type="square_with_a_wrong_gradient")
    names = {"v": request_}
    with pytest.raises(AssertionError, match=rf"of v and backward of v \({request_}\) differ in 3"):
        check_numeric_gradient(wrong, [X], grad_nodes=names, rtol=1e-2, atol=1e-2)
    check_symbolic_backward(wrong, [X], [np.ones(3)], [2.1 * X], grad_req=names)
    with pytest.raises(AssertionError, match=rf"backward of v \({request_}\) differ in 3"):
        check_symbolic_backward(wrong, [X], [np.ones(3)], [2 * X], grad_req=names)


def test_auxiliary_states_are_given_anew_for_every_difference() -> None:
    np.random.seed(4)
    symbol = sym.BatchNorm(V, name="b", fix_gamma=False)
    values = [np.random.randn(6, 2), np.ones(2), np.zeros(2)]
    mean, variance = np.zeros(2), np.ones(2)
    for states in ([mean, variance], {"b_moving_mean": mean, "b_moving_var": variance}):
        check_numeric_gradient(symbol, values, states, rtol=0.05, atol=0.05)
    with pytest.raises(mx.TigonError, match="expected auxiliary states for b_moving_mean, b_mov"):
        check_numeric_gradient(symbol, values, {"b_mean": mean})


def test_results() -> None:
    both = sym.Group([V * W, V + W])
    given, wanted = [X, 2 * X], [2 * X * X, 3 * X]
    outputs = check_symbolic_forward(both, given, wanted)
    assert [output.shape for output in outputs] == [(3,), (3,)]
    check_symbolic_forward(both, given, dict(zip(both.list_outputs(), wanted, strict=True)))
    with pytest.raises(AssertionError, match="differ in 3 of 3"):
        check_symbolic_forward(both, given, [wanted[0], wanted[1] + 1])
    whole = [np.array([1, 2], np.int64)]
    (output,) = check_symbolic_forward(V * 2, whole, [np.array([2, 4])], dtype="asnumpy")
    assert output.dtype == np.int64
    assert simple_forward(V * 2, v=X).tolist() == (2 * X).tolist()
    assert [r.shape for r in simple_forward(both, v=X, w=X)] == [(3,), (3,)]


def test_gradients_for_given_ones_of_the_results() -> None:
    product, heads = V * W, np.array([1.0, 0.0, 2.0], np.float32)
    expected = {"v": heads * 5, "w": heads * X}
    for given in ([heads], [nd.array(heads)], {product.list_outputs()[0]: heads}):
        found = check_symbolic_backward(product, [X, X * 0 + 5], given, expected)
        assert sorted(found) == ["v", "w"]
    found = check_symbolic_backward(product, [X, X * 0 + 5], [heads], {"w": heads * X})
    assert sorted(found) == ["w"]
    check_symbolic_backward(sym.MakeLoss(product), [X, X], None, [X, X])
    check_symbolic_backward(
        product, [X, X], [heads], {"v": heads * X, "w": X}, grad_req={"v": "write", "w": "null"}
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: check_symbolic_forward(V * W, [X], [X]), "expected values for v, w"),
        (lambda: check_symbolic_forward(V, {"x": X}, [X]), "values for v; given them for x"),
        (lambda: check_symbolic_forward(V * 2, [X], [X, X]), "expected results for"),
        (lambda: check_symbolic_backward(V, [X], [X, X], [X]), "expected gradients of results for"),
        (lambda: check_symbolic_backward(V, [X], [X], [X], grad_req="wrote"), "given 'wrote'"),
        (lambda: check_numeric_gradient(V, [X], grad_stype_dict={"v": "csr"}), "are dense"),
        (lambda: check_symbolic_backward(V, [X], [X], [X], grad_stypes={"v": "csr"}), "are dense"),
        (lambda: check_speed(V, v=(2,), typ="backward"), "expected 'whole' or 'forward'"),
        (lambda: check_consistency(V, [{"v": (2,)}]), "expected two contexts or more; given 1"),
        (lambda: check_consistency([V, W], [{"v": (2,)}] * 2), "with the same arguments"),
        (lambda: simple_forward(V, ctx="cpu", v=X), "simple_forward: expected a Context"),
        (lambda: compare_optimizer(None, None, (1,), "float32", "csr"), "stypes 'default'"),
    ],
)  # fmt: skip
def test_what_is_given_wrongly(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(mx.TigonError) as error:
        call()
    assert said in str(error.value)


FORMS = [
    {"ctx": mx.cpu(i), "v": (2, 3), "type_dict": {"v": dtype}}
    for i, dtype in ((0, np.float64), (0, np.float32), (1, np.float32))
]


def test_consistency(capsys: pytest.CaptureFixture[str]) -> None:
    right = sym.exp(V, name="o")
    found = check_consistency(right, FORMS)
    assert sorted(found) == ["o_output", "v"]
    assert {array.dtype for array in found.values()} == {np.dtype("float64")}
    np.testing.assert_allclose(found["v"], found["o_output"] ** 2)  # its own result is its slope
    assert sorted(check_consistency(right, FORMS, grad_req="null")) == ["o_output"]
    check_consistency(right, FORMS, arg_params={"v": np.ones((2, 3))}, ground_truth={
        "o_output": np.full((2, 3), np.e), "v": np.full((2, 3), np.e**2)})  # fmt: skip
    wrong_result = [right, sym.exp(V * 1.01, name="o"), right]
    wrong_gradient = [right, sym.exp(V * 0.5 + sym.BlockGrad(V * 0.5), name="o"), right]
    for symbols, where in ((wrong_result, "o_output of 1"), (wrong_gradient, "v of 1")):
        with pytest.raises(AssertionError, match=f"{where} and .* of 0 differ"):
            check_consistency(symbols, FORMS, use_uniform=True, scale=0.5)
        check_consistency(symbols, FORMS, raise_on_err=False)
        assert where in capsys.readouterr().out
    net = sym.FullyConnected(sym.BatchNorm(V, name="b"), num_hidden=2, name="f")
    check_consistency(net, FORMS[1:], grad_req="add")


def test_speed() -> None:
    assert check_speed(sym.exp(V), N=2, v=(2, 3)) > 0
    assert check_speed(sym.exp(V), {"v": X}, N=2, typ="forward", grad_req="null") > 0


def test_blocks_hybridized_and_not() -> None:
    data = [nd.array(np.random.RandomState(1).randn(4, 3))]
    check_gluon_hybridize_consistency(lambda: nn.Dense(2, in_units=3), data)
    check_gluon_hybridize_consistency(lambda: nn.Dense(2, activation="tanh"), data, test_grad=False)
    check_gluon_hybridize_consistency(lambda: nn.HybridLambda("tanh"), data, np.tanh)
    with pytest.raises(AssertionError, match="numpy and the block differ"):
        check_gluon_hybridize_consistency(lambda: nn.HybridLambda("tanh"), data, np.sinh)
    made = []

    def builder() -> Any:
        made.append(1)
        scale = len(made)
        return nn.HybridLambda(lambda F, x: x * scale)

    with pytest.raises(AssertionError, match="hybridized and as it is differ"):
        check_gluon_hybridize_consistency(builder, data)


def test_structures() -> None:
    assert same_symbol_structure(V * 2 + V, W * 3 + W)
    for other in (V * 2 + W, V * 2 - V, V * 2):
        assert not same_symbol_structure(V * 2 + V, other)
    assert json.loads((V * 2).tojson())["nodes"]


def test_optimizers() -> None:
    made = mx.optimizer.create
    compare_optimizer(made("adam"), made("adam"), (2, 3), "float64")
    shapes = [(2, 3), (4,)]
    compare_optimizer(
        made("sgd", momentum=0.9), made("sgd", momentum=0.9), shapes, "float32", ntensors=2
    )
    with pytest.raises(AssertionError):
        compare_optimizer(made("sgd", learning_rate=1.0), made("sgd"), (2,), "float32")
    slow = {"learning_rate": 0.0}
    with pytest.raises(AssertionError):  # weights agree, states do not
        compare_optimizer(made("adam", **slow), made("adam", beta1=0.5, **slow), (2,), "float32")
    compare_optimizer(
        made("adam", **slow), made("adam", beta1=0.5, **slow), (2,), "float32", compare_states=False
    )  # fmt: skip


# ----------------------------------------------------------------------- surroundings, numbers


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGON_A", "a")
    monkeypatch.delenv("TIGON_B", raising=False)
    with pytest.raises(KeyError), environment({"TIGON_A": None, "TIGON_B": 2}):
        assert "TIGON_A" not in os.environ and os.environ["TIGON_B"] == "2"
        raise KeyError
    assert os.environ["TIGON_A"] == "a" and "TIGON_B" not in os.environ
    for given in ((), ("a",), ("a", "b", "c"), (3, "b")):
        with pytest.raises(mx.TigonError, match="expected a name and a value, or a dictionary"):
            with environment(*given):
                pass


def test_trying_again() -> None:
    calls: list[Any] = []

    @retry(3)
    def flaky(at: int) -> None:
        """What it does."""
        calls.append(at)
        assert len(calls) % 3 == 0

    flaky(1)
    assert calls == [1, 1, 1] and flaky.__doc__ == "What it does."

    @retry(2)
    def failing() -> None:
        calls.append(2)
        raise AssertionError("always")

    with pytest.raises(AssertionError, match="always"):
        failing()
    assert calls.count(2) == 2
    with pytest.raises(mx.TigonError, match="above 0; given 0"):
        retry(0)


def test_an_iterator_that_never_ends() -> None:
    real = mx.io.NDArrayIter(np.arange(8.0).reshape(4, 2), np.arange(4.0), 2)
    dummy = mx.test_utils.DummyIter(real)
    seen = [next(dummy).data[0].asnumpy().tolist() for _ in range(5)]
    assert seen == [[[0.0, 1.0], [2.0, 3.0]]] * 5
    assert dummy.provide_data == real.provide_data and dummy.batch_size == 2


def test_generators() -> None:
    pytest.importorskip("scipy")
    np.random.seed(2)
    mx.random.seed(2)
    buckets, shares = gen_buckets_probs_with_ppf(lambda share: 2 * share, 4)
    good = {"low": 0, "high": 2}
    assert (
        len(verify_generator(lambda n: nd.random.uniform(shape=n, **good), buckets, shares, 20000))
        == 5
    )
    for low, high in ((0, 1.9), (0, 2.2)):
        with pytest.raises(AssertionError, match="expected numbers as of this distribution in 20%"):
            verify_generator(lambda n: np.random.uniform(low, high, n), buckets, shares, 20000)  # noqa: B023
    likely, observed, expected = chi_square_check(
        lambda n: np.random.randint(0, 3, n), [0, 1, 2], [1 / 3] * 3, 3000
    )
    assert likely > 1e-3 and observed.sum() == 3000 and expected.tolist() == [1000] * 3
    assert mean_check(lambda n: nd.random.normal(1, 2, shape=n), 1, 2, 20000)
    assert not mean_check(lambda n: np.random.normal(1.2, 2, n), 1, 2, 20000)
    assert var_check(lambda n: nd.random.normal(1, 2, shape=n), 2, 20000)
    assert not var_check(lambda n: np.random.normal(1, 2.2, n), 2, 20000)
