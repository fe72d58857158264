"""Parameters from files that call them otherwise, and from PyTorch's layers."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.gluon.torch_layers import PAIRS, by_torch, recorded
from tests.readers.hostile import mutated_bytes
from tigon import gluon, nd
from tigon.gluon import nn
from tigon.gluon.utils import torch_names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pytorch-weights.md"


def counts(name: str) -> bool:
    """What PyTorch counts beside statistics."""
    return name.endswith("num_batches_tracked")


@pytest.fixture(scope="module")
def layers() -> dict[str, dict[str, Any]]:
    return recorded()


def loaded(name: str, arrays: dict[str, Any], folder: Path) -> Any:
    """Our layer with the parameters of PyTorch's, from a file."""
    own = {key: a for key, a in arrays.items() if not re.match("input|output|after/", key)}
    nd.save(folder / "x.safetensors", own)
    layer = PAIRS[name].ours()
    names = PAIRS[name].names
    layer.load_parameters(folder / "x.safetensors", names=names, ignore_extra=counts)
    return layer


@pytest.mark.parametrize("name", PAIRS)
def test_layers_compute_what_pytorchs_do(
    name: str, layers: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    layer = loaded(name, layers[name], tmp_path)
    out = layer(layers[name]["input"])
    np.testing.assert_allclose(
        out.asnumpy(), layers[name]["output"].asnumpy(), rtol=1e-5, atol=1e-5
    )


def test_statistics_of_batches(layers: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """PyTorch keeps the variance of n samples as that of a population, times n / (n - 1)."""
    held = layers["BatchNorm"]
    layer = loaded("BatchNorm", held, tmp_path)
    with mx.autograd.record():
        layer(held["input"])
    mean, var = layer.running_mean.data(), layer.running_var.data()
    np.testing.assert_allclose(mean.asnumpy(), held["after/running_mean"].asnumpy(), rtol=1e-5)
    before, after = held["running_var"].asnumpy(), held["after/running_var"].asnumpy()
    count = held["input"].size // 3
    batch = (var.asnumpy() - 0.75 * before) / 0.25
    expected = 0.75 * before + 0.25 * batch * count / (count - 1)
    np.testing.assert_allclose(after, expected, rtol=1e-5)


def test_the_records_are_what_pytorch_computes(layers: dict[str, dict[str, Any]]) -> None:
    torch = pytest.importorskip("torch")
    for name, array in by_torch(torch).items():
        layer, _, key = name.partition("/")
        expected = layers[layer][key].asnumpy()
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_each_layer_has_a_row_in_the_documentation() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)
    theirs = {name: re.findall(r"nn\.(\w+)", pair.torch)[0] for name, pair in PAIRS.items()}
    assert dict(rows) == {name: f"nn.{kind}" for name, kind in theirs.items()}


# ---------------------------------------------------------------------------------- names


def network() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=3), nn.BatchNorm(in_channels=2))
    net.initialize()
    return net


VALUES = {
    "fc.w": nd.array(np.arange(6).reshape(3, 2)), "0.bias": nd.array([7, 8]),
    "1.weight": nd.array([1, 2]), "1.bias": nd.array([3, 4]),
    "1.running_mean": nd.array([5, 6]), "1.running_var": nd.array([9, 9]),
}  # fmt: skip


def transposed(array: Any) -> Any:
    return array.T


@pytest.mark.parametrize("kind", ["x.safetensors", "x.params"])
@pytest.mark.parametrize("way", ["mapping", "function"])
def test_names_of_a_file(kind: str, way: str, tmp_path: Path) -> None:
    nd.save(tmp_path / kind, VALUES)
    special = {"0.weight": ("fc.w", transposed)}
    names: Any = {**special, "1.gamma": "1.weight", "1.beta": "1.bias", "0.bias": None}
    if way == "function":

        def names(path: str) -> Any:
            return special.get(path) or torch_names(path)

    net = network()
    net.load_parameters(tmp_path / kind, names=names)
    found = [param.data().asnumpy().tolist() for param in net.collect_params().values()]
    assert found == [[[0, 2, 4], [1, 3, 5]], [7, 8], [1, 2], [3, 4], [5, 6], [9, 9]]
    other = network()
    other.load_dict(VALUES, names=names)
    assert (other[0].weight.data() == net[0].weight.data()).asnumpy().all()


