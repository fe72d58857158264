"""Whatever is wrong in a file, reading it raises a `TigonError` that says where, and asks for no
more memory than the file is worth."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.formats.test_files_of_the_past import node, variable
from tests.formats.test_params import csr, listing, record, row_sparse
from tests.readers.hostile import mutated_bytes
from tigon import gluon, nd, sym
from tigon.base.dtypes import bfloat16, to_memory
from tigon.export import safetensors, symbol_json
from tigon.ops import names

FIGURES = np.arange(6, dtype=np.float32).reshape(2, 3)
POSITION = re.compile(
    r"^evil: (at byte \d+|byte \d+|line \d+, column \d+|at [\w.\[\]']+|"
    r"node \d+ .*at [\w.\[\]]*nodes\[\d+)",
    re.DOTALL,
)


def was_read(read: Callable[..., Any], *arguments: Any, what: object, place: bool = True) -> bool:
    """Whether it was read. Everything but a `TigonError` that says where goes through."""
    try:
        read(*arguments)
        return True
    except mx.TigonError as error:
        assert len(str(error)) < 4000, what
        assert not place or POSITION.match(str(error)), (what, str(error))
        return False
    except Exception as error:
        raise AssertionError(what) from error


# -------------------------------------------------------------------------- of bytes


def binary_files() -> dict[str, bytes]:
    arrays = [FIGURES, np.array([True, False]), np.array([7], np.int64), np.zeros((0, 3), np.uint8)]
    codes = [0, 7, 6, 3]
    named = dict(zip("abcd", arrays, strict=True))
    return {
        "params": listing(
            [record(2, array, code) for array, code in zip(arrays, codes, strict=True)],
            [b"arg:w", b"aux:m", "\u03b2".encode(), b""],
        ),
        "params without names": listing([record(v, FIGURES, 0) for v in range(4)]),
        "params of scalars": listing([record(3, np.float32(2), 0), record(3, np.int32(2), 4)]),
        "params of sparse arrays": listing([row_sparse(), csr(3, 4), csr()], [b"a", b"b", b"c"]),
        "safetensors": safetensors.write(named, {"format": "np"}),
        "safetensors, other types": safetensors.write(
            {t: np.ones(2, t) for t in ("float16", "int8", "uint16", "uint64", "int16", "uint32")}
            | {"bfloat16": to_memory(np.ones(2), bfloat16)}
        ),
    }


@pytest.mark.parametrize("kind", binary_files())
def test_damaged_bytes(kind: str, tmp_path: Path) -> None:
    draw = random.Random(kind)
    good = binary_files()[kind]
    suffix = ".safetensors" if kind.startswith("safetensors") else ".params"
    read = 0
    for number in range(3000):
        content = mutated_bytes(good, draw)
        if number < len(good):
            content = good[:number]
        read += was_read(nd.load_frombuffer, content, "evil", what=content)
        if number % 100 == 0:
            path = tmp_path / f"evil{suffix}"
            path.write_bytes(content)
            try:
                nd.load(path)
            except mx.TigonError as error:
                assert str(error).startswith(f"{path}: at byte ")
    assert read < 2500


@pytest.mark.parametrize("kind", binary_files())
def test_every_truncation_and_every_addition_is_noticed(kind: str) -> None:
    good = binary_files()[kind]
    nd.load_frombuffer(good)
    for length in range(len(good)):
        assert not was_read(nd.load_frombuffer, good[:length], "evil", what=length)
    assert not was_read(nd.load_frombuffer, good + b"\0", "evil", what="longer")


SIZES = [
    (0, 2**62, 2**62), (2**62, 0, 2**62), (2**62, 2**62, 0), (0, 2**63 - 1, 2), (2**62, 2**62),
    (2**31, 2**31, 2**31), (0, -1), (-5, -5), (1,) * 40, (2**63 - 1,), (2**61, 0, 1),
]  # fmt: skip


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
def test_shapes_that_no_array_has(shape: tuple[int, ...], dtype: str) -> None:
    code = {"float32": 0, "uint8": 3, "float64": 1}[dtype]
    tag = {"float32": "F32", "uint8": "U8", "float64": "F64"}[dtype]
    head = struct.pack(f"<Iii{len(shape)}q", 0xF993FAC9, 0, len(shape), *shape)
    params = listing([head + struct.pack("<iii", 1, 0, code)])
    header = json.dumps({"w": {"dtype": tag, "shape": shape, "data_offsets": [0, 0]}}).encode()
    tensors = struct.pack("<Q", len(header)) + header
    for content in (params, tensors):
        if was_read(nd.load_frombuffer, content, "evil", what=shape):
            # An extent of -1 means in MXNet's files that nothing was ever put in.
            assert np.prod(shape) == 0 or (content is params and -1 in shape)


@pytest.mark.parametrize(
    ("kind", "fixed"), [("params", 100_000), ("params of sparse arrays", 2**24 + 200_000)]
)
def test_damaged_sizes_ask_for_no_memory(kind: str, fixed: int) -> None:
    draw = random.Random(5)
    good = binary_files()[kind]
    tracemalloc.start()
    try:
        for _ in range(500):
            content = mutated_bytes(good, draw)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            was_read(nd.load_frombuffer, content, "evil", what=content)
            assert tracemalloc.get_traced_memory()[1] - before < 200 * len(content) + fixed
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["params", "safetensors"])
def test_truth_values_are_0_or_1(kind: str) -> None:
    if kind == "params":
        content = listing([record(2, np.array([0, 1, 2], np.uint8), 7)])
    else:
        content = safetensors.write({"a": np.ones(3, bool)})[:-1] + b"\x02"
    at = content.rindex(b"\x02")
    with pytest.raises(mx.TigonError, match=f"evil: at byte {at}: expected 0 or 1 .* given 2;"):
        nd.load_frombuffer(content, "evil")


def test_safetensors_say_where_in_the_header() -> None:
    arrays = {"first": FIGURES, "second": FIGURES}
    good = safetensors.write(arrays)
    content = good.replace(b'"second":{"dtype":"F32"', b'"second":{"dtype":"X32"')
    at = content.index(b'"second"')
    with pytest.raises(mx.TigonError, match=f"evil: at byte {at}: expected a dtype of .*'second'"):
        safetensors.read(content, "evil")


# ------------------------------------------------------------------- of optimizer states


def trained(optimizer: str) -> Any:
    net = gluon.nn.Dense(2, in_units=3, prefix="net_")
    net.initialize(mx.init.One())
    trainer = gluon.Trainer(net.collect_params(), optimizer)
    for _ in range(2):
        with mx.autograd.record():
            loss = net(nd.ones((1, 3))).sum()
        loss.backward()
        trainer.step(1)
    return trainer


def test_damaged_states_change_nothing(tmp_path: Path) -> None:
    draw = random.Random(1)
    trainer = trained("adam")
    path = tmp_path / "states"
    trainer.save_states(path)
    good = path.read_bytes()
    arrays = nd.load(path)
    damaged: list[dict[str, Any]] = []
    for name in arrays:
        damaged.append({n: a for n, a in arrays.items() if n != name or n.startswith("count")})
        for other in (nd.zeros((0,)), nd.ones((3, 3)), nd.array([float("nan")]), nd.array([-1])):
            damaged.append({**arrays, name: other})
    for entry in damaged:
        nd.save(path, entry)
        before = trainer._updater.to_arrays()
        if not was_read(trainer.load_states, path, what=entry, place=False):
            after = trainer._updater.to_arrays()
            assert all((after[n].asnumpy() == a.asnumpy()).all() for n, a in before.items())
        else:
            assert entry.keys() == arrays.keys() or len(entry) == len(arrays)
        path.write_bytes(good)
        trainer.load_states(path)
    for _ in range(2000):
        path.write_bytes(mutated_bytes(good, draw))
        was_read(trainer.load_states, path, what=path, place=False)


# ---------------------------------------------------------------------------- of graphs


def graph_files() -> dict[str, dict[str, Any]]:
    data = sym.var("data", shape=(2, 0), dtype="float32", lr_mult=2.0, init=mx.init.One())
    hidden = sym.FullyConnected(data, num_hidden=3, name="fc")
    hidden = sym.BatchNorm(sym.LeakyReLU(hidden, act_type="prelu", name="pr"), name="bn")
    split = sym.SliceChannel(hidden, num_outputs=3, name="sl")
    net = sym.SoftmaxOutput(sym.concat(split[0], split[2], dim=1) * 2 - 1, name="softmax")
    images = sym.Pooling(
        sym.Convolution(sym.var("x"), kernel=(3, 3), num_filter=2, pad=(1, 1), name="conv"),
        kernel=(2, 2),
        stride=(2, 2),
        pool_type="max",
    )
    more = sym.Group([images.reshape((0, -1)), sym.zeros((2, 3)), sym.arange(3).sum()])
    with pytest.warns(UserWarning):
        constant = json.loads((sym.var("x") + mx.Constant(np.array([1.0, 2.0]))).tojson())
    old = json.loads(net.tojson().replace('"attrs"', '"attr"'))
    old["attrs"] = old.pop("attr")
    x, s, w = map(sym.var, "xsw")
    rows, last = sym.contrib.foreach(lambda d, t: (d * w, [t[0] + d]), x, [s])
    _, ends = sym.contrib.while_loop(lambda i, t: i < w, lambda i, t: ([], (i + 1, t)), [s, x], 4)
    chosen = sym.contrib.cond(
        w.sum() > 3,
        lambda: sym.contrib.foreach(lambda d, t: (d - w, t), x, s)[0],
        lambda: x,
    )
    past: dict[str, Any] = {"nodes": [variable("x"), variable("y")], "heads": [[5, 0]]}
    for op, inputs, attributes in (
        ("_Hypot", [0, 1], {}),
        ("cast_storage", [2], {"stype": "row_sparse"}),
        ("WarpCTC", [3, 1], {"label_length": "2", "input_length": "1"}),
        ("_sample_uniform", [], {"shape": "(2, 3)", "low": "1"}),
    ):
        past["nodes"].append(node(op, f"n{len(past['nodes'])}", inputs, attributes))
    return {
        "past": past,
        "loops": json.loads(sym.Group([rows, *last, *ends, chosen]).tojson()),
        "net": json.loads(net.tojson()),
        "old": old,
        "images": json.loads(more.tojson()),
        "constant": constant,
    }


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, 1e300,
    float("nan"), float("inf"), "", "x", "\ud800", "\0", "0", "-1", "9" * 5000, "1e999", "None",
    "(", "()" , "(-1, -1)", "(0, 0)", "(4611686018427387904, 4611686018427387904)", "(1.5, 2)",
    "(8L, 3L)", "9223372036854775807", "-9223372036854775809", "(" * 3000, "[" * 200 + "]" * 200,
    "nan", "inf", "True", "float16", "int3", ",", "f4,f4", "\u00b2", "('a',)", "{1: 2}", "b'x'",
    "lambda: 0", "1" + "0" * 400, "-" * 2000 + "1", "1j", "(2**9,)", [], {}, [[]], [None], {"": ""},
    [0, 0, 0], [0], [10**6, 0, 0], [0, 10**6, 0], [-1, 0, 0], [0, 0.0, 0], [[0, 0, 0]] * 40,
    ["int", 10901], ["int", "x"], {"op": "null", "name": "y", "inputs": []},
]  # fmt: skip


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    if path:
        yield path
    if isinstance(part, dict):
        for key, value in part.items():
            yield from places(value, (*path, key))
    elif isinstance(part, list):
        for index, value in enumerate(part):
            yield from places(value, (*path, index))


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(document)
    parent_of(document, path)[path[-1]] = value
    return document


def without(document: Any, path: tuple[Any, ...]) -> Any:
    document = copy.deepcopy(document)
    del parent_of(document, path)[path[-1]]
    return document


def parent_of(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def load(content: str | bytes) -> Any:
    return sym.Symbol(symbol_json.loads(content, "evil"))


def load_and_infer(document: Any) -> Any:
    """Shapes that do not fit are no matter of the file's form: that is said by the operators."""
    symbol = load(document if isinstance(document, bytes) else json.dumps(document))
    arguments = symbol.list_arguments()
    given = {name: (2, 4) for name in ("data", "x") if name in arguments}
    try:
        symbol.infer_shape_partial(**given)
    except mx.TigonError:
        pass
    symbol.attr_dict()
    symbol.tojson()


