"""The engine under the whole framework: overlap, order, errors, threads, signals, fork."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.runtime.support import lines_of, replaced_kernels, run_script
from tigon import _native, autograd, nd, sym
from tigon.gluon import nn
from tigon.program.cached_graph import CachedGraph

pytestmark = pytest.mark.alone  # it measures time

PATIENCE = 20.0
"""Seconds after which two things that should meet are said not to run at the same time."""


class Meeting:
    """So many participants, each of whom waits for all others: none gets on if they run in turn."""

    def __init__(self, participants: int) -> None:
        self.arrived = [threading.Event() for _ in range(participants)]
        self.failed = False

    def body(self, number: int) -> Callable[[], int]:
        def arrive() -> int:
            if self.arrived[number].is_set():
                return 0  # another chunk of the same kernel: only one waits
            self.arrived[number].set()
            for event in self.arrived:
                if not event.wait(PATIENCE):
                    self.failed = True
            return 0

        return arrive

    def took_place(self) -> bool:
        return not self.failed and all(event.is_set() for event in self.arrived)


# --------------------------------------------------------------------- calls return at once


@pytest.mark.parametrize("hybridized", [False, True])
def test_calls_return_before_large_work_is_done(hybridized: bool) -> None:
    class Powers(nn.HybridBlock):
        def hybrid_forward(self, F, x):
            for _ in range(6):
                x = F.dot(x, x)
            return x

    net = Powers()
    if hybridized:
        net.hybridize()
    x = nd.array(np.eye(900, dtype=np.float32))
    net(x).wait_to_read()
    start = time.perf_counter()
    y = net(x)
    called = time.perf_counter() - start
    y.wait_to_read()
    done = time.perf_counter() - start
    assert called < done / 4, (called, done)
    np.testing.assert_array_equal(y.asnumpy(), x.asnumpy())


def test_a_recorded_step_returns_before_it_is_done() -> None:
    """Forward, backward and update are all pushed behind one unfinished array."""
    net = nn.Dense(4, in_units=4)
    net.initialize()
    net.hybridize()
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})

    def step(x: Any) -> None:
        with autograd.record():
            loss = (net(x) ** 2).sum()
        loss.backward()
        trainer.step(1)

    step(nd.ones((2, 4)))
    before = net.weight.data().asnumpy()
    gate, x = threading.Event(), nd.ones((2, 4))
    _native.push(lambda: gate.wait(PATIENCE) and None, [], [x], "late data")
    step(x)
    gate.set()  # reached only because nothing above waited
    assert not np.array_equal(net.weight.data().asnumpy(), before)


# --------------------------------------------------------------------- at the same time


def test_independent_branches_of_one_graph_run_at_the_same_time(four_threads: None) -> None:
    x = sym.var("x", shape=(600, 600))
    branches = [sym.dot(x, x), sym.dot(x, sym.transpose(x))]
    given = nd.ones((600, 600))
    meeting = Meeting(2)
    with replaced_kernels(meeting.body):
        graph = CachedGraph(sym.Group(branches)._graph(), name="branches")
        results = graph([given])
        for result in results:
            result.wait_to_read()
    assert meeting.took_place()
    (compiled,) = graph.programs
    assert [kernel.wave for kernel in compiled.kernels] == [0, 0]


def test_independent_imperative_work_runs_at_the_same_time(four_threads: None) -> None:
    x = nd.ones((601, 601))
    meeting = Meeting(2)
    with replaced_kernels(meeting.body):
        first, second = nd.dot(x, x), nd.dot(x, x, transpose_b=True)
        first.wait_to_read()
        second.wait_to_read()
    assert meeting.took_place()
    _native.clear_signature_cache()


def test_callbacks_run_beside_each_other(four_threads: None) -> None:
    meeting = Meeting(3)
    arrays = [nd.ones(1) for _ in range(3)]
    for number, array in enumerate(arrays):
        body = meeting.body(number)
        _native.push(lambda body=body: body() and None, [], [array], f"callback{number}")
    nd.waitall()
    assert meeting.took_place()


def test_dependent_work_waits(four_threads: None) -> None:
    """The check of the checks above: what depends does not meet."""
    x = nd.ones((602, 602))
    order: list[int] = []
    with replaced_kernels(lambda number: lambda: order.append(number) or time.sleep(0.01) or 0):
        y = nd.dot(x, x)
        z = nd.dot(y, x, transpose_b=True)
        z.wait_to_read()
    assert order == sorted(order) and set(order) == {0, 1}
    _native.clear_signature_cache()


# ----------------------------------------------------------------------------- order

UPDATES = 100_000


def test_overlapping_updates_from_several_threads_keep_their_order() -> None:
    """In-place updates of overlapping parts of two arrays; a lock makes each update and its
    expectation one step. A part is read while earlier work on it is pending and overwritten while
    earlier readers are."""
    threads, length = 4, 64
    random = np.random.default_rng(5)
    arrays = [nd.zeros(length, dtype="int64") + i for i in range(2)]
    mirrors = [array.asnumpy() for array in arrays]
    starts = [0, 8, 24, 32]
    parts = [[array[s : s + 32] for s in starts] for array in arrays]
    mirror_parts = [[mirror[s : s + 32] for s in starts] for mirror in mirrors]
    plan = random.integers(0, 4, size=(UPDATES, 4)).tolist()
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for step in range(first, UPDATES, threads):
                to, source, which, kind = plan[step]
                target, other = which & 1, which >> 1
                with lock:
                    part, mirror = parts[target][to], mirror_parts[target][to]
                    read, read_mirror = parts[other][source], mirror_parts[other][source]
                    if kind == 0:
                        part -= read
                        mirror -= read_mirror.copy()
                    elif kind == 1:
                        part *= 3
                        mirror *= 3
                    elif kind == 2:
                        part += read
                        mirror += read_mirror.copy()
                    else:
                        part += step
                        mirror += step
        except BaseException as error:
            errors.append(error)

    before = _native.inline_threshold()
    with np.errstate(all="ignore"):
        for threshold in (before, 0.0):  # as usual; everything through the engine
            _native.set_inline_threshold(threshold)
            try:
                workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
            finally:
                _native.set_inline_threshold(before)
            assert not errors
            for array, mirror in zip(arrays, mirrors, strict=True):
                np.testing.assert_array_equal(array.asnumpy(), mirror)


def test_a_late_reader_sees_the_values_of_its_time(four_threads: None) -> None:
    """Write after read: the reader is held back while the array is overwritten many times."""
    gate, held, x = threading.Event(), nd.zeros(1), nd.arange(8)
    _native.push(lambda: gate.wait(PATIENCE) and None, [], [held], "gate")
    early = x + held
    for _ in range(50):
        x += 1
    x[2:5] = -1
    late = x * 1
    gate.set()
    np.testing.assert_array_equal(early.asnumpy(), np.arange(8))
    expected = np.arange(8.0) + 50
    expected[2:5] = -1
    np.testing.assert_array_equal(late.asnumpy(), expected)


def test_updates_of_one_array_by_commuting_threads() -> None:
    """No lock: each in-place update is one step whatever the interleaving."""
    total = nd.zeros(16, dtype="int64")
    views = [total[0:16], total[4:12], total[8:16]]

    def work(amount: int) -> None:
        for step in range(3000):
            view = views[step % 3]
            view += amount

    workers = [threading.Thread(target=work, args=(amount,)) for amount in (1, 10, 100, 1000)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected = np.zeros(16, np.int64)
    for low, high in ((0, 16), (4, 12), (8, 16)):
        expected[low:high] += 1111 * 1000
    np.testing.assert_array_equal(total.asnumpy(), expected)


# ----------------------------------------------------------------------- Python threads


def hybridized_net() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(32, activation="relu", in_units=16), nn.Dense(8, in_units=32))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    return net


def test_several_threads_call_one_hybridized_net() -> None:
    """From the first call on: tracing and compiling happen under contention too."""
    net, reference = hybridized_net(), hybridized_net()
    random = np.random.default_rng(0)
    inputs = [random.normal(size=(rows, 16)).astype(np.float32) for rows in (1, 2, 3, 4)] * 2
    for mine, theirs in zip(
        reference.collect_params().values(), net.collect_params().values(), strict=True
    ):
        mine.set_data(theirs.data())
    reference.hybridize(False)
    expected = [reference(nd.array(x)).asnumpy() for x in inputs]
    results: list[Any] = [None] * len(inputs)
    barrier = threading.Barrier(len(inputs))

    def work(number: int) -> None:
        try:
            x = nd.array(inputs[number])
            barrier.wait()
            mine = [net(x).asnumpy() for _ in range(50)]
            # Recording is a thread's own affair.
            y = nd.array(inputs[number])
            y.attach_grad()
            with autograd.record(train_mode=False):
                out = net(y)
            out.backward()
            results[number] = (mine, y.grad.asnumpy())
        except BaseException as error:
            results[number] = error

    workers = [threading.Thread(target=work, args=(n,)) for n in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for found, wanted, x in zip(results, expected, inputs, strict=True):
        assert not isinstance(found, BaseException), found
        outputs, gradient = found
        for output in outputs:
            np.testing.assert_allclose(output, wanted, rtol=1e-5, atol=1e-6)
        assert gradient.shape == x.shape and np.abs(gradient).sum() > 0
    assert net._cached_graphs.traces == len({x.shape for x in inputs}) * 2


def test_modes_belong_to_threads() -> None:
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        seen.append((autograd.is_recording(), autograd.is_training()))

    with autograd.record():
        look()
        other = threading.Thread(target=look)
        other.start()
        other.join()
    assert seen == [(True, True), (False, False)]


# ------------------------------------------------------------------------------- errors


def test_an_error_surfaces_at_the_wait_with_operator_and_line() -> None:
    x = nd.ones((603, 603))
    with replaced_kernels(lambda number: lambda: 3):
        y = nd.dot(x, x)  # pushed: nothing is raised here
        line = sys._getframe().f_lineno - 1
    z = (y + 1).sum()
    with pytest.raises(mx.TigonError) as raised:
        z.asnumpy()
    message = str(raised.value)
    assert message.startswith("dot: a value is outside the operator's domain")
    assert message.endswith(f"(called at {__file__}:{line})")
    np.testing.assert_array_equal((x + x).asnumpy()[0, :2], [2, 2])
    _native.clear_signature_cache()


def test_an_error_in_a_compiled_graph_names_the_operator_within() -> None:
    x = sym.var("x", shape=(604, 604))
    graph = CachedGraph(sym.softmax(sym.dot(x, x))._graph(), name="classifier")
    given = nd.ones((604, 604))
    with replaced_kernels(lambda number: lambda: 3 * (number == 1)):
        (y,) = graph([given])
    with pytest.raises(mx.TigonError, match=r"^softmax.*: a value is outside .*test_engine\.py"):
        y.wait_to_read()


def test_an_error_in_a_hybridized_net_names_the_layer_and_the_call() -> None:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(700, in_units=700), nn.Dense(700, in_units=700))
    net.initialize()
    net.hybridize()
    x = nd.ones((606, 700))
    for param in net.collect_params().values():
        param.data().wait_to_read()
    with replaced_kernels(lambda number: lambda: 3 * (number == 1)):
        y = net(x)
        line = sys._getframe().f_lineno - 1
    with pytest.raises(mx.TigonError, match=rf"^net_dense1_fwd: .*test_engine\.py:{line}\)$"):
        y.wait_to_read()


def test_an_error_of_pushed_python_keeps_its_cause() -> None:
    x = nd.ones(3)

    def fail() -> None:
        raise KeyError("no such batch")

    _native.push(fail, [], [x], "load batch")
    line = sys._getframe().f_lineno - 1
    y = x * 2
    for wait in (y.asnumpy, y.wait_to_read, x.asnumpy):
        with pytest.raises(mx.TigonError, match=rf"^load batch: KeyError.*:{line}\)$") as raised:
            wait()
        assert isinstance(raised.value.__cause__, KeyError)


def test_waitall_raises_what_nobody_waited_for() -> None:
    x = nd.ones((605, 605))
    with replaced_kernels(lambda number: lambda: 2):
        nd.dot(x, x)
    with pytest.raises(mx.TigonError, match=r"^dot: integer division by zero"):
        nd.waitall()
    nd.waitall()
    _native.clear_signature_cache()


def test_backward_of_a_failed_forward_raises_and_leaves_the_gradient_usable() -> None:
    x, bad = nd.ones(3), nd.ones(3)
    x.attach_grad()
    _native.push(lambda: 1 // 0, [], [bad], "bad")
    with autograd.record():
        y = (x * bad).sum()
    y.backward()
    with pytest.raises(mx.TigonError, match=r"^bad: ZeroDivisionError"):
        x.grad.asnumpy()
    with autograd.record():
        y = (x * 2).sum()
    y.backward()
    assert x.grad.asnumpy().tolist() == [2, 2, 2]


# --------------------------------------------------------------------- signals and processes


def test_control_c_interrupts_a_wait() -> None:
    """Of an array, of everything, and in the middle of real work; afterwards all goes on."""
    printed = lines_of(
        run_script("""
        import os, signal, threading, time
        from tigon import _native, nd

        def interrupted(wait, *arguments):
            timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            start = time.perf_counter()
            try:
                wait(*arguments)
            except KeyboardInterrupt:
                print(time.perf_counter() - start < 2)
            timer.join()

        gate, x = threading.Event(), nd.ones(2)
        _native.push(lambda: gate.wait(30) and None, [], [x], "gate")
        y = x + 1
        for wait in (y.asnumpy, y.wait_to_read, nd.waitall, y[0].asscalar):
            interrupted(wait)
        gate.set()
        print(y.asnumpy().tolist())
        """)
    )
    assert printed == ["True"] * 4 + ["[2.0, 2.0]"]


def test_control_c_interrupts_the_wait_for_one_large_kernel() -> None:
    """The waiting thread computes too, but only in pieces."""
    printed = lines_of(
        run_script("""
        import os, signal, threading, time
        from tigon import _native, nd

        _native.set_num_threads(2)
        a = nd.ones((6000, 6000))
        nd.dot(a[:10], a).wait_to_read()
        y = nd.dot(a, a)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            y.wait_to_read()
        except KeyboardInterrupt:
            print("interrupted")
        timer.join()
        left = time.perf_counter()
        y.wait_to_read()
        print(time.perf_counter() - left > 0.001, y[0, 0].asscalar())  # not at its end
        """)
    )
    assert printed == ["interrupted", "True 6000.0"]


def test_control_c_interrupts_a_call_that_waits_for_room() -> None:
    printed = lines_of(
        run_script("""
        import os, signal, threading
        from tigon import _native, nd

        gate, x = threading.Event(), nd.ones(2)
        (x + 1).wait_to_read()
        _native.push(lambda: gate.wait(30) and None, [], [x], "gate")
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        y, added = x, 0
        try:
            while True:
                y = y + 1
                added += 1
        except KeyboardInterrupt:
            gate.set()
        print(y.asnumpy().tolist() == [1 + added] * 2)
        """)
    )
    assert printed == ["True"]


FORK = """
import os, warnings
import numpy as np
import tigon as mx
from tigon import autograd, nd
from tigon.gluon import nn

