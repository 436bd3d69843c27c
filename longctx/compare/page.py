"""compare.html and compare.md: what was found, what it shows and what it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longctx.compare.records import Comparison, Finding
from longctx.errors import StoreError
from longctx.files import write_atomically
from longctx.pages import open_templates

INNOCENT_CAUSES = (
    "quantisation of weights or of the KV cache",
    "another chat template, system prompt or BOS",
    "another engine, engine version, kernel or batch size",
    "sampling defaults that the server adds (penalties, top-k, min-p)",
    "routing between several machines or providers",
    "a prompt that was cut or cached",
)


def verdict(comparison: Comparison) -> str:
    """The outcome in a sentence."""
    names = f"{comparison.name_a} (A) and {comparison.name_b} (B)"
    if comparison.outcome == "unclear":
        return f"Nothing can be told about {names}: {'; '.join(comparison.reasons)}."
    if comparison.outcome == "none":
        return f"No difference between {names} was shown by {len(comparison.findings)} tests."
    where = ", ".join(f"{f.test} at {f.length:,} tokens" for f in comparison.shown)
    return f"{names} differ: {where}."


def meaning(comparison: Comparison) -> str:
    """What this shows and what it does not."""
    if comparison.outcome == "difference":
        return (
            "It shows that the two do not answer these prompts from the same distribution. It does not show why, nor "
            "which of them is the better one, nor that anybody meant it."
        )
    if comparison.outcome == "unclear":
        return "It shows nothing about the two, whatever the tests below say."
    return (
        "It does not show that the two are the same: differences within the intervals below would have gone unseen, "
        "and other prompts or lengths were not asked."
    )


def effect(finding: Finding) -> str:
    """The effect with its interval, for a table."""
    digits = 1 if abs(finding.effect) >= 1 or finding.unit.startswith("points") else 4
    low, high = (f"{value:.{digits}f}" for value in (finding.low, finding.high))
    return f"{finding.effect:.{digits}f} {finding.unit} ({low} to {high})"


def _render(template: str, comparison: Comparison, command: str, autoescape: bool) -> str:
    environment = open_templates("longctx.compare", autoescape)
    environment.filters["effect"] = effect
    values: dict[str, Any] = {
        "comparison": comparison,
        "verdict": verdict(comparison),
        "meaning": meaning(comparison),
        "causes": INNOCENT_CAUSES,
        "command": command,
    }
    return environment.get_template(template).render(values)


def render_html(comparison: Comparison, command: str) -> str:
    """The page: one file that needs nothing else, every text escaped."""
    return _render("compare.html.j2", comparison, command, autoescape=True)


def render_markdown(comparison: Comparison, command: str) -> str:
    """The same as Markdown."""
    return _render("compare.md.j2", comparison, command, autoescape=False)


def write_pages(comparison: Comparison, command: str, folder: Path, kept: dict[str, Any]) -> None:
    """Write both pages and, as compare.json, all that was said; raises StoreError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "compare.html", render_html(comparison, command).encode())
        write_atomically(folder / "compare.md", render_markdown(comparison, command).encode())
        write_atomically(folder / "compare.json", json.dumps(kept, ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise StoreError(f"Cannot write the comparison into {folder}: {error}") from error
