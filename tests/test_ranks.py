"""Two processes that hold one model together, over gloo, against one: the same logits, rows and failures."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
import zoo
from click.testing import CliRunner
from streaming import BLOCK, MUCH, ask, flash, greedy, read
from test_resume import CHUNK, Killed, prompts, stop_after, texts
from test_shard import without_times
from torch.multiprocessing.spawn import start_processes
from transformers import AutoConfig, AutoModelForCausalLM

from longctx.cli import main
from longctx.config import Layout
from longctx.engine.cost import ModelShape
from longctx.engine.disk import DiskChunk, DiskStore
from longctx.engine.engine import Engine
from longctx.engine.kv import StreamedCache
from longctx.engine.layout import find_holders, splits_heads, tensor_parallel
from longctx.engine.memory import NoSpaceError
from longctx.engine.partial import reference_attention
from longctx.engine.ranks import ALONE, Ranks, join_ranks
from longctx.engine.selftest import self_test, stream
from longctx.engine.tiers import Holders, Tiers
from longctx.engine.tree import build_tree, tree_work
from longctx.errors import ConfigError, RankError
from longctx.records import Answer, Status
from longctx.store import read_manifest, read_rows

CPU = torch.device("cpu")
# In an even vocabulary: transformers 5.17 splits no other.
EVEN: dict[str, Any] = {"vocab_size": 102}
ONE_HEAD: dict[str, Any] = {**EVEN, "num_key_value_heads": 1}
SPLIT: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", EVEN),
    "gemma 3": ("gemma 3", EVEN),
}
DEALT: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, one head": ("llama", ONE_HEAD),
    "llama 4, one head": ("llama 4", ONE_HEAD),
    "phi 3": ("phi 3", EVEN),
    "deepseek v3": ("deepseek v3", EVEN),
    "gpt-oss": ("gpt-oss", {}),
    "gpt-2": ("gpt-2", {}),
}
ALL = SPLIT | DEALT
ON_DISK = ("llama", "llama, one head", "gemma 3")


class Found(NamedTuple):
    """What a process computed with one model."""

    logits: torch.Tensor
    used_bytes: int
    deals_blocks: bool


def prompt(seed: int, num_tokens: int) -> torch.Tensor:
    return torch.randint(3, zoo.VOCABULARY, (num_tokens,), generator=torch.Generator().manual_seed(seed))


def compute(model: Any, holders: Holders) -> Found:
    """A document, greedy steps after it, and rows of questions over it and a stem."""
    tiers = Tiers.over(holders, {CPU: MUCH}, 0, BLOCK, flash(model))
    cache = StreamedCache(model.config, tiers)
    logits = greedy(model, read(model, prompt(0, 150), cache, 40), cache, 3)
    stem = cache.ask()
    ask(model, [prompt(1, 9).tolist()], stem)
    logits += ask(model, [prompt(seed, 3 * seed).tolist() for seed in range(1, 4)], stem.ask(3))
    return Found(torch.stack(logits), tiers.memory.usage("device").now, bool(tiers.dealt))


def answers(
    model: Any, holders: Holders, num_bytes: int, block_tokens: int = BLOCK, disk: DiskStore | None = None
) -> list[Answer]:
    """Of an engine whose keys and values have so much room in memory."""
    tiers = Tiers.over(holders, {CPU: num_bytes}, 0, block_tokens, flash(model), disk)
    engine = Engine(model, lambda ids: " ".join(map(str, ids)), ModelShape.from_config(model.config), CHUNK, tiers)
    return list(engine.answers(prompts(), {}))


def answers_with_little_room(folder: Path, ranks: Ranks) -> list[tuple[str, str, str]]:
    """Id, status and text of every prompt, where keys and values of the longest do not fit."""
    room = 250 * 4 * 2 * 8 * 8 // ranks.count  # tokens x layers x (key, value) x dim x bytes, with one head
    found = answers(*load(folder, ranks), room)
    return sorted((answer.prompt_id, answer.status, answer.text) for answer in found)


def load(folder: Path, ranks: Ranks) -> tuple[Any, Holders]:
    config = AutoConfig.from_pretrained(folder)
    spread = {} if ranks.count == 1 else tensor_parallel(config, ranks)
    own = {"dtype": torch.float64, "attn_implementation": "eager", "experts_implementation": "eager"}
    model = AutoModelForCausalLM.from_pretrained(folder, **own, **spread).eval()
    holders = find_holders(model, ranks)
    self_test(model, flash(model), holders)
    stream(model)
    return model, holders


class Resumed(NamedTuple):
    """What an engine with its keys and values on disk answered, where it was stopped, and where the disk was full."""

    statuses_when_full: list[tuple[str, Status]]
    texts: dict[str, str]
    num_prefilled: int


def with_disk(folder: Path, name: str, ranks: Ranks) -> Resumed:
    """A run that finds rank 0's disk full, one that is killed when rank 1 lacks its last chunk, and what goes on."""
    model, holders = load(folder / name, ranks)

    def store() -> DiskStore:
        return DiskStore(folder / "disk" / name, f"rank {ranks.index} of {ranks.count}")

    def run() -> list[Answer]:
        """With memory for some blocks, of which every second has a border within a chunk."""
        disk = store()
        found = answers(model, holders, 20_000, 48, disk)
        disk.close()
        return found

    with pytest.MonkeyPatch.context() as patch:
        if ranks.index == 0:
            write = DiskStore.write

            def full(self: DiskStore, name: str, layers: Any) -> DiskChunk:
                if self.num_bytes_written > 60_000:
                    raise NoSpaceError("full")
                return write(self, name, layers)

            patch.setattr(DiskStore, "write", full)
        statuses = sorted((answer.prompt_id, answer.status) for answer in run())
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 6)
        with pytest.raises(Killed):
            run()
    if ranks.index == 1:
        max(store().path("").parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns).unlink()
    resumed = run()
    num_prefilled = sum(answer.num_prefilled_prefix_tokens for answer in resumed)
    return Resumed(statuses, texts(resumed), num_prefilled)


