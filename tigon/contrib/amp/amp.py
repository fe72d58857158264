"""Automatic mixed precision: set it up, scale losses, convert networks that are there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tigon import _native, autograd, nd, sym
from tigon.base import check
from tigon.base.dtypes import BY_CODE, DType, float16
from tigon.base.locks import plain_lock
from tigon.context import check_contexts
from tigon.contrib.amp.loss_scaler import LossScaler
from tigon.contrib.amp.policies import (
    Conditional,
    Lists,
    check_known,
    names_given,
    names_within,
    narrow_dtype,
    policy_of,
)
from tigon.export.hints import read_dtype
from tigon.gluon import HybridBlock, SymbolBlock, Trainer, _epoch
from tigon.gluon.symbolic import symbol_for_export
from tigon.module import BucketingModule
from tigon.ops import casting
from tigon.passes.insert_casts import cast_variables, insert_casts, remove_casts
from tigon.runtime.tracing import needs_arrays
from tigon.sym import Symbol

_amp_initialized = False
_lock = plain_lock()
_asked: Any = None
"""What `init` was called with."""


def init(
    target_dtype: Any = "float16",
    target_precision_ops: Sequence[str] | None = None,
    conditional_fp32_ops: Conditional | None = None,
    fp32_ops: Sequence[str] | None = None,
    layout_optimization: bool = False,
) -> None:
    """Let operators compute in mixed precision from now on, in this process.

    Casts are put around what is called on arrays, composed of symbols or traced after this; what
    was traced before is traced again, and symbols that are there stay (`convert_symbol`). Gradients
    of parameters, and the parameters, stay float32. Call it before the network is used, and before
    threads are started.

    Parameters
    ----------
    target_dtype : 'float16' or 'bfloat16'; float16 needs its losses scaled (`init_trainer`)
    target_precision_ops : names of operators that compute in it; default `list_lp16_ops`
    conditional_fp32_ops : (operator, attribute, values): operators that compute in float32 if the
        attribute has one of the values; default `list_conditional_fp32_ops`
    fp32_ops : names of operators that compute in float32; default `list_fp32_ops`
    layout_optimization : accepted; layouts are chosen by the compiler

    A second call of the same arguments changes nothing; one of others is an error, as are names
    that no operator has, and an operator in two lists.

    >>> init(8)
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: amp.init: target_dtype: expected 'float16' or 'bfloat16'; given 8
    """
    global _amp_initialized, _asked
    dtype = narrow_dtype("amp.init", target_dtype)
    policy = policy_of(
        "amp.init",
        dtype,
        target_precision_ops,
        "target_precision_ops",
        conditional_fp32_ops,
        fp32_ops,
        trains=True,
    )
    asked = (dtype, policy.rules, policy.conditional)
    with _lock:
        check(
            not _amp_initialized or asked == _asked,
            "amp.init",
            f"mixed precision is initialized already, with {_asked and _asked[0]} and other "
            "arguments; call it once, before the network is used",
        )
        if not _amp_initialized:
            logging.info("Using AMP")
            _install(policy)
            _amp_initialized, _asked = True, asked


def _install(policy: casting.Policy | None) -> None:
    """Let a policy hold, and nothing that was compiled or traced under another one be used."""
    casting.install(policy)
    _native.set_output_caster(None if policy is None else _write_into)
    _native.clear_signature_cache()
    _epoch.advance()


def _write_into(results: Sequence[Any], given: Sequence[Any]) -> Any:
    """`x += y` and `out=` keep the dtypes of their arrays, as in traced code; NotImplemented where
    others than floats that are cast are concerned."""
    pairs = [
        (result, array)
        for result, array in zip(results, given, strict=False)
        if array is not None and array.dtype_code != result.dtype_code
    ]
    codes = [array.dtype_code for pair in pairs for array in pair]
    if not casting.mixes(*(BY_CODE[code] for code in codes)):
        return NotImplemented
    found = []
    for result, array in zip(results, (*given, *[None] * len(results)), strict=False):
        if array is not None:
            array[:] = result
        found.append(result if array is None else array)
    return found[0] if len(found) == 1 else tuple(found)


def _uninstall() -> None:
    """Undo `init`, for tests."""
    global _amp_initialized, _asked
    with _lock:
        _install(None)
        _amp_initialized, _asked = False, None


# ------------------------------------------------------------------------ scales of losses


def init_trainer(optimizer_or_trainer: Trainer) -> None:
    """Let a trainer scale losses: under float16 it gets a `LossScaler`, and `step` skips what has
    overflowed: weights, states and counts stay as they were, and the scale is halved. Under
    bfloat16, whose range is that of float32, nothing is scaled.

    Not with `compression_params`, whose threshold would be one of scaled gradients. A second call
    changes nothing.
    """
    trainer = _trainer("amp.init_trainer", optimizer_or_trainer)
    policy = casting.current()
    check(
        _amp_initialized and policy is not None,
        "amp.init_trainer",
        "mixed precision is not initialized; call amp.init() first",
    )
    assert policy is not None
    check(
        not trainer._compression_params,
        "amp.init_trainer",
        "compression_params compare gradients with a threshold, and scaled ones are larger; make "
        "the Trainer without them",
    )
    if not trainer._amp_initialized:
        trainer._amp_initialized = True
        trainer._amp_original_scale = trainer._scale
        trainer._amp_loss_scaler = LossScaler() if policy.target is float16 else None


@contextmanager
def scale_loss(loss: Any, optimizer_or_trainer: Trainer) -> Iterator[Any]:
    """Gives the loss, or the list of losses, multiplied by the trainer's scale; the next
    `trainer.step` divides gradients by it:

        with autograd.record():
            loss = loss_function(net(data), label)
            with amp.scale_loss(loss, trainer) as scaled:
                autograd.backward(scaled)
        trainer.step(batch_size)

    (`docs/mixed-precision.md` runs it.) The multiplication is recorded outside of `record`, too.
    Under bfloat16 it is the loss itself.
    """
    where = "amp.scale_loss"
    trainer = _initialized(where, optimizer_or_trainer)
    # The scale is that of one step, and the trainer is told it: no graph would do that again.
    loss = needs_arrays(f"calls {where}", loss)
    for one in loss if isinstance(loss, (list, tuple)) else [loss]:
        is_array = isinstance(one, _native.NDArray)
        check(
            is_array and BY_CODE[one.dtype_code].is_float,
            where,
            "loss: expected an NDArray of floats, or a list of them; given "
            f"{BY_CODE[one.dtype_code].name if is_array else type(one).__name__}; compute it from "
            "predictions of the network, by a loss of gluon.loss",
        )
    with trainer._scaled(loss) as scaled:
        yield scaled


def unscale(optimizer_or_trainer: Trainer) -> None:
    """Divide the gradients by the scale of the loss, in place, and let the next step not do it: to
    look at them or to clip them before it. What has overflowed stays infinite or NaN, so that the
    step is skipped."""
    trainer = _initialized("amp.unscale", optimizer_or_trainer)
    if trainer._amp_loss_scaler is None:
        return
    factor = trainer._scale / trainer._amp_original_scale
    with autograd.pause():
        for param in trainer._params if factor != 1 else ():
            grads = [] if param.grad_req == "null" else param.list_grad()
            with param._computing_nothing(*grads):
                for grad in grads:
                    grad *= factor
    trainer._scale = trainer._amp_original_scale


def _trainer(where: str, given: Any) -> Trainer:
    check(
        isinstance(given, Trainer),
        where,
        f"expected a gluon.Trainer; given {type(given).__name__}; an optimizer alone has no "
        "gradients to look at: make gluon.Trainer(net.collect_params(), optimizer)",
    )
    return given  # type: ignore[no-any-return]


def _initialized(where: str, given: Any) -> Trainer:
    trainer = _trainer(where, given)
    check(
        trainer._amp_initialized,
        where,
        "the trainer scales no losses yet; call amp.init_trainer(trainer) first",
    )
    return trainer


# ------------------------------------------------------------------------------ conversion


def convert_symbol(
    sym: Symbol,
    target_dtype: Any = "float16",
    target_dtype_ops: Sequence[str] | None = None,
    fp32_ops: Sequence[str] | None = None,
    conditional_fp32_ops: Conditional | None = None,
    excluded_sym_names: Sequence[str] | None = None,
    data_names: Sequence[str] | None = None,
    cast_optional_params: bool = False,
) -> Symbol:
    """The symbol with the casts of mixed precision in it: `amp_cast` before operators that compute
    in `target_dtype` or in float32, `amp_multicast` before those whose operands must be of one
    dtype. Each value is cast once for each dtype. Casts that are there are made anew.

    Parameters
    ----------
    target_dtype : 'float16' (default) or 'bfloat16'
    target_dtype_ops, fp32_ops, conditional_fp32_ops : as `init` takes them
    excluded_sym_names : names of nodes that take what they are given; an error if there is no such
        node
    data_names : names of inputs that are no parameters; default: those without a declared dtype
    cast_optional_params : parameters that are read through casts alone become variables of
        `target_dtype`, and lose their casts (default False)

    >>> x = sym.FullyConnected(sym.var("data"), num_hidden=2, no_bias=True, name="fc")
    >>> print(convert_symbol(x).debug_str())
    graph(%data, %fc_weight) {
      %0 = amp_cast(%data) {dtype='float16'} 'data_amp_cast'
      %1 = amp_cast(%fc_weight) {dtype='float16'} 'fc_weight_amp_cast'
      %2 = FullyConnected(%0, %1) {num_hidden=2, no_bias=True} 'fc'
      return %2
    }
    """
    where = "amp.convert_symbol"
    inputs = names_given(where, "data_names", "inputs", data_names)
    if isinstance(sym, Symbol):
        check_known(where, "data_names", "input", inputs, sym.list_inputs())
    return _converted(
        where,
        sym,
        (target_dtype, target_dtype_ops, fp32_ops, conditional_fp32_ops, excluded_sym_names),
        data_names,
        cast_optional_params,
    )


_Arguments = tuple[Any, Any, Any, Any, Any]


def _converted(
    where: str,
    symbol: Any,
    arguments: _Arguments,
    data_names: Sequence[str] | None,
    cast_optional_params: bool,
    of_several: bool = False,
) -> Symbol:
    """`of_several`: no symbol has all the nodes that are excluded."""
    check(
        isinstance(symbol, Symbol),
        where,
        f"sym: expected a Symbol; given {type(symbol).__name__}",
    )
    target, low, float32_ops, conditional, excluded = arguments
    dtype = narrow_dtype(where, target)
    policy = policy_of(where, dtype, low, "target_dtype_ops", conditional, float32_ops)
    graph = remove_casts(symbol._graph())
    stays = names_given(where, "excluded_sym_names", "nodes", excluded)
    if stays and not of_several:
        check_known(where, "excluded_sym_names", "node", stays, names_within(graph))
    graph = insert_casts(graph, policy, stays)
    if cast_optional_params:
        said = symbol.attr_dict()
        if data_names is None:
            params = {name for name, hints in said.items() if "__dtype__" in hints}
        else:
            params = set(symbol.list_inputs()) - set(data_names)
        graph = cast_variables(graph, params - set(symbol.list_auxiliary_states()), dtype)
    return Symbol(graph.outputs)


def convert_model(
    sym: Symbol,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
    target_dtype: Any = "float16",
    target_dtype_ops: Sequence[str] | None = None,
    fp32_ops: Sequence[str] | None = None,
    conditional_fp32_ops: Conditional | None = None,
    excluded_sym_names: Sequence[str] | None = None,
    cast_optional_params: bool = False,
) -> tuple[Symbol, dict[str, Any], dict[str, Any]]:
    """The symbol as `convert_symbol` makes it, and its parameters, for inference. These stay
    float32 and are cast by the graph; with `cast_optional_params` those that can be are kept in
    `target_dtype` (save such a model with `remove_amp_cast=False`). What is given stays as it is.
    """
    where = "amp.convert_model"
    for name, given in (("arg_params", arg_params), ("aux_params", aux_params)):
        check(
            isinstance(given, Mapping),
            where,
            f"{name}: expected a dictionary of arrays by name; given {type(given).__name__}",
        )
    known = {*arg_params, *aux_params}
    data = [name for name in sym.list_inputs() if name not in known] if _is_symbol(sym) else []
    arguments = (target_dtype, target_dtype_ops, fp32_ops, conditional_fp32_ops, excluded_sym_names)
    converted = _converted(where, sym, arguments, data, cast_optional_params)
    return converted, _in_said_dtypes(converted, arg_params), dict(aux_params)


def _is_symbol(given: Any) -> bool:
    return isinstance(given, Symbol)


def _in_said_dtypes(symbol: Symbol, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays in the dtypes that a symbol's variables say."""
    said = symbol.attr_dict()
    found = {}
    for name, array in arrays.items():
        dtype = read_dtype(name, said.get(name, {}).get("__dtype__"))
        same = dtype is None or dtype is BY_CODE[array.dtype_code]
        found[name] = array if same else nd.amp_cast(array, dtype=str(dtype))
    return found


