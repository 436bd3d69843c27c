"""What the README says is true."""

from __future__ import annotations

import random
import re
from pathlib import Path

from conftest import needle_task

from longctx.cli import main
from longctx.documents.build import Grid, build_samples
from longctx.documents.frame import Frame, Trial
from longctx.records import Design, Item, Needle, Score
from longctx.tasks.base import NeedleTask

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 200


def test_its_options_exist() -> None:
    parameters = [parameter for command in main.commands.values() for parameter in command.params]
    known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--no-deps", "--nproc-per-node"}
    assert used <= known


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search(r"^(> )?[A-Z]+$", README, re.MULTILINE)


def test_its_task_can_be_added(frames: dict[tuple[str, str, Design], Frame], trials: dict[str, list[Trial]]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {
        "NeedleTask": NeedleTask,
        "Item": Item,
        "Needle": Needle,
        "Score": Score,
        "random": random,
        "WORDS": ["plover", "quince", "sorrel"],
    }
    exec(code, names)
    task = needle_task("password:max_new_tokens=8")
    samples = build_samples(
        frames["byte_level", "chat", "isolated"], Grid((512,), (0.5,)), trials["byte_level"][:1], task.item
    )
    assert task.score(f" {samples[0].targets[0]}.\n", samples[0].targets).value == 1.0
    assert task.score(" teapot", samples[0].targets).value == 0.0
