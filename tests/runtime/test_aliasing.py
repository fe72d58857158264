"""Memory that is read and written at once, or again after it failed: gradients as operands and as
head gradients of the backward that writes them, views of what is given up, arrays that could not be
computed, arrays that one task writes twice. In both modes, on small arrays and on large ones, which
other threads compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import TigonError, autograd, gluon, nd

SIZES = [3, 300_000]
"""The second is not computed by the calling thread alone."""
RANDOM = np.random.RandomState(2)


class Code(gluon.HybridBlock):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def hybrid_forward(self, F: Any, *operands: Any) -> Any:
        return self.function(F, *operands)


def called(function: Any, hybridize: bool) -> Any:
    net = Code(function)
    net.hybridize(hybridize)
    return net


def numbers(size: int) -> tuple[np.ndarray, nd.NDArray]:
    values = RANDOM.randint(-4, 5, size).astype(np.float32)
    return values, nd.array(values)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("view", [False, True])
def test_a_gradient_is_an_operand(size: int, hybridize: bool, grad_req: str, view: bool) -> None:
    net = called(lambda F, x, g: x * g + x * x, hybridize)
    values, x = numbers(size)
    gradient = RANDOM.randint(-4, 5, size).astype(np.float32)
    x.attach_grad(grad_req)
    x.grad[:] = nd.array(gradient)
    for _ in range(4):
        given = x.grad.reshape((-1,))[0:size] if view else x.grad
        with autograd.record():
            y = net(x, given)
        y.backward()
        added = gradient if grad_req == "add" else 0
        gradient = added + gradient + 2 * values
        np.testing.assert_array_equal(x.grad.asnumpy(), gradient)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("view", [False, True])
def test_a_gradient_is_the_head_gradient(
    size: int, hybridize: bool, grad_req: str, view: bool
) -> None:
    net = called(lambda F, x, w: x * w * 2, hybridize)
    first, x = numbers(size)
    second, w = numbers(size)
    x.attach_grad(grad_req)
    w.attach_grad()
    x.grad[:] = gradient = np.resize([1.0, -1.0, 2.0], size).astype(np.float32)
    for _ in range(4):
        with autograd.record():
            y = net(x, w)
        y.backward(x.grad.reshape((size,)) if view else x.grad)
        np.testing.assert_array_equal(w.grad.asnumpy(), gradient * first * 2)
        added = gradient if grad_req == "add" else 0
        gradient = added + gradient * second * 2
        np.testing.assert_array_equal(x.grad.asnumpy(), gradient)
        if abs(gradient).max() > 2**20:
            break


@pytest.mark.parametrize("size", SIZES)
def test_gradients_of_several_heads_that_are_each_others(size: int) -> None:
    first, x = numbers(size)
    second, w = numbers(size)
    x.attach_grad()
    w.attach_grad()
    x.grad[:], w.grad[:] = 2, 3
    with autograd.record():
        heads = [x * w, x + w]
    autograd.backward(heads, [w.grad, x.grad])
    np.testing.assert_array_equal(x.grad.asnumpy(), 3 * second + 2)
    np.testing.assert_array_equal(w.grad.asnumpy(), 3 * first + 2)


@pytest.mark.parametrize("size", SIZES)
def test_a_backward_of_ones_own_gives_gradients_that_are_written(size: int) -> None:
    class Exchanged(autograd.Function):
        def forward(self, *operands: nd.NDArray) -> nd.NDArray:
            return operands[0] + operands[1]

        def backward(self, cotangent: nd.NDArray) -> tuple[nd.NDArray, nd.NDArray]:
            return w.grad, x.grad  # each is the other's, as it was before

    (_, x), (_, w) = numbers(size), numbers(size)
    x.attach_grad()
    w.attach_grad()
    x.grad[:], w.grad[:] = 2, 3
    with autograd.record():
        y = Exchanged()(x, w)
    y.backward()
    assert (x.grad.asnumpy() == 3).all() and (w.grad.asnumpy() == 2).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "view",
    [lambda x: x[0:2], lambda x: x.reshape((-1, 2)), lambda x: x[1], lambda x: x],
    ids=["part", "shape", "row", "itself"],
)
def test_what_is_a_view_may_be_given_up(size: int, view: Any) -> None:
    """Whoever holds the rest of the memory keeps it as it was."""
    size += size % 2
    values = RANDOM.randint(-4, 5, (4, size)).astype(np.float32)
    function = mx.jit(lambda x, y: x * 2 + y, donate_argnums=0)
    for _ in range(3):
        base = nd.array(values)
        given = view(base)
        expected = given.asnumpy() * 3
        whole = base.asnumpy()
        rest = base[3]  # a view that stays
        result = function(given, given.copy())
        np.testing.assert_array_equal(result.asnumpy(), expected)
        np.testing.assert_array_equal(rest.asnumpy(), whole[3])
        if given is not base:
            np.testing.assert_array_equal(base.asnumpy(), whole)


def test_one_array_given_up_and_read() -> None:
    function = mx.jit(lambda x, y: (x + 1, y * 2), donate_argnums=0)
    for given in (lambda x: (x, x), lambda x: (x[0:3], x), lambda x: (x, x[0:3])):
        x = nd.array([1, 2, 3])
        first, second = function(*given(x))
        assert first.asnumpy().tolist() == [2, 3, 4]
        assert second.asnumpy().tolist() == [2, 4, 6]


# -- what could not be computed


LATE = 300_000
"""So many elements are not computed by the caller, who would say at once what is wrong."""


def failed() -> nd.NDArray:
    """An array whose values could not be computed: an index is out of range."""
    where = nd.array(np.full(LATE, 3), dtype="int32")
    where[LATE // 2] = 99
    nd.waitall()
    return nd.arange(4)[where]


def raises(array: nd.NDArray) -> None:
    with pytest.raises(IndexError):
        array.asnumpy()


WRITES = {
    "part": lambda x: x.__setitem__(slice(0, 2), 7),
    "element": lambda x: x.__setitem__(1, 7),
    "by position": lambda x: x.__setitem__(nd.array([0, 1], dtype="int32"), 7),
    "in place": lambda x: x.__iadd__(1),
    "view": lambda x: x[0:2].__setitem__(slice(None), 7),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("into", ["result", "target"])
def test_a_part_does_not_make_the_whole_valid(name: str, into: str) -> None:
    array = nd.zeros((LATE,))
    if into == "result":
        array = failed()
    else:
        array[:] = failed()
    WRITES[name](array)
    for read in (array, array + 1, array[3:4], array[0:1]):
        raises(read)
    array[:] = 5  # all of it
    assert (array.asnumpy() == 5).all()
    WRITES[name](array)
    assert array[3].asscalar() == (6 if name == "in place" else 5)


def test_a_part_that_failed_leaves_the_array_failed_until_all_is_written() -> None:
    array = nd.zeros((2, LATE))
    array[0] = failed()
    raises(array)
    array[0] = 1
    raises(array)
    raises(array[1])
    array[:] = nd.ones((2, LATE))
    assert (array.asnumpy() == 1).all()


# -- one array, written twice


def test_an_array_that_is_weight_and_state() -> None:
    weight, grad = nd.ones((3,)), nd.ones((3,))
    for state in (weight, weight[0:3], weight.reshape((3, 1)).reshape((3,))):
        with pytest.raises(TigonError, match="two outputs overlap"):
            nd.sgd_mom_update(weight, grad, state, lr=0.5, momentum=0.5, out=weight)
        assert weight.asnumpy().tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", SIZES)
def test_results_into_parts_of_one_array(size: int) -> None:
    values = RANDOM.rand(2, size).astype(np.float32)
    base, x = nd.zeros((2, size)), nd.array(values)
    for _ in range(3):
        nd.split(x, num_outputs=2, axis=0, out=[base[1:2], base[0:1]])
        np.testing.assert_array_equal(base.asnumpy(), values[::-1])
        base[:] = 0


def test_two_indices_of_an_updater_are_one_weight() -> None:
    update = mx.optimizer.get_updater(mx.optimizer.SGD(learning_rate=1.0))
    weight, grads = nd.zeros((3,)), [nd.ones((3,)), nd.ones((3,)) * 2]
    with pytest.raises(TigonError, match="two outputs overlap"):
        update([0, 1], grads, [weight, weight])
    assert weight.asnumpy().tolist() == [0, 0, 0]
    for index in (0, 1):  # one after the other
        update(index, grads[index], weight)
    assert weight.asnumpy().tolist() == [-3, -3, -3]


# -- versions


GRADIENTS = {
    "[:]": lambda grad, value: grad.__setitem__(slice(None), value),
    "part": lambda grad, value: grad.__setitem__(slice(0, 1), value[0:1]),
    "copyto": lambda grad, value: value.copyto(grad),
    "out": lambda grad, value: nd.broadcast_mul(value, nd.ones((1,)), out=grad),
    "in place": lambda grad, value: grad.__iadd__(value),
    "view": lambda grad, value: grad.reshape((2, 1)).__setitem__(
        slice(None), value.reshape((2, 1))
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_that_are_written_by_hand_are_fresh(name: str) -> None:
    param = gluon.Parameter("a", shape=(2,), init="zeros")
    param.initialize()
    trainer = gluon.Trainer([param], "sgd", {"learning_rate": 1.0})
    for _ in range(2):
        before = param.grad().version
        GRADIENTS[name](param.grad(), nd.array([1, 2]))
        assert param.grad().version > before
        trainer.step(1)
        with pytest.raises(TigonError, match="was not computed"):
            trainer.step(1)


def test_copies_have_versions_of_their_own() -> None:
    x = nd.zeros((2,))
    for _ in range(3):
        x += 1
    y, version = x.copy(), x.version
    y += 1
    assert x.version == version and x.asnumpy().tolist() == [3, 3]
    before = y.version
    x.copyto(y)
    assert y.version > before and x.version == version
    x.attach_grad()
    w = nd.array([2, 2])
    with autograd.record():
        z = x * w
    nd.ones((2,)).copyto(w)
    with pytest.raises(TigonError, match="overwritten"):
        z.backward()


def test_gradients_that_are_copies_are_fresh() -> None:
    """Of a sum, the gradient of each operand is that of the result."""
    params = [gluon.Parameter(name, shape=(2,), init="zeros") for name in "ab"]
    for param in params:
        param.initialize()
    trainer = gluon.Trainer(params, "sgd", {"learning_rate": 1.0})
    for count in (1, 2, 3):
        versions = [param.grad().version for param in params]
        with autograd.record():
            y = params[0].data() + params[1].data()
        y.backward(nd.array([1, 2]))
        assert all(p.grad().version > v for p, v in zip(params, versions, strict=True))
        trainer.step(1)
        assert params[1].data().asnumpy().tolist() == [-count, -2 * count]


def test_an_operand_that_another_backward_overwrites_is_noticed() -> None:
    x, w = nd.array([1, 2]), nd.array([3, 4])
    x.attach_grad()
    w.attach_grad()
    with autograd.record():
        z = w * x.grad
        y = x + w
    y.backward(nd.ones((2,)))  # writes x.grad by a copy
    with pytest.raises(TigonError, match="overwritten"):
        z.backward()