warnings.simplefilter("ignore")
net = nn.HybridSequential()
net.add(nn.Dense(300, activation="relu", in_units=300), nn.Dense(2, in_units=300))
net.initialize()
net.hybridize()
x = nd.ones((400, 300))
expected = net(x).asnumpy()

def compute():
    again = net(x).asnumpy()
    fresh = nd.dot(nd.ones((700, 700)), nd.ones((700, 700))).asnumpy()
    with autograd.record():
        loss = net(nd.ones((3, 300))).sum()
    loss.backward()
    nd.waitall()
    return bool((again == expected).all() and (fresh == 700).all())
"""


def test_a_forked_child_computes() -> None:
    printed = lines_of(
        run_script(
            FORK
            + """
pending = nd.dot(x, nd.ones((300, 300)))  # work in flight does not disturb
child = os.fork()
if child == 0:
    os._exit(0 if compute() else 3)
print(compute(), pending.asnumpy()[0, 0])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
        )
    )
    assert printed == ["True 300.0", "0"]


def test_a_fork_in_the_middle_of_another_thread_s_compilation() -> None:
    """The child compiles too, though locks were held when it was made."""
    printed = lines_of(
        run_script("""
        import os, signal, threading, time, warnings
        import numpy as np
        from tigon import compile, nd, sym

        warnings.simplefilter("ignore")
        stop = threading.Event()

        def compile_on_and_on():
            number = 0
            while not stop.is_set():
                number += 1
                x = sym.var("x", shape=(number % 9 + 2, 2, number % 7 + 2))
                compile(sym.softmax(sym.tanh(x * number) + sym.exp(x), axis=number % 3)).kernels

        other = threading.Thread(target=compile_on_and_on)
        other.start()
        good = 0
        for number in range(25):
            time.sleep(0.02)
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # ends it if it hangs
                x = sym.var("x", shape=(5, number + 2))
                f = compile(sym.sum(sym.sin(x) * number, axis=1))
                os._exit(0 if f(x=nd.zeros((5, number + 2))).asnumpy().sum() == 0 else 1)
            good += os.waitpid(child, 0)[1] == 0
        stop.set()
        other.join()
        print(good)
        """)
    )
    assert printed == ["25"]


