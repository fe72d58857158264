"""Checks of symbols: against numbers, against finite differences, and against each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tigon import autograd, nd
from tigon import sym as symbolic
from tigon.base import check
from tigon.base.dtypes import own_numbers
from tigon.context import check_context
from tigon.test_utils.comparing import (
    Tolerance,
    assert_almost_equal,
    compare_ndarray_tuple,
    default_numeric_eps,
    get_tolerance,
    get_tols,
)

Arrays = Mapping[str, Any] | Sequence[Any]


def _by_name(given: Any, names: Sequence[str], where: str, what: str) -> dict[str, Any]:
    """Values by name, given so or in order; each name must have one."""
    if isinstance(given, Mapping):
        check(
            set(given) == set(names),
            where,
            f"expected {what} for {', '.join(names)}; given them for {', '.join(given)}",
        )
        return {name: given[name] for name in names}
    check(
        isinstance(given, (list, tuple)) and len(given) == len(names),
        where,
        f"expected {what} for {', '.join(names)}, in a list or a dictionary; "
        f"given {len(given) if isinstance(given, (list, tuple)) else type(given).__name__}",
    )
    return dict(zip(names, given, strict=True))


def _arrays(values: Mapping[str, Any], ctx: Any, dtype: Any) -> dict[str, nd.NDArray]:
    """Of numpy's, in `dtype`, or each in its own if that is "asnumpy"; others as they are."""
    return {
        name: nd.array(value, ctx=ctx, dtype=value.dtype if dtype == "asnumpy" else dtype)
        if isinstance(value, np.ndarray)
        else value
        for name, value in values.items()
    }


def _operands(
    sym: Any, location: Arrays, aux_states: Arrays | None, ctx: Any, dtype: Any, where: str
) -> tuple[dict[str, nd.NDArray], dict[str, nd.NDArray] | None]:
    values = _by_name(location, sym.list_arguments(), where, "values")
    if aux_states is None:
        return _arrays(values, ctx, dtype), None
    states = _by_name(aux_states, sym.list_auxiliary_states(), where, "auxiliary states")
    return _arrays(values, ctx, dtype), _arrays(states, ctx, dtype)


def simple_forward(sym: Any, ctx: Any = None, is_train: bool = False, **inputs: Any) -> Any:
    """The results of a symbol for inputs by name, as arrays of numpy: one, or a list.

    >>> from tigon import sym
    >>> simple_forward(sym.var("x") * 2, x=np.ones(2)).tolist()
    [2.0, 2.0]
    """
    device = check_context("simple_forward", ctx)
    arrays = {name: nd.array(value, ctx=device) for name, value in inputs.items()}
    outputs = sym.bind(device, args=arrays).forward(is_train=is_train)
    results = [output.asnumpy() for output in outputs]
    return results[0] if len(results) == 1 else results


def numeric_grad(
    executor: Any,
    location: Mapping[str, Any],
    aux_states: Mapping[str, Any] | None = None,
    eps: float = 1e-4,
    use_forward_train: bool = True,
    dtype: Any = np.float32,
) -> dict[str, np.ndarray]:
    """The slopes of the sum of an executor's first result, by central differences of width `eps`,
    for every element of every argument of floating-point numbers."""
    values = {name: np.array(value, dtype) for name, value in location.items()}
    for name, value in values.items():
        executor.arg_dict[name][:] = value

    def total() -> float:
        for name, state in (aux_states or {}).items():
            executor.aux_dict[name][:] = state
        (first, *_) = executor.forward(is_train=use_forward_train)
        return float(first.asnumpy().sum(dtype=np.float64))

    slopes = {name: np.zeros(value.shape, dtype) for name, value in values.items()}
    for name, value in values.items():
        if own_numbers(np.asarray(location[name])).dtype.kind != "f":
            continue
        for place in np.ndindex(value.shape):
            sums = []
            for step in (eps / 2, -eps / 2):
                moved = value.copy()
                moved[place] += step
                executor.arg_dict[name][:] = moved
                sums.append(total())
            slopes[name][place] = (sums[0] - sums[1]) / eps
        executor.arg_dict[name][:] = value
    return slopes