def convert_hybrid_block(
    block: HybridBlock,
    target_dtype: Any = "float16",
    target_dtype_ops: Sequence[str] | None = None,
    fp32_ops: Sequence[str] | None = None,
    conditional_fp32_ops: Conditional | None = None,
    excluded_sym_names: Sequence[str] | None = None,
    ctx: Any = None,
    cast_optional_params: bool = False,
) -> SymbolBlock:
    """A block for inference in mixed precision, of a network in float32 whose parameters have
    values. Its parameters are copies: of float32, cast by the graph, or, with
    `cast_optional_params`, of `target_dtype` where they are read through casts alone.

    `ctx`: where the copies lie (default: where the block's parameters do); the others are those of
    `convert_symbol`. Arguments that the graph does not read are left out, as in files.
    `export(path, remove_amp_cast=False)` writes the casts into the file.

    >>> from tigon.gluon import nn
    >>> net = nn.Dense(2, in_units=3)
    >>> net.initialize()
    >>> low = convert_hybrid_block(net, "bfloat16")
    >>> low(nd.ones((1, 3))).dtype.__name__, low.collect_params()[net.weight.name].dtype
    ('bfloat16', 'float32')
    """
    where = "amp.convert_hybrid_block"
    check(
        isinstance(block, HybridBlock),
        where,
        f"block: expected a HybridBlock; given {type(block).__name__}; derive it from "
        "HybridBlock, so that it has a graph",
    )
    check_contexts(where, ctx)
    with autograd.pause(train_mode=False):
        symbol, inputs = _graph_of(where, block)
    params = block.collect_params()
    arguments = (target_dtype, target_dtype_ops, fp32_ops, conditional_fp32_ops, excluded_sym_names)
    converted = _converted(where, symbol, arguments, inputs, cast_optional_params)
    made = SymbolBlock(converted, [sym.var(name) for name in inputs])
    arrays = {name: params[name]._whole() for name in made.collect_params()}
    kept = _in_said_dtypes(converted, arrays)
    contexts = next((param.list_ctx() for param in params.values()), None)
    made.collect_params().load_dict(
        kept, ctx=contexts if ctx is None else ctx, dtype_source="saved"
    )
    for name, param in made.collect_params().items():
        param._narrowed = kept[name] is not arrays[name]
    return made


