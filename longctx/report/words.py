"""A run in plain words, for people who read one paragraph: generated from its figures, with what limits them."""

from __future__ import annotations

from longctx.report.capacity import Capacity, measures
from longctx.report.summary import Summary, TaskSummary

_MEANING = {
    "addressable": "read at all",
    "retrieves": "finds a stated fact",
    "reasons": "combines several facts",
    None: "passes",
}
_FEW = 30


def plain_words(summary: Summary, label: str) -> str:
    """One paragraph about the run called `label`: what is advertised, what was read, how far each task was passed."""
    parts = [_opening(summary, label)]
    if summary.reach is not None:
        parts.append(summary.reach.sentence)
    elif (read := summary.addressable) is not None:
        parts.append(_read(read))
    parts += [_passed(task, summary.window) for task in summary.tasks]
    kinds = {measures(task.task) for task in summary.tasks}
    if kinds == {"retrieves"}:
        parts.append("Whether it can combine facts over such lengths was not asked.")
    if kinds == {"reasons"}:
        parts.append("Whether it finds single facts over such lengths was not asked.")
    return " ".join(parts)


def _opening(summary: Summary, label: str) -> str:
    scored = sum(point.counts.num_scored for task in summary.tasks for point in task.points)
    lengths = f"contexts of {summary.lengths[0]:,} to {summary.lengths[-1]:,} tokens"
    if len(summary.lengths) == 1:
        lengths = f"contexts of {summary.lengths[0]:,} tokens"
    stated = "" if summary.window is None else f" advertises a context window of {summary.window:,} tokens. It"
    return f"{label}{stated} was scored on {scored:,} answers in {lengths}."


def _read(read: Capacity) -> str:
    assert read.tested is not None  # it was measured
    if read.value is None:
        return f"Already at {read.tested[0]:,} tokens prompts failed to be answered."
    if read.value == read.tested[1]:
        return "At every tested length all prompts were read whole and answered."
    return f"Up to {read.value:,} tokens all prompts were read whole and answered; at the next length some failed."


def _passed(task: TaskSummary, window: int | None) -> str:
    capacity, verdict = task.capacity, task.verdict
    assert capacity.tested is not None
    meaning = _MEANING[measures(task.task)]
    bar = f"{verdict.effective.threshold:.1%}"
    if capacity.value is None:
        start = f"On {task.name} it does not reach {bar} even at {capacity.tested[0]:,} tokens"
    else:
        share = ""
        if window is not None and capacity.value < window:
            share = f", {capacity.value / window:.0%} of what is advertised"
        longest = ", the longest tested" if capacity.value == capacity.tested[1] else ""
        start = f"On {task.name} it {meaning} up to {capacity.value:,} tokens{longest or share} (at least {bar} right)"
    return f"{start}; {_compatible(capacity)}."


def _compatible(capacity: Capacity) -> str:
    assert capacity.tested is not None
    shortest, longest = capacity.tested
    if capacity.low == capacity.high:
        return "the samples leave no other tested length open"
    low = f"under {shortest:,}" if capacity.low is None else f"{capacity.low:,}"
    high = f"under {shortest:,}" if capacity.high is None else f"{capacity.high:,}"
    more = " or more" if capacity.high == longest else ""
    return f"the samples are compatible with anything from {low} to {high}{more}"


def caveats(summary: Summary) -> tuple[str, ...]:
    """What a reader must know before quoting a figure, the gravest first."""
    return (
        *_of_completeness(summary),
        *(f"{task.name}: {result.warning}" for task in summary.tasks for result in task.controls if result.warning),
        *_of_size(summary),
        *_of_design(summary),
        *_of_tasks(summary),
        *([summary.origin] if summary.origin else []),
    )


def _of_completeness(summary: Summary) -> list[str]:
    found = []
    if summary.num_rows < summary.num_expected:
        missing = summary.num_expected - summary.num_rows
        found.append(f"This run is not finished: {missing:,} samples are missing. What it says is provisional.")
    if summary.failed:
        found.append(f"{len(summary.failed):,} samples have no score. They count neither as right nor as wrong.")
    return found


def _of_size(summary: Summary) -> list[str]:
    counted = [task for task in summary.tasks if task.analysis.fitted is None]
    fewest = min((point.counts.num_scored for task in counted for point in task.points), default=_FEW)
    if fewest >= _FEW:
        return []
    return [f"Some lengths have as few as {fewest} scored answers; differences within the intervals are no findings."]


def _of_design(summary: Summary) -> list[str]:
    found = []
    if any(task.analysis.fitted for task in summary.tasks):
        found.append(
            "Adaptive design: cells have unequal numbers of samples, chosen by earlier answers. Quote the fitted "
            "curve and its interval, not the cells."
        )
    if summary.design == "packed":
        found.append(
            "Packed design: the facts of all cells stand in one document and distract from one another, "
            "which weak models do not bear. Not comparable with isolated results."
        )
    if past := [length for length in summary.lengths if summary.is_past(length)]:
        found.append(f"From {past[0]:,} tokens on the prompts are longer than the model says it can read.")
    if summary.repeated_share > 0.1:
        found.append(f"Up to {summary.repeated_share:.0%} of the filler repeats itself, which makes reading easier.")
    return found


def _of_tasks(summary: Summary) -> list[str]:
    if not any(task.name.startswith("niah") for task in summary.tasks):
        return []
    return [
        "A needle test bounds a model from above: it asks for one stated fact, in the words in which it was stated, "
        "and says nothing about combining facts."
    ]
