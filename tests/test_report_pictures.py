"""Pictures: their structure, their colours, and what is written in them."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
import xml.etree.ElementTree as ET
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from report_runs import DEPTHS, FAILED, LENGTHS, grid, make_summary
from rows import make_row

from longctx.records import ServedStatus
from longctx.report.bars import draw_bars
from longctx.report.curves import draw_curve
from longctx.report.groups import TaskGroup, group_tasks
from longctx.report.heatmap import draw_heatmap
from longctx.report.summary import Summary
from longctx.report.theme import (
    THEMES,
    Theme,
    axis_label,
    colour,
    ink_on,
    inline_svg,
    png,
    readable_ticks,
    svg,
)
from longctx.report.write import heatmap_names

LIGHT = THEMES["light"]


def group_of(*summaries: Summary) -> TaskGroup:
    (group,) = group_tasks(summaries)
    return group


def texts(svg_text: str) -> list[str]:
    """All text in a picture; raises if it is not well-formed."""
    root = ET.fromstring(svg_text)
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


def dashed(figure: Figure) -> int:
    """How many dashed lines a picture has: those of the advertised window."""
    return sum(line.get_linestyle() == "--" for axes in figure.axes for line in axes.lines)


def luminance(hex_colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    channels = [int(hex_colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_grow_steadily_lighter() -> None:
    steps = [luminance(colour(i / 20)) for i in range(21)]
    assert all(a < b for a, b in itertools.pairwise(steps))


@pytest.mark.parametrize("accuracy", [i / 20 for i in range(21)])
def test_a_cells_text_reads_on_its_colour(accuracy: float) -> None:
    assert contrast(colour(accuracy), ink_on(accuracy)) >= 3.9


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
def test_every_ink_reads_on_its_paper(theme: Theme) -> None:
    for ink in (theme.ink, theme.grey, theme.alarm, *theme.series):
        assert contrast(ink, theme.paper) >= 3.0, ink
    assert contrast(theme.ink, theme.paper) >= 7.0
    assert contrast(theme.grey, theme.paper) >= 4.5


@pytest.mark.parametrize(
    ("length", "label"),
    [(8192, "8k"), (16384, "16k"), (8704, "8.5k"), (2**20, "1M"), (10 * 2**20, "10M"), (1000, "1000"), (100, "100")],
)
def test_axes_say_8k_16k_1m_10m(length: int, label: str) -> None:
    assert axis_label(length) == label


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40).map(sorted), st.floats(0.1, 50), st.data())
def test_labels_do_not_overlap_and_the_chosen_one_is_there(
    positions: list[float], room: float, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(positions) - 1))
    kept = readable_ticks(positions, room, first)
    assert first in kept
    assert all(positions[b] - positions[a] >= room for a, b in itertools.pairwise(kept))
    left_out = set(range(len(positions))) - set(kept)
    assert all(any(abs(positions[i] - positions[k]) < room for k in kept) for i in left_out)


def test_the_heatmap_has_a_cell_for_every_length_and_depth() -> None:
    rows = grid({(4096, 1.0, trial): FAILED for trial in range(3)} | {(1024, 0.0, 0): {"score": 0.0}})
    shown = texts(svg(draw_heatmap(group_of(make_summary(rows)), LIGHT, "A title")))
    assert shown.count("3/3") == 7
    assert (shown.count("2/3"), shown.count("oom")) == (1, 1)
    for text in (
        "A title",
        "niah_single",
        "1k",
        "2k",
        "4k",
        "0%",
        "50%",
        "100%",
        "advertised 2k",
        "past it",
        "rule 85.6%",
    ):
        assert text in shown


def test_a_mark_in_a_cell_is_explained_below() -> None:
    rows = grid({(1024, 0.0, trial): {"score": 0.0} for trial in range(8)}, trials=8)
    shown = texts(svg(draw_heatmap(group_of(make_summary(rows, trials=8)), LIGHT, "A title")))
    assert [text for text in shown if text.endswith("▾")] == ["0/8 ▾"]
    assert any("▾ worse than the rest of its length" in text for text in shown)
    plain = texts(svg(draw_heatmap(group_of(make_summary(grid())), LIGHT, "A title")))
    assert not any("▾" in text for text in plain)


def test_the_curve_has_a_band_points_controls_and_n() -> None:
    controls = [make_row(sample_id=f"c{i}", length=0, control="closed_book", score=0.0) for i in range(5)]
    text = svg(draw_curve(group_of(make_summary([*grid(), *controls])), LIGHT))
    shown = texts(text)
    assert ("question" in shown, "alone" in shown) == (True, True)
    assert "facts" not in shown
    assert shown.count("n=9") == 3
    assert text.count('id="FillBetweenPolyCollection') == 1  # the band


def test_a_length_with_failures_has_a_cross() -> None:
    whole = svg(draw_curve(group_of(make_summary(grid())), LIGHT))
    failed = svg(draw_curve(group_of(make_summary(grid({(4096, 0.5, 0): FAILED}))), LIGHT))
    assert failed.count(LIGHT.alarm) > whole.count(LIGHT.alarm) > 0


def test_a_window_beyond_all_tested_lengths_is_pointed_at() -> None:
    summary = dataclasses.replace(make_summary(), window=10 * 2**20)
    for figure in (draw_curve(group_of(summary), LIGHT), draw_heatmap(group_of(summary), LIGHT, "t")):
        assert "advertised 10M →" in texts(svg(figure))
        assert dashed(figure) == 0  # no line where there is no such place
    for figure in (draw_curve(group_of(make_summary()), LIGHT), draw_heatmap(group_of(make_summary()), LIGHT, "t")):
        assert dashed(figure) > 0


def test_bars_say_advertised_addressable_and_what_tasks_show() -> None:
    tasks = ["niah_single:digits=7", "vt:num_hops=4"]
    rows = [row for task in tasks for row in grid(task=task)]
    rows = [dataclasses.replace(row, score=0.0 if row.task.startswith("vt") else 1.0) for row in rows]
    shown = texts(svg(draw_bars([make_summary(rows, task=tasks)], LIGHT)))
    for text in ("advertised", "addressable", "retrieves: niah_single", "reasons: vt", "2k", "≥ 4k", "under 1k"):
        assert text in shown


def test_several_runs_have_a_curve_and_a_heatmap_each() -> None:
    other = dataclasses.replace(
        make_summary(grid(lengths=[2048, 4096, 8192]), lengths=[2048, 4096, 8192]), model="other"
    )
    group = group_of(make_summary(grid()), other)
    assert group.lengths == (1024, 2048, 4096, 8192)
    shown = texts(svg(draw_heatmap(group, LIGHT, "Both")))
    assert shown.count("3/3") == 2 * len(LENGTHS) * len(DEPTHS)
    assert shown.count("other") == 2  # in the key, and over its heatmap


def test_names_are_neither_markup_nor_formulas() -> None:
    evil = dataclasses.replace(make_summary(), model="$x_2$ <b> & \u202e")
    for text in (svg(draw_heatmap(group_of(evil), LIGHT, "t")), svg(draw_bars([evil, evil], LIGHT))):
        ET.fromstring(text)
        assert "<b>" not in text
    assert r"$x_2$ <b> & \u202e (A)" in texts(svg(draw_bars([evil, evil], LIGHT)))


def test_inline_pictures_keep_their_ids_apart_and_say_what_they_show() -> None:
    figure = draw_curve(group_of(make_summary()), LIGHT)
    one, other = inline_svg(figure, "one", 'n < 3 & "x"'), inline_svg(figure, "other", "")
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for found, text in zip(ids, (one, other), strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', text)) <= found
    root = ET.fromstring(one)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'n < 3 & "x"')


def test_the_same_figure_is_the_same_bytes_in_both_themes() -> None:
    from PIL import Image

    for theme in THEMES.values():
        first, second = (draw_heatmap(group_of(make_summary()), theme, "t") for _ in range(2))
        assert png(first) == png(second)
        with Image.open(io.BytesIO(png(first))) as image:
            assert image.width == 1400
            corner = image.convert("RGB").getpixel((2, 2))
        assert corner == tuple(int(theme.paper[i : i + 2], 16) for i in (1, 3, 5))


def test_wide_heatmaps_drop_labels_rather_than_grow() -> None:
    lengths = [1024 * i for i in range(1, 31)]
    figure = draw_heatmap(group_of(make_summary(grid(lengths=lengths), lengths=lengths)), LIGHT, "wide")
    assert figure.get_figwidth() == 7.0
    shown = texts(svg(figure))
    assert "3/3" not in shown
    assert "30k" in shown
    assert any("the lighter the more are right, crossed: no score, struck: not run" in text for text in shown)


@pytest.mark.parametrize("num_columns", [3, 10, 14])
def test_what_stands_in_a_cell_stays_inside_it(num_columns: int) -> None:
    """Also the longest status, and counts of a hundred with their marks."""
    lengths, statuses = [1024 * 2**i for i in range(num_columns)], [s for s in get_args(ServedStatus) if s != "empty"]
    rows = [
        make_row(**{**FAILED, "status": status}, sample_id=f"{i}", length=lengths[i % 3], depth=i // 3 / 3)
        for i, status in enumerate(statuses)
    ]
    rows += grid({(lengths[-1], 0.0, 0): {"score": 0.0}}, lengths[-1:], [0.0], trials=100)
    summary = make_summary(rows, lengths=lengths, depths=[0.0, 1 / 3, 2 / 3, 1.0], trials=100)
    figure = draw_heatmap(group_of(summary), LIGHT, "t")
    cells = figure.axes[1]
    assert len(cells.texts) >= len(statuses)
    frames = {(p.get_x(), p.get_y()): p for p in cells.patches if isinstance(p, Rectangle)}
    for text in cells.texts:
        x, y = text.get_position()
        inner, outer = text.get_window_extent(), frames[x - 0.48, y - 0.46].get_window_extent()
        assert inner.x0 >= outer.x0, text.get_text()
        assert inner.x1 <= outer.x1, text.get_text()
        assert inner.height <= outer.height, text.get_text()
        assert float(text.get_fontsize()) >= 6.5


def test_what_was_measured_wrong_differs_in_grey_from_what_was_not_measured() -> None:
    """A hatch for no score, another for not run, and a frame in every theme where accuracy is 0."""
    special: dict[tuple[int, float, int], dict[str, Any]]
    special = {(1024, 0.0, trial): {"score": 0.0} for trial in range(3)}
    special |= {(2048, 0.0, trial): FAILED for trial in range(3)}
    rows = [row for row in grid(special) if (row.length, row.depth) != (4096, 0.0)]
    for theme in THEMES.values():
        patches = draw_heatmap(group_of(make_summary(rows)), theme, "t").axes[1].patches
        wrong, failed, missing = (
            next(p for p in patches if isinstance(p, Rectangle) and round(p.get_x() + 0.48) == x and p.get_y() < 0)
            for x in range(3)
        )
        assert [patch.get_hatch() for patch in (wrong, failed, missing)] == [None, "xxx", "//"]
        for patch in (wrong, failed, missing):
            assert contrast(to_hex(patch.get_edgecolor()), theme.paper) >= 3.0


def test_pictures_of_several_tasks_have_names_of_their_own() -> None:
    tasks = ["niah_single:digits=7", "niah_single:digits=5", "vt:num_hops=4"]
    summary = make_summary([], task=tasks)
    names = heatmap_names(group_tasks([summary]))
    assert names == ["heatmap-niah_single-digits-7", "heatmap-niah_single-digits-5", "heatmap-vt"]
    assert heatmap_names(group_tasks([make_summary()])) == ["heatmap"]
