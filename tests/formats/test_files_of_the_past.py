"""Files of MXNet from 0.8 on, and what today's files say about the variables in them."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd, sym
from tigon.ops import all_operators

ROOT = Path(__file__).resolve().parents[2]
MODELS = [folder / "shared" / "models" / "mxnet" for folder in ROOT.parents]


def both(said: dict[str, str]) -> dict[str, str]:
    """Hints as `attr_dict` gives them: with underscores around their names and without."""
    names = ("ctx_group", "lr_mult", "wd_mult")
    other = {name: f"__{name}__" for name in names} | {f"__{name}__": name for name in names}
    return said | {other[name]: text for name, text in said.items() if name in other}


def of_mxnet(name: str) -> str:
    """A file of MXNet's own, from a folder that lies beside the project on some machines."""
    found = [str(folder / name) for folder in MODELS if (folder / name).exists()]
    if not found:
        pytest.skip("needs shared/models beside the project")
    return found[0]


def variable(name: str, **attributes: str) -> dict[str, Any]:
    return {"op": "null", "param": {}, "name": name, "inputs": [], "backward_source_id": -1,
            "attr": attributes}  # fmt: skip


def node(op: str, name: str, inputs: list[int], param: dict, **attributes: str) -> dict[str, Any]:
    entries = [[number, 0] for number in inputs]
    return {"op": op, "param": param, "name": name, "inputs": entries, "backward_source_id": -1,
            "attr": attributes}  # fmt: skip


def network(**attributes: str) -> dict[str, Any]:
    """As MXNet 0.8 wrote it: what is said about a weight stands at its operator."""
    return {
        "nodes": [
            variable("data", ctx_group="stage1", lr_mult="0.2"),
            variable("fc_weight", lr_mult="2", wd_mult="0.3"),
            variable("fc_bias"),
            node("FullyConnected", "fc", [0, 1, 2], {"num_hidden": "3", "no_bias": "False"},
                 **attributes),
            node("BatchNorm", "bn", [3], {"eps": "0.001", "fix_gamma": "True"}),
            node("Activation", "relu", [4], {"act_type": "relu"}),
        ],
        "arg_nodes": [0, 1, 2],
        "heads": [[5, 0]],
    }  # fmt: skip


def read(document: Any) -> Any:
    return sym.load_json(json.dumps(document))


def test_a_network_of_0_8() -> None:
    net = read(network(weight_lr_mult="1.2", bias_wd_mult="0", ctx_group="stage1", wd_mult="0.7"))
    assert net.list_arguments() == ["data", "fc_weight", "fc_bias", "bn_gamma", "bn_beta"]
    assert net.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    said = net.attr_dict()
    assert said["data"] == both({"ctx_group": "stage1", "__lr_mult__": "0.2"})
    assert said["fc_weight"] == both({"__lr_mult__": "1.2", "__wd_mult__": "0.3"})
    assert said["fc_bias"] == both({"__wd_mult__": "0"})
    assert said["fc"] == both({"num_hidden": "3", "ctx_group": "stage1", "__wd_mult__": "0.7"})
    shapes = [(2, 4), (3, 4), (3,), (3,), (3,)], [(2, 3)], [(3,), (3,)]
    assert net.infer_shape(data=(2, 4)) == shapes
    executor = net.simple_bind(data=(2, 4))
    executor.copy_params_from({"fc_weight": nd.ones((3, 4))}, {"bn_moving_var": nd.ones(3)})
    (out,) = executor.forward(data=nd.ones((2, 4)))
    assert np.allclose(out.asnumpy(), 4 / np.sqrt(1.001))
    optimizer = mx.optimizer.SGD(sym=net)
    assert optimizer.lr_mult == {"data": 0.2, "fc_weight": 1.2}
    assert optimizer.wd_mult == {"fc_weight": 0.3, "fc_bias": 0.0}
    assert read(json.loads(net.tojson())).attr_dict() == said


@pytest.mark.parametrize("hint", "lr_mult wd_mult ctx_group force_mirroring mirror_stage".split())
@pytest.mark.parametrize("operand", ["data", "weight", "bias"])
def test_hints_go_to_the_operand_they_name(hint: str, operand: str) -> None:
    said = read(network(**{f"{operand}_{hint}": "7"})).attr_dict()
    target = "data" if operand == "data" else f"fc_{operand}"
    assert said[target][f"__{hint}__" if hint.endswith("mult") else hint] == "7"
    assert f"{operand}_{hint}" not in said["fc"]


