"""The snippets of the five documents, as they stand (slips mended), with what they promise."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest

import tigon as mx
from tigon import Constant, NoGradient, Variable, autograd, compile, load, nd


def test_symbolic_program_computes_d():
    A = Variable("A")
    B = Variable("B")
    C = B * A
    D = C + Constant(1)
    f = compile(D)
    d = f(A=np.ones(10), B=np.ones(10) * 2)
    assert isinstance(d, nd.NDArray)
    assert d.dtype is np.float64
    assert d.asnumpy().tolist() == [3.0] * 10


def test_gradient_is_a_graph():
    A = Variable("A")
    B = Variable("B")
    C = B * A
    D = C + Constant(1)
    gA, gB = D.grad(wrt=[A, B])
    f = compile([gA, gB])
    grad_a, grad_b = f(A=np.ones(10), B=np.ones(10) * 2)
    assert grad_a.asnumpy().tolist() == [2.0] * 10
    assert grad_b.asnumpy().tolist() == [1.0] * 10


def test_gradient_is_differentiable_again():
    A = Variable("A")
    (first,) = (A * A * A).grad(wrt=[A])
    (second,) = first.grad(wrt=[A])
    f = compile([first, second])
    one, two = f(A=np.array([2.0, 3.0]))
    assert one.asnumpy().tolist() == [12.0, 27.0]
    assert two.asnumpy().tolist() == [12.0, 18.0]


def test_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    A = Variable("A")
    B = Variable("B")
    C = B * A
    D = C + Constant(1)
    D.save("mygraph")
    D2 = load("mygraph")
    f = compile([D2])
    (d,) = f(A=np.ones(10), B=np.ones(10) * 2)
    assert d.asnumpy().tolist() == [3.0] * 10


def test_memory_of_the_small_example():
    """320 bytes imperatively, 240 bound, 160 when the inputs are given up."""
    a = nd.ones(10, dtype="float64")
    b = nd.ones(10, dtype="float64") * 2
    c = b * a
    d = c + 1
    assert sum(array.nbytes for array in (a, b, c, d)) == 320
    assert len({array.storage_id for array in (a, b, c, d)}) == 4
    A, B = Variable("A"), Variable("B")
    D = B * A + Constant(1)
    executor = D.bind(mx.cpu(), {"A": a, "B": b})
    executor.forward()
    assert executor.memory_plan.total_bytes == 240
    assert len(executor.kernels) == 1
    f = compile(D, donate=["A", "B"])
    f(A=a, B=b)
    assert f.memory_plan.total_bytes <= 160


def test_donated_arrays_cannot_be_used_again():
    A = Variable("A")
    f = compile(A + 1, donate=["A"])
    a = nd.ones(4)
    assert f(A=a).asnumpy().tolist() == [2.0] * 4
    with pytest.raises(mx.TigonError):
        a.asnumpy()


def test_graph_that_makes_its_own_inputs():
    from tigon import sym

    D = (sym.ones(10, dtype="float64") * 2) * sym.ones(10, dtype="float64") + 1
    f = compile(D)
    assert f().asnumpy().tolist() == [3.0] * 10
    assert f.memory_plan.total_bytes <= 160


def test_no_gradient_keeps_nothing():
    a = nd.array([1])
    a.attach_grad()
    with autograd.record():
        with NoGradient():
            c = a * 2
            d = c + 1
        assert not d.has_tape
        e = a * 2
        assert e.has_tape


def test_imperative_automatic_differentiation():
    a = nd.array([1])
    b = nd.array([2])
    a.attach_grad()
    b.attach_grad()
    with autograd.record():
        c = b * a
        d = c + 1
    d.backward()
    assert d.asscalar() == 3
    assert (a.grad.asscalar(), b.grad.asscalar()) == (2, 1)


def test_basic_use_imperative():
    a = mx.nd.array([1])
    b = mx.nd.array([2])
    c = mx.nd.array([3])
    d = (a + b) * c
    assert str(d.asnumpy()) == "[9.]"
    assert d.asscalar() == 9.0


def test_basic_use_symbolic():
    a = mx.sym.Variable("a")
    b = mx.sym.Variable("b")
    c = mx.sym.Variable("c")
    d = (a + b) * c
    input_args = {"a": mx.nd.array([1]), "b": mx.nd.array([2]), "c": mx.nd.array([3])}
    executor = d.bind(ctx=mx.cpu(), args=input_args)
    executor.forward()
    assert str(executor.outputs[0].asnumpy()) == "[9.]"
    grad_a = mx.nd.empty(1)
    executor = d.bind(ctx=mx.cpu(), args=input_args, args_grad={"a": grad_a})
    executor.backward(out_grads=mx.nd.ones(1))
    assert grad_a.asscalar() == 3.0


def test_imperative_loop_in_python():
    a = 2
    b = a + 1
    d = nd.zeros(10)
    for _ in range(10):
        d += nd.zeros(10) + b
    assert d.asnumpy().tolist() == [30.0] * 10


def test_program_as_text():
    """The builtin `compile` is not shadowed by importing the package."""
    program = """
def add(a, b):
    return a + b
def fancy_func(a, b, c, d):
    e = add(a, b)
    f = add(c, d)
    g = add(e, f)
    return g
print(fancy_func(1, 2, 3, 4))
"""
    import builtins

    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(builtins.compile(program, "", "exec"), {})
    assert printed.getvalue() == "10\n"


def test_folding_of_the_fancy_function():
    """(1 + 2) + (3 + 4) is 10 before anything runs."""
    D = (Constant(1.0) + Constant(2.0)) + (Constant(3.0) + Constant(4.0))
    f = compile(D)
    assert f().asnumpy() == 10
    assert all("add" not in op for kernel in f.kernels for op in kernel.operators)
