"""Whole sweeps of a served model, from the command line, with a server on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from faulty_server import CUTS, Server, answer_from, serving
from test_endpoint_faults import counter
from test_layers import loaded_after

from longctx.addressable import addressable
from longctx.cli import main
from longctx.documents.tokenizer import HubTokenizer
from longctx.records import Row
from longctx.store import read_manifest, read_rows

GRID = ["--lengths", "300,600", "--depths", "3", "--trials", "1", "--window", "600"]
SAMPLES, CANARIES = 6 + 6, 7
KEY = "sk-planted-7d1f0c"


@pytest.fixture
def server(tokenizer: HubTokenizer) -> Iterator[Server]:
    with serving(counter(tokenizer, "chat")) as running:
        running.window = 600
        yield running


def sweep(server: Server, model_folder: Path, out: Path, *arguments: str) -> Result:
    command = ["sweep", "--backend", "openai", "--base-url", server.base_url, "--model", "served"]
    return CliRunner().invoke(
        main, [*command, "--tokenizer", str(model_folder), "--out", str(out), *GRID, "--retries", "0", *arguments]
    )


def tasks(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.control is None]


def test_a_sweep_of_a_chat_server(server: Server, model_folder: Path, tmp_path: Path) -> None:
    result = sweep(server, model_folder, tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert (
        "Addressable: accepts 600 tokens (refuses a prompt of 601); reads 600 tokens; no cut was seen." in result.output
    )
    assert "served advertises 600 tokens; its effective length" in result.output
    rows = read_rows(tmp_path / "run")
    assert len(rows) == SAMPLES + CANARIES
    assert all(row.score == 1.0 and row.num_prompt_tokens + row.max_new_tokens == row.length for row in tasks(rows))
    assert all(row.server_prompt_tokens == row.num_prompt_tokens for row in rows if row.status == "ok")
    messages = [body["messages"] for body in server.seen]
    assert all(len(turns) == 1 and turns[0]["role"] == "user" for turns in messages)
    assert not any("<user>" in turns[0]["content"] for turns in messages)  # the server's template adds that
    assert all(body["temperature"] == 0.0 and body["stream"] for body in server.seen)
    manifest = read_manifest(tmp_path / "run")
    assert manifest["model"]["base_url"] == server.base_url
    assert manifest["starts"][0]["checks"]["server"] == {"model": "served-v1", "fingerprint": "fp-7"}
    assert "samples have no score" not in result.output  # one token too many was meant to be refused


@pytest.mark.parametrize(("api", "template"), [("completions", "chat"), ("completions", "plain"), ("tokens", "chat")])
def test_a_sweep_of_a_completions_server(
    tokenizer: HubTokenizer, model_folder: Path, tmp_path: Path, api: str, template: str
) -> None:
    def text_of(ids: str) -> str:
        numbers = [int(number) for number in ids.strip("[]").split(",")]
        return str(tokenizer.hub.decode(numbers)) if api == "tokens" else ids

    behaviour = counter(tokenizer, "completions")
    if api == "tokens":
        behaviour = Server(lambda ids: ids.count(",") + 1, answer=lambda ids: answer_from(text_of(ids)))
    with serving(behaviour) as server:
        result = sweep(server, model_folder, tmp_path, "--api", api, "--template", template)
    assert result.exit_code == 0, result.output
    rows = read_rows(tmp_path)
    assert [row.score for row in tasks(rows)] == [1.0] * 6
    assert all(row.server_prompt_tokens == row.num_prompt_tokens for row in rows)
    sent = str(server.seen[-1]["prompt"])
    assert ("<model>\nThe special number for" in sent) == (api == "completions" and template == "chat")


def test_a_second_call_asks_nothing(server: Server, model_folder: Path, tmp_path: Path) -> None:
    sweep(server, model_folder, tmp_path)
    before = len(server.seen)
    result = sweep(server, model_folder, tmp_path)
    assert result.exit_code == 0, result.output
    assert f"0 of {SAMPLES + CANARIES} samples to run" in result.output
    assert len(server.seen) == before


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize("place", CUTS)
def test_each_silent_cut_is_named(
    server: Server, model_folder: Path, tmp_path: Path, tokenizer: HubTokenizer, place: str, lies: bool
) -> None:
    """The server cuts whatever is over 400 tokens; it says so in the usage, or it speaks of the whole prompt."""
    server.fault = lambda text, attempt: place if server.count(text) > 400 else ""
    server.lies = lies
    server.window = 10**6
    result = sweep(server, model_folder, tmp_path)
    assert result.exit_code == 0, result.output
    verdict = addressable(read_rows(tmp_path))
    assert verdict is not None
    assert (verdict.accepts, verdict.reads, verdict.cuts) == (617, 300, 600)
    reach = next(reach for reach in verdict.reaches if reach.length == 600)
    assert reach.lost == {"cut_start": "start", "cut_middle": "middle", "cut_end": "end"}[place]
    assert reach.cut is not lies
    assert reach.lost in verdict.sentence
    statuses = {row.status for row in tasks(read_rows(tmp_path)) if row.length == 600}
    assert statuses == ({"ok"} if lies else {"truncated"})


def test_a_budget_stops_cleanly_and_the_report_is_drawn(server: Server, model_folder: Path, tmp_path: Path) -> None:
    result = sweep(server, model_folder, tmp_path, "--max-requests", "14", "--price-in", "2", "--price-out", "4")
    assert result.exit_code == 4, result.output
    assert "The budget of 14 requests does not reach" in result.output
    assert "7 of 12 prompts are left" in result.output
    assert "spent: 14 requests" in result.output
    assert len(server.seen) == 14
    assert "This run is not finished" in (tmp_path / "report.html").read_text()
    assert sweep(server, model_folder, tmp_path).exit_code == 0
    assert len(tasks(read_rows(tmp_path))) == 6


def test_the_account_is_kept_and_the_report_shows_it(server: Server, model_folder: Path, tmp_path: Path) -> None:
    sweep(server, model_folder, tmp_path, "--max-requests", "14", "--price-in", "2", "--price-out", "4")
    sweep(server, model_folder, tmp_path, "--concurrency", "1")
    first, second = read_manifest(tmp_path)["spent"]
    assert (first["num_requests"], first["concurrency"], first["price_in"]) == (14, 4, 2.0)
    tokens = first["num_prompt_tokens"], first["num_completion_tokens"]
    assert first["cost"] == pytest.approx((2 * tokens[0] + 4 * tokens[1]) / 1e6)
    assert (second["concurrency"], second["price_in"], second["cost"]) == (1, None, None)
    assert first["num_requests"] + second["num_requests"] == len(server.seen)
    page = (tmp_path / "report.html").read_text()
    assert f"{len(server.seen)} requests in 2 starts with " in page
    assert f"Cost: {first['cost']:,.4f}, a million prompt and completion tokens at 2 and 4. 1 of the starts" in page
    assert "It states the model served-v1 and the fingerprint fp-7." in page
    assert "Its own token counts are ours" in page
    assert "TTFT" in page


def test_a_model_that_is_exchanged_midway_is_said_loudly(server: Server, model_folder: Path, tmp_path: Path) -> None:
    server.switches_above = 400
    result = sweep(server, model_folder, tmp_path)
    assert result.exit_code == 0, result.output
    said = "More than one version answered: the server states 2 models and 2 fingerprints."
    assert said in " ".join(result.output.split())
    page = (tmp_path / "report.html").read_text()
    assert page.index(said) < page.index('<section id="capacity">')
    assert "<td>served-v2</td>" in re.sub(r' class="text" dir="auto"', "", page)


@pytest.mark.parametrize("fault", ["wrong_key", "echo_key"])
def test_a_key_is_nowhere(
    server: Server, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Not even where the server says it back."""
    monkeypatch.setenv("PLANTED", KEY)
    server.fault = lambda text, attempt: fault if "special number" in text else ""
    result = sweep(server, model_folder, tmp_path, "--api-key-env", "PLANTED")
    assert all(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)
    assert KEY not in result.output
    assert KEY not in repr(result.exception)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "rows.jsonl" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    if fault == "echo_key":
        assert "[key]" in (tmp_path / "rows.jsonl").read_text()


