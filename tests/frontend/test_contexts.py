"""Whatever takes a context refuses what is not there, and ignores none silently."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym
from tigon import test_utils as tools
from tigon.contrib import amp, caffe, cxxnet, onnx
from tigon.contrib.onnx.exporting import model_of
from tigon.gluon import nn
from tigon.gluon.model_zoo import vision
from tigon.ops.attributes import attr_fields
from tigon.ops.record import all_operators
from tigon.ops.signature import Signature

NAMES = ("ctx", "context", "contexts", "ctx_list", "device", "group2ctx")
ABSENT = [mx.gpu(0), mx.gpu(1), [mx.gpu(0)], mx.cpu(-1)]
SEVERAL = [[mx.cpu(0), mx.cpu(1)], (mx.cpu(1), mx.cpu(0))]
MIXED = [(mx.cpu(0), mx.gpu(0)), [mx.cpu(0), mx.cpu(0)]]
REFUSED = [*ABSENT, *SEVERAL, *MIXED]
ACCEPTED = [None, mx.cpu(), mx.cpu(0), [mx.cpu()], (mx.cpu(0),), mx.cpu(1), mx.cpu_pinned()]
SENTENCE = "there is no (gpu|cpu)|expected one context; given|expected each context once"


def public_callables() -> Iterator[tuple[str, Any]]:
    """Functions and methods of the package, found by looking around."""
    seen: set[Any] = set()
    stack: list[tuple[str, Any]] = [("tigon", mx)]
    while stack:
        where, owner = stack.pop()
        for name in sorted(dir(owner)):
            if name.startswith("_"):
                continue
            try:
                value = getattr(owner, name)
            except AttributeError:
                continue
            module = getattr(value, "__name__" if inspect.ismodule(value) else "__module__", "")
            if not isinstance(module, str) or not module.startswith("tigon") or "._" in module:
                if not isinstance(owner, type):
                    continue
            if (inspect.ismodule(value) or isinstance(value, type)) and value not in seen:
                seen.add(value)
                stack.append((f"{where}.{name}", value))
            if callable(value):
                yield f"{where}.{name}", value


def taking_a_context() -> dict[str, tuple[Any, str]]:
    """By where they are written, so that inherited methods count once."""
    found: dict[str, tuple[Any, str]] = {}
    for _, function in public_callables():
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            continue
        for name in NAMES:
            if name in parameters:
                plain = inspect.unwrap(function)
                home = f"{plain.__module__}.{plain.__qualname__}({name})"
                found.setdefault(home, (function, name))
    return found


def dense() -> Any:
    net = nn.Dense(1, in_units=2)
    net.initialize()
    return net


PROTOTXT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
        inner_product_param { num_output: 1 } }
"""
LOSSES = """
layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 2 dim: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
"""
CXXNET = """
netconfig = start
layer[+1:f] = fullc:f
  nhidden = 2
netconfig = end
input_shape = 1,1,3
batch_size = 4
"""


def saved(folder: Path) -> str:
    path = str(folder / "net.params")
    dense().save_parameters(path)
    return path


def exported(folder: Path) -> str:
    net = nn.Dense(1, in_units=2)
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 2)))
    net.export(str(folder / "net"))
    return str(folder / "net")


def written(folder: Path, text: str, name: str = "rows") -> str:
    (folder / name).write_bytes(text.encode("latin-1"))
    return str(folder / name)


def kept(folder: Path) -> str:
    mx.model.save_checkpoint(str(folder / "kept"), 0, LOSS, {}, {})
    return str(folder / "kept")


S = sym.var("a") + 1
LOSS = sym.SoftmaxOutput(sym.FullyConnected(sym.var("data"), num_hidden=2), name="softmax")


