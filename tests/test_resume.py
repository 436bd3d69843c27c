"""A run that was stopped goes on from the chunks on disk; full tiers give rows, not the end of the run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zoo
from streaming import MUCH, flash, make_tiers

from longctx.engine.cost import ModelShape
from longctx.engine.engine import Engine
from longctx.engine.kv import StreamedCache
from longctx.engine.selftest import stream
from longctx.engine.tiers import Tiers
from longctx.engine.tree import build_tree, tree_work
from longctx.records import Answer, Document, Prompt

CHUNK = 32
LENGTHS = (150, 300, 300, 460)


class Killed(BaseException):
    """What no code of ours catches."""


@pytest.fixture(scope="module", params=["llama", "gemma 3"])
def model(request: pytest.FixtureRequest) -> Any:
    made = zoo.make(request.param)
    stream(made)
    return made


def prompts() -> list[Prompt]:
    """Questions about two documents that begin alike, at several lengths."""
    rng = np.random.default_rng(0)
    made: list[Prompt] = []
    ids = rng.integers(3, zoo.VOCABULARY, 460).astype(np.int32)
    for name in ("a", "b"):
        document = Document(name, ids.copy())
        for length in LENGTHS:
            tail = rng.integers(3, zoo.VOCABULARY, 6).astype(np.int32)
            made.append(Prompt(f"{name}{len(made)}", document.token_ids[:3], document, length, tail, 5, r"(?!)"))
        ids[200:] = rng.integers(3, zoo.VOCABULARY, 260)
    return made


def make_engine(model: Any, tiers: Tiers) -> Engine:
    shape = ModelShape.from_config(model.config)
    return Engine(model, lambda ids: " ".join(map(str, ids)), shape, CHUNK, tiers)


def texts(answers: list[Answer]) -> dict[str, str]:
    assert all(answer.status == "ok" for answer in answers)
    return {answer.prompt_id: answer.text for answer in answers}


def stop_after(monkeypatch: pytest.MonkeyPatch, num_chunks: int) -> None:
    """Let saving a chunk fail as a killed process does."""
    save, done = StreamedCache.save, []

    def killing(self: StreamedCache, name: str) -> None:
        save(self, name)
        done.append(name)
        if len(done) == num_chunks:
            raise Killed

    monkeypatch.setattr(StreamedCache, "save", killing)


@pytest.mark.parametrize("num_chunks", [1, 5, 9, 14])
def test_a_stopped_run_goes_on_from_its_last_whole_chunk(
    model: Any, num_chunks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the prompts that have no answer yet, as a sweep does."""
    wanted = texts(list(make_engine(model, make_tiers(flash(model))).answers(prompts(), {})))
    done: list[Answer] = []
    with monkeypatch.context() as patch:
        stop_after(patch, num_chunks)
        first = make_tiers(flash(model), 20_000, 0, tmp_path)
        with pytest.raises(Killed):
            done.extend(make_engine(model, first).answers(prompts(), {}))
    left = [prompt for prompt in prompts() if prompt.id not in {answer.prompt_id for answer in done}]
    tree = build_tree(left, CHUNK)
    kept = [node.name for node in tree.walk() if list(tmp_path.rglob(f"{node.name}.kv.safetensors")) and node.name]
    assert len(kept) == num_chunks
    tiers = make_tiers(flash(model), 20_000, 0, tmp_path)
    answers = list(make_engine(model, tiers).answers(left, {}))
    assert texts(done) | texts(answers) == wanted
    num_prefilled = sum(answer.num_prefilled_prefix_tokens for answer in answers)
    assert num_prefilled == tree_work(tree).num_prefix_tokens - num_chunks * CHUNK
    assert tiers.disk is not None
    tiers.disk.close()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_damaged_chunk_is_read_again(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = texts(list(make_engine(model, make_tiers(flash(model))).answers(prompts(), {})))
    for damaged in (0, 3):
        with monkeypatch.context() as patch:
            stop_after(patch, 6)
            tiers = make_tiers(flash(model), 0, 0, tmp_path)
            with pytest.raises(Killed):
                list(make_engine(model, tiers).answers(prompts(), {}))
        files = sorted(tmp_path.rglob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
        data = bytearray(files[damaged].read_bytes())
        data[-1] ^= 1
        files[damaged].write_bytes(data)
        tiers = make_tiers(flash(model), 0, 0, tmp_path)
        answers = list(make_engine(model, tiers).answers(prompts(), {}))
        assert texts(answers) == wanted
        whole = tree_work(build_tree(prompts(), CHUNK)).num_prefix_tokens
        assert sum(answer.num_prefilled_prefix_tokens for answer in answers) > whole - 6 * CHUNK
        assert not list(tmp_path.rglob("*.safetensors"))


def test_lost_windows_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the local layers see there is no going on, though all else is there."""
    model = zoo.make("gemma 3")
    stream(model)
    wanted = texts(list(make_engine(model, make_tiers(flash(model))).answers(prompts(), {})))
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Killed):
            list(make_engine(model, make_tiers(flash(model), 0, 0, tmp_path)).answers(prompts(), {}))
    local = list(tmp_path.rglob("*.local.kv.safetensors"))
    assert 2 <= len(local) < 8  # those out of reach are gone
    local[0].unlink()
    answers = list(make_engine(model, make_tiers(flash(model), 0, 0, tmp_path)).answers(prompts(), {}))
    assert texts(answers) == wanted
    whole = tree_work(build_tree(prompts(), CHUNK)).num_prefix_tokens
    assert sum(answer.num_prefilled_prefix_tokens for answer in answers) == whole


@pytest.fixture(scope="module")
def llama() -> Any:
    made = zoo.make("llama")
    stream(made)
    return made


# Keys and values of 16 tokens in the four layers: two heads of 8 numbers of 8 bytes each, twice.
BLOCKS_BYTES = 4 * 16 * 2 * 8 * 8 * 2


def statuses(answers: list[Answer]) -> dict[int, set[str]]:
    """Statuses by length."""
    found: dict[int, set[str]] = {}
    for prompt, length in zip(prompts(), LENGTHS * 2, strict=True):
        (answer,) = (answer for answer in answers if answer.prompt_id == prompt.id)
        found.setdefault(length, set()).add(answer.status)
    return found


def test_full_memory_without_a_disk_fails_what_does_not_fit(llama: Any) -> None:
    """And nothing stays in the store."""
    tiers = make_tiers(flash(llama), 8 * BLOCKS_BYTES, 6 * BLOCKS_BYTES)
    answers = list(make_engine(llama, tiers).answers(prompts(), {}))
    assert statuses(answers) == {150: {"ok"}, 300: {"no_space"}, 460: {"no_space"}}
    assert all("fit in no tier" in str(answer.error) for answer in answers if answer.status == "no_space")
    assert tiers.memory.usage("device").now == tiers.memory.usage("host").now == 0


def test_a_full_disk_fails_what_does_not_fit(llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(folder: Path) -> SimpleNamespace:
        taken = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
        return SimpleNamespace(free=(64 << 20) + 14 * BLOCKS_BYTES - taken)

    monkeypatch.setattr("longctx.engine.disk.shutil.disk_usage", usage)
    tiers = make_tiers(flash(llama), 0, 0, tmp_path)
    answers = list(make_engine(llama, tiers).answers(prompts(), {}))
    assert statuses(answers) == {150: {"ok"}, 300: {"no_space"}, 460: {"no_space"}}
    assert all("bytes free" in str(answer.error) for answer in answers if answer.status == "no_space")
    assert not list(tmp_path.rglob("*.safetensors"))


class TooLarge:
    """A model that runs out of memory on more than a number of tokens at a time."""

    def __init__(self, model: Any, most: int) -> None:
        self._model, self._most = model, most
        self.config, self.generation_config, self.device = model.config, model.generation_config, model.device
        self.reads: list[int] = []

    def __call__(self, **arguments: Any) -> Any:
        self.reads.append(arguments["input_ids"].shape[1])
        arguments.pop("last_layer", None)  # or the model would be left before its end
        result = self._model(**arguments)  # the cache has taken the tokens in before memory runs out
        if self.reads[-1] > self._most:
            raise RuntimeError("CUDA out of memory")
        return result


@pytest.mark.parametrize(("most", "expected"), [(16, "ok"), (15, "oom")])
def test_a_chunk_too_large_for_memory_is_halved_once(model: Any, most: int, expected: str) -> None:
    few = [prompt for prompt in prompts() if prompt.num_prefix_tokens % CHUNK < 16]  # stems are read in one piece
    wanted = {a.prompt_id: a.text for a in make_engine(model, make_tiers(flash(model))).answers(few, {})}
    tiers = make_tiers(flash(model), MUCH)
    small = TooLarge(model, most)
    answers = list(make_engine(small, tiers).answers(few, {}))
    assert {answer.status for answer in answers} == {expected}
    if expected == "ok":
        assert {answer.prompt_id: answer.text for answer in answers} == wanted
    assert tiers.memory.usage("device").now == 0
