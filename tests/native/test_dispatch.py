"""Slots, the signature cache, programs: what runs when, on what memory."""

from __future__ import annotations

import struct
import threading
from typing import Any

import numpy as np
import pytest

from tests.native.conftest import ADD, FLOAT32, INT32, MULTIPLY, NEGATE, Kernels, array
from tigon import _native


def test_number_slots(operators: Kernels) -> None:
    a, b = array(np.arange(10)), array(np.full(10, 2))
    n = np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal((a + b).asnumpy(), n + 2)
    np.testing.assert_array_equal((a - b).asnumpy(), n - 2)
    np.testing.assert_array_equal((a * b).asnumpy(), n * 2)
    np.testing.assert_array_equal((-a).asnumpy(), -n)
    np.testing.assert_array_equal((+a).asnumpy(), n)
    for two in [2, 2.0, np.float64(2), np.float32(2), np.int32(2), np.uint8(2)]:
        np.testing.assert_array_equal((a + two).asnumpy(), n + 2)
        np.testing.assert_array_equal((two - a).asnumpy(), 2 - n)


def test_reflected_operator(operators: Kernels) -> None:
    seen = []

    def handler(operator: int, attributes: int, signature: Any, *_: Any) -> Any:
        seen.append((operator, signature))
        return lambda *operands: operands

    before = _native.set_compile_handler(handler)
    slots = [_native.set_slot_operator("floor_divide", -1, 0, flag) for flag in (False, True)]
    a = array([1, 2])
    try:
        assert _native.set_slot_operator("floor_divide", 70, 0) == (-1, 0)
        assert 3 // a == (3, a)
        _native.set_slot_operator("floor_divide", 71, 0, reflected=True)
        assert 3 // a == (a, 3)
        assert a // 3 == (a, 3)
    finally:
        _native.set_compile_handler(before)
        for flag in (False, True):
            _native.set_slot_operator("floor_divide", *slots[flag], flag)
        _native.clear_signature_cache()
    assert [operator for operator, _ in seen] == [70, 71, 70]
    assert seen[0][1] == ((FLOAT32, (), True), (FLOAT32, (2,), False))


def test_in_place_keeps_identity(operators: Kernels) -> None:
    a = array(np.arange(10))
    kept, storage = a, a.storage_id
    a += array(np.ones(10))
    a += 1
    assert a is kept and a.storage_id == storage and a.version == 2
    np.testing.assert_array_equal(a.asnumpy(), np.arange(10) + 2)
    with pytest.raises(RuntimeError, match="shapes"):
        a += array(np.ones(3))


def test_foreign_operands_are_not_ours(operators: Kernels) -> None:
    class Symbol:
        def __radd__(self, other: object) -> str:
            return "symbol"

    a = array([1, 2])
    assert a + Symbol() == "symbol"
    for stranger in [None, "text", [1, 2], 1j]:
        with pytest.raises(TypeError):
            a + stranger
        with pytest.raises(TypeError):
            stranger + a


def test_scalars_take_the_dtype_of_the_first_array(operators: Kernels) -> None:
    integers = array([1, 2, 3], "int32")
    total = integers + 2.9
    assert total.dtype_code == INT32
    assert total.asnumpy().tolist() == [3, 4, 5]
    assert (integers + True).asnumpy().tolist() == [2, 3, 4]
    with pytest.raises(RuntimeError, match="64 bits"):
        integers + 2**70


def test_signature_cache(operators: Kernels) -> None:
    def misses() -> int:
        return _native.stats()["signature_misses"]

    a, b = array(np.ones(10)), array(np.ones(10))
    start = misses()
    a + b
    assert misses() == start + 1
    a + b
    b + a
    assert misses() == start + 1
    a + 1
    a + 2.5
    assert misses() == start + 2
    array(np.ones((2, 5))) + array(np.ones((2, 5)))
    array([1], "int32") + array([1], "int32")
    _native.invoke(ADD, 7, (a, b))
    assert misses() == start + 5
    _native.clear_signature_cache()
    a + b
    assert misses() == start + 6


