"""Every layer against what Caffe computes: numbers, shapes, gradients, other batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tigon as mx
from tests.caffe.semantics import FORWARD
from tigon import autograd, nd
from tigon.contrib import caffe
from tigon.contrib.caffe.layers import RECORDS, REFUSED

Shape = tuple[int, ...]
NORMAL, POSITIVE, TWO = "normal", "positive", "classes of two"


class Case(NamedTuple):
    """A layer: its settings, the shapes of its bottoms, and what is in them: numbers of some kind,
    or whole numbers below one, which have no gradient."""

    type: str
    settings: str
    bottoms: list[Shape]
    filled: tuple[Any, ...] = ()
    tops: int = 1
    train: bool = True
    has_gradient: bool = True


IMAGE = (2, 4, 6, 5)


def conv(settings: str, shape: Shape = IMAGE, type: str = "Convolution", **more: Any) -> Case:
    return Case(type, f"convolution_param {{ num_output: 4 {settings} }}", [shape], **more)


def pool(settings: str, shape: Shape = (2, 2, 7, 6)) -> Case:
    return Case("Pooling", f"pooling_param {{ {settings} }}", [shape])


def plain(type: str, settings: str = "", shape: Shape = (2, 3, 4), kind: Any = NORMAL) -> Case:
    return Case(type, settings, [shape], (kind,))


def loss(type: str, settings: str, *shapes: Shape, filled: tuple[Any, ...], tops: int = 1) -> Case:
    return Case(type, settings, list(shapes), filled, tops)


CASES = [
    conv("kernel_size: 3"),
    conv("kernel_size: 3 stride: 2 pad: 1 bias_term: false"),
    conv("kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 1"),
    conv("kernel_size: 2 kernel_size: 3 dilation: 2 group: 2"),
    conv("kernel_size: 2 stride: 3", (2, 4, 7)),
    Case("Convolution", "convolution_param { num_output: 2 kernel_size: 2 }", [(1, 2, 3, 3)] * 2,
         tops=2),
    conv("kernel_size: 3 stride: 2 pad: 1 group: 2", type="Deconvolution"),
    conv("kernel_size: 2 bias_term: false", (2, 4, 3), type="Deconvolution"),
    pool("kernel_size: 3 stride: 2"),
    pool("kernel_size: 3 stride: 2 pad: 1 pool: AVE"),
    pool("kernel_size: 2 stride: 2 pad: 1 pool: MAX", (1, 2, 5, 5)),
    pool("kernel_size: 2 stride: 2 pad: 1 pool: AVE", (1, 2, 5, 4)),
    pool("kernel_size: 4 stride: 3 pool: AVE", (1, 2, 3, 8)),
    pool("kernel_size: 3 stride: 2 pad: 1 pool: AVE round_mode: FLOOR"),
    pool("kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0"),
    pool("global_pooling: true pool: AVE"),
    plain("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }", IMAGE),
    plain("LRN", "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }", IMAGE),
    Case("Crop", "crop_param { offset: 1 }", [(2, 3, 6, 5), (2, 3, 4, 3)]),
    Case("Crop", "crop_param { axis: 1 offset: 0 offset: 2 offset: 1 }", [IMAGE, (2, 3, 2, 2)]),
    plain("MVN", "mvn_param { eps: 0.1 }", IMAGE),
    plain("MVN", "mvn_param { across_channels: true normalize_variance: false }", IMAGE),
    plain("ReLU"),
    plain("ReLU", "relu_param { negative_slope: 0.1 }"),
    plain("PReLU", "", IMAGE),
    plain("PReLU", "prelu_param { channel_shared: true }"),
    plain("ELU", "elu_param { alpha: 0.5 }"),
    plain("Sigmoid"),
    plain("TanH"),
    plain("BNLL"),
    plain("AbsVal"),
    plain("Swish", "swish_param { beta: 2 }"),
    plain("Clip", "clip_param { min: -0.5 max: 0.7 }"),
    plain("Power", "power_param { power: 2 scale: 3 shift: 1 }"),
    plain("Power", "power_param { power: -0.5 shift: 0.5 }", kind=POSITIVE),
    plain("Power", "power_param { scale: -1 }"),
    plain("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
    plain("Exp"),
    plain("Log", "log_param { base: 10 scale: 2 shift: 1 }", kind=POSITIVE),
    plain("Log", kind=POSITIVE),
    Case("Threshold", "threshold_param { threshold: 0.3 }", [(2, 3)], has_gradient=False),
    Case("Dropout", "dropout_param { dropout_ratio: 0.3 }", [(2, 3)], train=False),
    Case("Eltwise", "eltwise_param { coeff: 1 coeff: -2 coeff: 0.5 }", [(2, 3, 4)] * 3),
    Case("Eltwise", "", [(2, 3)] * 2),
    Case("Eltwise", "eltwise_param { operation: PROD }", [(2, 3)] * 3),
    Case("Eltwise", "eltwise_param { operation: MAX }", [(2, 3)] * 3),
    plain("InnerProduct", "inner_product_param { num_output: 3 }", IMAGE),
    plain("InnerProduct", "inner_product_param { num_output: 3 axis: 2 transpose: true }", IMAGE),
    plain("InnerProduct", "inner_product_param { num_output: 3 axis: -1 bias_term: false }"),
    plain("InnerProduct", "inner_product_param { num_output: 3 axis: 0 }"),
    plain("Embed", "embed_param { num_output: 3 input_dim: 5 }", (2, 4), 5),
    plain("Embed", "embed_param { num_output: 2 input_dim: 5 bias_term: false }", (3,), 5),
    plain("Scale", "scale_param { bias_term: true }", IMAGE),
    plain("Scale", "scale_param { axis: 2 num_axes: -1 }", IMAGE),
    plain("Scale", "scale_param { num_axes: 0 }"),
    Case("Scale", "scale_param { axis: 0 bias_term: true }", [IMAGE, (2, 4)]),
    plain("Bias", "bias_param { axis: -2 }"),
    Case("Bias", "", [IMAGE, (4, 6)]),
    plain("BatchNorm", "batch_norm_param { eps: 0.01 }", IMAGE),
    plain("BatchNorm", "batch_norm_param { use_global_stats: true }"),
    plain("Softmax"),
    plain("Softmax", "softmax_param { axis: -1 }"),
    Case("ArgMax", "", [IMAGE], (3,), has_gradient=False),
    Case("ArgMax", "argmax_param { top_k: 3 out_max_val: true }", [IMAGE], has_gradient=False),
    Case("ArgMax", "argmax_param { top_k: 2 axis: 1 }", [IMAGE], (2,), has_gradient=False),
    Case("ArgMax", "argmax_param { axis: -1 out_max_val: true }", [IMAGE], has_gradient=False),
    plain("Reduction"),
    plain("Reduction", "reduction_param { operation: ASUM axis: 1 coeff: 2 }"),
    plain("Reduction", "reduction_param { operation: SUMSQ axis: -1 }"),
    plain("Reduction", "reduction_param { operation: MEAN axis: 1 coeff: -1 }"),
    Case("Concat", "", [(2, 1, 3), (2, 2, 3), (2, 3, 3)]),
    Case("Concat", "concat_param { axis: -1 }", [(2, 1), (2, 2)]),
    Case("Concat", "concat_param { concat_dim: 0 }", [(2, 3), (2, 3)]),
    Case("Slice", "slice_param { slice_point: 1 slice_point: 3 }", [IMAGE], tops=3),
    Case("Slice", "slice_param { axis: -2 }", [IMAGE], tops=2),
    Case("Slice", "slice_param { slice_dim: 2 slice_point: 2 }", [IMAGE], tops=2),
    Case("Split", "", [(2, 3)], tops=3),
    plain("Flatten", "", IMAGE),
    plain("Flatten", "flatten_param { axis: 1 end_axis: 2 }", IMAGE),
    plain("Flatten", "flatten_param { axis: -2 }", IMAGE),
    plain("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }", (2, 8)),
    plain("Reshape", "reshape_param { shape { dim: 2 dim: 2 } axis: 1 num_axes: 1 }", (2, 4, 3)),
    plain("Reshape", "reshape_param { shape { dim: 5 dim: 6 } axis: -3 num_axes: 2 }", IMAGE),
    plain("Reshape", "reshape_param { shape { dim: 1 } axis: 1 num_axes: 0 }", (2, 4)),
    plain("Reshape", "reshape_param { shape { } }", (1, 1)),
    plain("Tile", "tile_param { axis: 1 tiles: 3 }"),
    Case("BatchReindex", "", [(4, 2, 3), (6,)], (NORMAL, 4)),
    Case("Parameter", "parameter_param { shape { dim: 2 dim: 3 } }", []),
    loss("SoftmaxWithLoss", "", (4, 3), (4,), filled=(NORMAL, 3)),
    loss("SoftmaxWithLoss", "loss_param { ignore_label: 1 }", (2, 3, 4, 2), (2, 1, 4, 2),
         filled=(NORMAL, 3), tops=2),
    loss("SoftmaxWithLoss", "loss_param { ignore_label: 1 normalization: FULL }", (2, 3, 4),
         (2, 4), filled=(NORMAL, 3)),
    loss("SoftmaxWithLoss", "loss_param { normalize: false } softmax_param { axis: 2 }", (2, 4, 3),
         (2, 4), filled=(NORMAL, 3)),
    loss("SoftmaxWithLoss", "loss_param { normalization: BATCH_SIZE ignore_label: 0 }", (2, 3, 4),
         (2, 4), filled=(NORMAL, 3)),
    loss("SoftmaxWithLoss", "loss_param { normalization: NONE }", (4, 3), (4, 1),
         filled=(NORMAL, 3)),
    loss("SoftmaxWithLoss", "loss_param { ignore_label: 0 } loss_weight: 2", (2, 3), (2,),
         filled=(NORMAL, 1)),
    loss("SigmoidCrossEntropyLoss", "", (2, 3, 4), (2, 12), filled=(NORMAL, 2)),
    loss("SigmoidCrossEntropyLoss", "loss_param { ignore_label: 2 normalization: VALID }", (3, 4),
         (3, 4), filled=(NORMAL, 3)),
    loss("SigmoidCrossEntropyLoss", "loss_param { normalize: true }", (3, 4), (3, 4),
         filled=(NORMAL, 2)),
    loss("EuclideanLoss", "", (3, 4), (3, 4), filled=()),
    loss("EuclideanLoss", "", (3, 2, 2), (3, 4), filled=()),
    loss("HingeLoss", "", (4, 3), (4,), filled=(NORMAL, 3)),
    loss("HingeLoss", "hinge_loss_param { norm: L2 }", (4, 3, 1), (4, 1), filled=(NORMAL, 3)),
    loss("ContrastiveLoss", "contrastive_loss_param { margin: 2 legacy_version: true }", (6, 2),
         (6, 2), (6, 1), filled=(NORMAL, NORMAL, 2)),
    loss("MultinomialLogisticLoss", "", (4, 3), (4,), filled=(POSITIVE, 3)),
    Case("Accuracy", "", [(6, 3), (6,)], (NORMAL, 3), has_gradient=False),
    Case("Accuracy", "accuracy_param { top_k: 2 ignore_label: 1 }", [(2, 4, 5), (2, 5)], (3, 4),
         tops=2, has_gradient=False),
    Case("Accuracy", "accuracy_param { axis: -1 }", [(2, 5, 3), (2, 5)], (NORMAL, 3), tops=2,
         has_gradient=False),
]  # fmt: skip


def text_of(case: Case, shapes: list[Shape]) -> str:
    lines = []
    for number, shape in enumerate(shapes):
        dims = " ".join(f"dim: {extent}" for extent in shape)
        lines.append(
            f'layer {{ name: "in{number}" type: "Input" top: "b{number}" '
            f"input_param {{ shape {{ {dims} }} }} }}"
        )
    bottoms = " ".join(f'bottom: "b{number}"' for number in range(len(shapes)))
    tops = " ".join(f'top: "t{number}"' for number in range(case.tops))
    lines.append(f'layer {{ name: "own" type: "{case.type}" {bottoms} {tops} {case.settings} }}')
    return "\n".join(lines)


def drawn(draw: np.random.Generator, shape: Shape, kind: Any) -> np.ndarray:
    if isinstance(kind, int):
        return draw.integers(kind, size=shape).astype(float)
    numbers = draw.uniform(0.3, 2, shape) if kind == POSITIVE else draw.normal(size=shape)
    return numbers.astype(np.float32).astype(float)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{n}-{CASES[n].type}")
def test_layers(number: int, tmp_path: Path) -> None:
    case, draw = CASES[number], np.random.default_rng(number)
    path = tmp_path / "net.prototxt"
    path.write_text(text_of(case, case.bottoms))
    net = caffe.load_net(path)
    names = list(net.network.arrays)
    blobs = {
        name: drawn(draw, given.shape, POSITIVE if given.is_state else NORMAL)
        for name, given in net.network.arrays.items()
    }
    for name, array in blobs.items():
        net.params[name]._load(nd.array(array))
    net.cast("float64")
    kinds = case.filled or (NORMAL,) * len(case.bottoms)
    inputs = [drawn(draw, shape, kind) for shape, kind in zip(case.bottoms, kinds, strict=True)]
    layer = net.layer_messages[-1]
    function = FORWARD[case.type]
    wanted = function(layer, inputs, [blobs[name] for name in names])
    given = [nd.array(array, dtype="float64") for array in inputs]
    moving = [i for i, kind in enumerate(kinds) if not isinstance(kind, int)]
    for i in moving:
        given[i].attach_grad()
    with autograd.record(train_mode=case.train):
        found = net(*given)
    found = found if isinstance(found, list) else [found]
    assert net.output_names == [f"t{i}" for i in range(case.tops)]
    several = [f"own_{i}_output" for i in range(case.tops)] if case.tops > 1 else ["own_output"]
    assert net.symbol.list_outputs() == (["b0"] * 3 if case.type == "Split" else several)
    for top, own, theirs in zip(net.output_names, found, wanted, strict=True):
        assert net.output_shapes[top] == theirs.shape
        np.testing.assert_allclose(own.asnumpy(), theirs.reshape(own.shape), rtol=1e-6, atol=1e-9)
    if not case.has_gradient:
        return
    # Along one direction through all that moves, the slope is the sum of gradients times it.
    weights = [draw.normal(size=array.shape) for array in wanted]
    with autograd.record(train_mode=case.train):
        total = sum((a * nd.array(w.reshape(a.shape), dtype="float64")).sum()
                    for a, w in zip(as_list(net(*given)), weights, strict=True))  # fmt: skip
    total.backward()
    learned = [name for name in names if not net.network.arrays[name].is_state]
    ways = {i: draw.normal(size=inputs[i].shape) for i in moving}
    slopes = {name: draw.normal(size=blobs[name].shape) for name in learned}

    def value(step: float) -> float:
        x = [a + step * ways[i] if i in ways else a for i, a in enumerate(inputs)]
        own = [blobs[n] + step * slopes[n] if n in slopes else blobs[n] for n in names]
        return sum((a * w).sum() for a, w in zip(function(layer, x, own), weights, strict=True))

    slope = sum((given[i].grad.asnumpy() * way).sum() for i, way in ways.items())
    slope += sum((net.params[n].grad().asnumpy() * way).sum() for n, way in slopes.items())
    rise = (value(1e-5) - value(-1e-5)) / 2e-5
    np.testing.assert_allclose(slope, rise, rtol=1e-5, atol=1e-7)


def as_list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


FIXED = {"axis: 0", "top_k: 3 out", "shape { dim: 2 dim: 3 }", "shape { }"}
"""Settings under which the batch is no axis of its own, or is given."""


def test_symbols_serve_other_batches(tmp_path: Path) -> None:
    """One that was put together for a batch has the shapes of one for twice as many."""
    for number, case in enumerate(CASES):
        shapes = [
            (2 * shape[0], *shape[1:]) if shape[0] == case.bottoms[0][0] else shape
            for shape in case.bottoms
        ]
        symbols = []
        for given in (case.bottoms, shapes):
            path = tmp_path / f"{number}.prototxt"
            path.write_text(text_of(case, given))
            try:
                symbols.append(caffe.load_net(path).symbol)
            except mx.TigonError:
                assert case.type == "Reshape", case
        if any(fixed in case.settings for fixed in FIXED) or len(symbols) < 2:
            continue
        told = {f"b{i}": shape for i, shape in enumerate(shapes)}
        assert symbols[0].infer_shape(**told)[1] == symbols[1].infer_shape(**told)[1], case


def test_every_layer_has_a_case() -> None:
    data = {record.type for record in RECORDS.values() if record.reads_data}
    special = {"Silence"}  # has no numbers
    assert {case.type for case in CASES} | special == RECORDS.keys() - data


def test_the_page_lists_every_layer() -> None:
    page = (Path(__file__).parents[2] / "docs" / "caffe.md").read_text()
    in_order = sorted(RECORDS.values(), key=lambda record: record.type.lower())
    rows = "\n".join(f"| `{record.type}` | {record.becomes} |" for record in in_order)
    assert f"\n|---|---|\n{rows}\n\n" in page
    assert ", ".join(f"`{name}`" for name in sorted(REFUSED)) in page
