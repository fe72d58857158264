"""A block made of a symbol, such as one read from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tigon import sym
from tigon.base import as_dtype, check
from tigon.base.dtypes import float32
from tigon.base.files import AnyPath
from tigon.context import check_contexts
from tigon.export.params import plain_names
from tigon.gluon import trace as tracing
from tigon.gluon.arguments import Positions
from tigon.gluon.block.hybrid import HybridBlock
from tigon.gluon.graphs import GraphCache
from tigon.gluon.parameter import ParameterDict
from tigon.gluon.parameter.files import load_into, load_named
from tigon.ir.graph import VARIABLE, Graph, nodes_within
from tigon.ir.recast import recast
from tigon.ir.rewrite import renamed
from tigon.sym.inference import Hint, dtypes_without_shapes


class SymbolBlock(HybridBlock):
    """A block made from a symbol: calls give values for its inputs, all others are parameters.

    With a prefix the names of parameters and of nodes, inputs apart, begin with it, so that two
    blocks of one graph may live in one block. Without it names are those of the graph. A
    `name_scope` counts for nothing, as in MXNet; `prefix=self.prefix + "encoder_"` has the same
    effect.

    >>> from tigon import nd, sym
    >>> data = sym.var("data")
    >>> net = SymbolBlock(sym.FullyConnected(data, num_hidden=2, name="fc"), data)
    >>> net.initialize()
    >>> net(nd.ones((1, 3))).shape
    (1, 2)
    >>> list(SymbolBlock(sym.exp(data + sym.var("shift")), data, prefix="first_").params)
    ['first_shift']
    """

    def __init__(
        self, outputs: Any, inputs: Any, params: ParameterDict | None = None, prefix: str = ""
    ) -> None:
        super().__init__(prefix="", params=None)
        self._prefix, self._params = "", ParameterDict()  # whatever scope it is made in
        outputs = sym.Group(list(outputs)) if isinstance(outputs, (list, tuple)) else outputs
        listed = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        self._input_names = [symbol.name for symbol in listed]
        if prefix:
            outputs = with_prefix(outputs, prefix, self._input_names)
        self._symbol = outputs
        self._as_made: tuple[sym.Symbol, set[str]] | None = None
        """The symbol before the first cast, and the dtypes of its floats. Blocks are copied and
        pickled: symbols can be, graphs cannot."""
        known = set(outputs.list_inputs())
        for name in self._input_names:
            check(
                name in known,
                "SymbolBlock",
                f"input '{name}' is not in the graph; its variables are "
                f"{', '.join(sorted(known)) or 'none'}",
            )
        auxiliary = set(outputs.list_auxiliary_states())
        given = dict(params.items()) if params is not None else {}
        said = outputs.attr_dict()
        dtypes = _dtypes(outputs, self._input_names, said)
        for name in outputs.list_inputs():
            if name in self._input_names:
                continue
            param = given.get(name)
            if param is None:
                param = self.params.get(
                    name,
                    grad_req="null" if name in auxiliary else "write",
                    dtype=dtypes[name],
                    init=said.get(name, {}).get("__init__"),
                    allow_deferred_init=True,
                )
            else:
                self.params.update({name: param})
            self._reg_params[name] = param

    @staticmethod
    def imports(
        symbol_file: AnyPath,
        input_names: str | Sequence[str],
        param_file: AnyPath | None = None,
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        prefix: str = "",
    ) -> SymbolBlock:
        """Read what `export` wrote; `prefix` as of the class, for names that the files do not
        have."""
        check_contexts("SymbolBlock.imports", ctx)
        names = [input_names] if isinstance(input_names, str) else list(input_names)
        symbol = sym.load(symbol_file)
        block = SymbolBlock(symbol, [sym.var(name) for name in names], prefix=prefix)
        if param_file is not None:
            loaded = load_named(param_file, "SymbolBlock.imports", "export")
            source = os.fsdecode(param_file)
            load_into(
                {name.removeprefix(prefix): own for name, own in block._reg_params.items()},
                plain_names(loaded, source),
                source,
                ctx,
                allow_missing,
                ignore_extra,
                dtype_source="saved",
            )
        return block

    def _cast_itself(self, dtype: Any) -> None:
        """Parameters of floats, and with them what the graph itself says of floats: its constants
        and the dtypes of what it fills, draws and converts. Whole numbers stay, and statistics of
        half precision stay in float32, as those of `nn.BatchNorm`."""
        wanted = as_dtype(dtype)
        floats = {
            name: param
            for name, param in self._reg_params.items()
            if as_dtype(param.dtype).is_float
        }
        if self._as_made is None:
            dtypes = {as_dtype(param.dtype).name for param in floats.values()}
            self._as_made = self._symbol, dtypes or {"float32"}
        symbol, dtypes = self._as_made
        graph = Graph.of(symbol._values)
        statistics = _statistics(graph) if wanted.is_narrow else set()
        for name, param in floats.items():
            param.cast("float32" if name in statistics else dtype)
        self._symbol = sym.Symbol(recast(graph, dtypes, wanted).outputs)
        self._cached_graphs = None

    def infer_shape(self, *args: Any, **keywords: Any) -> None:
        shapes = {name: tuple(arg.shape) for name, arg in zip(self._input_names, args, strict=True)}
        argument_shapes, _, auxiliary_shapes = self._symbol.infer_shape(**shapes)
        found = dict(zip(self._symbol.list_arguments(), argument_shapes, strict=True))
        found.update(zip(self._symbol.list_auxiliary_states(), auxiliary_shapes, strict=True))
        for name, param in self._reg_params.items():
            if found.get(name) is not None:
                param.shape = found[name]

    def _positions(self) -> Positions:
        positions = super()._positions()
        positions.names = self._input_names
        return positions

    def _run(self, *args: Any, **keywords: Any) -> Any:
        check(
            not keywords,
            "SymbolBlock",
            f"it has no input '{next(iter(keywords), '')}'; given by name can be "
            f"{', '.join(self._input_names)}",
        )
        check(
            len(args) == len(self._input_names),
            "SymbolBlock",
            f"expected inputs ({', '.join(self._input_names)}); given {len(args)} of them",
        )
        if any(param._deferred is not None for param in self._reg_params.values()):
            self._deferred_initialize(*args)
        if tracing.active():
            return self._apply_symbol(*args)
        # Imperatively, too, a symbol is run as the compiled graph that it is.
        if self._cached_graphs is None:
            self._cached_graphs = GraphCache(self)
        return self._cached_graphs(args)

    def _apply_symbol(self, *args: Any) -> Any:
        leaves = dict(zip(self._input_names, args, strict=True))
        leaves.update({name: param.data() for name, param in self._reg_params.items()})
        result = self._symbol(**leaves)
        kind = next((type(arg) for arg in args if type(arg) is not sym.Symbol), sym.Symbol)
        if kind is sym.Symbol:
            return result
        made = kind(result._values)  # what stands for arrays gives its like
        return list(made) if len(result._values) > 1 else made

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return self._run(*args, **keywords)

    def __repr__(self) -> str:
        return f"SymbolBlock({', '.join(self._symbol.list_outputs())})"


def with_prefix(symbol: Any, prefix: str, inputs: Sequence[str]) -> Any:
    """The symbol with names, those of inputs apart, that begin with a prefix.

    >>> with_prefix(sym.exp(sym.var("x") + sym.var("y"), name="e"), "a_", ["x"]).list_outputs()
    ['a_e_output']
    """
    check(isinstance(prefix, str), "SymbolBlock", f"prefix: expected a text; given {prefix!r:.80}")
    kept = set(inputs)
    values = renamed(symbol._values, lambda name: name if name in kept else prefix + name)
    return sym.Symbol(values)


def _dtypes(
    symbol: Any, inputs: Sequence[str], said: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Of all variables, as these say or as follows from what they meet; inputs that say nothing are
    float32. Of shapes nothing is asked: what a file says of them need not be all. `said`: the
    attributes of all nodes."""
    usual = [name for name in inputs if said.get(name, {}).get("__dtype__") is None]
    nodes = symbol._nodes()
    found = dtypes_without_shapes(nodes, {}, {name: Hint(None, float32) for name in usual})
    return {node.name: found[node.outputs[0]].name for node in nodes if node.op is VARIABLE}


def _statistics(graph: Graph) -> set[str]:
    """Names of variables that operators take for statistics."""
    found = set()
    for node in (inner for each in graph for inner in (each, *nodes_within(each))):
        kept = getattr(node.op, "statistics", ())
        for value, operand in zip(node.inputs, node.op.operands, strict=False) if kept else ():
            if operand.name in kept and value.node.op is VARIABLE:
                found.add(value.node.name)
    return found
