"""Streamed attention in whole models against their own, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from conftest import needs_gemma
from hypothesis import given
from hypothesis import strategies as st
from streaming import MUCH, ask, flash, greedy, make_tiers, own_logits, own_steps, read
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    BloomConfig,
    DiffLlamaConfig,
    DynamicCache,
    FalconConfig,
    MptConfig,
)

from longctx.engine.kv import StreamedCache
from longctx.engine.loading import load_model, read_card
from longctx.engine.selftest import self_test, stream
from longctx.engine.sources import find_source, prepare
from longctx.engine.staging import Stager
from longctx.errors import ModelError
from longctx.haystack.narrator import narrate

STEPS = 20


@pytest.fixture(autouse=True)
def _softmax_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager attention rounds its softmax to float32, which a reference in float64 must not."""
    softmax = torch.nn.functional.softmax

    def wide(scores: torch.Tensor, dim: int | None = None, dtype: Any = None, **arguments: Any) -> torch.Tensor:
        return softmax(scores, dim=dim, dtype=None if scores.dtype == torch.float64 else dtype, **arguments)

    monkeypatch.setattr(torch.nn.functional, "softmax", wide)


def prompt(seed: int = 0, num_tokens: int = 150) -> torch.Tensor:
    return torch.randint(3, zoo.VOCABULARY, (num_tokens,), generator=torch.Generator().manual_seed(seed))


def own_noise(model: Any, ids: torch.Tensor, steps: Sequence[int] = ()) -> float:
    """How far a model's eager attention is from itself when it reads in chunks: some round to float32 inside."""
    wanted = own_steps(model, ids, steps)
    model.set_attn_implementation("eager")
    gaps = []
    for chunk in (7, 40):
        cache = DynamicCache(config=model.config)
        pieces = [*torch.split(ids, chunk), *(torch.tensor([step]) for step in steps)]
        with torch.inference_mode():
            found = [model(input_ids=piece[None], past_key_values=cache).logits[0, -1] for piece in pieces]
        gaps += [float((a - b).abs().max()) for a, b in zip(found[-len(wanted) :], wanted, strict=True)]
    stream(model)
    return max(gaps)


@pytest.mark.parametrize("name", zoo.CONFIGS)
def test_logits_and_greedy_steps_are_the_models_own(name: str) -> None:
    model, ids = zoo.make(name), prompt()
    stream(model)
    read_in = {chunk: StreamedCache(model.config, make_tiers(flash(model))) for chunk in (7, 64, len(ids))}
    first = {chunk: read(model, ids, cache, chunk) for chunk, cache in read_in.items()}
    found = greedy(model, first[64], read_in[64], STEPS)
    steps = [int(logits.argmax()) for logits in found]
    wanted = own_steps(model, ids, steps[:-1])
    tolerance = max(1e-9, 10 * own_noise(model, ids, steps[:-1]))
    assert tolerance < 1e-4
    assert all(float((logits - wanted[0]).abs().max()) <= tolerance for logits in first.values())
    assert [int(step.argmax()) for step in wanted] == steps
    assert max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True)) <= tolerance


