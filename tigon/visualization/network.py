"""The graph of a symbol or of a block as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tigon.base import check, svg
from tigon.base.arguments import fits
from tigon.ops.attributes import attrs_dict
from tigon.visualization.layers import Point, arrange
from tigon.visualization.picture import Picture, _warn_of_format
from tigon.visualization.summary import _internal_shapes

WEIGHTS = (
    *("_weight", "_bias", "_beta", "_gamma", "_parameters", "_alpha"),
    *("_moving_var", "_moving_mean", "_running_var", "_running_mean"),
)
"""How the names end of what `hide_weights` hides."""

# Fills, of colours that people tell apart who see fewer.
_VARIABLE, _LEARNED, _CHOSEN, _PLAIN, _LOSS = "#dfe7ef", "#f6c9b7", "#f9e2a8", "#e3e0f3", "#cfe8d5"


class NetworkPlot(Picture):
    """The picture of a network; `source` is the same graph in the language of graphviz."""

    def __init__(self, svg: str, name: str, source: str) -> None:
        super().__init__(svg, name)
        self.source = source


def plot_network(
    symbol: Any,
    title: str = "plot",
    save_format: str | None = None,
    shape: Mapping[str, Sequence[int]] | None = None,
    dtype: Any = None,
    node_attrs: Mapping[str, str] | None = None,
    hide_weights: bool = True,
) -> NetworkPlot:
    """The graph of a symbol or of a `HybridBlock`, from its inputs down to its outputs.

    Without graphviz: the picture is SVG text, shown by notebooks; `render()` writes `title.svg`.
    `shape` (shapes of inputs by name) writes on each line the shape that flows there, without the
    batch; `dtype` is MXNet's and not needed. `node_attrs` changes how nodes look: `shape` ('box' or
    'oval'), `fillcolor` and `color`; further attributes of graphviz are in `source` alone.
    `hide_weights` leaves out what layers learn and running statistics.

    >>> from tigon import sym
    >>> net = sym.FullyConnected(sym.var("data"), num_hidden=10, name="fc")
    >>> plot = plot_network(net, title="one layer", shape={"data": (1, 3)})
    >>> plot.svg.count("<rect"), ">fc<" in plot.svg, "weight" in plot.svg
    (2, True, False)
    >>> print(plot.source)
    digraph "one layer" {
      "data" [label="data"];
      "fc" [label="fc\\nFullyConnected, 10"];
      "data" -> "fc" [label="3"];
    }
    """
    _warn_of_format(save_format)
    style = dict(node_attrs or {})
    symbol = _symbol_of(symbol)
    for name, given in (shape or {}).items():
        check(
            fits(tuple, given) or fits(list, given),
            "plot_network",
            f"shape: expected a shape for '{name}', such as (1, 3, 224, 224); given {given!r:.80}",
        )
    shapes = _internal_shapes(symbol, shape or {})
    nodes, edges = _graph(symbol, shapes, hide_weights)
    texts = [_lines(node) for node in nodes]
    sizes = [
        (max(max(map(svg.width_of, lines)) + 16, 48.0), 14.0 * len(lines) + 8) for lines in texts
    ]
    layout = arrange(sizes, [(source, target) for source, target, _ in edges])
    parts = [_line(route, label) for route, (_, _, label) in zip(layout.routes, edges, strict=True)]
    for node, lines, size, centre in zip(nodes, texts, sizes, layout.centres, strict=True):
        parts.append(_box(node, lines, size, centre, style))
    picture = svg.document(layout.width, layout.height, [_ARROW, *parts], title)
    return NetworkPlot(picture, title, _source(title, nodes, texts, edges, style))


def _symbol_of(given: Any) -> Any:
    as_symbol = getattr(type(given), "_as_symbol", None)
    check(
        as_symbol is not None,
        "plot_network",
        f"expected a Symbol or a HybridBlock; given {type(given).__name__}",
    )
    return as_symbol(given)


def _graph(
    symbol: Any, shapes: Mapping[str, Any], hide_weights: bool
) -> tuple[list[Any], list[tuple[int, int, str]]]:
    """The nodes that are drawn, and lines between them: from, to, what is written there."""
    nodes = [
        node
        for node in symbol._nodes()
        if node.op.name != "constant"
        and not (hide_weights and node.op.name == "null" and node.name.endswith(WEIGHTS))
    ]
    place = {node: index for index, node in enumerate(nodes)}
    edges: dict[tuple[int, int, str], None] = {}  # each line once, in order
    for node in nodes:
        for value in node.inputs:
            if value.node in place:
                edges[place[value.node], place[node], _shape_of(value, shapes)] = None
    return nodes, list(edges)


def _shape_of(value: Any, shapes: Mapping[str, Any]) -> str:
    node = value.node
    names = [node.name] if node.op.name == "null" else [f"{node.name}_output"]
    names.append(f"{node.name}_output{value.index}")
    found = next((shapes[name] for name in names if name in shapes), None)
    return "" if not found else "x".join(map(str, found[1:]))


def _lines(node: Any) -> list[str]:
    """The name of a node; below it the operator and what was chosen for it."""
    name = node.name or node.op.name
    if node.op.name == "null":
        return [name]
    chosen = attrs_dict(node.attrs)
    details = []
    if chosen.get("kernel"):
        kernel = "x".join(map(str, chosen["kernel"]))
        stride = tuple(chosen.get("stride") or ())
        if any(step != 1 for step in stride):
            steps = {*stride}
            kernel += "/" + (str(stride[0]) if len(steps) == 1 else "x".join(map(str, stride)))
        details.append(kernel)
    for key in ("num_filter", "num_hidden", "act_type", "pool_type", "mode", "p", "scalar"):
        value = chosen.get(key)
        if value is not None and value != "":
            details.append(f"{value:g}" if isinstance(value, float) else str(value))
    return [name, ", ".join([node.op.name.lstrip("_"), *details])]


def _fill(node: Any) -> str:
    if node.op.name == "null":
        return _VARIABLE
    chosen = attrs_dict(node.attrs)
    if any(
        value.node.op.name == "null" and value.node.name.endswith(WEIGHTS[0])
        for value in node.inputs
    ):
        return _LEARNED
    if any(operand.name == "label" for operand in node.op.operands):
        return _LOSS
    return _CHOSEN if {"act_type", "pool_type"} & set(chosen) else _PLAIN


def _box(
    node: Any, lines: Sequence[str], size: Point, centre: Point, style: Mapping[str, str]
) -> str:
    (width, height), (x, y) = size, centre
    oval = style.get("shape") in ("oval", "ellipse", "circle")
    parts = [
        svg.tooltip(_hint(node)),
        svg.element(
            "rect",
            x=x - width / 2,
            y=y - height / 2,
            width=width,
            height=height,
            rx=height / 2 if oval or node.op.name == "null" else 5.0,
            fill=style.get("fillcolor", _fill(node)),
            stroke=style.get("color", "#5b6472"),
        ),
    ]
    for number, words in enumerate(lines):
        looks: dict[str, str | float] = {"text_anchor": "middle", "fill": "#1c2430"}
        if number:
            looks |= {"font_size": 11, "fill": "#4a5462"}
        parts.append(svg.text(x, y - height / 2 + 16.0 + 14 * number, words, **looks))
    return svg.element("g", *parts)


def _hint(node: Any) -> str:
    """All attributes, where the pointer rests."""
    shown = [f"{key}={value}" for key, value in attrs_dict(node.attrs).items() if value is not None]
    return "\n".join([f"{node.name or node.op.name} ({node.op.name})", *shown])


_ARROW = (
    '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 8 4 0 8z" fill="#7c8694"/></marker></defs>'
)


def _line(route: Sequence[Point], label: str) -> str:
    """A smooth line: vertical wherever it enters or leaves a layer."""
    x, y = route[0]
    path = f"M{x:.1f} {y:.1f}"
    for (x0, y0), (x1, y1) in pairwise(route):
        middle = (y0 + y1) / 2
        if x0 == x1:
            path += f"V{y1:.1f}"
        else:
            path += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    drawn = svg.element("path", d=path, fill="none", stroke="#7c8694", marker_end="url(#end)")
    if not label:
        return drawn
    (x0, y0), (x1, y1) = route[0], route[1]
    x, y = (x0 + x1) / 2 + 4, (y0 + y1) / 2 + 4
    return drawn + svg.text(x, y, label, font_size=10, fill="#4a5462")


def _source(
    title: str,
    nodes: Sequence[Any],
    texts: Sequence[Sequence[str]],
    edges: Sequence[tuple[int, int, str]],
    style: Mapping[str, str],
) -> str:
    names = [json.dumps(node.name or f"{node.op.name}{place}") for place, node in enumerate(nodes)]
    common = [f"{key}={json.dumps(str(value))}" for key, value in style.items()]
    lines = [f"digraph {json.dumps(title)} {{"]
    if common:
        lines.append(f"  node [{', '.join(common)}];")
    for name, words in zip(names, texts, strict=True):
        lines.append(f"  {name} [label={json.dumps(chr(10).join(words))}];")
    for source, target, label in edges:
        shown = f" [label={json.dumps(label)}]" if label else ""
        lines.append(f"  {names[source]} -> {names[target]}{shown};")
    return "\n".join([*lines, "}"])