def test_many_signatures(operators: Kernels) -> None:
    for _ in range(2):
        for size in range(1, 700):
            a = array(np.arange(size))
            assert (a + a).asnumpy()[-1] == 2 * (size - 1)


def test_the_signature_cache_is_bounded(operators: Kernels) -> None:
    """Shapes that change with every call do not fill the memory: old entries go."""

    def add_to_each(extents: range) -> int:
        before = _native.stats()["signature_misses"]
        for extent in extents:
            _native.empty((extent,), FLOAT32) + 1.0
        return _native.stats()["signature_misses"] - before

    assert add_to_each(range(9000)) == 9000
    assert add_to_each(range(10)) == 10
    assert add_to_each(range(10)) == 0


def test_an_error_of_the_compiler_leaves_nothing_behind(operators: Kernels) -> None:
    with pytest.raises(AssertionError, match="a compile handler must return"):
        before = _native.set_compile_handler(lambda *_: 3)
        try:
            _native.invoke(99, 0, (array([1]),))
        finally:
            _native.set_compile_handler(before)
    with pytest.raises(KeyError):
        _native.invoke(98, 0, (array([1]), array([1])))
    with pytest.raises(RuntimeError, match="operand 1: expected an NDArray or a number"):
        _native.invoke(ADD, 0, (array([1]), "x"))


def test_invoke_forms(operators: Kernels) -> None:
    a, b, out = array([1.0]), array([2.0]), array([0.0])
    assert _native.invoke(ADD, 0, [a, b]).item() == 3
    assert _native.invoke(ADD, 0, (a, b), out) is out
    assert _native.invoke(ADD, 0, (a, b), out=[out]) is out
    assert out.item() == 3
    with pytest.raises(TypeError):
        _native.invoke(ADD, 0)
    with pytest.raises(RuntimeError, match=r"add: out=: expected float32 \(1,\); given float32"):
        _native.invoke(ADD, 0, (a, b), array([1.0, 2.0]))


def test_views_answer_an_operator(operators: Kernels) -> None:
    a = array([1, 2, 3, 4])
    before = _native.set_compile_handler(lambda *_: _native.View(1, (1, 2)))
    try:
        view = _native.invoke(50, 0, (a,))
    finally:
        _native.set_compile_handler(before)
    assert view.storage_id == a.storage_id and view.asnumpy().tolist() == [[2, 3]]


def test_program_with_arena_constants_and_waves(kernels: Kernels) -> None:
    n = 1000
    program = _native.Program(
        "two_waves",
        [(FLOAT32, (n,))],
        [(FLOAT32, (n,)), (FLOAT32, (n,))],
        1,
        8192,
        [np.full(n, 3, np.float32).tobytes()],
        [
            [
                kernels.launch("negate", [(_native.INPUT, 0), (_native.ARENA, 0)], n, grain=100),
                kernels.launch("copy", [(_native.CONSTANT, 0), (_native.ARENA, 4096)], n, grain=64),
            ],
            [
                kernels.launch(
                    "add", [(_native.ARENA, 0), (_native.ARENA, 4096), (_native.OUTPUT, 0)], n
                ),
                kernels.launch("scratch", [(_native.OUTPUT, 1)], n, struct.pack("q", 5), 0, 40),
            ],
        ],
        tag="kept",
    )
    x = np.arange(n, dtype=np.float32)
    held = array(x)
    before = _native.stats()["bytes_now"]
    _native.reset_peak()
    (result,) = program((held,))
    assert _native.stats()["bytes_peak"] == before + 8192 + 2 * 4 * n
    np.testing.assert_array_equal(result.asnumpy(), 3 - x)
    assert (program.tag, program.calls, program.arena_bytes) == ("kept", 1, 8192)