def test_a_fork_in_the_middle_of_another_thread_s_import() -> None:
    """Python leaves the lock of a module that is being imported as it was."""
    printed = lines_of(
        run_script("""
        import os, signal, sys, threading, time

        import tigon

        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "tigon.backends.cpu.square":
                    looking.set()
                    time.sleep(0.5)

        looking = threading.Event()
        sys.meta_path.insert(0, Slow())
        importing = "import tigon.backends.cpu.square"
        other = threading.Thread(target=exec, args=(importing,))
        other.start()
        looking.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # ends it if it hangs
            exec(importing)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        other.join()
        """)
    )
    assert printed == ["0"]


@pytest.mark.parametrize("work", ["wait", "compile", "callback"])
def test_a_daemon_thread_does_not_abort_the_end(work: str) -> None:
    """Python unwinds such threads when it ends; ours stop."""
    done = run_script(f"""
        import threading, time
        from tigon import _native, nd

        x = nd.ones((500, 500))
        nd.dot(x, x).wait_to_read()

        def on_and_on():
            number = 0
            while True:
                number += 1
                if {work!r} == "wait":
                    nd.dot(x, x).wait_to_read()
                elif {work!r} == "compile":
                    (nd.ones((number % 50 + 1, number % 60 + 3)) + 1).asnumpy()
                else:
                    _native.push(lambda: time.sleep(0.001), [], [x], "callback")
                    nd.waitall()

        threading.Thread(target=on_and_on, daemon=True).start()
        time.sleep(0.2)
    """)
    assert (done.returncode, done.stderr) == (0, "")


