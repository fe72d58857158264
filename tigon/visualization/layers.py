"""Places for the nodes of a directed graph, in layers from top to bottom: K. Sugiyama, S. Tagawa,
M. Toda, "Methods for visual understanding of hierarchical system structures" (1981)."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise

from tigon.base.frozen import Frozen

Point = tuple[float, float]
SWEEPS = 12
PLACING_SWEEPS = 40  # straightness travels one layer a sweep


class Layout(Frozen):
    """Centres of the nodes; for each edge the points that its line goes through, of which every two
    are in different layers or straight above each other; and the size of the whole."""

    centres: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def arrange(
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    gaps: Point = (24.0, 34.0),
    margin: float = 12.0,
) -> Layout:
    """Places for nodes of these widths and heights. Edges lead to nodes that come later.

    >>> found = arrange([(40, 20)] * 3, [(0, 1), (1, 2), (0, 2)])
    >>> [y for _, y in found.centres]
    [22.0, 76.0, 130.0]
    """
    layers = _layers(len(sizes), edges)
    rows: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
    for node, layer in enumerate(layers):
        rows[layer].append(node)
    widths, chains = [width for width, _ in sizes], []
    for source, target in edges:  # long ones have a place in each layer that they cross
        chain = [source]
        for layer in range(layers[source] + 1, layers[target]):
            chain.append(len(widths))
            rows[layer].append(len(widths))
            widths.append(0.0)
        chains.append([*chain, target])
    above: list[list[int]] = [[] for _ in widths]
    below: list[list[int]] = [[] for _ in widths]
    for chain in chains:
        for upper, lower in pairwise(chain):
            below[upper].append(lower)
            above[lower].append(upper)
    rows = _ordered(rows, above, below)
    xs = _horizontally(rows, widths, above, below, len(sizes), gaps[0])
    left = min((x - width / 2 for x, width in zip(xs, widths, strict=True)), default=0.0)
    xs = [x - left + margin for x in xs]
    right = max((x + width / 2 for x, width in zip(xs, widths, strict=True)), default=0.0)
    spans, top = [], margin
    for row in rows:
        height = max((sizes[node][1] for node in row if node < len(sizes)), default=0.0)
        spans.append((top, top + height))
        top += height + gaps[1]
    layer_of = {node: layer for layer, row in enumerate(rows) for node in row}
    centres = [(xs[node], sum(spans[layers[node]]) / 2) for node in range(len(sizes))]
    routes = []
    for chain in chains:
        points: list[Point] = []
        for node in chain:
            if node < len(sizes):
                x, y = centres[node]
                half = sizes[node][1] / 2
                points.append((x, y + half) if node == chain[0] else (x, y - half))
            else:
                points += [(xs[node], y) for y in spans[layer_of[node]]]
        routes.append(tuple(points))
    height = spans[-1][1] + margin if spans else 2 * margin
    return Layout(tuple(centres), tuple(routes), right + margin, height)


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """As high as what a node needs permits; what needs nothing is right above what needs it."""
    layers, first_use = [0] * count, [-1] * count
    has_source = [False] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layers[target] = max(layers[target], layers[source] + 1)
        has_source[target] = True
    for source, target in edges:
        used = first_use[source]
        first_use[source] = layers[target] if used < 0 else min(used, layers[target])
    return [
        layer if needs or use < 0 else use - 1
        for layer, needs, use in zip(layers, has_source, first_use, strict=True)
    ]


def _ordered(
    rows: list[list[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Rows in an order in which few lines cross: each by the mean place of its neighbours."""
    best, fewest = rows, _crossings(rows, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        rows = [list(row) for row in rows]
        down = sweep % 2 == 0
        neighbours = above if down else below
        numbers = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for number in numbers:
            beside = rows[number - 1 if down else number + 1]
            place = {node: index for index, node in enumerate(beside)}
            key = {
                node: sum(place[other] for other in neighbours[node]) / len(neighbours[node])
                if neighbours[node]
                else float(index)
                for index, node in enumerate(rows[number])
            }
            rows[number].sort(key=key.__getitem__)
        found = _crossings(rows, below)
        if found < fewest:
            best, fewest = rows, found
    return best


def _crossings(rows: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        place = {node: index for index, node in enumerate(lower)}
        seen: list[int] = []
        for node in upper:
            ends = [place[other] for other in below[node]]
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _horizontally(
    rows: Sequence[Sequence[int]],
    widths: Sequence[float],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    count: int,
    gap: float,
) -> list[float]:
    """Where each is as near to its neighbours' mean as its row permits; long lines are straight
    rather than short."""
    xs = [0.0] * len(widths)
    for row in rows:
        x = 0.0
        for node in row:
            xs[node] = x + widths[node] / 2
            x += widths[node] + gap
        for node in row:
            xs[node] -= (x - gap) / 2
    for sweep in range(PLACING_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            wanted, weights = [], []
            for node in row:
                near = above[node] if down else below[node]
                if sweep >= PLACING_SWEEPS - 4:
                    near = [*above[node], *below[node]]
                wanted.append(sum(xs[other] for other in near) / len(near) if near else xs[node])
                weights.append(1.0 if node < count else 4.0)
            apart = [(widths[a] + widths[b]) / 2 + gap for a, b in pairwise(row)]
            for node, x in zip(row, nearest(wanted, weights, apart), strict=True):
                xs[node] = x
    return xs


def nearest(
    wanted: Sequence[float], weights: Sequence[float], apart: Sequence[float]
) -> list[float]:
    """Numbers as near as possible to what is wanted, in squares by weight, of which each is at
    least so far above the one before: by merging neighbours that violate that (isotonic
    regression).

    >>> nearest([0.0, 0.0, 10.0], [1.0, 1.0, 1.0], [2.0, 2.0])
    [-1.0, 1.0, 10.0]
    """
    shifts = [0.0]
    for distance in apart:
        shifts.append(shifts[-1] + distance)
    groups: list[tuple[float, float, int]] = []  # mean, weight, members
    for value, weight, shift in zip(wanted, weights, shifts, strict=False):
        mean, total, members = value - shift, weight, 1
        while groups and groups[-1][0] > mean:
            other, heavy, size = groups.pop()
            mean = (mean * total + other * heavy) / (total + heavy)
            total, members = total + heavy, members + size
        groups.append((mean, total, members))
    means = [mean for mean, _, members in groups for _ in range(members)]
    return [mean + shift for mean, shift in zip(means, shifts, strict=False)]