@pytest.mark.filterwarnings("ignore:this graph holds operators:UserWarning")
@pytest.mark.parametrize("kind", ["net", "old", "images", "constant"])
def test_any_value_at_any_place_of_a_graph(kind: str) -> None:
    good = graph_files()[kind]
    load_and_infer(good)
    draw = random.Random(kind)
    read = []
    for path in places(good):
        was_read(load_and_infer, without(good, path), what=path)
        for value in draw.sample(VALUES, 15):
            read.append(was_read(load_and_infer, with_value(good, path, value), what=(path, value)))
    assert 0 < sum(read) < len(read) / 2


@pytest.mark.filterwarnings("ignore:this graph holds operators:UserWarning")
def test_any_operator_in_the_place_of_any_other() -> None:
    good = graph_files()["net"]
    draw = random.Random(4)
    for row in good["nodes"]:
        if row["op"] in ("null", "FullyConnected", "BatchNorm"):
            own = row["op"], row.get("attrs", {})
            for name in names():
                row["op"], row["attrs"] = name, draw.choice([own[1], {"shape": "(2, -3)"}, {}])
                was_read(load_and_infer, good, what=(own, row["attrs"], name))
            row["op"], row["attrs"] = own


@pytest.mark.filterwarnings("ignore:this graph holds operators:UserWarning")
def test_damaged_text_of_a_graph() -> None:
    draw = random.Random(3)
    for kind, good in graph_files().items():
        text = json.dumps(good, indent=1).encode()
        for number in range(1500):
            content = text[:number] if number < 300 else mutated_bytes(text, draw)
            was_read(load_and_infer, content, what=(kind, content))