def test_without_a_named_variable_no_key_is_sent(
    server: Server, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    sweep(server, model_folder, tmp_path)
    sent = repr(server.headers)
    assert KEY not in sent
    assert "org-secret" not in sent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base-url", "ftp://host/v1"], "is not a base URL"),
        (["--base-url", "localhost:8000"], "is not a base URL"),
        (["--base-url", "http://user:secret@host/v1"], "holds no user, password"),
        (["--api-key-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE holds no key"),
        (["--api", "chta"], "Did you mean chat?"),
        (["--template", "plain"], "--api chat sends a message"),
        (["--lengths", "2k"], "is over the 600 tokens"),
        (["--concurrency", "0"], "concurrency is 0"),
        (["--max-cost", "3"], "needs prices"),
        (["--count-tolerance", "2"], "count_tolerance is 2.0"),
        (["--backend", "hf"], "add --backend openai"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_sent(
    server: Server, model_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = sweep(server, model_folder, tmp_path / "run", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "secret" not in result.output
    assert server.seen == []
    assert not (tmp_path / "run").exists()


def test_reasoning_stands_apart_from_the_answer(server: Server, model_folder: Path, tmp_path: Path) -> None:
    server.answer = lambda text: f"<think>It was 1234567, I think.</think>{answer_from(text)}"
    result = sweep(server, model_folder, tmp_path, "--thinking-tokens", "50")
    assert result.exit_code == 0, result.output
    rows = tasks(read_rows(tmp_path))
    assert [row.score for row in rows] == [1.0] * 6
    assert all("I think" in row.reasoning and "think" not in row.answer for row in rows)
    assert all(row.max_new_tokens == 66 and row.num_prompt_tokens + 66 == row.length for row in rows)
    assert all(body["max_tokens"] == 66 for body in server.seen if "special number" in str(body))


def test_the_window_that_a_server_states_is_used(server: Server, model_folder: Path, tmp_path: Path) -> None:
    """The list of models says 4,096; the tokenizer's config says 1,024."""
    command = ["sweep", "--backend", "openai", "--base-url", server.base_url, "--model", "served", "--trials", "1"]
    server.window = 10**6
    CliRunner().invoke(
        main, [*command, "--tokenizer", str(model_folder), "--out", str(tmp_path), "--lengths", "2k", "--depths", "1"]
    )
    assert read_manifest(tmp_path)["model"]["window"] == 4096


def test_canaries_of_a_local_model(model_folder: Path, tmp_path: Path) -> None:
    """A model that knows nothing: its canaries are asked for, and not found."""
    grid = ["--lengths", "300", "--depths", "1", "--trials", "1", "--device", "cpu", "--no-controls"]
    result = CliRunner().invoke(
        main, ["sweep", "--model", str(model_folder), "--out", str(tmp_path), "--canaries", "yes", *grid]
    )
    assert result.exit_code == 0, result.output
    verdict = addressable(read_rows(tmp_path))
    assert verdict is not None
    assert (verdict.accepts, verdict.reads, verdict.refuses) == (300, None, None)
    assert verdict.reaches[0].missed == ("start", "middle", "end")
    assert "not found: cut there, or not retrieved" in verdict.sentence
    assert verdict.sentence in result.output


def test_a_sweep_of_a_server_loads_no_torch(server: Server, model_folder: Path, tmp_path: Path) -> None:
    arguments = ["sweep", "--backend", "openai", "--base-url", server.base_url, "--model", "served", *GRID]
    arguments += ["--tokenizer", str(model_folder), "--out", str(tmp_path)]
    code = f"from longctx.cli import main\ntry: main({arguments!r})\nexcept SystemExit: pass"
    assert not [name for name in loaded_after(code) if name.startswith("torch.")]
    assert len(tasks(read_rows(tmp_path))) == 6
