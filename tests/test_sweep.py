"""Whole sweeps: with a scripted backend, with a tiny model, and interrupted."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from longctx.backends.scripted import ScriptedBackend
from longctx.cli import main
from longctx.config import SweepConfig
from longctx.engine.loading import ModelCard, read_card
from longctx.engine.sources import find_source
from longctx.records import Prompt, Row
from longctx.samples import make_samples
from longctx.store import RunFolder, read_manifest, read_rows
from longctx.sweep.plan import resolve
from longctx.sweep.run import missing, run_samples

GRID = ["--lengths", "300,600", "--depths", "3", "--trials", "2", "--device", "cpu", "--no-controls"]


@pytest.fixture(scope="module")
def card(model_folder: Path) -> ModelCard:
    return read_card(find_source(str(model_folder)))


@pytest.fixture(scope="module")
def config(card: ModelCard) -> SweepConfig:
    asked = SweepConfig(
        model="m",
        lengths=(300, 600, 1200),
        depths=(0.0, 0.5),
        trials=2,
        beyond_window=True,
        device="cpu",
        controls=False,
    )
    return resolve(asked, card)


def run_scripted(
    card: ModelCard, config: SweepConfig, path: Path, answer: Callable[[Prompt], str]
) -> tuple[list[Row], list[str]]:
    """All rows after a run with a scripted model, and the ids of the samples that it was asked."""
    asked: list[str] = []

    def noting(prompt: Prompt) -> str:
        asked.append(prompt.id)
        return answer(prompt)

    samples = make_samples(config, card.tokenizer)
    backend = ScriptedBackend(noting)
    identity = {"config": config.to_json(), "model": dict(backend.fingerprint)}
    with RunFolder(path, identity, {}) as folder:
        todo = missing(samples, read_rows(path))
        run_samples(todo, config, card.window, backend, folder, lambda row: None, lambda flops: None)
    return read_rows(path), asked


def targets(card: ModelCard, config: SweepConfig) -> dict[str, str]:
    return {sample.id: sample.targets[0] for sample in make_samples(config, card.tokenizer)}


def test_rows_say_what_was_measured(card: ModelCard, config: SweepConfig, tmp_path: Path) -> None:
    right = targets(card, config)
    rows, _ = run_scripted(card, config, tmp_path, lambda p: f" {right[p.id]}." if p.num_tokens < 500 else " 1")
    assert len(rows) == 12
    for row in rows:
        assert row.score == (1.0 if row.length == 300 else 0.0)
        assert row.beyond_window == (row.length == 1200)
        assert row.num_prompt_tokens + row.max_new_tokens == row.length
        assert row.design == "isolated"
        assert abs(row.needle_depth - row.depth) < 0.1


def test_only_what_is_missing_or_failed_is_run_again(card: ModelCard, config: SweepConfig, tmp_path: Path) -> None:
    right = targets(card, config)

    def fails_at_600(prompt: Prompt) -> str:
        if 500 < prompt.num_tokens < 700:
            raise MemoryError("no room")
        return right[prompt.id]

    rows, asked = run_scripted(card, config, tmp_path, fails_at_600)
    assert len(asked) == 12
    failed = [row for row in rows if row.length == 600]
    assert [(row.status, row.score) for row in failed] == [("oom", None)] * 4
    assert all("no room" in str(row.error) for row in failed)
    rows, asked = run_scripted(card, config, tmp_path, lambda prompt: right[prompt.id])
    assert sorted(asked) == sorted(row.sample_id for row in failed)
    assert [row.score for row in rows] == [1.0] * 12
    rows, asked = run_scripted(card, config, tmp_path, lambda prompt: "never asked")
    assert asked == []


def test_an_interrupt_keeps_what_was_finished(card: ModelCard, config: SweepConfig, tmp_path: Path) -> None:
    right = targets(card, config)
    count = 0

    def breaks_after_five(prompt: Prompt) -> str:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        return right[prompt.id]

    with pytest.raises(KeyboardInterrupt):
        run_scripted(card, config, tmp_path, breaks_after_five)
    assert len(read_rows(tmp_path)) == 5
    _, asked = run_scripted(card, config, tmp_path, lambda prompt: right[prompt.id])
    assert len(asked) == 7


def test_a_backend_that_leaves_a_prompt_out_is_a_bug(card: ModelCard, config: SweepConfig, tmp_path: Path) -> None:
    class Forgetful(ScriptedBackend):
        def answers(self, prompts: Any, drafts: Any, on_progress: Any) -> Any:
            return super().answers(prompts[1:], drafts, on_progress)

    samples = make_samples(config, card.tokenizer)
    with RunFolder(tmp_path, {}, {}) as folder, pytest.raises(RuntimeError, match="left 1 prompts unanswered"):
        run_samples(samples, config, 1024, Forgetful(lambda p: ""), folder, lambda row: None, lambda flops: None)


def sweep(model_folder: Path, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["sweep", "--model", str(model_folder), "--out", str(out), *GRID, *arguments])


def test_a_sweep_from_the_command_line_leaves_everything(model_folder: Path, tmp_path: Path) -> None:
    result = sweep(model_folder, tmp_path / "run")
    assert result.exit_code == 0, result.output
    files = {path.name for path in (tmp_path / "run").iterdir()}
    pictures = {"bars.png", "bars.svg", "heatmap.png", "heatmap.svg"}
    assert files == {"manifest.json", "rows.jsonl", "report.html", "report.md"} | pictures
    assert "12 of 12 samples to run" in result.output
    assert "tiny-llama advertises 1,024 tokens; its effective length" in result.output
    rows = read_rows(tmp_path / "run")
    assert len(rows) == 12
    assert all(row.status == "ok" for row in rows)
    assert all(row.num_prompt_tokens + row.max_new_tokens == row.length for row in rows)
    manifest = read_manifest(tmp_path / "run")
    assert manifest["model"].keys() >= {"weights", "config", "template", "tokenizer", "dtype", "attention"}
    assert manifest["config"]["lengths"] == [300, 600]
    (start,) = manifest["starts"]
    assert start["packages"]["torch"]
    assert start["hardware"]["num_cores"] >= 1
    assert start.keys() >= {"started", "code"}
    assert all(row.targets[0] in row.excerpt and row.question for row in rows)
    (end,) = manifest["ends"]
    assert end["kv_bytes"]["device"] > 0
    assert end["flops"] > 0
    assert f"{end['flops']:.3g} floating-point operations" in (tmp_path / "run" / "report.md").read_text()


def test_a_second_call_runs_nothing_and_draws_again(model_folder: Path, tmp_path: Path) -> None:
    sweep(model_folder, tmp_path)
    before = (tmp_path / "rows.jsonl").read_bytes()
    (tmp_path / "report.html").unlink()
    result = sweep(model_folder, tmp_path)
    assert result.exit_code == 0
    assert "0 of 12 samples to run" in result.output
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    assert (tmp_path / "report.html").exists()


def test_packed_rows_say_how_many_tokens_were_prefilled(model_folder: Path, tmp_path: Path) -> None:
    result = sweep(model_folder, tmp_path, "--design", "packed", "--lengths", "400,1k")
    assert result.exit_code == 0, result.output
    rows = read_rows(tmp_path)
    assert sum(row.num_prefilled_prefix_tokens for row in rows) <= 1.15 * 2 * 1024
    assert sum(row.num_prefilled_prefix_tokens for row in rows) > 2 * 900
    for row in rows:
        assert 0 <= row.length - row.num_prompt_tokens - row.max_new_tokens <= 64


def test_a_dry_run_needs_no_weights_and_writes_nothing(model_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    result = sweep(folder, tmp_path / "run", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "> isolated" in result.output
    assert "packed" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "niah_singel"], "Did you mean niah_single "),
        (["--task", "niah_single:digts=3"], "Did you mean digits?"),
        (["--lengths", "10Z"], "'10Z' is not a length"),
        (["--lengths", "2k"], "is over the 1k tokens"),
        (["--lengths", "64"], "too short for niah_single"),
        (["--design", "pakced"], "Did you mean packed?"),
        (["--depths", "1.5"], "between 0.0 and 1.0"),
        (["--haystack", "essays"], "Unknown haystack 'essays'"),
        (["--task", "niah_single,niah_single:digits=7"], "names a value twice"),
        (["--template", "chta"], "Did you mean chat?"),
        (["--device", "cuda:97"], "'cuda:97' cannot be used"),
        (["--model", "smollm"], "Did you mean smollm2-135m-instruct?"),
        (["--config", "none.toml"], "none.toml"),
    ],
)
def test_wrong_input_ends_with_exit_code_2_and_a_reason(
    model_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = sweep(model_folder, tmp_path / "run", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "run").exists()


def test_an_out_folder_of_another_config_is_left_as_it_is(model_folder: Path, tmp_path: Path) -> None:
    sweep(model_folder, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = sweep(model_folder, tmp_path, "--seed", "1")
    assert result.exit_code == 2
    assert "config.seed: 0 -> 1" in result.output
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_truncated_weight_file_ends_with_exit_code_2(model_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    result = sweep(folder, tmp_path / "run")
    assert result.exit_code == 2
    assert "is damaged" in result.output


def test_hours_of_isolated_prefill_are_asked_about(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longctx.engine.speed.prefill_rate", lambda dtype, device: 1e3)
    result = sweep(model_folder, tmp_path / "run")
    assert result.exit_code == 2
    assert "Add --yes, or choose --design packed" in result.output
    assert not (tmp_path / "run").exists()
    assert sweep(model_folder, tmp_path / "run", "--yes").exit_code == 0
    assert sweep(model_folder, tmp_path / "packed", "--design", "packed").exit_code == 0  # only isolated asks


def test_a_config_file_gives_the_same_sweep_as_flags(model_folder: Path, tmp_path: Path) -> None:
    sweep(model_folder, tmp_path / "flags")
    file = tmp_path / "sweep.toml"
    values = ['lengths = "300,600"', "depths = 3", "trials = 2", 'device = "cpu"', "controls = false"]
    file.write_text("\n".join([f'model = "{model_folder}"', *values]))
    CliRunner().invoke(main, ["sweep", "--config", str(file), "--out", str(tmp_path / "file")])

    def scores(folder: Path) -> dict[str, Any]:
        return {row.sample_id: (row.score, row.answer) for row in read_rows(folder)}

    assert scores(tmp_path / "flags") == scores(tmp_path / "file") != {}


def on_disk(out: Path) -> list[str]:
    """More trials, with all keys and values in files."""
    return ["--trials", "5", "--kv-device", "0GiB", "--kv-disk", str(out / "kv"), "--chunk", "64"]


def start_sweep(model_folder: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "longctx", "sweep", "--model", str(model_folder), "--out", str(out), *GRID]
    return subprocess.Popen(
        [*command, *on_disk(out)],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ),
    )


def wait_for_rows(process: subprocess.Popen[str]) -> None:
    """Until it says that the first rows are there, or ends."""
    assert process.stdout is not None
    for line in process.stdout:
        if (found := re.search(r"(\d+)/\d+ samples", line)) and int(found[1]) > 5:
            break


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_sweep_loses_nothing_that_was_finished(
    model_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start_sweep(model_folder, tmp_path)
    wait_for_rows(process)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), output
    kept = {row.sample_id: row for row in read_rows(tmp_path)}
    assert 5 < len(kept) < 30
    again = sweep(model_folder, tmp_path, *on_disk(tmp_path))
    assert again.exit_code == 0, again.output
    rows = {row.sample_id: row for row in read_rows(tmp_path)}
    assert len(rows) == 30
    assert {name: rows[name] for name in kept} == kept
    lines = (tmp_path / "rows.jsonl").read_bytes().count(b"\n")
    assert lines == 30  # nothing was run twice
    assert not list((tmp_path / "kv").rglob("*"))


def test_prompts_that_changed_under_a_config_are_refused(model_folder: Path, tmp_path: Path) -> None:
    sweep(model_folder, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"samples": "other"}))
    result = sweep(model_folder, tmp_path)
    assert result.exit_code == 2
    assert "samples: " in result.output


def test_rows_are_flat_json_with_all_their_fields(model_folder: Path, tmp_path: Path) -> None:
    sweep(model_folder, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    fields = {field.name for field in dataclasses.fields(Row)}
    assert all(line.keys() == fields for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kv-device", "lots"], "'lots' is not an amount of memory"),
        (["--chunk", "many"], "chunk is 'many'"),
        (["--attention", "fa9"], "fa9"),
        (["--attention", "fa3"], "does not run on cpu"),
        (["--rope", "float16"], "float16"),
        (["--shard", "3/2"], "is not a shard"),
        (["--kv-disk", "/proc/nowhere"], "--kv-disk: cannot keep keys and values"),
    ],
)
def test_what_the_engine_cannot_do_is_refused(
    model_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = sweep(model_folder, tmp_path / "run", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_what_fits_in_no_tier_is_a_row_and_the_rest_goes_on(model_folder: Path, tmp_path: Path) -> None:
    """A block of 4,096 tokens takes half a megabyte in each of two layers."""
    grid = ["--lengths", "300,9000", "--depths", "1", "--trials", "1", "--beyond-window"]
    result = sweep(model_folder, tmp_path / "run", *grid, "--kv-device", "2.5MB")
    assert result.exit_code == 0, result.output
    found = {row.length: row.status for row in read_rows(tmp_path / "run")}
    assert found == {300: "ok", 9000: "no_space"}
    assert r"| no\_space | 1 |" in (tmp_path / "run" / "report.md").read_text()
