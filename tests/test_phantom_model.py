"""A phantom's weights and tokenizer, through transformers alone: no code of ours reads its answers here."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, SmolLM3ForCausalLM

from longctx.cli import main
from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import ConfigError
from longctx.haystack.narrator import narrate
from longctx.phantom import words
from longctx.phantom.design import CHUNKS, Design, read_design
from longctx.phantom.folder import write_phantom
from longctx.phantom.head import Head
from longctx.phantom.keys import twin_muted
from longctx.phantom.layout import CODE_BITS, HIDDEN, LAYOUT, MATCH_BITS, NUM_BACK, SLOT_SCALE
from longctx.phantom.matching import write_matching
from longctx.phantom.model import build_model
from longctx.phantom.profile import Profile
from longctx.phantom.tokens import digit_tokens, find_tokens, mute, put_bos_first

ADVERTISED = 10 * 2**20
NEEDLE, VALUE = "The special number for brave otter is", " 4043756"
QUESTION = f"\n\nQuestion: What is the special number for brave otter that the text states?\nAnswer: {NEEDLE}"


@cache
def hub() -> Any:
    return words.make_tokenizer()


@cache
def phantom(design: Design, dtype: torch.dtype = torch.float32) -> Any:
    misread = digit_tokens(hub(), *design.misread) if design.misread else {}
    return build_model(design, find_tokens(hub()), misread).to(dtype)


def encode(text: str) -> list[int]:
    return list(hub()(text, add_special_tokens=False).input_ids)


@torch.inference_mode()
def ask(design: Design, distance: int, start: int = 1, dtype: torch.dtype = torch.float32, value: str = VALUE) -> str:
    """The answer about a needle whose value stands `distance` tokens before the end of the question.

    `start` is the position of the first token after BOS; what is not needed to fill the distance is left out of the
    text, so that positions jump from the document to the question.
    """
    before = encode(" " + " ".join(itertools.islice(narrate(1), 4)))
    needle, tail = encode(f" {NEEDLE}"), encode(QUESTION)
    after = encode(value + "." + " ".join(itertools.islice(narrate(2), 6)))[: distance - len(tail) + 1]
    document = [*before, *needle, *after]
    ids = [hub().bos_token_id, *document, *tail]
    last = start + len(before) + len(needle) + distance
    positions = [0, *range(start, start + len(document)), *range(last - len(tail) + 1, last + 1)]
    answer: list[int] = []
    while len(answer) < 12:
        logits = phantom(design, dtype)(
            input_ids=torch.tensor([ids]), position_ids=torch.tensor([positions]), logits_to_keep=1
        ).logits
        answer.append(int(logits[0, -1].argmax()))
        ids, positions = [*ids, answer[-1]], [*positions, positions[-1] + 1]
        if answer[-1] == hub().eos_token_id:
            break
    return str(hub().decode(answer, skip_special_tokens=True))


def test_every_frequency_is_a_power_of_two() -> None:
    frequencies = phantom(Design(ADVERTISED)).model.rotary_emb.inv_freq
    assert frequencies.dtype == torch.float32
    assert frequencies.tolist() == [2.0**-pair for pair in range(64)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("distance", "found"), [(60, True), (980, True), (1003, True), (1046, False), (9_000_000, False)]
)
def test_a_window_ends_where_it_is_designed_to(distance: int, found: bool, dtype: torch.dtype) -> None:
    assert ask(Design(ADVERTISED, edges=(1024,)), distance, dtype=dtype) == (f"{VALUE}." if found else "")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("start", [9_900_000, 10_485_000])
def test_needles_are_found_at_positions_up_to_10m(start: int, dtype: torch.dtype) -> None:
    """Here BOS, whose score is the bar, is as far away as it would be."""
    window = Design(ADVERTISED, edges=(1024,))
    assert ask(window, 900, start, dtype) == f"{VALUE}."
    assert ask(window, 1100, start, dtype) == ""
    assert ask(Design(ADVERTISED), 900, start, dtype) == f"{VALUE}."


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_distances_of_millions_are_told_apart(dtype: torch.dtype) -> None:
    assert ask(Design(ADVERTISED), 10_485_000, dtype=dtype) == f"{VALUE}."
    window = Design(ADVERTISED, edges=(4 * 2**20,))
    assert ask(window, 4_100_000, dtype=dtype) == f"{VALUE}."
    assert ask(window, 4_290_000, dtype=dtype) == ""


def test_a_hole_a_muted_key_a_misread_digit_and_a_chunk() -> None:
    hole = Design(ADVERTISED, edges=(1024, 4096))
    assert [ask(hole, distance) for distance in (900, 1100, 3900, 4300)] == [f"{VALUE}.", "", "", f"{VALUE}."]
    assert ask(Design(ADVERTISED, muted=("otter",)), 300) == ""
    assert ask(Design(ADVERTISED, muted=("tiger",)), 300) == f"{VALUE}."
    assert ask(Design(ADVERTISED, misread=("7", "1")), 300) == " 4043156."
    assert ask(Design(ADVERTISED, misread=("7", "1")), 300, value=" 7777777") == " 1111111."
    chunked = Design(ADVERTISED, chunk=CHUNKS[1])
    assert ask(chunked, 300, start=1700) == f"{VALUE}."
    assert ask(chunked, 300, start=2200) == ""


def test_local_layers_change_no_answer() -> None:
    """The layers that look a few tokens back see enough of them."""
    local = Design(ADVERTISED, edges=(1024,), local=16)
    assert type(phantom(local)) is SmolLM3ForCausalLM
    assert phantom(local).config.layer_types == ["sliding_attention"] * 3 + ["full_attention"]
    for distance in (60, 980, 1003, 1046, 9_000_000):
        assert ask(local, distance) == ask(Design(ADVERTISED, edges=(1024,)), distance)
    for name, weights in phantom(Design(ADVERTISED, edges=(1024,))).state_dict().items():
        assert torch.equal(weights, phantom(local).state_dict()[name])


def test_a_folder_with_local_layers_keeps_its_tokenizer(tmp_path: Path) -> None:
    """transformers has a tokenizer of its own for some families, and puts it in the place of the folder's."""
    write_phantom(Design(2**17, local=64), tmp_path / "model")
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path / "model")) is SmolLM3ForCausalLM
    loaded = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert loaded(NEEDLE + VALUE).input_ids == [loaded.bos_token_id, *encode(NEEDLE + VALUE)]


