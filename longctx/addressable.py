"""How many tokens a stack takes, and of how many it shows that it read both ends: from the canaries' rows.

A canary that was found proves that its place was read, and so does a needle there, which a weak model finds more
easily. One that was not found proves nothing by itself: the prompt may have been cut there, or the model may have
failed to find it. A server that counts fewer tokens than it was sent says so itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from longctx.records import Row

PLACES = {0.0: "start", 0.5: "middle", 1.0: "end"}

_MIN_DIGITS = 7
"""Of a number that nobody guesses."""


def is_finding(row: Row) -> bool:
    """Whether a canary's failure is an answer in itself: asking again would find the same."""
    return row.control == "canary" and row.status in ("too_long", "truncated", "miscounted")


@dataclass(frozen=True, slots=True)
class Reach:
    """What the canaries of one context length showed."""

    length: int
    num_tokens: int
    """Of the longest of its prompts, without room for the completion."""
    counted: int | None
    """By the server; None where it did not say."""
    accepted: bool | None
    """None: it did not come to that, for a failure of another kind."""
    cut: bool
    """The server itself counted fewer tokens than were sent."""
    seen: tuple[str, ...]
    missed: tuple[str, ...]
    by_needle: tuple[str, ...] = ()
    """The places among those seen that a needle showed, and no canary."""

    @property
    def is_read(self) -> bool:
        """Whether start, middle and end were all shown to be read."""
        return not self.missed and not self.cut and len(self.seen) == len(PLACES)

    @property
    def read_back(self) -> str:
        """The places that were shown to be read; empty if none was."""
        return ", ".join(f"{place} (needle)" if place in self.by_needle else place for place in self.seen)

    @property
    def lost(self) -> str:
        """Where something is missing, in a word; empty if nothing is."""
        if not self.missed:
            return ""
        return self.missed[0] if len(self.missed) == 1 else f"{', '.join(self.missed[:-1])} and {self.missed[-1]}"


@dataclass(frozen=True, slots=True)
class Addressable:
    """The verdict over all lengths, in tokens of context."""

    reaches: tuple[Reach, ...]
    accepts: int | None
    """The longest length that was taken, with every shorter one."""
    reads: int | None
    """The longest length read from end to end, with every shorter one."""
    cuts: int | None
    """The shortest length at which the server counted fewer tokens than it was sent, or silently lost a place."""
    refuses: int | None
    """Tokens of the shortest prompt that was refused, without room for the completion."""

    @property
    def sentence(self) -> str:
        refused = f" (refuses a prompt of {self.refuses:,})" if self.refuses else ""
        parts = [f"accepts {_tokens(self.accepts)}{refused}", f"reads {_tokens(self.reads)}"]
        if self.cuts is None:
            parts.append("no cut was seen")
        else:
            at = next(reach for reach in self.reaches if reach.length == self.cuts)
            if at.cut:
                what = f"cuts the {at.lost}" if at.lost else "cuts"
                parts.append(f"{what} from {self.cuts:,}: counted {at.counted or 0:,} of {at.num_tokens:,}")
            else:
                parts.append(f"at {self.cuts:,} {at.lost} not found: cut there, or not retrieved")
        return "Addressable: " + "; ".join(parts) + "."


def _tokens(length: int | None) -> str:
    return "none of the tested lengths" if length is None else f"{length:,} tokens"


def addressable(rows: Iterable[Row]) -> Addressable | None:
    """The verdict from a run's rows; None where no canary was asked for."""
    by_length: dict[int, list[Row]] = {}
    needles: dict[int, set[float]] = {}
    for row in rows:
        if row.control == "canary":
            by_length.setdefault(row.length, []).append(row)
        elif row.control is None and row.depth in PLACES and _says_number(row):
            needles.setdefault(row.length, set()).add(row.depth)
    if not by_length:
        return None
    reaches = tuple(_reach(length, by_length[length], needles.get(length, set())) for length in sorted(by_length))
    return Addressable(
        reaches=reaches,
        accepts=_longest([(reach.length, bool(reach.accepted)) for reach in reaches]),
        reads=_longest([(reach.length, reach.is_read) for reach in reaches if len(reach.seen + reach.missed) > 1]),
        cuts=next((reach.length for reach in reaches if reach.cut or reach.missed), None),
        refuses=next((reach.num_tokens for reach in reaches if reach.accepted is False), None),
    )


def _longest(passed: Sequence[tuple[int, bool]]) -> int | None:
    """The longest length that passes together with every shorter one."""
    longest = None
    for length, passes in passed:
        if not passes:
            break
        longest = length
    return longest


def _says_number(row: Row) -> bool:
    """Whether its one needle was found, and holds a number that cannot be guessed."""
    if row.status != "ok" or row.needle_position is None or len(row.targets) != 1:
        return False
    (target,) = row.targets
    return target.isdigit() and len(target) >= _MIN_DIGITS and target in row.answer


def _reach(length: int, rows: list[Row], needles: set[float]) -> Reach:
    """What the canaries of a length showed, and needles that were found at the depths `needles`."""
    answered = [row for row in rows if row.status in ("ok", "truncated", "miscounted", "empty", "empty_thinking")]
    seen = {row.depth for row in answered if any(target in row.answer for target in row.targets)}
    missed = {row.depth for row in answered} - seen - needles
    counts = [row.server_prompt_tokens for row in rows if row.server_prompt_tokens is not None]
    refused = any(row.status == "too_long" for row in rows)
    return Reach(
        length=length,
        num_tokens=max(row.num_prompt_tokens for row in rows),
        counted=min(counts) if counts else None,
        accepted=False if refused else (True if answered else None),
        cut=any(row.status == "truncated" for row in rows),
        seen=_places(seen | needles),
        missed=_places(missed),
        by_needle=_places(needles - seen),
    )


def _places(depths: set[float]) -> tuple[str, ...]:
    return tuple(PLACES[depth] for depth in sorted(depths))
