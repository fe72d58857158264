"""`x.squeeze(inplace=True)` and its kin: views that share memory, imperatively and traced."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import tigon as mx
from tigon import nd, sym

FORMS: dict[str, Callable[[Any, bool], Any]] = {
    "expand_dims": lambda x, inplace: x.expand_dims(0, inplace=inplace),
    "expand_dims-by-position": lambda x, inplace: x.expand_dims(-1, inplace),
    "flatten": lambda x, inplace: x.flatten(inplace=inplace),
    "flatten-by-position": lambda x, inplace: x.flatten(inplace),
    "squeeze": lambda x, inplace: x.squeeze(inplace=inplace),
    "squeeze-an-axis": lambda x, inplace: x.squeeze(axis=1, inplace=inplace),
    "squeeze-by-position": lambda x, inplace: x.squeeze((1,), inplace),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inplace", [False, True])
def test_memory_is_shared_where_it_is_asked_for(form: str, inplace: bool) -> None:
    def written(x: Any) -> Any:
        own = x * 1
        result = FORMS[form](own, inplace)
        result[:] = 5
        return own, result

    x = nd.ones((2, 1, 3))
    shape = FORMS[form](x, False).shape
    for call in (written, mx.jit(written)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever writes into a view gives way
            own, result = call(x)
        assert result.shape == shape and (result.asnumpy() == 5).all()
        assert (own.asnumpy() == (5 if inplace else 1)).all()


def test_symbols_take_it_and_have_nothing_to_share() -> None:
    x = sym.var("x")
    for form in FORMS.values():
        assert form(x, True).eval(x=nd.ones((2, 1, 3)))[0].size == 6


def test_a_wrong_axis_is_told_alike() -> None:
    for inplace in (False, True):
        with pytest.raises(mx.MXNetError, match=r"squeeze: axis 0 of shape \(2, 1\) has extent 2"):
            nd.ones((2, 1)).squeeze(axis=0, inplace=inplace)
