"""-symbol.json: what MXNet writes is read, what is written MXNet could read."""

import json
import warnings

import numpy as np
import pytest

import tigon as mx
from tigon import nd, sym

MODERN = {
    "nodes": [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "fc1_weight", "attrs": {"__lr_mult__": "2"}, "inputs": []},
        {"op": "null", "name": "fc1_bias", "inputs": []},
        {
            "op": "FullyConnected",
            "name": "fc1",
            "attrs": {"num_hidden": "4", "no_bias": "False"},
            "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]],
        },
        {"op": "Activation", "name": "relu1", "attrs": {"act_type": "relu"}, "inputs": [[3, 0, 0]]},
        {
            "op": "_mul_scalar",
            "name": "_mulscalar0",
            "attrs": {"scalar": "2"},
            "inputs": [[4, 0, 0]],
        },
        {"op": "_rminus_scalar", "name": "r", "attrs": {"scalar": "1.5"}, "inputs": [[5, 0, 0]]},
        {"op": "elemwise_add", "name": "_plus0", "inputs": [[6, 0, 0], [4, 0, 0]]},
    ],
    "arg_nodes": [0, 1, 2],
    "node_row_ptr": [0, 1, 2, 3, 4, 5, 6, 7, 8],
    "heads": [[7, 0, 0]],
    "attrs": {"mxnet_version": ["int", 10901]},
}


def read(document):
    return sym.load_json(json.dumps(document))


def test_reading_and_running():
    net = read(MODERN)
    assert net.list_arguments() == ["data", "fc1_weight", "fc1_bias"]
    assert net.attr_dict()["fc1_weight"] == {"__lr_mult__": "2", "lr_mult": "2"}
    x, w = np.array([[1.0, -1.0]], np.float32), np.ones((4, 2), np.float32) * 3
    w[0] = [2, 1]
    out = net.eval(data=nd.array(x), fc1_weight=nd.array(w), fc1_bias=nd.zeros(4))[0]
    hidden = np.maximum(x @ w.T, 0)
    assert np.allclose(out.asnumpy(), 1.5 - hidden * 2 + hidden)


def test_writing_again_gives_the_same_graph():
    written = json.loads(read(MODERN).tojson())
    expected = json.loads(json.dumps(MODERN))
    del expected["nodes"][3]["attrs"]["no_bias"]  # its default
    assert written == expected
    assert read(written).tojson() == read(MODERN).tojson()


@pytest.mark.parametrize("key", ["attr", "param"])
def test_older_keys(key):
    old = json.loads(json.dumps(MODERN))
    for node in old["nodes"]:
        if "attrs" in node:
            node[key] = node.pop("attrs")
        node["inputs"] = [entry[:2] for entry in node["inputs"]]
        node["backward_source_id"] = -1
    old["nodes"][1][key] = {"lr_mult": "2"}
    del old["node_row_ptr"]
    old["heads"] = [[7, 0]]
    assert read(old).tojson() == read(MODERN).tojson()


def test_old_batchnorm_without_its_states():
    old = {
        "nodes": [
            {"op": "null", "name": "x", "inputs": []},
            {"op": "null", "name": "bn_gamma", "inputs": []},
            {"op": "null", "name": "bn_beta", "inputs": []},
            {"op": "BatchNorm", "name": "bn", "inputs": [[0, 0], [1, 0], [2, 0]]},
        ],
        "heads": [[3, 0]],
    }
    net = read(old)
    assert net.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    written = json.loads(net.tojson())
    assert [entry[2] for entry in written["nodes"][-1]["inputs"]] == [0, 0, 0, 1, 1]


