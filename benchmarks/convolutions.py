"""Convolutions of many shapes beside PyTorch's, forward and their gradients; pooling and batch
normalization beside the memory.

    make bench-convolutions                                             all of them
    make bench-convolutions CONVOLUTIONS="--only depthwise --rounds 3"  rows whose name has a word
    make bench-convolutions CONVOLUTIONS="--write docs/benchmarks.md"   into that page, too
    make bench-convolutions CONVOLUTIONS="--json out.json"              the figures as JSON, too

Of each convolution three rows: forward, the gradient of the data, and that of the weight, each
alone; of a hybridized layer, and of the operator called imperatively. Beside them PyTorch with
channels first and last, and forward what ONNX Runtime and OpenVINO take. Results are compared
first; errors are the greatest distances from float64, as shares of the greatest number.
"""

from __future__ import annotations

import gc
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from typing import Any

import machine
import numpy as np
import pages
import peers
import turns
from processors import confine
from workloads import Row

from tigon import _native, autograd, nd
from tigon.base.progress import Progress
from tigon.gluon import nn

torch_side, onnx_side, openvino_side = map(peers.side, ("torch", "onnxruntime", "openvino"))
if torch_side is not None:
    import torch
    from torch.nn import functional as F

LAST = {4: "NHWC", 5: "NDHWC"}
"""Layouts with channels last, by the axes of images."""

SECONDS = 0.03
TOLERANCE = 1e-3
FORWARD, DATA, WEIGHT = "forward", "gradient of the data", "gradient of the weight"
LAYERS = {1: nn.Conv1D, 2: nn.Conv2D, 3: nn.Conv3D}
GEOMETRIC, WORST, DEPTHWISE = 0.95, 1.15, 0.8
"""Goals: of all, of each, of those of one channel a group."""


