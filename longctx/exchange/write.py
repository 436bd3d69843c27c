"""Ours as other tools' files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longctx.errors import ConfigError, StoreError
from longctx.exchange.hub import to_eval_results, to_model_card
from longctx.exchange.lm_eval import to_lm_eval
from longctx.files import write_atomically
from longctx.report.summary import Summary

EXCHANGE_FORMATS = ("lm-eval", "model-card", "hub")


def write_exchange(
    summaries: Sequence[Summary], folder: Path, formats: Sequence[str], dataset: str | None
) -> list[Path]:
    """Write one run's results for other tools and return the paths; `dataset` is for `hub`, OWNER/NAME there.

    Raises ConfigError for several runs, StoreError where files cannot be written.
    """
    if not formats:
        return []
    if len(summaries) > 1:
        raise ConfigError(f"{', '.join(formats)} hold one run each; give one.")
    contents: dict[str, bytes] = {}
    for name in formats:
        contents |= _contents(summaries[0], name, dataset)
    try:
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / path, content)
    except OSError as error:
        raise StoreError(f"Cannot write into {folder}: {error}. The rows are not touched.") from error
    return [folder / path for path in contents]


def _contents(summary: Summary, name: str, dataset: str | None) -> dict[str, bytes]:
    if name == "lm-eval":
        return {f"lm-eval/{path}": content for path, content in to_lm_eval(summary).items()}
    if name == "model-card":
        return {"model-card.yaml": to_model_card(summary)}
    if dataset is None:
        raise ConfigError("hub needs the benchmark that the results are on: --hub-dataset OWNER/NAME.")
    return {"eval-results.yaml": to_eval_results(summary, dataset)}
