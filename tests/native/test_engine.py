"""Asynchrony: order, overlap, errors on their way, interruption, fork."""

from __future__ import annotations

import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.native.conftest import ADD, SLOW, Kernels, array
from tests.runtime.support import run_script
from tigon import _native

pytestmark = pytest.mark.alone  # it measures time

ROOT = Path(__file__).resolve().parents[2]
N = np.arange(10, dtype=np.float32)


def slow_program(kernels: Kernels, milliseconds: float, **options: object) -> _native.Program:
    microseconds = struct.pack("q", int(milliseconds * 1000))
    return kernels.program("slow", (10,), 1, slots=microseconds, cost=1e6, **options)


def test_a_call_returns_before_large_work_is_done(kernels: Kernels) -> None:
    slow = slow_program(kernels, 200)
    before = _native.stats()["pushed"]
    start = time.perf_counter()
    (y,) = slow((array(N),))
    returned = time.perf_counter() - start
    np.testing.assert_array_equal(y.asnumpy(), N + 1)
    assert returned < 0.1 and time.perf_counter() - start > 0.19
    assert _native.stats()["pushed"] == before + 1


def test_small_work_waits_its_turn(operators: Kernels) -> None:
    slow = slow_program(operators, 50)
    (y,) = slow((array(N),))
    z = y + y  # its operand is not there yet: pushed, however small
    np.testing.assert_array_equal(z.asnumpy(), 2 * (N + 1))
    # Write after read and write after write.
    x = array(N)
    (y,) = slow((x,))
    x += 100
    x += 100
    np.testing.assert_array_equal(x.asnumpy(), N + 200)
    np.testing.assert_array_equal(y.asnumpy(), N + 1)


def test_independent_work_runs_at_the_same_time(kernels: Kernels) -> None:
    before = _native.num_threads()
    _native.set_num_threads(3)
    try:
        slow = slow_program(kernels, 150)
        x = array(N)
        start = time.perf_counter()
        results = [slow((x,))[0] for _ in range(3)]
        for result in results:
            result.wait_to_read()
        assert time.perf_counter() - start < 0.35
    finally:
        _native.set_num_threads(before)


def test_two_executions_in_flight(kernels: Kernels) -> None:
    n = (10,)
    launch = kernels.launch(
        "slow", [(_native.INPUT, 0), (_native.OUTPUT, 0)], 10, struct.pack("q", 50_000)
    )
    program = _native.Program("step", [(0, n)], [(0, n)], 1, 64, [], [[launch]], cost=1e6)
    x = array(N)
    start = time.perf_counter()
    for _ in range(2):
        program((x,))
    assert time.perf_counter() - start < 0.04
    for _ in range(4):
        (x,) = program((x,))
    assert time.perf_counter() - start > 0.15
    _native.waitall()
    np.testing.assert_array_equal(x.asnumpy(), N + 4)


def test_pending_results_hold_no_memory(operators: Kernels) -> None:
    x = array(np.zeros(100_000))
    slow = operators.program("slow", (100_000,), 1, slots=struct.pack("q", 20_000), cost=1e6)
    before = _native.stats()["bytes_now"]
    _native.reset_peak()
    (y,) = slow((x,))
    for _ in range(50):
        y = y + x
    assert y.asnumpy()[0] == 1
    _native.waitall()
    assert _native.stats()["bytes_peak"] - before <= 4 * 400_000
    assert _native.stats()["bytes_now"] - before == 400_000


def test_the_queue_is_bounded(operators: Kernels) -> None:
    slow = slow_program(operators, 30)
    (y,) = slow((array(N),))
    for _ in range(3000):
        y = y + 1
    np.testing.assert_array_equal(y.asnumpy(), N + 3001)


def test_an_error_travels_with_the_data(operators: Kernels) -> None:
    fail = operators.program("fail", (10,), 1, slots=struct.pack("q", 1), cost=1e6)
    x = array(N)
    (y,) = fail((x,))
    line = sys._getframe().f_lineno - 1
    z = y + x
    untouched = x + x
    with pytest.raises(
        RuntimeError, match=rf"^fail: an index is out of range.*test_engine\.py:{line}\)"
    ) as first:
        z.asnumpy()
    for wait in [z.wait_to_read, y.asnumpy, (y + 1).wait_to_read]:
        with pytest.raises(RuntimeError) as again:
            wait()
        assert str(again.value) == str(first.value)
    np.testing.assert_array_equal(untouched.asnumpy(), 2 * N)
    _native.waitall()  # somebody has seen it
    y.copy_from_numpy(N)
    np.testing.assert_array_equal((y + x).asnumpy(), 2 * N)


