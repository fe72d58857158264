"""Puts nodes into groups.

Nodes are visited in order; each joins the group of a producer when it reads that producer in step
(same element, or same row), and when no path leads out of the group and back into it. Producers
read out of step are expanded in place where that is cheap, else stored.
"""

from __future__ import annotations

from collections.abc import Iterable

from tigon.analysis.views import far_readers, is_computed
from tigon.base.extents import estimate, same, same_shape
from tigon.base.recursion import descend
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.loop import build as L
from tigon.loop.grammar import Axis
from tigon.loop.simplify import affine
from tigon.lower.elements import Coords, linear, squeezed
from tigon.lower.fuse.group import CLOSED, EPILOGUES, Fusion, Group, outer_part, same_rows
from tigon.lower.fuse.order import (
    absorb,
    in_order,
    independent,
    may_come_before,
    nothing_between,
    put_before,
)
from tigon.lower.fuse.reads import NodeReads, Read, Reader, node_domain, reduced_axes, size_of
from tigon.ops.record import POINTWISE, READS_MEMORY, Family

CHEAP = 4
"""Operations per element that are rather repeated than stored and loaded again."""

SMALL = 4
"""What is so many times smaller than an array stays near while that is read."""

ROW_EXPANSION = 200
"""Operations expanded into a broadcasting reader: they are hoisted to the loop they vary with."""

REPEATED = 32
"""Operations of a group's own members that one more member may compute again at other places. Each
level of a butterfly doubles what the level before it repeats."""

LARGEST_GROUP = 96
"""Members of a group: bounds the size of one native function and the depth of its expressions."""


def _is_moved(read: Read, node: Node, own: NodeReads) -> bool:
    """Whether a copy reads each element once at most, in the order in which they lie."""
    size, points = estimate(size_of(read.value.shape)), estimate(read.loops.points)
    innermost = read.loops.innermost
    is_copy = node.op.family in POINTWISE and not own.cost
    if not is_copy or points > size or not isinstance(innermost, Axis):
        return False
    form = affine(linear(read.coords, read.value.shape, own.ranges), {innermost.name})
    return form is not None and form[0].get(innermost.name) == L.const(1)


def _before_views(value: Value) -> Value:
    while value.node.op is not VARIABLE and value.node.op is not CONSTANT:
        if value.node.op.family is not Family.VIEW:
            break
        value = value.node.inputs[0]
    return value


