"""lm-evaluation-harness: its results file read, and written.

A task that is asked at several lengths has a metric for each, named by the length: "8192,none": 0.93. Lengths that
were not asked are -1. Beside it stands its standard error, "8192_stderr,none", which is often missing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longctx.errors import ConfigError
from longctx.exchange.imported import Imported, LengthScores
from longctx.report.details import outcome
from longctx.report.summary import Summary, TaskSummary

_TOOL = "lm-evaluation-harness"
_RULERS_OWN = {
    "ruler_vt": "vt",
    "ruler_cwe": "cwe",
    "ruler_fwe": "fwe",
    "ruler_qa_squad": "qa_1",
    "ruler_qa_hotpot": "qa_2",
}
"""RULER's names of tasks that it renames, so that they stand beside those of others."""


def read_lm_eval(path: Path) -> Imported:
    """The scores by length in a results file; raises ConfigError if it is none, or has no tasks with lengths."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results = content["results"]
        groups = content.get("groups", {})
        tasks = {
            _RULERS_OWN.get(name, name): _task(path, name, metrics, content)
            for name, metrics in results.items()
            if name not in groups and isinstance(metrics, dict)
        }
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a results file of {_TOOL}: {error!r}.") from error
    if not any(tasks.values()):
        raise ConfigError(f"{path} has no metric that is named by a context length, as those of its ruler tasks are.")
    note = "Where it keeps only a task's number of samples, that is divided evenly among its lengths."
    return Imported(_model(content, path), _TOOL, path, tasks, (note,))


def _model(content: Mapping[str, Any], path: Path) -> str:
    return str(content.get("model_name") or content.get("config", {}).get("model") or path.stem)


def _task(path: Path, name: str, metrics: Mapping[str, Any], content: Mapping[str, Any]) -> list[LengthScores]:
    values = {
        int(match[1]): (key, float(value))
        for key, value in metrics.items()
        if (match := re.fullmatch(r"(\d+),\S+", key)) and isinstance(value, int | float) and value >= 0
    }
    counted = metrics.get("sample_count")
    scores = []
    for length, (key, value) in values.items():
        if value > 1:
            raise ConfigError(f"{path}: {name} has {value} at {length}; a score lies between 0 and 1.")
        if isinstance(counted, dict) and key in counted:
            number = int(counted[key])
        else:
            number = int(content["n-samples"][name]["effective"]) // len(values)
        if number < 1:
            raise ConfigError(f"{path}: {name} has a score at {length} of no samples.")
        scores.append(LengthScores(length, number, value))
    return scores


def to_lm_eval(summary: Summary) -> dict[str, bytes]:
    """results.json and a samples_TASK.jsonl for every task, by file name; raises ConfigError without rows."""
    if summary.manifest is None:
        raise ConfigError("Results of another tool hold no rows to write for lm-evaluation-harness.")
    names = _names(summary)
    content = {
        "results": {names[task.task]: _results(names[task.task], task) for task in summary.tasks},
        "n-samples": {
            names[task.task]: dict.fromkeys(("original", "effective"), sum(p.counts.num_scored for p in task.points))
            for task in summary.tasks
        },
        "configs": {
            names[task.task]: {"task": task.task, "metadata": {"design": summary.design}} for task in summary.tasks
        },
        "versions": {names[task.task]: summary.manifest["schema_version"] for task in summary.tasks},
        "config": {"model": "longctx", "model_args": summary.manifest["model"], "limit": None},
        "model_name": summary.model,
        "longctx": summary.manifest["config"],
    }
    files = {"results.json": json.dumps(content, indent=2, allow_nan=False).encode() + b"\n"}
    for task in summary.tasks:
        lines = [json.dumps(_sample(row)) for row in summary.rows if row.task == task.task]
        files[f"samples_{names[task.task]}.jsonl"] = "".join(f"{line}\n" for line in lines).encode()
    return files


def _names(summary: Summary) -> dict[str, str]:
    """Task names that are fit for a file: with the options only where a name occurs twice."""
    plain = [task.name for task in summary.tasks]
    return {
        task.task: task.name if plain.count(task.name) == 1 else re.sub(r"[^\w.=-]+", "_", task.task)
        for task in summary.tasks
    }


def _results(name: str, task: TaskSummary) -> dict[str, Any]:
    """Shares of right answers, with lm-eval's own standard error (of the mean of independent samples)."""
    found: dict[str, Any] = {"alias": name, "sample_count": {}}
    for point in task.points:
        num, accuracy = point.counts.num_scored, point.accuracy
        key = f"{point.length},none"
        if accuracy is None:
            found[key] = -1
            continue
        found[key] = accuracy
        error = math.sqrt(accuracy * (1 - accuracy) / (num - 1)) if num > 1 else "N/A"
        found[f"{point.length}_stderr,none"] = error
        found["sample_count"][key] = num
    return found


def _sample(row: Any) -> dict[str, Any]:
    return {
        "doc_id": row.sample_id,
        "doc": {"max_length": row.length, "depth": row.depth, "trial": row.trial, "outputs": list(row.targets)},
        "target": row.targets[0] if row.targets else "",
        "resps": [[row.answer]],
        "filtered_resps": [row.answer],
        "outcome": outcome(row),
        str(row.length): row.score,
    }
