"""The operator record: everything that is known of an operator, in one place.

Conventions
-----------
* Operands are positional, attributes keyword. `operands="data weight bias?"` names them: a `?`
  marks an optional one, a leading `*` a variable number, `!` an auxiliary state (not
  differentiated, not a learnable argument), `%` a random key that the caller of the operator
  supplies (users never see it).
* Attributes are a `Frozen` record; `NoAttrs` when there are none. Rules of an operator *with*
  attributes take them first: `infer(attrs, *types)`, `grad(attrs, g, y, *x)`,
  `decompose(attrs, *x)`; without: `infer(*types)`, `grad(g, y, *x)`, `decompose(*x)`.
  The oracle takes them as keywords: `numpy(*arrays, **fields)`.
* A gradient rule is written in operators on graph values, never reads a shape, and gives one
  cotangent (or None) per operand. `g` and `y` are tuples where there are several outputs.
* `dtypes` declares what operands may be, and that is the one place where a dtype is refused; rules
  rely on it. Kinds are letters: "f" floats, "i" and "u" integers with and without a sign, "b" bool;
  "P" alone, what pixels are.
* Families say how an operator is lowered:

  ELEMENTWISE  `lower(*exprs)`: one element; operands broadcast as in numpy
  VIEW         `lower(attrs, types, coords, read)`: `read(i, coords)` is operand i's element at
  GATHER       these coordinates. A VIEW moves its first operand about and costs nothing; a
  LEAF         GATHER reads indices; a LEAF reads nothing that varies (iota, random bits)
  REDUCTION    `combine` over `attrs.axes` (sorted, non-negative), which disappear
  SCAN         `combine` of the elements up to each one along `attrs.axis`, from the end if
               `attrs.reverse`
  CONTRACTION  sum over labels shared by both operands: attrs.left, attrs.right, attrs.out
  JOIN, UPDATE, SCATTER   kernels that write parts of their output: see `lower`
  CHECK        indices, or a failure where one is out of range: see `lower`
  HOST         Python code on arrays, which no kernel holds: graphs are cut around it; `begin`
  EXTERN       a routine of a library over a batch: `routine(attrs, *types)` says which
  CONTROL      a loop or a branch, over graphs among its attributes
  COMPOSITE    `decompose` into other operators
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tigon.base import InternalError, TensorType, TigonError, TigonTypeError
from tigon.base.dtypes import DType, float32, int64
from tigon.base.extents import is_one
from tigon.base.frozen import Frozen, replace
from tigon.base.lazy import computed_once
from tigon.ir.graph import graphs_among
from tigon.loop import build as L
from tigon.ops.attributes import attrs_dict, make_attrs


class Family(enum.Enum):
    ELEMENTWISE = "elementwise"
    VIEW = "view"
    GATHER = "gather"
    LEAF = "leaf"
    REDUCTION = "reduction"
    SCAN = "scan"
    CONTRACTION = "contraction"
    JOIN = "join"
    UPDATE = "update"
    SCATTER = "scatter"
    CHECK = "check"
    NOTICE = "notice"
    HOST = "host"
    EXTERN = "extern"
    CONTROL = "control"
    COMPOSITE = "composite"


TRANSPARENT = frozenset({Family.VIEW, Family.GATHER, Family.LEAF, Family.UPDATE})
"""Families that are index maps or formulas: never worth memory of their own."""

POINTWISE = frozenset({Family.ELEMENTWISE, Family.UPDATE})
"""Families computed element by element, each with a formula."""


READS_MEMORY = frozenset({Family.EXTERN, Family.CONTROL})
"""Families whose operands lie in memory, element after element."""


class Effect(enum.Enum):
    """What a call does that shows elsewhere than in its outputs. A call of some effect is never
    merged with another, dropped, run twice, or moved before an earlier one of its kind."""

    NONE = "none"
    HOST = "host"
    CHANNEL = "channel"  # Python code that waits for other ranks, in an order that all share


def has_effect(node: Any) -> bool:
    """Whether a call does something that shows elsewhere than in its outputs."""
    return getattr(node.op, "effect", Effect.NONE) is not Effect.NONE


class Work(enum.Enum):
    """How the operations of an operator, and those of its gradient, grow with the sizes of operands
    and results; `tests/registry/test_work.py` counts them in the loops."""

    LINEAR = "linear"
    SORTING = "n log² n"
    PRODUCT = "n to the power of 1.5: contractions, cubic in the extent of a matrix"
    PAIRS = "n²: each row beside each other one"


class NoAttrs(Frozen):
    """The attributes of an operator that has none."""


class Operand(Frozen):
    name: str
    optional: bool = False
    variadic: bool = False
    auxiliary: bool = False
    random_key: bool = False


class Routine(Frozen):
    """A call of the native runtime's `routines.cpp`."""

    name: str
    points: int
    """Matrices. Of every operand and result each has an equal part."""
    numbers: tuple[int | float, ...]
    operations: int
    """Of one point, about: for estimates of time."""


