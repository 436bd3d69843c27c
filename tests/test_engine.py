"""The engine against plain `model.generate`, prompt by prompt."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import needle_task, tiny_llama
from streaming import flash, make_tiers
from transformers import AutoModelForCausalLM, Gemma3TextConfig

from longctx.documents.build import Grid, build_samples
from longctx.documents.frame import Frame, Trial
from longctx.engine.attention import NAME as OURS
from longctx.engine.completion import Finisher
from longctx.engine.cost import ModelShape
from longctx.engine.engine import Engine
from longctx.engine.kernels import choose_kernel
from longctx.engine.selftest import head_shapes
from longctx.engine.tree import build_tree, tree_work
from longctx.records import Answer, Design, Prompt, Sample, TokenIds

NEVER = r"(?!)"
CHUNK = 64
BLOCK = 96
"""Not a multiple of a chunk, so that branches leave a block that is partly full."""


@pytest.fixture(scope="module")
def samples(frames: dict[tuple[str, str, Design], Frame], trials: dict[str, list[Trial]]) -> list[Sample]:
    """Twenty isolated and twenty packed prompts of 400 to 900 tokens."""
    task = needle_task("niah_single:digits=4")
    grid = Grid((400, 900), (0.0, 0.25, 0.5, 0.75, 1.0))
    made = []
    designs: tuple[Design, ...] = ("isolated", "packed")
    for design in designs:
        frame = frames["byte_level", "chat", design]
        made += build_samples(frame, grid, trials["byte_level"], task.item)
    return made


def with_stop(prompt: Prompt, stop: str) -> Prompt:
    return replace(prompt, stop=stop)


def decode_ids(token_ids: list[int]) -> str:
    """Every token as a letter and a number, so that text tells tokens apart."""
    return "".join(f"t{token}" for token in token_ids)


def make_engine(model: Any, **arguments: Any) -> Engine:
    kernel = flash(SimpleNamespace(config=model.config, dtype=torch.float32))
    arguments = {"chunk": CHUNK, "tiers": make_tiers(kernel, block=BLOCK), **arguments}
    return Engine(model, decode_ids, ModelShape.from_config(model.config), **arguments)


def generate(model: Any, prompt: Prompt) -> list[int]:
    """Greedy tokens of plain transformers, one prompt at a time, nothing shared."""
    ids = torch.from_numpy(prompt.token_ids().astype("int64"))[None]
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=prompt.max_new_tokens, do_sample=False, pad_token_id=0
    )
    tokens: list[int] = output[0, ids.shape[1] :].tolist()
    return tokens


def by_id(answers: Any) -> dict[str, Answer]:
    return {answer.prompt_id: answer for answer in answers}


@pytest.fixture(scope="module")
def llama() -> Any:
    model = tiny_llama(700)
    model.set_attn_implementation(OURS)
    return model


@pytest.fixture(scope="module")
def expected(llama: Any, samples: list[Sample]) -> dict[str, list[int]]:
    llama.set_attn_implementation("eager")
    tokens = {sample.id: generate(llama, sample.prompt) for sample in samples}
    llama.set_attn_implementation(OURS)
    return tokens


def draft_kinds(expected: dict[str, list[int]]) -> dict[str, dict[str, TokenIds]]:
    """No drafts; drafts that greedy decoding produces; drafts that leave it at the third token, and at the first."""

    def drafts(change_at: int | None) -> dict[str, TokenIds]:
        made = {}
        for name, tokens in expected.items():
            draft = np.array(tokens[:6], dtype=np.int32)
            if change_at is not None and change_at < len(draft):
                draft[change_at] = (draft[change_at] + 1) % 700
            made[name] = draft
        return made

    return {"none": {}, "right": drafts(None), "wrong late": drafts(2), "wrong at once": drafts(0)}


@pytest.mark.parametrize("drafts", ["none", "right", "wrong late", "wrong at once"])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_answers_are_those_of_generate(
    llama: Any, samples: list[Sample], expected: dict[str, list[int]], drafts: str, num_workers: int
) -> None:
    assert len(samples) == 40
    prompts = [with_stop(sample.prompt, NEVER) for sample in samples]
    engine = make_engine(llama, num_workers=num_workers)
    found = by_id(engine.answers(prompts, draft_kinds(expected)[drafts]))
    finisher = Finisher(decode_ids, frozenset({1}))
    for prompt in prompts:
        wanted = finisher.finish(expected[prompt.id], prompt)
        assert wanted is not None
        answer = found[prompt.id]
        assert (answer.status, answer.text, answer.num_completion_tokens) == ("ok", wanted.text, wanted.num_tokens)


def test_a_chunk_fills_the_cache_and_leaves_the_last_layer(llama: Any, samples: list[Sample]) -> None:
    ids = samples[0].prompt.token_ids()[:100]
    engine = make_engine(llama)
    whole, left = engine.reader.new_cache(), engine.reader.new_cache()
    with torch.inference_mode():
        llama(input_ids=torch.from_numpy(ids.astype("int64"))[None], past_key_values=whole)
    calls: list[int] = []
    hooks = [
        layer.mlp.register_forward_hook(lambda *_, index=index: calls.append(index))
        for index, layer in enumerate(llama.model.layers)
    ]
    engine.reader.prefill(ids, left)
    for hook in hooks:
        hook.remove()
    assert calls == [0]
    assert left.length == len(ids)
    for mine, other in zip(left.layers, whole.layers, strict=True):
        assert mine.blocks.length == len(ids)
        for view, same in zip(mine.blocks.views(len(ids)), other.blocks.views(len(ids)), strict=True):
            for states, wanted in zip(view.cut(view.block.states), same.cut(same.block.states), strict=True):
                assert torch.equal(states, wanted)


def test_answers_do_not_depend_on_what_is_shared(
    llama: Any, samples: list[Sample], expected: dict[str, list[int]]
) -> None:
    engine = make_engine(llama)
    drafts = draft_kinds(expected)["wrong late"]
    together = by_id(engine.answers([sample.prompt for sample in samples], drafts))
    for sample in samples[::3]:
        (alone,) = engine.answers([sample.prompt], drafts)
        assert alone.text == together[sample.id].text


@pytest.mark.parametrize("kernel", ["flash", "reference"])
def test_in_bfloat16_a_reused_prefix_is_bit_identical(samples: list[Sample], kernel: str) -> None:
    """The log-probability of the target comes from all of the prompt's logits; one other bit would change it."""
    model = tiny_llama(700).bfloat16()
    model.set_attn_implementation(OURS)
    chosen = choose_kernel(kernel, head_shapes(model.config), model.dtype, "cpu")
    engine = make_engine(model, tiers=make_tiers(chosen, block=BLOCK))
    prompts = [sample.prompt for sample in samples if sample.cell.depth in (0.5, 1.0)]
    # One question at a branch: the rows of a batch are another matter than the prefix before them.
    branches = {p.prefix_ids().tobytes(): p for p in prompts}
    prompts = list(branches.values())
    drafts = {sample.id: sample.draft_ids for sample in samples}
    together = by_id(engine.answers(prompts, drafts))
    shared = tree_work(build_tree(prompts, CHUNK)).num_prefix_tokens
    assert shared < 0.9 * sum(prompt.num_prefix_tokens for prompt in prompts)
    for prompt in prompts:
        (alone,) = engine.answers([prompt], drafts)
        assert alone.target_logprob is not None
        assert alone.target_logprob == together[prompt.id].target_logprob
        assert alone.text == together[prompt.id].text


