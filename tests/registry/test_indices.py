"""Operands that hold positions: what is out of range is refused where the record, or an operator it
is made of, says so. Nothing here names an operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.registry.test_execution import arrays_of, as_graph, run
from tests.registry.test_records import OPERATORS, node_of, operands_of
from tigon import TigonIndexError, _native, autograd
from tigon.ir import Graph, Node, Value
from tigon.ir.graph import VARIABLE
from tigon.ops import get
from tigon.ops.record import Family, Operator, Positions
from tigon.passes.decompose import decompose

CHECKED = get("_checked_index")
DECLARING = [op for op in OPERATORS if op.indices]


def cases(op: Operator) -> Iterator[tuple[Node, list[np.ndarray]]]:
    """Every sample once; given arrays, such as indices, keep their dtype."""
    for sample in op.samples:
        arrays = operands_of(op, sample, "float32")
        yield node_of(op, sample, arrays), arrays


class Place:
    """An operand of positions: its number, and what is right in each of its rows. `column`: they
    are only these."""

    def __init__(
        self,
        operand: int,
        sizes: tuple[int, ...],
        negative: bool = False,
        ignored: float | None = None,
        column: int | None = None,
    ) -> None:
        self.operand, self.sizes, self.negative, self.ignored = operand, sizes, negative, ignored
        self.part = ... if column is None else (..., column)

    def of(self, shape: tuple[int, ...]) -> np.ndarray:
        """How many positions there are, for each index."""
        sizes = np.reshape(self.sizes, (-1,) + (1,) * (len(shape) - 1)) if shape else self.sizes[0]
        return np.broadcast_to(sizes, shape)


def family(node: Node) -> Family | None:
    return getattr(node.op, "family", None)  # variables and constants have none


def checks_of(graph: Graph) -> Iterator[Node]:
    return (node for node in graph if family(node) is Family.CHECK)


def always_checked(node: Node) -> list[Place]:
    """What the operator refuses by itself: its decomposition looks through an operand."""
    found = []
    for check in checks_of(decompose(Graph(node.inputs, node.outputs))):
        if check.inputs[0] in node.inputs:
            attrs = check.attrs
            operand = node.inputs.index(check.inputs[0])
            found.append(Place(operand, attrs.sizes, attrs.negative, attrs.ignored))
    return found


def declared(node: Node) -> list[Place]:
    found = []
    names = [operand.name for operand in node.op.operands]
    for name, rule in node.op.indices.items():
        positions = node.op.rule(rule, node.attrs, *(value.type for value in node.inputs))
        assert positions is None or isinstance(positions, Positions)
        if positions is not None:
            operand, ignored, column = names.index(name), positions.ignored, positions.column
            count = positions.count
            sizes = count if isinstance(count, tuple) else (count,)
            found.append(Place(operand, sizes, ignored=ignored, column=column))
    return found


def tried(op: Operator, places: Any) -> Iterator[tuple[Node, list[np.ndarray], Place]]:
    """Samples with positions in range, where something is read at them."""
    for node, given in cases(op):
        if op.draws(node.attrs):  # who runs a graph supplies the key
            continue
        for place in places(node):
            arrays = list(given)
            indices = arrays[place.operand]
            if not indices.size or not all(place.sizes) or not node.outputs[0].type.size:
                continue
            arrays[place.operand] = indices = indices.copy()
            whole = indices[place.part].astype(np.int64)
            indices[place.part] = whole % place.of(whole.shape)
            yield node, arrays, place


def spoiled(indices: np.ndarray, place: Place, kind: str) -> tuple[np.ndarray, float, int]:
    """The last index made wrong, what it is then, and how many positions there are."""
    bad = indices.copy()
    part = bad[place.part]
    size = int(place.of(part.shape).reshape(-1)[-1])
    values = {"high": size, "low": -size - 1 if place.negative else -1, "nan": np.nan}
    value = values[kind]
    value -= value == place.ignored
    part[(-1,) * part.ndim] = value
    return bad, value, size


def assert_refused(node: Node, arrays: list[np.ndarray], place: Place, kind: str) -> None:
    bad, value, size = spoiled(arrays[place.operand], place, kind)
    arrays = [bad if i == place.operand else a for i, a in enumerate(arrays)]
    for how in (run, lambda node, given: as_graph(node)(given)):
        with pytest.raises(TigonIndexError) as error:
            for result in how(node, arrays_of(arrays)):
                result.asnumpy()
        assert isinstance(error.value, IndexError)
        text = str(error.value)
        given = "nan, or" if kind == "nan" else value
        counted = f"expected 0 to {size - 1}, as many as there are; given {given}"
        assert (f"index {given}" in text and f" with size {size}; " in text) or counted in text, (
            text
        )
        # Its own name, or that of the operator whose gradient it is.
        assert text.partition(":")[0].strip("_") in (*spoken(node.op), "x[...]"), text


def spoken(op: Operator) -> list[str]:
    names = [name.strip("_") for name in (op.name, *op.aliases)]
    names += [name.removeprefix("contrib_") for name in names]
    names += [name.removeprefix("backward_").removesuffix("_backward") for name in names]
    return [*names, "gather_nd"] if "nd" in op.name.split("_") else names


@pytest.fixture
def checking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The switch is looked at when a program is made."""
    _native.clear_signature_cache()
    monkeypatch.setenv("TIGON_CHECK_INDICES", "1")
    yield
    _native.clear_signature_cache()