def test_waitall_raises_what_nobody_has_seen(operators: Kernels) -> None:
    fail = operators.program("fail", (10,), 1, slots=struct.pack("q", 2), cost=1e6)
    fail((array(N),))
    with pytest.raises(RuntimeError, match=r"^fail: integer division by zero"):
        _native.waitall()
    _native.waitall()


def test_overwriting_ends_an_error(operators: Kernels) -> None:
    fail = operators.program("fail", (10,), 1, slots=struct.pack("q", 1), cost=1e6)
    x = array(N)
    (y,) = fail((x,))
    _native.invoke(ADD, 0, (x, x), out=y)
    np.testing.assert_array_equal(y.asnumpy(), 2 * N)
    with pytest.raises(RuntimeError):
        _native.waitall()


def test_donation_of_pending_memory(kernels: Kernels) -> None:
    slow = slow_program(kernels, 20, may_alias=[[0]])
    (y,) = slow((array(N),))
    storage = y.storage_id
    (z,) = slow((y,), donate=[0])
    assert z.storage_id == storage and y.donated
    np.testing.assert_array_equal(z.asnumpy(), N + 2)


def test_backward_of_pending_work(operators: Kernels) -> None:
    slow = slow_program(operators, 20)
    x = array(N)
    x.mark_variable(array(0 * N), "write")
    (late,) = slow((array(N),))
    _native.set_recording(True)
    y = x * late
    _native.set_recording(False)
    _native.backward([y], [], False)
    np.testing.assert_array_equal(x.grad.asnumpy(), N + 1)


# ------------------------------------------------------------------------------ host callbacks


def test_callbacks_run_in_order(kernels: Kernels) -> None:
    slow = slow_program(kernels, 30)
    (y,) = slow((array(N),))
    out = array(0 * N)
    seen: list[float] = []

    def callback() -> None:
        assert threading.current_thread() is not threading.main_thread()
        seen.append(float(y.asnumpy().sum()))
        out.copy_from_numpy(y.asnumpy() * 2)

    _native.push(callback, [y], [out], "double")
    np.testing.assert_array_equal(out.asnumpy(), 2 * (N + 1))
    assert seen == [float((N + 1).sum())]


def test_callbacks_compute(operators: Kernels) -> None:
    x, out = array(N), array(0 * N)

    def callback() -> None:
        _native.invoke(ADD, 0, (x, x), out=out)
        assert (out + x).asnumpy().sum() == 3 * N.sum()

    _native.push(callback, [x], [out], "compute")
    x += 1  # after the callback
    np.testing.assert_array_equal(out.asnumpy(), 2 * N)


def test_a_failing_callback(operators: Kernels) -> None:
    out = array(N)
    _native.push(lambda: 1 / 0, [], [out], "divide")
    with pytest.raises(
        RuntimeError, match=r"^divide: ZeroDivisionError: division by zero"
    ) as raised:
        (out + out).asnumpy()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    for forbidden in [_native.waitall, lambda: _native.push(print, [], [], "inner")]:
        _native.push(forbidden, [], [out], "outer")
        with pytest.raises(RuntimeError, match="host callback"):
            out.asnumpy()


def test_foreign_memory_is_given_back_by_a_python_thread(kernels: Kernels) -> None:
    slow = slow_program(kernels, 30)
    source = N.copy()
    held = _native.from_dlpack(source)
    (y,) = slow((held,))
    del held
    before = sys.getrefcount(source)
    np.testing.assert_array_equal(y.asnumpy(), N + 1)
    _native.waitall()
    for _ in range(100):
        if sys.getrefcount(source) < before:
            break
        time.sleep(0.001)
    assert sys.getrefcount(source) < before


# ------------------------------------------------------------------------- threads and signals


def stress(operators: Kernels, updates: int, threads: int) -> None:
    """In-place updates of a few arrays from several threads, small and large mixed, against the
    same updates in order. A lock makes call and expectation one step."""
    lock = threading.Lock()
    rng = np.random.default_rng(3)
    plan = rng.integers(0, 4, size=(updates, 3))
    large = rng.random(updates) < 0.3
    arrays = [array(np.full(16, i)) for i in range(4)]
    expected = [np.full(16, i, np.float32) for i in range(4)]
    subtract = [operators.program("subtract", (16,), may_alias=[[0, 1]], cost=c) for c in (0, 1e3)]

    def work(first: int) -> None:
        for step in range(first, updates, threads):
            target, left, right = plan[step]
            with lock:
                subtract[int(large[step])]((arrays[left], arrays[right]), out=[arrays[target]])
                expected[target] = expected[left] - expected[right]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for held, values in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(held.asnumpy(), values)