def _requests(given: Any, names: Sequence[str], where: str) -> dict[str, str]:
    """What becomes of the gradient of each argument."""
    found = (
        dict.fromkeys(names, given)
        if isinstance(given, str)
        else dict(given)
        if isinstance(given, Mapping)
        else dict(zip(names, given, strict=False))
    )
    for name, request in found.items():
        check(
            request in ("write", "add", "null"),
            where,
            f"grad_req of '{name}': expected 'write', 'add' or 'null'; given {request!r}",
        )
    return found


def _compare_gradients(
    expected: Mapping[str, Any],
    found: Mapping[str, Any],
    before: Mapping[str, np.ndarray],
    requests: Mapping[str, str],
    rtol: Tolerance,
    atol: Tolerance,
    equal_nan: bool,
    source: str,
) -> None:
    """`before`: what was in the arrays of gradients, which a request may keep or add to."""
    for name, wanted in expected.items():
        request = requests.get(name, "null")
        names = (f"{source} of {name}", f"backward of {name} ({request})")
        if request == "null":
            assert_almost_equal(before[name], found[name], rtol, atol, names, equal_nan)
            continue
        got = found[name]
        if request == "add":
            got = got.asnumpy() - before[name].astype(got.dtype)
        assert_almost_equal(wanted, got, rtol, atol, names, equal_nan)


def check_numeric_gradient(
    sym: Any,
    location: Arrays,
    aux_states: Arrays | None = None,
    numeric_eps: float | Mapping[Any, float] | None = None,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    grad_nodes: Any = None,
    use_forward_train: bool = True,
    ctx: Any = None,
    grad_stype_dict: Mapping[str, str] | None = None,
    dtype: Any = np.float32,
) -> None:
    """Raise AssertionError where gradients differ from finite differences.

    The result is multiplied with random numbers and summed. `grad_nodes` names arguments, or says
    what becomes of the gradient of each ('write', 'add', 'null'); all unless it is given.

    >>> from tigon import sym
    >>> x = sym.var("x")
    >>> check_numeric_gradient(sym.square(x), [np.array([1.0, 2.0])])
    >>> check_numeric_gradient(sym.BlockGrad(sym.square(x)), [np.array([1.0, 2.0])])
    Traceback (most recent call last):
    ...
    AssertionError: finite difference of x and backward of x (write) differ in 2 of 2 elements: ...
    """
    where = "check_numeric_gradient"
    check(
        not grad_stype_dict or set(grad_stype_dict.values()) == {"default"},
        where,
        "gradients are dense; leave grad_stype_dict out",
    )
    device = check_context(where, ctx)
    values, states = _operands(sym, location, aux_states, device, dtype, where)
    names = sym.list_arguments() if grad_nodes is None else grad_nodes
    requests = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, "write")
    requests = _requests(requests, sym.list_arguments(), where)
    _, shapes, _ = sym.infer_shape(**{name: value.shape for name, value in values.items()})
    factor = "__random_proj"
    loss = symbolic.make_loss(sym * symbolic.var(factor))
    random = np.random.rand(*shapes[0]) + 0.1  # small ones would lose the difference
    values[factor] = nd.array(random, ctx=device, dtype=dtype)
    before = {name: np.random.normal(0, 0.01, values[name].shape) for name in requests}
    grads = {name: nd.array(value, ctx=device, dtype=dtype) for name, value in before.items()}
    before = {name: grad.asnumpy() for name, grad in grads.items()}
    everything = {name: requests.get(name, "null") for name in loss.list_arguments()}
    executor = loss.bind(
        device, args=values, args_grad=grads, grad_req=everything, aux_states=states
    )
    kept = None if states is None else {name: state.asnumpy() for name, state in states.items()}
    (result, *_) = executor.forward(is_train=True)
    eps = get_tolerance(result, numeric_eps, default_numeric_eps())
    executor.backward()
    nd.waitall()
    found = {name: executor.grad_dict[name] for name in requests}
    arguments = {name: value.asnumpy() for name, value in values.items()}
    expected = numeric_grad(executor, arguments, kept, eps, use_forward_train, dtype)
    expected = {name: expected[name] for name in requests}
    _compare_gradients(expected, found, before, requests, rtol, atol, False, "finite difference")


