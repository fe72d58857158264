"""The page that an exported network comes with, in a browser: digits drawn with the mouse. The
browser is one of the packages that `make test-languages` installs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.standalone.browser import CHROMIUM, Browser, served
from tigon import nd
from tigon.gluon import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

pytestmark = pytest.mark.languages

STROKES = {
    1: [(0.5, 0.1), (0.5, 0.9)],
    2: [(0.3, 0.25), (0.5, 0.12), (0.7, 0.3), (0.3, 0.85), (0.75, 0.85)],
    3: [(0.3, 0.15), (0.6, 0.12), (0.7, 0.3), (0.45, 0.48), (0.72, 0.65), (0.6, 0.87), (0.3, 0.85)],
    4: [(0.6, 0.9), (0.6, 0.1), (0.25, 0.65), (0.8, 0.65)],
}
"""Digits in one stroke, in a square of side 1."""


def test_digits_are_told_as_they_are_drawn(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.fail("there is no Chromium; `make test-languages` installs it")
    import digits

    images, labels, *_ = digits.load_data()
    # Plain least squares tell nineteen of twenty digits, and need no training.
    points = np.hstack([images.reshape(-1, 64), np.ones((len(images), 1))])
    scores = np.linalg.solve(
        points.T @ points + 30 * np.eye(65), points.T @ np.eye(10)[labels.astype(int)]
    )
    net = nn.Dense(10, in_units=64)
    net.initialize()
    net.weight.set_data(nd.array(8 * scores[:-1].T))
    net.bias.set_data(nd.array(8 * scores[-1]))
    site = tmp_path / "site"
    site.mkdir()
    net.export_wasm(site / "digits", nd.zeros((1, 1, 8, 8)))
    browser = Browser(tmp_path / "profile")
    try:
        with served(site) as (address, asked):
            browser.open(f"{address}digits.html")
            assert browser.evaluate("document.getElementById('class').textContent") == ""
            told = {digit: drawn(browser, points) for digit, points in STROKES.items()}
            assert asked == ["/digits.html", "/digits.js", "/digits.wasm"]
        (tmp_path / "page.png").write_bytes(browser.picture())
    finally:
        browser.close()
    assert browser.errors == []
    assert told == {digit: str(digit) for digit in STROKES}


def drawn(browser: Browser, points: list[tuple[float, float]]) -> str:
    """The class that the page shows for a stroke."""
    box = "document.getElementById('board').getBoundingClientRect()"
    left, top, side = (browser.evaluate(f"{box}.{edge}") for edge in ("left", "top", "width"))
    browser.evaluate("document.getElementById('clear').click()")
    browser.draw([(left + side * x, top + side * y) for x, y in points])
    browser.evaluate("new Promise((d) => requestAnimationFrame(() => requestAnimationFrame(d)))")
    return str(browser.evaluate("document.getElementById('class').textContent"))