def test_what_does_not_fit_is_named_in_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"

    def attempt(change: dict[str, Any], names: Any = torch_names, **options: Any) -> str:
        given = {"0.weight": VALUES["fc.w"].T, **VALUES, **change}
        del given["fc.w"]
        nd.save(path, {name: array for name, array in given.items() if array is not None})
        net = network()
        before = [param.data().asnumpy() for param in net.collect_params().values()]
        with pytest.raises(mx.TigonError) as told:
            net.load_parameters(path, names=names, **options)
        after = [param.data().asnumpy() for param in net.collect_params().values()]
        assert all((one == other).all() for one, other in zip(before, after, strict=True))
        return str(told.value).replace(str(tmp_path), "")

    every = "'0.weight', '0.bias', '1.weight' for '1.gamma', '1.bias' for '1.beta'"
    assert attempt({"1.weight": None, "0.bias": None}) == (
        "load_parameters: /x.safetensors lacks '0.bias', '1.weight' for '1.gamma'; it has "
        "'0.weight', '1.bias', '1.running_mean', '1.running_var'; pass allow_missing=True to keep "
        "the present values"
    )
    assert attempt({"more": nd.ones(1)}, ignore_extra=counts) == (
        "load_parameters: /x.safetensors has 'more', which the block does not; it has "
        f"{every}, '1.running_mean', '1.running_var'; pass ignore_extra=True to skip them"
    )
    assert attempt({"1.weight": nd.ones(3)}) == (
        "load_parameters: '1.weight' for '1.gamma' expects shape (2,); /x.safetensors has (3,); "
        "was it saved by another network?"
    )
    assert attempt({"1.weight": nd.ones(2, dtype="float16")}) == (
        "load_parameters: '1.weight' for '1.gamma' expects float32; /x.safetensors has float16; "
        "pass cast_dtype=True or cast the block first"
    )
    assert attempt({}, {"1.gama": "1.weight", "1.gamma": "1.weight", "1.beta": "1.bias"}) == (
        "load_parameters: names has '1.gama', which the block does not; it has '0.weight', "
        "'0.bias', '1.gamma', '1.beta', '1.running_mean', '1.running_var'; give names of the block "
        "for names of the file"
    )
    assert attempt({}, "torch") == (
        "load_parameters: names: expected a function, as gluon.utils.torch_names, or a mapping; "
        "given str"
    )
    assert attempt({}, {"1.gamma": 3}) == (
        "load_parameters: names: for '1.gamma' expected the name in the file, (name, function) or "
        "None; given 3"
    )
    assert attempt({}, lambda name: (torch_names(name), lambda array: 5)) == (
        "load_parameters: names: what changes '0.weight' gives an NDArray; it gave int"
    )


def test_missing_ones_may_stay_and_narrow_ones_are_widened(tmp_path: Path) -> None:
    nd.save(tmp_path / "x.safetensors", {"1.weight": nd.array([1.5, 2], dtype="bfloat16")})
    net = network()
    options = {"names": torch_names, "allow_missing": True}
    net.load_parameters(tmp_path / "x.safetensors", cast_dtype=True, **options)
    assert net[1].gamma.data().asnumpy().tolist() == [1.5, 2]


def test_damaged_safetensors_change_nothing(tmp_path: Path) -> None:
    """2,000 of them: refused with the file, or loaded in whole."""
    nd.save(tmp_path / "x.safetensors", VALUES)
    good = (tmp_path / "x.safetensors").read_bytes()
    names = {"0.weight": ("fc.w", transposed), "1.gamma": "1.weight", "1.beta": "1.bias"}
    draw, net = random.Random(2), network()
    read = 0
    for _ in range(2000):
        content = mutated_bytes(good, draw)
        try:
            arrays = nd.load_frombuffer(content, "evil")
            if isinstance(arrays, dict):
                net.load_dict(arrays, source="evil", names=names)
                read += 1
        except mx.TigonError as error:
            assert str(error).startswith(("evil: at byte ", "load_parameters: ")), content
            assert "evil" in str(error)
    assert read < 1500
    assert isinstance(net, gluon.Block)
