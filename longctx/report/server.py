"""A run of a server: which versions answered, how fast, how they counted, and what they charge."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longctx.records import Row
from longctx.statistics import Interval, median_interval


@dataclass(frozen=True, slots=True)
class Version:
    """All answers that state one model and one fingerprint."""

    model: str
    fingerprint: str
    """Empty where none was stated."""
    num_answers: int
    shortest: int
    """Context length in tokens; 0 for a control."""
    longest: int
    first: str
    """UTC, as in rows."""
    last: str


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that several answers took."""

    num: int
    median: float
    interval: Interval | None
    """Of the median, 95 %; None for fewer than six answers."""
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class TokenGap:
    """The server's count of prompts less ours, and less what it adds to every prompt."""

    num: int
    """Answers that came with a count."""
    num_other: int
    """Of these, with a count that is not ours."""
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a server showed in several answers; None for what none of them had."""

    ttft: Times | None
    """To the first token."""
    tpot: Times | None
    """For each later one."""
    gap: TokenGap | None
    cached_share: float | None
    """Of the tokens that it counted, those that it had read before; None where it does not say."""


@dataclass(frozen=True, slots=True, order=True)
class Price:
    """Of a million tokens."""

    prompt: float
    completion: float


@dataclass(frozen=True, slots=True)
class Spending:
    """All requests of the starts that told of them, retries and what broke off included."""

    num_starts: int
    num_silent: int
    """Starts that were killed before they told."""
    num_requests: int
    num_prompt_tokens: int
    num_completion_tokens: int
    num_priced: int
    """Starts with prices."""
    cost: float | None
    """Of these; None if there were none."""
    prices: tuple[Price, ...]
    """Each once."""
    concurrency: int
    """The most requests at a time."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a report says of the server that a run asked."""

    base_url: str
    api: str
    offset: int
    """Tokens that it adds to every prompt, as the first requests showed."""
    tolerance: float
    """Share by which it was allowed to count otherwise."""
    versions: tuple[Version, ...]
    by_length: Mapping[int, Measured]
    """Times of the scored answers, counts of all."""
    overall: TokenGap | None
    num_retried: int
    """Answers and failures that took more than one attempt."""
    num_answers: int
    spending: Spending | None
    """None for a run that kept no account."""

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(sorted({version.model for version in self.versions if version.model}))

    @property
    def fingerprints(self) -> tuple[str, ...]:
        return tuple(sorted({version.fingerprint for version in self.versions if version.fingerprint}))

    @property
    def is_mixed(self) -> bool:
        """Whether more than one model or fingerprint was stated; an answer that states none contradicts none."""
        return len(self.models) > 1 or len(self.fingerprints) > 1

    @property
    def warning(self) -> str | None:
        """That one run measured several models; None if it did not."""
        kinds = (("models", self.models), ("fingerprints", self.fingerprints))
        stated = [f"{len(names)} {kind}" for kind, names in kinds if len(names) > 1]
        if not stated:
            return None
        return (
            f"More than one version answered: the server states {' and '.join(stated)}. "
            "Differences between lengths may be differences between versions."
        )


def summarise_server(manifest: Mapping[str, Any], rows: Sequence[Row]) -> Server | None:
    """What all rows of a run, controls and canaries too, say of its server; None for a run without one."""
    config, offset = manifest["config"], int(manifest["model"].get("offset_tokens", 0))
    if config.get("backend") != "openai":
        return None
    groups: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.length].append(row)
    return Server(
        base_url=config["base_url"],
        api=config["api"],
        offset=offset,
        tolerance=float(config["count_tolerance"]),
        versions=_versions(rows),
        by_length={length: measure(groups[length], offset) for length in config["lengths"]},
        overall=_gap(rows, offset),
        num_retried=sum(row.num_attempts > 1 for row in rows),
        num_answers=len(rows),
        spending=_spending(manifest.get("spent", []), len(manifest["starts"])),
    )


def measure(rows: Iterable[Row], offset: int) -> Measured:
    """What these rows show; times are those of a task's scored answers, since other prompts have other lengths."""
    rows = list(rows)
    scored = [row for row in rows if row.control is None and row.status == "ok"]
    cached = [row for row in rows if row.cached_prompt_tokens is not None and row.server_prompt_tokens]
    counted = sum(row.server_prompt_tokens or 0 for row in cached)
    return Measured(
        ttft=_times(row.ttft_seconds for row in scored),
        tpot=_times(row.tpot_seconds for row in scored),
        gap=_gap(rows, offset),
        cached_share=sum(row.cached_prompt_tokens or 0 for row in cached) / counted if counted else None,
    )


def _times(values: Iterable[float | None]) -> Times | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Times(len(known), statistics.median(known), median_interval(known), min(known), max(known))


def _gap(rows: Iterable[Row], offset: int) -> TokenGap | None:
    gaps = [
        row.server_prompt_tokens - row.num_prompt_tokens - offset
        for row in rows
        if row.server_prompt_tokens is not None
    ]
    return TokenGap(len(gaps), sum(gap != 0 for gap in gaps), min(gaps), max(gaps)) if gaps else None


def _versions(rows: Iterable[Row]) -> tuple[Version, ...]:
    """By the time at which each was first seen."""
    found: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.server_model or row.server_fingerprint:
            found[row.server_model, row.server_fingerprint].append(row)
    versions = [
        Version(
            model,
            fingerprint,
            num_answers=len(group),
            shortest=min(row.length for row in group),
            longest=max(row.length for row in group),
            first=min(row.finished for row in group),
            last=max(row.finished for row in group),
        )
        for (model, fingerprint), group in found.items()
    ]
    return tuple(sorted(versions, key=lambda version: (version.first, version.model, version.fingerprint)))


def _spending(accounts: Sequence[Mapping[str, Any]], num_starts: int) -> Spending | None:
    if not accounts:
        return None
    priced = [account for account in accounts if account["cost"] is not None]
    return Spending(
        num_starts=len(accounts),
        num_silent=num_starts - len(accounts),
        num_requests=sum(account["num_requests"] for account in accounts),
        num_prompt_tokens=sum(account["num_prompt_tokens"] for account in accounts),
        num_completion_tokens=sum(account["num_completion_tokens"] for account in accounts),
        num_priced=len(priced),
        cost=sum(account["cost"] for account in priced) if priced else None,
        prices=tuple(sorted({Price(account["price_in"], account["price_out"]) for account in priced})),
        concurrency=max(account["concurrency"] for account in accounts),
    )