def test_names_of_operators_in_files():
    x, y = sym.var("x"), sym.var("y")
    typed = sym.var("a", shape=(2,)) + sym.var("b", shape=(2,))
    cases = {
        "elemwise_add": typed,
        "broadcast_add": x + y,
        "broadcast_mul": x * y,
        "_plus_scalar": 2 + x,
        "_rdiv_scalar": 2 / x,
        "_rpower_scalar": 2**x,
        "_power_scalar": x**2,
        "_lesser_scalar": 2 > x,
        "_maximum_scalar": sym.maximum(x, 0),
        "Concat": sym.concat(x, y, dim=1),
        "SliceChannel": sym.split(x, num_outputs=2),
        "Reshape": x.reshape((2, -1)),
        "_zeros": sym.zeros((2, 3)),
        "_arange": sym.arange(3),
        "SwapAxis": sym.swapaxes(x, dim1=0, dim2=1),
        "Cast": x.astype("int32"),
        "BlockGrad": sym.stop_gradient(x),
        "add_n": sym.ElementWiseSum(x, y),
    }
    for name, symbol in cases.items():
        document = json.loads(symbol.tojson())
        assert document["nodes"][-1]["op"] == name
        assert all(
            isinstance(v, str) for n in document["nodes"] for v in n.get("attrs", {}).values()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert sym.load_json(symbol.tojson()).tojson() == symbol.tojson()
    assert json.loads((x * 2.5).tojson())["nodes"][-1]["attrs"] == {"scalar": "2.5"}


def test_a_loaded_elemwise_add_stays_strict():
    net = read(MODERN)
    strict = sym.load_json((sym.var("a", shape=(2,)) + sym.var("b", shape=(2,))).tojson())
    assert json.loads(strict.tojson())["nodes"][-1]["op"] == "elemwise_add"
    other = sym.elemwise_add(sym.var("a"), sym.var("b"))
    with pytest.raises(mx.TigonError, match="elemwise_add"):
        other.eval(a=nd.ones((2, 1)), b=nd.ones((1, 2)))
    assert net.list_outputs() == ["_plus0_output"]


def test_gradients_are_saved_as_own_operators(tmp_path):
    x, w = sym.var("x"), sym.var("w")
    loss = sym.FullyConnected(sym.tanh(x), w, num_hidden=2, no_bias=True)
    grads = sym.Group(loss.grad(wrt=[x, w]))
    with pytest.warns(UserWarning, match="operators that MXNet does not know"):
        grads.save(str(tmp_path / "g.json"))
    again = mx.load(str(tmp_path / "g.json"))
    rng = np.random.default_rng(0)
    values = {"x": nd.array(rng.normal(size=(3, 4))), "w": nd.array(rng.normal(size=(2, 4)))}
    for a, b in zip(grads.eval(**values), again.eval(**values), strict=True):
        assert np.array_equal(a.asnumpy(), b.asnumpy())


def test_constants_survive():
    x = sym.var("x")
    symbol = sym.where(x > 0, x, mx.Constant(7)) + mx.Constant(np.array([1.0, 2.0]), "float32")
    with pytest.warns(UserWarning):
        text = symbol.tojson()
    value = sym.load_json(text).eval(x=nd.array([-1, 5]))[0]
    assert value.asnumpy().tolist() == [8, 7]


def mutated(change):
    document = json.loads(json.dumps(MODERN))
    change(document)
    return json.dumps(document)


HOSTILE = {
    "empty": "",
    "cut off": json.dumps(MODERN)[:200],
    "a list": "[]",
    "deep": "[" * 100_000,
    "long number": '{"nodes": ' + "9" * 10_000 + "}",
    "no nodes": "{}",
    "nodes no list": '{"nodes": 3}',
    "node no object": '{"nodes": [3], "heads": [[0, 0, 0]]}',
    "no name": mutated(lambda d: d["nodes"][3].pop("name")),
    "operator": mutated(lambda d: d["nodes"][3].update(op="os.system")),
    "attribute": mutated(lambda d: d["nodes"][3]["attrs"].update(bogus="1")),
    "attribute value": mutated(
        lambda d: d["nodes"][3]["attrs"].update(num_hidden="__import__('os')")
    ),
    "deep attribute": mutated(lambda d: d["nodes"][3]["attrs"].update(num_hidden="(" * 5000)),
    "attribute type": mutated(lambda d: d["nodes"][3]["attrs"].update(num_hidden={})),
    "missing attribute": mutated(lambda d: d["nodes"][3]["attrs"].pop("num_hidden")),
    "scalar": mutated(lambda d: d["nodes"][5]["attrs"].update(scalar="evil")),
    "input beyond": mutated(lambda d: d["nodes"][3]["inputs"].__setitem__(0, [99, 0, 0])),
    "input negative": mutated(lambda d: d["nodes"][3]["inputs"].__setitem__(0, [-1, 0, 0])),
    "output beyond": mutated(lambda d: d["nodes"][3]["inputs"].__setitem__(0, [0, 5, 0])),
    "input no list": mutated(lambda d: d["nodes"][3]["inputs"].__setitem__(0, "x")),
    "too many inputs": mutated(lambda d: d["nodes"][4]["inputs"].extend([[0, 0, 0]] * 3)),
    "self": mutated(lambda d: d["nodes"][4].update(inputs=[[4, 0, 0]])),
    "cycle": mutated(lambda d: d["nodes"][3]["inputs"].__setitem__(0, [5, 0, 0])),
    "head beyond": mutated(lambda d: d.update(heads=[[99, 0, 0]])),
    "head output": mutated(lambda d: d.update(heads=[[0, 3, 0]])),
    "no heads": mutated(lambda d: d.update(heads=[])),
    "variable with inputs": mutated(lambda d: d["nodes"][1].update(inputs=[[0, 0, 0]])),
    "subgraphs": mutated(lambda d: d["nodes"][3].update(subgraphs=[{}])),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_graphs(text):
    with pytest.raises(mx.TigonError, match=r"^graph text: "):
        sym.load_json(text)


def test_nodes_in_another_order():
    """A file need not be sorted as long as it has no cycle."""
    document = json.loads(json.dumps(MODERN))
    order = [7, 0, 1, 2, 3, 4, 5, 6]
    place = {old: new for new, old in enumerate(order)}
    document["nodes"] = [document["nodes"][old] for old in order]
    for node in document["nodes"]:
        node["inputs"] = [[place[entry[0]], *entry[1:]] for entry in node["inputs"]]
    document["heads"] = [[0, 0, 0]]
    assert read(document).list_arguments() == ["data", "fc1_weight", "fc1_bias"]


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "bad").write_bytes(b'{"nodes": "\xff"}')
    with pytest.raises(mx.TigonError, match=r"bad: byte 11 is not UTF-8"):
        mx.load(str(tmp_path / "bad"))


def test_deep_graphs():
    x = sym.var("x")
    y = x
    for _ in range(3000):
        y = y + 1
    assert sym.load_json(y.tojson()).list_arguments() == ["x"]


def test_what_mxnet_demands_is_written():
    """Attributes without a default in MXNet, or with another one."""
    x = sym.var("x")
    cases = [
        (sym.concat(x, x, dim=2), {"dim": "2", "num_args": "2"}),
        (sym.add_n(x, x, x), {"num_args": "3"}),
        (sym.zeros((1,)), {"shape": "(1,)", "dtype": "float32"}),
        (sym.full((2,), 0), {"shape": "(2,)", "value": "0", "dtype": "float32"}),
        (sym.split_v2(x, 2), {"indices": "()", "sections": "2"}),
    ]
    for symbol, expected in cases:
        node = json.loads(symbol.tojson())["nodes"][-1]
        assert node["attrs"] == expected
        assert sym.load_json(symbol.tojson()).tojson() == symbol.tojson()
    assert json.loads(sym.arange(3).tojson())["nodes"][0]["attrs"]["start"] == "3"


NUMBERS_BESIDE = [
    name
    for name in mx.sym.__dir__()
    if name.startswith("broadcast_")
    and name not in ("broadcast_axis", "broadcast_axes", "broadcast_to", "broadcast_like")
]


@pytest.mark.parametrize("name", NUMBERS_BESIDE)
def test_numbers_beside_an_operand_are_written_as_mxnet_knows_them(name):
    operator, x = getattr(sym, name), sym.var("x")
    values = nd.array([0.5, 2.0, 3.0, 4.0])
    for made in (operator(x, 3.0), operator(3.0, x)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what only tigon reads is said
            text = made.tojson()
        (row,) = [row for row in json.loads(text)["nodes"] if row["op"] != "null"]
        assert row["op"].endswith("_scalar") and float(row["attrs"]["scalar"]) == 3
        again = sym.load_json(text)
        (one,), (other,) = (s.bind(mx.cpu(), {"x": values}).forward() for s in (made, again))
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(2**53 + 1, "int64"), (-(2**60) - 1, "int64"), (3, "int32"), (0.1, "float64"), (3, "float32")],
)
def test_numbers_beside_an_operand_keep_their_kind(number, dtype):
    x = sym.var("x")
    values = nd.array([1, 2], dtype=dtype)
    for made in (x + number, number - x, x > number):
        again = sym.load_json(made.tojson())
        (one,), (other,) = (s.bind(mx.cpu(), {"x": values}).forward() for s in (made, again))
        assert one.dtype == other.dtype
        assert one.asnumpy().tolist() == other.asnumpy().tolist()
    (found,) = sym.load_json((x + number).tojson()).bind(mx.cpu(), {"x": values}).forward()
    assert found.asnumpy().tolist() == [
        (np.dtype(dtype).type(value) + np.dtype(dtype).type(number)).item() for value in (1, 2)
    ]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_equal_shapes_are_written_as_equal(name):
    x = sym.var("x", shape=(2, 3))
    for shape, kind in (((2, 3), "elemwise"), ((1, 3), "broadcast")):
        made = getattr(sym, f"broadcast_{name}")(x, sym.var("y", shape=shape))
        (row,) = [row for row in json.loads(made.tojson())["nodes"] if row["op"] != "null"]
        assert row["op"] == f"{kind}_{name}"


@pytest.mark.parametrize("text", [str(2**63), str(-(2**63) - 1), "'1'", "(1,)", "None", "x", ""])
def test_numbers_that_no_array_holds(text):
    document = json.loads((sym.var("x") + 7).tojson())
    (row,) = [row for row in document["nodes"] if row["op"] != "null"]
    for kept in (2**63 - 1, -(2**63)):
        row["attrs"]["scalar"] = str(kept)
        found = sym.load_json(json.dumps(document)).eval(x=nd.array([0], dtype="int64"))[0]
        assert found.asnumpy().tolist() == [kept]
    row["attrs"]["scalar"] = text
    with pytest.raises(mx.TigonError, match="attribute 'scalar' expects a number"):
        sym.load_json(json.dumps(document))
