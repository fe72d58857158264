"""A group of nodes, written as loop nests."""

from __future__ import annotations

from tigon.base import InternalError
from tigon.lower.body import LoweredNest
from tigon.lower.border import lower_borders
from tigon.lower.check import lower_check
from tigon.lower.contraction import lower_contraction
from tigon.lower.control import lower_control
from tigon.lower.extern import lower_extern
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.join import lower_join
from tigon.lower.notice import lower_notice
from tigon.lower.rows import Rows
from tigon.lower.scan import lower_scan
from tigon.lower.scatter import lower_scatter


def lower_group(group: Group, fusion: Fusion) -> list[LoweredNest]:
    """The nests of one kernel; none if all its results are empty."""
    results = [value for node in group.members for value in node.outputs]
    if not any(value.type.size for value in results if value in fusion.stored):
        return []
    match group.kind:
        case "map":
            return [Rows(group, fusion).lower(), *lower_borders(group, fusion)]
        case "contract":
            return [lower_contraction(group, fusion), *lower_borders(group, fusion)]
        case "scan":
            return [lower_scan(group, fusion), *lower_borders(group, fusion)]
        case "join":
            return lower_join(group, fusion)
        case "scatter":
            return [lower_scatter(group, fusion)]
        case "check":
            return [lower_check(group, fusion)]
        case "notice":
            return [lower_notice(group, fusion)]
        case "extern":
            return [lower_extern(group)]
        case "control":
            return [lower_control(group, fusion)]
    raise InternalError(f"lower: unknown kind of group {group.kind}")
