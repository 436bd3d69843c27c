"""Measures what a language model's advertised context window is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longctx.notebook import Runs

__version__ = "0.1.0"


def load(*paths: str | Path) -> Runs:
    """Runs as tables and figures, for a notebook: `longctx.load("runs/mine").cells`, `.rows`, `.heatmap()`, `.curve()`.

    A path is a run folder, or results of lm-evaluation-harness or RULER; of several, all are drawn side by side.
    Raises longctx.errors.LongctxError for what cannot be read.
    """
    from longctx.notebook import load_runs

    return load_runs([Path(path) for path in paths])