def test_a_number_of_outputs_asks_for_no_memory() -> None:
    good = graph_files()["net"]
    (split,) = (n for n, row in enumerate(good["nodes"]) if row["name"] == "sl")
    damaged = with_value(good, ("nodes", split, "attrs", "num_outputs"), str(10**9))
    with pytest.raises(mx.TigonError, match=r"nodes\[\d+\]: SliceChannel: has 1000000000 outputs"):
        load(json.dumps(damaged))


@pytest.mark.parametrize("place", ["document", "node", "attributes", "version"])
def test_a_name_twice_is_refused(place: str) -> None:
    text = json.dumps(graph_files()["net"])
    damaged = {
        "document": text[:-1] + ', "heads": [[0, 0, 0]]}',
        "node": text.replace('"op": "FullyConnected"', '"op": "FullyConnected", "op": "sin"'),
        "attributes": text.replace('"num_hidden": "3"', '"num_hidden": "3", "num_hidden": "4"'),
        "version": text.replace(
            '"mxnet_version"', '"mxnet_version": ["int", 800], "mxnet_version"'
        ),
    }[place]
    assert damaged != text
    with pytest.raises(mx.TigonError, match=r"^evil: at .*: expected every name once; given"):
        load(damaged)


def test_where_is_said_exactly() -> None:
    good = graph_files()["net"]
    fc = next(n for n, row in enumerate(good["nodes"]) if row["name"] == "fc")
    cases = [
        (("nodes", fc, "inputs", 1, 0), 99, f"at nodes[{fc}].inputs[1]:"),
        (("nodes", fc, "inputs", 1, 1), 9, f"at nodes[{fc}].inputs[1]:"),
        (("nodes", fc, "op"), 3, f"at nodes[{fc}].op:"),
        (("nodes", fc, "attrs", "num_hidden"), "x", f"node {fc} 'fc' (FullyConnected), at nodes["),
        (("nodes", fc, "attrs", "num_hidden"), [], f"at nodes[{fc}].attrs.'num_hidden':"),
        (("nodes", 0, "attrs", "__shape__"), "(2, 'x')", "node 0 'data' (null), at nodes[0]:"),
        (("nodes", 0, "attrs", "__dtype__"), "9" * 5000, "node 0 'data' (null), at nodes[0]:"),
        (("nodes", fc, "name"), "\ud800", f"at nodes[{fc}].name:"),
        (("heads", 0, 1), 7, "at heads[0]:"),
        (("attrs", "mxnet_version"), "x", "at attrs.mxnet_version:"),
    ]
    for path, value, expected in cases:
        with pytest.raises(mx.TigonError) as caught:
            load(json.dumps(with_value(good, path, value)))
        assert str(caught.value).startswith("evil: ") and expected in str(caught.value), path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"nodes":\n ' + "[" * 100_000, "line 2, column 101: is nested too deeply"),
        (
            '{"[[[": "\\"", "nodes":\n\n' + '{"a":' * 9_999,
            "line 3, column 496: is nested too deeply",
        ),
        ('{"nodes":\n ' + "9" * 5000 + "}", "line 2, column 2: is a number of too many digits"),
        ('{"nodes":\n [,]}', "line 2, column 3: Expecting value"),
        (b'{"nodes": "\xff"}', "byte 11 is not UTF-8"),
        ("[]", "at line 1: expected an object; given []"),
    ],
)
def test_where_text_is_damaged(text: str | bytes, expected: str) -> None:
    with pytest.raises(mx.TigonError, match=f"^evil: {re.escape(expected)}"):
        load(text)


