"""Runs a random program imperatively and compiled, compares, and makes a failing one small.

`make fuzz` runs many: `FUZZ=2000` so many programs, `FUZZ=10m` for so many minutes.
"""

from __future__ import annotations

import argparse
import ast
import copy
import functools
import os
import random
import signal
import sys
import time
import traceback
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

import tigon as mx
from tests.fuzz.programs import program
from tigon import _native, autograd, gluon, nd
from tigon.gluon import compiled_graphs, train_step
from tigon.gluon import graphs as traced_graphs
from tigon.gluon.paths import Paths
from tigon.nd.replay import evaluate
from tigon.program.cached_graph import CachedGraph
from tigon.runtime import keys

FILE = "<program>"

Difference = str


class Ended(Exception):
    """A call has raised: what it had done by then may differ, so nothing is compared after it."""


class Expired(BaseException):
    """It took too long. No program catches this one."""


class Session:
    """What a program calls `do`: it makes blocks, functions and steps of one of the two kinds, and
    writes down what can be seen of each call."""

    def __init__(self, compiled: bool) -> None:
        self.is_compiled = compiled
        self.log: list[tuple[str, Any]] = []
        self.graphs: list[Any] = []
        """The blocks, functions and steps, to ask afterwards whether they gave way."""
        self.modules: list[str] = []
        self.parameters: dict[int, Any] = {}
        self._numbers = np.random.RandomState(7)

    # -- what programs use

    def module(self, name: str, source: str) -> Any:
        """A module of its own, that can be imported."""
        made = types.ModuleType(name)
        self.modules.append(name)
        sys.modules[name] = made
        exec(compile(source, f"<{name}>", "exec"), made.__dict__)
        return made

    def array(self, *shape: int) -> Any:
        return nd.array(self._numbers.uniform(-1.5, 1.5, shape).astype("float32"))

    def net(self, block: Any) -> Any:
        block.initialize()
        if self.is_compiled:
            block.hybridize()
            self.graphs.append(block)
        return block

    def child(self, block: Any) -> Any:
        """One that is to take the place of another."""
        block.initialize()
        if self.is_compiled:
            block.hybridize()
        return block

    def jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self.is_compiled:
            return function
        made = mx.jit(function)
        self.graphs.append(made)
        return made

    def step(self, net: Any, loss: Any) -> Callable[..., Any]:
        """A training step, or the loop that it stands for."""
        net.initialize()
        for param in net.collect_params().values():
            self.parameters[id(param)] = param
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
        if self.is_compiled:
            step = gluon.TrainStep(net, loss, trainer, ignore_stale_grad=True)
            self.graphs.append(step)
            return step

        def loop(data: Any, label: Any) -> Any:
            # A step leaves alone what the loss does not depend on; the loop takes old gradients.
            for param in net.collect_params().values():
                if param._only is not None and param.grad_req != "null":
                    param.zero_grad()
            with autograd.record():
                value = loss(net(data), label)
            value.backward()
            trainer.step(value.size, ignore_stale_grad=True)
            return value

        return loop

    def call(self, net: Any, *given: Any, mode: str, write: bool = False) -> None:
        """One call, and all that can be seen of it."""
        recorded = mode.startswith("record")
        if recorded:
            for array in given:
                array.attach_grad()
        with _mode(mode):
            result = self._guarded(net, given)
        self._note("result", result, given)
        if recorded:
            self._backward(result)
            self.log.append(("gradients", [plain(array.grad) for array in given]))
        if write:
            found = [item for item in arrays_of(result) if item.size]
            for array in found[-1:]:
                array[:] = 7
        self.log.append(("arguments", [plain(array) for array in given]))
        if hasattr(net, "collect_params"):
            self.parameters.update((id(p), p) for p in net.collect_params().values())
        self._note_parameters()

    def train(self, step: Any, data: Any, label: Any) -> None:
        """One training step."""
        self._note("loss", self._guarded(step, (data, label)), (data, label))
        self.log.append(("parameters", [plain(array) for array in self._weights()]))

    def see(self, value: Any) -> None:
        self.log.append(("state", plain(value)))

    # -- how

    def _weights(self) -> list[Any]:
        """The arrays of those parameters whose shapes are known by now."""
        return [p.data() for p in self.parameters.values() if p._only is not None]

    def _guarded(self, function: Any, given: Sequence[Any]) -> Any:
        try:
            result = function(*given)
            for array in arrays_of(result):
                array.wait_to_read()
            return result
        except Exception as error:
            self.log.append(("raised", type(error).__name__))
            raise Ended(traceback.format_exc()) from None

    def _note(self, what: str, result: Any, given: Sequence[Any]) -> None:
        self.log.append((what, plain(result)))
        places: dict[int, int] = {}
        every = [*given, *self._weights(), *arrays_of(result)]
        shared = [places.setdefault(id(array), len(places)) for array in every]
        self.log.append((f"which arrays of a {what} are one", shared))

    def _backward(self, result: Any) -> None:
        heads = [array for array in arrays_of(result) if array.has_tape]
        heads = list({id(array): array for array in heads}.values())
        if heads:
            # States that flow from call to call bring their history along.
            self._guarded(functools.partial(autograd.backward, retain_graph=True), (heads,))

    def _note_parameters(self) -> None:
        for param in self.parameters.values():
            if param._only is not None:
                self.log.append(("parameter", plain(param.data())))
                if param.grad_req != "null":
                    self.log.append(("gradient of a parameter", plain(param.grad())))


