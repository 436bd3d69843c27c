"""Text of models and of people, made fit to be shown: bounded, and with nothing in it that is not seen."""

from __future__ import annotations

import unicodedata

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
