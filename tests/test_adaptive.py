"""Sweeps that choose what they ask next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longctx.backends.scripted import ScriptedBackend
from longctx.cli import main
from longctx.config import SweepConfig, resolve_config
from longctx.engine.loading import ModelCard, read_card
from longctx.engine.sources import find_source
from longctx.errors import ConfigError
from longctx.records import Prompt, Row, Sample
from longctx.samples import make_samples
from longctx.store import RunFolder, read_rows
from longctx.sweep.adaptive import (
    AdaptiveDesign,
    Budget,
    Step,
    make_design,
    parse_budget,
    run_adaptive,
    to_ask_first,
)
from longctx.sweep.plan import resolve


@pytest.fixture(scope="module")
def card(model_folder: Path) -> ModelCard:
    return read_card(find_source(str(model_folder)))


@pytest.fixture(scope="module")
def config(card: ModelCard) -> SweepConfig:
    asked = SweepConfig(
        model="m",
        lengths=(256, 384, 512, 768, 1024),
        trials=6,
        device="cpu",
        controls=False,
        adaptive=True,
    )
    return resolve(asked, card)


@pytest.fixture(scope="module")
def samples(card: ModelCard, config: SweepConfig) -> list[Sample]:
    return make_samples(config, card.tokenizer)


@pytest.fixture(scope="module")
def design(card: ModelCard, config: SweepConfig, samples: list[Sample]) -> AdaptiveDesign:
    whole = make_design(samples, config, card.shape, Budget(), 1e9)
    assert whole.budget_flops == 0.25 * whole.grid_flops
    return dataclasses.replace(whole, budget_flops=0.5 * whole.grid_flops)


class Model:
    """Right up to so many tokens; notes what it was asked."""

    def __init__(self, samples: list[Sample], longest: int, stop_after: int = 10**9) -> None:
        self.targets = {sample.id: sample.targets[0] for sample in samples}
        self.longest, self.stop_after = longest, stop_after
        self.asked: list[str] = []

    def __call__(self, prompt: Prompt) -> str:
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(prompt.id)
        return self.targets[prompt.id] if prompt.num_tokens < self.longest else "no idea"


def run(
    design: AdaptiveDesign, samples: list[Sample], config: SweepConfig, path: Path, answer: Callable[[Prompt], str]
) -> tuple[list[Row], str]:
    backend = ScriptedBackend(answer)
    rows = read_rows(path) if path.exists() else []
    with RunFolder(path, {"config": config.to_json(), "model": dict(backend.fingerprint)}, {}) as folder:
        first = to_ask_first(samples, rows)
        stop = run_adaptive(design, first, config, 1024, backend, folder, rows, lambda row: None, lambda flops: None)
    return read_rows(path), stop


def test_it_finds_the_length_for_a_part_of_the_grid(
    design: AdaptiveDesign, samples: list[Sample], config: SweepConfig, tmp_path: Path
) -> None:
    rows, stop = run(design, samples, config, tmp_path / "run", Model(samples, 600))
    found = design.fit(rows).effective
    assert found.value == found.high == 512
    assert found.low in (384, 512)  # 30 of 30 at 512 need not be more than 85.6 %
    assert stop == "budget"
    assert 0.4 * design.grid_flops < design.spent(rows) <= design.budget_flops
    assert len(rows) < 0.8 * len(samples)
    counts = {length: sum(row.length == length for row in rows) for length in config.lengths}
    assert counts[512] + counts[768] > counts[256] + counts[1024]
    assert not design.goes_on(rows)


def test_a_stopped_sweep_goes_on_as_if_it_had_not_been(
    design: AdaptiveDesign, samples: list[Sample], config: SweepConfig, tmp_path: Path
) -> None:
    whole, _ = run(design, samples, config, tmp_path / "whole", Model(samples, 600))
    with pytest.raises(KeyboardInterrupt):
        run(design, samples, config, tmp_path / "parts", Model(samples, 600, stop_after=10))
    assert len(read_rows(tmp_path / "parts")) == 10  # in the middle of a step
    parts, _ = run(design, samples, config, tmp_path / "parts", Model(samples, 600))
    assert [row.sample_id for row in parts] == [row.sample_id for row in whole]
    again = Model(samples, 600)
    run(design, samples, config, tmp_path / "parts", again)
    assert again.asked == []


def test_the_budget_bounds_it(
    card: ModelCard, samples: list[Sample], config: SweepConfig, design: AdaptiveDesign, tmp_path: Path
) -> None:
    small = make_design(samples, config, card.shape, Budget(flops=0.1 * design.grid_flops), 1e9)
    rows, stop = run(small, samples, config, tmp_path / "run", Model(samples, 600))
    assert stop == "budget"
    assert 0 < small.spent(rows) <= 0.1 * design.grid_flops
    more = dataclasses.replace(small, budget_flops=design.budget_flops)
    longer, _ = run(more, samples, config, tmp_path / "run", Model(samples, 600))
    assert longer[: len(rows)] == rows
    assert small.budget_flops < more.spent(longer) <= more.budget_flops


def test_a_length_that_fails_is_not_asked_for_ever(
    design: AdaptiveDesign, samples: list[Sample], config: SweepConfig, tmp_path: Path
) -> None:
    model = Model(samples, 600)

    def fails_at_768(prompt: Prompt) -> str:
        if 700 < prompt.num_tokens < 800:
            raise MemoryError("no room")
        return model(prompt)

    rows, _ = run(design, samples, config, tmp_path / "run", fails_at_768)
    assert sum(row.status == "oom" for row in rows) == 5
    retried = to_ask_first(samples, rows)
    assert sorted(s.id for s in retried) == sorted(row.sample_id for row in rows if row.status == "oom")
    rows, _ = run(design, samples, config, tmp_path / "run", model)
    assert {row.status for row in rows} == {"ok"}
    assert design.fit(rows).effective.value == 512


def test_controls_are_asked_first(card: ModelCard, config: SweepConfig) -> None:
    some = dataclasses.replace(config, controls=True, lengths=(256, 512), trials=1)
    samples = make_samples(some, card.tokenizer)
    first = to_ask_first(samples, [])
    assert first
    assert all(sample.control for sample in first)
    made = make_design(samples, some, card.shape, Budget(flops=1e12), 1e9)
    assert all(sample.control is None for step in made.steps for sample in step.samples)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("1e18FLOP", Budget(flops=1e18)),
        ("2.5e+12 flop", Budget(flops=2.5e12)),
        ("2h", Budget(seconds=7200.0)),
        ("30min", Budget(seconds=1800.0)),
        ("90s", Budget(seconds=90.0)),
    ],
)
def test_budgets(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "2 days", "1e999FLOP", "1.2.3h", "-1h"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a budget: write 1e18FLOP, 2h, 30min or 90s"):
        parse_budget(text)


def test_a_budget_in_time_is_one_at_a_rate(design: AdaptiveDesign) -> None:
    assert parse_budget("2h").at(1e12, 1e20) == 7.2e15
    assert parse_budget(None).at(1e12, 1e20) == 0.25e20


def test_it_may_ask_for_more_trials_than_a_grid() -> None:
    assert resolve_config(None, {}).trials == 3
    assert resolve_config(None, {"adaptive": True}).trials == 20
    assert resolve_config(None, {"adaptive": True, "trials": 7}).trials == 7


def test_the_plan_of_a_design(design: AdaptiveDesign, config: SweepConfig) -> None:
    assert [(step.length, step.trial) for step in design.steps[:7]] == [*((256, i) for i in range(6)), (384, 0)]
    assert all(len(step.samples) == 5 for step in design.steps)
    first = design.next([])
    assert isinstance(first, Step)
    assert first.length in config.lengths


def sweep(model_folder: Path, tmp_path: Path, *arguments: str) -> Result:
    grid = ["--lengths", "256,512,768", "--depths", "2", "--trials", "3", "--device", "cpu", "--no-controls"]
    command = ["sweep", "--model", str(model_folder), "--out", str(tmp_path / "run"), *grid, *arguments]
    return CliRunner().invoke(main, command)


def test_the_command_asks_reports_and_goes_on(model_folder: Path, tmp_path: Path) -> None:
    """The tiny model knows nothing, so the effective length is not reached."""
    result = sweep(model_folder, tmp_path, "--adaptive", "--budget", "1e12FLOP")
    assert result.exit_code == 0, result.output
    assert "adaptive, for the effective length under the rule ruler: at most" in result.output
    assert "Effective length under the rule ruler, fitted: not reached" in result.output
    rows = read_rows(tmp_path / "run")
    assert 0 < len(rows) <= 18
    assert "/18 samples" in result.output
    again = sweep(model_folder, tmp_path, "--adaptive", "--budget", "1e12FLOP")
    assert again.exit_code == 0, again.output
    assert read_rows(tmp_path / "run") == rows
    other = sweep(model_folder, tmp_path)
    assert other.exit_code == 2
    assert "adaptive" in other.output


def test_a_plan_that_cannot_answer_says_so(model_folder: Path, tmp_path: Path) -> None:
    result = sweep(model_folder, tmp_path, "--dry-run")
    assert result.exit_code == 0, result.output
    assert (
        "! n = 6 at a length: not even 6 of 6 right shows that a length passes 85.6%; from 12 trials" in result.output
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adaptive", "--design", "packed"], "it needs --design isolated"),
        (["--adaptive", "--task", "niah_single,vt"], "An adaptive sweep has one task"),
        (["--adaptive", "--rule", "all_depths"], "Unknown rule 'all_depths'"),
        (["--adaptive", "--shard", "1/2"], "An adaptive sweep is one process"),
        (["--adaptive", "--budget", "1FLOP"], "one trial at the shortest length takes"),
        (["--adaptive", "--budget", "much"], "'much' is not a budget"),
        (["--budget", "2h"], "A budget is for an adaptive sweep"),
        (["--rule", "nolima"], "it belongs to an adaptive sweep"),
    ],
)
def test_wrong_input_ends_with_a_message(
    model_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = sweep(model_folder, tmp_path, "--dry-run", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
