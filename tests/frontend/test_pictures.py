"""Pictures of networks and of memory plans, and what notebooks show."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tigon as mx
from tests.frontend.custom_operators import register
from tigon import gluon, nd, sym, viz
from tigon.analysis.memory_plan import MemoryPlan, MemoryRow
from tigon.base import svg
from tigon.gluon import nn
from tigon.visualization.layers import arrange, nearest

SPACE = "{http://www.w3.org/2000/svg}"


def parsed(picture: viz.Picture) -> ElementTree.Element:
    return ElementTree.fromstring(picture.svg)


def words(picture: viz.Picture) -> list[str]:
    return [one.text or "" for one in parsed(picture).iter(f"{SPACE}text")]


# ------------------------------------------------------------------------------------- layout


@st.composite
def graphs(draw: Any) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    count = draw(st.integers(1, 14))
    sizes = draw(
        st.lists(st.tuples(st.floats(10, 120), st.floats(10, 40)), min_size=count, max_size=count)
    )
    pairs = [(a, b) for b in range(count) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=24)) if pairs else []
    return sizes, edges


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_boxes_are_apart_and_lines_go_down_between_them(graph: Any) -> None:
    sizes, edges = graph
    layout = arrange(sizes, edges)
    boxes = [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        for (x, y), (w, h) in zip(layout.centres, sizes, strict=True)
    ]
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert -1e-6 <= left and right <= layout.width + 1e-6
        assert -1e-6 <= top and bottom <= layout.height + 1e-6
        for other in boxes[:index]:
            apart = other[0] - right, left - other[2], other[1] - bottom, top - other[3]
            assert max(apart) >= 20, (boxes[index], other)
    for (source, target), route in zip(edges, layout.routes, strict=True):
        assert route[0] == pytest.approx((layout.centres[source][0], boxes[source][3]))
        assert route[-1] == pytest.approx((layout.centres[target][0], boxes[target][1]))
        assert [y for _, y in route] == sorted(y for _, y in route)
        for x, y in route[1:-1]:
            for left, top, right, bottom in boxes:
                assert not (left < x < right and top < y < bottom)
    assert arrange(sizes, edges) == layout


@given(
    st.lists(st.floats(-50, 50), min_size=2, max_size=6),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_the_nearest_places_are_nearest(wanted: list[float], seed: int) -> None:
    import numpy as np

    random = np.random.default_rng(seed)
    weights = random.uniform(0.5, 4, len(wanted)).tolist()
    apart = random.uniform(0, 20, len(wanted) - 1).tolist()

    def cost(places: Any) -> float:
        return sum(w * (a - b) ** 2 for w, a, b in zip(weights, places, wanted, strict=True))

    found = nearest(wanted, weights, apart)
    assert all(b - a >= d - 1e-9 for a, b, d in zip(found, found[1:], apart, strict=False))
    for _ in range(50):  # of what the rows permit nothing is nearer
        other = np.array(found) + random.normal(0, 3, len(found))
        for index, distance in enumerate(apart):
            other[index + 1] = max(other[index + 1], other[index] + distance)
        assert cost(other) >= cost(found) - 1e-6


# ----------------------------------------------------------------------------------- networks


def lenet() -> sym.Symbol:
    data = sym.var("data")
    first = sym.Convolution(data, kernel=(3, 3), stride=(2, 2), num_filter=8, name="conv")
    second = sym.Activation(first, act_type="relu", name="relu")
    third = sym.Pooling(second, kernel=(2, 2), stride=(2, 2), pool_type="max", name="pool")
    last = sym.FullyConnected(sym.Flatten(third, name="flat"), num_hidden=10, name="fc")
    return sym.SoftmaxOutput(last, name="softmax")


def test_a_network_shows_names_operators_choices_and_shapes() -> None:
    plot = viz.plot_network(lenet(), title="LeNet & kin", shape={"data": (1, 1, 28, 28)})
    assert words(plot) == [
        *("1x28x28", "8x13x13", "8x13x13", "8x6x6", "288", "10"),
        "data",
        *("conv", "Convolution, 3x3/2, 8", "relu", "Activation, relu"),
        *("pool", "Pooling, 2x2/2, max", "flat", "Flatten", "fc", "FullyConnected, 10"),
        *("softmax_label", "softmax", "SoftmaxOutput"),
    ]
    assert parsed(plot).find(f"{SPACE}title").text == "LeNet & kin"


def test_weights_are_shown_where_asked_for() -> None:
    shown = words(viz.plot_network(lenet(), hide_weights=False))
    hidden = words(viz.plot_network(lenet()))
    assert set(shown) - set(hidden) == {"conv_weight", "conv_bias", "fc_weight", "fc_bias"}


@pytest.mark.parametrize("hybridized", [False, True])
def test_blocks_need_no_values_to_be_drawn(hybridized: bool) -> None:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Activation("relu"), nn.Dense(2))
    if hybridized:
        net.hybridize()
    assert [one for one in words(viz.plot_network(net)) if "_" in one] == [
        *("net_conv0_fwd", "net_batchnorm0_fwd", "net_relu0_fwd", "net_dense0_fwd")
    ]
    net.initialize()
    net(nd.ones((1, 3, 8, 8)))
    assert "4x6x6" in words(viz.plot_network(net, shape={"data": (1, 3, 8, 8)}))


@pytest.mark.parametrize("name", ["resnet50_v2", "densenet121", "inceptionv3", "mobilenetv2_0.5"])
def test_networks_of_the_zoo_are_drawn_apart(name: str) -> None:
    net = gluon.model_zoo.vision.get_model(name)
    plot = viz.plot_network(net)
    boxes = [
        tuple(float(rect.get(key)) for key in ("x", "y", "width", "height"))
        for rect in parsed(plot).iter(f"{SPACE}rect")
    ]
    assert len(boxes) > 100
    for index, (x, y, width, height) in enumerate(boxes):
        for a, b, c, d in boxes[:index]:
            assert x >= a + c or a >= x + width or y >= b + d or b >= y + height


def test_names_with_any_letters_are_drawn() -> None:
    named = sym.exp(sym.var('a <b> & "c" \x01 \u6f22'), name="]]>")
    plot = viz.plot_network(named, title="<&>")
    assert words(plot) == ['a <b> & "c" \ufffd \u6f22', "]]>", "exp"]


def test_looks_of_nodes_can_be_chosen() -> None:
    looks = {"shape": "oval", "fillcolor": "#ff0000", "fontsize": "9"}
    plot = viz.plot_network(lenet(), node_attrs=looks)
    assert {rect.get("fill") for rect in parsed(plot).iter(f"{SPACE}rect")} == {"#ff0000"}
    assert '  node [shape="oval", fillcolor="#ff0000", fontsize="9"];' in plot.source


def test_files_are_svg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plot = viz.plot_network(lenet(), title="net")
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open_new_tab", shown.append)
    path = plot.render(directory=tmp_path, view=True)
    assert path == str(tmp_path / "net.svg") and shown == [f"file://{path}"]
    assert Path(path).read_text() == plot.svg == plot._repr_svg_()
    assert plot.render(tmp_path / "other.svg") == str(tmp_path / "other.svg")
    told = "pictures are written as SVG; given format 'pdf': convert the file with a program of "
    with pytest.warns(UserWarning, match=told + "your own"):
        assert plot.render(tmp_path / "third", format="pdf") == str(tmp_path / "third.svg")
    with pytest.warns(UserWarning, match=told + "your own"):
        viz.plot_network(lenet(), save_format="pdf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        viz.plot_network(lenet(), save_format="svg")


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(mx.TigonError) as raised:
        viz.plot_network(nd.ones(2))
    assert str(raised.value) == "plot_network: expected a Symbol or a HybridBlock; given NDArray"
    with pytest.raises(mx.TigonError) as raised:
        viz.plot_network(lenet(), shape={"data": 3})
    assert str(raised.value) == (
        "plot_network: shape: expected a shape for 'data', such as (1, 3, 224, 224); given 3"
    )


# -------------------------------------------------------------------------------------- memory


def test_a_plan_is_drawn_where_its_arrays_lie() -> None:
    net = nn.HybridSequential()
    net.add(
        *[
            nn.Dense(16 * (1 + index % 3), in_units=16 * (1 + (index - 1) % 3) if index else 8)
            for index in range(6)
        ]
    )
    net.initialize()
    net.hybridize()
    with mx.autograd.record():
        net(nd.ones((4, 8))).sum().backward()
    net(nd.ones((4, 8)))
    plans = [program.memory_plan for entry in net.compiled for program in entry.cached.programs]
    rows = [row for plan in plans for row in plan.rows if row.offset is not None and row.nbytes]
    assert len(plans) > 1 and rows
    picture = parsed(viz.plot_memory(net, title="six layers"))
    titles = [
        one.find(f"{SPACE}title").text.split("\n")[0]
        for one in picture.iter(f"{SPACE}g")
        if one.find(f"{SPACE}title") is not None
    ]
    assert titles == [row.name for row in rows]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4), st.integers(1, 3)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=50, deadline=None)
def test_rectangles_are_to_scale(given_rows: Any) -> None:
    rows = tuple(
        MemoryRow(f"t{i}", "temporary", "float32[1]", 64 * size, min(a, b), max(a, b), 64 * place)
        for i, (a, b, place, size) in enumerate(given_rows)
    )
    arena = max(row.offset + row.nbytes for row in rows)
    drawn = ElementTree.fromstring(MemoryPlan(0, 1, arena, 0, rows)._repr_html_())
    panel, *rects = list(drawn.iter(f"{SPACE}rect"))
    steps = 1 + max(row.last for row in rows)
    for row, rect in zip(rows, rects, strict=True):
        x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        left, top, wide, tall = (float(panel.get(key)) for key in ("x", "y", "width", "height"))
        assert (x - left) / wide == pytest.approx(row.first / steps, abs=1e-3)
        assert w / wide == pytest.approx((row.last - row.first + 1) / steps, abs=1e-3)
        assert h / tall == pytest.approx(row.nbytes / arena, abs=1e-3)
        assert (top + tall - y - h) / tall == pytest.approx(row.offset / arena, abs=1e-3)


def test_what_has_no_plan_is_told() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=2))
    with pytest.raises(mx.TigonError) as raised:
        viz.plot_memory(net)
    assert str(raised.value) == (
        "plot_memory: the block has no programs yet; call hybridize() and the block first"
    )
    with pytest.raises(mx.TigonError) as raised:
        viz.plot_memory(3)
    assert str(raised.value) == (
        "plot_memory: expected a MemoryPlan, a bound executor or a hybridized block; given int"
    )


def test_executors_have_a_picture() -> None:
    bound = sym.tanh(sym.dot(sym.var("a"), sym.var("b"))).simple_bind(mx.cpu(), a=(8, 8), b=(8, 8))
    bound.forward()
    assert "arena" in words(viz.plot_memory(bound))[0]


# ----------------------------------------------------------------------------------- notebooks


def test_an_array_that_is_not_computed_says_so_and_is_not_waited_for() -> None:
    import threading

    go = threading.Event()

    def forward(op: Any, in_data: Any, out_data: Any, req: Any, **_: Any) -> None:
        assert go.wait(30)
        op.assign(out_data[0], req[0], in_data[0] * 2)

    register("slow", forward)
    made = nd.Custom(nd.ones((2, 3)), op_type="slow")
    shown = made._repr_html_()
    go.set()
    assert shown == "<pre>&lt;NDArray 2x3 float32 @cpu(0)&gt; not computed yet</pre>"
    made.wait_to_read()
    assert made._repr_html_() == (
        "<pre>[[2. 2. 2.]\n [2. 2. 2.]]\n&lt;NDArray 2x3 float32 @cpu(0)&gt;</pre>"
    )


def test_notebooks_show_blocks_and_symbols() -> None:
    net = nn.Sequential()
    inner = nn.HybridSequential()
    inner.add(nn.Dense(2, in_units=3))
    net.add(inner, inner, nn.Dense(1))
    shown = ElementTree.fromstring(net._repr_html_())
    summaries = [one.itertext() for one in shown.iter("summary")]
    assert ["".join(parts) for parts in summaries] == [
        " Sequential: 9 numbers",
        *("0 HybridSequential: 8 numbers", "0 Dense: 8 numbers"),
        *("1 HybridSequential: 8 numbers", "0 Dense: 8 numbers"),
        "2 Dense: 1 number",
    ]
    assert (sym.var("x") + 1)._repr_svg_().startswith("<svg")
    chain = sym.var("x")
    for _ in range(400):
        chain = sym.tanh(chain)
    assert chain._repr_svg_() is None


def test_numbers_and_attributes_of_svg() -> None:
    assert (
        svg.element("a", x=1 / 3, y=2.0, stroke_width=1) == '<a x="0.33" y="2" stroke-width="1"/>'
    )
    assert svg.width_of("\u6f22\u5b57") > svg.width_of("ab")
