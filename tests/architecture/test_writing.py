"""Files are written in one place, `tigon.base.files`; nothing else opens one for writing."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "tigon" / "base" / "files.py"
FILES = sorted(
    path
    for folder in ("tigon", "examples", "tools", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path != PLACE
)

MAKES_A_FILE = frozenset(
    """
    write_text write_bytes touch mkstemp NamedTemporaryFile tofile memmap open_memmap savetxt savez
    savez_compressed symlink link symlink_to hardlink_to link_to mkfifo mknod rename renames replace
    copy copy2 copyfile copytree move truncate ftruncate fdopen extractall unpack_archive
    make_archive sendfile urlretrieve ZipFile TarFile FileHandler
    """.split()
)
"""Names of functions that write files, or put one in the place of another."""

OF_MODULES = frozenset(("os", "shutil", "np", "numpy", "tempfile", "pathlib"))
"""Several of these are names of methods of other things, too: texts and arrays are copied."""

INTO_AN_ARGUMENT = {"savefig": 0, "save": 0, "dump": 1}
"""Functions of libraries that write into what they are given: it must be memory."""


def offences(tree: ast.Module) -> Iterator[str]:
    buffers = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _calls(node.value, "BytesIO", "StringIO")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, owner = _name(node.func), _owner(node.func)
        if name == "open" and _opens_for_writing(node, owner):
            yield f"line {node.lineno}: open"
        elif name in MAKES_A_FILE and (owner in OF_MODULES or _is_unmistakable(name)):
            yield f"line {node.lineno}: {name}"
        elif name in INTO_AN_ARGUMENT and (name == "savefig" or owner in _LIBRARIES):
            given = node.args[INTO_AN_ARGUMENT[name] :][:1]
            if not given or not isinstance(given[0], ast.Name) or given[0].id not in buffers:
                yield f"line {node.lineno}: {name}"


_LIBRARIES = ("np", "numpy", "json", "pickle", "marshal", "torch", "onnx", "plt", "pyplot")


def _is_unmistakable(name: str) -> bool:
    return name not in ("copy", "replace", "move", "link", "rename", "truncate")


def _calls(node: ast.expr, *names: str) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) in names


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _owner(function: ast.expr) -> str:
    is_plain = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)
    return function.value.id if is_plain else ""


def _opens_for_writing(call: ast.Call, owner: str) -> bool:
    """Whether a call of `open`, in any of its forms, asks for more than reading."""
    if owner == "os":
        return True
    position = 0 if isinstance(call.func, ast.Attribute) and owner != "io" else 1
    given = call.args[position:][:1] + [k.value for k in call.keywords if k.arg == "mode"]
    return not all(isinstance(m, ast.Constant) and set(str(m.value)) <= set("rbt") for m in given)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_writes_a_file(path: Path) -> None:
    found = list(offences(ast.parse(path.read_text())))
    assert not found, f"{path}: {found}; use tigon.base.files.write_file"


@pytest.mark.parametrize(
    "line",
    [
        "open('x', 'w')",
        "open('x', mode='ab')",
        "open('x', 'r+b')",
        "open('x', mode)",
        "io.open('x', 'x')",
        "Path('x').open('w')",
        "os.open('x', os.O_WRONLY)",
        "path.write_text('')",
        "(folder / 'x').write_bytes(b'')",
        "os.replace('x', 'y')",
        "shutil.copy('x', 'y')",
        "tempfile.NamedTemporaryFile()",
        "np.save('x', array)",
        "array.tofile('x')",
        "figure.savefig(path)",
        "json.dump(text, file)",
    ],
)
def test_offences_are_seen(line: str) -> None:
    assert list(offences(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "open('x')",
        "open('x', 'rb')",
        "Path('x').open('rb')",
        "text.replace('x', 'y')",
        "array.copy()",
        "buffer = io.BytesIO()\nfigure.savefig(buffer)\nnp.save(buffer, array)",
        "nd.save('x', array)",
    ],
)
def test_reading_is_allowed(line: str) -> None:
    assert not list(offences(ast.parse(line)))


def test_native_code_opens_nothing_for_writing() -> None:
    for path in (ROOT / "csrc").rglob("*.[ch]*"):
        text = path.read_text()
        assert "ofstream" not in text and "O_CREAT" not in text, path.name
        assert text.count("fopen(") == text.count(', "r")'), path.name
