"""calibration.html, calibration.md and calibration.json: designed against measured, case by case."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longctx import environment
from longctx.calibrate.edges import TOLERANCE
from longctx.calibrate.result import CaseResult
from longctx.errors import StoreError
from longctx.files import write_atomically
from longctx.lengths import format_length
from longctx.pages import open_templates

_LISTED = 50


def write_calibration(results: Sequence[CaseResult], folder: Path) -> None:
    """Write the page of a calibration into `folder`, in three forms; raises StoreError."""
    values: dict[str, Any] = {
        "results": results,
        "num_cells": sum(result.num_cells for result in results),
        "num_off": sum(not result.ok for result in results),
        "num_wrong": sum(len(result.off) for result in results),
        "num_answers": sum(len(result.judged) - result.counts["near an edge"] for result in results),
        "tolerance": f"{100 * TOLERANCE:.0f} %",
        "listed": _LISTED,
        "hardware": environment.hardware(),
        "code": environment.code_version(),
    }
    content = json.dumps([_to_json(result) for result in results], indent=1) + "\n"
    try:
        for name, autoescape in (("calibration.html", True), ("calibration.md", False)):
            templates = open_templates("longctx.calibrate", autoescape)
            templates.filters["tokens"] = format_length
            page = templates.get_template(f"{name}.j2").render(values)
            write_atomically(folder / name, page.encode())
        write_atomically(folder / "calibration.json", content.encode())
    except OSError as error:
        raise StoreError(f"Cannot write the calibration into {folder}: {error}. The rows are not touched.") from error


def _to_json(result: CaseResult) -> dict[str, Any]:
    """One case with its counts; its rows are in its run folder."""
    return {
        "name": result.case.name,
        "design": result.case.design.to_json(),
        "config": result.case.config.to_json(),
        "num_cells": result.num_cells,
        "findings": dict(result.counts),
        "edges": [dataclasses.asdict(edge) | {"measured": edge.measured} for edge in result.edges],
        "effective_lengths": [dataclasses.asdict(pair) for pair in result.effective],
        "share_answered": None if result.share is None else dataclasses.asdict(result.share),
        "kv_bytes": dict(result.kv_bytes),
        "verdict": result.verdict,
    }
