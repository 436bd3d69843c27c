"""Closed-book and short controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Bench, needle_task

from longctx.config import SweepConfig
from longctx.documents.build import Grid, build_controls, build_samples
from longctx.documents.tokenizer import HubTokenizer
from longctx.records import Sample
from longctx.samples import make_samples

GRID = Grid((512, 1024), (0.0, 0.5, 1.0))
TASK = needle_task("niah_single:digits=4")


@pytest.mark.parametrize("name", ["byte_level", "metaspace"])
@pytest.mark.parametrize("template", ["chat", "plain"])
def test_controls_ask_the_same_without_the_haystack(bench: Bench, name: str, template: str) -> None:
    frame, hub = bench.frames[name, template, "isolated"], bench.hubs[name]
    controls = build_controls(frame, GRID, 2, TASK.item)
    cells = build_samples(frame, GRID, bench.trials[name], TASK.item)
    assert len(controls) == 2 * 2 * 3
    assert {c.targets for c in controls} == {s.targets for s in cells}
    for control in controls:
        text = hub.decode(control.prompt.token_ids()).removeprefix("<bos>" if template == "plain" else "")
        assert text.removeprefix("<bos>") == control.prompt.text().removeprefix("<bos>")
        (same,) = {s.prompt.tail_text for s in cells if s.targets == control.targets}
        assert control.prompt.tail_text == same
        assert (f"is {control.targets[0]}." in text) == (control.control == "short")
        assert control.prompt.num_tokens < 200
        assert len(control.support_positions) == (control.control == "short")
    assert len({control.id for control in controls}) == len(controls)


def test_packed_controls_cover_every_question(bench: Bench) -> None:
    frame = bench.frames["byte_level", "chat", "packed"]
    controls = build_controls(frame, GRID, 1, TASK.item)
    cells = build_samples(frame, GRID, bench.trials["byte_level"][:1], TASK.item)
    assert {c.targets for c in controls if c.control == "short"} == {s.targets for s in cells}
    assert len(controls) == 2 * len(cells)


def test_controls_can_be_left_out(hub_tokenizers: dict[str, Any], cache_folder: Path) -> None:
    def make(controls: bool) -> list[Sample]:
        config = SweepConfig(lengths=(512,), depths=(0.5,), trials=1, controls=controls, template="plain")
        return make_samples(config, HubTokenizer(hub_tokenizers["byte_level"]))

    assert [sample.control for sample in make(True)] == [None, "closed_book", "short"]
    assert [sample.control for sample in make(False)] == [None]