SPREADS = {"device": (MUCH, 0), "device and host": (30_000, MUCH), "all three": (30_000, 30_000), "disk": (0, 0)}


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("name", ["llama", "gemma 3", "llama 4", "deepseek v3", "gemma 2", "gpt-oss", "gemma 3n"])
def test_tiers_do_not_change_a_bit(name: str, spread: str, tmp_path: Path) -> None:
    model, ids = zoo.make(name), prompt()
    stream(model)
    wanted_cache = StreamedCache(model.config, make_tiers(flash(model)))
    wanted = greedy(model, read(model, ids, wanted_cache, 40), wanted_cache, 3)
    tiers = make_tiers(flash(model), *SPREADS[spread], disk=tmp_path)
    cache = StreamedCache(model.config, tiers)
    found = greedy(model, read(model, ids, cache, 40), cache, 3)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    used = tiers.memory.usage("device").now, tiers.memory.usage("host").now
    assert (used[0] > 0, used[1] > 0) == (SPREADS[spread][0] > 0, SPREADS[spread][1] > 0)
    assert len(list(tmp_path.rglob("*.safetensors"))) >= 4
    del cache, found
    assert tiers.memory.usage("device").now == tiers.memory.usage("host").now == 0
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "name", ["llama", "gemma 3", "mistral, window", "deepseek v3", "gpt-oss", "qwen 2, half windows"]
)
def test_rows_of_questions_are_as_each_alone(name: str) -> None:
    """Over a document and a stem, rows of different lengths; some of their tokens are taken back, and they go on."""
    model, ids = zoo.make(name), prompt()
    stream(model)
    cache = StreamedCache(model.config, make_tiers(flash(model)))
    read(model, ids[:100], cache, 40)
    stem = cache.ask()
    ask(model, [ids[100:].tolist()], stem)
    rows = [prompt(seed, 4 + 5 * seed).tolist() for seed in range(1, 4)]
    fan = stem.ask(len(rows))
    tolerance = max(1e-9, 10 * own_noise(model, ids))
    for row, logits in zip(rows, ask(model, rows, fan), strict=True):
        assert (logits - own_logits(model, [*ids.tolist(), *row])).abs().max() <= tolerance
    fan.take_back(torch.arange(19) < torch.tensor([9, 10, 12]).unsqueeze(1))
    kept = [row[:count] for row, count in zip(rows, (9, 10, 12), strict=True)]
    more = [[7], [8, 9, 10], [11, 12]]
    for row, new, logits in zip(kept, more, ask(model, more, fan), strict=True):
        assert (logits - own_logits(model, [*ids.tolist(), *row, *new])).abs().max() <= tolerance
    last = fan.select([1])
    for logits in ask(model, [[5]], last):
        wanted = own_logits(model, [*ids.tolist(), *kept[1], *more[1], 5])
        assert (logits - wanted).abs().max() <= tolerance


operations = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["branch", "read", "fail"]), st.integers(1, 40)), max_size=14
)


@pytest.fixture(scope="module")
def small() -> Any:
    model = zoo.make("gemma 3")
    stream(model)
    return model


@given(operations)
def test_branches_and_failed_forwards_leave_the_others_as_they_are(
    small: Any, steps: list[tuple[int, str, int]]
) -> None:
    """Each step picks a living cache: branches from it, reads on, or reads something that is then taken back."""
    tiers = make_tiers(flash(small))
    alive: list[tuple[StreamedCache, list[int]]] = [(StreamedCache(small.config, tiers), [])]
    for number, (pick, what, count) in enumerate(steps):
        cache, history = alive[pick % len(alive)]
        ids = prompt(number, count)
        if what == "branch":
            alive.append((cache.branch(), list(history)))
        else:
            before = cache.length
            read(small, ids, cache, 64)
            if what == "fail":
                cache.roll_back(before)
            else:
                history += ids.tolist()
    for cache, history in alive:
        assert cache.length == len(history)
        found = read(small, torch.tensor([5]), cache, 64)
        assert (found - own_logits(small, [*history, 5])).abs().max() < 1e-9


