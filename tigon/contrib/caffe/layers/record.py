"""What a layer of Caffe becomes: one rule for each type, and what the rules work with."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, NoReturn

import numpy as np

from tigon import sym
from tigon.contrib.caffe.fillers import fits, initializer_of
from tigon.initializer import Initializer, Zero
from tigon.readers.message import Message

Shape = tuple[int, ...]
LARGEST = 2**31 - 1
"""Elements of a blob at most, as in Caffe."""


class Blob(NamedTuple):
    """What a layer computes: its symbol, and the shape it has in Caffe. The symbol of a blob
    without axes has the shape (1,)."""

    symbol: Any
    shape: Shape


class Given(NamedTuple):
    """An array of the network: what a layer learns, or counts."""

    name: str
    shape: Shape
    initializer: Initializer
    lr_mult: float
    decay_mult: float
    is_state: bool
    owner: str


class Network:
    """What is known while layers are put together: arrays by name, and the names of those of each
    layer, in the order of its blobs."""

    def __init__(self, shapes: Mapping[str, Shape], source: str) -> None:
        self.shapes = dict(shapes)
        self.source = source
        self.inputs: dict[str, Blob] = {}
        self.arrays: dict[str, Given] = {}
        self.blobs_of: list[tuple[str, list[str]]] = []
        self.symbols: dict[str, Any] = {}
        self.shared: dict[str, str] = {}

    def rename_arrays(self, prefix: str) -> None:
        """Let names of arrays begin with a prefix."""
        self.arrays = {
            prefix + name: own._replace(name=prefix + name) for name, own in self.arrays.items()
        }
        self.blobs_of = [(layer, [prefix + n for n in names]) for layer, names in self.blobs_of]


class Layer:
    """One layer while its rule runs: its message, its bottoms, its arrays."""

    def __init__(
        self, network: Network, message: Message, name: str, bottoms: Sequence[Blob], record: Record
    ) -> None:
        self.network = network
        self.message = message
        self.name = name
        self.bottoms = list(bottoms)
        self.record = record
        self.blobs: list[str] = []
        network.blobs_of.append((message.name, self.blobs))

    @property
    def param(self) -> Any:
        """The message of the type's own settings."""
        return getattr(self.message, self.record.param)

    @property
    def tops(self) -> list[str]:
        tops: list[str] = self.message.top
        return tops

    def fail(self, message: str, field: str = "") -> NoReturn:
        """Raise an error at a setting of the layer, or at the layer."""
        said = f"layer '{self.message.name}' ({self.record.type}): {message}"
        if field and self.record.param and field in self.param.of_type.by_name:
            self.param.fail(said, field if self.param.has(field) else "")
        self.message.fail(said, field if self.message.has(field) else "")

    def check(self, condition: object, message: str, field: str = "") -> None:
        """Raise unless `condition` holds."""
        if not condition:
            self.fail(message, field)

    def axis(self, field: str, ndim: int, given: int | None = None) -> int:
        """A setting that is an axis, counted from the front."""
        value = getattr(self.param, field) if given is None else given
        self.check(
            -ndim <= value < ndim,
            f"{field}: expected an axis from {-ndim} to {ndim - 1} of the bottom, whose "
            f"shape is {self.bottoms[0].shape}; given {value}",
            field,
        )
        return int(value) + (ndim if value < 0 else 0)

    def same_shapes(self, *axes: int) -> None:
        """Raise unless all bottoms have one shape, but for these axes."""
        first = self.bottoms[0].shape
        for number, bottom in enumerate(self.bottoms):
            agree = len(bottom.shape) == len(first) and all(
                a == b or axis in axes
                for axis, (a, b) in enumerate(zip(bottom.shape, first, strict=True))
            )
            if not agree:
                names = self.message.bottom
                but = f" but for axis {', '.join(map(str, axes))}" if axes else ""
                self.fail(
                    f"expected bottoms of one shape{but}; '{names[0]}' has {first}, "
                    f"'{names[number]}' {bottom.shape}",
                    "bottom",
                )

    def array(self, role: str, shape: Shape, filler: Message | None = None) -> Any:
        """The symbol of what the layer learns as its next blob: shared with an earlier layer where
        the file names it so."""
        place = len(self.blobs)
        specs = self.message.param
        spec = specs[place] if place < len(specs) else None
        default = 1.0 if role == "gamma" else 0.25 if role == "slope" else 0.0
        chosen: Initializer = Zero()
        if filler is not None:
            chosen = initializer_of(filler, default)
            lacking = fits(chosen, shape)
            filler.check(not lacking, lacking, "type")
        rates = (1.0, 1.0) if spec is None else (spec.lr_mult, spec.decay_mult)
        given = Given(
            self._array_name(role), self._checked(shape) or (1,), chosen, *rates, False, self.name
        )
        if spec is not None and spec.name:
            known = self.network.shared.get(spec.name)
            if known is not None:
                return self._shared(known, given, spec)
            self.network.shared[spec.name] = given.name
        return self._new(given)

    def state(self, role: str, shape: Shape) -> Any:
        """The symbol of what the layer counts, and no gradient moves, as its next blob."""
        name = self._array_name(role)
        return self._new(Given(name, self._checked(shape), Zero(), 0.0, 0.0, True, self.name))

    def _array_name(self, role: str) -> str:
        name = f"{self.name}_{role}"
        self.check(name not in self.network.inputs, f"top '{name}' is what its {role} is called")
        return name

    def _new(self, given: Given) -> Any:
        self.network.arrays[given.name] = given
        self.blobs.append(given.name)
        rates = {"lr_mult": given.lr_mult, "wd_mult": given.decay_mult}
        symbol = sym.var(
            given.name,
            shape=given.shape,
            init=given.initializer,
            **({} if given.is_state else rates),
        )
        self.network.symbols[given.name] = symbol
        return symbol

    def _shared(self, known: str, given: Given, spec: Message) -> Any:
        first = self.network.arrays[known]
        same = prod(first.shape) == prod(given.shape)
        if spec.share_mode == "STRICT":
            same = first.shape == given.shape
        spec.check(
            same,
            f"layer '{self.message.name}': shares '{spec.name}' with layer '{first.owner}', "
            f"where it has shape {first.shape}; here it has {given.shape}",
            "name",
        )
        for field, own, theirs in (
            ("lr_mult", given.lr_mult, first.lr_mult),
            ("decay_mult", given.decay_mult, first.decay_mult),
        ):
            spec.check(
                not spec.has(field) or own == theirs,
                f"layer '{self.message.name}': shares '{spec.name}' with layer '{first.owner}', "
                f"where {field} is {theirs}; here it is {own}",
                field,
            )
        self.blobs.append(known)
        symbol = self.network.symbols[known]
        return symbol if first.shape == given.shape else sym.Reshape(symbol, shape=given.shape)

    def _checked(self, shape: Shape) -> Shape:
        if not prod(shape) <= LARGEST:
            self.fail(f"expected blobs of at most {LARGEST} elements; given shape {shape}")
        return shape

    def input(self, top: str, shape: Shape | None, wanted: str) -> Blob:
        """A top that the user gives: of the shape that was told, or of the file's."""
        told = self.network.shapes.get(top, shape)
        if told is None:
            self.fail(
                f"top '{top}' ({wanted}) is yours to give; say its shape by "
                f"shapes={{'{top}': (batch, ...)}}",
                "top",
            )
        for extent in told:
            self.check(
                isinstance(extent, (int, np.integer)) and extent > 0,
                f"top '{top}': expected a shape of positive extents; given {told}",
                "top",
            )
        known = self.network.inputs.get(top)
        if known is not None:
            self.fail(f"top '{top}' comes from two layers", "top")
        self.check(
            top not in self.network.arrays,
            f"top '{top}' is what an array of a layer is called",
            "top",
        )
        self.check(top, "expected a name for each top; given ''", "top")
        blob = Blob(sym.var(top), self._checked(tuple(map(int, told))))
        self.network.inputs[top] = blob
        return blob


