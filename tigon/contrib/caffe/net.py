"""Networks of Caffe as symbols and blocks."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tigon import nd, sym
from tigon.base import check
from tigon.base.files import AnyPath
from tigon.context import check_contexts
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.layers import Blob, Layer, Network, record_of
from tigon.contrib.caffe.layers.record import Shape
from tigon.contrib.caffe.upgrade import layers_of
from tigon.contrib.caffe.weights import arrays_for
from tigon.gluon.block.symbol_block import SymbolBlock, with_prefix
from tigon.gluon.parameter import Parameter, ParameterDict
from tigon.model import save_checkpoint
from tigon.name import NameManager
from tigon.readers.message import Message
from tigon.readers.text import read_text

PHASES = ("train", "test")

MOST_ELEMENTS = 2**31 - 1
"""Of a blob: Caffe counts them with 32 bits."""


class State(NamedTuple):
    """What decides which layers are there: the phase ('train' or 'test'), a level, and stages."""

    phase: str
    level: int = 0
    stages: frozenset[str] = frozenset()

    def meets(self, rule: Message) -> bool:
        """Whether a `NetStateRule` holds."""
        return not (
            (rule.has("phase") and rule.phase.lower() != self.phase)
            or (rule.has("min_level") and self.level < rule.min_level)
            or (rule.has("max_level") and self.level > rule.max_level)
            or not self.stages.issuperset(rule.stage)
            or not self.stages.isdisjoint(rule.not_stage)
        )

    def includes(self, layer: Message) -> bool:
        """Whether a layer is there."""
        layer.check(
            not (layer.has("include") and layer.has("exclude")),
            "expected rules to include a layer or to exclude it; given both",
            "exclude",
        )
        if layer.has("include"):
            return any(map(self.meets, layer.include))
        return not any(map(self.meets, layer.exclude))


class Assembly:
    """The layers of a network, put together for a state: blobs by name as they are at the end, what
    comes out, and the sum of all losses.

    Raises `TigonError` with the place in the file where a layer is not known, is refused, or does
    not fit what it reads.
    """

    def __init__(
        self,
        net: Message,
        state: State,
        shapes: Mapping[str, Shape] | None = None,
        prefix: str = "",
    ) -> None:
        self.network = Network(shapes or {}, net.in_file.name)
        self.blobs: dict[str, Blob] = {}
        self.unread: dict[str, None] = {}  # tops, in the order in which they were made
        self.losses: list[Any] = []
        self.layers: list[Message] = []
        self._named: dict[str, int] = {}
        with NameManager():
            for message in layers_of(net):
                if state.includes(message):
                    self._add(message)
        for top in self.network.shapes:
            check(
                top in self.network.inputs,
                net.in_file.name,
                f"shapes: '{top}' is no input; the inputs are {', '.join(self.network.inputs)}",
            )
        net.check(self.blobs, f"expected layers in phase {state.phase}; none is there")
        net.check(self.unread, "expected a top that no layer reads; every one is read")
        made = [top for top in self.unread if not self._is_input(top)]
        self.outputs = made or list(self.unread)
        if prefix:
            self._rename(prefix)

    def _rename(self, prefix: str) -> None:
        """Let names of nodes and arrays begin with a prefix, those of inputs apart."""
        symbols = [*(blob.symbol for blob in self.blobs.values()), *self.losses]
        renamed = list(with_prefix(sym.Group(symbols), prefix, list(self.network.inputs)))
        count = len(self.blobs)
        for (top, blob), symbol in zip(self.blobs.items(), renamed[:count], strict=True):
            self.blobs[top] = blob._replace(symbol=symbol)
        self.losses = renamed[count:]
        self.network.rename_arrays(prefix)

    def _is_input(self, top: str) -> bool:
        given = self.network.inputs.get(top)
        return given is not None and self.blobs[top].symbol is given.symbol

    def _add(self, message: Message) -> None:
        self.layers.append(message)
        record = record_of(message)
        layer = Layer(self.network, message, self._name(message), self._bottoms(message), record)
        tops = layer.tops
        _check_count(layer, "bottom", len(layer.bottoms), record.bottoms)
        is_silent = record.is_loss and not tops
        if not is_silent:  # Caffe makes a top of its own for a loss without one
            _check_count(layer, "top", len(tops), record.tops)
        if layer.bottoms:
            shape, least = layer.bottoms[0].shape, record.least_axes
            layer.check(
                len(shape) >= least,
                f"expected a bottom of {least} or more axes; given shape {shape}",
                "bottom",
            )
        found = _named(layer, record.rule(layer))
        for blob in found:
            layer.check(
                math.prod(blob.shape) <= MOST_ELEMENTS,
                f"expected a top of {MOST_ELEMENTS} elements at most, as in Caffe; its shape would "
                f"be {blob.shape}",
            )
        for name in message.bottom:
            self.unread.pop(name, None)
        names = tops or ([message.name] if is_silent else [])
        for place, (top, blob) in enumerate(zip(names, found, strict=True)):
            in_place = message.bottom[place : place + 1] == [top]
            layer.check(
                top not in self.blobs or in_place,
                f"top '{top}' is there already, and not the bottom that it would take the place of",
                "top",
            )
            self.blobs[top] = blob
            self.unread[top] = None
        self._weigh(layer, found)

    def _name(self, message: Message) -> str:
        """That of the layer; several of one name are told apart."""
        base = message.name or message.type.lower()
        number = self._named.get(base, 0) + 1
        while (name := base if number == 1 else f"{base}_{number}") in self._named:
            number += 1
        self._named[base] = number
        self._named.setdefault(name, 1)
        return name

    def _bottoms(self, message: Message) -> list[Blob]:
        stops = message.propagate_down
        message.check(
            len(stops) in (0, len(message.bottom)),
            f"expected one for each of {len(message.bottom)} bottoms; given {len(stops)}",
            "propagate_down",
        )
        found = []
        for place, name in enumerate(message.bottom):
            if name not in self.blobs:
                near = difflib.get_close_matches(name[:60], self.blobs, 1)
                meant = f"; is '{near[0]}' meant?" if near else ""
                message.fail(
                    f"layer '{message.name}': bottom '{name:.60}' is no top of an earlier layer"
                    f"{meant}",
                    "bottom",
                )
            blob = self.blobs[name]
            if stops and not stops[place]:
                blob = Blob(sym.BlockGrad(blob.symbol), blob.shape)
            found.append(blob)
        return found

    def _weigh(self, layer: Layer, found: Sequence[Blob]) -> None:
        """Add what the layer adds to the loss of the network."""
        weights = layer.message.loss_weight
        layer.check(
            len(weights) in (0, max(len(found), 1)),
            f"loss_weight: expected one for each of {len(found)} tops; given {len(weights)}",
            "loss_weight",
        )
        weights = weights or [1.0 if layer.record.is_loss else 0.0]
        for weight, blob in zip(weights, found, strict=False):
            if weight:
                total = sym.sum(blob.symbol) if blob.shape else blob.symbol
                self.losses.append(total if weight == 1 else total * weight)

    @property
    def objective(self) -> Any:
        """The weighted sum of all losses, of shape (1,); None without any."""
        if not self.losses:
            return None
        return (
            self.losses[0] if len(self.losses) == 1 else sym.add_n(*self.losses, name="objective")
        )


def _named(layer: Layer, found: Sequence[Blob]) -> list[Blob]:
    """Tops whose nodes are called after the layer, but for those that are bottoms."""
    named = []
    for place, (symbol, shape) in enumerate(found):
        name = layer.name if len(found) == 1 else f"{layer.name}_{place}"
        passes = any(symbol is bottom.symbol for bottom in layer.bottoms)
        if not passes and layer.bottoms and symbol.name != name:
            symbol = sym.identity(symbol, name=name)
        named.append(Blob(symbol, shape))
    return named


def _check_count(layer: Layer, what: str, given: int, bounds: tuple[int, int]) -> None:
    least, most = bounds
    wanted = (
        f"{least}" if least == most else f"{least} or more" if most > 99 else f"{least} to {most}"
    )
    ending = "" if wanted == "1" else "s"
    layer.check(least <= given <= most, f"expected {wanted} {what}{ending}; given {given}", what)


class CaffeNet(SymbolBlock):
    """A network of Caffe: a block whose inputs are what its data layers read and the outputs depend
    on, in order, and whose outputs are the tops that no layer reads.

    `symbol` is the graph of the outputs, `blobs` has the symbol of every top by name, `objective`
    is the weighted sum of all losses or None, `input_shapes` has the shapes that the network was
    put together for: batches of other sizes run, too. Dropout and BatchNorm follow the mode of the
    call, whatever the phase.
    """

    def __init__(
        self,
        assembly: Assembly,
        outputs: Any = None,
        params: ParameterDict | None = None,
    ) -> None:
        inputs = assembly.network.inputs
        group = [assembly.blobs[top].symbol for top in assembly.outputs]
        made = ParameterDict() if params is None else params
        for given in assembly.network.arrays.values():
            if given.name not in made:
                made.update({given.name: _parameter(given)})
        outputs = sym.Group(group) if outputs is None else outputs
        read = set(outputs.list_inputs())
        inputs = {top: blob for top, blob in inputs.items() if top in read}
        super().__init__(outputs, [blob.symbol for blob in inputs.values()], params=made)
        self.network = assembly.network
        self.blobs = {top: blob.symbol for top, blob in assembly.blobs.items()}
        self.objective = assembly.objective
        self.input_names = list(inputs)
        self.input_shapes = {top: blob.shape for top, blob in inputs.items()}
        self.output_names = list(assembly.outputs)
        self.output_shapes = {top: assembly.blobs[top].shape for top in assembly.outputs}
        self.layer_messages = list(assembly.layers)

    @property
    def symbol(self) -> Any:
        """The graph of the outputs, in the element type that the network was last cast to."""
        return self._symbol

    def __repr__(self) -> str:
        return f"CaffeNet({', '.join(self.input_names)} -> {', '.join(self.output_names)})"

    def load_caffemodel(
        self, caffemodel: AnyPath, ctx: Any = None, allow_missing: bool = False
    ) -> None:
        """Take over the arrays of a caffemodel. Layers are found by name; those that only the file
        has are passed over. Where `allow_missing`, layers that only the network has are filled by
        their fillers, if they hold nothing yet.

        Raises `TigonError` where layers are missing, or arrays have other shapes.
        """
        source = os.fsdecode(caffemodel)
        with open(caffemodel, "rb") as file:
            content = file.read()
        found = arrays_for(self.network, content, source)
        missing = [name for name in self.network.arrays if name not in found]
        check(
            allow_missing or not missing,
            source,
            f"has no array for {', '.join(missing)}; is it of another network? allow_missing=True "
            "fills what is missing",
        )
        for name, array in found.items():
            self._reg_params[name]._load(nd.array(array, dtype="float32"), ctx)
        for name in missing:
            if not self._reg_params[name].is_initialized:
                self._reg_params[name].initialize(ctx=ctx)


def _parameter(given: Any) -> Parameter:
    made = Parameter(
        given.name,
        grad_req="null" if given.is_state else "write",
        shape=given.shape,
        init=given.initializer,
        lr_mult=given.lr_mult,
        wd_mult=given.decay_mult,
    )
    if given.lr_mult == 0 and not given.is_state:
        made.grad_req = "null"  # as in Caffe: no gradient is computed for it
    return made


def read_net(prototxt: AnyPath) -> Message:
    """The `NetParameter` that a file holds as text."""
    with open(prototxt, "rb") as file:
        return read_text(file.read(), SCHEMA["NetParameter"], os.fsdecode(prototxt))


def load_net(
    prototxt: AnyPath,
    caffemodel: AnyPath | None = None,
    phase: str = "test",
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    level: int = 0,
    stages: Iterable[str] = (),
    allow_missing: bool = False,
    ctx: Any = None,
    prefix: str = "",
) -> CaffeNet:
    """A network of Caffe, as a block that runs and trains.

    Parameters
    ----------
    prototxt : the file that describes the network, of any generation
    caffemodel : the file with its arrays; without it, `initialize()` fills them by their fillers
    phase : 'test' or 'train': which layers are there, as with `level` and `stages`
    shapes : by top, the shapes of what is read (batch first), where the file does not say them
    allow_missing : whether arrays that the caffemodel does not have are filled by their fillers
    ctx : where the arrays are to lie
    prefix : what names of arrays and nodes are to begin with, so that two networks may be in one
        block

    Raises `TigonError` with line and column where the file is malformed, a layer is not known or
    refused, or a shape is missing; with the byte where the caffemodel does not fit.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from tigon import nd
    >>> text = '''
    ... layer { name: "data" type: "Input" top: "data"
    ...         input_param { shape { dim: 2 dim: 3 } } }
    ... layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
    ...         inner_product_param { num_output: 1
    ...                               weight_filler { type: "constant" value: 2 } } }
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "net.prototxt"
    ...     _ = path.write_text(text)
    ...     net = load_net(path)
    >>> net.initialize()
    >>> net(nd.ones((2, 3))).asnumpy().tolist(), net.output_names
    ([[6.0], [6.0]], ['ip'])
    """
    check_contexts("load_net", ctx)
    state = _state(phase, level, stages)
    check(
        shapes is None or isinstance(shapes, Mapping),
        "load_net",
        f"shapes: expected shapes by top; given {type(shapes).__name__}",
    )
    for top, shape in (shapes or {}).items():
        check(
            isinstance(shape, (Sequence, np.ndarray)),
            "load_net",
            f"shapes: expected a shape for '{top}', batch first; given {shape!r:.80}",
        )
    given = {top: tuple(shape) for top, shape in (shapes or {}).items()}
    net = CaffeNet(Assembly(read_net(prototxt), state, given, prefix))
    if caffemodel is not None:
        net.load_caffemodel(caffemodel, ctx, allow_missing)
    return net


def _state(phase: str, level: int, stages: Iterable[str]) -> State:
    check(
        isinstance(phase, str) and phase.lower() in PHASES,
        "load_net",
        f"phase: expected 'train' or 'test'; given {phase!r:.80}",
    )
    check(
        not isinstance(stages, str), "load_net", f"stages: expected several; given {stages!r:.80}"
    )
    return State(phase.lower(), level, frozenset(stages))


def convert_model(
    prototxt_fname: AnyPath,
    caffemodel_fname: AnyPath,
    output_prefix: str | None = None,
    phase: str = "test",
) -> tuple[Any, dict[str, Any], dict[str, Any], Shape | None]:
    """Symbol, arguments, auxiliary states and the shape of the first input of a network of Caffe,
    as `caffe_converter` of MXNet gives them; with `output_prefix`, a checkpoint is written, too.

    Channels stay in Caffe's order (BGR for most of its models), where MXNet's converter swapped
    those of the first convolution.
    """
    net = load_net(prototxt_fname, caffemodel_fname, phase)
    arrays = {name: param.data() for name, param in net.collect_params().items()}
    auxiliary = set(net.symbol.list_auxiliary_states())
    arguments = {name: array for name, array in arrays.items() if name not in auxiliary}
    states = {name: array for name, array in arrays.items() if name in auxiliary}
    if output_prefix is not None:
        save_checkpoint(output_prefix, 0, net.symbol, arguments, states)
    return net.symbol, arguments, states, next(iter(net.input_shapes.values()), None)


__all__ = ["Assembly", "CaffeNet", "State", "convert_model", "load_net", "read_net"]
