"""Functions and parts that are made at their first use look as if they had always been there."""

import inspect
import pickle

import pytest

import tigon as mx
from tigon.ops import names
from tigon.ops.frontend import GROUPS, members


@pytest.mark.parametrize("module", [mx.nd, mx.sym], ids=["nd", "sym"])
def test_every_registered_name_is_there(module):
    public = {name for name in names() if not name.startswith("_")}
    assert public <= set(dir(module)) & set(dir(module.op))
    for group in GROUPS:
        for short in members(group):
            function = getattr(getattr(module, group), short)
            assert callable(function) and function.__doc__


PUBLIC = [mx, mx.nd, mx.sym, mx.nd.contrib, mx.gluon, mx.gluon.nn, mx.gluon.loss, mx.gluon.data]
PUBLIC += [mx.metric, mx.optimizer, mx.init, mx.lr_scheduler, mx.io, mx.random, mx.autograd, mx.viz]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_dir_shows_what_is_for_users(module):
    shown = [name for name in dir(module) if not name.startswith("__")]
    assert shown
    for name in shown:
        assert not name.startswith("_")
        assert name not in ("Any", "annotations", "TYPE_CHECKING", "math", "np") or (
            module is mx.metric and name == "np"
        )
        assert hasattr(module, name)


def test_dir_knows_the_groups():
    assert {"contrib", "image", "linalg", "op", "random"} <= set(dir(mx.nd))
    assert "_plus_scalar" in dir(mx.nd._internal)


@pytest.mark.parametrize("kind", [mx.optimizer.Adam, mx.gluon.nn.Conv2D, mx.gluon.nn.Dropout])
def test_signatures_of_classes_are_whole(kind):
    taken = inspect.signature(kind).parameters
    assert not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
    expected = {
        "Adam": {"learning_rate", "beta1", "beta2", "epsilon", "wd", "lr_scheduler"},
        "Conv2D": {"channels", "kernel_size", "layout", "activation", "in_channels", "prefix"},
        "Dropout": {"rate", "axes", "prefix", "params"},
    }[kind.__name__]
    assert expected <= set(taken)


LAYERS = {name: getattr(m, name) for m in (mx.gluon.nn, mx.gluon.loss) for name in m.__all__}


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_describe_what_they_take(name):
    text = LAYERS[name].__doc__
    assert text.count("Parameters\n----------\n") == 1
    section = text.split("----------\n")[1].splitlines()
    described = [line.split(",")[0] for line in section if not line.startswith(" ")]
    assert described == list(inspect.signature(LAYERS[name]).parameters)
    assert len(section) == 2 * len(described)


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


def test_what_is_made_within_a_block_is_no_change_of_its_own():
    """Of the groups, too: operators are made where a hybridized block first asks for them."""

    class Block(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return F.contrib.div_sqrt_dim(x) + F.linalg.gemm2(x, x) + mx.nd.contrib.isnan(x)

    for module in (mx.sym.contrib, mx.sym.linalg, mx.nd.contrib, mx.nd.linalg):
        for name in ("div_sqrt_dim", "gemm2", "isnan"):
            vars(module).pop(name, None)
    block = Block()
    block.hybridize(strict=True)
    block(mx.nd.ones((2, 2)))
