"""Text that is not executed is false sooner or later: README, docs and CONTRIBUTING run here.

Each file is a process of its own, so that what it registers stays there. Blocks marked `python`
run in order and share their names; those with prompts are compared with what they show.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"))
)

RUNNER = r"""
import doctest, re, sys, warnings
warnings.simplefilter("error")
with open(sys.argv[1]) as file:
    text = file.read()
names = {"__name__": "__main__"}
failures = 0
for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
    code, line = match.group(1), text[: match.start()].count("\n") + 1
    if code.startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(code, names, sys.argv[1], sys.argv[1], line)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        failures += runner.run(test, clear_globs=False).failed
        names.update(test.globs)
    else:
        exec(compile("\n" * line + code, sys.argv[1], "exec"), names)
sys.exit(bool(failures))
"""


@pytest.mark.parametrize("tool", ["operators_page.py", "differences_page.py"])
def test_written_pages_are_up_to_date(tool):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / tool), "--check"],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, "a page differs from what it is written from; run `make docs`"


@pytest.mark.parametrize("name", FILES)
def test_code_in_documents_runs(name, tmp_path):
    if "```python" not in (ROOT / name).read_text():
        return
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(ROOT / name)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{name}:\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("name", FILES)
def test_paths_and_targets_in_documents_exist(name):
    text = (ROOT / name).read_text()
    folders = "tigon|tests|docs|csrc|examples|benchmarks|tools"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
        assert (ROOT / path).exists(), f"{name} mentions {path}"
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / name).parent / path).exists(), f"{name} links to {path}"
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z]+)\b", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name}: make {target}"
