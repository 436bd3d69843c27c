"""A report's files, in the formats that were asked for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from longctx.errors import StoreError, UnknownNameError
from longctx.files import write_atomically
from longctx.report.bars import draw_bars
from longctx.report.groups import TaskGroup
from longctx.report.heatmap import draw_heatmap
from longctx.report.pages import Report, bars_alt, curve_alt, make_report, render_html, render_markdown
from longctx.report.summary import Summary, summarise
from longctx.report.tables import to_csv, to_json, to_parquet
from longctx.report.theme import get_theme, png, svg
from longctx.store import read_manifest, read_rows

FORMATS = ("html", "md", "png", "svg", "csv", "parquet", "json")
DEFAULT_FORMATS = ("html", "md", "png", "svg")


def read_summary(folder: Path) -> Summary:
    """The summary of a run folder; raises StoreError."""
    manifest = read_manifest(folder)
    if "config" not in manifest:
        raise StoreError(f"{folder} holds a comparison, not a run.")
    return dataclasses.replace(summarise(manifest, read_rows(folder)), folder=folder.resolve().name)


def write_report(
    summaries: Sequence[Summary],
    folder: Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    title: str | None = None,
    theme: str = "light",
) -> list[Path]:
    """Write the files of a report, byte for byte the same for the same rows, and return their paths.

    Raises StoreError where they cannot be written, UnknownNameError for a format or a theme, ConfigError for
    more runs than a picture can hold.
    """
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError("format", name, FORMATS)
    report = make_report(summaries, get_theme(theme), title)
    contents = _contents(report, formats)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise StoreError(f"Cannot write the report into {folder}: {error}. The rows are not touched.") from error
    return [folder / name for name in contents]


def _contents(report: Report, formats: Sequence[str]) -> dict[str, bytes]:
    """File names and what goes into them."""
    found: dict[str, bytes] = {}
    if "html" in formats:
        found["report.html"] = render_html(report).encode()
    if "md" in formats:
        found["report.md"] = render_markdown(report, picture_texts(report)).encode()
    if {"md", "png", "svg"} & set(formats):
        found |= _pictures(report, "png" in formats or "md" in formats, "svg" in formats)
    tables = {"csv": ("cells.csv", to_csv), "parquet": ("rows.parquet", to_parquet), "json": ("report.json", to_json)}
    for key, (name, make) in tables.items():
        if key in formats:
            found[name] = make(report.summaries)
    return found


def heatmap_names(groups: Sequence[TaskGroup]) -> list[str]:
    """A file name for each task's picture, without its ending: heatmap, or heatmap-TASK where there are several."""
    if len(groups) == 1:
        return ["heatmap"]
    stems = [re.sub(r"[^\w.-]+", "-", group.name)[:60] for group in groups]
    return [
        f"heatmap-{stem}" if stems.count(stem) == 1 else f"heatmap-{stem}-{index + 1}"
        for index, stem in enumerate(stems)
    ]


def picture_texts(report: Report) -> dict[str, str]:
    """The pictures that the Markdown shows, with what they show in words."""
    texts = {"bars.png": bars_alt(report.summaries)}
    for name, group in zip(heatmap_names(report.groups), report.groups, strict=True):
        texts[f"{name}.png"] = f"{curve_alt(group)} Below it the same by depth; the tables give every figure."
    return texts


def _pictures(report: Report, with_png: bool, with_svg: bool) -> dict[str, bytes]:
    figures = {"bars": draw_bars(report.summaries, report.theme)}
    for name, group in zip(heatmap_names(report.groups), report.groups, strict=True):
        figures[name] = draw_heatmap(group, report.theme, report.title)
    found: dict[str, bytes] = {}
    for name, figure in figures.items():
        if with_png:
            found[f"{name}.png"] = png(figure)
        if with_svg:
            found[f"{name}.svg"] = svg(figure).encode()
    return found