def _graph_of(where: str, block: HybridBlock) -> tuple[Symbol, list[str]]:
    """A block as a symbol, and the names of its inputs in the order of its arguments: a graph has
    them in that of their use."""
    if isinstance(block, SymbolBlock):
        names = list(block._input_names)
        return block(*map(sym.var, names)), names
    symbol = symbol_for_export(block, where)
    found = set(symbol.list_inputs()) - {*block.collect_params()}
    return symbol, sorted(found, key=lambda name: (len(name), name))  # data2 before data10


def convert_bucketing_module(
    bucketing_mod: BucketingModule,
    target_dtype: Any = "float16",
    target_dtype_ops: Sequence[str] | None = None,
    fp32_ops: Sequence[str] | None = None,
    conditional_fp32_ops: Conditional | None = None,
    excluded_sym_names: Sequence[str] | None = None,
    cast_optional_params: bool = False,
) -> BucketingModule:
    """A module with the symbols of another one, of every bucket, in mixed precision, and with its
    parameters, which must have values: `bind` it. The arguments are those of `convert_model`."""
    where = "amp.convert_bucketing_module"
    check(
        isinstance(bucketing_mod, BucketingModule),
        where,
        f"bucketing_mod: expected a BucketingModule; given {type(bucketing_mod).__name__}",
    )
    check(
        bucketing_mod.params_initialized,
        where,
        "its parameters have no values yet; call init_params, or load a checkpoint",
    )
    arguments = (target_dtype, target_dtype_ops, fp32_ops, conditional_fp32_ops, excluded_sym_names)
    return bucketing_mod._with_symbols(
        lambda symbol, known: _converted(
            where,
            symbol,
            arguments,
            [name for name in symbol.list_inputs() if name not in known],
            cast_optional_params,
            of_several=True,
        ),
        _in_said_dtypes,
    )


