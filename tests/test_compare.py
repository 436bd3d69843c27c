"""Comparisons from the command line: servers, models and finished runs, the same and not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from comparing import GREETINGS, compare, findings, model_like, two_servers
from faulty_server import Server
from rows import make_row

from longctx.backends.endpoint.content import bare_prompt
from longctx.cli import main
from longctx.compare.judge import Side, judge
from longctx.compare.kept import SIDE_OF
from longctx.compare.local import load_local
from longctx.compare.page import render_html, render_markdown
from longctx.compare.records import Said, Taken
from longctx.compare.source import draw_seed
from longctx.config import KvBudget, SweepConfig
from longctx.documents.tokenizer import HubTokenizer
from longctx.engine.loading import load_own, read_card
from longctx.engine.sources import find_source
from longctx.errors import ConfigError
from longctx.records import Row
from longctx.store import RunFolder, read_manifest


@pytest.fixture
def servers(tokenizer: HubTokenizer) -> Iterator[tuple[Server, Server]]:
    with two_servers(tokenizer) as both:
        yield both


def test_the_same_model_behind_two_urls(servers: tuple[Server, Server], model_folder: Path, tmp_path: Path) -> None:
    result = compare(servers, model_folder, tmp_path)
    assert result.exit_code == 0, result.output
    assert "No difference between" in result.output
    assert "does not show that the two are the same" in " ".join(result.output.split())
    pages = {"compare.html", "compare.md", "compare.json"}
    assert {path.name for path in tmp_path.iterdir()} == pages | {"manifest.json", "taken.jsonl"}
    assert len(servers[0].seen) - GREETINGS == 2 * (len(servers[1].seen) - GREETINGS)  # A is asked twice
    assert not any(body.get("logprobs") for body in servers[0].seen[GREETINGS:])  # it gave none when it was asked
    assert {str(body["prompt"]) for body in servers[0].seen} == {str(body["prompt"]) for body in servers[1].seen}


def test_a_server_that_switches_model_above_a_length(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path
) -> None:
    """Up to 4,096 tokens both serve one model; beyond, B serves another."""
    count = servers[1].count
    servers[1].answer = model_like("one", lambda text: count(text) <= 4096)
    result = compare(servers, model_folder, tmp_path, "--lengths", "1k,6k", "--items", "10")
    assert result.exit_code == 3, result.output
    corrected = findings(tmp_path)
    assert [p for (_, length), p in corrected.items() if length == 1024] == [1.0, 1.0, 1.0]
    assert corrected["answers (McNemar)", 6144] < 0.05
    assert corrected["samples (MMD, Hamming)", 6144] < 0.05
    assert corrected["where greedy texts part", 6144] < 0.05
    page = (tmp_path / "compare.html").read_text()
    assert "Innocent causes" in page
    assert "fraud" not in page.lower()


def test_a_source_that_differs_from_itself_is_no_measure(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path
) -> None:
    """A serves one model for the first pass and another for the second."""
    first = GREETINGS + 12 * 4
    other = model_like("one", lambda text: len(servers[0].seen) <= first)
    servers[0].answer = other
    result = compare(servers, model_folder, tmp_path)
    assert result.exit_code == 2, result.output
    assert "A differs from itself" in result.output


def test_a_server_that_fails_cannot_be_told(servers: tuple[Server, Server], model_folder: Path, tmp_path: Path) -> None:
    servers[1].fault = lambda text, attempt: "server_error" if "Text:" in text else ""
    result = compare(servers, model_folder, tmp_path)
    assert result.exit_code == 2, result.output
    assert "of the completions failed" in result.output


def test_a_server_that_rejects_logprobs_is_compared_without(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path
) -> None:
    servers[1].rejects_logprobs = True
    result = compare(servers, model_folder, tmp_path, "--items", "5")
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "compare.json").read_text())["comparison"]
    assert facts["fingerprint_b"]["gives_logprobs"] is False
    assert facts["num_failed"] == 0


def test_keys_of_both_sides_are_nowhere(
    servers: tuple[Server, Server], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_A", "sk-planted-a")
    monkeypatch.setenv("KEY_B", "sk-planted-b")
    servers[1].fault = lambda text, attempt: "echo_key" if "Text:" in text else ""
    keys = ["--api-key-env", "KEY_A", "--api-key-env-b", "KEY_B", "--items", "5", "--samples", "0"]
    result = compare(servers, model_folder, tmp_path, *keys)
    assert result.exit_code == 2
    assert {headers["authorization"] for headers in servers[0].headers} == {"Bearer sk-planted-a"}
    assert {headers["authorization"] for headers in servers[1].headers} == {"Bearer sk-planted-b"}
    said = result.output.encode() + b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"compare.html" in said
    assert b"sk-planted" not in said


def test_a_model_here_against_itself(model_folder: Path, tmp_path: Path) -> None:
    grid = ["--lengths", "250", "--items", "6", "--samples", "3", "--device", "cpu", "--dtype", "float32"]
    arguments = ["compare", str(model_folder), str(model_folder), "--out", str(tmp_path), *grid]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert len(findings(tmp_path)) == 4  # log-probabilities too
    lines = [json.loads(line) for line in (tmp_path / "taken.jsonl").read_text().splitlines()]
    first, second, other = ([line["taken"] for line in lines if line["go"] == go] for go in SIDE_OF)
    assert [taken["greedy"] for taken in first] == [taken["greedy"] for taken in second]
    assert [taken["samples"] for taken in first] != [taken["samples"] for taken in second]
    assert [taken["greedy"] for taken in first] == [taken["greedy"] for taken in other]
    assert read_manifest(tmp_path)["sources"]["a"]["fingerprint"].keys() >= {"weights", "dtype", "attention"}


def test_a_local_source_decodes_as_transformers_does(model_folder: Path, tokenizer: HubTokenizer) -> None:
    card = read_card(find_source(str(model_folder)))
    model = load_own(card, "float32", "cpu")
    config = SweepConfig(lengths=(300,), device="cpu", dtype="float32")
    source = load_local(str(model_folder), config, tokenizer)
    prompt = bare_prompt("The lamp was carried down to the harbour.", "plain", tokenizer, 12)
    ids = torch.as_tensor(prompt.token_ids()).long()[None]
    wanted = model.generate(ids, max_new_tokens=12, do_sample=False, output_logits=True, return_dict_in_generate=True)
    tokens = wanted.sequences[0, ids.shape[1] :].tolist()
    said = source.greedy(prompt)
    assert said.text == tokenizer.decode(tokens)
    reference = [float(torch.log_softmax(step[0], -1)[t]) for step, t in zip(wanted.logits, tokens, strict=True)]
    assert [one.logprob for one in said.logprobs] == pytest.approx(reference[: len(said.logprobs)], abs=1e-4)
    assert source.draw(prompt, 3, 7) == source.draw(prompt, 3, 7)
    assert source.draw(prompt, 3, 7) != source.draw(prompt, 3, 8)
    assert source.greedy(prompt) == said  # samples leave the prompt's cache as it was


def test_samples_are_drawn_as_the_model_says(model_folder: Path, tokenizer: HubTokenizer) -> None:
    """The first token of 4,000 samples against the softmax of the model's own logits."""
    model = load_own(read_card(find_source(str(model_folder))), "float32", "cpu")
    source = load_local(str(model_folder), SweepConfig(lengths=(300,), device="cpu", dtype="float32"), tokenizer)
    prompt = bare_prompt("The lamp was carried down to the harbour.", "plain", tokenizer, 1)
    with torch.inference_mode():
        logits = model(torch.as_tensor(prompt.token_ids()).long()[None]).logits[0, -1]
    shares = torch.softmax(logits, -1)
    likely = int(shares.argmax())
    drawn = source.draw(prompt, 4000, 0).count(tokenizer.decode([likely])) / 4000
    spread = float((shares[likely] * (1 - shares[likely]) / 4000).sqrt())
    assert 0.01 < float(shares[likely]) < 0.99
    assert abs(drawn - float(shares[likely])) < 4 * spread