def test_launches_are_timed_as_they_run(kernels: Kernels) -> None:
    n = 1000
    x, negated = np.arange(n, dtype=np.float32), _native.empty((n,), FLOAT32)
    total = _native.empty((n,), FLOAT32)
    program = _native.Program(
        "timed",
        [(FLOAT32, (n,))],
        [(FLOAT32, (n,)), (FLOAT32, (n,))],
        2,
        4 * n,
        [],
        [
            [kernels.launch("negate", [(0, 0), (1, 0)], n, grain=100)],
            [kernels.launch("add", [(0, 0), (1, 0), (1, 1)], n)],
        ],
    )
    assert program.launches == [(0, "negate", n, 10), (1, "add", n, 1)]
    held = array(x)
    for part in ("wave", "launch", "alone"):
        seconds = program.timed([held], [negated, total], part)
        assert len(seconds) == 2 and min(seconds) > 0
        np.testing.assert_array_equal(negated.asnumpy(), -x)
        np.testing.assert_array_equal(total.asnumpy(), 0 * x)
    with pytest.raises(AssertionError, match="given waves"):
        program.timed([held], [negated, total], "waves")
    with pytest.raises(AssertionError, match="expected float32"):
        program.timed([held], [negated, array([1.0])], "wave")
    with pytest.raises(AssertionError, match="number of arrays"):
        program.timed([], [negated, total], "wave")


def test_program_checks_its_inputs(kernels: Kernels) -> None:
    program = kernels.program("add")
    good = array(np.zeros(10))
    with pytest.raises(RuntimeError, match="add: expected 2 inputs; given 1"):
        program((good,))
    with pytest.raises(
        RuntimeError, match=r"add: input 1: expected float32 \(10,\); given float32"
    ):
        program((good, array([1.0])))
    with pytest.raises(RuntimeError, match="given str"):
        program((good, "x"))
    for wrong in [{}, {"outs": None}, {"inputs": (good, good), "extra": 1}]:
        with pytest.raises(TypeError, match=r"program\(inputs, out=None, donate=\(\)\)"):
            program(**wrong)
    with pytest.raises(TypeError):
        program((good, good), None, (), 1)
    with pytest.raises(TypeError):
        program((good, good), inputs=(good, good))
    assert program(inputs=[good, good], donate=(), out=None)[0].size == 10


def test_bad_programs_are_bugs(kernels: Kernels) -> None:
    address = kernels.address("add")
    for launch in [
        (0, [], b"", 1, 1, 0, "null"),
        (address, [(0, 1)], b"", 1, 1, 0, "input"),
        (address, [(1, 0)], b"", 1, 1, 0, "output"),
        (address, [(2, 65)], b"", 1, 1, 0, "arena"),
        (address, [(3, 0)], b"", 1, 1, 0, "constant"),
        (address, [(9, 0)], b"", 1, 1, 0, "space"),
        (address, [], b"123", 1, 1, 0, "slots"),
    ]:
        with pytest.raises(AssertionError):
            _native.Program("bad", [(0, (1,))], [], 0, 64, [], [[launch]])


def test_results_do_not_depend_on_the_number_of_threads(kernels: Kernels) -> None:
    n = 100_003
    x = array(np.random.default_rng(0).normal(size=n))
    program = kernels.program("add", (n,), grain=100)
    before = _native.num_threads()
    results = []
    try:
        for threads in [1, 2, 5]:
            _native.set_num_threads(threads)
            assert _native.num_threads() == threads
            results.append(program((x, x))[0].asnumpy())
    finally:
        _native.set_num_threads(before)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    with pytest.raises(RuntimeError, match="at least 1"):
        _native.set_num_threads(0)


def test_kernel_failure_names_the_operator(kernels: Kernels) -> None:
    for status, text in [(1, "index is out of range"), (2, "division by zero"), (33, "status 33")]:
        program = kernels.program("fail", slots=struct.pack("q", status))
        with pytest.raises(RuntimeError, match=f"^fail: .*{text}"):
            program((array(np.zeros(10)), array(np.zeros(10))))


