"""What a profile records, and that taking one changes nothing."""

from __future__ import annotations

import cProfile
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, profiler
from tigon.base import TigonError, config
from tigon.gluon import nn
from tigon.profiler.profile import ThreadSpans
from tigon.profiler.session import Config, session
from tigon.runtime.profiling import SpanKind

MODULE = sys.modules["tigon.profiler.session"]  # under its name there is the object


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Iterator[None]:
    """No profile of another test, and none that outlives this one."""
    session.stop()
    session.forget()
    before = session.config
    session.config = Config(filename=str(tmp_path / "profile.json"), profile_all=True)
    yield
    session.stop()
    session.forget()
    session.config = before


def _events() -> list[dict[str, Any]]:
    """What the profile's file says."""
    profiler.dump()
    return json.loads(Path(session.config.filename).read_text())["traceEvents"]


def _line(text: str) -> int:
    """The number of the only line of this file that ends with a comment."""
    lines = Path(__file__).read_text().split("\n")
    (found,) = [number for number, line in enumerate(lines, 1) if line.endswith(f"  # {text}")]
    return found


class Net(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.first = nn.Conv2D(4, 3, in_channels=3)
            self.norm = nn.BatchNorm(in_channels=4)
            self.last = nn.Dense(5, in_units=4 * 30 * 30)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        x = self.first(x)
        x = F.exp(self.norm(x))  # exp of the net
        return self.last(x)  # last of the net


def _train(hybridize: bool, steps: int = 3) -> list[float]:
    mx.random.seed(3)
    net = Net()
    net.initialize()
    if hybridize:
        net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1e-3})
    loss = gluon.loss.L2Loss()
    data = nd.random.uniform(shape=(8 * steps, 3, 32, 32))
    loader = gluon.data.DataLoader(gluon.data.ArrayDataset(data, nd.ones((8 * steps,))), 8)
    losses = []
    for x, y in loader:
        with autograd.record():
            value = loss(net(x)[:, 0], y).mean()
        value.backward()
        trainer.step(1)
        losses.append(value.asscalar())
    return losses


def _step_program() -> None:
    net = Net()
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    for _ in range(3):
        step(nd.ones((2, 3, 32, 32)), nd.zeros((2,))).wait_to_read()


def _module() -> None:
    symbol = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3))
    data = mx.io.NDArrayIter(np.ones((12, 4), "f"), np.zeros(12, "f"), 4)
    mx.mod.Module(symbol).fit(data, num_epoch=2)


def _threads() -> None:
    def work(number: int) -> None:
        for _ in range(20):
            (nd.ones((300, 300)) * number).sum().asscalar()

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _errors() -> None:
    for _ in range(3):
        with pytest.raises(TigonError):
            nd.ones((2, 3)) + nd.ones((4, 5))
        with pytest.raises(TigonError):
            Net()(nd.ones((2, 3, 32, 32)))


def _while_loop() -> None:
    @mx.jit
    def power(x: Any) -> Any:
        return nd.contrib.foreach(lambda item, state: (item * state, state + item), x, x[0])[0]

    for _ in range(3):
        power(nd.ones((5, 4))).wait_to_read()