def traced(context: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it gives way where that is another context
        return mx.jit(lambda x: x.as_in_context(context))(nd.ones(2))


def made_default(context: Any) -> None:
    before = mx.current_context()
    try:
        tools.set_default_context(context)
    finally:
        tools.set_default_context(before)


def capability(context: Any) -> None:
    with pytest.raises(mx.TigonError) as error:
        mx.util.get_cuda_compute_capability(context)
    if "is no graphics processor" not in str(error.value):
        raise error.value


ONE = [np.ones(1, np.float32)]
RECIPES: dict[str, Callable[[Any, Path], Any]] = {
    "tigon.test_utils.surroundings.set_default_context(ctx)": lambda c, _: made_default(c),
    "tigon.test_utils.symbols.check_consistency(ctx_list)": lambda c, _: tools.check_consistency(
        S, [{"ctx": c, "a": (1,)}] * 2
    ),
    "tigon.test_utils.symbols.check_numeric_gradient(ctx)": lambda c, _: (
        tools.check_numeric_gradient(S, ONE, ctx=c)
    ),
    "tigon.test_utils.symbols.check_speed(ctx)": lambda c, _: tools.check_speed(S, ctx=c, N=1, a=1),
    "tigon.test_utils.symbols.check_symbolic_backward(ctx)": lambda c, _: (
        tools.check_symbolic_backward(S, ONE, ONE, ONE, ctx=c)
    ),
    "tigon.test_utils.symbols.check_symbolic_forward(ctx)": lambda c, _: (
        tools.check_symbolic_forward(S, ONE, [ONE[0] + 1], ctx=c)
    ),
    "tigon.test_utils.symbols.simple_forward(ctx)": lambda c, _: tools.simple_forward(
        S, c, a=ONE[0]
    ),
    "tigon.test_utils.values.rand_ndarray(ctx)": lambda c, _: tools.rand_ndarray((2,), ctx=c),
    "tigon.util.get_cuda_compute_capability(ctx)": lambda c, _: capability(c),
    "tigon.nd.ndarray._as_in_context(context)": lambda c, _: nd.ones(2).as_in_context(c),
    "tigon.sym.traced.ArraySymbol.as_in_context(context)": lambda c, _: traced(c),
    "tigon.nd.creation.array(ctx)": lambda c, _: nd.array([1, 2], ctx=c),
    "tigon.nd.creation.empty(ctx)": lambda c, _: nd.empty(2, ctx=c),
    "tigon.nd.creation.zeros(ctx)": lambda c, _: nd.zeros(2, ctx=c),
    "tigon.nd.creation.ones(ctx)": lambda c, _: nd.ones(2, ctx=c),
    "tigon.nd.creation.full(ctx)": lambda c, _: nd.full(2, 7, ctx=c),
    "tigon.nd.creation.arange(ctx)": lambda c, _: nd.arange(3, ctx=c),
    "tigon.nd.creation.linspace(ctx)": lambda c, _: nd.linspace(0, 1, 3, ctx=c),
    "tigon.nd.creation.eye(ctx)": lambda c, _: nd.eye(2, ctx=c),
    "tigon.nd.sampling.uniform(ctx)": lambda c, _: nd.random.uniform(shape=2, ctx=c),
    "tigon.nd.sampling.normal(ctx)": lambda c, _: nd.random.normal(shape=2, ctx=c),
    "tigon.nd.sampling.randn(ctx)": lambda c, _: nd.random.randn(2, ctx=c),
    "tigon.nd.sampling.randint(ctx)": lambda c, _: nd.random.randint(0, 3, shape=2, ctx=c),
    "tigon.nd.sampling.exponential(ctx)": lambda c, _: nd.random.exponential(shape=2, ctx=c),
    "tigon.nd.sampling.bernoulli(ctx)": lambda c, _: nd.random.bernoulli(shape=2, ctx=c),
    "tigon.nd.sampling.gamma(ctx)": lambda c, _: nd.random.gamma(shape=2, ctx=c),
    "tigon.nd.sampling.poisson(ctx)": lambda c, _: nd.random.poisson(shape=2, ctx=c),
    "tigon.nd.sampling.negative_binomial(ctx)": lambda c, _: nd.random.negative_binomial(
        shape=2, ctx=c
    ),
    "tigon.nd.sampling.generalized_negative_binomial(ctx)": lambda c, _: (
        nd.random.generalized_negative_binomial(shape=2, ctx=c)
    ),
    "tigon.nd.sampling.shuffle(ctx)": lambda c, _: nd.random.shuffle(nd.ones(2), ctx=c),
    "tigon.sym.sampling.uniform(ctx)": lambda c, _: sym.random.uniform(shape=(2,), ctx=c),
    "tigon.sym.sampling.normal(ctx)": lambda c, _: sym.random.normal(shape=(2,), ctx=c),
    "tigon.sym.sampling.randn(ctx)": lambda c, _: sym.random.randn(2, ctx=c),
    "tigon.sym.sampling.randint(ctx)": lambda c, _: sym.random.randint(0, 3, shape=(2,), ctx=c),
    "tigon.sym.sampling.exponential(ctx)": lambda c, _: sym.random.exponential(shape=(2,), ctx=c),
    "tigon.sym.sampling.gamma(ctx)": lambda c, _: sym.random.gamma(shape=(2,), ctx=c),
    "tigon.sym.sampling.poisson(ctx)": lambda c, _: sym.random.poisson(shape=(2,), ctx=c),
    "tigon.sym.sampling.negative_binomial(ctx)": lambda c, _: sym.random.negative_binomial(
        shape=(2,), ctx=c
    ),
    "tigon.sym.sampling.generalized_negative_binomial(ctx)": lambda c, _: (
        sym.random.generalized_negative_binomial(shape=(2,), ctx=c)
    ),
    "tigon.sym.functions.zeros(ctx)": lambda c, _: sym.zeros((2,), ctx=c),
    "tigon.sym.functions.ones(ctx)": lambda c, _: sym.ones((2,), ctx=c),
    "tigon.sym.functions.full(ctx)": lambda c, _: sym.full((2,), 7, ctx=c),
    "tigon.sym.functions.eye(ctx)": lambda c, _: sym.eye(2, ctx=c),
    "tigon.random.seed(ctx)": lambda c, _: mx.random.seed(1, ctx="all" if c is None else c),
    "tigon.sym.executor.Executor(ctx)": lambda c, _: mx.Executor(
        S, c, {"a": nd.ones(1)}, {}, {"a": "null"}, {}
    ),
    "tigon.sym.executor.bind(group2ctx)": lambda c, _: S.bind(
        None, {"a": nd.ones(1)}, group2ctx={"g": c}
    ),
    "tigon.sym.executor.bind(ctx)": lambda c, _: S.bind(c, {"a": nd.ones(1, ctx=c)}),
    "tigon.sym.executor.simple_bind(ctx)": lambda c, _: S.simple_bind(c, a=(1,)),
    "tigon.sym.executor.simple_bind(group2ctx)": lambda c, _: S.simple_bind(
        None, a=(1,), group2ctx={"g": c}
    ),
    "tigon.sym.symbol.Symbol.eval(ctx)": lambda c, _: S.eval(c, a=nd.ones(1, ctx=c)),
    "tigon.gluon.block.block.Block.initialize(ctx)": lambda c, _: nn.Dense(1).initialize(ctx=c),
    "tigon.gluon.block.block.Block.load_parameters(ctx)": lambda c, f: dense().load_parameters(
        saved(f), ctx=c
    ),
    "tigon.gluon.block.block.Block.load_dict(ctx)": lambda c, _: dense().load_dict(
        {"weight": nd.ones((1, 2)), "bias": nd.ones(1)}, ctx=c
    ),
    "tigon.contrib.amp.amp.convert_hybrid_block(ctx)": lambda c, _: amp.convert_hybrid_block(
        dense(), ctx=c
    ),
    "tigon.gluon.block.symbol_block.SymbolBlock.imports(ctx)": lambda c, f: (
        gluon.SymbolBlock.imports(f"{exported(f)}-symbol.json", "data", ctx=c)
    ),
    "tigon.gluon.parameter.parameter.Parameter.data(ctx)": lambda c, _: dense().weight.data(c),
    "tigon.gluon.parameter.parameter.Parameter.grad(ctx)": lambda c, _: dense().weight.grad(c),
    "tigon.gluon.parameter.parameter.Parameter.initialize(ctx)": lambda c, _: (
        dense().weight.initialize(ctx=c, force_reinit=True)
    ),
    "tigon.gluon.parameter.parameter.Parameter.reset_ctx(ctx)": lambda c, _: (
        dense().weight.reset_ctx(c)
    ),
    "tigon.gluon.parameter.dictionary.ParameterDict.initialize(ctx)": lambda c, _: (
        gluon.ParameterDict().initialize(ctx=c)
    ),
    "tigon.gluon.parameter.dictionary.ParameterDict.reset_ctx(ctx)": lambda c, _: (
        gluon.ParameterDict().reset_ctx(c)
    ),
    "tigon.gluon.parameter.dictionary.ParameterDict.load(ctx)": lambda c, f: (
        dense().collect_params().load(saved(f), ctx=c, ignore_extra=True, allow_missing=True)
    ),
    "tigon.gluon.parameter.dictionary.ParameterDict.load_dict(ctx)": lambda c, _: (
        gluon.ParameterDict().load_dict({}, ctx=c)
    ),
    "tigon.gluon.parameter.files.load_into(ctx)": lambda c, _: gluon.ParameterDict().load_dict(
        {}, c
    ),
    "tigon.gluon.utils.split_and_load(ctx_list)": lambda c, _: gluon.utils.split_and_load(
        nd.ones((2, 3)), [mx.cpu()] if c is None else c if isinstance(c, (list, tuple)) else [c]
    ),
    "tigon.io.rows.CSVIter(ctx)": lambda c, f: mx.io.CSVIter(
        data_csv=written(f, "1\n2\n"), data_shape=(1,), ctx=c
    ).next(),
    "tigon.io.rows.LibSVMIter(ctx)": lambda c, f: mx.io.LibSVMIter(
        data_libsvm=written(f, "1 0:1\n"), data_shape=(1,), ctx=c
    ).next(),
    "tigon.io.rows.MNISTIter(ctx)": lambda c, f: mx.io.MNISTIter(
        image=written(f, "\0\0\x08\x03" + "\0\0\0\x01" * 3 + "\1"),
        label=written(f, "\0\0\x08\x01\0\0\0\x01\1", "label"),
        batch_size=1,
        ctx=c,
    ).next(),
    "tigon.gluon.contrib.estimator.estimator.Estimator(context)": lambda c, _: (
        gluon.contrib.estimator.Estimator(nn.Dense(1), gluon.loss.L2Loss(), context=c)
    ),
    "tigon.module.module.Module(context)": lambda c, _: mx.mod.Module(LOSS, context=c),
    "tigon.module.bucketing_module.BucketingModule(context)": lambda c, _: mx.mod.BucketingModule(
        lambda key: (LOSS, ["data"], ["softmax_label"]), 1, context=c
    ),
    "tigon.module.feed_forward.FeedForward(ctx)": lambda c, _: mx.model.FeedForward(LOSS, ctx=c),
    "tigon.module.feed_forward.FeedForward.create(ctx)": lambda c, _: mx.model.FeedForward.create(
        LOSS, np.ones((4, 2)), np.ones(4), ctx=c, num_epoch=1
    ),
    "tigon.module.feed_forward.FeedForward.load(ctx)": lambda c, f: mx.model.FeedForward.load(
        kept(f), 0, ctx=c
    ),
    "tigon.contrib.caffe.net.load_net(ctx)": lambda c, f: caffe.load_net(
        written(f, PROTOTXT, "net.prototxt"), ctx=c
    ),
    "tigon.contrib.caffe.net.CaffeNet.load_caffemodel(ctx)": lambda c, f: caffe.load_net(
        written(f, PROTOTXT, "net.prototxt")
    ).load_caffemodel(written(f, "", "net.caffemodel"), c, allow_missing=True),
    "tigon.contrib.caffe.solver.Solver.fit(ctx)": lambda c, f: caffe.load_solver(
        written(
            f, f"base_lr: 0.1 lr_policy: 'fixed' max_iter: 1 net_param {{ {PROTOTXT} {LOSSES} }}"
        )
    ).fit({"x": np.ones((2, 3)), "y": np.ones((2, 1))}, ctx=c),
    "tigon.contrib.cxxnet.load(context)": lambda c, f: cxxnet.load(written(f, CXXNET), c),
    "tigon.contrib.cxxnet.loads(context)": lambda c, _: cxxnet.loads(CXXNET, context=c),
    "tigon.contrib.cxxnet.network.Network(context)": lambda c, _: cxxnet.loads(CXXNET, context=c),
    "tigon.contrib.onnx.importing.import_to_gluon(ctx)": lambda c, _: onnx.import_to_gluon(
        model_of(dense(), shapes=[(1, 2)]), c
    ),
    "tigon.gluon.model_zoo.model_store.with_parameters(ctx)": lambda c, _: vision.get_model(
        "alexnet", ctx=c
    ),
}
for _name in (
    "alexnet get_densenet get_mobilenet get_mobilenet_v2 get_resnet get_squeezenet get_vgg "
    "inception_v3"
).split():
    _arguments = {
        "alexnet": (),
        "get_densenet": (121,),
        "inception_v3": (),
        "get_mobilenet": (0.25,),
        "get_mobilenet_v2": (0.25,),
        "get_resnet": (1, 18),
        "get_squeezenet": ("1.0",),
        "get_vgg": (11,),
    }[_name]
    RECIPES[f"{_name}(ctx)"] = lambda c, _, name=_name, arguments=_arguments: getattr(vision, name)(
        *arguments, ctx=c
    )


SPARSE = nd.sparse.row_sparse_array((np.ones((1, 2)), [1]), shape=(3, 2))
RECIPES |= {
    "tigon.nd.stored.base.BaseSparseNDArray.as_in_context(context)": lambda c, _: (
        SPARSE.as_in_context(mx.cpu() if c is None else c)
    ),
    "tigon.nd.stored.creation.array(ctx)": lambda c, _: nd.sparse.array(SPARSE, ctx=c),
    "tigon.nd.stored.creation.csr_matrix(ctx)": lambda c, _: nd.sparse.csr_matrix((2, 3), ctx=c),
    "tigon.nd.stored.creation.row_sparse_array(ctx)": lambda c, _: nd.sparse.row_sparse_array(
        ([[1, 2]], [1]), shape=(3, 2), ctx=c
    ),
    "tigon.nd.stored.creation.zeros(ctx)": lambda c, _: nd.sparse.zeros("csr", (2, 3), ctx=c),
}


RECIPES_OF_THE_ZOO = [home for home in RECIPES if "." not in home]

TOLD = {"tigon.operator.CustomOpProp.create_operator(ctx)"}
"""Methods that users override, and that are told a context."""
NUMBERED = {
    "tigon.nd.stored.base.BaseSparseNDArray(device)",
    "tigon.nd.stored.base.BaseSparseNDArray.with_nothing(device)",
    "tigon.nd.stored.matrix.CSRNDArray.with_nothing(device)",
    "tigon.nd.stored.rows.RowSparseNDArray.with_nothing(device)",
}
"""What only the package calls, with the number of a device."""


def recipe(home: str) -> Callable[[Any, Path], Any] | None:
    return RECIPES.get(home) or RECIPES.get(home.rpartition(".")[2])


def test_every_taker_of_a_context_is_tried() -> None:
    found = taking_a_context()
    assert len(found) > 30
    known = TOLD | NUMBERED
    without = sorted(home for home in found if home not in known and recipe(home) is None)
    assert not without, "say here how to call them"


TAKES_SEVERAL = (
    *(
        "initialize",
        "reset_ctx",
        "load",
        "imports",
        "split_and_load",
        "(group2ctx)",
        "convert_hybrid_block",
    ),
    *("Module(", "FeedForward", "Estimator", "cxxnet.network", "import_to_gluon"),
)
WHERE_IT_IS = ("Parameter.data", "Parameter.grad", "Block.load")
"""Of parameters that are there already."""


def is_for_several(home: str) -> bool:
    return any(word in home for word in TAKES_SEVERAL) or "model_store" in home


@pytest.mark.parametrize("home", sorted(RECIPES))
def test_what_is_not_there_is_refused(home: str, tmp_path: Path) -> None:
    for context in ABSENT:
        with pytest.raises(mx.TigonError, match=SENTENCE):
            RECIPES[home](context, tmp_path)


@pytest.mark.parametrize("home", sorted(RECIPES))
def test_several_are_refused_by_what_needs_one(home: str, tmp_path: Path) -> None:
    for context in MIXED:
        with pytest.raises(mx.TigonError, match=SENTENCE):
            RECIPES[home](context, tmp_path)
    if not (is_for_several(home) or "vision" in home or home in RECIPES_OF_THE_ZOO):
        for context in SEVERAL:
            with pytest.raises(mx.TigonError, match=SENTENCE):
                RECIPES[home](context, tmp_path)


@pytest.mark.parametrize("home", sorted(RECIPES))
def test_cpu_contexts_are_accepted(home: str, tmp_path: Path) -> None:
    for context in ACCEPTED:
        if any(word in home for word in WHERE_IT_IS) and context in (mx.cpu(1), mx.cpu_pinned()):
            with pytest.raises(mx.TigonError, match=r"is (not )?on cpu"):
                RECIPES[home](context, tmp_path)
        elif context is not None or "as_in_context" not in home:
            RECIPES[home](context, tmp_path)


@pytest.mark.parametrize("context", REFUSED, ids=str)
def test_other_ways_to_name_a_context(context: Any) -> None:
    for use in (
        lambda: nd.ones(2).copyto(context),
        lambda: nd.ones(2).as_in_ctx(context),
        lambda: nd.ones(2).to_device(context),
    ):
        with pytest.raises(mx.TigonError, match=SENTENCE):
            use()
    if isinstance(context, mx.Context):
        with pytest.raises(mx.TigonError, match=SENTENCE), context:
            pass
    assert mx.current_context() == mx.cpu()


def test_every_operator_refuses() -> None:
    for op in all_operators():
        if "ctx" in attr_fields(op.attrs_type):
            continue
        for context in (*REFUSED, "gpu(0)"):
            with pytest.raises(mx.TigonError, match=SENTENCE):
                Signature(op).placed({"ctx": context})
        for context in (*ACCEPTED, "cpu(0)", "cpu"):
            Signature(op).placed({"ctx": context})


def test_nothing_takes_a_context_among_words_without_meaning() -> None:
    """`**_` is for what other versions of MXNet take: a context is never among it."""
    swallowing = []
    for where, function in public_callables():
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            continue
        nameless = "_" in parameters and parameters["_"].kind is inspect.Parameter.VAR_KEYWORD
        # Not `Symbol.astype`, which makes no array, nor what is no function of ours.
        own = inspect.isfunction(function) and function.__name__ != "<lambda>"
        if nameless and own and "ctx" not in parameters and ".base." not in function.__module__:
            swallowing.append(where)
    assert not swallowing


@pytest.mark.parametrize("number", ["0", 1.5, None, [0]])
def test_what_is_no_number_of_a_device_is_refused(number: Any) -> None:
    for make in (mx.cpu, mx.gpu, mx.cpu_pinned, lambda given: mx.Context("cpu", given)):
        with pytest.raises(mx.TigonError) as raised:
            make(number)
        assert str(raised.value) == (
            f"Context: expected the number of a device, as in mx.cpu(0); given {number!r}"
        )
    assert mx.cpu(np.int64(1)) == mx.cpu(1)


def test_there_are_no_gpus() -> None:
    assert mx.num_gpus() == mx.context.num_gpus() == 0


def test_a_trainer_of_parameters_in_two_places() -> None:
    one, other = dense(), nn.Dense(1, in_units=2)
    other.initialize(ctx=mx.cpu(1))
    params = [*one.collect_params().values(), *other.collect_params().values()]
    trainer = gluon.Trainer(params, "sgd")
    with autograd.record():
        loss = one(nd.ones((1, 2))) + other(nd.ones((1, 2), ctx=mx.cpu(1)))
    loss.backward()
    with pytest.raises(
        mx.TigonError, match="Trainer: expected all parameters on the same contexts"
    ):
        trainer.step(1)


@pytest.mark.parametrize("context", [mx.cpu(), [mx.cpu(0)], mx.cpu(1), mx.cpu_pinned()], ids=str)
def test_training_on_one_context(context: Any) -> None:
    net = nn.Dense(1, in_units=1, weight_initializer="ones", use_bias=False)
    net.initialize(ctx=context)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1.0})
    (part,) = gluon.utils.split_and_load(np.array([[4.0], [12.0]]), net.weight.list_ctx())
    with autograd.record():
        loss = net(part)
    loss.backward()
    trainer.step(1)
    assert net.weight.data().asscalar() == 1 - 16


