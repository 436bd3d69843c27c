"""Accuracy by how many facts an answer needs, and by how far apart they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from longctx.records import Row
from longctx.report.cells import Tally, tally


@dataclass(frozen=True, slots=True)
class HopResult:
    """All samples whose answers need `hops` facts put together."""

    hops: int
    by_length: tuple[Tally, ...]
    """For every length of the sweep, in its order."""


@dataclass(frozen=True, slots=True)
class SpanResult:
    """All samples whose facts stand from `least` to below 2 x `least` tokens apart, from the first to the last."""

    least: int
    counts: Tally


def hop_results(rows: Iterable[Row], lengths: Sequence[int]) -> tuple[HopResult, ...]:
    """By hops, ascending; empty where all samples have as many."""
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.hops].append(row)
    if len(found) < 2:
        return ()
    return tuple(
        HopResult(hops, tuple(tally(row for row in found[hops] if row.length == length) for length in lengths))
        for hops in sorted(found)
    )


def span_results(rows: Iterable[Row]) -> tuple[SpanResult, ...]:
    """By span, in steps of doubling, of the samples whose answers need several facts that stand apart."""
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        span = max(row.support_positions, default=0) - min(row.support_positions, default=0)
        if span:
            found[1 << (span.bit_length() - 1)].append(row)
    return tuple(SpanResult(least, tally(found[least])) for least in sorted(found))