@pytest.mark.parametrize("kind", ["high", "low", "nan"])
@pytest.mark.parametrize("op", DECLARING, ids=lambda op: op.name)
def test_declared_indices_are_refused_on_demand(op: Operator, kind: str, checking: None) -> None:
    count = 0
    for node, arrays, place in tried(op, declared):
        if kind == "nan" and arrays[place.operand].dtype.kind != "f":
            continue
        assert_refused(node, arrays, place, kind)
        count += 1
    assert count or kind == "nan"


@pytest.mark.parametrize("op", DECLARING, ids=lambda op: op.name)
def test_a_check_changes_no_result(op: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    def results(node: Node, arrays: list[np.ndarray]) -> list[np.ndarray]:
        _native.clear_signature_cache()
        inputs = arrays_of(arrays)
        flowing = [x for x, value in zip(inputs, node.inputs, strict=True) if value.dtype.is_float]
        for x in flowing:
            x.attach_grad()
        with autograd.record():
            found = run(node, inputs)
        if any(array.has_tape for array in found):
            autograd.backward(found)
        return [array.asnumpy() for array in (*found, *(x.grad for x in flowing))]

    for node, arrays, place in tried(op, declared):
        if place.ignored is not None:
            arrays[place.operand].reshape(-1)[0] = place.ignored
        monkeypatch.delenv("TIGON_CHECK_INDICES", raising=False)
        plain = results(node, arrays)
        monkeypatch.setenv("TIGON_CHECK_INDICES", "1")
        for one, other in zip(plain, results(node, arrays), strict=True):
            np.testing.assert_array_equal(one, other)
    _native.clear_signature_cache()


ALWAYS = [
    op
    for op in OPERATORS
    if op is not CHECKED and any(always_checked(node) for node, _ in cases(op))
]


def test_something_is_always_checked() -> None:
    assert len(ALWAYS) > 4


@pytest.mark.parametrize("kind", ["high", "low", "nan"])
@pytest.mark.parametrize("op", ALWAYS, ids=lambda op: op.name)
def test_indices_are_refused(op: Operator, kind: str) -> None:
    for node, arrays, place in tried(op, always_checked):
        if kind != "nan" or arrays[place.operand].dtype.kind == "f":
            assert_refused(node, arrays, place, kind)


@pytest.mark.parametrize("op", ALWAYS, ids=lambda op: op.name)
def test_negative_indices_count_from_the_end(op: Operator) -> None:
    for node, arrays, place in tried(op, always_checked):
        if not place.negative:
            continue
        indices = arrays[place.operand]
        behind = (indices - place.of(indices.shape)).astype(indices.dtype)
        if indices.dtype.kind == "u":
            continue
        other = [behind if i == place.operand else a for i, a in enumerate(arrays)]
        for one, two in zip(run(node, arrays_of(arrays)), run(node, arrays_of(other)), strict=True):
            np.testing.assert_array_equal(one.asnumpy(), two.asnumpy())


FORMS = ("Cast", "clip", "broadcast_minimum", "broadcast_maximum")


def is_index_alone(value: Value) -> bool:
    """Whether a value is an operand, but for its form and its dtype."""
    node = value.node
    while node.op is not VARIABLE:
        if not node.inputs or not (family(node) is Family.VIEW or node.op.name in FORMS):
            return False
        node = node.inputs[0].node
    return True


@pytest.mark.parametrize(
    "op", [op for op in OPERATORS if not op.name.startswith("_")], ids=lambda op: op.name
)
def test_whoever_reads_at_positions_declares_them(op: Operator) -> None:
    """A gather that is driven by an operand as it is given: the record knows of it."""
    if op.decompose is None or op.indices:
        return
    for node, _ in cases(op):
        for inner in decompose(Graph(node.inputs, node.outputs)):
            if family(inner) is Family.GATHER and len(inner.inputs) > 1:
                wraps = getattr(inner.attrs, "mode", "") == "wrap"
                assert wraps or not is_index_alone(inner.inputs[1]), (node, inner)
