"""What blocks, their files and the helpers of training take, at other values than the defaults."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import TigonError, autograd, gluon, nd
from tigon.gluon import nn


class Tied(nn.HybridSequential):
    """A layer twice, and one that shares its parameters."""

    def __init__(self) -> None:
        super().__init__(prefix="tied_")
        with self.name_scope():
            first = nn.Dense(2, in_units=2)
            self.add(first, first, nn.Dense(2, in_units=2, params=first.params))


def values(net: gluon.Block) -> list[np.ndarray]:
    return [param.data().asnumpy() for param in net.collect_params().values()]


@pytest.mark.parametrize("deduplicate", [False, True])
def test_shared_parameters_in_files(tmp_path: Path, deduplicate: bool) -> None:
    net, path = Tied(), str(tmp_path / "net.params")
    net.initialize(mx.init.Normal(1))
    net.save_parameters(path, deduplicate=deduplicate)
    names = ["0.weight", "0.bias"]
    every = [f"{n}.{name}" for n in range(3) for name in ("weight", "bias")]
    assert sorted(nd.load(path)) == sorted(names if deduplicate else every)
    other = Tied()
    other.load_parameters(path)
    for one, two in zip(values(net), values(other), strict=True):
        np.testing.assert_array_equal(one, two)


def pair() -> nn.HybridSequential:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(2, in_units=3), nn.Dense(1, in_units=2))
    return net


LOADS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "allow_missing": ({"1.bias": None}, {"allow_missing": True}, "lacks '1.bias'"),
    "ignore_extra": ({"2.bias": [1]}, {"ignore_extra": True}, "has '2.bias'"),
    "cast_dtype": ({"1.bias": np.array([3.0])}, {"cast_dtype": True}, "expects float32"),
    "dtype_source": ({"1.bias": np.array([3.0])}, {"dtype_source": "saved"}, "expects float32"),
}


@pytest.mark.parametrize("by", ["path", "name", "dictionary"])
@pytest.mark.parametrize("name", LOADS)
def test_files_that_nearly_fit(tmp_path: Path, name: str, by: str) -> None:
    changes, options, refusal = LOADS[name]
    net, path = pair(), str(tmp_path / "net.params")
    net.initialize()
    by_path = {key: param.name for key, param in net._collect_params_with_prefix().items()}
    by_path["2.bias"] = "net_dense2_bias"
    arrays = {key: nd.ones(p.shape) * 5 for key, p in net._collect_params_with_prefix().items()}
    for key, change in changes.items():
        if change is None:
            del arrays[key]
        else:
            wide = isinstance(change, np.ndarray)
            arrays[key] = nd.array(change, dtype="float64" if wide else "float32")
    if by == "name":
        arrays = {by_path[key]: array for key, array in arrays.items()}
        refusal = refusal.replace("1.bias", by_path["1.bias"]).replace("2.bias", by_path["2.bias"])
    before = values(net)

    def load(**given: Any) -> None:
        if by == "dictionary":
            net.load_dict(arrays, **given)
        else:
            nd.save(path, arrays)
            net.load_parameters(path, **given)

    with pytest.raises(TigonError, match=refusal):
        load()
    for one, two in zip(before, values(net), strict=True):
        np.testing.assert_array_equal(one, two)
    load(**options)
    found = {param.name: param.data() for param in net.collect_params().values()}
    assert found["net_dense0_weight"].asnumpy().tolist() == [[5] * 3] * 2
    last = found["net_dense1_bias"]
    assert last.dtype == (np.float64 if options.get("dtype_source") else np.float32)
    assert last.asscalar() == {"allow_missing": before[3][0], "ignore_extra": 5}.get(name, 3)


def test_names_of_blocks() -> None:
    outer = nn.Sequential(prefix="outer_")
    with outer.name_scope():
        first, named, empty = nn.Dense(1), nn.Dense(1, prefix="own_"), nn.Sequential(prefix="")
        with empty.name_scope():
            inside = nn.Dense(1)  # the scope stays that of the block around
        last = nn.Dense(1)
    assert [b.prefix for b in (first, named, empty, inside, last)] == [
        "outer_dense0_", "outer_own_", "outer_", "outer_dense1_", "outer_dense2_",
    ]  # fmt: skip
    assert (outer.name, nn.Dense(1, prefix="plain").name) == ("outer", "plain")
    shared = nn.Dense(1, params=first.params, prefix="other_")
    assert shared.prefix == "other_" and shared.weight.name == "outer_dense0_weight"
    assert nn.Dense(1).prefix != nn.Dense(1).prefix
    assert first.params is not outer.params and first.params.prefix == "outer_dense0_"


def test_children_are_registered_replaced_and_removed() -> None:
    net = nn.HybridSequential()
    net.register_child(nn.Dense(1, in_units=1))
    net.register_child(nn.Dense(2, in_units=1), "named")
    net.layer = nn.Dense(3, in_units=1)
    assert list(net._children) == ["0", "named", "layer"]
    net.layer = nn.Dense(4, in_units=1)
    assert len(net.collect_params()) == 6 and net.layer.weight.shape == (4, 1)
    with pytest.raises(TypeError, match="holds Dense; cannot change it to int"):
        net.layer = 1
    net.layer = None
    assert list(net._children) == ["0", "named"] and net.layer is None
    net.weight = gluon.Parameter("weight", shape=(1,))
    assert list(net._collect_params_with_prefix()) == [
        "weight", "0.weight", "0.bias", "named.weight", "named.bias",
    ]  # fmt: skip
    net.weight = nn.Dense(1, in_units=1)  # a layer in the place of a parameter
    assert "weight" not in net._reg_params and "weight.bias" in net._collect_params_with_prefix()
    net.weight = gluon.Parameter("weight", shape=(1,))
    assert "weight" not in net._children
    del net.weight
    assert not hasattr(net, "weight") and "weight" not in net._reg_params

    class Early(gluon.Block):
        def __init__(self, value: Any) -> None:
            self.layer = value

    for value in (nn.Dense(1), gluon.Parameter("a", shape=(1,))):
        with pytest.raises(TigonError, match=r"call super\(\).__init__\(\) before"):
            Early(value)


def test_parameters_are_selected_and_cast() -> None:
    net = pair()
    assert list(net.collect_params(".*1_")) == ["net_dense1_weight", "net_dense1_bias"]
    assert list(net.collect_params().select(".*bias")) == ["net_dense0_bias", "net_dense1_bias"]
    assert len(net.collect_params("dense")) == 0  # from the beginning of the name on
    net.initialize()
    net.cast("float64")
    assert {param.dtype for param in net.collect_params().values()} == {"float64"}
    assert {param.data().dtype for param in net.collect_params().values()} == {np.float64}
    assert {param.grad().dtype for param in net.collect_params().values()} == {np.float64}
    assert net(nd.ones((1, 3), dtype="float64")).dtype == np.float64


def test_an_initialization_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    net = pair()
    net.initialize(verbose=True)
    assert capsys.readouterr().out.count("initialized net_dense") == 4
    before = values(net)
    with pytest.warns(UserWarning, match="already initialized"):
        net.initialize()
    net.initialize(force_reinit=True)
    assert (values(net)[0] != before[0]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair().initialize(ctx=mx.cpu(0))


@pytest.mark.parametrize("hybridize", [False, True])
def test_hooks_end(hybridize: bool) -> None:
    net = nn.Dense(1, in_units=2)
    net.initialize()
    net.hybridize(hybridize)
    calls: list[str] = []
    with net.register_forward_pre_hook(lambda *_: calls.append("before")):
        with net.register_forward_hook(lambda *_: calls.append("after")):
            net(nd.ones((1, 2)))
        net(nd.ones((1, 2)))
    net(nd.ones((1, 2)))
    assert calls == ["before", "after", "before"]


# -- helpers


@pytest.mark.parametrize("axis", [0, 1])
def test_batches_are_split(axis: int) -> None:
    x = np.arange(20).reshape(4, 5)
    x = x if axis else x.T
    parts = gluon.utils.split_data(nd.array(x), 3, batch_axis=axis, even_split=False)
    expected = np.array_split(x, 3, axis=axis)
    for part, other in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part.asnumpy(), other)
    parts = gluon.utils.split_and_load(x, [mx.cpu(0), mx.cpu(1)], axis, even_split=False)
    for part, other in zip(parts, np.array_split(x, 2, axis=axis), strict=True):
        np.testing.assert_array_equal(part.asnumpy(), other)
    assert [part.context for part in parts] == [mx.cpu(0), mx.cpu(1)]
    assert len(gluon.utils.split_data(nd.array(x), 5, axis)) == 5  # as many as there are
    for count, even in ((6, False), (2, True), (0, False)):
        with pytest.raises(TigonError, match="split_data: "):
            gluon.utils.split_data(nd.array(x), count, axis, even)


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("limit", [1.0, 13.0, 20.0])
def test_gradients_are_clipped_together(limit: float, checks: bool) -> None:
    arrays = [nd.array([3.0, 0.0]), nd.array([[4.0], [12.0]])]
    with autograd.record():  # is no part of what is recorded
        norm = gluon.utils.clip_global_norm(arrays, limit, check_isfinite=checks)
    assert isinstance(norm, float) is checks
    assert (norm if checks else norm.asscalar()) == pytest.approx(13)
    factor = min(limit / 13, 1)
    np.testing.assert_allclose(arrays[1].asnumpy(), [[4 * factor], [12 * factor]], rtol=1e-6)


def test_gradients_that_are_not_finite() -> None:
    with pytest.warns(UserWarning, match="the norm is nan"):
        gluon.utils.clip_global_norm([nd.array([np.nan])], 1.0)
    with pytest.warns(UserWarning, match="the norm is inf"):
        gluon.utils.clip_global_norm([nd.array([np.inf])], 1.0)
    with pytest.raises(TigonError, match="there are no arrays"):
        gluon.utils.clip_global_norm([], 1.0)


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    digest = hashlib.sha1(path.read_bytes()).hexdigest()
    assert gluon.utils.check_sha1(str(path), digest)
    assert gluon.utils.check_sha1(str(path), digest[:8])
    assert not gluon.utils.check_sha1(str(path), "0" + digest[1:] if digest[0] != "0" else "1")


def test_samples_are_loaded_in_other_ways() -> None:
    data = gluon.data.ArrayDataset(np.arange(7), np.arange(7) * 10)
    loader = gluon.data.DataLoader

    def firsts(made: Any) -> list[list[int]]:
        return [x.asnumpy().tolist() for x, _ in made]

    assert len(loader(data, 3)) == 3 and firsts(loader(data, 3, last_batch="discard")) == [
        [0, 1, 2], [3, 4, 5],
    ]  # fmt: skip
    rolls = loader(data, 3, last_batch="rollover")
    assert [firsts(rolls), firsts(rolls)] == [
        [[0, 1, 2], [3, 4, 5]], [[6, 0, 1], [2, 3, 4]],
    ]  # fmt: skip
    assert firsts(loader(data, 2, sampler=[5, 1, 3])) == [[5, 1], [3]]
    assert firsts(loader(data, batch_sampler=[[6], [0, 2]])) == [[6], [0, 2]]
    joined = loader(data, 4, batchify_fn=lambda samples: [int(a + b) for a, b in samples])
    assert list(joined) == [[0, 11, 22, 33], [44, 55, 66]]
    mixed = [index for batch in firsts(loader(data, 3, shuffle=True)) for index in batch]
    assert sorted(mixed) == list(range(7))
    for workers, prefetch in ((1, 0), (2, 1), (3, None)):
        made = loader(data, 2, num_workers=workers, prefetch=prefetch, timeout=60)
        assert firsts(made) == [[0, 1], [2, 3], [4, 5], [6]]
    for wrong in (
        {"batch_size": 2, "sampler": [1], "shuffle": True}, {"batch_size": 2, "timeout": 0},
        {"batch_size": 2, "batch_sampler": [[1]]}, {"batch_sampler": [[1]], "shuffle": True},
        {"batch_sampler": [[1]], "sampler": [1]}, {},
        {"batch_sampler": [[1]], "last_batch": "keep"},
    ):  # fmt: skip
        with pytest.raises(TigonError, match="DataLoader: "):
            loader(data, **wrong)
