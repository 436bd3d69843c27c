"""The filler of tasks about a story: its text, its events, and which sentence states each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longctx.documents.filler import SPARE_TOKENS, filler_folder, stored_tokens, trial_seed, writing
from longctx.documents.frame import Trial
from longctx.documents.tokenised import load_array, read_tokens, save_array, write_tokens
from longctx.documents.tokenizer import Tokenizer
from longctx.fiction.log import Log
from longctx.fiction.story import Story
from longctx.haystack import Source

NAME = "fiction"


@dataclass(frozen=True, slots=True)
class StoryTrial(Trial):
    """A trial whose filler is a story."""

    log: Log
    event_sentences: NDArray[np.int64]
    """The sentence that states each event, shape (num_events,), ascending."""

    def num_events(self, num_sentences: int) -> int:
        """How many events the first sentences state."""
        return int(np.searchsorted(self.event_sentences, num_sentences))


def load_story(source: Source, seed: int, number: int, tokenizer: Tokenizer, max_length: int) -> StoryTrial:
    """Trial `number`: a story long enough for `max_length` tokens, from the cache; raises StoreError or SpliceError."""
    folder = _folder(source, seed, number, tokenizer, max_length)
    log = Log.load(folder / "log.npz")
    return StoryTrial(number, read_tokens(folder, NAME), log, np.array(load_array(folder, "event_sentences")))


def load_story_text(source: Source, seed: int, number: int, tokenizer: Tokenizer, max_length: int) -> Trial:
    """The same story for tasks that only need its text: its events are not read."""
    return Trial(number, read_tokens(_folder(source, seed, number, tokenizer, max_length), NAME))


def _folder(source: Source, seed: int, number: int, tokenizer: Tokenizer, max_length: int) -> Path:
    """The folder of a trial's story, written if it is not there yet."""
    stored = stored_tokens(max_length + SPARE_TOKENS)
    story_seed = trial_seed(seed, number)
    folder = filler_folder(source, story_seed, tokenizer, stored, with_events=True)
    if not folder.exists():
        with writing(folder, NAME, stored):
            _write(folder, story_seed, tokenizer, stored)
    return folder


def _write(folder: Path, seed: int, tokenizer: Tokenizer, num_tokens: int) -> None:
    story = Story(seed)
    neutral: list[bool] = []
    passage_of_event: list[int] = []

    def texts() -> Iterator[str]:
        for passage in story:
            passage_of_event.extend([len(neutral)] * len(passage.events))
            neutral.append(passage.neutral)
            yield passage.text

    def finish(unfinished: Path) -> None:
        ends = load_array(unfinished, "num_passages")
        firsts = np.concatenate([[0], ends[:-1]])
        # A sentence of several passages may be moved if all of them may.
        movable = np.logical_and.reduceat(np.array(neutral[: ends[-1]]), firsts)
        save_array(unfinished, "movable", movable)
        told = np.array([passage for passage in passage_of_event if passage < ends[-1]], dtype=np.int64)
        save_array(unfinished, "event_sentences", np.searchsorted(ends, told, side="right"))
        story.log.save(unfinished / "log.npz")

    write_tokens(folder, NAME, texts(), tokenizer, num_tokens, finish)
