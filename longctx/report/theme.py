"""What pictures and pages look like: colours, fonts, marks, and the words on axes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from longctx.errors import UnknownNameError
from longctx.lengths import format_length

# Even steps of lightness: the same order for every eye, and in black and white.
_COLOURS = matplotlib.colormaps["cividis"]
_SAVING: Any = {"svg.hashsalt": "longctx", "svg.fonttype": "none", "savefig.facecolor": "auto", "hatch.linewidth": 0.6}
"""What matplotlib looks at when it writes a figure, not when it is made."""
WIDTH = 7.0
"""Inches of a picture: 700 pixels of a page, at which its smallest letters are 9 pixels high."""


@dataclass(frozen=True, slots=True)
class Theme:
    name: str
    paper: str
    ink: str
    grey: str
    faint: str
    """Of grids and frames."""
    alarm: str
    series: tuple[str, ...]
    """Of several runs in one picture: Okabe and Ito's, which no form of colour-blindness mixes up."""


THEMES = {
    "light": Theme(
        name="light",
        paper="#ffffff",
        ink="#1a1a1a",
        grey="#666666",
        faint="#d5d5d5",
        alarm="#b2182b",
        series=("#1a1a1a", "#0072b2", "#d55e00", "#009e73", "#aa4499", "#8a6d00"),
    ),
    "dark": Theme(
        name="dark",
        paper="#15181d",
        ink="#ececec",
        grey="#a3a8b0",
        faint="#3d434c",
        alarm="#ff7a85",
        series=("#ececec", "#56b4e9", "#ff9248", "#3ddcb0", "#e59ad0", "#f0e442"),
    ),
}
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Beside the colours, for print in black and white."""


def get_theme(name: str) -> Theme:
    """The theme of that name; raises UnknownNameError."""
    if name not in THEMES:
        raise UnknownNameError("theme", name, THEMES)
    return THEMES[name]


def colour(accuracy: float) -> str:
    """The heatmap's colour of an accuracy, as #rrggbb: the same in every theme."""
    return matplotlib.colors.to_hex(_COLOURS(accuracy))


def ink_on(accuracy: float) -> str:
    """A text colour that reads on `colour(accuracy)`."""
    return "#ffffff" if accuracy < 0.55 else "#1a1a1a"


def axis_label(length: int) -> str:
    """A context length on an axis: 8k, 8.5k, 1M, 1000."""
    for unit, size in (("M", 1024**2), ("k", 1024)):
        if length >= size and length * 10 % size == 0:
            return f"{length / size:g}{unit}"
    return format_length(length)


def style(theme: Theme) -> Any:
    """Settings for matplotlib under which the same figure is always the same bytes, and text is never markup."""
    return {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.parse_math": False,
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "axes.edgecolor": theme.grey,
        "axes.labelcolor": theme.ink,
        "text.color": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
    }


def lay_out(figure: Figure) -> None:
    """Give everything its place and its final looks, so that saving a figure only draws it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with matplotlib.rc_context(_SAVING):
        figure.savefig(stream, format="png", dpi=200, metadata={"Software": None})
    return stream.getvalue()


def svg(figure: Figure) -> str:
    """A file of its own."""
    stream = io.StringIO()
    with matplotlib.rc_context(_SAVING):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def inline_svg(figure: Figure, key: str, label: str) -> str:
    """An <svg> element for a page that holds others: ids begin with `key`, `label` is for who cannot see it."""
    text = svg(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{key}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{_attribute(label)}"', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def readable_ticks(positions: Sequence[float], room: float, first: int = -1) -> list[int]:
    """Which of ascending `positions` can have a label if labels must stand `room` apart: `first`, then from the end."""
    kept = [range(len(positions))[first]]
    for index in reversed(range(len(positions))):
        if all(abs(positions[index] - positions[other]) >= room for other in kept):
            kept.append(index)
    return sorted(kept)
