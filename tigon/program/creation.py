"""Arrays of numbers, drawn or all the same: one program of each kind for all shapes and numbers.

An operator that reads nothing but a random key says how it is made of numbers (`created` of its
record). Its loops are lowered once, for one axis of unknown extent and for numbers that are data,
and are kept as what does not depend on either: a function, its slots as polynomials, and how long a
point takes. A program for some shape is then a matter of arithmetic."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tigon import _native
from tigon.backends.interface import Backend, Structure
from tigon.base import TensorType, config
from tigon.base.digests import compiler_version
from tigon.base.dtypes import DType, to_memory
from tigon.base.extents import RuntimeExtents, as_plain, value_of_plain
from tigon.base.frozen import Frozen
from tigon.ir import Graph, variable
from tigon.loop.abstract import numbers_of, pack
from tigon.loop.fingerprint import declared_elsewhere
from tigon.loop.grammar import Nest
from tigon.ops.record import Creation
from tigon.passes.pipeline import switched_on
from tigon.passes.thread_keys import KEY_TYPE
from tigon.program.lowered import COMPILING, LoweredGraph
from tigon.program.target import backend, disabled_passes
from tigon.runtime.counters import count

EXAMPLES = (1 << 18, 1 << 24)
"""Elements that code is chosen for: few, and so many that they fit no cache. The latter serves from
half as many on."""


class Kind(Frozen):
    """What functions are made for."""

    formula: Any
    dtype: DType
    numbers: int
    draws: bool
    example: int

    def __str__(self) -> str:
        return (
            f"{self.formula.__module__}.{self.formula.__qualname__} {self.dtype} {self.numbers} "
            f"{self.draws} {self.example}"
        )


class Function(Frozen, eq=False):
    """What a kind was lowered to, as it is kept: plain values."""

    name: str
    places: list[tuple[int, int]]
    """Of the buffers in the program."""
    slots: list[list[Any]]
    """Form and value of each; extents as `as_plain` gives them."""
    points: Any
    microseconds: float
    """Per point."""


_functions: dict[tuple[Backend, Kind], tuple[Function, int] | None] = {}


def program(
    creation: Creation, shape: tuple[int, ...], draws: bool, name: str, **options: Any
) -> Any | None:
    """The native program; None where it has to be lowered for its shape. `options` as `Program`
    takes them."""
    size = prod(shape)
    fits = size * creation.dtype.itemsize < 1 << 63 and all(extent > 0 for extent in shape)
    if not fits or disabled_passes() or switched_on():
        return None
    few, many = EXAMPLES
    kind = Kind(
        creation.formula,
        creation.dtype,
        len(creation.numbers),
        draws,
        many if size >= many // 2 else few,
    )
    target = backend(config.text("TIGON_BACKEND"))
    with COMPILING:
        key = (target, kind)
        if key not in _functions:
            _functions[key] = _found(target, kind) or _lowered(target, kind)
        made = _functions[key]
    if made is None:
        return None
    function, address = made
    points = value_of_plain(function.points, (size,))
    microseconds = function.microseconds * points
    slots = pack((form, value_of_plain(value, (size,))) for form, value in function.slots)
    grain = target.grain(points, microseconds)
    launch: Any = (
        address,
        function.places,
        slots,
        points,
        grain,
        0,
        name,
        None,
    )
    count("programs")
    return _native.Program(
        inputs=[(KEY_TYPE.dtype.code, KEY_TYPE.shape)] if draws else [],
        outputs=[(creation.dtype.code, shape)],
        visible=1,
        arena_bytes=0,
        constants=[
            to_memory(np.array(number), creation.dtype).tobytes() for number in creation.numbers
        ],
        waves=[[launch]],
        may_alias=[[]],
        cost=microseconds,
        name=name,
        **options,
    )


def _key(target: Backend, kind: Kind) -> str:
    return f"creation {compiler_version()}{declared_elsewhere()} {target.version} {kind}"


def _found(target: Backend, kind: Kind) -> tuple[Function, int] | None:
    content = target.store.load(_key(target, kind)) if target.store.usable else None
    if content is None:
        return None
    import json  # as in `stored.py`

    try:
        function = Function(**json.loads(content))
    except (ValueError, TypeError):
        return None
    addresses = target.find([function.name])
    return None if addresses is None else (function, addresses[0])


def _lowered(target: Backend, kind: Kind) -> tuple[Function, int] | None:
    """None where it is not one loop over memory."""
    count("compilations")
    extents = RuntimeExtents([kind.example])
    numbers = [variable(f"number{i}", TensorType((), kind.dtype)) for i in range(kind.numbers)]
    keys = [variable("key", KEY_TYPE)] if kind.draws else []
    result = kind.formula(extents.unknown, *keys, *numbers)
    lowered = LoweredGraph(Graph([*keys, *numbers], [result]), frozenset(), (), ())
    if len(lowered.kernels) != 1 or extents.guards:
        return None
    (kernel,) = lowered.kernels
    nest = kernel.nests[0].nest
    if len(kernel.nests) != 1 or not isinstance(nest, Nest):
        return None
    places = {
        value: (_native.INPUT, 0)
        if value.type == KEY_TYPE
        else (_native.CONSTANT, place - len(keys))
        for place, value in enumerate(lowered.graph.inputs)
    }
    places |= {value: (_native.OUTPUT, 0) for value in lowered.graph.outputs}
    if not places.keys() >= set(kernel.nests[0].values):
        return None
    with extents.known((kind.example,)):
        launch = target.prepare(nest, (kind.example,))
    if not launch.points:
        return None  # a backend that computes nothing
    structure, slots = numbers_of(nest)
    before = target.counters["compiled"]
    chosen = Structure(structure, launch.structure.variant)
    (address,) = target.compile([chosen])
    count("kernel_compilations", target.counters["compiled"] - before)
    function = Function(
        target.names([chosen])[0],
        [places[value] for value in kernel.nests[0].values if value is not None],
        [[form, as_plain(value)] for form, value in slots],
        as_plain(prod(getattr(axis.stop, "value", 0) for axis in nest.space)),
        launch.cost_us / launch.points,
    )
    if target.store.usable:
        import json

        target.store.save(_key(target, kind), json.dumps(vars(function)).encode())
    return function, address