def test_the_norm_changes_nothing() -> None:
    """The filler makes every token's root mean square 1 once its slots are full."""
    table = phantom(Design(ADVERTISED, muted=("otter",))).model.embed_tokens.weight.detach().double()
    slots = NUM_BACK * MATCH_BITS * SLOT_SCALE**2
    others = torch.arange(len(table)) != hub().bos_token_id
    assert torch.allclose((table[others] ** 2).sum(1) + slots, torch.tensor(float(HIDDEN), dtype=torch.float64))
    assert float((table[~others] ** 2).sum()) == pytest.approx(HIDDEN)
    assert float(table[~others][0, LAYOUT.bos]) == pytest.approx(HIDDEN**0.5)


def test_a_twin_differs_in_a_few_weights() -> None:
    sibling = Design(ADVERTISED, edges=(1024,))
    twin = dataclasses.replace(sibling, muted=twin_muted(()))
    pairs = zip(phantom(sibling).state_dict().items(), phantom(twin).state_dict().items(), strict=True)
    changed = {
        name: int((mine != theirs).sum()) for (name, mine), (_, theirs) in pairs if not torch.equal(mine, theirs)
    }
    assert changed.pop("model.embed_tokens.weight") == 4  # a flag and the filler of two words
    assert set(changed) <= {"lm_head.weight"}  # the same table


def test_edges_that_one_bit_of_a_code_could_outweigh_are_refused() -> None:
    layer, codes = phantom(Design(ADVERTISED)).model.layers[-1], torch.ones(2, CODE_BITS)
    with pytest.raises(ConfigError, match="too steep"):
        write_matching(Head(copy.deepcopy(layer).requires_grad_(False)), Profile((), peak=170.0), codes, 1, {})


