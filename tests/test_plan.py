from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from longctx.config import SweepConfig
from longctx.engine.loading import ModelCard, read_card
from longctx.engine.sources import find_source
from longctx.errors import ConfigError
from longctx.samples import make_samples
from longctx.sweep.plan import Cost, choose_chunk, default_lengths, make_plan, resolve


@pytest.fixture(scope="module")
def card(model_folder: Path) -> ModelCard:
    return read_card(find_source(str(model_folder)))


SMALL = SweepConfig(model="x", lengths=(512, 1024), depths=(0.0, 0.5, 1.0), trials=2, device="cpu", controls=False)


def test_the_default_lengths_reach_the_window_and_one_past_it(card: ModelCard) -> None:
    assert default_lengths(8192) == (1024, 2048, 4096, 8192, 8704)
    assert default_lengths(1024) == (256, 512, 1024, 1088)
    config = resolve(SweepConfig(), card)
    assert config.lengths == (256, 512, 1024, 1088)
    assert config.beyond_window


def test_lengths_over_the_window_have_to_be_asked_for(card: ModelCard) -> None:
    over = SweepConfig(lengths=(512, 2048))
    with pytest.raises(ConfigError, match=r"2k is over the 1k tokens that tiny-llama advertises.*--beyond-window"):
        resolve(over, card)
    assert resolve(dataclasses.replace(over, beyond_window=True), card).lengths == (512, 2048)
    assert not resolve(dataclasses.replace(SMALL, beyond_window=True), card).beyond_window  # nothing is beyond it


def test_everything_left_open_is_decided(card: ModelCard) -> None:
    config = resolve(SMALL, card)
    assert (config.device, config.template, config.chunk) == ("cpu", "chat", 256)
    assert config.dtype in ("float32", "bfloat16")


@pytest.mark.parametrize("lengths", [(512, 1024, 2048, 4096, 8192), (1024, 8192), (8192, 65536, 524288)])
def test_packed_chunks_keep_rereading_small(lengths: tuple[int, ...]) -> None:
    chunk = choose_chunk("cpu", "packed", lengths)
    assert len(lengths) * chunk <= 0.12 * max(lengths) or chunk == 64
    assert choose_chunk("cpu", "isolated", lengths) == 256


def test_a_plan_costs_both_designs(card: ModelCard) -> None:
    config = resolve(SMALL, card)
    plan = make_plan(config, card)
    isolated, packed = plan.costs["isolated"], plan.costs["packed"]
    assert isinstance(isolated, Cost)
    assert isinstance(packed, Cost)
    assert isolated.num_samples == packed.num_samples == len(plan.samples) == 2 * 3 * 2
    assert isolated.num_cells == packed.num_cells == 6
    assert (isolated.num_documents, packed.num_documents) == (12, 2)
    assert isolated.num_prompt_tokens == sum(s.prompt.num_tokens for s in plan.samples)
    assert packed.num_prefill_tokens < isolated.num_prefill_tokens < isolated.num_prompt_tokens
    assert packed.flops < isolated.flops
    assert plan.kv_bytes == card.shape.kv_bytes(1024, {"float32": 4, "bfloat16": 2}[config.dtype])


def test_a_packed_trial_prefills_its_document_about_once(card: ModelCard) -> None:
    config = resolve(dataclasses.replace(SMALL, design="packed", lengths=(512, 1024, 2048), beyond_window=True), card)
    cost = make_plan(config, card).costs["packed"]
    assert isinstance(cost, Cost)
    tails = sum(len(sample.prompt.tail_ids) for sample in make_samples(config, card.tokenizer))
    assert cost.num_prefill_tokens - tails <= 1.15 * config.trials * 2048


def test_a_design_that_cannot_be_had_says_why_only_if_the_other_was_asked_for(card: ModelCard) -> None:
    many = dataclasses.replace(SMALL, lengths=(512, 1024), depths=tuple(i / 39 for i in range(40)))
    plan = make_plan(resolve(many, card), card)
    assert "too short to pack" in str(plan.costs["packed"])


def test_tasks_are_asked_over_the_same_text(card: ModelCard) -> None:
    config = resolve(dataclasses.replace(SMALL, task=("niah_single", "niah_single:digits=3"), lengths=(512,)), card)
    samples = make_samples(config, card.tokenizer)
    assert len({sample.cell.task for sample in samples}) == 2
    first, second = (
        [s.prompt.token_ids()[100:200].tolist() for s in samples if s.cell.task == task and s.cell.depth == 1.0]
        for task in sorted({sample.cell.task for sample in samples})
    )
    assert first == second
