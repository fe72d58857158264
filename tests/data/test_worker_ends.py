"""Worker processes that fail, end or are sent what cannot be sent; programs, as one starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.data import worker_datasets as sets
from tests.data.test_workers import is_running, message, within
from tigon.gluon.data import DataLoader, SimpleDataset

pytestmark = pytest.mark.alone  # processes take time to begin

ROOT = Path(__file__).resolve().parents[2]


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("what", "how"), [("die", "was killed by SIGKILL"), ("leave", "ended with status 3")]
)
def test_a_process_that_ends_is_told_at_once(what: str, how: str) -> None:
    loader = DataLoader(sets.Rows(40, 4, what), 2, num_workers=2, timeout=100)
    came: list[Any] = []
    start = time.monotonic()
    said = message(lambda: came.extend(loader))
    assert time.monotonic() - start < 20
    processes = [int(word.strip("()")) for word in said.split() if word.strip("()").isdigit()]
    number = said.split()[2]
    assert said == (
        f"DataLoader: worker {number} (process {processes[1]}) {how} while it loaded batch 2 "
        "(samples 4, 5); was the machine out of memory, or does native code fail there? Try these "
        "samples with num_workers=0"
    )
    assert len(came) <= 2
    loader._dataset.special = -1
    assert len(list(loader)) == 20, "the next epoch begins with new processes"


def test_an_error_of_the_dataset_comes_in_its_place_with_its_traceback() -> None:
    loader = DataLoader(sets.Rows(9, 3, "fail"), 1, num_workers=2)
    came: list[Any] = []
    with pytest.raises(KeyError, match="the dataset's own") as error:
        came.extend(loader)
    assert len(came) == 3
    assert "worker_datasets.py" in str(error.value.__cause__) and "in fail" in str(
        error.value.__cause__
    )
    odd = DataLoader(sets.Rows(9, 3, "fail_oddly"), 1, num_workers=1)
    assert message(lambda: list(odd)) == "Odd: a and 1"


def test_a_stuck_process_is_waited_for_until_the_timeout() -> None:
    loader = DataLoader(sets.Rows(9, 2, "stick"), 2, num_workers=2, timeout=0.5)
    start = time.monotonic()
    assert message(lambda: list(loader), TimeoutError) == (
        "DataLoader: expected batch 1 (samples 2, 3) within timeout=0.5 seconds; it is not there; "
        "try these samples with dataset[...], give a larger timeout, or num_workers=0 to see where "
        "it is stuck"
    )
    assert time.monotonic() - start < 15


class Holder:
    def __init__(self, inside: Any) -> None:
        self.files = {"a": [1, inside]}

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        return index


def test_what_cannot_be_sent_is_named() -> None:
    with open(__file__) as file:
        loader = DataLoader(SimpleDataset(Holder(file)), 1, num_workers=1)
        assert message(lambda: list(loader)) == (
            f"DataLoader: dataset._data.files['a'][1] ({file!r:.80}) cannot be sent to worker "
            "processes: cannot pickle '_io.TextIOWrapper' object; use a function or class of a "
            "module in its place, open files where they are first read, or pass thread_pool=True"
        )
    dataset = SimpleDataset([1, 2]).transform(lambda x: x)
    said = message(lambda: list(DataLoader(dataset, 1, num_workers=1)))
    assert said.startswith("DataLoader: dataset._function (<function ")
    said = message(lambda: list(DataLoader([1], 1, num_workers=1, batchify_fn=lambda x: x)))
    assert said.startswith("DataLoader: batchify_fn (<function ")
    assert len(list(DataLoader(dataset, 1, num_workers=1, thread_pool=True))) == 2


# --------------------------------------------------------------- programs, as one starts them


def run(program: str, path: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    text = textwrap.dedent(program)
    if path is not None:
        path.write_text(text)
    return subprocess.run(
        [sys.executable, *(["-c", text] if path is None else [str(path)])],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, **options,
    )  # fmt: skip


OWN = """
    from tigon.gluon.data import DataLoader
    class Own:
        def __len__(self): return 4
        def __getitem__(self, index): return index
