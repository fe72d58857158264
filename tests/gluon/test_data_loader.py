"""Loading ahead: nobody waits for a stuck thread."""

import gc
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import tigon as mx
from tigon import nd
from tigon.gluon.data import DataLoader

pytestmark = pytest.mark.alone  # it measures time

ROOT = Path(__file__).resolve().parents[2]


class Dataset:
    """Numbers, of which those in `stuck` come when they are set free."""

    def __init__(self, length, stuck=()):
        self.length = length
        self.stuck = stuck
        self.free = threading.Event()

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.stuck:
            self.free.wait(30)
        return nd.full((2,), index)


@pytest.fixture
def loading():
    """How many threads there are that were not there at the start."""
    before = set(threading.enumerate())
    return lambda: len(set(threading.enumerate()) - before)


def numbers(batches):
    return [int(batch[0, 0].asscalar()) for batch in batches]


def within(seconds, condition):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [None, 0, 1, 9])
def test_batches_come_in_order_and_threads_end(workers, prefetch, loading):
    loader = DataLoader(Dataset(11), 1, num_workers=workers, prefetch=prefetch, thread_pool=True)
    for _ in range(2):
        assert numbers(loader) == list(range(11))
    assert within(5, lambda: loading() == 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stuck_thread_is_waited_for_until_the_timeout(workers):
    dataset = Dataset(9, stuck=(2,))
    loader = DataLoader(dataset, 2, num_workers=workers, timeout=0.5, thread_pool=True)
    came, start = [], time.monotonic()
    with pytest.raises(mx.TigonError) as error:
        for batch in loader:
            came.append(batch)
    assert 0.4 < time.monotonic() - start < 3
    assert numbers(came) == [0]
    assert isinstance(error.value, TimeoutError)
    assert str(error.value) == (
        "DataLoader: expected batch 1 (samples 2, 3) within timeout=0.5 seconds; it is not there; "
        "try these samples with dataset[...], give a larger timeout, or num_workers=0 to see where "
        "it is stuck"
    )
    dataset.free.set()
    assert numbers(loader) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("leave", ["break", "exception", "collected", "cycle", "never begun"])
def test_leaving_early_does_not_wait(leave, loading):
    dataset = Dataset(20, stuck=(5,))
    loader = DataLoader(dataset, 1, num_workers=2, thread_pool=True)
    start = time.monotonic()
    if leave == "break":
        for _ in loader:
            break
    elif leave == "exception":
        with pytest.raises(KeyError):
            for _ in loader:
                raise KeyError
    elif leave == "never begun":
        iter(loader)
    else:
        batches = iter(loader)
        next(batches)
        if leave == "cycle":
            cycle = [batches]
            cycle.append(cycle)
            del cycle
        del batches
        gc.collect()
    assert time.monotonic() - start < 10  # a stuck sample takes longer; busy machines are slow
    dataset.free.set()
    assert within(30, lambda: loading() == 0)


def test_an_error_of_the_dataset_comes_in_its_place():
    class Failing(Dataset):
        def __getitem__(self, index):
            if index == 3:
                raise TimeoutError("the dataset's own")
            return super().__getitem__(index)

    came = []
    with pytest.raises(TimeoutError, match=r"^the dataset's own$"):
        for batch in DataLoader(Failing(9), 1, num_workers=3, timeout=20, thread_pool=True):
            came.append(batch)
    assert numbers(came) == [0, 1, 2]


@pytest.mark.parametrize("naive", [False, True])
def test_a_stuck_thread_does_not_keep_the_process(naive):
    script = f"""
        import threading
        from tigon import _native, nd
        from tigon.gluon.data import DataLoader

        _native.set_naive({naive})

        class Stuck:
            def __len__(self):
                return 9

            def __getitem__(self, index):
                if index == 4:
                    threading.Event().wait()
                return nd.full((3,), index)

        kept = iter(DataLoader(Stuck(), 1, num_workers=2, thread_pool=True))
        print(next(kept).asnumpy()[0, 0])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=20, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.0\n", "")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_made_where_the_loop_is(workers: int) -> None:
    loader = DataLoader(list(range(8)), batch_size=2, num_workers=workers, prefetch=0)
    with mx.cpu(1):
        assert [batch.context for batch in loader] == [mx.cpu(1)] * 4
    assert [batch.context for batch in loader] == [mx.cpu(0)] * 4
