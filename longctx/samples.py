"""From what was asked to samples: every task, every cell, every trial, in one tokenizer's tokens."""

from __future__ import annotations

import dataclasses
from collections import Counter

from longctx.config import SweepConfig
from longctx.documents import stories
from longctx.documents.build import (
    Grid,
    build_controls,
    build_list_controls,
    build_lists,
    build_samples,
    build_stories,
    build_story_controls,
    load_trial,
)
from longctx.documents.frame import Frame, Trial
from longctx.documents.given import build_given
from longctx.documents.isolated import build_isolated
from longctx.documents.stories import load_story, load_story_text
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import Tokenizer
from longctx.errors import ConfigError
from longctx.haystack import get_source
from longctx.records import Sample
from longctx.tasks import parse_task
from longctx.tasks.base import ListTask, NeedleTask, StoryTask, Task
from longctx.tasks.canary import DEPTHS, Canary
from longctx.tasks.prompt_file import PromptFile


def resolve_grid(config: SweepConfig) -> SweepConfig:
    """`config` with the lengths, depths and trials that a file of prompts brings; raises ConfigError.

    Its prompts are asked as they are, so there are no controls.
    """
    files = [task for task in map(parse_task, config.task) if isinstance(task, PromptFile)]
    if not files:
        return config
    if len(config.task) > 1 or config.lengths or config.design == "packed":
        raise ConfigError(
            "A file of prompts brings its own lengths, and is a sweep by itself: no other task, no packing."
        )
    given = files[0].given()
    counts = Counter((one.length, one.depth) for one in given)
    return dataclasses.replace(
        config,
        lengths=tuple(sorted({one.length for one in given})),
        depths=tuple(sorted({one.depth for one in given})),
        trials=max(counts.values()),
        controls=False,
    )


def make_samples(config: SweepConfig, tokenizer: Tokenizer) -> list[Sample]:
    """All samples of a resolved config, canaries first, controls last.

    Raises BudgetError, SpliceError or ConfigError.
    """
    cells = make_canaries(config, tokenizer) if config.canaries == "yes" else []
    controls: list[Sample] = []
    for spec in config.task:
        task = parse_task(spec)
        of_task, of_controls = _task_samples(task, config, tokenizer)
        cells += of_task
        controls += of_controls
    return cells + controls


def make_canaries(config: SweepConfig, tokenizer: Tokenizer) -> list[Sample]:
    """A code at the start, in the middle and at the end of every length.

    Where the lengths reach a server's advertised window, a prompt of one token too many as well: by itself, since
    some servers check the prompt alone and others the room for the completion too.

    Raises BudgetError for a length that has no room for it.
    """
    task = Canary()
    frame = _frame(task, dataclasses.replace(config, design="isolated"), tokenizer)
    places = [(length, depth) for length in config.lengths for depth in DEPTHS]
    if config.backend == "openai" and 0 < config.window <= max(config.lengths):
        places.append((config.window + 1 + frame.max_new_tokens, DEPTHS[-1]))
    (trial,) = _trials(config.haystack, dataclasses.replace(config, trials=1), tokenizer, 1 + frame.max_new_tokens)
    canaries = []
    for length, depth in places:
        item = task.item(frame.rng(0, depth), depth)
        canaries.append(dataclasses.replace(build_isolated(frame, trial, length, depth, item), control="canary"))
    return canaries


def _frame(task: Task, config: SweepConfig, tokenizer: Tokenizer) -> Frame:
    return Frame(
        task=task.spec(),
        design=config.design,
        seed=config.seed,
        tokenizer=tokenizer,
        template=choose_template(config.template, task.instruction, tokenizer),
        max_new_tokens=task.max_new_tokens + config.thinking_tokens,
        stop=task.stop,
    )


def _task_samples(task: Task, config: SweepConfig, tokenizer: Tokenizer) -> tuple[list[Sample], list[Sample]]:
    grid = Grid(config.lengths, config.depths)
    frame = _frame(task, config, tokenizer)
    controls: list[Sample] = []
    if isinstance(task, NeedleTask):
        cells = build_samples(frame, grid, _trials(task.filler or config.haystack, config, tokenizer), task.item)
        if config.controls:
            controls = build_controls(frame, grid, config.trials, task.item)
    elif isinstance(task, StoryTask):
        if config.haystack not in (stories.NAME, SweepConfig().haystack):
            raise ConfigError(
                f"{task.name} asks about its own story; it cannot be asked with --haystack {config.haystack}."
            )
        source, longest = get_source(stories.NAME), max(config.lengths)
        trials = [load_story(source, config.seed, number, tokenizer, longest) for number in range(config.trials)]
        told = build_stories(frame, grid, trials, task.recall)
        cells = [one.sample for one in told]
        if config.controls:
            controls = build_story_controls(frame, trials, told)
    elif isinstance(task, ListTask):
        rooms = {length: task.room(length) + config.thinking_tokens for length in config.lengths}
        cells = build_lists(frame, grid, config.trials, task.min_entries, rooms.__getitem__, task.listing)
        if config.controls:
            controls = build_list_controls(frame, grid, config.trials, task.min_entries, task.listing)
    elif isinstance(task, PromptFile):
        trial_of: Counter[tuple[int, float]] = Counter()
        cells = []
        for given in task.given():
            cells.append(build_given(frame, given, trial_of[given.length, given.depth]))
            trial_of[given.length, given.depth] += 1
    else:
        raise TypeError(f"{task.name} is neither a needle, a story, a list nor a file")
    return cells, controls


def _trials(haystack: str, config: SweepConfig, tokenizer: Tokenizer, spare: int = 0) -> list[Trial]:
    """Filler for the longest length and `spare` tokens more."""
    source, longest, numbers = get_source(haystack), max(config.lengths) + spare, range(config.trials)
    if haystack == stories.NAME:
        return [load_story_text(source, config.seed, number, tokenizer, longest) for number in numbers]
    return [load_trial(source, config.seed, number, tokenizer, longest, config.allow_repeats) for number in numbers]
