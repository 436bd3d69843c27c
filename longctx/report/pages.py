"""report.html and report.md, from templates. Every value is escaped for where it goes."""

from __future__ import annotations

import html
import shlex
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from longctx.errors import StoreError
from longctx.files import write_atomically
from longctx.lengths import format_length
from longctx.report.heatmap import colour, curve_svg, ink, write_pictures
from longctx.report.summary import Summary, summarise
from longctx.store import read_manifest, read_rows
from longctx.tasks import task_classes

_LISTED = 200


def _markdown(text: object) -> str:
    """Text that neither Markdown nor the HTML inside it can take for markup."""
    flat = " ".join(str(text).split())
    escaped = html.escape(flat, quote=False)
    return "".join(f"\\{mark}" if mark in r"\`*_[]#|~" else mark for mark in escaped)


def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("longctx.report"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"tokens": format_length, "colour": colour, "ink": ink, "markdown": _markdown}
    environment.filters |= {"thousands": lambda value: f"{value:,}", "percent": lambda value: f"{value:.0%}"}
    return environment


def repeat_command(config: dict[str, Any]) -> str:
    """The command that runs the same sweep again."""
    arguments = ["python", "-m", "longctx", "sweep"]
    for name, value in config.items():
        if value == "":  # belongs to another backend
            continue
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            off = ["--no-controls"] if name == "controls" else []
            arguments += [flag] if value else off
        elif isinstance(value, list):
            text = ",".join(map(str, value))
            arguments += [flag, text]
        else:
            arguments += [flag, str(value)]
    return shlex.join(arguments)


def _haystack(summary: Summary) -> str:
    """What the documents are made of."""
    classes = task_classes()
    own = any(task.name in classes and classes[task.name].has_own_filler() for task in summary.tasks)
    haystack = f"{summary.manifest['config']['haystack']} haystack"
    return f"{haystack}, where a task brings none of its own" if own else haystack


def _values(summary: Summary) -> dict[str, Any]:
    return {
        "summary": summary,
        # Drawn by us from numbers and lengths alone; no text of a model or a person is in it.
        "curves": {task.task: markupsafe.Markup(curve_svg(summary, task)) for task in summary.tasks},
        "config": summary.manifest["config"],
        "haystack": _haystack(summary),
        "command": repeat_command(summary.manifest["config"]),
        "starts": summary.manifest["starts"],
        "fingerprint": summary.manifest["model"],
        "wrong": summary.wrong[:_LISTED],
        "num_unlisted": max(0, len(summary.wrong) - _LISTED),
    }


def render_html(summary: Summary) -> str:
    """The page: one file that needs nothing else."""
    return _environment(autoescape=True).get_template("report.html.j2").render(_values(summary))


def render_markdown(summary: Summary) -> str:
    """The same as Markdown; it shows heatmap.png."""
    return _environment(autoescape=False).get_template("report.md.j2").render(_values(summary))


def write_report(folder: Path) -> Summary:
    """Draw the report of a run folder into it, from its rows and manifest alone; raises StoreError."""
    summary = summarise(read_manifest(folder), read_rows(folder))
    try:
        write_pictures(summary, folder)
        write_atomically(folder / "report.html", render_html(summary).encode())
        write_atomically(folder / "report.md", render_markdown(summary).encode())
    except OSError as error:
        raise StoreError(f"Cannot write the report into {folder}: {error}. The rows are not touched.") from error
    return summary
