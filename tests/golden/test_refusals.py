"""What operators and classes refuse when one argument is spoilt, as lists: of each attribute which
values, of each operand which shapes and dtypes, of each argument of a class which values. A check
that lost a clause, or whose boundary moved, shows.

`make golden` (TIGON_UPDATE_GOLDEN=1) rewrites the list; review reads the difference.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.registry.test_records import OPERATORS, usual
from tigon.base import TensorType, TigonError, as_dtype
from tigon.base.dtypes import DType
from tigon.base.types import Shape
from tigon.ir.graph import variable
from tigon.ops.attributes import attr_fields
from tigon.ops.record import Operator

HERE = Path(__file__).parent / "refusals"
VALUES: tuple[Any, ...] = (
    "nonsense", -3, -2, -1, 0, 1, 2, 3, -0.5, 0.5, (), (-1,), (0,), (1,), (0, 1), (1, 1), (2, 1, 3),
)  # fmt: skip
DTYPES = ("float32", "float64", "int32", "uint8", "bool")


def refused(attempt: Callable[[], object]) -> bool:
    """No other error than one of the user's may come of it."""
    try:
        attempt()
    except TigonError:
        return True
    return False


def other_shapes(shape: Shape) -> Iterator[tuple[str, Shape]]:
    yield "an axis more", (*shape, 1)
    yield "an axis before", (1, *shape)
    if shape:
        yield "no last axis", shape[:-1]
        yield "no first axis", shape[1:]
    for axis, extent in enumerate(shape):
        for other in {0, 1, extent - 1, extent + 1} - {extent, -1}:
            yield f"{other} at {axis}", (*shape[:axis], other, *shape[axis + 1 :])


def refusals(op: Operator) -> Iterator[str]:
    sample = op.samples[0]
    attributes = sample[-1]
    shapes = [given.shape if isinstance(given, np.ndarray) else given for given in sample[:-1]]
    dtypes = usual(op, sample)

    def made(own: dict[str, Any], places: list[Shape], kinds: list[DType]) -> None:
        given = zip(places, kinds, strict=True)
        op(*(variable(f"x{n}", TensorType(tuple(s), d)) for n, (s, d) in enumerate(given)), **own)

    made(attributes, shapes, dtypes)
    for name in attr_fields(op.attrs_type):
        found = [
            repr(value)
            for value in VALUES
            if refused(lambda v=value, n=name: made({**attributes, n: v}, shapes, dtypes))
        ]
        yield f"{op.name}, {name}: {', '.join(found) or 'nothing'}"
    for place, shape in enumerate(shapes):
        found = []
        for what, other in sorted(other_shapes(tuple(shape))):
            changed = [*shapes[:place], other, *shapes[place + 1 :]]
            if refused(lambda c=changed: made(attributes, c, dtypes)):
                found.append(what)
        for name in DTYPES:
            kinds = [*dtypes[:place], as_dtype(name), *dtypes[place + 1 :]]
            if refused(lambda k=kinds: made(attributes, shapes, k)):
                found.append(name)
        yield f"{op.name}, operand {place} {tuple(shape)}: {', '.join(found) or 'nothing'}"


def compare(name: str, lines: list[str]) -> None:
    path = HERE / f"{name}.txt"
    text = "\n".join(lines) + "\n"
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text().splitlines() == lines


@pytest.mark.filterwarnings("ignore")
def test_what_operators_refuse() -> None:
    compare("operators", [line for op in OPERATORS if op.samples for line in refusals(op)])


NEEDED: dict[str, Any] = {
    "units": 2, "channels": 4, "kernel_size": 3, "input_dim": 3, "output_dim": 2, "rate": 0.5,
    "activation": "relu", "alpha": 0.1, "function": "relu", "step": 2, "max_update": 5,
    "hidden_size": 2, "value": 1, "name": "n", "shape": (2,), "data": np.ones((3, 2)), "length": 3,
    "fn": bool, "dataset": [[1]], "interval": 2, "sampler": [0, 1], "batch_size": 2,
    "patterns": [".*"],
    "initializers": ["ones"], "param": {}, "feval": max, "init": None, "num_hidden": 2,
    "num_layers": 1, "mode": "lstm", "weight": 1.0, "batch_axis": 0, "params": [],
    "optimizer": "sgd", "sentences": [[1, 2]],
    "dropout": 0.5,
}  # fmt: skip
OWN: dict[tuple[str, str], Any] = {
    ("TopKAccuracy", "top_k"): 2, ("MultiFactorScheduler", "step"): [1, 2],
    ("BucketSentenceIter", "buckets"): [2], ("DataBatch", "data"): [],
}  # fmt: skip
OTHER_VALUES = ("nonsense", object(), -1, 0, 1, 2, 0.5, -0.5, (), (1,), (1, 1), (2, 1), {})
MODULES = (
    mx.lr_scheduler, mx.metric, mx.initializer, mx.io, mx.optimizer, mx.gluon.nn, mx.gluon.loss,
    mx.gluon.data, mx.gluon.rnn, mx.gluon, mx.rnn,
)  # fmt: skip


def needs_others(name: str) -> bool:
    """Classes made of blocks, cells, arrays, files or iterators, and those whose arguments nothing
    checks."""
    return name.removesuffix("_v1") in (
        "SymbolBlock", "ArrayDataset", "BidirectionalCell", "ModifierCell", "ResidualCell",
        "BlockScope", "ZoneoutCell", "TrainStep", "DataDesc", "InitDesc", "RNNAttrs",
        "RecordFileDataset", "CSVIter", "LibSVMIter", "MNISTIter", "ImageRecordIter",
        "ImageRecordUInt8Iter", "ImageDetRecordIter", "PrefetchingIter", "ResizeIter",
        "Checkpoint", "Estimator",
    )  # fmt: skip


def refusals_of_class(kind: type) -> Iterator[str]:
    parameters = [
        parameter
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    annotations = {n: a for k in kind.__mro__ for n, a in notes(k).items()}
    given = {
        p.name: OWN.get((kind.__name__, p.name), NEEDED.get(p.name))
        for p in parameters
        if p.default is p.empty or (kind.__name__, p.name) in OWN or p.name == "batch_size"
    }
    kind(**given)
    for name in (p.name for p in parameters if p.name not in ("prefix", "params")):
        found = []
        for value in OTHER_VALUES:
            try:
                kind(**{**given, name: value})
            except TigonError:
                found.append("an object" if type(value) is object else repr(value))
            except (TypeError, AttributeError, ValueError, OSError):
                # As Python says it, where nothing is declared.
                assert annotations.get(name, "Any") == "Any", (kind, name, value)
                found.append("an object" if type(value) is object else repr(value))
        if found:
            yield f"{kind.__name__}, {name}: {', '.join(found)}"


def notes(kind: type) -> dict[str, str]:
    return getattr(vars(kind).get("__init__"), "__annotations__", {})


@pytest.mark.filterwarnings("ignore")
def test_what_classes_refuse() -> None:
    lines, seen = [], set()
    for module in MODULES:
        for name, kind in sorted(vars(module).items()):
            if not inspect.isclass(kind) or issubclass(kind, Exception) or kind in seen:
                continue
            if not kind.__module__.startswith("tigon.") or name[0] == "_" or needs_others(name):
                continue
            seen.add(kind)
            lines += refusals_of_class(kind)
    compare("classes", lines)
