"""Mixed precision: networks that are converted, their files, and a program for MXNet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.contrib.amp_training import name_of, network, samples
from tigon import gluon, nd, sym
from tigon.contrib import amp
from tigon.contrib.amp.policies import names_within
from tigon.gluon import nn

ROOT = Path(__file__).parents[2]


def test_converted_blocks(tmp_path: Path) -> None:
    net = network()
    data, _ = samples()
    exact = net(data).asnumpy()
    for dtype, tolerance in (("float16", 5e-3), ("bfloat16", 5e-2)):
        low = amp.convert_hybrid_block(net, dtype)
        assert name_of(low(data)) == dtype
        np.testing.assert_allclose(low(data).astype("float32").asnumpy(), exact, atol=tolerance)
        assert {p.dtype for p in low.collect_params().values()} == {"float32"}
        kept = amp.convert_hybrid_block(net, dtype, cast_optional_params=True)
        np.testing.assert_array_equal(
            kept(data).astype("float32").asnumpy(), low(data).astype("float32").asnumpy()
        )
        dtypes = {name: p.dtype for name, p in kept.collect_params().items()}
        assert {n for n, d in dtypes.items() if d == "float32"} == {
            f"net_batchnorm0_{n}" for n in ("gamma", "beta", "running_mean", "running_var")
        }
    assert name_of(net(data)) == "float32"


def test_files_of_converted_blocks(tmp_path: Path) -> None:
    net = network()
    data, _ = samples()
    low = amp.convert_hybrid_block(net)

    def imported(block: Any, name: str, **options: Any) -> Any:
        files = block.export(tmp_path / name, **options)
        return gluon.SymbolBlock.imports(files[0], "data", files[1])

    plain = imported(low, "plain")
    np.testing.assert_array_equal(plain(data).asnumpy(), net(data).asnumpy())
    mixed = imported(low, "mixed", remove_amp_cast=False)
    np.testing.assert_array_equal(mixed(data).asnumpy(), low(data).asnumpy())
    assert "amp_cast" in (tmp_path / "mixed-symbol.json").read_text()
    assert "amp_cast" not in (tmp_path / "plain-symbol.json").read_text()
    kept = amp.convert_hybrid_block(net, cast_optional_params=True)
    again = imported(kept, "kept", remove_amp_cast=False)
    np.testing.assert_array_equal(again(data).asnumpy(), low(data).asnumpy())
    assert again.collect_params()["net_dense0_weight"].dtype == "float16"
    size = {n: (tmp_path / f"{n}-0000.params").stat().st_size for n in ("kept", "mixed")}
    assert size["kept"] < 0.6 * size["mixed"]
    with pytest.raises(mx.TigonError) as told:
        kept.export(tmp_path / "broken")
    assert str(told.value) == (
        "export: parameter 'net_conv0_weight' was converted with cast_optional_params, and fits "
        "the graph with its casts alone; pass remove_amp_cast=False"
    )
    assert not (tmp_path / "broken-symbol.json").exists()


def test_a_block_that_trains_mixed_is_exported_plain_or_mixed(tmp_path: Path) -> None:
    amp.init()
    net = network()
    net.hybridize()
    data, _ = samples()
    low = net(data)
    files = net.export(tmp_path / "plain")
    amp.amp._uninstall()
    plain = gluon.SymbolBlock.imports(files[0], "data", files[1])
    assert name_of(plain(data)) == "float32"
    amp.init()
    files = net.export(tmp_path / "mixed", remove_amp_cast=False)
    amp.amp._uninstall()
    mixed = gluon.SymbolBlock.imports(files[0], "data", files[1])
    np.testing.assert_array_equal(mixed(data).asnumpy(), low.asnumpy())


def test_blocks_of_several_inputs_in_order() -> None:
    class Two(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, y: Any) -> Any:
            return F.FullyConnected(y, x, no_bias=True, num_hidden=2)

    net = Two()
    x, y = nd.ones((2, 3)), nd.full((5, 3), 2.0)
    expected = net(x, y).asnumpy()
    low = amp.convert_hybrid_block(net)
    np.testing.assert_array_equal(low(x, y).asnumpy(), expected)
    again = amp.convert_hybrid_block(low, "bfloat16")
    assert name_of(again(x, y)) == "bfloat16"
    a, b = sym.var("left"), sym.var("right")
    read = gluon.SymbolBlock(sym.FullyConnected(b, a, no_bias=True, num_hidden=2), [a, b])
    np.testing.assert_array_equal(amp.convert_hybrid_block(read)(x, y).asnumpy(), expected)
    net.hybridize()
    net(x, y)
    np.testing.assert_array_equal(amp.convert_hybrid_block(net)(x, y).asnumpy(), expected)


def test_converted_symbols() -> None:
    data = sym.var("data")
    first = sym.FullyConnected(data, num_hidden=4, name="fc1")
    symbol = sym.softmax(sym.FullyConnected(first, num_hidden=4, name="fc2") + first, name="out")
    low = amp.convert_symbol(symbol)
    assert low.list_arguments() == symbol.list_arguments()
    assert low.list_outputs() == symbol.list_outputs()
    assert amp.convert_symbol(low).debug_str() == low.debug_str()
    assert "bfloat16" in amp.convert_symbol(low, "bfloat16").debug_str()
    assert low.tojson() == symbol.tojson()
    again = sym.load_json(low.tojson(remove_amp_cast=False))
    assert again.debug_str() == low.debug_str()
    spared = amp.convert_symbol(symbol, excluded_sym_names=["fc1", "fc2", "out"]).debug_str()
    assert spared.count("amp_cast(") == 0
    chosen = amp.convert_symbol(
        symbol, target_dtype_ops=["softmax"], fp32_ops=[], conditional_fp32_ops=[]
    )
    assert chosen.debug_str().count("amp_cast(") == 1


def test_models(tmp_path: Path) -> None:
    symbol = sym.FullyConnected(sym.var("data"), num_hidden=4, name="fc")
    symbol = sym.BatchNorm(symbol, name="bn")
    random = np.random.default_rng(0)
    arguments = {
        "fc_weight": nd.array(random.standard_normal((4, 3))),
        "fc_bias": nd.zeros(4),
        "bn_gamma": nd.ones(4),
        "bn_beta": nd.zeros(4),
    }
    states = {"bn_moving_mean": nd.zeros(4), "bn_moving_var": nd.ones(4)}
    data = nd.array(random.standard_normal((2, 3)))

    def run(symbol: Any, arguments: Any, states: Any) -> Any:
        executor = symbol.bind(mx.cpu(), {"data": data, **arguments}, aux_states=states)
        return executor.forward(is_train=False)[0]

    exact = run(symbol, arguments, states).asnumpy()
    for optional in (False, True):
        low, args, aux = amp.convert_model(symbol, arguments, states, cast_optional_params=optional)
        wanted = "float16" if optional else "float32"
        assert {name_of(args[n]) for n in ("fc_weight", "fc_bias")} == {wanted}
        assert {name_of(a) for n, a in {**args, **aux}.items() if "bn" in n} == {"float32"}
        found = run(low, args, aux)
        assert name_of(found) == "float16"
        np.testing.assert_allclose(found.asnumpy(), exact, rtol=5e-3, atol=1e-3)
        mx.model.save_checkpoint(tmp_path / "m", 1, low, args, aux, remove_amp_cast=False)
        loaded, a, b = mx.model.load_checkpoint(tmp_path / "m", 1)
        np.testing.assert_array_equal(run(loaded, a, b).asnumpy(), found.asnumpy())
        assert sym.load_json(low.tojson()).debug_str() == symbol.debug_str()
        assert "__dtype__" not in str(sym.load_json(low.tojson()).attr_dict())
    assert name_of(arguments["fc_weight"]) == "float32", "what is given stays"


def test_what_conversion_refuses() -> None:
    symbol = sym.exp(sym.var("x"))
    for call, said in (
        (
            lambda: amp.convert_symbol(nd.ones(1)),
            "amp.convert_symbol: sym: expected a Symbol; given NDArray",
        ),
        (
            lambda: amp.convert_symbol(symbol, "float32"),
            "amp.convert_symbol: target_dtype: expected 'float16' or 'bfloat16'; given 'float32'",
        ),
        (
            lambda: amp.convert_symbol(symbol, excluded_sym_names="exp0"),
            "amp.convert_symbol: excluded_sym_names: expected a list of names of nodes; given "
            "'exp0'",
        ),
        (
            lambda: amp.convert_model(symbol, [], {}),
            "amp.convert_model: arg_params: expected a dictionary of arrays by name; given list",
        ),
        (
            lambda: amp.convert_hybrid_block(gluon.Block()),
            "amp.convert_hybrid_block: block: expected a HybridBlock; given Block; derive it from "
            "HybridBlock, so that it has a graph",
        ),
        (
            lambda: amp.convert_bucketing_module(None),
            "amp.convert_bucketing_module: bucketing_mod: expected a BucketingModule; given "
            "NoneType",
        ),
    ):
        with pytest.raises(mx.TigonError) as told:
            call()
        assert str(told.value) == said
    with pytest.raises(mx.TigonError, match=r"^amp\.convert_hybrid_block: .* has no values yet"):
        amp.convert_hybrid_block(nn.Dense(2))


def test_names_that_nothing_has() -> None:
    symbol = sym.softmax(sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc"), name="out")
    for arguments, said in (
        ({"excluded_sym_names": ["fcc"]}, "excluded_sym_names: there is no node 'fcc'; did you "),
        ({"excluded_sym_names": ["?"]}, "excluded_sym_names: there is no node '?'; debug_str() "),
        ({"data_names": ["date"]}, "data_names: there is no input 'date'; did you mean 'data'?"),
        ({"data_names": "data"}, "data_names: expected a list of names of inputs; given 'data'"),
    ):
        with pytest.raises(mx.TigonError) as told:
            amp.convert_symbol(symbol, **arguments)
        assert str(told.value).startswith(f"amp.convert_symbol: {said}")
    made = amp.convert_symbol(symbol, excluded_sym_names=["fc"], data_names=["data"])
    assert "FullyConnected(%data, %fc_weight, %fc_bias)" in made.debug_str()


def test_nodes_of_loops_can_be_excluded() -> None:
    def body(x: Any, state: Any) -> Any:
        h = sym.FullyConnected(x, num_hidden=2, name="inner") + state
        return h, h

    out, _ = sym.contrib.foreach(body, sym.var("xs"), sym.var("s"))
    inner = [
        name
        for name in names_within(out._graph())
        if name.startswith("inner") and not name.endswith(("weight", "bias"))
    ]
    assert len(inner) == 1
    assert "dtype='float16'" in amp.convert_symbol(out).debug_str()
    assert "dtype='float16'" not in amp.convert_symbol(out, excluded_sym_names=inner).debug_str()


def test_a_bucketing_module() -> None:
    def generate(key: int) -> Any:
        data = sym.var("data")
        net = sym.Embedding(data, input_dim=5, output_dim=4, name="embed")
        net = sym.FullyConnected(sym.mean(net, axis=1), num_hidden=3, name="fc")
        return sym.softmax(net, name="out"), ["data"], []

    module = mx.mod.BucketingModule(generate, default_bucket_key=6)
    with pytest.raises(mx.TigonError, match="have no values yet"):
        amp.convert_bucketing_module(module)
    module.bind([("data", (2, 6))], for_training=False)
    module.init_params(mx.init.Xavier())
    for optional in (False, True):
        low = amp.convert_bucketing_module(module, cast_optional_params=optional)
        low.bind([("data", (2, 6))], for_training=False)
        for key in (6, 3):
            batch = mx.io.DataBatch(
                [nd.ones((2, key))], bucket_key=key, provide_data=[("data", (2, key))]
            )
            module.forward(batch, is_train=False)
            low.forward(batch, is_train=False)
            exact, found = module.get_outputs()[0], low.get_outputs()[0]
            np.testing.assert_allclose(found.asnumpy(), exact.asnumpy(), rtol=5e-3)
            assert not np.array_equal(found.asnumpy(), exact.asnumpy())
        weight = low.get_params()[0]["fc_weight"]
        assert name_of(weight) == ("float16" if optional else "float32")


def test_module_fit_after_init(tmp_path: Path) -> None:
    data, label = samples()
    amp.init("bfloat16")
    net = sym.FullyConnected(sym.Flatten(sym.var("data")), num_hidden=16, name="fc1")
    net = sym.FullyConnected(sym.relu(net), num_hidden=4, name="fc2")
    net = sym.SoftmaxOutput(net, sym.var("softmax_label"), name="softmax")
    batches = mx.io.NDArrayIter(data, label, 32)
    module = mx.mod.Module(net)
    before = mx.runtime.stats()["whole_steps"]
    module.fit(
        batches, num_epoch=12, initializer=mx.init.Xavier(), optimizer_params={"learning_rate": 0.3}
    )
    assert mx.runtime.stats()["whole_steps"] > before
    assert module.score(batches, "acc")[0][1] > 0.9
    assert {name_of(a) for a in module.get_params()[0].values()} == {"float32"}
    module.save_checkpoint(str(tmp_path / "plain"), 1)
    module.save_checkpoint(str(tmp_path / "mixed"), 1, remove_amp_cast=False)
    for stem, casts in (("plain", False), ("mixed", True)):
        text = (tmp_path / f"{stem}-symbol.json").read_text()
        assert ('"op": "amp_cast"' in text) is casts
        again = mx.mod.Module.load(str(tmp_path / stem), 1)
        again.bind(batches.provide_data, batches.provide_label, for_training=False)
        assert again.score(batches, "acc")[0][1] > 0.9


PROGRAM = """
import logging
logging.basicConfig(level=logging.INFO)
import mxnet as mx
from mxnet import gluon, autograd
from mxnet.contrib import amp
from mxnet.contrib.amp import lists
from mxnet.contrib.amp.lists.symbol_fp16 import FP16_FUNCS
from mxnet.gluon.model_zoo.vision import get_model

amp.init()
amp.init()
assert amp.amp._amp_initialized and "Convolution" in FP16_FUNCS is lists.symbol.FP16_FUNCS
net = get_model("resnet18_v1", classes=3, thumbnail=True)
net.initialize(mx.init.Xavier(), ctx=mx.cpu())
net.hybridize(static_alloc=True, static_shape=True)
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01})
amp.init_trainer(trainer)
loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()
data, label = mx.nd.random.uniform(shape=(2, 3, 32, 32)), mx.nd.array([0, 1])
for _ in range(2):
    with autograd.record():
        loss = loss_fn(net(data), label)
        with amp.scale_loss(loss, trainer) as scaled_loss:
            autograd.backward(scaled_loss)
    trainer.step(2)
low = amp.convert_hybrid_block(net, ctx=mx.cpu())
print(low(data).dtype.__name__, net.features[0].weight.grad().dtype.__name__)
"""


def test_a_program_that_says_mxnet(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tigon", "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "float16 float32\n"
    assert done.stderr.count("Using AMP") == 1