def test_chunk_boundaries_do_matter_in_bfloat16(samples: list[Sample]) -> None:
    """Why chunks start at absolute multiples: with other boundaries the same prompt rounds differently."""
    model = tiny_llama(700).bfloat16()
    model.set_attn_implementation(OURS)
    prompts = [sample.prompt for sample in samples[:8]]
    drafts = {sample.id: sample.draft_ids for sample in samples}
    one, other = (by_id(make_engine(model, chunk=chunk).answers(prompts, drafts)) for chunk in (64, 48))
    assert any(one[name].target_logprob != other[name].target_logprob for name in one)


def test_the_log_probability_is_that_of_teacher_forcing(llama: Any, samples: list[Sample]) -> None:
    sample = samples[0]
    (answer,) = make_engine(llama).answers([sample.prompt], {sample.id: sample.draft_ids})
    ids = torch.from_numpy(np.concatenate([sample.prompt.token_ids(), sample.draft_ids]).astype("int64"))
    with torch.inference_mode():
        logprobs = llama(input_ids=ids[None]).logits[0].double().log_softmax(-1)
    first = sample.prompt.num_tokens
    wanted = sum(float(logprobs[i - 1, ids[i]]) for i in range(first, len(ids)))
    assert answer.target_logprob == pytest.approx(wanted, abs=1e-4)


