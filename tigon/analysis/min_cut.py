"""The cheapest set of values that separates what is given from what is needed.

Maximum flow by shortest augmenting paths (E. A. Dinic, 1970); its dual is the minimum cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence

INFINITE = float("inf")


def cheapest_cut(
    cost: Mapping[Hashable, float],
    operands: Mapping[Hashable, Sequence[Hashable]],
    given: Sequence[Hashable],
    needed: Sequence[Hashable],
) -> set[Hashable]:
    """Items to keep so that all `needed` follow from kept ones without going back to `given`.

    An item follows from all its `operands`; keeping it costs `cost` (INFINITE: never keep it).
    Items in `given` cannot be made again: they must be kept, or something made from them. Among
    equally cheap answers the one nearest to what is needed is taken.

    >>> sorted(cheapest_cut({"x": 8, "y": 4, "z": 9}, {"y": ["x"], "z": ["y"]}, ["x"], ["z"]))
    ['y']
    """
    network = _Network()
    for item, price in cost.items():
        network.edge(("in", item), ("out", item), price)
        for operand in operands.get(item, ()):
            network.edge(("out", operand), ("in", item), INFINITE)
    for item in given:
        network.edge("source", ("in", item), INFINITE)
    for item in needed:
        network.edge(("out", item), "sink", INFINITE)
    network.saturate("source", "sink")
    behind = network.reaching("sink")
    return {item for item in cost if ("in", item) not in behind and ("out", item) in behind}


class _Network:
    """Residual capacities as adjacency lists; edge i and i ^ 1 are each other's reverse."""

    def __init__(self) -> None:
        self.target: list[int] = []
        self.capacity: list[float] = []
        self.edges: list[list[int]] = []
        self.number: dict[Hashable, int] = {}

    def node(self, name: Hashable) -> int:
        found = self.number.setdefault(name, len(self.edges))
        if found == len(self.edges):
            self.edges.append([])
        return found

    def edge(self, start: Hashable, end: Hashable, capacity: float) -> None:
        a, b = self.node(start), self.node(end)
        self.edges[a].append(len(self.target))
        self.target.append(b)
        self.capacity.append(capacity)
        self.edges[b].append(len(self.target))
        self.target.append(a)
        self.capacity.append(0.0)

    def saturate(self, source: Hashable, sink: Hashable) -> None:
        start, end = self.node(source), self.node(sink)
        while (level := self._levels(start, end)) is not None:
            position = [0] * len(self.edges)
            while self._augment(start, end, level, position):
                pass

    def _levels(self, start: int, end: int) -> list[int] | None:
        level = [-1] * len(self.edges)
        level[start] = 0
        queue = deque([start])
        while queue:
            node = queue.popleft()
            for edge in self.edges[node]:
                if self.capacity[edge] > 0 and level[self.target[edge]] < 0:
                    level[self.target[edge]] = level[node] + 1
                    queue.append(self.target[edge])
        return level if level[end] >= 0 else None

    def _augment(self, start: int, end: int, level: list[int], position: list[int]) -> bool:
        """One path along rising levels; dead ends are not entered twice."""
        path: list[int] = []
        node = start
        while node != end:
            while position[node] < len(self.edges[node]):
                edge = self.edges[node][position[node]]
                if self.capacity[edge] > 0 and level[self.target[edge]] == level[node] + 1:
                    break
                position[node] += 1
            if position[node] < len(self.edges[node]):
                path.append(self.edges[node][position[node]])
                node = self.target[path[-1]]
            elif path:
                node = self.target[path.pop() ^ 1]
                position[node] += 1
            else:
                return False
        flow = min(self.capacity[edge] for edge in path)
        if flow == INFINITE:
            return False  # something needed can neither be kept nor made: the caller's error
        for edge in path:
            self.capacity[edge] -= flow
            self.capacity[edge ^ 1] += flow
        return True

    def reaching(self, sink: Hashable) -> set[Hashable]:
        """Names of the nodes from which the sink can still be reached."""
        end = self.node(sink)
        seen = {end}
        queue = deque([end])
        while queue:
            node = queue.popleft()
            for edge in self.edges[node]:
                other = self.target[edge]
                if other not in seen and self.capacity[edge ^ 1] > 0:
                    seen.add(other)
                    queue.append(other)
        names = {number: name for name, number in self.number.items()}
        return {names[node] for node in seen}
