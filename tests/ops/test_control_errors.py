"""Loops and branches that are given what they cannot take: messages say where, and nothing has
changed afterwards."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd, sym
from tigon.base import TigonError

Body = Callable[..., Any]


class Of(gluon.nn.HybridBlock):
    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        with self.name_scope():
            self.weight = self.params.get("weight", shape=(2,), init="ones")

    def hybrid_forward(self, F: Any, *arrays: Any, weight: Any) -> Any:
        return self.body(F, *arrays, weight)


def grows(F: Any, x: Any, w: Any) -> Any:
    return F.contrib.foreach(
        lambda row, s: (row, F.concat(s, s, dim=0)), x * F.random.uniform(shape=(2,)), w
    )


def another_dtype(F: Any, x: Any, w: Any) -> Any:
    return F.contrib.foreach(lambda row, s: (row, s.astype("int32")), x, w)


def grows_while(F: Any, x: Any, w: Any) -> Any:
    return F.contrib.while_loop(
        lambda s: F.sum(s) < 100, lambda s: (s, F.concat(s, s, dim=0)), w, max_iterations=4
    )


def does_not_fit(F: Any, x: Any, w: Any) -> Any:
    return F.contrib.foreach(lambda row, s: (F.dot(row, F.ones((7,))), s), x, w)


def does_not_fit_within(F: Any, x: Any, w: Any) -> Any:
    def outer(row: Any, s: Any) -> Any:
        return F.contrib.while_loop(
            lambda t: F.sum(t) < 9, lambda t: (t, F.dot(t, F.ones((7,)))), s, max_iterations=2
        )

    return F.contrib.foreach(outer, x, w)


def raises(F: Any, x: Any, w: Any) -> Any:
    def body(row: Any, s: Any) -> Any:
        raise ArithmeticError("mine")

    return F.contrib.foreach(body, x, w)


def gives_no_states(F: Any, x: Any, w: Any) -> Any:
    return F.contrib.foreach(lambda row, s: row, x, w)


HERE = re.escape(__file__) + r":\d+"
REFUSED: dict[str, tuple[Body, type[Exception], str, str]] = {
    # on arrays, in graphs
    "a state's shape": (
        grows,
        TigonError,
        rf"^foreach: iteration 0 at {HERE}: foreach: state 0 comes in as float32\[2\] and leaves "
        r"the body as float32\[4\]",
        rf"^foreach: state 0 comes in as float32\[2\] .*the loop or branch at {HERE}\)",
    ),
    "a state's dtype": (
        another_dtype,
        TigonError,
        rf"^foreach: iteration 0 at {HERE}: foreach: state 0 comes in as float32\[2\] .* int32",
        rf"^foreach: state 0 comes in as float32\[2\] .* int32\[2\].* at {HERE}\)",
    ),
    "a loop variable's shape": (
        grows_while,
        TigonError,
        rf"^while_loop: iteration 0 at {HERE}: while_loop: state 0 comes in as float32\[2\]",
        rf"^while_loop: state 0 comes in as float32\[2\] .* at {HERE}\)",
    ),
    "no states": (
        gives_no_states,
        TigonError,
        rf"^foreach: iteration 0 at {HERE}: foreach: expected \(outputs, states\) from the body",
        rf"^foreach: in its body at {HERE}: foreach: expected \(outputs, states\) from the body",
    ),
    "an operand": (
        does_not_fit,
        TigonError,
        rf"^foreach: iteration 0 at {HERE}: dot: inner sizes differ",
        rf"^foreach: in its body at {HERE}: dot: inner sizes differ",
    ),
    "an operand of a loop in a loop": (
        does_not_fit_within,
        TigonError,
        rf"^foreach: iteration 0 at {HERE}: while_loop: iteration 0 at {HERE}: dot: inner sizes",
        rf"^foreach: in its body at {HERE}: while_loop: in its body at {HERE}: dot: inner sizes",
    ),
    "what the user raises": (raises, ArithmeticError, "^mine", "^mine"),
}


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_in_a_body_is_told_with_its_place(name: str, hybridize: bool) -> None:
    body, kind, on_arrays, in_graphs = REFUSED[name]
    net = Of(body)
    net.initialize()
    if hybridize:
        net.hybridize()
    mx.random.seed(3)
    with pytest.raises(kind, match=in_graphs if hybridize else on_arrays) as caught:
        net(nd.ones((3, 2)))
    if kind is ArithmeticError and sys.version_info >= (3, 11):
        said = "foreach: in its body at" if hybridize else "foreach: iteration 0 at"
        assert any(note.startswith(said) for note in caught.value.__notes__)
    assert net.weight.data().asnumpy().tolist() == [1, 1]
    net.body = lambda F, x, w: F.contrib.foreach(lambda row, s: (row * s, s), x, w)[0]
    if hybridize:
        net.hybridize(strict=True)
    np.testing.assert_array_equal(net(nd.ones((3, 2))).asnumpy(), np.ones((3, 2)))


@pytest.mark.parametrize("name", ["an operand", "a loop variable's shape", "what the user raises"])
def test_a_loop_that_raises_has_drawn_nothing(name: str) -> None:
    body, kind, *_ = REFUSED[name]
    net = Of(body)
    net.initialize()
    mx.random.seed(3)
    expected = nd.random.uniform(shape=(2,)).asnumpy()
    mx.random.seed(3)
    with pytest.raises(kind):
        net(nd.ones((3, 2)))
    np.testing.assert_array_equal(nd.random.uniform(shape=(2,)).asnumpy(), expected)


@pytest.mark.parametrize("hybridize", [False, True])
def test_a_condition_has_one_element(hybridize: bool) -> None:
    net = Of(lambda F, x, w: F.contrib.while_loop(lambda s: s < 3, lambda s: (s, s + 1), w, 4)[0])
    net.initialize()
    if hybridize:
        net.hybridize()
    with pytest.raises(TigonError, match=r"while_loop: .*expected a.* of one element.*\(2,\)"):
        net(nd.ones(1))


@pytest.mark.parametrize("hybridize", [False, True])
def test_a_loop_without_end_makes_as_many_iterations_as_it_may(hybridize: bool) -> None:
    net = Of(
        lambda F, x, w: F.contrib.while_loop(
            lambda i, s: F.sum(s) < 1e9, lambda i, s: (i, [i + 1, s * 0]), [x, w], max_iterations=7
        )
    )
    net.initialize()
    if hybridize:
        net.hybridize(strict=True)
    rows, (count, _) = net(nd.zeros(1))
    assert rows.asnumpy()[:, 0].tolist() == [*range(7)] and count.asscalar() == 7


# ------------------------------------------------------------------- unknown extents


class Grown(gluon.nn.HybridBlock):
    """Parameters whose shapes the bodies of its loops tell."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        with self.name_scope():
            self.project = gluon.nn.Dense(3, flatten=False)
            self.weight = self.params.get("weight", shape=(3, 0), allow_deferred_init=True)

    def hybrid_forward(self, F: Any, x: Any, state: Any, weight: Any) -> Any:
        def moved(s: Any) -> Any:
            return F.FullyConnected(s, weight, num_hidden=3, no_bias=True)

        def step(row: Any, s: Any) -> Any:
            return F.tanh(self.project(row) + moved(s)), s

        if self.kind == "foreach":
            return F.contrib.foreach(step, x, state)[0]
        if self.kind == "nested":
            return F.contrib.foreach(lambda r, s: F.contrib.foreach(step, r, s), x, state)[0]
        if self.kind == "while":
            return F.contrib.while_loop(
                lambda i, s: F.sum(i) < 2,
                lambda i, s: (step(s, s)[0], [i + 1, s]),
                [F.zeros((1,)), state],
                max_iterations=4,
            )[0]
        return F.contrib.cond(F.sum(x) > 0, lambda: step(state, state)[0], lambda: state)


