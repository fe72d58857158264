"""Errors of the front ends, provoked once each, whole messages compared."""

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd, sym

a, b = sym.var("a"), sym.var("b")
c = sym.broadcast_add(a, b, name="c")


def two_named_alike():
    return sym.Group([sym.var("a"), sym.var("a")])


CASES = [
    # -- calling operators
    (
        lambda: nd.relu([1]),
        "relu: operand 'data': expected an NDArray or a number; given list; convert it with "
        "nd.array first",
    ),
    (
        lambda: nd.relu(),
        "relu: expected operands (data); given 0 of them; operands are positional, attributes "
        "keyword",
    ),
    (
        lambda: nd.relu(nd.ones(1), nd.ones(1)),
        "relu: expected at most 1 arguments (data); given 2",
    ),
    (lambda: nd.clip(nd.ones(1)), "clip: attribute 'a_min' must be given"),
    (
        lambda: nd.FullyConnected(nd.ones(1), hidden=3),
        "FullyConnected: has no attribute 'hidden'; it knows: num_hidden, no_bias, flatten",
    ),
    (
        lambda: nd.sum(nd.ones(1), axis="x"),
        "sum: attribute 'axis' expects tuple[int, ...] | None; given 'x'",
    ),
    (lambda: nd.relu(nd.ones(1), data=nd.ones(1)), "relu: operand 'data' is given twice"),
    (
        lambda: nd.ones(2) + nd.ones(3),
        "broadcast_add: shapes do not broadcast: (2,) and (3,); axes must be equal or 1",
    ),
    (
        lambda: nd.ones(2) + nd.ones(2, dtype="int32"),
        "broadcast_add: rhs: expected float32 like lhs; given int32; "
        "convert it with astype('float32')",
    ),
    (
        lambda: nd.concat(nd.ones(2), nd.ones(2), nd.ones(2, dtype="float64"), dim=0),
        "Concat: data[2]: expected float32 like data[0]; given float64; "
        "convert it with astype('float32')",
    ),
    (
        lambda: nd.softmax(nd.ones((2, 3)), nd.ones(2), use_length=True),
        "softmax: length: expected integers; given float32; convert it with astype('int32')",
    ),
    (
        lambda: nd.norm(nd.ones(2, dtype="int32"), out_dtype="int64"),
        "norm: out_dtype: expected floating-point numbers for ord 2; given int64",
    ),
    (
        lambda: nd.dot(nd.ones((2, 3)), nd.ones((2, 3))),
        "dot: inner sizes differ: 3 of (2, 3) and 2 of (2, 3); transpose one operand?",
    ),
    # -- making arrays
    (
        lambda: nd.zeros(2, ctx=mx.gpu(0)),
        "zeros: there is no gpu(0) in this process; use mx.cpu()",
    ),
    (
        lambda: nd.array(["a"]),
        "array: expected numbers in a regular shape; given list: its elements are <U1",
    ),
    (lambda: nd.zeros(-1), "zeros: expected extents that are not negative; given (-1,)"),
    *(
        (
            lambda make=make: (make((2,)), make((2.0,))),  # the call before must not decide
            f"{make.__name__}: expected a shape such as (2, 3); given (2.0,)",
        )
        for make in (nd.zeros, nd.ones, nd.empty)
    ),
    (lambda: nd.zeros("x"), "zeros: expected a shape such as (2, 3); given 'x'"),
    *(
        (
            lambda convert=convert: convert(nd.zeros(2)),
            f"{who}: dtype: expected one of float32, float64, float16, uint8, int32, int8, int64, "
            "bool, int16, uint16, uint32, uint64, bfloat16; given 'complex64'; convert the data "
            "first",
        )
        for who, convert in {
            "zeros": lambda x: nd.zeros(2, dtype="complex64"),
            "Cast": lambda x: nd.cast(x, dtype="complex64"),
            "astype": lambda x: x.astype("complex64"),
            "astype ": mx.jit(lambda x: x.astype("complex64") * 1),
        }.items()
        for who in [who.strip()]
    ),
    (
        lambda: nd.zeros((2**40, 2**40)),
        "array: the size of shape (1099511627776, 1099511627776) overflows 64 bits; use smaller "
        "extents",
    ),
    (lambda: mx.random.seed("x"), "random.seed: expected an integer; given 'x'"),
    (
        lambda: nd.random.uniform(nd.zeros(1), 1),
        "random.uniform: expected all parameters as numbers, or all as arrays; given a mixture",
    ),
    # -- arrays
    (
        lambda: nd.ones((2, 3)).reshape((4, 2)),
        "reshape: cannot bring 6 elements of shape (2, 3) into shape (4, 2)",
    ),
    (
        lambda: nd.ones(2).reshape(),
        "reshape: expected a shape; given none; write x.reshape(shape=(2, -1))",
    ),
    (
        lambda: nd.ones((2, 3)).__setitem__(1, nd.ones(2)),
        "assignment: a value of shape (2,) does not fit the selected region of shape (3,); axes "
        "must be equal or 1",
    ),
    (
        lambda: nd.ones(2).copyto(nd.ones(3)),
        "copyto: expected a target of shape (2,); given (3,); use target[:] = source",
    ),
    (
        lambda: nd.ones(2).asscalar(),
        "asscalar: expected an array of one element; given shape (2,); use asnumpy()",
    ),
    (
        lambda: bool(nd.ones(2)),
        "bool: the truth value of an array of shape (2,) is ambiguous; compare one element, or "
        "use (x != 0).sum()",
    ),
    (
        lambda: nd.save("/nowhere/x", {"a": 3}),
        "save: entry 'a': expected an NDArray; given int",
    ),
    (
        lambda: nd.ones(1).attach_grad("often"),
        "attach_grad: expected grad_req 'write', 'add' or 'null'; given 'often'",
    ),
    (
        lambda: autograd.backward(nd.ones(2), nd.ones(3)),
        "backward: expected a head gradient like its head, shape (2,) and float32; given shape "
        "(3,) and float32",
    ),
    # -- symbols
    (
        lambda: a + nd.ones(2),
        "broadcast_add: expected symbols and numbers as operands; given an NDArray, which has no "
        "place in a symbol; make it a variable, sym.var('name'), and give the array when the "
        "symbol runs",
    ),
    (
        lambda: sym.split(a, num_outputs=2) * 2,
        "broadcast_mul: expected symbols of one output as operands; given one of 2; choose an "
        "output by [i]",
    ),
    (
        lambda: sym.FullyConnected(a, bogus=3, num_hidden=1),
        "FullyConnected: has no attribute 'bogus'; it knows: num_hidden, no_bias, flatten",
    ),
    (lambda: sym.var(""), "Variable: expected a name; given ''"),
    (
        lambda: sym.var("x", bogus=1),
        "Variable: attribute 'bogus' of 'x' is not known; own attributes are written __bogus__",
    ),
    (
        lambda: a.shape,
        "variable 'a': its shape is not known yet; it depends on a; give them shapes, "
        "sym.var(name, shape=...), or use infer_shape",
    ),
    (
        lambda: c.infer_shape(a=(2,), b=(3,)),
        "broadcast_add: shapes do not broadcast: (2,) and (3,); axes must be equal or 1 "
        "(at broadcast_add 'c')",
    ),
    (
        lambda: c.infer_shape(z=(2,)),
        "infer_shape: the symbol has no argument 'z'; it has: a, b",
    ),
    (
        lambda: c.asnumpy(),
        "Symbol.asnumpy: expected an NDArray, given a Symbol, which has no values yet; bind or "
        "compile it and call that on the result",
    ),
    (
        lambda: c["d"],
        "Symbol: there is no output 'd'; there are: c_output",
    ),
    (
        lambda: c.grad(wrt=["z"]),
        "Symbol.grad: expected arguments of the symbol in wrt; given 'z'; it has: a, b",
    ),
    # -- executors
    (
        lambda: c.bind(args={"a": nd.ones(1)}),
        "bind: args: 'b' is not bound to an array; it needs: a, b",
    ),
    (
        lambda: c.bind(args=[nd.ones(1)]),
        "bind: args: expected 2 arrays (a, b); given 1",
    ),
    (
        lambda: c.bind(args={"a": np.ones(1), "b": nd.ones(1)}),
        "bind: args: 'a': expected an NDArray; given ndarray; convert it with nd.array",
    ),
    (
        lambda: c.bind(args=[nd.ones(2), nd.ones(3)]),
        "broadcast_add: shapes do not broadcast: (2,) and (3,); axes must be equal or 1 "
        "(at broadcast_add 'c')",
    ),
    (
        lambda: c.bind(args=[nd.ones(2)] * 2, args_grad={"a": nd.ones(3)}),
        "bind: args_grad of 'a': expected shape (2,) and float32, like the argument; given (3,) "
        "and float32",
    ),
    (
        lambda: c.bind(args=[nd.ones(2)] * 2, grad_req="often"),
        "bind: grad_req of 'a': expected 'write', 'add' or 'null'; given 'often'",
    ),
    (
        lambda: two_named_alike().bind(args={"a": nd.ones(1)}),
        "bind: two different variables are named 'a'; give each a name of its own, or use one "
        "variable twice",
    ),
    (
        lambda: c.simple_bind(z=(2,)),
        "simple_bind: the symbol has no argument 'z'; it has: a, b",
    ),
    (
        lambda: sym.dot(a, b).simple_bind(a=(2, 3)),
        "simple_bind: the shape of 'b' does not follow from those given; give it too: "
        "simple_bind(b=(...))",
    ),
    (
        lambda: c.simple_bind(a=(2,)).backward(),
        "Executor.backward: output 'c_output' is not a loss, so its gradient must be given; call "
        "backward(out_grads=...) with one array per output",
    ),
    (
        lambda: c.simple_bind(a=(2,)).outputs,
        "Executor.outputs: there are none yet; call forward() first",
    ),
    (
        lambda: c.simple_bind(a=(2,)).forward(a=nd.ones(3)),
        "Executor.forward: argument 'a': expected shape (2,), as bound; given (3,); use "
        "Executor.reshape for another shape",
    ),
    # -- compiled functions
    (
        lambda: mx.compile(c)(a=nd.ones(1)),
        "compiled function: argument 'b' is not given; it needs: a, b",
    ),
    (
        lambda: mx.compile(c)(a=nd.ones(1), b=nd.ones(1), z=1),
        "compiled function: has no argument 'z'; it has: a, b",
    ),
    (
        lambda: mx.compile(c)(nd.ones(1)),
        "compiled function: expected arguments by name (a, b); given one by position",
    ),
    (
        lambda: mx.compile(c)(a="x", b=nd.ones(1)),
        "compiled function: argument 'a': expected an NDArray, a numpy array or a number; "
        "given str",
    ),
    (
        lambda: mx.compile(two_named_alike()),
        "compile: two different variables are named 'a'; give each a name of its own, or use one "
        "variable twice",
    ),
    (
        lambda: mx.compile(3),
        "compile: expected a Symbol or a list of them; given int",
    ),
    (
        lambda: mx.compile(c).memory_plan,
        "compiled function: its shapes are not known yet; call it once, or declare shapes with "
        "Variable(name, shape=...)",
    ),
    # -- files
    (
        lambda: sym.load_json("{"),
        "graph text: line 1, column 2: Expecting property name enclosed in double quotes; "
        "expected the JSON text of a graph; the file is damaged or cut off",
    ),
    (
        lambda: nd.load_frombuffer(b"\0" * 24, "x.params"),
        "x.params: at byte 0: expected the list's mark 0x112; given 0x0; the file is damaged, "
        "cut off or not a .params file",
    ),
]