def test_overlapping_updates_from_threads(operators: Kernels) -> None:
    with np.errstate(all="ignore"):
        stress(operators, 100_000, 4)


PRELUDE = """
import os, signal, struct, sys, threading, time
import numpy as np
from tigon import _native
gate = _native.empty((1,), 0)
"""


def test_control_c_interrupts_a_wait() -> None:
    done = run_script(
        PRELUDE
        + textwrap.dedent("""
        _native.push(lambda: time.sleep(5), [], [gate], "sleep")
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        for wait in [gate.asnumpy]:
            start = time.perf_counter()
            try:
                wait()
            except KeyboardInterrupt:
                print("interrupted", time.perf_counter() - start < 1.5, flush=True)
        os._exit(0)
        """)
    )
    assert done.stdout.strip() == "interrupted True", done.stderr


@pytest.mark.parametrize("pending", [False, True])
def test_fork_does_not_hang(pending: bool) -> None:
    done = run_script(
        PRELUDE
        + textwrap.dedent(f"""
        import warnings
        warnings.simplefilter("ignore")
        big = _native.from_numpy(np.ones(4_000_000, np.float32))  # through the pool
        if {pending}:
            _native.push(lambda: time.sleep(0.3), [], [gate], "sleep")
        child = os.fork()
        if child == 0:
            gate.copy_from_numpy(np.ones(1, np.float32))
            big.copy_from_numpy(np.full(4_000_000, 2, np.float32))
            out = _native.empty((1,), 0)
            _native.push(lambda: out.copy_from_numpy(np.full(1, 3, np.float32)), [gate], [out], "f")
            good = out.asnumpy()[0] == 3 and big.asnumpy().sum() == 8_000_000
            os._exit(0 if good else 1)
        big.copy_from_numpy(np.full(4_000_000, 2, np.float32))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), gate.asnumpy().shape)
        """)
    )
    assert done.stdout.strip() == "0 (1,)", done.stderr


def test_ending_with_work_in_flight() -> None:
    done = run_script(
        PRELUDE
        + textwrap.dedent("""
        _native.push(lambda: time.sleep(0.2), [], [gate], "sleep")
        _native.push(lambda: print("ran"), [gate], [], "last")
        """)
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "ran", "")


def test_naive_engine_is_synchronous() -> None:
    done = run_script(
        PRELUDE
        + textwrap.dedent("""
        start = time.perf_counter()
        _native.push(lambda: time.sleep(0.2), [], [gate], "sleep")
        print(time.perf_counter() - start > 0.19)
        try:
            _native.push(lambda: 1 / 0, [], [gate], "divide")
        except RuntimeError as error:
            print(error)
        """),
        TIGON_ENGINE="naive",
    )
    assert done.stdout.startswith("True\ndivide: ZeroDivisionError"), done.stderr


def test_naive_results(operators: Kernels) -> None:
    _native.set_naive(True)
    try:
        before = _native.stats()["pushed"]
        x = array(N)
        slow = _native.invoke(SLOW, 1000, (x,))
        slow += x
        np.testing.assert_array_equal(slow.asnumpy(), 2 * N + 1)
        assert _native.stats()["pushed"] == before
        fail = operators.program("fail", (10,), 1, slots=struct.pack("q", 1), cost=1e6)
        with pytest.raises(RuntimeError, match=r"^fail: an index"):
            fail((x,))
    finally:
        _native.set_naive(False)


def limited(body: str) -> Callable[[], subprocess.CompletedProcess[str]]:
    return lambda: run_script(PRELUDE + "import resource\n" + textwrap.dedent(body))


def test_a_limited_process_recovers_from_lack_of_memory() -> None:
    done = limited("""
        def mapped():
            return int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
        small = _native.from_numpy(np.ones(10, np.float32))
        _native.push(lambda: None, [], [gate], "warm")  # threads and their stacks
        _native.waitall()
        limit = mapped() + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        held = [_native.empty((10 << 20,), 3) for _ in range(5)]
        before = _native.stats()["bytes_now"]
        try:
            _native.empty((40 << 20,), 3)
        except MemoryError as error:
            print(error)
        print(_native.stats()["bytes_now"] == before, small.asnumpy().sum())
        del held
        # The freed blocks are cached; other sizes must still find memory.
        print(_native.empty((55 << 20,), 3).size, _native.empty((100,), 0).size)
        """)()
    lines = done.stdout.splitlines()
    assert lines and lines[0].startswith("out of memory: 41943040 bytes wanted"), done.stderr
    assert lines[1:] == ["True 10.0", f"{55 << 20} 100"], done.stderr
