"""`register_op_hook`, and architectures in files: `Block.save` and `load`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError
from tigon.gluon import nn

pytestmark = pytest.mark.filterwarnings("ignore:.*gives way:RuntimeWarning")


class Seen(list):
    def __call__(self, name: str, operator: str, array: nd.NDArray) -> None:
        self.append((name, operator, array.asnumpy()))

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self]


def network(**keywords: Any) -> nn.HybridSequential:
    mx.random.seed(5)
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(3), nn.Activation("relu"), nn.Dropout(0.5), nn.BatchNorm())
    net.initialize(mx.init.Normal(1), **keywords)
    return net


X = np.random.RandomState(3).randn(6, 4)


def test_names_and_operators() -> None:
    net, seen, whole = network(), Seen(), Seen()
    net.hybridize()
    net.register_op_hook(seen)
    net.register_op_hook(whole, monitor_all=True)
    net(nd.array(X))
    assert [(name, operator) for name, operator, _ in seen] == [
        ("net_dense0_fwd_output", "FullyConnected"),
        ("net_relu0_fwd_output", "Activation"),
        ("net_dropout0_fwd_output", "Dropout"),
        ("net_batchnorm0_fwd_output", "BatchNorm"),
    ]
    assert whole.names[:5] == [
        "net_dense0_fwd_data",
        "net_dense0_fwd_weight",
        "net_dense0_fwd_bias",
        "net_dense0_fwd_output",
        "net_relu0_fwd_data",
    ]
    np.testing.assert_array_equal(whole[0][2], X.astype(np.float32))
    np.testing.assert_array_equal(whole[1][2], net[0].weight.data().asnumpy())


def test_a_call_is_as_without_and_told_as_it_was() -> None:
    def run(hooked: bool) -> list[np.ndarray]:
        net, seen = network(), Seen()
        net.hybridize()
        net(nd.array(X))
        if hooked:
            net.register_op_hook(seen)
        found = []
        for _ in range(3):
            seen.clear()
            with autograd.record():
                out = net(nd.array(X))
            out.backward()
            if hooked:
                np.testing.assert_allclose(seen[-1][2], out.asnumpy(), rtol=1e-5, atol=1e-5)
                assert (seen[2][2] == 0).any()
            found += [out, net[0].weight.grad(), net[3].running_mean.data()]
        found.append(nd.random.uniform(shape=(4,)))
        return [array.asnumpy() for array in found]

    for plain, hooked in zip(run(False), run(True), strict=True):
        np.testing.assert_array_equal(plain, hooked)


def test_what_is_told_and_when() -> None:
    net, seen = network(), Seen()
    hooks = net.register_op_hook(seen)
    net(nd.array(X))
    assert seen == []  # Python code, of which forward hooks tell
    net.hybridize()
    with hooks:
        net(nd.array(X))
        assert len(seen) == 4  # not again by the layers within
    net(nd.array(X))
    assert len(seen) == 4

    outer = nn.Sequential()
    outer.add(network(), nn.Dense(1, prefix="last_"))
    outer[1].initialize()
    outer.register_op_hook(seen)
    for block in outer:
        block.hybridize()
    seen.clear()
    outer(nd.array(X))
    assert len(seen) == 5 and seen.names[-1] == "last_fwd_output"


def test_shapes_and_several_inputs() -> None:
    class Net(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, pair: Any) -> Any:
            y = F.broadcast_add(x, pair[0], name="sum").reshape((x.shape[0], -1))
            return F.split(y, num_outputs=2, name="cut"), F.relu(pair[1], name="rest")

    net, seen = Net(prefix="net_"), Seen()
    net.hybridize()
    net.register_op_hook(seen)
    net(nd.ones((2, 2, 2)), [nd.ones((2, 1, 2)), -nd.ones(3)])
    assert seen.names[:1] == ["net_sum_output"]
    assert seen.names[-3:] == ["net_cut_output0", "net_cut_output1", "net_rest_output"]
    assert seen[-1][2].tolist() == [0, 0, 0] and seen[-2][2].shape == (2, 2)


def test_code_that_is_no_graph() -> None:
    class Net(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return x * 2 if x.sum() > 0 else x

    net = Net()
    net.hybridize()
    net.register_op_hook(Seen())
    with pytest.raises(TigonError, match=r"register_op_hook: the code of net\d+ is not one graph"):
        net(nd.ones(3))


def test_saved_with_the_architecture(tmp_path: Path) -> None:
    net = network()
    expected = net(nd.array(X)).asnumpy()
    net.save(tmp_path / "net")
    written = json.loads((tmp_path / "net-model.json").read_text())
    assert written["blocks"] == {
        "": "HybridSequential", "0": "Dense", "1": "Activation", "2": "Dropout", "3": "BatchNorm"
    }  # fmt: skip
    other = network(force_reinit=True)
    other.initialize(mx.init.One(), force_reinit=True)
    other.load(tmp_path / "net")
    np.testing.assert_array_equal(other(nd.array(X)).asnumpy(), expected)


def test_files_of_other_architectures(tmp_path: Path) -> None:
    net = network()
    net(nd.array(X))
    net.save(tmp_path / "net")
    other = nn.HybridSequential()
    other.add(nn.Dense(3), nn.Activation("relu"), nn.Dense(2))
    with pytest.raises(TigonError) as error:
        other.load(tmp_path / "net")
    assert str(error.value).startswith(
        f"Block.load: HybridSequential.2: expected Dropout, as in {tmp_path}/net-model.json; given "
        "Dense; build the network"
    )
    other.add(nn.BatchNorm())
    (tmp_path / "net-model.json").write_text("{}")
    with pytest.raises(TigonError, match=r"net-model\.json is no file that Block\.save wrote"):
        other.load(tmp_path / "net")
    with pytest.raises(FileNotFoundError):
        other.load(tmp_path / "nowhere")
