"""From what both sides said to an outcome: the floor first, then all tests, then the correction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from longctx.compare.distance import logprob_distance, parting
from longctx.compare.paired import excess, holm, mcnemar
from longctx.compare.records import Comparison, Finding, Outcome, Said, Taken
from longctx.compare.samples import sample_test

# A side that differs from itself is no measure for another; a strict level, since A/A tests are a gate, not a result.
_FLOOR_ALPHA = 0.01
_MAX_FAILED = 0.2
_MIN_PROBES = 5
_NUM_EXAMPLES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """A source by name, and what it said on every probe, in the same order for all sides."""

    name: str
    fingerprint: Mapping[str, object]
    taken: Sequence[Taken]


def judge(first: Side, second: Side | None, other: Side, alpha: float = 0.05, seed: int = 0) -> Comparison:
    """Compare A, taken twice as `first` and `second`, with B.

    Where A was taken once there is no floor, and only right and wrong answers are compared: identical servers may say
    the same in other words. Raises ValueError if the probes are not the same.
    """
    sides = [side for side in (first, second, other) if side is not None]
    for side in sides[1:]:
        if [taken.probe for taken in side.taken] != [taken.probe for taken in first.taken]:
            raise ValueError(f"{side.name} was asked other probes than {first.name}")
    lengths = sorted({taken.length for taken in first.taken})
    findings: list[Finding] = []
    floor: list[Finding] = []
    for length in lengths:
        one, b = _at(first, length), _at(other, length)
        if second is None:
            findings += [f for f in (_answers(length, one, b),) if f]
            continue
        two = _at(second, length)
        floor += [f for f in (_answers(length, one, two), _samples(length, one, two, None, seed)) if f]
        findings += [f for f in _tests(length, one, two, b, seed) if f]
    findings, floor = _corrected(findings), _corrected(floor)
    failed = [said for side in sides for taken in side.taken for said in _failed(taken)]
    num_asked = 2 * sum(len(side.taken) for side in sides)
    reasons = _reasons(findings, floor, len(failed) / max(1, num_asked))
    shown = any(f.p_corrected is not None and f.p_corrected < alpha for f in findings)
    outcome: Outcome = "unclear" if reasons else ("difference" if shown else "none")
    return Comparison(
        name_a=first.name,
        name_b=other.name,
        fingerprint_a=first.fingerprint,
        fingerprint_b=other.fingerprint,
        alpha=alpha,
        findings=tuple(findings),
        floor=tuple(floor),
        num_probes=len(first.taken),
        num_failed=len(failed),
        outcome=outcome,
        reasons=reasons,
        examples=_examples(first, other),
    )


def _at(side: Side, length: int) -> list[Taken]:
    return [taken for taken in side.taken if taken.length == length]


def _failed(taken: Taken) -> list[Said]:
    return [said for said in (taken.answer, taken.greedy) if said.failed]


def _tests(length: int, one: list[Taken], two: list[Taken], b: list[Taken], seed: int) -> list[Finding | None]:
    return [
        _answers(length, one, b),
        _samples(length, one, two, b, seed),
        _excess("log-probabilities", length, one, two, b, logprob_distance, "nats further from A than A is", seed),
        _excess("where greedy texts part", length, one, two, b, parting, "of the text further from A than A is", seed),
    ]


def _answers(length: int, a: list[Taken], b: list[Taken]) -> Finding | None:
    scores = [(x.score, y.score) for x, y in zip(a, b, strict=True) if x.score is not None and y.score is not None]
    if len(scores) < _MIN_PROBES:
        return None
    return mcnemar(length, [x == 1.0 for x, _ in scores], [y == 1.0 for _, y in scores])


def _samples(length: int, one: list[Taken], two: list[Taken], b: list[Taken] | None, seed: int) -> Finding | None:
    """All of A's samples against B's; without B, A's two halves against each other."""
    triples = zip(one, two, b or two, strict=True)
    pairs = [((*x.samples, *y.samples), z.samples) if b else (x.samples, y.samples) for x, y, z in triples]
    usable = [(of_a, of_b) for of_a, of_b in pairs if min(len(of_a), len(of_b)) > 1]
    if len(usable) < _MIN_PROBES:
        return None
    return sample_test(length, [of_a for of_a, _ in usable], [of_b for _, of_b in usable], seed)


def _excess(
    test: str,
    length: int,
    one: list[Taken],
    two: list[Taken],
    b: list[Taken],
    distance: Callable[[Said, Said], float | None],
    unit: str,
    seed: int,
) -> Finding | None:
    found = []
    for x, y, z in zip(one, two, b, strict=True):
        if any(_failed(taken) for taken in (x, y, z)):
            continue
        own, far = distance(x.greedy, y.greedy), distance(x.greedy, z.greedy)
        if own is not None and far is not None:
            found.append((own, far))
    if len(found) < _MIN_PROBES:
        return None
    return excess(test, length, [own for own, _ in found], [far for _, far in found], unit, seed)


def _corrected(findings: list[Finding]) -> list[Finding]:
    corrected = holm([finding.p for finding in findings])
    return [dataclasses.replace(f, p_corrected=p) for f, p in zip(findings, corrected, strict=True)]


def _reasons(findings: list[Finding], floor: list[Finding], failed: float) -> tuple[str, ...]:
    reasons = [
        f"A differs from itself at {f.length:,} tokens ({f.test}, corrected p = {f.p_corrected:.3g})"
        for f in floor
        if f.p_corrected is not None and f.p_corrected < _FLOOR_ALPHA
    ]
    if failed > _MAX_FAILED:
        reasons.append(f"{failed:.0%} of the completions failed")
    if not findings:
        reasons.append(f"no test had the {_MIN_PROBES} probes that it needs")
    return tuple(reasons)


def _examples(first: Side, other: Side) -> tuple[tuple[str, str], ...]:
    texts = [(x.greedy.text, z.greedy.text) for x, z in zip(first.taken, other.taken, strict=True)]
    return tuple((a, b) for a, b in texts if a != b)[:_NUM_EXAMPLES]
