"""Block lists against plain concatenation; memory budgets; what is freed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx.engine.blocks import BlockList
from longctx.engine.disk import DiskStore, States
from longctx.engine.memory import Memory, NoSpaceError
from longctx.engine.staging import Stager

BLOCK = 8
CPU = torch.device("cpu")
# Two heads, keys of 3 and values of 2, in float32.
BLOCK_BYTES = BLOCK * 2 * (3 + 2) * 4


def states(start: int, count: int, mark: float) -> States:
    """Keys and values that tell position and branch apart."""
    positions = torch.arange(start, start + count).float() + mark
    return positions[None, :, None].expand(2, -1, 3).clone(), -positions[None, :, None].expand(2, -1, 2).clone()


def empty_list(device: int = 2**30, host: int = 0, reach: int | None = None) -> tuple[BlockList, Memory, Stager]:
    memory, stager = Memory(CPU, device, host), Stager(CPU)
    return BlockList(memory, stager, BLOCK, reach), memory, stager


def content(blocks: BlockList, stager: Stager) -> tuple[int, torch.Tensor]:
    """Position of the first token that is there, and one number for each token."""
    views = blocks.views(blocks.length)
    for view, (keys, values) in zip(views, stager.stream(views), strict=True):
        assert keys.shape == (2, view.num_tokens, 3)
        assert torch.equal(keys[..., :2], -values)
        assert bool((keys == keys[:1, :, :1]).all())
    whole = [keys[0, :, 0].clone() for keys, _ in stager.stream(views)]
    return (views[0].start if views else blocks.length), torch.cat(whole) if whole else torch.zeros(0)


steps = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(["branch", "append", "crop"]), st.integers(1, 30)), max_size=25
)


@given(steps, st.sampled_from([None, 5, 20]), st.sampled_from([2**30, 3 * BLOCK_BYTES]))
def test_no_list_sees_another(todo: list[tuple[int, str, int]], reach: int | None, device: int) -> None:
    """Each step picks one of the living lists; it branches, goes on, or goes on and takes that back."""
    first, memory, stager = empty_list(device, 2**30, reach)
    alive: list[tuple[BlockList, torch.Tensor]] = [(first, torch.zeros(0))]
    for number, (pick, what, count) in enumerate(todo):
        blocks, history = alive[pick % len(alive)]
        if what == "branch":
            alive.append((blocks.branch(), history))
            continue
        new = states(len(history), count, number / 100)
        blocks.append(new)
        if what == "crop":
            blocks.crop(len(history))
        else:
            alive = [(b, torch.cat([h, new[0][0, :, 0]]) if b is blocks else h) for b, h in alive]
    for blocks, history in alive:
        start, found = content(blocks, stager)
        assert blocks.length == len(history)
        assert start == (0 if reach is None else max(0, len(history) - reach))
        assert torch.equal(found, history[start:])
    del first, blocks, alive
    assert memory.usage("device").now == memory.usage("host").now == 0


def test_the_first_of_two_branches_goes_on_in_place() -> None:
    blocks, memory, _ = empty_list()
    blocks.append(states(0, 12, 0.0))
    twin = blocks.branch()
    assert memory.usage("device").now == 2 * BLOCK_BYTES
    twin.append(states(12, 2, 0.5))
    assert memory.usage("device").now == 2 * BLOCK_BYTES
    blocks.append(states(12, 2, 0.25))
    assert memory.usage("device").now == 3 * BLOCK_BYTES


def test_tiers_fill_in_order_and_then_it_is_an_error() -> None:
    blocks, memory, stager = empty_list(2 * BLOCK_BYTES + 5, BLOCK_BYTES)
    blocks.append(states(0, 3 * BLOCK, 0.0))
    assert [view.block.tier for view in blocks.views(24)] == ["device", "device", "host"]
    with pytest.raises(NoSpaceError, match=f"device {2 * BLOCK_BYTES + 5:,}, host {BLOCK_BYTES:,}; no disk"):
        blocks.append(states(24, 1, 0.0))
    assert torch.equal(content(blocks, stager)[1], torch.arange(24.0))
    assert memory.usage("device").peak == 2 * BLOCK_BYTES


def test_a_buffer_may_be_given_back_while_another_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the garbage collector does it, which runs at any allocation."""
    memory, allocate = Memory(CPU, 1000), torch.empty
    taken = memory.take(400)
    assert taken is not None

    def collect_first(*sizes: Any, **options: Any) -> torch.Tensor:
        memory.give_back(*taken)
        return allocate(*sizes, **options)

    monkeypatch.setattr(torch, "empty", collect_first)
    assert memory.take(300) is not None
    assert memory.usage("device").now == 300


