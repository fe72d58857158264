"""Models that cxxnet wrote (`0012.model`): the layers that a network had, and their arrays.

A model is what its last sources write on a machine of little end first: the structure of the
network (`NetConfig`), how many updates it has seen, and the arrays of one layer after another,
which only the kinds of the layers tell apart.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple, NoReturn

import numpy as np

from tigon.base import TigonError
from tigon.contrib.cxxnet.configuration import Layer

MOST_NAMES = 1 << 16
"""Nodes and layers of a network at most. Each takes more here than in the file."""

_CODES: Mapping[int, tuple[str, ...]] = {
    0: ("share",), 1: ("fullc",), 2: ("softmax",), 3: ("relu",), 4: ("sigmoid",), 5: ("tanh",),
    6: ("softplus",), 7: ("flatten",), 8: ("dropout",), 10: ("conv",), 11: ("max_pooling",),
    12: ("sum_pooling",), 13: ("avg_pooling",), 15: ("lrn",), 17: ("bias",), 18: ("concat",),
    19: ("xelu",), 20: ("caffe",), 21: ("relu_max_pooling",), 22: ("maxout",), 23: ("split",),
    24: ("insanity",), 25: ("insanity_max_pooling",), 26: ("l2_loss", "lp_loss"),
    27: ("multi_logistic",), 28: ("ch_concat",), 29: ("prelu",),
    30: ("batch_norm", "batch_norm_no_ma"), 31: ("fixconn",), 32: ("batch_norm_no_ma",),
}  # fmt: skip
"""What numbers of kinds mean. A kind may have kept its number when it learnt to do more."""

_SETTINGS = 82 * 4
"""Bytes of a layer's settings (`LayerParam`), which its configuration has as well."""


class _Layout(NamedTuple):
    """What a layer of some kind wrote: whether its settings, and its arrays with their axes."""

    has_settings: bool
    arrays: tuple[tuple[str, int], ...]


_BATCH_NORM = (("wmat", 1), ("bias", 1))
_LAYOUTS: Mapping[str, _Layout] = {
    "fullc": _Layout(True, (("wmat", 2), ("bias", 1))),
    "conv": _Layout(True, (("wmat", 3), ("bias", 1))),
    "bias": _Layout(True, (("bias", 1),)),
    "prelu": _Layout(False, (("bias", 1),)),
    "batch_norm": _Layout(False, (*_BATCH_NORM, ("moving_mean", 1), ("moving_var", 1))),
    "batch_norm_no_ma": _Layout(False, _BATCH_NORM),
}
_NOTHING = _Layout(False, ())
_UNKNOWN = ("caffe", "maxout")
"""Kinds of which nobody here knows what they wrote."""


class ModelLayer(NamedTuple):
    """A layer as a model has it."""

    code: int
    primary: int
    """The layer whose parameters it shares; -1: it has its own."""
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    place: int
    """The byte where it stands."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it may be called in a configuration; empty where the number is not known."""
        return _CODES.get(self.code, ())


class Held(NamedTuple):
    """An array of a layer."""

    tag: str
    array: np.ndarray
    place: int
    """The byte where its extents stand."""


