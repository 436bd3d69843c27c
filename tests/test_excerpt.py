"""What a row keeps of its prompt for people to read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import needle_task

from longctx.documents.build import Grid, build_samples
from longctx.documents.frame import Frame, Trial
from longctx.documents.tokenizer import HubTokenizer
from longctx.records import Design, Document, Prompt, Sample
from longctx.sweep.excerpt import excerpt, question


@pytest.fixture(scope="module")
def samples(frames: dict[tuple[str, str, Design], Frame], trials: dict[str, list[Trial]]) -> list[Sample]:
    task = needle_task("niah_single:digits=4")
    return build_samples(
        frames["byte_level", "chat", "isolated"],
        Grid((512, 1024), (0.0, 0.5, 1.0)),
        trials["byte_level"][:1],
        task.item,
    )


def test_the_excerpt_holds_the_needle_and_the_question_is_the_prompts_end(
    samples: list[Sample], hub_tokenizers: dict[str, Any]
) -> None:
    decode = HubTokenizer(hub_tokenizers["byte_level"]).decode
    for sample in samples:
        shown = excerpt(sample, decode)
        assert sample.targets[0] in shown
        assert shown in sample.prompt.text()
        assert len(shown) <= 600
        assert sample.prompt.text().endswith(question(sample))
        assert "number" in question(sample)


def make_sample(num_tokens: int, support: tuple[int, ...]) -> Sample:
    """A prompt whose token i is the number i: 10 of head, the document, 10 of tail."""
    ids = np.arange(num_tokens, dtype=np.int32)
    prompt = Prompt("p", ids[:10], Document("d", ids[10:]), num_tokens - 20, ids[-10:], 5, "x", tail_text="q" * 1000)
    return Sample(None, prompt, ("t",), ids[:0], support, 0.5)  # type: ignore[arg-type]


def join(ids: list[int]) -> str:
    return "".join(f" {number}" for number in ids)


@pytest.mark.parametrize("start", [0, 5, 9, 10, 50, 88, 95])
@pytest.mark.parametrize("stop", [9, 10, 60, 90, 95, 100])
def test_tokens_between_two_places_are_those_of_the_whole_prompt(start: int, stop: int) -> None:
    prompt = make_sample(100, ()).prompt
    assert prompt.ids_between(start, stop).tolist() == prompt.token_ids()[start:stop].tolist()


def test_facts_far_apart_are_shown_apart_and_near_ones_together() -> None:
    shown = excerpt(make_sample(2000, (1500, 500, 510)), join)
    near, far = shown.split(" […] ")
    assert near.startswith("476 477")
    assert " 510 " in near
    assert far.startswith("1476")


def test_an_excerpt_is_bounded_and_empty_where_nothing_stands_in_the_prompt() -> None:
    many = excerpt(make_sample(5000, tuple(range(0, 4000, 400))), lambda ids: "\ufffdlong word " * 100)
    assert len(many) <= 600
    assert many.count("[…]") == 3
    assert not many.startswith("\ufffd")
    assert excerpt(make_sample(100, ()), join) == ""
    assert question(make_sample(100, ())) == "q" * 600
