"""Comparisons that are stopped, and go on where they were."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from comparing import GREETINGS, REQUESTS, arguments, compare, two_servers
from faulty_server import Server
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import make_row

from longctx.backends.endpoint.protocol import TokenLogprob
from longctx.cli import main
from longctx.compare.kept import FILE, read_kept
from longctx.compare.records import Said, Taken
from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import StoreError
from longctx.store import RunFolder, read_manifest

PROBES = 6
GRID = ("--items", str(PROBES))


@pytest.fixture
def servers(tokenizer: HubTokenizer) -> Iterator[tuple[Server, Server]]:
    with two_servers(tokenizer) as both:
        yield both


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / FILE).read_bytes().splitlines()]


def comparison(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "compare.json").read_text())["comparison"]
    return found


def start_and_stop(servers: tuple[Server, Server], number: signal.Signals, command: list[str]) -> tuple[int, str]:
    """Exit code and output of a process that is stopped once B has 2 probes and hangs in the samples of the next."""
    reached = threading.Event()

    def hangs(text: str, attempt: int) -> str:
        if len(servers[1].seen) <= GREETINGS + 2 * REQUESTS + 1:
            return ""
        reached.set()
        return "hang"

    servers[1].fault = hangs
    process = subprocess.Popen(
        [sys.executable, "-m", "longctx", *command],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ),
    )
    while process.poll() is None and not reached.wait(0.1):
        pass
    process.send_signal(number)
    output, _ = process.communicate()
    servers[1].fault = lambda text, attempt: ""
    servers[1].released.set()
    return process.returncode, output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_comparison_loses_nothing_that_was_finished(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    code, output = start_and_stop(servers, number, arguments(servers, model_folder, tmp_path, *GRID))
    assert code == (-9 if number == signal.SIGKILL else 130), output
    kept = lines(tmp_path)
    assert [line["go"] for line in kept] == ["first"] * PROBES + ["second"] * PROBES + ["other"] * 2
    assert not (tmp_path / "compare.html").exists()
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"go": "other", "taken": {"pro')  # as a kill may leave it
    asked = [len(server.seen) for server in servers]
    result = compare(servers, model_folder, tmp_path, *GRID)
    assert result.exit_code == 0, result.output
    assert "4 of 18 probes to ask" in result.output
    assert [len(server.seen) - before for server, before in zip(servers, asked, strict=True)] == [
        GREETINGS,
        GREETINGS + 4 * REQUESTS,
    ]
    assert lines(tmp_path)[: len(kept)] == kept
    assert len(lines(tmp_path)) == 3 * PROBES
    compare(servers, model_folder, tmp_path / "whole", *GRID)
    assert comparison(tmp_path) == comparison(tmp_path / "whole")


def test_a_finished_comparison_is_drawn_again_and_asks_nobody(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path
) -> None:
    compare(servers, model_folder, tmp_path, *GRID)
    asked, first = [len(server.seen) for server in servers], comparison(tmp_path)
    (tmp_path / "compare.html").unlink()
    result = compare(servers, model_folder, tmp_path, *GRID, "--alpha", "0.01")
    assert result.exit_code == 0, result.output
    assert [len(server.seen) for server in servers] == asked
    assert comparison(tmp_path) == {**first, "alpha": 0.01}
    assert (tmp_path / "compare.html").exists()


def test_the_folder_of_another_comparison_is_refused(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path
) -> None:
    compare(servers, model_folder, tmp_path, "--items", "5", "--samples", "0")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for changes, message in (
        (["--items", "6", "--samples", "0"], "comparison.items: 5 -> 6"),
        (["--items", "5", "--samples", "3"], "comparison.samples: 0 -> 3"),
        (["--items", "5", "--samples", "0", "--seed", "1"], "comparison.config.seed: 0 -> 1"),
        (["--items", "5", "--samples", "0", "--lengths", "400"], "comparison.config.lengths: [300] -> [400]"),
    ):
        result = compare(servers, model_folder, tmp_path, *changes)
        assert result.exit_code == 2
        assert message in result.output
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_comparison_does_not_go_on_with_a_source_that_says_it_is_another(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path
) -> None:
    compare(servers, model_folder, tmp_path, *GRID, "--max-requests", "20")
    servers[1].switches_above = 0
    result = compare(servers, model_folder, tmp_path, *GRID)
    assert result.exit_code == 2
    assert 'sources.b.fingerprint.server.fingerprint: "fp-7" -> "fp-8"' in result.output


def test_what_failed_is_asked_again(servers: tuple[Server, Server], model_folder: Path, tmp_path: Path) -> None:
    servers[1].fault = lambda text, attempt: "server_error" if attempt == 1 and "Text:" in text else ""
    compare(servers, model_folder, tmp_path, *GRID)
    failed = [taken for taken in read_kept(tmp_path).values() if not taken.is_whole(2)]
    assert len(failed) == PROBES
    assert {(taken.answer.status, len(taken.samples)) for taken in failed} == {("server_error", 1)}
    assert comparison(tmp_path)["num_failed"] == PROBES
    asked = len(servers[1].seen)
    result = compare(servers, model_folder, tmp_path, *GRID)
    assert result.exit_code == 0, result.output
    assert len(servers[1].seen) - asked == GREETINGS + PROBES * REQUESTS
    assert all(taken.is_whole(2) for taken in read_kept(tmp_path).values())
    assert comparison(tmp_path)["num_failed"] == 0


def test_both_sides_share_a_budget_and_a_larger_one_goes_on(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path
) -> None:
    most = 2 * GREETINGS + 2 * PROBES * REQUESTS + 10
    result = compare(servers, model_folder, tmp_path, *GRID, "--max-requests", str(most))
    assert result.exit_code == 2
    assert "the same command with a larger one goes on" in result.output
    assert sum(len(server.seen) for server in servers) == most
    assert len(lines(tmp_path)) == 2 * PROBES + 2
    assert compare(servers, model_folder, tmp_path, *GRID).exit_code == 0


def test_runs_and_comparisons_do_not_share_a_folder(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path
) -> None:
    with RunFolder(tmp_path / "run", {"config": {}, "model": {}}, {}) as folder:
        folder.append(make_row())
    assert compare(servers, model_folder, tmp_path / "run").exit_code == 2
    assert not (tmp_path / "run" / FILE).exists()
    compare(servers, model_folder, tmp_path / "compared", "--items", "5", "--samples", "0")
    result = CliRunner().invoke(main, ["report", str(tmp_path / "compared")])
    assert result.exit_code == 2
    assert "holds a comparison, not a run" in result.output


logprobs = st.builds(
    TokenLogprob, st.text(), st.floats(-50, 0), st.dictionaries(st.text(), st.floats(-50, 0), max_size=3)
)
said = st.builds(
    Said,
    st.sampled_from(["ok", "empty", "timeout"]),
    st.text(st.characters(exclude_categories=[])),
    st.lists(logprobs, max_size=3).map(tuple),
)
taken = st.builds(
    Taken, st.text(), st.integers(1, 10**7), st.none() | st.floats(0, 1), said, said, st.lists(st.text()).map(tuple)
)


@settings(max_examples=30)
@given(taken)
def test_what_was_taken_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, one: Taken) -> None:
    path = tmp_path_factory.mktemp("compared")
    with RunFolder(path, {"comparison": {}}, {}, FILE) as folder:
        folder.append_line({"go": "first", "taken": dataclasses.asdict(one)})
    assert read_kept(path) == {("first", one.probe): one}


def test_a_damaged_line_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"go": "first", "taken": {}}\n')
    with pytest.raises(StoreError, match="line 1"):
        read_kept(tmp_path)


def test_a_manifest_says_who_was_asked_what(servers: tuple[Server, Server], model_folder: Path, tmp_path: Path) -> None:
    compare(servers, model_folder, tmp_path, "--items", "5")
    manifest = read_manifest(tmp_path)
    assert manifest["comparison"]["a"] == f"{servers[0].base_url}#served"
    assert manifest["comparison"]["items"] == 5
    assert manifest["sources"]["b"]["fingerprint"]["server"] == {"model": "served-v1", "fingerprint": "fp-7"}
    (start,) = manifest["starts"]
    assert start.keys() >= {"started", "code", "packages", "hardware"}