PROGRAMS = {
    "imperative": lambda: _train(False),
    "hybridized": lambda: _train(True),
    "training step": _step_program,
    "module": _module,
    "threads": _threads,
    "errors": _errors,
    "loop": _while_loop,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_spans_of_a_thread_are_strictly_nested(program: str) -> None:
    profiler.set_state("run")
    PROGRAMS[program]()
    nd.waitall()
    profiler.set_state("stop")
    spans = defaultdict(list)
    for event in _events():
        if event["ph"] == "X":
            begin = round(event["ts"] * 1000)
            spans[event["tid"]].append((begin, begin + round(event["dur"] * 1000)))
    assert sum(map(len, spans.values())) > 20
    for own in spans.values():
        assert own == sorted(own, key=lambda span: (span[0], -span[1]))
        around: list[int] = []
        for begin, end in own:
            while around and around[-1] <= begin and end > around[-1]:
                around.pop()
            assert not around or end <= around[-1]
            around.append(end)


@pytest.mark.parametrize("hybridize", [False, True])
def test_a_training_program_shows_every_kind(hybridize: bool) -> None:
    profiler.set_state("run")
    _train(hybridize)
    nd.waitall()
    events = _events()
    kinds = {event["cat"] for event in events if event["ph"] == "X"}
    expected = "python data block operator kernel backward compile".split()
    assert {*expected} <= kinds and {"program", "task"} & kinds
    names = {(event["cat"], event["name"]) for event in events if event["ph"] == "X"}
    assert ("python", "Trainer.step") in names
    assert ("data", "DataLoader._iterate") in names
    assert ("python", "_train") in names
    # What is traced is watched by the tracer alone.
    assert (("python", "Net.hybrid_forward") in names) == (not hybridize)
    assert any(kind == "operator" and name == "mean" for kind, name in names)


@pytest.mark.parametrize("hybridize", [False, True])
def test_numbers_are_those_without_a_profile(hybridize: bool) -> None:
    plain = _train(hybridize)
    profiler.set_state("run")
    assert _train(hybridize) == plain


def test_operators_and_kernels_say_the_users_line() -> None:
    x = nd.ones((1000, 1000))
    profiler.set_state("run")
    nd.tanh(x).wait_to_read()  # tanh of the test
    events = [event for event in _events() if event["ph"] == "X"]
    place = f"{__file__}:{_line('tanh of the test')}"
    found = {event["cat"]: event["args"]["line"] for event in events if event["name"] == "tanh"}
    assert found["operator"] == found["kernel"] == place


def test_kernels_of_a_graph_say_the_lines_that_made_them() -> None:
    profiler.set_state("run")
    _train(True)
    nd.waitall()
    made = {
        name: event["args"].get("made at", [])
        for event in _events()
        if event.get("cat") == "kernel"
        for name in event["name"].split("+")
    }
    (last,) = [places for name, places in made.items() if name.endswith("dense0_fwd")]
    assert f"{__file__}:{_line('last of the net')}" in last
    (backward,) = [n for n in made if n.endswith("conv0_fwd_backward")][:1]
    assert made[backward]


@pytest.mark.parametrize("hybridize", [False, True])
def test_kernels_belong_to_blocks_in_both_ways_of_running(hybridize: bool) -> None:
    net = Net()
    net.initialize()
    if hybridize:
        net.hybridize()
    profiler.set_state("run")
    for _ in range(3):
        with autograd.record():
            value = net(nd.ones((4, 3, 32, 32))).sum()
        value.backward()
    nd.waitall()
    profiler.set_state("stop")
    blocks = {block.prefix: block.name for block in net._walk()}
    shares = profiler.share_of_blocks(blocks)
    assert shares is not None and sum(shares.values()) <= 1 + 1e-9
    assert all(shares[child.name] > 0 for child in net._children.values())
    assert profiler.share_of_blocks({"another_": "another"}) is None


def test_summary_shows_shares() -> None:
    net = Net()
    net.initialize()
    x = nd.ones((4, 3, 32, 32))
    plain = mx.visualization.block_summary(net, x)
    profiler.set_state("run")
    for _ in range(3):
        with autograd.record():
            value = net(x).sum()
        value.backward()
    nd.waitall()
    profiler.set_state("stop")
    shown = mx.visualization.block_summary(net, x)
    shares = [float(text) for text in re.findall(r"(\d+\.\d)%", shown)]
    assert "Time" in shown and "Time" not in plain
    assert len(shares) == 4 and abs(sum(shares) - 100) < 0.5
    assert min(shares[:3]) > 0


def test_memory_over_time_sees_arrays_come_and_go() -> None:
    profiler.set_state("run")
    x = nd.ones((1 << 20,))
    x.wait_to_read()
    (x * 2).wait_to_read()
    del x
    nd.ones((3,)).wait_to_read()
    sizes = [event["args"]["bytes"] for event in _events() if event["name"] == "memory"]
    assert max(sizes) - sizes[-1] >= 1 << 22
    profiler.set_config(profile_all=False, profile_memory=False)
    profiler.set_state("run")
    nd.ones((3,)).wait_to_read()
    assert not [event for event in _events() if event["name"] == "memory"]


# ------------------------------------------------------------------------------- what is chosen

CHOICES = {
    "profile_symbolic": {"program", "task", "kernel", "compile"},
    "profile_imperative": {"operator", "task", "kernel"},
    "profile_api": {"python", "data", "block", "wait", "backward"},
    "profile_memory": set(),
}


@pytest.mark.parametrize("chosen", CHOICES)
def test_only_what_is_chosen_is_recorded(chosen: str) -> None:
    profiler.set_config(profile_all=False, **{name: name == chosen for name in CHOICES})
    profiler.set_state("run")
    _train(True)
    nd.waitall()
    kinds = {event["cat"] for event in _events() if event["ph"] == "X"}
    assert kinds <= CHOICES[chosen]
    assert bool(kinds) == bool(CHOICES[chosen])


def test_nothing_is_recorded_while_paused_or_stopped() -> None:
    nd.exp(nd.ones((2,))).wait_to_read()
    profiler.set_state("run")
    profiler.pause()
    nd.sqrt(nd.ones((2,))).wait_to_read()
    profiler.resume()
    nd.tanh(nd.ones((2,))).wait_to_read()
    profiler.set_state("stop")
    nd.sin(nd.ones((2,))).wait_to_read()
    names = {event["name"] for event in _events() if event.get("cat") == "operator"}
    assert names == {"tanh", "_full"} or names == {"tanh", "_ones"}


def test_a_second_run_goes_on_until_the_file_is_written() -> None:
    for name in ("tanh", "sin"):
        profiler.set_state("run")
        getattr(nd, name)(nd.ones((2,))).wait_to_read()
        profiler.set_state("stop")
    assert {"tanh", "sin"} <= {event["name"] for event in _events()}
    profiler.set_state("run")
    nd.cos(nd.ones((2,))).wait_to_read()
    names = {event["name"] for event in _events()}
    assert "cos" in names and "sin" not in names


def test_dump_that_is_not_the_last_goes_on() -> None:
    profiler.set_state("run")
    nd.tanh(nd.ones((2,))).wait_to_read()
    profiler.dump(finished=False)
    nd.sin(nd.ones((2,))).wait_to_read()
    assert {"tanh", "sin"} <= {event["name"] for event in _events()}


# ------------------------------------------------------------------------------------- tables


def test_tables_count_and_sort() -> None:
    profiler.set_state("run")
    x = nd.ones((200, 200))
    for _ in range(7):
        nd.tanh(x).wait_to_read()
    nd.dot(x, x).wait_to_read()
    profiler.set_state("stop")
    found = json.loads(profiler.dumps(format="json", sort_by="count"))
    assert found["Unit"] == {"Time": "ms", "Memory": "kb"}
    row = found["Time"]["operator"]["tanh"]
    assert row["Count"] == 7 and row["Min"] <= row["Avg"] <= row["Max"] <= row["Total"]
    for order, key in {"count": "Count", "total": "Total", "min": "Min", "max": "Max"}.items():
        for ascending in (False, True):
            rows = json.loads(profiler.dumps(False, "json", order, ascending))["Time"]["operator"]
            values = [each[key] for each in rows.values()]
            assert values == sorted(values, reverse=not ascending)
    kinds = [*json.loads(profiler.dumps(format="json"))["Time"]]
    assert kinds == [kind.name.lower() for kind in SpanKind if kind.name.lower() in kinds]
    table = profiler.dumps(reset=True)
    assert re.search(r"^tanh +7 ", table, re.M) and "Device Storage" in table
    assert "tanh" not in profiler.dumps()


def test_marks_of_the_program() -> None:
    domain = profiler.Domain("mine")
    outside = domain.new_task("before")
    outside.start()
    profiler.set_state("run")
    outside.stop()
    counter = domain.new_counter("items", 2)
    with domain.new_task("task"), domain.new_frame("frame"):
        overlapping = profiler.Event("event")
        overlapping.start()
        counter += 3
        counter -= 1
    overlapping.stop()
    domain.new_marker("here").mark("thread")
    with profiler.scope("scope"):
        pass
    table = profiler.dumps()
    events = _events()
    spans = [(event["ph"], event["name"]) for event in events if event["ph"] in "be"]
    assert spans == [
        (phase, name) for name in ("frame", "task", "event", "scope") for phase in "be"
    ]
    assert [e["args"]["items"] for e in events if e["name"] == "items"] == [2, 5, 4]
    (marker,) = [event for event in events if event["ph"] == "i"]
    assert (marker["name"], marker["s"], marker["cat"]) == ("here", "t", "mine")
    assert "frame" in table and "before" not in table


# ------------------------------------------------------------------- around other things


def test_threads_that_begin_later_show_their_functions() -> None:
    profiler.set_state("run")
    _threads()
    events = _events()
    own = {event["tid"] for event in events if event["name"].endswith("_threads.<locals>.work")}
    if sys.version_info >= (3, 11):  # before, code does not know in which function it is
        assert len(own) == 4


def test_another_profiler_goes_on() -> None:
    other = cProfile.Profile()
    other.enable()
    profiler.set_state("run")
    _train(False, 1)
    profiler.set_state("stop")
    other.disable()
    assert any("hybrid_forward" in str(entry.code) for entry in other.getstats())
    cats = {event["cat"] for event in _events() if event["ph"] == "X"}
    assert "operator" in cats and "python" not in cats


def _run(code: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=config.environment(PYTHONPATH=str(Path(mx.__file__).parents[1]), **environment),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_that_ends_in_the_middle_has_its_file(tmp_path: Path) -> None:
    _run("import tigon as mx; mx.profiler.set_state('run'); mx.nd.ones(3).asnumpy()", tmp_path)
    events = json.loads((tmp_path / "profile.json").read_text())["traceEvents"]
    assert any(event["name"] in ("_ones", "_full") for event in events)


def test_autostart(tmp_path: Path) -> None:
    code = "import tigon as mx; mx.nd.ones(3).asnumpy(); mx.profiler.dump()"
    _run(code, tmp_path, MXNET_PROFILER_AUTOSTART="1")
    assert (tmp_path / "profile.json").exists()


def test_a_forked_child_has_a_profile_of_its_own(tmp_path: Path) -> None:
    code = """
import os, json
import tigon as mx
mx.profiler.set_state("run")
mx.nd.tanh(mx.nd.ones(3)).asnumpy()
child = os.fork()
if child == 0:
    mx.nd.sin(mx.nd.ones(3)).asnumpy()
    assert "sin" not in mx.profiler.dumps() and "tanh" not in mx.profiler.dumps()
    mx.profiler.set_config(filename="child.json")
    mx.profiler.set_state("run")
    mx.nd.cos(mx.nd.ones(3)).asnumpy()
    mx.profiler.dump()
    names = {e["name"] for e in json.load(open("child.json"))["traceEvents"]}
    os._exit(0 if "cos" in names and "tanh" not in names else 1)
assert os.waitpid(child, 0)[1] == 0
mx.nd.sin(mx.nd.ones(3)).asnumpy()
assert "sin" in mx.profiler.dumps() and "tanh" in mx.profiler.dumps()
"""
    _run(code, tmp_path)


def test_continuous_dump_writes_meanwhile(tmp_path: Path) -> None:
    profiler.set_config(continuous_dump=True, dump_period=0.05)
    profiler.set_state("run")
    nd.tanh(nd.ones((2,))).wait_to_read()
    waited = threading.Event()
    for _ in range(200):
        if os.path.exists(session.config.filename):
            break
        waited.wait(0.05)
    assert json.loads(Path(session.config.filename).read_text())["traceEvents"]


# ------------------------------------------------------------------- nothing is lost


def test_stop_waits_for_who_writes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    writing, written = threading.Event(), []

    def slowly(*given: Any) -> None:
        writing.set()
        threading.Event().wait(0.2)
        written.append(threading.current_thread())

    monkeypatch.setattr(MODULE, "write_trace", slowly)
    profiler.set_config(continuous_dump=True, dump_period=0.01)
    profiler.set_state("run")
    assert writing.wait(30)
    profiler.dump()
    threading.Event().wait(0.1)
    assert len(written) >= 2 and written[-1] is threading.current_thread()


def test_numbers_of_all_kinds_are_counted() -> None:
    counter = profiler.Domain("d").new_counter("c")
    profiler.set_state("run")
    given = [np.float32(1.5), np.int64(2), nd.array([3]), nd.array([4], dtype="int32")]
    for value in [*given, True, float("nan"), float("inf"), 5]:
        counter.set_value(value)
    values = [event["args"]["c"] for event in _events() if event["name"] == "c"]
    assert values == [1.5, 2, 3, 4, 1, 5]


def test_handlers_of_signals_look_at_the_profile() -> None:
    looks = []
    before = signal.signal(signal.SIGALRM, lambda *_: looks.append(len(profiler.dumps())))
    profiler.set_state("run")
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        while len(looks) < 20:
            nd.tanh(nd.ones((2,)))
            profiler.dumps()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_who_looks_in_the_middle_of_looking_takes_nothing_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = nd.ones((2,))
    profiler.set_state("run")
    looked = []

    def handler(*given: Any) -> ThreadSpans:
        if not looked:
            looked.append(True)
            nd.tanh(x)
            profiler.dumps()
        return ThreadSpans(*given)

    nd.tanh(x)
    profiler.dumps()
    nd.tanh(x)
    monkeypatch.setattr(MODULE, "ThreadSpans", handler)
    profiler.dumps()
    found = json.loads(profiler.dumps(format="json"))["Time"]["operator"]["tanh"]["Count"]
    assert looked and found == 3


def test_looking_may_be_interrupted_and_loses_nothing() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    profiler.set_state("run")
    x = nd.ones((2,))
    calls = interrupted = 0
    # An exception in a callback of the collector is swallowed by Python and never arrives here.
    gc.disable()
    try:
        for turn in range(150):
            for _ in range(50):
                nd.tanh(x)
                calls += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + 2e-5 * turn)
                profiler.dumps()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupted += 1
    finally:
        gc.enable()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = json.loads(profiler.dumps(format="json"))["Time"]["operator"]["tanh"]["Count"]
    assert found == calls and interrupted > 10


def test_what_was_written_is_there_until_the_next_profile_begins() -> None:
    profiler.set_state("run")
    nd.tanh(nd.ones((2,))).wait_to_read()
    first = _events()
    assert "tanh" in profiler.dumps()
    assert _events() == first
    profiler.set_state("run")
    assert "tanh" not in profiler.dumps()


def test_there_are_so_many_spans_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "MOST", 500)
    x = nd.ones((2,))
    for _ in range(3):
        profiler.set_state("run")
        for _ in range(100):
            nd.tanh(x)
            profiler.dumps()
        profiler.set_state("stop")
    assert sum(len(thread.events) for thread in session.threads()) == 500
    with pytest.warns(RuntimeWarning, match="spans were not recorded"):
        profiler.dump()


