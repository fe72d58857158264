"""An exported library, from graphs to the bytes of its files."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice, product
from typing import Any

import numpy as np

from tigon import _native
from tigon.backends.llvm.target import LEVELS, SHIPPED, architecture, architecture_of, chosen_level
from tigon.base import DType, TensorType, TigonError, check
from tigon.base.extents import RuntimeExtents
from tigon.base.files import AnyPath, write_file
from tigon.base.frozen import Frozen, replace
from tigon.base.multiples import round_up
from tigon.base.notices import texts
from tigon.export import safetensors
from tigon.ir import Graph
from tigon.passes.pack_weights import pack_weights
from tigon.program.lowered import COMPILING, LoweredGraph, lower_graph
from tigon.program.target import compiled_for, own_backend
from tigon.standalone import tables as T
from tigon.standalone.digest import digest
from tigon.standalone.headers import c_header, cpp_header
from tigon.standalone.images import SYSTEMS, WEB, Image, link, suffix
from tigon.standalone.page import page
from tigon.standalone.programs import (
    PROBES,
    WEB_LEVEL,
    LevelCode,
    Open,
    Program,
    read_program,
    with_names,
    write_program,
)
from tigon.standalone.tables import Tables
from tigon.standalone.verbs import verb
from tigon.standalone.web import web_files

MOST_DIMENSIONS, MOST_EXTENTS = 8, 16
KEYWORDS = frozenset(
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t "
    "char16_t char32_t class compl concept const consteval constexpr constinit const_cast "
    "continue co_await co_return co_yield decltype default delete do double dynamic_cast else "
    "enum explicit export extern false float for friend goto if inline int long mutable "
    "namespace new noexcept not not_eq nullptr operator or or_eq private protected public "
    "register reinterpret_cast requires return short signed sizeof static static_assert "
    "static_cast std struct switch template this thread_local throw true try typedef typeid "
    "typename union unsigned using virtual void volatile wchar_t while xor xor_eq".split()
)
"""What no namespace of C++ can be called; std is one that has another meaning."""

KINDS = {
    "input": T.FROM_INPUT,
    "weight": T.FROM_WEIGHT,
    "state": T.FROM_STATE,
    "key": T.FROM_KEY,
    "schedule": T.FROM_SCHEDULE,
}


class Source(Frozen):
    """Where an input of the graph comes from: "input", "weight", "state" by number, or "key"; or
    "schedule": one row of a weight for each run."""

    kind: str
    number: int = 0


class Held(Frozen, eq=False):
    """An array that the library holds, as its memory lies."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    memory: np.ndarray


class Spec(Frozen, eq=False):
    """What is exported. `graph` is typed; its outputs are results, then new values of states."""

    name: str
    graph: Graph
    sources: tuple[Source, ...]
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[str, ...]
    weights: tuple[Held, ...] = ()
    states: tuple[Held, ...] = ()
    moves: tuple[tuple[int, int], ...] = ()
    """(output of the graph, state)."""
    in_place: tuple[tuple[int, int], ...] = ()
    """(output, input) of the graph that share memory."""
    draws: int = 0
    updates: int = -1
    """The state that counts runs, if one does."""
    extents: RuntimeExtents | None = None
    names: tuple[str, ...] = ()
    """Of open extents."""
    likely: tuple[int, ...] = ()
    doc: str = ""


SpecFor = Callable[[Sequence[int] | None], Spec]
"""What is exported, as it is compiled for these sizes of the open extents and all for which that is
the same; None: for sizes near the likely ones that have nothing in common."""

MOST_WAYS = 12
"""Programs of one level, where sizes are computed in different ways."""

MOST_NEAR = 100
"""Sizes near the likely ones that are asked about."""


