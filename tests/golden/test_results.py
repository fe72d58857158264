"""What classes and functions around a network give for many arguments, under a fixed seed, as
lists: an option, a constant, a boundary or a message that changes shows.

A case is an expression, a line of a file of `results/` that is not indented; what it gives, or the
error that it raises, stands below it. `make golden` (TIGON_UPDATE_GOLDEN=1) writes what is below;
review reads the difference. Names are those of `NAMES`, and what an expression above has bound by
`:=`. Numbers are compared to four digits of the largest of their brackets, as processors round
differently. Where there is a formula, it stands in `tests/gluon/test_options.py` and its like.
"""

from __future__ import annotations

import io
import logging
import math
import os
import random
import re
import struct
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd

HERE = Path(__file__).parent / "results"
SHOWN = 8
"""Numbers of arrays that are shown one by one."""
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan)(?![\w.])")


def numbers(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0, scale: float = 1) -> Any:
    """The same for each call: of both signs, or for whole numbers from 0 to 255."""
    found = np.random.RandomState(seed + math.prod(shape))
    if np.dtype(dtype).kind == "f":
        return (found.randn(*shape) * scale).astype(dtype)
    return found.randint(0, 256, shape).astype(dtype)


def picture(height: int = 12, width: int = 16) -> Any:
    """Smooth, so that parts of it differ and neighbours are alike."""
    y, x = np.mgrid[:height, :width]
    return nd.array(np.stack([x * 9, y * 13, x * 5 + y * 6], -1) % 256, dtype="uint8")


BOXES = np.array([[1, 0.1, 0.2, 0.5, 0.6], [2, 0.4, 0.3, 0.9, 0.85], [-1] * 5], "float32")


def both(function: Any, *inputs: Any, **options: Any) -> Any:
    """A result and the gradients of its weighted sum."""
    arrays = [nd.array(one) for one in inputs]
    for one in arrays:
        one.attach_grad()
    with autograd.record():
        result = function(*arrays, **options)
    result.backward(nd.array(np.arange(1, result.size + 1).reshape(result.shape) % 5))
    return result, *(one.grad for one in arrays)


def trained(optimizer: Any, steps: int = 3, dtype: str = "float32", size: int = 4) -> Any:
    """A weight and its state after some steps; gradients grow."""
    updater = mx.optimizer.get_updater(optimizer)
    weight = nd.array(numbers((size,), seed=1), dtype=dtype)
    for step in range(steps):
        updater(0, nd.array(numbers((size,), seed=2 + step, scale=step + 0.5), dtype=dtype), weight)
    return weight, updater.states[0]


def together(optimizer: Any) -> Any:
    """Two weights and their states after steps of both, of one, and of both."""
    updater = mx.optimizer.get_updater(optimizer)
    weights = [nd.array(numbers((size,), seed=size)) for size in (3, 5)]
    for step, which in enumerate(([0, 1], [1], [1, 0])):
        grads = [nd.array(numbers(weights[one].shape, seed=step)) for one in which]
        updater(which, grads, [weights[one] for one in which])
    return weights, updater.states


def read(iterator: Any, epochs: int = 1) -> Any:
    """All batches of some epochs."""
    found = []
    for _ in range(epochs):
        found.append([(batch.data, batch.label, batch.pad, batch.index) for batch in iterator])
        iterator.reset()
    return found


def measured(metric: Any, *batches: Any) -> Any:
    for label, pred in batches:
        metric.update([nd.array(np.asarray(label))], [nd.array(np.asarray(pred))])
    return metric.get(), metric.get_global()


def filled(initializer: Any, shape: tuple[int, ...], name: str = "weight", dtype: str = "f") -> Any:
    array = nd.zeros(shape, dtype=np.dtype(dtype))
    initializer(name, array)
    return array


