"""Calls step by step: what a step sees, what is committed, and what a failing call leaves."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from tests.native.conftest import FLOAT32, INT64, Kernels, array
from tigon import _native

KEY = -1
VECTOR = (FLOAT32, (4,))


def values(*arrays: Any) -> list[list[float]]:
    return [one.asnumpy().tolist() for one in arrays]


def numbers(first: float) -> _native.NDArray:
    return array(np.arange(first, first + 4))


def random_program(kernels: Kernels) -> _native.Program:
    buffers = [(_native.INPUT, 0), (_native.INPUT, 1), (_native.OUTPUT, 0)]
    launch = kernels.launch("tell_key", buffers, 4)
    return _native.Program(
        "tell_key", [VECTOR, (INT64, (2,))], [VECTOR], 1, 0, (), [[launch]], cost=1
    )


def test_steps_see_what_earlier_ones_made(kernels: Kernels) -> None:
    add = kernels.program("add", (4,))
    negate = kernels.program("negate", (4,), inputs=1)
    sequence = _native.Sequence(
        [VECTOR, VECTOR],
        [("run", add, [0, 1], [], ()), ("run", negate, [2], [], ()), ("run", add, [3, 0], [], ())],
        [4, 2],
    )
    a, b = numbers(0), numbers(10)
    last, first = sequence([a, b])
    assert values(last, first) == [[-10, -11, -12, -13], [10, 12, 14, 16]]
    assert sequence.programs == [add, negate, add]
    # Arguments may be results, too.
    same = _native.Sequence([VECTOR, VECTOR], [("run", add, [0, 1], [], ())], [1, 2])
    assert same([a, b])[0] is b


def test_outputs_go_over_arrays(kernels: Kernels) -> None:
    add = kernels.program("add", (4,))
    sequence = _native.Sequence([VECTOR, VECTOR], [("run", add, [0, 1], [(0, 0)], ())], [2])
    a, b = numbers(0), numbers(1)
    storage = a.storage_id
    (result,) = sequence([a, b])
    assert result is a and a.storage_id == storage and values(a) == [[1, 3, 5, 7]]


def test_donated_inputs_are_given_up(kernels: Kernels) -> None:
    negate = kernels.program("negate", (4,), inputs=1, may_alias=[[0]])
    sequence = _native.Sequence([VECTOR], [("run", negate, [0], [], [0])], [1])
    a = numbers(1)
    storage = a.storage_id
    (result,) = sequence([a])
    assert result.storage_id == storage and a.donated


def test_states_are_committed_at_the_end(kernels: Kernels) -> None:
    add = kernels.program("add", (4,))
    seen = []

    def look(made: _native.NDArray) -> list[_native.NDArray]:
        seen.append(values(state, made))
        return [made]

    state = numbers(0)
    steps = [
        ("run", add, [0, 1], [], ()),
        ("host", look, [2], [VECTOR]),
        ("commit", [(3, 0)]),
    ]
    (result,) = _native.Sequence([VECTOR, VECTOR], steps, [2])([state, numbers(1)])
    assert seen == [[[0, 1, 2, 3], [1, 3, 5, 7]]]
    assert values(state, result) == [[1, 3, 5, 7], [1, 3, 5, 7]]


@pytest.mark.parametrize("calls", [1, 3])
def test_a_call_takes_one_key(kernels: Kernels, calls: int) -> None:
    sequence = _native.Sequence(
        [VECTOR], [("run", random_program(kernels), [0, KEY], [], ())], [1], calls
    )
    _native.seed_keys(2)
    x = array(np.zeros(4))
    assert [values(*sequence([x]))[0][0] for _ in range(3)] == [200, 200 + calls, 200 + 2 * calls]
    assert _native.key_state() == (2, 3 * calls)


def test_a_call_that_raises_has_drawn_nothing_and_keeps_states(kernels: Kernels) -> None:
    def host(made: _native.NDArray) -> Any:
        if problems:
            return problems.pop()(made)
        return [made]

    steps = [
        ("run", random_program(kernels), [0, KEY], [], ()),
        ("host", host, [1], [VECTOR]),
        ("commit", [(2, 0)]),
    ]
    sequence = _native.Sequence([VECTOR], steps, [1], 2)
    _native.seed_keys(7)
    x = array(np.zeros(4))

    def interrupted(_: Any) -> Any:
        raise KeyboardInterrupt

    problems = [
        lambda _: 1 // 0,
        lambda _: None,
        lambda made: [made, made],
        lambda made: [array(np.zeros(3))],
        interrupted,
    ]
    expected = [
        (KeyboardInterrupt, "^$"),
        (RuntimeError, r"^host step: result 0: expected float32 \(4,\); given float32 \(3,\)$"),
        (RuntimeError, "^host step: expected 1 arrays; given 2$"),
        (TypeError, r"not iterable$"),
        (ZeroDivisionError, "by zero$"),
    ]
    for kind, message in expected:
        with pytest.raises(kind, match=message):
            sequence([x])
        assert _native.key_state() == (7, 0) and values(x) == [[0] * 4]
    sequence([x])
    assert _native.key_state() == (7, 2) and values(x) == [[700] * 4]


def test_what_others_drew_meanwhile_stays_drawn(kernels: Kernels) -> None:
    def host(_: _native.NDArray) -> Any:
        _native.take_key(5)
        raise ValueError

    steps = [("host", host, [0], [VECTOR])]
    sequence = _native.Sequence([VECTOR], steps, [1], 2)
    _native.seed_keys(1)
    with pytest.raises(ValueError):
        sequence([numbers(0)])
    assert _native.key_state() == (1, 7)


def test_a_part_of_the_stream() -> None:
    _native.seed_keys(1)
    assert _native.set_key_scope((4, 10, 0)) is None
    try:
        key = _native.take_key(3)
        assert (key.seed, key.counter) == (4, 10)
        assert _native.set_key_scope((5, 0, 7)) == (4, 13, 0)
    finally:
        _native.set_key_scope(None)
    assert _native.key_state() == (1, 0)
    with pytest.raises(TypeError):
        type(key)()


def test_keys_are_operands(kernels: Kernels) -> None:
    program = random_program(kernels)
    before = _native.set_compile_handler(lambda *_: program)
    try:
        _native.seed_keys(3)
        x = array(np.ones(4))
        assert values(_native.invoke(800, 0, (x, _native.take_key()))) == [[301] * 4]
        assert values(*program([x, _native.take_key()])) == [[302] * 4]
    finally:
        _native.set_compile_handler(before)
        _native.clear_signature_cache()
    with pytest.raises(RuntimeError, match="input 0: expected float32"):
        program([_native.take_key(), x])


def test_bad_sequences_are_bugs(kernels: Kernels) -> None:
    add = kernels.program("add", (4,))
    bad: list[Any] = [
        ([("run", add, [0], [], ())], [1]),
        ([("run", add, [0, 5], [], ())], [1]),
        ([("run", add, [0, KEY], [], ())], [1]),
        ([("run", add, [0, 1], [(1, 0)], ())], [1]),
        ([("run", add, [0, 1], [], [2])], [1]),
        ([("run", len, [0, 1], [], ())], [1]),
        ([("commit", [(7, 0)])], [0]),
        ([("host", len, [0], [(FLOAT32, (3,))]), ("commit", [(2, 0)])], [0]),
        ([("run", add, [0, 1], [], ())], [2, 2]),
        ([("run", add, [0, 1], [], ())], [3]),
        ([("walk",)], [0]),
    ]
    for steps, results in bad:
        with pytest.raises(AssertionError, match=r"^sequence: "):
            _native.Sequence([VECTOR, VECTOR], steps, results)
    sequence = _native.Sequence([VECTOR, VECTOR], [("run", add, [0, 1], [], ())], [2])
    for given in ([numbers(0)], [numbers(0), array(np.zeros(3))], [numbers(0), 1]):
        with pytest.raises(RuntimeError, match=r"^sequence: "):
            sequence(given)


def test_sequences_are_found_by_all_that_tells_calls_apart(kernels: Kernels) -> None:
    add, made = kernels.program("add", (4,)), []

    def make(arrays: Any, training: bool, wanted: Any, donated: Any) -> _native.Sequence:
        made.append((training, wanted, donated))
        types = [(a.dtype_code, a.shape) for a in arrays]
        return _native.Sequence(types, [("run", add, [0, 1], [], donated)], [2])

    cache = _native.SequenceCache(make, 8)
    a, b, leaf = numbers(0), numbers(1), numbers(2)
    leaf.mark_variable(array(np.zeros(4)), "write")
    for _ in range(2):
        assert values(*cache([a, b], None, ())) == [[1, 3, 5, 7]]
        cache([a, b], True, ())
        cache([a, leaf], False, ())  # nothing is recorded
        cache([a, b.detach()], False, ())
    assert made == [(False, None, ()), (True, None, ())]
    _native.set_recording(True)
    try:
        for _ in range(2):
            cache([a, leaf], False, ())
            cache([leaf, leaf], False, ())
            cache([a, b], False, ())  # of these no gradient is asked for
        leaf.mark_variable(None, "null")
        cache([a, leaf], False, ())
    finally:
        _native.set_recording(False)
    assert made[2:] == [(False, (False, True), ()), (False, (True, True), ())]
    cache([numbers(0), b], False, [0])
    assert made[4:] == [(False, None, (0,))]
    assert len(cache.sequences) == 5
    with pytest.raises(RuntimeError, match=r"given int$"):
        cache([a, 1], False, ())


def test_sequences_that_are_kept_are_bounded(kernels: Kernels) -> None:
    made = []

    def make(arrays: Any, *_: Any) -> _native.Sequence:
        (a,) = arrays
        made.append(a.shape)
        types = [(FLOAT32, a.shape)]
        program = kernels.program("negate", a.shape, inputs=1)
        return _native.Sequence(types, [("run", program, [0], [], ())], [1], tag=a.shape)

    cache = _native.SequenceCache(make, 4)
    for extent in (1, 2, 3, 4, 5, 6, 6, 5):
        cache([array(np.zeros(extent))], False, ())
    assert made == [(extent,) for extent in range(1, 7)]
    assert [sequence.tag for sequence in cache.sequences] == [(3,), (4,), (5,), (6,)]
    cache([array(np.zeros(1))], False, ())
    assert [sequence.tag for sequence in cache.sequences] == [(5,), (6,), (1,)]


def test_sequences_for_other_arrays_are_bugs(kernels: Kernels) -> None:
    add = kernels.program("add", (4,))
    right = _native.Sequence([VECTOR, VECTOR], [("run", add, [0, 1], [], ())], [2])
    x = numbers(0)
    for answer, given in ((right, [x]), (right, [x, array(np.zeros(3))]), (None, [x])):
        cache = _native.SequenceCache(lambda *_, answer=answer: answer, 4)
        with pytest.raises(AssertionError):
            cache(given, False, ())

    def fail(*_: Any) -> Any:
        raise KeyError("nothing")

    cache = _native.SequenceCache(fail, 4)
    with pytest.raises(KeyError):
        cache([x], False, ())
    assert cache.sequences == []


def test_circles_of_sequences_are_collected(kernels: Kernels) -> None:
    class Held:
        pass

    def circle() -> weakref.ref[Held]:
        held = Held()
        cache = _native.SequenceCache(lambda *_: held.sequence, 4)  # type: ignore[attr-defined]
        step = ("run", kernels.program("add", (4,)), [0, 1], [], ())
        held.sequence = _native.Sequence([VECTOR] * 2, [step], [2], tag=(held, cache))
        cache([numbers(0), numbers(1)], False, ())
        return weakref.ref(held)

    gone = circle()
    gc.collect()
    assert gone() is None
