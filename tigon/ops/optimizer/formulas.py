"""Formulas of optimizers' updates, in operators on graph values."""

from __future__ import annotations

from typing import Any

from tigon.ir.graph import Value, constant
from tigon.ops.primitive.arithmetic import (
    absolute,
    add,
    divide,
    maximum,
    minimum,
    multiply,
    negative,
    sign,
    square,
    subtract,
)
from tigon.ops.primitive.choose import cast, clip, where
from tigon.ops.primitive.compare import equal, greater, logical_or
from tigon.ops.primitive.functions import power, sqrt
from tigon.ops.primitive.view import _reshape

# ------------------------------------------------------------------------------- parts


def _clipped(x: Value, bound: float) -> Value:
    """Clipped to [-bound, bound]; a negative bound means no clipping."""
    return clip(x, a_min=-bound, a_max=bound) if bound >= 0 else x


def _scalar(rate: Value, weight: Value) -> Value:
    """A rate in the weight's dtype, without axes."""
    if rate.type.weak:
        return rate
    if rate.shape:
        rate = _reshape(rate, shape=())
    return rate if rate.dtype is weight.dtype else cast(rate, dtype=weight.dtype.name)


def _averaged(state: Value, kept: float, new: Value) -> Value:
    """`kept * state + (1 - kept) * new`: one step of a moving average."""
    return add(multiply(state, kept), multiply(new, 1.0 - kept))


def _scaled_gradient(a: Any, grad: Value, rescale: Value) -> Value:
    return _clipped(multiply(grad, rescale), a.clip_gradient)


def _decayed_gradient(a: Any, weight: Value, grad: Value, wd: Value, rescale: Value) -> Value:
    """Decay counts before clipping, in those updates where MXNet has it so."""
    return _clipped(add(multiply(grad, rescale), multiply(weight, wd)), a.clip_gradient)


# ----------------------------------------------------------------------------- formulas
# Each takes attributes, weight, gradient, states, then the rates that it uses as scalars, and gives
# (new weight, *new states).


def _sgd(
    a: Any, weight: Value, grad: Value, lr: Value, wd: Value, rescale: Value
) -> tuple[Any, ...]:
    step = add(_scaled_gradient(a, grad, rescale), multiply(weight, wd))
    return (subtract(weight, multiply(step, lr)),)


def _sgd_mom(
    a: Any, weight: Value, grad: Value, mom: Value, lr: Value, wd: Value, rescale: Value
) -> tuple[Any, ...]:
    step = add(_scaled_gradient(a, grad, rescale), multiply(weight, wd))
    mom = subtract(multiply(mom, a.momentum), multiply(step, lr))
    return add(weight, mom), mom


def _nag_mom(
    a: Any, weight: Value, grad: Value, mom: Value, lr: Value, wd: Value, rescale: Value
) -> tuple[Any, ...]:
    grad, mom = _scaled_gradient(a, grad, rescale), multiply(mom, a.momentum)
    ahead = subtract(mom, multiply(add(grad, multiply(weight, wd)), lr))
    new = add(subtract(weight, mom), multiply(ahead, a.momentum + 1.0))
    # The momentum's decay is that of the new weight: MXNet has written over the old one by then.
    return new, subtract(mom, multiply(add(grad, multiply(new, wd)), lr))


def _adam(
    a: Any,
    weight: Value,
    grad: Value,
    mean: Value,
    var: Value,
    lr: Value,
    wd: Value,
    rescale: Value,
) -> tuple[Any, ...]:
    grad = _decayed_gradient(a, weight, grad, wd, rescale)
    mean = _averaged(mean, a.beta1, grad)
    var = _averaged(var, a.beta2, square(grad))
    step = divide(multiply(mean, lr), add(sqrt(var), a.epsilon))
    return subtract(weight, step), mean, var


def _adamw(
    a: Any,
    weight: Value,
    grad: Value,
    mean: Value,
    var: Value,
    lr: Value,
    wd: Value,
    rescale: Value,
) -> tuple[Any, ...]:
    grad = _scaled_gradient(a, grad, rescale)
    mean = _averaged(mean, a.beta1, grad)
    var = _averaged(var, a.beta2, square(grad))
    step = add(divide(multiply(mean, lr), add(sqrt(var), a.epsilon)), multiply(weight, wd))
    return subtract(weight, multiply(step, a.eta)), mean, var


def _rmsprop(
    a: Any, weight: Value, grad: Value, n: Value, lr: Value, wd: Value, rescale: Value
) -> tuple[Any, ...]:
    grad = _decayed_gradient(a, weight, grad, wd, rescale)
    n = _averaged(n, a.gamma1, square(grad))
    step = divide(multiply(grad, lr), sqrt(add(n, a.epsilon)))
    return _clipped(subtract(weight, step), a.clip_weights), n


def _rmspropalex(
    a: Any,
    weight: Value,
    grad: Value,
    n: Value,
    g: Value,
    delta: Value,
    lr: Value,
    wd: Value,
    rescale: Value,
) -> tuple[Any, ...]:
    grad = _decayed_gradient(a, weight, grad, wd, rescale)
    n = _averaged(n, a.gamma1, square(grad))
    g = _averaged(g, a.gamma1, grad)
    step = divide(multiply(grad, lr), sqrt(add(subtract(n, square(g)), a.epsilon)))
    delta = subtract(multiply(delta, a.gamma2), step)
    return _clipped(add(weight, delta), a.clip_weights), n, g, delta