def said(function: Any) -> Any:
    """What a call prints and tells the log, without speeds and times, before its result."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with redirect_stdout(io.StringIO()) as printed:
            result = function()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return re.sub(
        r"(Speed: |Time cost=)[\d.]+", r"\1-", "|".join([*lines, printed.getvalue()])
    ), result


def network(*layers: Any) -> Any:
    """Small, with weights that do not depend on names or order."""
    net = gluon.nn.HybridSequential(prefix="net_")
    net.add(
        *(
            layers
            or (
                gluon.nn.Dense(3, in_units=2, prefix="a_"),
                gluon.nn.Dense(1, in_units=3, prefix="b_"),
            )
        )
    )
    net.initialize(mx.init.Xavier())
    return net


def stepped(trainer: Any, net: Any, steps: int = 2, size: int = 4, **how: Any) -> Any:
    """Parameters after some steps."""
    for step in range(steps):
        with autograd.record():
            loss = (net(nd.array(numbers((size, 2), seed=step))) ** 2).sum()
        loss.backward()
        trainer.step(size, **how)
    return [param.data() for param in net.collect_params().values()]


def within(scope: Any, function: Any) -> Any:
    """What a call gives within a scope, which ends."""
    with scope:
        return function()


def block(function: Any) -> Any:
    """A hybridized block with this forward."""
    kind = type("Block", (gluon.HybridBlock,), {"__module__": __name__})
    kind.forward = lambda self, *arrays: function(*arrays)
    made = kind()
    made.hybridize()
    return made


def tried(function: Any) -> str:
    """What a call gives, or the first line of its error."""
    try:
        return told(function())
    except Exception as error:
        return f"! {type(error).__name__}: {error}".splitlines()[0]


def hybrid(function: Any, *inputs: Any) -> str:
    """What a function gives on arrays, and, where that differs, in a hybridized block."""

    def outcome_of(function: Any) -> str:
        return tried(lambda: function(*[nd.array(one, dtype=one.dtype) for one in inputs]))

    hybridized = block(function)
    expected = outcome_of(function)
    found = [outcome_of(hybridized) for _ in range(2)]
    return expected if all(one == expected for one in found) else f"{expected}, but {found}"


def ways(function: Any, *inputs: Any) -> Any:
    """Into how many paths a hybridized block falls for these inputs, how often it gives way, and
    what it gives, or what differs on arrays."""
    before, hybridized = mx.runtime.stats(), block(function)
    pairs = [
        [tried(lambda f=f, i=one: f(nd.array(i, dtype=i.dtype))) for f in (hybridized, function)]
        for one in inputs
    ]
    after = mx.runtime.stats()
    moved = [after[name] - before[name] for name in ("paths", "given_way")]
    return *moved, *(one if one == other else (one, other) for one, other in pairs)


class Files:
    """A folder for the files that cases read, which is called FOLDER in what is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, content: Any = None) -> str:
        """The path of a file, written where there is a content: text, bytes or records."""
        path = self.folder / name
        if isinstance(content, list):
            writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
            for key, record in enumerate(content):
                writer.write_idx(key, record)
            writer.close()
        elif content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)


def idx(array: Any) -> bytes:
    """As MNIST's files hold it."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.astype("uint8").tobytes()


NAMES = {
    name: globals()[name]
    for name in "mx np nd gluon autograd math numbers picture BOXES both trained together "
    "read measured filled idx said within network stepped block hybrid tried ways".split()
}


def told(value: Any) -> str:
    """Structure, dtypes, shapes, and numbers or what they come to."""
    if isinstance(value, nd.NDArray):
        if value.stype != "default":
            shape = "x".join(map(str, value.shape))
            parts = (value.data, value.indices, *([value.indptr] if value.stype == "csr" else []))
            return f"{value.stype}:{shape} {told(parts)}"
        value = value.asnumpy()
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            return f"{array.dtype} {array.tolist()!r}"
        shape = "x".join(map(str, array.shape)) or "0-d"
        return f"{array.dtype}:{shape} [{' '.join(summary(array.ravel()))}]"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {told(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return "(" + ", ".join(map(told, value)) + ")"
    if " at 0x" in repr(value):
        return f"a {type(value).__name__}"
    text = repr(value).replace("numpy.bool_'", "numpy.bool'")  # as it is called since numpy 2
    return " ".join(text.split())


def summary(flat: Any) -> Iterator[str]:
    if flat.size <= SHOWN:
        yield from map(number, flat.tolist())
        return
    wide = flat.astype(np.float64)
    weights = np.cos(np.arange(flat.size) * 0.7) + 1
    yield f"{number(abs(wide).max())} mean {number(wide.mean())}"
    yield f"weighted {number((wide * weights).mean())}"


def number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def outcome(text: str, names: dict[str, Any]) -> str:
    mx.random.seed(3)
    np.random.seed(3)
    random.seed(3)
    try:
        return told(eval(text, names))
    except Exception as error:
        return f"! {type(error).__name__}: {' '.join(str(error).split())}"


def cases(path: Path) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in path.read_text().splitlines():
        if line.startswith("    "):
            found[-1] = (found[-1][0], line.strip())
        elif line.strip():
            found.append((line, ""))
    return found


def alike(one: str, other: str) -> bool:
    """But for the last digits of numbers."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    groups = [re.split(r"[\[\]]", text) for text in (one, other)]
    return all(map(close, *groups))


def close(one: str, other: str) -> bool:
    ours, theirs = (np.array([*map(float, NUMBER.findall(text))]) for text in (one, other))
    finite = np.abs(theirs[np.isfinite(theirs)])
    atol = max(2e-4 * finite.max(initial=0), 1e-6) if "," not in one else 0
    return np.allclose(ours, theirs, rtol=2e-4, atol=atol, equal_nan=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted(HERE.glob("*.txt")), ids=lambda path: path.stem)
def test_results(path: Path, tmp_path: Path) -> None:
    names = {**NAMES, "file": Files(tmp_path)}
    with mx.name.NameManager():  # names do not depend on what has run before
        found = [
            (text, outcome(text, names).replace(str(tmp_path), "FOLDER"), before)
            for text, before in cases(path)
        ]
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        path.write_text("".join(f"{text}\n    {now}\n" for text, now, _ in found))
        return
    different = [(text, now, was) for text, now, was in found if not alike(now, was)]
    assert not different


def test_numbers_are_compared_by_the_scale_of_their_brackets() -> None:
    assert alike("f:2 [1.00001 0.00001]", "f:2 [1 0]")
    assert not alike("f:2 [1.001 0]", "f:2 [1 0]")
    assert not alike("(1, 0.0001)", "(1, 0)") and alike("('a1', nan, 3)", "('a1', nan, 3)")
    assert not alike("('a1', 3)", "('a2', 3)") and not alike("f:2 [nan]", "f:2 [1]")
