"""Every public function and method that takes an array, called while a block is traced: it gives
what it gives imperatively, to the kinds of the results and what was written, at the first call, at
the second and for other values. Where a graph cannot hold it, the block gives way."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import math
import operator
import os
import pickle
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.frontend.custom_operators import register_square
from tests.registry.test_records import operands_of
from tigon import autograd, gluon, nd
from tigon.ops import record
from tigon.ops.attributes import attrs_dict
from tigon.ops.signature import HIDDEN
from tigon.runtime import keys

pytestmark = pytest.mark.filterwarnings("ignore:.*gives way:RuntimeWarning")

# --------------------------------------------------------------------------- how calls compare

Outcome = tuple[Any, Any]


def described(value: Any) -> Any:
    """A result as plain data, with the kinds of all that is in it."""
    if isinstance(value, nd.NDArray):
        return ("NDArray", value.dtype.__name__, value.asnumpy())
    if isinstance(value, np.ndarray):
        return ("ndarray", value.dtype.name, value.copy())
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, *map(described, value))
    if isinstance(value, dict):
        return ("dict", *((key, described(item)) for key, item in value.items()))
    if value is None or isinstance(value, (bool, int, float, str, type, np.generic, mx.Context)):
        return (type(value).__name__, value)
    return type(value).__name__


def outcome(function: Callable[..., Any], arrays: list[np.ndarray]) -> Outcome:
    """What a call gives, or the error that it raises, and its arguments afterwards."""
    given = [nd.array(array, dtype=array.dtype) for array in arrays]
    keys.seed(3)
    try:
        result = described(function(*given))
    except Exception as error:
        said = str(error).split(" (called at")[0]
        said = said.replace("ArraySymbol", "NDArray").replace("tigon._native.", "")
        said = re.sub(r"^(linalg_[a-z]+)\d+: ", r"\1: ", said)  # in a graph a node has a name
        result = ("raised", type(error).__name__, said)
    return result, [array.asnumpy() for array in given]


def assert_alike(found: Any, wanted: Any) -> None:
    if isinstance(wanted, np.ndarray):
        assert isinstance(found, np.ndarray)
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        if wanted.dtype.kind in "fc":
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, (list, tuple)):
        assert type(found) is type(wanted), (found, wanted)
        assert len(found) == len(wanted), (found, wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_alike(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=2e-6, nan_ok=True)
    else:
        assert found == wanted


def assert_traced_alike(function: Callable[..., Any], arrays: list[np.ndarray]) -> None:
    traced = mx.jit(function)
    others = [array[::-1].copy() if array.ndim else array for array in arrays]
    for given in (arrays, arrays, others):
        wanted, found = outcome(function, given), outcome(traced, given)
        assert_alike(found, wanted)


# -------------------------------------------------------------------------------------- methods

X = np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -0.75]], np.float32)
ONE = np.array([2.5], np.float32)
CUBE = np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2)


def changed(operation: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """For methods that write: the array afterwards."""

    def call(x: Any) -> Any:
        result = operation(x)
        return [x, x * 2] if result is None else [result, x, x * 2]

    return call


PLAIN_METHODS = """
abs arccos arccosh arcsin arcsinh arctan arctanh argmax argmax_channel argmin argsort
as_nd_ndarray cbrt ceil copy cos cosh degrees detach diag exp expm1 fix flatten floor gamma
gammaln log log10 log1p log2 log_softmax max mean min nanprod nansum norm ones_like prod radians
rcbrt reciprocal relu rint round rsqrt shape_array sigmoid sign sin sinh size_array softmax
softmin sort sqrt square squeeze sum tan tanh tolist topk transpose trunc zeros_like asnumpy
wait_to_read
""".split()

PROPERTIES = "T context ctx device dtype grad grad_req nbytes ndim shape size stype".split()

METHODS: dict[str, list[Callable[[Any], Any]]] = {
    **{name: [lambda x, n=name: getattr(x, n)()] for name in PLAIN_METHODS},
    **{name: [lambda x, n=name: getattr(x, n)] for name in PROPERTIES},
    "as_in_context": [lambda x: x.as_in_context(mx.cpu()) + 1],
    "as_in_ctx": [lambda x: x.as_in_ctx(mx.cpu()) + 1],
    "to_device": [lambda x: x.to_device(mx.cpu())],
    "asscalar": [lambda x: x.sum().asscalar(), lambda x: x.asscalar()],
    "item": [lambda x: x.sum().item()],
    "astype": [lambda x: x.astype("int32"), lambda x: x.astype(np.float64, copy=False)],
    "attach_grad": [lambda x: (x.attach_grad(), x * 2)[1]],
    "backward": [lambda x: differentiated(x, lambda y: y.backward())],
    "broadcast_axes": [lambda x: x[:1].broadcast_axes(axis=0, size=3)],
    "broadcast_like": [lambda x: x[:1].broadcast_like(x)],
    "broadcast_to": [lambda x: x[:1].broadcast_to((4, 3))],
    "clip": [lambda x: x.clip(0, 1)],
    "copyto": [lambda x: (target := nd.zeros(x.shape), x.copyto(target), target)[0:3:2]],
    "depth_to_space": [lambda x: nd.tile(x[0, :1], (1, 4, 2, 2)).depth_to_space(2)],
    "space_to_depth": [lambda x: nd.tile(x[0, :1], (1, 1, 2, 2)).space_to_depth(2)],
    "dot": [lambda x: x.dot(x, transpose_b=True)],
    "expand_dims": [lambda x: x.expand_dims(0)],
    "flip": [lambda x: x.flip(axis=1)],
    "one_hot": [lambda x: x.abs().one_hot(4)],
    "pad": [
        lambda x: x.reshape((1, 1, 2, 3)).pad(mode="constant", pad_width=(0, 0, 0, 0, 1, 1, 0, 2))
    ],
    "pick": [lambda x: x.pick(nd.array([0, 2]))],
    "repeat": [lambda x: x.repeat(2, axis=1)],
    "reshape": [
        lambda x: x.reshape(3, 2),
        lambda x: x.reshape((-1,)),
        lambda x: x.reshape(shape=(0, -1)),
        changed(lambda x: x.reshape((6,)).__setitem__(0, 7)),
    ],
    "reshape_like": [lambda x: x.reshape_like(x.T)],
    "slice": [lambda x: x.slice(begin=(0, 1), end=(2, 3))],
    "slice_assign": [changed(lambda x: x.slice_assign(x[:1] * 2, (0, 0), (1, 3)))],
    "slice_assign_scalar": [changed(lambda x: x.slice_assign_scalar(5, (0, 0), (1, 3)))],
    "slice_axis": [lambda x: x.slice_axis(axis=1, begin=1, end=3)],
    "slice_like": [lambda x: x.slice_like(x[:1, :2])],
    "split": [lambda x: x.split(3, axis=1)],
    "split_v2": [lambda x: x.split_v2([1], axis=1)],
    "swapaxes": [lambda x: x.swapaxes(0, 1)],
    "take": [lambda x: x.take(nd.array([1, 0]))],
    "tile": [lambda x: x.tile((2, 1))],
    "tostype": [lambda x: x.tostype("default")],
    "to_dlpack_for_read": [lambda x: nd.from_dlpack(x.to_dlpack_for_read())],
    "to_dlpack_for_write": [lambda x: nd.from_dlpack(x.to_dlpack_for_write())],
    "__abs__": [abs],
    "__add__": [lambda x: x + x, lambda x: x + 1],
    "__array__": [
        np.asarray,
        lambda x: np.array(x, dtype=np.float64),
        np.sum,
        np.mean,
        np.linalg.norm,
    ],
    "bits_to_numpy": [lambda x: x.bits_to_numpy()],
    "__bool__": [lambda x: bool(x.sum() > 0), lambda x: not x.sum(), bool],
    "__contains__": [lambda x: 2 in x, lambda x: 17 in x],
    "__copy__": [copy.copy],
    "__deepcopy__": [copy.deepcopy],
    "__dlpack__": [np.from_dlpack, nd.from_dlpack],
    "__dlpack_device__": [lambda x: x.__dlpack_device__()],
    "__eq__": [lambda x: x == x, lambda x: x == 2, lambda x: x == None],  # noqa: E711
    "__float__": [lambda x: float(x.sum()), float, lambda x: math.floor(x[0, 0])],
    "__floordiv__": [lambda x: x // 2],
    "__format__": [lambda x: f"{x.sum():.3f}", lambda x: f"{x.sum().asscalar():g}"],
    "__ge__": [lambda x: x >= 1],
    "__getitem__": [
        lambda x: x[1],
        lambda x: x[1, 2],
        lambda x: x[:, ::2],
        lambda x: x[..., None],
        lambda x: x[nd.array([1, 0])],
        lambda x: x[[1, 0], [0, 2]],
        lambda x: x[(x > 0).astype("bool")],
        lambda x: x[x[0].argmax()],
        lambda x: x[x[0, 2].astype("int32") - 1],
        lambda x: x[5],
    ],
    "__gt__": [lambda x: x > 1],
    "__hash__": [lambda x: x in {x}, lambda x: {x: 1}[x]],
    "__iadd__": [changed(lambda x: x.__iadd__(1))],
    "__ifloordiv__": [changed(lambda x: x.__ifloordiv__(2))],
    "__imod__": [changed(lambda x: x.__imod__(2))],
    "__imul__": [changed(lambda x: x.__imul__(2))],
    "__index__": [lambda x: [5, 6, 7, 8][x[0, 2:].astype("int32")], lambda x: range(x[0, 2])],
    "__int__": [lambda x: int(x.sum()), int],
    "__ipow__": [changed(lambda x: x.__ipow__(2))],
    "__isub__": [changed(lambda x: x.__isub__(2))],
    "__iter__": [list, lambda x: [row * 2 for row in x], lambda x: dict(enumerate(x)), sum],
    "__itruediv__": [changed(lambda x: x.__itruediv__(2))],
    "__le__": [lambda x: x <= 1],
    "__len__": [len],
    "__lt__": [lambda x: x < 1],
    "__matmul__": [lambda x: x @ x.T],
    "__mod__": [lambda x: x % 2],
    "__mul__": [lambda x: x * x, lambda x: x * np.float32(2)],
    "__ne__": [lambda x: x != 2],
    "__neg__": [lambda x: -x],
    "__pos__": [lambda x: +x],
    "__pow__": [lambda x: x**2],
    "__radd__": [lambda x: 1 + x, lambda x: np.ones((2, 3), np.float32) + x],
    "__reduce__": [lambda x: pickle.loads(pickle.dumps(x))],
    "__repr__": [lambda x: repr(x.asnumpy())],
    "__rfloordiv__": [lambda x: 3 // x],
    "__rmatmul__": [lambda x: np.ones((3, 2), np.float32) @ x],
    "__rmod__": [lambda x: 3 % x],
    "__rmul__": [lambda x: 2 * x],
    "__rpow__": [lambda x: 2**x],
    "__rsub__": [lambda x: 1 - x],
    "__rtruediv__": [lambda x: 1 / x],
    "__setitem__": [
        changed(lambda x: x.__setitem__(0, 5)),
        changed(lambda x: x.__setitem__((slice(None), 1), x[:, 0])),
        changed(lambda x: x.__setitem__(slice(None), 0)),
        changed(lambda x: x.__setitem__((x > 0).astype("bool"), 9)),
        changed(lambda x: x.__setitem__(([0, 1], [1, 2]), nd.array([7, 8]))),
    ],
    "__str__": [lambda x: str(x.asnumpy())],
    "__sub__": [lambda x: x - 1],
    "__truediv__": [lambda x: x / 2],
}

NATIVE = frozenset(
    """
    _repr_html_ apply_op copy_from_numpy device_index donated dtype_code has_tape index_operand
    is_comparison is_pending
    mark_variable storage_id storage_offset swap_storage version view __array_priority__
    __array_ufunc__ __module__
    """.split()
)
"""The library's own way to an array."""


