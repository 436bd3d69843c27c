"""Whatever holds results, as a summary."""

from __future__ import annotations

from pathlib import Path

from longctx.errors import ConfigError
from longctx.exchange.imported import to_summary
from longctx.exchange.lm_eval import read_lm_eval
from longctx.exchange.ruler import length_folders, read_ruler
from longctx.report.summary import Summary
from longctx.report.write import read_summary


def read_results(path: Path) -> Summary:
    """The summary of a run folder, of an lm-evaluation-harness results file, or of RULER's folder of a model.

    Raises StoreError for a damaged run folder, ConfigError for what is none of these.
    """
    if path.is_file():
        return to_summary(read_lm_eval(path))
    if (path / "manifest.json").exists() or not path.is_dir():
        return read_summary(path)
    if length_folders(path):
        return to_summary(read_ruler(path))
    files = sorted(path.glob("**/results_*.json"))
    if len(files) == 1:
        return to_summary(read_lm_eval(files[0]))
    if files:
        raise ConfigError(f"{path} holds {len(files)} results files of lm-evaluation-harness; name one of them.")
    raise ConfigError(
        f"{path} is not a run folder (it has no manifest.json), nor results of lm-evaluation-harness "
        "(results_*.json) or RULER (LENGTH/pred/TASK.jsonl)."
    )
