"""cxxnet's layers as symbols. Nodes are (batch, channels, height, width), as there; a node of one
channel and one row is a matrix, (batch, width), here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tigon import initializer, sym
from tigon.contrib.cxxnet import updaters
from tigon.contrib.cxxnet.configuration import Configuration, Layer
from tigon.contrib.cxxnet.text import Setting

Shape = tuple[int, int, int]


class Node(NamedTuple):
    """What a node holds, and its shape without the batch."""

    symbol: Any
    shape: Shape

    @property
    def is_matrix(self) -> bool:
        """Whether the symbol is (batch, width)."""
        return self.shape[:2] == (1, 1)

    @property
    def image(self) -> Any:
        """The symbol with four axes."""
        return sym.reshape(self.symbol, shape=(0, 1, 1, -1)) if self.is_matrix else self.symbol


def node_of(image: Any, shape: Shape) -> Node:
    """A node from a symbol with four axes."""
    return Node(sym.reshape(image, shape=(0, -1)) if shape[:2] == (1, 1) else image, shape)


class Tensor(NamedTuple):
    """What a layer holds: a parameter, or a state that no updater moves, which has no tags."""

    symbol: Any
    shape: tuple[int, ...]
    tags: tuple[str, ...]
    """The words that settings may name it by."""
    layer: Layer


class Built:
    """The layers of a configuration, built one after another: `nodes` by number, `tensors` by
    name, `losses`, the nodes with a loss, and what these predict without a label."""

    def __init__(self, configuration: Configuration, batch_size: int, update_period: int) -> None:
        self.configuration = configuration
        self.place = configuration.place
        self.loss_scale = 1.0 / (batch_size * update_period)
        self.tensors: dict[str, Tensor] = {}
        self.losses: dict[int, Any] = {}
        self._common = last_of_each(
            setting
            for setting in configuration.settings
            if updaters.without_tag(setting.name) in SETTINGS
        )
        self._settings: dict[int, dict[str, Setting]] = {}
        self.fields, self.label_width = self._label_fields()
        self.input_shape = self._input_shape()
        self.nodes: dict[int, Node] = {0: self._input()}
        self.labels = sym.var("label")
        for layer in configuration.layers:
            self._add(layer)

    def _input_shape(self) -> Shape:
        setting = self.configuration.last("input_shape")
        if setting is None:
            raise self.place.fail(1, "expected input_shape = channels,height,width; it is missing")
        parts = setting.value.split(",")
        if len(parts) != 3:
            raise self.place.fail(
                setting.line,
                "input_shape: expected channels,height,width without spaces, such as 3,227,227; "
                f"given {setting.value!r:.80}",
            )
        return tuple(  # type: ignore[return-value]
            self.place.integer(setting._replace(value=part), 1) for part in parts
        )

    def _input(self) -> Node:
        """The data, whatever axes it comes with."""
        data = sym.var("data")
        if self.input_shape[:2] == (1, 1):
            return Node(sym.Flatten(data), self.input_shape)
        return Node(sym.reshape(data, shape=(-1, *self.input_shape)), self.input_shape)

    def _label_fields(self) -> tuple[dict[str, tuple[int, int] | None], int]:
        """Where in a sample's label each target lies; None: it is the label, a single number."""
        found: dict[str, tuple[int, int] | None] = {}
        for setting in self.configuration.settings:
            if setting.name.startswith("label_vec["):
                ends = setting.name.removeprefix("label_vec[").rstrip(")]").split(",")
                if len(ends) != 2:
                    raise self.place.fail(
                        setting.line,
                        f"{setting.name!r:.80}: expected label_vec[begin,end) = name",
                    )
                begin, end = (
                    self.place.integer(Setting("label_vec", text, setting.line)) for text in ends
                )
                if begin >= end:
                    raise self.place.fail(
                        setting.line, f"label_vec: expected begin < end; given {begin}, {end}"
                    )
                found[setting.value] = (begin, end)
        width = max((ends[1] for ends in found.values() if ends), default=1)
        return {"label": (0, 1) if found else None, **found}, width

    # -- settings of a layer

    def fail(self, layer: Layer, message: str) -> Exception:
        """The error to raise: where the layer stands, and its kind and name."""
        return self.place.fail(layer.line, f"{layer.kind:.80} '{layer.name:.80}': {message}")

    def settings(self, layer: Layer) -> dict[str, Setting]:
        """All that counts for a layer by name, in the order in which it was said: what is set for
        the whole, and its own, or that of the layer it shares with."""
        number = layer.number if layer.primary is None else layer.primary
        found = self._settings.get(number)
        if found is None:
            own = self.configuration.own(self.configuration.layers[number])
            found = self._settings[number] = last_of_each((*self._common.values(), *own))
        return found

    def setting(self, layer: Layer, name: str) -> Setting | None:
        """What counts for a layer under a name."""
        return self.settings(layer).get(name)

    def integer(self, layer: Layer, name: str, default: int, least: int = 0) -> int:
        found = self.setting(layer, name)
        return default if found is None else self.place.integer(found, least)

    def number(
        self, layer: Layer, name: str, default: float, least: float = -3e38, most: float = 3e38
    ) -> float:
        found = self.setting(layer, name)
        return default if found is None else self.place.number(found, least, most)

    def both(self, layer: Layer, name: str) -> tuple[int, int]:
        """A pair such as kernel_height and kernel_width, which kernel_size sets at once; 0 where
        nothing is set."""
        whole, *each = {"kernel": ("kernel_size", "kernel_height", "kernel_width"),
                        "pad": ("pad", "pad_y", "pad_x")}[name]  # fmt: skip
        found = [0, 0]
        for setting in self.settings(layer).values():
            if setting.name == whole:
                found = [self.place.integer(setting)] * 2
            elif setting.name in each:
                found[each.index(setting.name)] = self.place.integer(setting)
        return found[0], found[1]

    # -- what layers are made of

    def variable(
        self, layer: Layer, name: str, shape: Sequence[int], init: Any, tags: Sequence[str] = ()
    ) -> Any:
        """A parameter of a layer, or of the one that it shares with; without tags it is none that
        is learnt by an updater."""
        source = layer if layer.primary is None else self.configuration.layers[layer.primary]
        whole, shape = f"{source.name}_{name}", tuple(shape)
        known = self.tensors.get(whole)
        if known is None:
            symbol = sym.var(whole, shape=shape, init=init)
            self.tensors[whole] = Tensor(symbol, shape, tuple(tags), source)
            return symbol
        if known.layer is not source or layer is source:
            raise self.fail(layer, f"a parameter is called {whole!r:.80} already; rename the layer")
        if known.shape != shape:
            raise self.fail(
                layer,
                f"{name}: expected shape {known.shape}, that of the layer it shares with; its "
                f"input asks for {shape}",
            )
        return known.symbol

    def weight_init(self, layer: Layer, fan_in: int, fan_out: int, units: int) -> Any:
        """How a weight begins; `units`: what random_type = kaiming divides by."""
        found = self.setting(layer, "random_type")
        known = {"gaussian": "gaussian", "uniform": "uniform", "xavier": "uniform",
                 "kaiming": "kaiming"}  # fmt: skip
        kind = "gaussian" if found is None else self.place.choice(found, known)
        if kind == "kaiming":
            return initializer.Normal(math.sqrt(2.0 / units))
        if kind == "gaussian":
            return initializer.Normal(self.number(layer, "init_sigma", 0.01, 0))
        given = self.number(layer, "init_uniform", -1.0)
        return initializer.Uniform(given if given > 0 else math.sqrt(3.0 / (fan_in + fan_out)))

    def bias(self, layer: Layer, shape: Sequence[int]) -> Any:
        """The bias of a layer, or None under no_bias."""
        if self.integer(layer, "no_bias", 0):
            return None
        value = self.number(layer, "init_bias", 0.0)
        return self.variable(layer, "bias", shape, initializer.Constant(value), ["bias"])

    def target(self, layer: Layer, width: int) -> Any:
        """The labels of a loss layer: (batch,) where `width` is 1, else (batch, width)."""
        found = self.setting(layer, "target")
        name = "label" if found is None else found.value
        if name not in self.fields:
            known = ", ".join(self.fields)
            raise self.fail(layer, f"target {name!r:.80} is not known; there are {known:.200}")
        ends = self.fields[name]
        if ends is None:
            self.label_width = max(self.label_width, width)
            return self.labels
        begin, end = ends
        if end - begin != width:
            raise self.fail(
                layer, f"expected {width} labels; target {name!r:.80} has {end - begin}"
            )
        part = sym.slice_axis(self.labels, axis=1, begin=begin, end=end)
        return sym.reshape(part, shape=(-1,)) if width == 1 else part

    # -- building

    def _add(self, layer: Layer) -> None:
        reason = reason_against(layer.kind)
        if reason is not None:
            raise self.fail(layer, reason)
        known = KINDS[layer.kind]
        inputs = [self.nodes[number] for number in layer.inputs]
        self._check_counts(layer, known)
        if known.loops and layer.inputs != layer.outputs:
            raise self.fail(layer, "expected the same node on both sides, layer[1->1] or layer[+0]")
        made = known.build(self, layer, inputs)
        for number, node in zip(layer.outputs, made, strict=True):
            self.nodes[number] = node
        if known.predicts is not None:
            self.losses[layer.outputs[0]] = known.predicts(inputs[0].symbol)

    def _check_counts(self, layer: Layer, known: Kind) -> None:
        given = len(layer.inputs), len(layer.outputs)
        expected = {"one": (1, 1), "split": (1, given[1]), "concat": (max(given[0], 2), 1)}
        if given != expected[known.shape]:
            told = {"one": "one input and one output", "split": "one input",
                    "concat": "two inputs or more and one output"}[known.shape]  # fmt: skip
            raise self.fail(layer, f"expected {told}; given {given[0]} and {given[1]}")

    def matrix(self, layer: Layer, node: Node) -> Any:
        """The symbol of a node that has to be a matrix."""
        if not node.is_matrix:
            raise self.fail(
                layer,
                f"expected an input of shape 1,1,n; given {_shown(node.shape)}; put a flatten "
                "layer before it",
            )
        return node.symbol


