"""Loops and branches: on arrays, in graphs, nested, differentiated, drawn in, stored, refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.runtime.support import lines_of, run_script
from tigon import autograd, gluon, nd, sym
from tigon.base import TensorType, TigonError, as_dtype
from tigon.ir import Graph, variable
from tigon.ir.text import parse, show
from tigon.ops import get
from tigon.ops.record import Family, all_operators
from tigon.program.cached_graph import CachedGraph

CONTROL = [op for op in all_operators() if op.family is Family.CONTROL]
SAMPLES = [(op, number) for op in CONTROL for number in range(len(op.samples))]
Body = Callable[..., Any]


class Of(gluon.nn.HybridBlock):
    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def hybrid_forward(self, F: Any, *arrays: Any) -> Any:
        return self.body(F, *arrays)


def array(*shape: int, seed: int = 0) -> nd.NDArray:
    return nd.array(np.random.RandomState(seed).uniform(-1, 1, shape))


def results(body: Body, inputs: list[nd.NDArray], hybridize: bool, order: int) -> list[np.ndarray]:
    """Outputs and gradients, of a second call where it is compiled."""
    net = Of(body)
    if hybridize:
        net.hybridize(strict=True)
    for _ in range(2):
        mx.random.seed(7)
        for x in inputs:
            x.attach_grad()
        with autograd.record():
            y = net(*inputs)
            outputs = list(y) if isinstance(y, (list, tuple)) else [y]
            loss = sum((out * out).sum() for out in outputs)
            for _ in range(order - 1):
                slopes = autograd.grad([loss], list(inputs), create_graph=True)
                loss = sum((slope * slope).sum() for slope in slopes)
        loss.backward()
    return [a.asnumpy() for a in (*outputs, *[x.grad for x in inputs])]


def recurrent(F: Any, x: Any, state: Any, weight: Any) -> Any:
    rows, last = F.contrib.foreach(lambda row, s: (F.tanh(F.dot(s, weight) + row),) * 2, x, state)
    return rows, last


def two_of_each(F: Any, x: Any, y: Any, a: Any, b: Any) -> Any:
    outs, states = F.contrib.foreach(
        lambda row, s: ([row[0] * s[1], row[1] + s[0]], [s[0] + 1, F.sin(s[1] * row[0])]),
        [x, y],
        [a, b],
    )
    return (*outs, *states)


def grows(F: Any, i: Any, v: Any, w: Any) -> Any:
    rows, last = F.contrib.while_loop(
        lambda i, v: F.sum(i) < 3,
        lambda i, v: (F.sin(v * w), (i + 1, v * w + F.cos(v))),
        [i, v],
        max_iterations=6,
    )
    return (rows, *last)


def chooses(F: Any, p: Any, a: Any, b: Any) -> Any:
    return F.contrib.cond(F.sum(p) > 0, lambda: F.sin(a * b), lambda: a * a)


def rows_of_rows(F: Any, x: Any, s: Any) -> Any:
    return F.contrib.foreach(
        lambda row, t: F.contrib.foreach(lambda d, u: (F.tanh(d * u), u + d), row, t), x, s
    )[0]


def draws(F: Any, x: Any, s: Any) -> Any:
    def body(row: Any, state: Any) -> Any:
        kept = F.contrib.cond(F.sum(row) > 0, lambda: F.Dropout(row * state, p=0.5), lambda: row)
        return F.Dropout(kept, p=0.3), state + row

    rows, last = F.contrib.foreach(body, x, s)
    return rows, F.Dropout(last, p=0.5)


def _weighed(F: Any, x: Any, s: Any) -> Any:
    return F.contrib.foreach(lambda row, t: (row * t, F.tanh(t * 0.5 + row)), x, s)[1]


def loop_in_a_branch(F: Any, x: Any, s: Any) -> Any:
    return F.contrib.cond(F.sum(s) > -9, lambda: _weighed(F, x, s), lambda: s)


def branch_in_a_branch(F: Any, x: Any, s: Any) -> Any:
    def inner() -> Any:
        return F.contrib.cond(F.sum(s) < 9, lambda: F.sin(s) * x[0], lambda: s * s)

    return F.contrib.cond(F.sum(s) > -9, inner, lambda: s)


def loops_around_branches_around_loops(F: Any, x: Any, s: Any) -> Any:
    def body(row: Any, state: Any) -> Any:
        state = F.contrib.cond(
            F.sum(row) > 0, lambda: _weighed(F, x, state), lambda: F.sin(state) * row
        )
        return state, state + row

    _, (_, last) = F.contrib.while_loop(
        lambda i, t: i < 2,
        lambda i, t: ([], [i + 1, F.contrib.foreach(body, x, t)[1]]),
        [F.zeros((1,)), s],
        max_iterations=3,
    )
    return last


PROGRAMS: dict[str, tuple[Body, list[tuple[int, ...]]]] = {
    "recurrent": (recurrent, [(5, 2, 3), (2, 3), (3, 3)]),
    "two of each": (two_of_each, [(4, 3), (4,), (1,), (3,)]),
    "while": (grows, [(1,), (3,), (3,)]),
    "cond": (chooses, [(1,), (3,), (3,)]),
    "nested": (rows_of_rows, [(3, 4), (1,)]),
    "draws": (draws, [(6, 3), (3,)]),
    "a loop in a branch": (loop_in_a_branch, [(4, 3), (3,)]),
    "a branch in a branch": (branch_in_a_branch, [(4, 3), (3,)]),
    "one in another": (loops_around_branches_around_loops, [(3, 2), (2,)]),
}


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", PROGRAMS)
def test_graphs_compute_what_arrays_do(name: str, order: int) -> None:
    body, shapes = PROGRAMS[name]
    inputs = [array(*shape, seed=number) for number, shape in enumerate(shapes)]
    plain, compiled = (results(body, inputs, hybridize, order) for hybridize in (False, True))
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(other, one, 2e-5, 2e-5)


@pytest.mark.parametrize(("op", "number"), SAMPLES, ids=lambda item: getattr(item, "name", item))
def test_execution_means_what_the_oracle_says(op: Any, number: int) -> None:
    *given, attributes = op.samples[number]
    arrays = [
        item if isinstance(item, np.ndarray) else array(*item, seed=i).asnumpy()
        for i, item in enumerate(given)
    ]
    found = op(*[nd.array(a, dtype=a.dtype) for a in arrays], **attributes)
    wanted = op.oracle(op.make_attrs(attributes), *arrays)
    for one, other in zip(found if isinstance(found, list) else [found], wanted, strict=True):
        written = one.asnumpy() if op.name != "_while_loop" else one.asnumpy()[: len(other)]
        if op.name == "_while_loop" and other.ndim > 1:
            made = int(wanted[-1][0])
            written, other = written[:made], other[:made]  # rows of states beyond are not written
        np.testing.assert_allclose(written, other, 1e-6, 1e-6)


@pytest.mark.parametrize(("op", "number"), SAMPLES, ids=lambda item: getattr(item, "name", item))
def test_text_round_trip(op: Any, number: int) -> None:
    *given, attributes = op.samples[number]
    types = [
        TensorType(item, as_dtype("float32")) if isinstance(item, tuple)
        else TensorType(item.shape, as_dtype(item.dtype))
        for item in given
    ]  # fmt: skip
    inputs = [variable(f"x{i}", type_) for i, type_ in enumerate(types)]
    made = op(*inputs, **attributes)
    graph = Graph(inputs, made if isinstance(made, tuple) else (made,))
    assert parse(show(graph), get).key == graph.key


def test_one_body_serves_all_lengths() -> None:
    net = Of(recurrent)
    net.hybridize(strict=True)
    state, weight = array(2, 3), array(3, 3)
    for length in (5, 6):
        net(array(length, 2, 3), state, weight)[0].wait_to_read()
    before = mx.runtime.stats()["kernel_compilations"]
    for length in range(1, 31):
        net(array(length, 2, 3), state, weight)[0].wait_to_read()
    assert mx.runtime.stats()["kernel_compilations"] == before


def test_rows_of_other_arrays_and_of_none() -> None:
    rows, last = nd.contrib.foreach(lambda x, s: (x, []), nd.array([1, 2]), [])
    assert rows.shape == (2, 1) and last == []
    rows, last = nd.contrib.foreach(lambda x, s: ([], [s[0] + x]), nd.array([1, 2]), [nd.zeros(1)])
    assert rows == [] and last[0].asscalar() == 3
    for F in (nd, sym):
        start = F.zeros(1)
        assert F.contrib.while_loop(lambda i: i < 2, lambda i: (None, i + 1), start, 3)[0] == []
        assert F.contrib.foreach(lambda x, s: (None, s), F.zeros((2, 1)), start)[0] == []
    out, last = nd.contrib.while_loop(lambda i: i < 0, lambda i: (i, i), nd.ones(1), 2)
    assert out == [] and last.asscalar() == 1


def test_no_rows_of_what_is_computed() -> None:
    net = Of(
        lambda F, x, s: F.contrib.foreach(lambda r, t: (r + t, t * 2), F.concat(x * 2, x, dim=1), s)
    )
    net.hybridize(strict=True)
    rows, last = net(nd.ones((0, 2)), nd.ones(4))
    assert rows.shape == (0, 4) and last.asnumpy().tolist() == [1] * 4


@pytest.mark.parametrize("seed", range(8))
def test_several_loops_in_one_program(seed: int) -> None:
    """Whatever the order in which they are made, read and can begin."""
    draw = np.random.RandomState(seed)
    plans = [(int(draw.randint(3)), float(draw.uniform(0.5, 1))) for _ in range(5)]
    order = draw.permutation(len(plans))

    def body(F: Any, x: Any, state: Any, weight: Any) -> Any:
        made = [state]
        for kind, factor in plans:
            before = made[draw_of(kind, len(made))]
            rows = F.dot(x, weight) if kind == 1 else x  # some have to wait for a product
            if kind == 2:
                made.append(
                    F.contrib.cond(F.sum(before) > 0, lambda b=before: b * 3, lambda b=before: -b)
                )
            else:
                made.append(
                    F.contrib.foreach(
                        lambda row, s, f=factor: (row, F.tanh(s * f + row)), rows, before
                    )[1]
                )
        return [made[1 + number] for number in order]

    def draw_of(kind: int, count: int) -> int:
        return (kind * 7 + seed) % count

    inputs = [array(4, 3), array(3, seed=1), array(3, 3, seed=2)]
    plain, compiled = (results(body, inputs, hybridize, 1) for hybridize in (False, True))
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(other, one, 1e-5, 1e-5)


def test_a_branch_that_is_not_taken_does_not_run() -> None:
    calls: list[str] = []
    x = nd.ones(1)
    nd.contrib.cond(x < 0, lambda: calls.append("then") or x, lambda: calls.append("else") or x)
    assert calls == ["else"]
    net = Of(
        lambda F, n, x: F.contrib.cond(
            F.sum(n) > 0, lambda: F.take(x, n, mode="raise"), lambda: x[:1]
        )
    )
    net.hybridize(strict=True)
    assert net(nd.array([-5]), x).asscalar() == 1


def test_an_error_names_the_iteration() -> None:
    net = Of(
        lambda F, n, x: F.contrib.foreach(lambda i, s: (F.take(x, i, mode="raise"), s), n, x)[0]
    )
    net.hybridize(strict=True)
    assert net(nd.array([0, 1, 1]), nd.array([3, 4])).shape == (3, 1)
    with pytest.raises(IndexError, match=r"iteration 1: take.*: index 7 is out of bounds"):
        net(nd.array([0, 7, 1]), nd.array([3, 4])).asnumpy()
    assert net(nd.array([0, 1, 1]), nd.array([3, 4])).asnumpy()[:, 0].tolist() == [3, 4, 4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda F, x: F.contrib.foreach(lambda r, s: (r, 3), x, x), "states: expected arrays"),
        (lambda F, x: F.contrib.foreach(lambda r, s: r, x, x), "expected .outputs, states."),
        (lambda F, x: F.contrib.foreach(lambda r, s: (r, s), [], x), "expected data to go over"),
        (lambda F, x: F.contrib.while_loop(lambda i: i, lambda i: (i, i), x), "max_iterations"),
        (lambda F, x: F.contrib.while_loop(lambda i: i, lambda i: (i, i), [], 3), "loop_vars"),
        (lambda F, x: F.contrib.foreach(lambda r, s: (r, [s, s]), x, x), "expected 1 states from"),
    ],
)
@pytest.mark.parametrize("hybridize", [False, True])
def test_what_is_refused(call: Body, message: str, hybridize: bool) -> None:
    net = Of(call)
    if hybridize:
        net.hybridize()
    with pytest.raises(TigonError, match=message):
        net(nd.ones((2, 2)))


def test_branches_give_their_results_in_the_same_lists() -> None:
    net = Of(lambda F, x: F.contrib.cond(F.sum(x) > 0, lambda: x, lambda: [x]))
    net.hybridize()
    with pytest.raises(TigonError, match="then_func gives an array and else_func a list of 1"):
        net(nd.ones(2))


def test_states_keep_their_types_in_graphs() -> None:
    net = Of(lambda F, x: F.contrib.foreach(lambda r, s: (r, F.concat(s, s, dim=0)), x, x)[0])
    net.hybridize()
    with pytest.raises(TigonError, match="state 0 comes in as "):
        net(nd.ones((2, 2)))


def test_symbols_are_bound_and_read_again() -> None:
    x, s, w = sym.var("x"), sym.var("s"), sym.var("w")
    out, state = sym.contrib.foreach(lambda d, st: (d * w + st, st + d), x, s)
    both = sym.load_json(sym.Group([out, state]).tojson())
    assert both.list_arguments() == ["x", "s", "w"]
    given = {"x": nd.array([1, 2, 3]), "s": nd.array([1]), "w": nd.array([2])}
    slopes = {name: nd.zeros_like(value) for name, value in given.items()}
    executor = both.bind(given["x"].context, given, slopes)
    rows, last = executor.forward(is_train=True)
    assert rows.asnumpy()[:, 0].tolist() == [3, 6, 10] and last.asscalar() == 7
    executor.backward([nd.ones((3, 1)), nd.ones(1)])
    assert slopes["x"].asnumpy().tolist() == [5, 4, 3]


def test_a_loop_is_part_of_a_training_step() -> None:
    def trained(step: bool) -> list[np.ndarray]:
        mx.random.seed(1)
        net = gluon.nn.HybridSequential()
        net.add(gluon.nn.Dense(3, flatten=False, in_units=3), Of(lambda F, x: recurrent_on(F, x)))
        net.initialize(mx.init.Xavier())
        net.hybridize()
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
        loss = gluon.loss.L2Loss()
        x, y = array(4, 2, 3), array(4, 2, 3, seed=2)
        whole = gluon.TrainStep(net, loss, trainer)
        for _ in range(3):
            if step:
                whole(x, y)
                continue
            with autograd.record():
                value = loss(net(x), y)
            value.backward()
            trainer.step(4)
        return [param.data().asnumpy() for param in net.collect_params().values()]

    def recurrent_on(F: Any, x: Any) -> Any:
        return F.contrib.foreach(lambda row, s: (F.tanh(s + row),) * 2, x, F.zeros((2, 3)))[0]

    for one, other in zip(trained(False), trained(True), strict=True):
        np.testing.assert_allclose(one, other, 1e-6, 1e-6)


def test_no_python_between_iterations() -> None:
    calls = []

    def body(F: Any, x: Any, s: Any) -> Any:
        return F.contrib.foreach(lambda row, t: (calls.append(0) or row + t, t + row), x, s)[0]

    graph = CachedGraph(
        Graph.of(
            body(sym, sym.var("x"), sym.var("s"))._values
        )
    )  # fmt: skip
    before = len(calls)
    assert graph([nd.ones((100, 2)), nd.zeros(2)])[0].asnumpy()[-1].tolist() == [100, 100]
    assert len(calls) == before == 1


def test_programs_with_loops_are_found_on_disk(tmp_path: Any) -> None:
    script = """
        import numpy as np, tigon as mx
        from tigon import nd, sym
        x, s = sym.var("x"), sym.var("s")
        out, last = sym.contrib.foreach(lambda d, s: (sym.tanh(d + s), s + d), x, s)
        f = mx.sym.compile(sym.Group([out, last]))
        a, b = f(x=nd.ones((4, 3)), s=nd.zeros(3))
        print(float(a.asnumpy().sum()), b.asnumpy().tolist())
        print(mx.runtime.stats()["kernel_compilations"] == 0)
    """
    first = lines_of(run_script(script, TIGON_CACHE=str(tmp_path)))
    second = lines_of(run_script(script, TIGON_CACHE=str(tmp_path)))
    assert first[0] == second[0] and second[1] == "True"


class Plain(gluon.nn.HybridBlock):
    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, *arrays: Any) -> Any:
        return self.body(*arrays)


def written_outside(x: Any, s: Any) -> Any:
    total = nd.zeros(3)

    def body(row: Any, state: Any) -> Any:
        total[:] = total + row
        return row, state

    nd.contrib.foreach(body, x, s)
    return total


def written_inside(x: Any, s: Any) -> Any:
    def body(row: Any, state: Any) -> Any:
        row = row + 0
        row[0] = 5
        state = state + 0
        state += row
        return row, state

    return nd.contrib.foreach(body, x, s)[1]


_kept: list[Any] = []
BODIES: dict[str, tuple[Body, bool]] = {
    "reads a value": (
        lambda x, s: nd.contrib.foreach(lambda r, t: (r * float(t.sum().asscalar()), t), x, s)[0],
        False,
    ),
    "decides": (
        lambda x, s: nd.contrib.foreach(lambda r, t: (r if t.sum() > 3 else r * 2, t + r), x, s)[0],
        False,
    ),
    "keeps": (
        lambda x, s: nd.contrib.foreach(lambda r, t: (_kept.append(r) or r, t + r), x, s)[0],
        False,
    ),
    "writes outside": (written_outside, False),
    "writes inside": (written_inside, True),
    "makes": (lambda x, s: nd.contrib.foreach(lambda r, t: (nd.ones(3), t + 1), x, s)[0], True),
    "draws alone": (
        lambda x, s: nd.contrib.foreach(lambda r, t: (nd.random.uniform(shape=(3,)), t + 1), x, s)[
            0
        ],
        True,
    ),
    "draws while": (
        lambda x, s: nd.contrib.while_loop(
            lambda t: t.sum() < 20, lambda t: (nd.random.uniform(shape=(3,)), t + 1), s, 9
        )[0],
        True,
    ),
    "draws after": (
        lambda x, s: (
            nd.contrib.while_loop(lambda t: t.sum() < 20, lambda t: (t, t + 1), s, 9)[0][0]
            + nd.random.uniform(shape=(3,))
        ),
        True,
    ),
    "held alone": (
        lambda x, s: (
            nd.contrib.foreach(
                lambda r, t: (nd.ones(len(r)) * r.size, t + r[0]), nd.ones((3, 2)), nd.ones(1)
            )[0]
            + s[:1]
        ),
        True,
    ),
    "goes over what is held": (
        lambda x, s: nd.contrib.foreach(lambda r, t: (t, t + s), nd.ones((3, 1)), s)[0],
        True,
    ),
}


@pytest.mark.filterwarnings("ignore:.* gives way")
@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_graphs_hold_or_not(name: str) -> None:
    """What none can hold runs on arrays; both ways give the same."""
    body, is_graph = BODIES[name]
    x, s = array(4, 3), nd.array([1, 2, 3])
    mx.random.seed(2)
    expected = Plain(body)(x, s).asnumpy()
    net = Plain(body)
    net.hybridize(strict=is_graph)
    for _ in range(2):
        mx.random.seed(2)
        np.testing.assert_allclose(net(x, s).asnumpy(), expected, 1e-6)
    _kept.clear()


@pytest.mark.filterwarnings("ignore:.* gives way")
def test_a_body_that_moves_running_statistics_runs_on_arrays() -> None:
    found = []
    for hybridize in (False, True):
        norm = gluon.nn.BatchNorm(in_channels=3)
        norm.initialize()
        net = Of(lambda F, x, s, norm=norm: F.contrib.foreach(lambda r, t: (norm(r), t), x, s)[0])
        net.norm = norm
        if hybridize:
            net.hybridize()
        with autograd.record():
            net(array(4, 2, 3), nd.zeros(1))
        found.append(norm.running_mean.data().asnumpy())
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].any()