@pytest.mark.parametrize("name", ["zweite", "zwölfte", 'with "quotes"'])
def test_safetensors_say_where_whatever_the_name(name: str) -> None:
    good = safetensors.write({"first": FIGURES, name: FIGURES})
    (length,) = struct.unpack("<Q", good[:8])
    header = json.loads(good[8 : 8 + length])
    header[name]["dtype"] = "X32"
    text = json.dumps(header, ensure_ascii=False).encode()
    content = struct.pack("<Q", len(text)) + text + good[8 + length :]
    at = content.index(json.dumps(name, ensure_ascii=False).encode())
    with pytest.raises(mx.TigonError, match=f"evil: at byte {at}: expected a dtype of "):
        safetensors.read(content, "evil")


@pytest.mark.parametrize(
    "shape", ["(2.0,)", "(True, 2)", "(-1, -2)", "('2',)", "[2]", "2", str((1,) * 32 + (2,)), "()"]
)
def test_shapes_of_constants(shape: str) -> None:
    with pytest.warns(UserWarning, match="operators that MXNet does not know"):
        text = (sym.var("x") + mx.Constant(np.array([1.0, 2.0]), "float32")).tojson()
    document = json.loads(text)
    (row,) = [row for row in document["nodes"] if row["op"] == "_tigon_constant"]
    assert row["attrs"]["shape"] == "(2,)"
    row["attrs"]["shape"] = shape
    with pytest.raises(mx.TigonError, match="graph text: node"):
        sym.load_json(json.dumps(document))


