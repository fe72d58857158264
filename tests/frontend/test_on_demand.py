"""Functions and parts that are made at their first use look as if they had always been there."""

import inspect
import pickle

import pytest

import tigon as mx
from tigon.ops import names
from tigon.ops.frontend import GROUPS, members


@pytest.mark.parametrize("module", [mx.nd, mx.sym], ids=["nd", "sym"])
def test_every_registered_name_is_there(module):
    assert set(names()) <= set(dir(module)) & set(dir(module.op))
    for group in GROUPS:
        for short in members(group):
            function = getattr(getattr(module, group), short)
            assert callable(function) and function.__doc__


@pytest.mark.parametrize("module", [mx.nd, mx.sym], ids=["nd", "sym"])
def test_one_function_per_name(module):
    assert module.relu is module.relu is module.op.relu
    assert module.linalg.gemm2 is module.linalg_gemm2
    assert module._internal._copy is module._copy
    assert pickle.loads(pickle.dumps(module.op.relu)) is module.op.relu
    assert "data" in inspect.signature(module.relu).parameters


@pytest.mark.parametrize("module", [mx.nd, mx.sym], ids=["nd", "sym"])
def test_what_is_not_there_is_not_made_up(module):
    assert not hasattr(module, "no_such_operator")
    for place, missing in ((module, "no_such"), (module.linalg, "relu")):
        with pytest.raises(AttributeError) as caught:
            getattr(place, missing)
        assert str(caught.value) == f"module '{place.__name__}' has no attribute '{missing}'"
    with pytest.raises(ImportError, match="cannot import name 'no_such'"):
        exec(f"from {module.__name__} import no_such")


def test_methods_are_plain_methods_once_used():
    assert mx.nd.NDArray.softmax is mx.nd.softmax
    assert vars(mx.nd.NDArray)["softmax"] is mx.nd.softmax
    assert mx.nd.array([0.0]).softmax().asnumpy().tolist() == [1.0]
    assert mx.sym.Symbol.softmax.__doc__ == mx.sym.softmax.__doc__
    assert mx.sym.var("x").softmax().list_arguments() == ["x"]
