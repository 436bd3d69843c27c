"""Walks in a graph that is given as a long list of edges.

After OpenAI's GraphWalks (2025): the parents of a node, or a breadth-first search. Nodes have names like hashes.

    Text: ... Edge 5c1e09aa -> 90b2d7. ... Edge 5c1e09aa -> e07f3b5614. ...
    Question: Which nodes are exactly 1 step away from node 5c1e09aa? ...
    Answer:                             target: Final Answer: [90b2d7, e07f3b5614]

`op=parents` asks for all nodes with an edge to the named node. `op=bfs` asks for the nodes whose shortest path from the
named node, along the edges' direction, has exactly `steps` edges; so a node that is met again later does not count
again. The needles hold traps too: edges in the other direction, edges back to a node that was met, and edges
that lead one step too far. One edge that the answer needs stands at the cell's depth, the others anywhere.

Known traps: GraphWalks draws one random graph, in which paths run through everything; here the filler's edges are
those of another graph, so the walk never has to leave the needles. Its scorer reads the last line only, so an answer
that says anything after its list gets 0; blank lines at the end do not count here. F1 gives credit for guessing many
nodes; the strict score does not.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import ClassVar

from longctx.errors import ConfigError
from longctx.haystack.edges import draw_node, edge
from longctx.records import Item, Needle, Score
from longctx.scoring import is_slip
from longctx.tasks.base import Measures, NeedleTask

_MAX_ANSWER_NODES = 32
# Of `Final Answer: [...]`, and of one node with its comma, by any tokenizer.
_FRAME_TOKENS, _NODE_TOKENS = 16, 22
_OPS = ("bfs", "parents")
Edge = tuple[str, str]


@dataclass(frozen=True)
class GraphWalk(NeedleTask):
    """`op`: bfs or parents; `steps`: how far bfs walks; `degree`: edges out of each node (bfs) or into it (parents)."""

    name: ClassVar[str] = "graph_walk"
    measures: ClassVar[Measures] = "reasons"
    filler: ClassVar[str] = "edges"
    instruction: ClassVar[str] = (
        "The text below lists the edges of a directed graph: 'Edge a -> b.' leads from node a to node b. Answer the "
        "question about it. The last line of your answer must have the form Final Answer: [node, node]"
    )
    stop: ClassVar[str] = r"(?m)^\s*Final Answer: ?\[[0-9a-f, ]*\]"

    max_new_tokens: int = 128
    op: str = "bfs"
    steps: int = 2
    degree: int = 2

    def __post_init__(self) -> None:
        if self.op not in _OPS:
            raise ConfigError(f"{self.name}: op is {self.op!r}; it must be one of {', '.join(_OPS)}.")
        for option, most in (("steps", 4), ("degree", 8)):
            value = getattr(self, option)
            if not 1 <= value <= most:
                raise ConfigError(f"{self.name}: {option} is {value}; it must be 1 to {most}.")
        count = self.num_answer_nodes
        if count > _MAX_ANSWER_NODES:
            raise ConfigError(
                f"{self.name}: steps is {self.steps} and degree is {self.degree}, which asks for {count} nodes; "
                f"it must be at most {_MAX_ANSWER_NODES}."
            )
        least = _FRAME_TOKENS + _NODE_TOKENS * count
        if self.max_new_tokens < least:
            raise ConfigError(
                f"{self.name}: max_new_tokens is {self.max_new_tokens}; {count} nodes need at least {least}."
            )

    @property
    def num_answer_nodes(self) -> int:
        return self.degree if self.op == "parents" else self.degree**self.steps

    def item(self, rng: random.Random, depth: float) -> Item:
        draw = self._parents if self.op == "parents" else self._walk
        start, needed, traps = draw(_Nodes(rng))
        rng.shuffle(needed)
        told = [(depth, needed[0]), *((rng.random(), pair) for pair in needed[1:] + traps)]
        if self.op == "parents":
            asked = f"Which nodes have an edge that leads to node {start}?"
            reached = {pair[0] for pair in needed}
        else:
            far = "1 step" if self.steps == 1 else f"{self.steps} steps"
            asked = (
                f"Which nodes are exactly {far} away from node {start}? "
                "A node's distance is the smallest number of edges that lead to it, each followed from a to b only."
            )
            inner = {pair[0] for pair in needed}
            reached = {pair[1] for pair in needed if pair[1] not in inner}
        # The answer's nodes in the order in which a reader meets them.
        place = 0 if self.op == "parents" else 1
        nodes = [pair[place] for _, pair in sorted(told) if pair in needed and pair[place] in reached]
        return Item(
            needles=tuple(Needle(edge(*pair), where) for where, pair in told),
            question=f"{asked} List each node once. End with the line Final Answer: [node, node]",
            answer_prefix="",
            targets=(f"Final Answer: [{', '.join(nodes)}]",),
            support=tuple(range(len(needed))),
            kind=self.op,
            hops=1 if self.op == "parents" else self.steps,
        )

    def _parents(self, nodes: _Nodes) -> tuple[str, list[Edge], list[Edge]]:
        child = nodes()
        parents = [nodes() for _ in range(self.degree)]
        traps = [(child, nodes()), (nodes(), parents[0]), (parents[-1], nodes())]
        return child, [(parent, child) for parent in parents], traps

    def _walk(self, nodes: _Nodes) -> tuple[str, list[Edge], list[Edge]]:
        """A tree, so that every node has one distance, with edges that change none of them."""
        start = nodes()
        levels, needed = [[start]], []
        for _ in range(self.steps):
            grown = [(parent, nodes()) for parent in levels[-1] for _ in range(self.degree)]
            needed += grown
            levels.append([child for _, child in grown])
        traps = [(nodes(), start), (levels[-1][0], nodes()), (levels[-1][-1], start)]
        if self.steps > 1:
            traps += [(levels[-2][0], start), (levels[-1][-1], levels[1][0])]
        return start, needed, traps

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        """GraphWalks' rule: F1 of the nodes in the list on the last line, 0 without one. Strict: exactly the nodes."""
        (target,) = targets
        wanted = _listed_nodes(target)
        found = _listed_nodes(answer)
        hits = len(found & wanted)
        value = 2 * hits / (len(found) + len(wanted))
        exact = found == wanted
        near = not exact and is_slip(answer.strip(), target)
        return Score(value, near_miss=near, strict=float(exact))


class _Nodes:
    """Calls give different nodes."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._drawn: set[str] = set()

    def __call__(self) -> str:
        while (node := draw_node(self._rng, reserved=True)) in self._drawn:
            pass
        self._drawn.add(node)
        return node


def _listed_nodes(text: str) -> set[str]:
    lines = text.strip().splitlines()
    match = re.search(r"Final Answer: ?\[(.*)\]", lines[-1]) if lines else None
    return {node for part in match[1].split(",") if (node := part.strip())} if match else set()