def check_symbolic_forward(
    sym: Any,
    location: Arrays,
    expected: Arrays,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    aux_states: Arrays | None = None,
    ctx: Any = None,
    equal_nan: bool = False,
    dtype: Any = np.float32,
) -> list[nd.NDArray]:
    """Raise AssertionError where results differ from `expected`; gives the results.

    >>> from tigon import sym
    >>> (result,) = check_symbolic_forward(sym.var("x") * 2, [np.ones(2)], [np.full(2, 2.0)])
    """
    where = "check_symbolic_forward"
    device = check_context(where, ctx)
    values, states = _operands(sym, location, aux_states, device, dtype, where)
    names = sym.list_outputs()
    wanted = _by_name(expected, names, where, "results")
    outputs = sym.bind(device, args=values, aux_states=states).forward(is_train=False)
    for name, output in zip(names, outputs, strict=True):
        both = (f"expected {name}", f"forward {name}")
        assert_almost_equal(wanted[name], output, rtol, atol, both, equal_nan)
    return list(outputs)


def check_symbolic_backward(
    sym: Any,
    location: Arrays,
    out_grads: Any,
    expected: Arrays,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    aux_states: Arrays | None = None,
    grad_req: Any = "write",
    ctx: Any = None,
    grad_stypes: Any = None,
    equal_nan: bool = False,
    dtype: Any = np.float32,
) -> dict[str, nd.NDArray]:
    """Raise AssertionError where gradients for those of the results differ from `expected`; gives
    the gradients. Arguments that `expected` does not name have none.

    >>> from tigon import sym
    >>> x = sym.var("x")
    >>> grads = check_symbolic_backward(x * x, [np.ones(2)], [np.ones(2)], [np.full(2, 2.0)])
    >>> grads["x"].shape
    (2,)
    """
    where = "check_symbolic_backward"
    check(
        not grad_stypes or all(kind in (None, "default") for kind in grad_stypes.values()),
        where,
        "gradients are dense; leave grad_stypes out",
    )
    device = check_context(where, ctx)
    values, states = _operands(sym, location, aux_states, device, dtype, where)
    arguments = sym.list_arguments()
    wanted = (
        dict(expected)
        if isinstance(expected, Mapping)
        else dict(zip(arguments, expected, strict=False))
    )
    requests = _requests(grad_req, arguments, where)
    requests |= {name: "null" for name in arguments if name not in wanted}
    drawn = {name: np.random.normal(size=np.shape(wanted[name])) for name in sorted(wanted)}
    grads = {
        name: nd.array(value, ctx=device, dtype=wanted[name].dtype if dtype == "asnumpy" else dtype)
        for name, value in drawn.items()
    }
    before = {name: grad.asnumpy() for name, grad in grads.items()}
    executor = sym.bind(device, args=values, args_grad=grads, grad_req=requests, aux_states=states)
    executor.forward(is_train=True)
    executor.backward(_head_gradients(out_grads, sym, device, dtype, where))
    _compare_gradients(wanted, grads, before, requests, rtol, atol, equal_nan, "expected gradient")
    return grads


def _head_gradients(given: Any, sym: Any, ctx: Any, dtype: Any, where: str) -> Any:
    if given is None:
        return None
    heads = _by_name(given, sym.list_outputs(), where, "gradients of results")
    return list(_arrays(heads, ctx, dtype).values())


def check_speed(
    sym: Any,
    location: Mapping[str, Any] | None = None,
    ctx: Any = None,
    N: int = 20,
    grad_req: Any = None,
    typ: str = "whole",
    **kwargs: Any,
) -> float:
    """Seconds per call of a sym, of `N` calls: forward and backward ("whole"), or "forward".
    Inputs are given, or drawn, in the shapes that keywords give."""
    check(
        typ in ("whole", "forward"),
        "check_speed",
        f"typ: expected 'whole' or 'forward'; given {typ!r}",
    )
    shapes = kwargs if location is None else {k: np.shape(v) for k, v in location.items()}
    executor = sym.simple_bind(
        check_context("check_speed", ctx), grad_req=grad_req or "write", **shapes
    )
    for name, array in executor.arg_dict.items():
        given = None if location is None else location.get(name)
        array[:] = np.random.normal(size=array.shape) if given is None else np.asarray(given)

    def call() -> None:
        outputs = executor.forward(is_train=typ == "whole")
        if typ == "whole":
            executor.backward(outputs)

    call()
    nd.waitall()
    start = time.perf_counter()
    for _ in range(N):
        call()
    nd.waitall()
    return (time.perf_counter() - start) / N