def export(
    spec_for: SpecFor,
    likely: Sequence[int],
    path: AnyPath,
    *,
    prefix: str | None = None,
    target: str | Sequence[str] = "native",
    weights: str = "inside",
    system: str = "linux",
) -> tuple[str, ...]:
    """Write the files of a library, `path.so`, `path.h`, `path.hpp` and `path.md`, and
    `path.safetensors` where `weights` are "apart"; returns their paths. `system`: that it is for.

    `likely` are the sizes of open extents at which it should be at its best. `prefix`: how names in
    C begin; by default the last part of the path. `target`: "native" is the level of this machine;
    a level or several of one architecture, of which the library takes the best that the processor
    has, are named as in `tigon.backends.llvm.target.LEVELS`; "all" are those that the package
    brings code for.

    For the system "web" there is one target, and files are `path.wasm`, `path.js` and `path.d.ts`,
    and `path.html` where the input is a picture.
    """
    who, stem = verb(system), os.fsdecode(path)
    given = os.path.basename(stem) if prefix is None else prefix
    check(
        weights in ("inside", "apart"),
        who,
        f"weights: expected 'inside' or 'apart'; given {weights!r}",
    )
    levels = [WEB_LEVEL] if system == WEB else _native_levels(given, target, system)
    spec = spec_for(None)
    check(
        len(spec.names) <= MOST_EXTENTS,
        who,
        f"{len(spec.names)} open extents; expected {MOST_EXTENTS} at most",
    )
    results = zip(spec.outputs, spec.graph.outputs, strict=False)  # states follow
    shown = [(name, type_.ndim) for name, type_ in spec.inputs]
    shown += [(name, value.type.ndim) for name, value in results]
    shown += [(one.name, len(one.shape)) for one in (*spec.weights, *spec.states)]
    for name, axes in shown:
        check(
            axes <= MOST_DIMENSIONS,
            who,
            f"'{name}' has {axes} axes; expected {MOST_DIMENSIONS} at most",
        )
    with COMPILING:
        made = _Library(replace(spec, name=given), spec_for, levels, weights == "apart", system)
        content, file = made.build(f"{given}{suffix(system)}")
    described = made.description(content, file)
    files: dict[str, bytes] = {f"{stem}{suffix(system)}": content}
    if system == WEB:
        files |= {f"{stem}{end}": each for end, each in web_files(given, spec, described).items()}
    else:
        files[f"{stem}.h"] = c_header(given, described).encode()
        files[f"{stem}.hpp"] = cpp_header(given).encode()
        files[f"{stem}.md"] = page(given, described).encode()
    if file is not None:
        files[f"{stem}.safetensors"] = file
    for name, each in files.items():
        write_file(name, each)
    return tuple(files)


def _native_levels(prefix: str, target: str | Sequence[str], system: str) -> list[str]:
    check(
        re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix) is not None and prefix not in KEYWORDS,
        "export_native",
        f"names of C functions begin with '{prefix}', which is no identifier of C and C++; pass "
        "prefix='model', say",
    )
    levels = _levels(target)
    check(
        system == "linux" or (system in SYSTEMS and architecture_of(levels[0]) == "x86-64"),
        "export_native",
        f"system: expected 'linux', or for x86-64 'windows' or 'macos'; given {system!r}",
    )
    return levels


def _levels(target: str | Sequence[str]) -> list[str]:
    """From the most to the least, of one architecture."""
    if target == "native":
        return [chosen_level()]
    own = architecture()
    given: Any = SHIPPED[own] if target == "all" else target
    wanted = list(given) if isinstance(given, (list, tuple, set, frozenset)) else [given]
    order = list(LEVELS)
    known = bool(wanted) and all(name in order for name in wanted)
    check(
        known and len(set(map(architecture_of, wanted))) == 1,
        "export_native",
        f"target: expected 'native', 'all' or levels of one architecture among "
        f"{', '.join(order)}; given {target!r}",
    )
    return sorted(set(wanted), key=order.index, reverse=True)


class _Way(Frozen, eq=False):
    program: Program
    sources: tuple[Source, ...]


class _Level(Frozen, eq=False):
    code: LevelCode
    ways: tuple[_Way, ...]


