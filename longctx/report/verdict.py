"""The sentence that a sweep is for, with its rule, its interval and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longctx.report.analysis import LengthPoint
from longctx.statistics import EffectiveLength
from longctx.statistics.power import samples_to_show

_NAMES = {"ruler": "RULER's threshold", "nolima": "NoLiMa's rule", "all_depths": "the same for every depth"}


@dataclass(frozen=True, slots=True)
class Verdict:
    sentence: str
    rule: str
    notes: tuple[str, ...]
    effective: EffectiveLength


def judge(
    model: str,
    window: int | None,
    task: str,
    design: str,
    found: EffectiveLength,
    points: Sequence[LengthPoint],
    adaptive: bool = False,
) -> Verdict:
    """The verdict on one task: `found` is its effective length, `points` are its results, one for every tested length.

    `window` is the advertised one, in tokens; None if it is not known. `adaptive`: it is of a fitted curve.
    """
    shortest, longest = found.lengths[0], found.lengths[-1]
    if found.value is None and found.first_failed is not None and found.first_failed.num_failed:
        length = "was not established"
    elif found.value is None:
        length = f"is under {shortest:,} tokens, the shortest tested"
    elif found.value == longest:
        length = f"is at least {longest:,} tokens, the longest tested"
    else:
        length = f"is {found.value:,} tokens"
    stated = f"{model}'s" if window is None else f"{model} advertises {window:,} tokens; its"
    sentence = f"{stated} effective length on {task} ({design}) {length}"
    sentence += "." if length == "was not established" else f" (95 % interval: {_interval(found)})."
    failed = next((p for p in points if found.first_failed and p.length == found.first_failed.length), None)
    if failed is not None:
        sentence += f" {_at_failure(failed)}"
    notes = () if adaptive else tuple(_notes(found, points))
    return Verdict(sentence, _rule(found, adaptive), notes, found)


def _rule(found: EffectiveLength, adaptive: bool) -> str:
    rule = f"Rule: the longest tested length at which {found.rule.text} ({_NAMES[found.rule.name]})."
    if adaptive:
        return (
            f"{rule} The sweep was adaptive: each document went where it told most about this length, so the rates "
            "themselves are biased. A curve is fitted to them; stated are the posterior's median and 95 % of it."
        )
    return (
        f"{rule} Its interval applies the same rule to the ends of each length's 95 % interval. "
        "A length with an unscored sample does not pass."
    )


def _interval(found: EffectiveLength) -> str:
    shortest, longest = found.lengths[0], found.lengths[-1]
    low = f"under {shortest:,}" if found.low is None else f"{found.low:,}"
    if found.high is None:
        return low
    return f"{low} to {'at least ' if found.high == longest else ''}{found.high:,}"


def _at_failure(point: LengthPoint) -> str:
    result = point.counts
    if result.num_failed:
        samples = "1 sample has" if result.num_failed == 1 else f"{result.num_failed:,} samples have"
        return f"At {result.length:,} tokens {samples} no score, so it was not measured there."
    assert point.interval is not None  # a length without a score has failed samples
    return (
        f"At {result.length:,} tokens {result.num_right} of {result.num_scored} answers were right "
        f"({result.num_right / result.num_scored:.0%}; {point.interval.low:.0%} to {point.interval.high:.0%})."
    )


def _notes(found: EffectiveLength, points: Sequence[LengthPoint]) -> list[str]:
    needed = samples_to_show(found.threshold)
    scored = [point for point in points if point.counts.num_scored]
    fewest = min(scored, key=lambda point: point.effective_num, default=None)
    if fewest is None or fewest.effective_num >= needed:
        return []
    num = fewest.counts.num_scored
    effective = "" if round(fewest.effective_num) == num else f" (effective n = {fewest.effective_num:.0f})"
    return [
        f"With n = {num}{effective} at a length not even {num} of {num} right would have an interval wholly above "
        f"{found.threshold:.1%}; from an effective n of {needed} on it can. More --trials raise its lower end."
    ]