@contextmanager
def _mode(mode: str) -> Iterator[None]:
    scopes = {
        "predict": autograd.predict_mode,
        "train": autograd.train_mode,
        "record": autograd.record,
        "record predict": lambda: autograd.record(train_mode=False),
    }
    with scopes[mode]():
        yield


# --------------------------------------------------------------------- what a value looks like


def arrays_of(result: Any) -> list[Any]:
    """The arrays in a result, in order."""
    if isinstance(result, nd.NDArray):
        return [result]
    if isinstance(result, dict):
        return [array for item in result.values() for array in arrays_of(item)]
    if isinstance(result, (list, tuple)):
        return [array for item in result for array in arrays_of(item)]
    return []


def plain(value: Any) -> Any:
    """Kind, dtype and values: what two runs are compared by."""
    kind = type(value).__name__
    if isinstance(value, nd.NDArray):
        return ("array", np.dtype(value.dtype).name, value.asnumpy())
    if isinstance(value, np.ndarray):
        return ("numpy", value.dtype.name, value.copy())
    if isinstance(value, (bool, int, float, np.generic, str, bytes, type(None))):
        return (kind, value)
    if isinstance(value, dict):
        return (kind, [(plain(key), plain(item)) for key, item in value.items()])
    if isinstance(value, (set, frozenset)):
        return (kind, sorted(map(repr, value)))
    if isinstance(value, (list, tuple, deque)):
        return (kind, *map(plain, value))
    return ("object", getattr(value, "__name__", kind))


def difference(one: Any, other: Any) -> str | None:
    """What is not alike, if anything is not. Numbers may round otherwise."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape:
            return f"shape {one.shape} against {other.shape}"
        if one.dtype.kind == "f":
            scale = np.abs(one[np.isfinite(one)]).max(initial=1.0)
            good = np.allclose(one, other, rtol=2e-4, atol=2e-5 * scale, equal_nan=True)
        else:
            good = np.array_equal(one, other)
        return None if good else f"{one.tolist()} against {other.tolist()}"
    if type(one) is not type(other):
        return f"{one!r} against {other!r}"
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return f"{_short(one)} against {_short(other)}"
        for a, b in zip(one, other, strict=True):
            found = difference(a, b)
            if found is not None:
                return found
        return None
    if isinstance(one, (float, np.floating)):
        return difference(np.asarray(one, "float64"), np.asarray(other, "float64"))
    return None if one == other else f"{one!r} against {other!r}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:200] + "..."


# -------------------------------------------------------------------------------- one program


def run(source: str, compiled: bool) -> Session:
    """A program run one way. Its module is its own; the seeds are the same each time."""
    do = Session(compiled)
    mx.random.seed(11)
    random.seed(11)
    np.random.seed(11)
    module = types.ModuleType("program")
    module.__dict__["do"] = do
    sys.modules["program"] = module
    try:
        exec(compile(source, FILE, "exec"), module.__dict__)
        module.__dict__["session"](do)
        drawn = (random.random(), float(np.random.rand()), plain(nd.random.uniform(shape=(2,))))
        do.log.append(("random numbers drawn afterwards", drawn))
    except Ended as end:
        do.log.append(("ended", None))
        do.error = str(end)  # type: ignore[attr-defined]
    except Exception as error:
        do.log.append(("the session raised", type(error).__name__))
        do.error = traceback.format_exc()  # type: ignore[attr-defined]
    finally:
        for name in ("program", *do.modules):
            sys.modules.pop(name, None)
        for name in [name for name in os.environ if name.startswith("TIGON_FUZZ_")]:
            del os.environ[name]
    return do


@dataclass
class Outcome:
    """How the two runs of a program compare."""

    difference: Difference | None
    """What differs, in words."""
    where: str = ""
    """What kind of thing differs."""
    compiled: bool = False
    """Whether no call gave way."""
    ended: bool = False
    """Whether a call raised on both sides."""
    invalid: bool = False
    """Whether the session itself is wrong, which is the generator's fault."""
    error: str = ""


