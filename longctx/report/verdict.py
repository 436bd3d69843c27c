"""The sentence that a sweep is for, with its rule, its interval and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longctx.statistics import EffectiveLength, LengthResult, effective_length, trials_needed


@dataclass(frozen=True, slots=True)
class Verdict:
    sentence: str
    rule: str
    notes: tuple[str, ...]
    effective: EffectiveLength


def judge(model: str, window: int | None, task: str, design: str, results: Sequence[LengthResult]) -> Verdict:
    """The verdict on one task's results, of which there is one for every tested length.

    `window` is the advertised one, in tokens; None if it is not known.
    """
    found = effective_length(results)
    shortest, longest = min(r.length for r in results), max(r.length for r in results)
    if found.value is None and found.first_failed is not None and found.first_failed.num_failed:
        length = "was not established"
    elif found.value is None:
        length = f"is under {shortest:,} tokens, the shortest tested"
    elif found.value == longest:
        length = f"is at least {longest:,} tokens, the longest tested"
    else:
        length = f"is {found.value:,} tokens"
    interval = f" (95 % interval, length by length: {_interval(found, shortest, longest)})"
    stated = f"{model}'s" if window is None else f"{model} advertises {window:,} tokens; its"
    sentence = f"{stated} effective length on {task} ({design}) {length}"
    sentence += "." if length == "was not established" else f"{interval}."
    if found.first_failed is not None:
        sentence += f" {_at_failure(found.first_failed)}"
    rule = (
        f"Rule: the longest tested length at which, and at every shorter one, accuracy is at least "
        f"{found.threshold:.1%} (RULER's threshold). Its interval applies the same rule to the ends of each length's "
        f"95 % Wilson interval, which takes samples as independent, though those of a trial share their filler. "
        f"A length with an unscored sample does not pass."
    )
    return Verdict(sentence, rule, tuple(_notes(found, results)), found)


def _interval(found: EffectiveLength, shortest: int, longest: int) -> str:
    low = f"under {shortest:,}" if found.low is None else f"{found.low:,}"
    if found.high is None:
        return low
    return f"{low} to {'at least ' if found.high == longest else ''}{found.high:,}"


def _at_failure(result: LengthResult) -> str:
    if result.num_failed:
        return f"At {result.length:,} tokens {result.num_failed} samples have no score, so it was not measured there."
    interval = result.interval()
    assert interval is not None  # a length without a score has failed samples
    return (
        f"At {result.length:,} tokens {result.num_right} of {result.num_scored} answers were right "
        f"({result.num_right / result.num_scored:.0%}; {interval.low:.0%} to {interval.high:.0%})."
    )


def _notes(found: EffectiveLength, results: Sequence[LengthResult]) -> list[str]:
    fewest = min(result.num_scored for result in results)
    needed = trials_needed(found.threshold)
    if fewest >= needed:
        return []
    return [
        f"With n = {fewest} at a length no result, not even {fewest} of {fewest}, has an interval wholly above "
        f"{found.threshold:.1%}; from n = {needed} on it can. More --trials raise the interval's lower end."
    ]