# --------------------------------------------------------------------------- out=, donate=


def test_out_may_alias_only_where_the_compiler_says_so(kernels: Kernels) -> None:
    n = 8
    x = np.arange(n, dtype=np.float32)
    reverse = kernels.program("reverse", (n,), 1, slots=struct.pack("q", n))
    held = array(x)
    (result,) = reverse((held,), out=[held])
    assert result is held and held.version == 1
    np.testing.assert_array_equal(held.asnumpy(), x[::-1])  # through fresh memory

    add = kernels.program("add", (n,), may_alias=[[0]])
    a, b = array(x), array(x + 10)
    before = _native.stats()["bytes_now"]
    _native.reset_peak()
    add((a, b), out=[a])
    assert _native.stats()["bytes_peak"] == before  # in place
    np.testing.assert_array_equal(a.asnumpy(), 2 * x + 10)
    add((a, b), out=[b])  # not allowed for input 1: copied
    np.testing.assert_array_equal(b.asnumpy(), 3 * x + 20)


def test_an_output_lies_where_an_input_does_that_earlier_waves_read(kernels: Kernels) -> None:
    """Nothing is said of pairs: the waves tell."""
    n = 8
    x = np.arange(n, dtype=np.float32)
    # Wave 0: t = a + b. Wave 1: out = t + b.
    a_place, b_place = (_native.INPUT, 0), (_native.INPUT, 1)
    first = kernels.launch("add", [a_place, b_place, (_native.ARENA, 0)], n)
    second = kernels.launch("add", [(_native.ARENA, 0), b_place, (_native.OUTPUT, 0)], n)
    types = [(FLOAT32, (n,))]
    program = _native.Program(
        "twice", types * 2, types, 1, 64, [], [[first], [second]], last_reads=[0, 1], writes=[1]
    )
    a, b = array(x), array(x + 10)
    before = _native.stats()["bytes_now"]
    _native.reset_peak()
    program((a, b), out=[a])
    assert _native.stats()["bytes_peak"] == before + 64  # the arena
    np.testing.assert_array_equal(a.asnumpy(), 3 * x + 20)
    program((a, b), out=[b])  # read by the wave that writes: copied
    np.testing.assert_array_equal(b.asnumpy(), 5 * x + 40)


def test_partial_overlap_is_never_in_place(kernels: Kernels) -> None:
    base = array(np.arange(12))
    x, out = base.view(0, (8,)), base.view(2, (8,))
    copy = kernels.program("copy", (8,), 1, may_alias=[[0]])
    copy((x,), out=[out])
    np.testing.assert_array_equal(base.asnumpy(), [0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 10, 11])


def test_out_is_checked(kernels: Kernels) -> None:
    add = kernels.program("add")
    a = array(np.zeros(10))
    for out, text in [
        ([array([1.0])], r"add: out=: expected float32 \(10,\)"),
        ([a, a], "out= has 2 arrays for 1 outputs"),
        ([3], "out= must hold NDArrays"),
    ]:
        with pytest.raises(RuntimeError, match=text):
            add((a, a), out=out)
    wave = [kernels.launch("copy", [(0, 0), (1, i)], 10) for i in range(2)]
    both = _native.Program("both", [(0, (10,))], [(0, (10,))] * 2, 2, 0, [], [wave])
    with pytest.raises(RuntimeError, match="two outputs overlap"):
        both((a,), out=[a, a])
    first, second = both((a,), out=[None, a])
    assert second is a and first is not a


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failing_call_has_written_what_ran_before_it_failed(
    kernels: Kernels, threads: int
) -> None:
    before = _native.num_threads()
    _native.set_num_threads(threads)
    try:
        copies = [kernels.launch("copy", [(0, 0), (1, i)], 10) for i in range(3)]
        fail = kernels.launch("fail", [(0, 0), (1, 3)], 10, struct.pack("q", 1))
        waves = [[copies[0]], [fail, copies[1]], [copies[2]]]
        types = [(0, (10,))] * 4
        program = _native.Program("all", types[:1], types, 4, 0, [], waves)
        outputs = [array(np.zeros(10)) for _ in types]
        with pytest.raises(RuntimeError, match=r"^fail: an index is out of range"):
            program((array(np.ones(10)),), out=outputs)
        assert [output.version for output in outputs] == [1, 1, 0, 1]
        assert outputs[2].asnumpy().tolist() == [0] * 10
        with pytest.raises(RuntimeError, match="out=: expected"):  # nothing has run
            program((array(np.ones(10)),), out=[*outputs[:3], array([1.0])])
        assert [output.version for output in outputs] == [1, 1, 0, 1]
    finally:
        _native.set_num_threads(before)


