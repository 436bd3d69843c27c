"""All samples of a grid, in either design."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from longctx.documents.frame import Frame, Trial
from longctx.documents.isolated import build_isolated
from longctx.documents.packed import build_packed
from longctx.documents.splice import tokenize_source
from longctx.documents.tokenizer import Tokenizer
from longctx.errors import BudgetError
from longctx.haystack import get_source
from longctx.records import Item, Sample

# Filler beyond the longest document, from which closing sentences are chosen.
_SPARE_TOKENS = 4096
_MAX_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Grid:
    lengths: tuple[int, ...]
    depths: tuple[float, ...]


def load_trial(haystack: str, seed: int, number: int, tokenizer: Tokenizer, max_length: int) -> Trial:
    """Trial `number` with enough filler for documents of `max_length` tokens; raises BudgetError.

    The filler depends on the seed and the trial, not on the task: tasks are compared on the same text.
    """
    source = get_source(haystack)(Random(f"{seed}/{number}").getrandbits(64))
    return Trial(number, tokenize_source(haystack, source, tokenizer, max_length + _SPARE_TOKENS))


def build_samples(frame: Frame, grid: Grid, trials: Sequence[Trial], draw: Callable[[Random], Item]) -> list[Sample]:
    """A sample for every cell of the grid; `draw` makes a task's item. Raises BudgetError or SpliceError."""
    samples: list[Sample] = []
    for trial in trials:
        if frame.design == "packed":
            items: dict[tuple[int, float], Item] = {}
            for length in grid.lengths:
                for depth in grid.depths:
                    asked = {item.question for item in items.values()}
                    items[length, depth] = _draw_new(frame, draw, asked, trial.number, length, depth)
            samples += build_packed(frame, trial, items)
        else:
            for depth in grid.depths:
                item = draw(frame.rng(trial.number, depth))
                samples += [build_isolated(frame, trial, length, depth, item) for length in grid.lengths]
    return samples


def _draw_new(frame: Frame, draw: Callable[[Random], Item], asked: set[str], *address: object) -> Item:
    """An item whose question no other item of the document asks."""
    for attempt in range(_MAX_DRAWS):
        item = draw(frame.rng(*address, attempt))
        if item.question not in asked:
            return item
    raise BudgetError(f"{frame.task} has too few different questions for {len(asked) + 1} needles in one document.")
