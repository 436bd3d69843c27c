"""Every task, end to end: built in exact lengths, answered by a script and by a tiny model, scored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import byte_level, tiny_llama, wrap
from streaming import flash

from longctx.backends.scripted import ScriptedBackend
from longctx.config import SweepConfig
from longctx.documents.tokenizer import HubTokenizer
from longctx.engine.cost import ModelShape
from longctx.engine.engine import Engine
from longctx.engine.selftest import stream
from longctx.engine.tiers import Tiers
from longctx.records import Prompt, Row, Sample
from longctx.samples import make_samples
from longctx.store import RunFolder, read_rows
from longctx.sweep.run import run_samples
from longctx.tasks import parse_task, task_classes

NAMES = [name for name in task_classes() if name != "file"]
# Long enough for the longest question and room, in the tests' small vocabulary.
LENGTH = 8192
WRONG = "no such thing 1234567 zzz"
RAMBLING = "Well, that is a good question. Let me think about it at some length before I say anything. " * 3


@pytest.fixture(scope="module")
def tokenizer() -> HubTokenizer:
    return HubTokenizer(wrap(byte_level()))


@pytest.fixture(scope="module")
def built(tokenizer: HubTokenizer) -> dict[str, list[Sample]]:
    made: dict[str, list[Sample]] = {}
    return made


def samples_of(name: str, tokenizer: HubTokenizer, built: dict[str, list[Sample]]) -> list[Sample]:
    if name not in built:
        config = SweepConfig(task=(name,), lengths=(LENGTH,), depths=(0.0, 0.6), trials=1)
        built[name] = make_samples(config, tokenizer)
    return built[name]


def run(samples: list[Sample], path: Path, answers: dict[str, str]) -> list[Row]:
    backend = ScriptedBackend(lambda prompt: answers[prompt.id])
    config = SweepConfig(task=tuple({sample.cell.task for sample in samples}), lengths=(LENGTH,))
    with RunFolder(path, {"config": config.to_json(), "model": {}}, {}) as folder:
        run_samples(samples, config, LENGTH, backend, folder, lambda row: None, lambda flops: None)
    return read_rows(path)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_fill_their_length_and_their_text_is_their_tokens(
    name: str, tokenizer: HubTokenizer, built: dict[str, list[Sample]]
) -> None:
    for sample in samples_of(name, tokenizer, built):
        prompt = sample.prompt
        assert tokenizer.encode(prompt.text()).token_ids.tolist() == prompt.token_ids().tolist()
        if sample.control is None:
            assert prompt.num_tokens + prompt.max_new_tokens == LENGTH
            assert all(0 <= place < prompt.num_tokens for place in sample.support_positions)
        else:
            assert prompt.num_tokens < LENGTH


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_is_right_and_others_are_not(
    name: str, tokenizer: HubTokenizer, built: dict[str, list[Sample]], tmp_path: Path
) -> None:
    samples = samples_of(name, tokenizer, built)
    perfect = {sample.id: " " + " ".join(sample.targets) for sample in samples}
    for row in run(samples, tmp_path / "perfect", perfect):
        assert row.score == 1.0, (row.targets, row.answer)
    for kind, text in {"empty": "", "wrong": WRONG, "rambling": RAMBLING}.items():
        for row in run(samples, tmp_path / kind, {sample.id: text for sample in samples}):
            assert row.score is not None
            assert row.score < 0.5, (kind, row.targets)
            assert not row.strict_score


@pytest.mark.parametrize("name", NAMES)
def test_the_stop_pattern_does_not_cut_a_right_answer(
    name: str, tokenizer: HubTokenizer, built: dict[str, list[Sample]]
) -> None:
    """The pattern is looked for after every token: what it would leave must score as the whole does."""
    task = parse_task(name)
    for sample in samples_of(name, tokenizer, built):
        whole = " " + " ".join(sample.targets)
        for end in range(1, len(whole) + 1):
            if re.search(sample.prompt.stop, whole[:end]):
                assert task.judge(whole[:end], sample).value == 1.0, (sample.prompt.stop, whole[:end])
                break


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_model_answers_something(name: str, tokenizer: HubTokenizer) -> None:
    model: Any = tiny_llama(700, window=LENGTH, layers=1)
    stream(model)
    length = {"repeated_words": 512, "cwe": LENGTH}.get(name, LENGTH // 2)  # half of the first is decoded
    config = SweepConfig(task=(name,), lengths=(length,), depths=(0.5,), trials=1)
    samples = make_samples(config, tokenizer)
    tiers = Tiers.in_memory(torch.device("cpu"), 1 << 30, 512, flash(model))
    engine = Engine(model, tokenizer.decode, ModelShape.from_config(model.config), 512, tiers)
    prompts: list[Prompt] = [sample.prompt for sample in samples]
    answers = list(engine.answers(prompts, {sample.id: sample.draft_ids for sample in samples}))
    assert [answer.status for answer in answers] == ["ok"] * len(samples)
    by_id = {sample.id: sample for sample in samples}
    for answer in answers:
        sample = by_id[answer.prompt_id]
        assert 0.0 <= parse_task(name).judge(answer.text, sample).value <= 1.0
        assert answer.num_completion_tokens <= sample.prompt.max_new_tokens