def check_consistency(
    sym: Any,
    ctx_list: Sequence[Mapping[str, Any]],
    scale: float = 1.0,
    grad_req: Any = "write",
    arg_params: Mapping[str, Any] | None = None,
    aux_params: Mapping[str, Any] | None = None,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    raise_on_err: bool = True,
    ground_truth: Mapping[str, Any] | None = None,
    equal_nan: bool = False,
    use_uniform: bool = False,
    rand_type: Any = np.float64,
) -> Mapping[str, Any]:
    """Raise AssertionError where a symbol gives other results or gradients on one of several
    contexts or in one of several dtypes; gives those of the most precise one, by name.

    Each of `ctx_list` is what `simple_bind` takes: `ctx`, shapes, `type_dict`. `symbol` may be a
    list, one for each. With `raise_on_err=False` differences are printed.

    >>> from tigon import cpu, sym
    >>> x, shape = sym.var("x"), (2, 3)
    >>> found = check_consistency(
    ...     sym.exp(x, name="e"),
    ...     [{"ctx": cpu(0), "x": shape, "type_dict": {"x": t}} for t in ("float64", "float32")],
    ... )
    >>> sorted(found), found["x"].dtype
    (['e_output', 'x'], dtype('float64'))
    """
    where = "check_consistency"
    check(len(ctx_list) > 1, where, f"expected two contexts or more; given {len(ctx_list)}")
    symbols = list(sym) if isinstance(sym, (list, tuple)) else [sym] * len(ctx_list)
    arguments, outputs = symbols[0].list_arguments(), symbols[0].list_outputs()
    check(
        len(symbols) == len(ctx_list)
        and all((s.list_arguments(), s.list_outputs()) == (arguments, outputs) for s in symbols),
        where,
        "expected one sym, or one per context with the same arguments and results",
    )
    executors = [
        one.simple_bind(grad_req=grad_req, **form)
        for one, form in zip(symbols, ctx_list, strict=True)
    ]
    values = dict(arg_params or {})
    for name, array in sorted(executors[0].arg_dict.items()):
        if name not in values:
            drawn = (
                np.random.uniform(-0.92 * scale, 0.92 * scale, array.shape)
                if use_uniform
                else np.random.normal(0, scale, array.shape)
            )
            values[name] = drawn.astype(rand_type)
    predicted, trained = _run_all(executors, values, aux_params or {}, grad_req)
    exact = int(np.argmax([run[outputs[0]].dtype.itemsize for run in predicted]))
    for runs, truth in (
        (predicted, ground_truth or predicted[exact]),
        (trained, ground_truth or (trained[exact] if trained else {})),
    ):
        for number, run in enumerate(runs):
            if number == exact and ground_truth is None:
                continue
            for name, got in run.items():
                tolerances = _for_least(runs, number, exact, outputs[0], rtol, atol)
                names = (f"{name} of {number}", f"{name} of {exact}")
                try:
                    assert_almost_equal(got, truth[name], *tolerances, names, equal_nan)
                except AssertionError as error:
                    if raise_on_err:
                        raise
                    print(error)
    return ground_truth or {**predicted[exact], **(trained[exact] if trained else {})}


def _for_least(
    runs: Any, number: int, exact: int, output: str, rtol: Tolerance, atol: Tolerance
) -> tuple[Any, Any]:
    """Tolerances of the less precise of two runs, as its results say: its gradients may be of a
    wider dtype than what they were computed from."""
    return get_tols(runs[number][output], runs[exact][output], rtol, atol)


def _run_all(
    executors: Sequence[Any], values: Mapping[str, Any], aux: Mapping[str, Any], grad_req: Any
) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """What each gives in prediction; and in training, with gradients, if any are asked for."""
    predicted: list[dict[str, np.ndarray]] = []
    trained: list[dict[str, np.ndarray]] = []
    heads: list[np.ndarray] = []
    for executor in executors:
        for name, array in executor.arg_dict.items():
            array[:] = np.asarray(values[name]).astype(array.dtype)
        for name, array in executor.aux_dict.items():
            array[:] = aux.get(name, 0)
        for grad in executor.grad_arrays:
            if grad is not None:
                grad[:] = 0
        executor.forward(is_train=False)
        predicted.append({name: o.asnumpy() for name, o in executor.output_dict.items()})
    if grad_req == "null":
        return predicted, trained
    for executor in executors:
        outputs = executor.forward(is_train=True)
        if not heads:
            least = [min((run[name] for run in predicted), key=lambda a: a.dtype.itemsize)
                     for name in executor.output_dict]  # fmt: skip
            heads = [o.asnumpy().astype(a.dtype) for o, a in zip(outputs, least, strict=True)]
        given = [
            nd.array(head, ctx=output.context, dtype=output.dtype)
            for head, output in zip(heads, outputs, strict=True)
        ]
        run = {name: output.asnumpy() for name, output in executor.output_dict.items()}
        executor.backward(given)
        grads = executor.grad_dict.items()
        trained.append({**run, **{n: g.asnumpy() for n, g in grads if g is not None}})
    return predicted, trained


