"""Write `docs/onnx.md` from the table of ONNX operators, and run ONNX's node tests: `make docs`."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from tigon.base.files import write_file
from tigon.contrib.onnx import converters as _converters  # noqa: F401  (fills the table)
from tigon.contrib.onnx.reading import EXACT, OPSETS
from tigon.contrib.onnx.registry import TABLE
from tools import onnx_nodes

PAGE = Path(__file__).resolve().parent.parent / "docs" / "onnx.md"

HEAD = """# Models in ONNX's format

Written by `make docs`, which runs ONNX's node tests; a test compares. `mx.contrib.onnx` reads
models of operator sets {first} to {last} with the package `onnx` (`pip install tigon[onnx]`);
before {first} it reads operators that have not changed up to there.

```python
import numpy as np
from onnx import helper, numpy_helper

import tigon as mx
from tigon import nd

nodes = [
    helper.make_node("Shape", ["x"], ["shape"]),
    helper.make_node("Gather", ["shape", "first"], ["batch"]),
    helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
    helper.make_node("Reshape", ["x", "target"], ["flat"]),
    helper.make_node("Gemm", ["flat", "w"], ["y"], name="dense"),
]
x = helper.make_tensor_value_info("x", 1, ["batch", 2, 3])
y = helper.make_tensor_value_info("y", 1, ["batch", 4])
weights = {{"first": np.array([0]), "rest": np.array([6]), "w": np.ones((6, 4), np.float32)}}
held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
model = helper.make_model(helper.make_graph(nodes, "net", [x], [y], held))  # or the path of a file

symbol, arguments, states = mx.contrib.onnx.import_model(model)
assert symbol.list_arguments() == ["x", "w"]  # the shape was computed while reading
net = mx.contrib.onnx.import_to_gluon(model)  # a SymbolBlock, which trains
assert net(nd.ones((5, 2, 3))).shape == (5, 4)
assert net(nd.ones((2, 2, 3))).shape == (2, 4)
```

- Initializers become arguments under their names; statistics of batch normalization are auxiliary
  states, which move where the block trains. `import_to_gluon` lets initializers of floats learn
  that have an axis. `prefix="encoder_"` lets all names but those of inputs begin so, for two models
  in one block.
- Numbers that a model computes of shapes are computed while it is read, with extents that the file
  leaves open as they are: the graph that comes out serves every batch. Not every operator does so:
  the graphs of `GridSample`, `DeformConv`, `MaxPool` with places, `MaxUnpool`, `ReverseSequence`,
  `GatherND` with `batch_dims`, `ScatterND` and `ScatterElements` hold the extents that they work
  on; images of open height and width are not resized (`Resize` and `Upsample` by scales), nor taken
  by `DepthToSpace`, `GroupNormalization`, and pooling with `auto_pad` and strides or `ceil_mode`;
  causal `Attention` and a recurrent layer with `sequence_lens` want their number of steps. The
  error names node and extent, and `shapes={{'input': (None, 3, 224, 224)}}` says extents in place
  of the file. Where an operator's result can only have a shape once a *value* is known (`Reshape`
  by an input), the error asks for `values={{'input': array}}`. An input that no node reads is none
  of the graph.
- `If`, `Loop` and `Scan` are our branches and loops. A loop that a value ends has states alone, and
  trains if the model says how often it runs at most; one whose states change their shapes is
  written out.
- Numbers of 2 and 4 bits are held in bytes. Elements that tigon lacks (floats of 4 and 8 bits,
  complex numbers, texts), sequences, optional values and maps are refused by name.