GROWN = {"foreach": (4, 2, 5), "nested": (4, 3, 2, 5), "while": (1,), "cond": (1,)}


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("kind", GROWN)
def test_bodies_tell_the_shapes_of_parameters(kind: str, hybridize: bool) -> None:
    net = Grown(kind)
    net.initialize()
    if hybridize:
        net.hybridize(strict=True)
    net(nd.ones(GROWN[kind]), nd.ones((2, 3)))
    assert net.project.weight.shape == (3, 5 if "e" in kind and kind != "while" else 3)
    assert net.weight.shape == (3, 3)


@pytest.mark.parametrize("kind", GROWN)
def test_bodies_tell_the_shapes_of_arguments(kind: str) -> None:
    net = Grown(kind)
    symbol = net(sym.var("x"), sym.var("s"))
    given = {"x": GROWN[kind], "s": (2, 3)}
    given = {name: shape for name, shape in given.items() if name in symbol.list_arguments()}
    shapes = dict(zip(symbol.list_arguments(), symbol.infer_shape(**given)[0], strict=True))
    assert shapes[net.weight.name] == (3, 3)
    wide = 5 if kind in ("foreach", "nested") else 3
    assert shapes[net.project.weight.name] == (3, wide)
    assert shapes[net.project.bias.name] == (3,)
    executor = symbol.simple_bind(nd.ones(1).context, **given)
    assert executor.arg_dict[net.weight.name].shape == (3, 3)


def test_shapes_that_a_body_refuses() -> None:
    x, s = sym.var("x"), sym.var("s")
    rows, _ = sym.contrib.foreach(lambda r, t: (sym.dot(r, t), t), x, s, name="loop")
    with pytest.raises(TigonError, match=r"inner sizes differ.*_foreach"):
        rows.infer_shape(x=(4, 2, 5), s=(6, 3))
