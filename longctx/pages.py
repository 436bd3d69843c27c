"""Pages from templates, and text of models and people made fit to stand in them."""

from __future__ import annotations

import html
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories that steer what stands around them, as right-to-left marks do, or show as nothing at all."""


def visible(text: str, limit: int = 400) -> str:
    """`text` with hidden characters as escapes (\\u202e), cut after `limit` characters with a note of how many it had.

    Line breaks and tabs become blanks.
    """
    shown = "".join(map(_seen, text[:limit]))
    return shown if len(text) <= limit else f"{shown} … ({len(text):,} characters)"


def _seen(character: str) -> str:
    if character in "\n\r\t":
        return " "
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def in_markdown(text: object) -> str:
    """Text that neither Markdown nor the HTML inside it can take for markup."""
    escaped = html.escape(visible(" ".join(str(text).split()), 2000), quote=False)
    return "".join(f"\\{mark}" if mark in r"\`*_[]#|~" else mark for mark in escaped)


def open_templates(package: str, autoescape: bool) -> jinja2.Environment:
    """The templates of a package. `autoescape` is for HTML; Markdown has the filter `markdown` instead."""
    import jinja2  # slow to import

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"markdown": in_markdown, "thousands": lambda value: f"{value:,}"}
    environment.filters["shown"] = lambda text: visible(str(text), 2000)
    return environment
