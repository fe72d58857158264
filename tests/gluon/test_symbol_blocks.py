"""Blocks of graphs: what their names begin with, and their element type."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd, sym
from tigon.base import as_dtype
from tigon.gluon import SymbolBlock


def graph() -> Any:
    """Constants, a fill, a conversion, whole numbers, statistics, a loop."""
    x, table = sym.var("x"), sym.var("table", dtype="int64", shape=(2,))
    normed = sym.BatchNorm(sym.FullyConnected(x, num_hidden=2, name="fc"), name="bn")
    shifted = normed + mx.Constant(np.array([0.1, -0.2]), "float32")
    filled = sym.broadcast_mul(shifted, sym.full((1, 2), 0.3, dtype="float32"))
    counted = sym.cast(sym.broadcast_add(table, table), "float32")
    rows, _ = sym.contrib.foreach(
        lambda d, s: (d + s + mx.Constant(np.array([0.7, 0.1]), "float32"), s), filled, counted
    )
    return rows


def block(prefix: str = "", seed: int = 0) -> SymbolBlock:
    net = SymbolBlock(graph(), sym.var("x"), prefix=prefix)
    draw = np.random.default_rng(seed)
    values = {
        "fc_weight": draw.normal(size=(2, 3)), "fc_bias": draw.normal(size=2),
        "bn_gamma": np.ones(2), "bn_beta": draw.normal(size=2),
        "bn_moving_mean": np.zeros(2), "bn_moving_var": np.ones(2),
    }  # fmt: skip
    arrays = {prefix + name: nd.array(value) for name, value in values.items()}
    arrays[prefix + "table"] = nd.array([1, 2], dtype="int64")
    net.load_dict(arrays, dtype_source="saved", cast_dtype=True)
    return net


class Both(gluon.HybridBlock):
    def __init__(self, first: str, second: str) -> None:
        super().__init__()
        with self.name_scope():
            self.first, self.second = block(first, 1), block(second, 2)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.first(x) - self.second(x)


@pytest.mark.filterwarnings("ignore:this graph holds operators:UserWarning")
def test_two_of_one_graph_in_one_block(tmp_path: Path) -> None:
    x = nd.array(np.random.default_rng(3).normal(size=(4, 3)))
    wanted = (block(seed=1)(x) - block(seed=2)(x)).asnumpy()
    net = Both("one_", "two_")
    np.testing.assert_array_equal(net(x).asnumpy(), wanted)
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    names = list(net.collect_params())
    assert [name for name in names if "fc_weight" in name] == ["one_fc_weight", "two_fc_weight"]
    assert "x" in net.first._symbol.list_arguments()
    net.export(str(tmp_path / "both"))
    read = SymbolBlock.imports(
        tmp_path / "both-symbol.json", "data", tmp_path / "both-0000.params", prefix="three_"
    )
    assert set(read.params) == {f"three_{name}" for name in names}
    np.testing.assert_allclose(read(x).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    alike = Both("", "")
    with pytest.raises(mx.TigonError, match=r"has another parameter named .* prefixes"):
        alike.collect_params()
    with pytest.raises(mx.TigonError) as told:
        SymbolBlock(graph(), sym.var("x"), prefix=3)
    assert str(told.value) == "SymbolBlock: prefix: expected a text; given 3"


@pytest.mark.filterwarnings("ignore:this graph holds operators:UserWarning")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_cast_takes_the_graph_with_it(dtype: str) -> None:
    x, net = nd.array(np.random.default_rng(3).normal(size=(4, 3))), block()
    wanted = net(x).asnumpy()
    net.cast(dtype)
    kinds = {name: as_dtype(param.dtype).name for name, param in net.params.items()}
    assert kinds.pop("table") == "int64"
    statistics = {name: kinds.pop(name) for name in list(kinds) if name.startswith("bn_")}
    assert set(kinds.values()) == {dtype}
    assert set(statistics.values()) == {"float64" if dtype == "float64" else "float32"}
    found = net(x.astype(dtype))
    assert as_dtype(found.dtype).name == dtype
    tolerance = {"float16": 4e-3, "bfloat16": 4e-2, "float64": 1e-6}[dtype]
    np.testing.assert_allclose(found.astype("float64").asnumpy(), wanted, atol=tolerance)
    with mx.autograd.record():
        loss = net(x.astype(dtype)).sum()
    loss.backward()
    assert as_dtype(net.params["fc_weight"].grad().dtype).name == dtype
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert (other(x.astype(dtype)) == net(x.astype(dtype))).asnumpy().all()
        other.cast("float32")
        assert other(x).dtype == np.float32
    net.cast("float32")  # constants are those of before, not what was left of them
    text = net._symbol.tojson()
    assert str(float(np.float32(0.7))) in text and dtype not in text
    assert net(x).dtype == np.float32


class Captures(gluon.HybridBlock):
    """Reads an array that is no parameter, before and after its parameters."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(prefix="")
        self.held = nd.array([1.0, 2.0, 3.0])
        self.own = [self.params.get(name, shape=(3,)) for name in names]

    def forward(self, x: Any, y: Any) -> Any:
        total = x * 2 + y * 10 + self.held
        for param in self.own:
            total = total * param.data()
        return total + self.held


@pytest.mark.parametrize(
    "names", [["captured0"], ["data0", "data1", "data0_"], ["captured0_", "captured0", "data1"]]
)
def test_what_nobody_has_named_makes_way_for_parameters(names: list[str], tmp_path: Path) -> None:
    net = Captures(names)
    net.initialize(mx.init.Constant(2))
    x, y = nd.ones((2, 3)), nd.array(np.arange(6).reshape(2, 3))
    wanted = net(x, y).asnumpy()
    net.hybridize()
    np.testing.assert_array_equal(net(x, y).asnumpy(), wanted)
    if "captured0" not in names:
        return
    files = net.export_native(tmp_path / "net", x, x)  # one array for both: they are two inputs
    text = Path(files[-1]).read_text()
    assert "| 0 | `data0` |" in text and "| 1 | `data1" in text
