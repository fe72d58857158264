"""Instructions per call of small programs, compared with recorded counts: a slowdown is seen.

    make bench-check                      fails where a row takes over 2 % more than recorded
    make bench-check CHECK=--record       records what is counted now; review the difference

Counts, unlike times, do not depend on what else the machine does. valgrind's callgrind counts; it
shows programs a processor without AVX-512, so kernels are the same on all machines with AVX2.
Each row runs N and then 2 N times: what start-up, warming up and the counting itself cost falls
out of the difference. The counted process sees one thread, seeds of its own and none of the
environment. Counts belong to a version of Python and to compilers, and are recorded for each.
Without valgrind, or without a record for this Python, nothing is compared, and that is said.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tigon.base.files import write_file

ROOT = Path(__file__).resolve().parents[1]
RECORDS = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.02
RECOUNTS = 2
"""How often a row beyond the tolerance, by less than a fifth, is counted again, of which the least
counts: where Python's collector falls into the counted calls, they seem dearer by a few percent."""
# Callgrind writes and clears its counts before each call of this function of the C library, which
# `os.ctermid` calls and nothing else. (Calls by way of ctypes it cannot see.)
MARK = "ctermid"


# ------------------------------------------------------------------- what is counted


def slot_add() -> Callable[[], Any]:
    from tigon import nd

    x = nd.ones((10,))
    return lambda: x + x


def recorded_add() -> Callable[[], Any]:
    from tigon import autograd, nd

    x = nd.ones((10,))
    x.attach_grad()

    def run() -> None:
        with autograd.record():
            y = x + x
        y.backward()

    return run


def _network() -> Any:
    """Small layers: the call counts, not the arithmetic."""
    from tigon.gluon import nn

    net = nn.HybridSequential()
    net.add(nn.Dense(8, "relu", in_units=16), nn.Dense(8, "relu", in_units=8))
    net.add(nn.Dense(2, in_units=8))
    net.initialize()
    return net


def imperative_network() -> Callable[[], Any]:
    from tigon import nd

    net, x = _network(), nd.ones((1, 16))
    return lambda: net(x)


def hybridized_network() -> Callable[[], Any]:
    from tigon import nd

    net, x = _network(), nd.ones((1, 16))
    net.hybridize()
    return lambda: net(x)


def _trained() -> tuple[Any, ...]:
    """A network with its loss function, trainer, a batch and its labels."""
    from tigon import gluon, nd

    net = _network()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01, "momentum": 0.9})
    return net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer, nd.ones((4, 16)), nd.zeros((4,))


def training_program() -> Callable[[], Any]:
    from tigon import gluon

    net, loss_function, trainer, x, y = _trained()
    step = gluon.TrainStep(net, loss_function, trainer)
    return lambda: step(x, y)


def training_loop() -> Callable[[], Any]:
    from tigon import autograd

    net, loss_function, trainer, x, y = _trained()
    net.hybridize()
    loss_function.hybridize()

    def run() -> None:
        with autograd.record():
            loss = loss_function(net(x), y)
        loss.backward()
        trainer.step(4)

    return run


def imperative_chain() -> Callable[[], Any]:
    from tigon import nd

    a, b = nd.ones((10,)), nd.ones((10,))
    return lambda: nd.tanh(b * a + 1) * 0.5 + a


def hybridized_chain() -> Callable[[], Any]:
    from tigon import gluon, nd

    class Chain(gluon.HybridBlock):
        def forward(self, a: Any, b: Any) -> Any:
            return nd.tanh(b * a + 1) * 0.5 + a

    net = Chain()
    net.hybridize()
    a, b = nd.ones((10,)), nd.ones((10,))
    return lambda: net(a, b)