class _Fuser:
    def __init__(self, graph: Graph, enabled: bool) -> None:
        self.graph = graph
        self.enabled = enabled
        self.groups: dict[Group, None] = {}  # those that did not become a part of another
        self.made = 0
        self.order = {node: position for position, node in enumerate(graph.nodes)}
        self.home: dict[Node, Group] = {}
        self.stored: set[Value] = set(graph.outputs)
        self.needs: dict[Node, list[Value]] = {}  # what a node loads from other groups
        self.users = graph.users
        self.far = far_readers(graph)
        self._costs: dict[Node, int] = {}
        self._reader = Reader()

    def run(self) -> Fusion:
        for node in self.graph.nodes:
            if is_computed(node):
                self._place(node)
        groups = in_order([*self.groups])
        stored = self._settle_memory(groups)
        return Fusion(
            [group for group in groups if group.members], stored, self.home, self._reader.kinds
        )

    # -- one node

    def _place(self, node: Node) -> None:
        domain, reads = node_domain(node), self._reader.of(node)
        joined = self._join(node, domain, reads) if self.enabled else None
        if joined is None:
            self._settle(node, self._new_group(node, domain), reads)

    def _join(self, node: Node, domain: tuple[int, ...], own: NodeReads) -> Group | None:
        """Try the groups of the producers that are read in step."""
        tried: set[Group] = set()
        # Contractions and groups with reductions first: they absorb the others, not the reverse.
        for read in sorted(own.reads, key=self._absorbable):
            group = self._joinable(read)
            if group is None or group in tried or not self._fits(node, domain, group):
                continue
            tried.add(group)
            row = self._level(node, domain, group)
            if row is None:
                continue
            # A row may also pick single elements of full members: they are computed again.
            picks = row and group.axes is not None
            if not picks and not self._in_step(read, node, group, own, row):
                continue
            merging = self._mergeable(group, own, node, row)
            plan = self._reads_within(own, node, group, merging, row)
            if plan is None:
                continue
            expanded, needed = plan
            one = {group, *merging}
            blockers = {self.home[value.node] for value in needed} - one
            if any(may_come_before(part, other) for part in one for other in blockers):
                continue
            for other in merging:
                self._merge(group, other)
            self._add(node, group, row, expanded, needed)
            return group
        return None

    def _mergeable(self, group: Group, own: NodeReads, node: Node, row: bool) -> list[Group]:
        """Other producers' groups, read in step too, that can become one with `group`."""
        chosen: list[Group] = []
        for other in dict.fromkeys(map(self._joinable, own.reads)):
            if other is None or other is group or not self._can_merge(group, other):
                continue
            size = sum(len(part.members) for part in (group, *chosen, other))
            if (
                size < LARGEST_GROUP
                and all(independent(other, part) for part in chosen)
                and all(
                    self._in_step(read, node, other, own, row)
                    for read in own.reads
                    if self.home.get(read.value.node) is other
                )
            ):
                chosen.append(other)
        return chosen

    def _joinable(self, read: Read) -> Group | None:
        """The group that what reads this may become part of."""
        node = read.value.node
        return None if node.op.apart else self.home.get(node)

    def _fits(self, node: Node, domain: tuple[int, ...], group: Group) -> bool:
        if len(group.members) >= LARGEST_GROUP or group.kind in CLOSED:
            return False
        family = node.op.family
        if group.kind in EPILOGUES:
            return family in POINTWISE
        if family is Family.REDUCTION:
            axes = reduced_axes(node)
            if group.axes is None:
                return same_shape(squeezed(group.shape), squeezed(domain)) and not group.rows
            return same_rows(group, domain, axes)
        return family in POINTWISE

    def _level(self, node: Node, domain: tuple[int, ...], group: Group) -> bool | None:
        """True: a row member; False: a full one; None: neither."""
        if node.op.family is Family.REDUCTION:
            return True
        if group.axes is None:
            return False if same(size_of(domain), size_of(group.shape)) else None
        if same_shape(squeezed(domain), squeezed(group.shape)):
            return False
        return True if same_shape(squeezed(domain), squeezed(group.outer_shape)) else None

    def _in_step(self, read: Read, node: Node, group: Group, own: NodeReads, row: bool) -> bool:
        """Whether the read element lies at the same point (or row) of the group's domain."""
        producer_row = read.value.node in group.rows
        domain = node_domain(node)
        if node.op.family is Family.REDUCTION and producer_row:
            return False
        if producer_row and not row:
            kept = outer_part(own.coords, domain, group)
            return kept is not None and own.place(read) == linear(kept[0], kept[1], own.ranges)
        if row and not producer_row and node.op.family is not Family.REDUCTION:
            return False
        return own.place(read) == own.position

    def _reads_within(
        self,
        own: NodeReads,
        node: Node,
        group: Group,
        merging: list[Group],
        row: bool,
    ) -> tuple[set[Node], list[Value]] | None:
        """What joining the group means for the node's reads: which nodes are expanded here and
        which values are loaded. None: some member of the group is read out of step, and that
        cannot be helped or costs too much."""
        expanded: set[Node] = set()
        needed: list[Value] = []
        repeated = 0
        pending = list(own.reads)
        seen: set[tuple[Value, Coords]] = set()
        while pending:
            read = pending.pop()
            if (read.value, read.coords) in seen:
                continue
            seen.add((read.value, read.coords))
            producer = read.value.node
            home = self.home.get(producer)
            if home is None:
                continue
            if home is group or home in merging:
                if self._in_step(read, node, home, own, row):
                    continue
                repeated += max(1, self._reader.of(producer).cost)
                picked = estimate(read.loops.points) < estimate(size_of(read.value.shape))
                if (
                    producer.op.family not in POINTWISE
                    or producer in self.far
                    or producer.op.has_memory
                    or group.kind in EPILOGUES
                    or repeated > (ROW_EXPANSION if picked else REPEATED)
                ):
                    return None
                pending.extend(self._reader.instead_of(read, own))
            elif self._expand_cheaply(read, node):
                expanded.add(producer)
                pending.extend(self._reader.instead_of(read, own))
            else:
                needed.append(read.value)
        return expanded, needed

    def _settle(self, node: Node, group: Group, own: NodeReads) -> None:
        """A node alone: decide what it expands and what it loads."""
        expanded: set[Node] = set()
        needed: list[Value] = []
        pending = list(own.reads)
        while pending:
            read = pending.pop()
            producer = read.value.node
            if producer not in self.home:
                continue
            # What a scan reads once, nothing computes again; nor what is only moved.
            is_once = node.op.family is Family.SCAN or _is_moved(read, node, own)
            limit = ROW_EXPANSION if is_once else CHEAP
            in_memory = node.op.family in READS_MEMORY
            if self.enabled and not in_memory and self._expand_cheaply(read, node, limit):
                expanded.add(producer)
                pending.extend(self._reader.instead_of(read, own))
            else:
                needed.append(read.value)
        self._add(node, group, node.op.family is Family.REDUCTION, expanded, needed)

    def _expand_cheaply(self, read: Read, reader: Node, limit: int = CHEAP) -> bool:
        producer = read.value.node
        if producer.op.family not in POINTWISE or self.home[producer].kind != "map":
            return False
        if producer in self.far or producer.op.has_memory:
            return False
        cost = self._pure_cost(producer)
        size, points = estimate(size_of(read.value.shape)), estimate(read.loops.points)
        if size < points and all(isinstance(c, Axis) or not c.operands for c in read.coords):
            if read.loops.innermost in read.coords:  # no loop is inside of it
                cost *= points // max(size, 1)
            return cost <= ROW_EXPANSION and read.value not in self.stored
        if cost > limit or read.value in self.stored:
            return False
        if self._has_one_reader(read.value):
            return True
        is_again = reader.op.family in (*POINTWISE, Family.REDUCTION) and points <= size
        return is_again and cost <= CHEAP and self._reads_one(producer)

    def _reads_one(self, producer: Node) -> bool:
        """Whether it reads one array of its size, which is written anyway, and small ones beside
        it: whoever computes it then reads as much as who reads what was written, and nobody writes
        it."""
        size = estimate(size_of(producer.outputs[0].shape))
        arrays = [_before_views(value) for value in producer.inputs]
        large = [array for array in arrays if SMALL * estimate(size_of(array.shape)) > size]
        return len(large) == 1 and self.home.get(large[0].node) is not self.home[producer]

    def _has_one_reader(self, value: Value) -> bool:
        """A view that several nodes read hands the value to each of them."""
        while True:
            users = self.users.get(value, ())
            if len(users) != 1:
                return False
            (user,) = users
            if user.op.family is not Family.VIEW:
                return True
            value = user.outputs[0]

    def _pure_cost(self, node: Node) -> int:
        """Cost of an elementwise node down to memory and to what is stored anyway."""
        found = self._costs.get(node)
        return descend(self._costs, node, self._find_pure_cost) if found is None else found

    def _find_pure_cost(self, node: Node) -> int:
        own = self._reader.of(node)
        producers = [read.value.node for read in own.reads]
        return own.cost + sum(
            self._pure_cost(producer)
            for producer in producers
            if producer in self.home
            and producer.op.family in POINTWISE
            and not producer.op.has_memory
        )

    # -- groups

    def _new_group(self, node: Node, domain: tuple[int, ...]) -> Group:
        kind = {
            Family.CONTRACTION: "contract",
            Family.SCAN: "scan",
            Family.JOIN: "join",
            Family.SCATTER: "scatter",
            Family.CHECK: "check",
            Family.NOTICE: "notice",
            Family.EXTERN: "extern",
            Family.CONTROL: "control",
        }.get(node.op.family, "map")
        group = Group(kind, self.made, domain)
        self.made += 1
        self.groups[group] = None
        return group

    def _add(
        self, node: Node, group: Group, row: bool, expanded: set[Node], needed: list[Value]
    ) -> None:
        if node.op.family is Family.REDUCTION and group.axes is None:
            group.shape, group.axes = node_domain(node), reduced_axes(node)
        group.members.append(node)
        self.home[node] = group
        if row:
            group.rows.add(node)
        group.expanded |= expanded
        self.stored.update(needed)
        put_before((self.home[value.node] for value in needed), group)

    def _absorbable(self, read: Read) -> bool:
        group = self.home.get(read.value.node)
        return group is None or (group.kind == "map" and group.axes is None)

    def _can_merge(self, group: Group, other: Group) -> bool:
        """Another producer's group may become part of this one."""
        if other.kind != "map" or len(group.members) + len(other.members) > LARGEST_GROUP:
            return False
        if not same_shape(squeezed(group.shape), squeezed(other.shape)):
            return False
        if other.axes is not None:
            return (
                group.axes is not None
                and same_rows(group, other.shape, other.axes)
                and nothing_between(group, other)
                and self._reads_in_step(group, other)
                and self._reads_in_step(other, group)
            )
        return independent(group, other)

    def _reads_in_step(self, later: Group, earlier: Group) -> bool:
        """What members of the one read of the other lies at their own point, or in their row."""
        if not may_come_before(earlier, later):
            return True
        for node in later.members:
            own = self._reader.of(node)
            pending = list(own.reads)
            while pending:
                read = pending.pop()
                producer = read.value.node
                if producer in later.expanded:
                    pending.extend(self._reader.instead_of(read, own))
                elif self.home.get(producer) is earlier and not self._in_step(
                    read, node, earlier, own, node in later.rows
                ):
                    return False
        return True

    def _merge(self, group: Group, other: Group) -> None:
        group.members = sorted(group.members + other.members, key=self.order.__getitem__)
        group.rows |= other.rows
        group.expanded |= other.expanded
        del self.groups[other]
        for node in other.members:
            self.home[node] = group
        absorb(group, other)
        other.members = []

    # -- afterwards

    def _settle_memory(self, groups: list[Group]) -> set[Value]:
        """The values that need memory: outputs and what one group loads from another. Members that
        nobody wants any more, because every reader expands them, are dropped."""
        stored = {value for value in self.graph.outputs if is_computed(value.node)}
        for group in reversed(groups):
            wanted: set[Node] = set()
            for node in reversed(group.members):
                if node in wanted or any(value in stored for value in node.outputs):
                    wanted.add(node)
                    for value in self._read_by(node, group):
                        if self.home[value.node] is group:
                            wanted.add(value.node)
                        else:
                            stored.add(value)
            group.members = [node for node in group.members if node in wanted]
        return stored

    def _read_by(self, node: Node, group: Group) -> Iterable[Value]:
        """Members and other groups' values that `node` reads, through views and expansions."""
        stack = list(node.inputs)
        seen: set[Value] = set()
        while stack:
            value = stack.pop()
            if value in seen or value.node.op is VARIABLE or value.node.op is CONSTANT:
                continue
            seen.add(value)
            if not is_computed(value.node) or value.node in group.expanded:
                stack.extend(value.node.inputs)
            else:
                yield value


def fuse(graph: Graph, enabled: bool = True) -> Fusion:
    """Group a typed graph of primitives into kernels. With `enabled=False` each node is alone."""
    return _Fuser(graph, enabled).run()