def test_arrays_of_groups_lie_where_their_group_is(tmp_path: Path) -> None:
    with mx.AttrScope(ctx_group="first"):
        hidden = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, name="fc1")
    with mx.AttrScope(ctx_group="second"):
        last = mx.sym.FullyConnected(mx.sym.relu(hidden), num_hidden=3, name="fc2")
        normed = mx.sym.BatchNorm(last, name="norm")
    out = mx.sym.SoftmaxOutput(normed, name="softmax")
    places = {"first": mx.cpu(1), "second": mx.cpu(2)}
    out.save(str(tmp_path / "net-symbol.json"))
    answers = []
    for symbol in (out, mx.sym.load(str(tmp_path / "net-symbol.json"))):
        for groups in (places, None):
            executor = symbol.simple_bind(mx.cpu(0), group2ctx=groups, data=(5, 6))
            own = {**executor.arg_dict, **executor.aux_dict}
            expected = {"data": 1, "fc1": 1, "fc2": 2, "norm": 2, "softmax": 0}
            for name, array in own.items():
                number = expected[name.split("_")[0]] if groups else 0
                assert array.context == mx.cpu(number), name
                gradient = executor.grad_dict.get(name)
                assert gradient is None or gradient.context == array.context
                values = np.random.default_rng(len(name)).uniform(size=array.shape)
                array[:] = nd.array(values, dtype=array.dtype)
            executor.forward(is_train=True)
            executor.backward()
            answers.append([a.asnumpy() for a in [*executor.outputs, *executor.grad_arrays]])
    for answer in answers[1:]:
        for one, other in zip(answers[0], answer, strict=True):
            np.testing.assert_array_equal(one, other)
