"""Steps of many weights by one call: what MXNet 1.9.1 answers, the updates one by one, refusals."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import nd

RATES = {"lrs": (0.1, 0.2), "wds": (0.01, 0.02)}
FIELDS = {"rescale_grad": 0.5, "clip_gradient": 0.3}


def arrays(*lists: list[float], dtype: str = "float32") -> list[nd.NDArray]:
    return [nd.array(numbers, dtype=dtype) for numbers in lists]


def by_weight(*lists: list[Any]) -> list[Any]:
    return list(chain(*zip(*lists, strict=True)))


def weights(dtype: str = "float32") -> list[nd.NDArray]:
    return arrays([1, 2], [3, 4, 5], dtype=dtype)


def grads(dtype: str = "float32") -> list[nd.NDArray]:
    return arrays([0.5, 1], [1, 1, 1], dtype=dtype)


def zeros() -> list[nd.NDArray]:
    return [nd.zeros(2), nd.zeros(3)]


def flat(parts: list[nd.NDArray]) -> np.ndarray:
    return np.concatenate([part.asnumpy().astype("f") for part in parts])


def near(parts: list[nd.NDArray], expected: list[float], rtol: float = 2e-6) -> None:
    np.testing.assert_allclose(flat(parts), expected, rtol=rtol)


@pytest.mark.parametrize("preloaded", [False, True])
def test_figures_of_mxnet_for_sgd(preloaded: bool) -> None:
    rates = arrays(*RATES.values()) if preloaded else []
    fields: dict[str, Any] = FIELDS | {"num_weights": 2} | ({} if preloaded else RATES)
    prefix = "preloaded_" if preloaded else ""
    w, mom = weights(), arrays([0.1, 0.1], [0.2, 0.2, 0.2])
    result = getattr(nd, f"{prefix}multi_sgd_update")(*by_weight(w, grads()), *rates, **fields)
    near(w, [1, 2, 3, 4, 5])  # nobody has said out=
    near(result, [0.974, 1.968, 2.928, 3.924, 4.92])
    step = getattr(nd, f"{prefix}multi_sgd_mom_update")
    step(*by_weight(result, grads(), mom), *rates, momentum=0.9, out=result, **fields)
    near(result, [1.038025975, 2.026031971, 3.036288023, 4.028304100, 5.020319939])
    near(mom, [0.064025998, 0.058031991, 0.108287990, 0.104303986, 0.100319982])
    half, exact = [w.astype("float16") for w in result], [w.copy() for w in result]
    mom = arrays([0.1, 0.1], [0.2, 0.2, 0.2])
    step = getattr(nd, f"{prefix}multi_mp_sgd_mom_update")
    given = by_weight(half, grads("float16"), mom, exact)
    step(*given, *rates, momentum=0.9, out=half, **fields)
    assert [w.dtype for w in half] == [np.float16] * 2
    near(half, [1.1015625, 2.083984375, 3.14453125, 4.1328125, 5.12109375], rtol=0)
    near(exact, [1.101987958, 2.084005833, 3.144142866, 4.132190704, 5.120238781])
    step = getattr(nd, f"{prefix}multi_mp_sgd_update")
    before = flat(exact)
    step(*by_weight(half, grads("float16"), exact), *rates, out=half, **fields)
    assert (flat(exact) < before).all()
    np.testing.assert_array_equal(flat(half), flat(exact).astype("float16"))


@pytest.mark.parametrize("mixed", [False, True])
def test_figures_of_mxnet_for_lamb_and_adamw(mixed: bool) -> None:
    """They round 1 - 0.999 before they use it."""
    dtype, own = ("float16", "mp_") if mixed else ("float32", "")

    def stepped(name: str, *given: Any, **fields: Any) -> tuple[Any, Any, Any]:
        w, mean, exact = weights(dtype), zeros(), weights()
        copies = [exact] if mixed else []
        step = getattr(nd.contrib, f"multi_{own}{name}_update")
        step(w, grads(dtype), mean, zeros(), *copies, *given, **RATES, out=w, **fields)
        assert [one.dtype for one in w] == [np.dtype(dtype)] * 2
        np.testing.assert_array_equal(flat(w), flat(exact).astype(dtype) if mixed else flat(w))
        return exact if mixed else w, mean, w

    moved, mean, _ = stepped("lamb", step_count=(1, 1), num_tensors=2)
    near(moved, [0.842666984, 1.841109037, 2.198715210, 3.183596611, 4.168478012])
    near(mean, [0.05, 0.1, 0.1, 0.1, 0.1])
    moved, mean, _ = stepped("adamw", nd.array([0.5]), etas=(1.0, 0.5))
    near(moved, [0.673770547, 1.663770318, 2.653770208, 3.643770218, 4.633770466], rtol=5e-6)
    near(mean, [0.025, 0.05, 0.05, 0.05, 0.05])
    moved, mean, _ = stepped("adamw", nd.array([np.inf]), etas=(1.0, 0.5))
    near(moved, [1, 2, 3, 4, 5], rtol=0)
    near(mean, [0] * 5)


def test_phases_of_lamb_on_a_copy() -> None:
    half, grad = nd.array([1, 2], dtype="float16"), nd.array([0.5, 1], dtype="float16")
    exact, mean, var = nd.array([1.0001, 2]), nd.zeros(2), nd.zeros(2)
    g = nd.mp_lamb_update_phase1(half, grad, mean, var, exact, t=1, wd=0.01, rescale_grad=0.5)
    near([g], [1.009996891, 1.019997954], rtol=1e-5)
    near([mean, var], [0.025, 0.05, 6.25e-5, 2.5e-4], rtol=2e-5)
    nd.mp_lamb_update_phase2(half, g, exact.norm(), g.norm(), exact, lr=0.1, out=half)
    near([half], [0.8427734375, 1.8408203125], rtol=0)
    near([exact], [0.842763901, 1.841105938], rtol=1e-5)  # MXNet leaves it as it was


def test_bounds_and_constants_go_to_their_phase() -> None:
    fields = {"beta1": 0.5, "epsilon": 0.1, "bias_correction": False}
    bounds = {"lower_bound": 0.5, "upper_bound": 1.5}
    w, mean, var = weights(), zeros(), zeros()
    nd.contrib.multi_lamb_update(
        w, grads(), mean, var, step_count=(3, 1), **RATES, **fields, **bounds, out=w
    )
    for place, weight in enumerate(weights()):
        rate, decay = RATES["lrs"][place], RATES["wds"][place]
        moving = zeros()[place], zeros()[place]
        t = (3, 1)[place]
        g = nd.lamb_update_phase1(weight, grads()[place], *moving, t=t, wd=decay, **fields)
        one = nd.lamb_update_phase2(weight, g, weight.norm(), g.norm(), lr=rate, **bounds)
        np.testing.assert_array_equal(w[place].asnumpy(), one.asnumpy())


REFUSED = [
    (
        lambda: nd.multi_sgd_update(nd.ones(2), lrs=(1,), wds=(0,)),
        "2 arrays .weight grad. for each",
    ),
    (
        lambda: nd.multi_sgd_mom_update(*[nd.ones(2)] * 4, lrs=(1, 1), wds=(0, 0), num_weights=2),
        "expected 3 arrays .weight grad mom. for each of num_weights=2 weights; given 4",
    ),
    (
        lambda: nd.multi_sgd_update(*[nd.ones(2)] * 2, lrs=(1, 1), wds=(0,)),
        "lrs: expected 1 numbers; given 2",
    ),
    (
        lambda: nd.multi_sgd_update(*[nd.ones(2)] * 2, lrs=(1,), wds=(0,), out=[]),
        "out: expected 1 arrays; given 0",
    ),
    (
        lambda: nd.multi_sgd_update(*[nd.ones(2)] * 2, lrs=(1,), wds=(0,), momentum=0.9),
        "has no attribute 'momentum'",
    ),
    (lambda: nd.preloaded_multi_sgd_update(nd.ones(1), nd.ones(1)), "expected the arrays of"),
    (
        lambda: nd.contrib.multi_lamb_update(weights(), grads()[:1], zeros(), zeros(), 1, 1, 1),
        "expected lists of one length; given 2 weights, 1 grads, 2 mean, 2 var",
    ),
    (
        lambda: nd.contrib.multi_adamw_update(
            weights(), grads(), zeros(), zeros(), 1.0, (1, 1), (0, 0), (1,)
        ),
        "etas: expected 2 numbers; given 1",
    ),
    (lambda: nd.reset_arrays(nd.ones(1), num_arrays=2), "num_arrays: expected 1, the number of"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(mx.TigonError, match=message):
        call()
    with pytest.raises(AttributeError, match=r"multi_sgd_update is not there yet; .* by symbol"):
        mx.sym.multi_sgd_update  # noqa: B018


def test_arrays_are_reset() -> None:
    given = weights()
    nd.reset_arrays(*given, num_arrays=2)
    near(given, [0] * 5)