def _ftrl(
    a: Any,
    weight: Value,
    grad: Value,
    z: Value,
    n: Value,
    lr: Value,
    wd: Value,
    rescale: Value,
) -> tuple[Any, ...]:
    grad = _scaled_gradient(a, grad, rescale)
    advanced = add(n, square(grad))
    drift = divide(multiply(subtract(sqrt(advanced), sqrt(n)), weight), lr)
    z = subtract(add(z, grad), drift)
    shrunk = subtract(multiply(sign(z), a.lamda1), z)
    slope = add(divide(add(sqrt(advanced), a.beta), lr), wd)
    weight = multiply(divide(shrunk, slope), greater(absolute(z), a.lamda1))
    return weight, z, advanced


def _signsgd(
    a: Any, weight: Value, grad: Value, lr: Value, wd: Value, rescale: Value
) -> tuple[Any, ...]:
    # Neither scale nor clipping changes a sign, unless the scale is 0.
    step = add(sign(_scaled_gradient(a, grad, rescale)), multiply(weight, wd))
    return (subtract(weight, multiply(step, lr)),)


def _signum(
    a: Any, weight: Value, grad: Value, mom: Value, lr: Value, wd: Value, rescale: Value
) -> tuple[Any, ...]:
    step = add(_scaled_gradient(a, grad, rescale), multiply(weight, wd))
    mom = subtract(multiply(mom, a.momentum), multiply(step, 1.0 - a.momentum))
    decayed = subtract(weight, multiply(multiply(weight, lr), a.wd_lh)) if a.wd_lh else weight
    return add(decayed, multiply(sign(mom), lr)), mom


def _adagrad(
    a: Any, weight: Value, grad: Value, history: Value, lr: Value, wd: Value, rescale: Value
) -> tuple[Any, ...]:
    grad = _scaled_gradient(a, grad, rescale)
    history = add(history, square(grad))
    step = add(divide(grad, add(sqrt(history), a.epsilon)), multiply(weight, wd))
    return subtract(weight, multiply(step, lr)), history


def _adadelta(
    a: Any,
    weight: Value,
    grad: Value,
    acc_grad: Value,
    acc_delta: Value,
    wd: Value,
    rescale: Value,
) -> tuple[Any, ...]:
    grad = _scaled_gradient(a, grad, rescale)
    acc_grad = _averaged(acc_grad, a.rho, square(grad))
    ratio = divide(sqrt(add(acc_delta, a.epsilon)), sqrt(add(acc_grad, a.epsilon)))
    delta = multiply(ratio, grad)
    acc_delta = _averaged(acc_delta, a.rho, square(delta))
    return subtract(weight, add(delta, multiply(weight, wd))), acc_grad, acc_delta


def _ftml(
    a: Any,
    weight: Value,
    grad: Value,
    d: Value,
    v: Value,
    z: Value,
    lr: Value,
    wd: Value,
    rescale: Value,
    t: Value,
) -> tuple[Any, ...]:
    grad = _clipped(add(multiply(grad, rescale), multiply(weight, wd)), a.clip_grad)
    v = _averaged(v, a.beta2, square(grad))
    root = sqrt(divide(v, _without_power(a.beta2, t, weight)))
    step = divide(multiply(add(root, a.epsilon), _without_power(a.beta1, t, weight)), lr)
    sigma = subtract(step, multiply(d, a.beta1))
    z = subtract(_averaged(z, a.beta1, grad), multiply(sigma, weight))
    return negative(divide(z, step)), step, v, z


def _without_power(base: float, exponent: Value, like: Value) -> Value:
    """1 - base^exponent. Two literals would meet in float32, and 0.999^t needs more digits."""
    if exponent.type.weak:
        exponent = cast(exponent, dtype=like.dtype.name)
    return subtract(1.0, power(base, exponent))


def _lamb_phase1(
    a: Any,
    weight: Value,
    grad: Value,
    mean: Value,
    var: Value,
    wd: Value,
    rescale: Value,
    t: Value,
) -> tuple[Any, ...]:
    grad = _scaled_gradient(a, grad, rescale)
    mean = _averaged(mean, a.beta1, grad)
    var = _averaged(var, a.beta2, square(grad))
    direction, size = mean, var
    if a.bias_correction:
        direction = divide(mean, _without_power(a.beta1, t, weight))
        size = divide(var, _without_power(a.beta2, t, weight))
    step = add(divide(direction, add(sqrt(size), a.epsilon)), multiply(weight, wd))
    return step, mean, var


def _lamb_phase2(
    a: Any, weight: Value, g: Value, r1: Value, r2: Value, lr: Value
) -> tuple[Any, ...]:
    r1, r2 = _scalar(r1, weight), _scalar(r2, weight)
    if a.lower_bound >= 0:
        r1 = maximum(r1, a.lower_bound)
    if a.upper_bound >= 0:
        r1 = minimum(r1, a.upper_bound)
    degenerate = logical_or(equal(r1, 0.0), equal(r2, 0.0))
    ratio = where(degenerate, _one_like(r1), divide(r1, r2))
    return (subtract(weight, multiply(g, multiply(ratio, lr))),)


def _one_like(x: Value) -> Value:
    return constant(1.0, x.dtype)