def test_any_name_is_shown() -> None:
    def function() -> None:
        nd.tanh(nd.ones((2,)))

    names = ["#99999999", "#0", "\udcff", "a\0b", "\u00fc" * 3, "x" * 10000]
    profiler.set_state("run")
    for name in names:
        fields = {
            "co_name": name,
            **({"co_qualname": name} if hasattr(function.__code__, "co_qualname") else {}),
        }
        function.__code__ = function.__code__.replace(**fields)
        function()
        with profiler.Event(name):
            pass
        mx.sym.tanh(mx.sym.var("data"), name=name.encode("utf-8", "replace").decode())
    shown = [event["name"] for event in _events() if event.get("cat") == "python"]
    expected = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    assert [name for name in shown if name in expected] == expected


def test_hooks_and_names_of_threads_stay() -> None:
    def hook(*_: object) -> None:
        pass

    threading.setprofile(hook)
    try:
        profiler.set_state("run")
        profiler.set_state("stop")
        assert threading.getprofile() is hook
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]
    profiler.set_state("run")
    worker = threading.Thread(target=lambda: nd.tanh(nd.ones((2,))).wait_to_read(), name="mine")
    worker.start()
    worker.join()
    names = [e["args"]["name"] for e in _events() if e["name"] == "thread_name"]
    assert "mine" in names
    assert threading.getprofile() is None


