"""Right operands in which a window slides over the columns, as in convolutions.

Where `right` sees a column axis x and a summed axis u only together, as x * step + u, neighbouring
columns read mostly the same elements. They are packed once, as planes of a padded image, and row k
of a panel is the image itself, seen from another place: no element is copied for each place of the
window that it is under. With a step of s there are s planes per axis, one per remainder of u.

Columns are then the places of the padded image, `pitch` to a line: those at the end of a line,
where the window would reach into the next one, are computed with and never stored."""

from __future__ import annotations

from math import prod

from tigon.backends.cpu import cost
from tigon.base.extents import is_known, same
from tigon.base.frozen import Frozen
from tigon.loop.grammar import Const, Contraction, Expr
from tigon.loop.simplify import affine, mentions

MOST_AXES = 2


class Slide(Frozen):
    """The last `len(steps)` columns slide over the last summed axes, `steps` at a time."""

    steps: tuple[int, ...]
    window: int  # places
    planes: int  # per element of the other summed axes
    reach: tuple[int, ...]  # places of a plane beyond the last column, per axis
    pitch: int
    shortest: int  # elements of the shortest line that is read
    columns: int  # those at the ends of lines included

    def lines(self, columns: int) -> int:
        """Lines of a plane that so many columns need, wherever they begin."""
        if len(self.steps) == 1:
            return 1
        return (columns + self.pitch - 2) // self.pitch + 1 + self.reach[0]

    def plane(self, columns: int) -> int:
        """Elements of a plane for so many columns."""
        if len(self.steps) == 1:
            return columns + self.reach[0]
        return self.lines(columns) * self.pitch


def find_slide(nest: Contraction) -> Slide | None:
    """How the window slides, if one does."""
    steps: list[int] = []
    axes = list(zip(reversed(nest.columns), reversed(nest.inner), strict=False))[:MOST_AXES]
    for place, offset in axes:
        step = _step(nest.right, place.name, offset.name)
        if step is None or step >= cost.extent(offset):  # the windows do not overlap
            break
        steps.insert(0, step)
    if not steps:
        return None
    number = len(steps)
    places = [cost.extent(axis) for axis in nest.columns[-number:]]
    window = [cost.extent(axis) for axis in nest.inner[-number:]]
    if not all(places):
        return None
    reach = tuple((size - 1) // step for size, step in zip(window, steps, strict=True))
    pitch = places[-1] + reach[-1]
    return Slide(
        tuple(steps),
        prod(window),
        prod(min(size, step) for size, step in zip(window, steps, strict=True)),
        reach,
        pitch,
        places[-1] + max(0, window[-1] - steps[-1]) // steps[-1],
        places[-1] if number == 1 else (places[0] - 1) * pitch + places[-1],
    )


def _step(operand: Expr, place: str, offset: str) -> int | None:
    """s, if the operand sees the two axes only as place * s + offset."""
    names = {place, offset}
    found: set[int] = set()
    stack, seen = [operand], set()
    while stack:
        node = stack.pop()
        if node in seen or not mentions(node, names):
            continue
        seen.add(node)
        split = affine(node, names)
        if split is None:
            stack.extend(node.operands)
            continue
        moved, turned = (split[0].get(name) for name in (place, offset))
        if not isinstance(moved, Const) or not isinstance(turned, Const):
            return None
        alike = same(moved.value, turned.value)  # lengths of lines, say, that are open
        step, rest = (1, 0) if alike else divmod(moved.value, turned.value)
        if not is_known(step, rest) or rest or step < 1:
            return None
        found.add(step)
    return found.pop() if len(found) == 1 else None
