"""The gradient pass: what it builds, when it stops, and that it is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.fuzz.graphs import inputs_for, random_graph
from tests.fuzz.interpret import interpret
from tigon import autograd, nd
from tigon.base import InternalError, TensorType, TigonError, as_dtype
from tigon.base.frozen import Frozen
from tigon.ir import Graph, Value, constant, parse, show, substitute, typed, variable, verify
from tigon.ir.graph import VARIABLE
from tigon.ops.record import Family, NoAttrs, Operand, Operator, get, same_type
from tigon.passes.decompose import decompose
from tigon.passes.gradient import gradient
from tigon.passes.share_common_subexpressions import share_common_subexpressions

F64 = as_dtype("float64")


def f64(*shape: int) -> TensorType:
    return TensorType(shape, F64)


def ops_in(values: list[Value | None]) -> list[str]:
    graph = Graph.of([value for value in values if value is not None])
    return [node.op.name for node in graph.nodes if node.op is not VARIABLE]


def numeric_check(graph: Graph, wrt: list[Value], seed: int = 0) -> None:
    """Gradients against central differences of a random weighting of the first output."""
    y = graph.outputs[0]
    g = variable("cotangent", y.type)
    found = gradient([y], [g], wrt)
    rng = np.random.default_rng(seed)
    arrays = inputs_for(graph, seed)
    weights = np.asarray(rng.normal(size=y.shape))
    present = [(x, value) for x, value in zip(wrt, found, strict=True) if value is not None]
    results = interpret(
        decompose(Graph([*graph.inputs, g], [value for _, value in present])), [*arrays, weights]
    )
    whole = decompose(Graph(graph.inputs, [y]))

    def loss(position: int, change: np.ndarray) -> float:
        moved = [a + change if i == position else a for i, a in enumerate(arrays)]
        return float((interpret(whole, moved)[0] * weights).sum())

    for (x, _), result in zip(present, results, strict=True):
        position = graph.inputs.index(x)
        direction = np.asarray(rng.normal(size=x.shape))
        step = 1e-6
        slope = (loss(position, step * direction) - loss(position, -step * direction)) / (2 * step)
        assert float((result * direction).sum()) == pytest.approx(slope, rel=2e-5, abs=2e-6)


# ------------------------------------------------------------------------ what is built


def test_only_the_path_from_wrt_is_differentiated() -> None:
    x, w, g = variable("x"), variable("w"), variable("g")
    y = get("broadcast_mul")(get("tanh")(x), get("exp")(w))
    (dw,) = gradient([y], [g], [w])
    assert "tanh" in ops_in([dw])  # as a factor
    assert ops_in([dw]).count("broadcast_mul") == 2  # g * tanh(x), and times exp(w)


def test_no_path_gives_none() -> None:
    x, w, g = variable("x"), variable("w"), variable("g")
    assert gradient([get("tanh")(x)], [g], [w]) == [None]
    assert gradient([get("BlockGrad")(x)], [g], [x]) == [None]
    assert gradient([get("_reduce_argmax")(x, axes=(0,))], [g], [x]) == [None]
    assert gradient([get("tanh")(x)], [None], [x]) == [None]


def test_an_output_that_is_wrt_has_its_cotangent() -> None:
    x, g = variable("x"), variable("g")
    assert gradient([x], [g], [x]) == [g]


def test_cotangents_of_one_value_add_up() -> None:
    x, g, h = variable("x"), variable("g"), variable("h")
    (dx,) = gradient([x, x], [g, h], [x])
    assert dx is not None
    assert show(Graph([g, h], [dx])).splitlines()[1] == "  %0 = broadcast_add(%g, %h)"


def test_interior_values_have_whole_cotangents() -> None:
    x, g = variable("x", f64(3)), variable("g", f64(3))
    h = get("sin")(x)
    y = get("broadcast_add")(get("square")(h), h)
    dh, dx = gradient([y], [g], [h, x])
    assert dh is not None and dx is not None
    x0, g0 = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])
    found = interpret(Graph([x, g], [dh, dx]), [x0, g0])
    assert np.allclose(found[0], g0 * (2 * np.sin(x0) + 1))
    assert np.allclose(found[1], found[0] * np.cos(x0))


def test_broadcast_operands_are_summed_back() -> None:
    x, b, g = variable("x", f64(2, 3)), variable("b", f64(3)), variable("g", f64(2, 3))
    dx, db = gradient([get("broadcast_add")(x, b)], [g], [x, b])
    assert dx is g  # nothing to sum: no node
    assert db is not None and db.type == f64(3)


def test_untyped_graphs_differentiate_and_type_later() -> None:
    x, b, g = variable("x"), variable("b"), variable("g")
    y = get("broadcast_mul")(x, b)
    found = gradient([y], [g], [x, b])
    late = typed(
        Graph([x, b, g], [v for v in found if v is not None]),
        {"x": f64(2, 3), "b": f64(3), "g": f64(2, 3)},
    )
    assert [value.type for value in verify(late).outputs] == [f64(2, 3), f64(3)]


def test_deep_chains_do_not_overflow() -> None:
    x, g = variable("x", f64(2)), variable("g", f64(2))
    y = x
    for _ in range(20_000):
        y = get("sin")(y)
    (dx,) = gradient([y], [g], [x])
    assert dx is not None and dx.type == f64(2)


def test_second_derivative() -> None:
    x, g = variable("x", f64(4)), variable("g", f64(4))
    (dx,) = gradient([get("sin")(x)], [g], [x])
    assert dx is not None
    (ddx,) = gradient([dx], [g], [x])
    assert ddx is not None
    x0, g0 = np.linspace(-1, 1, 4), np.ones(4)
    assert np.allclose(interpret(Graph([x, g], [ddx]), [x0, g0])[0], -np.sin(x0))


# ---------------------------------------------------------- composites, with and without rules


class ScaleAttrs(Frozen):
    scale: float = 2.0


def _scaled(attrs: ScaleAttrs, x: Value, y: Value) -> tuple[Value, Value]:
    multiply, tanh = get("broadcast_mul"), get("tanh")
    return multiply(tanh(x), y), multiply(x, attrs.scale)


def toy_composite(**record: Any) -> Operator:
    return Operator(
        "toy_scaled",
        Family.COMPOSITE,
        (Operand("x"), Operand("y")),
        ScaleAttrs,
        lambda attrs, x, y: (same_type(x), same_type(x)),
        "",
        decompose=_scaled,
        outputs=2,
        **record,
    )


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> Operator:
    op = toy_composite()
    monkeypatch.setitem(__import__("tigon.ops.record").ops.record._REGISTRY, op.name, op)
    return op


def test_typed_composites_without_rule_are_differentiated_inside(scaled: Operator) -> None:
    x, y = variable("x", f64(3)), variable("y", f64(3))
    first, second = scaled(x, y, scale=3.0)
    total = get("broadcast_add")(first, second)
    assert "_vjp" not in ops_in(gradient([total], [variable("g", f64(3))], [x, y]))
    numeric_check(Graph([x, y], [total]), [x, y])


def test_one_cotangent_of_several_is_enough(scaled: Operator) -> None:
    x, y = variable("x", f64(3)), variable("y", f64(3))
    numeric_check(Graph([x, y], [scaled(x, y)[0]]), [x, y])
    numeric_check(Graph([x, y], [scaled(x, y)[1]]), [x])


def test_the_same_operand_twice(scaled: Operator) -> None:
    x = variable("x", f64(3))
    first, second = scaled(x, x)
    numeric_check(Graph([x], [get("broadcast_mul")(first, second)]), [x])


@pytest.mark.parametrize("merge", [False, True])
def test_untyped_composites_are_deferred(scaled: Operator, merge: bool) -> None:
    x, y, g = variable("x"), variable("y"), variable("g")
    # Distinct values now, equal ones after sharing: each must keep its own share.
    x1, x2 = get("sin")(x), get("sin")(x)
    first, second = scaled(x1, x2, scale=0.5)
    out = get("broadcast_add")(first, get("broadcast_mul")(second, y))
    (dx,) = gradient([out], [g], [x])
    assert dx is not None and "_vjp" in ops_in([dx])
    graph = Graph([x, y, g], [dx])
    assert parse(show(graph), get).key == graph.key
    types = {name: f64(3) for name in "xyg"}
    late = typed(graph, types)
    if merge:
        late = share_common_subexpressions(late)
    verify(late)
    arrays = [np.array([0.3, -0.2, 0.9]), np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 0.5])]
    found = interpret(decompose(late), arrays)[0]
    x_typed, y_typed, g_typed = (variable(name, f64(3)) for name in "xyg")
    (out_typed,) = substitute([out], {x: x_typed, y: y_typed})
    (direct,) = gradient([out_typed], [g_typed], [x_typed])
    assert direct is not None
    expected = interpret(decompose(Graph([x_typed, y_typed, g_typed], [direct])), arrays)[0]
    assert np.allclose(found, expected, rtol=1e-12)


def test_a_deferred_gradient_is_differentiable_again(scaled: Operator) -> None:
    x, y, g = variable("x"), variable("y"), variable("g")
    first, _ = scaled(x, y)
    (dx,) = gradient([first], [g], [x])
    assert dx is not None
    (ddx,) = gradient([dx], [g], [x])
    assert ddx is not None
    late = decompose(typed(Graph([x, y, g], [ddx]), {name: f64(2) for name in "xyg"}))
    x0, y0 = np.array([0.3, -0.7]), np.array([2.0, 3.0])
    t = np.tanh(x0)
    assert np.allclose(
        interpret(late, [x0, y0, np.ones(2)])[0], -2 * t * (1 - t * t) * y0, rtol=1e-12
    )


def test_a_rule_of_its_own_goes_before_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def rule(attrs: ScaleAttrs, g: Any, y: Any, *x: Any) -> tuple:
        seen.append((len(g), len(y), len(x)))
        return g[0], None

    op = toy_composite(grad=rule)
    x, y, g = variable("x", f64(3)), variable("y", f64(3)), variable("g", f64(3))
    assert gradient([op(x, y)[0]], [g], [x, y]) == [g, None]
    assert seen == [(2, 2, 2)]


# ------------------------------------------------------------------------------- errors


def test_wrong_number_of_cotangents_names_the_operator() -> None:
    op = Operator(
        "toy_wrong",
        Family.ELEMENTWISE,
        (Operand("x"), Operand("y")),
        NoAttrs,
        same_type,
        "",
        grad=lambda g, z, x, y: (g,),
    )
    x, g = variable("x"), variable("g")
    with pytest.raises(InternalError, match=r"toy_wrong: .* tuple of 2 cotangents.*; given 1"):
        gradient([op(x, x)], [g], [x])


def test_wrong_type_of_a_cotangent_names_the_operator() -> None:
    op = Operator(
        "toy_cast",
        Family.VIEW,
        (Operand("x"),),
        NoAttrs,
        same_type,
        "",
        grad=lambda g, y, x: (get("Cast")(g, dtype="float32"),),
    )
    x, g = variable("x", f64(2)), variable("g", f64(2))
    with pytest.raises(InternalError, match=r"toy_cast: .* float32\[2\] for operand 0"):
        gradient([op(x)], [g], [x])


def test_no_rule_is_a_clear_error() -> None:
    op = Operator("toy_bare", Family.GATHER, (Operand("x"),), NoAttrs, same_type, "")
    x, g = variable("x"), variable("g")
    with pytest.raises(TigonError, match=r"toy_bare: has no gradient; .*stop_gradient"):
        gradient([op(x)], [g], [x])


def test_one_cotangent_per_output() -> None:
    x = variable("x")
    with pytest.raises(TigonError, match="expected one cotangent per output; given 0 for 1"):
        gradient([x], [], [x])


def test_auxiliary_operands_and_keys_have_none() -> None:
    op = Operator(
        "toy_states",
        Family.GATHER,
        (Operand("x"), Operand("state", auxiliary=True), Operand("key", random_key=True)),
        NoAttrs,
        lambda x, *_: same_type(x),
        "",
        grad=lambda g, y, x, state, key: (g, g, g),
    )
    x, state, key, g = (variable(name) for name in ("x", "state", "key", "g"))
    assert gradient([op(x, state, key)], [g], [x, state, key]) == [g, None, None]


# --------------------------------------------------------------------------- random graphs


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_against_differences(seed: int) -> None:
    graph = random_graph(seed, steps=8, dtypes=("float64",), smooth=True)
    graph = Graph(graph.inputs, [graph.outputs[0]])
    if graph.outputs[0].dtype is F64:
        numeric_check(graph, list(graph.inputs), seed)


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_types_known_before_or_after_give_the_same(seed: int) -> None:
    graph = random_graph(seed, steps=8, dtypes=("float64",), smooth=True)
    y = graph.outputs[0]
    g = variable("cotangent", y.type)
    early = gradient([y], [g], list(graph.inputs))
    bare = [variable(value.node.name) for value in graph.inputs]
    (bare_y,) = substitute([y], dict(zip(graph.inputs, bare, strict=True)))
    bare_g = variable("cotangent")
    late = gradient([bare_y], [bare_g], bare)
    assert [v is None for v in early] == [v is None for v in late]
    kept = [i for i, v in enumerate(early) if v is not None]
    types = {value.node.name: value.type for value in (*graph.inputs, g)}
    first = decompose(Graph([*graph.inputs, g], [early[i] for i in kept]))  # type: ignore[misc]
    second = decompose(typed(Graph([*bare, bare_g], [late[i] for i in kept]), types))  # type: ignore[misc]
    rng = np.random.default_rng(seed)
    arrays = [*inputs_for(graph, seed), np.asarray(rng.normal(size=y.shape))]
    for a, b in zip(interpret(first, arrays), interpret(second, arrays), strict=True):
        assert np.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_constants_are_never_differentiated() -> None:
    x, g = variable("x", f64(2)), variable("g", f64(2))
    y = get("broadcast_mul")(x, constant(3.0))
    (dx,) = gradient([y], [g], [x])
    assert dx is not None
    assert interpret(Graph([x, g], [dx]), [np.ones(2), np.ones(2)])[0].tolist() == [3, 3]


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool"])
def test_no_gradient_passes_through_integers(dtype: str) -> None:
    """As on the tape, which records no operators on them."""

    def function(x: Any, w: Any) -> Any:
        return x.astype(dtype).astype("float32") * w + w

    found = []
    for run in (function, mx.jit(function)):
        x, w = nd.array([1.5, 2]), nd.array([3, 4])
        x.attach_grad()
        w.attach_grad()
        with autograd.record():
            y = run(x, w)
        y.backward(nd.array([0.5, 0.25]))
        found.append([x.grad.asnumpy().tolist(), w.grad.asnumpy().tolist()])
    assert found[0] == found[1] and found[0][0] == [0, 0]