def test_a_prefix_is_streamed_once_for_all_questions(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = StreamedCache(small.config, make_tiers(flash(small)))
    read(small, prompt(), cache, 40)
    streamed: list[int] = []
    stream_blocks = Stager.stream

    def counting(self: Stager, views: Any, *arguments: Any) -> Any:
        streamed.extend(view.num_tokens for view in views)
        return stream_blocks(self, views, *arguments)

    monkeypatch.setattr(Stager, "stream", counting)
    for num_questions in (1, 9):
        streamed.clear()
        ask(small, [[5, 6, 7]] * num_questions, cache.ask(num_questions))
        assert sum(streamed) == 150 + 3 * 50  # one full layer, and three windows


def test_questions_leave_the_document_as_it_is(small: Any) -> None:
    ids = prompt()
    cache = StreamedCache(small.config, make_tiers(flash(small)))
    read(small, ids[:90], cache, 40)
    ask(small, [[5, 6, 7]] * 2, cache.ask(2))
    assert (read(small, ids[90:], cache, 40) - own_logits(small, ids)).abs().max() < 1e-9
    with pytest.raises(ValueError, match="ask first"):
        cache.begin_rows(torch.ones(1, 1, dtype=torch.bool))
    fan = cache.ask(2)
    ask(small, [[5], [6]], fan)
    with pytest.raises(ValueError, match="one stem"):
        fan.ask(2)


def test_a_forward_without_our_cache_is_right_too() -> None:
    model, ids = zoo.make("gemma 2"), prompt()
    wanted = own_logits(model, ids)
    with torch.inference_mode():
        found = model(input_ids=ids[None], use_cache=False).logits[0, -1]
        plain = DynamicCache(config=model.config)
        model(input_ids=ids[None, :100], past_key_values=plain)
        later = model(input_ids=ids[None, 100:], past_key_values=plain).logits[0, -1]
        padded = torch.cat([torch.zeros(9, dtype=torch.long), ids])[None]
        mask = (torch.arange(9 + len(ids)) >= 9).long()[None]
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        beside = model(input_ids=padded, attention_mask=mask, position_ids=positions, use_cache=False).logits[0, -1]
    for logits in (found, later, beside):
        assert (logits - wanted).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (FalconConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=60), "own attention code"),
        (BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=60), "own attention code"),
        (MptConfig(d_model=32, n_layers=2, n_heads=4, vocab_size=60), "own attention code"),
        (
            DiffLlamaConfig(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=60
            ),
            "changes",
        ),
        (
            BambaConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                vocab_size=60,
                attn_layer_indices=[1],
                mamba_n_heads=4,
                mamba_d_head=16,
            ),
            "cannot be measured yet",
        ),
    ],
    ids=["falcon", "bloom", "mpt", "diffllama", "bamba"],
)
def test_what_cannot_be_streamed_is_refused_by_name(config: Any, reason: str) -> None:
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ModelError, match=reason):
        self_test(model, flash(zoo.make("llama")))


def test_the_self_test_passes_a_sound_model_and_stops_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.make("mistral, window").float()
    result = self_test(model, flash(model))
    assert (result.num_tokens, result.chunked < 1e-4) == (200, True)
    assert model.config._attn_implementation == "eager"
    monkeypatch.setattr(StreamedCache, "get_seq_length", lambda self, layer_idx=0: max(0, self.length - 1))
    with pytest.raises(ModelError, match=r"off by .* standard deviations"):
        self_test(model, flash(model))


@pytest.mark.parametrize(
    ("name", "num_tokens"), [("smollm2-135m-instruct", 250), pytest.param("gemma-3-270m", 700, marks=needs_gemma)]
)
def test_embedded_models_decode_as_with_their_own_attention(name: str, num_tokens: int) -> None:
    """Real weights and real text, past Gemma's local window: the same 20 greedy tokens, logits to rounding."""
    card = read_card(prepare(find_source(name)))
    text = card.tokenizer.encode(" ".join(itertools.islice(narrate(0), 60))).token_ids
    ids = torch.from_numpy(text[:num_tokens].astype("int64"))
    assert len(ids) == num_tokens
    model = load_model(card, "float32", "cpu").model
    cache = StreamedCache(model.config, make_tiers(flash(model)))
    found = greedy(model, read(model, ids, cache, 64), cache, STEPS)
    tokens = torch.tensor([int(step.argmax()) for step in found])
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        whole = model(input_ids=torch.cat([ids, tokens[:-1]])[None], use_cache=False, logits_to_keep=STEPS + 1)
    wanted = whole.logits[0]
    assert torch.equal(wanted.argmax(-1), tokens)
    assert (torch.stack(found) - wanted).abs().max() < 1e-3 * wanted.std()
