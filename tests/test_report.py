from __future__ import annotations

import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rows import make_row

from longctx.cli import main
from longctx.records import Row
from longctx.report.heatmap import colour
from longctx.report.pages import render_html, render_markdown, repeat_command, write_report
from longctx.report.summary import Summary, summarise
from longctx.report.verdict import judge
from longctx.statistics import LengthResult
from longctx.store import RunFolder

TASK = "niah_single:digits=7:max_new_tokens=16"
LENGTHS, DEPTHS, TRIALS = [1024, 2048, 4096], [0.0, 0.5, 1.0], 3


def identity() -> dict[str, Any]:
    return {
        "config": {
            "model": "m",
            "task": [TASK],
            "lengths": LENGTHS,
            "depths": DEPTHS,
            "trials": TRIALS,
            "design": "isolated",
            "template": "chat",
            "haystack": "narrator",
            "beyond_window": True,
        },
        "model": {"name": "a <b>model</b>", "window": 2048, "weights": "abc"},
    }


def grid(**special: dict[str, Any]) -> list[Row]:
    """All rows, right but for the changes of `special`, by `length_depth_trial`."""
    rows = []
    for length in LENGTHS:
        for depth in DEPTHS:
            for trial in range(TRIALS):
                changes = special.get(f"at_{length}_{depth:.0%}_{trial}".replace("%", ""), {})
                address = {"length": length, "depth": depth, "trial": trial, "beyond_window": length > 2048}
                rows.append(make_row(**{"sample_id": f"{length}/{depth}/{trial}", **address, **changes}))
    return rows


WRONG = {"score": 0.0, "answer": ' <script>alert("x")</script> `|*', "near_miss": False}
FAILED = {"status": "oom", "score": None, "near_miss": None, "answer": "", "error": "OutOfMemoryError: <big>"}
ROWS = grid(at_2048_0_0=WRONG, at_2048_0_1=WRONG, at_2048_50_0=WRONG, at_4096_100_2=FAILED)


def make_summary(rows: list[Row] = ROWS) -> Summary:
    return summarise({**identity(), "starts": [{"started": "now"}]}, rows)


def write_run(folder: Path, rows: list[Row] = ROWS) -> Path:
    with RunFolder(folder, identity(), {"started": "now"}) as run:
        for row in rows:
            run.append(row)
    return folder


def test_cells_count_right_scored_failed_and_missing() -> None:
    (task,) = make_summary(ROWS[:-1]).tasks
    cell = task.cell(2048, 0.0)
    assert (cell.num_right, cell.num_scored, cell.failures, cell.num_missing) == (1, 3, (), 0)
    assert cell.label == "1/3"
    assert "1 of n = 3 right; 95 % Wilson interval 6% to 79%" in cell.explanation
    last = task.cell(4096, 1.0)
    assert (last.num_scored, last.num_missing, last.beyond_window) == (2, 1, True)
    assert "past the advertised window" in last.explanation


def test_a_failure_is_a_failure_and_not_a_zero() -> None:
    (task,) = make_summary(grid(**{f"at_4096_100_{trial}": FAILED for trial in range(3)})).tasks
    cell = task.cell(4096, 1.0)
    assert make_summary().tasks[0].cell(4096, 1.0).label == "2/2!"  # some failed, some did not
    assert (cell.accuracy, cell.label) == (None, "oom")
    assert task.by_length[2].accuracy == 1.0
    assert task.by_length[2].num_failed == 3
    assert task.verdict.effective.value == 2048


def test_the_verdict_states_number_interval_rule_and_limits() -> None:
    (task,) = make_summary().tasks
    assert task.verdict.sentence == (
        "a <b>model</b> advertises 2,048 tokens; its effective length on niah_single (isolated) is 1,024 tokens "
        "(95 % interval, length by length: under 1,024 to 2,048). "
        "At 2,048 tokens 6 of 9 answers were right (67%; 35% to 88%)."
    )
    assert "at least 85.6%" in task.verdict.rule
    assert "n = 8" in task.verdict.notes[0]
    assert "n = 23" in task.verdict.notes[0]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (
            [(1, 30), (0, 30)],
            "is under 1,024 tokens, the shortest tested (95 % interval, length by length: under 1,024).",
        ),
        (
            [(30, 30), (30, 30)],
            "is at least 2,048 tokens, the longest tested (95 % interval, length by length: 2,048 to at least 2,048).",
        ),
        ([(30, 30), (0, 30)], "is 1,024 tokens (95 % interval, length by length: 1,024 to 1,024)."),
    ],
)
def test_verdicts_at_the_ends(counts: list[tuple[int, int]], words: str) -> None:
    results = [LengthResult(1024 * 2**i, *count) for i, count in enumerate(counts)]
    verdict = judge("M", 9, "t", "packed", results)
    assert words in verdict.sentence
    assert verdict.notes == ()


