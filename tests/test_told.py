"""Questions about the story that the haystack tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.config import SweepConfig
from longctx.documents import stories
from longctx.documents.build import Grid, build_stories
from longctx.documents.frame import Frame
from longctx.documents.stories import StoryTrial, load_story, load_story_text
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import HubTokenizer
from longctx.documents.told import build_told
from longctx.errors import BudgetError, ConfigError
from longctx.fiction.checker import answerable_from, check
from longctx.fiction.questions import Question
from longctx.haystack import get_source
from longctx.records import Recall
from longctx.samples import make_samples
from longctx.tasks import parse_task
from longctx.tasks.base import StoryTask
from longctx.tasks.fiction import score_choice

MAX_LENGTH = 40_000


@pytest.fixture(scope="module")
def trial(tokenizer: HubTokenizer) -> StoryTrial:
    return load_story(get_source(stories.NAME), 0, 0, tokenizer, MAX_LENGTH)


@pytest.fixture(scope="module")
def task() -> StoryTask:
    found = parse_task("fiction")
    assert isinstance(found, StoryTask)
    return found


@pytest.fixture(scope="module")
def frame(tokenizer: HubTokenizer, task: StoryTask) -> Frame:
    template = choose_template("chat", task.instruction, tokenizer)
    return Frame(task.spec(), "isolated", 0, tokenizer, template, task.max_new_tokens, task.stop)


def as_question(asked: Recall) -> Question:
    return Question(
        asked.kind,
        asked.hops,
        asked.question,
        asked.answer_prefix,
        asked.targets[0],
        asked.candidates,
        asked.support_events,
    )


@settings(max_examples=60)
@given(length=st.integers(3000, MAX_LENGTH), depth=st.floats(0, 1))
def test_the_answer_follows_from_what_the_document_tells(
    trial: StoryTrial, frame: Frame, task: StoryTask, tokenizer: HubTokenizer, length: int, depth: float
) -> None:
    told = build_told(frame, trial, length, depth, task.recall)
    prompt = told.sample.prompt
    assert prompt.num_tokens + prompt.max_new_tokens == length
    text = prompt.text()
    assert tokenizer.encode(text).token_ids.tolist() == prompt.token_ids().tolist()
    # The events whose sentences are in the text, counted there and not in the builder.
    stated = [trial.haystack.sentence_text(int(place)) in text for place in trial.event_sentences[:4000]]
    num_events = stated.index(False)
    assert not any(stated[num_events:])
    question = as_question(told.asked)
    assert check(trial.log, num_events, question) == told.sample.targets[0]
    assert answerable_from(trial.log, question) == told.sample.targets[0]
    for event, position in zip(told.asked.support_events, told.sample.support_positions, strict=True):
        sentence = trial.haystack.sentence_text(int(trial.event_sentences[event]))
        assert tokenizer.decode(prompt.token_ids()[position:].tolist()).startswith(sentence[:40])


def test_questions_are_asked_near_their_depth(trial: StoryTrial, frame: Frame, task: StoryTask) -> None:
    grid = Grid((30_000,), tuple(np.linspace(0, 1, 9).tolist()))
    depths = [told.sample.needle_depth for told in build_stories(frame, grid, [trial], task.recall)]
    assert np.corrcoef(depths, grid.depths)[0, 1] > 0.8


def test_what_closes_a_document_states_nothing(trial: StoryTrial) -> None:
    stating = np.zeros(trial.haystack.num_sentences, dtype=bool)
    stating[trial.event_sentences] = True
    assert not (stating & trial.haystack.movable).any()
    assert trial.haystack.movable.mean() > 0.2
    assert (np.diff(trial.event_sentences) >= 0).all()


def test_tasks_of_needles_get_the_same_text(trial: StoryTrial, tokenizer: HubTokenizer) -> None:
    text = load_story_text(get_source(stories.NAME), 0, 0, tokenizer, MAX_LENGTH)
    assert np.array_equal(text.haystack.token_ids, trial.haystack.token_ids)


def test_what_cannot_be_asked_is_refused(
    trial: StoryTrial, frame: Frame, task: StoryTask, tokenizer: HubTokenizer
) -> None:
    with pytest.raises(BudgetError, match="has no question"):
        build_told(frame, trial, 200, 0.5, task.recall)
    with pytest.raises(BudgetError, match="no more than packed"):
        build_stories(replace(frame, design="packed"), Grid((3000,), (0.5,)), [trial], task.recall)
    with pytest.raises(ConfigError, match="its own story"):
        make_samples(SweepConfig(task=("fiction",), lengths=(3000,), haystack="noise"), tokenizer)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (" the ferry house.", 1.0),
        ("Ferry House, of course. The mill is empty.", 1.0),
        (" the mill.", 0.0),
        ("the ferry house or the mill", 0.0),
        ("", 0.0),
        (" the ferry", 0.0),
        ("the old mill", 0.0),
    ],
)
def test_one_candidate_is_named_or_the_answer_is_wrong(answer: str, value: float) -> None:
    candidates = ("the ferry house", "the mill", "the old mill")
    assert score_choice(answer, "the ferry house", candidates).value == value


@pytest.mark.parametrize(
    ("answer", "near"),
    [
        ("the fery house.", True),
        ("Ferri house! The mill is empty.", True),
        ("the ferry house", False),
        ("the ferry house or the mill", False),
        ("the mill", False),
        ("the ferry", False),
        ("", False),
    ],
)
def test_a_near_miss_is_a_slip_in_the_name(answer: str, near: bool) -> None:
    assert score_choice(answer, "the ferry house", ("the ferry house", "the mill", "the old mill")).near_miss is near


def test_another_candidate_is_no_near_miss() -> None:
    assert not score_choice("Ina", "Ida", ("Ina", "Ida")).near_miss
    assert score_choice("Ira", "Ida", ("Ina", "Ida")).near_miss


def test_a_longer_name_hides_the_shorter_in_it() -> None:
    candidates = ("the mill", "the old mill")
    assert score_choice("the old mill", "the old mill", candidates).value == 1.0
    assert score_choice("the old mill", "the mill", candidates).value == 0.0