def compare(source: str) -> Outcome:
    """Run a program both ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that a block gives way
        expected = run(source, compiled=False)
        if expected.log and expected.log[-1][0] == "the session raised":
            return Outcome(None, invalid=True, error=expected.error)  # type: ignore[attr-defined]
        found = run(source, compiled=True)
    gave_way = any(
        yielded.looks == 0
        for made in found.graphs
        for yielded in (
            [] if made._cached_graphs is None else made._cached_graphs._yielded.values()
        )
    )
    ended = bool(expected.log) and expected.log[-1][0] == "ended"
    outcome = Outcome(None, compiled=not gave_way, ended=ended)
    calls = 0
    for (what, one), (other_what, other) in zip(expected.log, found.log, strict=False):
        calls += what in ("result", "loss", "raised")
        differing = (
            difference(one, other)
            if what == other_what
            else f"imperatively {what} {_short(one)}, compiled {other_what} {_short(other)}"
        )
        if differing is not None:
            outcome.difference = f"call {calls}, {what}: {differing}"
            outcome.where = what
            if what != other_what:
                raised = [v for w, v in ((what, one), (other_what, other)) if w == "raised"]
                outcome.where = f"{what} / {other_what} {raised}"
            outcome.error = getattr(found, "error", "")
            return outcome
    if len(expected.log) != len(found.log):
        outcome.difference = f"{len(expected.log)} things were seen, compiled {len(found.log)}"
        outcome.where = "length"
        outcome.error = getattr(found, "error", "")
    return outcome


# --------------------------------------------------------------------- graphs without compiling


class EvaluatedGraph(CachedGraph):
    """A graph that runs operator by operator, which needs no compilation: most programs are run
    so, because it is their tracing that is tested."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.sequences = self._evaluated  # type: ignore[assignment]

    def _evaluated(
        self, arrays: Sequence[Any], training: bool, donated: Sequence[int]
    ) -> Sequence[Any]:
        moded = self.moded(training)
        graph = moded.graph
        key = [keys.take(moded.random_calls)] if moded.random_calls else []
        given = [*arrays, *key]
        flags = [array.has_tape or array.grad_req != "null" for array in arrays]
        recording = _native.set_recording(_native.is_recording() and any(flags))
        try:
            outputs = evaluate(graph.outputs, dict(zip(graph.inputs, given, strict=True)))
            # A program's results are arrays of their own.
            for number, array in enumerate(outputs):
                if any(array is other for other in (*outputs[:number], *given)):
                    outputs[number] = array.copy()
        finally:
            _native.set_recording(recording)
        for output, operand in moded.states:
            arrays[operand].swap_storage(outputs[output])
        return outputs[: moded.results]