class Model:
    """What a model says: `input_shape`, `nodes` (names), `layers`, `updates` (how many it has
    seen). `arrays` reads the rest.

    Parameters
    ----------
    content : the bytes of the file
    where : what errors call it

    Raises a `TigonError` with the byte where the content is no model, or damaged.
    """

    def __init__(self, content: bytes | memoryview, where: str) -> None:
        self.where = where
        self._content = memoryview(content)
        self._at = 0
        self._integers(1, "the type of the network")
        nodes, layers, *shape, ended, extra = self._integers(7, "numbers of nodes and layers")
        self._take(31 * 4, "what is reserved")
        self.input_shape: tuple[int, ...] = tuple(shape)
        if min(shape) < 1:
            self.fail(12, f"expected an input_shape of 1 or more each; given {self.input_shape}")
        if not (0 < nodes <= MOST_NAMES and 0 <= layers <= MOST_NAMES and ended in (0, 1)):
            self.fail(4, f"expected a model of cxxnet; given {nodes} nodes and {layers} layers")
        if extra:
            self.fail(28, f"expected no inputs but the data; given {extra} of them")
        self.nodes = [self._text("the name of a node") for _ in range(nodes)]
        self.layers = [self._layer(nodes) for _ in range(layers)]
        place = self._at
        (self.updates,) = struct.unpack("<q", self._take(8, "the number of updates"))
        if not 0 <= self.updates < 2**31:
            self.fail(place, f"expected a number of updates below 2**31; given {self.updates}")
        size, begin = self._size("arrays"), self._at
        if size != len(self._content) - begin:
            self.fail(
                begin - 8, f"expected arrays of {len(self._content) - begin} bytes; given {size}"
            )
        self._arrays_at = begin

    # -- what stands where

    def fail(self, place: int, message: str) -> NoReturn:
        """Raise an error that says where."""
        raise TigonError(f"{self.where}: at byte {place}: {message}")

    def _take(self, size: int, what: str) -> memoryview:
        left = len(self._content) - self._at
        if size > left:
            self.fail(self._at, f"expected {size} bytes for {what}; {left} are left")
        self._at += size
        return self._content[self._at - size : self._at]

    def _integers(self, count: int, what: str) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self._take(4 * count, what))

    def _size(self, what: str) -> int:
        return int.from_bytes(self._take(8, f"the size of {what}"), "little")

    def _text(self, what: str) -> str:
        place = self._at
        content = bytes(self._take(self._size(what), what))
        try:
            return content.decode()
        except UnicodeDecodeError:
            self.fail(place, f"expected {what} in UTF-8; given {content[:60]!r}")

    def _numbers_of_nodes(self, nodes: int) -> tuple[int, ...]:
        place, count = self._at, self._size("the nodes of a layer")
        found = self._integers(min(count, len(self._content)), "the nodes of a layer")
        if not all(0 <= number < nodes for number in found):
            self.fail(place, f"expected nodes from 0 to {nodes - 1}; given {str(found)[:80]}")
        return found

    def _layer(self, nodes: int) -> ModelLayer:
        place = self._at
        code, primary = self._integers(2, "a layer")
        name = self._text("the name of a layer")
        inputs, outputs = self._numbers_of_nodes(nodes), self._numbers_of_nodes(nodes)
        return ModelLayer(code, primary, name, inputs, outputs, place)

    # -- arrays

    def arrays(self, kinds: Mapping[int, str] | None = None) -> dict[int, list[Held]]:
        """The arrays of each layer that has some, over the bytes of the file. `kinds` says what
        layers are whose number leaves it open.

        >>> toy = bytes(4) + struct.pack("<7i", 1, 1, 1, 1, 2, 1, 0) + bytes(31 * 4)
        >>> toy += struct.pack("<Q2s", 2, b"in") + struct.pack("<2iQ", 29, -1, 0)
        >>> toy += struct.pack("<QiQi", 1, 0, 1, 0) + struct.pack("<qQ", 7, 12)
        >>> model = Model(toy + struct.pack("<I2f", 2, 0.5, 1), "toy")
        >>> model.updates, model.arrays()[0][0].tag, model.arrays()[0][0].array.tolist()
        (7, 'bias', [0.5, 1.0])
        """
        self._at = self._arrays_at
        found = {}
        for number, layer in enumerate(self.layers):
            kind = self._kind(number, layer, kinds or {})
            layout = _LAYOUTS.get(kind, _NOTHING)
            if layout.has_settings:
                self._take(_SETTINGS, f"the settings of layer {number} ({kind})")
            held = [self._array(tag, axes, number, kind) for tag, axes in layout.arrays]
            if held:
                found[number] = held
        if self._at != len(self._content):
            self.fail(
                self._at,
                f"expected the end behind the arrays of {len(self.layers)} layers; "
                f"{len(self._content) - self._at} bytes are left",
            )
        return found

    def _kind(self, number: int, layer: ModelLayer, kinds: Mapping[int, str]) -> str:
        kind = kinds.get(number) or next(iter(layer.kinds), "")
        if not kind or kind in _UNKNOWN:
            what = f"'{kind}'" if kind else f"of number {layer.code}"
            self.fail(layer.place, f"layer {number}: what a layer {what} wrote is not known")
        return kind

    def _array(self, tag: str, axes: int, number: int, kind: str) -> Held:
        place = self._at
        what = f"{tag} of layer {number} ({kind})"
        shape = struct.unpack(f"<{axes}I", self._take(4 * axes, f"the extents of {what}"))
        if not all(shape):
            self.fail(place, f"expected extents of 1 or more for {what}; given {shape}")
        content = self._take(4 * prod(shape), f"{what} of shape {shape}")
        return Held(tag, np.frombuffer(content, "<f4").reshape(shape), place)


