"""`tigon.runtime.stats()`: what it counts, and what it proves."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.runtime.support import lines_of, run_script
from tigon import autograd, nd
from tigon.gluon import nn
from tigon.program import lowered, stored


def change(run: Callable[[], Any]) -> dict[str, float]:
    """How the counters change while `run` runs."""
    nd.waitall()
    before = mx.runtime.stats()
    kept = run()
    nd.waitall()
    after = mx.runtime.stats()
    del kept
    return {name: after[name] - before[name] for name in after}


def network(depth: int) -> Any:
    """Everything that has a hidden operand: random keys, running statistics."""
    net = nn.HybridSequential()
    for _ in range(depth):
        net.add(nn.Dense(8, activation="relu"), nn.BatchNorm(), nn.Dropout(0.2))
    net.add(nn.Dense(3))
    net.initialize()
    net.hybridize()
    return net


@pytest.mark.parametrize("depth", [1, 12])
def test_one_native_call_forward_and_one_backward(depth: int) -> None:
    net, x = network(depth), nd.ones((4, 8))
    for _ in range(2):
        with autograd.record():
            y = net(x)
        y.backward()
        net(x)

    def forward() -> Any:
        nonlocal y
        with autograd.record():
            y = net(x)

    for run in (forward, lambda: y.backward(), lambda: net(x)):
        counted = change(run)
        assert counted["native_calls"] == 1
        assert counted["imperative_operators"] == 0
        assert counted["fallbacks"] == 0
        assert counted["compilations"] == counted["kernel_compilations"] == 0


def test_a_training_loop_compiles_once() -> None:
    net = network(2)
    trainer = mx.gluon.Trainer(net.collect_params(), "adam")
    loss_of = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    x, label = nd.ones((4, 8)), nd.array([0, 1, 2, 0])

    def step() -> None:
        with autograd.record():
            loss = loss_of(net(x), label)
        loss.backward()
        trainer.step(4)
        float(loss.mean().asscalar())

    first = change(step)
    assert first["compilations"] > 0 and first["compile_seconds"] > 0
    step()
    for _ in range(3):
        counted = change(step)
        assert counted["compilations"] == counted["kernel_compilations"] == 0
        assert counted["signature_misses"] == counted["fallbacks"] == 0
        assert counted["compile_seconds"] == 0


def test_equal_layers_share_kernels() -> None:
    """Code is generated per structure, not per layer."""

    def build(depth: int) -> dict[str, float]:
        net = nn.HybridSequential()
        for _ in range(depth):
            net.add(nn.Dense(24, activation="sigmoid", in_units=24))
        net.initialize()
        net.hybridize()
        x = nd.ones((5, 24))
        return change(lambda: net(x))

    build(2)
    assert build(20)["kernel_compilations"] == 0


def test_a_new_extent_needs_no_new_code() -> None:
    net = nn.Dense(16, activation="tanh", in_units=32)
    net.initialize()
    net.hybridize()
    for rows in (64, 65):
        net(nd.ones((rows, 32)))
    x = nd.ones((71, 32))
    assert change(lambda: net(x))["kernel_compilations"] == 0


def test_imperative_operators_are_looked_up_not_compiled() -> None:
    x = nd.ones((3, 7))

    def run() -> Any:
        y = x
        for _ in range(50):
            y = nd.tanh(y) * 2 + x
        return y

    run()
    counted = change(run)
    assert counted["imperative_operators"] == counted["native_calls"] == 150
    assert counted["signature_hits"] == 150
    assert counted["signature_misses"] == counted["compilations"] == 0
    # Small work that is ready runs where it is called.
    assert (counted["inlined"], counted["pushed"]) == (150, 0)


def test_a_new_signature_is_one_miss_and_one_compilation() -> None:
    x = nd.ones((3, 11, 2))
    counted = change(lambda: x * x)
    assert (counted["signature_misses"], counted["signature_hits"]) == (1, 0)
    assert counted["compilations"] == 1


def test_large_work_is_pushed() -> None:
    x = nd.ones((800, 800))
    nd.dot(x, x).wait_to_read()
    counted = change(lambda: nd.dot(x, x))
    assert (counted["pushed"], counted["inlined"]) == (1, 0)


def test_bytes_and_tape_nodes_come_and_go() -> None:
    x = nd.ones(100)
    x.attach_grad()
    (x * x + x).wait_to_read()

    def recorded() -> Any:
        with autograd.record():
            return x * x + x

    before = mx.runtime.stats()
    y = recorded()
    during = mx.runtime.stats()
    # Neither operand of the sum is read by its gradient: the product is gone.
    assert during["bytes_now"] - before["bytes_now"] == y.nbytes
    assert during["tape_nodes"] - before["tape_nodes"] == 2
    del y
    after = mx.runtime.stats()
    assert (after["bytes_now"], after["tape_nodes"]) == (before["bytes_now"], before["tape_nodes"])


def test_garbage_waits_while_memory_is_counted() -> None:
    assert mx.runtime.stats()["bytes_now"] >= 0
    assert not gc.isenabled()


def test_the_peak_can_be_started_anew() -> None:
    mx.runtime.reset_peak()
    low = mx.runtime.stats()["bytes_peak"]
    x = nd.ones(10_000)
    x.wait_to_read()
    assert mx.runtime.stats()["bytes_peak"] >= low + x.nbytes
    del x
    nd.waitall()
    mx.runtime.reset_peak()
    assert mx.runtime.stats()["bytes_peak"] == mx.runtime.stats()["bytes_now"] <= low


def test_importing_compiles_nothing() -> None:
    printed = lines_of(
        run_script("""
        import sys
        import tigon as mx
        print("llvmlite" in sys.modules, mx.runtime.stats()["compilations"])
        mx.nd.ones(3) + 1
        print(mx.runtime.stats()["compilations"] > 0)
        """)
    )
    assert printed == ["False 0", "True"]


def test_every_counter_is_a_number_and_documented() -> None:
    from tigon.runtime.counters import stats

    found = stats()
    assert all(isinstance(value, (int, float)) for value in found.values())
    for name in (
        "compilations kernel_compilations compile_seconds cache_hits native_calls "
        "imperative_operators fallbacks bytes_now bytes_peak pushed inlined tape_nodes pool_bytes "
        "pool_peak pool_free pool_largest_free pool_rounding pool_fresh_blocks"
    ).split():
        assert name in found
        assert f"`{name}`" in str(stats.__doc__)


def test_results_are_right_while_we_count() -> None:
    """No counter is bought with a shortcut: compiled and imperative agree."""
    net, x = network(3), nd.array(np.random.default_rng(0).normal(size=(4, 8)))
    compiled = net(x).asnumpy()
    net.hybridize(False)
    np.testing.assert_allclose(net(x).asnumpy(), compiled, rtol=1e-5, atol=1e-6)


def test_slow_compilations_are_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lowered, "NOTICE_SECONDS", 0.0)
    monkeypatch.setattr(stored, "load", lambda content: None)  # of an earlier run

    def told(number: int) -> str:
        nd.ones((number, 3)).asnumpy()
        net = nn.HybridLambda(lambda F, x: F.softmax(x * number) + F.sum(x))
        net.hybridize()
        capfd.readouterr()
        net(nd.ones((number, 3))).asnumpy()
        return capfd.readouterr().err

    assert re.search(r"tigon: compiled \S+ in \d+\.\d s: \d+ primitives in \d+ kernels", told(3))
    monkeypatch.setenv("TIGON_NOTICES", "0")
    assert told(5) == ""
    monkeypatch.delenv("TIGON_NOTICES")
    monkeypatch.setattr(lowered, "NOTICE_SECONDS", 1000.0)
    assert told(7) == ""
