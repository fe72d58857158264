"""The one way to write a file: what is there before, while and after."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tigon as mx
from tigon import gluon, nd, sym
from tigon.base import files
from tigon.base.files import NewFile, is_temporary, write_file


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Any) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


# ------------------------------------------------------------------------ what is there


def by_parts(path: Path, content: bytes) -> None:
    new = NewFile(path)
    new.write(content[:1])
    new.write(content[1:])
    assert new.is_open
    new.close()
    new.close()
    assert not new.is_open


WRITERS = pytest.mark.parametrize("write", [write_file, by_parts])


@WRITERS
def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path, write: Any) -> None:
    for mask, expected in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o000, 0o666)):
        os.umask(mask)
        write(tmp_path / oct(mask), b"x")
        assert mode(tmp_path / oct(mask)) == expected
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_what_is_written_in_parts_is_a_file_of_one_writer(tmp_path: Path) -> None:
    with pytest.raises(mx.TigonError, match="expected the path of a file"):
        NewFile(tmp_path)
    first = NewFile(tmp_path / "x")
    with pytest.raises(mx.TigonError, match="expected to be its only writer"):
        NewFile(tmp_path / "x")
    first.abandon()
    assert not first.is_open and os.listdir(tmp_path) == []


@WRITERS
@pytest.mark.parametrize("kept", [0o600, 0o644, 0o640, 0o755, 0o666, 0o400])
def test_an_old_file_keeps_its_mode(tmp_path: Path, kept: int, write: Any) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(kept)
    if os.access(path, os.W_OK):
        write(path, b"new")
        assert path.read_bytes() == b"new"
    else:
        with pytest.raises(PermissionError):
            write(path, b"new")
        assert path.read_bytes() == b"old"
    assert mode(path) == kept


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_an_old_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    write_file(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_what_is_unfinished_is_private_and_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o600)
    os.umask(0)
    seen: list[tuple[str, int]] = []
    write = os.write

    def watched(descriptor: int, data: bytes) -> int:
        (name,) = {p.name for p in tmp_path.iterdir()} - {"secret"}
        seen.append((name, mode(tmp_path / name)))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    write_file(path, b"new")
    write_file(path, b"newer")
    assert [found for _, found in seen] == [0o600, 0o600]
    assert len({name for name, _ in seen}) == 2 and all(is_temporary(name) for name, _ in seen)


def test_nothing_that_lies_under_the_temporary_name_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").write_bytes(b"old")
    guessed = files.TEMPORARY + "0" * 32
    os.symlink("victim", tmp_path / guessed)
    monkeypatch.setattr(files, "_temporary", lambda: guessed)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "x", b"new")
    assert (tmp_path / "victim").read_bytes() == b"old"


def test_links_stay_links(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "target").write_bytes(b"old")
    (folder / "target").chmod(0o600)
    os.symlink("folder/target", tmp_path / "one")
    os.symlink("one", tmp_path / "two")
    os.symlink("folder", tmp_path / "there")
    os.symlink("folder/new", tmp_path / "dangling")
    for number, name in enumerate(["one", "two", "there/target"]):
        write_file(tmp_path / name, b"%d" % number)
        assert (folder / "target").read_bytes() == b"%d" % number
    write_file(tmp_path / "dangling", b"made")
    assert (folder / "new").read_bytes() == b"made"
    assert all((tmp_path / name).is_symlink() for name in ("one", "two", "there", "dangling"))
    assert mode(folder / "target") == 0o600
    assert sorted(p.name for p in folder.iterdir()) == ["new", "target"]
    assert len(list(tmp_path.iterdir())) == 5


def test_links_in_a_circle(tmp_path: Path) -> None:
    os.symlink("b", tmp_path / "a")
    os.symlink("a", tmp_path / "b")
    with pytest.raises(OSError, match="a"):
        write_file(tmp_path / "a", b"x")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "b").is_symlink()


def test_pipes_and_devices_are_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink("pipe", tmp_path / "link")
    content = os.urandom(300_000)  # more than a pipe holds
    for name in ("pipe", "link"):
        received: list[bytes] = []
        reader = threading.Thread(
            target=lambda into=received: into.append((tmp_path / "pipe").read_bytes())
        )
        reader.start()
        write_file(tmp_path / name, content)
        reader.join()
        assert received == [content]
        assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    write_file("/dev/null", content)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError) as caught:
        write_file("/dev/full", content)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == "/dev/full"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]


def test_names_of_open_files(tmp_path: Path) -> None:
    read, write = os.pipe()
    write_file(f"/dev/fd/{write}", b"through")
    assert os.read(read, 99) == b"through"
    os.close(read)
    os.close(write)
    with open(tmp_path / "x", "w+b") as file:
        os.unlink(tmp_path / "x")  # it has no name any more
        file.write(b"longer than what comes")
        file.flush()
        write_file(f"/dev/fd/{file.fileno()}", b"new")
        file.seek(0)
        assert file.read() == b"new"
    assert not list(tmp_path.iterdir())
    with open(tmp_path / "held", "w+b") as file:
        os.symlink(f"/proc/self/fd/{file.fileno()}", tmp_path / "link")
        for name in (f"/dev/fd/{file.fileno()}", str(tmp_path / "link")):
            write_file(name, os.fsencode(name))
            file.seek(0)
            assert file.read() == os.fsencode(name)


@pytest.mark.parametrize("name", ["n" * 255, "ä" * 127, "a b\n'\"", "-", ".hidden"])
def test_names_of_every_sort(tmp_path: Path, name: str) -> None:
    for path in (str(tmp_path / name), os.fsencode(tmp_path / name), tmp_path / name):
        write_file(path, b"x")
        assert (tmp_path / name).read_bytes() == b"x"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_names_that_are_not_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe"
    write_file(path, b"x")
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\xfe"]


def test_names_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_file("x", b"new")
    write_file(b"x", b"newer")
    assert (tmp_path / "x").read_bytes() == b"newer"


@pytest.mark.parametrize("path", ["", ".", "missing/x", "x/y"])
def test_what_cannot_be_written_is_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(OSError) as caught:
        write_file(path, b"x")
    assert caught.value.filename == path
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


# --------------------------------------------------------------------------- when it fails


@pytest.mark.parametrize("step", ["open", "write", "fchmod", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(error)):
            write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    content = os.urandom(1000)
    write_file(tmp_path / "x", content)
    assert (tmp_path / "x").read_bytes() == content


def test_file_and_folder_are_synced_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def replaced(*names: Any) -> None:
        steps.append("replace")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_file(tmp_path / "x", b"x")
    assert steps == ["file", "replace", "folder"]
    write_file(tmp_path / "x", b"x", durable=False)
    assert steps[3:] == ["replace"]


def _write_for_ever(path: str, started: Any) -> None:
    for number in range(10**9):
        write_file(path, b"%d" % (number % 10) * 3_000_000)
        started.set()


def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_write_for_ever, args=(str(tmp_path / "x"), started))
    process.start()
    assert started.wait(60)
    time.sleep(0.05)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    content = (tmp_path / "x").read_bytes()
    assert len(content) == 3_000_000 and len(set(content)) == 1
    left = {p.name for p in tmp_path.iterdir()} - {"x"}
    assert all(map(is_temporary, left))


def test_threads_that_write_one_path(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"0" * 100_000)
    os.symlink("target", tmp_path / "x")
    wrong: list[Any] = []
    done = threading.Event()

    def write(digit: bytes) -> None:
        try:
            for _ in range(60):
                write_file(tmp_path / "x", digit * 100_000, durable=False)
        except Exception as error:
            wrong.append(error)

    def read() -> None:
        while not done.is_set():
            content = (tmp_path / "x").read_bytes()
            if len(content) != 100_000 or len(set(content)) != 1:
                wrong.append(len(content))

    writers = [threading.Thread(target=write, args=(b"%d" % digit,)) for digit in range(4)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not wrong
    assert (tmp_path / "x").is_symlink() and len(list(tmp_path.iterdir())) == 2


# ---------------------------------------------------------------- everything that is saved


def network() -> Any:
    net = gluon.nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(gluon.nn.Dense(2, in_units=3))
    net.initialize()
    net(nd.ones((1, 3)))
    return net


def trainer() -> Any:
    made = gluon.Trainer(network().collect_params(), "adam")
    made._updater.state(0, nd.ones((2, 3)))
    return made


SAVED: dict[str, Callable[[Any], None]] = {
    "nd.save": lambda path: nd.save(path, [nd.ones(3)]),
    "nd.save by name": lambda path: nd.save(path, {"w": nd.ones(3)}),
    "save_parameters": lambda path: network().save_parameters(path),
    "ParameterDict.save": lambda path: network().collect_params().save(path),
    "Symbol.save": lambda path: sym.exp(sym.var("x"), name="y").save(path),
    "Picture.save": lambda path: mx.viz.plot_network(sym.var("x")).save(path),
    "save_states": lambda path: trainer().save_states(path),
    "plot_curves": lambda path: mx.viz.plot_curves(
        {"loss": {"a": [1, 2]}}, path, pictures=[([[0, 1]], "1"), ([[1, 0]], "0")]
    ),
}


@pytest.mark.parametrize("what", SAVED)
def test_everything_that_is_saved_is_saved_so(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "plot_curves":
        pytest.importorskip("matplotlib")
    save = SAVED[what]
    path = tmp_path / "x"
    for given in (path, str(path), os.fsencode(path)):
        path.unlink(missing_ok=True)
        save(given)
        assert path.stat().st_size > 0 and mode(path) == 0o644
    old = path.read_bytes()
    path.chmod(0o600)
    os.symlink("x", tmp_path / "link")
    save(str(tmp_path / "link"))
    assert mode(path) == 0o600 and (tmp_path / "link").is_symlink()

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            save(str(path))
    if what != "save_states":  # a count of names
        assert path.stat().st_size == len(old)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "x"]
    with pytest.raises(OSError):
        save("/dev/full")


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_an_export_is_saved_so(tmp_path: Path, kind: Callable[[Any], Any]) -> None:
    net = network()
    symbol_file, params_file = net.export(kind(str(tmp_path / "net")))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net-0000.params", "net-symbol.json"]
    for name in (symbol_file, params_file):
        os.chmod(name, 0o600)
    net.export(kind(str(tmp_path / "net")))
    assert mode(symbol_file) == mode(params_file) == 0o600
    again = gluon.SymbolBlock.imports(symbol_file, ["data"], params_file)
    assert (again(nd.ones((1, 3))) == net(nd.ones((1, 3)))).asnumpy().all()
