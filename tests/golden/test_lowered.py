"""What fusion, lowering and the memory plan make of graphs written down: kernels in waves, their
loop nests, and which temporary lies where. A file holds a graph, a line of dashes, and that.

`make golden` (TIGON_UPDATE_GOLDEN=1) rewrites what comes after; review reads the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.golden.test_passes import DIVIDER
from tigon.analysis.memory_plan import plan
from tigon.ir import Graph, Value, parse, verify
from tigon.loop.show import show as show_nest
from tigon.ops.record import get
from tigon.program.lowered import LoweredGraph

HERE = Path(__file__).parent / "lowered"
CASES = sorted(path.stem for path in HERE.glob("*.txt"))


def describe(graph: Graph) -> str:
    lowered = LoweredGraph(graph, frozenset(), (), (), None)
    names: dict[Value, str] = {}
    for value, index in lowered.inputs.items():
        names[value] = value.node.name or f"input {index}"
    for value, index in lowered.constants.items():
        names[value] = f"constant {index}"
    for value, index in lowered.outputs.items():
        names.setdefault(value, f"output {index}")
    for index, value in enumerate(lowered.temporaries):
        names[value] = f"temporary {index}"
    lines = []
    for kernel in lowered.kernels:
        lines.append(f"wave {kernel.wave}: {kernel.name}")
        for one in kernel.nests:
            held = ", ".join("scratch" if v is None else names[v] for v in one.values)
            lines.append(f"  over {held}")
            lines += [f"    {line}" for line in show_nest(one.nest).splitlines()]
    requests = lowered._requests()
    arranged = plan(requests)
    for index, (request, offset) in enumerate(zip(requests, arranged.offsets, strict=True)):
        lines.append(
            f"temporary {index}: {request.nbytes} bytes at {offset}, "
            f"waves {request.first} to {request.last}"
        )
    for index, written in enumerate(lowered.writes):
        sources = [
            number
            for number, read in enumerate(lowered.last_reads)
            if (number in lowered.may_alias[index] or read < written)
            and lowered.graph.inputs[number].type.nbytes == lowered.graph.outputs[index].type.nbytes
        ]
        if sources:
            taken = ", ".join(lowered.graph.inputs[source].node.name for source in sources)
            lines.append(f"output {index} may lie where {taken} does")
    return "\n".join(lines)


@pytest.mark.parametrize("case", CASES)
def test_lowered(case: str) -> None:
    path = HERE / f"{case}.txt"
    before, _, after = path.read_text().partition(f"\n{DIVIDER}\n")
    result = describe(verify(parse(before, get)))
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        path.write_text(f"{before.rstrip()}\n{DIVIDER}\n{result}\n")
        return
    assert result == after.strip(), f"{case}: if this is meant, run `make golden` and commit"
