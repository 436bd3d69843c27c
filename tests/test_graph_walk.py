from __future__ import annotations

import random
import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.haystack.edges import draw_node, edges
from longctx.records import Item
from longctx.tasks.graph_walk import GraphWalk

EDGE = re.compile(r"Edge ([0-9a-f]{6,20}) -> ([0-9a-f]{6,20})\.")
FILLER = list(islice(edges(11), 3000))


def read(texts: list[str]) -> list[tuple[str, str]]:
    matches = [EDGE.fullmatch(text) for text in texts]
    return [(match[1], match[2]) for match in matches if match] if all(matches) else []


def worked_out(item: Item, texts: list[str]) -> set[str]:
    """What the question asks for, from the edges' text: by distances, not by how the task made them."""
    pairs = read(texts)
    assert len(pairs) == len(texts)
    if asked := re.match(r"Which nodes have an edge that leads to node ([0-9a-f]{6,20})\?", item.question):
        return {a for a, b in pairs if b == asked[1]}
    asked = re.match(r"Which nodes are exactly (\d) steps? away from node ([0-9a-f]{6,20})\?", item.question)
    assert asked
    distance = {asked[2]: 0}
    for _ in pairs:  # Bellman and Ford
        changed = False
        for a, b in pairs:
            if a in distance and distance[a] + 1 < distance.get(b, 10**9):
                distance[b], changed = distance[a] + 1, True
        if not changed:
            break
    return {node for node, steps in distance.items() if steps == int(asked[1])}


def listed(target: str) -> list[str]:
    match = re.fullmatch(r"Final Answer: \[([0-9a-f, ]+)\]", target)
    assert match
    return match[1].split(", ")


SPECS = [("bfs", 1, 8), ("bfs", 2, 2), ("bfs", 3, 3), ("bfs", 4, 1), ("parents", 1, 1), ("parents", 2, 8)]


@given(st.sampled_from(SPECS), st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 1.0]))
def test_the_target_follows_from_the_edges_with_and_without_filler(
    spec: tuple[str, int, int], seed: int, depth: float
) -> None:
    op, steps, degree = spec
    task = GraphWalk(op=op, steps=steps, degree=degree, max_new_tokens=999)
    item = task.item(random.Random(seed), depth)
    texts = [needle.text for needle in item.needles]
    nodes = listed(item.targets[0])
    assert len(nodes) == len(set(nodes)) == task.num_answer_nodes
    assert set(nodes) == worked_out(item, texts) == worked_out(item, texts + FILLER[:300])
    assert set(nodes) == worked_out(item, [texts[place] for place in item.support])
    assert len(set(texts)) == len(texts) > len(item.support)
    assert item.needles[item.support[0]].depth == depth
    for place in item.support:  # none of them can be spared
        assert worked_out(item, texts[:place] + texts[place + 1 :]) != set(nodes)
    assert item == task.item(random.Random(seed), depth)
    assert task.score(item.targets[0], item.targets).strict == 1.0


def test_nodes_of_the_answer_stand_in_the_order_of_the_text() -> None:
    for seed in range(100):
        item = GraphWalk(op="parents", degree=5, max_new_tokens=128).item(random.Random(seed), 0.5)
        starts = [read([needle.text])[0] for needle in sorted(item.needles, key=lambda needle: needle.depth)]
        target = listed(item.targets[0])
        assert [start for start, end in starts if start in target and end in item.question] == target


def test_filler_and_items_have_no_node_in_common() -> None:
    def is_odd(node: str) -> bool:
        return sum(int(digit, 16) for digit in node) % 2 == 1

    assert not any(is_odd(node) for pair in read(FILLER) for node in pair)
    for seed in range(300):
        item = GraphWalk(degree=2).item(random.Random(seed), 0.5)
        assert all(is_odd(node) for pair in read([needle.text for needle in item.needles]) for node in pair)
    rng = random.Random(0)
    drawn = [draw_node(rng, reserved=True) for _ in range(2000)]
    assert all(is_odd(node) for node in drawn)
    assert len({node[-1] for node in drawn}) == len({node[0] for node in drawn}) == 16


def test_filler_is_a_seeded_graph_that_repeats_no_edge() -> None:
    pairs = read(FILLER)
    assert len(set(pairs)) == len(pairs) == len(FILLER)
    assert list(islice(edges(11), 50)) == FILLER[:50]
    assert not set(islice(edges(12), 500)) & set(FILLER)
    nodes = {node for pair in pairs for node in pair}
    assert 1.5 < 2 * len(pairs) / len(nodes) < 4  # as many edges at a node as in the needles
    assert all(a != b for a, b in pairs)
    sizes = {len(text) for text in FILLER}
    assert sizes == set(range(min(sizes), max(sizes) + 1))
    assert max(len(a + b) for a, b in pairs) >= 2 * min(len(a + b) for a, b in pairs)


TARGET = "Final Answer: [aaaaaaa1, bbbbbbb2]"


@pytest.mark.parametrize(
    ("answer", "value", "strict"),
    [
        (TARGET, 1.0, 1.0),
        (f" {TARGET}\n", 1.0, 1.0),
        ("From the edges I see two.\nFinal Answer: [bbbbbbb2, aaaaaaa1]", 1.0, 1.0),
        ("Final Answer:[bbbbbbb2,aaaaaaa1, bbbbbbb2].", 1.0, 1.0),
        ("Final Answer: [aaaaaaa1]", 2 / 3, 0.0),
        ("Final Answer: [aaaaaaa1, bbbbbbb2, ccccccc3, ddddddd4]", 2 / 3, 0.0),
        ("Final Answer: [ccccccc3]", 0.0, 0.0),
        ("Final Answer: []", 0.0, 0.0),
        ("Final Answer: [aaaaaaa1, bbbbbbb2", 0.0, 0.0),
        ("aaaaaaa1, bbbbbbb2", 0.0, 0.0),
        (f"{TARGET}\nI hope that helps.", 0.0, 0.0),  # not on the last line
        ("", 0.0, 0.0),
        ("the nodes are many " * 30, 0.0, 0.0),
    ],
)
def test_scores(answer: str, value: float, strict: float) -> None:
    score = GraphWalk().score(answer, (TARGET,))
    assert score.value == pytest.approx(value)
    assert score.strict == strict


def test_a_slip_is_a_near_miss() -> None:
    assert GraphWalk().score(TARGET.replace("a1", "a7"), (TARGET,)).near_miss
    assert not GraphWalk().score(TARGET, (TARGET,)).near_miss
    assert not GraphWalk().score("", (TARGET,)).near_miss


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (TARGET, True),
        (f"Two nodes.\n {TARGET}", True),
        ("The line must read Final Answer: [node, node].", False),
        ("I will end with Final Answer: [aaaaaaa1] or so", False),
        (TARGET[:-1], False),
    ],
)
def test_an_answer_ends_with_its_list(answer: str, ends: bool) -> None:
    assert bool(re.search(GraphWalk.stop, answer)) == ends


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"op": "dfs"}, "op is 'dfs'; it must be one of bfs, parents"),
        ({"steps": 0}, "steps is 0; it must be 1 to 4"),
        ({"degree": 9}, "degree is 9; it must be 1 to 8"),
        ({"steps": 4, "degree": 8}, "asks for 4096 nodes; it must be at most 32"),
        ({"degree": 4}, "max_new_tokens is 128; 16 nodes need at least 368"),
    ],
)
def test_illegal_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        GraphWalk(**options)  # type: ignore[arg-type]