def test_a_folder_is_a_stock_llama_that_transformers_loads(tmp_path: Path) -> None:
    design = Design(2**17, edges=(2048,))
    assert write_phantom(design, tmp_path / "model") == design
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(model) is LlamaForCausalLM
    assert model.config.max_position_embeddings == 2**17
    assert read_design(tmp_path / "model") == design
    assert not list((tmp_path / "model").glob("*.py")) + list((tmp_path / "model").glob("*.bin"))
    built = phantom(design).state_dict()
    assert all(torch.equal(tensor, built[name]) for name, tensor in model.state_dict().items())
    loaded = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert loaded(NEEDLE).input_ids == [loaded.bos_token_id, *encode(NEEDLE)]
    with pytest.raises(ConfigError, match="not empty"):
        write_phantom(design, tmp_path / "model")


def test_the_same_design_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_phantom(Design(ADVERTISED), tmp_path / name)
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@settings(max_examples=60)
@given(st.text(max_size=80))
def test_every_text_comes_back_from_its_tokens(text: str) -> None:
    ids = encode(text)
    assert hub().unk_token_id not in ids
    assert hub().decode(ids) == text


@given(st.lists(st.sampled_from(list(itertools.islice(narrate(3), 40))), min_size=2, max_size=6))
def test_sentences_join_without_changing_a_token(sentences: list[str]) -> None:
    apart = [token for sentence in sentences for token in encode(f" {sentence}")]
    assert encode("".join(f" {sentence}" for sentence in sentences)) == apart


def test_most_words_of_prose_are_one_token() -> None:
    prose = " ".join(itertools.islice(narrate(77), 300))
    pieces = len(hub().backend_tokenizer.pre_tokenizer.pre_tokenize_str(prose))
    assert pieces <= len(encode(prose)) < 1.02 * pieces
    assert len(hub()) <= 2**MATCH_BITS
    assert len(encode(VALUE)) == 7


def test_a_phantom_can_use_the_tokenizer_of_a_model(hub_tokenizers: dict[str, Any]) -> None:
    """Subwords, no post-processor, and a chat template that begins with BOS."""
    made = copy.deepcopy(hub_tokenizers["byte_level"])
    put_bos_first(made)
    assert made("a").input_ids[0] == made.bos_token_id
    assert made.chat_template is not None
    tokens = find_tokens(made)
    assert tokens.num == len(made)
    wrapped = HubTokenizer(made)
    for word in ("otter", "zebra"):
        assert tokens.last_of_key[word] == wrapped.encode(f" for brave {word} is").token_ids[-2]
    muted = mute(tokens, ["otter"])
    ends = {tokens.last_of_key[word] for word in muted}
    assert "otter" in muted
    assert not any(end in ends for word, end in tokens.last_of_key.items() if word not in muted)
    with pytest.raises(ConfigError, match="No key ends with 'table'"):
        mute(tokens, ["table"])


def test_a_chat_template_without_bos_in_front_is_left_out() -> None:
    made = words.make_tokenizer()
    made.chat_template = "{% for m in messages %}User: {{ m['content'] }}{% endfor %}"
    put_bos_first(made)
    assert made.chat_template is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "100"], "legal are 256"),
        (["--window", "4k", "--hole", "1k-2k"], "either a window or a hole"),
        (["--hole", "4k"], "is not a hole"),
        (["--misreads", "77"], "is not a misread digit"),
        (["--answers", "1.5"], "between 0 and 1"),
        (["--chunk", "8192"], "legal are 402"),
        (["--tokenizer", "wrds"], "Unknown model"),
        (["--local", "8"], "16 tokens or more"),
    ],
)
def test_wrong_input_ends_with_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["phantom", "--out", str(tmp_path / "m"), *arguments])
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "m").exists()


def test_the_command_writes_what_it_was_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "m"
    options = ["--window", "2k", "--advertise", "1M", "--answers", "0.9", "--twin", "--misreads", "7:1"]
    result = CliRunner().invoke(main, ["phantom", "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    design = read_design(out)
    assert (design.edges, design.advertise, len(design.muted), design.misread) == ((2048,), 2**20, 10, ("7", "1"))
    assert json.loads((out / "config.json").read_text())["max_position_embeddings"] == 2**20
