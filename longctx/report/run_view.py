"""One run as pages show it: its lines of text and the rows that they list."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longctx.config import SweepConfig
from longctx.records import Row
from longctx.report.costs import Cost
from longctx.report.server_words import served_cost_lines, server_lines
from longctx.report.summary import Summary
from longctx.report.words import caveats, plain_words
from longctx.tasks import task_classes

_LISTED = 200


@dataclass(frozen=True, slots=True)
class RunView:
    label: str
    summary: Summary
    subtitle: str
    words: str
    caveats: tuple[str, ...]
    statuses: Mapping[str, Counter[int]]
    """Samples without a score: status to how many at each length; length 0 stands for controls."""
    failed: tuple[Row, ...]
    wrong: tuple[Row, ...]
    cost_lines: tuple[str, ...]
    server_lines: tuple[str, ...]
    """Empty for a model that was not behind a server."""
    command: str
    """That runs the same sweep again; empty for results of another tool."""

    @property
    def server_warning(self) -> str | None:
        """That one run measured several models."""
        return self.summary.server.warning if self.summary.server else None

    @property
    def failed_lengths(self) -> list[int]:
        return sorted({length for counts in self.statuses.values() for length in counts})

    @property
    def num_unlisted(self) -> int:
        return len(self.summary.wrong) - len(self.wrong)

    @property
    def num_failed_unlisted(self) -> int:
        return len(self.summary.failed) - len(self.failed)


def view_run(label: str, summary: Summary) -> RunView:
    statuses: dict[str, Counter[int]] = {}
    for row in summary.failed:
        statuses.setdefault(row.status, Counter())[row.length] += 1
    return RunView(
        label=label,
        summary=summary,
        subtitle=_subtitle(summary),
        words=plain_words(summary, label),
        caveats=caveats(summary),
        statuses=dict(sorted(statuses.items())),
        failed=summary.failed[:_LISTED],
        wrong=summary.wrong[:_LISTED],
        cost_lines=() if summary.cost is None else tuple(_cost_lines(summary, summary.cost)),
        server_lines=() if summary.server is None else tuple(server_lines(summary.server)),
        command="" if summary.manifest is None else repeat_command(summary.manifest["config"]),
    )


def repeat_command(config: Mapping[str, Any]) -> str:
    """The command that runs the same sweep again; what is as by default is left out."""
    arguments = ["python", "-m", "longctx", "sweep"]
    default = json.loads(json.dumps(SweepConfig().to_json()))
    for name, value in config.items():
        if name in default and value == default[name]:
            continue
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            off = ["--no-controls"] if name == "controls" else []
            arguments += [flag] if value else off
        elif isinstance(value, list):
            arguments += [flag, ",".join(map(str, value))]
        else:
            arguments += [flag, str(value)]
    return shlex.join(arguments)


def _subtitle(summary: Summary) -> str:
    window = "" if summary.window is None else f"{summary.window:,} tokens advertised · "
    if summary.manifest is None:
        return f"{window}{summary.num_rows:,} samples · {summary.design}"
    config = summary.manifest["config"]
    trials = f"{config['trials']} trial{'s' if config['trials'] != 1 else ''}"
    trials = f"up to {trials}" if config.get("adaptive", False) else trials
    return (
        f"{window}{summary.design} documents · {summary.num_rows:,} of {summary.num_expected:,} samples · "
        f"{trials} a cell · {config['template']} template · {_haystack(summary, config)}"
    )


def _haystack(summary: Summary, config: Mapping[str, Any]) -> str:
    """What the documents are made of."""
    classes = task_classes()
    own = any(task.name in classes and classes[task.name].has_own_filler() for task in summary.tasks)
    haystack = f"{config['haystack']} haystack"
    return f"{haystack}, where a task brings none of its own" if own else haystack


def _cost_lines(summary: Summary, cost: Cost) -> list[str]:
    repeated = (
        f"At most {100 * summary.repeated_share:.1f} % of the filler's sequences of 8 tokens "
        "had come before in the same text."
    )
    if summary.server is not None:
        return [*served_cost_lines(summary.server, cost), repeated]
    return [
        f"{cost.num_prefilled_tokens:,} prompt tokens were computed for {cost.num_prompt_tokens:,} asked; "
        f"{cost.reused_share:.0%} were reused from prompts with the same beginning. "
        f"{cost.num_prefilled_prefix_tokens:,} of the computed ones are in documents and what stands before them.",
        f"{cost.num_completion_tokens:,} tokens of answers.",
        repeated,
        *_speed_lines(cost),
    ]


def _speed_lines(cost: Cost) -> list[str]:
    """Of the starts that ended; none if none did."""
    if cost.tflops is None:
        return []
    counted = "" if cost.num_ended == cost.num_starts else f", in {cost.num_ended} of {cost.num_starts} starts"
    tiers = ", ".join(f"{size / 2**30:.2f} GiB {_TIERS.get(tier, tier)}" for tier, size in cost.kv_bytes.items())
    return [
        f"{cost.flops:.3g} floating-point operations in {cost.seconds:,.0f} seconds without loading the model: "
        f"{_rate(cost.tflops)}{counted}.",
        f"Keys and values, at most: {tiers}.",
    ]


_TIERS = {"device": "on the device", "host": "in host memory", "disk": "written to disk"}


def _rate(tflops: float) -> str:
    return f"{tflops:,.1f} TFLOP/s" if tflops >= 1 else f"{1000 * tflops:,.1f} GFLOP/s"