# ----------------------------------------------------------------------------------- lists


def _lists(where: str, target_dtype: Any) -> Lists:
    dtype: DType = narrow_dtype(where, target_dtype)
    return Lists(dtype)


def list_lp16_ops(target_dtype: Any = "float16") -> list[str]:
    """The operators that compute in `target_dtype`."""
    return _lists("amp.list_lp16_ops", target_dtype).low


def list_fp16_ops() -> list[str]:
    """The operators that compute in float16."""
    return list_lp16_ops("float16")


def list_fp32_ops(target_dtype: Any = "float16") -> list[str]:
    """The operators that compute in float32."""
    return _lists("amp.list_fp32_ops", target_dtype).float32


def list_lp16_fp32_ops(target_dtype: Any = "float16") -> list[str]:
    """The operators that compute in what they are given."""
    return _lists("amp.list_lp16_fp32_ops", target_dtype).either


def list_fp16_fp32_ops() -> list[str]:
    """The same under float16."""
    return list_lp16_fp32_ops("float16")


def list_conditional_fp32_ops(target_dtype: Any = "float16") -> list[tuple[str, str, list[str]]]:
    """(operator, attribute, values): those that compute in float32 under these values."""
    return _lists("amp.list_conditional_fp32_ops", target_dtype).conditional


def list_widest_type_cast(target_dtype: Any = "float16") -> list[str]:
    """The operators whose operands are brought to one dtype."""
    return _lists("amp.list_widest_type_cast", target_dtype).widest


def list_loss_output_functions(target_dtype: Any = "float16") -> list[str]:
    """Outputs of networks whose gradient is that of a loss, whatever comes from above."""
    return _lists("amp.list_loss_output_functions", target_dtype).losses


def list_lp16_use_fp32_params(target_dtype: Any = "float16") -> dict[str, list[str]] | None:
    """By operator, the operands that are float32 beside narrower data; None under float16, where
    MXNet has no such list."""
    return _lists("amp.list_lp16_use_fp32_params", target_dtype).float32_operands