@pytest.mark.parametrize("name", ["num_update", "count:0"])
@pytest.mark.parametrize(
    ("value", "dtype"),
    [([1, 2], "int64"), ([-1], "int64"), ([], "int64"), ([2.0], "float64"), ([2], "int32")],
)
def test_counts_of_states_are_one_whole_number(
    name: str, value: list[Any], dtype: str, tmp_path: Path
) -> None:
    trainer, path = trained("adam"), str(tmp_path / "states")
    trainer.save_states(path)
    arrays = nd.load(path)
    nd.save(path, {**arrays, name: nd.array(np.array(value), dtype=dtype)})
    with pytest.raises(mx.TigonError, match=f"'{name}' expects one whole number"):
        trainer.load_states(path)
    nd.save(path, {**arrays, name: nd.array(np.array([0]), dtype="int64")})
    trainer.load_states(path)


@pytest.mark.parametrize(
    ("value", "dtype"), [([0.5, 1], "float64"), ([np.nan], "float64"), ([0.5], "float32")]
)
def test_settings_of_states_are_one_number(value: list[Any], dtype: str, tmp_path: Path) -> None:
    trainer, path = trained("adam"), str(tmp_path / "states")
    trainer.save_states(path)
    arrays = nd.load(path)
    nd.save(path, {**arrays, "setting:beta1": nd.array(np.array(value), dtype=dtype)})
    with pytest.raises(mx.TigonError, match="'setting:beta1' expects one number"):
        trainer.load_states(path)
    assert trainer.optimizer.beta1 == 0.9
    nd.save(path, {**arrays, "setting:beta1": nd.array([0.5], dtype="float64")})
    trainer.load_states(path)
    assert trainer.optimizer.beta1 == 0.5


HALVES = {"@0": nd.array([1.0, 2, 3]), "@3": nd.array([4.0, 5, 6])}


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        (HALVES, None),
        ({"@0": HALVES["@0"]}, r"parts of 'state:0:0' from \[0\] to \[3\]"),
        ({"@3": HALVES["@3"]}, r"from \[3\] to \[6\]"),
        ({**HALVES, "@2": nd.ones((2,))}, r"from \[0, 2, 3\] to \[3, 4, 6\]"),
        ({**HALVES, "@6": nd.ones((1,))}, r"make up the shape \(2, 3\); is a shard missing"),
        ({"@0": nd.ones((3, 1)), "@3": HALVES["@3"]}, "parts of one axis and one dtype"),
        ({"@0": HALVES["@0"].astype("float64"), "@3": HALVES["@3"]}, "one dtype"),
        ({**HALVES, "@": nd.ones((1,))}, "has 'state:0:0@'; expected the part's first element"),
        ({**HALVES, "@:1": nd.ones((1,))}, "has 'state:0:0@:1'; expected"),
        ({**HALVES, "@²": nd.ones((1,))}, "has 'state:0:0@²'; expected"),
        ({**HALVES, f"@{10**30}": nd.ones((1,))}, "expected the part's first element"),
    ],
)
def test_parts_of_states_make_up_whole_ones(
    parts: dict[str, Any], error: str | None, tmp_path: Path
) -> None:
    trainer, path = trained("adam"), str(tmp_path / "states")
    trainer.save_states(path)
    arrays = nd.load(path)
    del arrays["state:0:0"]
    nd.save(path, {**arrays, **{f"state:0:0{at}": part for at, part in parts.items()}})
    if error is None:
        trainer.load_states(path)
        mean = trainer._updater.to_arrays()["state:0:0"]
        assert mean.asnumpy().tolist() == [[1, 2, 3], [4, 5, 6]]
        return
    with pytest.raises(mx.TigonError, match=f"load_states: .*{error}"):
        trainer.load_states(path)