@pytest.mark.parametrize(("act", "message"), CASES, ids=[m[:60] for _, m in CASES])
def test_message(act, message):
    with pytest.raises(mx.TigonError) as caught:
        act()
    assert str(caught.value) == message


def test_a_symbol_decides_nothing_and_says_where():
    with pytest.raises(mx.TigonError) as caught:
        bool(a)
    line = caught.tb.tb_next.tb_lineno if caught.tb.tb_next else caught.tb.tb_lineno
    assert str(caught.value).startswith(
        "Symbol.__bool__: <Symbol a> has no value while the program is traced, so Python cannot "
        f"decide by it at {__file__}:"
    )
    assert str(caught.value).endswith(
        "; use F.where(condition, x, y) or F.contrib.cond, which are parts of a graph"
    )
    assert line


def test_an_assignment_while_recording():
    x = nd.ones(2)
    x.attach_grad()
    with autograd.record(), pytest.raises(mx.TigonError) as caught:
        x[:] = 1
    assert str(caught.value) == (
        "x[...] = value: expected an array outside of the recorded computation; given one that "
        "takes part in it, and an assignment cannot be differentiated; assign before "
        "autograd.record(), or use where"
    )


def test_errors_leave_no_trace():
    """After a failed call arrays hold what they held and the next call works."""
    x = nd.ones((2, 3))
    executor = c.simple_bind(a=(2,))
    executor.arg_dict["a"][:] = 3
    for act in (
        lambda: x.__setitem__(1, nd.ones(2)),
        lambda: executor.forward(a=nd.ones(3)),
        lambda: executor.copy_params_from({"a": nd.ones(5)}),
    ):
        with pytest.raises(mx.TigonError):
            act()
    assert x.asnumpy().all()
    assert executor.forward()[0].asnumpy().tolist() == [3, 3]


def test_tracebacks_of_blocks_are_those_of_the_users_code(monkeypatch):
    class Wrong(mx.gluon.HybridBlock):
        def forward(self, x):
            return nd.dot(x, x)

    def frames(hybridize):
        net = Wrong()
        net.hybridize(hybridize)
        with pytest.raises(mx.TigonError) as caught:
            net(nd.ones((2, 3)))
        return [(entry.path.name, entry.name) for entry in caught.traceback]

    for hybridize in (False, True):
        own = [name for name, _ in frames(hybridize)]
        assert set(own) == {"test_frontend.py"} and frames(hybridize)[-1][1] == "forward"
    monkeypatch.setenv("TIGON_DEBUG", "1")
    assert {name for name, _ in frames(False)} > {"test_frontend.py"}
