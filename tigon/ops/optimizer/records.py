"""Optimizer updates as operators: new weight and new states from old ones and a gradient.

Each comes twice. `_sgd_update(weight, grad, lr, wd, rescale_grad)` takes what changes from step to
step as scalar operands, so that a training program runs with any rate; the public `sgd_update`, in
MXNet's signature, is a composite over it with the rates as attributes. All are elementwise, and the
updates of all parameters become one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import new_class
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.frozen import MISSING, Frozen
from tigon.ir.graph import Value, constant
from tigon.ops.attributes import attrs_dict
from tigon.ops.optimizer.formulas import (
    _adadelta,
    _adagrad,
    _adam,
    _adamw,
    _ftml,
    _ftrl,
    _lamb_phase1,
    _lamb_phase2,
    _nag_mom,
    _rmsprop,
    _rmspropalex,
    _scalar,
    _sgd,
    _sgd_mom,
    _signsgd,
    _signum,
)
from tigon.ops.optimizer.oracles import (
    _adadelta_oracle,
    _adagrad_oracle,
    _adam_oracle,
    _adamw_oracle,
    _ftml_oracle,
    _ftrl_oracle,
    _lamb_phase1_oracle,
    _lamb_phase2_oracle,
    _nag_mom_oracle,
    _rmsprop_oracle,
    _rmspropalex_oracle,
    _sgd_mom_oracle,
    _sgd_oracle,
    _signsgd_oracle,
    _signum_oracle,
)
from tigon.ops.primitive.choose import cast
from tigon.ops.record import Operator, composite

# ----------------------------------------------------------------------------- records

Fields = dict[str, Any]

_ANNOTATION = {bool: bool, int: int, float: float}


def _attrs_type(name: str, required: Sequence[str], fields: Fields) -> type:
    """A keyword-only record of floats (or of the default's type)."""
    annotations = dict.fromkeys(required, float) | {w: type(value) for w, value in fields.items()}
    body = {"__annotations__": annotations, "__module__": __name__, **fields}
    return new_class(name, (Frozen,), {"kw_only": True}, lambda namespace: namespace.update(body))


def _like_weight(count: int) -> Callable[..., Any]:
    """Every array operand looks like the weight; so it is inferred where unknown."""

    def rule(attrs: Any, types: list[TensorType | None]) -> list[TensorType | None]:
        known = next((t for t in types[:count] if t is not None), None)
        return [t or known if i < count else t for i, t in enumerate(types)]

    return rule


def _check_shapes(name: str, names: Sequence[str], types: Sequence[TensorType]) -> None:
    weight = types[0]
    for word, given in zip(names[1:], types[1:], strict=False):
        check(
            given.shape == weight.shape,
            name,
            f"{word}: expected shape {weight.shape} like weight; given {given.shape}",
        )


def _update(
    name: str,
    formula: Callable[..., tuple[Any, ...]],
    oracle: Callable[..., tuple[Any, ...]],
    *,
    states: str = "",
    rates: Fields,
    fields: Fields,
    ignored: Fields | None = None,
    doc: str,
    example: str,
    moved: bool = True,
    arrays: str = "weight grad",
    scalars: str = "",
) -> tuple[Operator, Operator]:
    """Register `_name` with rates as scalar operands, and `name` with rates as attributes.

    `rates` maps each to its default, or to MISSING where MXNet demands it. `moved` says whether the
    first output is the new weight.
    """
    array_names = [*arrays.split(), *states.split()]
    scalar_names = scalars.split()
    state_count = len(states.split())
    first_state = len(arrays.split())
    mutates = {0: "weight"} if moved else {}
    mutates |= {i + 1: word for i, word in enumerate(states.split())}
    needed = [word for word, value in rates.items() if value is MISSING]
    optional = {word: value for word, value in rates.items() if value is not MISSING}
    title = "".join(part.capitalize() for part in name.split("_"))
    inner_attrs = _attrs_type(f"{title}ByRatesAttrs", (), fields)
    attrs = _attrs_type(f"{title}Attrs", needed, optional | fields | (ignored or {}))
    count = len(array_names)

    def infer(attributes: Any, *types: TensorType) -> tuple[TensorType, ...]:
        _check_shapes(name, array_names, types[:count])
        for word, given in zip([*scalar_names, *rates], types[count:], strict=False):
            check(given.size == 1, name, f"{word}: expected one number; given shape {given.shape}")
        return (TensorType(types[0].shape, types[0].dtype),) * (1 + state_count)

    def decompose_by_rates(attributes: Any, *operands: Value) -> tuple[Value, ...]:
        given = operands[:count]
        numbers = [_scalar(rate, given[0]) for rate in operands[count:]]
        result = formula(attributes, *given, *numbers)
        return result if len(result) > 1 else result[0]

    def decompose(attributes: Any, *operands: Value) -> Any:
        values = attrs_dict(attributes)
        numbers = [constant(float(values[word])) for word in rates]
        return by_rates(*operands, *numbers, **{word: values[word] for word in fields})

    def inner_oracle(*given: np.ndarray, **values: Any) -> tuple[np.ndarray, ...]:
        start = count + len(scalar_names)
        numbers = {word: float(r.reshape(())) for word, r in zip(rates, given[start:], strict=True)}
        return oracle(*given[:start], **values, **numbers)

    def outer_oracle(*given: np.ndarray, **values: Any) -> tuple[np.ndarray, ...]:
        kept = {word: v for word, v in values.items() if word not in (ignored or {})}
        return oracle(*given, **kept)

    shapes = [(3, 4)] * first_state + [np.full((3, 4), 0.75)] * state_count
    shapes += [np.array([0.5])] * len(scalar_names)
    sample_rates = {word: 0.1 if value is MISSING else value for word, value in rates.items()}
    if "t" in sample_rates:
        sample_rates["t"] = 2.0
    decayed = sample_rates | ({"wd": 0.05} if "wd" in rates else {})
    clip_word = next((word for word in fields if word.startswith("clip_g")), None)
    clipped = {clip_word: 0.5} if clip_word else {}
    numbers = [np.array(float(value)) for value in decayed.values()]
    common: dict[str, Any] = {
        "outputs": 1 + state_count,
        "visible": 1,
        "mutates": mutates,
        "differentiable": False,
        "dtypes": {" ".join(array_names): "f"},
    }
    by_rates = composite(
        f"_{name}",
        decompose_by_rates,
        operands=" ".join([*array_names, *scalar_names, *rates]),
        attrs=inner_attrs,
        infer=infer,
        numpy=inner_oracle,
        infer_operands=_like_weight(count),
        samples=[(*shapes, *numbers, {})],
        doc=f"""`{name}` with the rates as scalar operands ({", ".join(rates)}).

Examples
--------
>>> weight = nd.ones(2)
>>> weight.shape
(2,)
""",
        **common,
    )
    public = composite(
        name,
        decompose,
        operands=" ".join([*array_names, *scalar_names]),
        attrs=attrs,
        infer=infer,
        numpy=outer_oracle,
        infer_operands=_like_weight(count),
        samples=[
            (*shapes, sample_rates),
            (*shapes, decayed | clipped),
        ],
        doc=doc.strip() + "\n" + _COMMON_PARAMETERS + example,
        **common,
    )
    return by_rates, public


_COMMON_PARAMETERS = """
Parameters
----------
weight, grad : the weight and its gradient, of one shape; states have that shape too and are
    changed in place
lr : learning rate
wd : weight decay
rescale_grad : the gradient is multiplied with it first
clip_gradient : then clipped to [-clip_gradient, clip_gradient], if that is not negative
lazy_update : whether a row-sparse gradient updates the rows alone that it has

Examples
--------
"""

_RATES: Fields = {"lr": MISSING, "wd": 0.0, "rescale_grad": 1.0}
_CLIP: Fields = {"clip_gradient": -1.0}


_sgd_by_rates, sgd_update = _update(
    "sgd_update",
    _sgd,
    _sgd_oracle,
    rates=_RATES,
    fields=_CLIP,
    ignored={"lazy_update": True},
    doc="""Stochastic gradient descent: `weight - lr * (rescale_grad * grad + wd * weight)`.""",
    example=""">>> nd.sgd_update(nd.array([1, 2]), nd.array([1, 1]), lr=0.5)
<BLANKLINE>
[0.5 1.5]
<NDArray 2 @cpu(0)>
""",
)

_sgd_mom_by_rates, sgd_mom_update = _update(
    "sgd_mom_update",
    _sgd_mom,
    _sgd_mom_oracle,
    states="mom",
    rates=_RATES,
    fields={"momentum": 0.0} | _CLIP,
    ignored={"lazy_update": True},
    doc="""Stochastic gradient descent with momentum (Polyak 1964):
`mom = momentum * mom - lr * (rescale_grad * grad + wd * weight); weight = weight + mom`.""",
    example=""">>> mom = nd.array([1])
>>> nd.sgd_mom_update(nd.array([1]), nd.array([1]), mom, lr=0.5, momentum=0.5)
<BLANKLINE>
[1.]
<NDArray 1 @cpu(0)>
""",
)

_nag_mom_by_rates, nag_mom_update = _update(
    "nag_mom_update",
    _nag_mom,
    _nag_mom_oracle,
    states="mom",
    rates=_RATES,
    fields={"momentum": 0.0} | _CLIP,
    doc="""Nesterov's accelerated gradient (Nesterov 1983), in the form that looks ahead:
`weight = weight + momentum**2 * mom - (1 + momentum) * step(weight)`, then
`mom = momentum * mom - step(weight)` of the new weight, where
`step(weight) = lr * (rescale_grad * grad + wd * weight)`.""",
    example=""">>> mom = nd.array([1])
>>> nd.nag_mom_update(nd.array([1]), nd.array([1]), mom, lr=0.5, momentum=0.5)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

_ADAM: Fields = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}

_adam_by_rates, adam_update = _update(
    "adam_update",
    _adam,
    _adam_oracle,
    states="mean var",
    rates=_RATES,
    fields=_ADAM | _CLIP,
    ignored={"lazy_update": True},
    doc="""Adam (Kingma and Ba 2014) without its correction of the bias, which the optimizer
puts into lr: `mean = beta1 * mean + (1 - beta1) * g; var = beta2 * var + (1 - beta2) * g^2;
weight = weight - lr * mean / (sqrt(var) + epsilon)`, where `g = rescale_grad * grad + wd *
weight`.""",
    example=""">>> mean, var = nd.zeros(1), nd.zeros(1)
>>> nd.adam_update(nd.array([1]), nd.array([1]), mean, var, lr=0.5, beta1=0, beta2=0)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

_adamw_by_rates, adamw_update = _update(
    "adamw_update",
    _adamw,
    _adamw_oracle,
    states="mean var",
    rates=_RATES,
    fields=_ADAM | {"eta": 1.0} | _CLIP,
    doc="""Adam with decay apart from the gradient (Loshchilov and Hutter 2017):
`weight = weight - eta * (lr * mean / (sqrt(var) + epsilon) + wd * weight)`.""",
    example=""">>> mean, var = nd.zeros(1), nd.zeros(1)
>>> nd.adamw_update(nd.array([1]), nd.array([1]), mean, var, lr=0.5, beta1=0, beta2=0)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

_rmsprop_by_rates, rmsprop_update = _update(
    "rmsprop_update",
    _rmsprop,
    _rmsprop_oracle,
    states="n",
    rates=_RATES,
    fields={"gamma1": 0.95, "epsilon": 1e-8} | _CLIP | {"clip_weights": -1.0},
    doc="""RMSProp (Tieleman and Hinton 2012): `n = gamma1 * n + (1 - gamma1) * g^2;
weight = weight - lr * g / sqrt(n + epsilon)`, where `g = rescale_grad * grad + wd * weight`.""",
    example=""">>> nd.rmsprop_update(nd.array([1]), nd.array([1]), nd.zeros(1), lr=0.5, gamma1=0)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

_rmspropalex_by_rates, rmspropalex_update = _update(
    "rmspropalex_update",
    _rmspropalex,
    _rmspropalex_oracle,
    states="n g delta",
    rates=_RATES,
    fields={"gamma1": 0.95, "gamma2": 0.9, "epsilon": 1e-8} | _CLIP | {"clip_weights": -1.0},
    doc="""RMSProp in Graves' form (2013, equations 38 to 45): the gradient's mean is taken off its
mean square, and the step has a momentum, `gamma2`.""",
    example=""">>> n, g, delta = nd.ones(1), nd.zeros(1), nd.zeros(1)
>>> nd.rmspropalex_update(nd.array([1]), nd.zeros(1), n, g, delta, lr=0.5)
<BLANKLINE>
[1.]
<NDArray 1 @cpu(0)>
""",
)

_ftrl_by_rates, ftrl_update = _update(
    "ftrl_update",
    _ftrl,
    _ftrl_oracle,
    states="z n",
    rates=_RATES,
    fields={"lamda1": 0.01, "beta": 1.0} | _CLIP,
    doc="""Follow the regularized leader (McMahan et al. 2013): weights stay exactly 0 until their
accumulated gradient `z` exceeds `lamda1`.""",
    example=""">>> nd.ftrl_update(nd.array([1]), nd.zeros(1), nd.zeros(1), nd.zeros(1), lr=0.5)
<BLANKLINE>
[0.]
<NDArray 1 @cpu(0)>
""",
)

_signsgd_by_rates, signsgd_update = _update(
    "signsgd_update",
    _signsgd,
    _signsgd_oracle,
    rates=_RATES,
    fields=_CLIP,
    doc="""`weight - lr * (sign(grad) + wd * weight)` (Bernstein et al. 2018).""",
    example=""">>> nd.signsgd_update(nd.array([1]), nd.array([9]), lr=0.5)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

_signum_by_rates, signum_update = _update(
    "signum_update",
    _signum,
    _signum_oracle,
    states="mom",
    rates=_RATES,
    fields={"momentum": 0.0} | _CLIP | {"wd_lh": 0.0},
    doc="""Signum (Bernstein et al. 2018): `mom = momentum * mom - (1 - momentum) * (rescale_grad *
grad + wd * weight); weight = (1 - lr * wd_lh) * weight + lr * sign(mom)`.""",
    example=""">>> nd.signum_update(nd.array([1]), nd.array([9]), nd.zeros(1), lr=0.5)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

_adagrad_by_rates, adagrad_update = _update(
    "adagrad_update",
    _adagrad,
    _adagrad_oracle,
    states="history",
    rates=_RATES,
    fields={"epsilon": 1e-7} | _CLIP,
    doc="""AdaGrad (Duchi et al. 2011): `history = history + g^2;
weight = weight - lr * (g / (sqrt(history) + epsilon) + wd * weight)`.""",
    example=""">>> nd.adagrad_update(nd.array([1]), nd.array([2]), nd.zeros(1), lr=0.5, epsilon=0)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

_adadelta_by_rates, adadelta_update = _update(
    "adadelta_update",
    _adadelta,
    _adadelta_oracle,
    states="acc_grad acc_delta",
    rates={"wd": 0.0, "rescale_grad": 1.0},
    fields={"rho": 0.9, "epsilon": 1e-5} | _CLIP,
    doc="""AdaDelta (Zeiler 2012), which needs no learning rate:
`delta = sqrt(acc_delta + epsilon) / sqrt(acc_grad + epsilon) * g;
weight = weight - delta - wd * weight`, with moving averages of g^2 and delta^2.""",
    example=""">>> nd.adadelta_update(nd.array([1]), nd.zeros(1), nd.zeros(1), nd.zeros(1))
<BLANKLINE>
[1.]
<NDArray 1 @cpu(0)>
""",
)

_ftml_by_rates, ftml_update = _update(
    "ftml_update",
    _ftml,
    _ftml_oracle,
    states="d v z",
    rates=_RATES | {"t": MISSING},
    fields={"beta1": 0.6, "beta2": 0.999, "epsilon": 1e-8, "clip_grad": -1.0},
    doc="""Follow the moving leader (Zheng and Kwok 2017). `t` counts the updates from 1.""",
    example=""">>> d, v, z = nd.zeros(1), nd.zeros(1), nd.zeros(1)
>>> nd.ftml_update(nd.array([1]), nd.array([1]), d, v, z, lr=0.5, t=1).shape
(1,)
""",
)

_lamb_phase1_by_rates, lamb_update_phase1 = _update(
    "lamb_update_phase1",
    _lamb_phase1,
    _lamb_phase1_oracle,
    states="mean var",
    rates={"wd": MISSING, "rescale_grad": 1.0, "t": MISSING},
    fields={"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-6, "bias_correction": True} | _CLIP,
    moved=False,
    doc="""LAMB's first phase (You et al. 2019): Adam's direction with decay, which
`lamb_update_phase2` scales by the norms of weight and direction. `t` counts the updates from 1.""",
    example=""">>> zero = nd.zeros(1)
>>> nd.lamb_update_phase1(nd.ones(1), zero, nd.zeros(1), nd.zeros(1), wd=0.5, t=1)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

_lamb_phase2_by_rates, lamb_update_phase2 = _update(
    "lamb_update_phase2",
    _lamb_phase2,
    _lamb_phase2_oracle,
    arrays="weight g",
    scalars="r1 r2",
    rates={"lr": MISSING},
    fields={"lower_bound": -1.0, "upper_bound": -1.0},
    doc="""LAMB's second phase: `weight - lr * r1 / r2 * g`, with the norms r1 of the weight
and r2 of the direction g that the first phase gave; r1 is kept between the bounds
where they are not negative.""",
    example=""">>> one = nd.ones(1)
>>> nd.lamb_update_phase2(one, one, one, nd.array([2]), lr=0.5)
<BLANKLINE>
[0.75]
<NDArray 1 @cpu(0)>
""",
)


# ----------------------------------------------------------------------- mixed precision


def _mixed(name: str, base: Operator, states: str, example: str) -> Operator:
    """`base` on a copy of the weight in higher precision, `weight32`; the weight follows it.

    Operands as MXNet orders them: weight, grad, states, weight32.
    """
    state_names = states.split()
    array_names = ["weight", "grad", *state_names, "weight32"]

    def infer(attributes: Any, *types: TensorType) -> tuple[TensorType, ...]:
        weight, _, *others = types
        _check_shapes(name, array_names, types)
        exact = others[-1]
        result = TensorType(exact.shape, exact.dtype)
        return (TensorType(weight.shape, weight.dtype), *(result for _ in others))

    def decompose(attributes: Any, *operands: Value) -> tuple[Value, ...]:
        weight, grad, *others = operands
        exact = others[-1]
        if grad.dtype is not exact.dtype:
            grad = cast(grad, dtype=exact.dtype.name)
        moved = base(exact, grad, *others[:-1], **attrs_dict(attributes))
        new, *rest = moved if isinstance(moved, tuple) else (moved,)
        rounded = new if new.dtype is weight.dtype else cast(new, dtype=weight.dtype.name)
        return (rounded, *rest, new)

    def oracle(*given: np.ndarray, **values: Any) -> tuple[np.ndarray, ...]:
        weight, grad, *others = given
        attributes = base.make_attrs(values)
        new, *rest = base.oracle(
            attributes, others[-1], grad.astype(others[-1].dtype), *others[:-1]
        )
        return (new.astype(weight.dtype), *rest, new)

    def infer_operands(attributes: Any, types: list[TensorType | None]) -> list[TensorType | None]:
        weight = types[0] or types[1]
        if weight is None:
            return types
        exact = TensorType(weight.shape, as_dtype("float32"))
        return [types[0] or weight, types[1] or weight, *(given or exact for given in types[2:])]

    state_arrays = [np.full((3, 4), 0.75)] * len(state_names)
    return composite(
        name,
        decompose,
        operands=" ".join(array_names),
        attrs=base.attrs_type,
        dtypes={"weight grad": "f", " ".join(["weight32", *state_names]): "f"},
        infer=infer,
        numpy=oracle,
        outputs=2 + len(state_names),
        visible=1,
        mutates={0: "weight"} | {i + 1: word for i, word in enumerate(array_names[2:])},
        differentiable=False,
        infer_operands=infer_operands,
        samples=[((3, 4), (3, 4), *state_arrays, (3, 4), {"lr": 0.1, "wd": 0.05})],
        doc=f"""`{base.name}` on `weight32`, a copy of weight with more digits; weight follows it.
"""
        + _COMMON_PARAMETERS
        + example,
    )


mp_sgd_update = _mixed(
    "mp_sgd_update",
    sgd_update,
    "",
    """>>> nd.mp_sgd_update(nd.array([1]), nd.array([1]), nd.array([1]), lr=0.5)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

mp_sgd_mom_update = _mixed(
    "mp_sgd_mom_update",
    sgd_mom_update,
    "mom",
    """>>> mom, exact = nd.zeros(1), nd.array([1])
>>> nd.mp_sgd_mom_update(nd.array([1]), nd.array([1]), mom, exact, lr=0.5)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)

mp_nag_mom_update = _mixed(
    "mp_nag_mom_update",
    nag_mom_update,
    "mom",
    """>>> mom, exact = nd.zeros(1), nd.array([1])
>>> nd.mp_nag_mom_update(nd.array([1]), nd.array([1]), mom, exact, lr=0.5)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)
