"""`python -m tigon.tools.im2rec`, from folders to iterators."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.test_images import PICTURE, saved
from tigon import recordio
from tigon.gluon.data.vision import ImageRecordDataset
from tigon.tools.im2rec import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat/a.png", "cat/b.png", "dog/c.png", "dog/d.jpg", "dog/notes.txt"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(PICTURE, "JPEG" if name.endswith("jpg") else "PNG"))
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    return main([str(folder / "all"), str(folder / "images"), *arguments])


def test_lists(folder: Path, capsys: Any) -> None:
    assert run(folder, "--list", "--recursive", "--no-shuffle") == 0
    assert (folder / "all.lst").read_text() == (
        "0\t0.000000\tcat/a.png\n1\t0.000000\tcat/b.png\n2\t1.000000\tdog/c.png\n"
        "3\t1.000000\tdog/d.jpg\n"
    )
    assert capsys.readouterr().out == f"{folder}/all.lst\n"
    ratios = ("--train-ratio", "0.5", "--test-ratio", "0.25")
    assert run(folder, "--list", "--recursive", *ratios) == 0
    lines = [
        (folder / f"all_{part}.lst").read_text().splitlines() for part in ("train", "val", "test")
    ]
    assert [len(part) for part in lines] == [2, 1, 1]
    assert sorted(line.split("\t")[0] for part in lines for line in part) == list("0123")
    assert run(folder, "--list", "--recursive", "--chunks", "2") == 0
    assert len((folder / "all_1.lst").read_text().splitlines()) == 2
    assert run(folder, "--list") == 2
    assert "has no files that end in .jpeg, .jpg, .png; with --recursive" in capsys.readouterr().err


def test_records(folder: Path, capsys: Any) -> None:
    run(folder, "--list", "--recursive")
    assert run(folder, "--encoding", ".png", "--quality", "3", "--num-thread", "3") == 0
    data = ImageRecordDataset(folder / "all.rec")
    assert sorted(label for _, label in (data[n] for n in range(4))) == [0, 0, 1, 1]
    with recordio.MXIndexedRecordIO(str(folder / "all.idx"), str(folder / "all.rec"), "r") as file:
        assert recordio.unpack(file.read_idx(0))[0].id == 0
    assert (data[data._record.keys.index(0)][0].asnumpy() == PICTURE).all()
    assert run(folder, "--resize", "6", "--center-crop") == 0
    assert ImageRecordDataset(folder / "all.rec")[0][0].shape == (6, 6, 3)
    assert run(folder, "--pass-through") == 0
    again = ImageRecordDataset(folder / "all.rec")
    assert again[again._record.keys.index(1)][0].shape == PICTURE.shape
    keys = list(again._record.keys)
    places = [again._record.idx[key] for key in keys]
    (folder / "all.idx").unlink()
    assert main(["--index", str(folder / "all.rec")]) == 0
    assert (folder / "all.idx").read_text() == "".join(
        f"{n}\t{at}\n" for n, at in enumerate(places)
    )


def test_labels_of_several_numbers(folder: Path) -> None:
    (folder / "all.lst").write_text("5\t1\t2\t3\tcat/a.png\n6\t4\tcat/b.png\n")
    assert run(folder) == 0
    data = ImageRecordDataset(folder / "all.rec")
    assert data[0][1].tolist() == [1, 2, 3] and data[1][1] == 4
    assert run(folder, "--pack-label") == 0
    assert ImageRecordDataset(folder / "all.rec")[1][1].tolist() == [4]


def test_what_cannot_be_read_is_named(folder: Path, capsys: Any) -> None:
    run(folder, "--list", "--recursive", "--no-shuffle")
    (folder / "images" / "cat" / "b.png").write_bytes(b"damaged")
    (folder / "images" / "dog" / "c.png").unlink()
    assert run(folder) == 1
    output = capsys.readouterr()
    assert f"left out: imread: the 7 bytes of {folder}/images/cat/b.png" in output.err
    assert f"left out: imread: {folder}/images/dog/c.png: No such file" in output.err
    assert output.out.endswith(f"{folder}/all.rec: 2 of 4 images\n")
    assert len(ImageRecordDataset(folder / "all.rec")) == 2
    (folder / "all.lst").write_text("0 1 a.png\n")
    assert run(folder) == 2
    assert "line 1: expected a number, labels and a path" in capsys.readouterr().err
    assert main([str(folder / "none"), str(folder / "images")]) == 2
    assert "make one with --list" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])


def test_the_command(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tigon.tools.im2rec",
        str(folder / "x"),
        str(folder / "images"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for more in (["--list", "--recursive"], []):
        done = subprocess.run([*command, *more], capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
    first = ImageRecordDataset(folder / "x.rec")[0][0].asnumpy().astype(int)
    assert abs(np.mean(first - PICTURE)) < 10
