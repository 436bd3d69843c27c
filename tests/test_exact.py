"""Prompt + room is the context length, and the prompt's text is its tokens, for every kind of tokenizer."""

from __future__ import annotations

from functools import cache

import pytest
from conftest import byte_level, corpus, metaspace, needle_task, needs_gemma, wrap
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from longctx.documents.build import load_trial
from longctx.documents.frame import Frame, Trial
from longctx.documents.isolated import build_isolated
from longctx.documents.named_tokenizers import load_tiktoken
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import HubTokenizer, Tokenizer
from longctx.engine.loading import read_tokenizer
from longctx.engine.packaged import PACKAGED
from longctx.engine.sources import find_source, prepare
from longctx.errors import ConfigError
from longctx.haystack import get_source

TASK = needle_task("niah_single")
MAX_LENGTH = 20_000


def word_level() -> Backend:
    tokenizer = Backend(models.WordLevel(unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<bos>", "<end>", "<user>", "<model>"], show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


@cache
def tokenizer_called(name: str) -> Tokenizer:
    if name == "cl100k_base":
        return load_tiktoken(name)
    if name in PACKAGED:
        return read_tokenizer(prepare(find_source(name)))
    backends = {"byte level": byte_level, "metaspace": metaspace, "word level": word_level}
    return HubTokenizer(wrap(backends[name]()))


@cache
def prepared(name: str) -> tuple[Frame, list[Trial]]:
    tokenizer = tokenizer_called(name)
    template = choose_template("auto", TASK.instruction, tokenizer)
    frame = Frame(TASK.spec(), "isolated", 0, tokenizer, template, TASK.max_new_tokens, TASK.stop)
    haystacks = ("narrator", "fiction")
    return frame, [load_trial(get_source(h), 0, i, tokenizer, MAX_LENGTH) for i, h in enumerate(haystacks)]


@pytest.mark.parametrize(
    "name",
    [
        "smollm2-135m-instruct",
        pytest.param("gemma-3-270m", marks=needs_gemma),
        "cl100k_base",
        "byte level",
        "metaspace",
        "word level",
    ],
)
def test_any_cell_is_exact(name: str) -> None:
    @settings(max_examples=500)
    @given(length=st.integers(400, MAX_LENGTH), depth=st.floats(0, 1), trial=st.integers(0, 1))
    def check(length: int, depth: float, trial: int) -> None:
        frame, trials = prepared(name)
        item = TASK.item(frame.rng(length, depth), depth)
        prompt = build_isolated(frame, trials[trial], length, depth, item).prompt
        assert prompt.num_tokens + prompt.max_new_tokens == length
        text = prompt.text()
        assert f" {item.needles[0].text}" in text  # the needle survives
        ids = prompt.token_ids().tolist()
        bos = frame.tokenizer.prefix_ids if frame.template.kind == "plain" else []
        assert [*bos, *frame.tokenizer.encode(text).token_ids.tolist()] == ids

    check()


def test_an_encoding_whose_file_is_not_here_says_how_to_provide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests
    import tiktoken

    def fails(name: str) -> None:
        raise requests.ConnectionError(name)

    monkeypatch.setattr(tiktoken, "get_encoding", fails)
    with pytest.raises(ConfigError, match="TIKTOKEN_CACHE_DIR"):
        load_tiktoken("o200k_base")


@given(st.text(max_size=40))
def test_characters_and_tokens_of_an_encoding_meet(text: str) -> None:
    tokenizer = tokenizer_called("cl100k_base")
    encoding = tokenizer.encode(text)
    for position in range(len(text) + 1):
        count = encoding.boundary(position)
        if count is not None:
            assert tokenizer.decode(encoding.token_ids[:count].tolist()) == text[:position]