def check_gluon_hybridize_consistency(
    net_builder: Any,
    data_l: Sequence[Any],
    numpy_func: Any = None,
    test_grad: bool = True,
    rtol: Tolerance = 1e-4,
    atol: Tolerance = 1e-4,
) -> None:
    """Raise AssertionError where a block that `net_builder()` makes gives other results or
    gradients hybridized, or other results than `numpy_func` of the data."""
    saved: dict[str, Any] = {}
    results: list[list[np.ndarray]] = []
    for hybridize in (False, True):
        net = net_builder()
        net.initialize()
        data = [nd.array(x, dtype=x.dtype) for x in data_l]
        if hybridize:
            net.hybridize()
        net(*data)  # shapes are known from here on
        params = [net.collect_params()[name] for name in net.collect_params()]
        if saved:
            for param, value in zip(params, saved.values(), strict=True):
                param.set_data(value)
        else:
            saved = {str(i): param.data().copy() for i, param in enumerate(params)}
        for x in data:
            x.attach_grad()
        with autograd.record(train_mode=test_grad):
            out = net(*data)
        found = [out.asnumpy()]
        if test_grad:
            out.backward(out)
            found += [x.grad.asnumpy() for x in data]
            found += [param.grad().asnumpy() for param in params if param.grad_req != "null"]
        results.append(found)
    for plain, hybridized in zip(*results, strict=True):
        assert_almost_equal(hybridized, plain, rtol, atol, ("hybridized", "as it is"))
    if numpy_func is not None:
        wanted = numpy_func(*[np.asarray(x) for x in data_l])
        assert_almost_equal(wanted, results[0][0], rtol, atol, ("numpy", "the block"))


def compare_optimizer(
    opt1: Any,
    opt2: Any,
    shape: Any,
    dtype: Any,
    w_stype: str = "default",
    g_stype: str = "default",
    rtol: Tolerance = 1e-4,
    atol: Tolerance = 1e-5,
    compare_states: bool = True,
    ntensors: int = 1,
) -> None:
    """Raise AssertionError where two optimizers move random weights differently, or keep other
    states. With `ntensors` above 1, `shape` is a list of shapes that are updated together."""
    check(
        w_stype == g_stype == "default",
        "compare_optimizer",
        f"expected stypes 'default'; given {w_stype!r} and {g_stype!r}: arrays are dense",
    )
    shapes = list(shape) if ntensors > 1 else [shape]
    weights = [nd.random.normal(shape=one, dtype=dtype) for one in shapes]
    grads = [nd.random.normal(shape=one, dtype=dtype) for one in shapes]
    sides = []
    for made in (opt1, opt2):
        own = [weight.copy() for weight in weights]
        states = [made.create_state_multi_precision(i, w) for i, w in enumerate(own)]
        given: Any = (list(range(len(own))), own, grads, states)
        if ntensors == 1:
            given = tuple(part[0] for part in given)
        made.update_multi_precision(*given)
        sides.append((own, states))
    for one, other in zip(sides[0][0], sides[1][0], strict=True):
        assert_almost_equal(one, other, rtol=rtol, atol=atol)
    if compare_states:
        compare_ndarray_tuple(tuple(sides[0][1]), tuple(sides[1][1]), rtol=rtol, atol=atol)


__all__ = [
    "check_consistency",
    "check_gluon_hybridize_consistency",
    "check_numeric_gradient",
    "check_speed",
    "check_symbolic_backward",
    "check_symbolic_forward",
    "compare_optimizer",
    "numeric_grad",
    "simple_forward",
]