@dataclass(frozen=True)
class Convolution:
    """Places along each axis of the data, and what is done there."""

    where: str
    batch: int
    inputs: int
    outputs: int
    places: tuple[int, ...]
    kernel: int
    stride: int = 1
    dilate: int = 1
    groups: int = 1
    pad: int = 0

    @property
    def depthwise(self) -> bool:
        return self.groups == self.inputs > 1

    @property
    def name(self) -> str:
        size = "x".join(map(str, (self.batch, self.inputs, *self.places)))
        kernel = "x".join([str(self.kernel)] * len(self.places))
        parts = [f"{self.where}: {kernel} to {self.outputs} of {size}"]
        parts += [f"stride {self.stride}"] if self.stride > 1 else []
        parts += [f"dilated {self.dilate}"] if self.dilate > 1 else []
        if self.groups > 1:
            parts.append("depthwise" if self.depthwise else f"{self.groups} groups")
        return ", ".join(parts)

    @property
    def data(self) -> tuple[int, ...]:
        return self.batch, self.inputs, *self.places

    @property
    def weight(self) -> tuple[int, ...]:
        return self.outputs, self.inputs // self.groups, *[self.kernel] * len(self.places)

    @property
    def result(self) -> tuple[int, ...]:
        reach = self.dilate * (self.kernel - 1) + 1
        made = [(size + 2 * self.pad - reach) // self.stride + 1 for size in self.places]
        return self.batch, self.outputs, *made

    @property
    def flops(self) -> float:
        return 2.0 * prod(self.result) * prod(self.weight[1:])

    @property
    def size(self) -> float:
        return 4.0 * (prod(self.data) + prod(self.weight) + prod(self.result))

    def each(self, value: int) -> tuple[int, ...]:
        """The value for each axis."""
        return (value,) * len(self.places)

    def operator(self, x: Any, weight: Any) -> Any:
        return nd.Convolution(
            x,
            weight,
            kernel=self.each(self.kernel),
            stride=self.each(self.stride),
            dilate=self.each(self.dilate),
            pad=self.each(self.pad),
            num_filter=self.outputs,
            num_group=self.groups,
            no_bias=True,
        )


def _same(where: str, batch: int, inputs: int, outputs: int, side: int, kernel: int, **more: Any):
    """Of images, padded so that a stride of 1 leaves their size alone."""
    pad = more.get("dilate", 1) * (kernel - 1) // 2
    return Convolution(where, batch, inputs, outputs, (side, side), kernel, pad=pad, **more)


def _depthwise(batch: int, channels: int, side: int, stride: int = 1) -> Convolution:
    return _same("MobileNetV2", batch, channels, channels, side, 3, stride=stride, groups=channels)


RESNET, MOBILE, VGG = (partial(_same, *given) for given in (
    ("ResNet-50", 4), ("MobileNetV2", 4), ("VGG-16", 1)
))  # fmt: skip
CONVOLUTIONS = (
    RESNET(3, 64, 224, 7, stride=2),
    RESNET(64, 64, 56, 1),
    RESNET(64, 64, 56, 3),
    RESNET(64, 256, 56, 1),
    RESNET(256, 64, 56, 1),
    RESNET(256, 512, 56, 1, stride=2),
    RESNET(128, 128, 56, 3, stride=2),
    RESNET(128, 128, 28, 3),
    RESNET(512, 128, 28, 1),
    RESNET(256, 256, 14, 3),
    RESNET(1024, 256, 14, 1),
    RESNET(256, 1024, 14, 1),
    RESNET(512, 512, 7, 3),
    RESNET(2048, 512, 7, 1),
    RESNET(512, 2048, 7, 1),
    MOBILE(3, 32, 224, 3, stride=2),
    MOBILE(32, 16, 112, 1),
    MOBILE(16, 96, 112, 1),
    MOBILE(144, 24, 56, 1),
    MOBILE(64, 384, 14, 1),
    MOBILE(960, 320, 7, 1),
    MOBILE(320, 1280, 7, 1),
    _depthwise(4, 32, 112),
    _depthwise(4, 96, 112, stride=2),
    _depthwise(4, 144, 56),
    _depthwise(4, 192, 28),
    _depthwise(4, 384, 14),
    _depthwise(4, 576, 14, stride=2),
    _depthwise(4, 960, 7),
    VGG(3, 64, 224, 3),
    VGG(64, 64, 224, 3),
    VGG(128, 128, 112, 3),
    VGG(256, 256, 56, 3),
    VGG(512, 512, 28, 3),
    VGG(512, 512, 14, 3),
    _same("DeepLab", 1, 256, 256, 28, 3, dilate=2),
    _same("ResNeXt", 4, 256, 256, 28, 3, groups=32),
    _same("strided", 8, 64, 128, 32, 5, stride=2),
    Convolution("1-D", 8, 128, 128, (1024,), 9, pad=4),
    Convolution("3-D", 1, 16, 32, (16, 56, 56), 3, pad=1),
)


@dataclass
class Case:
    """One row: its contestants, which give results that are compared, and tigon's error."""

    row: Row
    depthwise: bool = False
    judged: bool = True
    """Whether it counts in the means of convolutions."""
    rated: bool = False
    """Whether it is held against memory."""
    exact: np.ndarray | None = None
    errors: dict[str, float] = field(default_factory=dict)

    def enter(self, name: str, run: Callable[[], Any], **options: Any) -> None:
        """A call that waits for its result; `read` in the options makes numbers of it."""
        read = options.pop("read", np.asarray)
        with options.get("within", nullcontext)():
            found = read(run())
        if self.exact is None:
            self.exact = found
        self.errors[name] = turns.distance(found, self.exact)
        scaled = found.reshape(self.exact.shape) / abs(self.exact).max()
        self.row.enter(name, run, lambda: scaled, **options)

    def enter_tigon(self, name: str, function: Callable[[], Any], last: bool = False) -> None:
        """`last`: of its result the channels are the last axis."""

        def read(made: Any) -> np.ndarray:
            return np.moveaxis(made.asnumpy(), -1, 1) if last else made.asnumpy()

        self.enter(name, lambda: _waited(function()), read=read)


def _waited(array: Any) -> Any:
    array.wait_to_read()
    return array


class Arrays:
    """Numbers for a convolution, and what tigon and PyTorch make of them."""

    def __init__(self, shape: Convolution) -> None:
        random = np.random.RandomState(0)
        self.data, self.weight, self.cotangent = (
            random.randn(*each).astype(np.float32)
            for each in (shape.data, shape.weight, shape.result)
        )

    @cached_property
    def layouts(self) -> dict[str, Any]:
        """Of PyTorch, by contestant."""
        last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(self.data.ndim)
        found = {"torch": torch.contiguous_format}
        return found if last is None else {**found, "torch, channels last": last}


def cases(shape: Convolution, only: str) -> Iterator[Case]:
    wanted = [what for what in (FORWARD, DATA, WEIGHT) if only in f"{shape.name}: {what}"]
    arrays = Arrays(shape) if wanted else None
    for what in wanted:
        yield _forward(shape, arrays) if what == FORWARD else _gradient(shape, arrays, what)


def _case(shape: Convolution, what: str, exact: np.ndarray) -> Case:
    row = Row(f"{shape.name}: {what}", TOLERANCE, flops=shape.flops, size=shape.size)
    return Case(row, shape.depthwise, exact=exact)


def _layer(shape: Convolution, weight: Any, layout: str | None = None) -> Any:
    """Hybridized."""
    layer = LAYERS[len(shape.places)](
        shape.outputs,
        shape.kernel,
        strides=shape.stride,
        padding=shape.pad,
        dilation=shape.dilate,
        groups=shape.groups,
        use_bias=False,
        in_channels=shape.inputs,
        **({} if layout is None else {"layout": layout}),
    )
    layer.initialize()
    layer.weight.set_data(weight)
    layer.hybridize()
    return layer


def _forward(shape: Convolution, arrays: Arrays) -> Case:
    double = (nd.array(array, dtype="float64") for array in (arrays.data, arrays.weight))
    made = _case(shape, FORWARD, shape.operator(*double).asnumpy())
    x, weight = nd.array(arrays.data), nd.array(arrays.weight)
    layer = _layer(shape, weight)
    made.enter_tigon("tigon", lambda: layer(x))
    if layout := LAST.get(x.ndim):
        x_last, weight_last = map(_with_channels_last, (arrays.data, arrays.weight))
        last = _layer(shape, weight_last, layout)
        made.enter_tigon("tigon, channels last", lambda: last(x_last), last=True)
    made.enter_tigon("tigon imperative", lambda: shape.operator(x, weight))
    if torch_side is not None:
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(shape.places) - 1]
        for name, layout in arrays.layouts.items():
            given = (_laid(array, layout) for array in (arrays.data, arrays.weight))
            options = (None, shape.stride, shape.pad, shape.dilate, shape.groups)
            call = partial(convolve, *given, *options)
            made.enter(name, call, within=torch.inference_mode)
    if onnx_side is not None:
        model = onnx_side.convolution(
            arrays.data.shape,
            arrays.weight,
            strides=shape.each(shape.stride),
            dilations=shape.each(shape.dilate),
            pads=2 * shape.each(shape.pad),
            group=shape.groups,
        )
        _enter_bound(made, "onnxruntime", *onnx_side.bound(model, shape.result, arrays.data))
        if openvino_side is not None:
            _enter_bound(made, "openvino", *openvino_side.call(model, arrays.data))
    return made


