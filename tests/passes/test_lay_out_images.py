"""Images held channels last mean what they meant before, and lie where they should."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fuzz.interpret import interpret
from tigon.base import TensorType, as_dtype
from tigon.base.tiles import WIDE
from tigon.ir import Graph, Value, variable, verify
from tigon.ops import get
from tigon.passes import pipeline
from tigon.passes.gradient import gradient
from tigon.passes.lay_out_images import lay_out_images
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


@pytest.mark.parametrize("case", range(len(geometries())))
def test_convolutions_and_their_gradients(case: int) -> None:
    shapes, attrs = geometries()[case]
    x, w = image("x", *shapes[:4]), image("w", *shapes[4:])
    y = get("Convolution")(x, w, kernel=shapes[6:], num_filter=shapes[4], no_bias=True, **attrs)
    y = get("relu")(y)
    graph = primitives(with_gradients([y], [x, w]))
    result = verify(lay_out_images(graph, WIDE))
    assert [v.type for v in result.outputs] == [v.type for v in graph.outputs]
    random = np.random.default_rng(case)
    given = [random.integers(-3, 4, v.shape).astype("float32") for v in graph.inputs]
    for found, wanted in zip(interpret(result, given), interpret(graph, given), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert lay_out_images(result, WIDE) is result


def random_network(random: np.random.Generator) -> Graph:
    """Convolutions among whatever else reads images: sums of two, joins, pooling, statistics,
    slices, turned and flattened views."""
    x = image("x", 2, 16, 12, 12)
    inputs, images, others = [x], [x], []

    def pick(*choices: object) -> object:
        return choices[int(random.integers(len(choices)))]

    for number in range(int(random.integers(3, 9))):
        y = images[int(random.integers(len(images)))]
        kind = pick("convolution", "convolution", "sum", "join", "pool", "scale", "view")
        if kind == "convolution":
            groups = pick(1, 1, y.shape[1])
            filters = y.shape[1] if groups > 1 else pick(16, 32, 20)
            w = image(f"w{number}", filters, y.shape[1] // groups, 3, 3)
            inputs.append(w)
            fields = {"pad": (1, 1), "stride": pick((1, 1), (2, 2)), "num_group": groups}
            y = get("Convolution")(y, w, kernel=(3, 3), num_filter=filters, no_bias=True, **fields)
        elif kind == "sum":
            alike = [other for other in images if other.shape == y.shape]
            y = y + alike[int(random.integers(len(alike)))]
        elif kind == "join":
            alike = [other for other in images if other.shape[2:] == y.shape[2:]]
            y = get("concat")(y, alike[int(random.integers(len(alike)))], dim=1)
        elif kind == "pool":
            fields = {"kernel": (2, 2), "pad": (1, 1), "pool_type": pick("max", "sum")}
            y = get("Pooling")(y, stride=pick((1, 1), (2, 2)), **fields)
        elif kind == "scale":
            s = image(f"s{number}", y.shape[1], 1, 1)
            inputs.append(s)
            y = get("relu")(y * s)
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
        if number % 2
        else Graph(inputs, [*images[1:], *others] or [x + 1])
    )


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed: int) -> None:
    random = np.random.default_rng(seed)
    graph = primitives(random_network(random))
    result = verify(lay_out_images(graph, WIDE))
    assert [v.type for v in result.outputs] == [v.type for v in graph.outputs]
    given = [random.integers(-1, 2, v.shape).astype("float32") for v in graph.inputs]
    for found, wanted in zip(interpret(result, given), interpret(graph, given), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert lay_out_images(result, WIDE) is result


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