PUSHING = {
    "products": "nd.dot(x, x)",
    "in place": "x += 1",
    "callbacks": "_native.push(lambda: time.sleep(0.001), [], [x], 'callback')",
    "long": "nd.dot(big, big)",
    "long callbacks": "_native.push(lambda: time.sleep(9), [], [], 'callback')",
}
"""What another thread pushes without end."""

PUSHER = """
import os, signal, sys, threading, time
from tigon import _native, nd

_native.set_inline_threshold(0)  # all is pushed
x, big = nd.ones((300, 300)), nd.ones((2500, 2500))
nd.waitall()

def on_and_on():
    global x
    while True:
        {work}

threading.Thread(target=on_and_on, daemon=True).start()
time.sleep(0.2)
began = time.monotonic()
"""


@pytest.mark.parametrize("work", ["products", "in place", "callbacks"])
def test_waiting_ends_though_another_thread_pushes(work: str) -> None:
    done = run_script(
        PUSHER.format(work=PUSHING[work])
        + """
own = nd.zeros((1000,))
for _ in range(5):
    own += 1
    nd.waitall()
print(own.asnumpy().sum(), time.monotonic() - began < 20, flush=True)
os._exit(0)
"""
    )
    assert lines_of(done) == ["5000.0 True"]


@pytest.mark.parametrize("work", ["products", "in place", "callbacks"])
def test_a_fork_does_not_wait_for_a_thread_that_pushes(work: str) -> None:
    """The child finds every result whole, and computes on."""
    done = run_script(
        PUSHER.format(work=PUSHING[work])
        + f"""
good = 0
for number in range(4):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends it if it hangs
        if {work!r} != "callbacks":
            values = x.asnumpy()
            assert (values == values[0, 0]).all()
        y = nd.dot(nd.ones((300, 300)), nd.ones((300, 300)))
        nd.waitall()
        os._exit(0 if (y.asnumpy() == 300).all() else 1)
    good += os.waitpid(child, 0)[1] == 0
print(good, time.monotonic() - began < 40, flush=True)
os._exit(0)
"""
    )
    assert lines_of(done) == ["4 True"]


