"""Where the nanoseconds of one call go: the way from `net(x)` to native code and back, by parts.

    make bench-path

Each part is timed by itself where it can be called by itself; the parts of native code that cannot
are differences between two calls that differ in that part only, which the table says. Programs
are tiny, so a launch here is the cost of launching, not of arithmetic. Medians over turns taken
round robin, in nanoseconds, the cost of the empty loop taken off.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import tigon as mx
from benchmarks.check import configured, deciding, jitted, normalizing, one_weight, predicting
from tigon import _native, autograd, gluon, nd
from tigon.gluon import _epoch, nn
from tigon.ops import record
from tigon.program.operators import attributes_id, operator_id

TURNS, CALLS = 15, 3000

Timer = Callable[[int], float]
"""Seconds of so many calls."""


def calls(function: Callable[..., Any], *arguments: Any) -> Timer:
    """A loop of calls with as little around them as Python allows."""
    name = ", ".join(f"a{index}" for index in range(len(arguments)))
    return _loop(f"f({name})", {"f": function, **_named(arguments)})


def expression(text: str, **names: Any) -> Timer:
    """The same for an expression."""
    return _loop(text, names)


def _named(arguments: tuple[Any, ...]) -> dict[str, Any]:
    return {f"a{index}": argument for index, argument in enumerate(arguments)}


def _loop(text: str, names: dict[str, Any]) -> Timer:
    given = ", ".join(f"{name}={name}" for name in names)
    source = (
        f"def run(count, {given}{', ' if given else ''}clock=clock, repeat=repeat):\n"
        f"    began = clock()\n    for _ in repeat(None, count):\n        {text}\n"
        f"    return clock() - began\n"
    )
    made: dict[str, Any] = {**names, "clock": time.perf_counter, "repeat": repeat}
    exec(source, made)
    return made["run"]


# ------------------------------------------------------------------------------ parts


def parts() -> dict[str, dict[str, Timer]]:
    """Timers by path and part."""
    made = {
        "imperative": imperative(),
        "recorded": recorded(),
        "hybridized": hybridized(),
        "deciding": decided(),
    }
    return {"": {"empty loop": expression("None")}, **made}


def imperative() -> dict[str, Timer]:
    x, y = nd.ones((10,)), nd.ones((10,))
    out = nd.ones((10,))
    square = record.get("square")
    operator, attributes = operator_id(square), attributes_id(square.make_attrs({}))
    softmax = record.get("softmax")
    attrs = softmax.make_attrs({"axis": -1})
    return {
        "x + y": expression("x + y", x=x, y=y),
        "nd.square(x)": calls(nd.square, x),
        "nd.sum(x, axis=0)": expression("f(x, axis=0)", f=nd.sum, x=x),
        "invoke(square, x)": calls(_native.invoke, operator, attributes, (x,)),
        "invoke(square, x, out=)": calls(_native.invoke, operator, attributes, (x,), (out,)),
        "empty": calls(_native.empty, (10,), 0),
        "attributes_id": calls(attributes_id, attrs),
    }


def recorded() -> dict[str, Timer]:
    x, y = nd.ones((10,)), nd.ones((10,))
    x.attach_grad()

    def recording(count: int) -> float:
        with autograd.record():
            return add(count)

    def forward_backward(count: int) -> float:
        """One recorded call and its backward at a time; entering record() is not counted."""
        clock, total = time.perf_counter, 0.0
        with autograd.record():
            for _ in repeat(None, count):
                began = clock()
                z = x + y
                z.backward()
                total += clock() - began
        return total

    def chain(count: int) -> float:
        """Backward through 100 adds, per add."""
        began = time.perf_counter()
        for _ in repeat(None, max(1, count // 100)):
            with autograd.record():
                z = x
                for _ in repeat(None, 100):
                    z = z + y
            z.backward()
        return (time.perf_counter() - began) * count / (max(1, count // 100) * 100)

    def scope(count: int) -> float:
        began = time.perf_counter()
        for _ in repeat(None, count):
            with autograd.record():
                pass
        return time.perf_counter() - began

    add = expression("x + y", x=x, y=y)
    return {
        "x + y": recording,
        "x + y, backward": forward_backward,
        "per add of 100, with backward": chain,
        "with record()": scope,
    }


def recording(net: Any, x: Any) -> Timer:
    """Calls in training, under one record()."""
    run = calls(net, x)

    def timer(count: int) -> float:
        with autograd.record():
            return run(count)

    return timer


def hybridized() -> dict[str, Timer]:
    class Tiny(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            return nd.square(x)

    class Nothing(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            return x

    x = nd.ones((10,))
    tiny, nothing = Tiny(), Nothing()
    network = nn.HybridSequential()
    network.add(nn.Dense(8, "relu", in_units=16), nn.Dense(8, "relu", in_units=8))
    network.add(nn.Dense(2, in_units=8))
    network.initialize()
    row = nd.ones((1, 16))
    for net, given in ((tiny, x), (nothing, x), (network, row)):
        net.hybridize()
        net(given)
    cache, network_cache = tiny._cached_graphs, network._cached_graphs
    assert cache is not None and network_cache is not None
    entry, network_entry = cache.latest, network_cache.latest
    assert entry is not None and network_entry is not None
    arrays = network_entry.operands.of((row,))
    assert entry.cached is not None and network_entry.cached is not None
    program = entry.cached.compiled([x]).program
    network_program = network_entry.cached.compiled(arrays).program
    empty = _native.Program("empty", [(0, (10,))], [(0, (10,))], 1, 0, (), ())
    bare = _native.Program("bare", [(0, (10,))], [], 0, 0, (), ())
    guards = network_entry.steady

    def all_guards() -> bool:
        return guards.native.hold()

    look_up, kind = "a = (x,); g.run(k(a), a, a)", _native.call_kind
    return {
        "net(x), 3 layers": calls(network, row),
        "long, 3 layers": calls(network._long_call, row),
        "graphs((x,)), 3 layers": expression(look_up, g=network_cache, k=kind, x=row),
        "entry((x,)), 3 layers": calls(network_entry.run, (row,)),
        "program, 3 layers": calls(network_program, arrays),
        "net(x), 1 operator": calls(tiny, x),
        "long, 1 operator": calls(tiny._long_call, x),
        "graphs((x,)), 1 operator": expression(
            "g.run(k((x,)), (x,), (x,))", g=cache, k=_native.call_kind, x=x
        ),
        "entry((x,)), 1 operator": calls(entry.run, (x,)),
        "program, 1 operator": calls(program, [x]),
        "program, no launch": calls(empty, [x]),
        "program, no output": calls(bare, [x]),
        "net(x), nothing computed": calls(nothing, x),
        "call_kind": expression("k((x,))", k=kind, x=x),
        "guards, unchanged": expression(
            "e.epoch == m.current and e._lasting_holds()", e=network_entry, m=_epoch
        ),
        f"guards, {len(guards)} checked": calls(all_guards),
        "wait_to_read": expression("x.wait_to_read()", x=x),
        "configurations": calls(configured(), x),
        "dropout": calls(predicting(), row),
        "recorded, states and draws": recording(normalizing(), row),
        "recorded, one weight": recording(one_weight(), row),
        "jit": calls(jitted(), x),
    }


def decided() -> dict[str, Timer]:
    """A block with one decision, and its two segments as calls of their own."""
    x = nd.ones((10,))
    net, first, second = deciding(), mx.jit(first_segment), mx.jit(lambda y: y * 2)
    net(x), second(first(x)[0])
    (entry,) = net.compiled
    begin = entry.paths.root
    (end,) = begin.next.values()
    p, q = [part.segment.cached.compiled([x]).program for part in (begin, end)]
    return {
        "net(x)": calls(net, x),
        "two calls": expression("g(f(x)[0])", f=first, g=second, x=x),
        "two programs": expression("p(a); q(a)", p=p, q=q, a=[x]),
        "bool(x)": calls(bool, nd.ones((1,))),
    }


def first_segment(x: Any) -> Any:
    y = nd.square(x)
    return y, y.sum() > 0


# ------------------------------------------------------------------------------ table

# (path, part, timer, timer to take off): a part that is a difference names both.
LINES: tuple[tuple[str, str, str, str], ...] = (
    ("imperative", "x + y, all of it", "x + y", ""),
    ("imperative", "nd.square(x), all of it", "nd.square(x)", ""),
    ("imperative", ". Python wrapper", "nd.square(x)", "invoke(square, x)"),
    ("imperative", ". . attributes given by keyword", "nd.sum(x, axis=0)", "nd.square(x)"),
    ("imperative", ". invoke: call, lookup, allocation, launch", "invoke(square, x)", ""),
    ("imperative", ". . allocation (against out=)", "invoke(square, x)", "invoke(square, x, out=)"),
    ("imperative", "one _native.empty", "empty", ""),
    ("imperative", "attributes_id, on a known record", "attributes_id", ""),
    ("recorded", "x + y, all of it", "x + y", ""),
    ("recorded", ". tape (against the same unrecorded)", "x + y", "imperative/x + y"),
    ("recorded", "x + y and its backward", "x + y, backward", ""),
    ("recorded", ". backward", "x + y, backward", "x + y"),
    ("recorded", "per add of a chain of 100, and backward", "per add of 100, with backward", ""),
    ("recorded", "with autograd.record(): pass", "with record()", ""),
    ("hybridized", "net(x), 3 small layers, all of it", "net(x), 3 layers", ""),
    ("hybridized", ". shortcut: kind, epoch, guards", "net(x), 3 layers", "program, 3 layers"),
    ("hybridized", ". program: checks, allocation, launches", "program, 3 layers", ""),
    ("hybridized", "the same the long way, after a change", "long, 3 layers", ""),
    ("hybridized", ". Block", "long, 3 layers", "graphs((x,)), 3 layers"),
    ("hybridized", ". kind, lookup, guard", "graphs((x,)), 3 layers", "entry((x,)), 3 layers"),
    ("hybridized", ". . kind: modes, shapes, dtypes", "call_kind", ""),
    ("hybridized", ". . guard, nothing changed", "guards, unchanged", ""),
    (
        "hybridized",
        ". arguments in place, result out",
        "entry((x,)), 3 layers",
        "program, 3 layers",
    ),
    ("hybridized", "net(x), 1 operator, all of it", "net(x), 1 operator", ""),
    ("hybridized", ". shortcut: kind, epoch, guards", "net(x), 1 operator", "program, 1 operator"),
    ("hybridized", "the same the long way, after a change", "long, 1 operator", ""),
    ("hybridized", ". Block", "long, 1 operator", "graphs((x,)), 1 operator"),
    ("hybridized", ". kind, lookup, guard", "graphs((x,)), 1 operator", "entry((x,)), 1 operator"),
    ("hybridized", ". arguments, result", "entry((x,)), 1 operator", "program, 1 operator"),
    ("hybridized", ". launch", "program, 1 operator", "program, no launch"),
    (
        "hybridized",
        ". allocation and tuple of one result",
        "program, no launch",
        "program, no output",
    ),
    ("hybridized", ". call and argument check", "program, no output", ""),
    ("hybridized", "net(x), 10 configurations of 10 fields", "configurations", ""),
    ("hybridized", "net(x), Dense and Dropout in prediction", "dropout", ""),
    ("hybridized", "Dense, BatchNorm and Dropout, recorded", "recorded, states and draws", ""),
    ("hybridized", "one weight, recorded", "recorded, one weight", ""),
    ("hybridized", "a function of jit", "jit", ""),
    ("hybridized", "net(x) that gives x back", "net(x), nothing computed", ""),
    ("hybridized", "wait_to_read of a ready array", "wait_to_read", ""),
    ("deciding", "net(x) that decides once, all of it", "net(x)", ""),
    ("deciding", ". beyond its segments as two calls", "net(x)", "two calls"),
    ("deciding", ". beyond their programs", "net(x)", "two programs"),
    ("deciding", "bool of a ready array", "bool(x)", ""),
)


def measure(turns: int, count: int) -> dict[str, float]:
    """Median nanoseconds per call by `path/part`, the empty loop taken off."""
    timers = {
        f"{path}/{part}": timer for path, group in parts().items() for part, timer in group.items()
    }
    found: dict[str, list[float]] = {name: [] for name in timers}
    for timer in timers.values():
        timer(50)
    for _ in range(turns):
        for name, timer in timers.items():
            found[name].append(timer(count) / count * 1e9)
    medians = {name: statistics.median(times) for name, times in found.items()}
    nothing = medians.pop("/empty loop")
    return {name: time - nothing for name, time in medians.items()}


def lines(medians: dict[str, float]) -> Iterator[str]:
    shown = ""
    for path, text, timer, other in LINES:
        if path != shown:
            yield f"\n{path:52}{'ns':>8}"
            shown = path
        value = medians[f"{path}/{timer}"]
        if other:
            value -= medians[other if "/" in other and other in medians else f"{path}/{other}"]
        yield f"  {text.replace('. ', '  '):50}{value:>8,.0f}{'  difference' if other else ''}"
    guards = next(name for name in medians if name.endswith("checked"))
    yield f"  {'after a change elsewhere: ' + guards.split('/')[1]:50}{medians[guards]:>8,.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--calls", type=int, default=CALLS, help="calls per turn")
    options = parser.parse_args()
    print(f"tigon {mx.__version__}, Python {sys.version.split()[0]}, {options.turns} turns")
    for line in lines(measure(options.turns, options.calls)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
