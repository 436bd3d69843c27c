"""Parts of a sweep: disjoint, together whole, and together the same rows as one process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import needle_task
from hypothesis import given
from hypothesis import strategies as st

from longctx.cli import main
from longctx.documents.build import Grid, build_samples
from longctx.documents.frame import Frame, Trial
from longctx.engine import machine
from longctx.errors import ConfigError, StoreError
from longctx.records import Design, Row, Sample
from longctx.store import RunFolder, read_manifest, read_rows
from longctx.sweep.shard import Shard, launched_device, launched_shard, parse_shard

GRID = ["--lengths", "300,600", "--depths", "2", "--trials", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def samples(frames: dict[tuple[str, str, Design], Frame], trials: dict[str, list[Trial]]) -> list[Sample]:
    frame, item = frames["byte_level", "chat", "isolated"], needle_task("niah_single:digits=4").item
    return build_samples(frame, Grid((400,), (0.0, 1.0)), trials["byte_level"], item)


@given(count=st.integers(1, 5))
def test_parts_are_disjoint_and_together_whole(samples: list[Sample], count: int) -> None:
    parts = [Shard(index, count).pick(samples) for index in range(1, count + 1)]
    assert sorted(s.id for part in parts for s in part) == sorted(s.id for s in samples)
    trials = [{sample.cell.trial for sample in part} for part in parts]
    assert sum(map(len, trials)) == len({sample.cell.trial for sample in samples})  # none is torn apart


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a shard"):
        parse_shard(text)


def test_launchers_say_which_part_and_which_gpu() -> None:
    environment = {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "0"}
    assert launched_shard(environment) == parse_shard("3/4")
    assert launched_shard({}) == Shard()
    assert launched_device("cuda", environment) == "cuda:0"
    assert [launched_device(device, environment) for device in ("cpu", "cuda:5")] == ["cpu", "cuda:5"]
    assert launched_device("cuda", {}) == "cuda"


def test_launched_processes_share_the_memory_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_bytes", lambda: 1000)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert machine.default_budgets("cpu") == (700, 0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert machine.default_budgets("cpu") == (175, 0)


def sweep(folder: Path, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["sweep", "--model", str(folder), *GRID, "--out", str(out), *arguments])


def without_times(rows: list[Row]) -> dict[str, Row]:
    """What was shared with whom decides who is charged for it, so that may differ too."""
    return {
        row.sample_id: dataclasses.replace(
            row, seconds=0.0, finished="", num_prefilled_tokens=0, num_prefilled_prefix_tokens=0
        )
        for row in rows
    }


def test_two_parts_and_one_process_give_the_same_rows(model_folder: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert sweep(model_folder, whole).exit_code == 0
    first = sweep(model_folder, parts, "--shard", "1/2")
    assert first.exit_code == 0, first.output
    assert "Part 1 of 2 is done" in first.output
    assert not (parts / "report.html").exists()
    second = sweep(model_folder, parts, "--shard", "2/2")
    assert second.exit_code == 0, second.output
    assert (parts / "report.html").exists()
    assert without_times(read_rows(parts)) == without_times(read_rows(whole))
    assert {path.name for path in parts.glob("*.jsonl")} == {"rows-1-of-2.jsonl", "rows-2-of-2.jsonl"}
    assert len(read_manifest(parts)["starts"]) == 2
    again = sweep(model_folder, parts)  # all is there, whatever the parts were
    assert "0 of " in again.output


def test_a_part_is_written_by_one_process_and_a_success_in_any_file_counts(tmp_path: Path) -> None:
    from rows import make_row

    good, bad = make_row(sample_id="a"), make_row(sample_id="a", status="oom", score=None, near_miss=None, error="x")
    with RunFolder(tmp_path, {}, {}, "rows-1-of-2.jsonl") as first:
        first.append(good)
        with RunFolder(tmp_path, {}, {}, "rows-2-of-2.jsonl") as second:
            second.append(bad)
        with pytest.raises(StoreError, match=r"rows-1-of-2.jsonl is in use"):
            RunFolder(tmp_path, {}, {}, "rows-1-of-2.jsonl")
    assert read_rows(tmp_path) == [good]