def _enter_bound(
    made: Case, name: str, run: Callable[[], Any], result: Callable[[], np.ndarray]
) -> None:
    made.enter(name, run, read=lambda _: result())


def _with_channels_last(array: np.ndarray) -> Any:
    return nd.array(np.ascontiguousarray(np.moveaxis(array, 1, -1)))


def _laid(array: np.ndarray, layout: Any) -> Any:
    return torch.from_numpy(array).contiguous(memory_format=layout)


def _gradient(shape: Convolution, arrays: Arrays, wanted: str) -> Case:
    """Of tigon a gradient alone, too: what was recorded is kept, and the other is not asked for."""
    given = arrays.data, arrays.weight, arrays.cotangent

    def imperative(dtype: str) -> Callable[[], Any]:
        x, weight, cotangent = (nd.array(array, dtype=dtype) for array in given)
        source = x if wanted == DATA else weight
        return _backward(lambda: shape.operator(x, weight), source, cotangent)

    def hybridized(made: Callable[[np.ndarray], Any], layout: str | None) -> Callable[[], Any]:
        x, weight, cotangent = map(made, given)
        layer = _layer(shape, weight, layout)
        if wanted == DATA:
            layer.weight.grad_req = "null"
        source = x if wanted == DATA else layer.weight.data()
        return _backward(lambda: layer(x), source, cotangent)

    made = _case(shape, wanted, imperative("float64")().asnumpy())
    made.enter_tigon("tigon", hybridized(nd.array, None))
    if layout := LAST.get(arrays.data.ndim):
        call = hybridized(_with_channels_last, layout)
        made.enter_tigon("tigon, channels last", call, last=True)
    made.enter_tigon("tigon imperative", imperative("float32"))
    if torch_side is not None:
        each = shape.each
        place = 0 if wanted == DATA else 1
        options = (
            None,
            each(shape.stride),
            each(shape.pad),
            each(shape.dilate),
            False,
            each(0),
            shape.groups,
            [wanted == DATA, wanted == WEIGHT, False],
        )
        backward = torch.ops.aten.convolution_backward.default
        for name, layout in arrays.layouts.items():
            given = [_laid(a, layout) for a in (arrays.cotangent, arrays.data, arrays.weight)]
            call = partial(backward, *given, *options)
            read = partial(lambda place, found: found[place].numpy(), place)
            made.enter(name, call, read=read, within=torch.inference_mode)
    return made