def test_the_stop_pattern_ends_an_answer_in_the_same_place_with_and_without_draft(
    llama: Any, samples: list[Sample], expected: dict[str, list[int]]
) -> None:
    prompt = samples[0].prompt
    third = expected[prompt.id][2]
    stopped = with_stop(prompt, rf"t{third}(?!\d)")
    for drafts in draft_kinds(expected).values():
        (answer,) = make_engine(llama).answers([stopped], drafts)
        end = expected[prompt.id].index(third) + 1
        assert answer.text == decode_ids(expected[prompt.id][:end])


@pytest.mark.parametrize("batch_tokens", [1, 100, 8192])
def test_the_size_of_a_batch_changes_no_answer(
    llama: Any, samples: list[Sample], expected: dict[str, list[int]], batch_tokens: int
) -> None:
    prompts = [with_stop(sample.prompt, NEVER) for sample in samples[20:]]
    found = by_id(make_engine(llama, batch_tokens=batch_tokens).answers(prompts, draft_kinds(expected)["wrong late"]))
    finisher = Finisher(decode_ids, frozenset({1}))
    for prompt in prompts:
        wanted = finisher.finish(expected[prompt.id], prompt)
        assert wanted is not None
        assert found[prompt.id].text == wanted.text


def test_prefilled_tokens_add_up_to_the_work_of_the_tree(llama: Any, samples: list[Sample]) -> None:
    prompts = [sample.prompt for sample in samples]
    flops: list[int] = []
    answers = list(make_engine(llama, num_workers=2).answers(prompts, {}, flops.append))
    work = tree_work(build_tree(prompts, CHUNK))
    assert sum(answer.num_prefilled_prefix_tokens for answer in answers) == work.num_prefix_tokens
    assert sum(answer.num_prefilled_tokens for answer in answers) == work.num_tokens
    shape = ModelShape.from_config(llama.config)
    assert sum(flops) == sum(shape.prefill_flops(start, stop) for start, stop in work.spans)


class Counting:
    """A model whose next token is one more than the last, and that counts its calls and the tokens it reads."""

    def __init__(self, model: Any) -> None:
        self.config, self.generation_config, self.device = model.config, model.generation_config, model.device
        self.reads: list[int] = []

    def __call__(self, input_ids: torch.Tensor, past_key_values: Any, logits_to_keep: int, **_: Any) -> Any:
        batch, num_tokens = input_ids.shape
        self.reads.append(num_tokens)
        for layer in range(self.config.num_hidden_layers):
            states = torch.zeros(batch, 1, num_tokens, 4)
            past_key_values.update(states, states, layer)
        following = (input_ids[:, -logits_to_keep:] + 1) % 700
        return SimpleNamespace(logits=torch.nn.functional.one_hot(following, 700).float())


def test_what_the_prompt_says_is_decoded_in_few_steps(llama: Any, samples: list[Sample]) -> None:
    sample = samples[0]
    for first, num_steps in ((50, 2), (30, 10)):
        tail = [*range(first, first + 20), 3, 49]
        prompt = replace(with_stop(sample.prompt, "t60"), tail_ids=np.array(tail, dtype=np.int32))
        model = Counting(llama)
        (answer,) = make_engine(model).answers([prompt], {})
        assert answer.text == decode_ids([*range(50, 61)])
        after_the_tail = model.reads[model.reads.index(len(tail)) + 1 :]
        assert len(after_the_tail) == num_steps, after_the_tail