def configured() -> Any:
    """A block guarded by ten objects of ten fields, all of which it reads."""
    from types import SimpleNamespace

    from tigon import gluon

    class Configured(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            fields = {f"scale{field}": 1.0 for field in range(10)}
            self.configurations = [SimpleNamespace(**fields) for _ in range(10)]

        def forward(self, x: Any) -> Any:
            for own in self.configurations:
                x = x * (own.scale0 + own.scale1 + own.scale2 + own.scale3 + own.scale4)
                x = x + (own.scale5 + own.scale6 + own.scale7 + own.scale8 + own.scale9)
            return x

    net = Configured()
    net.hybridize()
    return net


def predicting() -> Any:
    """A layer and a Dropout, which draws nothing in prediction."""
    from tigon.gluon import nn

    net = nn.HybridSequential()
    net.add(nn.Dense(8, in_units=16), nn.Dropout(0.5))
    net.initialize()
    net.hybridize()
    return net


def configured_call() -> Callable[[], Any]:
    from tigon import nd

    net, x = configured(), nd.ones((10,))
    return lambda: net(x)


def predicting_dropout() -> Callable[[], Any]:
    from tigon import nd

    net, x = predicting(), nd.ones((1, 16))
    return lambda: net(x)


def normalizing() -> Any:
    """A layer, a BatchNorm, whose states move, and a Dropout, which draws in training."""
    from tigon.gluon import nn

    net = nn.HybridSequential()
    net.add(nn.Dense(8, in_units=16), nn.BatchNorm(in_channels=8), nn.Dropout(0.5))
    net.initialize()
    net.hybridize()
    return net


def one_weight() -> Any:
    from tigon.gluon import nn

    net = nn.Dense(8, in_units=16, use_bias=False)
    net.initialize()
    net.hybridize()
    return net


def recorded_calls(make: Callable[[], Any], each: int = 10) -> Callable[[], Any]:
    """Calls under record(), many in one scope."""
    from tigon import autograd, nd

    net, x = make(), nd.ones((1, 16))

    def run() -> None:
        with autograd.record():
            for _ in range(each):
                net(x)

    return run


def jitted() -> Any:
    import tigon

    return tigon.jit(lambda x: x * 2 + 1)


def jitted_call() -> Callable[[], Any]:
    from tigon import nd

    function, x = jitted(), nd.ones((10,))
    return lambda: function(x)


def deciding() -> Any:
    """A block that decides once, by a value that it computes."""
    from tigon import gluon, nd

    class Deciding(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            y = nd.square(x)
            return y * 2 if y.sum() > 0 else y

    net = Deciding()
    net.hybridize(strict=True)
    return net


def deciding_call() -> Callable[[], Any]:
    from tigon import nd

    net, x = deciding(), nd.ones((10,))
    return lambda: net(x)


def compiled_function() -> Callable[[], Any]:
    """With an argument that is a container, and one that is static."""
    import tigon
    from tigon import nd

    def function(pair: dict[str, Any], power: int) -> Any:
        return pair["a"] ** power + pair["b"]

    compiled = tigon.jit(function, static_argnames=("power",))
    pair = {"a": nd.ones((10,)), "b": nd.ones((10,))}
    return lambda: compiled(pair, power=3)


ROWS: dict[str, tuple[Callable[[], Callable[[], Any]], int]] = {
    "slot add, 10 elements": (slot_add, 1000),
    "recorded add and backward, 10 elements": (recorded_add, 100),
    "imperative network 16-8-8-2": (imperative_network, 50),
    "hybridized network 16-8-8-2": (hybridized_network, 100),
    "training step 16-8-8-2, one program": (training_program, 50),
    "training step 16-8-8-2, record/backward/step": (training_loop, 30),
    "compiled function, nested and static arguments": (compiled_function, 50),
    "imperative chain, 10 elements": (imperative_chain, 100),
    "hybridized chain, 10 elements": (hybridized_chain, 100),
    "hybridized, 10 configurations of 10 fields": (configured_call, 100),
    "hybridized Dense and Dropout in prediction": (predicting_dropout, 100),
    "10 recorded calls, Dense, BatchNorm and Dropout": (lambda: recorded_calls(normalizing), 30),
    "10 recorded calls, one weight": (lambda: recorded_calls(one_weight), 30),
    "compiled function": (jitted_call, 100),
    "hybridized, one decision": (deciding_call, 100),
}


def run_rows(names: list[str]) -> None:
    """In the process that callgrind watches."""
    for name in names:
        make, calls = ROWS[name]
        function = make()
        for _ in range(20):
            function()
        gc.collect()
        gc.disable()  # it would run in one interval or the other by chance
        os.ctermid()
        for _ in range(calls):
            function()
        os.ctermid()
        for _ in range(2 * calls):
            function()
        os.ctermid()
        gc.enable()


# ---------------------------------------------------------------------------- counting


def count(names: list[str]) -> dict[str, int]:
    """Instructions per call of each row."""
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "TIGON_ENGINE": "naive",
        "TIGON_NUM_THREADS": "1",
        "TIGON_POOL_SECONDS": "1e6",  # or it would tidy up in one interval by chance
        "OPENBLAS_NUM_THREADS": "1",
    }
    if "TIGON_CACHE" in os.environ:
        environment["TIGON_CACHE"] = os.environ["TIGON_CACHE"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={folder}/counts",
                f"--dump-before={MARK}",
                sys.executable,
                __file__,
                "--counted",
                *names,
            ],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"the counted process failed:\n{done.stderr[-3000:]}")
        # One file for each mark: what ran since the mark before.
        spans = [
            _total(Path(folder, f"counts.{number + 1}").read_text())
            for number in range(3 * len(names))
        ]
    return {
        name: round((spans[3 * row + 2] - spans[3 * row + 1]) / ROWS[name][1])
        for row, name in enumerate(names)
    }


