"""The memory pool: what is needed again is kept, the rest goes back to the system."""

from __future__ import annotations

import numpy as np
import pytest

import tigon as mx
from tests.runtime.support import lines_of, run_script
from tigon import _native, nd
from tigon.runtime import reset_peak, stats

pytestmark = pytest.mark.alone  # it measures time

MIB = 1 << 20


@pytest.fixture(autouse=True)
def empty_pool():
    """What other tests have left."""
    nd.waitall()
    mx.cpu().empty_cache()


def pool() -> dict[str, float]:
    nd.waitall()
    return {name[5:]: value for name, value in stats().items() if name.startswith("pool_")}


def test_results_in_fresh_arrays_are_served_from_the_pool() -> None:
    a, b = nd.ones(3 * MIB), nd.ones(3 * MIB)
    chain = mx.jit(lambda a, b: nd.tanh(b * a + 1) * 0.5 + a)

    def run() -> None:
        y = None
        for _ in range(4):
            y = chain(a, b)
            y.wait_to_read()

    run()
    before = pool()
    run()
    _native.turn_pool()
    run()  # blocks that were in use since the last turn stay
    after = pool()
    # Eight results in fresh arrays. A worker may give a block back a little after the next call has
    # asked for one; small blocks may be anybody's.
    assert after["fresh_blocks"] - before["fresh_blocks"] <= 3
    assert after["bytes"] - before["bytes"] <= 13 * MIB


def test_what_nobody_needs_for_a_turn_goes_back() -> None:
    for i in range(5):
        nd.ones((1 + i) * MIB)  # programs keep their numbers
    for _ in range(2):
        nd.waitall()
        _native.turn_pool()
    before = pool()
    arrays = [nd.ones((1 + i) * MIB) for i in range(5)]
    nd.waitall()
    held = pool()
    assert held["bytes"] >= before["bytes"] + 15 * 4 * MIB
    del arrays
    free = pool()
    assert free["bytes"] == held["bytes"]
    assert free["free"] >= 15 * 4 * MIB
    assert free["largest_free"] >= 5 * 4 * MIB
    for _ in range(2):
        _native.turn_pool()
    assert pool()["bytes"] <= before["bytes"]


def test_peak_and_rounding() -> None:
    reset_peak()
    before = pool()
    x = nd.ones(MIB + 1)  # 4 MiB and 4 bytes: the next size is 4.125 MiB
    after = pool()
    assert after["rounding"] >= before["rounding"] + MIB // 8 - 64
    assert after["peak"] >= before["bytes"] + x.nbytes
    del x
    mx.cpu().empty_cache()
    assert pool()["peak"] == after["peak"]
    reset_peak()
    assert pool()["peak"] == pool()["bytes"] < after["peak"]


def test_shapes_that_never_come_again_take_no_memory() -> None:
    """Many times the largest one would be kept if only time counted."""
    reset_peak()
    _native.turn_pool()
    _native.turn_pool()
    before = pool()
    largest = 0
    for step in range(60):
        x = nd.zeros(MIB * 4 + step * 60_000)
        x.wait_to_read()
        largest = max(largest, x.nbytes)
    assert pool()["peak"] <= 2 * (before["bytes"] + 2 * largest) + 64 * MIB < 60 * 16 * MIB


IDLE = """
import os, time
import tigon as mx
from tigon import nd

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

nd.ones(30_000_000).wait_to_read()
nd.waitall()
held = resident()
assert mx.runtime.stats()["pool_free"] >= 120_000_000
while mx.runtime.stats()["pool_free"] > 1_000_000:
    time.sleep(0.02)
print(held - resident() > 100_000_000)
"""


def test_a_process_that_rests_gives_its_memory_back() -> None:
    assert lines_of(run_script(IDLE, TIGON_POOL_SECONDS="0.1")) == ["True"]


def test_an_array_that_is_freed_while_the_process_rests() -> None:
    script = IDLE.replace(
        "nd.ones(30_000_000).wait_to_read()\n",
        "x = nd.ones(30_000_000)\nx.wait_to_read()\ntime.sleep(0.5)\ndel x\n",
    )
    assert lines_of(run_script(script, TIGON_POOL_SECONDS="0.1")) == ["True"]


def test_large_arrays_ask_for_huge_pages() -> None:
    x = nd.ones(8 * MIB)
    x.wait_to_read()
    address = np.from_dlpack(x).ctypes.data
    assert address % (2 * MIB) == 0
    assert "hg" in flags_of_mapping(address)


def flags_of_mapping(address: int) -> list[str]:
    found = False
    with open("/proc/self/smaps") as file:
        for line in file:
            head = line.split()[0]
            if "-" in head and not head.endswith(":"):
                first, last = (int(part, 16) for part in head.split("-"))
                found = first <= address < last
            elif found and head == "VmFlags:":
                return line.split()[1:]
    return []


def test_the_pool_keeps_nothing_where_it_may_not() -> None:
    script = "from tigon import nd, runtime; nd.ones(9_000_000).wait_to_read(); nd.waitall()\n"
    script += "print(runtime.stats()['pool_free'] < 1_000_000)"
    assert lines_of(run_script(script, TIGON_POOL_LIMIT="0")) == ["True"]


def test_the_clock_is_looked_at_by_who_frees() -> None:
    """With one thread no worker may have been started: the next free does it."""
    script = """
    import time
    import numpy as np
    from tigon import nd, runtime
    big = np.zeros(9_000_000, np.float32)
    nd.array(big)
    for _ in range(200):
        if runtime.stats()["pool_free"] < 30_000_000:
            break
        time.sleep(0.02)
        nd.array(big[:600_000])
    print(runtime.stats()["pool_free"] < 30_000_000)
    """
    environment = {"TIGON_NUM_THREADS": "1", "TIGON_POOL_SECONDS": "0.05"}
    assert lines_of(run_script(script, **environment)) == ["True"]