def test_a_model_with_sliding_layers_branches_exactly(samples: list[Sample]) -> None:
    torch.manual_seed(2)
    config = Gemma3TextConfig(
        vocab_size=700,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=40,
        layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
        max_position_embeddings=4096,
        initializer_range=0.3,
        eos_token_id=1,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    model.set_attn_implementation(OURS)
    prompts = [with_stop(sample.prompt, NEVER) for sample in samples[::4]]
    expected = {prompt.id: generate(model, prompt) for prompt in prompts}
    finisher = Finisher(decode_ids, frozenset({1}))
    for drafts in draft_kinds(expected).values():
        found = by_id(make_engine(model).answers(prompts, drafts))
        for prompt in prompts:
            wanted = finisher.finish(expected[prompt.id], prompt)
            assert wanted is not None
            assert found[prompt.id].text == wanted.text


class Failing:
    """A model that raises on what it reads after `at` tokens or more."""

    def __init__(self, model: Any, error: Exception, at: int) -> None:
        self._model, self._error, self._at = model, error, at
        self.config, self.generation_config, self.device = model.config, model.generation_config, model.device

    def __call__(self, **arguments: Any) -> Any:
        if arguments["past_key_values"].get_seq_length() >= self._at:
            raise self._error
        return self._model(**arguments)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "oom"),
        (MemoryError(), "oom"),
        (IndexError("index out of range in self"), "error"),
    ],
)
def test_what_fails_is_answered_with_its_status_and_the_rest_is_answered(
    llama: Any, samples: list[Sample], error: Exception, status: str
) -> None:
    prompts = [sample.prompt for sample in samples]
    answers = list(make_engine(Failing(llama, error, at=500)).answers(prompts, {}))
    assert {answer.prompt_id for answer in answers} == {prompt.id for prompt in prompts}
    for sample in samples:
        (answer,) = (answer for answer in answers if answer.prompt_id == sample.id)
        assert answer.status == ("ok" if sample.cell.length == 400 else status), answer.error
        assert answer.error is None or type(error).__name__ in answer.error


def test_logits_that_are_no_numbers_are_a_failure_not_an_answer(samples: list[Sample]) -> None:
    model = tiny_llama(700)
    model.set_attn_implementation(OURS)
    model.lm_head.weight.data.fill_(float("nan"))
    (answer,) = make_engine(model).answers([samples[0].prompt], {})
    assert answer.status == "error"
    assert answer.error is not None
    assert "not finite" in answer.error


def test_a_bug_is_raised_not_answered(llama: Any, samples: list[Sample]) -> None:
    engine = make_engine(Failing(llama, TypeError("a bug"), at=0), num_workers=2)
    with pytest.raises(TypeError, match="a bug"):
        list(engine.answers([sample.prompt for sample in samples], {}))


def test_leaving_early_stops_the_workers(llama: Any, samples: list[Sample]) -> None:
    before = torch.get_num_threads()
    answers = make_engine(llama, num_workers=2).answers([sample.prompt for sample in samples], {})
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("longctx-walk")]
    assert torch.get_num_threads() == before


def test_a_stem_that_fails_fails_all_that_read_on_from_it(llama: Any, samples: list[Sample]) -> None:
    """Also those in later batches, which would otherwise go on without it."""
    prompts = [s.prompt for s in samples if s.cell == replace(s.cell, length=900, trial=0) and s in samples[20:]]
    assert len(prompts) == 5
    assert len({prompt.num_prefix_tokens for prompt in prompts}) == 1
    start = prompts[0].num_prefix_tokens // CHUNK * CHUNK

    class FailsOnce(Failing):
        def __call__(self, **arguments: Any) -> Any:
            if arguments["past_key_values"].get_seq_length() == start and not self.failed:
                self.failed = True
                raise self._error
            return self._model(**arguments)

        failed = False

    engine = make_engine(FailsOnce(llama, RuntimeError("CUDA error: out of memory"), at=0), batch_tokens=1)
    answers = list(engine.answers(prompts, {}))
    assert [answer.status for answer in answers] == ["oom"] * 5


def test_a_batch_too_large_for_memory_is_halved(llama: Any, samples: list[Sample]) -> None:
    prompts = [with_stop(sample.prompt, NEVER) for sample in samples[20:]]

    class SmallMemory(Failing):
        def __call__(self, **arguments: Any) -> Any:
            if arguments["input_ids"].shape[0] > 2:
                raise self._error
            return self._model(**arguments)

    small = make_engine(SmallMemory(llama, torch.OutOfMemoryError(), at=0)).answers(prompts, {})
    large = by_id(make_engine(llama).answers(prompts, {}))
    assert {answer.prompt_id: answer.text for answer in small} == {name: large[name].text for name in large}
