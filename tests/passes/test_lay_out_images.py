"""Images held channels last mean what they meant before, and lie where they should."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fuzz.interpret import interpret
from tigon import _native
from tigon.analysis.memory_order import is_row_major, memory_order, with_ones
from tigon.analysis.views import is_computed
from tigon.base import TensorType, as_dtype
from tigon.base.tiles import WIDE
from tigon.ir import Graph, Value, variable, verify
from tigon.loop import build as L
from tigon.loop.grammar import Load, Loop, Nest, Store, walk
from tigon.loop.map import expressions_of
from tigon.loop.simplify import affine
from tigon.ops import get
from tigon.passes import pipeline
from tigon.passes.gradient import gradient
from tigon.passes.lay_out_images import lay_out_images
from tigon.passes.primitives import stored
from tigon.program.compile import compile_graph

F32 = as_dtype("float32")


def image(name: str, *shape: int) -> Value:
    return variable(name, TensorType(shape, F32))


def primitives(graph: Graph) -> Graph:
    """As the pass gets it."""
    for step in pipeline.PIPELINE:
        if step.run is lay_out_images:
            return graph
        if not step.switch:
            graph = step.run(graph, interpret) if step.evaluates else step.run(graph)
    raise AssertionError("the pass is in the pipeline")


def with_gradients(outputs: list[Value], inputs: list[Value]) -> Graph:
    cotangents = [variable(f"g{n}", value.type) for n, value in enumerate(outputs)]
    found = gradient(outputs, cotangents, inputs)
    return Graph([*inputs, *cotangents], [*outputs, *[v for v in found if v is not None]])


def geometries() -> list[tuple[tuple[int, ...], dict[str, object]]]:
    """(shapes of data and weight, attributes)."""
    return [
        ((2, 16, 9, 10, 32, 16, 3, 3), {"pad": (1, 1)}),
        ((2, 3, 15, 15, 16, 3, 7, 7), {"stride": (2, 2), "pad": (3, 3)}),
        ((2, 16, 12, 12, 32, 16, 1, 1), {"stride": (2, 2)}),
        ((1, 32, 10, 10, 16, 32, 1, 1), {}),
        ((2, 16, 12, 11, 16, 16, 3, 3), {"dilate": (2, 2), "pad": (2, 1)}),
        ((2, 16, 13, 13, 48, 16, 3, 3), {"stride": (3, 2), "pad": (1, 2)}),
        ((2, 32, 9, 9, 32, 1, 3, 3), {"num_group": 32, "pad": (1, 1)}),
        ((2, 32, 9, 9, 32, 1, 3, 3), {"num_group": 32, "stride": (2, 2), "pad": (1, 1)}),
        ((2, 32, 9, 9, 64, 16, 3, 3), {"num_group": 2, "pad": (1, 1)}),
        ((2, 8, 9, 9, 20, 8, 3, 3), {"pad": (1, 1)}),
        ((1, 16, 9, 8, 16, 16, 3, 1), {"pad": (3, 2)}),  # wider than the kernel
        ((1, 16, 5, 26, 16, 1, 1, 3), {"num_group": 16, "pad": (1, 3)}),
    ]


@pytest.mark.parametrize("layout", [None, "NHWC"])
@pytest.mark.parametrize("case", range(len(geometries())))
def test_convolutions_and_their_gradients(case: int, layout: str | None) -> None:
    shapes, attrs = geometries()[case]
    order = (0, 1, 2, 3) if layout is None else (0, 2, 3, 1)
    x = image("x", *(shapes[axis] for axis in order))
    w = image("w", *(shapes[4 + axis] for axis in order))
    fields = {"kernel": shapes[6:], "num_filter": shapes[4], "no_bias": True, "layout": layout}
    y = get("Convolution")(x, w, **fields, **attrs)
    y = get("relu")(y)
    graph = primitives(with_gradients([y], [x, w]))
    result = verify(lay_out_images(graph, WIDE))
    assert [v.type for v in result.outputs] == [v.type for v in graph.outputs]
    random = np.random.default_rng(case)
    given = [random.integers(-3, 4, v.shape).astype("float32") for v in graph.inputs]
    for found, wanted in zip(interpret(result, given), interpret(graph, given), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert lay_out_images(result, WIDE) is result


def random_network(random: np.random.Generator, last: bool = False) -> Graph:
    """Convolutions among whatever else reads images: sums of two, joins, pooling, statistics,
    slices, turned and flattened views. `last`: channels are, in what the graph says, too."""
    order, channels = ((0, 2, 3, 1), 3) if last else ((0, 1, 2, 3), 1)
    layout = {"layout": "NHWC"} if last else {}

    def ordered(*shape: int) -> list[int]:
        return [shape[axis] for axis in order]

    x = image("x", *ordered(2, 16, 12, 12))
    inputs, images, others = [x], [x], []
    trains = bool(random.integers(2))

    def pick(*choices: object) -> object:
        return choices[int(random.integers(len(choices)))]

    for number in range(int(random.integers(3, 9))):
        y = images[int(random.integers(len(images)))]
        kinds = ("convolution", "convolution", "convolution", "sum", "join", "pool", "scale")
        kind = pick(*kinds, "view", *([] if last else ["other image"]))
        count = y.shape[channels]
        if kind == "convolution":
            groups, k = pick(1, 1, count), pick(1, 3)
            filters = count if groups > 1 else pick(16, 32, 20, 24)
            fields = {
                "kernel": (k, k),
                "num_filter": filters,
                "num_group": groups,
                "pad": (k // 2, k // 2),
                "stride": pick((1, 1), (2, 2)),
                "no_bias": True,
                **layout,
            }
            packed = not trains and groups == 1 and filters % 16 == 0 and pick(True, False)
            shape = (filters // 16, count, k, k, 16) if packed else ()
            w = image(f"w{number}", *(shape or ordered(filters, count // groups, k, k)))
            inputs.append(w)
            y = get("_convolution_over_panels" if packed else "Convolution")(y, w, **fields)
        elif kind == "sum":
            alike = [other for other in images if other.shape == y.shape]
            y = y + alike[int(random.integers(len(alike)))]
        elif kind == "join":
            alike = [
                other
                for other in images
                if np.delete(other.shape, channels).tolist()
                == np.delete(y.shape, channels).tolist()
            ]
            y = get("concat")(y, alike[int(random.integers(len(alike)))], dim=channels)
        elif kind == "pool":
            fields = {"kernel": (2, 2), "pad": (1, 1), "pool_type": pick("max", "sum"), **layout}
            y = get("Pooling")(y, stride=pick((1, 1), (2, 2)), **fields)
        elif kind == "scale":
            s = image(f"s{number}", *([count] if last else [count, 1, 1]))
            inputs.append(s)
            y = get("relu")(y * s)
        elif kind == "other image":
            y = pick(*other_images(y))
        else:
            others.append(
                pick(
                    get("sum")(y, axis=(0, 2, 3)),
                    get("transpose")(y, axes=(0, 2, 3, 1)) * 2,
                    get("Flatten")(y),
                    get("slice_axis")(y, axis=1, begin=1, end=9) + 1,
                    get("argmax")(y, axis=pick(1, 2)),
                )
            )
            continue
        images.append(y)
    return (
        with_gradients([images[-1]], inputs)
        if trains
        else Graph(inputs, [*images[1:], *others] or [x + 1])
    )


def other_images(y: Value) -> list[Value]:
    """Views that are images again, of other elements at each place."""
    n, c, h, w = y.shape
    widths = {"before": (0, 0, 0, 0), "after": (0, 0, 0, 2)}
    return [
        get("reverse")(y, axis=2),
        get("reverse")(y, axis=1),
        get("transpose")(y, axes=(0, 1, 3, 2)),
        get("transpose")(get("reshape")(y, shape=(n, h, w, c)), axes=(0, 3, 1, 2)),
        get("slice_axis")(get("_pad")(y, **widths, value=1.0), axis=3, begin=2, end=w + 2),
    ]


def other_by_number(number: int) -> Graph:
    x, w, v = image("x", 2, 16, 9, 11), image("w", 32, 16, 3, 3), image("v", 32, 32, 3, 3)
    d = image("d", 32, 1, 3, 3)
    fields = {"kernel": (3, 3), "num_filter": 32, "pad": (1, 1), "no_bias": True}
    y = other_images(get("relu")(get("Convolution")(x, w, **fields)))[number]
    z = get("Convolution")(y, v, **fields) + get("Convolution")(y, d, num_group=32, **fields)
    return Graph([x, w, v, d], [z])


@pytest.mark.parametrize("number", range(5))
def test_views_of_an_image_that_are_other_images(number: int) -> None:
    """Their shapes may be those of what lies in memory, their elements are not."""
    graph = primitives(other_by_number(number))
    random = np.random.default_rng(number)
    given = [random.integers(-2, 3, value.shape).astype("float32") for value in graph.inputs]
    found = interpret(lay_out_images(graph, WIDE), given)
    for one, wanted in zip(found, interpret(graph, given), strict=True):
        np.testing.assert_array_equal(one, wanted)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed: int, last: bool) -> None:
    random = np.random.default_rng(seed)
    graph = primitives(random_network(random, last))
    result = verify(lay_out_images(graph, WIDE))
    assert [v.type for v in result.outputs] == [v.type for v in graph.outputs]
    given = [random.integers(-1, 2, v.shape).astype("float32") for v in graph.inputs]
    for found, wanted in zip(interpret(result, given), interpret(graph, given), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert lay_out_images(result, WIDE) is result


def gradient_graph(name: str, layout: str | None, wanted: int, **fields: object) -> Graph:
    """Of an operator over an image of 16 channels and 24x24 places: its result, or the gradient of
    an operand."""
    shape = (2, 16, 24, 24) if layout is None else (2, 24, 24, 16)
    operands = [image("x", *shape)]
    if name == "Convolution":
        groups = int(fields.get("num_group", 1))  # type: ignore[call-overload]
        parts = (16, 16 // groups, 3, 3) if layout is None else (16, 3, 3, 16 // groups)
        operands.append(image("w", *parts))
        fields |= {"num_filter": 16, "no_bias": True}
    y = get(name)(*operands, kernel=(3, 3), pad=(1, 1), layout=layout, **fields)
    if not wanted:
        return Graph(operands, [y])
    g = variable("g", y.type)
    return Graph([*operands, g], [gradient([y], [g], operands)[wanted - 1]])


def reads_in_line(nest: object) -> bool:
    """Whether vectors hold what lies side by side, but for weights, which are put in order."""
    if not isinstance(nest, Nest) or nest.buffers[0].dtype is not F32:
        return True
    loops = [stmt for stmt in nest.body if isinstance(stmt, Loop)]
    names = {axis.name for loop in loops for axis in loop.axes if axis.vector}
    loads = [
        node for expr in expressions_of(nest.body) for node in walk(expr) if isinstance(node, Load)
    ]
    extent = [axis.stop.value for axis in nest.space]
    if np.prod(extent, initial=1) < 24:
        return True
    forms = [affine(load.index, names) for load in loads]
    return all(
        form is not None and set(form[0].values()) <= {L.const(0), L.const(1)} for form in forms
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "name, wanted, fields",
    [
        ("Pooling", 0, {"pool_type": "max"}),
        ("Pooling", 1, {"pool_type": "max"}),
        ("Pooling", 0, {"pool_type": "sum"}),
        ("Pooling", 1, {"pool_type": "sum"}),
        ("Convolution", 0, {}),
        ("Convolution", 1, {}),
        ("Convolution", 0, {"num_group": 16}),
        ("Convolution", 1, {"num_group": 16}),
        ("Convolution", 2, {"num_group": 16}),
    ],
)
def test_channels_that_are_given_last_are_what_vectors_hold(
    name: str, wanted: int, fields: dict[str, object], stride: int
) -> None:
    """Nothing is gathered, no border is looked for at every place, and channels never come first:
    depthwise convolutions and gradients of pooling took 10 to 40 times as long."""
    graph = gradient_graph(name, "NHWC", wanted, stride=(stride, stride), **fields)
    compiled = compile_graph(graph)
    for kernel in compiled.kernels:
        assert "left = select" not in str(kernel), kernel
        assert all(reads_in_line(lowered.nest) for lowered in kernel.nests), kernel
    random = np.random.default_rng(stride)
    given = [random.integers(-3, 4, v.shape).astype("float32") for v in graph.inputs]
    (found,) = compiled.run([_native.from_numpy(array) for array in given])
    (exact,) = interpret(primitives(graph), given)
    np.testing.assert_array_equal(found.asnumpy(), exact)


@pytest.mark.parametrize("layout", [None, "NHWC"])
@pytest.mark.parametrize("kind", ["max", "sum"])
def test_gradients_of_pooling_are_computed_where_they_go(kind: str, layout: str | None) -> None:
    """What is cut out of cells and phases is computed there: it is not kept before."""
    graph = gradient_graph("Pooling", layout, 1, stride=(2, 2), pool_type=kind)
    (lowered,) = compile_graph(graph).kernels[-1].nests
    assert isinstance(lowered.nest, Nest)
    (loop,) = lowered.nest.body
    assert isinstance(loop, Loop)
    (store,) = loop.body
    assert isinstance(store, Store) and not isinstance(store.value, Load)


def single(y: Value, filters: int, packed: bool, name: str) -> Value:
    """A convolution of single places, its weight in panels if it is `packed`."""
    width, channels = 16, y.shape[1]
    shape = (filters // width, channels, 1, 1, width) if packed else (filters, channels, 1, 1)
    op = get("_convolution_over_panels" if packed else "Convolution")
    return op(y, image(name, *shape), kernel=(1, 1), num_filter=filters, no_bias=True)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("filters", [16, 24])
def test_no_image_is_turned_to_and_fro(packed: bool, filters: int) -> None:
    """Through single places (narrow, with 24 filters, and wide) and channels by themselves."""
    x, w = image("x", 1, 3, 57, 57), image("w", 32, 3, 3, 3)
    y = get("Convolution")(x, w, kernel=(3, 3), stride=(2, 2), num_filter=32, no_bias=True)
    for number in range(2):
        shortcut = y
        y = get("relu")(single(y, 96, packed, f"wide{number}"))
        own = image(f"own{number}", 96, 1, 3, 3)
        y = get("Convolution")(
            y, own, kernel=(3, 3), pad=(1, 1), num_filter=96, num_group=96, no_bias=True
        )
        y = single(get("relu")(y), filters, packed and filters == 16, f"narrow{number}")
        y = y + shortcut if y.shape == shortcut.shape else y
    graph = lay_out_images(primitives(Graph.of([y])), WIDE)
    made = {node.outputs[0] for node in graph.nodes if is_computed(node)}
    stored_ones = [node.inputs[0] for node in graph.nodes if node.op is stored]
    moved = [
        value
        for value in stored_ones
        if not is_row_major(with_ones(memory_order(value, made, {}), value.shape))
    ]
    assert moved == []


def test_single_places_of_an_image_that_lies_alone_stay_along_lines() -> None:
    """Two transpositions take longer than vectors of filters save."""
    x = image("x", 4, 64, 28, 28)
    graph = primitives(Graph.of([get("relu")(single(x, 64, True, "w"))]))
    assert lay_out_images(graph, WIDE) is graph


def test_what_has_no_images_stays() -> None:
    x, w = image("x", 8, 64), image("w", 64, 64)
    graph = primitives(with_gradients([get("softmax")(get("dot")(x, w))], [x, w]))
    assert lay_out_images(graph, WIDE) is graph
    few = image("w", 8, 16, 3, 3)  # of a vector of filters half would be empty
    picture = image("x", 2, 16, 8, 8)
    y = get("Convolution")(picture, few, kernel=(3, 3), num_filter=8, no_bias=True)
    graph = primitives(Graph([picture, few], [y]))
    assert lay_out_images(graph, WIDE) is graph


def test_a_flattened_image_is_read_in_its_order() -> None:
    x, w = image("x", 2, 16, 8, 8), image("w", 32, 16, 3, 3)
    v = image("v", 10, 32 * 36)
    y = get("Convolution")(x, w, kernel=(3, 3), num_filter=32, no_bias=True)
    z = get("FullyConnected")(y, v, num_hidden=10, no_bias=True)
    graph = primitives(Graph([x, w, v], [z]))
    result = lay_out_images(graph, WIDE)
    (product,) = [n for n in result.nodes if n.outputs[0] is result.outputs[0]]
    assert product.inputs[0].node.op.has_memory or product.inputs[1].node.op.has_memory
    random = np.random.default_rng(0)
    given = [random.integers(-2, 3, value.shape).astype("float32") for value in graph.inputs]
    for found, wanted in zip(interpret(result, given), interpret(graph, given), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_weights_are_put_into_panels_just_before_they_are_read() -> None:
    """Else the panels of all layers would lie there from the beginning."""
    x = image("x", 4, 32, 12, 12)
    weights = [image(f"w{n}", 32, 32, 3, 3) for n in range(6)]
    y = x
    for w in weights:
        y = get("Convolution")(y, w, kernel=(3, 3), num_filter=32, pad=(1, 1), no_bias=True)
    plan = compile_graph(Graph([x, *weights], [y])).memory_plan
    panels = [row for row in plan.rows if row.kind == "temporary" and row.type.endswith("3,3,32]")]
    assert len(panels) == 6 and all(row.last == row.first + 1 for row in panels)