def test_a_prompt_without_room_is_a_failed_completion(model_folder: Path, tokenizer: HubTokenizer) -> None:
    config = SweepConfig(lengths=(300,), device="cpu", dtype="float32")
    source = load_local(str(model_folder), config, tokenizer, KvBudget(device_bytes=0, host_bytes=0))
    prompt = bare_prompt("The lamp was carried down to the harbour.", "plain", tokenizer, 12)
    assert source.greedy(prompt).status == "no_space"
    assert source.draw(prompt, 3, 7) == ()


def run_folder(path: Path, rows: list[Row]) -> Path:
    with RunFolder(path, {"model": {"name": path.name, "window": 1024}}, {}) as folder:
        for row in rows:
            folder.append(row)
    return path


def test_finished_runs(tmp_path: Path) -> None:
    def rows(right: Callable[[int], bool]) -> list[Row]:
        return [
            make_row(sample_id=str(i), trial=i, score=float(right(i)), answer=f" {i}" if right(i) else " unknown")
            for i in range(30)
        ]

    a = run_folder(tmp_path / "a", rows(lambda i: True))
    same = run_folder(tmp_path / "same", rows(lambda i: True))
    other = run_folder(tmp_path / "other", rows(lambda i: i < 15))

    def against(b: Path) -> int:
        return CliRunner().invoke(main, ["compare", str(a), str(b), "--out", str(tmp_path / "out")]).exit_code

    reworded = run_folder(
        tmp_path / "reworded", [dataclasses.replace(row, answer=f"{row.answer}, I say") for row in rows(lambda i: True)]
    )
    assert against(same) == 0
    assert against(reworded) == 0  # as right as before: without a floor the words tell nothing
    assert against(other) == 3
    assert "A was asked once" in (tmp_path / "out" / "compare.html").read_text()
    assert against(run_folder(tmp_path / "alien", [make_row(targets=("1",))])) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://localhost:1/v1", "http://localhost:1/v1#m"], "names no model"),
        (["ftp://localhost/v1#m", "http://localhost:1/v1#m"], "is not a base URL"),
        (["http://h/v1#m", "http://h/v1#m", "--samples", "1"], "--samples 0 or from 2"),
        (["nowhere", "nothing"], "Unknown model"),
    ],
)
def test_wrong_input_is_refused(model_folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    given = ["--tokenizer", str(model_folder), "--out", str(tmp_path), "--lengths", "300", "--items", "1"]
    result = CliRunner().invoke(main, ["compare", *arguments[:2], *given, *arguments[2:]])
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_two_servers_need_a_tokenizer(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["compare", "http://h/v1#m", "http://h/v1#m", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "need the --tokenizer" in result.output


def sides(evil: str) -> tuple[Side, Side, Side]:
    taken = [
        Taken(str(i), 300, 1.0, Said("ok", "x"), Said("ok", evil if side else "fine"), ("a", "b"))
        for side in (False, True)
        for i in range(6)
    ]
    b = [dataclasses.replace(one, probe=str(i)) for i, one in enumerate(taken[6:])]
    first, second = (Side("A<b>", {"name": evil}, taken[:6]) for _ in range(2))
    return first, second, Side("B", {"name": "b"}, b)


def test_nothing_that_a_model_said_reaches_the_page_unescaped() -> None:
    evil = "<script>alert(1)</script> | `x` [y](z)"
    comparison = judge(*sides(evil))
    page = render_html(comparison, "longctx compare")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    text = render_markdown(comparison, "longctx compare")
    assert "<script>" not in text
    assert r"\| \`x\` \[y\](z)" in text


def test_sides_that_were_asked_other_probes_are_refused() -> None:
    a, _, b = sides("x")
    with pytest.raises(ValueError, match="other probes"):
        judge(a, a, dataclasses.replace(b, taken=b.taken[1:]))


def test_no_two_goes_draw_alike() -> None:
    seeds = {draw_seed(seed, go, probe) for seed in range(3) for go in SIDE_OF for probe in "abc"}
    assert len(seeds) == 27


def test_runs_without_a_common_question_say_so(tmp_path: Path) -> None:
    from longctx.compare.finished import read_sides

    a = run_folder(tmp_path / "a", [make_row(trial=1)])
    b = run_folder(tmp_path / "b", [make_row(trial=2)])
    with pytest.raises(ConfigError, match="no question in common"):
        read_sides(a, b)
