"""What a report says of the server that was asked, and that it says nothing of one where there was none."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from report_runs import ACCOUNT, OFFSET, ROWS, canaries, grid, make_served, make_summary, served, served_rows

from longctx.records import Row
from longctx.report.pages import make_report, render_html, render_markdown
from longctx.report.run_view import view_run
from longctx.report.server import Server, TokenGap, measure
from longctx.report.server_words import duration, gap_words
from longctx.report.summary import Summary
from longctx.report.tables import to_csv, to_json
from longctx.report.theme import THEMES

SNAPSHOT = Path(__file__).parent / "data" / "report-server.md"


def page(summary: Summary) -> str:
    return render_html(make_report([summary], THEMES["light"]))


def markdown(summary: Summary) -> str:
    return render_markdown(make_report([summary], THEMES["light"]), {})


def server_of(rows: list[Row]) -> Server:
    server = make_served(rows).server
    assert server is not None
    return server


def costs(summary: Summary) -> str:
    return "\n".join(view_run("", summary).cost_lines)


def said_of(rows: list[Row]) -> str:
    """The sentences on the server that gave these."""
    return "\n".join(view_run("", make_served(rows)).server_lines)


def test_the_markdown_of_a_server_is_as_it_was() -> None:
    """Compared with a stored one; if a change is meant, store the new one: python tests/test_report_server.py."""
    assert markdown(make_served()) == SNAPSHOT.read_text(encoding="utf-8")


def test_the_page_says_what_the_markdown_says() -> None:
    text = page(make_served())
    for words in (
        "cuts the middle from 4,096: counted 2,051 of 4,080",
        '<td class="left sure">middle (fewer tokens counted)</td>',
        '<td>1,024</td><td class="left">TTFT</td><td>9</td><td>1.01 s</td><td>1.00 s to 1.02 s</td>',
        '<tr class="sure"><td>4,096</td><td>12</td><td>-2,032</td><td>50%</td>',
        "Cost: 0.1016",
    ):
        assert words in text
    order = [text.index(f'id="{name}"') for name in ("verdict", "capacity", "canaries", "failures", "server", "cost")]
    assert order == sorted(order)


def test_nothing_of_a_server_is_said_of_a_local_run() -> None:
    for text in (page(make_summary()), markdown(make_summary())):
        assert not re.search(r"server|TTFT|requests|canar", text, re.IGNORECASE)
    local = make_summary([*ROWS, *(dataclasses.replace(row, server_prompt_tokens=None) for row in canaries(1024))])
    assert local.server is None
    for text in (page(local), markdown(local)):
        assert "Addressable: accepts 1,024 tokens; reads 1,024 tokens; no cut was seen." in text
        assert not re.search(r"TTFT|requests|The server", text)
    assert "<th>counted</th>" not in page(local)
    assert "ttft" not in to_csv([local]).decode()
    (run,) = json.loads(to_json([local]))["runs"]
    assert run["server"] is None
    assert run["addressable"]["reads"] == 1024


def test_times_are_of_scored_answers_with_an_interval_from_six_on() -> None:
    rows = [served(row, ttft_seconds=float(2**index)) for index, row in enumerate(grid(lengths=[1024], trials=2))]
    found = measure([*rows, *canaries(1024, ttft_seconds=1e6)], OFFSET)
    assert found.ttft is not None
    assert (found.ttft.num, found.ttft.median, found.ttft.least, found.ttft.most) == (6, 6.0, 1.0, 32.0)
    assert found.ttft.interval is not None
    assert (found.ttft.interval.low, found.ttft.interval.high) == (1.0, 32.0)
    failed = dataclasses.replace(rows[0], status="truncated", score=None, near_miss=None, error="x")
    few = measure([failed, *rows[1:]], OFFSET).ttft
    assert few is not None
    assert (few.num, few.median, few.interval) == (5, 8.0, None)
    assert measure([failed], OFFSET).ttft is None


def test_counts_are_compared_beyond_what_the_server_adds() -> None:
    rows = [served(row) for row in grid(lengths=[1024])]
    assert measure(rows, OFFSET).gap == TokenGap(9, 0, 0, 0)
    rows[0] = dataclasses.replace(rows[0], server_prompt_tokens=1008 + OFFSET + 1)
    rows[1] = dataclasses.replace(rows[1], server_prompt_tokens=None)
    assert measure(rows, OFFSET).gap == TokenGap(8, 1, 0, 1)
    none = [dataclasses.replace(row, server_prompt_tokens=None, cached_prompt_tokens=None) for row in rows]
    assert (measure(none, OFFSET).gap, measure(none, OFFSET).cached_share) == (None, None)
    assert "It counts no tokens" in said_of(none)


@pytest.mark.parametrize(("low", "high", "words"), [(0, 0, "as ours"), (1, 1, "+1"), (-2048, 0, "-2,048 to 0")])
def test_gaps_in_words(low: int, high: int, words: str) -> None:
    assert gap_words(TokenGap(3, 1, low, high)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.00825, "8.25 ms"), (0.0001, "0.100 ms"), (0.431, "431 ms"), (12.5, "12.5 s"), (1250.0, "1,250 s")],
)
def test_durations_have_three_digits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_one_version_is_named_and_several_are_a_warning() -> None:
    one = [row for row in served_rows() if row.server_fingerprint == "fp-a"]
    assert server_of(one).warning is None
    assert "It states the model m-1 and the fingerprint fp-a." in said_of(one)
    assert "More than one version" not in markdown(make_served(one))
    warning = server_of(served_rows()).warning
    assert warning is not None
    assert "2 fingerprints" in warning
    text = page(make_served())
    assert f'<p class="verdict warning">{warning}</p>' in text[: text.index('<section id="capacity">')]
    assert f"**{warning}**" in markdown(make_served())
    both = make_report([make_summary(), make_served()], THEMES["light"])
    assert f"(B): {warning}" in render_markdown(both, {})


def test_an_answer_that_states_no_version_contradicts_none() -> None:
    rows = [served(row, server_fingerprint="" if row.trial else "fp-a") for row in grid()]
    assert server_of(rows).warning is None
    assert [version.num_answers for version in server_of(rows).versions] == [18, 9]
    silent = [served(row, server_fingerprint="", server_model="") for row in grid()]
    assert "It states neither a model nor a fingerprint." in said_of(silent)
    assert "the model m-1, and no fingerprint." in said_of([served(row, server_fingerprint="") for row in grid()])


def test_what_was_spent_adds_up_over_the_starts() -> None:
    unpriced = ACCOUNT | {"price_in": None, "price_out": None, "cost": None, "concurrency": 1}
    other = ACCOUNT | {"price_in": 3.0, "cost": 0.1516}
    said = costs(make_served(accounts=[ACCOUNT, other, unpriced]))
    assert "120 requests in 3 starts with 150,000 prompt tokens and 1,200 completion tokens" in said
    assert "Cost: 0.2532, a million prompt and completion tokens at 2 and 4; 3 and 4." in said
    assert "1 of the starts had no prices" in said
    assert "kept no account" not in said
    assert "2 more of the starts kept no account." in costs(make_served(num_killed=2))
    assert "No prices were given" in costs(make_served(accounts=[unpriced]))
    assert "kept no account of retries and prices" in costs(make_served(accounts=[]))
    assert "1 of 37 samples took more than one attempt" in said
    assert "reused" not in said  # what a server computed it does not say


def test_what_a_server_says_is_never_markup() -> None:
    evil = "<script>alert(1)</script>|`*\u202e"
    rows = [served(row, server_fingerprint=f"{evil}{row.trial}", server_model=evil) for row in grid()]
    for summary in (make_served(rows), make_served(rows[::3])):
        text = page(summary)
        assert text.count("<script") == 2
        assert "&lt;script&gt;alert(1)&lt;/script&gt;|`*\\u202e" in text
        said = markdown(summary)
        assert "<script" not in said
        assert r"\|\`\*\\u202e" in said
        assert "\u202e" not in text + said
    assert "x" * 200 not in said_of([served(row, server_fingerprint="x" * 10**6) for row in grid()])


def test_tables_for_programs_have_times_and_counts() -> None:
    frame = pd.read_csv(io.BytesIO(to_csv([make_served(), make_summary()])))
    cell = frame[(frame.length == 2048) & (frame.depth == 0.5)]
    assert list(cell.median_ttft_seconds.iloc[:1]) == [2.01]
    assert pd.isna(cell.median_ttft_seconds.iloc[1])  # the local run's
    cut = frame[frame.length == 4096].iloc[0]
    assert (cut.token_gap_low, cut.token_gap_high, cut.cached_share) == (-2032, -2032, pytest.approx(1024 / 2051))
    (run,) = json.loads(to_json([make_served()]))["runs"]
    assert run["addressable"]["cuts"] == 4096
    assert run["addressable"]["sentence"].endswith("counted 2,051 of 4,080.")
    assert [found["length"] for found in run["server"]["by_length"]] == [1024, 2048, 4096]
    assert run["server"]["by_length"][0]["ttft"]["interval"] == {"low": 1.0, "high": 1.02}
    assert run["server"]["spending"]["prices"] == [{"prompt": 2.0, "completion": 4.0}]
    assert "2 fingerprints" in run["server"]["warning"]


def test_server_tables_have_as_many_cells_in_every_row() -> None:
    checked = 0
    for block in re.split(r"\n\n+", markdown(make_served())):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
            checked += 1
    assert checked == 9


if __name__ == "__main__":
    SNAPSHOT.write_text(markdown(make_served()), encoding="utf-8")