def test_a_given_back_buffer_is_used_again() -> None:
    memory = Memory(CPU, 1000)
    taken = memory.take(600)
    assert taken is not None
    assert memory.take(600) is None
    memory.give_back(*taken)
    again = memory.take(600)
    assert again is not None
    assert again[1].data_ptr() == taken[1].data_ptr()
    memory.give_back(*again)
    other = memory.take(900)  # of another size: what is kept would be over the budget together with it
    assert other is not None
    assert memory.usage("device").now == 900


@pytest.mark.parametrize("num_tokens", [8 * 1024, 256 * 1024])
def test_device_memory_does_not_grow_with_the_context(num_tokens: int) -> None:
    blocks, memory, _ = empty_list(3 * BLOCK_BYTES, 2**40)
    keys, values = torch.zeros(2, 1024, 3), torch.zeros(2, 1024, 2)
    for _ in range(0, num_tokens, 1024):
        blocks.append((keys, values))
    assert memory.usage("device").peak == 3 * BLOCK_BYTES
    assert memory.usage("host").peak == (num_tokens // BLOCK - 3) * BLOCK_BYTES


def test_local_layers_hold_no_more_than_they_see() -> None:
    blocks, memory, _ = empty_list(reach=10)
    for start in range(0, 400, 4):
        blocks.append(states(start, 4, 0.0))
    assert memory.usage("device").peak <= 3 * BLOCK_BYTES


def test_tokens_out_of_reach_may_be_skipped() -> None:
    blocks, _, stager = empty_list(reach=6)
    blocks.skip(11)
    blocks.append(states(11, 4, 0.0))
    start, found = content(blocks, stager)
    assert (start, found.tolist()) == (11, [11.0, 12.0, 13.0, 14.0])
    with pytest.raises(ValueError, match="sees every token"):
        empty_list()[0].skip(3)


def on_disk(store: DiskStore, blocks: BlockList, start: int, count: int, mark: float = 0.0) -> None:
    """Append to a list and write the same to a chunk file."""
    new = states(start, count, mark)
    blocks.append(new, on_disk=True)
    blocks.add_piece(store.write(f"{start}-{mark}", {0: new}), 0, count)


def test_blocks_on_disk_branch_and_copy_like_others(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, "a model")
    blocks, memory, stager = empty_list(device=0)
    for start in range(0, 20, 5):
        on_disk(store, blocks, start, 5)
    twin = blocks.branch()
    on_disk(store, blocks, 20, 7)
    on_disk(store, twin, 20, 9, 0.5)
    assert torch.equal(content(blocks, stager)[1], torch.arange(27.0))
    assert torch.equal(content(twin, stager)[1], torch.cat([torch.arange(20.0), torch.arange(20.0, 29.0) + 0.5]))
    assert memory.usage("device").peak == 0
    assert len(list(tmp_path.rglob("*.safetensors"))) == 6
    del blocks
    assert len(list(tmp_path.rglob("*.safetensors"))) == 5
    del twin
    assert not list(tmp_path.rglob("*.safetensors"))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(2, 3), st.sampled_from([0, BLOCK_BYTES]))
def test_dealt_blocks_come_back_from_the_disks_of_all_ranks(chunks: list[int], num_ranks: int, room: int) -> None:
    """Each rank writes what it holds; together they hold every token once, and read it as it was."""
    with TemporaryDirectory() as folder:
        parts = [dealt_over_disk(Path(folder), rank, num_ranks, chunks, room) for rank in range(num_ranks)]
    found = torch.cat(parts)
    assert torch.equal(found.sort().values, torch.arange(float(sum(chunks))))


def dealt_over_disk(folder: Path, rank: int, num_ranks: int, chunks: list[int], room: int) -> torch.Tensor:
    """The tokens that this rank holds after its chunks were written, and taken up by another run."""
    memory, stager = Memory(CPU, room), Stager(CPU)
    dealt = [memory if other == rank else memory.elsewhere() for other in range(num_ranks)]
    store = DiskStore(folder, f"rank {rank}")
    first, second = (BlockList(memory, stager, BLOCK, None, dealt) for _ in "12")
    for number, count in enumerate(chunks):
        new = states(first.length, count, 0.0)
        first.append(new, on_disk=True)
        chunk = store.write(str(number), {0: first.held(new)})
        first.add_piece(chunk, 0, count)
        second.append(second.unheld(chunk.read(0), count), on_disk=True)
        second.add_piece(chunk, 0, count)
        del chunk
        assert store.is_whole(str(number))
    expected = [position for position in range(first.length) if position // BLOCK % num_ranks == rank]
    for blocks in (first, second):
        tokens = [keys[0, :, 0].clone() for keys, _ in stager.stream(blocks.views(blocks.length))]
        assert torch.cat([torch.zeros(0), *tokens]).tolist() == expected
    return torch.tensor(expected, dtype=torch.float32)
