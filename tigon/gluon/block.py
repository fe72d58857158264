"""Blocks: trees of layers. A `HybridBlock` is traced once and then runs as one compiled graph."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from typing import Any

from tigon import initializer, nd, sym
from tigon import name as naming
from tigon._native import ShortCall, Shortcuts, call_kind
from tigon.base import TigonError, check
from tigon.base.errors import hide_inner_frames
from tigon.base.files import AnyPath
from tigon.context import check_context
from tigon.export.params import plain_names
from tigon.gluon import _epoch
from tigon.gluon import trace as tracing
from tigon.gluon._graphs import (
    GraphCache,
    holds_symbol,
    infer_shapes_from_graph,
    symbol_for_export,
)
from tigon.gluon.parameter import (
    Constant,
    DeferredInitializationError,
    Parameter,
    ParameterDict,
    load_into,
    load_named,
)
from tigon.nd import NDArray
from tigon.runtime.tracing import active as tracers
from tigon.runtime.tracing import changes

_scopes = threading.local()


class _BlockScope:
    """Prefixes of the blocks created inside `with block.name_scope()`."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._counter: dict[str, int] = {}

    @staticmethod
    def current() -> _BlockScope | None:
        return getattr(_scopes, "current", None)

    @staticmethod
    def create(
        prefix: str | None, params: ParameterDict | None, hint: str
    ) -> tuple[str, ParameterDict]:
        """Prefix and parameters of a new block."""
        scope = _BlockScope.current()
        if scope is None:
            if prefix is None:
                prefix = naming.current().get(None, hint) + "_"
            own = ParameterDict(prefix) if params is None else ParameterDict(params.prefix, params)
            return prefix, own
        if prefix is None:
            count = scope._counter.get(hint, 0)
            scope._counter[hint] = count + 1
            prefix = f"{hint}{count}_"
        full = scope._block.prefix + prefix
        if params is None:
            return full, ParameterDict(full, scope._block._params._shared)
        return full, ParameterDict(params.prefix, params)

    @contextmanager
    def entered(self) -> Iterator[None]:
        if self._block._empty_prefix:
            yield
            return
        previous = _BlockScope.current()
        _scopes.current = self
        try:
            yield
        finally:
            _scopes.current = previous


_hook_numbers = count()


