"""The same updates in numpy, as their papers write them."""

from __future__ import annotations

from typing import Any

import numpy as np


def _np_clip(x: np.ndarray, bound: float) -> np.ndarray:
    return np.clip(x, -bound, bound) if bound >= 0 else x


# The oracles: MXNet's documented formulas, in numpy.


def _sgd_oracle(
    w: Any, g: Any, *, lr: Any, wd: Any, rescale_grad: Any, clip_gradient: Any
) -> tuple[Any, ...]:
    return ((1 - lr * wd) * w - lr * _np_clip(rescale_grad * g, clip_gradient),)


def _sgd_mom_oracle(
    w: Any,
    g: Any,
    mom: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    momentum: Any,
) -> tuple[Any, ...]:
    mom = momentum * mom - lr * wd * w - lr * _np_clip(rescale_grad * g, clip_gradient)
    return w + mom, mom


def _nag_mom_oracle(
    w: Any,
    g: Any,
    mom: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    momentum: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g, clip_gradient)
    old = momentum * mom
    new = w - old + (momentum + 1) * (old - lr * (g + wd * w))
    return new, old - lr * (g + wd * new)


def _adam_oracle(
    w: Any,
    g: Any,
    mean: Any,
    var: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    beta1: Any,
    beta2: Any,
    epsilon: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g + wd * w, clip_gradient)
    mean = beta1 * mean + (1 - beta1) * g
    var = beta2 * var + (1 - beta2) * g * g
    return w - lr * mean / (np.sqrt(var) + epsilon), mean, var


def _adamw_oracle(
    w: Any,
    g: Any,
    mean: Any,
    var: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    beta1: Any,
    beta2: Any,
    epsilon: Any,
    eta: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g, clip_gradient)
    mean = beta1 * mean + (1 - beta1) * g
    var = beta2 * var + (1 - beta2) * g * g
    return w - eta * (lr * mean / (np.sqrt(var) + epsilon) + wd * w), mean, var


def _rmsprop_oracle(
    w: Any,
    g: Any,
    n: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    gamma1: Any,
    epsilon: Any,
    clip_weights: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g + wd * w, clip_gradient)
    n = (1 - gamma1) * g**2 + gamma1 * n
    return _np_clip(w - lr * g / np.sqrt(n + epsilon), clip_weights), n


def _rmspropalex_oracle(
    w: Any,
    g: Any,
    n: Any,
    mean: Any,
    delta: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    gamma1: Any,
    gamma2: Any,
    epsilon: Any,
    clip_weights: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g + wd * w, clip_gradient)
    n = (1 - gamma1) * g**2 + gamma1 * n
    mean = (1 - gamma1) * g + gamma1 * mean
    delta = gamma2 * delta - lr * g / np.sqrt(n - mean**2 + epsilon)
    return _np_clip(w + delta, clip_weights), n, mean, delta


def _ftrl_oracle(
    w: Any,
    g: Any,
    z: Any,
    n: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    lamda1: Any,
    beta: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g, clip_gradient)
    z = z + g - (np.sqrt(n + g**2) - np.sqrt(n)) * w / lr
    n = n + g**2
    w = (np.sign(z) * lamda1 - z) / ((beta + np.sqrt(n)) / lr + wd) * (np.abs(z) > lamda1)
    return w, z, n


def _signsgd_oracle(
    w: Any, g: Any, *, lr: Any, wd: Any, rescale_grad: Any, clip_gradient: Any
) -> tuple[Any, ...]:
    return ((1 - lr * wd) * w - lr * np.sign(g),)


def _signum_oracle(
    w: Any,
    g: Any,
    mom: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    momentum: Any,
    wd_lh: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g, clip_gradient)
    mom = momentum * mom - (1 - momentum) * wd * w - (1 - momentum) * g
    return (1 - lr * wd_lh) * w + lr * np.sign(mom), mom


def _adagrad_oracle(
    w: Any,
    g: Any,
    history: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    epsilon: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g, clip_gradient)
    history = history + g**2
    return w - lr * (g / (np.sqrt(history) + epsilon) + wd * w), history


def _adadelta_oracle(
    w: Any,
    g: Any,
    acc_grad: Any,
    acc_delta: Any,
    *,
    wd: Any,
    rescale_grad: Any,
    clip_gradient: Any,
    rho: Any,
    epsilon: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g, clip_gradient)
    acc_grad = rho * acc_grad + (1 - rho) * g**2
    delta = np.sqrt(acc_delta + epsilon) / np.sqrt(acc_grad + epsilon) * g
    acc_delta = rho * acc_delta + (1 - rho) * delta**2
    return w - delta - wd * w, acc_grad, acc_delta


def _ftml_oracle(
    w: Any,
    g: Any,
    d: Any,
    v: Any,
    z: Any,
    *,
    lr: Any,
    wd: Any,
    rescale_grad: Any,
    t: Any,
    clip_grad: Any,
    beta1: Any,
    beta2: Any,
    epsilon: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g + wd * w, clip_grad)
    v = beta2 * v + (1 - beta2) * g**2
    step = float(np.divide(1 - beta1**t, lr)) * (np.sqrt(v / (1 - beta2**t)) + epsilon)
    z = beta1 * z + (1 - beta1) * g - (step - beta1 * d) * w
    return -z / step, step, v, z


def _lamb_phase1_oracle(
    w: Any,
    g: Any,
    mean: Any,
    var: Any,
    *,
    wd: Any,
    rescale_grad: Any,
    t: Any,
    clip_gradient: Any,
    beta1: Any,
    beta2: Any,
    epsilon: Any,
    bias_correction: Any,
) -> tuple[Any, ...]:
    g = _np_clip(rescale_grad * g, clip_gradient)
    mean = beta1 * mean + (1 - beta1) * g
    var = beta2 * var + (1 - beta2) * g**2
    m, v = mean, var
    if bias_correction:
        m, v = mean / (1 - beta1**t), var / (1 - beta2**t)
    return m / (np.sqrt(v) + epsilon) + wd * w, mean, var


def _lamb_phase2_oracle(
    w: Any, g: Any, r1: Any, r2: Any, *, lr: Any, lower_bound: Any, upper_bound: Any
) -> tuple[Any, ...]:
    norm = float(r1.reshape(()))
    norm = max(norm, lower_bound) if lower_bound >= 0 else norm
    norm = min(norm, upper_bound) if upper_bound >= 0 else norm
    other = float(r2.reshape(()))
    return (w - lr * (1.0 if norm == 0 or other == 0 else norm / other) * g,)