def arrays_for(
    model: Model,
    layers: Sequence[Layer],
    input_shape: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]],
    by_name: bool,
) -> dict[str, np.ndarray]:
    """Arrays for the tensors of a configuration, by their names.

    Parameters
    ----------
    layers, input_shape : those of the configuration
    shapes : of its tensors, `fc1_wmat`
    by_name : whether layers are looked for by the name that both have given them, as for
        fine-tuning, where others may be anything; otherwise the model has to be one of this network

    Raises a `TigonError` with the byte where they are not of one network.
    """
    if not by_name and model.input_shape != input_shape:
        model.fail(12, f"expected input_shape {input_shape}; given {model.input_shape}")
    pairs = dict(_named_alike(model, layers) if by_name else _one_by_one(model, layers))
    kinds = {number: layer.kind for number, layer in pairs.items()}
    found = {}
    for number, held in model.arrays(kinds).items():
        if number not in pairs:
            continue
        for each in held:
            name = f"{pairs[number].name}_{each.tag}"
            if name not in shapes and each.tag == "bias":
                continue  # written under no_bias, too
            wanted = shapes[name]
            if not _is_alike(each.array.shape, wanted):
                model.fail(
                    each.place,
                    f"{name}: expected shape {wanted}; given {each.array.shape}; is it of another "
                    "network?",
                )
            found[name] = each.array.reshape(wanted)
    return found


def _is_alike(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """A convolution's (filters, channels, height, width) is (groups, filters, window) there."""
    if len(given) == 3 and len(wanted) == 4:
        return given[0] * given[1] == wanted[0] and given[2] == prod(wanted[1:])
    return given == wanted


def _named_alike(model: Model, layers: Sequence[Layer]) -> list[tuple[int, Layer]]:
    own = {layer.name: layer for layer in layers if layer.primary is None}
    pairs = [
        (number, own[layer.name]) for number, layer in enumerate(model.layers) if layer.name in own
    ]
    for number, layer in pairs:
        _check_kind(model, number, layer)
    return pairs


def _one_by_one(model: Model, layers: Sequence[Layer]) -> list[tuple[int, Layer]]:
    if len(model.layers) != len(layers):
        model.fail(
            8,
            f"expected {len(layers)} layers, as in the configuration; given {len(model.layers)}; "
            "by_name=True takes those that both call alike",
        )
    for number, (given, layer) in enumerate(zip(model.layers, layers, strict=True)):
        shared = -1 if layer.primary is None else layer.primary
        wanted = (shared, layer.inputs, layer.outputs)
        if (given.primary, given.inputs, given.outputs) != wanted or (
            given.name and given.name != layer.name
        ):
            model.fail(
                given.place,
                f"layer {number}: expected '{layer.name:.60}' from nodes {layer.inputs} to "
                f"{layer.outputs}, as in line {layer.line} of the configuration; given "
                f"'{given.name:.60}' from {str(given.inputs)[:60]} to {str(given.outputs)[:60]}",
            )
        if layer.primary is None:
            _check_kind(model, number, layer)
    return [(number, layer) for number, layer in enumerate(layers) if layer.primary is None]


def _check_kind(model: Model, number: int, layer: Layer) -> None:
    given = model.layers[number]
    if given.kinds and layer.kind not in given.kinds:
        model.fail(
            given.place,
            f"layer {number} '{layer.name:.60}': expected {layer.kind}, as in line {layer.line} of "
            f"the configuration; given {given.kinds[0]}",
        )
