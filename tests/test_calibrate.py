"""A calibration's own arithmetic, on rows that are made here; the real sweeps are in test_mutants.py."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from longctx.backends.scripted import ScriptedBackend
from longctx.calibrate import run as calibrate_run
from longctx.calibrate.cases import Case, full_cases, quick_cases, through_server
from longctx.calibrate.edges import EdgeResult, measure_edges
from longctx.calibrate.expectation import Expectation, expect
from longctx.calibrate.grid import lengths_around, pair_around
from longctx.calibrate.judge import Finding, Judged, judge_rows
from longctx.calibrate.page import write_calibration
from longctx.calibrate.result import CaseResult, summarise_case
from longctx.cli import main
from longctx.config import SweepConfig
from longctx.documents.tokenizer import HubTokenizer
from longctx.errors import ConfigError
from longctx.phantom.design import CHUNKS, Design
from longctx.phantom.words import make_tokenizer
from longctx.records import Prompt, Row, Sample
from longctx.samples import make_samples

ADVERTISED = 10 * 2**20
WINDOW = Design(ADVERTISED, edges=(1024,))


def row(**changes: Any) -> Row:
    values: dict[str, Any] = {
        "sample_id": "a",
        "task": "niah_single",
        "design": "isolated",
        "length": 2048,
        "depth": 0.5,
        "trial": 0,
        "status": "ok",
        "score": 1.0,
        "near_miss": False,
        "targets": ("1234567",),
        "answer": " 1234567.",
        "error": None,
        "beyond_window": False,
        "needle_position": 1000,
        "needle_depth": 0.5,
        "num_prompt_tokens": 2032,
        "max_new_tokens": 16,
        "num_completion_tokens": 8,
        "num_prefilled_tokens": 2032,
        "num_prefilled_prefix_tokens": 2000,
        "target_logprob": None,
        "seconds": 0.1,
        "finished": "2026-01-01",
    }
    return Row(**values | changes)


def wanted(text: str | None, distance: int | None = 900, can_say: bool = True) -> Expectation:
    return Expectation("a", range(20, 2000), text, distance, can_say)


def judged(distance: int, seen: bool, depth: float = 0.5, design: Design = WINDOW) -> Judged:
    found = row(score=float(seen), answer=" 1234567." if seen else "", depth=depth)
    sees = design.sees(0, distance)
    text = None if sees is None else "1234567" if sees else ""
    expectation = wanted(text, distance)
    return Judged(found, expectation, "as designed" if sees == seen else "miss")


@pytest.mark.parametrize(
    ("changes", "text", "finding"),
    [
        ({}, "1234567", "as designed"),
        ({"score": 0.0, "answer": ""}, "", "as designed"),
        ({"score": 0.0, "answer": " 1234561."}, "1234561", "as designed"),
        ({"score": 0.0, "answer": ""}, "1234567", "miss"),
        ({}, "", "false alarm"),
        ({"answer": " 1234561."}, "1234561", "false alarm"),
        ({"score": 0.0, "answer": " the miller"}, "", "other words"),
        ({"answer": " 12345678."}, "1234567", "other words"),
        ({"status": "oom", "score": None, "error": "no room"}, "1234567", "no score"),
        ({}, None, "near an edge"),
        ({"depth": 0.0}, "1234567", "mislabelled"),
        ({"needle_position": 1900}, "1234567", "mislabelled"),
        ({"needle_position": None}, "1234567", "mislabelled"),
        ({"length": 4096}, "1234567", "mislabelled"),
        ({"length": 0, "control": "short"}, "1234567", "as designed"),
        ({"status": "empty", "score": None, "error": "no text", "answer": ""}, "", "as designed"),
        ({"status": "empty", "score": None, "error": "no text", "answer": ""}, "1234567", "miss"),
        ({"status": "truncated", "score": None, "error": "cut", "answer": ""}, "", "no score"),
    ],
)
def test_a_row_is_judged_by_what_was_designed(changes: dict[str, Any], text: str | None, finding: Finding) -> None:
    (found,) = judge_rows([row(**changes)], {"a": wanted(text)})
    assert found.finding == finding


def test_an_edge_is_measured_between_the_last_needle_seen_and_the_first_one_not() -> None:
    rows = [judged(d, d < 1030, depth) for d in (700, 990, 1010, 1050, 1300) for depth in (0.0, 0.5)]
    edge, *by_depth = measure_edges((1024,), rows)
    assert (edge.before, edge.after, edge.measured, edge.depth) == (1010, 1050, 1030, None)
    assert [one.depth for one in by_depth] == [0.0, 0.5]
    result = CaseResult(case(), "run", tuple(rows), (edge, *by_depth), (), None, {})
    assert result.edges_told == ("1,024 / 1,030, at 2 depths within 0.6 %",)
    far = EdgeResult(1024, 0.5, 700, 1300)
    assert CaseResult(case(), "run", (), (edge, far), (), None, {}).edges_told == ("1,024 / 1,030",)
    assert edge.fits
    assert not edge.contradicts


@pytest.mark.parametrize(
    ("before", "after", "fits", "contradicts"),
    [
        (1000, 1040, True, False),
        (1000, 1100, True, False),
        (1000, 1200, False, False),
        (1100, 1150, False, True),
        (900, 950, False, True),
        (None, 1040, False, False),
        (1300, 700, False, True),
    ],
)
def test_an_edge_fits_within_five_percent(before: int | None, after: int | None, fits: bool, contradicts: bool) -> None:
    edge = EdgeResult(1024, None, before, after)
    assert (edge.fits, edge.contradicts) == (fits, contradicts)


def test_both_edges_of_a_hole_are_measured() -> None:
    design = Design(ADVERTISED, edges=(1024, 2048))
    rows = [judged(d, not 1030 < d < 2000, design=design) for d in range(800, 2600, 50)]
    first, second = (edge for edge in measure_edges(design.edges, rows) if edge.depth is None)
    assert (first.before, first.after) == (1000, 1050)
    assert (second.before, second.after) == (1950, 2000)


@pytest.mark.parametrize("edges", [(1024,), (16384,), (1024, 4096)])
def test_lengths_put_needles_on_both_sides_of_every_edge_at_every_depth(edges: tuple[int, ...]) -> None:
    design, depths = Design(ADVERTISED, edges=edges), (0.0, 0.25, 0.5, 1.0)
    lengths = lengths_around(design, depths, 512, 10**6)
    assert lengths[0] == 512
    assert list(lengths) == sorted(set(lengths))
    for edge in edges:
        for depth in depths[:3]:
            distances = [(length - 92) * (1 - depth) + 40 for length in lengths]
            assert any(0.9 * edge < distance < 0.97 * edge for distance in distances)
            assert any(1.03 * edge < distance < 1.1 * edge for distance in distances)
    assert max(lengths_around(design, depths, 512, 2048)) <= 2048


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    config = SweepConfig(lengths=(700, 2048), depths=(0.0, 1.0), trials=1, template="plain")
    return make_samples(config, HubTokenizer(make_tokenizer()))


def test_what_is_expected_comes_from_where_the_needle_stands(samples: list[Sample]) -> None:
    for sample in samples:
        found = expect(sample, WINDOW)
        value = f" {sample.targets[0]}."
        if sample.control == "closed_book":
            assert (found.text, found.distance) == ("", None)
            continue
        text = sample.prompt.text()
        tokenizer = HubTokenizer(make_tokenizer())
        assert found.distance == len(tokenizer.encode(text[text.index(value) :]).token_ids) - 1
        near = sample.control == "short" or sample.cell.length == 700 or sample.cell.depth == 1.0
        assert found.text == (sample.targets[0] if near else "")


def test_a_key_without_an_answer_is_expected_to_be_silent(samples: list[Sample]) -> None:
    sample = samples[0]
    key = sample.prompt.tail_text.split("number for ")[1].split(" that")[0]
    muted = dataclasses.replace(WINDOW, muted=(key.split()[-1],))
    found = expect(sample, muted)
    assert (found.text, found.can_say) == ("", False)
    digit = sample.targets[0][-1]
    other = "1" if digit != "1" else "2"
    misread = expect(sample, dataclasses.replace(WINDOW, misread=(digit, other)))
    assert misread.text == sample.targets[0].replace(digit, other)
    assert not misread.can_say


def test_phantoms_put_nothing_together_and_know_one_task() -> None:
    tokenizer = HubTokenizer(make_tokenizer())

    def first(task: str) -> Sample:
        config = SweepConfig(task=(task,), lengths=(2048,), depths=(0.5,), trials=1, template="plain", controls=False)
        return make_samples(config, tokenizer)[0]

    assert expect(first("vt:num_hops=1"), Design(ADVERTISED)).text == ""
    with pytest.raises(ConfigError, match="answer niah_single, not niah_single_2"):
        expect(first("niah_single_2"), Design(ADVERTISED))


def test_a_needle_that_lost_its_value_is_expected_all_the_same(samples: list[Sample]) -> None:
    sample = next(sample for sample in samples if sample.cell.length == 700)
    broken = dataclasses.replace(sample, draft_ids=sample.draft_ids[::-1])
    assert expect(broken, WINDOW).text == sample.targets[0]


def test_silence_tells_that_a_needle_was_not_seen() -> None:
    silent = row(status="empty", score=None, error="no text", answer="")
    assert Judged(silent, wanted(""), "as designed").sees is False
    assert Judged(silent, wanted("", can_say=False), "as designed").sees is None
    lost = row(status="timeout", score=None, error="too late", answer="")
    assert Judged(lost, wanted(""), "no score").sees is None


def case(lengths: tuple[int, ...] = (700, 2048), design: Design = WINDOW) -> Case:
    config = SweepConfig(
        lengths=lengths, depths=(0.0, 1.0), trials=1, dtype="float32", controls=False, device="cpu", template="plain"
    )
    return Case(design, config)


def test_a_share_counts_every_needle_in_sight_once() -> None:
    design = Design(ADVERTISED, muted=("otter",))
    rows = [row(sample_id=str(i), targets=(str(i),), answer=f" {i}.") for i in range(8)]
    rows += [row(sample_id=f"m{i}", targets=(f"9{i}",), answer="", score=0.0) for i in range(2)]
    rows += [dataclasses.replace(rows[0], sample_id="again", length=2049)]
    expectations = {r.sample_id: wanted("" if r.sample_id[0] == "m" else r.targets[0]) for r in rows}
    expectations |= {f"m{i}": wanted("", can_say=False) for i in range(2)}
    result = summarise_case(case(design=design), "run", rows, expectations)
    assert result.share is not None
    assert (result.share.num_right, result.share.num) == (8, 10)
    assert result.ok
    assert result.share.interval.low < 0.8 < result.share.interval.high


def test_a_tier_that_held_nothing_was_not_measured() -> None:
    found, expectations = [row()], {"a": wanted("1234567")}
    host = dataclasses.replace(case(design=Design(ADVERTISED)), device_bytes=2**20)
    disk = dataclasses.replace(case(design=Design(ADVERTISED)), on_disk=True)
    for one, full, empty in (
        (host, {"device": 2**20, "host": 2**21}, {"device": 2**20, "host": 0}),
        (disk, {"device": 0, "disk": 2**22}, {"device": 2**20}),
    ):
        assert summarise_case(one, "run", found, expectations, full).ok
        off = summarise_case(one, "run", found, expectations, empty)
        assert off.verdict == f"off: nothing was kept in the tier {one.tier}"
    assert summarise_case(host, "run", found, expectations, {"device": 2**20, "host": 2**21}).kept == (
        "device 1.0 MiB, host 2.0 MiB"
    )
    assert [one.name.removeprefix("unlimited-isolated-float32") for one in (host, disk)] == ["-host", "-disk"]


def test_a_server_is_asked_each_phantom_once() -> None:
    url = "http://localhost:8000/v1"
    cases = list(quick_cases())
    served = through_server(cases, url)
    assert len({one.name for one in served}) == len(served) < len(cases)
    # A server that keeps what prompts begin with alike may not keep local layers'.
    assert {one.design for one in served} == {dataclasses.replace(one.design, local=None) for one in cases}
    assert {(one.config.backend, one.config.base_url, one.tier) for one in served} == {("openai", url, "device")}
    # A server puts BOS before a text, and some chat templates begin with it.
    assert {one.config.template for one in served} == {"plain"}


def test_a_server_reads_a_long_isolated_prompt_only_where_it_tells_the_edge() -> None:
    served = {one.name: one.config for one in through_server(full_cases(5 * 2**16), "http://localhost:8000/v1")}
    for window, shown in ((2**10, "1k"), (2**12, "4k"), (2**14, "16k"), (2**16, "64k")):
        configs = [config for name, config in served.items() if name.startswith(f"window-{shown}-isolated")]
        configs.append(served[f"window-{shown}-packed-served"])
        for design in ("isolated", "packed"):
            mine = [config for config in configs if config.design == design]
            asked = {(length, depth) for one in mine for length in one.lengths for depth in one.depths}
            assert asked >= {
                (length, depth) for depth in (0.0, 0.25, 0.5, 0.75) for length in pair_around(window, depth)
            }
    assert served["window-64k-isolated-served-depth-75"].depths == (0.75,)
    assert served["window-64k-isolated-served-depth-75"].lengths == pair_around(2**16, 0.75)
    cut = {one.name for one in through_server(full_cases(2**17), "http://localhost:8000/v1")}
    assert {name for name in cut if "64k-isolated" in name} == {
        f"window-64k-isolated-served-depth-{depth}" for depth in (0, 25, 50, 75)
    }


def test_only_cases_whose_names_match_are_run() -> None:
    result = CliRunner().invoke(main, ["calibrate", "--quick", "--only", "window-64k-*"])
    assert result.exit_code == 2
    assert "No case matches 'window-64k-*'. There are window-1k-isolated-float32, " in result.output


def test_effective_lengths_are_compared_by_the_rule_of_the_report() -> None:
    def at(length: int, right: bool) -> Row:
        return row(
            sample_id=f"{length}",
            length=length,
            num_prompt_tokens=length - 16,
            score=float(right),
            answer=" 1234567." if right else "",
        )

    rows = [at(1024, True), at(2048, True), at(4096, False)]
    expectations = {r.sample_id: wanted("1234567" if r.length < 1500 else "") for r in rows}
    (pair,) = summarise_case(case(design=Design(ADVERTISED)), "run", rows, expectations).effective
    assert (pair.designed, pair.measured) == (1024, 2048)


def answering(text_of: Callable[[Sample], str], wrong: str = "") -> Any:
    """An open_backend whose model answers as the phantom is designed to, or else as `text_of` says."""

    def open_backend(card: Any, config: SweepConfig, budget: Any) -> Any:
        by_id = {sample.id: sample for sample in make_samples(config, card.tokenizer)}

        def answer(prompt: Prompt) -> str:
            return text_of(by_id[prompt.id])

        fingerprint = {"name": "scripted", "window": card.window}
        return contextlib.nullcontext(ScriptedBackend(answer, fingerprint))

    return open_backend


def as_designed(sample: Sample) -> str:
    return f" {expect(sample, WINDOW).text or ''}"


def always_right(sample: Sample) -> str:
    return f" {sample.targets[0]}."


@pytest.mark.parametrize(("answer", "code"), [(as_designed, 0), (always_right, 1)])
def test_the_command_ends_with_1_if_anything_is_off(
    answer: Callable[[Sample], str], code: int, tmp_path: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any backend will do, and what it answers decides."""
    lengths = lengths_around(WINDOW, (0.0,), 700, 2600)
    monkeypatch.setattr(calibrate_run, "open_hf", answering(answer))
    monkeypatch.setattr("longctx.calibrate.cases.quick_cases", lambda: iter([case(lengths)]))
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["calibrate", "--quick", "--processes", "1", "--out", str(out)])
    assert result.exit_code == code, result.output
    assert ("false alarm" in result.output.split("false alarms", 1)[1]) == bool(code)
    (told,) = json.loads((out / "calibration.json").read_text())
    assert told["verdict"].startswith("off: " if code else "as designed")
    assert (out / case().name / "report.html").exists()
    for name in ("calibration.html", "calibration.md"):
        assert case().name in (out / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "..many"], "'many' is not a length"),
        (["--lengths", "..4k"], "goes to 8k tokens or more"),
        (["--quick", "--lengths", "..32k"], "leave out --lengths"),
        (["--quick", "--backend", "hg"], "Unknown backend 'hg'"),
        (["--quick", "--base-url", "http://localhost:8000/v1"], "add --backend endpoint"),
        (["--quick", "--backend", "endpoint", "--base-url", "localhost:8000"], "is not a base URL"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["calibrate", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_nothing_that_a_model_said_is_markup_on_the_page(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    found = row(score=0.0, answer=nasty)
    result = summarise_case(case(), "run", [found], {"a": wanted("1234567")})
    assert isinstance(result, CaseResult)
    assert not result.ok
    write_calibration([result], tmp_path)
    page = (tmp_path / "calibration.html").read_text()
    assert nasty not in page
    assert "&lt;script&gt;" in page
    assert nasty not in (tmp_path / "calibration.md").read_text()


def test_a_full_calibration_has_every_kind_and_five_hundred_cells() -> None:
    cases = list(full_cases(2**15))
    names = [one.name for one in cases]
    assert len(set(names)) == len(names)
    cells = sum(len(one.config.lengths) * len(one.config.depths) * len(one.config.task) for one in cases)
    assert cells >= 500
    for one in [*cases, *quick_cases(), *full_cases(2**17)]:
        assert max(one.config.lengths) <= one.design.advertise
    for found in (cases, list(quick_cases())):
        designs = [one.design for one in found]
        assert any(design.chunk in CHUNKS for design in designs)
        assert any(len(design.edges) == 2 for design in designs)
        assert any(design.muted and not design.edges for design in designs)
        assert any(design.muted and design.edges for design in designs)
        assert any(design.misread for design in designs)
        assert {one.tier for one in found} == {"device", "host", "disk"}
        assert any(design.local for design in designs)
        assert {one.config.design for one in found} == {"isolated", "packed"}
        assert {one.config.dtype for one in found} == {"float32", "bfloat16"}
        assert any(len(one.config.task) == 2 for one in found)
    measured = {(one.design.edges, one.config.design, one.tier) for one in full_cases(2**17)}
    for window in (2**10, 2**12, 2**14, 2**16):
        assert {((window,), "packed", tier) for tier in ("device", "host", "disk")} <= measured
        assert ((window,), "isolated", "device") in measured
