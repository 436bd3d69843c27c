"""All samples of a grid, in either design, and their controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from longctx.documents.controls import build_control
from longctx.documents.filler import SPARE_TOKENS, load_filler, trial_seed
from longctx.documents.frame import Frame, Trial
from longctx.documents.isolated import build_isolated
from longctx.documents.listed import build_list, build_listed
from longctx.documents.packed import build_packed
from longctx.documents.stories import StoryTrial
from longctx.documents.tokenizer import Tokenizer
from longctx.documents.told import Ask, Told, build_told
from longctx.errors import BudgetError
from longctx.haystack import Source
from longctx.records import Asked, Cell, Item, Listing, Sample

_MAX_DRAWS = 1000

Draw = Callable[[Random, float], Item]
Write = Callable[[Random, float, int], Listing]


@dataclass(frozen=True, slots=True)
class Grid:
    lengths: tuple[int, ...]
    depths: tuple[float, ...]


def load_trial(
    source: Source, seed: int, number: int, tokenizer: Tokenizer, max_length: int, allow_repeats: bool = False
) -> Trial:
    """Trial `number` with enough filler for documents of `max_length` tokens; raises BudgetError."""
    filler = load_filler(source, trial_seed(seed, number), tokenizer, max_length + SPARE_TOKENS, allow_repeats)
    return Trial(number, filler)


def draw_items(frame: Frame, grid: Grid, trial: int, draw: Draw) -> dict[tuple[int, float], Item]:
    """The item of every cell of a trial. Isolated cells of a depth share one: lengths are compared on the same facts.

    No two items of a packed trial ask the same; raises BudgetError if there are not as many.
    """
    if frame.design == "isolated":
        by_depth = {depth: draw(frame.rng(trial, depth), depth) for depth in grid.depths}
        return {(length, depth): by_depth[depth] for depth in grid.depths for length in grid.lengths}
    items: dict[tuple[int, float], Item] = {}
    asked: set[str] = set()
    for length in grid.lengths:
        for depth in grid.depths:
            for attempt in range(_MAX_DRAWS):
                item = draw(frame.rng(trial, length, depth, attempt), depth)
                if item.question not in asked:
                    break
            else:
                raise BudgetError(
                    f"{frame.task} has too few different questions for {len(asked) + 1} needles in one document."
                )
            asked.add(item.question)
            items[length, depth] = item
    return items


def build_samples(frame: Frame, grid: Grid, trials: Sequence[Trial], draw: Draw) -> list[Sample]:
    """A sample for every cell of the grid; `draw` makes a task's item. Raises BudgetError or SpliceError."""
    samples: list[Sample] = []
    for trial in trials:
        items = draw_items(frame, grid, trial.number, draw)
        if frame.design == "packed":
            samples += build_packed(frame, trial, items)
        else:
            samples += [build_isolated(frame, trial, *cell, item) for cell, item in items.items()]
    return samples


def build_lists(
    frame: Frame, grid: Grid, num_trials: int, min_entries: int, room: Callable[[int], int], write: Write
) -> list[Sample]:
    """A sample for every cell of a task that writes its documents itself; raises BudgetError or SpliceError."""
    if frame.design == "packed":
        raise BudgetError(f"{frame.task} writes a document for every question, so it cannot be packed.")
    samples = []
    for trial in range(num_trials):
        for depth in grid.depths:
            for length in grid.lengths:
                cell = Cell(frame.task, length, depth, trial)

                def listing(num_entries: int, cell: Cell = cell) -> Listing:
                    return write(frame.rng(cell.trial, cell.depth), cell.depth, num_entries)

                samples.append(build_listed(frame, cell, room(length), min_entries, listing))
    return samples


def build_stories(frame: Frame, grid: Grid, trials: Sequence[StoryTrial], ask: Ask) -> list[Told]:
    """A sample for every cell of a task about its story; raises BudgetError or SpliceError."""
    if frame.design == "packed":
        raise BudgetError(f"{frame.task} asks about one story in every cell: isolated, it costs no more than packed.")
    return [
        build_told(frame, trial, length, depth, ask)
        for trial in trials
        for depth in grid.depths
        for length in grid.lengths
    ]


def build_story_controls(frame: Frame, trials: Sequence[StoryTrial], told: Sequence[Told]) -> list[Sample]:
    """For every question about a story it alone, and after the sentences that state what it needs."""
    samples: list[Sample] = []
    asked = {(one.sample.cell.trial, one.asked.question): one for one in told}
    by_number = {trial.number: trial for trial in trials}
    for (number, _), one in asked.items():
        trial = by_number[number]
        places = sorted({int(trial.event_sentences[event]) for event in one.asked.support_events})
        support = [trial.haystack.sentence_text(place) for place in places]
        samples += _both_controls(frame, number, one.sample.cell.depth, one.asked, support)
    return samples


def build_controls(frame: Frame, grid: Grid, num_trials: int, draw: Draw) -> list[Sample]:
    """For every item the question alone, and after its supporting text alone."""
    samples: list[Sample] = []
    for trial in range(num_trials):
        items = draw_items(frame, grid, trial, draw)
        different = {id(item): (depth, item) for (_, depth), item in items.items()}
        for depth, item in different.values():
            support = [item.needles[place].text for place in sorted(item.support)]
            samples += _both_controls(frame, trial, depth, item, support)
    return samples


def build_list_controls(frame: Frame, grid: Grid, num_trials: int, min_entries: int, write: Write) -> list[Sample]:
    """For every question of a task that writes its documents itself: alone, and after the smallest list."""
    samples: list[Sample] = []
    for trial in range(num_trials):
        for depth in grid.depths:
            samples += _both_controls(frame, trial, depth, write(frame.rng(trial, depth), depth, min_entries))
    return samples


def _both_controls(
    frame: Frame, trial: int, depth: float, asked: Asked, support: Sequence[str] = ()
) -> tuple[Sample, Sample]:
    """The question alone, and after the texts that its answer needs: for a list, the list."""
    cell = Cell(frame.task, 0, depth, trial)
    if isinstance(asked, Listing):
        short = build_list(frame, cell, asked, control="short")
    else:
        short = build_control(frame, cell, asked, support)
    return build_control(frame, cell, asked), short
