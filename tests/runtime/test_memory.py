"""Memory: what the plans promise, what an execution takes, and what happens when there is none."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.runtime.support import lines_of, run_script
from tigon import Constant, NoGradient, Variable, _native, autograd, compile, nd, sym
from tigon.analysis.memory_plan import ALIGNMENT
from tigon.gluon import nn

FLOAT = 4


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def peak_of(run: Callable[[], Any]) -> int:
    """The most bytes alive at once while `run` runs, beyond those alive before."""
    _native.waitall()
    gc.collect()
    before = mx.runtime.stats()["bytes_now"]
    mx.runtime.reset_peak()
    kept = run()
    _native.waitall()
    peak = mx.runtime.stats()["bytes_peak"] - before
    del kept
    return int(peak)


def ten(value: float) -> nd.NDArray:
    return nd.full(10, value, dtype="float64")


# ------------------------------------------------------------ the documents' three figures


def test_imperatively_the_example_takes_320_bytes() -> None:
    def run() -> Any:
        a, b = ten(1), ten(2)
        c = b * a
        d = c + 1
        return a, b, c, d

    assert peak_of(run) == 320


def test_bound_the_example_takes_240_bytes() -> None:
    a, b = Variable("A"), Variable("B")
    d = b * a + Constant(1)

    def run() -> Any:
        executor = d.bind(mx.cpu(), {"A": ten(1), "B": ten(2)})
        assert executor.forward()[0].asnumpy().tolist() == [3.0] * 10
        return executor

    run()
    assert peak_of(run) == 240
    assert run().memory_plan.total_bytes == 240


@pytest.mark.parametrize("donate", [["A"], ["B"], ["A", "B"]])
def test_with_inputs_given_up_the_example_takes_160_bytes(donate: list[str]) -> None:
    a, b = Variable("A"), Variable("B")
    f = compile(b * a + Constant(1), donate=donate)

    def run() -> Any:
        return f(A=ten(1), B=ten(2))

    assert run().asnumpy().tolist() == [3.0] * 10
    assert f.memory_plan.total_bytes == 160
    assert peak_of(run) == 160


def test_making_its_own_inputs_the_example_takes_80_bytes() -> None:
    d = (sym.ones(10, dtype="float64") * 2) * sym.ones(10, dtype="float64") + 1
    f = compile(d)
    assert f().asnumpy().tolist() == [3.0] * 10
    assert f.memory_plan.total_bytes == 80 <= 160
    assert peak_of(f) == 80


def test_a_traced_block_that_makes_its_own_inputs() -> None:
    class Example(nn.HybridBlock):
        def hybrid_forward(self, F, x):
            return (F.ones(10, dtype="float64") * 2) * x + F.ones(10, dtype="float64")

    net = Example()
    net.hybridize()
    x = ten(1)
    assert net(x).asnumpy().tolist() == [3.0] * 10
    assert peak_of(lambda: net(x)) == 80


def test_the_reused_memory_is_the_input() -> None:
    f = compile(Variable("A") + 1, donate=["A"])
    a = ten(1)
    storage = a.storage_id
    result = f(A=a)
    assert result.storage_id == storage and a.donated
    with pytest.raises(mx.TigonError, match="donated"):
        a + 1


def test_an_input_read_out_of_step_is_not_overwritten() -> None:
    """Donation is a permission: the transpose of an array cannot be written over it."""
    a = Variable("A")
    f = compile(sym.transpose(a) + a, donate=["A"])
    values = np.arange(9, dtype=np.float64).reshape(3, 3)
    result = f(A=nd.array(values, dtype="float64"))
    np.testing.assert_array_equal(result.asnumpy(), values.T + values)


# ------------------------------------------------------------------------------- plans


def chain(layers: int, width: int) -> Any:
    h = sym.var("x")
    for layer in range(layers):
        h = sym.FullyConnected(h, num_hidden=width, name=f"layer{layer}")
        h = sym.Activation(h, act_type="tanh")
    return h


def test_forward_only_many_layers_have_two_temporaries() -> None:
    executor = chain(24, 16).simple_bind(mx.cpu(), x=(8, 16), grad_req="null")
    executor.forward(is_train=False)
    plan = executor.memory_plan
    assert plan.temporaries <= 2
    assert plan.arena_bytes <= 2 * aligned(8 * 16 * FLOAT)
    assert len(executor.kernels) == 24


def test_to_differentiate_many_layers_are_kept() -> None:
    """The other side of it: what is saved for backward is not in the arena."""
    executor = chain(24, 16).simple_bind(mx.cpu(), x=(8, 16))
    executor.forward(is_train=False)
    less = peak_of(lambda: executor.forward(is_train=False))
    more = peak_of(lambda: executor.forward(is_train=True))
    one = 8 * 16 * FLOAT
    assert less <= 3 * one and more >= 23 * one


def deep_net() -> Any:
    net = nn.HybridSequential()
    for _ in range(24):
        net.add(nn.Dense(33, activation="relu", in_units=33))
    net.initialize()
    net.hybridize()
    return net


def test_the_high_water_mark_is_the_plan() -> None:
    """Sizes that are no multiple of the alignment: the arena is counted as planned."""
    net, x = deep_net(), nd.ones((5, 33))
    y = net(x)
    (compiled,) = net._cached_graphs.latest.cached.programs
    plan = compiled.memory_plan
    assert plan.temporaries == 2
    assert plan.arena_bytes == 2 * aligned(5 * 33 * FLOAT) == compiled.program.arena_bytes
    assert peak_of(lambda: net(x)) == plan.arena_bytes + y.nbytes


def test_the_high_water_mark_of_backward_is_its_plan() -> None:
    net, x = deep_net(), nd.ones((5, 33))
    for _ in range(2):
        with autograd.record():
            y = net(x)
        nd.waitall()
        before = mx.runtime.stats()["bytes_now"]
        mx.runtime.reset_peak()
        y.backward()
        nd.waitall()
    cached = net._cached_graphs.latest.cached
    backward = cached.programs[-1]
    assert backward.program.name.endswith("_backward")
    # Gradients are written where they belong; besides the arena there is what backward starts from.
    ones = y.nbytes
    peak = mx.runtime.stats()["bytes_peak"] - before
    assert peak == backward.memory_plan.arena_bytes + ones


def test_the_table_can_be_read() -> None:
    executor = chain(2, 4).simple_bind(mx.cpu(), x=(2, 4), grad_req="null")
    executor.forward()
    text = str(executor.memory_plan)
    plan = executor.memory_plan
    head, titles, *rows = text.splitlines()
    assert head.startswith(f"{plan.total_bytes} bytes in all, {plan.unplanned_bytes} if nothing")
    assert titles.split() == ["name", "kind", "type", "bytes", "steps", "offset"]
    assert [row.split()[1] for row in rows] == ["input"] * 5 + ["output", "temporary"]
    outside = sum(row.nbytes for row in plan.rows if row.kind != "temporary")
    assert plan.total_bytes == outside + plan.arena_bytes
    assert plan.total_bytes < plan.unplanned_bytes


def test_a_convolutional_network_in_prediction_has_two_temporaries() -> None:
    net = nn.HybridSequential()
    for layer in range(8):
        net.add(nn.Conv2D(4, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"))
        if layer % 3 == 2:
            net.add(nn.MaxPool2D(2))
    net.add(nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(10))
    net.initialize()
    net.hybridize()
    net(nd.ones((2, 3, 16, 16)))
    (compiled,) = net._cached_graphs.latest.cached.programs
    plan = compiled.memory_plan
    assert plan.temporaries <= 2
    assert plan.arena_bytes == 2 * 2 * 4 * 16 * 16 * FLOAT
    assert plan.total_bytes * 3 < plan.unplanned_bytes


def test_residual_connections_still_take_two_temporaries() -> None:
    x = sym.var("x", shape=(8, 16))
    for layer in range(12):
        weights = [sym.var(f"w{layer}{part}", shape=(16, 16)) for part in "ab"]
        x = x + sym.dot(sym.relu(sym.dot(x, weights[0])), weights[1])
    plan = compile(x).memory_plan
    assert plan.temporaries <= 2
    assert plan.arena_bytes == 2 * 8 * 16 * FLOAT


def test_at_most_two_executions_hold_an_arena() -> None:
    a, b, c = (sym.var(name, shape=(400, 400)) for name in "abc")
    f = compile(sym.dot(sym.dot(a, b), c))
    x = nd.ones((400, 400))
    f(a=x, b=x, c=x).wait_to_read()

    def run() -> Any:
        for _ in range(20):
            y = f(a=x, b=x, c=x)
        return y

    assert f.memory_plan.temporaries == 1
    # And the result that the caller is just about to let go.
    assert peak_of(run) <= 2 * f.memory_plan.arena_bytes + 3 * x.nbytes


# -------------------------------------------------------------- nothing kept, nothing leaked


@pytest.mark.parametrize("size", [10, 300_000], ids=["inline", "pushed"])
def test_without_gradient_a_chain_holds_two_buffers(size: int) -> None:
    x = nd.ones(size)
    x.attach_grad()

    def unrecorded() -> Any:
        with autograd.record(), NoGradient():
            return hundred_operators(x)

    def recorded() -> Any:
        with autograd.record():
            return hundred_operators(x)

    assert not unrecorded().has_tape
    assert peak_of(unrecorded) == 2 * x.nbytes
    assert peak_of(recorded) == 100 * x.nbytes  # its gradient reads them all


def hundred_operators(x: Any) -> Any:
    for _ in range(100):
        x = x * x
    return x


def test_three_hundred_thousand_recorded_operators() -> None:
    x = nd.ones(4)
    x.attach_grad()
    (x * x).wait_to_read()
    nd.waitall()
    before = mx.runtime.stats()
    began = time.perf_counter()
    with autograd.record():
        y = x
        for _ in range(300_000):
            y = y * 1.0000001
    assert mx.runtime.stats()["tape_nodes"] == before["tape_nodes"] + 300_000
    y.backward()
    np.testing.assert_allclose(x.grad.asnumpy(), 1.0000001**300_000, rtol=2e-2)
    del y
    nd.waitall()
    after = mx.runtime.stats()
    assert after["tape_nodes"] == before["tape_nodes"]
    assert after["bytes_now"] == before["bytes_now"]
    assert time.perf_counter() - began < 20


def test_a_long_tape_that_is_never_differentiated_is_freed() -> None:
    x = nd.ones(4)
    x.attach_grad()
    nd.waitall()
    before = mx.runtime.stats()
    with autograd.record():
        y = x
        for _ in range(300_000):
            y = y * y
    assert mx.runtime.stats()["bytes_now"] > before["bytes_now"] + 299_000 * x.nbytes
    del y
    after = mx.runtime.stats()
    assert (after["tape_nodes"], after["bytes_now"]) == (before["tape_nodes"], before["bytes_now"])


def test_training_steps_do_not_leak() -> None:
    net, x = deep_net(), nd.ones((5, 33))
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"momentum": 0.9})
    seen = []
    for _ in range(6):
        with autograd.record():
            loss = net(x).sum()
        loss.backward()
        trainer.step(5)
        del loss
        nd.waitall()
        gc.collect()
        seen.append((mx.runtime.stats()["bytes_now"], mx.runtime.stats()["tape_nodes"]))
    assert seen[2:] == [seen[2]] * 4


# --------------------------------------------------------------- a process with little memory

LIMITED = """
import os, resource
import numpy as np
import tigon as mx
from tigon import _native, compile, nd, sym