class HookHandle:
    """Removes a hook: `handle.detach()`, or leaving a `with`."""

    def __init__(self, table: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._table = table
        changes("registers a hook")
        self._key = next(_hook_numbers)  # a handle need not be kept: its address is no name
        table[self._key] = hook
        _epoch.advance()

    def detach(self) -> None:
        """Remove it."""
        changes("removes a hook")
        self._table.pop(self._key, None)
        _epoch.advance()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


class Block:
    """A layer or a network: children and parameters by attribute, `forward` in Python.

    >>> from tigon import nd
    >>> from tigon.gluon import nn
    >>> class Doubled(Block):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         with self.name_scope():
    ...             self.layer = nn.Dense(2, in_units=3)
    ...
    ...     def forward(self, x):
    ...         return self.layer(x) * 2
    >>> net = Doubled()
    >>> net.initialize()
    >>> net(nd.ones((4, 3))).shape
    (4, 2)
    >>> net
    Doubled(
      (layer): Dense(3 -> 2, linear)
    )
    """

    _is_gluon_object = True
    _is_block = True

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None) -> None:
        self._empty_prefix = prefix == ""
        self._prefix, self._params = _BlockScope.create(prefix, params, self._alias())
        self._name = self._prefix[:-1] if self._prefix.endswith("_") else self._prefix
        self._scope = _BlockScope(self)
        self._children: OrderedDict[str, Block] = OrderedDict()
        self._reg_params: dict[str, Parameter] = {}
        self._forward_hooks: dict[int, Callable[..., Any]] = OrderedDict()
        self._forward_pre_hooks: dict[int, Callable[..., Any]] = OrderedDict()

    def _alias(self) -> str:
        return type(self).__name__.lower()

    def __setattr__(self, name: str, value: Any) -> None:
        _epoch.advance()
        if isinstance(value, Block):
            if "_children" not in self.__dict__:
                raise TigonError(
                    f"{type(self).__name__}: call super().__init__() before setting '{name}'"
                )
            self._forget_parameter(name)
            self.register_child(value, name)
        elif isinstance(value, Parameter):
            if "_reg_params" not in self.__dict__:
                raise TigonError(
                    f"{type(self).__name__}: call super().__init__() before setting '{name}'"
                )
            self._children.pop(name, None)
            self._reg_params[name] = value
        elif "_reg_params" in self.__dict__:
            replaced: Any = self._children.get(name)
            if replaced is None:
                replaced = self._reg_params.get(name)
            if replaced is not None and value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name}: holds {type(replaced).__name__}; "
                    f"cannot change it to {type(value).__name__}; use another attribute"
                )
            if replaced is not None:
                self._children.pop(name, None)
                self._forget_parameter(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _epoch.advance()
        self._children.pop(name, None)
        self._forget_parameter(name)
        object.__delattr__(self, name)

    def _forget_parameter(self, name: str) -> None:
        self._reg_params.pop(name, None)

    # -- names

    @property
    def prefix(self) -> str:
        """What the names of its parameters begin with."""
        return self._prefix

    @property
    def name(self) -> str:
        """Its name: the prefix without the underscore."""
        return self._name

    def name_scope(self) -> Any:
        """Blocks created inside get this block's prefix."""
        return self._scope.entered()

    @property
    def params(self) -> ParameterDict:
        """Its own parameters, without its children's."""
        return self._params

    def collect_params(self, select: str | None = None) -> ParameterDict:
        """All parameters, children's included; `select` is a regular expression on their names."""
        found = ParameterDict(self._params.prefix)
        pattern = re.compile(select) if select else None
        for block in self._walk():
            block._warn_of_lost_children()
            for name, param in block._params.items():
                if pattern is None or pattern.match(name):
                    found.update({name: param})
        return found

    def _warn_of_lost_children(self) -> None:
        """Blocks in a list or dictionary are not found: their parameters would never learn."""
        known = {id(child) for child in self._children.values()}
        for name, value in vars(self).items():
            if name.startswith("_") or not isinstance(value, (list, tuple, dict)):
                continue
            items = value.values() if isinstance(value, dict) else value
            if any(isinstance(item, Block) and id(item) not in known for item in items):
                warnings.warn(
                    f"{type(self).__name__}.{name}: holds blocks that are not registered; call "
                    "register_child for each, or use nn.HybridSequential",
                    stacklevel=3,
                )

    def _walk(self, method: str = "") -> Iterator[Block]:
        """This block and all below, each once, parents first. Those below a block whose class has
        a `method` of its own, which looks after them, are left out."""
        seen: set[int] = set()
        stack: list[Block] = [self]
        while stack:
            block = stack.pop()
            if id(block) in seen:
                continue
            seen.add(id(block))
            yield block
            if block is self or not method or not block._overrides(method):
                stack.extend(reversed(block._children.values()))

    def _tour(self, method: str) -> Iterator[tuple[str, str, str, Block]]:
        """("enter" or "leave", prefix, name, block) for this block and, by every way that leads to
        it, each one below: its attribute path is prefix + name. A block inside itself is met
        "again" and not entered. Nor is one below whose class has a `method` of its own."""
        open_: list[tuple[str, str, Block, Iterator[tuple[str, Block]]]] = []
        on_the_way: set[int] = set()
        todo: tuple[str, str, Block] | None = ("", "", self)
        while todo or open_:
            if todo:
                prefix, name, block = todo
                todo = None
                if id(block) in on_the_way:
                    yield "again", prefix, name, block
                    continue
                yield "enter", prefix, name, block
                leads_on = block is self or not block._overrides(method)
                children = tuple(block._children.items()) if leads_on else ()
                open_.append((prefix, name, block, iter(children)))
                on_the_way.add(id(block))
            prefix, name, block, rest = open_[-1]
            for child_name, child in rest:
                if child is not None:
                    todo = (f"{prefix}{name}." if open_[1:] else "", child_name, child)
                    break
            else:
                open_.pop()
                on_the_way.discard(id(block))
                yield "leave", prefix, name, block

    def _overrides(self, method: str) -> bool:
        """Whether the class has this method from elsewhere than here."""
        return getattr(type(self), method) is not getattr(Block, method)

    def _collect_params_with_prefix(self, prefix: str = "") -> dict[str, Parameter]:
        """Parameters by attribute path: `features.0.weight`."""
        start = prefix + "." if prefix else ""
        found: dict[str, Parameter] = {}
        for event, above, name, block in self._tour("_collect_params_with_prefix"):
            if event != "enter":
                continue
            if block is not self and block._overrides("_collect_params_with_prefix"):
                found.update(block._collect_params_with_prefix(start + above + name))
                continue
            path = f"{start}{above}{name}." if block is not self else start
            found.update({path + own: param for own, param in block._reg_params.items()})
        return found

    def _structure(self) -> tuple[Any, ...]:
        """What the tree looks like at this block, for guards."""
        return (
            tuple((name, id(child)) for name, child in self._children.items()),
            tuple((name, id(param)) for name, param in self._reg_params.items()),
            tuple(map(id, self._forward_hooks.values())),
            tuple(map(id, self._forward_pre_hooks.values())),
        )

    # -- building

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Add a child. Assigning it to an attribute does the same."""
        _epoch.advance()
        self._children[str(len(self._children)) if name is None else name] = block

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(block, inputs)` before each forward."""
        return HookHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(block, inputs, output)` after each forward."""
        return HookHandle(self._forward_hooks, hook)

    def apply(self, function: Callable[[Block], Any]) -> Block:
        """Call `function` on every block, children first."""
        for event, _, _, block in self._tour("apply"):
            if event != "leave":
                continue
            if block is not self and block._overrides("apply"):
                block.apply(function)
            else:
                function(block)
        return self

    def initialize(
        self,
        init: Any = None,
        ctx: Any = None,
        verbose: bool = False,
        force_reinit: bool = False,
    ) -> None:
        """Give all parameters values: `init` serves those without an initializer of their own."""
        self._label_parameters()
        default = initializer.Uniform() if init is None else init
        self.collect_params().initialize(default, ctx, verbose, force_reinit)

    def _label_parameters(self) -> None:
        for path, param in self._collect_params_with_prefix().items():
            param.path = f"{type(self).__name__}.{path}"

    def hybridize(self, active: bool = True, **flags: Any) -> None:
        """Hybridize the children that can be."""
        for block in self._walk("hybridize"):
            if block is not self and block._overrides("hybridize"):
                block.hybridize(active, **flags)
            else:
                block._hybridize_itself(active, flags)

    def _hybridize_itself(self, active: bool, flags: dict[str, Any]) -> None:
        """What `hybridize` does to a block, those below apart."""

    def cast(self, dtype: Any) -> None:
        """Change the element type of all parameters."""
        for block in self._walk("cast"):
            if block is not self and block._overrides("cast"):
                block.cast(dtype)
            else:
                block._cast_itself(dtype)

    def _cast_itself(self, dtype: Any) -> None:
        """What `cast` does to a block, those below apart."""
        for param in self._params.values():
            param.cast(dtype)

    # -- files

    def save_parameters(self, filename: AnyPath, deduplicate: bool = False) -> None:
        """Write all values by attribute path, such as `0.weight`."""
        params = self._collect_params_with_prefix()
        if deduplicate:
            first: dict[int, str] = {}
            params = {
                name: param
                for name, param in params.items()
                if first.setdefault(id(param), name) == name
            }
        nd.save(filename, {name: param.list_data()[0] for name, param in params.items()})

    def load_parameters(
        self,
        filename: AnyPath,
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
    ) -> None:
        """Read values that `save_parameters` or `export` wrote.

        A file that does not fit changes nothing.
        """
        loaded = load_named(filename, "load_parameters", "save_parameters")
        self.load_dict(
            loaded,
            ctx,
            allow_missing,
            ignore_extra,
            cast_dtype,
            dtype_source,
            source=os.fsdecode(filename),
        )

    def load_dict(
        self,
        arrays: Mapping[str, Any],
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
        source: str = "the dictionary",
    ) -> None:
        """Take values by attribute path, or by full name where no name has a dot."""
        check_context("load_parameters", ctx)
        self._label_parameters()
        arrays = plain_names(arrays, source)
        by_path = self._collect_params_with_prefix()
        by_name = dict(self.collect_params().items())
        use_names = not any("." in name for name in arrays) and any("." in p for p in by_path)
        params = by_name if use_names else by_path
        if not use_names:
            # A file written with deduplicate=True names a shared parameter once.
            given = {id(params[name]) for name in arrays if name in params}
            params = {
                name: param
                for name, param in params.items()
                if name in arrays or id(param) not in given
            }
        load_into(
            params, arrays, source, ctx, allow_missing, ignore_extra, cast_dtype, dtype_source
        )

    save_params = save_parameters
    load_params = load_parameters

    # -- running

    def __call__(self, *args: Any) -> Any:
        if self._forward_pre_hooks or self._forward_hooks:
            trace = tracing.current()
            if trace is not None and trace.eager:
                args = trace.concrete(args)
            for hook in tuple(self._forward_pre_hooks.values()):
                hook(self, args)
        try:
            result = self._invoke(*args)
        except Exception as error:
            if isinstance(error, TigonError):
                _add_block_path(error, self)
            hide_inner_frames(error)
            raise
        if self._forward_hooks:
            for hook in tuple(self._forward_hooks.values()):
                hook(self, args, result)
        return result

    def _invoke(self, *args: Any) -> Any:
        # Blocks are not traced by themselves, but in a training step or a compiled function.
        trace = tracing.current()
        if trace is not None:
            if trace.eager:
                args = trace.concrete(args)
            else:
                trace.block(self)
        return self.forward(*args)

    def forward(self, *args: Any) -> Any:
        """What the block computes. Subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__}: define forward(self, x)")

    def summary(self, *inputs: Any) -> None:
        """Print each layer's output shape and number of parameters for these inputs."""
        from tigon.visualization import block_summary

        print(block_summary(self, *inputs))

    def __repr__(self) -> str:
        text = ""
        children: list[list[str]] = []  # of each block that is open, as text
        for event, _, name, block in self._tour("__repr__"):
            if event == "enter":
                children.append([])
                continue
            text = "..."
            if event == "leave":
                lines = children.pop()
                if block is not self and block._overrides("__repr__"):
                    text = repr(block)
                else:
                    text = "\n".join([f"{type(block).__name__}(", "\n".join(lines), ")"])
            if children:
                children[-1].append(f"  ({name}): {_indent(text)}")
        return text


def _indent(text: str) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line for line in rest)])


def _add_block_path(error: TigonError, block: Block) -> None:
    """Let the message say in which block it happened, from the outermost one on."""
    trail: list[Block] = error.__dict__.setdefault("blocks", [])
    if not trail:
        error.__dict__["bare_message"] = str(error)
    if trail and trail[-1] is block:
        return
    trail.append(block)
    path = type(trail[-1]).__name__
    for parent, child in zip(trail[:0:-1], trail[-2::-1], strict=True):
        names = [name for name, one in parent._children.items() if one is child]
        path += f".{names[0]}" if names else f" > {type(child).__name__}"
    kind = "" if len(trail) == 1 else f" ({type(trail[0]).__name__})"
    error.args = (f"{error.__dict__['bare_message']}\n  in block {path}{kind}",)


class HybridBlock(ShortCall, Block):
    """A block whose forward can be traced: after `hybridize()` its Python code runs once per kind
    of input, and calls run the compiled graph.

    Write either `hybrid_forward(self, F, x, **params)`, where `F` is `tigon.nd` or, while tracing,
    `tigon.sym`; or a plain `forward(self, x)`. The graph is traced again when a shape, a dtype,
    train or predict mode, an argument, or a Python value that the code read has changed.
    """

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None) -> None:
        super().__init__(prefix, params)
        self._active = False
        self.strict = False
        self._flags: dict[str, Any] = {}
        self._graphs: GraphCache | None = None
        self._shortcuts: Shortcuts | None = None

    def _overrides(self, method: str) -> bool:
        own = getattr(type(self), method)
        return own is not getattr(HybridBlock, method) and super()._overrides(method)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over. Its graphs are its own."""
        return {**self.__dict__, "_graphs": None, "_shortcuts": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shortcuts = Shortcuts() if self._active else None

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
        **flags: Any,
    ) -> None:
        """Compile the calls from now on (or stop, with `active=False`).

        Where the code does what a graph cannot hold (it decides by the value of an array, draws
        from `random`, writes to an argument), calls of that kind run as Python code from then on,
        and a warning says why; with `strict=True` that is an error.

        Memory is always planned ahead and shapes are always specialized where it pays, so
        `static_alloc` and `static_shape` are accepted and change nothing.
        """
        flags = {"static_alloc": static_alloc, "static_shape": static_shape, **flags}
        super().hybridize(active, strict=strict, **flags)

    def _hybridize_itself(self, active: bool, flags: dict[str, Any]) -> None:
        _epoch.advance()
        self._active = active
        self.strict = bool(flags.get("strict", False))
        self._flags = {"static_alloc": False, "static_shape": False, **flags}
        self._graphs = None
        self._shortcuts = Shortcuts() if active else None

    def _cast_itself(self, dtype: Any) -> None:
        self._graphs = None
        super()._cast_itself(dtype)

    # -- running

    def _long_call(self, *args: Any) -> Any:
        """A call that no shortcut serves."""
        # On arrays nothing but the look-up and the call, or the code itself.
        if not (tracers[0] or self._forward_pre_hooks or self._forward_hooks):
            kind = call_kind(args)
            if kind is not None and (self._graphs is not None or not self._active):
                try:
                    if self._active:
                        return self._graphs.run(kind, args, args, self._shortcuts)
                    return self.forward(*args)
                except DeferredInitializationError:
                    pass  # the long way knows what to do
                except TigonError as error:
                    _add_block_path(error, self)
                    raise
        if not tracing.active():
            return super(ShortCall, self).__call__(*args)  # that of Block, hooks and all
        # No more frames than a call on arrays takes: blocks may be nested as deeply as for those.
        for hook in tuple(self._forward_pre_hooks.values()):
            hook(self, args)
        try:
            with self._traced_here():
                try:
                    result = self.forward(*args)
                except DeferredInitializationError:
                    self._deferred_initialize(*args)
                    result = self.forward(*args)
        except TigonError as error:
            _add_block_path(error, self)
            raise
        for hook in tuple(self._forward_hooks.values()):
            hook(self, args, result)
        return result

    def _hide_frames(self, error: Exception) -> None:
        hide_inner_frames(error)

    def _name_in(self, error: TigonError) -> None:
        """Let an error of a shortcut say that it happened here."""
        _add_block_path(error, self)

    def _invoke(self, *args: Any) -> Any:
        trace = tracing.current()
        if trace is not None and trace.eager:
            args = trace.concrete(args)
        for arg in args:
            if type(arg) is not NDArray and holds_symbol(arg):
                with tracing.tracing(tracing.Trace(typed=False)):
                    return self._traced(*args)
        if self._active:
            if self._graphs is None:
                self._graphs = GraphCache(self)
            return self._graphs(args)
        return self._run(*args)

    def _traced(self, *args: Any) -> Any:
        """The Python code of one call, while tracing: children's hooks included, own ones not,
        because those run at every call."""
        with self._traced_here(hooks_run=False):
            return self._run(*args)

    def _traced_here(self, hooks_run: bool = True) -> AbstractContextManager[Any]:
        """A block is being traced: symbols made in it carry its prefix in their names."""
        trace = tracing.current()
        assert trace is not None
        trace.block(self, hooks_run)
        return nullcontext() if self._empty_prefix else naming.Prefix(self._prefix)

    def _imperatively(self, args: tuple[Any, ...]) -> Any:
        """A call of a kind that gave way."""
        return self._run(*args)

    def _gave_way(self, result: Any, args: tuple[Any, ...]) -> Any:
        """The call that found out has run."""
        return result

    def _run(self, *args: Any) -> Any:
        """One pass of the Python code, on arrays or on symbols."""
        try:
            return self.forward(*args)
        except DeferredInitializationError:
            self._deferred_initialize(*args)
            return self.forward(*args)

    def _deferred_initialize(self, *args: Any) -> None:
        """Infer the shapes of this block's own parameters and create them."""
        self.infer_shape(*args)
        for param in self._own_parameters():
            param._finish_initialization()

    def _own_parameters(self) -> list[Parameter]:
        return [*self._reg_params.values()]

    def infer_shape(self, *args: Any) -> None:
        """Set the unknown extents of this block's parameters from example inputs.

        Layers know their own rule; otherwise the graph of `hybrid_forward` is asked.
        """
        infer_shapes_from_graph(self, args)

    def infer_type(self, *args: Any) -> None:
        """Parameters take their dtype from `cast`; nothing is inferred."""

    def forward(self, *args: Any) -> Any:
        """Call `hybrid_forward` with the module and the parameters that fit the arguments."""
        if tracing.active():
            params = {name: param.data() for name, param in self._reg_params.items()}
            return self.hybrid_forward(sym, *args, **params)
        params = {
            name: param.data() if param._only is None else param._only
            for name, param in self._reg_params.items()
        }
        return self.hybrid_forward(nd, *args, **params)

    def hybrid_forward(self, F: Any, *args: Any, **params: Any) -> Any:
        """What the block computes, with the operators of `F`. Subclasses write it."""
        raise NotImplementedError(
            f"{type(self).__name__}: define hybrid_forward(self, F, x) or forward(self, x)"
        )

    def _uses_hybrid_forward(self) -> bool:
        return type(self).forward is HybridBlock.forward

    # -- what was compiled

    def explain(self) -> str:
        """What was traced and compiled for this block, and why it was traced again."""
        return "not hybridized" if self._graphs is None else self._graphs.explain()

    @property
    def compiled(self) -> list[Any]:
        """One entry per traced graph: `graph`, `cached` (its programs), `reason`."""
        return [] if self._graphs is None else list(self._graphs.entries)

    # -- export

    def export(
        self, path: AnyPath, epoch: int = 0, remove_amp_cast: bool = True
    ) -> tuple[str, str]:
        """Write `path-symbol.json` and `path-0000.params`, for `SymbolBlock.imports` or MXNet.

        The graph is that of prediction, for any batch; forward code that reads shapes is traced at
        the shapes of the last call.
        """
        symbol = symbol_for_export(self)
        stem = os.fsdecode(path)
        symbol_file, params_file = f"{stem}-symbol.json", f"{stem}-{epoch:04d}.params"
        auxiliary = set(symbol.list_auxiliary_states())
        arguments = set(symbol.list_arguments())
        arrays = {}
        for name, param in self.collect_params().items():
            if name in auxiliary:
                arrays[f"aux:{name}"] = param.list_data()[0]
            elif name in arguments:
                arrays[f"arg:{name}"] = param.list_data()[0]
        symbol.save(symbol_file)
        nd.save(params_file, arrays)
        return symbol_file, params_file


class SymbolBlock(HybridBlock):
    """A block made from a symbol.

    >>> from tigon import nd, sym
    >>> data = sym.var("data")
    >>> net = SymbolBlock(sym.FullyConnected(data, num_hidden=2, name="fc"), data)
    >>> net.initialize()
    >>> net(nd.ones((1, 3))).shape
    (1, 2)
    """

    def __init__(self, outputs: Any, inputs: Any, params: ParameterDict | None = None) -> None:
        super().__init__(prefix="", params=None)
        outputs = sym.Group(list(outputs)) if isinstance(outputs, (list, tuple)) else outputs
        listed = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        self._symbol = outputs
        self._input_names = [symbol.name for symbol in listed]
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
        for name in outputs.list_inputs():
            if name in self._input_names:
                continue
            param = given.get(name)
            if param is None:
                param = self.params.get(
                    name,
                    grad_req="null" if name in auxiliary else "write",
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
    ) -> SymbolBlock:
        """Read what `export` wrote."""
        check_context("SymbolBlock.imports", ctx)
        names = [input_names] if isinstance(input_names, str) else list(input_names)
        symbol = sym.load(symbol_file)
        block = SymbolBlock(symbol, [sym.var(name) for name in names])
        if param_file is not None:
            loaded = load_named(param_file, "SymbolBlock.imports", "export")
            source = os.fsdecode(param_file)
            load_into(
                block._reg_params,
                plain_names(loaded, source),
                source,
                ctx,
                allow_missing,
                ignore_extra,
                dtype_source="saved",
            )
        return block

    def infer_shape(self, *args: Any) -> None:
        shapes = {name: tuple(arg.shape) for name, arg in zip(self._input_names, args, strict=True)}
        argument_shapes, _, auxiliary_shapes = self._symbol.infer_shape(**shapes)
        found = dict(zip(self._symbol.list_arguments(), argument_shapes, strict=True))
        found.update(zip(self._symbol.list_auxiliary_states(), auxiliary_shapes, strict=True))
        for name, param in self._reg_params.items():
            if found.get(name) is not None:
                param.shape = found[name]

    def _run(self, *args: Any) -> Any:
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
        if self._graphs is None:
            self._graphs = GraphCache(self)
        return self._graphs(args)

    def _apply_symbol(self, *args: Any) -> Any:
        leaves = dict(zip(self._input_names, args, strict=True))
        leaves.update({name: param.data() for name, param in self._reg_params.items()})
        return self._symbol(**leaves)

    def forward(self, *args: Any) -> Any:
        return self._run(*args)

    def __repr__(self) -> str:
        return f"SymbolBlock({', '.join(self._symbol.list_outputs())})"


__all__ = [
    "Block",
    "Constant",
    "HookHandle",
    "HybridBlock",
    "Parameter",
    "SymbolBlock",
]