class Positions(Frozen):
    """What an operand of positions may hold: 0 to `count` - 1 (or of each of its rows another
    count), and the number `ignored`."""

    count: int | tuple[int, ...]
    axis: int  # of what is indexed, for the message
    ignored: float | None = None
    column: int | None = None  # of the operand's last axis, which holds them beside other numbers
    read: bool = True  # False: by the gradient only, or as numbers whose dtype the result has


class Alike(Frozen):
    """Operands, by number, that have one dtype, and the kinds of it. Of a variable number of
    operands all have the number of the first."""

    operands: tuple[int, ...]
    kinds: str


Dtypes = str | Mapping[str, str]
"""Kinds of the one dtype that all operands have; or names of operands that have the dtype of the
first of them, "data weight", with its kinds. What is not named takes every dtype."""

EXPECTED = {
    "f": "floating-point numbers",
    "F": "float32 or float64",
    "P": "floating-point numbers or uint8",
    "iu": "integers",
    "fiu": "numbers",
    "fiub": "numbers or bools",
}
"""How messages and documentation call what is of these kinds."""

CONVERSION = {
    "f": "float32",
    "F": "float32",
    "P": "float32",
    "iu": "int32",
    "fiu": "float32",
    "fiub": "float32",
}
"""What messages advise to convert to."""


def is_of(dtype: DType, kinds: str) -> bool:
    """Whether a dtype is one of those that a record declares by these kinds."""
    if kinds == "P":
        return dtype.is_float or dtype.name == "uint8"
    return dtype.name in ("float32", "float64") if kinds == "F" else dtype.kind in kinds


def _parse_operands(text: str) -> tuple[Operand, ...]:
    return tuple(
        Operand(
            word.strip("?*!%"),
            optional="?" in word,
            variadic="*" in word,
            auxiliary="!" in word,
            random_key="%" in word,
        )
        for word in text.split()
    )


class ByRows(Frozen, eq=False):
    """A cotangent of which most rows are zero."""

    operand: int
    rows: Any  # int64, along one axis: which ones these are, some perhaps several times
    values: Any  # as many rows


class Packed(Frozen, eq=False):
    """A call with one operand packed: which one, as what, and the call that takes it."""

    operand: int
    made: Any
    call: Callable[[Any], Any]


class Creation(Frozen):
    """How an array is made of numbers, each rounded to the dtype: by `formula(shape, *numbers)`, or
    `formula(shape, key, *numbers)` where it draws. The numbers are data of its graph, which is one
    kernel. A formula is a function of a module: its name says what it is."""

    formula: Callable[..., Any]
    dtype: DType
    numbers: tuple[float, ...]


