"""What a server said of itself and what it charges, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from longctx.pages import visible
from longctx.report.costs import Cost
from longctx.report.server import Server, Spending, TokenGap, Version
from longctx.report.theme import axis_label

_SHOWN = 120
"""Characters of what a server calls itself."""


def duration(seconds: float) -> str:
    """A measured time to three digits: 8.25 ms, 431 ms, 12.5 s, 1,250 s."""
    value, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    decimals = next((places for places, least in ((0, 100), (1, 10), (2, 1)) if value >= least), 3)
    return f"{value:,.{decimals}f} {unit}"


def gap_words(gap: TokenGap) -> str:
    """How a server's counts differ from ours, for a table: as ours; +1; -2,048 to 0."""
    if gap.low == gap.high:
        return f"{gap.low:+,}" if gap.low else "as ours"
    return f"{_signed(gap.low)} to {_signed(gap.high)}"


def _signed(number: int) -> str:
    return f"{number:+,}" if number else "0"


def server_lines(server: Server) -> list[str]:
    """What is said of a server above its tables."""
    return [
        f"Asked at {server.base_url}, {server.api} API.",
        *([] if server.is_mixed else [_version(server)]),
        _counts(server),
    ]


def _version(server: Server) -> str:
    if not server.versions:
        return "It states neither a model nor a fingerprint."
    parts = [
        f"{kind} {visible(names[0], _SHOWN)}"
        for kind, names in (("model", server.models), ("fingerprint", server.fingerprints))
        if names
    ]
    fingerprint = "" if server.fingerprints else ", and no fingerprint"
    return f"It states the {' and the '.join(parts)}{fingerprint}."


def _counts(server: Server) -> str:
    gap = server.overall
    if gap is None:
        return "It counts no tokens: a cut would show in canaries alone."
    added = f" The {server.offset:,} that it adds to every prompt are left out." if server.offset else ""
    allowed = f" It was allowed to differ by {server.tolerance:.0%}." if server.tolerance else ""
    if not gap.num_other:
        return f"Its own token counts are ours, in all {gap.num:,} answers that have one.{added}{allowed}"
    return (
        f"Its own token counts differ from ours in {gap.num_other:,} of {gap.num:,} answers that have one, "
        f"by {gap_words(gap)} tokens.{added}{allowed}"
    )


def speed_caption(server: Server) -> str:
    """What the measured times are of."""
    at_once = ""
    if server.spending is not None:
        most = server.spending.concurrency
        at_once = f", at most {most} requests at a time" if most > 1 else ", one request at a time"
    return (
        "Time from a request to the first token (TTFT), and for each token after it (TPOT), of the scored answers, "
        f"as they came over the network{at_once}; what the server had read before comes sooner. The median's interval "
        "is free of any distribution and takes requests as independent; fewer than six have none."
    )


def served_cost_lines(server: Server, cost: Cost) -> list[str]:
    """What a run of a server took."""
    lines = _spent(server.spending) if server.spending is not None else [_kept(cost)]
    if server.num_retried:
        lines.append(f"{server.num_retried:,} of {server.num_answers:,} samples took more than one attempt.")
    return lines


def _spent(spending: Spending) -> list[str]:
    starts = "" if spending.num_starts == 1 else f" in {spending.num_starts} starts"
    killed = f" {spending.num_silent} more of the starts kept no account." if spending.num_silent else ""
    lines = [
        f"{spending.num_requests:,} requests{starts} with {spending.num_prompt_tokens:,} prompt tokens and "
        f"{spending.num_completion_tokens:,} completion tokens, retries and what broke off included: by the server's "
        f"own count, and by ours where it gave none.{killed}"
    ]
    if spending.cost is None:
        return [*lines, "No prices were given."]
    prices = "; ".join(f"{price.prompt:g} and {price.completion:g}" for price in spending.prices)
    missing = spending.num_starts - spending.num_priced
    unpriced = f" {missing} of the starts had no prices and are not in it." if missing else ""
    return [*lines, f"Cost: {spending.cost:,.4f}, a million prompt and completion tokens at {prices}.{unpriced}"]


def _kept(cost: Cost) -> str:
    return (
        f"{cost.num_prompt_tokens:,} prompt tokens and {cost.num_completion_tokens:,} completion tokens are in the "
        "rows; this run kept no account of retries and prices."
    )


def version_lengths(version: Version) -> str:
    """The context lengths at which a version answered: 1k; 1k to 4k; control to 4k."""
    first, last = (axis_label(length) if length else "control" for length in (version.shortest, version.longest))
    return first if version.shortest == version.longest else f"{first} to {last}"


def accepted_words(accepted: bool | None) -> str:
    """Whether prompts of a length were taken; None: it did not come to that."""
    return "no answer" if accepted is None else "yes" if accepted else "refused"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "accepted": accepted_words,
    "duration": duration,
    "gap": gap_words,
    "has_times": lambda server: any(found.ttft or found.tpot for found in server.by_length.values()),
    "lengths": version_lengths,
    "minute": lambda finished: finished[:16].replace("T", " "),
    "speed_caption": speed_caption,
}
"""What templates call to say these things."""
