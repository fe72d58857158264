"""Symbol: a program that has not run yet, as a list of graph values with names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.attribute import current as current_attributes
from tigon.base import NotImplementedForSymbol, TensorType, TigonError, as_dtype, check
from tigon.base.dtypes import numpy_type
from tigon.base.errors import user_line
from tigon.base.files import AnyPath, write_file
from tigon.base.lazy import continued_by
from tigon.base.unread import number_of
from tigon.export import symbol_json
from tigon.export.hints import note_initial_values
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    Graph,
    Node,
    Value,
    as_value,
    constant,
    topological_order,
    variable,
)
from tigon.ir.rewrite import copied, rewrite
from tigon.name import current as current_names
from tigon.ops import casting
from tigon.ops.primitive.control import result_count
from tigon.ops.record import Family, Operator
from tigon.ops.tensor.statistics import variance
from tigon.passes.insert_casts import remove_casts
from tigon.runtime import tracing
from tigon.runtime.profiling import note_place
from tigon.runtime.tracing import instead_of
from tigon.standalone.verbs import native_options, web_options
from tigon.sym.inference import Hint, dtypes_without_shapes, infer
from tigon.sym.native import export_symbol
from tigon.sym.partial import OpenShape, infer_open


def enter(operand: Any, where: str) -> Value:
    """The graph value of an operand: a symbol of one output, a value, a number or, while tracing,
    an array."""
    if isinstance(operand, Symbol):
        if len(operand._values) != 1:
            raise TigonError(
                f"{where}: expected symbols of one output as operands; given one of "
                f"{len(operand._values)}; choose an output by [i]"
            )
        return operand._values[0]
    if isinstance(operand, (Value, bool, int, float, np.generic)):
        return as_value(operand)
    if hasattr(operand, "apply_op"):
        handler = tracing.capture()
        if handler is not None:
            return enter(handler(operand), where)
        raise TigonError(
            f"{where}: expected symbols and numbers as operands; given an NDArray, which has no "
            "place in a symbol; make it a variable, sym.var('name'), and give the array when "
            "the symbol runs"
        )
    what = "symbols and numbers" if tracing.capture() is None else "NDArrays and numbers"
    raise TigonError(
        f"{where}: expected {what} as operands; given {type(operand).__name__}; "
        f"{instead_of(operand)}"
    )


MOST_NODES_DRAWN = 300


class Symbol:
    """Outputs of a computation to be. Operators on symbols make larger symbols.

    >>> from tigon import sym
    >>> a, b = sym.var("a"), sym.var("b")
    >>> c = sym.broadcast_add(a * b, 1, name="c")
    >>> c, c.list_arguments(), c.list_outputs()
    (<Symbol c>, ['a', 'b'], ['c_output'])
    """

    __slots__ = ("__weakref__", "_values")

    stands_for: Any = None
    """An array, where the trace is over and the code has kept this."""
    awaits_extent = False
    """Whether it is told by what it meets how many elements it has: `sym/open_range.py`."""
    __array_priority__ = 1000.0  # numpy arrays leave arithmetic with symbols to them
    __array_ufunc__ = None

    def __init__(self, values: Sequence[Value]) -> None:
        self._values = tuple(values)

    # -- building

    def apply_op(
        self, op: Any, attrs: Any, operands: Sequence[Any], name: str | None = None, hint: str = ""
    ) -> Symbol:
        """Append an operator. Its visible outputs are the new symbol."""
        return apply(op, attrs, operands, name, hint, like=type(self))

    def _like(self, values: Sequence[Value]) -> Any:
        return type(self)(values)

    def __call__(self, *arguments: Symbol, name: str | None = None, **keywords: Symbol) -> Symbol:
        """The same computation over other inputs.

        >>> from tigon import sym
        >>> x, y = sym.var("x"), sym.var("y")
        >>> (x * 2)(x=y + 1).list_arguments()
        ['y']
        """
        given = dict(keywords)
        names = self.list_arguments()
        check(
            len(arguments) <= len(names),
            "compose",
            f"expected at most {len(names)} symbols ({', '.join(names)}); given {len(arguments)}",
        )
        for own, symbol in zip(names, arguments, strict=False):
            check(own not in given, "compose", f"argument '{own}' is given twice")
            given[own] = symbol
        variables = {node.name: node.outputs[0] for node in self._variable_nodes()}
        for own in given:
            check(
                own in variables,
                "compose",
                f"the symbol has no argument '{own}'; it has: {', '.join(variables)}",
            )
        replacements = {variables[own]: enter(symbol, "compose") for own, symbol in given.items()}
        values = copied(self._values, replacements, tracing.adapter())
        for node in topological_order(values):
            note_initial_values(node)
        if name is not None and len({value.node for value in values}) == 1:
            node = values[0].node
            renamed = Node(node.op, node.inputs, node.attrs, name, node.hints)
            values = tuple(renamed.outputs[value.index] for value in values)
        return self._like(values)

    # -- what it is made of

    @property
    def name(self) -> str | None:
        """The name of the node; None for a group of several."""
        nodes = {value.node for value in self._values}
        return nodes.pop().name if len(nodes) == 1 else None

    def _nodes(self) -> list[Node]:
        return topological_order(self._values)

    def _variable_nodes(self) -> list[Node]:
        return [node for node in self._nodes() if node.op is VARIABLE]

    def _auxiliary_nodes(self) -> set[Node]:
        return auxiliary_variables(self._nodes())

    def list_inputs(self) -> list[str]:
        """Names of all variables, auxiliary states included."""
        return [node.name for node in self._variable_nodes()]

    def list_arguments(self) -> list[str]:
        """Names of the variables that are not auxiliary states, inputs before users."""
        auxiliary = self._auxiliary_nodes()
        return [node.name for node in self._variable_nodes() if node not in auxiliary]

    def list_auxiliary_states(self) -> list[str]:
        """Names of the variables that operators update on their own."""
        auxiliary = self._auxiliary_nodes()
        return [node.name for node in self._variable_nodes() if node in auxiliary]

    def list_outputs(self) -> list[str]:
        return [output_name(value) for value in self._values]

    def get_internals(self) -> Symbol:
        """A group of the outputs of every node."""
        values = [
            value
            for node in self._nodes()
            if node.op is not CONSTANT
            for value in node.outputs[: visible_count(node)]
        ]
        return Symbol(values)

    def get_children(self) -> Symbol | None:
        """The inputs of the node, or None for a variable."""
        inputs = [value for node in self._heads() for value in node.inputs]
        return Symbol([v for v in inputs if v.node.op is not CONSTANT]) if inputs else None

    def _heads(self) -> list[Node]:
        return list(dict.fromkeys(value.node for value in self._values))

    @property
    def num_outputs(self) -> int:
        return len(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Symbol]:
        return (self._like((value,)) for value in self._values)

    def __getitem__(self, index: int | str | slice) -> Symbol:
        """Select outputs, by position or name."""
        if isinstance(index, str):
            names = self.list_outputs()
            found = [i for i, own in enumerate(names) if own == index]
            check(found, "Symbol", f"there is no output '{index}'; there are: {', '.join(names)}")
            check(len(found) == 1, "Symbol", f"there are several outputs '{index}'; use a number")
            return self._like((self._values[found[0]],))
        if isinstance(index, slice):
            return self._like(self._values[index])
        check(
            isinstance(index, int),
            "Symbol",
            f"expected the number or name of an output in []; given {index!r}; "
            "use sym.slice for the elements of an array",
        )
        if not -len(self._values) <= index < len(self._values):
            raise IndexError(
                f"Symbol: output {index} of {len(self._values)} ({', '.join(self.list_outputs())})"
            )
        return self._like((self._values[index],))

    # -- attributes

    def attr(self, key: str) -> str | None:
        """An attribute of the node as text, or None. What is said about rates, decay and placement
        is found with underscores around its name and without.

        >>> from tigon import sym
        >>> sym.var("x", lr_mult=2).attr("__lr_mult__"), sym.var("x", lr_mult=2).attr("lr_mult")
        ('2', '2')
        """
        return self.list_attr().get(key)

    def list_attr(self) -> dict[str, str]:
        """All attributes of the node, as text."""
        heads = self._heads()
        check(len(heads) == 1, "Symbol.list_attr", "expected one node, given a group")
        return _attributes(heads[0])

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """Node name -> attributes, for all nodes that have some."""
        pairs = (
            (node.name, _attributes(node)) for node in self._nodes() if node.op is not CONSTANT
        )
        return {own: attributes for own, attributes in pairs if attributes}

    def _set_attr(self, **attributes: str) -> None:
        for own, value in attributes.items():
            check(isinstance(value, str), "Symbol", f"attribute '{own}' expects a string")
            for node in self._heads():
                if isinstance(node.op, Operator):
                    _check_remarks(node.op, (own,))
                node.hints[own] = value

    # -- types

    def infer_shape(self, *arguments: Any, **keywords: Any) -> tuple[Any, Any, Any]:
        """(argument shapes, output shapes, auxiliary shapes), or three times None if shapes are
        missing.

        >>> from tigon import sym
        >>> a, b = sym.var("a"), sym.var("b")
        >>> sym.dot(a, b).infer_shape(a=(2, 3), b=(3, 4))
        ([(2, 3), (3, 4)], [(2, 4)], [])
        """
        known = infer_open(self._values, self._shape_hints(arguments, keywords))
        wanted = [*self._values, *(node.outputs[0] for node in self._variable_nodes())]
        complete = all(value in known and None not in known[value] for value in wanted)
        return self._shapes(known) if complete else (None, None, None)

    def infer_shape_partial(self, *arguments: Any, **keywords: Any) -> tuple[Any, Any, Any]:
        """Like `infer_shape`, with () for unknown shapes and 0 for unknown extents, as they may be
        given.

        >>> from tigon import sym
        >>> a, b = sym.var("a"), sym.var("b")
        >>> sym.dot(a, b).infer_shape_partial(a=(0, 3), b=(0, 4))
        ([(0, 3), (3, 4)], [(0, 4)], [])
        """
        return self._shapes(infer_open(self._values, self._shape_hints(arguments, keywords)))

    def _shapes(self, known: Mapping[Value, OpenShape]) -> tuple[Any, Any, Any]:
        def shapes(values: Sequence[Value]) -> list[tuple[int, ...]]:
            return [tuple(extent or 0 for extent in known.get(value, ())) for value in values]

        arguments, auxiliary = self._split_variables()
        return shapes(arguments), shapes(self._values), shapes(auxiliary)

    def infer_type(self, *arguments: Any, **keywords: Any) -> tuple[Any, Any, Any]:
        """(argument dtypes, output dtypes, auxiliary dtypes) as numpy types.

        >>> from tigon import sym
        >>> (sym.var("a") * 2).infer_type(a="float64")
        ([<class 'numpy.float64'>], [<class 'numpy.float64'>], [])
        """
        return self.infer_type_partial(*arguments, **keywords)

    def infer_type_partial(self, *arguments: Any, **keywords: Any) -> tuple[Any, Any, Any]:
        """Like `infer_type`. Where an operator's result dtype depends on shapes, that of its
        operands stands in."""
        given = dict(keywords)
        for own, dtype in zip(self.list_arguments(), arguments, strict=False):
            if dtype is not None:
                given[own] = dtype
        hints = {own: Hint(None, as_dtype(dtype)) for own, dtype in given.items()}
        self._check_names("infer_type", hints)
        types = self._inferred(hints)
        dtypes = dtypes_without_shapes(self._nodes(), types, hints)

        def numpy_types(values: Sequence[Value]) -> list[Any]:
            return [numpy_type(dtypes[value]) for value in values]

        arguments_, auxiliary = self._split_variables()
        return numpy_types(arguments_), numpy_types(self._values), numpy_types(auxiliary)

    def _split_variables(self) -> tuple[list[Value], list[Value]]:
        auxiliary = self._auxiliary_nodes()
        nodes = self._variable_nodes()
        return (
            [node.outputs[0] for node in nodes if node not in auxiliary],
            [node.outputs[0] for node in nodes if node in auxiliary],
        )

    def _shape_hints(self, arguments: Any, keywords: Mapping[str, Any]) -> dict[str, Hint]:
        given = dict(keywords)
        for own, shape in zip(self.list_arguments(), arguments, strict=False):
            if shape is not None:
                given[own] = shape
        self._check_names("infer_shape", given)
        hints = {}
        for own, shape in given.items():
            check(
                isinstance(shape, (tuple, list)) and all(isinstance(e, int) for e in shape),
                "infer_shape",
                f"argument '{own}' expects a shape such as (2, 3); given {shape!r}",
            )
            hints[own] = Hint(tuple(shape) or None)
        return hints

    def _check_names(self, where: str, given: Mapping[str, Any]) -> None:
        names = self.list_inputs()
        for own in given:
            check(
                own in names,
                where,
                f"the symbol has no argument '{own}'; it has: {', '.join(names)}",
            )

    def _inferred(self, hints: Mapping[str, Hint]) -> dict[Value, TensorType]:
        return infer(self._values, hints)

    def _type(self) -> TensorType:
        check(
            len(self._values) == 1,
            "Symbol",
            f"expected one output, given {len(self._values)}; choose one by [i]",
        )
        value = self._values[0]
        if value.is_typed:
            return value.type
        found = infer(self._values, {}, match=False).get(value)
        if found is None:
            unknown = ", ".join(
                node.name for node in self._variable_nodes() if not node.hints.get("__shape__")
            )
            what = f"variable '{value.node.name}'"
            what = what if value.node.op is VARIABLE else value.node.label
            raise TigonError(
                f"{what}: its shape is not known yet; it depends on {unknown}; "
                "give them shapes, sym.var(name, shape=...), or use infer_shape"
            )
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, while tracing or where the variables' shapes tell it.

        >>> from tigon import sym
        >>> (sym.var("a", shape=(2, 3)) * 2).shape
        (2, 3)
        """
        return self._type().shape

    @property
    def dtype(self) -> type:
        """The element type as a numpy type, as arrays give it."""
        return numpy_type(self._type().dtype)

    @property
    def ndim(self) -> int:
        return len(self._type().shape)

    @property
    def size(self) -> int:
        return self._type().size

    # -- differentiation

    def grad(self, wrt: Any) -> Any:
        """Gradient of the sum of the outputs, as symbols: one per entry of `wrt`.

        >>> from tigon import sym
        >>> x = sym.var("x")
        >>> (dx,) = (x * x).grad(wrt=[x])
        >>> dx.list_arguments()
        ['x']
        """
        from tigon.ops.tensor.create import ones_like, zeros_like
        from tigon.passes.gradient import gradient

        several = isinstance(wrt, (list, tuple))
        targets = [self._wrt_value(entry) for entry in (wrt if several else [wrt])]
        cotangents = [ones_like(value) for value in self._values]
        found = gradient(self._values, cotangents, targets)
        results = [
            self._like((zeros_like(target) if value is None else value,))
            for target, value in zip(targets, found, strict=True)
        ]
        return results if several else results[0]

    def _wrt_value(self, entry: Any) -> Value:
        nodes = self._nodes()
        if isinstance(entry, Symbol):
            value = enter(entry, "Symbol.grad")
            if value.node in set(nodes):
                return value
            entry = value.node.name if value.node.op is VARIABLE else f"{entry!r}"
        for node in nodes:
            if node.op is VARIABLE and node.name == entry:
                return node.outputs[0]
        raise TigonError(
            f"Symbol.grad: expected arguments of the symbol in wrt; given '{entry}'; "
            f"it has: {', '.join(self.list_arguments())}"
        )

    # -- files

    def tojson(self, remove_amp_cast: bool = True) -> str:
        """The graph as MXNet's -symbol.json text. The casts of mixed precision (`amp_cast` and
        `amp_multicast`) are left out, unless `remove_amp_cast=False`: without them it is the
        network as it was written, of float32."""
        values = remove_casts(self._graph()).outputs if remove_amp_cast else self._values
        try:
            types = infer(values, {}, match=False)
        except TigonError:  # a graph can be written even if its declared shapes disagree
            types = {}
        return symbol_json.dumps(values, types)

    def save(self, fname: AnyPath, remove_amp_cast: bool = True) -> None:
        """Write the graph to a file that `load` (and MXNet, if it holds MXNet operators) reads;
        `remove_amp_cast` (default True) as in `tojson`."""
        write_file(fname, self.tojson(remove_amp_cast).encode())

    def export_native(
        self,
        path: AnyPath,
        params: Mapping[str, Any],
        shapes: Mapping[str, Sequence[int]],
        *,
        extents: str | Mapping[str, Sequence[str | None]] | None = "batch",
        target: str | Sequence[str] = "native",
        weights: str = "inside",
        prefix: str | None = None,
        system: str = "linux",
    ) -> tuple[str, ...]:
        """Write a shared library of this graph in prediction that needs nothing installed.

        `params`: arrays that it holds, by name, as `mx.model.load_checkpoint` or `nd.load` give
        them ("arg:" and "aux:" are left out). The other variables are its inputs, of these
        `shapes`; of the dtype that they were declared with, else float32. For the rest see
        `gluon.HybridBlock.export_native`.

        >>> import tempfile
        >>> from tigon import nd, sym
        >>> y = sym.FullyConnected(sym.var("data"), sym.var("w"), no_bias=True, num_hidden=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = y.export_native(f"{folder}/y", {"w": nd.ones((2, 3))}, {"data": (8, 3)})
        >>> [os.path.basename(file) for file in files]
        ['y.so', 'y.h', 'y.hpp', 'y.md']
        """
        options = native_options(target, weights, prefix, system)
        return export_symbol(self, path, params, shapes, {"extents": extents, **options})

    def export_wasm(
        self,
        path: AnyPath,
        params: Mapping[str, Any],
        shapes: Mapping[str, Sequence[int]],
        *,
        extents: str | Mapping[str, Sequence[str | None]] | None = "batch",
        weights: str = "inside",
    ) -> tuple[str, ...]:
        """Write a module of WebAssembly of this graph in prediction, for browsers and Node.

        `params` and `shapes` as for `export_native`; for the rest see
        `gluon.HybridBlock.export_wasm`.

        >>> import tempfile
        >>> from tigon import nd, sym
        >>> y = sym.FullyConnected(sym.var("data"), sym.var("w"), no_bias=True, num_hidden=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = y.export_wasm(f"{folder}/y", {"w": nd.ones((2, 3))}, {"data": (8, 3)})
        >>> [os.path.basename(file) for file in files]
        ['y.wasm', 'y.js', 'y.d.ts']
        """
        options = web_options(weights)
        return export_symbol(self, path, params, shapes, {"extents": extents, **options})

    def debug_str(self) -> str:
        """The graph as readable text."""
        return str(self._graph())

    def _graph(self) -> Graph:
        """Inputs in the order of `list_inputs`, outputs in that of `list_outputs`."""
        return Graph.of(self._values)

    def __reduce__(self) -> Any:
        return load_json, (self.tojson(remove_amp_cast=False),)

    def __copy__(self) -> Symbol:
        return self._like(self._values)

    def __deepcopy__(self, memo: Any) -> Symbol:
        fresh = rewrite(Graph.of(self._values), lambda node, inputs: node.replace(inputs).outputs)
        return self._like(fresh.outputs)

    # -- running

    bind: Callable[..., Any]  # these two are attached by `executor`
    simple_bind: Callable[..., Any]

    def eval(self, ctx: Any = None, **arrays: Any) -> list[Any]:
        """Run once on these arrays.

        >>> from tigon import nd, sym
        >>> (sym.var("a") + 1).eval(a=nd.array([1, 2]))[0].asnumpy().tolist()
        [2.0, 3.0]
        """
        return self.bind(ctx, arrays, grad_req="null").forward()

    # -- what arrays can do and symbols cannot

    def asnumpy(self) -> Any:
        raise NotImplementedForSymbol("asnumpy")

    def asscalar(self) -> Any:
        raise NotImplementedForSymbol("asscalar")

    def item(self) -> Any:
        raise NotImplementedForSymbol("item")

    def copy(self) -> Any:
        raise NotImplementedForSymbol("copy")

    def detach(self) -> Any:
        raise NotImplementedForSymbol("detach")

    def backward(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedForSymbol("backward")

    def as_in_context(self, *_: Any) -> Any:
        raise NotImplementedForSymbol("as_in_context")

    as_in_ctx = as_in_context

    def wait_to_read(self) -> Any:
        raise NotImplementedForSymbol("wait_to_read")

    def __setitem__(self, *_: Any) -> Any:
        raise NotImplementedForSymbol("__setitem__")

    def __iadd__(self, _: Any) -> Any:
        raise NotImplementedForSymbol("__iadd__")

    def __isub__(self, _: Any) -> Any:
        raise NotImplementedForSymbol("__isub__")

    def __imul__(self, _: Any) -> Any:
        raise NotImplementedForSymbol("__imul__")

    def __itruediv__(self, _: Any) -> Any:
        raise NotImplementedForSymbol("__itruediv__")

    def _no_value(self, conversion: str) -> TigonError:
        return TigonError(
            f"Symbol.{conversion}: {self!r} has no value while the program is traced, so Python "
            f"cannot decide by it at {user_line()}; use F.where(condition, x, y) or "
            "F.contrib.cond, which are parts of a graph"
        )

    def __bool__(self) -> bool:
        raise self._no_value("__bool__")

    def __int__(self) -> int:
        raise self._no_value("__int__")

    def __float__(self) -> float:
        raise self._no_value("__float__")

    def __index__(self) -> int:
        raise self._no_value("__index__")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedForSymbol("__array__")

    def __repr__(self) -> str:
        own = self.name
        if own is None:
            return f"<Symbol group [{', '.join(str(s.name) for s in self)}]>"
        return f"<Symbol {own}>"

    def _as_symbol(self) -> Symbol:
        return self

    def _repr_svg_(self) -> str | None:
        """What a notebook shows: the graph, where it is one that people can read."""
        from tigon.visualization import plot_network

        return plot_network(self).svg if len(self._nodes()) <= MOST_NODES_DRAWN else None

    __hash__ = object.__hash__


# ------------------------------------------------------------------------ making symbols


def apply(
    op: Any,
    attrs: Any,
    operands: Sequence[Any],
    name: str | None = None,
    hint: str = "",
    hints: Mapping[str, str] | None = None,
    like: type[Symbol] | None = None,
) -> Symbol:
    """A node with these operands, named automatically unless a name is given."""
    given = [number_of(operand) for operand in operands]
    while given and given[-1] is None:
        given.pop()
    for operand in given:
        if getattr(operand, "awaits_extent", False):
            return operand.meet(op, attrs, given)
    trace = tracing.eager()
    if trace is not None and not any(type(operand) is Symbol for operand in given):
        return trace.apply(op, attrs, given)
    for operand in given:
        if isinstance(operand, Symbol) and operand.stands_for is not None:
            arrays = [o if getattr(o, "stands_for", None) is None else o.stands_for for o in given]
            return operand.stands_for.apply_op(op, attrs, arrays)
    own, hints = current_names().get(name, hint or op.name.lower()), current_attributes().get(hints)
    _check_remarks(op, hints)
    suspended = _native.suspend()
    try:
        values = tuple(enter(operand, op.name) for operand in given)
        adapt = tracing.adapter()
        policy = casting.current()
        if policy is not None:
            rule = policy.rule(op, attrs)
            values = casting.cast_operands(rule, op, attrs, values, _maker(adapt), own)
        node = Node(op, values, attrs, own, hints)
        note_initial_values(node)
        note_place(own, user_line())
        outputs = node.outputs if adapt is None else adapt(node)
        if like is None or like is Symbol:
            kinds = [type(o) for o in given if isinstance(o, Symbol) and type(o) is not Symbol]
            like = kinds[0] if kinds else (None if given else tracing.kind_of_symbols()) or Symbol
        return like(outputs[: visible_count(node)])
    finally:
        if suspended:
            _native.resume()


def _check_remarks(op: Any, names: Iterable[str]) -> None:
    """What is said about a node is saved beside the operator's attributes, and read back."""
    for name in names:
        check(
            symbol_json.is_remark(op, name),
            op.name,
            f"'{name}' in attr= or an AttrScope would be read as an attribute of the operator; "
            f"what is said about a node is named '__{name}__'",
        )


def _maker(adapt: Callable[[Node], Sequence[Value]] | None) -> casting.Make:
    """What makes the casts before a node: while tracing they are steps like any other."""
    if adapt is None:
        return casting.plain
    return lambda op, inputs, attrs, name: adapt(Node(op, inputs, attrs, name))


def visible_count(node: Node) -> int:
    op: Any = node.op
    if not isinstance(op, Operator):
        return len(node.outputs)
    return result_count(node) if op.family is Family.CONTROL else op.visible_count(node.attrs)


def output_name(value: Value) -> str:
    """`x` for a variable, `fc_output`, or `split_output1` where a node has several outputs without
    names of their own, as `bn_mean` is one."""
    node = value.node
    if node.op is VARIABLE:
        return node.name
    names = getattr(node.op, "results", ())
    if value.index < len(names):
        return f"{node.name or node.op.name}_{names[value.index]}"
    several = visible_count(node) > 1
    return f"{node.name or node.op.name}_output{value.index if several else ''}"


def auxiliary_variables(nodes: Sequence[Node]) -> set[Node]:
    """The variables that stand where an operator has an auxiliary state."""
    found = set()
    for node in nodes:
        declared = getattr(node.op, "operands", ())
        if not any(operand.auxiliary for operand in declared):
            continue
        for operand, value in zip(declared, node.inputs, strict=False):
            if operand.auxiliary and value.node.op is VARIABLE:
                found.add(value.node)
    return found


def _attributes(node: Node) -> dict[str, str]:
    return symbol_json.in_both_spellings(symbol_json.all_texts(node))


def var(
    name: str,
    attr: Mapping[str, str] | None = None,
    shape: Sequence[int] | int | None = None,
    lr_mult: float | None = None,
    wd_mult: float | None = None,
    dtype: Any = None,
    init: Any = None,
    stype: Any = None,
    **attributes: Any,
) -> Symbol:
    """A variable: a place for an array. What is said about it here travels in its attributes. Of a
    symbol in place of a name, its variance: what `nd.var` computes.

    >>> var("x", shape=(2, 3))
    <Symbol x>
    """
    if isinstance(name, Symbol):
        said = {"shape": shape, "lr_mult": lr_mult, "wd_mult": wd_mult, "init": init}
        given = [word for word, value in said.items() if value is not None]
        check(not given, "var", f"the variance of a symbol takes no {', '.join(given)}")
        own = {"axis": attr, "dtype": dtype, **attributes}  # `F.var(x, 0)`: the second is the axis
        return variance(name, **{word: value for word, value in own.items() if value is not None})
    check(isinstance(name, str) and name, "Variable", f"expected a name; given {name!r}")
    hints = current_attributes().get(attr)
    if shape is not None:
        extents = (shape,) if isinstance(shape, int) else tuple(int(extent) for extent in shape)
        hints["__shape__"] = str(extents)
    if lr_mult is not None:
        hints["__lr_mult__"] = str(lr_mult)
    if wd_mult is not None:
        hints["__wd_mult__"] = str(wd_mult)
    if dtype is not None:
        hints["__dtype__"] = str(as_dtype(dtype).code)
    if init is not None:
        check(
            isinstance(init, str) or hasattr(init, "dumps"),
            "Variable",
            f"init of '{name}': expected an initializer that files can name, as mx.init.One(); "
            f"given {init!r:.80}",
        )
        hints["__init__"] = init if isinstance(init, str) else init.dumps()
    for own, value in attributes.items():
        check(
            own.startswith("__") and own.endswith("__"),
            "Variable",
            f"attribute '{own}' of '{name}' is not known; own attributes are written __{own}__",
        )
        hints[own] = str(value)
    return Symbol((variable(name, None, hints),))


Variable = var


def Constant(value: Any, dtype: Any = None) -> Symbol:
    """A literal. A Python number takes the dtype of what it is combined with.

    >>> (var("a") + Constant(1)).list_arguments()
    ['a']
    """
    return Symbol((constant(value, dtype),))


def Group(symbols: Sequence[Symbol]) -> Symbol:
    """One symbol with the outputs of several.

    >>> Group([var("a"), var("b")]).list_outputs()
    ['a', 'b']
    """
    symbols = list(symbols)
    check(symbols, "Group", "expected at least one symbol; given none")
    for symbol in symbols:
        check(
            isinstance(symbol, Symbol),
            "Group",
            f"expected symbols; given {type(symbol).__name__}",
        )
    return Symbol([value for symbol in symbols for value in symbol._values])


# ---------------------------------------------------------------------------- files


def load(fname: AnyPath) -> Symbol:
    """Read a graph file, one of MXNet included."""
    with open(fname, "rb") as file:
        content = file.read()
    return Symbol(symbol_json.loads(content, os.fsdecode(fname)))


def load_json(json_str: str) -> Symbol:
    """A symbol from the text that `tojson` gives.

    >>> load_json((var("a") + 1).tojson()).list_arguments()
    ['a']
    """
    check(
        isinstance(json_str, (str, bytes)),
        "load_json",
        f"expected text; given {type(json_str).__name__}",
    )
    return Symbol(symbol_json.loads(json_str, "graph text"))


continued_by(globals(), "tigon.sym")
