"""`model.md`: what an exported library takes, gives and needs, for whoever calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def page(prefix: str, described: Mapping[str, Any]) -> str:
    """The page, as Markdown."""
    lines = [f"# {prefix}", ""]
    counts = [len(described[kind]) for kind in ("inputs", "outputs")]
    if described["doc"]:
        lines += [described["doc"], ""]
    size = described["library_bytes"] / 1024
    apart = described["file_bytes"]
    weights = f"`{prefix}.safetensors` ({_size(apart)})" if apart is not None else "inside"
    lines += [
        f"A shared library of {size:.0f} KB that needs nothing installed; weights: {weights}.",
        f"Code for {', '.join(described['levels'])}.",
        "",
    ]
    for kind in ("inputs", "outputs", "states"):
        if described[kind]:
            lines += [f"## {kind.capitalize()}", "", "| number | name | type |", "|---|---|---|"]
            lines += [
                f"| {number} | `{name}` | {shown} |"
                for number, (name, shown) in enumerate(described[kind])
            ]
            lines.append("")
    if described["extents"]:
        lines += ["## Open extents", "", "| number | name | exported with |", "|---|---|---|"]
        lines += [
            f"| {number} | {name} | {likely} |"
            for number, (name, likely) in enumerate(described["extents"])
        ]
        lines += ["", "Any size from 1 on, as far as `largest` of an instance says.", ""]
    if described["draws"]:
        lines += [f"It draws random numbers: `seed` and `{prefix}_seed` say which.", ""]
    lines += [
        "## In C",
        "",
        "```c",
        f'#include "{prefix}.h"',
        "",
        f"{prefix}_options options = {{.size = sizeof options}};",
        f"{prefix}_instance* net;",
        f"if ({prefix}_create(&options, &net) != {prefix.upper()}_OK) return 1;",
        f"{prefix}_array inputs[{counts[0]}] = {{ /* data, bytes, dtype, shape */ }};",
        f"{prefix}_array outputs[{counts[1]}] = {{ /* data, bytes */ }};",
        f"if ({prefix}_run(net, inputs, outputs)) puts({prefix}_last_error(net));",
        f"{prefix}_destroy(net);",
        "```",
        "",
        f"`cc main.c {prefix}.so -Wl,-rpath,.`, or open it with `dlopen`. `{prefix}.hpp` is the",
        "same for C++.",
        "",
    ]
    if described["weights"]:
        lines += ["## Weights", "", "| name | type |", "|---|---|"]
        lines += [f"| `{name}` | {shown} |" for name, shown in described["weights"]]
        lines.append("")
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1024:.0f} KB"
