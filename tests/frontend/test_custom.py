"""Operators written in Python, on arrays and on symbols."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.frontend.custom_operators import (
    only_here,
    register,
    register_counter,
    register_square,
    register_sum_and_product,
)
from tigon import autograd, nd, sym
from tigon import current_context as here
from tigon.ops.custom import _kinds

DATA = np.array([1, 2, 3], "float32")


@pytest.fixture(autouse=True)
def log() -> Iterator[list[str]]:
    with only_here() as found:
        yield found


def variable(values: Any = DATA) -> Any:
    array = nd.array(values)
    array.attach_grad()
    return array


# ------------------------------------------------------------------------------ protocol


def test_forward_and_backward(log: list[str]) -> None:
    register_square()
    x = variable()
    with autograd.record():
        y = nd.Custom(x, op_type="square", name="sq")
        z = (y * y).sum()
    z.backward()
    np.testing.assert_array_equal(y.asnumpy(), DATA**2)
    np.testing.assert_array_equal(x.grad.asnumpy(), 4 * DATA**3)
    assert log == ["create square [[3]]", "square", "square backward"]


def test_what_the_code_is_told(log: list[str]) -> None:
    seen: list[Any] = []

    def forward(op: Any, is_train: bool, req: Any, in_data: Any, **_: Any) -> None:
        seen.append((is_train, autograd.is_training(), autograd.is_recording(), req))
        seen.append([type(array) for array in in_data])

    def backward(op: Any, req: Any, in_grad: Any, out_grad: Any, **_: Any) -> None:
        seen.append((autograd.is_training(), autograd.is_recording(), req))
        op.assign(in_grad[0], req[0], out_grad[0])
        op.assign(in_grad[1], req[1], out_grad[0])

    register("look", forward, backward, list_arguments=["a", "b"])
    nd.Custom(nd.ones(1), nd.ones(1), op_type="look").asnumpy()
    x = variable([1])
    with autograd.record():
        y = nd.Custom(b=nd.ones(1), a=x, op_type="look")
    y.backward()
    with autograd.record(train_mode=False):
        nd.Custom(x, nd.ones(1), op_type="look").asnumpy()
    both = [nd.NDArray] * 2
    assert seen == [
        (False, False, False, ["write"]),
        both,
        (True, True, False, ["write"]),
        both,
        (True, False, ["write", "null"]),
        (False, False, False, ["write"]),
        both,
    ]
    assert x.grad.asnumpy() == [1]


def test_attributes_are_text_and_known_when_it_is_made() -> None:
    def forward(op: Any, in_data: Any, out_data: Any, req: Any, **_: Any) -> None:
        assert op.attributes == {"factor": "2.5", "shape": "(1, 2)", "flag": "True"}
        op.assign(out_data[0], req[0], in_data[0] * float(op.attributes["factor"]))

    register("scale", forward)
    y = nd.Custom(nd.ones(2), op_type="scale", factor=2.5, shape=(1, 2), flag=True)
    assert y.asnumpy().tolist() == [2.5, 2.5]


def test_several_results_and_unread_ones() -> None:
    register_sum_and_product()
    a, b = variable(), variable(DATA + 1)
    with autograd.record():
        _, product = nd.Custom(a, b, op_type="sum_and_product")
    product.backward()
    np.testing.assert_array_equal(a.grad.asnumpy(), DATA + 1)
    np.testing.assert_array_equal(b.grad.asnumpy(), DATA)


def test_own_shapes_and_types() -> None:
    def forward(op: Any, in_data: Any, out_data: Any, req: Any, **_: Any) -> None:
        values = in_data[0].asnumpy()
        op.assign(out_data[0], req[0], nd.array(np.argsort(-values), dtype="int32"))
        op.assign(out_data[1], req[1], nd.array([[values.sum()]], dtype="float64"))

    register(
        "order",
        forward,
        list_outputs=["order", "total"],
        infer_shape=lambda self, shapes: (shapes, [shapes[0], (1, 1)], []),
        infer_type=lambda self, types: (types, [np.int32, "float64"], []),
    )
    order, total = nd.Custom(nd.array(DATA), op_type="order")
    assert order.dtype is np.int32 and order.asnumpy().tolist() == [2, 1, 0]
    assert total.dtype is np.float64 and total.asnumpy().tolist() == [[6]]


def test_states_move_from_call_to_call() -> None:
    register_counter()
    x, count = variable(), nd.zeros(1)
    for number in range(3):
        with autograd.record():
            y = nd.Custom(x, count, op_type="counter")
        y.backward()
        assert y.asnumpy().tolist() == (DATA + number).tolist()
    assert count.asscalar() == 3
    assert nd.Custom(x, count, op_type="counter").asnumpy().tolist() == (DATA + 3).tolist()
    assert x.grad.asnumpy().tolist() == [1, 1, 1]


def test_states_that_are_parts_of_an_array_move_in_it() -> None:
    register_counter()
    counts = nd.zeros((3,))
    for number in range(3):
        y = nd.Custom(nd.array(DATA), counts[1:2], op_type="counter")
        assert y.asnumpy().tolist() == [value + number for value in DATA]
    assert counts.asnumpy().tolist() == [0, 3, 0]


def test_backward_may_write_states() -> None:
    def backward(op: Any, aux: Any, out_grad: Any, in_grad: Any, req: Any, **_: Any) -> None:
        op.assign(in_grad[0], req[0], out_grad[0])
        aux[0][:] += 10

    register(
        "notes",
        lambda op, in_data, out_data, req, **_: op.assign(out_data[0], req[0], in_data[0]),
        backward,
        list_auxiliary_states=["note"],
    )
    x, note = variable(), nd.zeros(3)
    with autograd.record():
        y = nd.Custom(x, note, op_type="notes")
    y.backward()
    assert note.asnumpy().tolist() == [10, 10, 10]


def test_a_loss_needs_nothing_from_above() -> None:
    def backward(op: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, **_: Any):  # type: ignore
        assert out_grad == [None] and len(in_data) == len(out_data) == 1
        in_grad[0][:] = in_data[0] - 1

    register(
        "own_loss",
        lambda op, in_data, out_data, **_: op.assign(out_data[0], "write", in_data[0]),
        backward,
        need_top_grad=False,
    )
    x = variable()
    with autograd.record():
        y = nd.Custom(x, op_type="own_loss")
    y.backward()
    assert x.grad.asnumpy().tolist() == [0, 1, 2]
    executor = sym.Custom(sym.var("x"), op_type="own_loss").bind(
        args={"x": nd.array(DATA)}, args_grad={"x": nd.zeros(3)}
    )
    executor.forward(is_train=True)
    executor.backward()  # as a loss it is asked for no out_grads
    assert executor.grad_dict["x"].asnumpy().tolist() == [0, 1, 2]


def test_undeclared_dependencies_are_not_there() -> None:
    def backward(op: Any, in_data: Any, out_data: Any, out_grad: Any, in_grad: Any, **_: Any):  # type: ignore
        assert in_data == [None]
        in_grad[0][:] = out_grad[0] * out_data[0]

    register(
        "exp_of_mine",
        lambda op, in_data, out_data, **_: op.assign(out_data[0], "write", in_data[0].exp()),
        backward,
        declare_backward_dependency=lambda self, g, x, y: [*g, *y],
    )
    x = variable()
    with autograd.record():
        data = x * 1
        y = nd.Custom(data, op_type="exp_of_mine")
    assert mx._native.tape_node(y)[0].tag._inputs == [None]  # nor is it kept in memory
    data.detach()[:] = 0
    y.backward()
    np.testing.assert_array_equal(x.grad.asnumpy(), y.asnumpy())


def test_gradients_add_up_where_asked() -> None:
    register_square()
    x = nd.array(DATA)
    x.attach_grad(grad_req="add")
    for _ in range(2):
        with autograd.record():
            y = nd.Custom(x, op_type="square")
        y.backward()
    np.testing.assert_array_equal(x.grad.asnumpy(), 4 * DATA)


def test_out_is_written() -> None:
    register_square()
    out = nd.zeros(3)
    assert nd.Custom(nd.array(DATA), op_type="square", out=out) is out
    np.testing.assert_array_equal(out.asnumpy(), DATA**2)


def test_out_is_checked_as_that_of_other_operators(log: list[str]) -> None:
    register_sum_and_product()
    register_square()
    x = nd.array(DATA)
    outs = [5, [5], "abc", nd.zeros(1), nd.zeros((2, 3)), nd.zeros(3, dtype="int32")]
    outs += [[nd.zeros(3), nd.zeros(3)], nd.zeros((3, 1)), variable()]
    for out in outs:
        before = out.asnumpy().tolist() if isinstance(out, nd.NDArray) else None
        told = []
        for call in (partial(nd.Custom, op_type="square"), nd.square):
            with autograd.record(), pytest.raises(mx.TigonError) as raised:
                call(x, out=out)
            told.append(str(raised.value).partition(": ")[2])
        assert told[0] == told[1]
        assert before is None or out.asnumpy().tolist() == before
    same = nd.zeros(3)
    with pytest.raises(mx.TigonError) as raised:
        nd.Custom(x, x, op_type="sum_and_product", out=[same, same])
    assert str(raised.value) == (
        "Custom 'sum_and_product': out=: two outputs overlap; give each its own array"
    )
    nd.waitall()
    assert not [entry for entry in log if not entry.startswith("create")]
    total, product = nd.Custom(x, x, op_type="sum_and_product", out=[None, same])
    assert product is same and same.asnumpy().tolist() == [1, 4, 9]
    assert total.asnumpy().tolist() == [2, 4, 6]


def test_contexts() -> None:
    told: list[Any] = []

    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        told.append((in_data[0].context, in_data[1].context, nd.zeros(1).context))
        op.assign(out_data[0], "write", in_data[0] * in_data[1])

    def backward(op: Any, in_data: Any, out_grad: Any, in_grad: Any, **_: Any) -> None:
        op.assign(in_grad[0], "write", out_grad[0] * in_data[1])
        op.assign(in_grad[1], "write", out_grad[0] * in_data[0])

    def create_operator(self: Any, ctx: Any, shapes: Any, types: Any) -> Any:
        told.append(ctx)
        return made(self, ctx, shapes, types)

    register("product", forward, backward, list_arguments=["a", "b"])
    kind = _kinds["product"].make
    made, kind.create_operator = kind.create_operator, create_operator
    net = sym.Custom(sym.var("a"), sym.var("b"), op_type="product", name="p") + 0
    compiled = mx.compile(net)
    for call in (partial(nd.Custom, op_type="product"), lambda a, b: compiled(a=a, b=b)):
        a, b = nd.array(DATA, ctx=mx.cpu(1)), nd.array(DATA, ctx=mx.cpu(2))
        for array in (a, b):
            array.attach_grad()
        with autograd.record():
            y = call(a, b)
        y.backward()
        assert y.context == mx.cpu(1) and y.asnumpy().tolist() == [1, 4, 9]
        for array in (a, b):
            assert array.grad.context == array.context
            assert array.grad.asnumpy().tolist() == [1, 2, 3]
        nd.waitall()
        assert told == [mx.cpu(1), (mx.cpu(1), mx.cpu(2), mx.cpu(1))]
        told.clear()


def test_a_later_registration_takes_the_place() -> None:
    register_square("mine")
    assert nd.Custom(nd.array(DATA), op_type="mine").asnumpy().tolist() == [1, 4, 9]
    register("mine", lambda op, in_data, out_data, **_: op.assign(out_data[0], "write", in_data[0]))
    assert nd.Custom(nd.array(DATA), op_type="mine").asnumpy().tolist() == [1, 2, 3]
    assert "mine" in mx.operator.get_all_registered_operators()


def test_history_as_a_symbol() -> None:
    register_square()
    x = variable()
    with autograd.record():
        y = nd.Custom(x * 2, op_type="square")
    again = autograd.get_symbol(y).eval(var0=nd.array(DATA))[0]
    np.testing.assert_array_equal(again.asnumpy(), y.asnumpy())


# -------------------------------------------------------------- arrays, threads and errors


def test_what_the_code_keeps_stays(log: list[str]) -> None:
    kept: list[Any] = []

    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        out_data[0][:] = in_data[0] + 1
        kept.append((in_data[0], out_data[0]))

    register("keep", forward)
    f = mx.compile(sym.Custom(sym.var("x") * 2, op_type="keep") * 3)
    for number in range(20):
        f(x=np.full(1000, number, "float32"))
    nd.waitall()
    for number, (given, made) in enumerate(kept):
        assert (given.asnumpy() == 2 * number).all() and (made.asnumpy() == 2 * number + 1).all()
    assert len(kept) == 20


def test_writes_after_the_call_do_not_meet() -> None:
    """Neither the caller's into what the code keeps, views included, nor the code's into what the
    caller has."""
    kept: list[Any] = []

    def forward(op: Any, in_data: Any, out_data: Any, aux: Any, **_: Any) -> None:
        out_data[0][:] = in_data[0] + 1
        kept.extend((in_data[0], in_data[0][1:], out_data[0], out_data[0].reshape((1, 3)), aux[0]))

    def backward(op: Any, in_data: Any, out_grad: Any, in_grad: Any, aux: Any, **_: Any) -> None:
        in_grad[0][:] = out_grad[0] * 2
        kept.extend((in_data[0], out_grad[0], in_grad[0], aux[0]))

    register("keep", forward, backward, list_auxiliary_states=["note"])
    x, note = variable(), nd.full((3,), 7)
    with autograd.record():
        y = nd.Custom(x, note, op_type="keep")
    g = nd.full((3,), 5)
    y.backward(g)
    given = [array.asnumpy().tolist() for array in (x, y, note, g, x.grad)]
    for array in (x, y, note, g, x.grad):
        array.detach()[:] = 0
    values = [[1, 2, 3], [2, 3], [2, 3, 4], [[2, 3, 4]], [7] * 3, [1, 2, 3], [5] * 3, [10] * 3]
    assert [array.asnumpy().tolist() for array in kept] == [*values, [7] * 3]
    for array, before in zip((x, y, note, g, x.grad), given, strict=True):
        array.detach()[:] = nd.array(before)
    for array in kept:
        array[:] = -1
    assert [array.asnumpy().tolist() for array in (x, y, note, g, x.grad)] == given


def test_what_the_code_does_not_keep_is_not_copied() -> None:
    places: list[int] = []

    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        places.extend(np.from_dlpack(array).ctypes.data for array in (in_data[0], out_data[0]))

    register("look", forward)
    x = nd.array(DATA)
    y = nd.Custom(x, op_type="look")
    y.wait_to_read()
    if here() == mx.cpu():  # memory of other devices is copied
        assert places == [np.from_dlpack(array).ctypes.data for array in (x, y)]


def test_the_code_draws_from_a_stream_of_its_own() -> None:
    """Whenever it runs; the caller draws what it would draw without it."""
    gate = threading.Event()

    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        assert gate.wait(60)
        out_data[0][:] = nd.random.uniform(shape=3)

    def backward(op: Any, in_grad: Any, **_: Any) -> None:
        in_grad[0][:] = nd.random.uniform(shape=3)

    register("draws", forward, backward)

    def drawn(late: bool, compiled: bool) -> tuple[list[Any], list[Any]]:
        """By the caller, and by the code."""
        gate.clear() if late else gate.set()
        call: Any = partial(nd.Custom, op_type="draws")
        call = mx.jit(lambda x: nd.Custom(x, op_type="draws")) if compiled else call
        mx.random.seed(7)
        x, outside, inside = variable(), [], []
        for _ in range(2):
            with autograd.record():
                y = call(x)
            outside.append(nd.random.uniform(shape=2).asnumpy().tolist())
            gate.set()
            y.backward()
            inside += [y.asnumpy().tolist(), x.grad.asnumpy().tolist()]
        return outside, inside

    mx.random.seed(7)
    alone = [nd.random.uniform(shape=2).asnumpy().tolist() for _ in range(2)]
    outside, inside = drawn(late=False, compiled=False)
    assert outside == alone and len({tuple(values) for values in inside}) == 4
    for late, compiled in ((True, False), (False, True), (True, True)):
        assert drawn(late, compiled) == (outside, inside)


def test_seeds_set_by_the_code_are_its_own() -> None:
    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        mx.random.seed(3)
        out_data[0][:] = nd.random.uniform(shape=3)

    register("seeds", forward)
    mx.random.seed(3)
    expected = nd.random.uniform(shape=3).asnumpy()
    second = nd.random.uniform(shape=3).asnumpy()
    mx.random.seed(3)
    nd.random.uniform(shape=3)
    np.testing.assert_array_equal(nd.Custom(nd.array(DATA), op_type="seeds").asnumpy(), expected)
    np.testing.assert_array_equal(nd.random.uniform(shape=3).asnumpy(), second)


def test_an_operator_that_calls_itself_is_named_once() -> None:
    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        if in_data[0].asscalar() == 0:
            raise ValueError("the bottom")
        op.assign(out_data[0], "write", nd.Custom(in_data[0] - 1, op_type="deep"))

    register("deep", forward)
    y = nd.Custom(nd.array([3]), op_type="deep")
    line = test_an_operator_that_calls_itself_is_named_once.__code__.co_firstlineno + 7
    with pytest.raises(mx.TigonError) as raised:
        y.asnumpy()
    assert str(raised.value) == (
        f"Custom 'deep' on cpu(0): ValueError: the bottom (called at {__file__}:{line})"
    )


def test_the_code_may_call_tigon_and_itself() -> None:
    register_square()

    def forward(op: Any, in_data: Any, out_data: Any, req: Any, **_: Any) -> None:
        x = in_data[0].copy()
        x.attach_grad()
        with autograd.record():
            y = nd.Custom(x, op_type="square").sum()
        y.backward()
        op.assign(out_data[0], req[0], nd.dot(x.grad, nd.ones((3, 3))))

    register("outer", forward)
    y = nd.Custom(nd.array(DATA), op_type="outer")
    np.testing.assert_array_equal(y.asnumpy(), np.full(3, 12.0))


def test_the_call_returns_before_the_code_does() -> None:
    gate = threading.Event()

    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        assert gate.wait(60)
        out_data[0][:] = in_data[0]

    register("wait", forward)
    y = nd.Custom(nd.array(DATA), op_type="wait")
    z = y + 1
    gate.set()
    assert z.asnumpy().tolist() == [2, 3, 4]


def test_calls_of_one_thread_run_in_their_order() -> None:
    seen: list[float] = []

    def forward(op: Any, in_data: Any, **_: Any) -> None:
        time.sleep(0.001)
        seen.append(in_data[0].asscalar())

    register("note", forward)
    for number in range(30):
        nd.Custom(nd.array([number]), op_type="note")
    nd.waitall()
    assert seen == list(range(30))


def test_code_that_waits_takes_up_no_other_code() -> None:
    """What another thread calls meanwhile may wait for what this one does afterwards."""
    first_waits, first_is_done, kernel = (threading.Event() for _ in range(3))

    def first(op: Any, **_: Any) -> None:
        first_waits.set()
        late[0].wait_to_read()
        first_is_done.set()

    def second(op: Any, **_: Any) -> None:
        assert first_is_done.wait(60)

    def slow(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        assert kernel.wait(60)

    for name, forward in (("first", first), ("second", second), ("slow", slow)):
        register(name, forward)
    late: list[Any] = []
    results: list[Any] = []
    thread = threading.Thread(target=lambda: late.append(nd.Custom(nd.ones(1), op_type="slow")))
    thread.start()
    thread.join()
    results.append(nd.Custom(nd.array(DATA), op_type="first"))
    assert first_waits.wait(60)
    thread = threading.Thread(
        target=lambda: results.append(nd.Custom(nd.ones(1), op_type="second"))
    )
    thread.start()
    thread.join()
    time.sleep(0.05)
    kernel.set()
    for result in results:
        result.wait_to_read()


def test_errors_come_at_the_wait_with_operator_and_line() -> None:
    def forward(op: Any, in_data: Any, **_: Any) -> None:
        raise ValueError("the data is sour")

    register("fail", forward)
    register_square()
    y = nd.Custom(nd.array(DATA), op_type="fail")  # the line that is told
    line = test_errors_come_at_the_wait_with_operator_and_line.__code__.co_firstlineno + 6
    z = nd.Custom(y + 1, op_type="square") * 2
    with pytest.raises(mx.TigonError) as raised:
        z.asnumpy()
    assert str(raised.value) == (
        f"Custom 'fail' on {here()}: ValueError: the data is sour (called at {__file__}:{line})"
    )
    assert isinstance(raised.value.__cause__, ValueError)
    assert nd.Custom(nd.array(DATA), op_type="square").asnumpy().tolist() == [1, 4, 9]


def test_errors_of_gradients_name_the_call() -> None:
    def backward(op: Any, **_: Any) -> None:
        raise KeyError("lost")

    register("half", lambda op, in_data, out_data, **_: None, backward)
    x = variable()
    with autograd.record():
        y = nd.Custom(x, op_type="half")  # the call
    line = test_errors_of_gradients_name_the_call.__code__.co_firstlineno + 7
    y.backward()
    with pytest.raises(mx.TigonError) as raised:
        x.grad.asnumpy()
    assert str(raised.value) == (
        f"Custom 'half' on {here()}, the gradient of the call at {__file__}:{line}: KeyError: "
        f"'lost' (called at {__file__}:{line + 2})"
    )


def test_a_failed_call_changes_nothing() -> None:
    fails = [True]

    def forward(op: Any, in_data: Any, out_data: Any, aux: Any, **_: Any) -> None:
        aux[0][:] += 1
        if fails[0]:
            raise ValueError("not yet")
        out_data[0][:] = in_data[0]

    register("maybe", forward, list_auxiliary_states=["count"])
    count = nd.zeros(3)
    with pytest.raises(mx.TigonError, match=r"^Custom 'maybe' on \w+\(0\): ValueError: not yet"):
        nd.Custom(nd.array(DATA), count, op_type="maybe")
    assert count.asnumpy().tolist() == [0, 0, 0]
    fails[0] = False
    assert nd.Custom(nd.array(DATA), count, op_type="maybe").asnumpy().tolist() == [1, 2, 3]
    assert count.asnumpy().tolist() == [1, 1, 1]


@pytest.mark.parametrize("viewed", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_states_stay_where_what_moves_them_failed(
    large: bool, compiled: bool, viewed: bool
) -> None:
    """Also those of other operators, whose calls return before it fails; also parts of a larger
    array, which has what they have."""
    rows = 40_000 if large else 4

    def forward(op: Any, **_: Any) -> None:
        time.sleep(0.01)
        raise ValueError("sour")

    register("fail", forward)

    def layer(*arrays: Any) -> Any:
        return nd.BatchNorm(*arrays, fix_gamma=False)

    call = mx.jit(layer) if compiled else layer
    scale, shift = nd.ones(3), nd.ones(3)
    both = nd.array([[0, 0, 0], [1, 1, 1]])
    mean, var = (both[0], both[1]) if viewed else (nd.zeros(3), nd.ones(3))

    def whole() -> Any:
        parts = np.stack([mean.asnumpy(), var.asnumpy()])
        if viewed:
            np.testing.assert_array_equal(both.asnumpy(), parts)
        return parts

    x = nd.random.normal(shape=(rows, 3))
    for _ in range(2):
        with autograd.train_mode():
            call(x, scale, shift, mean, var)
    before = whole()
    assert before[0].any()
    for _ in range(2):
        with autograd.train_mode():
            y = call(nd.Custom(x, op_type="fail"), scale, shift, mean, var)
        np.testing.assert_array_equal(whole(), before)
        with pytest.raises(mx.TigonError, match="sour"):
            y.asnumpy()
    with autograd.train_mode():
        call(x, scale, shift, mean, var)
    assert (whole() != before).all()


@pytest.mark.parametrize("name", ["sgd_update", "sgd_mom_update", "signsgd_update"])
def test_weights_stay_where_their_gradient_failed(name: str) -> None:
    def forward(op: Any, **_: Any) -> None:
        time.sleep(0.01)
        raise ValueError("sour")

    register("fail", forward)
    gradient = nd.Custom(nd.ones(3), op_type="fail")
    weight, states = nd.ones(3), [nd.zeros(3)] if "mom" in name else []
    getattr(nd, name)(weight, gradient, *states, lr=0.1, out=weight)
    assert weight.asnumpy().tolist() == [1, 1, 1]
    with pytest.raises(mx.TigonError, match="sour"):
        gradient.asnumpy()
    getattr(nd, name)(weight, nd.ones(3), *states, lr=0.5, out=weight)
    assert weight.asnumpy().tolist() == [0.5, 0.5, 0.5]


def test_waiting_for_what_comes_after_is_told() -> None:
    later: list[Any] = []
    begins = threading.Event()

    def forward(op: Any, **_: Any) -> None:
        begins.wait(60)
        later[0].asnumpy()

    register("impatient", forward)
    y = nd.Custom(nd.array(DATA), op_type="impatient")
    later.append(y + 1)
    begins.set()
    with pytest.raises(mx.TigonError) as raised:
        y.asnumpy()
    assert str(raised.value).partition(" (called")[0] == (
        f"Custom 'impatient' on {here()}: the callback waits for an array that is computed after "
        "it, from its results or by a later callback; compute with the arrays that it is given"
    )


def test_waiting_for_all_is_told() -> None:
    register("all", lambda op, **_: nd.waitall())
    with pytest.raises(mx.TigonError) as raised:
        nd.Custom(nd.array(DATA), op_type="all").asnumpy()
    assert str(raised.value).partition(" (called")[0] == (
        f"Custom 'all' on {here()}: waitall: a host callback cannot wait for all work, of which it "
        "is a part; wait for the arrays that it needs, by wait_to_read()"
    )


def test_code_that_does_not_return() -> None:
    """Whoever waits is told after a while; other code runs, and results come when it returns."""
    gate = threading.Event()

    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        gate.wait(60)
        out_data[0][:] = in_data[0]

    register("hang", forward)
    register_square()
    before = mx._native.callback_seconds()
    mx._native.set_callback_seconds(0.2)
    try:
        y = nd.Custom(nd.array(DATA), op_type="hang")
        line = test_code_that_does_not_return.__code__.co_firstlineno + 13
        for wait in (y.asnumpy, (y + 1).wait_to_read, nd.waitall):
            with pytest.raises(mx.base.TigonTimeoutError) as raised:
                wait()
            assert str(raised.value) == (
                f"Custom 'hang' on {here()} (called at {__file__}:{line}): expected it to return "
                "to the thread that waits for its results within 0.2 s; it is still running; see "
                "whether it waits for something that this thread holds, or set "
                "TIGON_CALLBACK_SECONDS to more"
            )
        assert nd.Custom(nd.array(DATA), op_type="square").asnumpy().tolist() == [1, 4, 9]
        assert (nd.ones((300, 300)) @ nd.ones((300, 300))).asnumpy()[0, 0] == 300
        gate.set()
        assert y.asnumpy().tolist() == [1, 2, 3]
    finally:
        gate.set()
        mx._native.set_callback_seconds(before)


def test_each_code_may_take_its_time() -> None:
    def forward(op: Any, **_: Any) -> None:
        time.sleep(0.3)

    register("slow", forward)
    before = mx._native.callback_seconds()
    mx._native.set_callback_seconds(1.2)
    try:
        results = [nd.Custom(nd.array(DATA), op_type="slow") for _ in range(6)]
        results[-1].wait_to_read()  # longer than each of them runs
    finally:
        mx._native.set_callback_seconds(before)


def test_overwritten_operands_are_noticed() -> None:
    register_square()
    x = variable()
    with autograd.record():
        a = x * 1
        y = nd.Custom(a, op_type="square")
    line = test_overwritten_operands_are_noticed.__code__.co_firstlineno + 5
    a.detach()[:] = 0
    with pytest.raises(mx.TigonError) as raised:
        y.backward()
    assert str(raised.value) == (
        f"Custom 'square' on {here()}, the gradient of the call at {__file__}:{line}: input 0 was "
        "overwritten in place after it was recorded; make a copy before changing it"
    )


def test_nothing_is_kept_after_backward() -> None:
    register_square()
    x = variable()
    with autograd.record():
        y = nd.Custom(x, op_type="square")
    node = weakref.ref(mx._native.tape_node(y)[0].tag._code)
    y.backward()
    nd.waitall()
    del y
    gc.collect()
    assert node() is None


def test_naive_engine_runs_at_once(log: list[str]) -> None:
    register_square()
    mx._native.set_naive(True)
    try:
        x = variable()
        with autograd.record():
            y = nd.Custom(x, op_type="square")
        assert log[-1] == "square"
        y.backward()
        assert log[-1] == "square backward"
    finally:
        mx._native.set_naive(False)


# --------------------------------------------------------------------------- wrong answers

WRONG = {
    "names": (
        {"list_arguments": "data"},
        "list_arguments: expected a list of names; given 'data'",
    ),
    "no results": ({"list_outputs": []}, "list_outputs: expected at least one name; given none"),
    "names twice": ({"list_arguments": ["a", "a"]}, "two operands are named a"),
    "shapes": (
        {"infer_shape": lambda self, shapes: (shapes, [], [])},
        "infer_shape: expected lists for 1 arguments (data), 1 outputs (output) and 0 auxiliary "
        "states (none); given ([[3]], [], [])",
    ),
    "extents": (
        {"infer_shape": lambda self, shapes: (shapes, [[-1]], [])},
        "infer_shape: 'output': expected a shape such as (2, 3); given [-1]",
    ),
    "unknown": (
        {"infer_shape": lambda self, shapes: (shapes, [[]], [])},
        "infer_shape: 'output': expected a shape; given [], which says that it is not known; write "
        "[1] for one number",
    ),
    "dtypes": (
        {"infer_type": lambda self, types: (types, ["float31"], [])},
        "infer_type: 'output': expected a dtype such as numpy.float32; given 'float31'",
    ),
    "no dtype": (
        {"infer_type": lambda self, types: (types, [None], [])},
        "infer_type: 'output': expected a dtype such as numpy.float32; given None",
    ),
    "other operands": (
        {"infer_shape": lambda self, shapes: ([[4]], [[4]], [])},
        "operand 'data': expected float32[4], as infer_shape and infer_type tell; given float32[3]",
    ),
    "errors": (
        {"infer_shape": lambda self, shapes: shapes[1]},
        "infer_shape raised IndexError: list index out of range",
    ),
    "operator": (
        {"create_operator": lambda self, *_: None},
        "create_operator: expected a CustomOp, with forward and backward; given NoneType",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers_are_told_at_the_call(case: str) -> None:
    methods, message = WRONG[case]
    register("wrong", lambda op, **_: None, **methods)
    with pytest.raises(mx.TigonError) as raised:
        nd.Custom(nd.array(DATA), op_type="wrong")
    assert str(raised.value) == f"Custom 'wrong': {message}"


def test_wrong_results_are_told_at_the_wait() -> None:
    def replaces(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        out_data[0] = in_data[0] + 1

    def misfits(op: Any, in_data: Any, out_data: Any, req: Any, **_: Any) -> None:
        op.assign(out_data[0], req[0], nd.ones((2, 2)))

    register("replaces", replaces)
    register("misfits", misfits)
    with pytest.raises(mx.TigonError) as raised:
        nd.Custom(nd.array(DATA), op_type="replaces").asnumpy()
    assert str(raised.value).partition(" (called")[0] == (
        f"Custom 'replaces' on {here()}: forward: out_data holds another array than it was given, "
        "which nobody reads; write into it: self.assign(out_data[0], req[0], value)"
    )
    with pytest.raises(
        mx.TigonError, match=r"^Custom 'misfits' on \w+\(0\): .*\(2, 2\).*\(called at "
    ):
        nd.Custom(nd.array(DATA), op_type="misfits").asnumpy()


CALLS = {
    "no op_type": (
        lambda x: nd.Custom(x),
        "Custom: op_type: expected the name of a registered operator; given ''; write Custom(x, "
        "op_type='name')",
    ),
    "unknown": (
        lambda x: nd.Custom(x, op_type="squre"),
        "Custom: op_type 'squre' is not registered; registered are: square; decorate its "
        "CustomOpProp with @mx.operator.register('squre') first",
    ),
    "too many": (
        lambda x: nd.Custom(x, x, op_type="square"),
        "Custom 'square': expected at most 1 operands (data); given 2",
    ),
    "too few": (
        lambda x: nd.Custom(op_type="square"),
        "Custom 'square': expected operands (data); 'data' is not given",
    ),
    "a number": (
        lambda x: nd.Custom(2, op_type="square"),
        "Custom 'square': operand 'data': expected an NDArray or a Symbol; given int; attributes "
        "are given by name",
    ),
    "another name": (
        lambda x: nd.Custom(date=x, op_type="square"),
        "Custom 'square': has no operand 'date'; it has: data",
    ),
    "twice": (
        lambda x: nd.Custom(x, data=x, op_type="square"),
        "Custom 'square': operand 'data' is given twice",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_wrong_calls(case: str) -> None:
    register_square()
    call, message = CALLS[case]
    with pytest.raises(mx.TigonError) as raised:
        call(nd.array(DATA))
    assert str(raised.value) == message


def test_wrong_registrations() -> None:
    with pytest.raises(mx.TigonError) as raised:
        mx.operator.register("x")(int)
    assert str(raised.value) == (
        "register: 'x': expected a class derived from CustomOpProp; given <class 'int'>"
    )
    with pytest.raises(mx.TigonError) as raised:
        mx.operator.CustomOp().assign(nd.ones(1), "wirte", 1)
    assert str(raised.value) == (
        "assign: expected req 'null', 'write', 'inplace' or 'add'; given 'wirte'"
    )


# ------------------------------------------------------------------------------- symbols


def test_missing_operands_become_variables() -> None:
    register(
        "layer",
        lambda op, in_data, out_data, **_: op.assign(
            out_data[0], "write", nd.dot(in_data[0], in_data[1])
        ),
        list_arguments=["data", "weight"],
        list_auxiliary_states=["seen"],
        infer_shape=lambda self, s: ([s[0], [s[0][1], 2]], [[s[0][0], 2]], [[1]]),
    )
    net = sym.Custom(data=sym.var("data"), op_type="layer", name="fc")
    assert net.list_arguments() == ["data", "fc_weight"]
    assert net.list_auxiliary_states() == ["fc_seen"]
    assert net.list_outputs() == ["fc_output"]
    assert net.infer_shape(data=(4, 3)) == ([(4, 3), (3, 2)], [(4, 2)], [(1,)])
    executor = net.simple_bind(data=(4, 3))
    executor.arg_dict["fc_weight"][:] = 1
    assert executor.forward(data=nd.ones((4, 3)))[0].asnumpy().tolist() == [[3, 3]] * 4


def test_outputs_have_the_names_that_it_lists() -> None:
    register_sum_and_product()
    net = sym.Custom(sym.var("a"), sym.var("b"), op_type="sum_and_product", name="both")
    assert net.list_outputs() == ["both_sum", "both_product"]
    (product,) = net["both_product"].eval(a=nd.array([2]), b=nd.array([3]))
    assert product.asscalar() == 6
    executor = net.bind(here(), {"a": nd.array([2]), "b": nd.array([3])})
    executor.forward()
    assert {name: y.asscalar() for name, y in executor.output_dict.items()} == {
        "both_sum": 5,
        "both_product": 6,
    }


def test_bound_operators_stay_and_their_states_move(log: list[str]) -> None:
    register_counter()
    executor = (sym.Custom(sym.var("x") * 2, op_type="counter", name="c") + 0).bind(
        args={"x": nd.array(DATA)},
        args_grad={"x": nd.zeros(3)},
        aux_states={"c_count": nd.zeros(1)},
    )
    for number in range(3):
        (y,) = executor.forward(is_train=True)
        executor.backward(nd.ones(3))
        assert y.asnumpy().tolist() == (2 * DATA + number).tolist()
        assert executor.grad_dict["x"].asnumpy().tolist() == [2, 2, 2]
    executor.forward()
    assert executor.aux_dict["c_count"].asscalar() == 4
    assert log.count("create counter [[3]]") == 1
    other = executor.reshape(x=(2,), partial_shaping=True)
    other.forward(x=nd.ones(2))
    nd.waitall()
    assert log.count("create counter [[2]]") == 1


def test_a_monitor_runs_nothing_twice(log: list[str]) -> None:
    register_square()
    net = sym.Custom(sym.exp(sym.var("x"), name="e"), op_type="square", name="sq")
    executor = net.bind(args={"x": nd.array(DATA)}, args_grad={"x": nd.zeros(3)})
    seen: dict[str, Any] = {}
    executor.set_monitor_callback(seen.__setitem__, monitor_all=True)
    executor.forward(is_train=True)
    executor.backward(nd.ones(3))
    assert list(seen) == ["x", "e_output", "sq_output"]
    np.testing.assert_allclose(seen["sq_output"].asnumpy(), np.exp(2 * DATA), rtol=1e-6)
    np.testing.assert_allclose(executor.grad_dict["x"].asnumpy(), 2 * np.exp(2 * DATA), rtol=1e-6)
    assert log[1:] == ["square", "square backward"]


def test_backward_runs_nothing_twice(log: list[str]) -> None:
    register_square()
    executor = sym.Custom(sym.var("x"), op_type="square").bind(
        args={"x": nd.array(DATA)}, args_grad={"x": nd.zeros(3)}
    )
    executor.forward()
    with pytest.raises(mx.TigonError) as raised:
        executor.backward(nd.ones(3))
    assert str(raised.value) == (
        "Executor.backward: forward was not in training, and the symbol holds operators that are "
        "Python code, which would run a second time; call forward(is_train=True) before it"
    )
    executor.forward(is_train=True)
    executor.backward(nd.ones(3))
    assert executor.grad_dict["x"].asnumpy().tolist() == [2, 4, 6]


def test_the_gradient_is_no_graph() -> None:
    register_square()
    net = sym.Custom(sym.var("x"), op_type="square", name="sq")
    with pytest.raises(mx.TigonError) as raised:
        net.grad(["x"])
    assert str(raised.value) == (
        "Custom 'sq': its gradient is Python code, which runs in backward() and is no part of a "
        "graph; bind the symbol, or record the call, and call backward()"
    )
    x = variable()
    with autograd.record():
        y = nd.Custom(x, op_type="square")
    with pytest.raises(mx.TigonError) as raised:
        autograd.grad(y, x, create_graph=True)
    assert str(raised.value) == (
        f"grad: create_graph=True cannot differentiate through Custom 'square' on {here()}; write "
        "it in operators, or use create_graph=False"
    )


def test_donated_operands_are_given_up() -> None:
    register_square()
    x = sym.var("x")
    f = mx.compile(sym.Custom(x + 1, op_type="square", name="sq") * x, donate=["x"])
    x = nd.array(DATA)
    np.testing.assert_array_equal(f(x=x).asnumpy(), (DATA + 1) ** 2 * DATA)
    assert x.donated
    assert len(f.kernels) == 2
    assert f.memory_plan.total_bytes > 0


def test_results_that_are_arguments_or_one_another() -> None:
    register_square()
    x = sym.var("x")
    y = sym.Custom(x, op_type="square")
    f = mx.compile([x, y, y, x, y * 2, sym.zeros((2,))])
    given = nd.array(DATA)
    results = f(x=given)
    expected = [DATA, DATA**2, DATA**2, DATA, 2 * DATA**2, np.zeros(2)]
    for result, values in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.asnumpy(), values)
    assert len({array.storage_id for array in (given, *results)}) == 7