- Data outside of the file must lie in its folder. No code of a file is run.
"""


def _plain_schemas() -> dict[str, list[Any]]:
    """The operators of the default domain: their revisions."""
    found: dict[str, list[Any]] = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= OPSETS[-1]:
            found[schema.name].append(schema)
    return {name: sorted(all_, key=lambda s: s.since_version) for name, all_ in found.items()}


def _revisions(schemas: Sequence[Any], until: int | None) -> list[int]:
    """Those that a model of the operator sets that are read may mean."""
    numbers = [s.since_version for s in schemas if s.since_version <= (until or OPSETS[-1])]
    old = [n for n in numbers if n <= EXACT]
    return [*old[-1:], *(n for n in numbers if n > EXACT)]


ABSENT = {
    r"Sequence|SplitToSequence|ConcatFromSequence": "sequences have no place in a graph of arrays",
    r"Optional": "optional values have no place in a graph of arrays",
    r"String|Regex|TfIdf|LabelEncoder": "texts are no arrays",
    r"ImageDecoder": "`mx.image.imdecode` reads images",
    r"NonMaxSuppression|Unique": "the shape of the result depends on values",
}


def operators() -> list[str]:
    lines = ["| operator | revisions | known while reading | |", "|---|---|---|---|"]
    absent = []
    for name, schemas in sorted(_plain_schemas().items()):
        last = schemas[-1]
        row = TABLE.get(("", name))
        own_function = last.has_function or last.has_context_dependent_function
        if row is None and not own_function:
            why = next((why for pattern, why in ABSENT.items() if re.match(pattern, name)), "")
            absent.append(f"| `{name}` | {why} |")
            continue
        if last.deprecated and row is None:
            continue
        known = [last.inputs[k].name for k in row.known if k < len(last.inputs)] if row else []
        how = "" if row else "as ONNX's own function"
        revisions = ", ".join(map(str, _revisions(schemas, row.until if row else None)))
        shown = ", ".join(f"`{each}`" for each in known)
        lines.append(f"| `{name}` | {revisions} | {shown} | {how} |")
    lines += ["", "Of `ai.onnx.ml`: "]
    lines[-1] += ", ".join(f"`{name}`" for domain, name in sorted(TABLE) if domain) + "."
    return [
        *lines,
        "",
        "## Operators that are not read",
        "",
        "| operator | |",
        "|---|---|",
        *absent,
    ]


def page(cases: Sequence[Any]) -> str:
    listed = dict(onnx_nodes.expected_to_fail(cases))
    agreeing = {n for n in listed if onnx_nodes.reason(n, onnx_nodes.AS_THE_RUNTIME)}
    failing = {name: why for name, why in listed.items() if name not in agreeing}
    passing = len(cases) - len(failing)
    lines = [
        HEAD.format(first=EXACT, last=OPSETS[-1]),
        "## ONNX's node tests",
        "",
        f"Of the {len(cases):,} node tests of `onnx` {onnx.__version__} with tensors of floats, "
        f"integers and bools alone (less `ImageDecoder`, `TfIdfVectorizer` and the preview "
        f"domains), {passing:,} pass, {100 * passing / len(cases):.1f} %. Inputs that decide "
        "shapes are given as values. Tolerances are those of ONNX's runner.",
        "",
        f"{len(agreeing)} of them pass as ONNX Runtime's results, not as the recorded ones: "
        + "; ".join(f"`{name}` ({listed[name]})" for name in sorted(agreeing))
        + ".",
        "",
        "| cases that fail | why |",
        "|---|---|",
    ]
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, why in failing.items():
        by_reason[why].append(name)
    for why, names in by_reason.items():
        lines.append(f"| {', '.join(f'`{name}`' for name in names)} | {why} |")
    return "\n".join([*lines, "", "## Operators", "", *operators(), ""])


if __name__ == "__main__":
    every = onnx_nodes.cases()
    wrong = {case.name for case in every if onnx_nodes.failure(case)}
    listed = {name for name, _ in onnx_nodes.expected_to_fail(every)}
    if wrong != listed:
        sys.exit(f"tools/onnx_nodes.py lists other cases than fail: {sorted(wrong ^ listed)}")
    write_file(PAGE, page(every).encode())
