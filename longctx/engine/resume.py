"""Which chunks of a prompt tree a killed run has left on disk, whole and sufficient to go on from."""

from __future__ import annotations

from collections.abc import Iterator

from longctx.engine.disk import DiskStore
from longctx.engine.ranks import ALONE, Ranks
from longctx.engine.tree import Node


def chunks_on_disk(root: Node, disk: DiskStore, reach: int, ranks: Ranks = ALONE) -> frozenset[str]:
    """Names of the chunks that need not be computed again: each with all before it, on every rank.

    Local layers see `reach` tokens back, and what they hold is deleted once it is further behind; so there must be
    enough of it where reading goes on. If anything is missing all is deleted and read again.
    """
    found = ranks.common(_whole_chunks(root, disk))
    if not ranks.all(all(disk.is_whole(name + ".local") for name in _needed_windows(root, found, reach))):
        disk.clear()
        return frozenset()
    return found


def _whole_chunks(root: Node, disk: DiskStore) -> Iterator[str]:
    """Names of the chunks that are whole, with all before them."""
    waiting = [root]
    while waiting:
        children = [child for child in waiting.pop().children.values() if disk.is_whole(child.name)]
        yield from (child.name for child in children)
        waiting.extend(children)


def _needed_windows(root: Node, found: frozenset[str], reach: int) -> Iterator[str]:
    """Names of the chunks that local layers see where reading goes on after those that were found."""
    waiting: list[tuple[Node, list[Node]]] = [(root, [])]
    while waiting:
        node, near = waiting.pop()
        children = [child for child in node.children.values() if child.name in found]
        if node.branches or len(children) < len(node.children):
            yield from (chunk.name for chunk in near)
        for child in children:
            waiting.append((child, [chunk for chunk in (*near, child) if chunk.stop > child.stop - reach]))
