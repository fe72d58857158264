"""A `HybridBlock` is traced once and then runs as one compiled graph."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tigon import name as naming
from tigon import nd, sym
from tigon._native import ShortCall, Shortcuts, call_kind, elsewhere
from tigon.base import TigonError, check
from tigon.base.errors import hide_inner_frames
from tigon.base.files import AnyPath
from tigon.context import context_in
from tigon.gluon import _epoch
from tigon.gluon import trace as tracing
from tigon.gluon.arguments import Positions, packed, unpacked
from tigon.gluon.block.block import Block, add_block_path
from tigon.gluon.graphs import GraphCache
from tigon.gluon.native import Exports
from tigon.gluon.parameter import DeferredInitializationError, Parameter, ParameterDict
from tigon.gluon.symbolic import (
    holds_symbol,
    infer_shapes_from_graph,
    infer_types_from_graph,
    symbol_for_export,
    symbol_of,
    typed_graph,
)
from tigon.ir import Graph
from tigon.nd import NDArray
from tigon.program.budget import budget_in_bytes
from tigon.runtime.tracing import active as tracers


class HybridBlock(ShortCall, Exports, Block):
    """A block whose forward can be traced: after `hybridize()` its Python code runs once per kind
    of input, and calls run the compiled graph.

    Write either `hybrid_forward(self, F, x, **params)`, where `F` is `tigon.nd` or, while tracing,
    `tigon.sym`; or a plain `forward(self, x)`. The graph is traced again when a shape, a dtype,
    train or predict mode, an argument, or a Python value that the code read has changed.
    """

    _is_hybrid = True

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Of `forward` and `hybrid_forward` the one of the most derived class runs."""
        super().__init_subclass__(**keywords)
        for kind in cls.__mro__:
            if "forward" in vars(kind):
                break
            if "hybrid_forward" in vars(kind):
                cls.forward = HybridBlock.forward  # type: ignore[method-assign]
                break

    def __init__(
        self, prefix: str | None = None, params: ParameterDict | None = None, **unknown: Any
    ) -> None:
        super().__init__(prefix, params, **unknown)
        self._active = False
        self._flags: dict[str, Any] = {}
        self._cached_graphs: GraphCache | None = None
        self._cached_shortcuts: Shortcuts | None = None
        # The arrays of the parameters, and of which epoch.
        self._held: tuple[int, dict[str, NDArray | None]] = (-1, {})

    def _overrides(self, method: str) -> bool:
        own = getattr(type(self), method)
        return own is not getattr(HybridBlock, method) and super()._overrides(method)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over. Its graphs are its own."""
        return {
            **self.__dict__,
            "_cached_graphs": None,
            "_cached_shortcuts": None,
            "_held": (-1, {}),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cached_shortcuts = Shortcuts() if self._active else None

    def register_child(self, block: Block, name: str | None = None) -> None:
        check(
            isinstance(block, HybridBlock),
            type(self).__name__,
            f"children of a HybridBlock must be HybridBlocks; given {type(block).__name__}; "
            "derive it from HybridBlock, or use Block or Sequential outside",
        )
        super().register_child(block, name)

    def hybridize(
        self,
        active: bool = True,
        static_alloc: bool = False,
        static_shape: bool = False,
        strict: bool = False,
        recompute: bool | int | str | None = None,
        **flags: Any,
    ) -> None:
        """Compile the calls from now on (or stop, with `active=False`).

        Where the code does what a graph cannot hold (it decides by the value of an array, draws
        from `random`, writes to an argument), calls of that kind run as Python code from then on,
        and a warning says why; with `strict=True` that is an error.

        `recompute` trades time for memory in training: a recorded call and its gradient take at
        most as many bytes ("200 MB" and 200_000_000 are the same) beyond parameters, arguments,
        results and gradients, and where that is less than they would, part of the forward work is
        done a second time when the gradient comes to it; random numbers are the same. What cannot
        be met is an error, raised by the first recorded call of its kind; True asks for as little
        memory as can be.

        Memory is always planned ahead and shapes are always specialized where it pays, so
        `static_alloc` and `static_shape` are accepted and change nothing.
        """
        flags = {"static_alloc": static_alloc, "static_shape": static_shape, **flags}
        super().hybridize(active, strict=strict, recompute=recompute, **flags)

    def _hybridize_itself(self, active: bool, flags: dict[str, Any]) -> None:
        _epoch.advance()
        self._active = active
        budget = budget_in_bytes(flags.get("recompute"), self.name)
        self._flags = {"static_alloc": False, "static_shape": False, **flags, "recompute": budget}
        self._cached_graphs = None
        self._cached_shortcuts = Shortcuts() if active else None

    def _cast_itself(self, dtype: Any) -> None:
        self._cached_graphs = None
        super()._cast_itself(dtype)

    # -- running

    def _long_call(self, *args: Any, **keywords: Any) -> Any:
        """A call that no shortcut serves."""
        if keywords:
            args, keywords = self._positions().arrange(args, keywords)
        # On arrays nothing but the look-up and the call, or the code itself.
        if not (keywords or tracers[0] or self._forward_pre_hooks or self._forward_hooks):
            kind = call_kind(args)
            if kind is not None and (self._cached_graphs is not None or not self._active):
                try:
                    if self._active:
                        return self._cached_graphs.run(kind, args, args, self._cached_shortcuts)
                    return self.forward(*args)
                except DeferredInitializationError:
                    pass  # the long way knows what to do
                except TigonError as error:
                    add_block_path(error, self)
                    raise
        if not tracing.active():
            return super(ShortCall, self).__call__(*args, **keywords)  # of Block, hooks and all
        # No more frames than a call on arrays takes: blocks may be nested as deeply as for those.
        for hook in tuple(self._forward_pre_hooks.values()):
            hook(self, args)
        try:
            with self._traced_here():
                try:
                    result = self.forward(*args, **keywords)
                except DeferredInitializationError:
                    self._deferred_initialize(*args, **keywords)
                    result = self.forward(*args, **keywords)
        except TigonError as error:
            add_block_path(error, self)
            raise
        for hook in tuple(self._forward_hooks.values()):
            hook(self, args, result)
        return result

    def _hide_frames(self, error: Exception) -> None:
        hide_inner_frames(error)

    def _name_in(self, error: TigonError) -> None:
        """Let an error of a shortcut say that it happened here."""
        add_block_path(error, self)

    def _positions(self) -> Positions:
        if not self._uses_hybrid_forward():
            return super()._positions()
        return Positions(self.hybrid_forward, own=1).stop_before(self._reg_params)

    def _invoke(self, *args: Any, **keywords: Any) -> Any:
        trace = tracing.current()
        if trace is not None and trace.eager:
            args, keywords = trace.concrete((args, keywords))
        given = packed(args, keywords)
        for arg in given:
            if type(arg) is not NDArray and holds_symbol(arg):
                with tracing.tracing(tracing.Trace(typed=False)):
                    return self._traced(*given)
        if self._active:
            if self._cached_graphs is None:
                self._cached_graphs = GraphCache(self)
            return self._cached_graphs(given)
        return self._run(*args, **keywords)

    def _traced(self, *args: Any) -> Any:
        """The Python code of one call, while tracing: children's hooks included, own ones not,
        because those run at every call."""
        args, keywords = unpacked(args)
        with self._traced_here(hooks_run=False):
            return self._run(*args, **keywords)

    def _traced_here(self, hooks_run: bool = True) -> AbstractContextManager[Any]:
        """A block is being traced: symbols made in it carry its prefix in their names."""
        trace = tracing.current()
        assert trace is not None
        trace.block(self, hooks_run)
        return nullcontext() if self._empty_prefix else naming.Prefix(self._prefix)

    def _imperatively(self, args: tuple[Any, ...]) -> Any:
        """A call of a kind that gave way."""
        args, keywords = unpacked(args)
        return self._run(*args, **keywords)

    def _gave_way(self, result: Any, args: tuple[Any, ...]) -> Any:
        """The call that found out has run."""
        return result

    def _run(self, *args: Any, **keywords: Any) -> Any:
        """One pass of the Python code, on arrays or on symbols."""
        try:
            return self.forward(*args, **keywords)
        except DeferredInitializationError:
            self._deferred_initialize(*args, **keywords)
            return self.forward(*args, **keywords)

    def _deferred_initialize(self, *args: Any, **keywords: Any) -> None:
        """Infer the shapes of this block's own parameters and create them."""
        self.infer_shape(*args, **keywords)
        for param in self._own_parameters():
            param._finish_initialization()

    def _own_parameters(self) -> list[Parameter]:
        return [*self._reg_params.values()]

    def infer_shape(self, *args: Any, **keywords: Any) -> None:
        """Set the unknown extents of this block's parameters from example inputs.

        Layers know their own rule; otherwise the graph of `hybrid_forward` is asked.
        """
        infer_shapes_from_graph(self, args, keywords)

    def infer_type(self, *args: Any, **keywords: Any) -> None:
        """Give the parameters that have no values yet the dtypes that example inputs ask for.

        Parameters with values keep theirs, which must fit: `cast` changes them.
        """
        infer_types_from_graph(self, args, keywords)

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """Call `hybrid_forward` with the module and the parameters that fit the arguments."""
        if args and args[0] is None:
            self._refuse_nothing(args)
        try:
            if tracing.active():
                if any(given is None for given in args):  # to symbols a variable, not an error
                    self._refuse_nothing(args)
                params = {name: param.data() for name, param in self._reg_params.items()}
                return self.hybrid_forward(sym, *args, **keywords, **params)
            epoch, params = self._held
            if epoch != _epoch.current:
                params = self._hold()
            operands = (*args, *keywords.values()) if keywords else args
            if elsewhere(operands, params) is not None:
                context = context_in(operands)
                params = {
                    name: param._for(context) if param._is_plain else param.data()
                    for name, param in self._reg_params.items()
                }
            if keywords:
                return self.hybrid_forward(nd, *args, **keywords, **params)
            return self.hybrid_forward(nd, *args, **params)
        except (TigonError, TypeError, AttributeError):
            if any(given is None for given in args):
                self._refuse_nothing(args)
            raise

    def _hold(self) -> dict[str, NDArray | None]:
        """The arrays of the parameters by name, for as long as none is replaced; None where a call
        has to ask."""
        epoch = _epoch.current
        arrays = {
            name: param._only if param._is_plain else None
            for name, param in self._reg_params.items()
        }
        self.__dict__["_held"] = (epoch, arrays)  # which is no change of the block
        return arrays

    def _refuse_nothing(self, args: tuple[Any, ...]) -> None:
        """Say so where None stands for an array that there must be: the first one, and with layers
        of this package all that have no default. Other code may take it for what it likes."""
        import inspect

        ours = type(self).hybrid_forward.__module__.startswith("tigon.")
        named = list(inspect.signature(self.hybrid_forward).parameters.values())[1:]
        for number, (parameter, given) in enumerate(zip(named, args, strict=False)):
            needed = parameter.default is parameter.empty and parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.POSITIONAL_ONLY,
            )
            if given is None and needed and (ours or number == 0):
                raise TigonError(
                    f"{type(self).__name__}: expected an array as '{parameter.name}'; given None; "
                    "does the code before it return its result?"
                )

    def hybrid_forward(self, F: Any, *args: Any, **params: Any) -> Any:
        """What the block computes, with the operators of `F`. Subclasses write it."""
        raise NotImplementedError(
            f"{type(self).__name__}: define hybrid_forward(self, F, x) or forward(self, x)"
        )

    def _as_symbol(self) -> sym.Symbol:
        return symbol_of(self)

    def _graph_on(self, *args: Any) -> Graph:
        return typed_graph(self, args)

    def _uses_hybrid_forward(self) -> bool:
        return type(self).forward is HybridBlock.forward

    # -- what was compiled

    def explain(self) -> str:
        """What was traced and compiled for this block, and why it was traced again."""
        if self._cached_graphs is None:
            return "not called yet" if self._active else "not hybridized"
        return self._cached_graphs.explain()

    @property
    def compiled(self) -> list[Any]:
        """One entry per traced graph: `graph`, `cached` (its programs), `reason`."""
        return [] if self._cached_graphs is None else list(self._cached_graphs.entries)

    # -- export

    def export(
        self, path: AnyPath, epoch: int = 0, remove_amp_cast: bool = True
    ) -> tuple[str, str]:
        """Write `path-symbol.json` and `path-0000.params`, for `SymbolBlock.imports` or MXNet.

        The graph is that of prediction, for any batch; forward code that reads shapes is traced at
        the shapes of the last call. The casts of mixed precision (`contrib.amp`) are left out,
        unless `remove_amp_cast=False`.
        """
        symbol = symbol_for_export(self)
        narrowed = [p.name for p in self.collect_params().values() if p._narrowed]
        check(
            not (remove_amp_cast and narrowed),
            "export",
            f"parameter '{', '.join(narrowed[:1])}' was converted with cast_optional_params, and "
            "fits the graph with its casts alone; pass remove_amp_cast=False",
        )
        stem = os.fsdecode(path)
        symbol_file, params_file = f"{stem}-symbol.json", f"{stem}-{epoch:04d}.params"
        auxiliary = set(symbol.list_auxiliary_states())
        arguments = set(symbol.list_arguments())
        arrays = {}
        for name, param in self.collect_params().items():
            if name in auxiliary:
                arrays[f"aux:{name}"] = param._whole()
            elif name in arguments:
                arrays[f"arg:{name}"] = param._whole()
        symbol.save(symbol_file, remove_amp_cast=remove_amp_cast)
        nd.save(params_file, arrays)
        return symbol_file, params_file
