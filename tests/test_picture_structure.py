"""What pictures are made of, in order: groups, texts and colours, against stored ones. No coordinate is compared.

If a change is meant, store the new ones: python tests/test_picture_structure.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from report_runs import FAILED, WRONG, grid, make_summary
from rows import make_row

from longctx.report.bars import draw_bars
from longctx.report.curves import draw_curve
from longctx.report.groups import group_tasks
from longctx.report.heatmap import draw_heatmap
from longctx.report.summary import Summary
from longctx.report.theme import THEMES, Theme, svg

STORED = Path(__file__).parent / "data" / "pictures"
PICTURES = ("heatmap", "curve", "bars")
_SVG = "{http://www.w3.org/2000/svg}"


def draw(picture: str, theme: Theme) -> Figure:
    """A run with each kind of cell and a control, beside one in which all is right; both pass the advertised window."""
    special: dict[tuple[int, float, int], dict[str, Any]] = {(2048, 0.0, trial): WRONG for trial in range(3)}
    special |= {(4096, 1.0, trial): FAILED for trial in range(3)} | {(4096, 0.5, 0): FAILED}
    controls = [make_row(sample_id=f"c{i}", length=0, control="short", score=float(i > 0)) for i in range(5)]
    rows = [row for row in grid(special) if (row.length, row.depth) != (4096, 0.0)]
    one = make_summary([*rows, *controls])
    other: Summary = dataclasses.replace(make_summary(grid()), model="other")
    (group,) = group_tasks([one, other])
    if picture == "bars":
        return draw_bars([one, other], theme)
    return draw_curve(group, theme) if picture == "curve" else draw_heatmap(group, theme, "A title")


def structure(text: str) -> str:
    """An SVG's groups by kind, indented, each with its colours and its text; equal ones in a row are counted."""
    lines = [f"{'  ' * depth}{line}" for depth, line in _lines(ET.fromstring(text), 0)]
    counted = [(line, len(list(same))) for line, same in itertools.groupby(lines)]
    return "".join(f"{line}{f' x {count}' if count > 1 else ''}\n" for line, count in counted)


def _lines(element: ET.Element, depth: int) -> Iterator[tuple[int, str]]:
    for child in element:
        name = child.get("id")
        if child.tag != f"{_SVG}g":
            continue
        if name is None:  # only says where
            yield from _lines(child, depth)
            continue
        words = " | ".join(filter(None, (" ".join("".join(t.itertext()).split()) for t in _own(child, "text"))))
        parts = [re.sub(r"_\d+$", "", name), *_colours(child), *([f'"{words}"'] if words else [])]
        yield depth, " ".join(parts)
        yield from _lines(child, depth + 1)


def _own(element: ET.Element, tag: str) -> Iterator[ET.Element]:
    """Elements of a group that are in no other named group inside it."""
    for child in element:
        if child.tag == f"{_SVG}{tag}":
            yield child
        elif child.tag == f"{_SVG}g" and child.get("id") is None:
            yield from _own(child, tag)


def _colours(element: ET.Element) -> list[str]:
    found = []
    for tag in ("path", "use", "text"):
        for child in _own(element, tag):
            style = dict(re.findall(r"(fill|stroke): ([^;]+)", child.get("style", "")))
            found += [f"{key}={re.sub(r'url.*', 'hatch', style[key])}" for key in style if style[key] != "none"]
    return sorted(set(found))


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_is_built_as_it_was(picture: str, theme: Theme) -> None:
    stored = (STORED / f"{picture}-{theme.name}.txt").read_text(encoding="utf-8")
    assert structure(svg(draw(picture, theme))) == stored


@pytest.mark.parametrize("picture", PICTURES)
def test_themes_differ_in_colours_alone(picture: str) -> None:
    light, dark = ((STORED / f"{picture}-{name}.txt").read_text(encoding="utf-8") for name in ("light", "dark"))
    assert light != dark
    assert _without_colours(light) == _without_colours(dark)


def _without_colours(text: str) -> list[str]:
    bare = (re.sub(r" (fill|stroke)=\S+", "", line) for line in text.splitlines())
    return [re.sub(r" x \d+$", "", line) for line, _ in itertools.groupby(bare)]


def test_the_stored_heatmap_has_each_kind_of_cell() -> None:
    """That the stored text is not empty of what it is stored for."""
    text = (STORED / "heatmap-light.txt").read_text(encoding="utf-8")
    for label in ('"oom"', '"not run"', '"0/3"', '"2/2!"', '"3/3" x 9', '"past it"', '"other"'):
        assert label in text
    assert text.count("fill=hatch") == 2


if __name__ == "__main__":
    STORED.mkdir(exist_ok=True)
    for name, look in itertools.product(PICTURES, THEMES.values()):
        (STORED / f"{name}-{look.name}.txt").write_text(structure(svg(draw(name, look))), encoding="utf-8")