ROWS, WIDTH = 1 << 18, 16  # activations of 16 MiB
ACTIVATION = ROWS * WIDTH * 4

def layers(rows):
    h = sym.var("x", shape=(rows, WIDTH))
    for layer in range(24):
        h = sym.dot(h, sym.var(f"w{layer}", shape=(WIDTH, WIDTH)), name="last")
    return compile(h)

def mapped():
    return int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")

weights = {f"w{layer}": nd.array(np.eye(WIDTH)) for layer in range(24)}
small, f = layers(4096), layers(ROWS)
small_x = nd.ones((4096, WIDTH))
small(x=small_x, **weights).wait_to_read()  # threads and their stacks
nd.ones((ROWS, WIDTH)).wait_to_read()
plan = f.memory_plan
nd.waitall()
_native.trim()
inner = sum(row.nbytes for row in plan.rows if row.name.startswith("w"))
needed = plan.total_bytes - inner  # the weights are there
resource.setrlimit(resource.RLIMIT_AS, (limit := mapped() + needed * 11 // 10 - LESS, limit))
try:
    x = nd.ones((ROWS, WIDTH))
    y = f(x=x, **weights)
    y.wait_to_read()
    print("done", plan.temporaries, float(y[5].asnumpy().sum()))
except MemoryError as error:
    print(error)
del x
y = None
print(small(x=small_x, **weights).asnumpy().sum() == small_x.size)
print((nd.ones(3) + 1).asnumpy().tolist())
"""


def limited(less: str) -> list[str]:
    return lines_of(run_script(LIMITED.replace("LESS", less)))


def test_the_plan_and_a_tenth_suffice() -> None:
    assert limited("0") == ["done 2 16.0", "True", "[2.0, 2.0, 2.0]"]


def test_two_activations_less_do_not() -> None:
    failed, *after = limited("2 * ACTIVATION")
    line = LIMITED[: LIMITED.index("    y = f(x=x")].count("\n") + 1
    assert failed.startswith("last: out of memory: ")
    assert failed.endswith(f"(called at <string>:{line})")
    assert after == ["True", "[2.0, 2.0, 2.0]"]


TWO_AT_ONCE = (
    LIMITED[: LIMITED.index("resource.setrlimit")].replace(
        "f = layers(4096), layers(ROWS)", "f, g = layers(4096), layers(ROWS), layers(ROWS)"
    )
    + """
resource.setrlimit(resource.RLIMIT_AS, (limit := mapped() + needed * 11 // 10 + ACTIVATION, limit))
x = nd.ones((ROWS, WIDTH))
for _ in range(3):
    results = [call(x=x, **weights) for call in (f, g)]
    print([float(y[5].asnumpy().sum()) for y in results])
    results = None
"""
)


def test_executions_that_do_not_fit_beside_each_other_take_turns() -> None:
    """There is memory for one plan and the results of two: the second waits for the first."""
    assert lines_of(run_script(TWO_AT_ONCE, TIGON_NUM_THREADS="4")) == ["[16.0, 16.0]"] * 3
