"""Every option of losses, metrics, initializers, schedulers, iterators and datasets, at another
value than its default, against a formula in numpy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd
from tigon.gluon import data as gdata
from tigon.gluon import loss as gloss

Array = np.ndarray
RANDOM = np.random.RandomState(11)
PRED, LABEL = RANDOM.randn(4, 3, 2), RANDOM.randn(4, 3, 2)
SIGNS, YES = np.sign(RANDOM.randn(4, 3, 2)), (RANDOM.rand(4, 3, 2) > 0.5) * 1.0
CHANCES = RANDOM.rand(4, 3, 2) * 0.8 + 0.1
COUNTS = np.array([0, 1, 2, 3, 5, 0, 1, 7] * 3, float).reshape(4, 3, 2)
PER_SAMPLE = RANDOM.rand(4, 1, 1)

Case = tuple[type, dict[str, Any], Callable[[Any], None]]
CASES: list[Case] = []


def case(kind: type, holds: Callable[[Any], None], **options: Any) -> None:
    CASES.append((kind, options, holds))


def logs(x: Array, axis: int = -1) -> Array:
    """Logarithms of the softmax."""
    moved = x - x.max(axis, keepdims=True)
    return moved - np.log(np.exp(moved).sum(axis, keepdims=True))


# -- losses


def gives(*operands: Array, expected: Array, scaled: float = 1.0) -> Callable[[Any], None]:
    def holds(loss: Any) -> None:
        for hybridize in (False, True):
            loss.hybridize(hybridize)
            found = loss(*(nd.array(operand, dtype="float64") for operand in operands))
            assert found.shape == np.shape(expected)
            np.testing.assert_allclose(found.asnumpy(), scaled * expected, rtol=1e-9, atol=1e-12)

    return holds


def losses(
    kind: type, operands: tuple[Array, ...], each: Array, reduced: Any = np.mean, **options: Any
) -> None:
    """The loss of each element, before weights and the mean over all axes but that of the batch."""
    for axis in (0, 2 if options.get("axis") == 1 else 1):
        others = tuple(i for i in range(each.ndim) if i != axis)
        for more in ((), (PER_SAMPLE,)):
            weighted = each * more[0] if more else each
            expected = reduced(weighted, axis=others)
            holds = gives(*operands, *more, expected=expected, scaled=0.75)
            case(kind, holds, weight=0.75, batch_axis=axis, **options)


losses(gloss.L2Loss, (PRED, LABEL), (PRED - LABEL) ** 2 / 2)
losses(gloss.L1Loss, (PRED, LABEL), abs(PRED - LABEL))
losses(gloss.SigmoidBinaryCrossEntropyLoss, (PRED, YES), np.log1p(np.exp(PRED)) - PRED * YES)
losses(
    gloss.SigmoidBinaryCrossEntropyLoss,
    (CHANCES, YES),
    -(YES * np.log(CHANCES + 1e-12) + (1 - YES) * np.log(1 - CHANCES + 1e-12)),
    from_sigmoid=True,
)
for _from, _pred, _chances in (
    (False, PRED, 1 / (1 + np.exp(-PRED))),
    (True, CHANCES, CHANCES),
):
    _each = -(3 * YES * np.log(_chances) + (1 - YES) * np.log(1 - _chances))
    case(
        gloss.SigmoidBinaryCrossEntropyLoss,
        gives(
            _pred,
            YES,
            PER_SAMPLE,
            np.full((1, 1, 1), 3.0),
            expected=(_each * PER_SAMPLE).mean((1, 2)),
        ),
        from_sigmoid=_from,
    )
_CLASSES = np.array([[0, 2], [1, 1], [2, 0], [0, 1]])
_PICKED = np.take_along_axis(-logs(PRED, 1), _CLASSES[:, None], 1)
losses(gloss.SoftmaxCrossEntropyLoss, (PRED, _CLASSES), _PICKED, axis=1)
losses(
    gloss.SoftmaxCrossEntropyLoss,
    (logs(PRED, 1), _CLASSES),
    _PICKED,
    axis=1,
    from_logits=True,
)
losses(
    gloss.SoftmaxCrossEntropyLoss,
    (PRED, CHANCES),
    -(logs(PRED, 1) * CHANCES).sum(1, keepdims=True),
    axis=1,
    sparse_label=False,
)
losses(
    gloss.KLDivLoss,
    (PRED, CHANCES),
    CHANCES * (np.log(CHANCES + 1e-12) - logs(PRED, 1)),
    np.sum,
    from_logits=False,
    axis=1,
)
losses(gloss.KLDivLoss, (PRED, CHANCES), CHANCES * (np.log(CHANCES + 1e-12) - PRED), np.sum)
_APART = abs(PRED - LABEL)
losses(gloss.HuberLoss, (PRED, LABEL), np.where(_APART > 2, _APART - 1, _APART**2 / 4), rho=2)
losses(gloss.HingeLoss, (PRED, SIGNS), np.maximum(0, 0.5 - PRED * SIGNS), margin=0.5)
losses(gloss.SquaredHingeLoss, (PRED, SIGNS), np.maximum(0, 0.5 - PRED * SIGNS) ** 2, margin=0.5)
losses(gloss.LogisticLoss, (PRED, SIGNS), np.log1p(np.exp(-PRED * SIGNS)))
losses(
    gloss.LogisticLoss,
    (PRED, YES),
    np.log1p(np.exp(PRED)) - PRED * YES,
    label_format="binary",
)
for _axis in (0, 1):
    _others = tuple(i for i in range(3) if i != _axis)
    _distance = ((LABEL - PRED) ** 2 - (CHANCES - PRED) ** 2).sum(_others)
    _weight = RANDOM.rand(*_distance.shape)
    _expected = np.maximum(0, _distance + 0.25) * _weight
    _holds = gives(PRED, LABEL, CHANCES, _weight, expected=_expected, scaled=0.75)
    case(gloss.TripletLoss, _holds, margin=0.25, weight=0.75, batch_axis=_axis)
_STIRLING = np.where(
    COUNTS > 1,
    COUNTS * np.log(COUNTS + 1e-8) - COUNTS + 0.5 * np.log(2 * np.pi * (COUNTS + 1e-8)),
    0,
)
for _logits, _full in ((True, True), (False, True), (False, False)):
    _each = np.exp(PRED) - COUNTS * PRED if _logits else CHANCES - COUNTS * np.log(CHANCES + 1e-8)
    _each = _each + _STIRLING * _full
    _holds = gives(
        PRED if _logits else CHANCES,
        COUNTS,
        PER_SAMPLE,
        expected=(_each * PER_SAMPLE).mean(keepdims=True).reshape(1),
        scaled=0.75,
    )
    case(
        gloss.PoissonNLLLoss, _holds, from_logits=_logits, compute_full=_full, weight=0.75,
        batch_axis=1,
    )  # fmt: skip
_ROWS, _OTHER, _SAME = RANDOM.randn(6, 3), RANDOM.randn(6, 3), np.array([1, -1, -1, 1, -1, -1])
_COSINE = (_ROWS * _OTHER).sum(1) / np.linalg.norm(_ROWS, axis=1) / np.linalg.norm(_OTHER, axis=1)
_EACH = np.where(_SAME == 1, 1 - _COSINE, np.maximum(0, _COSINE + 0.25))[:, None]
case(
    gloss.CosineEmbeddingLoss,
    gives(_ROWS, _OTHER, _SAME, expected=_EACH, scaled=0.75),
    weight=0.75,
    margin=-0.25,
    batch_axis=1,
)
_SQUARE, _MOVED = RANDOM.randn(6, 6), RANDOM.randn(6, 6)
_NEAR = logs(-((_SQUARE[:, None] - _MOVED[None]) ** 2).sum(2), 1)
_SMOOTH = np.where(np.eye(6), 0.9, 0.1 / 5)
for _axis in (0, 1):
    case(
        gloss.SDMLLoss,
        gives(
            _SQUARE,
            _MOVED,
            expected=(_SMOOTH * (np.log(_SMOOTH + 1e-12) - _NEAR)).sum(1 - _axis),
            scaled=0.75,
        ),
        smoothing_parameter=0.1,
        weight=0.75,
        batch_axis=_axis,
    )


# -- metrics


def measures(*batches: tuple[Any, Any], value: float, name: str = "own") -> Callable[[Any], None]:
    def holds(metric: Any) -> None:
        for _ in range(2):
            metric.reset()
            assert math.isnan(metric.get()[1])
            for label, pred in batches:
                if metric.output_names:
                    named = {"other": nd.zeros((1,)), "right": nd.array(pred)}
                    metric.update_dict({"mine": nd.array(label), "other": nd.zeros((1,))}, named)
                else:
                    metric.update([nd.array(label)], [nd.array(pred)])
            found, number = metric.get()
            assert found == name and number == pytest.approx(value, rel=1e-5)
            assert metric.get_name_value() == [(name, number)]
        config = metric.get_config()
        assert config["metric"] == type(metric).__name__ and config["name"] == name

    return holds


NAMES = {"name": "own", "output_names": ["right"], "label_names": ["mine"]}
_SCORES = CHANCES[:, :, 0] / CHANCES[:, :, 0].sum(1, keepdims=True)
_TRUE = np.array([0, 2, 1, 1])
_HIT = np.log(_SCORES[np.arange(4), _TRUE])
_THIRD = CHANCES[:, :, :1].repeat(3, 2)
_RIGHT = (PRED.argmax(1) == 0).sum() + (_THIRD.argmax(1) == 1).sum()
case(
    mx.metric.Accuracy,
    measures((np.zeros((4, 2)), PRED), (np.ones((4, 3)), _THIRD), value=float(_RIGHT / 20)),
    **NAMES,
)
case(
    mx.metric.Accuracy,
    measures((np.zeros((4, 3)), PRED), value=float((PRED.argmax(2) == 0).mean())),
    axis=2,
    name="own",
)
for _top in (2, 3):
    _best = _SCORES.argsort(1)[:, -_top:]
    case(
        mx.metric.TopKAccuracy,
        measures(
            (_TRUE, _SCORES),
            value=float((_best == _TRUE[:, None]).any(1).mean()),
            name=f"own_{_top}",
        ),
        top_k=_top,
        **NAMES,
    )
_BATCHES = [
    (np.array([1, 0, 1, 1]), np.array([[0.2, 0.8], [0.1, 0.9], [0.7, 0.3], [0.4, 0.6]])),
    (np.array([1, 0]), np.array([[0.1, 0.9], [0.8, 0.2]])),
]


def f1(counts: Array) -> float:
    return 2 * counts[1, 1] / (2 * counts[1, 1] + counts[0, 1] + counts[1, 0])


def matthews(counts: Array) -> float:
    sides = [counts[0].sum(), counts[1].sum(), counts[:, 0].sum(), counts[:, 1].sum()]
    product = math.prod(float(side) if side else 1.0 for side in sides)
    return (counts[0, 0] * counts[1, 1] - counts[0, 1] * counts[1, 0]) / math.sqrt(product)


def confusion(*batches: tuple[Array, Array]) -> Array:
    counts = np.zeros((2, 2), int)
    for label, pred in batches:
        for truth, guess in zip(label, pred.argmax(1), strict=True):
            counts[truth, guess] += 1
    return counts


for _kind, _formula in ((mx.metric.F1, f1), (mx.metric.MCC, matthews)):
    _each_batch = [_formula(confusion(batch)) for batch in _BATCHES]
    case(_kind, measures(*_BATCHES, value=float(np.mean(_each_batch))), **NAMES)
    case(
        _kind,
        measures(*_BATCHES, value=_formula(confusion(*_BATCHES))),
        average="micro",
        name="own",
    )
for _given, _kept in ((None, [0, 1, 2, 3]), (1, [0, 1])):
    case(
        mx.metric.Perplexity,
        measures((_TRUE, _SCORES), value=math.exp(-_HIT[_kept].mean())),
        ignore_label=_given,
        **NAMES,
    )
_ACROSS = np.moveaxis(CHANCES, 1, 2).reshape(-1, 3)[np.arange(8), _CLASSES.ravel()]
case(
    mx.metric.Perplexity,
    measures((_CLASSES, CHANCES), value=math.exp(-np.log(_ACROSS).mean())),
    axis=1,
    name="own",
)
_A, _B = RANDOM.randn(4), RANDOM.randn(4)
_C, _D = RANDOM.randn(3, 2), RANDOM.randn(3, 2)
for _kind, _formula in (
    (mx.metric.MAE, lambda a, b: abs(a - b).mean()),
    (mx.metric.MSE, lambda a, b: ((a - b) ** 2).mean()),
    (mx.metric.RMSE, lambda a, b: math.sqrt(((a - b) ** 2).mean())),
):
    _value = (_formula(_A, _B) + _formula(_C, _D)) / 2
    case(_kind, measures((_A, _B[:, None]), (_C, _D), value=_value), **NAMES)
for _kind in (mx.metric.CrossEntropy, mx.metric.NegativeLogLikelihood):
    _value = -np.log(_SCORES[np.arange(4), _TRUE] + 0.25).mean()
    case(_kind, measures((_TRUE, _SCORES), value=_value), eps=0.25, **NAMES)
    case(_kind, measures((_TRUE, _SCORES), value=-_HIT.mean()), name="own")
    case(_kind, measures((np.array([1]), np.array([[1.0, 0.0]])), value=-np.log(1e-12)), name="own")
_EACH_OF = [np.corrcoef(_A, _B)[0, 1], np.corrcoef(_C.ravel(), _D.ravel())[0, 1]]
case(
    mx.metric.PearsonCorrelation,
    measures((_A, _B), (_C, _D), value=float(np.mean(_EACH_OF))),
    **NAMES,
)
case(
    mx.metric.PearsonCorrelation,
    measures(
        (_A, _B),
        (_C, _D),
        value=np.corrcoef(np.append(_A, _C), np.append(_B, _D))[0, 1],
    ),
    average="micro",
    name="own",
)
for _kind in (mx.metric.Loss, mx.metric.Torch, mx.metric.Caffe):
    case(_kind, measures((_A, _C), (_A, _D), value=np.append(_C, _D).mean()), **NAMES)
case(mx.metric.PCC, measures(*_BATCHES, value=matthews(confusion(*_BATCHES))), **NAMES)
case(
    mx.metric.CustomMetric,
    measures((_A, _B), (_C, _D), value=(_A.sum() + _B.sum() + _C.sum() + _D.sum()) / 2),
    feval=lambda label, pred: float(label.sum() + pred.sum()),
    **NAMES,
)
case(
    mx.metric.CustomMetric,
    measures((_A, _B), (_C, _D), value=(_A.sum() + _C.sum()) / 10),
    feval=lambda label, pred: (float(label.sum()), label.size),
    name="own",
)


def takes_further_outputs(metric: Any) -> None:
    metric.update([nd.ones((1,))], [nd.ones((1,)), nd.ones((2,))])
    assert metric.get() == ("own", 2)
    strict = mx.metric.CustomMetric(lambda a, b: 1.0)
    assert strict.name == "custom(<lambda>)"
    with pytest.raises(mx.TigonError, match="labels and predictions differ: 1 and 2"):
        strict.update([nd.ones((1,))], [nd.ones((1,)), nd.ones((2,))])


case(
    mx.metric.CustomMetric,
    takes_further_outputs,
    feval=lambda label, pred: float(label.sum() + pred.sum()),
    name="own",
    allow_extra_outputs=True,
)


def several(metric: Any) -> None:
    metric.add(mx.metric.MSE())
    metric.update_dict({"a": nd.array(_A)}, {"b": nd.array(_B)})
    assert metric.name == "own" and metric.get()[0] == ["mae", "mse"]
    expected = [abs(_A - _B).mean(), ((_A - _B) ** 2).mean()]
    assert metric.get()[1] == pytest.approx(expected, rel=1e-5)
    assert isinstance(metric.get_metric(1), mx.metric.MSE)
    for index in (-1, 2):
        with pytest.raises(mx.TigonError, match="there are 2 metrics; asked for number"):
            metric.get_metric(index)
    metric.reset()
    assert np.isnan(metric.get()[1]).all()
    metric.update([nd.array(_A)], [nd.array(_B)])
    assert metric.get()[1] == pytest.approx(expected, rel=1e-5)


case(mx.metric.CompositeEvalMetric, several, metrics=["mae"], **NAMES)


# -- initializers, on arrays that are not square


def draws(shape: tuple[int, ...], normal: bool, spread: float) -> Callable[[Any], None]:
    """`spread`: the bound of a uniform distribution, the deviation of a normal one."""

    def holds(initializer: Any) -> None:
        array = nd.zeros(shape)
        initializer("weight", array)
        found = array.asnumpy()
        deviation = spread if normal else spread / math.sqrt(3)
        assert abs(found).max() > spread * (2 if normal else 0.97)
        assert normal or abs(found).max() <= spread * 1.000001
        assert found.std() == pytest.approx(deviation, rel=0.06)
        assert abs(found.mean()) < 6 * deviation / math.sqrt(found.size)

    return holds


_WIDE = (40, 10, 3, 2)  # fan in 60, fan out 240
for _factor, _fan in (("avg", 150), ("in", 60), ("out", 240)):
    for _type in ("uniform", "gaussian"):
        for _magnitude in (3, 0.75):
            case(
                mx.init.Xavier,
                draws(_WIDE, _type == "gaussian", math.sqrt(_magnitude / _fan)),
                rnd_type=_type,
                factor_type=_factor,
                magnitude=_magnitude,
            )
    case(
        mx.init.MSRAPrelu,
        draws(_WIDE, True, math.sqrt(2 / (1 + 0.5**2) / _fan)),
        factor_type=_factor,
        slope=0.5,
    )
case(mx.init.Xavier, draws((200, 20), False, math.sqrt(3 / 110)))
case(mx.init.Uniform, draws((50, 60), False, 0.5), scale=0.5)
case(mx.init.Normal, draws((50, 60), True, 0.5), sigma=0.5)


def orthogonal(scale: float) -> Callable[[Any], None]:
    def holds(initializer: Any) -> None:
        drawn = []
        for shape in ((4, 6), (4, 3, 2), (6, 4), (6, 2, 2)):
            array = nd.zeros(shape, dtype="float64")
            initializer("weight", array)
            matrix = array.asnumpy().reshape(shape[0], -1)
            matrix = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
            np.testing.assert_allclose(matrix @ matrix.T, scale**2 * np.eye(4), atol=1e-9)
            drawn.append(matrix)
        assert (np.concatenate(drawn, 1) < 0).any() and (np.concatenate(drawn, 1) > 0).any()

    return holds


case(mx.init.Orthogonal, orthogonal(0.5), scale=0.5, rand_type="normal")
case(mx.init.Orthogonal, orthogonal(1.414))


def fills(
    name: str, shape: tuple[int, ...], expected: Any, dtype: str = "float32"
) -> Callable[[Any], None]:
    def holds(initializer: Any) -> None:
        array = nd.array(np.full(shape, 9), dtype=dtype)
        initializer(name, array)
        assert np.array_equal(array.asnumpy(), np.broadcast_to(expected, shape))

    return holds


case(mx.init.LSTMBias, fills("w", (8,), [0, 0, 3, 3, 0, 0, 0, 0]), forget_bias=3.0)
case(mx.init.LSTMBias, fills("w", (8,), [0, 0, 1, 1, 0, 0, 0, 0]))
case(mx.init.Zero, fills("weight", (2, 2), 0))
case(mx.init.One, fills("weight", (2, 2), 1))
case(mx.init.Constant, fills("weight", (2, 2), 3), value=3)
case(mx.init.Constant, fills("weight", (2, 2), [[1, 2], [3, 4]]), value=[[1, 2], [3, 4]])
_LARGE = 2**53 + 1  # no float holds it
case(
    mx.init.Constant,
    fills("weight", (2,), [_LARGE, 1], dtype="int64"),
    value=nd.array(np.array([_LARGE, 1]), dtype="int64"),
)
case(
    mx.init.Constant,
    fills("weight", (2,), [1 + 2**-40, 1], dtype="float64"),
    value=[1 + 2**-40, 1.0],
)
_RAMP = {3: [0.25, 0.75, 0.75], 4: [0.25, 0.75, 0.75, 0.25]}
case(
    mx.init.Bilinear,
    fills("weight", (2, 1, 3, 4), np.outer(_RAMP[3], _RAMP[4])),
)


def loads(initializer: Any) -> None:
    array = nd.zeros((2,))
    initializer("a", array)
    assert array.asnumpy().tolist() == [1, 2]
    initializer("b", array)
    assert array.asnumpy().tolist() == [5, 5]
    with pytest.raises(mx.TigonError, match=r"'a' expects shape \(3,\); the file has \(2,\)"):
        initializer("a", nd.zeros((3,)))


_FIVE = mx.init.Constant(5)
_LOADED = {"arg:a": nd.array([1, 2]), "aux:c": nd.array([7])}
case(mx.init.Load, loads, param=_LOADED, default_init=_FIVE, verbose=True)


def load_alone(initializer: Any) -> None:
    array = nd.zeros((1,))
    initializer("c", array)
    assert array.asnumpy().tolist() == [7]
    with pytest.raises(mx.TigonError, match="there is no 'b' among the loaded arrays"):
        initializer("b", array)


case(mx.init.Load, load_alone, param=_LOADED)


def mixes(initializer: Any) -> None:
    for name, value in (("fc_weight", 1), ("fc_other_weight", 5), ("out_weight", 0)):
        array = nd.array([9, 9])
        initializer(name, array)
        assert array.asnumpy().tolist() == [value, value]
    with pytest.raises(mx.TigonError, match="no pattern matches 'nothing'"):
        initializer("nothing", nd.zeros((1,)))


case(
    mx.init.Mixed,
    mixes,
    patterns=["fc_w", "fc", "out"],
    initializers=["ones", _FIVE, "zeros"],
)


def fused(bidirectional: bool, mode: str, init: Any) -> Callable[[Any], None]:
    def holds(initializer: Any) -> None:
        from tigon.ops.nn.recurrent import RNNAttrs, parameter_count, pieces

        attrs = RNNAttrs(state_size=2, num_layers=2, bidirectional=bidirectional, mode=mode)
        flat = nd.array(np.full(parameter_count(attrs, 3), 9))
        initializer(mx.init.InitDesc("rnn_parameters", global_init=mx.init.Constant(4)), flat)
        found, begin = flat.asnumpy(), 0
        for name, shape in pieces(attrs, 3):
            end = begin + math.prod(shape)
            bias = 2.5 if name.endswith("_f_bias") else 0
            expected = (1 if init else 4) if name.endswith("weight") else bias
            assert (found[begin:end] == expected).all(), name
            begin = end
        assert begin == flat.size

    return holds


for _both, _mode, _own in ((True, "lstm", "ones"), (False, "gru", None), (True, "lstm", None)):
    case(
        mx.init.FusedRNN,
        fused(_both, _mode, _own),
        init=_own,
        num_hidden=2,
        num_layers=2,
        mode=_mode,
        bidirectional=_both,
        forget_bias=2.5,
    )


# -- rates


def rates(expected: Callable[[int], float]) -> Callable[[Any], None]:
    def holds(schedule: Any) -> None:
        for count in range(14):
            assert schedule(count) == pytest.approx(expected(count), rel=1e-12), count

    return holds


def warmed(after: Callable[[int], float], mode: str) -> Callable[[int], float]:
    """Three updates from 0.25 to 2, or at 0.25."""

    def expected(count: int) -> float:
        if count >= 3:
            return after(count)
        return 0.25 if mode == "constant" else 0.25 + (2 - 0.25) * count / 3

    return expected


def half_a_cosine(way: float) -> float:
    return (1 + math.cos(math.pi * min(way, 1))) / 2


def steps_passed(count: int, steps: list[int]) -> int:
    return sum(count > step for step in steps)


for _mode in ("constant", "linear"):
    _warm = {"base_lr": 2.0, "warmup_steps": 3, "warmup_begin_lr": 0.25, "warmup_mode": _mode}
    case(
        mx.lr_scheduler.FactorScheduler,
        rates(warmed(lambda n: max(2 * 0.5 ** ((n - 1) // 4), 0.6), _mode)),
        step=4,
        factor=0.5,
        stop_factor_lr=0.6,
        **_warm,
    )
    case(
        mx.lr_scheduler.MultiFactorScheduler,
        rates(warmed(lambda n: 2 * 0.5 ** steps_passed(n, [4, 5, 9]), _mode)),
        step=[4, 5, 9],
        factor=0.5,
        **_warm,
    )
    case(
        mx.lr_scheduler.PolyScheduler,
        rates(warmed(lambda n: 0.5 + 1.5 * max(1 - (n - 3) / 7, 0) ** 3, _mode)),
        max_update=10,
        pwr=3,
        final_lr=0.5,
        **_warm,
    )
    case(
        mx.lr_scheduler.CosineScheduler,
        rates(warmed(lambda n: 0.5 + 1.5 * half_a_cosine((n - 3) / 7), _mode)),
        max_update=10,
        final_lr=0.5,
        **_warm,
    )
case(mx.lr_scheduler.FactorScheduler, rates(lambda n: 0.01), step=1)
case(mx.lr_scheduler.MultiFactorScheduler, rates(lambda n: 0.01), step=[1, 2])
case(mx.lr_scheduler.PolyScheduler, rates(lambda n: 0.01 * max(1 - n / 5, 0) ** 2), max_update=5)
case(
    mx.lr_scheduler.CosineScheduler,
    rates(lambda n: 0.01 * half_a_cosine(n / 5)),
    max_update=5,
)


# -- iterators, samplers, datasets


def batches(expected: list[list[list[int]]], pads: list[list[int]]) -> Callable[[Any], None]:
    """Rows of the batches, epoch after epoch."""

    def holds(iterator: Any) -> None:
        assert iterator.provide_data[0][:2] == ("input", (2, 1))
        assert [(d.name, d.shape, d.dtype) for d in iterator.provide_label] == [
            ("target", (2,), np.int32)
        ]
        for rows, pad in zip(expected, pads, strict=True):
            found = list(iterator)
            assert [b.data[0].asnumpy()[:, 0].tolist() for b in found] == rows
            assert [b.label[0].asnumpy().tolist() for b in found] == [
                [10 * row for row in batch] for batch in rows
            ]
            assert all(b.index is None for b in found)
            assert [b.pad for b in found] == pad
            assert all(b.data[0].dtype == np.float64 for b in found)
            iterator.reset()

    return holds


_INPUT = {
    "data": nd.array(np.arange(5)[:, None], dtype="float64"),
    "label": nd.array(np.arange(5) * 10, dtype="int32"),
    "batch_size": 2,
    "data_name": "input",
    "label_name": "target",
}
case(
    mx.io.NDArrayIter,
    batches([[[0, 1], [2, 3], [4, 0]]] * 2, [[0, 0, 1]] * 2),
    **_INPUT,
)
case(
    mx.io.NDArrayIter,
    batches([[[0, 1], [2, 3]]] * 2, [[0, 0]] * 2),
    last_batch_handle="discard",
    **_INPUT,
)
_ROLLED = [[[0, 1], [2, 3]], [[4, 0], [1, 2], [3, 4]], [[0, 1], [2, 3]]]
case(
    mx.io.NDArrayIter,
    batches(_ROLLED, [[0, 0], [0, 0, 0], [0, 0]]),
    last_batch_handle="roll_over",
    **_INPUT,
)


def shuffles(iterator: Any) -> None:
    mx.random.seed(2)
    epochs = []
    for _ in range(3):
        iterator.reset()
        assert all((b.data[0].asnumpy()[:, 0] * 10 == b.label[0].asnumpy()).all() for b in iterator)
        iterator.reset()
        epochs.append(tuple(int(i) for b in iterator for i in b.data[0].asnumpy()[:, 0]))
    assert len(set(epochs)) == 3 and all(sorted(epoch[:5]) == [0, 1, 2, 3, 4] for epoch in epochs)


case(mx.io.NDArrayIter, shuffles, shuffle=True, **_INPUT)


def keeps_its_fields(**fields: Any) -> Callable[[Any], None]:
    def holds(made: Any) -> None:
        for name, value in fields.items():
            assert getattr(made, name) == value

    return holds


_BATCH: dict[str, Any] = {
    "data": [1], "label": [2], "pad": 3, "index": [4], "bucket_key": 5, "provide_data": [6],
    "provide_label": [7],
}  # fmt: skip
case(mx.io.DataBatch, keeps_its_fields(**_BATCH), **_BATCH)
_DESC = {"name": "x", "shape": (2, 3), "dtype": "int32", "layout": "TNC"}
case(mx.io.DataDesc, keeps_its_fields(**_DESC), **_DESC)
case(mx.io.DataIter, keeps_its_fields(batch_size=3), batch_size=3)
case(mx.io.MXDataIter, keeps_its_fields(batch_size=3), batch_size=3)


def yields(*epochs: list[Any]) -> Callable[[Any], None]:
    def holds(sampler: Any) -> None:
        for epoch in epochs:
            assert len(sampler) == len(epoch)
            assert list(sampler) == epoch

    return holds


case(gdata.SequentialSampler, yields([3, 4], [3, 4]), length=2, start=3)
case(gdata.FilterSampler, yields([1, 2]), fn=lambda x: x > 5, dataset=[1, 6, 7, 5])
case(gdata.IntervalSampler, yields([0, 2, 4]), length=5, interval=2, rollover=False)


def random_orders(sampler: Any) -> None:
    orders = [tuple(sampler) for _ in range(4)]
    assert len(set(orders)) > 1 and all(sorted(order) == list(range(6)) for order in orders)


case(gdata.RandomSampler, random_orders, length=6)
for _length in (0, 1):
    case(gdata.RandomSampler, yields(list(range(_length))), length=_length)
_FIVE_NUMBERS = gdata.SequentialSampler(5)
for _last, _epochs in (
    ("keep", [[[0, 1], [2, 3], [4]]] * 2),
    ("discard", [[[0, 1], [2, 3]]] * 2),
    ("rollover", [[[0, 1], [2, 3]], [[4, 0], [1, 2], [3, 4]], [[0, 1], [2, 3]]]),
):
    case(
        gdata.BatchSampler,
        yields(*_epochs),
        sampler=_FIVE_NUMBERS,
        batch_size=2,
        last_batch=_last,
    )


def datasets(dataset: Any) -> None:
    def samples(chosen: Any) -> list[Any]:
        return [chosen[i] for i in range(len(chosen))]

    assert samples(dataset.take(2)) == [1, 2]
    assert samples(dataset.take(None)) == samples(dataset.take(9)) == [1, 2, 3, 4, 5]
    assert samples(dataset.sample(gdata.SequentialSampler(2, start=3))) == [4, 5]
    assert samples(dataset.filter(lambda x: x % 2)) == [1, 3, 5]
    assert [samples(dataset.shard(3, i)) for i in range(3)] == [[1, 2], [3, 4], [5]]
    calls = []
    for lazy, count in ((True, 0), (False, 5)):
        calls.clear()
        changed = dataset.transform(lambda x: (calls.append(x), x * 10)[1], lazy=lazy)
        assert len(calls) == count and samples(changed) == [10, 20, 30, 40, 50]
        assert samples(dataset.transform_first(lambda x: -x, lazy=lazy)) == [-1, -2, -3, -4, -5]
    pairs = gdata.ArrayDataset([1, 2], ["a", "b"])
    assert samples(pairs.transform_first(lambda x: -x)) == [(-1, "a"), (-2, "b")]
    assert samples(pairs.transform(lambda x, y: y * x)) == ["a", "bb"]
    for index in (-1, 3):
        with pytest.raises(mx.TigonError, match=r"index must be in 0\.\.2"):
            dataset.shard(3, index)


case(gdata.SimpleDataset, datasets, data=[1, 2, 3, 4, 5])


NUMBERS = range(len(CASES))


@pytest.mark.parametrize("number", NUMBERS, ids=[f"{CASES[n][0].__name__}-{n}" for n in NUMBERS])
def test_the_formula(number: int) -> None:
    kind, options, holds = CASES[number]
    mx.random.seed(number)
    holds(kind(**options))


ELSEWHERE: dict[str, set[str]] = {
    "InitDesc": {"name", "attrs", "global_init"},  # test_layers.py, and FusedRNN above
    "ArrayDataset": {"arrays"},
    "RecordFileDataset": {"filename"},  # tests/data/test_datasets.py
    "CTCLoss": {"layout", "label_layout", "weight"},  # tests/ops/test_ctc.py
    "Initializer": {"fields"},
}
BASES = {"EvalMetric", "LRScheduler", "Loss", "Sampler", "Dataset", "Subset"}
MODULES = (
    mx.metric,
    mx.initializer,
    mx.lr_scheduler,
    mx.io.arrays,
    mx.io.batches,
    gluon.loss,
    gdata.dataset,
    gdata.sampler,
)
KINDS = sorted(
    {
        kind
        for module in MODULES
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and kind.__module__ == module.__name__ and name[0] != "_"
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_option_is_left_at_its_default(kind: type) -> None:
    if kind.__name__ in BASES:
        return
    assert kind.__name__ in ELSEWHERE or any(other is kind for other, _, _ in CASES)
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in ("prefix", "params") or name in ELSEWHERE.get(kind.__name__, ()):
            continue
        values = [options[name] for other, options, _ in CASES if other is kind and name in options]
        assert any(value is not parameter.default for value in values), f"no case gives {name}"


def test_initializers_are_written_and_read() -> None:
    for kind, options, _ in CASES:
        if not issubclass(kind, mx.init.Initializer):
            continue
        one = kind(**options)
        again = mx.init.create(one.dumps())
        assert type(again) is kind and again == one and again.dumps() == one.dumps()
        assert one != mx.init.Uniform(77) and repr(one).startswith(f"{kind.__name__}(")
        for name, value in vars(one).items():
            if isinstance(value, (int, float, str)):
                assert vars(again)[name] == value
