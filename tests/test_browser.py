"""The page in a real browser, opened from disk: what hovering and clicking do, and that nothing leaves it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from report_runs import DEPTHS, FAILED, LENGTHS, WRONG, grid, make_served, make_summary, served, write_run

from longctx.report.write import read_summary, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

ATTACKS = [
    "<script>document.title = 'owned'</script>",
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "<svg onload=\"document.title = 'owned'\"></svg>",
    "<!--<script>",
    "]]>&lt;b&gt;<b>bold</b>",
    "<a href=\"javascript:document.title='owned'\">x</a><iframe src=https://example.org></iframe>",
    "\u202egnp.exe\u2066",
    "{{ 7 * 7 }} ${document.title = 'owned'}",
    "x" * 1_000_000,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose every answer, excerpt, target and error at 4k is hostile."""
    changes = {}
    attacks = iter(ATTACKS)
    for depth in DEPTHS:
        for trial in range(4):
            text = next(attacks, ATTACKS[0])
            changes[4096, depth, trial] = {
                **WRONG,
                "answer": text,
                "excerpt": text,
                "question": text,
                "targets": (text,),
            }
    changes[4096, 1.0, 3] = {**FAILED, "error": ATTACKS[2]}
    told = {"excerpt": "He left. The number is 1000050. She stayed.", "question": "What is the number?"}
    rows = grid({**changes, (2048, 0.5, 0): {**WRONG, **told}}, trials=4)
    folder = write_run(tmp_path_factory.mktemp("report"), rows, trials=4)
    write_report([read_summary(folder)], folder, ["html"])
    return folder / "report.html"


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Page]:
    """The page at 700 pixels; at the end nothing was asked of anybody and nothing was complained about."""
    asked: list[str] = []
    complaints: list[str] = []
    opened = browser.new_page(viewport={"width": 700, "height": 900})
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(report.as_uri())
    yield opened
    opened.wait_for_load_state("networkidle")
    assert asked == [report.as_uri()]
    assert complaints == []
    assert "owned" not in opened.title()
    opened.close()


def cell(page: Page, length: int, depth: float) -> Any:
    return page.locator(f'button.cell[data-cell="0/0/{length}/{depth:g}"]')


def test_it_opens_from_disk_and_fits_700_pixels(page: Page) -> None:
    assert page.locator("button.cell").count() == len(LENGTHS) * len(DEPTHS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.locator("#verdict").bounding_box()["y"] < 300  # type: ignore[index]
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height))"
    )
    assert smallest >= 9


def test_hovering_says_n_interval_and_log_probability(page: Page) -> None:
    tip = page.locator("#tip")
    assert tip.is_hidden()
    cell(page, 2048, 0.5).hover()
    assert tip.is_visible()
    for words in (
        "3 of n = 4 right",
        "95 % Wilson interval 30% to 95%",
        "mean log-probability of the wanted answer -2.19",
    ):
        assert words in tip.inner_text()
    page.locator("h1").hover()
    assert tip.is_hidden()


def test_clicking_opens_the_prompt_the_answer_and_the_target_and_closes_them(page: Page) -> None:
    panel = page.locator(".panel")
    assert panel.is_hidden()
    cell(page, 2048, 0.5).click()
    first = panel.locator("article").first
    assert "wrong · trial 0" in first.inner_text()
    assert "He left. The number is 1000050. She stayed." in first.inner_text()
    assert "What is the number?" in first.inner_text()
    assert first.locator("mark").inner_text() == "1000050"
    assert panel.locator("article").count() == 4
    cell(page, 1024, 0.0).click()  # another cell takes its place
    assert "right · trial 0" in panel.locator("article").first.inner_text()
    assert cell(page, 2048, 0.5).get_attribute("aria-expanded") == "false"
    cell(page, 1024, 0.0).click()
    assert panel.is_hidden()


def test_cells_are_reached_and_opened_by_keyboard(page: Page) -> None:
    cell(page, 1024, 0.5).focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Enter")
    assert page.locator(".panel article").count() == 4


def test_hostile_output_stays_text(page: Page) -> None:
    shown = ""
    for depth in DEPTHS:
        cell(page, 4096, depth).click()
        shown += page.locator(".panel").inner_text()
    for summary in page.locator("summary").all():
        summary.click()
    shown += page.locator("#failures").inner_text()
    for attack in (*ATTACKS[:7], ATTACKS[8]):
        assert attack in shown
    assert r"\u202egnp.exe\u2066" in shown
    assert "… (1,000,000 characters)" in shown
    assert page.locator("script").count() == 2
    for element in ("img", "iframe", "a", "b", ".panel svg"):
        assert page.locator(f"#failures {element}, .panel {element}").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 700


def test_nothing_injected_could_run_or_call_home(browser: Any, report: Path) -> None:
    """The policy in the page holds even if something were to slip through the escaping."""
    opened = browser.new_page()
    asked: list[str] = []
    opened.on("requestfailed", lambda request: asked.append(request.failure))
    opened.on("requestfinished", lambda request: asked.append(request.url))
    opened.goto(report.as_uri())
    refused = opened.evaluate(
        """async () => {
            const refused = [];
            document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
            const image = document.createElement("img");
            image.src = "https://example.org/x.png";
            document.body.append(image);
            await new Promise((done) => setTimeout(done, 0)).then(() => new Promise(requestAnimationFrame));
            return refused;
        }"""
    )
    assert set(refused) == {"script-src-elem", "img-src"}
    assert asked == [report.as_uri(), "csp"]
    assert "owned" not in opened.title()
    opened.close()


def test_what_a_server_calls_itself_stays_text(browser: Any, tmp_path: Path) -> None:
    """One version of it is named in a sentence, several in a table; both are read at 700 pixels."""
    for rows in (
        [served(row, server_fingerprint=ATTACKS[2], server_model=ATTACKS[0]) for row in grid()],
        [served(row, server_fingerprint=ATTACKS[index % len(ATTACKS)]) for index, row in enumerate(grid())],
    ):
        write_report([make_served(rows)], tmp_path, ["html"])
        opened = browser.new_page(viewport={"width": 700, "height": 900})
        asked: list[str] = []
        opened.on("request", lambda request, asked=asked: asked.append(request.url))
        opened.goto((tmp_path / "report.html").as_uri())
        shown = opened.locator("#server").inner_text()
        distinct = {row.server_fingerprint for row in rows}
        for attack in distinct - set(ATTACKS[7:]):
            assert attack in shown
        if len(distinct) > 1:
            assert "the server states 10 fingerprints." in opened.locator("#verdict").inner_text()
            assert r"\u202egnp.exe\u2066" in shown
            assert "… (1,000,000 characters)" in shown
        assert opened.locator("#server :is(script, img, svg, iframe, a, b)").count() == 0
        assert opened.evaluate("document.documentElement.scrollWidth") <= 700
        assert "owned" not in opened.title()
        assert len(asked) == 1
        opened.close()


def test_both_themes_are_legible_in_the_browser(browser: Any, tmp_path: Path) -> None:
    for theme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 24, 29)")):
        write_report([make_summary()], tmp_path, ["html"], theme=theme)
        opened = browser.new_page()
        opened.goto((tmp_path / "report.html").as_uri())
        assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == background
        opened.close()