"""


def test_programs_that_define_their_dataset(tmp_path: Path) -> None:
    loop = "print(sum(int(b.asscalar()) for b in DataLoader(Own(), 1, num_workers=2)))"
    done = run(f"{OWN}\n    if __name__ == '__main__':\n        {loop}", tmp_path / "a.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "6\n", "")
    done = run(f"{OWN}\n    {loop}", tmp_path / "b.py")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "TigonError: DataLoader: this program is imported by worker processes, which need what it "
        "defines, and begins to load batches again; put what it does under "
        "`if __name__ == '__main__':`, move the dataset into a module, or pass thread_pool=True"
    )
    done = run(f"{OWN}\n    {loop}")
    assert done.stderr.splitlines()[-1].endswith(
        "TigonError: DataLoader: Own is defined in the program that was started, and that is no "
        "file that worker processes could import; put it into a module, or pass thread_pool=True"
    )


def test_programs_that_define_what_comes_back(tmp_path: Path) -> None:
    done = run(
        """
        from collections import namedtuple
        from tigon.gluon.data import DataLoader
        Pair = namedtuple("Pair", "array number")
        class Wrong(Exception): pass
        class Own:
            def __len__(self): return 3
            def __getitem__(self, index):
                if index == 2: raise Wrong("the program's own")
                return index
        def batch(samples):
            from tigon import nd
            return Pair(nd.array(samples), samples[0])
        if __name__ == "__main__":
            try:
                for pair in DataLoader(Own(), 1, batchify_fn=batch, num_workers=1):
                    print(type(pair) is Pair, int(pair.array.asscalar()), pair.number)
            except Wrong as error:
                print(error)
        """,
        tmp_path / "a.py",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True 0 0\nTrue 1 1\nthe program's own\n"


def test_programs_without_a_dataset_of_their_own_need_no_guard(tmp_path: Path) -> None:
    done = run(
        """
        from tigon.gluon.data import DataLoader, ArrayDataset
        import numpy as np
        print("once")
        data = ArrayDataset(np.arange(6), np.arange(6))
        print(sum(int(a.asscalar() + b.asscalar()) for a, b in DataLoader(data, 1, num_workers=2)))
        """,
        tmp_path / "a.py",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n30\n", "")


def test_programs_of_mxnet(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import mxnet as mx\nclass Own(mx.gluon.data.Dataset):\n"
        "    def __len__(self): return 3\n"
        "    def __getitem__(self, index): return mx.nd.array([index])\n"
    )
    program = "import mxnet as mx, own\nprint(*[int(b.asscalar()) for b in loader])\n"
    text = program.replace("loader", "mx.gluon.data.DataLoader(own.Own(), 1, num_workers=1)")
    (tmp_path / "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tigon", str(tmp_path / "program.py")],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 1 2\n", "")


ENDLESS = """
    import signal
    import sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have it ignored behind `&`
    from tests.data.worker_datasets import Rows
    from tigon.gluon.data import DataLoader
    loader = DataLoader(Rows(9, 4, "stick"), 1, num_workers=2)
    for batch in loader:
        print(*loader._pool.processes, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left(how: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ENDLESS)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert program.stdout is not None
    with program.stdout:
        processes = [int(word) for word in program.stdout.readline().split()]
        assert len(processes) == 2 and all(map(is_running, processes))
        program.send_signal(how)
        program.wait(20)
    assert within(10, lambda: not any(map(is_running, processes)))


def test_a_fork_has_workers_of_its_own() -> None:
    loader = DataLoader(sets.Rows(6), 1, num_workers=1)
    assert len(list(loader)) == 6
    processes = loader._pool.processes
    child = os.fork()
    if child == 0:
        count = 0
        try:
            count = len(list(loader))
        finally:
            os._exit(count)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
    assert all(map(is_running, processes)) and len(list(loader)) == 6
