"""What an exported library promises its caller beside numbers."""

from __future__ import annotations

import ctypes as c
import os
import re
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.standalone import foreign
from tests.standalone.foreign import ForeignError, Library
from tigon import TigonError, gluon, nd
from tigon.backends.llvm.target import LEVELS, architecture, host_level
from tigon.gluon import nn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    return Path(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def net() -> Any:
    mx.random.seed(1)
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(64, activation="relu"), nn.Dense(10))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    net(nd.zeros((32, 20)))
    return net


@pytest.fixture(scope="module")
def path(folder: Path, net: Any) -> Path:
    net.export_native(folder / "plain", nd.zeros((32, 20)))  # whatever was called last
    return folder / "plain.so"


def given(rows: int = 4) -> np.ndarray:
    return np.random.default_rng(rows).uniform(-1, 1, (rows, 20)).astype("float32")


def wanted(net: Any, rows: int = 4) -> np.ndarray:
    return net(nd.array(given(rows))).asnumpy()


def test_nothing_is_needed(path: Path) -> None:
    """No library, no symbol of another one, nothing to relocate."""
    described = subprocess.run(
        ["readelf", "-dW", "--dyn-syms", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert "NEEDED" not in described and "RELA" not in described
    assert " UND " not in described.replace(
        "0: 0000000000000000     0 NOTYPE  LOCAL  DEFAULT  UND", ""
    )


@pytest.mark.skipif(
    find_spec("ziglang") is not None or architecture() == "aarch64", reason="it is compiled"
)
def test_another_architecture_wants_a_compiler(net: Any, folder: Path) -> None:
    with pytest.raises(TigonError) as caught:
        net.export_native(folder / "arm", target="aarch64")
    assert str(caught.value) == (
        "export_native: the runtime for aarch64 is compiled where it is first needed; pip install "
        "tigon[export], which brings a compiler for it (ziglang)"
    )


def test_modules_for_the_web_have_a_verb_of_their_own(net: Any, folder: Path) -> None:
    symbol = mx.sym.exp(mx.sym.var("data"))
    for export in (
        net.export_native,
        lambda path, **options: symbol.export_native(path, {}, {"data": (2, 3)}, **options),
    ):
        with pytest.raises(TigonError) as caught:
            export(folder / "page", system="web")
        assert str(caught.value) == (
            "export_native: system: expected 'linux', 'windows' or 'macos'; given 'web'; modules "
            "for browsers and Node are written by export_wasm"
        )
    assert not list(folder.glob("page*"))


def test_other_systems_want_their_architecture(
    net: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that zig makes is one for Linux, and asks that for memory."""
    monkeypatch.setattr("tigon.standalone.runtime.architecture", lambda: "aarch64")
    monkeypatch.setattr("tigon.standalone.runtime._FOLDER", folder)
    with pytest.raises(TigonError) as caught:
        net.export_native(folder / "other", target="x86-64-v2", system="macos")
    assert str(caught.value) == (
        "export_native: libraries for macos are written on x86-64; this machine is aarch64"
    )


def test_the_same_program_makes_the_same_bytes(path: Path, net: Any, folder: Path) -> None:
    net.export_native(folder / "again", nd.zeros((32, 20)), prefix="plain")
    again = (folder / "again.so").read_bytes()
    code = (
        "import tigon as mx; from tigon.gluon import nn; from tigon import nd\n"
        "mx.random.seed(1); net = nn.HybridSequential(prefix='net_')\n"
        "with net.name_scope():\n"
        "    net.add(nn.Dense(64, activation='relu'), nn.Dense(10))\n"
        "net.initialize(mx.init.Xavier()); net.hybridize(); net(nd.zeros((32, 20)))\n"
        f"net.export_native({str(folder / 'other')!r}, prefix='plain')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TIGON_CACHE": "0"})
    assert path.read_bytes() == again == (folder / "other.so").read_bytes()


def refused(instance: Any, *arrays: np.ndarray) -> tuple[int, str]:
    with pytest.raises(ForeignError) as caught:
        instance(*arrays)
    return caught.value.status, str(caught.value)


def test_what_does_not_fit_is_refused(path: Path) -> None:
    instance = Library(path).instance(largest=[8])
    assert refused(instance, given()[:, :19]) == (
        foreign.BAD_ARGUMENT,
        "data: expected float32 of shape (batch, 20); given float32 of shape (4, 19)",
    )
    assert refused(instance, given().astype("float64")) == (
        foreign.BAD_ARGUMENT,
        "data: expected float32 of shape (batch, 20); given float64 of shape (4, 20)",
    )
    assert refused(instance, given().reshape((1,) * 6 + (4, 20))) == (
        foreign.BAD_ARGUMENT,
        "data: expected float32 of shape (batch, 20); given float32 of shape (1, 1, 1, 1, 1, 1, 4, "
        "20)",
    )
    assert refused(instance, given(0)) == (
        foreign.BAD_ARGUMENT,
        "data: expected float32 of shape (batch, 20); given float32 of shape (0, 20)",
    )
    assert refused(instance, given(9)) == (
        foreign.BAD_EXTENT,
        "extents: expected sizes below the largest; given batch = 9; create an instance with "
        "larger ones",
    )
    instance.close()


def test_pointers_that_are_none_are_refused(path: Path) -> None:
    library = Library(path)
    instance = library.instance()
    array, out = foreign.array_of(given()), foreign.Array()
    results = np.zeros((4, 9), "float32")

    def run(inputs: Any, outputs: Any) -> tuple[int, str]:
        status = library.run(instance.handle, inputs, outputs)
        return status, library.last_error(instance.handle).decode()

    assert run(None, c.byref(out)) == (
        foreign.BAD_ARGUMENT,
        "inputs: expected an array for each input; given a null pointer",
    )
    assert run(c.byref(array), None) == (
        foreign.BAD_ARGUMENT,
        "outputs: expected an array for each output; given a null pointer",
    )
    array.data = None
    assert run(c.byref(array), c.byref(out)) == (
        foreign.BAD_ARGUMENT,
        "data: data is a null pointer",
    )
    array = foreign.array_of(given())
    out = foreign.array_of(results)
    assert run(c.byref(array), c.byref(out)) == (
        foreign.BAD_ARGUMENT,
        "output: expected memory of 160 bytes; given 144",
    )
    assert library.run(None, c.byref(array), c.byref(out)) == foreign.BAD_ARGUMENT
    assert library.last_error(None) == b"expected an instance; given a null pointer"
    assert library.create(None, None) == foreign.BAD_ARGUMENT
    assert library.tell(foreign.INPUT, 1, c.byref(foreign.Description())) == foreign.NO_SUCH
    library.destroy(None)
    instance.close()
    message = c.create_string_buffer(b"as it was")
    wrong = foreign.Options(size=8, message=c.cast(message, c.c_char_p), message_bytes=9)
    assert library.create(c.byref(wrong), c.byref(c.c_void_p())) == foreign.BAD_ARGUMENT
    assert message.value == b"as it was"


def test_an_unfit_machine_is_told_so(path: Path, folder: Path) -> None:
    content = path.read_bytes()
    (folder / "plain2").mkdir()
    other = folder / "plain2" / "plain.so"
    other.write_bytes(content.replace(b"\0fma\0\0\0\0\0", b"\0fmx\0\0\0\0\0", 1))
    with pytest.raises(ForeignError) as caught:
        Library(other).instance()
    assert (caught.value.status, str(caught.value)) == (
        foreign.UNFIT,
        "plain: this processor has no fmx; export with a lower level",
    )


def test_levels_are_chosen_by_the_processor(net: Any, folder: Path) -> None:
    levels = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")
    if not any(name.startswith("x86") for name in net_levels()):
        pytest.skip("the levels are those of x86-64")
    net.export_native(folder / "levels", target=levels)
    library = Library(folder / "levels.so")
    names = [name for name, *_ in library.describe(foreign.LEVEL)]
    assert names == list(reversed(levels))
    for level in [level for level in levels if level in net_levels()]:
        instance = library.instance(level=level.encode())
        np.testing.assert_allclose(instance(given())[0], wanted(net), rtol=1e-5, atol=1e-6)
        instance.close()
    with pytest.raises(ForeignError, match="levels: there is no code of level z"):
        library.instance(level=b"z")


def net_levels() -> list[str]:
    """Those that this machine runs."""
    names = [name for name in LEVELS if name.startswith(architecture())]
    return names[: names.index(host_level()) + 1]


def test_weights_apart(net: Any, folder: Path) -> None:
    files = net.export_native(folder / "apart", weights="apart")
    assert files[-1] == str(folder / "apart.safetensors")
    library = Library(folder / "apart.so")
    weights = folder / "apart.safetensors"
    instance = library.instance(weights_path=str(weights).encode())
    np.testing.assert_array_equal(instance(given())[0], wanted(net))
    instance.close()
    content = weights.read_bytes()
    instance = library.instance(weights=content, weights_bytes=len(content))
    np.testing.assert_array_equal(instance(given())[0], wanted(net))
    instance.close()

    def fails(**options: Any) -> tuple[int, str]:
        with pytest.raises(ForeignError) as caught:
            library.instance(**options)
        return caught.value.status, str(caught.value)

    assert fails() == (
        foreign.BAD_WEIGHTS,
        "expected weights_path, or weights; given neither, and they are not inside",
    )
    other = folder / "other.safetensors"
    assert fails(weights_path=str(other).encode()) == (
        foreign.BAD_WEIGHTS,
        f"{other}: cannot be read",
    )
    other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert fails(weights_path=str(other).encode()) == (
        foreign.BAD_WEIGHTS,
        f"{other}: expected the file that was exported with this library; given another one",
    )


def test_two_libraries_and_many_threads(path: Path, net: Any, folder: Path) -> None:
    net.export_native(folder / "second", nd.zeros((3, 20)), extents=None)
    first, second = Library(path), Library(folder / "second.so")
    failures: list[str] = []

    def work() -> None:
        one, other = first.instance(), second.instance()
        for rows in (1, 3, 7, 32):
            if not np.array_equal(one(given(rows))[0], expected[rows]):
                failures.append(f"{rows}")
        if not np.array_equal(other(given(3))[0], expected[3]):
            failures.append("second")
        one.close()
        other.close()

    expected = {rows: wanted(net, rows) for rows in (1, 3, 7, 32)}
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_caller_may_bring_memory_and_threads(path: Path, net: Any) -> None:
    blocks: dict[int, Any] = {}
    taken: list[int] = []
    calls: list[int] = []

    @foreign.ALLOCATE
    def allocate(context: Any, size: int) -> int:
        block = (c.c_char * (size + 64))()
        address = -(-c.addressof(block) // 64) * 64
        blocks[address] = block
        taken.append(size)
        return address

    @foreign.RELEASE
    def release(context: Any, block: int, size: int) -> None:
        del blocks[block]

    @foreign.PARALLEL_FOR
    def parallel_for(context: Any, count: int, body: Any, work: Any) -> None:
        calls.append(count)
        for index in reversed(range(count)):
            body(work, index, index % 2)

    instance = Library(path).instance(
        largest=[4096], allocate=allocate, release=release, parallel_for=parallel_for, workers=2
    )
    before = list(taken)
    for rows in (4096, 7, 300):
        np.testing.assert_array_equal(instance(given(rows))[0], wanted(net, rows))
    assert taken == before, "a run allocates nothing"
    assert calls and max(calls) > 1
    instance.close()
    assert not blocks
    with pytest.raises(ForeignError) as caught:  # each worker has memory of its own
        Library(path).instance(parallel_for=parallel_for)
    assert str(caught.value) == "workers: expected how many parallel_for has; given 0"


def test_random_numbers_are_those_of_the_seed(folder: Path) -> None:
    noisy = mx.jit(lambda x: x + nd.random.normal(shape=(4, 20)) * nd.random.uniform(shape=(20,)))
    noisy.export_native(folder / "noisy", nd.zeros((4, 20)), extents=None)
    instance = Library(folder / "noisy.so").instance(seed=11)
    for seed in (11, 12):
        mx.random.seed(seed)
        instance.seed(seed)
        for _ in range(3):
            np.testing.assert_array_equal(instance(given())[0], noisy(nd.array(given())).asnumpy())
    instance.close()


def test_operators_that_fail_say_so(folder: Path) -> None:
    pick = mx.jit(lambda x, i: nd.take(x, i, mode="raise"))
    data, index = nd.zeros((5, 3)), nd.array([0, 4])
    pick.export_native(folder / "pick", data, index, extents=None)
    instance = Library(folder / "pick.so").instance()
    assert instance(data.asnumpy(), index.asnumpy())[0].shape == (2, 3)
    status, text = refused(instance, data.asnumpy(), np.array([0, 7], "float32"))
    assert status == foreign.FAILED
    assert text == "take: index 7 is out of bounds for axis 0 with size 5"
    instance.close()


def test_what_an_operator_notices_is_told(folder: Path) -> None:
    loss = mx.jit(lambda x, y: nd.CTCLoss(x, y))
    data, label = nd.zeros((2, 1, 4)), nd.array([[1, 1]])
    loss.export_native(folder / "loss", data, label, extents=None)
    instance = Library(folder / "loss.so").instance()
    np.testing.assert_array_equal(
        instance(data.asnumpy(), label.asnumpy())[0], loss(data, label).asnumpy()
    )
    said = instance.library.last_error(instance.handle).decode()
    assert said.startswith("CTCLoss: expected labels that some alignment fits")
    instance(data.asnumpy(), np.array([[1, 2]], "float32"))
    assert instance.library.last_error(instance.handle) == b""
    instance.close()


def test_a_graph_of_symbols(folder: Path) -> None:
    x, w = mx.sym.var("x"), mx.sym.var("w")
    graph = mx.sym.FullyConnected(x, w, no_bias=True, num_hidden=4)
    weight = nd.random.normal(shape=(4, 20))
    graph.export_native(folder / "graph", {"arg:w": weight}, {"x": (8, 20)})
    instance = Library(folder / "graph.so").instance()
    np.testing.assert_array_equal(
        instance(given())[0], graph.eval(x=nd.array(given()), w=weight)[0].asnumpy()
    )
    instance.close()


REFUSALS = {
    "a name that is none": (
        lambda net, folder: net.export_native(folder / "2nd-model"),
        "export_native: names of C functions begin with '2nd-model', which is no identifier of C "
        "and C++; pass prefix='model', say",
    ),
    "a name that is a word of C++": (
        lambda net, folder: net.export_native(folder / "class"),
        "export_native: names of C functions begin with 'class', which is no identifier of C "
        "and C++; pass prefix='model', say",
    ),
    "a level that is no name": (
        lambda net, folder: net.export_native(folder / "m", target=3),
        "export_native: target: expected 'native', 'all' or levels of one architecture among ",
    ),
    "extents that are no dict": (
        lambda net, folder: net.export_native(folder / "m", extents=("batch", None)),
        "export_native: extents: expected None, the name of the first axis, or a dict with a name "
        "or None for each axis of inputs; given ('batch', None)",
    ),
    "an extent that is a number": (
        lambda net, folder: net.export_native(folder / "m", extents={"data": ("batch", 20)}),
        "export_native: extents: expected a name or None for each axis of inputs among data of 2 "
        "axes; given 'data': ('batch', 20)",
    ),
    "a level of nothing": (
        lambda net, folder: net.export_native(folder / "m", target="x86-64-v9"),
        "export_native: target: expected 'native', 'all' or levels of one architecture among ",
    ),
    "weights elsewhere": (
        lambda net, folder: net.export_native(folder / "m", weights="beside"),
        "export_native: weights: expected 'inside' or 'apart'; given 'beside'",
    ),
    "an input of another name": (
        lambda net, folder: net.export_native(folder / "m", extents={"x": ("batch",)}),
        "export_native: extents: expected a name or None for each axis of inputs among data of 2 "
        "axes; given 'x': ('batch',)",
    ),
    "one name for two sizes": (
        lambda net, folder: net.export_native(
            folder / "m", nd.zeros((32, 20)), extents={"data": ("n", "n")}
        ),
        "export_native: extents: 'n' is 32 in one place and 20 in axis 1 of 'data'; give them "
        "different names",
    ),
    "an input of nine axes": (
        lambda net, folder: mx.jit(lambda x: x + 1).export_native(folder / "m", nd.ones((1,) * 9)),
        "export_native: 'data' has 9 axes; expected 8 at most",
    ),
    "a result of nine axes": (
        lambda net, folder: mx.jit(lambda x: x.reshape((1,) * 9) + 1).export_native(
            folder / "m", nd.ones((1,)), extents=None
        ),
        "export_native: 'output' has 9 axes; expected 8 at most",
    ),
    "a weight of nine axes": (
        lambda net, folder: mx.sym.sum(mx.sym.var("x") * mx.sym.var("w")).export_native(
            folder / "m", {"w": nd.ones((1,) * 9)}, {"x": (1,)}, extents=None
        ),
        "export_native: 'w' has 9 axes; expected 8 at most",
    ),
    "nothing called yet": (
        lambda net, folder: nn.Dense(2, prefix="new_").export_native(folder / "m"),
        "export_native: new was not called in prediction yet; call it once after hybridize(), or "
        "pass example inputs",
    ),
    "a decision by a value": (
        lambda net, folder: mx.jit(_decides).export_native(folder / "m", nd.ones((2,))),
        "export_native: _decides decides by values: ",
    ),
    "a variable without a value": (
        lambda net, folder: mx.sym.var("y").export_native(folder / "m", {}, {}),
        "export_native: variable 'y' is neither among params nor among shapes; give its array, or "
        "its shape if the caller gives the array",
    ),
    "a routine": (
        lambda net, folder: mx.jit(lambda x: nd.sort(x)).export_native(folder / "m", nd.ones((3,))),
        "export_native: sort0 at ",
    ),
    "a step with Python code": (
        lambda net, folder: _step(_TwiceNet(prefix="twice_")).export_native(
            folder / "m", nd.ones((4, 3)), nd.ones((4, 3))
        ),
        "export_native: twice_step is no program: it calls Custom '_native_twice' "
        "(twice_custom0), which is Python code, between its operators",
    ),
    "Python code": (
        lambda net, folder: mx.jit(lambda x: nd.Custom(x, op_type="_native_twice")).export_native(
            folder / "m", nd.ones((3,))
        ),
        "export_native: Custom 'custom0' at ",
    ),
}


class _TwiceNet(nn.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.Custom(x, op_type="_native_twice")


def _step(net: Any) -> Any:
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    return gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)


class _Twice(mx.operator.CustomOp):
    def forward(self, is_train: Any, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        self.assign(out_data[0], req[0], in_data[0] * 2)


@mx.operator.register("_native_twice")
class _TwiceProperties(mx.operator.CustomOpProp):
    def create_operator(self, *_: Any) -> Any:
        return _Twice()


def _decides(x: Any) -> Any:
    return x * 2 if x.sum() > 0 else x


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_exported_is_refused(name: str, net: Any, folder: Path) -> None:
    attempt, text = REFUSALS[name]
    with pytest.raises(TigonError) as caught:
        attempt(net, folder)
    told = re.sub(r"(sort|custom)\d+", r"\g<1>0", str(caught.value))  # the next of their kind
    assert told.startswith(text)
    if not text.endswith(" "):
        assert told == text
    elif " at " in text:
        assert "test_contract.py:" in told
