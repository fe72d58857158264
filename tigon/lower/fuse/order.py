"""Which groups run before which.

Groups are asked about in pairs, while they grow. To know all that come before each would take room
and time for every pair; instead each knows its neighbours, and a level above those of all before
it. What lies between two groups is searched from both, between their levels, and not far: who finds
no answer among so many groups does without fusing over that distance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tigon.base import InternalError
from tigon.lower.fuse.group import Group

FARTHEST = 256
"""Groups searched for a way from one to another. Neighbours in a network are a few apart; a value
that is read again so much later has left the caches."""


def may_come_before(first: Group, second: Group) -> bool:
    """False where `first` surely need not run before `second`; exact but for `FARTHEST`."""
    if first.level >= second.level:
        return False
    later, earlier = {first}, {second}  # than the first, than the second
    up, down = [first], [second]
    while up and down:
        if len(later) + len(earlier) > FARTHEST:
            return True
        if len(later) <= len(earlier):
            for group in up.pop().after:
                if group in earlier:
                    return True
                if group.level < second.level and group not in later:
                    later.add(group)
                    up.append(group)
        else:
            for group in down.pop().before:
                if group in later:
                    return True
                if group.level > first.level and group not in earlier:
                    earlier.add(group)
                    down.append(group)
    return False


def independent(a: Group, b: Group) -> bool:
    return not may_come_before(a, b) and not may_come_before(b, a)


def nothing_between(a: Group, b: Group) -> bool:
    """No third group reads from one and is read by the other: it could run neither before nor
    after the two as one."""
    return not any(
        other is not first and may_come_before(first, other)
        for first, last in ((a, b), (b, a))
        for other in last.before
    )


def put_before(earlier: Iterable[Group], group: Group) -> None:
    """`group` runs after these."""
    for other in earlier:
        if other is not group and other not in group.before:
            group.before[other] = None
            other.after[group] = None
    _raise_above(group)


def absorb(group: Group, other: Group) -> None:
    """`other` becomes a part of `group`."""
    for before in other.before:
        before.after.pop(other)
        if before is not group:
            before.after[group] = None
            group.before[before] = None
    for after in other.after:
        after.before.pop(other)
        if after is not group:
            after.before[group] = None
            group.after[after] = None
    group.level = max(group.level, other.level)
    other.before, other.after = {}, {}
    _raise_above(group)


def _raise_above(group: Group) -> None:
    """Levels grow from each group to those after it."""
    group.level = max(group.level, 1 + max((other.level for other in group.before), default=-1))
    waiting = [group]
    for low in waiting:  # which grows
        if low is not group and group in low.after:
            raise InternalError("fuse: groups wait for each other")
        for other in low.after:
            if other.level <= low.level:
                other.level = low.level + 1
                waiting.append(other)


def in_order(groups: Sequence[Group]) -> list[Group]:
    """Groups after those before them, in turns: in each turn all come, in the given order, that
    wait for none but those that have come."""
    place = {group: number for number, group in enumerate(groups)}
    missing = {group: len(group.before) for group in groups}
    turn = dict.fromkeys(groups, 0)
    ready = [group for group in groups if not missing[group]]
    for group in ready:  # which grows
        for other in group.after:
            turn[other] = max(turn[other], turn[group] + (place[group] > place[other]))
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    if len(ready) < len(groups):
        raise InternalError("fuse: groups wait for each other")
    return sorted(groups, key=lambda group: (turn[group], place[group]))