@pytest.mark.parametrize("naive", [False, True])
@pytest.mark.parametrize("work", PUSHING)
def test_a_daemon_thread_does_not_keep_the_process(work: str, naive: bool) -> None:
    began = time.monotonic()
    done = run_script(
        PUSHER.format(work=PUSHING[work]) + "print('end', flush=True)",
        **({"TIGON_ENGINE": "naive"} if naive else {}),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
    assert time.monotonic() - began < 15


def test_what_runs_at_the_end_of_python_computes() -> None:
    """Whoever registered before us comes after us, and may still need results."""
    done = run_script("""
        import atexit
        atexit.register(lambda: print(float((y + 1).asnumpy()[0, 0])))
        from tigon import nd
        y = nd.ones((300, 300))
        for _ in range(50):
            y = nd.dot(y, nd.ones((300, 300))) / 300
    """)
    assert lines_of(done) == ["2.0"]


def test_multiprocessing_workers_compute() -> None:
    printed = lines_of(
        run_script(
            FORK
            + """
import multiprocessing

def work(number):
    return compute() and float((nd.ones(10) * number).sum().asscalar())

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(work, range(4)).get(60))
print(compute())
"""
        )
    )
    assert printed == ["[0.0, 10.0, 20.0, 30.0]", "True"]


def test_the_naive_engine_is_synchronous() -> None:
    printed = lines_of(
        run_script(
            """
import time
import numpy as np
import tigon as mx
from tigon import _native, autograd, nd
from tigon.gluon import nn

net = nn.Dense(3, in_units=700)
net.initialize()
net.hybridize()
x = nd.array(np.random.default_rng(0).normal(size=(700, 700)))
x.attach_grad()
with autograd.record():
    y = net(nd.dot(x, x)).sum()
y.backward()
print(mx.runtime.stats()["pushed"])
try:
    _native.push(lambda: 1 // 0, [], [x], "divide")
except mx.TigonError as error:
    print(str(error)[:26])
        """,
            TIGON_ENGINE="naive",
        )
    )
    assert printed == ["0", "divide: ZeroDivisionError:"]


def test_naive_and_threaded_agree() -> None:
    def steps() -> list[np.ndarray]:
        mx.random.seed(3)
        net = hybridized_net()
        trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
        for step in range(4):
            x = nd.random.normal(shape=(32, 16))
            with autograd.record():
                loss = nd.square(net(nd.Dropout(x, p=0.3)) - step).mean()
            loss.backward()
            trainer.step(1)
        return [param.data().asnumpy() for param in net.collect_params().values()]

    threaded = steps()
    _native.set_naive(True)
    try:
        naive = steps()
    finally:
        _native.set_naive(False)
    for one, other in zip(threaded, naive, strict=True):
        np.testing.assert_array_equal(one, other)
