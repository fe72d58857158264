"""Elements of SVG, the format of pictures that browsers, notebooks and papers take.

>>> print(element("rect", x=1.0, width=20.25, fill="#eee"))
<rect x="1" width="20.25" fill="#eee"/>
>>> print(document(20, 10, [text(5, 5, "a < b", text_anchor="middle")], title="A picture"))
<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10" viewBox="0 0 20 10" role="img" \
font-family="sans-serif" font-size="12"><title>A picture</title>
<text x="5" y="5" text-anchor="middle">a &lt; b</text>
</svg>
"""

from __future__ import annotations

from collections.abc import Iterable

FONT_SIZE = 12
_SPELLED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def element(name: str, *content: str, **attributes: str | float) -> str:
    """One element. An underscore in the name of an attribute stands for a hyphen; numbers have two
    digits behind the point at most. `content` is markup: see `text` for words."""
    spelled = [f' {key.replace("_", "-")}="{_escaped(_value(v))}"' for key, v in attributes.items()]
    inner = "".join(content)
    opened = f"<{name}{''.join(spelled)}"
    return f"{opened}>{inner}</{name}>" if inner else f"{opened}/>"


def text(x: float, y: float, words: str, **attributes: str | float) -> str:
    """A line of words with its baseline at `y`."""
    return element("text", _escaped(words), x=x, y=y, **attributes)


def tooltip(words: str) -> str:
    """What is shown where the pointer rests on the element that holds it."""
    return element("title", _escaped(words))


def document(width: float, height: float, elements: Iterable[str], title: str = "") -> str:
    """A picture of `width` times `height` units; its title is for readers of screens."""
    named = tooltip(title) if title else ""
    opened = element(
        "svg",
        "\n",
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        role="img",
        font_family="sans-serif",
        font_size=FONT_SIZE,
    ).removesuffix("\n</svg>")
    return "\n".join([opened + named, *elements, "</svg>"])


def width_of(words: str, size: float = FONT_SIZE) -> float:
    """About how wide a line of words is drawn, rather too much than too little."""
    import unicodedata

    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in words)
    return size * (0.62 * (len(words) - wide) + 1.05 * wide)


def _escaped(words: str) -> str:
    """Without what XML has no place for."""
    shown = (
        letter if (letter >= " " or letter == "\n") and letter not in "\ufffe\uffff" else "\ufffd"
        for letter in words
    )
    return "".join(shown).translate(_SPELLED)


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