def _backward(function: Callable[[], Any], source: Any, cotangent: Any) -> Callable[[], Any]:
    if source.grad is None:
        source.attach_grad()
    with autograd.record():
        out = function()
    call = partial(autograd.grad, out, [source], head_grads=cotangent, retain_graph=True)
    return lambda: call()[0]


# ------------------------------------------------------- pooling and batch normalization

NORMALIZED = (8, 64, 112, 112)
"""The images behind the first convolution of ResNet."""


def _layers(
    about: tuple[str, float, float],
    make: Callable[[], Any],
    data: np.ndarray,
    cotangent: np.ndarray,
) -> tuple[Case, Case]:
    """Rows of a layer in training, with tigon in them, and float64; `about` are the name, and
    forward and backward the passes over all numbers of the images, read or written."""

    def calls(dtype: str, hybridized: bool = False) -> tuple[Callable[[], Any], Callable[[], Any]]:
        layer = make()
        layer.initialize()
        layer.cast(dtype)
        layer.collect_params().setattr("grad_req", "null")  # nobody asks for those of parameters
        if hybridized:
            layer.hybridize()
        x, head = (nd.array(array, dtype=dtype) for array in (data, cotangent))

        def in_training() -> Any:
            with autograd.train_mode():
                return layer(x)

        return in_training, _backward(lambda: layer(x), x, head)

    name, *passes = about
    made = []
    for what, count, exact in zip(("forward", "backward"), passes, calls("float64"), strict=True):
        row = Row(f"{name}: {what}", TOLERANCE, size=4.0 * count * prod(NORMALIZED))
        made.append(Case(row, judged=False, rated=True, exact=exact().asnumpy()))
    for title, hybridized in (("tigon", True), ("tigon imperative", False)):
        for case, call in zip(made, calls("float32", hybridized), strict=True):
            case.enter_tigon(title, call)
    return made[0], made[1]