def _shown(shape: Shape) -> str:
    return ",".join(map(str, shape))


# ------------------------------------------------------------------------------- the layers


def _activation(kind: str) -> Callable[..., list[Node]]:
    def build(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
        (node,) = inputs
        return [Node(sym.Activation(node.symbol, act_type=kind, name=layer.name), node.shape)]

    return build


def _fullc(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    data, width = built.matrix(layer, inputs[0]), inputs[0].shape[2]
    units = built.integer(layer, "nhidden", 0)
    if not units:
        raise built.fail(layer, "expected nhidden, the number of its outputs")
    init = built.weight_init(layer, width, units, units)
    weight = built.variable(layer, "wmat", (units, width), init, ["wmat"])
    bias = built.bias(layer, (units,))
    given = [data, weight] if bias is None else [data, weight, bias]
    out = sym.FullyConnected(
        *given, num_hidden=units, no_bias=bias is None, flatten=False, name=layer.name
    )
    return [Node(out, (1, 1, units))]


def _conv(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    (node,) = inputs
    channels = node.shape[0]
    filters, groups = built.integer(layer, "nchannel", 0), built.integer(layer, "ngroup", 1, 1)
    if not filters or filters % groups or channels % groups:
        raise built.fail(
            layer,
            f"expected nchannel, and channels that ngroup divides; given nchannel {filters}, "
            f"ngroup {groups} and an input of {channels} channels",
        )
    kernel, pad, stride = _windows(built, layer, node.shape)
    height, width = (
        (extent + 2 * p - k) // stride + 1
        for extent, p, k in zip(node.shape[1:], pad, kernel, strict=True)
    )
    area = kernel[0] * kernel[1]
    hidden = built.integer(layer, "nhidden", 0)  # what is set for all layers counts here, too
    init = built.weight_init(
        layer, channels // groups * area, filters // groups, hidden or filters * area
    )
    shape = (filters, channels // groups, *kernel)
    weight = built.variable(layer, "wmat", shape, init, ["wmat"])
    bias = built.bias(layer, (filters,))
    given = [weight] if bias is None else [weight, bias]
    out = sym.Convolution(
        node.image, *given, kernel=kernel, stride=(stride, stride), pad=pad, num_filter=filters,
        num_group=groups, no_bias=bias is None, name=layer.name,
    )  # fmt: skip
    return [node_of(out, (filters, height, width))]


def _windows(
    built: Built, layer: Layer, shape: Shape
) -> tuple[tuple[int, int], tuple[int, int], int]:
    kernel, pad = built.both(layer, "kernel"), built.both(layer, "pad")
    stride = built.integer(layer, "stride", 1, 1)
    for k, p, extent in zip(kernel, pad, shape[1:], strict=True):
        if not 0 < k <= extent + 2 * p:
            raise built.fail(
                layer,
                f"expected kernel_size, at most {extent + 2 * p} for an input of "
                f"{_shown(shape)} with pad {p}; given {k}",
            )
    return kernel, pad, stride


def _pooling(kind: str, averages: bool = False, rectifies: bool = False) -> Any:
    """Windows that begin within the image count, those that reach over its end are cut off there;
    an average is still divided by the whole window."""

    def build(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
        (node,) = inputs
        kernel, pad, stride = _windows(built, layer, node.shape)
        image = sym.Activation(node.image, act_type="relu") if rectifies else node.image
        out = sym.Pooling(
            image, kernel=kernel, stride=(stride, stride), pad=pad, pool_type=kind,
            pooling_convention="full", name=layer.name,
        )  # fmt: skip
        extents = []
        for axis, (extent, p, k) in enumerate(zip(node.shape[1:], pad, kernel, strict=True), 2):
            padded = extent + 2 * p
            wanted = min(padded - k + stride - 1, padded - 1) // stride + 1
            if wanted < (padded - k + stride - 1) // stride + 1:
                out = sym.slice_axis(out, axis=axis, begin=0, end=wanted)
            extents.append(wanted)
        if averages:
            out = out * (1.0 / (kernel[0] * kernel[1]))
        return [node_of(out, (node.shape[0], *extents))]

    return build


def _flatten(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    (node,) = inputs
    flat = sym.Flatten(node.symbol, name=layer.name)
    return [Node(flat, (1, 1, math.prod(node.shape)))]


def _dropout(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    (node,) = inputs
    dropped = built.number(layer, "threshold", 0.0, 0, 0.9999999)
    return [Node(sym.Dropout(node.symbol, p=dropped, name=layer.name), node.shape)]


def _lrn(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    (node,) = inputs
    for name in ("alpha", "beta"):
        if built.setting(layer, name) is None:
            raise built.fail(layer, f"expected {name}; cxxnet has no default for it")
    size = built.integer(layer, "local_size", 3, 1)
    if size % 2 == 0:
        raise built.fail(layer, f"expected an odd local_size; given {size}")
    out = sym.LRN(
        node.image, nsize=size, alpha=built.number(layer, "alpha", 0),
        beta=built.number(layer, "beta", 0), knorm=built.number(layer, "knorm", 1.0),
        name=layer.name,
    )  # fmt: skip
    return [node_of(out, node.shape)]


def _bias(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    data = built.matrix(layer, inputs[0])
    shape = inputs[0].shape
    init = initializer.Constant(built.number(layer, "init_bias", 0.0))
    bias = built.variable(layer, "bias", shape[2:], init, ["bias"])
    return [Node(sym.broadcast_add(data, sym.reshape(bias, shape=(1, -1))), shape)]


def _channels(node: Node) -> tuple[int, int]:
    """(axis, extent) of what cxxnet takes for channels: the width where there is one channel."""
    if node.shape[0] != 1:
        return 1, node.shape[0]
    return (1 if node.is_matrix else 3), node.shape[2]


def _along(vector: Any, node: Node) -> Any:
    axis, _ = _channels(node)
    axes = [1] * (2 if node.is_matrix else 4)
    axes[axis] = -1
    return sym.reshape(vector, shape=tuple(axes))


def _batch_norm(moves: bool) -> Any:
    """Without moving statistics, those of the batch count in prediction, too."""

    def build(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
        (node,) = inputs
        axis, channels = _channels(node)
        slope = built.number(layer, "init_slope", 1.0)
        shift = built.number(layer, "init_bias", 0.0)
        eps = built.number(layer, "eps", 1e-10, 0)
        gamma = built.variable(
            layer, "wmat", (channels,), initializer.Constant(slope), ["wmat", "gamma"]
        )
        beta = built.variable(
            layer, "bias", (channels,), initializer.Constant(shift), ["bias", "beta"]
        )
        if moves:
            states = [
                built.variable(layer, f"moving_{name}", (channels,), initializer.Zero())
                for name in ("mean", "var")
            ]
            momentum = built.number(layer, "bn_momentum", 0.9, 0, 1)
            out = sym.BatchNorm(
                node.symbol, gamma, beta, *states, eps=eps, momentum=momentum, fix_gamma=False,
                axis=axis, name=layer.name,
            )  # fmt: skip
            return [Node(out, node.shape)]
        others = tuple(a for a in range(2 if node.is_matrix else 4) if a != axis)
        mean = sym.mean(node.symbol, axis=others, keepdims=True)
        centred = sym.broadcast_sub(node.symbol, mean)
        variance = sym.mean(sym.square(centred), axis=others, keepdims=True)
        scale = sym.broadcast_mul(_along(gamma, node), sym.rsqrt(variance + eps))
        out = sym.broadcast_add(sym.broadcast_mul(centred, scale), _along(beta, node))
        return [Node(out, node.shape)]

    return build


def _xelu(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    (node,) = inputs
    divisor = built.number(layer, "b", 5.0)
    if divisor == 0:
        raise built.fail(layer, "b: expected what numbers below zero are divided by; given 0")
    out = sym.LeakyReLU(node.symbol, act_type="leaky", slope=1.0 / divisor, name=layer.name)
    return [Node(out, node.shape)]


def _insanity(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    (node,) = inputs
    low, high = built.number(layer, "lb", 5.0), built.number(layer, "ub", 10.0)
    if not 0 < low <= high:
        raise built.fail(layer, f"expected 0 < lb <= ub; given {low} and {high}")
    steps = built.variable(layer, "steps", (1,), initializer.Zero())
    out = sym._insanity(
        node.symbol, steps, lower_bound=low, upper_bound=high,
        calm_start=built.integer(layer, "calm_start", 0),
        calm_end=built.integer(layer, "calm_end", 0), name=layer.name,
    )  # fmt: skip
    return [Node(out, node.shape)]


def _prelu(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    (node,) = inputs
    for name in ("random", "random_slope"):
        if built.number(layer, name, 0.0):
            raise built.fail(layer, f"{name}: expected 0; slopes are not drawn here")
    _, channels = _channels(node)
    init = initializer.Constant(built.number(layer, "init_slope", 0.25))
    slopes = _along(built.variable(layer, "bias", (channels,), init, ["bias"]), node)
    below = sym.broadcast_mul(node.symbol, slopes)
    return [Node(sym.where(node.symbol > 0, node.symbol, below), node.shape)]


def _split(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    return [inputs[0]] * len(layer.outputs)


def _concat(axis: int) -> Any:
    def build(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
        first = inputs[0].shape
        for node in inputs:
            if any(node.shape[a] != first[a] for a in range(3) if a != axis):
                given = " and ".join(_shown(node.shape) for node in inputs[:8])
                what = ("channels", "height", "width")[axis]
                raise built.fail(
                    layer, f"expected shapes that differ in {what} only; given {given}"
                )
        total = sum(node.shape[axis] for node in inputs)
        shape: Any = (*first[:axis], total, *first[axis + 1 :])
        if axis == 2 and inputs[0].is_matrix:
            return [Node(sym.concat(*[n.symbol for n in inputs], dim=1, name=layer.name), shape)]
        images = [node.image for node in inputs]
        return [node_of(sym.concat(*images, dim=axis + 1, name=layer.name), shape)]

    return build


def _loss_scale(built: Built, layer: Layer) -> float:
    return built.number(layer, "grad_scale", 1.0) * built.loss_scale


def _softmax(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    data = built.matrix(layer, inputs[0])
    out = sym.SoftmaxOutput(
        data, built.target(layer, 1), grad_scale=_loss_scale(built, layer), name=layer.name
    )
    return [Node(out, inputs[0].shape)]


def _regression(op: Any) -> Any:
    def build(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
        data, width = built.matrix(layer, inputs[0]), inputs[0].shape[2]
        label = sym.reshape(built.target(layer, width), shape=(-1, width))
        scale = _loss_scale(built, layer) * width  # these operators divide by the width
        return [Node(op(data, label, grad_scale=scale, name=layer.name), inputs[0].shape)]

    return build


def _lp_loss(built: Built, layer: Layer, inputs: Sequence[Node]) -> list[Node]:
    data, width = built.matrix(layer, inputs[0]), inputs[0].shape[2]
    power = built.number(layer, "p", 2.0, 1)
    label = sym.reshape(built.target(layer, width), shape=(-1, width))
    loss = sym.abs(sym.broadcast_sub(data, label)) ** power * _loss_scale(built, layer)
    return [Node(sym._beside_loss(data, loss, name=layer.name), inputs[0].shape)]


class Kind(NamedTuple):
    """A kind of layer: how it is built, how many nodes it joins, whether it stands on one node,
    and of a loss what it predicts."""

    build: Callable[..., list[Node]]
    shape: str = "one"
    loops: bool = False
    predicts: Callable[[Any], Any] | None = None


KINDS: Mapping[str, Kind] = {
    "fullc": Kind(_fullc),
    "conv": Kind(_conv),
    "bias": Kind(_bias, loops=True),
    "relu": Kind(_activation("relu")),
    "sigmoid": Kind(_activation("sigmoid")),
    "tanh": Kind(_activation("tanh")),
    "softplus": Kind(_activation("softrelu")),
    "xelu": Kind(_xelu),
    "prelu": Kind(_prelu),
    "insanity": Kind(_insanity),
    "max_pooling": Kind(_pooling("max")),
    "relu_max_pooling": Kind(_pooling("max", rectifies=True)),
    "sum_pooling": Kind(_pooling("sum")),
    "avg_pooling": Kind(_pooling("sum", averages=True)),
    "flatten": Kind(_flatten),
    "dropout": Kind(_dropout, loops=True),
    "lrn": Kind(_lrn),
    "batch_norm": Kind(_batch_norm(moves=True)),
    "batch_norm_no_ma": Kind(_batch_norm(moves=False)),
    "split": Kind(_split, "split"),
    "concat": Kind(_concat(2), "concat"),
    "ch_concat": Kind(_concat(0), "concat"),
    "softmax": Kind(_softmax, loops=True, predicts=sym.softmax),
    "l2_loss": Kind(_regression(sym.LinearRegressionOutput), loops=True, predicts=sym.identity),
    "lp_loss": Kind(_lp_loss, loops=True, predicts=sym.identity),
    "multi_logistic": Kind(
        _regression(sym.LogisticRegressionOutput), loops=True, predicts=sym.sigmoid
    ),
}

_REFUSED = {
    "caffe": "it ran Caffe's code; write Caffe's layer as one of cxxnet's",
    "torch": "it ran Torch's code; write the layer as one of cxxnet's",
    "maxout": "cxxnet knows the word and has no such layer",
    "fixconn": "its weights lie in a file of their own; multiply by them outside of the network",
    "insanity_max_pooling": "pooling at places that are drawn is not there; write max_pooling",
    "share": "expected share[name] with the name of a layer",
}


def last_of_each(settings: Iterable[Setting]) -> dict[str, Setting]:
    """The last setting of each name, in their order.

    >>> found = last_of_each([Setting("a", "1"), Setting("b", "2"), Setting("a", "3")])
    >>> [(setting.name, setting.value) for setting in found.values()]
    [('b', '2'), ('a', '3')]
    """
    found: dict[str, Setting] = {}
    for setting in settings:
        found.pop(setting.name, None)
        found[setting.name] = setting
    return found


def reason_against(kind: str) -> str | None:
    """Why there is no layer of a kind; None where there is one."""
    if kind in KINDS:
        return None
    return f"{_REFUSED.get(kind, 'there is no such layer')}; known are {', '.join(KINDS)}"


SETTINGS = (
    frozenset(
        """
    nhidden nchannel ngroup kernel_size kernel_height kernel_width stride pad pad_y pad_x no_bias
    init_sigma init_uniform init_bias init_slope random_type threshold local_size alpha beta knorm
    eps bn_momentum b lb ub calm_start calm_end random random_slope grad_scale target p
    init_sparse temp_col_max silent
    """.split()
    )
    | updaters.NAMES
)
"""What may be set for a layer."""
