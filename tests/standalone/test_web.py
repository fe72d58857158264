"""Modules of WebAssembly compute what the same code does on a processor with the same vectors, to
the bit, for every size; they say of themselves what is so, and refuse what is not."""

from __future__ import annotations

import re
import subprocess
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import tigon as mx
from tests.standalone.foreign import Library
from tests.standalone.test_native import CASES, build
from tests.standalone.web import NODE, WebError, flat, step, tell
from tigon import gluon, nd
from tigon.backends.llvm.target import architecture
from tigon.base.leb128 import leb128
from tigon.gluon import nn
from tigon.standalone import wasm
from tigon.standalone.runtime import WEB_RUNTIME
from tools.wasm_runtime import SECTION, digest, signed

ROOT = Path(__file__).resolve().parents[2]

in_node = pytest.mark.skipif(NODE is None, reason="there is no Node to run modules")
LIKE_IT = "x86-64-v2"
"""The level whose vectors and instructions are those of WebAssembly."""


@in_node
@pytest.mark.skipif(architecture() != "x86-64", reason="no other machine has such a level")
@pytest.mark.parametrize("name", CASES)
def test_every_size_is_equal_to_the_bit(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    net, x = build(case)
    net.export_native(tmp_path / "like", x, target=LIKE_IT)
    net.export_wasm(tmp_path / "net", x)
    largest = max(case.sizes)
    instance = Library(tmp_path / "like.so").instance(largest=[largest])
    given = [
        nd.random.uniform(-1, 1, shape=(size, *case.shape)).astype(case.dtype).bits_to_numpy()
        for size in case.sizes
    ]
    steps = [step("load", None, {"largest": {"batch": largest}})]
    steps += [step("run", {"data": each}) for each in given]
    _, *found = tell(tmp_path / "net.js", steps)
    for each, results in zip(given, found, strict=True):
        for one, other in zip(instance(each), results.values(), strict=True):
            np.testing.assert_array_equal(one.view(other.dtype), other)
    instance.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A network, and the folder of its module, with weights apart."""
    mx.random.seed(5)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(2, 2), nn.Dense(10))
    net.initialize(mx.init.Xavier())
    folder = Path(tmp_path_factory.mktemp("small"))
    net.export_wasm(folder / "digit", nd.zeros((4, 1, 12, 9)), weights="apart")
    return net, folder


@in_node
def test_what_a_module_says_and_refuses(small: tuple[Any, Path]) -> None:
    net, folder = small
    x = np.random.default_rng(1).uniform(size=(2, 1, 12, 9)).astype("float32")
    bad = folder / "other.safetensors"
    bad.write_bytes((folder / "digit.safetensors").read_bytes()[:-1] + b"\1")
    steps = {
        "load": step("load"),
        "inputs": step("inputs"),
        "outputs": step("outputs"),
        "extents": step("extents"),
        "run": step("run", {"data": x}),
        "flat": step("run", {"data": flat(x)}),
        "name": step("run", {"picture": x}),
        "none": step("run", None),
        "class": step("run", {"data": x.astype("float64")}),
        "nothing": step("run", {"data": None}),
        "shape": step("run", {"data": x.reshape(2, 1, 9, 12)}),
        "count": step("run", {"data": {**flat(x), "shape": [2, 1, 12, 8]}}),
        "many": step("run", {"data": np.zeros((5, 1, 12, 9), "float32")}),
        "state": step("state", "weight"),
        "instance": step("instance", {"largest": {"batch": 5}}),
        "more": step("run", {"data": np.repeat(x[:1], 5, 0)}, of=1),
        "again": step("run", {"data": x}),
        "destroyed": step("destroy", of=1),
        "gone": step("run", {"data": x}, of=1),
        "gone state": step("state", "weight", of=1),
        "gone seed": step("seed", 3, of=1),
        "extent": step("instance", {"largest": {"rows": 5}}),
        "least": step("instance", {"largest": {"batch": 0}}),
        "huge": step("instance", {"largest": {"batch": 1 << 40}}),
        "weights": step("load", folder / "digit.wasm", {"weights": bad}),
        "address": step("load", "nowhere.wasm"),
        "content": step("load", folder / "digit.d.ts"),
        "bytes": step("load", folder / "digit.wasm", {"weights": folder / "digit.safetensors"}),
    }
    found = dict(zip(steps, tell(folder / "digit.js", list(steps.values())), strict=True))
    said = {name: str(each) for name, each in found.items() if isinstance(each, WebError)}
    assert found["inputs"] == [{"name": "data", "dtype": "float32", "shape": ["batch", 1, 12, 9]}]
    assert found["outputs"] == [{"name": "output", "dtype": "float32", "shape": ["batch", 10]}]
    assert found["extents"] == [{"name": "batch", "likely": 4}]
    wanted = net(nd.array(x)).asnumpy()
    np.testing.assert_allclose(found["run"]["output"], wanted, rtol=1e-5, atol=1e-6)
    for name in ("flat", "again"):
        np.testing.assert_array_equal(found[name]["output"], found["run"]["output"])
    more = np.repeat(found["run"]["output"][:1], 5, 0)
    np.testing.assert_allclose(found["more"]["output"], more, rtol=1e-5, atol=1e-6)
    address = said.pop("address")
    assert address.startswith("ENOENT")
    assert said == {
        "name": "run: expected data; given picture",
        "none": "run: expected data; given nothing",
        "class": "data: expected a Float32Array; given Float64Array",
        "nothing": "data: expected a Float32Array; given null",
        "shape": "data: expected float32 of shape (batch, 1, 12, 9); given float32 of shape "
        "(2, 1, 9, 12)",
        "count": "data: expected 192 elements of shape (2,1,12,8); given 216",
        "many": "extents: expected sizes below the largest; given batch = 5; create an instance "
        "with larger ones",
        "state": "state: expected nothing; given weight",
        "gone": "run: this instance was destroyed",
        "gone state": "state: this instance was destroyed",
        "gone seed": "seed: this instance was destroyed",
        "extent": "largest: expected batch; given rows",
        "least": "largest: expected 1 or more for batch",
        "huge": "largest: expected sizes whose arrays fit into memory",
        "weights": "weights: expected the file that was exported with this library; given another "
        "one",
        "content": said["content"],
    }
    assert "magic" in said["content"]


@in_node
def test_an_instance_is_destroyed_once(small: tuple[Any, Path]) -> None:
    """By the second time its memory belongs to another one, whose results would be put there."""
    x = np.random.default_rng(2).uniform(size=(1, 1, 12, 9)).astype("float32")
    steps = [step("load"), step("run", {"data": x}), step("instance"), step("destroy", of=1)]
    steps += [step("instance"), step("destroy", of=1), step("run", {"data": x}, of=2)]
    _, wanted, *_, found = tell(small[1] / "digit.js", steps)
    np.testing.assert_array_equal(found["output"], wanted["output"])


@in_node
def test_training_goes_on(tmp_path: Path) -> None:
    """As the library that does the same: losses, weights, random numbers."""
    mx.random.seed(4)
    net = nn.HybridSequential()
    net.add(nn.Dense(16, activation="tanh", in_units=6), nn.Dropout(0.4), nn.Dense(3, in_units=16))
    net.initialize(mx.init.Xavier())
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.05})
    step_ = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    data, label = nd.random.uniform(shape=(8, 6)), nd.array(np.arange(8) % 3)
    step_.export_native(tmp_path / "like", data, label, target=LIKE_IT)
    files = step_.export_wasm(tmp_path / "step", data, label)
    assert [Path(file).name for file in files] == ["step.wasm", "step.js", "step.d.ts"]
    given = {"data0": data.asnumpy(), "data1": label.asnumpy()}
    library = Library(tmp_path / "like.so").instance(seed=9)
    losses = [library(*given.values())[0] for _ in range(4)]
    own = next(iter(net.collect_params()))
    steps = [step("load", None, {"seed": 9}), step("states")]
    steps += [step("run", given)] * 4
    steps += [step("state", own), step("setState", own, flat(np.ones((16, 6), "float32")))]
    _, states, *found, weight, set_ = tell(tmp_path / "step.js", steps)
    assert own in [each["name"] for each in states] and set_ is None
    for one, other in zip(losses, found, strict=True):
        np.testing.assert_array_equal(one, other["loss"])
    place = [each["name"] for each in states].index(own)
    np.testing.assert_array_equal(library.state(place), weight)
    assert not np.array_equal(weight, net.collect_params()[own].data().asnumpy())


MEMORY = """
import { readFileSync } from "node:fs";
const { exports } = await WebAssembly.instantiate(
  new WebAssembly.Module(readFileSync(process.argv[2])));
const taken = [];
let [state, held, most] = [1, 0, 0];
const random = (below) => (state = (state * 48271) % 2147483647) % below;
for (let turn = 0; turn < 20000; ++turn) {
  if (taken.length && random(100) < 50 + taken.length / 10) {
    const [{ place, bytes, mark }] = taken.splice(random(taken.length), 1);
    const content = new Uint8Array(exports.memory.buffer, place, bytes);
    if (place % 64 || !content.every((each) => each === mark)) throw new Error(`turn ${turn}`);
    exports.release(place, bytes);
    held -= bytes;
  } else {
    const [bytes, mark] = [1 + random(random(20) ? 500 : 200000), random(256)];
    const place = exports.allocate(bytes);
    new Uint8Array(exports.memory.buffer, place, bytes).fill(mark);
    taken.push({ place, bytes, mark });
    most = Math.max(most, (held += bytes));
  }
}
console.log(exports.memory.buffer.byteLength < 2 * most + 500000, exports.allocate(2 ** 31));
"""


@in_node
def test_memory_is_given_back_and_taken_again(small: tuple[Any, Path], tmp_path: Path) -> None:
    script = tmp_path / "memory.mjs"
    script.write_text(MEMORY)
    assert NODE is not None
    command = [NODE, script, small[1] / "digit.wasm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("true 0\n", "")


def test_files(small: tuple[Any, Path], tmp_path: Path) -> None:
    """The same bytes each time, types with exact names, a page only where it draws something."""
    net, folder = small
    again = net.export_wasm(tmp_path / "digit", nd.zeros((4, 1, 12, 9)), weights="apart")
    names = ["digit.wasm", "digit.js", "digit.d.ts", "digit.html", "digit.safetensors"]
    assert [Path(file).name for file in again] == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
    types = (folder / "digit.d.ts").read_text()
    assert '/** float32 (batch, 1, 12, 9) */\n  "data": Float32Array;' in types
    assert 'readonly "output": Shaped<Float32Array, readonly [number, 10]>;' in types
    assert '"batch"?: number;' in types and "weights?: Source" in types
    content = (folder / "digit.wasm").read_bytes()
    assert len(content) < 90_000
    assert "digit.safetensors" in (folder / "digit.js").read_text()
    page = (folder / "digit.html").read_text()
    assert '"shape": [1, 1, 12, 9]' in page and 'from "./digit.js"' in page


@in_node
@pytest.mark.parametrize("name", ['a "b" <i>#1?.%20', "c:PICTURE", "model.js"])
def test_any_name_will_do(name: str, tmp_path: Path) -> None:
    net = mx.jit(lambda x: (x * 2).reshape((-1, 16)))
    net.export_wasm(tmp_path / name, nd.zeros((1, 1, 4, 4)))
    x = np.arange(16, dtype="float32").reshape(1, 1, 4, 4)
    _, found = tell(tmp_path / f"{name}.js", [step("load"), step("run", {"data": x})])
    np.testing.assert_array_equal(found["output"], x.reshape(1, 16) * 2)
    page = (tmp_path / f"{name}.html").read_text()
    assert f"<title>{escape(name)}: draw</title>" in page
    assert f'from "./{quote(name)}.js"' in page and '"shape": [1, 1, 4, 4]' in page


def test_what_cannot_leave_is_refused(tmp_path: Path) -> None:
    root = mx.jit(lambda x: nd.linalg.potrf(x))
    with pytest.raises(mx.TigonError, match=r"^export_wasm: .* a routine that exported libraries"):
        root.export_wasm(tmp_path / "net", nd.eye(2), extents=None)
    with pytest.raises(mx.TigonError, match=r"^export_wasm: batch cannot be left open"):
        mx.jit(lambda x: x.reshape((8, 3, 2)) * 2).export_wasm(tmp_path / "net", nd.zeros((8, 6)))
    with pytest.raises(mx.TigonError) as caught:
        mx.jit(lambda x: x * 2).export_wasm(tmp_path / "net", nd.zeros((8,)), weights="beside")
    assert str(caught.value) == (
        "export_wasm: weights: expected 'inside' or 'apart'; given 'beside'"
    )
    assert not list(tmp_path.iterdir())


def test_the_runtime_is_that_of_its_sources() -> None:
    content = WEB_RUNTIME.read_bytes()
    assert content.endswith(SECTION + digest()), (
        "csrc/standalone/runtime.c has changed; run `make wasm`, which needs tigon[export]"
    )
    assert signed(content) == content


@pytest.mark.parametrize("number", [0, 63, 64, 127, 128, 300, 2**31 - 1, 2**32 - 1])
def test_numbers_are_written_as_they_are_read(number: int) -> None:
    for sign in (1, -1):
        assert wasm._Reader(wasm._signed_leb(sign * number)).signed() == sign * number
    assert wasm._Reader(leb128(number)).number() == number


@in_node
def test_what_the_page_shows(tmp_path: Path) -> None:
    """Each block in JavaScript is a program that says what the page says next."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, activation="relu"), nn.MaxPool2D(2, 2), nn.Dense(10))
    net.initialize()
    net.export_wasm(tmp_path / "digits", nd.zeros((16, 1, 8, 8)))
    text = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^## In a browser$.*?(?=^## )", text, re.M | re.S)
    blocks = re.findall(r"^```js\n(.*?)^```\n+```text\n(.*?)^```$", text, re.M | re.S)
    assert len(blocks) == len(re.findall("^```js$", text, re.M)) == 1
    for code, said in blocks:
        (tmp_path / "shown.mjs").write_text(code)
        (tmp_path / "package.json").write_text('{"type": "module"}')
        assert NODE is not None
        found = subprocess.run([NODE, tmp_path / "shown.mjs"], capture_output=True, text=True)
        assert (found.stdout, found.stderr) == (said, "")