class Operator(Frozen, eq=False):
    """One operator. Records are unique objects; find them by name with `get`."""

    name: str
    family: Family
    operands: tuple[Operand, ...]
    attrs_type: type
    infer: Callable[..., Any]
    doc: str
    dtypes: Dtypes | Callable[[Any], Dtypes] = MappingProxyType({})
    """Which dtypes the operands may have, random keys apart; `(attrs)` tells where it depends on
    them."""
    lower: Callable[..., Any] | None = None
    offsets: str = ""
    """Of a view: the attribute whose numbers `lower` adds to coordinates and asks nothing about."""
    combine: str = ""
    """Of a reduction or a scan: by which row of `loop/combine.py`."""
    joining: Operator | None = None
    """Of a scan: combines two of its results, element by element."""
    routine: Callable[..., Routine] | None = None
    """Of an extern: `(attrs, *types)` says what is called."""
    decompose: Callable[..., Any] | None = None
    grad: Callable[..., Any] | None = None
    by_rows: Callable[..., ByRows | None] | None = None
    """`(attrs, g, *inputs)` gives the cotangent of one operand as the rows that are not zero, where
    these attributes ask for it. `grad` gives it whole, to whoever takes no rows."""
    numpy: Callable[..., Any] | None = None
    outputs: Callable[[Any], int] | int = 1
    visible: Callable[[Any], int] | int | None = None
    results: tuple[str, ...] = ()
    """Names of the outputs that a symbol has (`bn_mean`), where they are not numbered."""
    mutates: Mapping[int, str] = MappingProxyType({})
    """Output index -> operand whose new state it is (auxiliary states, optimizer states). Where
    `training` is an attribute, prediction hands the states through."""
    initial: Mapping[str, str] = MappingProxyType({})
    """Operand -> what a variable that stands there is filled with at first, as files say it."""
    present: Callable[[Any], tuple[str, ...]] | None = None
    """Which operands exist under these attributes (bias under no_bias), for automatic variables."""
    aliases: tuple[str, ...] = ()
    domain: tuple[float, float] | None = None
    """Where the generated tests sample float operands."""
    sampled: Callable[[np.ndarray], np.ndarray] | None = None
    """What the generated tests put their first operand through, that it may be symmetric, say.
    Affine: gradients are compared along what it makes of all directions."""
    samples: Sequence[tuple[Any, ...]] = ()
    """Generated tests: (operand shapes or arrays..., attrs dict)."""
    indices: Mapping[str, Callable[..., Positions | None]] = MappingProxyType({})
    """Operands that hold positions, and which ones are right: `(attrs, *types)` tells, None where
    under these attributes or types all are. Others are clipped or ignored, as in MXNet, unless
    `TIGON_CHECK_INDICES=1` has `passes/check_indices.py` refuse them."""
    differentiable: bool = True
    """False: integer-valued or piecewise constant, the gradient is none everywhere."""
    ends_recording: bool = False
    """What is before it takes no part in a recording: its gradient is not even 0."""
    is_loss: bool = False
    answers_truth: bool = False
    """Its zeros and ones say whether something holds: no positions, where an index is expected."""
    work: Work = Work.LINEAR
    draws_if: Callable[[Any], bool] | None = None
    """Of random operators: under which attributes, mode included; if not given, always."""
    ulp: tuple[float, float] | None = None
    """Bounds for float32 and float64 in units in the last place, of formulas that are more than
    arithmetic and one elementary function (whose bounds stand in `loop/mathematics/`)."""
    tolerance: Mapping[str, float] = MappingProxyType({})
    infer_operands: Callable[..., Any] | None = None
    """`(attrs, types)` gives the types of all operands where some are missing (None): what shape a
    weight must have for its data."""
    keeps_shapes: bool = False
    """Each output has the shape of the operand of its number: where one is known, so is the other,
    as of the weight behind a cast."""
    shares_memory: bool = False
    """Imperatively the result is a view of the first operand, where it is contiguous in it."""
    widens: bool = True
    """Floats of two bytes are computed with in float32 (`passes/widen_floats.py`). False: it
    converts, or is made of what does."""
    statistics: tuple[str, ...] = ()
    """Operands that may be float32 beside floats of two bytes."""
    packed: Callable[..., Packed | None] | None = None
    """`(attrs, registers, *inputs)` says how it is called with one of its operands packed, where
    that pays if the operand mostly stays."""
    has_memory: bool = False
    """Its result is written down, and no reader computes it again."""
    apart: bool = False
    """No reader is computed by the kernel that writes its result."""
    has_table: bool = False
    """It writes down every position of its result."""
    created: Callable[[Any], Creation | None] | None = None
    """Of what reads nothing but a random key: `(attrs)` says how it is made of numbers, so that one
    program serves all numbers and all shapes; None where it is made in another way."""
    check_gradient: bool | tuple[bool, ...] = True
    """Of which samples the generated tests compare the gradient with differences: of a loss, or
    where it is not the derivative by definition, of none."""
    effect: Effect = Effect.NONE
    begin: Callable[..., Any] | None = None
    """Of HOST operators: `(attrs, types, at)` makes the `HostCode` that computes calls on such
    operands, of which the first is there."""
    texts: Callable[[Any], dict[str, str]] | None = None
    """The attributes as a file has them, where they are not the fields of `attrs_type`."""

    # -- calling

    def __call__(self, *operands: Any, **attributes: Any) -> Any:
        """Apply to graph values, symbols or arrays: the first operand that can, appends or runs."""
        attrs = self.make_attrs(attributes)
        given = list(operands)
        while given and given[-1] is None:
            given.pop()
        for operand in given:
            apply_op = getattr(operand, "apply_op", None)
            if apply_op is not None:
                return apply_op(self, attrs, given)
        from tigon.ir.graph import Node, as_value

        node = Node(self, tuple(as_value(operand) for operand in given), attrs)
        return node.outputs[0] if len(node.outputs) == 1 else node.outputs

    def make_attrs(self, given: Mapping[str, Any]) -> Any:
        """Checked, normalized attributes (hashable)."""
        return make_attrs(self, given)

    # -- rules, with attributes where there are some

    @staticmethod
    def find(name: str) -> Operator:
        """The record of that name, for graphs among attributes."""
        return get(name)

    @property
    def has_attrs(self) -> bool:
        return self.attrs_type is not NoAttrs

    def rule(self, rule: Callable[..., Any], attrs: Any, *arguments: Any) -> Any:
        return rule(attrs, *arguments) if self.has_attrs else rule(*arguments)

    def output_count(self, attrs: Any) -> int:
        return self.outputs if isinstance(self.outputs, int) else self.outputs(attrs)

    def visible_count(self, attrs: Any) -> int:
        if self.visible is None:
            return self.output_count(attrs) - len(self.mutates)
        return self.visible if isinstance(self.visible, int) else self.visible(attrs)

    def states(self, attrs: Any, count: int) -> dict[int, int]:
        """Output -> operand (of `count`) whose new state it is. An output that the user sees is a
        result like any other: whoever wants it written over an operand says `out=`."""
        visible = self.visible_count(attrs)
        place = {operand.name: position for position, operand in enumerate(self.operands)}
        return {
            output: place[name]
            for output, name in self.mutates.items()
            if output >= visible and place[name] < count
        }

    def advances(self, attrs: Any) -> bool:
        """Whether its states come out changed. Where there are modes, it is in training only; of
        Python code nobody knows."""
        return self.effect is not Effect.NONE or bool(getattr(attrs, "training", True))

    def draws(self, attrs: Any, training: bool = True) -> bool:
        """Whether a random key must be supplied under these attributes, in the mode that they name
        or else in this one: without a mode, whether it ever draws."""
        if self.family is Family.CONTROL:
            nodes = (node for graph in graphs_among(attrs).values() for node in graph.nodes)
            return any(isinstance(n.op, Operator) and n.op.draws(n.attrs, training) for n in nodes)
        if not self.takes_key:
            return False
        if self.draws_if is None:
            return True
        if getattr(attrs, "training", False) is None:
            attrs = replace(attrs, training=training)
        return bool(self.draws_if(attrs))

    def advances_stream(self, attrs: Any, training: bool = True) -> bool:
        """Whether a call takes a number of the stream of random keys. Loops and branches do, draws
        in them or not: of two branches only one may draw."""
        return self.family is Family.CONTROL or self.draws(attrs, training)

    @computed_once
    def overwrites(self) -> bool:
        """Whether it writes states where they are, as optimizers do, and not fresh ones."""
        written = set(self.mutates.values())
        return any(o.name in written and not o.auxiliary for o in self.operands)

    @property
    def takes_key(self) -> bool:
        return any(operand.random_key for operand in self.operands)

    def infer_types(self, attrs: Any, types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        self.check_operand_count(len(types))
        self._check_dtypes(attrs, types)
        try:
            result = self.rule(self.infer, attrs, *types)
        except TigonTypeError as refusal:
            raise self._undeclared(refusal) from refusal
        return result if isinstance(result, tuple) else (result,)

    def decomposed(self, attrs: Any, *operands: Any) -> tuple[Any, ...]:
        """The values that a composite is made of."""
        assert self.decompose is not None
        try:
            result = self.rule(self.decompose, attrs, *operands)
        except TigonTypeError as refusal:
            raise self._undeclared(refusal) from refusal
        return result if isinstance(result, tuple) else (result,)

    def _undeclared(self, refusal: TigonTypeError) -> InternalError:
        return InternalError(
            f"{self.name}: takes dtypes that what it is made of refuses; declare fewer: {refusal}"
        )

    # -- dtypes

    def alike(self, attrs: Any) -> tuple[Alike, ...]:
        """Which operands have one dtype under these attributes, and of what kinds."""
        if callable(self.dtypes):
            return _grouped(self, self.dtypes(attrs))
        return self._alike

    @computed_once
    def _alike(self) -> tuple[Alike, ...]:
        assert not callable(self.dtypes)
        return _grouped(self, self.dtypes)

    def _check_dtypes(self, attrs: Any, types: tuple[TensorType, ...]) -> None:
        """Refuse what is not declared. A number takes the dtype of the arrays beside it."""
        for alike in self.alike(attrs):
            given = self.members(alike, len(types))
            arrays = [place for place in given if not types[place].weak]
            if not given:
                continue
            first = (arrays or given)[0]
            dtype = (
                types[first].dtype
                if arrays
                else common_dtype(self.name, *(types[place] for place in given))
            )
            if not is_of(dtype, alike.kinds):
                self._refuse_dtype(first, EXPECTED[alike.kinds], dtype, CONVERSION[alike.kinds])
            for place in arrays[1:]:
                if types[place].dtype is not dtype and not (
                    dtype.is_narrow
                    and types[place].dtype is float32
                    and self.operands[place].name in self.statistics
                ):
                    expected = f"{dtype} like {self._label(first)}"
                    self._refuse_dtype(place, expected, types[place].dtype, dtype.name)

    def members(self, alike: Alike, count: int) -> list[int]:
        """Where these operands stand among `count` that are given."""
        last = len(self.operands) - 1
        if last in alike.operands and self.operands[last].variadic:
            return [*(n for n in alike.operands if n < last), *range(last, count)]
        return [number for number in alike.operands if number < count]

    def _refuse_dtype(self, place: int, expected: str, given: DType, target: str) -> None:
        raise TigonTypeError(
            f"{self.name.lstrip('_')}: {self._label(place)}: expected {expected}; given {given}; "
            f"convert it with astype('{target}')"
        )

    def _label(self, place: int) -> str:
        """An operand in a message."""
        last = len(self.operands) - 1
        if place >= last and self.operands[last].variadic:
            return f"{self.operands[last].name}[{place - last}]"
        return self.operands[place].name

    def check_operand_count(self, count: int) -> None:
        least = sum(not (o.optional or o.random_key) for o in self.operands)  # of *x at least one
        most = None if any(o.variadic for o in self.operands) else len(self.operands)
        if count < least or (most is not None and count > most):
            names = ", ".join(o.name + ("?" if o.optional else "") for o in self.operands)
            raise TigonError(
                f"{self.name}: expected operands ({names}); given {count} of them; "
                "operands are positional, attributes keyword"
            )

    def oracle(self, attrs: Any, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The numpy meaning, for tests."""
        if self.numpy is None:
            raise InternalError(f"{self.name}: has no oracle")
        result = self.numpy(*arrays, **attrs_dict(attrs))
        return result if isinstance(result, tuple) else (result,)

    def __repr__(self) -> str:
        return f"<Operator {self.name}>"


# ------------------------------------------------------------------------- registry

_REGISTRY: dict[str, Operator] = {}


def register(op: Operator) -> Operator:
    for name in (op.name, *op.aliases):
        if name in _REGISTRY:
            raise InternalError(f"operator {name} is registered twice")
        _REGISTRY[name] = op
    return op


def get(name: str) -> Operator:
    found = _REGISTRY.get(name)
    if found is None:
        raise TigonError(
            f"operator '{name}': is not known; see tigon.ops.names() for all there are"
        )
    return found


def is_known(name: str) -> bool:
    return name in _REGISTRY


def names() -> list[str]:
    """Every registered name, aliases included, sorted."""
    return sorted(_REGISTRY)


def all_operators() -> list[Operator]:
    """Every record once, in order of name."""
    return sorted(set(_REGISTRY.values()), key=lambda op: op.name)


# ---------------------------------------------------------------------- type rules


def broadcast_shapes(where: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """numpy's rule.

    >>> broadcast_shapes("add", (2, 1, 3), (4, 1))
    (2, 4, 3)
    """
    ndim = max((len(shape) for shape in shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for position, extent in enumerate(shape, ndim - len(shape)):
            known = result[position]
            if not (is_one(extent) or is_one(known) or known == extent):
                listed = " and ".join(str(s) for s in shapes)
                raise TigonError(
                    f"{where}: shapes do not broadcast: {listed}; axes must be equal or 1"
                )
            if not is_one(extent):
                result[position] = extent
    return tuple(result)


def common_dtype(where: str, *types: TensorType) -> DType:
    """The dtype shared by all but the weak operands, which are declared to share one."""
    strong = [t for t in types if not t.weak]
    dtypes = {t.dtype for t in strong} or {t.dtype for t in types}
    if len(dtypes) > 1 and not strong:
        order = ("bool", "int64", "float32")
        return max(dtypes, key=lambda dtype: order.index(dtype.name))
    if len(dtypes) > 1:
        listed = " and ".join(str(t) for t in types)
        raise InternalError(f"{where}: dtypes differ: {listed}; declare that they are one")
    return dtypes.pop()


def same_type(x: TensorType, *_: TensorType) -> TensorType:
    """Result like the first operand."""
    return TensorType(x.shape, x.dtype)


# --------------------------------------------------------------------- constructors


def elementwise(
    name: str,
    *,
    lower: Callable[..., Any],
    doc: str,
    operands: str = "data",
    attrs: type = NoAttrs,
    result: str = "same",
    dtypes: str = "",
    **record: Any,
) -> Operator:
    """A primitive that works element by element, with numpy's broadcasting.

    `lower(*exprs)` (attributes first, if any) gives one element; all exprs have the operands'
    common dtype, whose kinds are `dtypes`: if not given, those of the function of the loop language
    that `lower` is, or else all. `result` is "same", "bool", or the name of an attribute that holds
    a dtype. Cotangents of the gradient rule are summed back to each operand's shape by the family.
    """

    def infer(*arguments: Any) -> TensorType:
        own, types = (arguments[0], arguments[1:]) if attrs is not NoAttrs else (None, arguments)
        dtype = common_dtype(name, *types)
        if result == "bool":
            dtype = _dtype("bool")
        elif result != "same":
            dtype = _dtype(getattr(own, result))
        weak = result == "same" and bool(types) and all(t.weak for t in types)
        return TensorType(broadcast_shapes(name, *(t.shape for t in types)), dtype, weak)

    parsed = _parse_operands(operands)
    row = L.row_of(lower)
    record.setdefault("samples", _broadcast_samples(len(parsed)))
    return register(
        Operator(
            name,
            Family.ELEMENTWISE,
            parsed,
            attrs,
            infer,
            doc,
            dtypes=dtypes or (row.kinds if row else "fiub"),
            lower=lower,
            **record,
        )
    )


def _broadcast_samples(count: int) -> tuple[tuple[Any, ...], ...]:
    """Shapes that try the corners: odd, empty, 0-d, and, of several operands, broadcast."""
    if count == 1:
        return (((3, 5), {}), ((7,), {}), ((), {}), ((0, 3), {}))
    odd, column, scalar, empty = (3, 5), (4, 1, 3), (), (0, 3)
    rest = count - 1
    return (
        (odd, *[odd] * rest, {}),
        (column, *[(2, 1)] * rest, {}),
        (scalar, *[(3,)] * rest, {}),
        (empty, *[(1, 3)] * rest, {}),
    )


def _dtype(name: str) -> DType:
    from tigon.base import as_dtype

    return as_dtype(name)


def primitive(
    name: str,
    family: Family,
    *,
    infer: Callable[..., Any],
    doc: str,
    operands: str = "data",
    attrs: type = NoAttrs,
    **record: Any,
) -> Operator:
    """A primitive of any other family. What is joined, and what is contracted, has one dtype."""
    if family in _DTYPES:
        record.setdefault("dtypes", _DTYPES[family])
    return register(Operator(name, family, _parse_operands(operands), attrs, infer, doc, **record))


_DTYPES = {Family.JOIN: "fiub", Family.UPDATE: "fiub", Family.CONTRACTION: "fiu"}


def composite(
    name: str,
    decompose: Callable[..., Any],
    *,
    doc: str,
    operands: str = "data",
    attrs: type = NoAttrs,
    infer: Callable[..., Any] | None = None,
    **record: Any,
) -> Operator:
    """An operator made of others. Its type rule defaults to that of its decomposition; give
    `infer` where the check should speak in the operator's own words."""

    def infer_by_decomposing(*arguments: Any) -> tuple[TensorType, ...]:
        from tigon.ir.graph import variable

        own, types = (arguments[:1], arguments[1:]) if attrs is not NoAttrs else ((), arguments)
        if _lacks_key(declared, types):
            types = (*types, _RANDOM_KEY)
        values = [variable(f"operand{i}", t) for i, t in enumerate(types)]
        try:
            result = decompose(*own, *values)
        except TigonTypeError:
            raise  # an error of ours, which `infer_types` says
        except TigonError as error:
            text = str(error)
            spoken = text.partition(":")[0].strip("_").lower()
            own_words = any(own == spoken or own.endswith(f"_{spoken}") for own in own_names)
            raise type(error)(text if own_words else f"{name}: {text}") from None
        outputs = result if isinstance(result, tuple) else (result,)
        return tuple(value.type for value in outputs)

    declared = _parse_operands(operands)
    own_names = {word.strip("_").lower() for word in (name, *record.get("aliases", ()))}
    return register(
        Operator(
            name,
            Family.COMPOSITE,
            declared,
            attrs,
            infer or infer_by_decomposing,
            doc,
            decompose=decompose,
            **record,
        )
    )


def _grouped(op: Operator, dtypes: Dtypes) -> tuple[Alike, ...]:
    """What a record declares, by numbers of operands."""
    names = [operand.name for operand in op.operands if not operand.random_key]
    if isinstance(dtypes, str):
        dtypes = {" ".join(names): dtypes} if names else {}
    found = tuple(
        Alike(tuple(names.index(name) for name in alike.split()), kinds)
        for alike, kinds in dtypes.items()
    )
    if any(alike.kinds not in EXPECTED for alike in found):
        raise InternalError(f"{op.name}: kinds of dtypes are {', '.join(EXPECTED)}; given {dtypes}")
    return found


_RANDOM_KEY = TensorType((2,), int64)


def _lacks_key(operands: Sequence[Operand], types: Sequence[TensorType]) -> bool:
    """Whether the random key is still to come: users' graphs get it when they are compiled, but
    their types are inferred before."""
    if not any(operand.random_key for operand in operands):
        return False
    if any(operand.optional or operand.variadic for operand in operands):
        return not types or types[-1] != _RANDOM_KEY
    return len(types) < len(operands)
