"""A drawn picture: shown in notebooks, written to files."""

from __future__ import annotations

import os
import tempfile
import warnings
import webbrowser

from tigon.base.files import AnyPath, write_file


class Picture:
    """A picture as SVG text, `svg`. Notebooks show it where it is the value of a cell.

    >>> Picture("<svg xmlns='http://www.w3.org/2000/svg'/>", "plot")._repr_svg_()[:4]
    '<svg'
    """

    def __init__(self, svg: str, name: str) -> None:
        self.svg = svg
        self.name = name

    def save(self, filename: AnyPath) -> str:
        """Write the picture to a file, whose path it gives."""
        path = os.fsdecode(filename)
        write_file(path, self.svg.encode())
        return path

    def render(
        self,
        filename: AnyPath | None = None,
        directory: AnyPath | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
    ) -> str:
        """Write `filename.svg` (the picture's title, if none is given) and give its path, as plots
        of graphviz do, whose other formats need its programs: instead of these SVG is written, and
        a warning says so. `cleanup` has nothing to do."""
        _warn_of_format(format)
        stem = os.fsdecode(self.name if filename is None else filename)
        if directory is not None:
            stem = os.path.join(os.fsdecode(directory), stem)
        path = self.save(stem if stem.endswith(".svg") else f"{stem}.svg")
        if view:
            webbrowser.open_new_tab(f"file://{os.path.abspath(path)}")
        return path

    def view(self) -> str:
        """Show it in a browser, from a file in a temporary folder, whose path it gives."""
        return self.render(directory=tempfile.mkdtemp(), view=True)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}': {len(self.svg)} characters of SVG>"


def _warn_of_format(format: str | None) -> None:
    if format not in (None, "svg"):
        warnings.warn(
            f"pictures are written as SVG; given format '{format}': convert the file with a "
            "program of your own",
            stacklevel=3,
        )