class InterpretedPaths(Paths):
    """What native code does with a tree of segments, in Python."""

    def compile(self, operands: int) -> None:
        self.native = self._walk

    def _walk(self, operands: Sequence[Any], leaves: Sequence[Any]) -> Any:
        made: list[Any] = []
        key, drawn = keys.take(0), 0

        def at(array: int) -> Any:
            return operands[array] if array >= 0 else made[-1 - array]

        try:
            one: Any = self.root
            while True:
                segment, decision = one.segment, one.segment.decision
                if segment.cached is None:
                    keys.take(segment.draws)
                else:
                    made += segment.cached.sequences(
                        [at(array) for array in one.inputs], self._training, ()
                    )
                drawn += segment.draws
                if one.end is not None:
                    break
                outcome = _READS[decision.kind](at(one.decided))
                one = one.next.get(outcome)
                if one is None:
                    _native.give_back_key(key, drawn)
                    return NotImplemented
        except BaseException:
            _native.give_back_key(key, drawn)
            raise
        for begin, end in one.end.states:
            _native.commit(at(end), at(begin))
        if self._decides_only:
            _native.give_back_key(key, drawn)
        results = [at(array) for array in one.end.results]
        form = one.end.form
        if not isinstance(form, str):
            return form(results, leaves)
        kinds = {"bare": lambda made: made[0], "tuple": tuple, "list": list}
        return kinds[form](results)


def _integer(array: Any) -> int | bytes:
    try:
        found = int(array)
    except (OverflowError, ValueError):
        found = 2**63
    return found if -(2**63) <= found < 2**63 else array.asnumpy().tobytes()


_READS: dict[str, Callable[[Any], Any]] = {
    "truth": bool,
    "integer": _integer,
    "bits": lambda array: array.asnumpy().tobytes(),
}


@contextmanager
def evaluated() -> Iterator[None]:
    """Graphs run operator by operator in here. Natively shortened calls need a compiled one."""
    with (
        mock.patch.object(compiled_graphs, "CachedGraph", EvaluatedGraph),
        mock.patch.object(traced_graphs, "Paths", InterpretedPaths),
        mock.patch.object(train_step, "Paths", InterpretedPaths),
        mock.patch.object(traced_graphs.Entry, "shorten", lambda *_: None),
    ):
        yield


@contextmanager
def compiled_plainly() -> Iterator[None]:
    """Graphs are compiled in here, but one kernel per operator: few are new."""
    before = os.environ.get("TIGON_DISABLE_PASSES")
    os.environ["TIGON_DISABLE_PASSES"] = "all"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TIGON_DISABLE_PASSES"]
        else:
            os.environ["TIGON_DISABLE_PASSES"] = before


COMPILED_SHARE = 10
"""One program in so many is compiled, besides those with a training step, which all are."""


def outcome_of(seed: int, share: int = COMPILED_SHARE) -> tuple[str, Outcome]:
    """The program of a seed, and how it went."""
    source = program(seed)
    with way_of(seed, source, share)():
        return source, compare(source)


def way_of(seed: int, source: str, share: int = COMPILED_SHARE) -> Callable[[], Any]:
    """How its graphs are run. `share`: one program in so many is compiled."""
    if seed % share == 0 or "do.step" in source:
        return compiled_plainly
    return evaluated


# ------------------------------------------------------------------------------------ shrinking


def _variants(tree: ast.Module) -> Iterator[Callable[[], ast.Module]]:
    """Programs with one thing less: a statement, what stands around one, an operation."""
    changed = functools.partial(functools.partial, _changed, tree)
    for position, node in enumerate(ast.walk(tree)):
        for name in ("body", "orelse", "finalbody", "handlers"):
            held = getattr(node, name, None)
            if not isinstance(held, list):
                continue
            for index, statement in enumerate(held):
                inner = getattr(statement, "body", [])
                around = isinstance(statement, (ast.If, ast.For, ast.With, ast.Try, ast.While))
                for replacement in ([], inner if around else None):
                    if replacement is None:
                        continue
                    yield changed(position, name, index, replacement)
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr) and not isinstance(value, (ast.Name, ast.Constant)):
                for inner in ast.iter_child_nodes(value):
                    if isinstance(inner, ast.expr):
                        yield changed(position, name, None, inner)


def _changed(
    tree: ast.Module, position: int, name: str, index: int | None, replacement: Any
) -> ast.Module:
    made = copy.deepcopy(tree)
    node = next(node for number, node in enumerate(ast.walk(made)) if number == position)
    if index is None:
        setattr(node, name, copy.deepcopy(replacement))
        return made
    held = getattr(node, name)
    held[index : index + 1] = copy.deepcopy(replacement)
    if not held and name == "body":
        held.append(ast.Pass())
    return made