class _Library:
    def __init__(
        self, spec: Spec, spec_for: SpecFor, levels: Sequence[str], apart: bool, system: str
    ) -> None:
        self._system, self._machine = system, architecture_of(levels[0])
        self._who = verb(system)
        self.spec = spec
        self._spec_for = spec_for
        self.apart = apart
        self.tables = Tables()
        self.weights: list[Held] = list(spec.weights)
        self._packed: dict[object, list[int]] = {}
        self.levels = [self._lower(level) for level in levels]
        self._drop_unread()

    # -- graphs

    def _lower(self, level: str) -> _Level:
        """Programs until each size has one, or there are too many."""
        code = LevelCode(level, self._who)
        ways = [self._way(code, self.spec)]
        names = self.spec.names
        sizes: list[tuple[int, ...]] = []
        if self.spec.extents is not None:
            # A stride divides every other size; one of anything is often computed in another way.
            near = product(*[(size, size + 1, 1) for size in self.spec.extents.examples])
            sizes = [tuple(self.spec.likely), *islice(near, MOST_NEAR)]
            sizes += [(size,) * len(names) for size in PROBES]
        while len(ways) < MOST_WAYS:
            sizes = [each for each in sizes if not any(way.program.serves(each) for way in ways)]
            if not sizes:
                break
            tried, *sizes = sizes
            with suppress(TigonError):  # of sizes that the operators refuse, such as one below a
                # kernel's, there is no program: what others stand on says so when it runs
                ways.append(self._way(code, self._spec_for(tried)))
        return _Level(code, tuple(ways))

    def _way(self, code: LevelCode, spec: Spec) -> _Way:
        main, sources = spec.graph, list(spec.sources)
        apart = None if spec.states else pack_weights(spec.graph, code.backend.registers)
        if apart is not None and all(sources[n].kind == "weight" for n in apart.weights):
            given = [sources[n].number for n in apart.weights]
            sources += [Source("weight", n) for n in self._pack(apart.packs, given)]
            main = apart.main
        opened = None if spec.extents is None else Open(spec.extents, self.spec.likely)
        with compiled_for(code.backend):
            lowered = lower_graph(main, in_place=spec.in_place)
            assert isinstance(lowered, LoweredGraph)
            return _Way(read_program(lowered, code, opened), tuple(sources))

    def _pack(self, packs: Graph, given: Sequence[int]) -> list[int]:
        """What is made of weights once: the numbers of more weights. Levels whose registers are
        alike share it."""
        key = (packs.key, *given)
        if key not in self._packed:
            lowered = LoweredGraph(packs, frozenset(), (), (), target=own_backend())
            held = [self.weights[n].memory for n in given]
            arrays = [_native.from_numpy(memory, _native.FIRST_CPU) for memory in held]
            made = lowered.program(name="packed").run(arrays)
            first = len(self.weights)
            for value, array in zip(packs.outputs, made, strict=True):
                name = f"{self.weights[given[0]].name}.packed{len(self.weights)}"
                memory = np.ascontiguousarray(array.bits_to_numpy())
                self.weights.append(Held(name, value.dtype, tuple(value.shape), memory))
            self._packed[key] = list(range(first, len(self.weights)))
        return self._packed[key]

    def _drop_unread(self) -> None:
        """Weights that no launch reads, as those that were packed, are not written."""
        ways = [way for level in self.levels for way in level.ways]
        read = {
            way.sources[number].number
            for way in ways
            for launch in way.program.launches
            for space, number in launch.buffers
            if space == T.INPUT and way.sources[number].kind == "weight"
        }
        # A run takes a row of each schedule, whether a launch reads it or not.
        read |= {one.number for way in ways for one in way.sources if one.kind == "schedule"}
        kept = sorted(read)
        new = {old: place for place, old in enumerate(kept)}
        self.weights = [self.weights[old] for old in kept]

        def moved(source: Source) -> Source:
            if source.kind not in ("weight", "schedule"):
                return source
            return Source(source.kind, new.get(source.number, 0))

        self.levels = [
            _Level(
                level.code,
                tuple(_Way(way.program, tuple(map(moved, way.sources))) for way in level.ways),
            )
            for level in self.levels
        ]

    # -- bytes

    def build(self, name: str) -> tuple[bytes, bytes | None]:
        """The library, and the file of weights if they are apart."""
        spec, tables = self.spec, self.tables
        held = [*self.weights, *spec.states]
        places, data, begin = self._data(held)
        image = self._link()
        rows = self._array_rows(held, places)
        own = [
            self._level_row(level, functions)
            for level, functions in zip(self.levels, image.functions, strict=True)
        ]
        weights, states = rows[: len(self.weights)], rows[len(self.weights) :]
        inputs = [self._type_row(name, type_) for name, type_ in spec.inputs]
        results = spec.graph.outputs[: len(spec.outputs)]
        outputs = [
            self._type_row(name, value.type)
            for name, value in zip(spec.outputs, results, strict=True)
        ]
        extents = [
            T.ExtentRow(tables.text(name), likely)
            for name, likely in zip(spec.names, spec.likely, strict=True)
        ]
        lists = [tables.rows(list_) for list_ in (inputs, outputs, extents, states, weights)]
        levels_at = tables.room(len(own) * len(T.LevelRow._fields))
        notices = list(map(tables.text, texts()))
        notices_at = tables.words(notices)
        low, high = digest(data) if self.apart else (0, 0)

        def content(places: Sequence[int], of_weights: int) -> bytes:
            levels = [row._replace(code=place) for row, place in zip(own, places, strict=True)]
            tables.overwrite(levels_at, [word for row in levels for word in row])
            numbers = [number for list_ in lists for number in list_]
            model = T.ModelRow(
                T.MAGIC,
                tables.text(spec.name),
                len(own),
                levels_at,
                *numbers,
                int(self.apart),
                of_weights,
                len(data),
                begin,
                T.as_word(low),
                T.as_word(high),
                spec.draws,
                spec.updates,
                len(notices),
                notices_at,
            )
            return tables.content(model)

        size = round_up(len(content([0] * len(own), 0)), 64)
        inside = b"" if self.apart else data
        whole = content(image.code(size + len(inside)), size).ljust(size, b"\0") + inside
        return image.file(name, spec.name, whole), data if self.apart else None

    def _link(self) -> Image:
        levels = [(one.code, [way.program for way in one.ways]) for one in self.levels]
        return link(levels, self._machine, self._system)

    def _data(self, held: Sequence[Held]) -> tuple[list[int], bytes, int]:
        """Of each array its place, and all of them in a row, or as a file of its own; and where in
        that the first begins."""
        if self.apart:
            names = {one.name: one for one in held}
            check(
                len(names) == len(held),
                self._who,
                "two weights have one name; give them other names, or pass weights='inside'",
            )
            content = safetensors.write({name: one.memory for name, one in names.items()})
            (length,) = struct.unpack_from("<Q", content)
            header = json.loads(content[8 : 8 + length])
            found = [header[one.name]["data_offsets"][0] for one in held]
            return found, content, 8 + length
        places, data = [], bytearray()
        for one in held:
            data += bytes(-len(data) % 64)
            places.append(len(data))
            data += one.memory.tobytes()
        return places, bytes(data), 0

    def _level_row(self, level: _Level, functions: Mapping[int, int]) -> T.LevelRow:
        tables = self.tables
        features = [tables.text(name) for name in level.code.features]
        ways = [self._way_row(way, functions) for way in level.ways]
        return T.LevelRow(
            tables.text(level.code.level),
            len(features),
            tables.words(features),
            0,
            *tables.rows(ways),
        )

    def _way_row(self, way: _Way, functions: Mapping[int, int]) -> T.WayRow:
        spec, tables = self.spec, self.tables
        sources = [(KINDS[one.kind], one.number) for one in way.sources]
        over = set(spec.in_place)
        first = len(spec.outputs)
        targets = [(T.TO_OUTPUT, number) for number in range(first)]
        moved = dict(spec.moves)
        for output in range(first, len(spec.graph.outputs)):
            state = moved[output]
            source = way.sources.index(Source("state", state))
            at_once = (output, source) in over and way.program.may_lie_over(output, source)
            targets.append((T.TO_STATE if at_once else T.TO_STATE_LATER, state))
        return T.WayRow(
            write_program(tables, way.program, functions, spec.names),
            *tables.rows(sources),
            *tables.rows(targets),
        )

    def _array_rows(self, held: Sequence[Held], places: Sequence[int]) -> list[T.ArrayRow]:
        return [
            self._type_row(one.name, TensorType(one.shape, one.dtype))._replace(place=place)
            for one, place in zip(held, places, strict=True)
        ]

    def _type_row(self, name: str, type_: TensorType) -> T.ArrayRow:
        tables = self.tables
        shape = [tables.formula(extent) for extent in type_.shape]
        return T.ArrayRow(
            tables.text(name),
            type_.dtype.code,
            type_.dtype.itemsize,
            len(shape),
            tables.words(shape) if shape else 0,
            tables.formula(type_.nbytes),
            0,
        )

    # -- words about it

    def description(self, content: bytes, file: bytes | None) -> dict[str, Any]:
        spec = self.spec
        results = spec.graph.outputs[: len(spec.outputs)]
        return {
            "inputs": [(name, self._shown(type_)) for name, type_ in spec.inputs],
            "outputs": [
                (name, self._shown(value.type))
                for name, value in zip(spec.outputs, results, strict=True)
            ],
            "extents": list(zip(spec.names, spec.likely, strict=True)),
            "states": [
                (one.name, self._shown(TensorType(one.shape, one.dtype))) for one in spec.states
            ],
            "weights": [
                (one.name, self._shown(TensorType(one.shape, one.dtype))) for one in self.weights
            ],
            "weights_bytes": sum(one.memory.nbytes for one in (*self.weights, *spec.states)),
            "library": f"{spec.name}{suffix(self._system)}",
            "library_bytes": len(content),
            "file_bytes": None if file is None else len(file),
            "levels": [level.code.level for level in self.levels],
            "draws": spec.draws,
            "doc": spec.doc,
        }

    def _shown(self, type_: TensorType) -> str:
        shown = with_names(", ".join(map(str, type_.shape)), self.spec.names)
        return f"{type_.dtype} ({shown}{',' if type_.ndim == 1 else ''})"
