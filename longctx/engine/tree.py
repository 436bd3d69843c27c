"""Prompts arranged by their common prefixes.

A prompt is read in chunks that start at absolute multiples of the chunk size, then the rest of its
prefix (its stem), then its tail. Prompts share a whole chunk or nothing: so a chunk has the same
shape and the same past whoever asked for it first, and a reused prefix is bit-identical to a fresh one.

    root ── chunk ── chunk ─┬─ chunk ── branch: stem, prompts a b
                            ├─ branch: stem, prompts c d e      (one batch: same prefix)
                            └─ chunk ── ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from longctx.records import Prompt, TokenIds


@dataclass(slots=True, eq=False)
class Branch:
    """Prompts with the same whole prefix; they differ in their tails alone."""

    stem_ids: TokenIds
    """What of the prefix is left after its last whole chunk; may be empty."""
    prompts: list[Prompt] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Node:
    """A prefix of `stop` tokens, a multiple of the chunk size; `chunk_ids` are the last of them."""

    start: int
    chunk_ids: TokenIds
    name: str = ""
    """Hash of all tokens up to `stop`, as hexadecimal digits."""
    children: dict[bytes, Node] = field(default_factory=dict)
    branches: dict[bytes, Branch] = field(default_factory=dict)
    num_tokens_below: int = 0
    """Prefix tokens to compute at and below this node."""

    @property
    def stop(self) -> int:
        return self.start + len(self.chunk_ids)

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.children.values())

    def prompts(self) -> Iterator[Prompt]:
        """All prompts at and below this node."""
        for node in self.walk():
            for branch in node.branches.values():
                yield from branch.prompts


def build_tree(prompts: Sequence[Prompt], chunk: int) -> Node:
    """The root of the tree of `prompts`; `chunk` is in tokens."""
    root = Node(0, np.empty(0, dtype=np.int32))
    for prompt in prompts:
        ids = prompt.prefix_ids()
        node = root
        whole = len(ids) - len(ids) % chunk
        for start in range(0, whole, chunk):
            piece = ids[start : start + chunk]
            key = _key(piece)
            if key not in node.children:
                node.children[key] = Node(start, piece, hashlib.sha256(node.name.encode() + key).hexdigest()[:32])
            node = node.children[key]
        stem = ids[whole:]
        node.branches.setdefault(_key(stem), Branch(stem)).prompts.append(prompt)
    for node in reversed(list(root.walk())):  # children come before their parents
        below = sum(child.num_tokens_below for child in node.children.values())
        stems = sum(len(branch.stem_ids) for branch in node.branches.values())
        node.num_tokens_below = len(node.chunk_ids) + stems + below
    return root


def _key(ids: TokenIds) -> bytes:
    return hashlib.sha256(ids.tobytes()).digest()


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens that have to be computed for a tree: once for each node, stem and tail."""

    num_prefix_tokens: int
    num_tail_tokens: int
    spans: tuple[tuple[int, int], ...]
    """Every piece as (start, stop), for its FLOPs."""

    @property
    def num_tokens(self) -> int:
        return self.num_prefix_tokens + self.num_tail_tokens


def tree_work(root: Node) -> Work:
    """The prefill work of a tree, drafts not counted."""
    spans: list[tuple[int, int]] = []
    num_tail_tokens = 0
    for node in root.walk():
        spans.append((node.start, node.stop))
        for branch in node.branches.values():
            end = node.stop + len(branch.stem_ids)
            spans.append((node.stop, end))
            for prompt in branch.prompts:
                spans.append((end, prompt.num_tokens))
                num_tail_tokens += len(prompt.tail_ids)
    num_tokens = sum(stop - start for start, stop in spans)
    return Work(num_tokens - num_tail_tokens, num_tail_tokens, tuple(spans))