def _total(text: str) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit("callgrind wrote no totals")
    return int(found.group(1))


def build() -> str:
    """What counts belong to: the version of Python, and what compiled it and the extension."""
    python = (
        f"{platform.python_implementation().lower()}-{sys.version_info[0]}.{sys.version_info[1]}"
    )
    by = _compiler(platform.python_compiler())
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        by += " with profiles"
    extension = ROOT / "tigon" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    comments = re.findall(rb"(?:GCC: \(|clang version )[ -~]+", extension.read_bytes())
    compiled = _compiler(comments[0].decode()) if comments else "an unknown compiler"
    return f"{python} on {platform.machine()}, built by {by}, extension by {compiled}"


def _compiler(text: str) -> str:
    """The compiler and its major version, of what compilers leave in programs."""
    found = re.search(r"(gcc|clang)\D*(?:\([^)]*\) )?(\d+)\.", text, re.IGNORECASE)
    return " ".join(found.groups()).lower() if found else text


def _is_too_many(now: int, before: int | None) -> bool:
    return before is not None and now / before - 1 > TOLERANCE


def compare(counted: dict[str, int], recorded: dict[str, int]) -> bool:
    """Print both; whether all rows are within the tolerance."""
    good = True
    print(f"{'instructions per call':42}{'recorded':>10}{'now':>10}{'':>9}")
    for name, now in counted.items():
        before = recorded.get(name)
        if before is None:
            print(f"{name:42}{'-':>10}{now:>10,}   new: record it")
            continue
        change = now / before - 1
        word = ""
        if _is_too_many(now, before):
            good, word = False, "  TOO MANY"
        elif change < -TOLERANCE:
            word = "  fewer: record it"
        print(f"{name:42}{before:>10,}{now:>10,}{change:>+9.1%}{word}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the counts down")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--records", type=Path, default=RECORDS, help="the file of counts")
    parser.add_argument("--counted", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.counted is not None:
        run_rows(options.counted)
        return 0
    if shutil.which("valgrind") is None:
        print("bench-check: skipped, valgrind is not installed (`apt install valgrind`)")
        return 0
    records = json.loads(options.records.read_text()) if options.records.exists() else {}
    recorded = records.get(build(), {})
    if not recorded and not options.record:
        print(f"bench-check: skipped, nothing is recorded for {build()}; CHECK=--record does.")
        print(f"Recorded are: {'; '.join(records) or 'none'}.")
        return 0
    counted = count([name for name in ROWS if options.only in name])
    if options.record:
        merged = {**recorded, **counted}
        records[build()] = {name: merged[name] for name in ROWS if name in merged}
        text = json.dumps(records, indent=1, sort_keys=True) + "\n"
        write_file(options.records, text.encode())
        print(f"recorded for {build()}:")
        compare(counted, recorded)
        return 0
    for _ in range(RECOUNTS):
        many = [
            name
            for name, known in recorded.items()
            if name in counted and known < counted[name] <= 1.2 * known
            if _is_too_many(counted[name], known)
        ]
        if many:
            again = count(many)
            counted.update({name: min(counted[name], again[name]) for name in many})
    if compare(counted, recorded):
        return 0
    print(
        f"\nA row takes over {TOLERANCE:.0%} more instructions than recorded. Find out why "
        "(`make bench-path` times the parts of a call), or record anew and say in the commit "
        "what it buys."
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
