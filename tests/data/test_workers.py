"""Worker processes: what they give is what the loop itself would load, and they end with it."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.data import worker_datasets as sets
from tigon import nd
from tigon.gluon.data import ArrayDataset, DataLoader, SimpleDataset

pytestmark = pytest.mark.alone  # processes take time to begin


def plain(value: Any) -> Any:
    if isinstance(value, (nd.NDArray, np.ndarray)):
        array = value.asnumpy() if isinstance(value, nd.NDArray) else value
        return type(value).__name__, str(array.dtype), array.shape, array.tolist()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def message(run: Callable[[], Any], kind: type = mx.TigonError) -> str:
    with pytest.raises(kind) as error:
        run()
    return str(error.value)


def is_running(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()[0]
    except FileNotFoundError:
        return False


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


# ------------------------------------------------------------------------ what they give


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_same_with_any_number_of_workers(shuffle: bool) -> None:
    def run(**options: Any) -> Any:
        mx.random.seed(11)
        loader = DataLoader(sets.Drawing(23), 4, shuffle=shuffle, **options)
        return [[plain(batch) for batch in loader] for _ in range(2)]

    wanted = run()
    assert wanted[0] != wanted[1]
    assert run(num_workers=2, thread_pool=True) == wanted
    assert run(num_workers=1) == wanted
    assert run(num_workers=3, prefetch=1) == wanted


def test_generators_of_python_and_numpy_follow_from_the_place() -> None:
    def run(workers: int) -> Any:
        mx.random.seed(11)
        return [
            plain(batch) for batch in DataLoader(sets.DrawingElsewhere(9), 2, num_workers=workers)
        ]

    once = run(1)
    assert once == run(3)
    assert len({value for batch in once for part in batch[1:] for value in part[3]}) == 18


def test_batches_of_every_size_and_kind() -> None:
    dataset = sets.Sized(60)
    loader = DataLoader(dataset, 3, batchify_fn=sets.as_it_is, num_workers=2)
    kept = list(loader)
    wanted = [plain([dataset[i] for i in range(n, n + 3)]) for n in range(0, 60, 3)]
    assert [plain(batch) for batch in kept] == wanted
    assert [plain(batch) for batch in loader] == wanted
    assert [plain(batch) for batch in kept] == wanted, "kept batches are their own"


def test_samples_of_every_kind() -> None:
    samples = [sample for batch in DataLoader(
        sets.Kinds(3), 1, batchify_fn=sets.as_it_is, num_workers=1
    ) for sample in batch]  # fmt: skip
    for found, wanted in zip(samples, map(sets.Kinds(3).__getitem__, range(3)), strict=True):
        assert plain(found) == plain(wanted)
        assert [type(part) for part in found] == [type(part) for part in wanted]
        found[3][0, 0] = 7  # arrays may be written


def test_memory_is_used_again_and_kept_as_long_as_it_is_used() -> None:
    loader = DataLoader(SimpleDataset(np.arange(4000.0).reshape(40, 100)), 2, num_workers=1)
    rows = []
    for _ in range(5):
        for batch in loader:
            rows.append(batch[1])
            del batch
    files = [one.mapped._descriptor for one in loader._pool._workers]
    kept = os.fstat(files[0]).st_size
    rows.clear()
    gc.collect()
    for _ in range(5):
        for batch in loader:
            del batch
    assert os.fstat(files[0]).st_size == kept
    views = [batch[0] for batch in loader]
    del loader
    gc.collect()
    assert [view.asnumpy()[0] for view in views] == list(range(0, 4000, 200))


def test_arrays_of_a_dataset_are_shared_by_all() -> None:
    data = np.arange(12).reshape(6, 2)
    loader = DataLoader(ArrayDataset(data, nd.array(data)), 2, num_workers=2)
    found = [plain(batch) for batch in loader]
    assert found == [plain(batch) for batch in DataLoader(ArrayDataset(data, nd.array(data)), 2)]


def test_batches_are_made_where_the_loop_is() -> None:
    loader = DataLoader(list(range(8)), batch_size=2, num_workers=1)
    with mx.cpu(1):
        assert [batch.context for batch in loader] == [mx.cpu(1)] * 4
    assert [batch.context for batch in loader] == [mx.cpu(0)] * 4


def test_processes_stay_from_epoch_to_epoch_and_end_with_the_loader() -> None:
    loader = DataLoader(sets.Process(8), 1, num_workers=2)
    first, second = ({int(batch.asscalar()) for batch in loader} for _ in range(2))
    assert first | second <= set(loader._pool.processes) and os.getpid() not in first
    processes = loader._pool.processes
    for _ in loader:
        break  # what was ordered and not asked for is dropped
    assert len(list(loader)) == 8
    one, other = iter(loader), iter(loader)
    assert len(list(zip(one, other, strict=True))) == 8
    del loader, one, other
    gc.collect()
    assert within(5, lambda: not any(map(is_running, processes)))


def test_no_code_runs_when_a_batch_goes_in_which_ctrl_c_would_be_lost() -> None:
    loader = DataLoader(SimpleDataset(np.ones((8, 3))), 4, num_workers=1)
    (first, second) = loader
    called = []
    sys.setprofile(lambda frame, event, _: called.append((event, frame.f_code.co_name)))
    del first
    sys.setprofile(None)
    assert [name for event, name in called if event == "call"] == []
    assert second.shape == (4, 3)
    assert len(loader._pool._workers[0].mapped.released()) == 1
    assert loader._pool._workers[0].mapped.released() == []