def differentiated(x: Any, start: Callable[[Any], Any]) -> Any:
    x.attach_grad()
    with autograd.record():
        y = (x * x).sum()
    start(y)
    return x.grad


def test_every_method_is_called() -> None:
    own = {name for name in dir(nd.NDArray) if not hasattr(object, name)}
    own |= {name for name in dir(object) if vars_of(name)}
    assert own - NATIVE == METHODS.keys()


def vars_of(name: str) -> bool:
    """Whether arrays have a special method of their own where all objects have one."""
    ignored = ("__class__", "__doc__", "__new__", "__reduce_ex__", "__subclasshook__")
    ignored += ("__init__", "__init_subclass__")
    return name not in ignored and getattr(nd.NDArray, name) is not getattr(object, name)


@pytest.mark.parametrize("name", METHODS)
def test_methods_mean_the_same_traced(name: str) -> None:
    for call in METHODS[name]:
        assert_traced_alike(call, [X])
        if "scalar" in name or name in ("item", "__float__", "__int__", "__bool__", "__format__"):
            assert_traced_alike(call, [ONE])


# ------------------------------------------------------------------------------------ operators

SPACES = {
    "nd": nd,
    "nd.random": nd.random,
    "nd.linalg": nd.linalg,
    "nd.contrib": nd.contrib,
    "nd.image": nd.image,
}