Rule = Callable[[Layer], Sequence[Blob]]


class Record(NamedTuple):
    """A type of layer: its rule, the name of the message of its settings, how many bottoms and tops
    it has, what it becomes (for the documentation), whether its first top is a loss, and how many
    axes its first bottom has at least."""

    type: str
    rule: Rule
    param: str
    bottoms: tuple[int, int]
    tops: tuple[int, int]
    becomes: str
    is_loss: bool
    least_axes: int

    @property
    def reads_data(self) -> bool:
        """Whether its tops are what the user gives."""
        return self.bottoms == (0, 0) and self.type != "Parameter"


ANY = 10**6
RECORDS: dict[str, Record] = {}

REFUSED: Mapping[str, str] = {
    "LSTM": "recurrent layers are not read; write the cell with gluon.rnn.LSTM and load its arrays",
    "RNN": "recurrent layers are not read; write the cell with gluon.rnn.RNN and load its arrays",
    "LSTMUnit": "recurrent layers are not read; write the cell with gluon.rnn.LSTM",
    "Recurrent": "recurrent layers are not read; write the cell with gluon.rnn",
    "Python": "it is code of another program, and no code is run from files; write it as a Gluon "
    "block",
    "Filter": "the number of items that it lets through is not known before they are seen",
    "HDF5Output": "it writes a file; leave it out and use what the network gives",
    "Im2col": "its columns are never made; a Convolution computes what follows it",
    "InfogainLoss": "its matrix is a file of its own; write the loss with Gluon",
    "SPP": "spatial pyramids are not read; write them with gluon.contrib",
    "WindowData": "windows of images are not cut out; give them as a MemoryData layer",
}
"""Types of Caffe that are refused, and what to do instead."""


def layer(
    type: str,
    becomes: str,
    *,
    param: str = "",
    bottoms: int | tuple[int, int] = 1,
    tops: int | tuple[int, int] = 1,
    is_loss: bool = False,
    least_axes: int = 1,
) -> Callable[[Rule], Rule]:
    """Declare the rule of a type of layer."""

    def declare(rule: Rule) -> Rule:
        counts = [(given, given) if isinstance(given, int) else given for given in (bottoms, tops)]
        RECORDS[type] = Record(type, rule, param, *counts, becomes, is_loss, least_axes)
        return rule

    return declare


def record_of(message: Message) -> Record:
    """The record of a layer's type.

    Raises `TigonError` with the place in the file where the type is refused or not known.
    """
    kind = message.type
    record = RECORDS.get(kind)
    if record is not None:
        return record
    verb = "is refused: " if kind in REFUSED else ""
    message.fail(
        f"layer '{message.name}': type '{kind:.60}' {verb}{reason_against(kind)}",
        "type",
    )


def reason_against(kind: str) -> str | None:
    """Why there is no rule for a type of layer; None where there is one."""
    if kind in RECORDS:
        return None
    if kind in REFUSED:
        return REFUSED[kind]
    near = difflib.get_close_matches(kind[:60], [*RECORDS, *REFUSED], 1)
    meant = f"is '{near[0]}' meant?" if near else "write it as a Gluon block"
    return f"is not known; {meant}"
