"""Which chunks of a prompt tree a killed run has left on disk, whole and sufficient to go on from."""

from __future__ import annotations

from longctx.engine.disk import DiskStore
from longctx.engine.tree import Node


def chunks_on_disk(root: Node, disk: DiskStore, reach: int) -> frozenset[str]:
    """Names of the chunks that need not be computed again: each with all before it.

    Local layers see `reach` tokens back, and what they hold is deleted once it is further behind; so there must be
    enough of it where reading goes on. If anything is missing all is deleted and read again.
    """
    found: set[str] = set()
    waiting: list[tuple[Node, list[Node]]] = [(root, [])]
    while waiting:
        node, near = waiting.pop()
        children = [child for child in node.children.values() if disk.is_whole(child.name)]
        found.update(child.name for child in children)
        goes_on_here = bool(node.branches) or len(children) < len(node.children)
        if goes_on_here and not all(disk.is_whole(chunk.name + ".local") for chunk in near):
            disk.clear()
            return frozenset()
        for child in children:
            waiting.append((child, [chunk for chunk in (*near, child) if chunk.stop > child.stop - reach]))
    return frozenset(found)
