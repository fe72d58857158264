"""Programs deeper than the stack: whatever walks over them must not go as deep as they are."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import TigonError, autograd, nd, sym
from tigon.base.recursion import descend
from tigon.gluon import Block, Trainer, TrainStep, loss, nn
from tigon.gluon.data.dataloader import default_batchify_fn
from tigon.ir import Graph, parse, show
from tigon.ops import get


@contextmanager
def little_stack(room: int = 150) -> Iterator[None]:
    """Python frames are rare in here. What generates code is imported before, which takes some."""
    import llvmlite.binding  # noqa: F401

    import tigon.backends.cpu.generator  # noqa: F401

    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + room)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class Code(nn.HybridBlock):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def chain(count: int, step: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        y = x
        for number in range(count):
            y = step(y, number)
        return y

    return run


def turned(x: Any, number: int) -> Any:
    shape = (3, 4, 5) if number % 2 else (5, 4, 3)
    return nd.transpose(nd.reshape(x, shape=shape), axes=(2, 0, 1))


def mixed_views(x: Any, number: int) -> Any:
    if number % 3 == 0:
        return nd.flip(x, axis=0)
    return nd.concat(x[1:], x[:1], dim=0) if number % 3 == 1 else nd.repeat(x, 2)[1 : 1 + len(x)]


def padded(x: Any, number: int) -> Any:
    wide = nd.pad(x.reshape((1, 1, 1, -1)), mode="constant", pad_width=(0,) * 6 + (1, 1))
    return nd.flip(wide.reshape((-1,))[1:-1], axis=0)


CHAINS: dict[str, tuple[int, Any, tuple[int, ...]]] = {
    "sums": (1000, lambda x, _: x + 1, (5,)),
    "views": (300, turned, (60,)),
    "mixed views": (60, mixed_views, (7,)),
    "pads": (60, padded, (7,)),
    "slices": (300, lambda x, _: x[1:], (305,)),
    "rows": (60, lambda x, _: nd.take(x, nd.array([2, 0, 1, 3])), (4,)),
    "choices": (60, lambda x, number: nd.where(x > number * 0.01, x + 0.1, x), (7,)),
    "chosen flips": (30, lambda x, _: nd.where(nd.flip(x, axis=0) > 0.5, x * 1.01, x - 0.1), (6,)),
    "powers": (60, lambda x, _: x**1.001, (7,)),
    "shared": (100, lambda x, _: x * x * 0.5 + x * 0.1, (7,)),
    "casts": (100, lambda x, _: x.astype("float64").astype("float32"), (3,)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_mean_the_same_compiled(name: str) -> None:
    """Imperatively operators run one by one; hybridized the whole chain is lowered, and so is its
    gradient."""
    count, step, shape = CHAINS[name]
    function = chain(count, step)
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    results = []
    with little_stack():
        for run in (function, Code(function)):
            if isinstance(run, nn.HybridBlock):
                run.hybridize()
            x = nd.array(values)
            x.attach_grad()
            with autograd.record():
                y = run(x)
                (y * y).sum().backward()
            results.append((y.asnumpy(), x.grad.asnumpy()))
    for plain, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 5), (30, 42, 50)])
@pytest.mark.parametrize("count", [5, 10, 16, 24])
def test_indices_through_many_views_are_exact(shape: tuple[int, ...], count: int) -> None:
    """Ten of these once gave wrong elements: indices grew past what float64 holds."""

    def step(x: Any, number: int) -> Any:
        turned = nd.reshape(x, shape=shape if number % 2 else shape[::-1])
        return nd.transpose(turned, axes=(2, 0, 1))

    function = chain(count, step)
    x = nd.arange(int(np.prod(shape)), dtype="int32")
    compiled = Code(function)
    compiled.hybridize()
    assert np.array_equal(compiled(x).asnumpy(), function(x).asnumpy())


def test_second_order() -> None:
    function = Code(chain(60, lambda x, _: nd.tanh(x) * 1.01))
    gradients = []
    for hybridized in (False, True):
        function.hybridize(hybridized)
        x = nd.array([0.1, 0.2])
        x.attach_grad()
        with little_stack(), autograd.record():
            (g,) = autograd.grad([function(x).sum()], [x], create_graph=True)
            (g * g).sum().backward()
        gradients.append(x.grad.asnumpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-3)


def test_a_long_tape_is_walked_and_released() -> None:
    x = nd.ones((1,))
    x.attach_grad()
    with little_stack():
        with autograd.record():
            y = x
            for _ in range(300_000):
                y = y * 1.0
        y.backward()
        del y
    assert x.grad.asscalar() == 1


def test_symbols(tmp_path: Path) -> None:
    x = sym.var("x")
    y = x
    for number in range(3000):
        y = sym.relu(y) if number % 3 else y + 1
    with little_stack():
        assert y.infer_shape(x=(3,))[1] == [(3,)]
        text = y.tojson()
        assert sym.load_json(text).tojson() == text
        y.save(str(tmp_path / "deep.json"))
        assert sym.load(str(tmp_path / "deep.json")).list_arguments() == ["x"]
        assert y(x=sym.var("z")).list_arguments() == ["z"]
        assert copy.deepcopy(y).tojson() == pickle.loads(pickle.dumps(y)).tojson() == text
        graph = Graph.of(y._values)
        assert parse(show(graph), get).key == graph.key
        hash((y, graph.key))
        small = y.get_internals()[500]
        executor = small.simple_bind(ctx=mx.cpu(), x=(2,))
        executor.forward(is_train=True, x=nd.ones((2,)))
        executor.backward(nd.ones((2,)))
        assert executor.grad_dict["x"].asnumpy().tolist() == [1, 1]
        mx.compile(small)(x=nd.ones((2,)))


class Plus(nn.HybridBlock):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x) + 1


class Around(Block):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner


def nest(count: int, kind: Any) -> Any:
    block: Any = nn.Dense(2, in_units=2)
    for _ in range(count):
        block = kind(block)
    return block


@pytest.mark.parametrize("kind", [Plus, Around])
def test_trees_of_blocks(kind: Any, tmp_path: Path) -> None:
    block = nest(500, kind)
    with little_stack():
        block.initialize()
        met: list[Any] = []
        block.apply(met.append)
        assert len(met) == 501 and met[-1] is block
        block.cast("float64")
        block.hybridize()
        block.hybridize(False)
        assert repr(block).count(kind.__name__) == 500
        block.save_parameters(str(tmp_path / "deep.params"))
        block.load_parameters(str(tmp_path / "deep.params"))
        assert {p.dtype for p in block.collect_params().values()} == {"float64"}


def test_nested_blocks_are_traced_as_deeply_as_they_run(tmp_path: Path) -> None:
    """Every level costs the same frames in a trace as in a call on arrays."""
    block = nest(280, Plus)
    x = nd.ones((1, 2))
    block.initialize()
    expected = block(x).asnumpy()
    block.summary(x)
    block.hybridize()
    assert np.array_equal(block(x).asnumpy(), expected)
    with autograd.record():
        block(x).backward()
    block.export(str(tmp_path / "deep"))
    TrainStep(block, loss.L2Loss(), Trainer(block.collect_params(), "sgd"))(x, x)


def test_a_block_that_contains_itself(tmp_path: Path) -> None:
    block = Plus(nn.Dense(2, in_units=2))
    block.me = block
    block.initialize()
    block.cast("float32")
    block.apply(lambda _: None)
    assert "(me): ..." in repr(block)
    block.save_parameters(str(tmp_path / "own.params"))
    block.load_parameters(str(tmp_path / "own.params"))
    block.hybridize()
    assert block(nd.ones((1, 2))).shape == (1, 2)


def deep(item: Any, wrap: Callable[[Any], Any] = lambda item: [item], count: int = 500) -> Any:
    for _ in range(count):
        item = wrap(item)
    return item


def itself() -> list[Any]:
    made: list[Any] = [2.0]
    made.append(made)
    return made


def shared() -> list[Any]:
    made: list[Any] = [2.0]
    for _ in range(40):
        made = [2.0, made, made]
    return made


def by_name() -> dict[Any, Any]:
    made: dict[Any, Any] = {0: 2.0}
    made["me"] = made
    return made


def of_sets() -> list[Any]:
    return [2.0, deep(frozenset([1]), lambda item: frozenset([item, 2]))]


@pytest.mark.parametrize("make", [itself, shared, by_name, of_sets, lambda: deep(2.0)])
def test_attributes_of_any_depth_are_guarded(make: Callable[[], Any]) -> None:
    class Scaled(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.state = make()

        def forward(self, x: Any) -> Any:
            factor = self.state
            while isinstance(factor, (list, dict)):
                factor = factor[0]
            return x * factor

    block = Scaled()
    block.hybridize()
    x = nd.ones((1,))
    with little_stack():
        assert [block(x).asscalar(), block(x).asscalar()] == [2, 2]
        assert len(block.compiled) == 1
        innermost = block.state
        while isinstance(innermost[0], list):
            innermost = innermost[0]
        innermost[0] = 3.0
        assert block(x).asscalar() == 3


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {0: x}])
def test_arguments_and_results_of_any_depth(wrap: Callable[[Any], Any]) -> None:
    def bottom(item: Any) -> Any:
        while isinstance(item, (list, tuple, dict)):
            item = item[0]
        return item

    def function(item: Any) -> Any:
        return deep(bottom(item) * 2, wrap)

    block = Code(function)
    block.hybridize()
    with little_stack():
        for run in (block, mx.jit(function), mx.jit(function, donate_argnums=0)):
            result = run(deep(nd.ones((2,)), wrap))
            assert type(result) is type(wrap(0)) and bottom(result).asnumpy().tolist() == [2, 2]


def holding_itself(x: Any) -> list[Any]:
    made = [x]
    made.append(made)
    return made


@pytest.mark.parametrize(
    "run",
    [
        lambda: mx.jit(lambda given: given[0])(holding_itself(nd.ones(1))),
        lambda: mx.jit(holding_itself)(nd.ones(1)),
        lambda: mx.jit(lambda given: given)(deep(nd.ones(1), count=1001)),
        lambda: nd.array(deep(1.0)),
        lambda: nd.array(holding_itself(nd.ones(1))),
        lambda: nd.transpose(nd.ones((2,)), axes=deep(2)),
        lambda: mx.metric.create(deep("acc")),
        lambda: default_batchify_fn([deep(1.0)]),
        lambda: sym.load_json("[" * 100_000),
        lambda: parse("graph(%x) {\n%0 = relu(%x) {a=" + "-" * 500 + "1}\nreturn %0\n}", get),
    ],
)
def test_what_does_not_end_is_refused(run: Callable[[], Any]) -> None:
    with little_stack(), pytest.raises(TigonError):
        run()


def test_functions_that_call_functions() -> None:
    code = "\n".join(f"def f{i}(x): return x if {i} == 400 else f{i + 1}" for i in range(401))
    spaces: dict[str, Any] = {"f401": None, "__name__": "user"}
    exec(f"{code}\ndef start(x): return x * 2 if f0 else x", spaces)
    with little_stack():
        assert mx.jit(spaces["start"])(nd.ones(1)).asscalar() == 2


def test_descend_gives_what_recursion_gives() -> None:
    known: dict[int, int] = {}
    calls = 0

    def paths(number: int) -> int:
        nonlocal calls
        calls += 1
        parts = (number - 1, number - 2)
        return 1 if number < 2 else sum(known.get(p) or descend(known, p, paths) for p in parts)

    with little_stack(60):
        result = descend(known, 5000, paths)
    first, second = 1, 1
    for _ in range(4999):
        first, second = second, first + second
    assert result == second
    assert calls < 5000 * 2.5
