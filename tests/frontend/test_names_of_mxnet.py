"""Every name of MXNet's modules around arrays is there, takes what it takes there, or says what to
use instead."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

import tigon as mx
from tests.frontend.names_of_mxnet import FUNCTIONS, NAMES
from tigon.base.absent import message
from tigon.base.places import PLACES

ROWS = [(m, name, row) for m, rows in FUNCTIONS.items() for name, row in rows.items()]


@pytest.mark.parametrize(("module", "name", "row"), ROWS, ids=[f"{m}.{n}" for m, n, _ in ROWS])
def test_functions_take_what_they_take_there(module: str, name: str, row: str) -> None:
    function = getattr(import_module(f"tigon.{module}"), name)
    taken = inspect.signature(function).parameters
    words = [word for word in row.split() if not word.startswith("**")]
    assert list(taken)[: len(words)] == [word.partition("=")[0].lstrip("*") for word in words]
    for word in words:
        argument, has_default, default = word.partition("=")
        own: Any = taken[argument.lstrip("*")].default
        assert (own is inspect.Parameter.empty) == (not has_default), argument
        if has_default and default != "...":
            assert own == eval(default), argument


@pytest.mark.parametrize("module", NAMES)
def test_everything_else_is_there_or_says_what_to_use(module: str) -> None:
    place = import_module(f"tigon.{module}")
    for name in NAMES[module].split():
        assert hasattr(place, name) or message(f"tigon.{module}", name), name


@pytest.mark.parametrize("module", sorted({*FUNCTIONS, *NAMES} - {"gluon.utils"}))
def test_public_names_are_documented(module: str) -> None:
    place = import_module(f"tigon.{module}")
    assert place.__doc__
    for name in dir(place):
        member = getattr(place, name)
        own = getattr(member, "__module__", "") or ""
        if not name.startswith("_") and callable(member) and own.startswith("tigon."):
            assert member.__doc__, name


def test_star_import_brings_what_the_file_of_mxnet_brings() -> None:
    found: dict[str, Any] = {}
    exec("from tigon.test_utils import *", found)
    wanted = {*FUNCTIONS["test_utils"], *NAMES["test_utils"].split()}
    assert wanted <= found.keys()
    assert found["mx"] is mx and found["np"].__name__ == "numpy"


# ------------------------------------------------------------------------------ small modules


def test_base() -> None:
    base = mx.base
    assert base.MXNetError is mx.TigonError and base.py_str(b"a\xc3\xa4") == "a\u00e4"
    assert base._as_list((1,)) == (1,) and base._as_list("ab") == ["ab"]
    assert isinstance(3, base.integer_types) and isinstance(mx.nd.ones(1).size, base.integer_types)
    assert isinstance(0.5, base.numeric_types) and isinstance("", base.string_types)
    assert issubclass(base.NotImplementedForSymbol, mx.MXNetError)
    with pytest.raises(base.NotImplementedForSymbol, match=r"Symbol\.asnumpy: expected an NDArray"):
        mx.sym.var("x").asnumpy()


def test_data_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MXNET_HOME", "/data")
    assert mx.base.data_dir() == "/data"
    monkeypatch.delenv("MXNET_HOME")
    assert mx.base.data_dir().endswith(".mxnet")


@pytest.mark.parametrize(
    "asked",
    [
        lambda: mx.util.set_np(),
        lambda: mx.util.set_np(shape=False),
        lambda: mx.set_np_shape(True),
        lambda: mx.np_shape(),
        lambda: mx.np_array(),
        lambda: mx.use_np(lambda: 0),
        lambda: mx.util.use_np_shape(object),
        lambda: mx.util.use_np_array(object),
    ],
)
def test_modes_for_numpy_are_refused_with_a_pointer(asked: Any) -> None:
    with pytest.raises(mx.TigonError, match=r"mx\.np and npx are not there yet; use nd.*missing"):
        asked()


def test_modes_for_numpy_may_be_turned_off() -> None:
    mx.util.set_np(shape=False, array=False)
    mx.util.reset_np()
    with mx.np_shape(False), mx.np_array(False):
        assert not mx.is_np_shape() and not mx.is_np_array()
    assert mx.set_np_shape(False) is False


def test_features() -> None:
    features = mx.runtime.Features()
    assert len(features) == len(mx.runtime.feature_list()) == 32
    assert str(features["CUDA"]) == "\u2716 CUDA" and not features.is_enabled("cuda")
    assert features.is_enabled("INT64_TENSOR_SIZE")
    with pytest.raises(RuntimeError, match="'NOPE' is not known; known are CUDA, CUDNN"):
        features.is_enabled("nope")


def test_bulk_sizes_are_kept_and_given_back() -> None:
    assert mx.engine.set_bulk_size(5) == 0
    with pytest.raises(ZeroDivisionError), mx.engine.bulk(9):
        assert mx.engine.set_bulk_size(3) == 9
        1 / 0  # noqa: B018
    assert mx.engine.set_bulk_size(0) == 5
    for wrong in (-1, "9", 1.5):
        with pytest.raises(mx.TigonError, match="expected a whole number that is not negative"):
            mx.engine.set_bulk_size(wrong)


def test_loggers(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log.txt"
    logger = mx.log.get_logger("of_a_test", str(file), level=mx.log.INFO)
    logger.info("first")
    logger.debug("not this")
    assert mx.log.get_logger("of_a_test") is logger and len(logger.handlers) == 1
    (line,) = file.read_text().splitlines()
    assert line[0] == "I" and line.endswith("] first") and "test_names_of_mxnet.py" in line
    with pytest.warns(DeprecationWarning, match="use get_logger"):
        assert mx.log.getLogger("of_a_test") is logger
    with pytest.raises(mx.TigonError, match="expected mode 'a' or 'w'; given 'r'"):
        mx.log.get_logger("another", str(file), "r")
    logger.handlers[0].stream.close()


def test_managers_in_force() -> None:
    with mx.name.Prefix("a_") as names, mx.AttrScope(ctx_group="b") as scope:
        assert mx.name.NameManager.current is names and mx.AttrScope.current is scope
        assert mx.name.NameManager.current.get(None, "dot") == "a_dot0"
    assert mx.name.NameManager.current is not names and mx.AttrScope.current is not scope


def test_the_default_context_may_be_set() -> None:
    before = mx.Context.default_ctx
    assert before == mx.current_context()
    try:
        mx.test_utils.set_default_context(mx.cpu(1))
        assert mx.nd.ones(1).context == mx.Context.default_ctx == mx.cpu(1)
        with pytest.raises(mx.TigonError, match="default_ctx: expected a Context"):
            mx.Context.default_ctx = "cpu"
    finally:
        mx.Context.default_ctx = before
    assert mx.current_context() == before


def test_arguments_of_operators() -> None:
    found = mx.operator.get_operator_arguments("sgd_update")
    assert found.narg == len(found.names) == len(found.types) == 7
    assert found.names[:3] == ["weight", "grad", "lr"] and found.types[2] == "float, required"
    for name in mx.operator.get_all_registered_operators():
        if mx.ops.record.is_known(name):
            assert mx.operator.get_operator_arguments(name).narg >= 0
    with pytest.raises(mx.TigonError, match="'nope': is not known"):
        mx.operator.get_operator_arguments("nope")


class Filter:
    pass


def test_registers_of_a_program() -> None:
    register = mx.registry.get_register_func(Filter, "filter")
    alias = mx.registry.get_alias_func(Filter, "filter")
    create = mx.registry.get_create_func(Filter, "filter")

    @register
    class Blur(Filter):
        def __init__(self, size: int = 3) -> None:
            self.size = size

    @alias("edge", "Line")
    class Edges(Filter):
        pass

    assert mx.registry.get_registry(Filter) == {"blur": Blur, "edge": Edges, "line": Edges}
    assert create("BLUR").size == 3 and create("blur", 4).size == 4
    assert create({"filter": "blur", "size": 5}).size == 5
    assert create('["blur", {"size": 6}]').size == create('{"filter": "blur", "size": 6}').size == 6
    assert isinstance(create(filter="line"), Edges)
    made = Blur(7)
    assert create(made) is made
    for given, said in (
        (("edges",), "'edges' is not registered; registered: blur, edge, line"),
        ((3,), "expected a name, or a dictionary with one under 'filter'; given 3"),
        ((made, 5), "a filter was given; leave the other arguments out"),
        (('["blur"',), "expected JSON; given"),
    ):
        with pytest.raises(mx.TigonError) as error:
            create(*given)
        assert said in str(error.value)
    with pytest.raises(mx.TigonError, match="expected a class derived from Filter"):
        register(int)
    with pytest.warns(UserWarning, match=r"filter 'blur' is .*Edges from now on; it was .*Blur"):
        register(Edges, "blur")


def test_downloads_find_what_is_there(tmp_path: Any) -> None:
    file = tmp_path / "x.params"
    file.write_bytes(b"abc")
    url = "https://example.org/models/x.params"
    for found in (
        mx.gluon.utils.download(url, str(file)),
        mx.gluon.utils.download(url, str(tmp_path), sha1_hash="a9993e364706816aba3e"),
        mx.test_utils.download(url, dirname=str(tmp_path)),
    ):
        assert found == str(file)
    for given, said in (
        ({"overwrite": True}, "nothing is downloaded; get https://example.org/models/x.params"),
        ({"sha1_hash": "00"}, "a file with the SHA-1 00; there is another one"),
    ):
        with pytest.raises(mx.TigonError, match=said):
            mx.gluon.utils.download(url, str(file), **given)
    with pytest.raises(mx.TigonError, match=r"put it at 'nowhere\.params'"):
        mx.test_utils.download(url, "nowhere.params")
    assert mx.gluon.utils._get_repo_file_url("gluon/models", "x.zip").endswith(
        ".com/gluon/models/x.zip"
    )


# --------------------------------------------- files of MXNet that are several modules here


@pytest.mark.parametrize(
    ("place", "whole"),
    [
        ("ndarray.ndarray", "nd"),
        ("symbol.symbol", "sym"),
        ("optimizer.optimizer", "optimizer"),
        ("gluon.contrib.nn.basic_layers", "gluon.contrib.nn"),
        ("gluon.contrib.cnn.conv_layers", "gluon.contrib.cnn"),
        ("gluon.nn.basic_layers", "gluon.nn"),
        ("gluon.nn.conv_layers", "gluon.nn"),
    ],
)
def test_what_mxnet_has_in_one_file_is_in_that_of_its_name(place: str, whole: str) -> None:
    module, package = import_module(f"tigon.{place}"), import_module(f"tigon.{whole}")
    for name in package.__all__:
        assert getattr(module, name) is getattr(package, name), name
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


def test_private_names_answer() -> None:
    from tigon.gluon.model_zoo import model_store
    from tigon.gluon.parameter import tensor_types

    assert isinstance(mx.nd.ones(1), tensor_types) and isinstance(mx.sym.var("x"), tensor_types)
    loader = mx.gluon.data.dataloader
    assert loader._MultiWorkerIter and loader.default_mp_batchify_fn and loader.ForkingPickler
    with pytest.raises(AttributeError, match="is not there yet; the nearest thing: DataLoader"):
        loader.DataLoaderV1  # noqa: B018
    for name in ("dgl_subgraph", "quantized_conv", "SoftmaxOHEMOutput"):
        with pytest.raises(AttributeError, match="is not there yet; the nearest thing: "):
            getattr(mx.nd.contrib, name)
    with pytest.raises(AttributeError, match=r"purge is not there yet"):
        model_store.purge  # noqa: B018


def test_networks_of_programs_have_files_of_their_own(tmp_path: Any, monkeypatch: Any) -> None:
    """As GluonNLP adds its models to those of the zoo."""
    from tigon.gluon.model_zoo import model_store

    content = b"parameters"
    monkeypatch.setitem(model_store._model_sha1, "tiny", hashlib.sha1(content).hexdigest())
    with pytest.raises(mx.TigonError, match="model_zoo: no SHA-1 of nonsense is known; put it"):
        model_store.short_hash("nonsense")
    good = tmp_path / f"tiny-{model_store.short_hash('tiny')}.params"
    for file in (good, tmp_path / "tiny-00000000.params"):
        file.write_bytes(content)
    assert model_store.get_model_file("tiny", root=tmp_path) == str(good)
    good.write_bytes(b"another")
    with pytest.raises(mx.TigonError, match=r"model_zoo: .*expected the SHA-1 .* another file"):
        model_store.get_model_file("tiny", root=tmp_path)


def test_arrays_of_several_floats_become_one() -> None:
    half, brain = mx.nd.ones(2, dtype="float16"), mx.nd.ones(2, dtype="bfloat16")
    whole, double = mx.nd.ones(2, dtype="int32"), mx.nd.ones(2, dtype="float64")

    def dtypes(*arrays: Any, **fields: Any) -> list[str]:
        found = mx.nd.amp_multicast(*arrays, num_outputs=len(arrays), **fields)
        return [mx.base.as_dtype(x.dtype).name for x in found]

    assert dtypes(half, double) == ["float64"] * 2
    assert dtypes(half, half) == ["float16"] * 2 and dtypes(brain, brain) == ["bfloat16"] * 2
    assert dtypes(half, brain) == ["float32"] * 2
    assert dtypes(double, whole, half, cast_narrow=True) == ["float16", "int32", "float16"]
    with pytest.raises(mx.TigonError, match="num_outputs: expected the number of arrays, 1; given"):
        mx.nd.amp_multicast(half, num_outputs=2)
    text = mx.sym.Group(mx.sym.amp_multicast(mx.sym.var("x"), mx.sym.var("y"), num_outputs=2))
    assert '"num_outputs": "2"' in text.tojson(remove_amp_cast=False)


def test_modules_under_further_names_are_attributes_of_their_packages() -> None:
    code = "import tigon\nfor path in {}: print(eval('tigon.' + path).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code.format(sorted(PLACES))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"tigon.{PLACES[path]}" for path in sorted(PLACES)]
