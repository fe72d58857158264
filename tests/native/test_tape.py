"""The tape and the reverse walk."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.native.conftest import ADD, FLOAT32, IDENTITY_VIEW, MULTIPLY, Kernels, array
from tigon import _native


@contextmanager
def record() -> Iterator[None]:
    before = _native.set_recording(True)
    try:
        yield
    finally:
        _native.set_recording(before)


def variable(values: object, request: str = "write") -> _native.NDArray:
    made = array(values)
    made.mark_variable(array(np.zeros(made.shape)), request)
    return made


def backward(*heads: _native.NDArray, retain: bool = False, grads: tuple = ()) -> None:
    _native.backward(list(heads), list(grads), retain)


N = np.arange(5, dtype=np.float32)


def test_flags() -> None:
    assert _native.set_recording(True) is False
    assert _native.is_recording() and _native.set_recording(False) is True
    assert _native.set_training(True) is False
    assert _native.is_training() and _native.set_training(False) is True


def test_gradients_of_an_expression(operators: Kernels) -> None:
    x, y = variable(N), variable(N + 1)
    grad = x.grad
    with record():
        z = x * y + x * x + (-y) * 3
    assert z.has_tape and not x.has_tape
    backward(z)
    assert x.grad is grad
    np.testing.assert_array_equal(x.grad.asnumpy(), N + 1 + 2 * N)
    np.testing.assert_array_equal(y.grad.asnumpy(), N - 3)


def test_nothing_is_recorded_without_need(operators: Kernels) -> None:
    x, plain, null = variable(N), array(N), variable(N, "null")
    before = _native.stats()["tape_nodes"]
    y = x * plain  # not recording
    with record():
        z = plain * plain + null
    assert not y.has_tape and not z.has_tape
    assert _native.stats()["tape_nodes"] == before


def test_requests(operators: Kernels) -> None:
    x = variable(N, "add")
    for times in [1, 2, 3]:
        with record():
            y = x * x
        backward(y)
        np.testing.assert_array_equal(x.grad.asnumpy(), times * 2 * N)
    w = variable(N)
    for _ in range(2):
        with record():
            y = w * w + w * 3
        backward(y)
        np.testing.assert_array_equal(w.grad.asnumpy(), 2 * N + 3)
    assert (x.grad_req, w.grad_req, array(N).grad_req) == ("add", "write", "null")


def test_an_untouched_gradient_stays(operators: Kernels) -> None:
    x, other = variable(N), variable(N)
    other.grad.copy_from_numpy(N + 7)
    with record():
        y = x + x
    backward(y)
    np.testing.assert_array_equal(other.grad.asnumpy(), N + 7)
    np.testing.assert_array_equal(x.grad.asnumpy(), np.full(5, 2))


def test_head_gradients(operators: Kernels) -> None:
    x = variable(N)
    with record():
        y = x * 2 + x
        z = x * x
    backward(y, z, grads=(array(N), None))
    np.testing.assert_array_equal(x.grad.asnumpy(), 3 * N + 2 * N)
    with record():
        y = x * 2
    with pytest.raises(RuntimeError, match=r"head gradient must be float32 \(5,\); given"):
        backward(y, grads=(array([1.0]),))
    with pytest.raises(RuntimeError, match="head gradient must be float32"):
        backward(y, grads=(array(N, "float64"),))
    with pytest.raises(RuntimeError, match="1 heads but 2 head gradients"):
        backward(y, grads=(None, None))
    backward(y)


def test_the_head_gradient_is_not_changed(operators: Kernels) -> None:
    x, head = variable(N), array(N + 1)
    with record():
        y = (-(x + x)) + (x + x)
    backward(y, grads=(head,))
    np.testing.assert_array_equal(head.asnumpy(), N + 1)
    np.testing.assert_array_equal(x.grad.asnumpy(), 0 * N)


def test_a_gradient_as_head_gradient_and_operand(operators: Kernels) -> None:
    x = variable(N)
    x.grad.copy_from_numpy(N + 1)
    with record():
        y = x * x.grad
    backward(y, grads=(x.grad,))
    np.testing.assert_array_equal(x.grad.asnumpy(), (N + 1) ** 2)


def test_a_leaf_as_head(operators: Kernels) -> None:
    x = variable(N)
    backward(x)
    np.testing.assert_array_equal(x.grad.asnumpy(), np.ones(5))


def test_twice_needs_retain_graph(operators: Kernels) -> None:
    x = variable(N)
    with record():
        y = x * x
        z = y * y
    backward(z, retain=True)
    backward(z, retain=True)
    np.testing.assert_array_equal(x.grad.asnumpy(), 4 * N**3)
    backward(z)
    for again in [z, y]:
        with pytest.raises(RuntimeError, match=r"used up by an earlier backward.*retain_graph"):
            backward(again)


def test_what_was_not_recorded(operators: Kernels) -> None:
    with pytest.raises(RuntimeError, match="was not recorded"):
        backward(array(N))


def test_overwritten_operands_are_noticed(operators: Kernels) -> None:
    x, y = variable(N), array(N)
    with record():
        z = x * y
    y += 1
    with pytest.raises(
        RuntimeError, match=r"backward of multiply: input 1 .* overwritten in place"
    ):
        backward(z)
    # Addition keeps nothing: its operands may change.
    with record():
        z = x + y
    y += 1
    backward(z)
    # Overwritten by the recorded call itself, through out=.
    y = array(N)
    with record():
        _native.invoke(MULTIPLY, 0, (x, y), out=y)
    with pytest.raises(RuntimeError, match="overwritten in place"):
        backward(y)


def test_in_place_while_recording(operators: Kernels) -> None:
    x, plain = variable(N), array(N)
    with record():
        y = x + x
        for taped in [x, y]:
            with pytest.raises(RuntimeError, match=r"in-place add: .* cannot be overwritten"):
                taped += 1
            with pytest.raises(RuntimeError, match="cannot be overwritten"):
                _native.invoke(ADD, 0, (plain, plain), out=taped)
            with pytest.raises(RuntimeError, match="cannot be overwritten"):
                taped.copy_from_numpy(N)
        plain += 1
    np.testing.assert_array_equal(plain.asnumpy(), N + 1)


def test_attach_grad_inside_makes_a_leaf(operators: Kernels) -> None:
    x = variable(N)
    with record():
        y = x * 2
        y.mark_variable(array(np.zeros(5)), "write")
        z = y * y
    assert not y.has_tape
    backward(z)
    np.testing.assert_array_equal(y.grad.asnumpy(), 4 * N)
    np.testing.assert_array_equal(x.grad.asnumpy(), 0 * N)


def test_mark_variable_checks() -> None:
    x = array(N)
    with pytest.raises(RuntimeError, match="grad_req must be"):
        x.mark_variable(array(N), "sometimes")
    with pytest.raises(RuntimeError, match=r"the gradient must be float32 \(5,\)"):
        x.mark_variable(array([1.0]), "write")
    with pytest.raises(RuntimeError, match="needs an array"):
        x.mark_variable(None, "write")
    x.mark_variable(array(N), "write")
    x.mark_variable(None, "null")
    assert x.grad is None


def test_views_carry_gradients(operators: Kernels) -> None:
    x = variable(N)
    with record():
        y = _native.invoke(IDENTITY_VIEW, 0, (x,)) * 3
    backward(y)
    np.testing.assert_array_equal(x.grad.asnumpy(), np.full(5, 3))


def test_gradients_with_respect_to_variables(operators: Kernels) -> None:
    x, y = variable(N), variable(N + 1)
    with record():
        inner = x * y
        z = inner * inner + x
    gx, gi, gy = _native.backward([z], [], True, [x, inner, y])
    np.testing.assert_array_equal(gx.asnumpy(), 2 * N * (N + 1) ** 2 + 1)
    np.testing.assert_array_equal(gi.asnumpy(), 2 * N * (N + 1))
    np.testing.assert_array_equal(gy.asnumpy(), 2 * N * N * (N + 1))
    np.testing.assert_array_equal(x.grad.asnumpy(), 0 * N)  # attached gradients are not touched
    (unreached,) = _native.backward([z], [], True, [variable(N)])
    np.testing.assert_array_equal(unreached.asnumpy(), 0 * N)
    with pytest.raises(RuntimeError, match="takes no part"):
        _native.backward([z], [], False, [array(N)])


def test_custom_functions(operators: Kernels) -> None:
    x, y = variable(N), variable(N)
    seen = []

    def rule(*cotangents: _native.NDArray) -> tuple:
        seen.append([c.asnumpy() for c in cotangents])
        assert not _native.is_recording()
        return cotangents[0] * 5, None

    first, second = array(N), array(N)
    with record():
        _native.record_custom([x, y], [first, second], rule)
        z = first * 2
    backward(z)
    np.testing.assert_array_equal(x.grad.asnumpy(), np.full(5, 10))
    np.testing.assert_array_equal(y.grad.asnumpy(), 0 * N)
    np.testing.assert_array_equal(seen[0][1], 0 * N)  # nobody used the second output

    out = array(N)
    with record():
        _native.record_custom([x, y], [out], lambda g: g)
    with pytest.raises(RuntimeError, match="must return 2 gradients, one for each input; given 1"):
        backward(out)
    out = array(N)
    with record():
        _native.record_custom([x], [out], lambda g: [array([1.0])])
    with pytest.raises(RuntimeError, match=r"gradient 0 must be float32 \(5,\)"):
        backward(out)
    out = array(N)
    with record():
        _native.record_custom([x], [out], lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backward(out)


def test_a_custom_function_that_holds_its_output_is_freed(operators: Kernels) -> None:
    gc.collect()
    before = _native.stats()["tape_nodes"]
    x = variable(N)
    for _ in range(3):
        out = array(N)
        with record():
            _native.record_custom([x], [out], lambda g, out=out: g * out)
        backward(out)
        del out
    assert _native.stats()["tape_nodes"] == before


def test_tape_nodes_show_the_history(operators: Kernels) -> None:
    x, c = variable(N), array(N + 1)
    with record():
        y = x * c
        z = y + 2.5
    assert _native.tape_node(x) is None
    node, output = _native.tape_node(z)
    assert (node.tag, node.output_count, output) == ("add_scalar", 1, 0)
    assert node.output_types == [(FLOAT32, (5,))]
    inner, scalar = node.inputs
    assert scalar == 2.5
    below, _ = _native.tape_node(inner)
    assert below == _native.tape_node(y)[0] and hash(below) == hash(_native.tape_node(y)[0])
    assert below != node and below.sequence < node.sequence
    left, right = below.inputs
    assert left is x
    np.testing.assert_array_equal(right.asnumpy(), N + 1)
    backward(z)
    assert node.consumed
    with pytest.raises(RuntimeError, match="used up"):
        node.inputs  # noqa: B018


def test_a_chain_of_300_000_operators(operators: Kernels) -> None:
    gc.collect()
    before = _native.stats()
    x, one = variable(N), array(np.ones(5))
    for walk in [True, False]:
        with record():
            y = x
            for _ in range(300_000):
                y = y + one
        assert _native.stats()["tape_nodes"] - before["tape_nodes"] == 300_000
        if walk:
            backward(y)
            np.testing.assert_array_equal(x.grad.asnumpy(), np.ones(5))
        del y
    del x, one
    after = _native.stats()
    assert after["tape_nodes"] == before["tape_nodes"]
    assert after["bytes_now"] == before["bytes_now"]


def test_an_unrecorded_chain_holds_two_buffers(operators: Kernels) -> None:
    x = array(np.zeros(1000))
    before = _native.stats()["bytes_now"]
    _native.reset_peak()
    y = -x
    for _ in range(100):
        y = y + x
    assert _native.stats()["bytes_peak"] - before <= 2 * 4000


def test_backward_keeps_memory_low(operators: Kernels) -> None:
    """What backward has used up is freed while it goes on."""
    x, w = variable(np.ones(1000)), array(np.full(1000, 1))
    with record():
        y = x
        for _ in range(50):
            y = y * w
    held = _native.stats()["bytes_now"]
    _native.reset_peak()
    backward(y)
    assert _native.stats()["bytes_peak"] - held <= 3 * 4000
    np.testing.assert_array_equal(x.grad.asnumpy(), np.ones(1000))