def test_calls_are_shown_again_after_another_profiler() -> None:
    def outer() -> None:
        other = cProfile.Profile()
        other.enable()
        other.disable()

    def later() -> None:
        pass

    profiler.set_state("run")
    outer()
    nd.tanh(nd.ones((2,)))
    later()
    spans = {event["name"]: event for event in _events() if event.get("cat") == "python"}
    ends = {name: span["ts"] + span["dur"] for name, span in spans.items()}
    prefix = "test_calls_are_shown_again_after_another_profiler.<locals>."
    if sys.version_info < (3, 11):
        prefix = ""
    assert ends[prefix + "outer"] <= spans[prefix + "later"]["ts"]


def test_what_tigon_calls_is_not_the_users() -> None:
    profiler.set_state("run")
    _train(True)
    lines = {event["args"]["line"] for event in _events() if event.get("cat") == "python"}
    assert not [line for line in lines if "llvmlite" in line or "/numpy/" in line]


# --------------------------------------------------------------------------------- bad input

REFUSED = {
    "profiler.set_state: expected 'run' or 'stop'; given 'go'": lambda: profiler.set_state("go"),
    "profiler.dumps: format: expected one of 'table', 'json'; given 'csv'": (
        lambda: profiler.dumps(format="csv")
    ),
    "profiler.dumps: sort_by: expected one of 'total', 'avg', 'min', 'max', 'count'; "
    "given 'name'": lambda: profiler.dumps(sort_by="name"),
    "profiler.set_config: filename: expected the name of a file; given 3": (
        lambda: profiler.set_config(filename=3)
    ),
    "profiler.set_config: filename: expected the name of a file; given ''": (
        lambda: profiler.set_config(filename="")
    ),
    "profiler.profiler_set_config: mode: expected one of 'symbolic', 'imperative', 'api', "
    "'memory', 'all'; given 'graph'": lambda: profiler.profiler_set_config("graph"),
    "profiler.set_config: profile_all: expected True or False; given 'yes'": (
        lambda: profiler.set_config(profile_all="yes")
    ),
    "profiler.set_config: dump_period: expected seconds, above 0; given -1": (
        lambda: profiler.set_config(dump_period=-1)
    ),
    "profiler.Event: name: expected a string; given 3": lambda: profiler.Event(3),
    "profiler.Task: domain: expected a profiler.Domain; given str; make one with "
    "profiler.Domain(name)": lambda: profiler.Task("data", "read"),
    "profiler.Counter: value: expected a number; given str": (
        lambda: profiler.Counter(profiler.Domain("d"), "c").set_value("3")
    ),
    "profiler.dump: profile_process: expected 'worker'; given 'server'; there are no server "
    "processes: stores run in the worker": lambda: profiler.dump(profile_process="server"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message: str) -> None:
    before = session.config
    with pytest.raises(TigonError) as refused:
        REFUSED[message]()
    assert str(refused.value) == message
    assert session.config == before


def test_config_cannot_change_while_a_profile_is_taken() -> None:
    profiler.set_state("run")
    with pytest.raises(TigonError, match="the profile is being taken; call"):
        profiler.set_config(profile_all=False)


def test_a_file_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    profiler.set_config(filename=str(tmp_path / "absent" / "profile.json"))
    profiler.set_state("run")
    nd.tanh(nd.ones((2,))).wait_to_read()
    with pytest.raises((OSError, TigonError)):
        profiler.dump()
    profiler.set_config(filename=str(tmp_path / "profile.json"))
    assert "tanh" in {event["name"] for event in _events()}


def test_names_before_version_1_2() -> None:
    profiler.profiler_set_config("all", str(session.config.filename))
    profiler.profiler_set_state("run")
    nd.tanh(nd.ones((2,))).wait_to_read()
    profiler.profiler_set_state("stop")
    profiler.profiler_set_state("run")
    profiler.dump_profile()
    assert Path(session.config.filename).exists() and not session.running


def test_spans_of_the_program_last_as_long_as_they_did() -> None:
    profiler.set_state("run")
    waited = threading.Event()
    for _ in range(2):
        with profiler.Event("wait"):
            waited.wait(0.02)
    row = session.rows_of_marks()["event"]["wait"]
    assert row.count == 2 and 20e6 <= row.least <= row.most < 10e9
    profiler.dumps(reset=True)
    assert session.rows_of_marks() == {}
    profiler.pause()
    with profiler.Event("paused"):
        pass
    profiler.resume()
    with profiler.Event("on"):
        pass
    assert set(session.rows_of_marks()["event"]) == {"on"}


class Plain(gluon.Block):
    def forward(self, x: Any) -> Any:
        return nd.tanh(x)


def test_blocks_that_are_not_hybrid_are_shown() -> None:
    block = Plain()
    profiler.set_state("run")
    block(nd.ones((500, 500))).wait_to_read()
    with pytest.raises(TigonError):
        block("x")
    events = _events()
    assert sum(event["name"] == block.name for event in events) == 2
    kernels = [e for e in events if e.get("cat") == "kernel" and e["name"] == "tanh"]
    assert {kernel["args"]["block"] for kernel in kernels} == {block.name}


def test_what_is_set_by_default() -> None:
    assert Config() == Config("profile.json", False, True, True, True, True, False, 1.0, False)
    profiler.profiler_set_config()
    chosen = session.config
    assert (chosen.filename, chosen.profile_symbolic) == ("profile.json", True)
    assert not (chosen.profile_imperative or chosen.profile_api or chosen.profile_memory)


@pytest.mark.parametrize("name", ["set_state", "pause", "resume", "dump", "set_config"])
def test_there_are_no_server_processes(name: str) -> None:
    with pytest.raises(TigonError, match=f"^profiler.{name}: profile_process: expected 'worker'"):
        getattr(profiler, name)(profile_process="server")


def test_data_is_read_by_what_reads_it(tmp_path: Path) -> None:
    record = mx.recordio.MXRecordIO(str(tmp_path / "x.rec"), "w")
    profiler.set_state("run")
    record.write(b"content")
    record.close()
    mx.io.NDArrayIter(np.ones((4, 2)), batch_size=2).next()
    mx.image.fixed_crop(nd.ones((4, 4, 3)), 0, 0, 2, 2)
    names = {event["name"] for event in _events() if event.get("cat") == "data"}
    assert {"MXRecordIO.write", "NDArrayIter.__init__", "fixed_crop"} <= names
