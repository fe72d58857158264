"""Blocks: trees of layers."""

from __future__ import annotations

import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tigon import _native, initializer, nd
from tigon.base import TigonError, TigonTypeError
from tigon.base.absent import say_of_methods
from tigon.base.arguments import NamesWrongTypes
from tigon.base.errors import hide_inner_frames
from tigon.base.files import AnyPath
from tigon.base.signatures import whole_signature
from tigon.context import check_contexts
from tigon.export.params import plain_names
from tigon.gluon import _epoch
from tigon.gluon import trace as tracing
from tigon.gluon.arguments import Positions
from tigon.gluon.block.architecture import check_architecture, files_of, write_architecture
from tigon.gluon.block.op_hooks import OpHook, OpHooks
from tigon.gluon.block.scope import BlockScope, HookHandle
from tigon.gluon.parameter import Parameter, ParameterDict
from tigon.gluon.parameter.files import Names, load_into, load_named
from tigon.runtime import profiling


def _unknown_keyword(kind: type, name: str) -> TigonTypeError:
    """What a class of blocks says of an argument that it does not have."""
    import difflib
    import inspect

    known = [
        p.name
        for p in inspect.signature(kind).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    near = difflib.get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return TigonTypeError(
        f"{kind.__name__}: has no argument '{name}'; it has: {', '.join(known)}{meant}"
    )


class Block(NamesWrongTypes):
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
    _is_hybrid = False
    __signature__ = whole_signature()

    def __init__(
        self, prefix: str | None = None, params: ParameterDict | None = None, **unknown: Any
    ) -> None:
        if unknown:
            raise _unknown_keyword(type(self), next(iter(unknown)))
        self._empty_prefix = prefix == ""
        self._prefix, self._params = BlockScope.create(prefix, params, self._alias())
        self._name = self._prefix[:-1] if self._prefix.endswith("_") else self._prefix
        self._scope = BlockScope(self)
        self._children: OrderedDict[str, Block] = _epoch.Table()
        self._reg_params: dict[str, Parameter] = _epoch.Table()
        self._forward_hooks: dict[int, Callable[..., Any]] = _epoch.Table()
        self._forward_pre_hooks: dict[int, Callable[..., Any]] = _epoch.Table()

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

    def register_op_hook(
        self, callback: Callable[[str, str, Any], Any], monitor_all: bool = False
    ) -> OpHooks:
        """Call `callback(name, operator, array)` with what every operator computes, after each call
        of a hybridized block here or below: `dense0_fwd_output`, "FullyConnected", its result.

        With `monitor_all` of what it is given, too (`dense0_fwd_weight`). Everything is computed a
        second time for it, by the same random numbers. `detach()` of the result ends that.
        """
        hooks = [OpHook(block, callback, monitor_all) for block in self._walk() if block._is_hybrid]
        return OpHooks(hooks)

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
        nd.save(filename, {name: param._whole() for name, param in params.items()})

    def load_parameters(
        self,
        filename: AnyPath,
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool | Callable[[str], Any] = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
        names: Names | None = None,
    ) -> None:
        """Read values that `save_parameters` or `export` wrote, or a file of arrays by other names:
        .params, or safetensors, such as PyTorch's networks are published in. A file that does not
        fit changes nothing, and is told with what it lacks, has besides, or has of other shapes.

        Parameters
        ----------
        filename : .params or .safetensors; what it holds tells
        ctx : where the values go; None: where the parameters are, or the present context
        allow_missing : whether parameters may keep their values
        ignore_extra : whether the file may have more; or a function of a name in the file that says
            whether that one is left out
        cast_dtype : whether values are converted to the dtypes of the parameters
        dtype_source : 'current', or 'saved': parameters take the dtypes of the file
        names : what parameters are called in the file: a mapping from attribute paths
            (`0.weight`), or a function of one. It tells a name; None where it is the same; or
            (name, function), where the function makes of the file's array that of the parameter

        >>> import tempfile
        >>> from tigon import gluon
        >>> net = gluon.nn.Dense(2, in_units=3)
        >>> net.initialize()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = folder + "/x.safetensors"
        ...     nd.save(path, {"fc.w": nd.ones((3, 2)), "fc.b": nd.zeros(2)})
        ...     names = {"weight": ("fc.w", lambda array: array.T), "bias": "fc.b"}
        ...     net.load_parameters(path, names=names)
        >>> net.weight.data().shape
        (2, 3)
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
            names=names,
        )

    def load_dict(
        self,
        arrays: Mapping[str, Any],
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool | Callable[[str], Any] = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
        source: str = "the dictionary",
        names: Names | None = None,
    ) -> None:
        """Take values by attribute path, or by full name where no name has a dot; or by `names`, as
        `load_parameters` does."""
        check_contexts("load_parameters", ctx)
        self._label_parameters()
        arrays = plain_names(arrays, source)
        by_path = self._collect_params_with_prefix()
        if names is not None:
            load_into(
                by_path, arrays, source, ctx, allow_missing, ignore_extra, cast_dtype,
                dtype_source, names,
            )  # fmt: skip
            return
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

    def save(self, prefix: AnyPath) -> None:
        """Write `prefix-model.json`, which blocks there are, and `prefix-model.params`, their
        values, for `load` of a network that is built alike."""
        architecture, parameters = files_of(prefix)
        self.save_parameters(parameters)
        write_architecture(self, architecture)

    def load(self, prefix: AnyPath) -> None:
        """Read what `save` wrote. A network of other blocks is refused, and nothing changes."""
        architecture, parameters = files_of(prefix)
        check_architecture(self, architecture)
        self.load_parameters(parameters)

    save_params = save_parameters
    load_params = load_parameters

    # -- running

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run the block. What is given by name, hooks see by position where it has one."""
        if keywords:
            args, keywords = self._positions().arrange(args, keywords)
        if self._forward_pre_hooks or self._forward_hooks:
            trace = tracing.current()
            if trace is not None and trace.eager:
                args, keywords = trace.concrete((args, keywords))
            for hook in tuple(self._forward_pre_hooks.values()):
                hook(self, args)
        span = None
        if profiling.active[0] and not self._is_hybrid:  # of others the native call says it
            span = _native.profile.BlockSpan(self._name)
        try:
            result = self._invoke(*args, **keywords)
        except Exception as error:
            if isinstance(error, TigonError):
                add_block_path(error, self)
            hide_inner_frames(error)
            raise
        finally:
            if span is not None:
                span.close()
        if self._forward_hooks:
            for hook in tuple(self._forward_hooks.values()):
                hook(self, args, result)
        return result

    def _positions(self) -> Positions:
        """What calls take, by position or by name."""
        return Positions(self.forward)

    def _invoke(self, *args: Any, **keywords: Any) -> Any:
        # Blocks are not traced by themselves, but in a training step or a compiled function.
        trace = tracing.current()
        if trace is not None:
            if trace.eager:
                args, keywords = trace.concrete((args, keywords))
            else:
                trace.block(self)
        return self.forward(*args, **keywords)

    def forward(self, *args: Any) -> Any:
        """What the block computes. Subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__}: define forward(self, x)")

    def summary(self, *inputs: Any) -> None:
        """Print each layer's output shape and number of parameters for these inputs."""
        from tigon.visualization import block_summary

        print(block_summary(self, *inputs))

    def _repr_html_(self) -> str:
        from tigon.visualization import block_html

        return block_html(self)

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


say_of_methods(Block, "tigon.gluon.Block")


def _indent(text: str) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line for line in rest)])


def add_block_path(error: TigonError, block: Block) -> None:
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
