"""What a case's rows say about its design."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longctx.calibrate.cases import Case
from longctx.calibrate.edges import EdgeResult, measure_edges
from longctx.calibrate.expectation import Expectation
from longctx.calibrate.judge import OFF, Finding, Judged, judge_rows
from longctx.phantom.keys import share_answered
from longctx.records import Row
from longctx.statistics import Interval, LengthResult, effective_length_of_counts, wilson


@dataclass(frozen=True, slots=True)
class EffectivePair:
    """A task's effective length in tokens by the report's rule, from the designed answers and from the measured."""

    task: str
    designed: int | None
    measured: int | None

    @property
    def told(self) -> str:
        """Designed and measured, for people."""
        shown = ("none" if value is None else f"{value:,}" for value in (self.designed, self.measured))
        return f"{self.task.partition(':')[0]} {' / '.join(shown)}"


@dataclass(frozen=True, slots=True)
class Share:
    """The share of needles that a phantom answers of those that it sees."""

    designed: float
    num_right: int
    num: int

    @property
    def interval(self) -> Interval:
        return wilson(self.num_right, self.num)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case with what was found."""

    case: Case
    folder: str
    """Of its run, beside the calibration's page."""
    judged: tuple[Judged, ...]
    edges: tuple[EdgeResult, ...]
    effective: tuple[EffectivePair, ...]
    share: Share | None
    kv_bytes: Mapping[str, int]
    """The most that keys and values took of each tier; empty where nobody said."""

    @property
    def counts(self) -> Counter[Finding]:
        return Counter(one.finding for one in self.judged)

    @property
    def num_cells(self) -> int:
        return len({(one.row.task, one.row.length, one.row.depth) for one in self.judged if one.row.control is None})

    @property
    def off(self) -> tuple[Judged, ...]:
        """Rows that contradict the design."""
        return tuple(one for one in self.judged if one.finding in OFF)

    @property
    def edges_off(self) -> tuple[EdgeResult, ...]:
        """Edges that were measured elsewhere, or, over all depths, not at all."""
        return tuple(edge for edge in self.edges if (not edge.fits if edge.depth is None else edge.contradicts))

    @property
    def edges_told(self) -> tuple[str, ...]:
        """Each edge, designed and measured with all needles, and with those of each depth that tell where it is."""
        return tuple(edge.told + self._by_depth(edge.designed) for edge in self.edges if edge.depth is None)

    def _by_depth(self, designed: int) -> str:
        mine = [edge for edge in self.edges if edge.designed == designed and edge.depth is not None]
        off = [abs(edge.measured / designed - 1) for edge in mine if edge.is_close and edge.measured is not None]
        if not off:
            return ""
        return f", at {len(off)} depth{'s' * (len(off) > 1)} within {100 * max(off):.1f} %"

    @property
    def kept(self) -> str:
        """Where its keys and values were, and how much of them, for people."""
        return ", ".join(f"{tier} {size / 2**20:.1f} MiB" for tier, size in self.kv_bytes.items() if size)

    @property
    def missed_tier(self) -> bool:
        """Whether the tier that was to be measured held nothing."""
        return bool(self.kv_bytes) and not self.kv_bytes.get(self.case.tier)

    @property
    def ok(self) -> bool:
        return not self.off and not self.edges_off and not self.missed_tier

    @property
    def verdict(self) -> str:
        """As designed, or what is off."""
        if self.ok:
            return "as designed"
        counts = [f"{number} {finding}" for finding, number in self.counts.items() if finding in OFF]
        edges = [f"edge at {edge.designed:,} measured at {_tokens(edge.measured)}" for edge in self.edges_off]
        tiers = [f"nothing was kept in the tier {self.case.tier}"] if self.missed_tier else []
        return "off: " + ", ".join(counts + edges + tiers)


def _tokens(number: float | None) -> str:
    return "no distance" if number is None else f"{number:,.0f}"


def summarise_case(
    case: Case,
    folder: str,
    rows: Sequence[Row],
    expectations: Mapping[str, Expectation],
    kv_bytes: Mapping[str, int] | None = None,
) -> CaseResult:
    """The result of a case's rows, of which there is one for every expectation."""
    judged = judge_rows(rows, expectations)
    return CaseResult(
        case=case,
        folder=folder,
        judged=tuple(judged),
        edges=tuple(measure_edges(case.design.edges, judged)),
        effective=tuple(_effective(task, judged) for task in sorted({row.task for row in rows})),
        share=_share(case, judged),
        kv_bytes=kv_bytes or {},
    )


def _effective(task: str, judged: Sequence[Judged]) -> EffectivePair:
    """Both effective lengths; what is too near an edge to be designed counts as it was measured."""
    designed, measured = [], []
    mine = [one for one in judged if one.row.task == task and one.row.control is None]
    for length in sorted({one.row.length for one in mine}):
        column = [one for one in mine if one.row.length == length]
        scored = [one for one in column if one.is_heard]
        right = sum(one.row.score == 1.0 for one in scored)
        wanted = sum(
            one.row.score == 1.0 if one.expectation.text is None else one.expectation.text in one.row.targets
            for one in column
        )
        designed.append(LengthResult(length, wanted, len(column)))
        measured.append(LengthResult(length, right, len(scored), len(column) - len(scored)))
    return EffectivePair(task, effective_length_of_counts(designed).value, effective_length_of_counts(measured).value)


def _share(case: Case, judged: Sequence[Judged]) -> Share | None:
    """Over needles that are surely seen, each key once a trial: lengths repeat a key in the isolated design."""
    if not case.design.muted or case.design.misread:
        return None
    seen = [one for one in judged if one.row.control is None and _is_seen(one) and one.is_heard]
    once = {(one.row.trial, one.row.targets): one for one in seen}
    if not once:
        return None
    num_right = sum(one.row.score == 1.0 for one in once.values())
    return Share(share_answered(case.design.muted), num_right, len(once))


def _is_seen(one: Judged) -> bool:
    """Whether it is in sight by design: what a mute phantom does not say it would say if it could."""
    return one.expectation.text is not None and (bool(one.expectation.text) or not one.expectation.can_say)
