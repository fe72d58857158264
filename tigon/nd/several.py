"""Steps of many weights by one call, as programs without a `Trainer` make them: MXNet's order of
operands, and the updates of one weight, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tigon.base import check
from tigon.nd.dispatch import NDArray
from tigon.nd.dispatch import make_function as function_of
from tigon.ops import record


@cache
def _operator(name: str) -> Callable[..., Any]:
    return function_of(record.get(name), name)


def _groups(where: str, data: Sequence[Any], count: int, names: str) -> list[tuple[Any, ...]]:
    """The operands of each weight; they come weight by weight."""
    each = len(names.split())
    check(
        count >= 1 and len(data) == count * each,
        where,
        f"expected {each} arrays ({names}) for each of num_weights={count} weights; given "
        f"{len(data)}",
    )
    return [tuple(data[start : start + each]) for start in range(0, len(data), each)]


def _targets(where: str, out: Any, count: int) -> list[Any]:
    if out is None:
        return [None] * count
    targets = list(out) if isinstance(out, (list, tuple)) else [out]
    check(len(targets) == count, where, f"out: expected {count} arrays; given {len(targets)}")
    return targets


def _each(where: str, name: str, values: Any, count: int) -> list[Any]:
    """A number for each weight."""
    given = values.asnumpy().tolist() if hasattr(values, "asnumpy") else values
    given = list(given) if isinstance(given, (list, tuple)) else [given]
    check(len(given) == count, where, f"{name}: expected {count} numbers; given {len(given)}")
    return given


def _stepping(base: str, names: str, preloaded: bool = False) -> Callable[..., list[NDArray]]:
    """The step of many weights by the operator `base`, whose operands are `names`."""
    prefix = "preloaded_multi_" if preloaded else "multi_"
    where = prefix + base
    momentum = "mom" in names.split()

    def step(
        data: Sequence[Any], lrs: Any, wds: Any, count: int, out: Any, fields: dict[str, Any]
    ) -> list[NDArray]:
        call = _operator(base)
        groups = _groups(where, data, count, names)
        rates = zip(_each(where, "lrs", lrs, count), _each(where, "wds", wds, count), strict=True)
        targets = _targets(where, out, count)
        return [
            call(*group, lr=lr, wd=wd, out=target, **fields)
            for group, (lr, wd), target in zip(groups, rates, targets, strict=True)
        ]

    def fields_of(rescale_grad: float, clip_gradient: float, rest: dict[str, Any]) -> Any:
        known = {"momentum": 0.0} if momentum else {}
        for word in rest:
            check(word in known, where, f"has no attribute {word!r}")
        return {"rescale_grad": rescale_grad, "clip_gradient": clip_gradient, **known, **rest}

    def with_numbers(
        *data: NDArray,
        lrs: Sequence[float],
        wds: Sequence[float],
        num_weights: int = 1,
        rescale_grad: float = 1.0,
        clip_gradient: float = -1.0,
        out: Any = None,
        name: str | None = None,
        **rest: Any,
    ) -> list[NDArray]:
        fields = fields_of(rescale_grad, clip_gradient, rest)
        return step(data, lrs, wds, num_weights, out, fields)

    def with_arrays(
        *data: NDArray,
        num_weights: int = 1,
        rescale_grad: float = 1.0,
        clip_gradient: float = -1.0,
        out: Any = None,
        name: str | None = None,
        **rest: Any,
    ) -> list[NDArray]:
        check(len(data) > 2, where, f"expected the arrays of weights, lrs, wds; given {len(data)}")
        fields = fields_of(rescale_grad, clip_gradient, rest)
        return step(data[:-2], data[-2], data[-1], num_weights, out, fields)

    function = with_arrays if preloaded else with_numbers
    function.__name__ = function.__qualname__ = where
    function.__doc__ = f"""`{base}` of `num_weights` weights: their operands ({names}) come weight
    by weight; {"two arrays behind them hold" if preloaded else "`lrs` and `wds` are"} a rate and a
    decay for each. `out` are the weights, to be written over; states are, in any case. Gives a
    list of the new weights.{" `momentum` (default 0) is that of all." if momentum else ""}
    """
    return function


multi_sgd_update = _stepping("sgd_update", "weight grad")
multi_sgd_mom_update = _stepping("sgd_mom_update", "weight grad mom")
multi_mp_sgd_update = _stepping("mp_sgd_update", "weight grad weight32")
multi_mp_sgd_mom_update = _stepping("mp_sgd_mom_update", "weight grad mom weight32")
preloaded_multi_sgd_update = _stepping("sgd_update", "weight grad", True)
preloaded_multi_sgd_mom_update = _stepping("sgd_mom_update", "weight grad mom", True)
preloaded_multi_mp_sgd_update = _stepping("mp_sgd_update", "weight grad weight32", True)
preloaded_multi_mp_sgd_mom_update = _stepping("mp_sgd_mom_update", "weight grad mom weight32", True)


def reset_arrays(*data: NDArray, num_arrays: int | None = None) -> None:
    """Fill every array with 0, in place: gradients that have been added up, say.

    >>> from tigon import nd
    >>> x, y = nd.ones(2), nd.ones(3)
    >>> reset_arrays(x, y, num_arrays=2)
    >>> x.asnumpy().tolist(), y.asnumpy().tolist()
    ([0.0, 0.0], [0.0, 0.0, 0.0])
    """
    check(
        num_arrays in (None, len(data)),
        "reset_arrays",
        f"num_arrays: expected {len(data)}, the number of arrays; given {num_arrays}",
    )
    for array in data:
        array[:] = 0


def _lists(where: str, **lists: Any) -> int:
    """How many weights there are: as many as arrays in each list."""
    lengths = {name: len(arrays) for name, arrays in lists.items()}
    check(
        len(set(lengths.values())) == 1,
        where,
        "expected lists of one length; given "
        + ", ".join(f"{length} {name}" for name, length in lengths.items()),
    )
    return next(iter(lengths.values()))


def multi_adamw_update(
    weights: Sequence[NDArray],
    grads: Sequence[NDArray],
    mean: Sequence[NDArray],
    var: Sequence[NDArray],
    rescale_grad: Any,
    lrs: Sequence[float],
    wds: Sequence[float],
    etas: Sequence[float],
    out: Any = None,
    name: str | None = None,
    size: int = 0,
    **fields: Any,
) -> list[NDArray]:
    """`contrib.adamw_update` of every weight, with rates, decays and `etas` of its own; `size` is
    accepted. Where `rescale_grad` is 0 or not finite nothing changes."""
    where = "multi_adamw_update"
    arrays = (weights, grads, mean, var)
    count = _lists(where, weights=weights, grads=grads, mean=mean, var=var)
    return _adamw(where, arrays, rescale_grad, lrs, wds, etas, out, count, fields)


def multi_mp_adamw_update(
    weights: Sequence[NDArray],
    grads: Sequence[NDArray],
    mean: Sequence[NDArray],
    var: Sequence[NDArray],
    weights32: Sequence[NDArray],
    rescale_grad: Any,
    lrs: Sequence[float],
    wds: Sequence[float],
    etas: Sequence[float],
    out: Any = None,
    name: str | None = None,
    size: int = 0,
    **fields: Any,
) -> list[NDArray]:
    """The same by `contrib.mp_adamw_update`, on copies of the weights with more digits."""
    where = "multi_mp_adamw_update"
    arrays = (weights, grads, mean, var, weights32)
    count = _lists(where, weights=weights, grads=grads, mean=mean, var=var, weights32=weights32)
    return _adamw(where, arrays, rescale_grad, lrs, wds, etas, out, count, fields)


def _adamw(
    where: str,
    arrays: Sequence[Sequence[NDArray]],
    rescale_grad: Any,
    lrs: Any,
    wds: Any,
    etas: Any,
    out: Any,
    count: int,
    fields: dict[str, Any],
) -> list[NDArray]:
    name = f"_contrib_{where.removeprefix('multi_')}"
    call = _operator(name)
    numbers = zip(
        *(_each(where, w, v, count) for w, v in (("lrs", lrs), ("wds", wds), ("etas", etas))),
        strict=True,
    )
    targets = _targets(where, out, count)
    return [
        call(*group, rescale_grad, lr=lr, wd=wd, eta=eta, out=target, **fields)
        for group, (lr, wd, eta), target in zip(
            zip(*arrays, strict=True), numbers, targets, strict=True
        )
    ]


def multi_lamb_update(
    weights: Sequence[NDArray],
    grads: Sequence[NDArray],
    mean: Sequence[NDArray],
    var: Sequence[NDArray],
    step_count: Sequence[int],
    lrs: Sequence[float],
    wds: Sequence[float],
    out: Any = None,
    num_tensors: int = 0,
    **fields: Any,
) -> list[NDArray]:
    """Both phases of LAMB for every weight. `step_count`: how many updates each has had, this one
    included; `num_tensors` is accepted; `fields` are those of `lamb_update_phase1` and
    `lamb_update_phase2`."""
    where = "multi_lamb_update"
    count = _lists(where, weights=weights, grads=grads, mean=mean, var=var)
    arrays = (weights, grads, mean, var, weights)
    return _lamb(where, arrays, step_count, lrs, wds, out, count, fields)


def multi_mp_lamb_update(
    weights: Sequence[NDArray],
    grads: Sequence[NDArray],
    mean: Sequence[NDArray],
    var: Sequence[NDArray],
    weights32: Sequence[NDArray],
    step_count: Sequence[int],
    lrs: Sequence[float],
    wds: Sequence[float],
    out: Any = None,
    num_tensors: int = 0,
    **fields: Any,
) -> list[NDArray]:
    """The same on copies of the weights with more digits, which move; the weights follow them."""
    where = "multi_mp_lamb_update"
    arrays = (weights, grads, mean, var, weights32)
    count = _lists(where, weights=weights, grads=grads, mean=mean, var=var, weights32=weights32)
    return _lamb(where, arrays, step_count, lrs, wds, out, count, fields)


def _lamb(
    where: str,
    arrays: Sequence[Sequence[NDArray]],
    step_count: Any,
    lrs: Any,
    wds: Any,
    out: Any,
    count: int,
    fields: dict[str, Any],
) -> list[NDArray]:
    own = "mp_" if "_mp_" in where else ""
    first, second = (_operator(f"{own}lamb_update_phase{n}") for n in (1, 2))
    norm = _operator("norm")
    bounds = {w: fields.pop(w) for w in ("lower_bound", "upper_bound") if w in fields}
    steps = _each(where, "step_count", step_count, count)
    rates, decays = _each(where, "lrs", lrs, count), _each(where, "wds", wds, count)
    made = []
    for place, target in enumerate(_targets(where, out, count)):
        weight, grad, mean, var, exact = (part[place] for part in arrays)
        copies = (exact,) if own else ()
        g = first(weight, grad, mean, var, *copies, t=steps[place], wd=decays[place], **fields)
        norms = (norm(exact), norm(g))
        made.append(second(weight, g, *norms, *copies, lr=rates[place], out=target, **bounds))
    return made