def test_donated_memory_holds_the_output(kernels: Kernels) -> None:
    add = kernels.program("add", may_alias=[[0, 1]])
    a, b = array(np.arange(10)), array(np.ones(10))
    storage = a.storage_id
    before = _native.stats()["bytes_now"]
    _native.reset_peak()
    (result,) = add((a, b), donate=[0])
    assert result.storage_id == storage
    assert _native.stats()["bytes_peak"] == before
    np.testing.assert_array_equal(result.asnumpy(), np.arange(10) + 1)
    assert a.donated and not b.donated
    for use in [a.asnumpy, a.wait_to_read, lambda: a.version, lambda: add((a, b)), a.detach]:
        with pytest.raises(RuntimeError, match="donated"):
            use()
    with pytest.raises(RuntimeError, match="donate=: input 5"):
        add((b, b), donate=[5])


def test_shared_memory_is_not_reused_by_donation(kernels: Kernels) -> None:
    add = kernels.program("add", may_alias=[[0, 1]])
    a, b = array(np.arange(10)), array(np.ones(10))
    other = a.detach()
    (result,) = add((a, b), donate=[0])
    assert result.storage_id != other.storage_id
    np.testing.assert_array_equal(other.asnumpy(), np.arange(10))
    source = np.arange(10, dtype=np.float32)
    foreign = _native.from_dlpack(source)
    (result,) = add((foreign, b), donate=[0])
    np.testing.assert_array_equal(source, np.arange(10))
    x = array(np.arange(10))
    (result,) = add((x, x), donate=[0])
    np.testing.assert_array_equal(result.asnumpy(), 2 * np.arange(10))


def test_threads_share_programs_and_operators(operators: Kernels) -> None:
    program = operators.program("multiply")
    failures: list[str] = []

    def work(value: int) -> None:
        a = array(np.full(10, value))
        for _ in range(500):
            if (a + a).asnumpy()[3] != 2 * value or program((a, a))[0].asnumpy()[3] != value**2:
                failures.append(str(value))
            _native.invoke(NEGATE, value, (a,))  # misses and hits side by side

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_counters(operators: Kernels) -> None:
    a = array(np.zeros(10))
    before = _native.stats()
    a = a + a
    a = -a
    after = _native.stats()
    assert after["imperative_operators"] - before["imperative_operators"] == 2
    assert after["native_calls"] - before["native_calls"] == 2
    assert after["inlined"] - before["inlined"] == 2
    assert _native.invoke(MULTIPLY, 0, (a, a)).asnumpy().sum() == 0


def test_the_kind_of_a_call() -> None:
    a, b = array([1, 2]), array([[1.0]])
    assert _native.call_kind((a, b)) == (2, False, False, ((2,), FLOAT32), ((1, 1), FLOAT32))
    before = _native.set_recording(True), _native.set_training(True)
    try:
        assert _native.call_kind((b,)) == (1, True, True, ((1, 1), FLOAT32))
    finally:
        _native.set_recording(before[0])
        _native.set_training(before[1])
    assert _native.call_kind(()) == (0, False, False)
    # Whatever is not an array is for the caller to look into.
    assert _native.call_kind((a, 1)) is None and _native.call_kind(([a],)) is None