def failing(folder: Path, ranks: Ranks) -> str:
    """What is said where the model raises what only one process may have met."""
    model, holders = load(folder, ranks)
    tiers = Tiers.over(holders, {CPU: MUCH}, 0, BLOCK, flash(model))
    engine = Engine(model, str, ModelShape.from_config(model.config), 32, tiers)

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    model.get_input_embeddings().register_forward_pre_hook(fail)
    with pytest.raises(RankError) as error:
        list(engine.answers(prompts(), {}))
    return str(error.value)


def work(rank: int, folder: Path, model_folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    store, patience = f"file://{folder / 'store'}", timedelta(minutes=5)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)
    ranks = join_ranks("cpu")
    torch.save({name: compute(*load(folder / name, ranks)) for name in ALL}, folder / f"found-{rank}.pt")
    little = answers_with_little_room(folder / "llama, one head", ranks)
    said = failing(folder / "llama", ranks)
    torch.save((little, said), folder / f"engine-{rank}.pt")
    torch.save({name: with_disk(folder, name, ranks) for name in ON_DISK}, folder / f"disk-{rank}.pt")
    sweep(model_folder, folder / "run", "--parallel", "tensor")


def sweep(model_folder: Path, out: Path, *arguments: str) -> str:
    grid = ["--lengths", "300,600", "--depths", "2", "--trials", "1", "--device", "cpu", "--no-controls"]
    called = ["sweep", "--model", str(model_folder), *grid, "--out", str(out), *arguments]
    result = CliRunner().invoke(main, called, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A folder with what two processes left there."""
    folder = tmp_path_factory.mktemp("two")
    for name, (kind, changes) in ALL.items():
        zoo.make(kind, **changes).save_pretrained(folder / name)
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload(["test_ranks"])  # imports once for both
    start_processes(work, (folder, model_folder), nprocs=2, start_method="forkserver")  # type: ignore[no-untyped-call]
    return folder


@pytest.mark.parametrize("name", ALL)
def test_two_processes_compute_what_one_does(two: Path, name: str) -> None:
    first, second = (torch.load(two / f"found-{rank}.pt", weights_only=False)[name] for rank in range(2))
    alone = compute(*load(two / name, ALONE))
    assert (first.logits - alone.logits).abs().max() < 1e-9 * max(1.0, float(alone.logits.abs().max()))
    assert torch.equal(first.logits, second.logits)  # or the two would part
    assert first.deals_blocks == (name in DEALT)
    if name in SPLIT:
        assert first.used_bytes == second.used_bytes == alone.used_bytes // 2
    elif name in ("llama, one head", "phi 3", "deepseek v3", "gpt-2"):  # all layers see everything
        assert first.used_bytes + second.used_bytes == alone.used_bytes
        assert 0 < second.used_bytes <= first.used_bytes < alone.used_bytes


def test_all_ranks_find_alike_that_there_is_no_room(two: Path) -> None:
    first, second = (torch.load(two / f"engine-{rank}.pt", weights_only=False) for rank in range(2))
    assert first[0] == second[0]
    alone = answers_with_little_room(two / "llama, one head", ALONE)
    statuses = {status for _, status, _ in first[0]}
    assert statuses == {"ok", "no_space"}
    right = {prompt_id: text for prompt_id, status, text in alone if status == "ok"}
    assert all(right.get(prompt_id, text) == text for prompt_id, status, text in first[0] if status == "ok")
    for rank, (_, said) in enumerate((first, second)):
        assert f"Rank {rank} of 2 failed (OutOfMemoryError: out of memory)" in said


@pytest.mark.parametrize("name", ON_DISK)
def test_ranks_agree_on_what_their_disks_hold(two: Path, name: str) -> None:
    """What one rank lacks is read again by both; where one disk is full, both say so."""
    first, second = (torch.load(two / f"disk-{rank}.pt", weights_only=False)[name] for rank in range(2))
    assert first == second
    assert {status for _, status in first.statuses_when_full} == {"ok", "no_space"}
    assert first.texts == texts(answers(*load(two / name, ALONE), MUCH))
    whole = tree_work(build_tree(prompts(), CHUNK)).num_prefix_tokens
    assert first.num_prefilled in ((whole, whole - 5 * CHUNK) if name == "gemma 3" else (whole - 5 * CHUNK,))
    assert not list((two / "disk").rglob("*.safetensors"))


def test_a_sweep_of_two_ranks_writes_the_rows_of_one_process(two: Path, model_folder: Path, tmp_path: Path) -> None:
    sweep(model_folder, tmp_path)
    assert {path.name for path in (two / "run").glob("*.jsonl")} == {"rows.jsonl"}
    together, alone = without_times(read_rows(two / "run")), without_times(read_rows(tmp_path))
    assert len((two / "run" / "rows.jsonl").read_text().splitlines()) == len(alone)  # by one rank only
    assert {key: (row.answer, row.score) for key, row in together.items()} == {
        key: (row.answer, row.score) for key, row in alone.items()
    }
    manifest = read_manifest(two / "run")
    assert manifest["model"]["parallel"] == "tensor over 2 ranks, heads split"
    assert len(manifest["starts"]) == 1
    assert manifest["starts"][0]["layout"] == {"device_map": None, "parallel": "tensor", "ranks": 2}


def test_a_dry_run_of_two_ranks_is_told_once_and_knows_of_both(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longctx.engine.speed.prefill_rate", lambda dtype, device: 1e9)
    arguments = ["--parallel", "tensor", "--dry-run"]
    assert "time at 1 GFLOP/s" in sweep(model_folder, tmp_path, *arguments)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert "time at 2 GFLOP/s" in sweep(model_folder, tmp_path, *arguments)
    monkeypatch.setenv("RANK", "1")
    assert sweep(model_folder, tmp_path, *arguments) == ""


def test_heads_are_split_only_where_that_gives_each_rank_whole_ones() -> None:
    for name, (kind, changes) in ALL.items():
        assert splits_heads(zoo.make(kind, **changes).config, Ranks(0, 2)) == (name in SPLIT)
    assert not splits_heads(zoo.make("llama").config, Ranks(0, 3))


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What all_gather gives, in place of a second process."""
    messages: list[torch.Tensor] = []

    def gather(found: list[torch.Tensor], message: torch.Tensor) -> None:
        for target, other in zip(found, [message, *messages], strict=True):
            target.copy_(other)

    monkeypatch.setattr(dist, "all_gather", gather)
    return messages


def test_parts_of_ranks_merge_to_one_softmax(gathered: list[torch.Tensor]) -> None:
    query, key, value = (torch.randn(1, 4, count, 8, dtype=torch.float64) for count in (5, 60, 60))
    mine = reference_attention(query, key[:, :, :20], value[:, :, :20], 0.3)
    theirs = reference_attention(query, key[:, :, 20:], value[:, :, 20:], 0.3)
    gathered.append(torch.cat([theirs.out, theirs.lse.unsqueeze(-1)], -1))
    wanted = reference_attention(query, key, value, 0.3)
    found = Ranks(0, 2).merged(mine)
    torch.testing.assert_close(found.out, wanted.out)
    torch.testing.assert_close(found.lse, wanted.lse)
    gathered[0][..., -1], gathered[0][..., :-1] = float("-inf"), 0.0  # a rank that holds nothing yet
    torch.testing.assert_close(Ranks(0, 2).merged(mine).out, mine.out)


def test_what_cannot_be_combined_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs several processes"):
        join_ranks("cpu", {})
    with pytest.raises(ConfigError, match="not cuda:7; leave --device out"):
        join_ranks("cuda:7", {"WORLD_SIZE": "2", "LOCAL_RANK": "1"})
    with pytest.raises(ConfigError, match="cannot be combined"):
        Layout("auto", "tensor")
    with pytest.raises(ConfigError, match="Unknown parallel 'pipeline'"):
        Layout(parallel="pipeline")
    with pytest.raises(ConfigError, match="Unknown device map 'all'"):
        Layout(device_map="all")