def pooling() -> Iterator[Case]:
    """Backward a gradient and positions are read: at least a quarter and a sixteenth of a pass."""
    random = np.random.RandomState(0)
    data = random.randn(*NORMALIZED).astype(np.float32)
    small = (*NORMALIZED[:2], *(side // 2 for side in NORMALIZED[2:]))
    given = random.randn(*small).astype(np.float32)

    forward, backward = _layers(
        ("max pooling 3x3/2", 1 + 1 / 4, 1 + 1 / 4 + 1 / 16),
        lambda: nn.MaxPool2D(3, 2, 1),
        data,
        given,
    )
    for name, layout in _image_layouts():
        source, cotangent = _laid(data, layout), _laid(given, layout)
        call = partial(F.max_pool2d, source, 3, 2, 1)
        forward.enter(name, call, within=torch.inference_mode)
        backward.enter(name, _torch_backward(lambda x: F.max_pool2d(x, 3, 2, 1), source, cotangent))
    yield forward
    yield backward


def batch_norm() -> Iterator[Case]:
    """Statistics are known only when all was read: three passes forward, backward five."""
    random = np.random.RandomState(0)
    data, given = (random.randn(*NORMALIZED).astype(np.float32) for _ in range(2))
    channels = NORMALIZED[1]
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    forward, backward = _layers(
        ("batch norm in training", 3, 5),
        lambda: nn.BatchNorm(in_channels=channels),
        data,
        given,
    )
    for name, layout in _image_layouts():
        source, cotangent = _laid(data, layout), _laid(given, layout)
        scale, shift, *moving = (torch.tensor(each) for each in (ones, zeros, zeros, ones))

        def theirs(
            x: Any, scale: Any = scale, shift: Any = shift, moving: Sequence[Any] = moving
        ) -> Any:
            return F.batch_norm(x, *moving, scale, shift, True, 0.1, 1e-5)

        forward.enter(name, partial(theirs, source), within=torch.inference_mode)
        backward.enter(name, _torch_backward(theirs, source, cotangent))
    yield forward
    yield backward


def _image_layouts() -> list[tuple[str, Any]]:
    if torch_side is None:
        return []
    return [("torch", torch.contiguous_format), ("torch, channels last", torch.channels_last)]


def _torch_backward(
    function: Callable[[Any], Any], source: Any, cotangent: Any
) -> Callable[[], Any]:
    x = source.detach().requires_grad_()
    out = function(x)
    return lambda: torch.autograd.grad(out, x, cotangent, retain_graph=True)[0]


def all_cases(only: str) -> Iterator[Case]:
    """Made as they are asked for, so that their arrays go when they are done."""
    for shape in CONVOLUTIONS:
        yield from cases(shape, only)
    for make, name in ((pooling, "max pooling"), (batch_norm, "batch norm")):
        if only in name or name in only:
            yield from (case for case in make() if only in case.row.name)


# ------------------------------------------------------------------------------ figures


@dataclass(frozen=True, kw_only=True)
class Found(turns.Beside):
    """One row as it was measured; the limit in microseconds."""

    name: str
    limit: float
    error: float
    size: float
    depthwise: bool
    judged: bool
    rated: bool

    def json(self) -> dict[str, Any]:
        return {"name": self.name, **self.figures(), "limit": self.limit, "error": self.error}


COLUMNS = (
    "tigon",
    "tigon, channels last",
    "tigon imperative",
    "torch",
    "torch, channels last",
    "onnxruntime",
    "openvino",
)


def table(rows: list[Found]) -> list[str]:
    there = [name for name in COLUMNS if any(name in row.times for row in rows)]
    ends = ("tigon : best other", "quickest turns", "tigon : limit", "error")
    lines = pages.head(["microseconds per call: median (mean)", *there, *ends])
    for row in rows:
        ratio = row.ratio
        distance = row.times["tigon"].median / row.limit if row.limit else 0
        cells = [
            row.name,
            *(pages.cell(row.times.get(name)) for name in there),
            "-" if ratio is None else f"{ratio:.2f} {row.best_other}",
            "-" if ratio is None else f"{turns.quickest_ratio(row.times):.2f}",
            f"{distance:.1f} x {pages.number(row.limit)}" if distance else "-",
            f"{row.error:.0e}",
        ]
        lines.append(pages.row(cells))
    return lines


def rates(rows: list[Found], memory: float) -> list[str]:
    """Of rows that memory limits."""
    rated = [row for row in rows if row.rated]
    if not rated:
        return []
    lines = pages.head(["GB/s", "tigon", "its best peer", "memory"])
    for row in rated:
        speeds = [
            pages.number(row.size / row.times[name].median / 1e3) if name else "-"
            for name in ("tigon", row.best_other)
        ]
        lines.append(pages.row([row.name, *speeds, pages.number(memory)]))
    return lines


def goals(rows: list[Found]) -> list[str]:
    """Of convolutions, by kind."""
    judged = [row for row in rows if row.judged and row.ratio is not None]
    if not judged:
        return []
    kinds: dict[str, tuple[list[Found], float | None]] = {
        FORWARD: ([row for row in judged if row.name.endswith(FORWARD)], None),
        DATA: ([row for row in judged if row.name.endswith(DATA)], None),
        WEIGHT: ([row for row in judged if row.name.endswith(WEIGHT)], None),
        "depthwise": ([row for row in judged if row.depthwise], DEPTHWISE),
        "all": (judged, GEOMETRIC),
    }
    lines = pages.head(["ratios to the best peer", "rows", "geometric mean", "goal", ""])
    for kind, (some, most) in kinds.items():
        if not some:
            continue
        mean = math.exp(statistics.mean(math.log(row.ratio) for row in some if row.ratio))
        told = ["", ""] if most is None else [f"<= {most:g}", _word(mean <= most)]
        lines.append(pages.row([kind, str(len(some)), f"{mean:.2f}", *told]))
    for layout in ("", ", channels last"):
        one, other = f"tigon{layout}", f"torch{layout}"
        pairs = [row.times for row in judged if one in row.times and other in row.times]
        if pairs:
            logs = [math.log(each[one].median / each[other].median) for each in pairs]
            mean = math.exp(statistics.mean(logs))
            cells = [f"{one} : {other}", str(len(pairs)), f"{mean:.2f}", "", ""]
            lines.append(pages.row(cells))
    worst = max(judged, key=lambda row: row.ratio or 0)
    ratio = worst.ratio or 0
    above = sum((row.ratio or 0) > WORST for row in judged)
    cells = [f"the greatest: {worst.name}", f"{above} above {WORST:g}", f"{ratio:.2f}"]
    return [*lines, pages.row([*cells, f"<= {WORST:g}", _word(ratio <= WORST)])]


def _word(met: bool) -> str:
    return "met" if met else "**missed**"


EXPLANATION = """\
Rows, turns and ratios are as above; microseconds. *Quickest turns* is the ratio of tigon's quickest
turn to the quickest of all peers. *tigon* is a hybridized layer over images as MXNet has them,
*channels last* one with `layout="NHWC"` over images so; *tigon imperative* the operator; gradients
are called alone, on what was recorded before, as PyTorch's `convolution_backward`. The best peer is
the quickest of all, and *tigon* the one that is compared. The limit is the larger of operations
over peak and bytes over bandwidth, as above.
"""


def measure(
    only: str, rounds: int, seconds: float, threads: int
) -> tuple[list[Found], machine.Limits]:
    limits = machine.measure(threads)
    measured = []
    bar = Progress(None, "convolutions", "rows")
    for case in all_cases(only):
        turns.check(case.row)
        measured.append((case, turns.take_turns(case.row.contestants, rounds, seconds)))
        case.row.contestants.clear()  # and with them their arrays
        case.exact = None
        gc.unfreeze()
        bar.say(f"  {case.row.name}: done", sys.stderr)
        bar.step()
    bar.close()
    limits = limits.better(machine.measure(threads))
    found = [
        Found(
            times=times,
            name=case.row.name,
            limit=limits.least(case.row.flops, case.row.size),
            error=case.errors["tigon"],
            size=case.row.size,
            depthwise=case.depthwise,
            judged=case.judged,
            rated=case.rated,
        )
        for case, times in measured
    ]
    return found, limits


def main() -> None:
    parser = pages.arguments(
        __doc__,
        rounds={"type": int, "default": turns.ROUNDS},
        seconds={"type": float, "default": SECONDS, "help": "of each turn"},
    )
    options = parser.parse_args()
    confine(options.threads)
    _native.set_num_threads(options.threads)
    rows, limits = measure(options.only, options.rounds, options.seconds, options.threads)
    parts = [
        pages.conditions(limits, turns.busy(rows)),
        table(rows),
        rates(rows, limits.memory),
        goals(rows),
    ]
    pages.tell(pages.paragraphs(parts), rows, options, EXPLANATION, "convolutions")


if __name__ == "__main__":
    main()
