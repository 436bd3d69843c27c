from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longctx.engine.tree import Node, build_tree, tree_work
from longctx.records import Document, Prompt, TokenIds


def prompt(name: str, prefix: list[int], tail: list[int]) -> Prompt:
    ids = np.array(prefix, dtype=np.int32)
    return Prompt(name, ids[:1], Document(name, ids[1:]), len(prefix) - 1, np.array(tail, dtype=np.int32), 4, "x")


# Prefixes of few values and shared beginnings, so that trees really branch.
prefixes = st.lists(st.integers(0, 1), min_size=1, max_size=30)
prompts_of = st.lists(st.tuples(prefixes, st.lists(st.integers(0, 9), min_size=1, max_size=4)), min_size=1, max_size=12)


def paths(node: Node, before: tuple[int, ...] = ()) -> dict[str, TokenIds]:
    """Prompt id -> the prefix that the tree gives it."""
    here = (*before, *node.chunk_ids.tolist())
    found = {}
    for branch in node.branches.values():
        for one in branch.prompts:
            found[one.id] = np.array([*here, *branch.stem_ids.tolist()], dtype=np.int32)
    for child in node.children.values():
        found |= paths(child, here)
    return found


@given(prompts_of, st.integers(1, 8))
def test_every_prompt_finds_its_own_prefix(raw: list[tuple[list[int], list[int]]], chunk: int) -> None:
    prompts = [prompt(str(i), *one) for i, one in enumerate(raw)]
    found = paths(build_tree(prompts, chunk))
    assert found.keys() == {one.id for one in prompts}
    for one in prompts:
        assert np.array_equal(found[one.id], one.prefix_ids())


@given(prompts_of, st.integers(1, 8))
def test_chunks_start_at_absolute_multiples_and_stand_once(raw: list[tuple[list[int], list[int]]], chunk: int) -> None:
    prompts = [prompt(str(i), *one) for i, one in enumerate(raw)]
    root = build_tree(prompts, chunk)
    for node in root.walk():
        assert node.start % chunk == 0
        assert node is root or len(node.chunk_ids) == chunk
        assert all(len(branch.stem_ids) < chunk for branch in node.branches.values())
    wanted = {tuple(p.prefix_ids()[:stop]) for p in prompts for stop in range(chunk, p.num_prefix_tokens + 1, chunk)}
    assert sum(node is not root for node in root.walk()) == len(wanted)


@given(prompts_of, st.integers(1, 8))
def test_work_counts_every_token_once(raw: list[tuple[list[int], list[int]]], chunk: int) -> None:
    prompts = [prompt(str(i), *one) for i, one in enumerate(raw)]
    root = build_tree(prompts, chunk)
    work = tree_work(root)
    whole = {tuple(p.prefix_ids()[:stop]) for p in prompts for stop in range(chunk, p.num_prefix_tokens + 1, chunk)}
    stems = {tuple(p.prefix_ids()) for p in prompts}
    assert work.num_prefix_tokens == len(whole) * chunk + sum(len(stem) % chunk for stem in stems)
    assert work.num_tail_tokens == sum(len(p.tail_ids) for p in prompts)
    assert root.num_tokens_below == work.num_prefix_tokens
    assert sum(stop - start for start, stop in work.spans) == work.num_tokens
    assert [one.id for one in sorted(root.prompts(), key=lambda one: int(one.id))] == [one.id for one in prompts]


def test_prompts_with_one_prefix_share_a_branch() -> None:
    prompts = [prompt(str(i), [1, 2, 3, 4, 5], [i]) for i in range(3)]
    node = next(iter(build_tree(prompts, 4).children.values()))
    (branch,) = node.branches.values()
    assert branch.stem_ids.tolist() == [5]
    assert branch.prompts == prompts
