"""Results for the Hub: a model card's model-index, and evaluation results on a benchmark that is a data set there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from longctx.errors import ConfigError
from longctx.report.analysis import LengthPoint
from longctx.report.summary import Summary, TaskSummary


def to_model_card(summary: Summary) -> bytes:
    """YAML to put in front of a model's README.md: accuracy by task and length, each with n and its interval."""
    from huggingface_hub import EvalResult  # slow to import
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="longctx",
            dataset_name=f"{task.name} at {point.length:,} tokens",
            dataset_config=f"{task.task}:context_length={point.length}",  # what tells results apart there
            dataset_args={"context_length": point.length, "design": summary.design},
            metric_type="accuracy",
            metric_name="accuracy",
            metric_value=round(accuracy, 4),
            metric_args=_beside(point),
        )
        for task, point, accuracy in _measured(summary)
    ]
    return _yaml({"model-index": eval_results_to_model_index(summary.model, results)})


def to_eval_results(summary: Summary, dataset: str) -> bytes:
    """YAML for a model's .eval_results folder; `dataset` is the benchmark there, OWNER/NAME. Raises ConfigError."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        raise ConfigError(f"{dataset!r} is not a data set on the Hub: write OWNER/NAME.")
    date = None if summary.manifest is None else str(summary.manifest["starts"][-1].get("started", "")) or None
    entries = [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=f"{task.name}_{point.length}",
            value=round(100 * accuracy, 2),
            date=date,
            notes=f"{task.task}, {summary.design}; {', '.join(f'{k} {v}' for k, v in _beside(point).items())}",
        )
        for task, point, accuracy in _measured(summary)
    ]
    return _yaml(eval_result_entries_to_yaml(entries))


def _measured(summary: Summary) -> Iterator[tuple[TaskSummary, LengthPoint, float]]:
    """Lengths with a score; those where samples failed are left out, since their accuracy is not that of the length."""
    for task in summary.tasks:
        for point in task.points:
            if point.accuracy is not None and not point.counts.num_failed:
                yield task, point, point.accuracy


def _beside(point: LengthPoint) -> dict[str, Any]:
    assert point.interval is not None  # it has an accuracy
    return {
        "num_samples": point.counts.num_scored,
        "interval_95_low": round(point.interval.low, 4),
        "interval_95_high": round(point.interval.high, 4),
    }


def _yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
