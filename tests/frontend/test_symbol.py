"""Symbol: building, naming, inferring, differentiating, binding."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd, sym


def network():
    data = sym.var("data")
    hidden = sym.FullyConnected(data, num_hidden=8, name="fc1")
    normed = sym.BatchNorm(sym.Activation(hidden, act_type="relu", name="act"), name="bn")
    return sym.softmax(sym.FullyConnected(normed, num_hidden=3, name="fc2"), name="out")


def test_parameters_are_made_and_listed():
    net = network()
    assert net.list_arguments() == [
        *("data", "fc1_weight", "fc1_bias", "bn_gamma", "bn_beta", "fc2_weight", "fc2_bias"),
    ]
    assert net.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    assert net.list_inputs()[5:7] == ["bn_moving_mean", "bn_moving_var"]
    assert net.list_outputs() == ["out_output"]
    assert net.name == "out"
    plain = sym.FullyConnected(sym.var("x"), num_hidden=1, no_bias=True, name="f")
    assert plain.list_arguments() == ["x", "f_weight"]


def test_automatic_names():
    with mx.name.NameManager():
        x, y = sym.var("x"), sym.var("y")
        made = [
            sym.FullyConnected(x, num_hidden=1),
            sym.FullyConnected(x, num_hidden=1),
            x + y,
            x + 1,
            1 - x,
            x * 2,
            x / y,
            2 / x,
            x**2,
            -x,
            x > y,
            sym.relu(x),
        ]
    assert [symbol.name for symbol in made] == [
        *("fullyconnected0", "fullyconnected1", "_plus0", "_plusscalar0", "_rminusscalar0"),
        *("_mulscalar0", "_div0", "_rdivscalar0", "_powerscalar0", "_mulscalar1", "_greater0"),
        "relu0",
    ]


def test_prefixes_and_attribute_scopes():
    with mx.name.Prefix("net_"), mx.AttrScope(ctx_group="one", __lr_mult__="2"):
        fc = sym.FullyConnected(sym.var("x"), num_hidden=1, name="fc")
    assert fc.name == "net_fc"
    assert fc.list_arguments() == ["x", "net_fc_weight", "net_fc_bias"]
    assert fc.attr("ctx_group") == "one"
    assert fc.attr_dict()["x"]["__lr_mult__"] == "2"
    assert fc.attr("num_hidden") == "1"
    with pytest.raises(mx.TigonError, match="expects a string"):
        mx.AttrScope(a=1)


def test_what_is_said_about_nodes_comes_back_from_files():
    said = {"__mine__": "x", "ctx_group": "one", "__k": "3"}
    with mx.AttrScope(**said):
        fc = sym.FullyConnected(sym.var("x"), num_hidden=1, name="fc")
    with mx.AttrScope(mine="x"):  # this operator reads no attributes
        both = sym.exp(fc, name="exp")
    for symbol in (both, sym.load_json(both.tojson())):
        assert symbol.attr_dict()["fc"].items() >= said.items()
        assert symbol.attr("mine") == "x"


def test_what_would_be_read_as_an_attribute_is_not_said_about_a_node():
    x = sym.var("x")
    message = (
        "Activation: 'act_type' in attr= or an AttrScope would be read as an attribute of the "
        "operator; what is said about a node is named '__act_type__'"
    )
    for own in ("act_type", "mine"):
        made = sym.Activation(x, act_type="relu")
        with mx.AttrScope(**{own: "tanh"}), pytest.raises(mx.TigonError) as within:
            sym.Activation(x, act_type="relu")
        with pytest.raises(mx.TigonError) as given:
            sym.Activation(x, act_type="relu", attr={own: "tanh"})
        with pytest.raises(mx.TigonError) as later:
            made._set_attr(**{own: "tanh"})
        for error in (within, given, later):
            assert str(error.value).startswith(message.replace("act_type", own))
        assert own == "act_type" or made.attr(own) is None


def test_variable_attributes():
    x = sym.var("x", shape=(2, 0), lr_mult=0.5, wd_mult=0, dtype="float64", init="zeros", __a__=1)
    assert x.list_attr() == {
        "lr_mult": "0.5",
        "wd_mult": "0",
        "__shape__": "(2, 0)",
        "__lr_mult__": "0.5",
        "__wd_mult__": "0",
        "__dtype__": "1",
        "__init__": "zeros",
        "__a__": "1",
    }
    with pytest.raises(mx.TigonError, match="attribute 'bogus' of 'x' is not known"):
        sym.var("x", bogus=1)


def test_internals_and_children():
    net = network()
    internals = net.get_internals()
    assert "act_output" in internals.list_outputs()
    assert internals["fc1_output"].list_arguments() == ["data", "fc1_weight", "fc1_bias"]
    assert net.get_children().list_outputs() == ["fc2_output"]
    assert sym.var("x").get_children() is None
    with pytest.raises(mx.TigonError, match="there is no output 'nothing_output'"):
        internals["nothing_output"]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("BatchNorm", ["n_output", "n_mean", "n_var"]),
        ("LayerNorm", ["n_output", "n_mean", "n_std"]),
        ("GroupNorm", ["n_output", "n_mean", "n_std"]),
    ],
)
def test_outputs_with_names_of_their_own(name, names):
    function = getattr(sym, name)
    found = function(sym.var("x"), output_mean_var=True, name="n")
    assert found.list_outputs() == names
    assert found[names[2]].list_outputs() == [names[2]]
    assert function(sym.var("x"), name="n").list_outputs() == names[:1]
    internals = found.get_internals().list_outputs()
    assert [one for one in internals if one in names] == names
    loaded = sym.load_json(found.tojson())
    assert loaded.list_outputs() == names


def test_several_outputs():
    parts = sym.split(sym.var("x"), num_outputs=3, axis=1, name="s")
    assert len(parts) == 3
    assert parts.list_outputs() == ["s_output0", "s_output1", "s_output2"]
    assert parts[1].list_outputs() == ["s_output1"]
    assert parts["s_output2"].list_outputs() == ["s_output2"]
    assert [part.list_outputs()[0] for part in parts] == parts.list_outputs()
    assert sym.concat(*parts, dim=1).infer_shape(x=(2, 6))[1] == [(2, 6)]
    group = sym.Group([parts, sym.var("y")])
    assert group.list_outputs()[-1] == "y"
    assert repr(group[2:]) == "<Symbol group [s, y]>"
    with pytest.raises(IndexError):
        parts[3]
    with pytest.raises(mx.TigonError, match="expected symbols of one output"):
        parts + 1


def test_composition():
    inner = sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc")
    outer = inner(data=sym.relu(sym.var("x")))
    assert outer.list_arguments() == ["x", "fc_weight", "fc_bias"]
    assert inner.list_arguments() == ["data", "fc_weight", "fc_bias"]
    assert inner(sym.var("z"), name="again").list_outputs() == ["again_output"]
    with pytest.raises(mx.TigonError, match="compose: the symbol has no argument 'w'"):
        inner(w=sym.var("x"))


def test_shapes():
    net = network()
    arguments, outputs, auxiliary = net.infer_shape(data=(4, 5))
    assert arguments == [(4, 5), (8, 5), (8,), (8,), (8,), (3, 8), (3,)]
    assert (outputs, auxiliary) == ([(4, 3)], [(8,), (8,)])
    assert net.infer_shape() == (None, None, None)
    assert net.infer_shape_partial()[1] == [()]
    conv = sym.Convolution(sym.var("x"), kernel=(3, 3), num_filter=4, name="c")
    assert conv.infer_shape(x=(1, 2, 8, 8))[0] == [(1, 2, 8, 8), (4, 2, 3, 3), (4,)]
    with pytest.raises(mx.TigonError, match="infer_shape: the symbol has no argument 'z'"):
        net.infer_shape(z=(1,))
    with pytest.raises(mx.TigonError, match="was declared with shape"):
        sym.relu(sym.var("x", shape=(2, 3))).infer_shape(x=(3, 3))


def test_shapes_of_peers():
    a, b, c = (sym.var(name) for name in "abc")
    assert ((a + b * 2) * c).infer_shape(a=(2, 3))[0] == [(2, 3)] * 3
    with pytest.raises(mx.TigonError, match="do not broadcast"):
        (a + b).infer_shape(a=(2,), b=(3,))


def test_types():
    net = network()
    arguments, outputs, auxiliary = net.infer_type(data="float64")
    assert set(arguments) == set(outputs) == set(auxiliary) == {np.float64}
    assert sym.cast(sym.var("x"), dtype="int32").infer_type(x="float32")[1] == [np.int32]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize(
    "net",
    [
        lambda x: sym.FullyConnected(x, num_hidden=2, name="net"),
        lambda x: sym.BatchNorm(sym.Convolution(x, num_filter=2, kernel=(1,)), name="net"),
        lambda x: sym.LeakyReLU(x, act_type="prelu", name="net"),
        lambda x: x * sym.var("net_factor") + sym.exp(sym.var("net_bias")),
        lambda x: sym.SoftmaxOutput(sym.flatten(x), name="net"),
    ],
    ids="dense batch_norm prelu by_element output".split(),
)
def test_dtypes_of_parameters_follow_without_shapes(net, dtype):
    symbol = net(sym.cast(sym.var("x"), dtype=dtype))
    bound = symbol.simple_bind(mx.cpu(), x=(2, 3, 4))
    arguments, outputs, auxiliary = symbol.infer_type(x="float32")
    assert arguments == [array.dtype for array in bound.arg_arrays]
    assert auxiliary == [array.dtype for array in bound.aux_arrays]
    assert outputs == [array.dtype for array in bound.forward()]
    block = mx.gluon.SymbolBlock(symbol, [sym.var("x")])
    block.initialize()
    block(nd.ones((2, 3, 4)))
    for name, param in block.params.items():
        assert param.data().dtype == {**bound.arg_dict, **bound.aux_dict}[name].dtype


def test_weights_of_an_embedding_are_as_it_says():
    found = sym.Embedding(sym.var("x"), input_dim=3, output_dim=2, dtype="float16", name="e")
    assert found.infer_type(x="float32")[0] == [np.float32, np.float16]


def test_shape_of_a_symbol():
    x = sym.var("x", shape=(2, 3))
    assert (x + 1).sum(axis=1).shape == (2,)
    assert (x * 2).dtype is np.float32
    with pytest.raises(mx.TigonError, match="its shape is not known yet; it depends on y"):
        _ = (x + sym.var("y")).shape


def test_what_symbols_cannot_do():
    x = sym.var("x")
    for act in (x.asnumpy, x.asscalar, x.copy, x.detach, x.backward, x.wait_to_read):
        with pytest.raises(sym.NotImplementedForSymbol):
            act()
    with pytest.raises(mx.TigonError, match=r"test_symbol\.py:\d+"):
        if x > 0:
            pass
    for convert in (int, float):
        with pytest.raises(mx.TigonError, match="has no value while the program is traced"):
            convert(x)
    with pytest.raises(mx.TigonError, match="given an NDArray"):
        x + nd.ones(1)
    with pytest.raises(mx.TigonError, match="given an NDArray"):
        nd.ones(1) * x


def test_nd_functions_take_symbols():
    x = sym.var("x")
    y = nd.relu(x) + nd.broadcast_add(x, 1)
    assert isinstance(y, sym.Symbol)
    assert y.eval(x=nd.array([-1, 2]))[0].asnumpy().tolist() == [0, 5]


def test_copies():
    net = network()
    for other in (copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.tojson() == net.tojson()
    other = copy.deepcopy(net)
    other._set_attr(__mark__="yes")
    assert net.attr("__mark__") is None


def test_operators_agree_with_arrays():
    rng = np.random.default_rng(0)
    values = {"x": rng.uniform(0.5, 2, (2, 3)), "y": rng.uniform(0.5, 2, (2, 3))}
    rules = [
        lambda x, y: x + y * 2 - 1,
        lambda x, y: (1 - x) / y,
        lambda x, y: 2 / x % y,
        lambda x, y: 2**x + x**y + x**2,
        lambda x, y: (x > y) + (x >= 1) + (x == y) + (x != 1) + (2 < x),
        lambda x, y: abs(-x) @ y.T,
        lambda x, y: x.sum(axis=1).expand_dims(0) + y.reshape((3, 2)).mean(),
        lambda x, y: x.slice_axis(axis=1, begin=0, end=2).transpose((1, 0)).astype("int32"),
    ]
    for rule in rules:
        symbol = rule(sym.var("x"), sym.var("y"))
        arrays = {name: nd.array(value) for name, value in values.items()}
        names = symbol.list_inputs()
        got = symbol.eval(**{name: arrays[name] for name in names})[0]
        assert np.allclose(got.asnumpy(), rule(**arrays).asnumpy(), rtol=1e-6)


def test_gradients_as_symbols():
    x, w = sym.var("x"), sym.var("w")
    y = sym.tanh(sym.dot(x, w))
    dx, dw = y.grad(wrt=[x, "w"])
    f = mx.compile([y, dx, dw])
    rng = np.random.default_rng(0)
    xv, wv = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    value, gx, gw = (array.asnumpy() for array in f(x=xv, w=wv))
    slope = 1 - np.tanh(xv @ wv) ** 2
    assert np.allclose(value, np.tanh(xv @ wv))
    assert np.allclose(gx, slope @ wv.T)
    assert np.allclose(gw, xv.T @ slope)
    assert isinstance(y.grad(wrt=x), sym.Symbol)
    unrelated = mx.compile(sym.relu(x).grad(wrt=[x])[0])
    assert unrelated(x=np.ones(2)).asnumpy().tolist() == [1, 1]
    with pytest.raises(mx.TigonError, match="expected arguments of the symbol in wrt"):
        y.grad(wrt=[sym.var("z")])


def test_gradient_where_nothing_flows():
    x, y = sym.var("x"), sym.var("y")
    z = sym.BlockGrad(x) * y
    gx, gy = z.grad(wrt=[x, y])
    values = mx.compile([gx, gy])(x=np.ones(2) * 3, y=np.ones(2))
    assert [v.asnumpy().tolist() for v in values] == [[0, 0], [3, 3]]


# ------------------------------------------------------------------------------ executors


def test_executor_forward_and_backward():
    a, b = sym.var("a"), sym.var("b")
    args = {"a": nd.array([1, 2]), "b": nd.array([3, 4])}
    grads = {"a": nd.zeros(2), "b": nd.zeros(2)}
    executor = (a * b).bind(mx.cpu(), args, grads, grad_req={"a": "write", "b": "add"})
    assert executor.forward(is_train=True)[0].asnumpy().tolist() == [3, 8]
    executor.backward(nd.ones(2))
    executor.backward([nd.ones(2)])
    assert grads["a"].asnumpy().tolist() == [3, 4]
    assert grads["b"].asnumpy().tolist() == [2, 4]
    args["a"][:] = 10
    assert executor.forward()[0].asnumpy().tolist() == [30, 40]
    assert executor.forward(a=np.array([0, 1]))[0].asnumpy().tolist() == [0, 4]
    assert executor.output_dict.keys() == {executor._symbol.list_outputs()[0]}
    assert executor.arg_arrays[0] is args["a"]
    assert executor.grad_arrays[1] is grads["b"]
    assert executor.grad_dict["a"] is grads["a"]
    assert args["a"].grad is None


def test_backward_without_forward():
    x = sym.var("x")
    grad = nd.zeros(2)
    executor = (x * x).bind(args=[nd.array([1, 2])], args_grad=[grad])
    executor.backward(out_grads=nd.ones(2))
    assert grad.asnumpy().tolist() == [2, 4]


def test_backward_needs_gradients_of_what_is_not_a_loss():
    x = sym.var("x")
    executor = (x * x).bind(args=[nd.ones(2)], args_grad=[nd.zeros(2)])
    with pytest.raises(mx.TigonError, match="is not a loss, so its gradient must be given"):
        executor.backward()
    with pytest.raises(mx.TigonError, match="expected 1 out_grads"):
        executor.backward([nd.ones(2)] * 2)


def test_simple_bind_trains_a_network():
    mx.random.seed(0)
    executor = network().simple_bind(mx.cpu(), data=(6, 5), grad_req="write")
    for name, array in executor.arg_dict.items():
        array[:] = 1 if name.endswith("gamma") else nd.random.normal(shape=array.shape)
    executor.aux_dict["bn_moving_var"][:] = 1
    before = executor.aux_dict["bn_moving_mean"].asnumpy()
    executor.forward(is_train=True)
    executor.backward(nd.random.normal(shape=(6, 3)))
    assert executor.grad_dict["fc1_weight"].asnumpy().any()
    assert not np.array_equal(executor.aux_dict["bn_moving_mean"].asnumpy(), before)
    after = executor.aux_dict["bn_moving_mean"].asnumpy()
    executor.forward(is_train=False)
    assert np.array_equal(executor.aux_dict["bn_moving_mean"].asnumpy(), after)
    assert executor.outputs[0].shape == (6, 3)
    null = network().simple_bind(data=(6, 5), grad_req="null")
    assert set(null.grad_dict.values()) == {None}


def test_dtypes_of_simple_bind():
    executor = network().simple_bind(data=(2, 5), type_dict={"data": "float64"})
    assert {array.dtype for array in executor.arg_arrays} == {np.float64}
    assert executor.forward()[0].dtype is np.float64


def test_copy_params_and_reshape():
    executor = network().simple_bind(data=(2, 5))
    executor.copy_params_from({"fc1_bias": nd.ones(8)}, {"bn_moving_mean": nd.ones(8)})
    assert executor.arg_dict["fc1_bias"].asnumpy().all()
    assert executor.aux_dict["bn_moving_mean"].asnumpy().all()
    with pytest.raises(mx.TigonError, match="has no argument 'extra'"):
        executor.copy_params_from({"extra": nd.ones(1)})
    executor.copy_params_from({"extra": nd.ones(1)}, allow_extra_params=True)
    with pytest.raises(mx.TigonError, match=r"argument 'fc1_bias': expected shape \(8,\)"):
        executor.copy_params_from({"fc1_bias": nd.ones(3)})
    wider = executor.reshape(data=(7, 5))
    assert wider.arg_dict["fc1_bias"] is executor.arg_dict["fc1_bias"]
    assert wider.forward()[0].shape == (7, 3)
    with pytest.raises(mx.TigonError, match="expected shape"):
        executor.forward(data=np.zeros((7, 5)))


def test_monitor():
    seen = {}
    executor = network().simple_bind(data=(2, 5))
    executor.set_monitor_callback(lambda name, array: seen.update({name: array.shape}))
    executor.forward()
    assert seen["fc1_output"] == (2, 8)
    assert "data" not in seen


def test_random_symbols_follow_the_seed():
    draw = sym.random.uniform(shape=(3,)) + sym.random.uniform(shape=(3,))
    f = mx.compile(draw)
    mx.random.seed(5)
    compiled = f().asnumpy()
    mx.random.seed(5)
    imperative = (nd.random.uniform(shape=3) + nd.random.uniform(shape=3)).asnumpy()
    assert np.array_equal(compiled, imperative)
    assert not np.array_equal(compiled, f().asnumpy())


def test_dropout_draws_alike():
    x = nd.ones((4, 8))
    f = mx.compile(sym.Dropout(sym.var("x"), p=0.5))
    with autograd.train_mode():
        mx.random.seed(9)
        compiled = f(x=x).asnumpy()
        mx.random.seed(9)
        imperative = nd.Dropout(x, p=0.5).asnumpy()
    assert np.array_equal(compiled, imperative)
    assert f(x=x).asnumpy().tolist() == np.ones((4, 8)).tolist()


# ------------------------------------------------------------------------------- compile


def test_compiled_functions():
    a, b = mx.Variable("a"), mx.Variable("b")
    f = mx.compile(a + b * 2)
    assert f.arguments == ["a", "b"]
    assert f(a=np.ones(2), b=nd.ones(2, dtype="float64")).dtype is np.float64
    assert f(a=nd.ones(2), b=nd.ones(2)).dtype is np.float32
    assert f(a=[1, 2], b=3).asnumpy().tolist() == [7, 8]
    assert len(mx.compile([a])(a=[1])) == 1


def test_compiled_functions_are_recorded():
    square = sym.var("x")
    f = mx.compile(square * square)
    x = nd.array([1, 2])
    x.attach_grad()
    with autograd.record():
        y = f(x=x)
    y.backward()
    assert x.grad.asnumpy().tolist() == [2, 4]


def test_memory_plan_of_declared_shapes():
    a = mx.Variable("a", shape=(10,), dtype="float64")
    f = mx.compile(a * 2 + 1)
    assert f.memory_plan.total_bytes == 160
    assert len(f.kernels) == 1
    with pytest.raises(mx.TigonError, match="its shapes are not known yet"):
        _ = mx.compile(mx.Variable("a") + 1).memory_plan


def test_donation():
    f = mx.compile(mx.Variable("a") * 2)
    a = nd.ones(10)
    assert f(a=a, donate=["a"]).asnumpy().tolist() == [2] * 10
    with pytest.raises(mx.TigonError):
        a + 1
    with pytest.raises(mx.TigonError, match="two different variables are named"):
        mx.compile(sym.var("x") * sym.var("x"))
    with pytest.raises(mx.TigonError, match="only NDArrays can be donated"):
        f(a=np.ones(10), donate=["a"])
    with pytest.raises(mx.TigonError, match="donate: the symbol has no argument 'b'"):
        mx.compile(mx.Variable("a") * 2, donate=["b"])


# ------------------------------------------------------------------------------ contexts


def test_bound_arrays_are_where_it_is_bound() -> None:
    net = sym.BatchNorm(sym.var("x"), name="bn", fix_gamma=True)
    names = ["x", "bn_gamma", "bn_beta"]
    shapes = {"x": (2, 3), "bn_gamma": (3,), "bn_beta": (3,)}

    def bound(at: Any, ctx: Any, **elsewhere: Any) -> Any:
        def made(name: str, shape: Any) -> Any:
            return nd.ones(shape, ctx=elsewhere.get(name, at))

        return net.bind(
            ctx,
            {name: made(name, shapes[name]) for name in names},
            {"x": made("grad", shapes["x"])},
            aux_states=[made("mean", (3,)), made("var", (3,))],
        )

    for ctx in (mx.cpu(1), [mx.cpu(1)], None):
        executor = bound(mx.cpu(1), ctx)
        assert executor.forward()[0].context == mx.cpu(1)
        smaller = executor.reshape(x=(1, 3), partial_shaping=True)
        assert smaller.forward()[0].context == mx.cpu(1)
    for elsewhere, name in (
        ("bn_gamma", "argument 'bn_gamma'"),
        ("grad", "gradient of 'x'"),
        ("var", "auxiliary state 'bn_moving_var'"),
    ):
        with pytest.raises(mx.TigonError) as raised:
            bound(mx.cpu(1), mx.cpu(1), **{elsewhere: mx.cpu(0)})
        assert str(raised.value) == (
            f"bind: {name}: expected an array on cpu(1), where it is bound; given one on cpu(0); "
            "move it with as_in_context, or bind all to cpu(0)"
        )
        if elsewhere != "grad":
            bound(mx.cpu(1), None, **{elsewhere: mx.cpu(0)})  # of one kind, as anywhere else
    with pytest.raises(mx.TigonError) as raised:
        bound(mx.cpu(1), None, grad=mx.cpu(0))
    assert str(raised.value) == (
        "bind: args_grad of 'x': expected an array on cpu(1), like the argument; given one on "
        "cpu(0); move it with as_in_context"
    )
    with pytest.raises(mx.TigonError, match=r"^bind: argument 'a': expected an array on cpu\(1\)"):
        (sym.var("a") + 1).eval(mx.cpu(1), a=nd.ones(1))
    made_of_nothing = sym.zeros((2,))
    assert made_of_nothing.bind(mx.cpu(1), {}).forward()[0].context == mx.cpu(1)
    assert made_of_nothing.eval(mx.cpu(1))[0].context == mx.cpu(1)
    simple = net.simple_bind(mx.cpu(1), x=(2, 3))
    arrays = (*simple.arg_arrays, *simple.grad_arrays, *simple.aux_arrays, *simple.forward())
    assert {array.context for array in arrays} == {mx.cpu(1)}