def test_hints_that_name_no_variable_stay() -> None:
    document = network(gamma_lr_mult="3", weight_lr_mult="4")
    document["nodes"][4]["attr"] = {"data_lr_mult": "5"}  # of the layer before
    document["nodes"][1]["attr"] = {"weight_lr_mult": "6"}  # at the variable itself
    said = read(document).attr_dict()
    assert said["fc"]["gamma_lr_mult"] == "3" and said["bn"]["data_lr_mult"] == "5"
    assert said["fc_weight"] == both({"weight_lr_mult": "6", "__lr_mult__": "4"})


def test_hints_of_an_operator_with_any_number_of_operands() -> None:
    document = network()
    document["nodes"][4] = node("Concat", "c", [3, 2], {"dim": "0", "num_args": "2"},
                                arg1_lr_mult="9")  # fmt: skip
    assert read(document).attr_dict()["fc_bias"] == both({"__lr_mult__": "9"})


def permuted(document: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The same graph with its nodes, and all names in objects, in another order."""
    order = list(range(len(document["nodes"])))
    draw.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    result = json.loads(json.dumps(document))
    result["nodes"] = [result["nodes"][old] for old in order]
    for row in result["nodes"]:
        row["inputs"] = [[place[entry[0]], *entry[1:]] for entry in row["inputs"]]
    result["heads"] = [[place[entry[0]], *entry[1:]] for entry in result["heads"]]
    result["arg_nodes"] = sorted(place[old] for old in result["arg_nodes"])
    return shuffled(result, draw)


def shuffled(part: Any, draw: random.Random) -> Any:
    if isinstance(part, list):
        return [shuffled(item, draw) for item in part]
    if not isinstance(part, dict):
        return part
    items = [(name, shuffled(value, draw)) for name, value in part.items()]
    draw.shuffle(items)
    return dict(items)


def test_the_order_in_a_file_means_nothing() -> None:
    draw = random.Random(0)
    document = network(weight_lr_mult="1.2", lr_mult="5", __lr_mult__="6")
    # Both ways of writing one hint, and two operators that speak of one variable.
    document["nodes"][1]["attr"]["__lr_mult__"] = "8"
    document["nodes"].append(
        node("FullyConnected", "again", [5, 1], {"num_hidden": "3", "no_bias": "True"},
             weight_lr_mult="1.5"))  # fmt: skip
    document["heads"] = [[6, 0], [3, 0]]
    expected = read(document)
    assert expected.attr_dict()["fc_weight"]["__lr_mult__"] == "1.5"
    assert expected.attr_dict()["fc"]["__lr_mult__"] == "5"
    for _ in range(50):
        found = read(permuted(document, draw))
        assert found.attr_dict() == expected.attr_dict()
        assert found.list_inputs() == expected.list_inputs()
        assert found.list_outputs() == expected.list_outputs()
        assert shuffled(json.loads(found.tojson()), draw) == json.loads(expected.tojson())


@pytest.mark.parametrize("keys", list(itertools.permutations(["param", "attr", "attrs"], 2)))
def test_attributes_under_any_name(keys: tuple[str, str]) -> None:
    document = network(weight_lr_mult="1.2")
    expected = read(document)
    for row in document["nodes"]:
        param, attr = row.pop("param"), row.pop("attr")
        row[keys[0]] = param
        row[keys[1]] = attr
    assert read(document).tojson() == expected.tojson()


@pytest.mark.parametrize("text", ["(8L, 3L)", "(8, 3)", "[8, 3]", "( 8L ,3 )", "(8L,3L,)"])
def test_shapes_of_python_2(text: str) -> None:
    document = network()
    document["nodes"][0]["attr"]["__shape__"] = text
    net = read(document)
    assert net.infer_shape()[1] == [(8, 3)]
    assert "L" not in json.loads(net.tojson())["nodes"][0]["attrs"]["__shape__"]
    reshape = {"nodes": [variable("x"), node("Reshape", "r", [0], {"shape": text})],
               "heads": [[1, 0]]}  # fmt: skip
    assert read(reshape).infer_shape(x=(4, 6))[1] == [(8, 3)]


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_the_last_axis_was_all_axes(op: str) -> None:
    document = {"nodes": [variable("x"), node(op, "a", [0], {"axis": "-1"})], "heads": [[1, 0]]}
    for version, shape in ((None, (1,)), (800, (1,)), (904, (1,)), (905, (2,)), (10901, (2,))):
        if version is not None:
            document["attrs"] = {"mxnet_version": ["int", version]}
        assert read(document).infer_shape(x=(2, 4))[1] == [shape]


def test_only_old_files_leave_out_operands() -> None:
    document = network()
    document["attrs"] = {"mxnet_version": ["int", 10901]}
    with pytest.raises(
        mx.TigonError, match=r"node 4 'bn' \(BatchNorm\), at nodes\[4\]: .*operands"
    ):
        read(document)


def test_numbers_without_quotes() -> None:
    document = network()
    document["nodes"][3]["param"] = {"num_hidden": 3, "no_bias": False}
    assert read(document).infer_shape(data=(2, 4))[1] == [(2, 3)]


def test_narrow_types_of_variables() -> None:
    document = network()
    document["nodes"][0]["attr"]["__dtype__"] = "2"  # float16
    executor = read(document).simple_bind(data=(2, 4))
    assert executor.arg_dict["data"].dtype is np.float16
    assert executor.forward()[0].shape == (2, 3)


def test_a_graph_of_mxnets_own() -> None:
    net = sym.load(of_mxnet("save_000800.json"))
    said = net.attr_dict()
    assert said["fc1_weight"]["__lr_mult__"] == "1.2" and said["fc1_weight"]["__wd_mult__"] == "0.3"
    assert said["data"]["__lr_mult__"] == "0.2" and said["fc2_bias"]["__lr_mult__"] == "0.01"
    assert net.infer_shape(data=(5, 7))[1] == [(5, 10)]
    executor = net.simple_bind(data=(5, 7))
    assert np.allclose(executor.forward(is_train=True)[0].asnumpy(), 0.1)
    executor.backward()


def test_arrays_of_mxnets_own() -> None:
    arrays = nd.load(of_mxnet("legacy_ndarray.v0"))
    assert len(arrays) == 6
    assert all((a.asnumpy() == np.arange(128)).all() for a in arrays)


def test_a_network_that_gluon_exported() -> None:
    files = of_mxnet("lenet-symbol.json"), of_mxnet("lenet-0001.params")
    net = gluon.SymbolBlock.imports(files[0], ["data"], files[1])
    assert net(nd.ones((2, 1, 28, 28))).shape == (2, 10)
    fresh = gluon.SymbolBlock(sym.load(files[0]), sym.var("data"))
    fresh.initialize(mx.init.One())
    fresh(nd.ones((1, 1, 28, 28)))
    values = {name: param.data().asnumpy() for name, param in fresh.collect_params().items()}
    assert {name: float(v.mean()) for name, v in values.items()} == {
        name: 0.0 if name.endswith("bias") else 1.0 for name in values
    }


# ---------------------------------------------------------------------- initial values

ZERO, ONE, QUARTER = '["zero", {}]', '["one", {}]', '["Constant", {"value": 0.25}]'


def test_every_auxiliary_state_says_how_it_begins() -> None:
    for op in all_operators():
        own = {operand.name for operand in op.operands}
        states = {operand.name for operand in op.operands if operand.auxiliary}
        assert states <= set(op.initial) <= own, op.name
        for text in op.initial.values():
            array = nd.zeros(3)
            mx.init.create(text)("x_weight", array)


def layers() -> Any:
    x = sym.LeakyReLU(sym.var("data"), act_type="prelu", name="pr")
    return sym.BatchNorm(x, name="bn")


def test_what_is_composed_says_how_it_begins() -> None:
    mean, slopes = sym.var("m"), sym.var("s", init=mx.init.One())
    given = sym.BatchNorm(
        sym.LeakyReLU(sym.var("data"), gamma=slopes, act_type="prelu"), moving_mean=mean, name="bn"
    )
    assert mean.attr("__init__") == ZERO
    assert slopes.attr("__init__") == ONE  # what the user says holds
    assert given.attr_dict()["bn_moving_var"] == {"__init__": ONE}
    assert "__init__" not in given.attr_dict().get("bn_gamma", {})
    replaced = layers()(bn_moving_var=sym.var("other"))
    assert replaced.attr_dict()["other"] == {"__init__": ONE}
    plain = sym.LeakyReLU(sym.var("data"), act_type="leaky", name="pr")
    assert "data" not in plain.attr_dict()


@pytest.mark.parametrize("source", ["composed", "read", "exported"])
def test_files_say_how_variables_begin(source: str, tmp_path: Path) -> None:
    if source == "composed":
        text = layers().tojson()
    elif source == "read":  # an older file does not say so
        text = sym.load_json(layers().tojson().replace("__init__", "__other__")).tojson()
    else:
        net = gluon.nn.HybridSequential(prefix="")
        net.add(gluon.nn.PReLU(prefix="pr_"), gluon.nn.BatchNorm(prefix="bn_"))
        net.initialize()
        net.hybridize()
        net(nd.ones((2, 3)))
        symbol_file, _ = net.export(str(tmp_path / "net"))
        text = Path(symbol_file).read_text()
    rows = {row["name"]: row.get("attrs", {}) for row in json.loads(text)["nodes"]}
    found = {name: row["__init__"] for name, row in rows.items() if "__init__" in row}
    assert sorted(found.values()) == sorted([ZERO, ONE, QUARTER])
    for name, value in found.items():
        assert value == (ZERO if "mean" in name else ONE if "var" in name else QUARTER)


def test_what_a_file_says_is_respected(tmp_path: Path) -> None:
    data, odd = sym.var("data"), sym.var("odd", init=mx.init.Constant(3))
    net = sym.BatchNorm(
        sym.FullyConnected(
            sym.LeakyReLU(data, act_type="prelu", name="pr"), odd, num_hidden=3, no_bias=True
        ),
        moving_mean=sym.var("first"),
        moving_var=sym.var("second"),
        name="bn",
    )
    net.save(tmp_path / "net.json")
    again = mx.sym.load(tmp_path / "net.json")
    block = gluon.SymbolBlock(again, sym.var("data"))
    block.initialize(mx.init.Uniform())
    block(nd.ones((2, 3)))
    values = {n: p.data().asnumpy().tolist() for n, p in block.collect_params().items()}
    assert values["first"] == [0, 0, 0] and values["second"] == [1, 1, 1]
    assert values["pr_gamma"] == [0.25] * 3 and values["odd"] == [[3] * 3] * 3
    for name, said in again.attr_dict().items():  # as MXNet's Module does it
        if "__init__" in said:
            array = nd.ones((3, 3) if name == "odd" else (3,)) * 7
            mx.init.Uniform()(mx.init.InitDesc(name, said), array)
            assert array.asnumpy().tolist() == values[name]


@pytest.mark.parametrize(
    "text", ["[", "[]", '["one"]', "[1, 2]", '["one", {"x": 1}]', '["none", {}]', "[" * 9999]
)
def test_initial_values_that_cannot_be_read(text: str) -> None:
    block = gluon.SymbolBlock(
        sym.FullyConnected(sym.var("data"), sym.var("w", attr={"__init__": text}),
                           num_hidden=2, no_bias=True),
        sym.var("data"))  # fmt: skip
    with pytest.raises(mx.TigonError, match="initializer"):
        block.initialize()
        block(nd.ones((1, 3)))


def test_multipliers_that_are_no_numbers() -> None:
    with pytest.raises(mx.TigonError, match="__lr_mult__ of variable 'fc_weight' expects a number"):
        mx.optimizer.SGD(sym=read(network(weight_lr_mult="much")))


# --------------------------------------------------------------------- names in files


def dense() -> Any:
    net = gluon.nn.Dense(2, in_units=3, prefix="net_")
    net.initialize()
    return net


@pytest.mark.parametrize("read_by", ["ParameterDict", "Block", "imports", "Load", "load_dict"])
@pytest.mark.parametrize("first", ["", "arg:", "aux:"])
def test_names_with_and_without_their_kind(tmp_path: Path, read_by: str, first: str) -> None:
    """In any order, everywhere where parameters are read."""
    expected = {"net_weight": np.arange(6.0).reshape(2, 3), "net_bias": np.array([7.0, 8.0])}
    for names in itertools.permutations(expected):
        file = tmp_path / "x.params"
        arrays = {f"{first}{name}": nd.array(expected[name]) for name in names}
        nd.save(file, arrays)
        net = dense()
        if read_by == "ParameterDict":
            net.collect_params().load(file)
        elif read_by == "load_dict":
            net.collect_params().load_dict(arrays)
        elif read_by == "Block":
            arrays = {name.replace("net_", ""): array for name, array in arrays.items()}
            nd.save(file, arrays)
            net.load_parameters(file)
        elif read_by == "Load":
            net.initialize(mx.init.Load(str(file)), force_reinit=True)
            for name, param in net.collect_params().items():
                array = nd.zeros(param.shape)
                mx.init.Load(file)(name, array)
                param.set_data(array)
        else:
            net.export(str(tmp_path / "net"))
            net = gluon.SymbolBlock.imports(tmp_path / "net-symbol.json", ["data"], file)
        found = {name: param.data().asnumpy() for name, param in net.collect_params().items()}
        assert found.keys() == expected.keys()
        assert all((found[name] == expected[name]).all() for name in expected)


def test_a_prefix_is_restored(tmp_path: Path) -> None:
    net = dense()
    net.collect_params().save(tmp_path / "x", strip_prefix="net_")
    arrays = nd.load(tmp_path / "x")
    assert sorted(arrays) == ["bias", "weight"]
    for source in (None, {f"arg:{name}": array for name, array in arrays.items()}):
        other = dense()
        if source is None:
            other.collect_params().load(tmp_path / "x", restore_prefix="net_")
        else:
            other.collect_params().load_dict(source, restore_prefix="net_")
        assert (other.weight.data().asnumpy() == net.weight.data().asnumpy()).all()


def test_one_parameter_under_two_kinds_is_refused(tmp_path: Path) -> None:
    nd.save(tmp_path / "x", {"arg:net_weight": nd.ones((2, 3)), "net_weight": nd.zeros((2, 3))})
    for load in (dense().collect_params().load, dense().load_parameters, mx.init.Load):
        with pytest.raises(mx.TigonError, match=r"x: expected every parameter once; .*net_weight"):
            load(tmp_path / "x")


@pytest.mark.parametrize("of", ["block", "dictionary"])
def test_dtypes_of_the_file(tmp_path: Path, of: str) -> None:
    values = {"weight": np.arange(6.0).reshape(2, 3), "bias": np.array([7.0, 8.0])}
    prefix = "" if of == "block" else "net_"
    nd.save(tmp_path / "x", {prefix + n: nd.array(v, dtype="float64") for n, v in values.items()})
    net = dense()
    load = net.load_parameters if of == "block" else net.collect_params().load
    with pytest.raises(mx.TigonError, match="float64"):
        load(tmp_path / "x")
    load(tmp_path / "x", cast_dtype=True)
    assert net.weight.data().dtype is np.float32
    load(tmp_path / "x", dtype_source="saved")
    assert net.weight.data().dtype is np.float64
    assert (net.weight.data().asnumpy() == values["weight"]).all()
    with pytest.raises(mx.TigonError, match="dtype_source is 'current' or 'saved'; given 'other'"):
        load(tmp_path / "x", dtype_source="other")


def test_a_file_that_does_not_fit_changes_no_dtype(tmp_path: Path) -> None:
    nd.save(tmp_path / "x", {"weight": nd.ones((2, 3), dtype="float64"),
                             "bias": nd.ones((9,), dtype="float64")})  # fmt: skip
    net = dense()
    with pytest.raises(mx.TigonError, match="bias"):
        net.load_parameters(tmp_path / "x", dtype_source="saved")
    assert net.weight.data().dtype is np.float32


SHAPES: dict[str, tuple[int, ...] | None] = {
    "(2, 3)": (2, 3), "4": (4,), "()": (), "(0, -1)": (0, 0), f"({2**63 - 1},)": (2**63 - 1,),
    str((1,) * 32): (1,) * 32, f"({2**63},)": None, "(-2,)": None, "(2.0, 3)": None,
    "(True, 3)": None, "('2', 3)": None, "'23'": None, "(2, None)": None, "2.5": None, "": None,
    str((1,) * 33): None, "((2, 3),)": None, "{2: 3}": None,
}  # fmt: skip


@pytest.mark.parametrize("text", SHAPES)
def test_what_is_a_shape_in_a_file(text: str) -> None:
    from tigon.export.hints import read_shape

    if (expected := SHAPES[text]) is not None:
        assert read_shape("x", text) == expected
        return
    with pytest.raises(mx.TigonError, match=r"variable 'x': expected a shape such as \(2, 3\)"):
        read_shape("x", text)


# -------------------------------------------------------------------------- old operators

STEPS = {"label_length": "2", "input_length": "4"}
OLD_OPERATORS: dict[str, tuple[list[Any], dict[str, str], Any]] = {
    # Name in the file -> shapes of operands, attributes, what it is today.
    "_Hypot": ([(2, 3)] * 2, {}, lambda x, y: nd.broadcast_hypot(x, y)),
    "_grad_add": ([(2, 3)] * 2, {}, lambda x, y: x + y),
    "_Plus": ([(2, 3)] * 2, {}, lambda x, y: x + y),
    "_Maximum": ([(2, 3)] * 2, {}, lambda x, y: nd.broadcast_maximum(x, y)),
    "_RMinusScalar": ([(2, 3)], {"scalar": "2"}, lambda x: 2 - x),
    "_PowerScalar": ([(2, 3)], {"scalar": "2.0"}, lambda x: x**2),
    "_scatter_plus_scalar": ([(2, 3)], {"scalar": "2"}, lambda x: x + 2),
    "_scatter_minus_scalar": ([(2, 3)], {"scalar": "2"}, lambda x: x - 2),
    "_scatter_elemwise_div": ([(2, 3)] * 2, {}, lambda x, y: x / y),
    "ElementWiseSum": ([(2, 3)] * 3, {"num_args": "3"}, lambda x, y, z: x + y + z),
    "broadcast_plus": ([(2, 3), (1, 3)], {}, lambda x, y: x + y),
    "sum_axis": ([(2, 3)], {"axis": "(1,)"}, lambda x: x.sum(axis=1)),
    "cast_storage": ([(2, 3)], {"stype": "row_sparse"}, lambda x: x),
    "_CrossDeviceCopy": ([(2, 3)], {}, lambda x: x),
    "_contrib_SparseEmbedding": (
        [(2,), (4, 3)],
        {"input_dim": "4", "output_dim": "3", "deterministic": "True"},
        lambda x, w: nd.Embedding(x, w, input_dim=4, output_dim=3),
    ),
    "MultiBoxPrior": (
        [(1, 2, 3, 3)],
        {"sizes": "(0.5,)", "ratios": "(1.0, 2.0)"},
        lambda x: nd.contrib.MultiBoxPrior(x, sizes=(0.5,), ratios=(1, 2)),
    ),
    "Crop": (
        [(1, 2, 5, 5)],
        {"num_args": "1", "h_w": "(3, 3)", "center_crop": "True"},
        lambda x: x[:, :, 1:4, 1:4],
    ),
    "Softmax": ([(2, 3), (2,)], {}, lambda x, y: nd.softmax(x)),
    "SliceChannel": ([(2, 3)], {"num_outputs": "3", "squeeze_axis": "True"}, lambda x: x[:, 0]),
    "Reshape": (
        [(2, 3)],
        {"target_shape": "(9, 1, 3)", "keep_highest": "True"},
        lambda x: x.reshape((2, 1, 3)),
    ),
    "WarpCTC": ([(8, 3), (4,)], STEPS, lambda x, y: nd.softmax(x)),
    "CuDNNBatchNorm": (
        [(4, 3), (3,), (3,), (3,), (3,)],
        {"eps": "0.001", "fix_gamma": "False", "momentum": "0.9"},
        lambda x, g, b, m, v: (x - m) / nd.sqrt(v + 0.001) * g + b,
    ),
}


@pytest.mark.parametrize("name", OLD_OPERATORS)
def test_what_operators_were_called(name: str) -> None:
    shapes, attributes, today = OLD_OPERATORS[name]
    variables = [variable(f"x{number}") for number in range(len(shapes))]
    rows = [*variables, node(name, "old", list(range(len(shapes))), attributes)]
    net = read({"nodes": rows, "heads": [[len(shapes), 0]]})
    draw = np.random.default_rng(0)
    arrays = [nd.array(draw.integers(1, 3, shape)) for shape in shapes]
    auxiliary = net.list_auxiliary_states()
    named = {f"x{number}": array for number, array in enumerate(arrays)}
    states = {name: named.pop(name) for name in auxiliary}
    executor = net.bind(mx.cpu(), named, aux_states=states)
    (out,) = executor.forward()
    np.testing.assert_allclose(out.asnumpy(), today(*arrays).asnumpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("_sample_uniform", {"low": "2", "high": "3"}),
        ("_sample_normal", {"loc": "5", "scale": "0.1"}),
        ("_sample_gennegbinomial", {"mu": "2.0", "alpha": "0.3"}),
        ("_sample_negbinomial", {"k": "1", "p": "0.5"}),
    ],
)
def test_numbers_were_drawn_by_other_names(name: str, attributes: dict[str, str]) -> None:
    drawn = {
        "nodes": [node(name, "draw", [], {"shape": "(2, 3)", **attributes})],
        "heads": [[0, 0]],
    }
    assert read(drawn).infer_shape()[1] == [(2, 3)]


def test_warp_ctc_trains_as_ctc_loss_does() -> None:
    old = [variable("x"), variable("label"), node("WarpCTC", "warp", [0, 1], STEPS)]
    net = read({"nodes": old, "heads": [[2, 0]]})
    draw = np.random.default_rng(0)
    data, label = draw.normal(size=(8, 3)), np.array([1, 2, 2, 0])
    assert net.infer_shape(x=(8, 3))[0] == [(8, 3), (4,)]
    executor = net.simple_bind(x=(8, 3), grad_req={"x": "write", "label": "null"})
    executor.forward(is_train=True, x=nd.array(data), label=nd.array(label))
    executor.backward()
    logits = nd.array(data.reshape(4, 2, 3))
    logits.attach_grad()
    with mx.autograd.record():
        loss = nd.CTCLoss(logits, nd.array(label.reshape(2, 2)))
    loss.backward()
    expected = logits.grad.asnumpy().reshape(8, 3)
    np.testing.assert_allclose(executor.grad_dict["x"].asnumpy(), expected, atol=1e-6)
    for wrong, told in (
        ({"label_length": "0", "input_length": "4"}, "label_length: expected a number above 0"),
        ({"label_length": "2", "input_length": "3"}, r"data: expected shape \(3 steps \* batch"),
        ({"label_length": "3", "input_length": "4"}, "label: expected 2 rows of 3 labels"),
    ):
        with pytest.raises(mx.TigonError, match=f"WarpCTC: {told}"):
            nd.WarpCTC(nd.ones((8, 3)), nd.ones((4,)), **{k: int(v) for k, v in wrong.items()})


NOWHERE = {
    "TorchModule": "a plugin that called Torch 7",
    "CaffeLoss": "a plugin that called Caffe",
    "_NDArray": "register it as an mx.operator.CustomOp",
    "_contrib_quantized_conv": "MXNet's quantization",
    "_sg_mkldnn_conv": "MXNet's subgraphs",
    "_nobody_knows": "see tigon.ops.names()",
}


@pytest.mark.parametrize("name", NOWHERE)
def test_what_can_never_run_is_named_with_its_node(name: str) -> None:
    rows = [variable("x"), node(name, "strange", [0], {})]
    with pytest.raises(mx.TigonError) as told:
        read({"nodes": rows, "heads": [[1, 0]]})
    message = str(told.value)
    assert message.startswith(f"graph text: node 1 'strange' ({name}), at nodes[1]: ")
    assert NOWHERE[name] in message


@pytest.mark.parametrize("by", ["checkpoint", "init_params", "set_params"])
def test_states_of_batch_norm_among_the_arguments(by: str, tmp_path: Path) -> None:
    """Gamma is fixed, whatever the file has for it."""
    net = sym.BatchNorm(sym.var("data"), name="bn", eps=1e-3)
    arguments = {
        "bn_gamma": nd.array([5, 6]), "bn_beta": nd.array([1, 2]),
        "bn_moving_mean": nd.array([3, 4]), "bn_moving_var": nd.array([4, 9]),
    }  # fmt: skip
    if by == "checkpoint":
        net.save(f"{tmp_path}/old-symbol.json")
        nd.save(f"{tmp_path}/old-0003.params", {f"arg:{n}": a for n, a in arguments.items()})
        module = mx.mod.Module.load(f"{tmp_path}/old", 3, label_names=None)
    else:
        module = mx.mod.Module(net, label_names=None)
    module.bind([("data", (1, 2))], for_training=False)
    if by == "init_params":
        module.init_params(None, arguments)
    elif by == "set_params":
        module.init_params()
        module.set_params(arguments, {})
    module.forward(mx.io.DataBatch([nd.array([[7, 10]])]))
    (out,) = module.get_outputs()
    expected = (np.array([[7, 10]]) - [3, 4]) / np.sqrt(np.array([4, 9]) + 1e-3) + [1, 2]
    np.testing.assert_allclose(out.asnumpy(), expected, rtol=1e-6)
    assert sorted(module.get_params()[1]) == ["bn_moving_mean", "bn_moving_var"]
