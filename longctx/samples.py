"""From what was asked to samples: every task, every cell, every trial, in one tokenizer's tokens."""

from __future__ import annotations

from longctx.config import SweepConfig
from longctx.documents.build import (
    Grid,
    build_controls,
    build_list_controls,
    build_lists,
    build_samples,
    load_trial,
)
from longctx.documents.frame import Frame
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import Tokenizer
from longctx.haystack import get_source
from longctx.records import Sample
from longctx.tasks import parse_task
from longctx.tasks.base import ListTask, NeedleTask


def make_samples(config: SweepConfig, tokenizer: Tokenizer) -> list[Sample]:
    """All samples of a resolved config, controls last; raises BudgetError or SpliceError."""
    grid = Grid(config.lengths, config.depths)
    cells: list[Sample] = []
    controls: list[Sample] = []
    for spec in config.task:
        task = parse_task(spec)
        frame = Frame(
            task=task.spec(),
            design=config.design,
            seed=config.seed,
            tokenizer=tokenizer,
            template=choose_template(config.template, task.instruction, tokenizer),
            max_new_tokens=task.max_new_tokens,
            stop=task.stop,
        )
        if isinstance(task, NeedleTask):
            source = get_source(task.filler or config.haystack)
            numbers = range(config.trials)
            trials = [load_trial(source, config.seed, number, tokenizer, max(config.lengths)) for number in numbers]
            cells += build_samples(frame, grid, trials, task.item)
            if config.controls:
                controls += build_controls(frame, grid, config.trials, task.item)
        elif isinstance(task, ListTask):
            cells += build_lists(frame, grid, config.trials, task.min_entries, task.room, task.listing)
            if config.controls:
                controls += build_list_controls(frame, grid, config.trials, task.min_entries, task.listing)
    return cells + controls