def shrink(source: str, fails: Callable[[str], bool], seconds: float = 30.0) -> str:
    """A smaller program that still fails, as small as it gets in that time."""
    tree = ast.parse(source)
    end = time.monotonic() + seconds
    tried, position = 0, 0  # since the last success, all variants once around
    while time.monotonic() < end:
        variants = list(_variants(tree))
        if tried >= len(variants):
            break
        position %= len(variants)
        text = _text(variants[position]())
        # A removed `pass` comes back: only what is shorter counts, or this would never end.
        shorter = text is not None and len(text) < len(ast.unparse(tree))
        if text is not None and shorter and _within_time(fails, text):
            tree, tried = ast.parse(text), 0
        else:
            tried += 1
            position += 1
    return ast.unparse(tree)


def _text(tree: ast.Module) -> str | None:
    """The program as text, if it is one."""
    try:
        text = ast.unparse(tree)
        ast.parse(text)
    except (ValueError, SyntaxError, AttributeError):
        return None
    return text


def _within_time(fails: Callable[[str], bool], text: str) -> bool:
    """Without a statement, a loop may not end."""

    def expired(*_: Any) -> None:
        raise Expired

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, 2.0, 0.2)
    try:
        return fails(text)
    except (Exception, Expired):
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def shrunk(
    seed: int,
    source: str,
    outcome: Outcome,
    seconds: float = 30.0,
    share: int = COMPILED_SHARE,
) -> str:
    """The failing program of a seed, made small, with what differs."""
    with way_of(seed, source, share)():

        def fails(text: str) -> bool:
            found = compare(text)
            return found.difference is not None and found.where == outcome.where

        small = shrink(source, fails, seconds)
        found = compare(small)
    error = f"\n{found.error}" if found.error else ""
    return f"program {seed}: {found.difference}{error}\n\n{small}\n"


# ----------------------------------------------------------------------------------- many of them


@dataclass
class Summary:
    """What came of many programs."""

    programs: int = 0
    compiled: int = 0
    gave_way: int = 0
    ended: int = 0
    invalid: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)

    def add(self, seed: int, outcome: Outcome) -> None:
        self.programs += 1
        if outcome.invalid:
            self.invalid.append(seed)
        elif outcome.difference is not None:
            self.failed.append(seed)
        elif outcome.ended:
            self.ended += 1
        elif outcome.compiled:
            self.compiled += 1
        else:
            self.gave_way += 1

    def __str__(self) -> str:
        return (
            f"{self.programs} programs: {self.compiled} compiled, {self.gave_way} gave way, "
            f"{self.ended} raised both ways, {len(self.invalid)} are no programs, "
            f"{len(self.failed)} differ"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Many programs, in order of their seeds; failing ones are shown as small as they get."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("amount", nargs="?", default="10m", help="2000 programs, or 10m: minutes")
    parser.add_argument("--first", type=int, default=100_000, help="the first seed")
    parser.add_argument("--most", type=int, default=10, help="failures after which to stop")
    parser.add_argument(
        "--share", type=int, default=COMPILED_SHARE, help="one program in so many is compiled"
    )
    parser.add_argument("--seconds", type=float, default=30, help="for making a failure small")
    given = parser.parse_args(arguments)
    in_minutes = given.amount.endswith("m")
    end = time.monotonic() + (60 * float(given.amount[:-1]) if in_minutes else float("inf"))
    last = given.first + (10**9 if in_minutes else int(given.amount))
    summary = Summary()
    shown = time.monotonic()
    for seed in range(given.first, last):
        if time.monotonic() > end or len(summary.failed) >= given.most:
            break
        source, outcome = outcome_of(seed, given.share)
        summary.add(seed, outcome)
        if outcome.invalid:
            print(f"program {seed} is none:\n{outcome.error}\n{source}", flush=True)
        if outcome.difference is not None:
            print(shrunk(seed, source, outcome, given.seconds, given.share), flush=True)
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(summary, flush=True)
    print(summary)
    return 1 if summary.failed or summary.invalid else 0


if __name__ == "__main__":
    sys.exit(main())