def test_a_length_that_failed_is_not_called_short() -> None:
    verdict = judge("M", 9, "t", "packed", [LengthResult(1024, 3, 3, 1), LengthResult(2048, 4, 4)])
    assert verdict.sentence == (
        "M advertises 9 tokens; its effective length on t (packed) was not established. "
        "At 1,024 tokens 1 samples have no score, so it was not measured there."
    )


class Checker(HTMLParser):
    """Collects tags, checks that they close, and keeps titles."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.titles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.titles += [value for name, value in attrs if name == "title" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_shows_n_and_interval_on_hover() -> None:
    checker = Checker()
    checker.feed(render_html(make_summary()))
    assert checker.open == []
    cells = [title for title in checker.titles if title.startswith("context ")]
    assert len(cells) == len(LENGTHS) * len(DEPTHS)
    assert all("n = " in title and "interval" in title for title in cells)


def test_no_model_output_reaches_the_page_unescaped() -> None:
    page = render_html(make_summary())
    assert "<script>" not in page
    assert "<b>model" not in page
    assert "<big>" not in page
    assert "&lt;script&gt;alert" in page
    markdown = render_markdown(make_summary())
    assert "<script>" not in markdown
    assert "<big>" not in markdown
    assert r"\`\|\*" in markdown


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = render_html(make_summary())
    page = re.sub(r'xmlns(:\w+)?="[^"]*"|(href="|url\()#\w+', "", page)  # names and places inside the page
    assert not re.search(r"(src|href)=|url\(|@import|https?:", page)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([TASK], "narrator haystack"),
        (["a_task_of_an_older_version"], "narrator haystack"),
        ([TASK, "vt:num_hops=4"], "narrator haystack, where a task brings none of its own"),
        (["fiction:hops=0"], "narrator haystack, where a task brings none of its own"),
        (["cwe:max_new_tokens=120"], "narrator haystack, where a task brings none of its own"),
    ],
)
def test_the_haystack_is_said_of_the_tasks_that_read_it(tasks: list[str], words: str) -> None:
    manifest = identity()
    manifest["config"]["task"] = tasks
    summary = summarise({**manifest, "starts": [{"started": "now"}]}, [])
    assert f"· {words}</p>" in render_html(summary)
    assert f"; {words}.\n" in render_markdown(summary)


def test_markdown_tables_have_as_many_cells_in_every_row() -> None:
    tables: list[list[str]] = [[]]
    for line in render_markdown(make_summary()).splitlines():
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    tables = [table for table in tables if table]
    assert len(tables) == 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table
        assert set(table[1]) <= set("|-: ")


def test_an_unfinished_run_says_so() -> None:
    assert "not finished: 7 samples are missing" in render_html(make_summary(ROWS[:20]))
    assert "not finished: 7 samples are missing" in render_markdown(make_summary(ROWS[:20]))
    assert "not finished" not in render_html(make_summary())


def test_a_run_without_rows_can_be_drawn(tmp_path: Path) -> None:
    write_report(write_run(tmp_path, []))
    assert "not run" in (tmp_path / "report.html").read_text()


def test_the_same_rows_give_the_same_report(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    write_report(first)
    write_report(second)
    for name in ("report.html", "report.md", "heatmap.png", "heatmap.svg"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_pictures_are_pictures(tmp_path: Path) -> None:
    from PIL import Image

    write_report(write_run(tmp_path))
    with Image.open(tmp_path / "heatmap.png") as image:
        assert image.width > 800
    assert "advertised" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "heatmap.svg").read_text().startswith("<?xml")


def test_colours_grow_steadily_lighter() -> None:
    def lightness(accuracy: float) -> float:
        red, green, blue = (int(colour(accuracy)[i : i + 2], 16) for i in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    steps = [lightness(i / 20) for i in range(21)]
    assert all(a < b for a, b in itertools.pairwise(steps))


def test_the_command_repeats_the_run() -> None:
    command = repeat_command(identity()["config"])
    assert "--lengths 1024,2048,4096" in command
    assert "--depths 0.0,0.5,1.0" in command
    assert command.endswith("--beyond-window")


def test_report_works_where_torch_is_not_installed(tmp_path: Path) -> None:
    write_run(tmp_path)
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('torch', 'transformers'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from longctx.cli import main\n"
        f"main(['report', {str(tmp_path)!r}])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "report.html").exists()


def test_report_of_no_run_ends_with_exit_code_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "not a run folder" in result.output
