"""The page and the Markdown: whole, bounded, the same every time, and nothing in them is taken for markup."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from report_runs import DEPTHS, FAILED, HOSTILE, LENGTHS, ROWS, TASK, WRONG, grid, make_summary, write_run

from longctx.cli import main
from longctx.pages import visible
from longctx.records import Row
from longctx.report.pages import make_report, render_html, render_markdown
from longctx.report.summary import Summary
from longctx.report.theme import THEMES
from longctx.report.write import picture_texts, read_summary, write_report

SNAPSHOT = Path(__file__).parent / "data" / "report.md"
REORDERING = "\u202e\u2066\u200f"


def page(*summaries: Summary) -> str:
    return render_html(make_report(summaries, THEMES["light"]))


def markdown(*summaries: Summary) -> str:
    report = make_report(summaries, THEMES["light"])
    return render_markdown(report, picture_texts(report))


@pytest.fixture(scope="module")
def whole_page() -> str:
    return page(make_summary())


class Checker(HTMLParser):
    """Collects tags, checks that they close, and keeps what cells say on hover."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.cells: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "button":
            self.cells.append(dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def embedded(text: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    """What the page holds for clicks."""
    found = re.search(r'<script type="application/json" id="details">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    details: dict[str, dict[str, list[dict[str, object]]]] = json.loads(found[1])
    return details


def test_the_page_is_whole_and_says_n_and_interval_of_every_cell(whole_page: str) -> None:
    checker = Checker()
    checker.feed(whole_page)
    assert checker.open == []
    assert len(checker.cells) == len(LENGTHS) * len(DEPTHS)
    details = embedded(whole_page)
    for cell in checker.cells:
        label = cell["aria-label"] or ""
        assert "n = " in label
        assert "interval" in label
        assert "log-probability" in label
        assert cell["data-cell"] in details
        assert f'id="{cell["data-panel"]}"' in whole_page


def test_the_verdict_comes_first(whole_page: str) -> None:
    places = [
        whole_page.index(f'<section id="{name}">') for name in ("verdict", "capacity", "failures", "cost", "repeat")
    ]
    assert places == sorted(places)
    assert whole_page.index("advertises 2,048 tokens; its effective length") < places[1]


def test_no_model_output_is_markup(whole_page: str) -> None:
    checker = Checker()
    checker.feed(whole_page)
    assert checker.tags.count("script") == 2  # ours: the data and the code
    assert "b" not in checker.tags
    assert "big" not in checker.tags
    assert "&lt;script&gt;alert" in whole_page
    assert r"\u003cscript\u003ealert" in whole_page
    text = markdown(make_summary())
    assert "<script>" not in text
    assert "<big>" not in text
    assert r"\`\|\*" in text


def test_nothing_runs_but_the_script_whose_hash_is_stated(whole_page: str) -> None:
    import base64
    import hashlib

    script = re.findall(r"<script>(.*?)</script>", whole_page, re.DOTALL)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in whole_page.replace(
        "&#39;", "'"
    )
    assert "innerHTML" not in script
    assert "insertAdjacentHTML" not in script


def test_the_page_needs_nothing_from_elsewhere(whole_page: str) -> None:
    text = re.sub(r'xmlns(:\w+)?="[^"]*"|(href="|url\()#[\w-]+', "", whole_page)  # names, and places inside the page
    assert not re.search(r"(src|href)=|url\(|@import|https?:", text)


def test_a_page_of_a_large_sweep_with_endless_answers_is_small() -> None:
    endless = {"score": 0.0, "answer": "</script>" + "x" * 1_000_000, "excerpt": "é" * 600, "question": "q" * 600}
    lengths, depths = [1024 * 2**i for i in range(10)], [i / 9 for i in range(10)]
    rows = grid({}, lengths, depths, trials=5, **endless)
    text = page(make_summary(rows, lengths=lengths, depths=depths, trials=5))
    assert len(text.encode()) < 3_000_000
    details = embedded(text)
    assert len(details) == 100
    assert all(len(cell["samples"]) == 5 for cell in details.values())
    assert str(details["0/0/1024/0"]["samples"][0]["answer"]).endswith("x … (1,000,009 characters)")


def test_a_page_of_too_many_samples_leaves_right_ones_out() -> None:
    rows = grid({(1024, 0.0, 7): WRONG}, trials=300, excerpt="e" * 600, question="q" * 300)
    details = embedded(page(make_summary(rows, trials=300)))
    assert details["0/0/1024/0"]["samples"][0]["outcome"] == "wrong"
    assert len(details["0/0/1024/0"]["samples"]) == 20
    assert details["0/0/1024/0"]["more"] == 280  # type: ignore[comparison-overlap]


def test_hidden_characters_are_seen_and_long_text_is_cut() -> None:
    assert visible(f"a{REORDERING}b\x1b[31m\x00") == r"a\u202e\u2066\u200fb\u001b[31m\u0000"
    assert visible("a\nb\tc\u2028") == r"a b c\u2028"
    assert visible("שלום, 你好, é 👍") == "שלום, 你好, é 👍"
    assert visible("x" * 1_000_000, 5) == "xxxxx … (1,000,000 characters)"


def test_characters_that_turn_text_around_do_not_reach_the_page() -> None:
    rows = grid(
        {(1024, 0.0, 0): {**WRONG, "answer": f"{REORDERING}evil", "excerpt": REORDERING, "targets": (REORDERING,)}}
    )
    for text in (page(make_summary(rows)), markdown(make_summary(rows))):
        assert not set(REORDERING) & set(text)


def test_the_cards_show_the_prompt_the_answer_and_the_target() -> None:
    rows = grid({(2048, 0.5, 1): {**WRONG, "excerpt": "The number is 1001050.", "question": "What is it?"}})
    sample = embedded(page(make_summary(rows)))["0/0/2048/0.5"]["samples"][0]
    assert (sample["outcome"], sample["trial"]) == ("wrong", 1)
    assert (sample["prompt"], sample["question"]) == ("The number is 1001050.", "What is it?")
    assert (sample["targets"], sample["answer"], sample["logprob"]) == (["1001050"], HOSTILE, -8.0)


def test_several_runs_stand_side_by_side_with_their_differences() -> None:
    worse = grid({(4096, depth, trial): WRONG for depth in DEPTHS for trial in range(3)})
    summaries = [make_summary(grid()), make_summary(worse)]
    text = page(*summaries)
    assert len(re.findall(r'<table class="heatmap">', text)) == 2
    assert "a &lt;b&gt;model&lt;/b&gt; (B) less a &lt;b&gt;model&lt;/b&gt; (A)" in text
    assert "asked the same questions, compared in pairs" in text
    assert re.search(r'class="sure"><td>4,096</td>.*?<td>-100</td>', text, re.DOTALL)
    said = markdown(*summaries)
    assert "| 4,096 | a &lt;b&gt;model&lt;/b&gt; (B) less a &lt;b&gt;model&lt;/b&gt; (A) | -100 |" in said


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([TASK], "narrator haystack"),
        (["a_task_of_an_older_version"], "narrator haystack"),
        ([TASK, "vt:num_hops=4"], "narrator haystack, where a task brings none of its own"),
        (["fiction:hops=0"], "narrator haystack, where a task brings none of its own"),
    ],
)
def test_the_haystack_is_said_of_the_tasks_that_read_it(tasks: list[str], words: str) -> None:
    assert f"chat template · {words}\n" in markdown(make_summary([], task=tasks))


def test_the_markdown_is_as_it_was() -> None:
    """Compared with a stored one; if a change is meant, store the new one: python tests/test_report_pages.py."""
    assert markdown(make_summary()) == SNAPSHOT.read_text(encoding="utf-8")


def test_markdown_tables_have_as_many_cells_in_every_row() -> None:
    tables: list[list[str]] = [[]]
    for line in markdown(make_summary()).splitlines():
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    tables = [table for table in tables if table]
    assert len(tables) == 6
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table
        assert set(table[1]) <= set("|-: ")


def test_an_unfinished_run_says_so() -> None:
    assert "not finished: 7 samples are missing" in markdown(make_summary(ROWS[:20]))
    assert "not finished" not in markdown(make_summary())


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report([read_summary(write_run(tmp_path / name))], tmp_path / name)
    for name in ("report.html", "report.md", "heatmap.png", "heatmap.svg", "bars.png", "bars.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_run_without_rows_can_be_drawn(tmp_path: Path) -> None:
    write_report([read_summary(write_run(tmp_path, []))], tmp_path)
    assert "not run" in (tmp_path / "report.html").read_text()


def test_report_works_where_torch_is_not_installed(tmp_path: Path) -> None:
    write_run(tmp_path)
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('torch', 'transformers'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from longctx.cli import main\n"
        f"main(['report', {str(tmp_path)!r}, '--format', 'md,json'])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "is not a run folder"),
        (["--format", "html,pdf"], "Unknown format 'pdf'"),
        (["--theme", "sepia"], "Unknown theme 'sepia'"),
    ],
)
def test_what_cannot_be_drawn_ends_with_exit_code_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    folder = tmp_path / "none" if not arguments else write_run(tmp_path / "run")
    folder.mkdir(exist_ok=True)
    result = CliRunner().invoke(main, ["report", str(folder), *arguments])
    assert result.exit_code == 2
    assert words in result.output


def test_several_runs_need_a_place_for_their_report(tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / name)) for name in ("a", "b")]
    result = CliRunner().invoke(main, ["report", *runs])
    assert result.exit_code == 2
    assert "--out" in result.output
    result = CliRunner().invoke(
        main, ["report", *runs, "--out", str(tmp_path / "c"), "--format", "md", "--title", "A | B"]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "c" / "report.md").read_text().startswith("# A \\| B\n")
    assert not (tmp_path / "a" / "report.md").exists()


def failing_rows() -> list[Row]:
    return grid(
        {
            (4096, depth, 0): {**FAILED, "status": status}
            for depth, status in zip(DEPTHS, ("oom", "oom", "error"), strict=True)
        }
    )


def test_failures_are_counted_by_status_and_length() -> None:
    text = markdown(make_summary(failing_rows()))
    assert "| status | 4k |" in text
    assert "| error | 1 |" in text
    assert "| oom | 2 |" in text


if __name__ == "__main__":
    SNAPSHOT.write_text(markdown(make_summary()), encoding="utf-8")
