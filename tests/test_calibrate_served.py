"""Phantoms calibrated through a real server of transformers on loopback, and what happens where there is none."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from longctx.backends.endpoint.content import Sender
from longctx.backends.endpoint.protocol import Request
from longctx.calibrate import cases as calibrate_cases
from longctx.calibrate import served
from longctx.calibrate.cases import Case, quick_cases
from longctx.cli import main
from longctx.errors import ModelError
from longctx.records import Prompt
from longctx.store import read_manifest, read_rows

needs_server = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("fastapi", "uvicorn"))), reason="transformers' server is not installed"
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    with served.transformers_server(log, "cpu", kept_tokens=2**16) as found:
        yield found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window in the isolated design and wrong digits in the packed one: silence, answers, and wrong ones."""

    def few() -> Iterator[Case]:
        for case in quick_cases():
            if case.name in ("window-1k-isolated-float32", "unlimited-misreads-7-packed-float32"):
                yield dataclasses.replace(case, config=dataclasses.replace(case.config, depths=(0.0, 1.0)))

    monkeypatch.setattr(calibrate_cases, "quick_cases", few)


def calibrate(out: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["calibrate", "--quick", "--backend", "endpoint", "--out", str(out), *options])


@needs_server
def test_phantoms_measure_as_designed_through_a_server(url: str, small: None, tmp_path: Path) -> None:
    result = calibrate(tmp_path, "--base-url", url)
    assert result.exit_code == 0, result.output
    window, misread = json.loads((tmp_path / "calibration.json").read_text())
    assert (window["name"], misread["name"]) == ("window-1k-isolated-served", "unlimited-misreads-7-packed-served")
    assert abs(window["edges"][0]["measured"] - 1024) < 0.05 * 1024
    rows = read_rows(tmp_path / window["name"])
    # What it does not see it says nothing to, which a sweep of any other model would count as no score.
    assert {row.status for row in rows} == {"ok", "empty"}
    assert all(row.server_prompt_tokens == row.num_prompt_tokens for row in rows)
    assert {row.score for row in read_rows(tmp_path / misread["name"])} == {0.0, 1.0}
    manifest = read_manifest(tmp_path / window["name"])
    assert manifest["config"]["base_url"] == manifest["model"]["base_url"] == url
    assert str(tmp_path) not in json.dumps(manifest["model"])


@needs_server
def test_a_server_that_loses_the_middle_of_prompts_is_off(
    url: str, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts what is left as if nothing had been cut, so that answers alone can tell."""
    whole = Sender.request

    def cut(self: Sender, prompt: Prompt, num_top_logprobs: int = 0) -> Request:
        request = whole(self, prompt, num_top_logprobs)
        assert isinstance(request.content, str)
        words = request.content.split(" ")
        gone = slice(100, max(100, len(words) - 400))
        return dataclasses.replace(request, content=" ".join(words[: gone.start] + words[gone.stop :]))

    monkeypatch.setattr(Sender, "request", cut)
    monkeypatch.setattr("longctx.backends.endpoint.counts.CountCheck.fault", lambda *_: None)
    result = calibrate(tmp_path, "--base-url", url)
    assert result.exit_code == 1, result.output
    found = json.loads((tmp_path / "calibration.json").read_text())
    assert found[0]["findings"]["false alarm"] > 0  # what was out of sight has come near


@needs_server
def test_a_run_with_a_server_of_its_own_goes_on_where_it_was(
    url: str, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port is another one every time, and answers that were silence are answers."""

    @contextlib.contextmanager
    def as_if_started(log: Path, device: str, kept_tokens: int) -> Iterator[str]:
        assert (log, kept_tokens) == (tmp_path / "server.log", 2**16)
        yield url

    monkeypatch.setattr(served, "transformers_server", as_if_started)
    assert calibrate(tmp_path).exit_code == 0
    folder = tmp_path / "window-1k-isolated-served"
    assert read_manifest(folder)["model"]["base_url"] == served.OWN_SERVER
    before = (folder / "rows.jsonl").read_bytes()
    assert calibrate(tmp_path).exit_code == 0
    assert (folder / "rows.jsonl").read_bytes() == before


def test_a_server_that_is_not_installed_is_refused(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "_NEEDED", ("no_such_package",))
    result = calibrate(tmp_path)
    assert result.exit_code == 2
    assert "needs no_such_package: pip install 'transformers[serving]'" in result.output


@needs_server
def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Even if that is killed, and has no chance to stop it."""
    program = f"""
import sys
from pathlib import Path
import psutil
from longctx.calibrate.served import transformers_server
with transformers_server(Path({str(tmp_path / "server.log")!r}), "cpu"):
    print(psutil.Process().children()[0].pid, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = psutil.Process(int(process.stdout.readline()))
        process.kill()
    server.wait(60)  # raises if it goes on


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_NEEDED", ())
    monkeypatch.setattr(served, "_PROGRAM", "raise SystemExit('no room for it')")
    log = tmp_path / "server.log"
    with pytest.raises(ModelError, match="no room for it"), served.transformers_server(log, "cpu"):
        pass