def public(module: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in dir(module):
        value = None if name.startswith("_") else getattr(module, name)
        if callable(value) and not inspect.isclass(value) and name != "annotations":
            yield name, value


def functions() -> dict[str, Callable[..., Any]]:
    return {f"{space}.{n}": f for space, module in SPACES.items() for n, f in public(module)}


def operator_of(name: str) -> Any:
    """The operator behind a function, if it is one."""
    *spaces, own = name.split(".")[1:]
    prefixes = [f"_{space}_" for space in spaces] + [f"{space}_" for space in spaces] or [""]
    for prefix in prefixes:
        if record.is_known(prefix + own):
            return record.get(prefix + own)
    return None


OPERATORS: dict[Any, tuple[str, Callable[..., Any]]] = {}
for _name, _function in functions().items():
    if operator_of(_name) is not None:
        OPERATORS.setdefault(operator_of(_name), (_name, _function))


def through_a_file(x: Any, form: Callable[[Any], Any]) -> Any:
    """What is read back of what was saved."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "arrays")
        nd.save(path, form(x))
        return nd.load(path)


def from_a_buffer(x: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "arrays")
        nd.save(path, {"x": x * 2})
        with open(path, "rb") as file:
            return nd.load_frombuffer(file.read())


register_square("square_of_the_surface")

RATES = {"lrs": (0.1,), "wds": (0.01,)}


def lists_of(x: Any) -> list[list[Any]]:
    """Of one weight: itself, gradient, and two states."""
    return [[x * 2], [x], [x * 0], [x * 0]]


FUNCTIONS: dict[str, list[Callable[[Any], Any]]] = {
    "nd.array": [
        nd.array,
        lambda x: nd.array([x, x]),
        lambda x: nd.array([1, x.sum()]),
        lambda x: nd.array(x, dtype="int32"),
        lambda x: nd.array([1, 2]) + x[:, :2],
    ],
    "nd.Custom": [lambda x: nd.Custom(x, op_type="square_of_the_surface") + x],
    "nd.concatenate": [lambda x: nd.concatenate([x, x], axis=1)],
    "nd.contrib.boolean_mask": [lambda x: nd.contrib.boolean_mask(x, x[:, 0] > 1)],
    "nd.contrib.cond": [lambda x: nd.contrib.cond(x.sum() > 1, lambda: x * 2, lambda: x)],
    "nd.contrib.foreach": [lambda x: nd.contrib.foreach(lambda r, s: (r + s, s + r), x, x[0])[0]],
    "nd.contrib.multi_adamw_update": [
        lambda x: nd.contrib.multi_adamw_update(*lists_of(x), 1.0, (0.1,), (0,), (1,))
    ],
    "nd.contrib.multi_lamb_update": [
        lambda x: nd.contrib.multi_lamb_update(*lists_of(x), step_count=(1,), lrs=(0.1,), wds=(0,))
    ],
    "nd.contrib.multi_mp_adamw_update": [
        lambda x: nd.contrib.multi_mp_adamw_update(*lists_of(x), [x * 2], 1.0, (0.1,), (0,), (1,))
    ],
    "nd.contrib.multi_mp_lamb_update": [
        lambda x: nd.contrib.multi_mp_lamb_update(*lists_of(x), [x * 2], (1,), (0.1,), (0,))
    ],
    "nd.contrib.while_loop": [
        lambda x: nd.contrib.while_loop(lambda s: s.sum() < 99, lambda s: (s, s * 2), x, 9)[0]
    ],
    "nd.empty": [lambda x: nd.empty(x.shape).shape],
    "nd.from_dlpack": [nd.from_dlpack],
    "nd.from_numpy": [lambda x: nd.from_numpy(x.asnumpy())],
    "nd.histogram": [
        lambda x: nd.histogram(x, 3),
        lambda x: nd.histogram(x, 3, range=(0, 2)),
        lambda x: nd.histogram(x, nd.array([0, 1, 3])),
    ],
    "nd.load": [lambda x: through_a_file(x, lambda x: [x])],
    "nd.load_frombuffer": [from_a_buffer],
    "nd.moveaxis": [lambda x: nd.moveaxis(x, 0, 1)],
    "nd.multi_mp_sgd_mom_update": [
        lambda x: nd.multi_mp_sgd_mom_update(x * 2, x, x * 0, x * 2, momentum=0.5, **RATES)
    ],
    "nd.multi_mp_sgd_update": [lambda x: nd.multi_mp_sgd_update(x * 2, x, x * 2, **RATES)],
    "nd.multi_sgd_mom_update": [lambda x: nd.multi_sgd_mom_update(x * 2, x, x * 0, **RATES)],
    "nd.multi_sgd_update": [lambda x: nd.multi_sgd_update(x * 2, x, **RATES)],
    "nd.onehot_encode": [lambda x: nd.onehot_encode(x[:, 0], nd.zeros((x.shape[0], 3)))],
    "nd.preloaded_multi_mp_sgd_mom_update": [
        lambda x: nd.preloaded_multi_mp_sgd_mom_update(
            x * 2, x, x * 0, x * 2, x[0, :1], x[0, 1:2], momentum=0.5
        )
    ],
    "nd.preloaded_multi_mp_sgd_update": [
        lambda x: nd.preloaded_multi_mp_sgd_update(x * 2, x, x * 2, x[0, :1], x[0, 1:2])
    ],
    "nd.preloaded_multi_sgd_mom_update": [
        lambda x: nd.preloaded_multi_sgd_mom_update(x * 2, x, x * 0, x[0, :1], x[0, 1:2])
    ],
    "nd.preloaded_multi_sgd_update": [
        lambda x: nd.preloaded_multi_sgd_update(x * 2, x, x[0, :1], x[0, 1:2])
    ],
    "nd.random.randn": [lambda x: nd.random.randn(*x.shape) + x],
    "nd.reset_arrays": [lambda x: (lambda y: (nd.reset_arrays(y), y)[1])(x * 2)],
    "nd.save": [lambda x: through_a_file(x, lambda x: {"x": x * 2})],
    "nd.cast_storage": [lambda x: nd.cast_storage(x, "default")],
    "nd.sparse_retain": [
        lambda x: nd.sparse_retain(nd.sparse.row_sparse_array(x), nd.array([0])).tostype("default")
    ],
    "nd.square_sum": [lambda x: nd.square_sum(x, axis=1)],
    "nd.split_v2": [lambda x: nd.split_v2(x, 3, axis=1)],
    "nd.to_dlpack_for_read": [lambda x: nd.from_dlpack(nd.to_dlpack_for_read(x))],
    "nd.to_dlpack_for_write": [lambda x: nd.from_dlpack(nd.to_dlpack_for_write(x * 2))],
    "nd.waitall": [lambda x: nd.waitall()],
}


def test_every_function_is_called() -> None:
    rest = {name for name in functions() if operator_of(name) is None}
    assert rest == FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_mean_the_same_traced(name: str) -> None:
    for call in FUNCTIONS[name]:
        assert_traced_alike(call, [X])


@pytest.mark.parametrize("name", ["relu", "broadcast_add", "sum", "split", "random.uniform"])
def test_results_given_by_out(name: str) -> None:
    calls: dict[str, Callable[[Any, Any], Any]] = {
        "relu": lambda x, out: nd.relu(x, out=out),
        "broadcast_add": lambda x, out: nd.broadcast_add(x, 1, out=out),
        "sum": lambda x, out: nd.sum(x, axis=0, out=out[0]),
        "split": lambda x, out: nd.split(x, 2, axis=0, out=[out[:1], out[1:]]),
        "random.uniform": lambda x, out: nd.random.uniform(0, 1, out=out),
    }
    assert_traced_alike(lambda x, y: (calls[name](x, y), y, y * 2)[1:], [X, X * 3])

    def into_own(x: Any) -> Any:
        own = nd.zeros(x.shape)
        calls[name](x, own)
        return own, own + x

    assert_traced_alike(into_own, [X])


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: OPERATORS[op][0])
def test_operators_mean_the_same_traced(op: Any) -> None:
    _, function = OPERATORS[op]
    sample = op.samples[0]
    arrays = operands_of(op, sample, "float32")
    if op.takes_key and arrays and arrays[-1].dtype == np.int64 and arrays[-1].shape == (2,):
        arrays = arrays[:-1]
    attributes = {k: v for k, v in attrs_dict(op.make_attrs(sample[-1])).items() if k in sample[-1]}
    attributes = {k: v for k, v in attributes.items() if k not in HIDDEN}
    if arrays:
        assert_traced_alike(lambda *given: function(*given, **attributes), arrays)
    else:
        assert_traced_alike(lambda x: (function(**attributes), x), [X])


# ------------------------------------------------------------------ what else arrays are given to


class Halved(autograd.Function):
    def forward(self, x: Any) -> Any:
        return x / 2

    def backward(self, gradient: Any) -> Any:
        return gradient * 10


def marked(x: Any) -> Any:
    gradient = nd.zeros(x.shape)
    autograd.mark_variables([x], [gradient])
    with autograd.record():
        y = x * x
    autograd.backward([y])
    return gradient


def gradient_of(x: Any, **options: Any) -> Any:
    x.attach_grad()
    with autograd.record():
        y = x * x * x
    return autograd.grad([y], [x], **options)


def clipped(x: Any) -> Any:
    arrays = [x * 3, x * 4]
    return gluon.utils.clip_global_norm(arrays, 1.0), arrays


def metric_of(name: str, *given: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        metric = mx.metric.create(name)
        label, prediction = (of(x) for of in given)
        metric.update([label], [prediction])
        return metric.get()[1]

    return call


def initialized(name: str) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        weight = nd.zeros((4, 3))
        mx.initializer.create(name)(mx.init.InitDesc("a_weight"), weight)
        return weight * x[0]

    return call


def loss_of(loss: Any, *others: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: loss()(x, *(of(x) for of in others))


def signs(x: Any) -> Any:
    return nd.sign(x)


def updated(name: str) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        weight = x * 1
        update = mx.optimizer.get_updater(mx.optimizer.create(name, learning_rate=0.1))
        for _ in range(2):
            update(0, weight * 2, weight)
        return weight

    return call


ELSEWHERE: dict[str, Callable[[Any], Any]] = {
    "autograd.Function": lambda x: Halved()(x * 1) + 1,
    "autograd.backward": lambda x: differentiated(x, lambda y: autograd.backward([y])),
    "autograd.grad": lambda x: gradient_of(x),
    "autograd.grad, twice": lambda x: gradient_of(x, create_graph=True),
    "autograd.mark_variables": marked,
    "autograd.pause": lambda x: paused(x),
    "autograd.predict_mode": lambda x: in_mode(autograd.predict_mode, x),
    "autograd.train_mode": lambda x: in_mode(autograd.train_mode, x),
    "autograd.record": lambda x: in_mode(autograd.record, x),
    "autograd.is_recording": lambda x: (autograd.is_recording(), autograd.is_training(), x),
    "gluon.utils.split_data": lambda x: gluon.utils.split_data(x, 2),
    "gluon.utils.split_and_load": lambda x: gluon.utils.split_and_load(x, [mx.cpu()]),
    "gluon.utils.split_and_load, numpy": lambda x: gluon.utils.split_and_load(
        x.asnumpy(), [mx.cpu()]
    ),
    "gluon.utils.clip_global_norm": clipped,
    **{f"optimizer {name}": updated(name) for name in ("sgd", "adam", "nag", "rmsprop", "adagrad")},
    **{f"initializer {name}": initialized(name) for name in ("xavier", "normal", "one")},
    **{
        f"metric {name}": metric_of(name, lambda x: x[:, 0] > 1, nd.softmax)
        for name in ("acc", "ce", "nll_loss", "perplexity")
    },
    **{
        f"metric {name}": metric_of(name, signs, lambda x: x * 2) for name in ("mse", "mae", "rmse")
    },
    "metric loss": metric_of("loss", lambda x: None, lambda x: x),
    **{
        f"loss {loss.__name__}": loss_of(loss, signs)
        for loss in (
            gluon.loss.L1Loss,
            gluon.loss.L2Loss,
            gluon.loss.HuberLoss,
            gluon.loss.HingeLoss,
            gluon.loss.SquaredHingeLoss,
            gluon.loss.LogisticLoss,
            gluon.loss.SigmoidBCELoss,
            gluon.loss.KLDivLoss,
            gluon.loss.PoissonNLLLoss,
        )
    },
    "loss SoftmaxCELoss": loss_of(gluon.loss.SoftmaxCELoss, lambda x: x[:, 0] > 1),
    "loss TripletLoss": loss_of(gluon.loss.TripletLoss, signs, nd.exp),
    "loss CosineEmbeddingLoss": loss_of(
        gluon.loss.CosineEmbeddingLoss, nd.exp, lambda x: nd.sign(x[:, 0])
    ),
    "isinstance": lambda x: (isinstance(x, nd.NDArray), isinstance(x * 2, mx.NDArray)),
    "isinstance, of several": lambda x: [
        isinstance(part, nd.NDArray) for part in nd.split(x, 2, axis=0)
    ],
    "lists of results": lambda x: nd.split(x, 3, axis=1) + nd.split(x, 2, axis=0),
    "sorted": lambda x: sorted(x[0], key=lambda one: one.asscalar()),
    "max": lambda x: max(x[0]),
    "min": lambda x: min(x[0, 0], x[0, 1]),
    "any": lambda x: any(x[0]),
    "all": lambda x: all(row.sum() > -100 for row in x),
    "reversed": lambda x: list(reversed(x)),
    "zip": lambda x: [a * b for a, b in zip(x, x * 2, strict=True)],
    "enumerate": lambda x: [row * i for i, row in enumerate(x)],
    "map": lambda x: list(map(nd.relu, x)),
    "unpacking": lambda x: (lambda a, b: a - b)(*x),
    "starred": lambda x: [*x, x],
    "tuple": tuple,
    "divmod": lambda x: divmod(x, 2),
    "pow": lambda x: pow(x, 3),
    "round": lambda x: round(float(x[0, 0]), 1),
    "math.sqrt": lambda x: math.sqrt(x[1, 0]),
    "math.prod": lambda x: math.prod(x),
    "str.join": lambda x: ",".join(str(value) for value in x.asnumpy().ravel()),
    "percent": lambda x: f"%.2f" % x[0, 0].asscalar(),  # noqa: F541
    "numpy.stack": lambda x: np.stack([row.asnumpy() for row in x]),
    "numpy.add": lambda x: np.add(x.asnumpy(), 1),
    "numpy.concatenate": lambda x: np.concatenate([x, x]),
    "numpy.isfinite": lambda x: np.isfinite(x.asnumpy()).all(),
    "numpy.testing": lambda x: np.testing.assert_allclose(x, x.asnumpy()),
    "numpy.shape": np.shape,
    "numpy scalar": lambda x: x * np.float64(2) + np.int64(1) - np.float32(0.5),
    "numpy scalar, left": lambda x: np.float32(2) * x + np.int32(1),
    "numpy array": lambda x: x + nd.array(np.ones(3)),
    "collections": lambda x: {"a": [x, (x * 2, None)], "b": {}},
    "operator": lambda x: (lambda f: f(x))(operator.itemgetter(1)),
    "functools.reduce": lambda x: functools.reduce(lambda a, b: a + b, x),
    "itertools.chain": lambda x: list(itertools.chain(x, x)),
    "sym of it": lambda x: mx.nd.add_n(*[x, x, x]),
    "hasattr": lambda x: (hasattr(x, "asnumpy"), hasattr(x, "nothing"), getattr(x, "T")),  # noqa: B009
    "setattr": lambda x: raised_by(lambda: setattr(x, "name", "a")),
    "dir": lambda x: "asnumpy" in dir(x),
    "equality": lambda x: x is x and x.shape == (2, 3),
    "weakref": lambda x: weakref.ref(x)() is x,
}


def raised_by(call: Callable[[], Any]) -> str | None:
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return None


def paused(x: Any) -> Any:
    with autograd.record():
        y = x * x
        with autograd.pause():
            z = y * 2
        return y + z


def in_mode(mode: Callable[[], Any], x: Any) -> Any:
    with mode():
        return nd.Dropout(x * 2, p=0.5), autograd.is_training()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_elsewhere_it_means_the_same_traced(name: str) -> None:
    assert_traced_alike(ELSEWHERE[name], [X])
